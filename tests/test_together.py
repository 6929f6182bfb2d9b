"""Several processes at once: builds, picks, `cache gc`. None loses the other's work; gates stand in for clocks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.command import command
from harness.film import Film
from harness.slates import gated

from ltxflow.lock.file import read_lock
from ltxflow.store.store import Store


def start(
    film: Film, *argv: str, setup: str = "from harness import slates; slates.use_canned()"
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*argv, "-p", str(film.folder), setup=setup),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(process: subprocess.Popen[str], event: str) -> None:
    assert process.stdout is not None
    while json.loads(process.stdout.readline()).get("event") != event:
        pass


def ended(process: subprocess.Popen[str], code: int = 0) -> str:
    assert process.stdout is not None
    out = process.stdout.read()
    process.wait(60)
    assert process.returncode == code, out
    return out


def whole(film: Film) -> None:
    """Every trace has its blobs, and all of them are what their names say."""
    assert film.run("cache", "verify").code == 0
    store = Store(film.store)
    assert all(store.lookup(key) is not None for key in [*store.keys()])
    store.close()


def test_two_films_that_share_a_store_are_built_at_once(film: Film) -> None:
    """The same clips in both: each publishes all of its own."""
    other = Film(film.folder.parent / "other", film.store)
    shutil.copytree(film.folder, other.folder)
    builds = [start(each, "build", "--animatic", "--json") for each in (film, other)]
    for build in builds:
        ended(build)
    assert film.timeline["complete"]
    assert other.timeline["complete"]
    assert {k: v for k, v in film.published().items() if k.endswith("mp4")} == {
        k: v for k, v in other.published().items() if k.endswith("mp4")
    }
    whole(film)
    assert film.build().totals["hit"] == 4


def test_what_people_say_at_once_is_all_there(film: Film) -> None:
    film.write({"hook": list("abcd")}, "", defaults={"clip": {"takes": 2, "length": "49f"}})
    film.render()
    assert film.run("build").code == 0
    words = [start(film, "pick", f"hook/{clip}", "2") for clip in "abc"]
    words.append(start(film, "approve", "hook/d", "lovely"))
    for word in words:
        ended(word)
    entries = read_lock(film.folder / "ltxflow.lock").entries
    assert [entries[f"hook/{clip}"].pick for clip in "abcd"] == [2, 2, 2, 1]
    assert entries["hook/d"].status == "approved"


def test_making_room_during_a_build_loses_nothing(film: Film, tmp_path: Path) -> None:
    """The build has found old slates that no film names, and is drawing another one; then `cache gc --yes` comes."""
    film.write({"hook": ["a", "b"], "middle": ["a"]}, {"hook": "6s", "middle": "3s"}).build()
    first = film.file.read_text()
    film.write({"end": ["a"]}, {"end": "3s"}).build()  # it stands in hook/a's place: that slate is nobody's now
    assert [row["target"] for row in film.run("cache", "gc", "--json").data["traces"]] == ["slate:hook/a@1"]
    film.file.write_text(first + "  - id: late\n    narration: 3s\n    clips:\n      - id: a\n        prompt: none\n")
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    setup = gated(gate).replace("lambda spec: drawn or open", "lambda spec: open")
    build = start(film, "build", "--animatic", "--json", "--jobs", "1", setup=setup)
    try:
        until(build, "action-started")
        told = film.run("cache", "gc", "--yes", "--json").data
        assert f"process {build.pid} on" in told["running"][0]
        assert {row["target"] for row in told["traces"]} <= {"slate:end/a@1"}
        gate.write_text("")
        out = ended(build)
    except BaseException:
        build.kill()
        raise
    finished = next(json.loads(line) for line in out.splitlines() if '"run-finished"' in line)
    assert (finished["rendered"], finished["failed"]) == (1, 0)
    assert film.timeline["complete"]
    whole(film)
    assert film.run("cache", "gc", "--json").data["running"] == []


def test_a_run_that_was_killed_keeps_nothing_from_going(film: Film, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    build = start(film, "build", "--animatic", "--json", "--jobs", "1", setup=gated(gate))
    until(build, "action-started")
    build.kill()
    build.wait()
    assert list((film.store / "running").glob("*.json"))
    assert film.run("cache", "gc", "--json").data["running"] == []
    assert not list((film.store / "running").glob("*.json"))


def test_a_build_goes_on_while_room_is_made_for_others(film: Film) -> None:
    """Again and again, side by side: whatever the order, nothing that is published or found is missing."""
    film.build()
    rooms = [start(film, "cache", "gc", "--yes") for _ in range(3)]
    for number in range(3):
        film.edit("hook-a" if number == 0 else f"hook {number - 1}", f"hook {number}")
        built = film.build()
        assert (built.code, built.totals["failed"]) == (0, 0)
    for room in rooms:
        ended(room)
    whole(film)
    assert film.build().totals["hit"] == 4


@pytest.mark.parametrize("verb", [("verify",), ("narrate",), ("clean", "--yes")])
def test_who_waits_is_told_for_whom(film: Film, verb: tuple[str, ...], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    build = start(film, "build", "--animatic", "--json", "--jobs", "1", setup=gated(gate))
    try:
        until(build, "action-started")
        waiting = start(film, *verb)
        assert waiting.stdout is not None
        line = waiting.stdout.readline()
        assert f"process {build.pid}" in line
        gate.write_text("")
        ended(build)
        waiting.stdout.read()
        waiting.wait(60)
    except BaseException:
        build.kill()
        raise
