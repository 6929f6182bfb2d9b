"""A disk that is full, read-only or not ours, a clock that jumps, files that rot: told in a sentence, nothing lost."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.command import run_alone
from harness.crashing import watch_writes
from harness.film import Film

from ltxflow.core.digest import Digest, digest_bytes
from ltxflow.lock.file import read_lock
from ltxflow.store.blobs import BlobStore

SCENES = {"hook": ["a", "b"]}


def mp4s(film: Film) -> set[str]:
    return {digest_bytes(data) for path, data in film.published().items() if path.endswith(".mp4")}


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_refused_at_any_write_it_says_so_and_the_next_build_is_right(
    film: Film, code: int, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From that write on nothing can be written, as on a full disk; then there is room again."""
    film.write(SCENES, "6s").build()
    before, failed = mp4s(film), 0
    for step in range(0, 1000, stride):
        film.write(SCENES, "6s", seed=step + 10)
        left = iter(range(step))
        is_reached = False

        def refuse(op: str, path: Path, left: Iterator[int] = left) -> None:
            nonlocal is_reached
            if next(left, None) is None:
                is_reached = True
                raise OSError(code, os.strerror(code))

        with monkeypatch.context() as patch:
            watch_writes(patch, refuse)
            ran = film.run("build", "--animatic")
        assert ran.code in (0, 1), f"{step}: {ran.err}"
        assert "a bug in ltxflow" not in ran.err
        if ran.code:
            failed += 1
            assert os.strerror(code).lower() in ran.err, ran.err
            assert "→" in ran.err, "a next step"
        again = film.build()
        assert again.code == 0, again.out
        film.watch(before | mp4s(film))
        assert film.timeline["complete"]
        before = mp4s(film)
        if not is_reached:
            break
    assert failed


@pytest.fixture
def small(film: Film, tmp_path: Path) -> Iterator[Film]:
    """A film whose store is on a disk of half a megabyte."""
    film.store.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", film.store], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield film
    subprocess.run(["umount", "-l", film.store], check=True)


def test_a_disk_that_is_really_full_keeps_what_is_finished(small: Film) -> None:
    film = small
    filler = film.store / "filler"
    film.write({"hook": list("abcdef")}, "24s")
    filler.write_bytes(bytes(300_000))
    ran = film.run("build", "--animatic", "--jobs", "1")
    assert ran.code == 1
    assert "no space left on device" in ran.err
    assert "free some space" in ran.err
    assert not list((film.store / "cas").rglob(".ltxflow-*"))
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=64m", film.store], check=True)
    made = {path.stem for path in (film.store / "traces").rglob("*.json")}
    again = film.build()
    assert again.code == 0
    assert again.totals["rendered"] == again.totals["planned"] - len(made), "what was finished was kept"
    assert film.run("cache", "verify").code == 0


