"""What a person does to a film all day and must cost nothing: picks, reorders, inserts, renames, shorter narration."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness.command import run
from harness.film import Film, prompt, stale
from harness.templates import templates_read_once
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

Data = dict[str, Any]
Edit = Callable[[Data, st.DataObject, int], None]
SCENES = {"hook": ["a", "b"], "middle": ["a"], "end": ["a", "b", "c"]}


def scene(id: str, clips: list[str], seconds: float) -> Data:
    return {
        "id": id,
        "narration": f"{seconds}s",
        "clips": [{"id": clip, "prompt": prompt(f"{id}-{clip}")} for clip in clips],
    }


def reorder(film: Data, data: st.DataObject, turn: int) -> None:
    film["scenes"] = data.draw(st.permutations(film["scenes"]), label="order")


def insert(film: Data, data: st.DataObject, turn: int) -> None:
    film["scenes"].insert(data.draw(st.integers(0, len(film["scenes"]))), scene(f"new-{turn}", ["a"], 4.0))


def rename(film: Data, data: st.DataObject, turn: int) -> None:
    """A scene, or a clip, also what was renamed before: ids that are gone are not taken again."""
    one = data.draw(st.sampled_from(film["scenes"]), label="scene")
    clip = data.draw(st.sampled_from([None, *one["clips"]]), label="clip")
    old, new = one["id"], f"renamed-{turn}"
    if clip is None:
        one["id"] = new
    else:
        old, new = f"{one['id']}/{clip['id']}", f"{one['id']}/{new}"
        clip["id"] = new.partition("/")[2]
    film.setdefault("moved", []).append({"from": old, "to": new})


def shorten(film: Data, data: st.DataObject, turn: int) -> None:
    """No longer than before, and not so short that clips would be cut by more than may be trimmed."""
    one = data.draw(st.sampled_from(film["scenes"]), label="scene")
    seconds = float(one["narration"].removesuffix("s"))
    one["narration"] = f"{round(seconds * data.draw(st.sampled_from([1.0, 0.97, 0.9])), 2)}s"


def retitle(film: Data, data: st.DataObject, turn: int) -> None:
    one = data.draw(st.sampled_from(film["scenes"]), label="scene")
    one["title"], one["tags"] = f"Title {turn}", ["night"]


EDITS: dict[str, Edit] = {
    "reorder": reorder,
    "insert": insert,
    "rename": rename,
    "shorten": shorten,
    "retitle": retitle,
}


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Any:
    with templates_read_once():
        yield


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_costs_nothing_costs_nothing_in_any_order(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temp, pytest.MonkeyPatch.context() as patch:
        film = Film.at(Path(temp)).move_in(patch)
        scenes = [scene(id, clips, 6.0 * len(clips)) for id, clips in SCENES.items()]
        scenes[1]["clips"][0]["takes"] = 2
        film.write_data({"ltxflow": 1, "id": "free", "size": "128x128", "fps": 25, "scenes": scenes})
        assert len(film.make().rendered) == 7
        for turn in range(data.draw(st.integers(1, 5), label="edits")):
            written = film.data
            edit = data.draw(st.sampled_from(list(EDITS)), label="edit")
            EDITS[edit](written, data, turn)
            film.write_data(written)
            new = {f"new-{turn}/a@1"} if edit == "insert" else set()
            assert stale(film.look()) == new, edit
            if new or data.draw(st.booleans(), label="build"):
                assert film.make().rendered == new
            takes = [path for path, entry in film.lock.entries.items() if len(entry.takes) == 2]
            if takes and takes[0] in {clip.path for clip in film.session().project.clips}:
                take = str(data.draw(st.sampled_from([1, 2]), label="pick"))
                assert run("pick", takes[0], take, "-p", str(film.folder)).code == 0
                assert stale(film.look()) == set()


def test_a_renamed_clip_keeps_its_takes_when_its_scene_is_renamed(film: Film) -> None:
    """Whether or not a build applied the first entry."""
    written = {"ltxflow": 1, "id": "free", "size": "128x128", "fps": 25, "scenes": [scene("hook", ["a", "b"], 6.0)]}
    film.write_data(written)
    assert len(film.make().rendered) == 2
    clips = written["scenes"][0]["clips"]
    for turn, is_built in ((1, False), (2, True), (3, False), (4, False)):
        name = written["scenes"][0]["id"]
        new, old = f"later-{turn}", f"{name}/{clips[1]['id']}"
        clips[1]["id"] = f"b-{turn}"
        written["scenes"][0]["id"] = new
        written.setdefault("moved", []).extend(
            [{"from": old, "to": f"{name}/b-{turn}"}, {"from": name, "to": new}],
        )
        film.write_data(written)
        assert stale(film.look()) == set()
        if is_built:
            assert film.make().rendered == set()
            assert film.lock.entries.keys() == {f"{new}/a", f"{new}/b-{turn}"}
    assert film.make().rendered == set()
    assert film.lock.entries.keys() == {"later-4/a", "later-4/b-4"}
