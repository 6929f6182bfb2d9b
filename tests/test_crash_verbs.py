"""kill -9 at every write of what people say of takes, of speaking, mending and making room: nothing is lost by it.

Like test_crash, for all other verbs that write. A few writes of each are tried at every run, all of them in the slow
campaign.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.crashing import Died, watch_writes
from harness.film import Film, film_text
from harness.speech import configure_engine

from ltxflow.core import files
from ltxflow.core.digest import digest_bytes
from ltxflow.core.files import TEMP_PREFIX
from ltxflow.lock.file import read_lock

LOCK = "ltxflow.lock"


def takes(film: Film) -> None:
    """Two clips with two takes each, all rendered, the first ones published."""
    film.write({"hook": ["a", "b"]}, "", defaults={"clip": {"takes": 2, "length": "49f"}})
    film.render()
    assert film.run("build").code == 0


def picked(film: Film) -> None:
    takes(film)
    assert film.run("pick", "hook/a", "2").code == 0


def edited(film: Film) -> None:
    takes(film)
    film.edit("hook-a", "hook a")


def broken(film: Film) -> None:
    takes(film)
    path = film.scenes / "scene-0-a.mp4"
    path.write_bytes(path.read_bytes() + b"by hand")
    (film.scenes / "scene-0-b.mp4").unlink()


def idle(film: Film) -> None:
    """Slates that nothing shows any more."""
    takes(film)
    assert film.build().code == 0
    film.edit("hook-a", "hook a").build()


def unspoken(film: Film) -> None:
    configure_engine(film.folder.parent, Path(os.environ["XDG_CONFIG_HOME"]))
    said = json.dumps({"text": "Every coin has one key. Lose it and it is gone."})
    film.file.write_text(film_text({"hook": ["a"]}, said, speech={"engine": "say"}))


def parted(film: Film) -> None:
    """Three versions of a lock beside the film, to be merged."""
    takes(film)
    lock = film.folder / LOCK
    shutil.copy(lock, film.folder / ".base")
    film.run("approve", "hook/a")
    shutil.copy(lock, film.folder / ".theirs")
    film.run("reject", "hook/b", "too dark")


CASES: list[tuple[str, Callable[[Film], None], list[str]]] = [
    ("pick", takes, ["pick", "hook/a", "2"]),
    ("publish a pick", picked, ["build"]),
    ("approve", takes, ["approve", "hook/a", "lovely"]),
    ("reject", takes, ["reject", "hook/b", "too dark"]),
    ("accept", edited, ["accept", "hook/a"]),
    ("pin", takes, ["pin", "hook/a", "film/public/scenes/scene-0-b.mp4"]),
    ("forget", takes, ["forget", "hook/a@2"]),
    ("narrate", unspoken, ["narrate"]),
    ("repair", broken, ["verify", "--repair"]),
    ("make room", idle, ["cache", "gc", "--yes"]),
    ("index", takes, ["cache", "rebuild"]),
    ("merge", parted, ["lock", "merge", "film/.base", "film/ltxflow.lock", "film/.theirs"]),
    ("clean", takes, ["clean", "--yes"]),
]


def state(film: Film) -> dict[str, str]:
    """What a person can tell apart: the lock, what is published, and every key that is made."""
    found = {path: digest_bytes(data) for path, data in film.published().items() if TEMP_PREFIX not in path}
    lock = film.folder / LOCK
    found[LOCK] = lock.read_text() if lock.exists() else ""
    found["keys"] = " ".join(sorted(path.stem for path in (film.store / "traces").rglob("*.json")))
    return found


def look(film: Film, whole: set[str]) -> None:
    """At any moment: a lock that can be read, blobs and published files that are whole."""
    read_lock(film.folder / LOCK)
    for path in (film.store / "cas").rglob("*"):
        if path.is_file() and not path.name.startswith(TEMP_PREFIX) and path.suffix != ".corrupt":
            assert digest_bytes(path.read_bytes()) == path.parent.name + path.name, "a blob is not whole"
    for path in (film.folder / "public").rglob("*.mp4"):
        if not path.name.startswith(TEMP_PREFIX):
            assert digest_bytes(path.read_bytes()) in whole, f"{path.name} is not whole"
    place = film.scenes / "timeline.json"
    told = json.loads(place.read_text()) if place.exists() else {"scenes": [], "complete": False}
    for clip in (clip for scene in told["scenes"] for clip in scene["clips"] if told["complete"]):
        data = film.folder / "public" / clip["src"]
        if data.exists():
            assert digest_bytes(data.read_bytes()) in whole


def copy_to(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def moments(everything: bool, count: int) -> Iterator[int]:
    """The writes to die at: all, or the first, the last and a few between."""
    return iter(range(count)) if everything else iter(sorted({0, count // 4, count // 2, 3 * count // 4, count - 1}))


@pytest.mark.parametrize(
    "everything", [pytest.param(False, id="a few"), pytest.param(True, id="all", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(("prepare", "argv"), [pytest.param(p, a, id=name) for name, p, a in CASES])
def test_killed_at_any_write_it_can_be_said_again(
    film: Film,
    prepare: Callable[[Film], None],
    argv: list[str],
    everything: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    film.store.mkdir()
    prepare(film)
    begun = [film.store, film.folder]
    before = tmp_path / "before"
    for folder in begun:
        copy_to(folder, before / folder.name)
    earlier = {digest_bytes(data) for path, data in film.published().items() if path.endswith(".mp4")}
    writes = 0

    def run(dies_at: int | None) -> bool:
        nonlocal writes
        count = 0

        def hook(op: str, path: Path) -> None:
            nonlocal count
            if count == dies_at:
                raise Died
            count += 1

        with monkeypatch.context() as patch:
            watch_writes(patch, hook)
            if dies_at is not None:
                patch.setattr(files, "process_token", lambda pid: "deadbeef")
            try:
                ran = film.run(*argv)
            except Died:
                return False
        writes = count
        assert ran.code in ((0, 2) if argv[0] == "forget" else (0,)), ran.err
        return True

    assert run(None)
    right = state(film)
    whole = earlier | {digest for path, digest in right.items() if path.endswith(".mp4")}
    for step in moments(everything, writes):
        for folder in begun:
            copy_to(before / folder.name, folder)
        run(step)
        look(film, whole)
        assert run(None)
        look(film, whole)
        now = state(film)
        if argv[0] == "forget":  # the lock is written first: its trace may stay, and is listed by `cache ls --unneeded`
            assert set(right["keys"].split()) <= set(now["keys"].split())
            now["keys"] = right["keys"]
        assert now == right, f"dying at write {step} left something else"
