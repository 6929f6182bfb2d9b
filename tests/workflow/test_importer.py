"""Promises of workflow/importer.py, wiring.py and imported.py: which values become variables, and which stay."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from fakes.workflows import (
    SHAPES,
    Graph,
    by_sound,
    classic,
    computed,
    continued,
    cropped,
    doubled,
    first_and_last,
    guided,
    halved,
    image_to_video,
    node,
    resized,
    text_to_video,
    two_stages,
    with_primitives,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.signatures import Signatures
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.workflow.api_format import read_workflow
from ltxflow.workflow.imported import ImportedWorkflow, template_text
from ltxflow.workflow.importer import MAX_NODES, recognise
from ltxflow.workflow.jinja import compile_text
from ltxflow.workflow.render import render
from ltxflow.workflow.template import read_template, variables
from ltxflow.workflow.values import Values
from ltxflow.workflow.wiring import Wiring

# --- helpers


def spots(found: ImportedWorkflow) -> dict[str, str]:
    """Return the place of each variable, `40.width` → its text in the template."""
    return {f"{one.node}.{one.input}": one.text for one in found.found}


def imported(graph: Graph, folder: Path, text: str = "") -> tuple[ImportedWorkflow, Any]:
    """Recognise a workflow and read back the template that is written of it."""
    found = recognise(read_workflow(text or json.dumps(graph), "mine.json").graph)
    file = folder / "mine.json.j2"
    file.write_text(template_text(found, "mine", "a test"), encoding="utf-8")
    return found, read_template(file, trusted=True)


def as_it_was(found: ImportedWorkflow) -> dict[str, Any]:
    """A context with the values that stood in the workflow itself."""
    width = found.was("width") or found.was("decoded_width")
    height = found.was("height") or found.was("decoded_height")
    crop = None
    if found.has_crop:
        crop = {name: found.was(f"crop.{name}") or 0 for name in ("x", "y", "width", "height")}
    texts = ("prompt", "negative", "seed", "frames", "reference", "last_frame", "sound")
    values = {name: found.was(name) for name in texts}
    sizes = {"width": width, "height": height, "crop": crop}
    sizes |= {"decoded_width": (width or 0) * found.stages, "decoded_height": (height or 0) * found.stages}
    return {**values, **sizes, "fps": int(found.was("fps")), "prefix": found.was("prefix")}


def refused(graph: Graph) -> tuple[Problem, ...]:
    with pytest.raises(LtxflowError) as caught:
        recognise(graph)
    return caught.value.problems


def without_titles(graph: Graph) -> Graph:
    return {id: {key: value for key, value in one.items() if key != "_meta"} for id, one in graph.items()}


UNUSED = {"two stages, first and last": ["59"]}  # nodes that nothing fetched needs

# --- what comes out


@pytest.mark.parametrize("shape", SHAPES)
def test_with_the_old_values_the_template_is_the_old_workflow(shape: str, tmp_path: Path) -> None:
    found, template = imported(SHAPES[shape], tmp_path)
    needed = {id: one for id, one in SHAPES[shape].items() if id not in UNUSED.get(shape, ())}
    assert without_titles(render(template, as_it_was(found))) == without_titles(needed)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_header_names_the_variables_and_the_needs(shape: str, tmp_path: Path) -> None:
    found, template = imported(SHAPES[shape], tmp_path)
    assert template.header.variables == variables(template) == set(found.variables)
    assert template.header.needs == found.needs == tuple(n for n in ("reference", "last_frame") if n in found.variables)


@pytest.mark.parametrize("shape", [name for name in SHAPES if name != "classic"])
def test_what_comes_out_fits_comfyuis_nodes(shape: str, tmp_path: Path) -> None:
    found, template = imported(SHAPES[shape], tmp_path)
    graph = render(template, {**as_it_was(found), "frames": 97, "fps": 30, "seed": 1})
    assert check_graph(graph, Signatures.recorded(), models=False) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_exactly_one_save_node_is_titled_video(shape: str, tmp_path: Path) -> None:
    graph = SHAPES[shape] | {"999": node("PreviewImage", "video", images=["80" if "80" in SHAPES[shape] else "d", 0])}
    found, template = imported(graph, tmp_path)
    titles = [id for id, one in render(template, as_it_was(found)).items() if one["_meta"].get("title") == "video"]
    assert titles == list(found.saves)[:1]


# --- what is found


def test_text_to_video() -> None:
    assert spots(recognise(text_to_video())) == {
        "20.text": "{{ prompt }}",
        "21.text": "{{ negative }}",
        "52.noise_seed": "{{ seed }}",
        "40.width": "{{ decoded_width }}",
        "40.height": "{{ decoded_height }}",
        "40.length": "{{ frames }}",
        "41.frames_number": "{{ frames }}",
        "22.frame_rate": "{{ fps | float }}",
        "41.frame_rate": "{{ fps }}",
        "88.fps": "{{ fps | float }}",
        "89.filename_prefix": "{{ prefix }}",
    }


def test_two_stages_sample_half_the_size_and_keep_the_second_seed() -> None:
    found = recognise(two_stages(text_to_video()))
    assert found.stages == 2
    assert spots(found)["40.width"] == "{{ width }}"
    assert "72.noise_seed" not in spots(found)
    assert any("the seed of a later stage" in sentence and ": 7, fixed" in sentence for sentence in found.left)


def test_one_noise_for_both_stages_is_one_seed() -> None:
    graph = two_stages(text_to_video())
    graph["75"]["inputs"]["noise"] = ["52", 0]
    found = recognise(graph)
    assert spots(found)["52.noise_seed"] == "{{ seed }}"
    assert not any("seed" in sentence for sentence in found.left)


def test_a_negative_text_without_effect_is_left_alone() -> None:
    found = recognise(text_to_video(cfg=1.0))
    assert "negative" not in found.variables
    assert any("no effect" in sentence for sentence in found.left)


def test_a_zeroed_negative_is_not_the_prompt_again() -> None:
    graph = text_to_video()
    graph["21"] = node("ConditioningZeroOut", conditioning=["20", 0])
    assert [name for name in recognise(graph).variables if name in ("prompt", "negative")] == ["prompt"]


def test_texts_are_distinguished_by_links_not_by_titles() -> None:
    graph = text_to_video()
    graph["20"]["_meta"]["title"], graph["21"]["_meta"]["title"] = "negative", "positive"
    assert spots(recognise(graph))["20.text"] == "{{ prompt }}"


def test_guides_pass_texts_on_and_tell_first_from_last() -> None:
    found = spots(recognise(first_and_last()))
    assert (found["30.image"], found["34.image"]) == ("{{ reference }}", "{{ last_frame }}")
    assert found["20.text"] == "{{ prompt }}"
    assert found["35.resize_type.width"] == "{{ decoded_width }}"


def test_a_last_frame_by_its_number_moves_with_the_length() -> None:
    found = spots(recognise(first_and_last(120)))
    assert found["34.image"] == "{{ last_frame }}"
    assert found["43.frame_idx"] == "{{ frames - 1 }}"


def test_a_picture_in_the_middle_is_refused() -> None:
    (problem,) = refused(first_and_last(64))
    assert (problem.code, '"last.png"' in problem.message) == ("T023", True)
    assert "a clip gives a reference, a last_frame" in problem.hint


@pytest.mark.parametrize("graph", [cropped(), resized()])
def test_the_final_cut_follows_the_film(graph: Graph) -> None:
    found = recognise(graph)
    assert found.has_crop
    assert "{{ crop.height if crop else decoded_height }}" in spots(found).values()


def test_a_cut_by_region_follows_the_film(tmp_path: Path) -> None:
    graph = cropped()
    graph["82"] = node("ImageCropV2", image=["80", 0], crop_region={"x": 0, "y": 16, "width": 1536, "height": 864})
    found, template = imported(graph, tmp_path)
    crop = {"x": 0, "y": 4, "width": 1920, "height": 1080}
    made = render(template, {**as_it_was(found), "crop": crop})
    assert made["82"]["inputs"]["crop_region"] == crop


def test_a_doubled_frame_rate_stays_doubled() -> None:
    found = recognise(doubled())
    assert spots(found)["88.fps"] == "{{ (fps * 2) | float }}"
    assert found.stages == 1


def test_values_are_replaced_in_the_primitive_that_feeds_them() -> None:
    found = spots(recognise(with_primitives()))
    assert (
        found
        | {
            "101.value": "{{ width }}",
            "102.value": "{{ height }}",
            "103.value": "{{ frames }}",
            "104.value": "{{ fps | float }}",
            "105.value": "{{ prompt }}",
            "106.value": "{{ seed }}",
            "107.value": "{{ fps }}",
        }
        == found
    )
    assert not {"40.width", "20.text", "52.noise_seed"} & found.keys()


def test_a_primitive_for_two_things_is_left_and_both_are_written_where_they_are_used() -> None:
    graph = with_primitives()
    graph["40"]["inputs"]["height"] = ["101", 0]  # a square
    found = recognise(graph)
    assert (spots(found)["40.width"], spots(found)["40.height"]) == ("{{ width }}", "{{ height }}")
    assert "101.value" not in spots(found)
    assert any('width of node "40"' in sentence and "set by the clip" in sentence for sentence in found.left)


def test_a_primitive_that_feeds_more_is_noted() -> None:
    graph = with_primitives()
    graph["51"] = node("LTXVScheduler", steps=["106", 0], latent=["50", 0])
    assert any("steps of node" in sentence and "follows seed" in sentence for sentence in recognise(graph).left)


def test_a_computed_value_is_written_where_it_is_used(tmp_path: Path) -> None:
    found, template = imported(computed(), tmp_path)
    assert found.stages == 2
    assert spots(found)["101.width"] == "{{ decoded_width }}"  # half of it is sampled, as before
    assert spots(found)["40.length"] == spots(found)["41.frames_number"] == "{{ frames }}"
    assert spots(found)["104.value"] == "{{ fps | float }}"
    values = {"prompt": "x", "negative": "", "seed": 1, "decoded_width": 1024, "decoded_height": 640, "fps": 30}
    made = render(template, {**values, "frames": 49, "crop": None, "prefix": "p"})
    assert made["101"]["inputs"] | {"width": 1024, "height": 640} == made["101"]["inputs"]
    assert made["40"]["inputs"]["length"] == 49
    assert check_graph(made, Signatures.recorded(), models=False) == []


def test_a_prompt_that_is_enhanced_is_replaced_before() -> None:
    graph = text_to_video()
    sampling = {"sampling_mode": "off"}
    graph["23"] = node("TextGenerateLTX2Prompt", clip=["2", 0], prompt="a vault", max_length=256, **sampling)
    graph["20"]["inputs"]["text"] = ["23", 0]
    assert spots(recognise(graph))["23.prompt"] == "{{ prompt }}"


def test_older_samplers_and_foreign_nodes() -> None:
    found = recognise(classic())
    assert spots(found) == {
        "p.text": "{{ prompt }}",
        "n.text": "{{ negative }}",
        "k.seed": "{{ seed }}",
        "v.width": "{{ decoded_width }}",
        "v.height": "{{ decoded_height }}",
        "v.length": "{{ frames }}",
        "c.frame_rate": "{{ fps | float }}",
        "s.frame_rate": "{{ fps }}",
        "i.image": "{{ reference }}",
        "s.filename_prefix": "{{ prefix }}",
    }
    assert found.foreign == ("VHS_VideoCombine",)


def test_models_and_loras_stay() -> None:
    (sentence,) = [s for s in recognise(two_stages(text_to_video())).left if s.startswith("models and LoRAs")]
    assert "ltx-2-19b-dev-fp8.safetensors" in sentence
    assert "distilled.safetensors" in sentence


def test_the_file_of_the_last_stage_is_the_clip() -> None:
    graph = two_stages(text_to_video())
    graph["84"] = node("VAEDecode", samples=["56", 0], vae=["1", 2])
    graph["85"] = node("CreateVideo", images=["84", 0], fps=25.0)
    graph["99"] = node("SaveVideo", "video", video=["85", 0], filename_prefix="draft", format="auto", codec="auto")
    found = recognise(graph)
    assert found.saves == {"89": "video"}
    assert not any(one.node == "99" for one in found.found)


def test_what_ltxflow_itself_saves_beside_the_clip_is_kept(tmp_path: Path) -> None:
    graph = cropped()
    graph["90"] = node("ImageFromBatch", image=["80", 0], batch_index=-1, length=1)
    graph["91"] = node("SaveImage", "last_frame", images=["90", 0], filename_prefix="ltxflow/x-last")
    graph["94"] = node("CreateVideo", images=["80", 0], fps=25.0, audio=["81", 0])
    graph["95"] = node("SaveVideo", "uncropped", video=["94", 0], filename_prefix="x", format="auto", codec="auto")
    found, template = imported(graph, tmp_path)
    made = render(template, {**as_it_was(found), "fps": 24, "prefix": "clip"})
    assert [(id, made[id]["_meta"]["title"]) for id in found.saves] == [
        ("89", "video"),
        ("91", "last_frame"),
        ("95", "uncropped"),
    ]
    assert made["91"]["inputs"]["filename_prefix"] == "clip-last_frame"
    assert made["94"]["inputs"]["fps"] == 24.0


# --- the size reaches what decides it


def test_one_number_for_picture_and_latent_is_the_films() -> None:
    found = recognise(halved())
    assert found.stages == 2
    assert spots(found) | {"101.value": "{{ decoded_width }}", "102.value": "{{ decoded_height }}"} == spots(found)
    assert not {"40.width", "31.resize_type.width"} & spots(found).keys()  # they follow


def test_with_the_films_size_picture_and_latent_agree(tmp_path: Path) -> None:
    found, template = imported(halved(), tmp_path)
    made = render(template, {**as_it_was(found), "decoded_width": 768, "decoded_height": 1280, "crop": None})
    resized, halves = Values(Wiring(made)).of, Values(Wiring(made)).of
    assert [resized("31", f"resize_type.{side}") for side in ("width", "height")] == [768, 1280]
    assert [halves("40", side) for side in ("width", "height")] == [384, 640]


def test_a_picture_that_is_resized_to_another_size_gets_that_of_the_film_with_a_note() -> None:
    graph = halved()
    graph["31"]["inputs"] |= {"resize_type.width": 1920, "resize_type.height": 1088}
    found = recognise(graph)
    assert spots(found)["31.resize_type.width"] == "{{ decoded_width }}"
    assert any("1920x1088" in sentence for sentence in found.changed)


def test_what_no_number_can_set_is_cut_off_at_what_it_gives() -> None:
    graph = halved()
    graph["103"]["inputs"]["values.a"] = graph["31"]["inputs"]["resize_type.width"] = ["107", 0]
    graph["104"]["inputs"]["values.a"] = graph["31"]["inputs"]["resize_type.height"] = ["107", 1]
    graph["107"] = node("ResolutionSelector", aspect_ratio="16:9 (Widescreen)", megapixels=0.9, multiple=32)
    found = recognise(graph)
    assert spots(found)["103.values.a"] == spots(found)["31.resize_type.width"] == "{{ decoded_width }}"
    assert "107" not in found.graph


def test_a_latent_of_the_pictures_own_size_follows_it() -> None:
    graph = image_to_video()
    graph["39"] = node("GetImageSize", image=["30", 0])
    graph["40"]["inputs"] |= {"width": ["39", 0], "height": ["39", 1]}
    found = recognise(graph)  # ltxflow prepares the picture at the size that is decoded
    assert not {"40.width", "40.height"} & spots(found).keys()


def test_a_size_that_cannot_be_set_is_noted_with_its_numbers() -> None:
    graph = two_stages(text_to_video())
    graph["60"]["inputs"]["model_name"] = "ltx-2.3-spatial-upscaler-x1.5-1.0.safetensors"
    assert recognise(graph).makes == (1152, 768)


def test_a_film_that_is_cut_gets_its_cut(tmp_path: Path) -> None:
    found, template = imported(two_stages(text_to_video()), tmp_path)
    crop = {"x": 0, "y": 4, "width": 1920, "height": 1080}
    made = render(template, {**as_it_was(found), "crop": crop})
    assert made["80-cut"]["inputs"] == {"image": ["80", 0], **crop}
    assert made["88"]["inputs"]["images"] == ["80-cut", 0]
    whole = render(template, as_it_was(found))
    assert ("80-cut" in whole, whole["88"]["inputs"]["images"]) == (False, ["80", 0])


@pytest.mark.parametrize(
    "id", ['a "quote"', "}} {{ seed }}", "{% raw %}", "back\\slash", "水 \U0001f600", "it's", "#}"]
)
def test_the_cut_finds_its_place_whatever_nodes_are_called(id: str, tmp_path: Path) -> None:
    graph = {id if one == "80" else one: node_ for one, node_ in text_to_video().items()}
    graph["88"]["inputs"]["images"] = [id, 0]
    found, template = imported(graph, tmp_path)
    assert render(template, as_it_was(found))["88"]["inputs"]["images"] == [id, 0]
    made = render(template, {**as_it_was(found), "crop": {"x": 0, "y": 4, "width": 1920, "height": 1080}})
    assert made["88"]["inputs"]["images"] == [f"{id}-cut", 0]
    assert made[f"{id}-cut"]["inputs"]["image"] == [id, 0]


def test_a_length_behind_a_formula_is_written_where_both_read_it() -> None:
    graph = computed()
    found = spots(recognise(graph))
    assert (found["40.length"], found["41.frames_number"]) == ("{{ frames }}", "{{ frames }}")
    assert "105.values.a" not in found


# --- sounds and videos


def test_a_sound_is_the_clips_and_lasts_as_long() -> None:
    found = recognise(by_sound())
    assert spots(found)["33.audio"] == "{{ sound }}"
    assert spots(found)["105.value"] == "{{ frames / fps }}"
    assert spots(found)["40.length"] == "{{ frames }}"
    assert found.needs == ("reference", "sound")


def test_a_second_sound_is_refused() -> None:
    graph = by_sound()
    graph["38"] = node("LoadAudio", audio="music.mp3")
    graph["88"]["inputs"]["audio"] = ["38", 0]
    (problem,) = refused(graph)
    assert (problem.code, '"music.mp3"' in problem.message) == ("T023", True)


def test_one_sound_in_two_nodes_is_one() -> None:
    graph = by_sound()
    graph["38"] = node("LoadAudio", audio="speech.mp3")
    graph["88"]["inputs"]["audio"] = ["38", 0]
    found = spots(recognise(graph))
    assert found["33.audio"] == found["38.audio"] == "{{ sound }}"


def test_a_video_that_guides_is_the_clips() -> None:
    found = recognise(guided())
    assert found.needs == ("reference", "control")
    assert spots(found)["33.file"] == "{{ control.video }}"
    assert spots(found)["101.value"] == "{{ decoded_width }}"
    assert spots(found)["103.value"] == "{{ frames }}"  # of the video
    assert spots(found)["40.length"] == "{{ frames }}"  # though the video may have fewer


def test_preparing_a_picture_is_not_a_stage() -> None:
    graph = guided()
    graph["70x"] = node(
        "SamplerCustomAdvanced",
        noise=["71x", 0],
        guider=["54", 0],
        sampler=["53", 0],
        sigmas=["51", 0],
        latent_image=["72x", 0],
    )
    graph["71x"] = node("RandomNoise", noise_seed=9)
    graph["72x"] = node("VAEEncode", pixels=["37", 0], vae=["1", 2])
    graph["73x"] = node("VAEDecode", samples=["70x", 0], vae=["1", 2])
    graph["54"]["inputs"] |= {"positive": ["22", 0], "negative": ["22", 1]}
    graph["38"]["inputs"]["image"] = ["73x", 0]
    found = recognise(graph)
    assert spots(found)["52.noise_seed"] == "{{ seed }}"
    assert "71x.noise_seed" not in spots(found)
    assert spots(found)["33.file"] == "{{ control.video }}"


# --- what is left out


def test_nodes_that_no_fetched_file_needs_are_left_out_with_a_note() -> None:
    graph = text_to_video()
    graph["90"] = node("LoadImage", image="not used.png")
    graph["91"] = node("PreviewAny", source=["20", 0], preview_text="")
    graph["92"] = node("VAEDecode", samples=["55", 1], vae=["1", 2])
    graph["93"] = node("SaveImage", "look", images=["92", 0], filename_prefix="x")
    found = recognise(graph)
    assert found.graph.keys() == text_to_video().keys()
    assert [sentence.split('"')[1] for sentence in found.dropped] == ["90", "91", "92", "93"]


def test_a_draft_that_is_saved_on_the_way_is_left_out() -> None:
    graph = two_stages(text_to_video())
    graph["84"] = node("VAEDecode", samples=["56", 0], vae=["1", 2])
    graph["85"] = node("CreateVideo", images=["84", 0], fps=25.0)
    graph["99"] = node("SaveVideo", video=["85", 0], filename_prefix="draft", format="auto", codec="auto")
    assert not {"84", "85", "99"} & recognise(graph).graph.keys()


# --- warnings


def test_a_video_that_no_clip_can_give_is_refused() -> None:
    (problem,) = refused(continued())
    assert (problem.code, '"before.mp4"' in problem.message) == ("T023", True)


def test_a_workflow_that_is_enlarged_otherwise_keeps_its_size() -> None:
    graph = two_stages(text_to_video())
    graph["60"]["inputs"]["model_name"] = "ltx-2.3-spatial-upscaler-x1.5-1.0.safetensors"
    found = recognise(graph)
    assert not {"width", "decoded_width"} & set(found.variables)
    assert any("1.5 times" in sentence for sentence in found.left)


def test_a_missing_value_is_a_warning_with_the_text_to_write() -> None:
    graph = {
        "1": node("SomebodysVideo", wish="a vault"),
        "2": node("SaveVideo", video=["1", 0], filename_prefix="x", format="auto", codec="auto"),
    }
    hints = [problem.hint for problem in recognise(graph).problems]
    assert [
        word for word in ("prompt", "seed", "width", "frames", "fps") if any(f"{{{{ {word}" in h for h in hints)
    ] == [
        "prompt",
        "seed",
        "width",
        "frames",
        "fps",
    ]


# --- values stay as they are


def test_numbers_stay_as_they_are_written(tmp_path: Path) -> None:
    text = (
        json.dumps(text_to_video()).replace('"cfg": 4.0', '"cfg": 4.00').replace('"batch_size": 1', '"batch_size": 1E0')
    )
    _, template = imported({}, tmp_path, text)
    assert '"cfg": 4.00\n' in template.text
    assert '"batch_size": 1E0' in template.text


@pytest.mark.parametrize(
    "text",
    ["{{ seed }}", "{% for x in y %}", "{# note #}", "{{{a|b}|c}", 'a "quote" \\ \n\t', "水 \u202e \x1b[2J"],
)
def test_a_text_means_nothing_to_the_template(text: str, tmp_path: Path) -> None:
    graph = text_to_video(cfg=1.0)  # so that the negative text stays
    graph["21"]["inputs"]["text"] = text
    graph["21"]["_meta"]["title"] = text
    found, template = imported(graph, tmp_path)
    made = render(template, as_it_was(found))
    assert (made["21"]["inputs"]["text"], made["21"]["_meta"]["title"]) == (text, text)
    assert "\x1b" not in template.text
    assert "\u202e" not in template.text


def test_a_title_cannot_end_the_header(tmp_path: Path) -> None:
    found = recognise(text_to_video())
    file = tmp_path / "x.json.j2"
    file.write_text(template_text(found, 'evil #} {{ 1 }} "quoted" \U0001f600', "x\n#}"))
    assert read_template(file, trusted=True).header.title == 'evil # } {{ 1 }} "quoted" \U0001f600'


def test_a_clips_text_adds_no_node(tmp_path: Path) -> None:
    found, template = imported(text_to_video(), tmp_path)
    evil = '", "clip": ["2", 0]}}, "98": {"class_type": "X", "inputs": {"a": "'
    made = render(template, {**as_it_was(found), "prompt": evil})
    assert made["20"]["inputs"]["text"] == evil
    assert made.keys() == text_to_video().keys()


# --- what ends at all


@pytest.mark.parametrize("graph", [{"1": node("SaveImage", images=["1", 0], filename_prefix="x")}, {"1": node("X")}])
def test_a_workflow_that_saves_no_video_is_refused(graph: Graph) -> None:
    problem = refused(graph)[0]
    assert (problem.code, "saves no video" in problem.message) == ("T022", True)


def test_a_workflow_with_a_cycle_is_refused() -> None:
    graph = text_to_video()
    graph["40"]["inputs"]["width"] = ["7", 0]
    graph["7"] = node("Reroute", value=["8", 0])
    graph["8"] = node("Reroute", value=["7", 0])
    graph["20"]["inputs"]["text"] = ["7", 0]
    assert spots(recognise(graph))["40.width"] == "{{ decoded_width }}"  # a replaced link forms no cycle
    graph["22"]["inputs"]["positive"] = ["22", 0]
    (problem,) = refused(graph)
    assert (problem.code, 'node "22"' in problem.message) == ("T028", True)


def test_a_long_chain_does_not_recurse() -> None:
    graph = text_to_video()
    last = MAX_NODES - 100
    chain = {f"c{n}": node("Reroute", value=[f"c{n + 1}", 0]) for n in range(last)}
    graph |= chain | {f"c{last}": node("PrimitiveInt", value=768)}
    graph["40"]["inputs"]["width"] = ["c0", 0]
    assert spots(recognise(graph))[f"c{last}.value"] == "{{ decoded_width }}"


def test_far_too_many_nodes_are_refused() -> None:
    graph = text_to_video() | {f"x{n}": node("PrimitiveInt", value=n) for n in range(MAX_NODES)}
    (problem,) = refused(graph)
    assert (problem.code, "3,000 nodes" in problem.message) == ("T020", True)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**64) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=5,
)


@given(data=st.data(), shape=st.sampled_from(sorted(SHAPES)))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_broken_ends_in_a_template_or_one_clear_error(data: st.DataObject, shape: str) -> None:
    graph = json.loads(json.dumps(SHAPES[shape]))
    for _ in range(data.draw(st.integers(1, 5))):
        id = data.draw(st.sampled_from(sorted(graph)))
        inputs = graph[id]["inputs"]
        names = sorted(inputs) or ["x"]
        links = [[other, slot] for other in sorted(graph)[:6] for slot in (0, 1, 99, -1)]
        inputs[data.draw(st.sampled_from(names))] = copy.deepcopy(data.draw(st.sampled_from(links) | ODD))
        if data.draw(st.booleans()):
            graph[id]["class_type"] = data.draw(st.sampled_from(sorted(one["class_type"] for one in graph.values())))
    problems: tuple[Problem, ...] = ()
    text = ""
    try:
        read = read_workflow(json.dumps(graph), "mine.json")
        text = template_text(recognise(read.graph), "mine", "broken")
    except LtxflowError as error:
        problems = error.problems
    assert all(problem.message and problem.hint and problem.code for problem in problems)
    assert bool(problems) != bool(text)
    if text:
        compile_text("mine.json.j2", text, {})
