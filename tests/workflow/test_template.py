"""Promises of workflow/template.py, jinja.py, render.py and sandbox.py, and of the templates of our profiles."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from fakes.contexts import LORAS, context

from ltxflow.comfy.signatures import recorded_info
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.documents.document import shown
from ltxflow.models.load import load_profile
from ltxflow.workflow.render import render, render_many
from ltxflow.workflow.template import Template, read_template, read_templates, variables

OURS = read_templates("ltx2-19b", None)
SIGNATURES = recorded_info("0.27.0")
HEADER = '{# ltxflow-template: 1\ntitle: "A test"\n#}\n'
NODE = '{"1": {"class_type": "CLIPTextEncode", "inputs": {"text": {{ prompt }}, "clip": ["2", 0]}}}'


def template(folder: Path, body: str, trusted: bool = True, header: str = HEADER, name: str = "t") -> Template:
    path = folder / f"{name}.json.j2"
    path.write_text(header + body, encoding="utf-8")
    return read_template(path, trusted)


def problem(folder: Path, body: str, trusted: bool = True, **values: Any) -> Problem:
    """Return the first problem of rendering `body`, which starts at line 4 of its file."""
    with pytest.raises(LtxflowError) as caught:
        render(template(folder, body, trusted), {"prompt": "x", **values})
    return caught.value.problems[0]


def line(problem: Problem) -> int:
    assert problem.span is not None
    return problem.span.line


# --- our templates: what they are made of
#
# "id Class input=source[.slot]"; the wiring of the official workflows for LTX-2 as they ran on ComfyUI 0.27.0

LOADERS = """
1 CheckpointLoaderSimple
2 LTXAVTextEncoderLoader
3 LTXVAudioVAELoader
20 CLIPTextEncode clip=2
22 LTXVConditioning negative=21 positive=20
40 EmptyLTXVLatentVideo
41 LTXVEmptyLatentAudio audio_vae=3
52 RandomNoise
53 KSamplerSelect
55 SamplerCustomAdvanced guider=54 latent_image=50 noise=52 sampler=53 sigmas=51
56 LTXVSeparateAVLatent av_latent=55
"""
ONE_STAGE = """
80 VAEDecode samples=56 vae=1.2
81 LTXVAudioVAEDecode audio_vae=3 samples=56.1
"""
TWO_STAGES = """
60 LatentUpscaleModelLoader
61 LTXVLatentUpsampler samples=56 upscale_model=60 vae=1.2
71 ManualSigmas
72 RandomNoise
73 KSamplerSelect
74 CFGGuider model=18 negative=22.1 positive=22
75 SamplerCustomAdvanced guider=74 latent_image=70 noise=72 sampler=73 sigmas=71
76 LTXVSeparateAVLatent av_latent=75
80 VAEDecode samples=76 vae=1.2
81 LTXVAudioVAEDecode audio_vae=3 samples=76.1
"""
GUIDED = """
21 CLIPTextEncode clip=2
51 LTXVScheduler latent=50
"""
UNGUIDED = """
21 ConditioningZeroOut conditioning=20
51 ManualSigmas
"""
FROM_TEXT = "50 LTXVConcatAVLatent audio_latent=41 video_latent=40"
FROM_TEXT_AGAIN = "70 LTXVConcatAVLatent audio_latent=56.1 video_latent=61"
FROM_PICTURE = """
30 LoadImage
31 LTXVPreprocess image=30
42 LTXVImgToVideoInplace image=31 latent=40 vae=1.2
50 LTXVConcatAVLatent audio_latent=41 video_latent=42
"""
FROM_PICTURE_AGAIN = """
62 LTXVImgToVideoInplace image=31 latent=61 vae=1.2
70 LTXVConcatAVLatent audio_latent=56.1 video_latent=62
"""
LAST = """
90 ImageFromBatch image=80
91 SaveImage images=90
"""
WHOLE = """
88 CreateVideo audio=81 images=80
89 SaveVideo video=88
"""
CROPPED = """
82 ImageCrop image=80
88 CreateVideo audio=81 images=82
89 SaveVideo video=88
94 CreateVideo audio=81 images=80
95 SaveVideo video=94
"""


def wiring(graph: dict[str, Any]) -> set[str]:
    lines = set()
    for id, node in graph.items():
        links = sorted(
            f"{name}={value[0]}" + (f".{value[1]}" if value[1] else "")
            for name, value in node["inputs"].items()
            if isinstance(value, list)
        )
        lines.add(" ".join([id, node["class_type"], *links]))
    return lines


def expected(name: str, quality: str, stages: int, loras: int, cropped: bool) -> set[str]:
    parts = [LOADERS, TWO_STAGES if stages == 2 else ONE_STAGE, GUIDED if quality == "full" else UNGUIDED, LAST]
    parts.append(FROM_TEXT if name == "t2v" else FROM_PICTURE)
    if stages == 2:
        parts.append(FROM_TEXT_AGAIN if name == "t2v" else FROM_PICTURE_AGAIN)
    parts.append(CROPPED if cropped else WHOLE)
    parts += [f"{101 + n} LoraLoaderModelOnly model={100 + n if n else 1}" for n in range(loras)]
    last = 100 + loras if loras else 1
    if stages == 2 or quality != "full":
        parts.append(f"18 LoraLoaderModelOnly model={last}")
    parts.append(f"54 CFGGuider model={last if quality == 'full' else 18} negative=22.1 positive=22")
    return {line for part in parts for line in part.splitlines() if line}


@pytest.mark.parametrize(
    ("name", "quality", "stages", "loras", "size"),
    [*itertools.product(("t2v", "i2v"), ("preview", "distilled", "full"), (1, 2), (0, 1, 2), ("3:2", "16:9"))],
)
def test_wiring_is_that_of_workflows_that_ran(name: str, quality: str, stages: int, loras: int, size: str) -> None:
    given = context(name, quality, size, stages, loras=list(LORAS[:loras]))
    graph = render(OURS[name], given)
    assert wiring(graph) == expected(name, quality, stages, loras, cropped=given["crop"] is not None)


# --- the other ways a clip is made


def test_first_and_last_frame() -> None:
    made = wiring(render(OURS["flf2v"], context("flf2v")))
    same = expected("i2v", "distilled", 2, 0, cropped=False)
    assert made - same == {
        "36 LoadImage",
        "37 LTXVPreprocess image=36",
        "43 LTXVAddGuide image=37 latent=42 negative=22.1 positive=22 vae=1.2",
        "50 LTXVConcatAVLatent audio_latent=41 video_latent=43.2",
        "54 CFGGuider model=18 negative=43.1 positive=43",
        "59 LTXVCropGuides latent=56 negative=43.1 positive=43",
        "61 LTXVLatentUpsampler samples=59.2 upscale_model=60 vae=1.2",
        "63 LTXVAddGuide image=37 latent=62 negative=59.1 positive=59 vae=1.2",
        "70 LTXVConcatAVLatent audio_latent=56.1 video_latent=63.2",
        "74 CFGGuider model=18 negative=63.1 positive=63",
        "79 LTXVCropGuides latent=76 negative=63.1 positive=63",
        "80 VAEDecode samples=79.2 vae=1.2",
    }


def test_last_frame_is_guided_to_at_the_end() -> None:
    given = context("flf2v", last_frame_strength=0.6, last_frame_strength2=0.6)
    graph = render(OURS["flf2v"], given)
    for id in ("43", "63"):
        assert graph[id]["inputs"]["frame_idx"] == -1
        assert graph[id]["inputs"]["strength"] == 0.6
    assert graph["37"]["inputs"]["img_compression"] == 25
    assert graph["53"]["inputs"]["sampler_name"] == "euler_ancestral"


def test_last_frame_alone() -> None:
    for stages in (1, 2):
        made = wiring(render(OURS["flf2v"], context("flf2v", stages=stages, reference=None)))
        assert "43 LTXVAddGuide image=37 latent=40 negative=22.1 positive=22 vae=1.2" in made
        assert not any("LTXVImgToVideoInplace" in line or line == "30 LoadImage" for line in made)


def test_guides_are_always_taken_off_before_decoding() -> None:
    pictures = {"reference": None}, {"last_frame": None}, {"reference": None, "last_frame": None}, {}
    for name, stages, changes, quality in itertools.product(
        ("flf2v", "control"), (1, 2), pictures, ("preview", "full")
    ):
        if name == "flf2v" and "last_frame" in changes:
            continue
        for temporal in (False, True):
            graph = render(OURS[name], context(name, quality, stages=stages, temporal_upscale=temporal, **changes))
            assert without_guides(graph, "80"), (name, stages, changes)


def without_guides(graph: dict[str, Any], decoder: str) -> bool:
    """Follow the picture up from a decoder: CropGuides must come before any AddGuide, once for each stage."""
    on = False  # seen from below: guides are to be taken off
    id, _ = graph[decoder]["inputs"]["samples"]
    while True:
        node = graph[id]
        match node["class_type"]:
            case "LTXVCropGuides":
                on = True
                id, _ = node["inputs"]["latent"]
            case "LTXVAddGuide":
                if not on:
                    return False
                id, _ = node["inputs"]["latent"]
            case "LTXVLatentUpsampler":
                id, _ = node["inputs"]["samples"]
                on = False
            case "LTXVSeparateAVLatent":
                id, _ = node["inputs"]["av_latent"]
            case "SamplerCustomAdvanced":
                id, _ = node["inputs"]["latent_image"]
            case "LTXVConcatAVLatent":
                id, _ = node["inputs"]["video_latent"]
            case "LTXVImgToVideoInplace":
                id, _ = node["inputs"]["latent"]
            case "EmptyLTXVLatentVideo":
                return True
            case other:
                raise AssertionError(other)


def test_control() -> None:
    made = wiring(render(OURS["control"], context("control", reference=None, last_frame=None, loras=[LORAS[0]])))
    same = expected("t2v", "distilled", 2, 1, cropped=False)
    assert made - same == {
        "17 LoraLoaderModelOnly model=18",
        "19 GetICLoRAParameters iclora_model=17",
        "33 LoadVideo",
        "34 GetVideoComponents video=33",
        "35 ImageFromBatch image=34",
        "38 ResizeImageMaskNode input=35",
        "39 Canny image=38",
        "43 LTXVAddGuide iclora_parameters=19 image=39 latent=40 negative=22.1 positive=22 vae=1.2",
        "50 LTXVConcatAVLatent audio_latent=41 video_latent=43.2",
        "54 CFGGuider model=17 negative=43.1 positive=43",
        "59 LTXVCropGuides latent=56 negative=43.1 positive=43",
        "61 LTXVLatentUpsampler samples=59.2 upscale_model=60 vae=1.2",
        "74 CFGGuider model=18 negative=59.1 positive=59",
    }


def test_guide_is_cut_to_the_clip() -> None:
    inputs = {id: node["inputs"] for id, node in render(OURS["control"], context("control", size="16:9")).items()}
    assert inputs["35"]["length"] == 121
    assert (inputs["38"]["resize_type.width"], inputs["38"]["resize_type.height"]) == (768, 448)
    assert inputs["17"]["lora_name"] == "ltx-2-19b-ic-lora-canny-control.safetensors"


@pytest.mark.parametrize("mode", ["depth", "pose", "detailer", "raw"])
def test_maps_that_come_ready_made_are_taken_as_they_are(mode: str) -> None:
    given = context("control")
    given["control"]["mode"] = mode
    graph = render(OURS["control"], given)
    assert "39" not in graph
    assert graph["43"]["inputs"]["image"] == ["38", 0]


def test_control_without_the_distilled_lora() -> None:
    made = wiring(render(OURS["control"], context("control", "full", stages=1)))
    assert "17 LoraLoaderModelOnly model=1" in made
    assert not any(line.startswith("18 ") for line in made)


def test_extend() -> None:
    made = wiring(render(OURS["extend"], context("extend")))
    same = expected("t2v", "distilled", 2, 0, cropped=False)
    assert made - same == {
        "33 LoadVideo",
        "34 GetVideoComponents video=33",
        "35 ImageFromBatch image=34",
        "42 LTXVImgToVideoInplace image=35 latent=40 vae=1.2",
        "201 TrimAudioDuration audio=34.1",
        "202 LTXVAudioVAEEncode audio=201 audio_vae=3",
        "203 LatentConcat samples1=202 samples2=41",
        "204 LatentCut samples=203",
        "205 SolidMask",
        "206 SolidMask",
        "207 MaskComposite destination=205 source=206",
        "208 SetLatentNoiseMask mask=207 samples=204",
        "50 LTXVConcatAVLatent audio_latent=208 video_latent=42",
        "62 LTXVImgToVideoInplace image=35 latent=61 vae=1.2",
        "70 LTXVConcatAVLatent audio_latent=56.1 video_latent=62",
        "83 ImageFromBatch image=80",
        "85 TrimAudioDuration audio=81",
        "88 CreateVideo audio=85 images=83",
        "90 ImageFromBatch image=83",
    }


def test_extend_delivers_the_new_frames_and_their_sound() -> None:
    inputs = {id: node["inputs"] for id, node in render(OURS["extend"], context("extend")).items()}
    assert (inputs["35"]["batch_index"], inputs["35"]["length"]) == (-25, 25)
    assert inputs["42"]["strength"] == inputs["62"]["strength"] == 1.0
    assert inputs["83"]["batch_index"] == 25
    assert inputs["85"]["start_index"] == 1.0


@pytest.mark.parametrize(
    ("frames", "fps", "k", "blocks", "sound", "kept"),
    [
        (121, 25, 25, 10, 121, 24),  # as it ran
        (121, 25, 9, 3, 121, 7),
        (97, 24, 17, 7, 102, 17),
        (249, 50, 49, 10, 125, 24),
    ],
)
def test_continued_sound_is_whole_blocks(frames: int, fps: int, k: int, blocks: int, sound: int, kept: int) -> None:
    given = context("extend", frames=frames, fps=fps)
    given["extend"] |= {"frames": 200, "k": k}
    inputs = {id: node["inputs"] for id, node in render(OURS["extend"], given).items()}
    assert inputs["201"]["start_index"] == (200 - k) / fps
    assert inputs["201"]["duration"] == blocks * 4096 / 44100
    assert inputs["201"]["duration"] <= k / fps - 0.04
    assert inputs["204"]["amount"] == inputs["205"]["height"] == sound
    assert inputs["206"]["height"] == kept


def test_extend_with_fresh_sound_takes_none_from_before() -> None:
    given = context("extend")
    given["extend"]["audio"] = "fresh"
    made = wiring(render(OURS["extend"], given))
    assert "50 LTXVConcatAVLatent audio_latent=41 video_latent=42" in made
    assert not any(line.startswith("20") and len(line.split()[0]) == 3 for line in made)


def test_values_of_the_official_workflow() -> None:
    graph = render(OURS["i2v"], context("i2v", "full", "16:9"))
    values = {
        f"{id}.{name}": value
        for id, node in graph.items()
        for name, value in node["inputs"].items()
        if not isinstance(value, list)
    }
    assert values == {
        "1.ckpt_name": "ltx-2-19b-dev-fp8.safetensors",
        "2.ckpt_name": "ltx-2-19b-dev-fp8.safetensors",
        "2.text_encoder": "gemma_3_12B_it_fp8_scaled.safetensors",
        "2.device": "cpu",
        "3.ckpt_name": "ltx-2-19b-dev-fp8.safetensors",
        "18.lora_name": "ltx-2-19b-distilled-lora-384.safetensors",
        "18.strength_model": 1.0,
        "20.text": "A vault opens; a deep hum",
        "21.text": "blurry",
        "22.frame_rate": 25.0,
        "30.image": "ltxflow/0123456789abcdef.png",
        "31.img_compression": 33,
        "40.width": 768,
        "40.height": 448,
        "40.length": 121,
        "40.batch_size": 1,
        "41.frames_number": 121,
        "41.frame_rate": 25,
        "41.batch_size": 1,
        "42.strength": 1.0,
        "42.bypass": False,
        "51.steps": 20,
        "51.max_shift": 2.05,
        "51.base_shift": 0.95,
        "51.stretch": True,
        "51.terminal": 0.1,
        "52.noise_seed": 42,
        "53.sampler_name": "euler",
        "54.cfg": 4.0,
        "60.model_name": "ltx-2-spatial-upscaler-x2-1.0.safetensors",
        "62.strength": 1.0,
        "62.bypass": False,
        "71.sigmas": "0.909375, 0.725, 0.421875, 0.0",
        "72.noise_seed": 0,
        "73.sampler_name": "gradient_estimation",
        "74.cfg": 1.0,
        "82.width": 1536,
        "82.height": 864,
        "82.x": 0,
        "82.y": 16,
        "88.fps": 25.0,
        "89.filename_prefix": "ltxflow/hook-a",
        "89.format": "mp4",
        "89.codec": "h264",
        "90.batch_index": -1,
        "90.length": 1,
        "91.filename_prefix": "ltxflow/hook-a-last",
        "94.fps": 25.0,
        "95.filename_prefix": "ltxflow/hook-a-uncropped",
        "95.format": "mp4",
        "95.codec": "h264",
    }


def test_frame_rate_has_the_type_each_node_takes() -> None:
    graph = render(OURS["t2v"], context("t2v"))
    assert isinstance(graph["22"]["inputs"]["frame_rate"], float)
    assert isinstance(graph["41"]["inputs"]["frame_rate"], int)
    assert isinstance(graph["88"]["inputs"]["fps"], float)


def test_decoder_is_tiled_if_the_context_has_tiling() -> None:
    small = render(OURS["t2v"], context("t2v", size="3:2"))
    large = render(OURS["t2v"], context("t2v", size="1920x1080"))
    assert small["80"]["class_type"] == "VAEDecode"
    assert large["80"]["class_type"] == "VAEDecodeTiled"
    assert large["80"]["inputs"]["temporal_size"] == 4096


def test_temporal_upscale_doubles_the_rate_between_sampling_and_decoding() -> None:
    graph = render(OURS["t2v"], context("t2v", "full", temporal_upscale=True))
    assert {"66 LatentUpscaleModelLoader", "67 LTXVLatentUpsampler samples=76 upscale_model=66 vae=1.2"} <= wiring(
        graph
    )
    assert "80 VAEDecode samples=67 vae=1.2" in wiring(graph)
    assert graph["66"]["inputs"]["model_name"] == "ltx-2-temporal-upscaler-x2-1.0.safetensors"
    assert graph["88"]["inputs"]["fps"] == 50.0
    assert graph["22"]["inputs"]["frame_rate"] == 25.0
    assert graph["40"]["inputs"]["length"] == 121


def test_stage_2_takes_a_separate_seed() -> None:
    given = context("t2v")
    given["stage2"]["seed"] = 9
    assert render(OURS["t2v"], given)["72"]["inputs"]["noise_seed"] == 9


def test_guidance_in_stage_2_alone_brings_the_negative_prompt() -> None:
    given = context("t2v")
    given["stage2"]["cfg"] = 2.0
    assert render(OURS["t2v"], given)["21"]["class_type"] == "CLIPTextEncode"


@pytest.mark.parametrize(("quality", "size"), [("full", "1920x1080"), ("distilled", "3:2"), ("preview", "16:9")])
@pytest.mark.parametrize("name", sorted(OURS))
def test_every_node_and_input_is_known_to_comfyui(name: str, quality: str, size: str) -> None:
    graph = render(OURS[name], context(name, quality, size, loras=list(LORAS)))
    for id, node in graph.items():
        signature = SIGNATURES[node["class_type"]]
        required = signature["input"].get("required", {})
        optional = signature["input"].get("optional", {})
        inputs = {input.split(".")[0] for input in node["inputs"]}  # "resize_type.width": of a choice
        assert set(required) <= inputs, (id, node)
        assert inputs <= {*required, *optional}, (id, node)
        for input, value in node["inputs"].items():
            if "." in input:
                continue
            kind = {**required, **optional}.get(input, [None])[0]
            if isinstance(value, list):
                source = SIGNATURES[graph[value[0]]["class_type"]]["output"][value[1]]
                assert source == kind or "COMFY_MATCHTYPE_V3" in (source, kind), (id, input)
            elif kind == "INT":
                assert type(value) is int, (id, input)
            elif kind == "FLOAT":
                assert type(value) in (int, float), (id, input)
            elif kind == "BOOLEAN":
                assert type(value) is bool, (id, input)
            else:
                assert isinstance(value, str), (id, input)


@pytest.mark.parametrize("name", sorted(OURS))
def test_header_names_the_variables_the_template_uses(name: str) -> None:
    header = OURS[name].header
    parts = {"last_frame", "extend", "control", "reference", "keyframes"}
    both = {"reference", "last_frame"}
    optional = {"flf2v": {"reference"}, "control": both, "keyframes": both}
    assert header.title
    assert header.way
    assert set(header.needs) <= parts
    assert set(header.needs) <= header.variables
    assert header.variables <= set(context())
    assert header.variables <= variables(OURS[name])
    assert header.variables & parts == {*header.needs, *optional.get(name, set())}


def test_titles_tell_nodes_apart() -> None:
    for name, ours in OURS.items():
        graph = render(ours, context(name, "full", "1920x1080", loras=list(LORAS)))
        titles = [node["_meta"]["title"] for node in graph.values()]
        assert len(titles) == len(set(titles)), name


def test_every_template_of_ours_renders_with_only_what_it_names() -> None:
    for name, ours in OURS.items():
        for quality in load_profile("ltx2-19b").qualities:
            given = context(name, quality, loras=list(LORAS))
            render(ours, {key: given[key] for key in ours.header.variables})


# --- a text stays a text

INJECTIONS = [
    'x", "clip": ["2", 0]}}, "99": {"class_type": "SaveImage", "inputs": {"images": "',
    '"}}, "98": {"class_type": "LoadImage", "inputs": {"image": "/etc/hostname"',
    "{{ seed }} {% for x in range(3) %}x{% endfor %} {# gone #}",
    'back\\slash \\" \\u0022 \n\r\t \x00\x1f\x7f',
    "</script><b>&amp;&quot;'",
    "\u2028\u2029\ufeff\U0001f600 é",
    '["1", 0]',
    "null",
    "  spaces  ",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_prompt_stays_one_text(text: str) -> None:
    given = context("i2v", "full", loras=[{"name": text, "strength": 1.0}])
    given |= {"prompt": text, "negative": text, "reference": text, "prefix": text}
    graph = render(OURS["i2v"], given)
    assert graph["20"]["inputs"]["text"] == text
    assert graph["21"]["inputs"]["text"] == text
    assert graph["30"]["inputs"]["image"] == text
    assert graph["101"]["inputs"]["lora_name"] == text
    assert graph["89"]["inputs"]["filename_prefix"] == text
    assert wiring(graph) == wiring(render(OURS["i2v"], context("i2v", "full", loras=[dict(LORAS[0])])))


@pytest.mark.parametrize(
    "body",
    [
        '{"1": {"class_type": {{ prompt }}, "inputs": {}}}',
        '{ {{ prompt }}: {"class_type": "A", "inputs": {}}}',
        '{"1": {"class_type": "A", "inputs": { {{ prompt }}: 1}}}',
        '{"1": {"class_type": "A", "inputs": {"a": {{ [prompt, 0] }} }}}',
        '{"1": {"class_type": "A", "inputs": {}}{% if prompt == "x" %}, "2":'
        ' {"class_type": "B", "inputs": {}}{% endif %}}',
        '{"1": {"class_type": "A", "inputs": {}}{% for w in prompt.split("x") %}, "{{ loop.index + 1 }}":'
        ' {"class_type": "B", "inputs": {}}{% endfor %}}',
    ],
)
def test_text_that_changes_nodes_is_refused(tmp_path: Path, body: str) -> None:
    assert problem(tmp_path, body).message == "a text in the template changes its nodes"


def test_structural_values_may_decide(tmp_path: Path) -> None:
    body = (
        '{"1": {"class_type": {{ "A" if stages == 2 else "B" }}, "inputs": {}}'
        '{% for lora in loras %}, "{{ 2 + loop.index }}": {"class_type": "L", "inputs": {"n": {{ lora.name }} }}'
        "{% endfor %}"
        '{% if control.mode == "canny" %}, "2": {"class_type": "Canny", "inputs": {}}{% endif %}}'
    )
    made = template(tmp_path, body)
    graph = render(made, {"stages": 2, "loras": [{"name": "a"}, {"name": "b"}], "control": {"mode": "canny"}})
    assert sorted(graph) == ["1", "2", "3", "4"]
    assert graph["1"]["class_type"] == "A"


def test_values_of_every_kind_become_json(tmp_path: Path) -> None:
    body = """
    {% macro m(x) %}{"x": {{ x }}, "t": {{ true }}}{% endmacro %}
    {% set block %}[{{ 1 }}, {{ "a<b" }}]{% endset %}
    {"1": {"class_type": "A", "inputs": {
      "none": {{ none }}, "true": {{ true }}, "int": {{ 4 }}, "float": {{ 4.0 }}, "constant": {{ "a \\" b" }},
      "joined": {{ "x" ~ prompt ~ 1 }}, "list": {{ [[1, prompt], 2, {"k": prompt}] }}, "macro": {{ m(prompt) }},
      "set": {{ block }}, "filter": {{ prompt | upper }}, "replaced": {{ prompt | replace("<", ">") }},
      "json": {{ prompt | tojson }}
    }}}
    """
    text = "\"<&>'"
    inputs = render(template(tmp_path, body), {"prompt": text})["1"]["inputs"]
    assert inputs == {
        "none": None,
        "true": True,
        "int": 4,
        "float": 4.0,
        "constant": 'a " b',
        "joined": f"x{text}1",
        "list": [[1, text], 2, {"k": text}],
        "macro": {"x": text, "t": True},
        "set": [1, "a<b"],
        "filter": text.upper(),
        "replaced": text.replace("<", ">"),
        "json": text,
    }


@pytest.mark.parametrize("filter", ["safe", "e", "escape", "forceescape", "random", "xmlattr", "urlize"])
def test_filters_that_pass_text_as_json_are_gone(tmp_path: Path, filter: str) -> None:
    found = problem(tmp_path, f'{{"1": {{{{ prompt | {filter} }}}}}}')
    assert found.message == f'no filter named "{filter}"'
    assert line(found) == 4


# --- errors stand at their line


def test_missing_variable(tmp_path: Path) -> None:
    found = problem(tmp_path, '{"1": {"class_type": "A",\n "inputs": {"a": {{ promt }} }}}')
    assert found.message == '"promt" is undefined'
    assert line(found) == 5
    assert found.span is not None
    assert found.span.file.endswith("t.json.j2")
    assert "docs/how-to/workflows.md" in found.hint


def test_syntax_error(tmp_path: Path) -> None:
    with pytest.raises(LtxflowError) as caught:
        template(tmp_path, "{\n{% if %}\n}")
    assert line(caught.value.problems[0]) == 5


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ('{\n"1": {"class_type": "A", "inputs": {}},\n}', 6),
        ('{\n"1": {"class_type": "A"\n "inputs": {}}\n}', 6),
        ('{\n{% for n in [1, 2] %}\n"{{ n }}": {"class_type": "A", "inputs": {}}\n{% endfor %}\n}', 6),
        ('{\n"1": {"class_type": "A", "inputs": {"text": "{{ prompt }}"}}\n}', 5),
        ('{\n"1": {"class_type": "A", "inputs": {"text": \n  {{ 1 }} {{ 2 }}\n}}\n}', 6),
    ],
)
def test_json_error_is_shown_where_the_template_wrote_it(tmp_path: Path, body: str, at: int) -> None:
    found = problem(tmp_path, body)
    assert found.message.startswith("the template does not render to JSON: ")
    assert line(found) == at


def test_json_error_in_a_part_is_shown_in_the_part(tmp_path: Path) -> None:
    (tmp_path / "_p.j2").write_text('{% macro m() %}\n"1": {"class_type": "A",\n ,"inputs": {}}\n{% endmacro %}')
    found = problem(tmp_path, '{% import "_p.j2" as p with context %}\n{ {{ p.m() }} }')
    assert found.span is not None
    assert found.span.file.endswith("_p.j2")
    assert line(found) == 3


def test_error_in_a_part_is_shown_in_the_part(tmp_path: Path) -> None:
    (tmp_path / "_p.j2").write_text("{% macro m() %}\n{{ nothing }}\n{% endmacro %}")
    found = problem(tmp_path, '{% import "_p.j2" as p with context %}\n{ {{ p.m() }} }')
    assert found.span is not None
    assert found.span.file.endswith("_p.j2")
    assert line(found) == 2


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("[]", "the template does not render to an object of nodes"),
        ("{}", "the template does not render to an object of nodes"),
        ('{"nodes": [], "links": []}', '"nodes" is not a node: it needs "class_type" and "inputs"'),
        ('{"1": {"class_type": "A"}}', '"1" is not a node: it needs "class_type" and "inputs"'),
        ('{"1": {"class_type": 1, "inputs": {}}}', '"1" is not a node: it needs "class_type" and "inputs"'),
    ],
)
def test_other_json_than_a_graph_is_refused(tmp_path: Path, body: str, message: str) -> None:
    found = problem(tmp_path, body)
    assert found.message == message
    assert "Export (API)" in found.hint


@pytest.mark.parametrize(
    "body", ['{"1": NaN}', '{"1": {"a": 1, "a": 2}}', '{"1": {{ 1e999 }} }', '{"1": {{ range }} }']
)
def test_other_text_than_json_is_refused(tmp_path: Path, body: str) -> None:
    with pytest.raises(LtxflowError):
        render(template(tmp_path, body), {})


@pytest.mark.parametrize(
    ("header", "message", "at"),
    [
        ("", "the template has no header", 1),
        ("{# a comment #}\n", "the template has no header", 1),
        ("{# ltxflow-template: 2\ntitle: a #}\n", "unknown template format 2", 1),
        ("{# ltxflow-template: 1\ntitle: a\nneed: [reference] #}\n", 'unknown header field "need"', 3),
        ("{# ltxflow-template: 1\ntitle: a\n\nneeds: reference #}\n", '"needs" is not a list of names', 4),
    ],
)
def test_header_problems_stand_at_their_line(tmp_path: Path, header: str, message: str, at: int) -> None:
    with pytest.raises(LtxflowError) as caught:
        template(tmp_path, NODE, header=header)
    found = caught.value.problems[0]
    assert found.message == message
    assert line(found) == at
    assert found.hint


# --- parts and shadowing


def test_parts_come_only_from_the_folder_of_the_template(tmp_path: Path) -> None:
    (tmp_path / "_outside.j2").write_text("secret")
    (tmp_path / "own").mkdir()
    for name in ("../_outside.j2", "/etc/hostname", "own.json.j2", "_missing.j2", "_outside.j2"):
        with pytest.raises(LtxflowError) as caught:
            template(tmp_path / "own", f'\n{{% include "{name}" %}}')
        assert name in caught.value.problems[0].message
        assert line(caught.value.problems[0]) == 5


def test_part_named_by_an_expression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LtxflowError, match="an expression names a part"):
        template(tmp_path, "{% include prompt %}")


def test_digest_covers_the_parts_it_uses_and_no_others(tmp_path: Path) -> None:
    body = '{% include "_a.j2" %}'
    (tmp_path / "_a.j2").write_text('{% include "_b.j2" %}')
    (tmp_path / "_b.j2").write_text(NODE)
    (tmp_path / "_c.j2").write_text("other")
    first = template(tmp_path, body)
    (tmp_path / "_c.j2").write_text("changed")
    assert template(tmp_path, body).digest == first.digest
    (tmp_path / "_b.j2").write_text(NODE + " ")
    assert template(tmp_path, body).digest != first.digest
    assert sorted(first.parts) == ["_a.j2", "_b.j2"]


def test_project_shadows_ours_and_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "templates" / "ltx2-19b").mkdir(parents=True)
    template(tmp_path / "templates", NODE, name="t2v")
    template(tmp_path / "templates", NODE, name="mine")
    template(tmp_path / "templates" / "ltx2-19b", NODE, name="mine", header=HEADER.replace("A test", "For the model"))
    found = read_templates("ltx2-19b", tmp_path)
    assert set(found) == {*OURS, "mine"}
    assert (found["t2v"].trusted, found["mine"].trusted, found["i2v"].trusted) == (False, False, True)
    assert found["mine"].header.title == "For the model"
    assert found["i2v"].digest == OURS["i2v"].digest


def test_an_unreadable_file_is_reported_where_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "a.json.j2").write_text("{}")
    (tmp_path / "templates" / "b.json.j2").write_bytes(b"\xff\xfe")
    (tmp_path / "templates" / "c.json.j2").write_text(HEADER + "{% if %}")
    found = read_templates("ltx2-19b", tmp_path)
    assert [name for name, one in sorted(found.items()) if one.problems] == ["a", "b", "c"]
    assert {problem.span.file for name in "abc" for problem in found[name].problems if problem.span} == {
        shown(tmp_path / "templates" / f"{name}.json.j2") for name in "abc"
    }
    assert len({found[name].digest for name in "abc"}) == 3  # trust binds to what they hold


def test_variables_include_those_of_parts(tmp_path: Path) -> None:
    (tmp_path / "_p.j2").write_text("{% macro m(x) %}{{ x }}{{ seed }}{% endmacro %}")
    made = template(
        tmp_path, '{% import "_p.j2" as p with context %}{% for n in range(2) %}{{ p.m(n) }}{{ prompt }}{% endfor %}'
    )
    assert variables(made) == {"seed", "prompt"}


def test_reading_computes_nothing(tmp_path: Path) -> None:
    body = '{{ "a" * 10**11 }}{{ "a" | center(10**11) }}{{ prompt }}'
    assert variables(template(tmp_path, body, trusted=False)) == {"prompt"}


@pytest.mark.parametrize("body", ["{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "{{ " + "9" * 5000 + " }}"])
def test_what_jinja_chokes_on_is_a_problem_of_the_template(tmp_path: Path, body: str) -> None:
    with pytest.raises(LtxflowError) as caught:
        template(tmp_path, body)
    assert caught.value.problems[0].code == "T004"


# --- templates that are not ours render in a child


def test_child_gives_what_ours_would(tmp_path: Path) -> None:
    ours = OURS["i2v"]
    theirs = Template(ours.name, ours.path, ours.text, ours.digest, ours.header, False, ours.parts, ours.shown)
    contexts = [context("i2v", "full", seed=n, prompt=INJECTIONS[n]) for n in range(3)]
    assert render_many(theirs, contexts) == render_many(ours, contexts)
    assert render_many(theirs, []) == []


def test_child_shows_problems_where_they_are(tmp_path: Path) -> None:
    found = problem(tmp_path, '{"1": {"class_type": "A",\n "inputs": {"a": {{ promt }} }}}', trusted=False)
    assert found.message == '"promt" is undefined'
    assert line(found) == 5


@pytest.mark.parametrize(
    "body",
    [
        "{{ 'a' * 10**9 }}",
        "{{ ['a' * 10**6] * 10**6 }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a * b %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
        "{{ 9 ** 99999999 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_child_has_bounds(tmp_path: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ltxflow.workflow.sandbox.CHILD_SECONDS", 1)
    found = problem(tmp_path, body, trusted=False)
    assert found.code in ("T006", "T007")


def test_a_template_that_writes_without_end_is_stopped_with_that_reason(tmp_path: Path) -> None:
    found = problem(tmp_path, "{% for a in range(99999) %}" + "x" * 1000 + "{% endfor %}", trusted=False)
    assert (found.code, found.message) == ("T006", "the template writes more than 4 MB")
    assert found.hint.startswith("check its loops")


@pytest.mark.parametrize(
    "body",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ prompt.__init__.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ [].append(1) }}",
        "{{ cycler.__init__.__globals__.os }}",
        "{{ lipsum() }}",
    ],
)
def test_sandbox_holds(tmp_path: Path, body: str) -> None:
    for trusted in (True, False):
        assert problem(tmp_path, body, trusted=trusted).code in ("T005", "T007")


def test_child_sees_no_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltxflow.workflow import sandbox as module

    seen: dict[str, Any] = {}
    run = module.subprocess.run

    def spy(*args: Any, **options: Any) -> Any:
        seen.update(options["env"])
        return run(*args, **options)

    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    monkeypatch.setattr(module.subprocess, "run", spy)
    render(template(tmp_path, NODE, trusted=False), {"prompt": "x"})
    assert "OPENAI_API_KEY" not in seen
