"""kill -9 at every write of a build, and two builds at once: the next run is right, and nothing is drawn twice.

The process dies in place of a write, for every write there is, so that no order of writes is left to luck.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.command import command
from harness.crashing import Died, watch_writes
from harness.film import Film
from harness.slates import canned_drawing, gated

from ltxflow.core import files
from ltxflow.core.digest import digest_bytes
from ltxflow.core.files import TEMP_PREFIX
from ltxflow.steps import slate as slate_step

SCENES = {"hook": ["a", "b"]}
PARTS = 4  # the writes are tried in turns, so that several processes share the work


def traces(film: Film) -> set[str]:
    """Clips whose slates are whole in the store: their traces name blobs that are there."""
    found = set()
    for path in (film.store / "traces").rglob("*.json"):
        trace = json.loads(path.read_text())
        digest = trace["outputs"]["video"]["digest"]
        blob = film.store / "cas" / digest[:2] / digest[2:]
        assert digest_bytes(blob.read_bytes()) == digest, "a trace promises a blob that is not whole"
        found.add(path.stem)
    return found


def published(film: Film) -> dict[str, bytes]:
    """What is published, and what the record says of it (but for the times of files)."""
    record = json.loads((film.folder / ".ltxflow" / "published.json").read_text())["files"]
    kept = {path: (entry["digests"], entry["key"]) for path, entry in record.items() if entry["source"] != "timeline"}
    return {**film.published(), "record": json.dumps(kept, sort_keys=True).encode()}


def copy_to(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def first_build(film: Film) -> Film:
    return film.write(SCENES, "6s")


def edited(film: Film) -> Film:
    """A film that was built, and then both of its clips were rewritten."""
    first_build(film).build()
    return film.edit("hook-a", "hook a").edit("hook-b", "hook b")


def swapped(film: Film) -> Film:
    """A film that was built, and then its clips changed places: files are exchanged, nothing is drawn."""
    first_build(film).build()
    film.write({"hook": ["b", "a"]}, "6s")
    return film


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("prepare", [first_build, edited, swapped])
def test_killed_at_any_write_the_next_build_is_right(
    film: Film, prepare: Callable[[Film], Film], part: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, before, begun = film.folder.parent, tmp_path / "before", {str(film.store), str(film.folder)}
    film.store.mkdir()
    prepare(film)
    public = film.folder / "public"
    for folder in begun:
        copy_to(Path(folder), before / Path(folder).name)
    film.build("--jobs", "1")
    right = published(film)
    after = {digest_bytes(data) for path, data in right.items() if path.endswith(".mp4")}
    earlier = {digest_bytes(path.read_bytes()) for path in (before / film.folder.name / "public").rglob("*.mp4")}

    def build(dies_at: int | None) -> bool:
        """Build, dying in place of that write; return whether it came through."""
        count, is_seen = 0, False

        def hook(op: str, path: Path) -> None:
            nonlocal count, is_seen
            if not is_seen:
                film.watch(after | earlier)
            is_seen = not path.is_relative_to(public)  # what is done elsewhere changes nothing there
            count += 1
            if dies_at is not None and count > dies_at:
                raise Died

        with monkeypatch.context() as patch:
            watch_writes(patch, hook)
            if dies_at is not None:
                patch.setattr(files, "process_token", lambda pid: "deadbeef")  # as another process would have it
            try:
                assert film.build("--jobs", "1").code == 0
            except Died:
                return False
        return True

    for step in range(part, 1000, PARTS):
        for folder in begun:
            copy_to(before / Path(folder).name, Path(folder))
        is_through = build(step)
        film.watch(after | earlier)
        made = traces(film)
        assert build(None)
        assert published(film) == right
        assert len(film.drawn) == len(traces(film) - made), "a finished clip was drawn again"
        assert not [*work.rglob(f"{TEMP_PREFIX}*"), *film.store.rglob(f"{TEMP_PREFIX}*")], "half-written files stay"
        if is_through:
            return
    raise AssertionError("it never came to an end")


# --- two at once


def test_a_second_build_says_who_is_first_and_waits_and_draws_nothing(film: Film, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    argv = ["build", "--animatic", "--json", "--jobs", "1", "-p", str(film.folder)]
    with (
        subprocess.Popen(command(*argv, setup=gated(gate)), stdout=subprocess.PIPE, text=True) as first,
        subprocess.Popen(
            ["sh", "-c", 'read go; exec "$@"', "sh", *command(*argv)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as second,
    ):
        try:
            assert first.stdout
            assert second.stdout
            assert second.stdin
            started = [json.loads(first.stdout.readline()) for _ in range(2)]
            assert [line["event"] for line in started] == ["run-started", "action-started"]
            assert film.run("build", "--animatic", "--no-wait").code == 1
            left = film.run("build", "--animatic", "--no-wait")
            assert f"is held by process {first.pid} on " in left.err
            assert "without `--no-wait`" in left.err
            print("go", file=second.stdin, flush=True)
            notice = json.loads(second.stdout.readline())
            assert (notice["event"], notice["level"]) == ("notice", "warning")
            assert f"process {first.pid} on" in notice["message"]
            gate.write_text("")
            outs = [process.communicate()[0] for process in (first, second)]
        except BaseException:
            first.kill()
            second.kill()
            raise
    assert (first.returncode, second.returncode) == (0, 0)
    told = [[json.loads(line) for line in out.splitlines()] for out in outs]
    rendered = [[e["target"] for e in lines if e.get("outcome") == "rendered"] for lines in told]
    assert (len(rendered[0]), len(rendered[1])) == (4, 0)
    assert film.timeline["complete"]


def test_a_build_that_was_killed_does_not_hold_the_project(film: Film, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    argv = command("build", "--animatic", "--json", "--jobs", "1", "-p", str(film.folder), setup=gated(gate))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline()).get("event") != "action-started":
            pass
        process.kill()
    assert process.returncode == -9
    assert film.build("--no-wait").totals["rendered"] == 4
    assert not list((film.store / "tmp").iterdir())  # what the dead one left half-made is gone


def test_what_changes_while_a_clip_is_drawn_is_drawn_by_the_next_build(
    film: Film, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit in mid-build: the result is kept under the old key, and never taken for the new text."""
    monkeypatch.setattr(
        slate_step,
        "draw_slate",
        canned_drawing(film.drawn, lambda spec: film.edit("hook-a", "hook a") if film.drawn == [] else None),
    )
    film.build("--jobs", "1")
    assert len(film.drawn) == 4
    film.drawn.clear()
    monkeypatch.setattr(slate_step, "draw_slate", canned_drawing(film.drawn))
    assert film.build().totals["rendered"] == 1
    assert film.drawn == ["hook/a"]


if sys.platform != "linux":
    pytestmark = pytest.mark.skip(reason="the kernel's locks and signals are tried on Linux")
