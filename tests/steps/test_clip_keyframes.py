"""Keyframes, pictures that a clip passes through: what they need, what they key on, what a template gets of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from harness.film import Film, prompt
from harness.media import canned
from PIL import Image

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.plan.plan import PlanOptions
from ltxflow.steps import Node
from ltxflow.steps.clip.spec import ClipSpec

TARGET = "clip:s/a@1"
TWO = "[{ at: 0f, image: refs/a.png }, { at: 12f, image: refs/b.png, strength: 0.5 }]"


@pytest.fixture
def film(film: Film) -> Film:
    for name, colour in (("a", (200, 30, 30)), ("b", (30, 30, 200))):
        picture(film.folder / "refs" / f"{name}.png", colour)
    return film


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (128, 128)) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write(film: Film, keyframes: str | None = TWO, *lines: str, **top: Any) -> Film:
    """A film of one clip of 25 frames with these keyframes and lines."""
    keys = {"ltxflow": 1, "id": "tiny", "size": "128x128", "fps": 24, "quality": "distilled", **top}
    own = [f'prompt: "{prompt("a")}"', *([] if keyframes is None else [f"keyframes: {keyframes}"]), *lines]
    if not any(line.startswith("length:") for line in lines):
        own.append("length: 25f")
    text = [f"{key}: {value}" for key, value in keys.items()] + ["scenes:", "  - id: s", "    clips:", "      - id: a"]
    film.file.write_text("\n".join([*text, *(f"        {line}" for line in own)]) + "\n")
    return film


def node(film: Film) -> Node:
    return film.session().plan(PlanOptions()).plan.nodes[TARGET]


def shot(film: Film) -> ClipSpec:
    found: ClipSpec = node(film).spec
    return found


def key(film: Film) -> str:
    return str(film.session().plan(PlanOptions()).statuses[TARGET].key)


def guides(film: Film) -> list[dict[str, Any]]:
    """What a template gets of the clip's keyframes."""
    found: list[dict[str, Any]] = shot(film).context({}, {}, "x")["keyframes"]
    return found


def problem(film: Film) -> Problem:
    with pytest.raises(LtxflowError) as caught:
        node(film)
    (found,) = caught.value.problems
    return found


# --- what a template gets


def test_each_is_a_guide_at_its_frame(film: Film) -> None:
    write(film, TWO.replace("12f", "0.5s").replace("}]", "}, { at: end, image: refs/a.png }]"))
    made = shot(film)
    assert made.template.name == "keyframes"
    usual = made.profile.last_frame.strength
    found = [(each["index"], each["index2"], each["strength"]) for each in guides(film)]
    assert found == [(0, 0, usual), (12, 12, 0.5), (-1, -1, usual)]
    a, b, again = (each["image"] for each in guides(film))
    assert a == again != b
    assert {asset.name for asset in made.assets()} == {a, b}


def test_the_profile_states_how_firmly_they_are_followed(film: Film) -> None:
    write(film, profile="ltx2.5")
    last = shot(film).profile.last_frame
    first, second = guides(film)
    assert (first["strength"], first["strength2"], first["compression"]) == (
        last.strength,
        last.strength_stage2,
        last.compression,
    )
    assert (second["strength"], second["strength2"]) == (0.5, last.strength_stage2)


@pytest.mark.parametrize(("profile", "second"), [("ltx2-19b", 8), ("ltx2.5", 16)])
def test_of_doubled_frames_every_other_one_is_sampled(film: Film, profile: str, second: int) -> None:
    """Stage 2 samples the doubled frames where the model refines them, and else the same frames as stage 1."""
    at = "[{ at: 16f, image: refs/a.png }, { at: end, image: refs/b.png }]"
    write(film, at, "length: 33f", "temporal_upscale: true", "stages: 2", profile=profile)
    assert [(each["index"], each["index2"]) for each in guides(film)] == [(8, second), (-1, -1)]


