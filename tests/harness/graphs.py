"""Small graphs in API format, the signatures of servers that run them, and every way to make a graph wrong."""

from __future__ import annotations

import copy
from typing import Any

from fakes.comfyui import MODELS_LTX2
from fakes.graphs import with_models
from hypothesis import strategies as st

from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.signatures import Signatures, recorded_info, versions
from ltxflow.core.errors import Problem

Graph = dict[str, Any]
CORE: Signatures = Signatures.recorded()
NONE: frozenset[str] = frozenset()
NEWEST, OLDEST = versions()[0], versions()[-1]


def server(version: str, **extra: Graph) -> Signatures:
    """Return the signatures of a server of a version: it lists its files, and may have `extra` classes."""
    return Signatures.from_object_info(with_models(recorded_info(version), MODELS_LTX2, {}) | extra)


SERVERS = {version: server(version) for version in versions()}


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


def check(graph: Any, signatures: Signatures = CORE, **options: Any) -> list[Problem]:
    return check_graph(graph, signatures, allowed=NONE, **options)


def renamed(path: str, new: str) -> Graph:
    """The graph with an input under another name."""
    node_id, _, name = path.partition(".")
    value = text_to_video()[node_id]["inputs"][name]
    return with_({path: None, f"{node_id}.{new}": value})


SAMPLES: list[tuple[str, Graph, str, str]] = [
    ("N100", {}, "no nodes", "API format"),
    ("N100", {"nodes": [], "links": []}, "saved workflow", "API format"),
    ("N101", {**text_to_video(), "9": node("CreatVideo")}, '"CreatVideo"', 'did you mean "CreateVideo"?'),
    ("N102", {**text_to_video(), "9": node("ShellRun")}, '"ShellRun"', "allowed_nodes"),
    ("N104", {**text_to_video(), "9": 5}, "neither class nor inputs", "API format"),
    ("N104", {**text_to_video(), "9": {"inputs": {}}}, '"class_type" is missing', "class"),
    ("N104", {**text_to_video(), "52": {"class_type": "DisableNoise"}}, '"inputs" is missing', "{}"),
    ("N105", with_({"88.images": None}), '"images" is missing', "write IMAGE"),
    ("N105", renamed("88.fps", "fpss"), '"fps" is missing', 'rename "fpss" to "fps"'),
    ("N105", renamed("53.sampler_name", "sampler"), '"sampler_name" is missing', 'rename "sampler"'),
    ("N107", with_({"88.images": ["80"]}), '["80"], not a link', "node id is text"),
    ("N107", with_({"88.images": [80, 0]}), "[80, 0], not a link", "node id is text"),
    ("N107", with_({"88.images": ["80", "0"]}), '["80", "0"], not a link', "node id is text"),
    ("N108", with_({"88.images": ["800", 0]}), 'unknown node "800"', 'did you mean "80"?'),
    ("N109", with_({"20.clip": ["2", 1]}), "links to output 1 of node", "0 CLIP"),
    ("N110", with_({"54.model": ["2", 0]}), "takes MODEL, but output 0 of node", "0 CLIP"),
    ("N110", with_({"80.vae": ["1", 0]}), "takes VAE", 'output 2 of node "1" is VAE'),
    ("N110", with_({"53.sampler_name": ["51", 0]}), "takes COMBO", "SIGMAS"),
    ("N112", with_({"40.width": "wide"}), '"width" is "wide"', "whole number"),
    ("N112", with_({"40.width": "12.5"}), '"width" is "12.5"', "whole number"),
    ("N112", with_({"88.fps": None} | {"88.fps": {"a": 1}}), "takes a number", "number"),
    ("N112", with_({"52.noise_seed": float("nan")}), "takes a whole number", "whole number"),
    ("N112", with_({"1.ckpt_name": 5}), "takes a file name", "file name"),
    ("N113", with_({"40.width": 0}), '"width" is 0, below the minimum of 64', "from 64 to 16384"),
    ("N113", with_({"40.width": "0"}), '"width" is 0, below the minimum of 64', "from 64 to 16384"),
    ("N113", with_({"88.fps": 240}), '"fps" is 240, above the maximum of 120', "from 1 to 120"),
    ("N113", with_({"52.noise_seed": 2**64}), "above", "18446744073709551615"),
    ("N114", with_({"53.sampler_name": "eular"}), '"sampler_name" is "eular"', 'did you mean "euler"?'),
    ("N114", with_({"31.scale_method": 1}, image_to_video()), '"scale_method" is 1', "lanczos"),
    ("N115", with_({"10.model": ["10", 0]}), "10 ← 10", "remove"),
    ("N116", {n: v for n, v in text_to_video().items() if n != "89"}, "no output node", "SaveVideo"),
    ("N117", with_({"1.ckpt_name": "ltx-2-19b-dev.safetensors"}), '"checkpoints"', "dev-fp8"),
]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        | st.tuples(st.sampled_from(["1", "55", "88"]), st.integers(-1, 3)).map(list)
    ),
    max_leaves=4,
)
PLACES = [(n, i) for n, v in image_to_video().items() for i in v["inputs"]]
values = json_values | st.sampled_from(
    ["h264", "av1", "mp4", "mkv", "scale dimensions", "768", 9, 25.5, True, ["88", 0]]
)
