"""Every rule that is a warning or advice can be ignored by a clip, its scene or the film."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest
from harness.command import run
from harness.film import prompt
from PIL import Image

from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import Problem
from ltxflow.lock.model import Lock
from ltxflow.media import findings
from ltxflow.plan.review import Review
from ltxflow.project.load import load
from ltxflow.store.traces import Trace

Film = dict[str, Any]
GOOD = (
    "A close-up of a titanium vault door in a dark hall. The camera pushes slowly forward while the rings rotate and"
    " golden light pours out between them. A low hum builds."
)


def film(*prompts: str, **more: Any) -> Film:
    clips = [{"id": chr(97 + n), "length": "97f", "prompt": text} for n, text in enumerate(prompts)]
    return {
        "ltxflow": 1,
        "id": "film",
        "size": "128x128",
        "fps": 24,
        **more,
        "scenes": [{"id": "hook", "clips": clips}],
    }


def one(text: str, **more: Any) -> Callable[[Path], Film]:
    return lambda folder: film(text, **more)


def small_picture(folder: Path) -> Film:
    Image.new("RGB", (64, 64)).save(folder / "small.png")
    made = film(GOOD)
    made["scenes"][0]["clips"][0]["reference"] = "small.png"
    return made


def chain(folder: Path) -> Film:
    made = film(*(prompt(f"hook-{n}") for n in range(6)))
    for before, clip in zip("abcde", made["scenes"][0]["clips"][1:], strict=True):
        clip["reference"] = {"frame_of": before}
    made["scenes"][0]["crossfade"] = "0f"
    return made


def meeting(folder: Path) -> Film:
    made = film(prompt("hook-a"), prompt("hook-b"))
    made["scenes"][0]["clips"][1]["reference"] = {"frame_of": "a"}
    return made


def too_many_clips(folder: Path) -> Film:
    made = film(prompt("hook-a"), prompt("hook-b"), prompt("hook-c"))
    for clip in made["scenes"][0]["clips"]:
        clip["length"] = "auto"
    made["scenes"][0]["narration"] = "2s"
    return made


def crossfade(folder: Path) -> Film:
    made = film(prompt("hook-a"), prompt("hook-b"))
    made["scenes"][0]["crossfade"] = "30f"
    return made


def guided(folder: Path, *, color_trc: int = 1, **control: Any) -> Film:
    with av.open(str(folder / "guide.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=24, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 128, 128, "yuv420p"
        stream.codec_context.color_trc = color_trc
        for number in range(97):
            frame = av.VideoFrame(128, 128, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    made = film(GOOD)
    made["scenes"][0]["clips"][0]["control"] = {"video": "guide.mp4", "lora": "guide.safetensors", **control}
    return made


def of_any_length(folder: Path) -> Film:
    made = film(GOOD)
    made["scenes"][0]["clips"][0]["length"] = "100f"
    return made


FILMS: dict[str, Callable[[Path], Film]] = {
    "L022": small_picture,
    "L025": lambda folder: guided(folder, color_trc=16),  # PQ
    "L047": of_any_length,
    "L049": lambda folder: guided(folder, mode="depth"),
    "L061": one(GOOD, speech={"engine": "elsewhere"}),
    "L106": meeting,
    "L126": chain,
    "T102": too_many_clips,
    "P101": one("A vault."),
    "P102": one(f"{GOOD} " * 9),
    "P103": one("vault, titanium, keyhole, cinematic, 4k, detailed, volumetric light, golden beams, dark hall, best"),
    "P104": one("A vault door in a dark hall opens slowly and golden light pours out of it while a low hum builds up."),
    "P105": one("A close-up of a titanium vault door with a cyan keyhole in a dark hall full of servers. A low hum."),
    "P106": one(
        "A close-up of a vault door. The camera pushes slowly forward while the rings rotate in the dark hall."
    ),
    "P107": one(
        "A static shot of a vault at the far end of a dark hall with blue lights. A low hum, no camera move at all."
    ),
    "P108": lambda folder: film(GOOD.replace("golden", "yellow"), GOOD),
    "P109": one(GOOD),
    "P110": one(GOOD, fps=12),
    "P111": crossfade,
    "P112": one(f"{GOOD} Then we cut to the street outside."),
    "P113": one(f"{GOOD} The scene opens with a guard."),
    "P114": one(f"{GOOD} She is lost in thought."),
    "P115": one("A static shot of a vault in a dark hall. Dust drifts slowly through the light. A low hum.", fps=30),
    "P116": one(f"{GOOD} The camera zooms in and zooms out."),
}
MIXED = {"L061": "advice", "P108": "warning"}  # of rules that are errors as well


def mild() -> set[str]:
    """Return the rules about a film that are never an error, except the checks of rendered clips.

    Rules about servers, stores and commands are about no film: `ignore:` does not apply to them.
    """
    levels = {rule["code"]: rule["level"] for rule in run("rules", "--json").data}
    return {code for code, level in levels.items() if level != "error" and (code[0] in "LP" or code == "T102")}


def write(folder: Path, made: Film) -> None:
    made["scenes"][0].setdefault("narration", "3s")
    if "speech" in made:
        made["scenes"][0]["narration"] = {"text": "Every coin has one key, and one only."}
    (folder / "project.yaml").write_text(json.dumps(made))


def levels_of(folder: Path) -> dict[str, str]:
    problems = run("check", "--json", "-p", str(folder)).envelope["problems"]
    return {problem["code"]: problem["level"] for problem in problems}


def test_each_mild_rule_has_a_test_film() -> None:
    assert mild() - set(FILMS) == set()


@pytest.mark.parametrize("code", sorted(FILMS))
def test_a_rule_is_ignored_by_clip_scene_or_film(code: str, tmp_path: Path) -> None:
    if code not in mild() | set(MIXED):
        pytest.skip("the catalogue has no such rule")
    write(tmp_path, FILMS[code](tmp_path))
    assert levels_of(tmp_path).get(code) in ("warning", "advice")
    for where in ("film", "scene", "clips"):
        made = FILMS[code](tmp_path)
        places = {"film": [made], "scene": made["scenes"], "clips": made["scenes"][0]["clips"]}[where]
        for place in places:
            place["ignore"] = [code]
        write(tmp_path, made)
        assert code not in levels_of(tmp_path), where


def test_lists_of_film_scene_and_clip_add_up(tmp_path: Path) -> None:
    made = film("A vault.", ignore=["P104"])
    made["scenes"][0] |= {"ignore": ["P105"]}
    made["scenes"][0]["clips"][0]["ignore"] = ["P106"]
    write(tmp_path, made)
    assert set(levels_of(tmp_path)) == {"P101", "P109"}


def test_an_empty_list_removes_inherited_codes(tmp_path: Path) -> None:
    made = film("A vault.")
    made["scenes"][0] |= {"ignore": ["P104", "P105"]}
    made["scenes"][0]["clips"][0]["ignore"] = []
    write(tmp_path, made)
    assert set(levels_of(tmp_path)) == {"P101", "P104", "P105", "P106", "P109"}


def test_a_clip_does_not_ignore_problems_of_another(tmp_path: Path) -> None:
    made = film("A vault.", "A hall.")
    made["scenes"][0]["clips"][0]["ignore"] = ["P101"]
    write(tmp_path, made)
    problems = run("check", "--json", "-p", str(tmp_path)).envelope["problems"]
    assert [p["message"] for p in problems if p["code"] == "P101"] == ["the prompt of hook/b has only 2 words"]


def test_a_problem_of_a_shared_picture_is_ignored_where_both_clips_do(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "small.png")
    made = film(prompt("hook-a"), prompt("hook-b"))
    for clip in made["scenes"][0]["clips"]:
        clip["reference"] = "small.png"
    made["scenes"][0]["clips"][0]["ignore"] = ["L022"]
    write(tmp_path, made)
    assert "L022" in levels_of(tmp_path)
    made["scenes"][0]["clips"][1]["ignore"] = ["L022"]
    write(tmp_path, made)
    assert "L022" not in levels_of(tmp_path)


@pytest.mark.parametrize("code", sorted(findings.RULES))
def test_an_ignored_finding_causes_no_reseed(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = findings.RULES[code]
    monkeypatch.setattr(
        "ltxflow.plan.review.judge", lambda *args: [Problem("something is odd", None, "", code, rule.level)]
    )
    write(tmp_path, film(GOOD))
    project = load(tmp_path / "project.yaml").project
    (clip,) = project.clips
    seen = findings.Findings(97, 4.0, findings.FrameRange(), 0.0, findings.FrameRange(), 1.0, 1.0, 0.5, 0.2, (), "")
    looked = Trace(Key("0" * 64), {}, {"findings": Output(Digest("0" * 64), seen.as_json())})
    review = Review(Lock(), lambda key: looked)

    def verdict(ignored: list[str]) -> Any:
        settings = {**clip.settings, "ignore": replace(clip.settings["ignore"], value=ignored)}
        return review.verdict_of(replace(clip, settings=settings), 1, Digest("0" * 64), project.profile)

    assert [problem.code for problem in verdict([]).problems] == [code]
    assert verdict([code]).problems == ()
    assert not verdict([code]).is_bad
