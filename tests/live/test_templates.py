"""Every template of every model of ours, rendered once on a real ComfyUI, small and short; its files are checked."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fakes import media
from fakes.contexts import context
from harness.live import Live, new_id
from harness.media import canned

from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.client import Client
from ltxflow.comfy.graph import OUTPUTS, outputs_of
from ltxflow.comfy.progress import follow
from ltxflow.comfy.signatures import Signatures, core_classes
from ltxflow.farm.transfer import SOUND_SLACK_S
from ltxflow.media.image import read_image
from ltxflow.media.probe import probe_mp4
from ltxflow.models.load import shipped_profiles
from ltxflow.models.profile import Profile, matching_files
from ltxflow.steps import reference
from ltxflow.workflow.render import render
from ltxflow.workflow.template import read_templates

PROFILES = {profile.name: profile for profile in shipped_profiles()}
FIRST = "ltx2-19b"
TEMPLATES = read_templates(FIRST, None)  # which all of our profiles share
K = 9  # frames that a continuation looks at


@dataclass(frozen=True)
class Case:
    """One template in one of its ways. Without stages it is in those of its quality."""

    name: str
    template: str
    quality: str = "distilled"
    stages: int | None = None
    is_cropped: bool = False
    temporal: bool = False
    changes: dict[str, Any] | None = None


CASES = (
    Case("t2v", "t2v"),
    Case("t2v-full", "t2v", "full", stages=1),
    Case("t2v-temporal", "t2v", temporal=True),
    Case("i2v", "i2v", is_cropped=True),
    Case("i2v-preview", "i2v", "preview"),
    Case("i2v-full", "i2v", "full"),
    Case("i2v-temporal", "i2v", stages=1, temporal=True),
    Case("flf2v", "flf2v", is_cropped=True),
    Case("flf2v-two", "flf2v", stages=2),
    Case("keyframes", "keyframes"),
    Case("keyframes-two", "keyframes", stages=2),
    Case("extend", "extend", is_cropped=True),
    Case("extend-fresh", "extend", stages=1, changes={"audio": "fresh"}),
    Case("control", "control"),
    Case("t2i", "t2i", stages=1, is_cropped=True),
)
ALL = [(name, case) for name, profile in PROFILES.items() for case in CASES if case.quality in profile.qualities]


def test_every_template_has_a_case_of_every_model() -> None:
    for name in PROFILES:
        assert {case.template for which, case in ALL if which == name} == set(TEMPLATES)


async def _models(client: Client, profile: Profile) -> dict[str, str]:
    """The server's file for each role, of the first precision that it has."""
    found = {}
    for role, model in profile.models.items():
        available = await client.models(model.folder)
        names = (model.find(precision, available) for precision in model.order)
        found[role] = next((name for name in names if name), "")
    return found


def _used(value: Any, graph: dict[str, Any]) -> bool:
    return any(value in node["inputs"].values() for node in graph.values())


async def _graph(client: Client, live: Live, profile: Profile, case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """The workflow of a case, with all it reads sent; skipped where the server lacks a model."""
    wanted = (live.size[0] - 8, live.size[1] - 8) if case.is_cropped else live.size
    lacking = [name for name in profile.needs.nodes if await client.object_info_class(name) is None]
    if lacking:
        pytest.skip(f"the server has no node {', '.join(lacking)}")
    found = await _models(client, profile)
    loras = await client.models("loras")
    control = next(iter(matching_files([profile.control_loras["canny"]], loras)), "")
    told = context(case.template, case.quality, f"{wanted[0]}x{wanted[1]}", case.stages, profile.name)
    decoded = told["decoded_width"], told["decoded_height"]
    still = media.png(media.one_colour((40, 90), *decoded, 1), {})
    video = canned(33, decoded, live.fps, "live")
    picture = await client.files.upload(f"{hashlib.sha256(still).hexdigest()[:32]}.png", still)
    before = await client.files.upload(f"{hashlib.sha256(video).hexdigest()[:32]}.mp4", video)
    guide = {"image": picture, "strength": 0.7, "strength2": 1.0, "compression": 25}
    told |= {
        "models": {role: name or f"no {role}" for role, name in found.items()},
        "seed": 7,
        "reference": None if case.template == "keyframes" else picture,
        "last_frame": picture if case.template == "flf2v" else None,
        "keyframes": [{**guide, "index": index, "index2": index} for index in (0, 8, -1)],
        "frames": reference.FRAMES if case.template == "t2i" else live.frames,
        "fps": live.fps,
        "temporal_upscale": case.temporal,
        "control": {"lora": control or "no control LoRA", "video": before, "strength": 1.0, "mode": "canny"},
        "extend": {"video": before, "frames": 33, "k": K, "audio": "pinned", **(case.changes or {})},
        "prefix": f"ltxflow-live/{profile.name}-{case.name}",
        "text_encoder_device": profile.text_encoder_device,
    }
    graph = render(TEMPLATES[case.template], told)
    missing = [role for role, name in found.items() if not name and _used(f"no {role}", graph)]
    if _used("no control LoRA", graph):
        missing.append(profile.control_loras["canny"])
    if missing:
        pytest.skip(f"the server has no {', '.join(missing)}")
    return graph, told


@pytest.mark.live
@pytest.mark.parametrize(("model", "case"), ALL, ids=[f"{name}-{case.name}" for name, case in ALL])
def test_template_renders_what_it_promises(model: str, case: Case, live: Live, tmp_path: Path) -> None:
    profile = PROFILES[model]

    async def work(client: Client) -> dict[str, Any]:
        graph, told = await _graph(client, live, profile, case)
        signatures = Signatures.from_object_info(await client.object_info())
        problems = check_graph(
            graph, signatures, template=case.template, where=lambda node: None, models=True, allowed=core_classes()
        )
        assert [problem.message for problem in problems if problem.level == "error"] == []
        submitted = await client.submit(graph, new_id())
        state = await follow(client, submitted.prompt_id)
        assert state.kind == "done", state.error
        for name, node in outputs_of(graph, ("image",) if case.template == "t2i" else OUTPUTS).items():
            (file,) = [f for f in state.outputs if f.node == node and f.filename.endswith((".mp4", ".png"))]
            await client.files.download(file, tmp_path / name, 1 << 30)
        return told

    told = live.ask(work)
    decoded = told["decoded_width"], told["decoded_height"]
    delivered = (told["crop"]["width"], told["crop"]["height"]) if told["crop"] else decoded
    if case.template == "t2i":
        (image,) = tmp_path.iterdir()
        still = read_image(image)
        assert (image.name, still.width, still.height) == ("image", *delivered)
        return
    again = K if case.template == "extend" else 0
    frames = live.frames - again
    assert profile.sound is not None
    sound = profile.sound.seconds(live.frames, live.fps) - again / live.fps
    if case.temporal:
        frames = 2 * (frames - 1) + 1
    sizes = {"video": delivered, **({"uncropped": decoded} if told["crop"] else {})}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*sizes, "last_frame"])
    for name, size in sizes.items():
        facts = probe_mp4(tmp_path / name)
        assert (facts.width, facts.height) == size
        assert (facts.frames, facts.fps) == (frames, live.fps * (2 if case.temporal else 1))
        assert facts.has_audio
        assert float(facts.audio_seconds) >= min(sound, float(facts.seconds)) - SOUND_SLACK_S
    last = read_image(tmp_path / "last_frame")
    assert (last.width, last.height) == decoded
