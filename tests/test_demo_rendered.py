"""The demo film rendered on a server, small: all that it shows works together, and every edit costs what it must."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.comfyui import FakeComfy
from harness.command import Ran, run
from harness.studio import Studio
from PIL import Image

from ltxflow.lock.file import read_lock

DEMO = Path(__file__).parents[1] / "projects" / "wallet-explainer"
ANGLES = {
    "an-extreme-close-up-of-its-dusty-screen",
    "seen-at-eye-level-floating-above-the-desk",
    "seen-from-above-its-right-button-glowing-gold",
}
STILLS = {f"reference:device/{angle}@1" for angle in ANGLES}
CLIPS = {
    "hook": "ab",
    "one-key": "abc",
    "seed-phrase": "abc",
    "phishing": "ab",
    "hardware": "abc",
    "outro": "ab",
}
TAKES = {f"clip:{scene}/{clip}@1" for scene, clips in CLIPS.items() for clip in clips} | {
    "clip:hook/b@2",
    "clip:hook/b@3",
}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, server: FakeComfy) -> Studio:
    """The demo film at 128x64, rendered once for all tests, which follow each other as edits do."""
    studio = Studio.at(tmp_path_factory.mktemp("rendered"))
    shutil.copytree(DEMO, studio.folder, ignore=shutil.ignore_patterns(".ltxflow", "public", "*.lock"))
    for picture in (studio.folder / "refs").iterdir():
        with Image.open(picture) as image:
            image.resize((128, 72)).save(picture)
    edit(studio, r"(?m)^aspect: .*$", "size: 128x64")
    with pytest.MonkeyPatch.context() as patch:
        studio.move_in(patch)
        ran = studio.build(server)
        assert rendered(ran) == STILLS | TAKES
        (event,) = ran.events("run-finished")
        assert (event["planned"], event["references"], event["more_takes"]) == (15 + 2 + 3, 3, 2)
    return studio


@pytest.fixture
def film(made: Studio, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return made.move_in(monkeypatch)


def edit(film: Studio, pattern: str, text: str) -> None:
    file = film.folder / "project.yaml"
    changed, found = re.subn(pattern, text, file.read_text(encoding="utf-8"))
    assert found == 1
    file.write_text(changed, encoding="utf-8")


def rendered(ran: Ran) -> set[str]:
    assert ran.code == 0, ran.out + ran.err
    return {e["target"] for e in ran.events("action-finished") if e["outcome"] == "rendered"}


def timeline(film: Studio) -> dict[str, dict[str, object]]:
    told = json.loads((film.public / "scenes" / "timeline.json").read_text(encoding="utf-8"))
    assert told["complete"]
    return {f"{scene['id']}/{clip['id']}": clip for scene in told["scenes"] for clip in scene["clips"]}


def test_every_clip_is_in_the_film_and_what_continues_another_was_sent_its_end(film: Studio, server: FakeComfy) -> None:
    clips = timeline(film)
    assert {path: clip["source"] for path, clip in clips.items()} == {
        f"{scene}/{clip}": "comfyui" for scene, names in CLIPS.items() for clip in names
    }
    lock = read_lock(film.folder / "ltxflow.lock", "ltxflow.lock").entries
    sent = {path.name for path in (server.folders["input"] / "ltxflow").iterdir()}
    assert f"{lock['one-key/a'].takes[1].outputs['uncropped'][:32]}.mp4" in sent
    assert len(list((film.folder / ".ltxflow" / "references").glob("device--*@1.png"))) == len(ANGLES)


def test_a_doctor_finds_all_that_the_film_needs(film: Studio, server: FakeComfy) -> None:
    ran = run("doctor", "--json", "--server", server.url, "-p", str(film.folder))
    assert [found for found in ran.data["findings"] if found["level"] == "error"] == []
    assert ran.code == 0


def test_a_second_build_renders_nothing(film: Studio, server: FakeComfy) -> None:
    assert rendered(film.build(server)) == set()


def test_a_pick_puts_another_take_into_the_cut_and_renders_nothing(film: Studio, server: FakeComfy) -> None:
    before = timeline(film)
    takes = read_lock(film.folder / "ltxflow.lock", "ltxflow.lock").entries["hook/b"].takes
    assert len({take.outputs["published"] for take in takes.values()}) == 3
    assert run("pick", "hook/b", "2", "-p", str(film.folder)).code == 0
    assert rendered(film.build(server)) == set()
    after = timeline(film)
    assert after["hook/b"]["sha256"] == takes[2].outputs["published"]
    assert {path for path in after if after[path]["sha256"] != before[path]["sha256"]} == {"hook/b"}


@pytest.mark.parametrize(
    ("written", "instead", "follows"),
    [
        ("The camera sinks with the line", "The camera glides with the line", {"phishing/a@1", "phishing/b@1"}),
        ("The camera tracks sideways", "The camera travels sideways", {"one-key/a@1", "one-key/b@1"}),
        ("The camera zooms out from the barb", "The camera drifts away from the barb", {"phishing/b@1"}),
        ("The camera orbits the key", "The camera circles the key", {"hook/b@1", "hook/b@2", "hook/b@3"}),
    ],
)
def test_an_edit_renders_its_clip_and_what_continues_it(
    film: Studio, server: FakeComfy, written: str, instead: str, follows: set[str]
) -> None:
    edit(film, written, instead)
    assert rendered(film.build(server)) == {f"clip:{take}" for take in follows}
    assert rendered(film.build(server)) == set()


def test_another_drawing_of_the_device_is_three_stills_and_the_clips_that_start_from_them(
    film: Studio, server: FakeComfy
) -> None:
    edit(film, "soft cyan rim light, deep blue haze", "soft violet rim light")
    assert rendered(film.build(server)) == STILLS | {f"clip:hardware/{clip}@1" for clip in "abc"}


def test_what_an_edit_would_cost_is_told_before_it(film: Studio) -> None:
    told = run("plan", "--what-if", str(film.folder / "refs" / "hook.png"), "-p", str(film.folder)).out.splitlines()
    assert re.fullmatch(r"  ~ phishing/a +\d+f  would be rendered again", told[1])  # its length is the narrator's
    assert re.fullmatch(r"  \? phishing/b +\d+f  waits for a frame of phishing/a", told[2])
    assert told[3:] == ["  = 13 clips, 2 more takes and 3 references unchanged"]


def test_a_prompt_in_a_file_of_its_own_is_as_good_as_one_in_the_film(film: Studio, server: FakeComfy) -> None:
    file = film.folder / "prompts" / "one-key-c.txt"
    file.write_text(file.read_text(encoding="utf-8").replace("turning once", "turning slowly"), encoding="utf-8")
    assert rendered(film.build(server)) == {"clip:one-key/c@1"}


def test_the_warning_is_found_by_its_tag(film: Studio) -> None:
    ran = run("plan", "tag:warning", "--json", "-p", str(film.folder))
    assert ran.code == 0
    assert ran.data["totals"]["unchanged"] == 2