def test_first_and_last_frame_may_come_with_them(film: Film) -> None:
    write(film, TWO, "reference: refs/b.png", "last_frame: refs/a.png")
    graph = shot(film).graph(dict.fromkeys(shot(film).profile.models, "m"), {}, "x")
    kinds = [node["class_type"] for node in graph.values()]
    stages = 2
    assert kinds.count("LTXVAddGuide") == 3 * stages  # two keyframes and the last frame
    assert kinds.count("LTXVImgToVideoInplace") == stages  # LTX-2 has its first frame in the latent
    assert kinds.count("LTXVCropGuides") == stages


# --- what is wrong with them


@pytest.mark.parametrize("at", ["25f", "1.1s", "900f"])
def test_one_after_the_end_is_an_error(film: Film, at: str) -> None:
    found = problem(write(film, f"[{{ at: 24f, image: refs/a.png }}, {{ at: {at}, image: refs/b.png }}]"))
    frame = {"25f": 25, "1.1s": 26, "900f": 900}[at]
    assert (found.code, found.hint) == ("L109", "write at: 24f or less, or at: end")
    assert found.message == f"s/a has 25 frames, and its keyframe at {at} would be frame {frame}"
    assert found.span is not None
    assert (found.span.file, found.span.line) == ("film/project.yaml", 11)


def test_one_after_the_end_of_a_length_that_narration_gives_is_an_error(film: Film) -> None:
    write(film, "[{ at: 8s, image: refs/a.png }]", "length: auto")
    film.edit("  - id: s\n", "  - id: s\n    narration: 3s\n")
    assert problem(film).code == "L109"
    film.edit("at: 8s", "at: 2s")
    assert node(film)


def test_two_in_one_place_are_an_error(film: Film) -> None:
    found = problem(write(film, "[{ at: 24f, image: refs/a.png }, { at: end, image: refs/b.png }]"))
    assert (found.code, found.message) == ("L109", "s/a has two keyframes at frame 24: at 24f and at end")


@pytest.mark.parametrize(
    ("other", "named"),
    [("extends: { file: refs/v.mp4 }", "extends"), ("control: { video: refs/v.mp4, mode: canny, lora: x }", "control")],
)
def test_a_clip_that_is_guided_or_continued_has_none(film: Film, other: str, named: str) -> None:
    (film.folder / "refs/v.mp4").write_bytes(canned(49, (128, 128), 24, "v"))
    with pytest.raises(LtxflowError) as caught:
        node(write(film, TWO, other))
    (found,) = [each for each in caught.value.problems if each.code == "L109"]
    assert (found.code, found.message) == ("L109", f"s/a has keyframes and {named}")
    assert found.hint == f"write {named}: null, or keyframes: null"


def test_a_picture_that_is_not_there_is_an_error(film: Film) -> None:
    found = problem(write(film, "[{ at: 0f, image: refs/c.png }]"))
    assert "refs/c.png" in found.message
    assert found.span is not None
    assert found.span.line == 11


@pytest.mark.parametrize("at", ["-1f", "middle", "1.5f", "''"])
def test_a_moment_is_a_time_or_the_end(film: Film, at: str) -> None:
    assert "end, or a time" in problem(write(film, f"[{{ at: {at}, image: refs/a.png }}]")).hint


# --- what they key on


def test_the_key_takes_pixels_moments_and_strengths(film: Film) -> None:
    keys = [
        key(write(film, value))
        for value in (
            None,
            TWO,
            TWO.replace("12f", "13f"),
            TWO.replace("0.5", "0.6"),
            TWO.replace("refs/b", "refs/a"),
            TWO.replace("{ at: 0f, image: refs/a.png }, ", ""),
        )
    ]
    assert len(set(keys)) == len(keys)
    assert key(write(film, TWO.replace("12f", "0.5s"))) == keys[1]  # the same frame
    picture(film.folder / "refs/b.png", (30, 31, 200))
    assert key(write(film)) not in keys


def test_the_key_does_not_take_the_name_of_a_picture(film: Film) -> None:
    before = key(write(film))
    (film.folder / "refs/b.png").rename(film.folder / "refs/c.png")
    assert key(write(film, TWO.replace("refs/b", "refs/c"))) == before


def test_a_clip_without_any_is_as_it_was(film: Film) -> None:
    assert key(write(film, "null")) == key(write(film, None))