def test_a_store_that_can_only_be_read_answers_and_a_build_that_needs_nothing_goes_through(film: Film) -> None:
    film.write(SCENES, "6s").build()
    if subprocess.run(["mount", "--bind", film.store, film.store], capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", film.store], check=True)
        assert film.run("plan", "--animatic", "--exit-code").code == 0
        assert film.run("cache", "stats").code == 0
        (film.scenes / "scene-0-a.mp4").unlink()
        built = film.build()
        assert (built.code, built.totals["restored"]) == (0, 1), built.out
        film.edit("hook-a", "hook a")
        ran = film.run("build", "--animatic")
        assert ran.code == 1
        assert "read-only file system" in ran.err
    finally:
        subprocess.run(["umount", "-l", film.store], check=True)


def rotten(film: Film, data: bytes | None) -> Path:
    """Let the published file of hook/a's render rot in the store (None: one bit of it), and take the published one."""
    digest = read_lock(film.folder / "ltxflow.lock").entries["hook/a"].takes[1].outputs["published"]
    path = BlobStore(film.store / "cas").path(Digest(digest))
    bits = bytearray(path.read_bytes())
    bits[200] ^= 1
    path.chmod(0o644)
    path.write_bytes(bits if data is None else data)
    (film.scenes / "scene-0-a.mp4").unlink()
    return path


@pytest.mark.parametrize("data", [b"", b"short"])
def test_a_blob_of_the_wrong_size_counts_as_missing_and_is_made_again(film: Film, data: bytes) -> None:
    film.write(SCENES, "6s").render()
    film.run("build")
    path = rotten(film, data)
    plan = film.run("plan", "--json").data
    assert [c["target"] for c in plan["changes"] if c["kind"] == "change"] == ["clip:hook/a@1"]
    film.render()  # as a server would
    assert film.run("build").code == 0
    assert film.run("verify").code == 0
    assert path.exists()


def test_a_blob_that_rotted_is_never_published_and_made_again_by_the_build_after(film: Film) -> None:
    film.write(SCENES, "6s").render()
    film.run("build")
    rotten(film, None)
    ran = film.run("build")
    assert ran.code == 1
    assert "the file of clip:hook/a@1 in the store is damaged" in ran.err
    assert "make it again with `ltxflow build`" in ran.err
    assert not (film.scenes / "scene-0-a.mp4").exists()
    assert not film.timeline["complete"]
    plan = film.run("plan", "--json").data
    assert [c["target"] for c in plan["changes"] if c["kind"] == "change"] == ["clip:hook/a@1"]
    film.render()
    assert film.run("build").code == 0
    assert film.timeline["complete"]


@pytest.mark.parametrize("jump_s", [-86400.0, 86400.0])
def test_a_clock_that_jumps_hides_no_edit(film: Film, jump_s: float) -> None:
    """Files bear the time of another day; what they say counts."""
    film.write(SCENES, "6s").build()
    assert film.build().totals["rendered"] == 0
    when = time.time() + jump_s
    film.edit("hook-a", "hook a")
    os.utime(film.file, (when, when))
    assert film.build().totals["rendered"] == 1
    for path in (*film.store.rglob("*"), *film.folder.rglob("*")):
        os.utime(path, (when, when))
    assert film.build().totals["rendered"] == 0
    film.edit("hook-b", "hook b")
    os.utime(film.file, (when, when))
    assert film.build().totals["rendered"] == 1


def test_an_edit_that_keeps_size_and_time_is_seen(film: Film) -> None:
    film.write(SCENES, "6s").build()
    for _ in range(2):  # the second answer is that of the snapshot
        assert film.run("build", "--animatic").code == 0
    seen = film.file.stat()
    film.edit("hook-a", "hook.a")
    os.utime(film.file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert film.file.stat().st_size == seen.st_size
    assert film.build().totals["rendered"] == 1
    assert film.drawn == ["hook/a"]


def test_a_blob_that_changes_while_it_is_copied_is_refused(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that grows while it is put into the store: what is stored is compared with its digest afterwards."""
    source = film.folder / "x.mp4"
    source.write_bytes(b"one")
    cas = BlobStore(film.store / "cas")

    def before(op: str, path: Path) -> None:
        if op == "clone":
            source.write_bytes(b"two")

    watch_writes(monkeypatch, before)
    with pytest.raises(Exception, match=r"has the sha256|changed while"):
        cas.put(source)
    monkeypatch.undo()
    assert not list(cas.iter())


def test_an_index_of_a_newer_version_is_left_alone(film: Film) -> None:
    film.write(SCENES, "6s")
    assert run_alone("build", "--animatic", "-p", str(film.folder)).code == 0  # its database is closed then
    mark = film.store / "index" / "format"
    mark.write_text("index/9\n")
    before = (film.store / "index" / "cache.db").read_bytes()
    ran = film.run("build", "--animatic", "-v")
    assert ran.code == 0
    film.edit("hook-a", "hook a")
    assert film.build().totals["rendered"] == 1
    assert (film.store / "index" / "cache.db").read_bytes() == before
    assert mark.read_text() == "index/9\n"
    told = film.run("cache", "rebuild", "--json")
    assert "newer" in told.data["index"]
