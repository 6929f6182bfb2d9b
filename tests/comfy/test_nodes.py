"""The graph check: one failing sample a rule, at every place a graph can be wrong, and none for graphs that run."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.comfy import nodes
from ltxflow.comfy.nodes import FileInput, ModelInput, Signatures, check_graph
from ltxflow.core.errors import Problem, Span

Graph = dict[str, Any]
CORE: Signatures = Signatures.recorded()
NONE: frozenset[str] = frozenset()


def node(class_: str, title: str = "", **inputs: Any) -> Graph:
    made: Graph = {"class_type": class_, "inputs": inputs}
    return made | ({"_meta": {"title": title}} if title else {})


def text_to_video() -> Graph:
    checkpoint = "ltx-2-19b-dev-fp8.safetensors"
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=checkpoint),
        "2": node(
            "LTXAVTextEncoderLoader",
            text_encoder="gemma_3_12B_it.safetensors",
            ckpt_name=checkpoint,
            device="cpu",
        ),
        "3": node("LTXVAudioVAELoader", ckpt_name=checkpoint),
        "10": node(
            "LoraLoaderModelOnly",
            model=["1", 0],
            lora_name="ltx-2-19b-distilled-lora-384.safetensors",
            strength_model=1.0,
        ),
        "20": node("CLIPTextEncode", "positive", text="a vault opens", clip=["2", 0]),
        "21": node("ConditioningZeroOut", conditioning=["20", 0]),
        "22": node("LTXVConditioning", positive=["20", 0], negative=["21", 0], frame_rate=25.0),
        "40": node("EmptyLTXVLatentVideo", width=768, height=512, length=121, batch_size=1),
        "41": node(
            "LTXVEmptyLatentAudio",
            frames_number=121,
            frame_rate=25,
            batch_size=1,
            audio_vae=["3", 0],
        ),
        "50": node("LTXVConcatAVLatent", video_latent=["40", 0], audio_latent=["41", 0]),
        "51": node("ManualSigmas", sigmas="1., 0.975, 0.725, 0.0"),
        "52": node("RandomNoise", noise_seed=2**64 - 1),
        "53": node("KSamplerSelect", sampler_name="euler"),
        "54": node("CFGGuider", model=["10", 0], positive=["22", 0], negative=["22", 1], cfg=1),
        "55": node(
            "SamplerCustomAdvanced",
            "stage 1",
            noise=["52", 0],
            guider=["54", 0],
            sampler=["53", 0],
            sigmas=["51", 0],
            latent_image=["50", 0],
        ),
        "56": node("LTXVSeparateAVLatent", av_latent=["55", 0]),
        "80": node("VAEDecode", samples=["56", 0], vae=["1", 2]),
        "81": node("LTXVAudioVAEDecode", samples=["56", 1], audio_vae=["3", 0]),
        "88": node("CreateVideo", images=["80", 0], fps=25.0, audio=["81", 0]),
        "89": node("SaveVideo", video=["88", 0], filename_prefix="x", format="mp4", codec="h264"),
    }


def image_to_video() -> Graph:
    """With a dynamic combo, a match type and a file from the server."""
    graph = text_to_video()
    graph["30"] = node("LoadImage", image="ltxflow/0123456789abcdef.png")
    graph["31"] = node(
        "ResizeImageMaskNode",
        **{
            "input": ["30", 0],
            "resize_type": "scale dimensions",
            "resize_type.width": 1536,
            "resize_type.height": 864,
            "resize_type.crop": "center",
            "scale_method": "lanczos",
        },
    )
    graph["32"] = node("LTXVPreprocess", image=["31", 0], img_compression=33)
    graph["42"] = node(
        "LTXVImgToVideoInplace",
        vae=["1", 2],
        image=["32", 0],
        latent=["40", 0],
        strength=1.0,
        bypass=False,
    )
    graph["50"]["inputs"]["video_latent"] = ["42", 0]
    return graph


def with_(changes: dict[str, Any], graph: Graph | None = None) -> Graph:
    """A graph with inputs changed: {"40.width": 0}; None takes the input away."""
    made = copy.deepcopy(graph or text_to_video())
    for path, value in changes.items():
        node_id, _, name = path.partition(".")
        inputs = made[node_id]["inputs"]
        if value is None:
            del inputs[name]
        else:
            inputs[name] = value
    return made


def check(graph: Any, **options: Any) -> list[Problem]:
    return check_graph(graph, CORE, allowed=NONE, **options)


def codes(graph: Any, **options: Any) -> list[str]:
    return [problem.code for problem in check(graph, **options)]


def only(graph: Any, **options: Any) -> Problem:
    (problem,) = check(graph, **options)
    return problem


# -------------------------------------------------------------------------------- what is right


@pytest.mark.parametrize("graph", [text_to_video(), image_to_video()], ids=["t2v", "i2v"])
def test_a_graph_that_runs_has_no_problem(graph: Graph) -> None:
    assert check(graph) == []


def test_recorded_signatures_cover_97_core_classes() -> None:
    assert len(CORE.classes) == 97
    assert nodes.core_classes() == frozenset(CORE.classes) | nodes.OF_IMAGES
    assert CORE.is_recorded
    assert Signatures.recorded() is CORE


def test_leftovers_of_the_web_interface_are_ignored() -> None:
    assert codes(with_({"30.upload": "image"}, image_to_video())) == []


def test_model_files_can_be_left_to_the_server() -> None:
    other = {"1.ckpt_name": "mine.safetensors", "10.lora_name": "sub/style.safetensors"}
    assert codes(with_(other), models=False) == []
    assert codes(with_(other)) == ["N117", "N117"]


def test_file_reading_inputs_are_not_compared_with_the_servers_list() -> None:
    assert codes(with_({"30.image": "anything.png [output]"}, image_to_video())) == []
    assert codes(with_({"30.image": 5}, image_to_video())) == ["N112"]


@pytest.mark.parametrize(
    "source",
    [
        node("PreviewAny", source=["1", 0]),  # *
        node("PreviewAny", source="a literal"),
        node("ComfyMathExpression", **{"expression": "a*2", "values.a": 2, "values.b": ["92", 0]}),
        node("ComfySwitchNode", switch=True, on_false=["80", 0], on_true=["80", 0]),
        node("ImageCropV2", image=["80", 0], crop_region={"x": 0, "y": 4, "width": 64, "height": 56}),
        node("SaveAudioAdvanced", audio=["81", 0], filename_prefix="x", format="flac"),
        node(
            "SaveAudioAdvanced",
            **{"audio": ["81", 0], "filename_prefix": "x", "format": "mp3", "format.quality": "V0"},
        ),
        node("PrimitiveString", value={"__value__": "text"}),
    ],
)
def test_newer_kinds_of_inputs_are_understood(source: Graph) -> None:
    extra = {"90": source, "92": node("PrimitiveInt", value=3)}
    assert check(text_to_video() | extra) == []


def test_a_matching_type_is_that_of_what_is_linked() -> None:
    graph = text_to_video()
    graph["90"] = node("ComfySwitchNode", switch=True, on_false=["80", 0], on_true=["80", 0])
    graph["88"]["inputs"]["images"] = ["90", 0]
    assert check(graph) == []
    graph["90"]["inputs"] |= {"on_false": ["56", 0], "on_true": ["56", 0]}
    problem = only(graph)
    assert problem.code == "N110"
    assert "is LATENT" in problem.message


# -------------------------------------------------------------------------------- what is wrong

SAMPLES: list[tuple[str, Graph, str, str]] = [
    ("N100", {}, "there is no node", "API format"),
    ("N100", {"nodes": [], "links": []}, "saved workflow", "API format"),
    ("N101", {**text_to_video(), "9": node("CreatVideo")}, '"CreatVideo"', 'did you mean "CreateVideo"?'),
    ("N102", {**text_to_video(), "9": node("ShellRun")}, '"ShellRun"', "allowed_nodes"),
    ("N104", {**text_to_video(), "9": 5}, "neither class nor inputs", "API format"),
    ("N104", {**text_to_video(), "9": {"inputs": {}}}, '"class_type" is missing', "class"),
    ("N104", {**text_to_video(), "9": {"class_type": "DisableNoise"}}, '"inputs" is missing', "{}"),
    ("N105", with_({"88.fps": None}), '"fps" is missing', "FLOAT, usually 30.0"),
    ("N105", with_({"89.codec": None}), '"codec" is missing', "one of auto, h264"),
    ("N106", with_({"88.fpss": 25}), 'unknown input "fpss"', 'did you mean "fps"?'),
    ("N106", with_({"53.zzz": 25}), 'unknown input "zzz"', "it has sampler_name"),
    ("N107", with_({"88.images": ["80"]}), '["80"], not a link', "node id is text"),
    ("N107", with_({"88.images": [80, 0]}), "[80, 0], not a link", "node id is text"),
    ("N107", with_({"88.images": ["80", "0"]}), '["80", "0"], not a link', "node id is text"),
    ("N108", with_({"88.images": ["800", 0]}), 'unknown node "800"', 'did you mean "80"?'),
    ("N109", with_({"20.clip": ["2", 1]}), "links to output 1 of node", "0 CLIP"),
    ("N109", with_({"20.clip": ["2", -1]}), "links to output -1 of node", "0 CLIP"),
    ("N110", with_({"54.model": ["2", 0]}), "takes MODEL, but output 0 of node", "0 CLIP"),
    ("N110", with_({"80.vae": ["1", 0]}), "takes VAE", 'output 2 of node "1" is VAE'),
    ("N110", with_({"31.input": ["1", 2]}, image_to_video()), "takes IMAGE or MASK", "0 MODEL"),
    ("N110", with_({"89.codec": ["51", 0]}), "takes COMBO", "SIGMAS"),
    ("N111", with_({"88.images": "x"}), '"images" is "x", but takes a link to IMAGE', "node id"),
    ("N112", with_({"40.width": True}), '"width" is true, but takes a whole number', "whole number"),
    ("N112", with_({"40.width": "wide"}), '"width" is "wide"', "whole number"),
    ("N112", with_({"41.frame_rate": 24.5}), '"frame_rate" is 24.5', "whole number"),
    ("N112", with_({"88.fps": float("nan")}), "takes a number", "number"),
    ("N112", with_({"42.bypass": "no"}, image_to_video()), "takes true or false", "true or false"),
    ("N112", with_({"20.text": {"a": 1}}), "takes text", "text"),
    ("N113", with_({"40.width": 0}), '"width" is 0, smaller than the least allowed, 64', "from 64 to 16384"),
    ("N113", with_({"88.fps": 240}), '"fps" is 240, bigger than the most allowed, 120', "from 1 to 120"),
    ("N113", with_({"52.noise_seed": 2**64}), "bigger", "18446744073709551615"),
    ("N114", with_({"53.sampler_name": "eular"}), '"sampler_name" is "eular"', 'did you mean "euler"?'),
    ("N114", with_({"89.format": "webm"}), '"format" is "webm"', "it has auto, mp4"),
    ("N114", with_({"31.scale_method": 1}, image_to_video()), '"scale_method" is 1', "lanczos"),
    ("N115", with_({"10.model": ["10", 0]}), "10 ← 10", "remove"),
    (
        "N116",
        {n: v for n, v in text_to_video().items() if n != "89"},
        "no output node",
        "SaveVideo",
    ),
    ("N117", with_({"1.ckpt_name": "ltx-2-19b-dev.safetensors"}), '"checkpoints"', "dev-fp8"),
]


@pytest.mark.parametrize(("code", "graph", "message", "hint"), SAMPLES)
def test_each_rule_has_a_sample_that_breaks_it_alone(code: str, graph: Graph, message: str, hint: str) -> None:
    problem = only(graph)
    assert problem.code == code
    assert message in problem.message
    assert hint in problem.hint
    assert problem.level == "error"


def test_every_rule_is_sampled() -> None:
    elsewhere = {"N103"}
    assert {code for code, *_ in SAMPLES} | elsewhere == set(nodes.RULES)


def test_every_choice_of_a_dynamic_combo_brings_its_own_inputs() -> None:
    graph = image_to_video()
    graph["31"]["inputs"]["resize_type"] = "scale longer dimension"
    found = [(p.code, p.message.split(" in node")[0]) for p in check(graph)]
    assert found == [
        ("N105", 'required input "resize_type.longer_size" is missing'),
        ("N106", 'unknown input "resize_type.width"'),
        ("N106", 'unknown input "resize_type.height"'),
        ("N106", 'unknown input "resize_type.crop"'),
    ]
    graph["31"]["inputs"]["resize_type"] = "scale"
    assert "N114" in codes(graph)


def test_a_growing_input_needs_its_least_and_checks_each() -> None:
    graph = text_to_video() | {"9": node("ComfyMathExpression", expression="a")}
    assert only(graph).message.startswith('required input "values.a" is missing')
    graph["9"]["inputs"] |= {"values.a": ["1", 0], "values.zz": 1}
    assert codes(graph) == ["N110", "N106"]


@pytest.mark.parametrize("change", [{"40.width": "768"}, {"88.fps": "25"}, {"20.text": 5}, {"42.bypass": 1}])
def test_what_the_server_would_convert_is_a_warning(change: Graph) -> None:
    problem = only(with_(change, image_to_video()))
    assert (problem.code, problem.level) == ("N112", "warning")


def test_steps_of_numbers_are_not_enforced_as_the_server_does_not() -> None:
    assert codes(with_({"40.width": 770, "88.fps": 23.976})) == []


def test_nodes_that_no_output_reaches_are_checked_too() -> None:
    graph = text_to_video() | {"7": node("LTXVEmptyLatentAudio", length=121)}
    found = check(graph)
    assert {p.code for p in found} == {"N105", "N106"}
    assert all('"7"' in p.message for p in found)


def test_a_cycle_is_told_once_and_from_its_least_node() -> None:
    graph = with_({"40.width": ["56", 0], "50.video_latent": ["56", 0]})
    rings = [p.message for p in check(graph) if p.code == "N115"]
    assert rings == ['the links make a cycle, 50 ← 56 ← 55 ← 50, in node "50" (LTXVConcatAVLatent)']


def test_a_problem_names_template_node_title_class_and_place() -> None:
    span = Span("templates/t2v.json.j2", 12, 3)
    problem = only(with_({"55.noise": None}), template="t2v", where=lambda node_id: span)
    assert problem.message == (
        'required input "noise" is missing in node "55" (SamplerCustomAdvanced, "stage 1") of template "t2v"'
    )
    assert problem.span == span


def test_problems_come_by_node_number_whatever_the_order_of_the_graph() -> None:
    graph = with_({"88.fps": None, "10.model": "x", "2.device": "gpu"})
    backwards = dict(reversed(list(graph.items())))
    assert codes(graph) == ["N114", "N111", "N105"]
    assert check(graph) == check(backwards)


# -------------------------------------------------------------------------------- foreign classes


def test_a_foreign_class_needs_an_allowance_even_where_the_server_has_it() -> None:
    info = json.loads(nodes.RECORDED.read_text("utf-8"))
    server = Signatures.from_object_info(info | {"MyNode": info["PreviewAny"] | {"name": "MyNode"}})
    graph = text_to_video() | {"9": node("MyNode", source=1)}

    def found(**options: Any) -> list[str]:
        return [p.code for p in check_graph(graph, server, **options)]

    assert found(allowed=NONE) == ["N102"]
    assert found(allowed=frozenset({"MyNode"})) == []
    assert found(allowed=None) == []


def test_an_allowed_class_is_left_unchecked_without_a_server() -> None:
    graph = text_to_video() | {"9": node("MyNode", x=1), "10": node("PreviewAny", source=["9", 3])}
    graph["54"]["inputs"]["model"] = ["1", 0]
    found = check_graph(graph, CORE, allowed=frozenset({"MyNode"}))
    assert [(p.code, p.level) for p in found] == [("N103", "advice")]
    assert [p.code for p in check_graph(graph, CORE)] == ["N101"]


# -------------------------------------------------------------------------------- lists of inputs


def test_model_inputs_tell_the_folder_of_each_file() -> None:
    graph = text_to_video() | {
        "60": node("LatentUpscaleModelLoader", model_name="up.safetensors"),
        "61": node("VAELoader", vae_name="v.safetensors"),
        "62": node("UNETLoader", unet_name="u.safetensors", weight_dtype="default"),
        "63": node("ForeignLoader", model_name="f.gguf", other="x"),
    }
    found = nodes.model_inputs(graph, CORE)
    assert found[0] == ModelInput(
        "1", "CheckpointLoaderSimple", "ckpt_name", "ltx-2-19b-dev-fp8.safetensors", "checkpoints"
    )
    assert [(m.node, m.input, m.folder) for m in found[1:]] == [
        ("2", "text_encoder", "text_encoders"),
        ("2", "ckpt_name", "checkpoints"),
        ("3", "ckpt_name", "checkpoints"),
        ("10", "lora_name", "loras"),
        ("60", "model_name", "latent_upscale_models"),
        ("61", "vae_name", "vae"),
        ("62", "unet_name", "diffusion_models"),
        ("63", "model_name", ""),
    ]


def test_file_inputs_are_those_by_which_nodes_open_files() -> None:
    graph = image_to_video() | {
        "33": node("LoadVideo", file="a.mp4 [output]"),
        "34": node("LoadAudio", audio=["1", 0]),
        "35": node("LoadLatent", latent="x.latent"),
    }
    assert nodes.file_inputs(graph) == [
        FileInput("30", "LoadImage", "image", "ltxflow/0123456789abcdef.png"),
        FileInput("33", "LoadVideo", "file", "a.mp4 [output]"),
        FileInput("34", "LoadAudio", "audio", ["1", 0]),
        FileInput("35", "LoadLatent", "latent", "x.latent"),
    ]


# -------------------------------------------------------------------------------- any graph

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(st.sampled_from(["1", "55", "88"]), st.integers(-1, 3)).map(list)
    ),
    max_leaves=4,
)


@given(
    st.sampled_from([(n, i) for n, v in image_to_video().items() for i in v["inputs"]]),
    json_values,
    st.dictionaries(st.sampled_from(["1", "55", "x"]), json_values, max_size=2),
)
def test_any_graph_is_checked_without_an_exception(place: tuple[str, str], value: Any, more: Graph) -> None:
    graph = image_to_video()
    graph[place[0]]["inputs"][place[1]] = value
    for problem in check(graph | more):
        assert problem.code in nodes.RULES


@given(
    st.sampled_from([(n, i) for n, v in image_to_video().items() for i in v["inputs"]]),
    json_values | st.sampled_from([True, False, 0, 1, 1.0, ["1", 0], ["1", False], ["1", 1]]),
    st.dictionaries(st.sampled_from(["1", "55", "x"]), json_values, max_size=2),
)
def test_beside_a_graph_that_is_right_a_check_finds_the_same_as_alone(
    place: tuple[str, str], value: Any, more: Graph
) -> None:
    right = image_to_video()
    graph = copy.deepcopy(right)
    graph[place[0]]["inputs"][place[1]] = value
    graph |= more
    assert check(graph, only=nodes.other_values(graph, right)) == check(graph)


def test_beside_a_graph_that_is_right_only_other_values_are_looked_at() -> None:
    right = text_to_video()
    changed = with_({"40.width": 0})
    assert nodes.other_values(changed, right) == ["40"]
    assert codes(changed, only=["40"]) == ["N113"]
    assert nodes.other_values(right, right) == []
    for other in (
        with_({"40.width": None}),
        with_({"50.video_latent": ["42", 0]}, image_to_video()),
        {**right, "x": {}},
    ):
        assert nodes.other_values(other, right) is None


@given(json_values)
def test_anything_as_object_info_gives_signatures(value: Any) -> None:
    Signatures.from_object_info({"A": value, "B": {"input": {"required": {"x": value}}, "output": [value]}})
