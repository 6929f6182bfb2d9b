"""Blobs: whole or not there, whatever process dies, and safe from edits."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness.crashing import crash_everywhere

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_bytes
from ltxflow.core.errors import LtxflowError
from ltxflow.store.blobs import BlobStore

FILM = b"frame" * 5000
DIGEST = digest_bytes(FILM)


@pytest.fixture
def cas(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path / "store" / "cas")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(FILM)
    return path


@pytest.mark.parametrize("move", [False, True])
def test_blobs_are_read_only_in_private_folders(cas: BlobStore, film: Path, move: bool) -> None:
    assert not cas.has(DIGEST)
    assert cas.size(DIGEST) is None
    assert cas.put(film, move=move) == DIGEST
    path = cas.path(DIGEST)
    assert path.relative_to(cas.root) == Path(DIGEST[:2]) / DIGEST[2:]
    assert path.read_bytes() == FILM
    assert path.stat().st_mode & 0o777 == 0o444
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert cas.root.stat().st_mode & 0o777 == 0o700
    assert cas.size(DIGEST) == len(FILM)
    assert film.exists() is not move
    assert cas.verify(DIGEST)


def test_bytes_are_kept_too_and_listed_in_order(cas: BlobStore) -> None:
    digests = {cas.put_bytes(bytes([number])) for number in range(5)}
    (cas.path(min(digests)).parent / files.temp_name()).write_bytes(b"half")
    assert list(cas.iter()) == sorted(digests)
    assert list(BlobStore(cas.root / "nowhere").iter()) == []


def test_an_edit_of_the_source_does_not_reach_the_blob(cas: BlobStore, film: Path) -> None:
    cas.put(film)
    film.write_bytes(b"edited")
    assert cas.verify(DIGEST)


@pytest.mark.parametrize("move", [False, True])
def test_a_file_of_another_digest_is_not_stored(cas: BlobStore, film: Path, move: bool) -> None:
    promised = digest_bytes(b"something else")
    with pytest.raises(LtxflowError, match="has the sha256"):
        cas.put(film, promised, move=move)
    assert list(cas.iter()) == []
    assert film.read_bytes() == FILM


def test_a_file_of_another_digest_is_refused_even_if_that_blob_exists(cas: BlobStore, film: Path) -> None:
    cas.put(film)
    film.write_bytes(FILM[::-1])
    with pytest.raises(LtxflowError, match="has the sha256"):
        cas.put(film, DIGEST, move=True)
    assert cas.verify(DIGEST)


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("digest", [None, DIGEST])
def test_no_death_leaves_a_partial_blob(cas: BlobStore, film: Path, move: bool, digest: Digest | None) -> None:
    def reset() -> None:
        cas.remove(DIGEST)
        film.unlink(missing_ok=True)
        film.write_bytes(FILM)

    def check() -> None:
        found = list(cas.iter())
        assert found in ([], [DIGEST])
        assert all(cas.verify(digest) for digest in found)
        # never lost: what was moved is in one of the two places
        assert found or film.read_bytes() == FILM

    assert crash_everywhere(reset, lambda: cas.put(film, digest, move=move), check) >= 4


def test_no_death_leaves_a_partial_blob_of_bytes(cas: BlobStore) -> None:
    def check() -> None:
        assert all(cas.verify(digest) for digest in cas.iter())

    crash_everywhere(lambda: cas.remove(DIGEST), lambda: cas.put_bytes(FILM), check)


def test_a_blob_cut_short_is_noticed_and_replaced(cas: BlobStore, film: Path) -> None:
    cas.put(film)
    cas.path(DIGEST).chmod(0o644)
    os.truncate(cas.path(DIGEST), 7)
    assert not cas.has(DIGEST, len(FILM))
    assert cas.has(DIGEST)
    assert not cas.verify(DIGEST)
    cas.put(film)
    assert cas.has(DIGEST, len(FILM))
    assert cas.verify(DIGEST)
    os.truncate(cas.path(DIGEST), 7)
    cas.put_bytes(FILM)
    assert cas.verify(DIGEST)


def test_damage_of_the_right_size_is_found_by_verify(cas: BlobStore, film: Path) -> None:
    cas.put(film)
    cas.path(DIGEST).chmod(0o644)
    with cas.path(DIGEST).open("r+b") as file:
        file.write(b"X")
    assert cas.has(DIGEST, len(FILM))
    assert not cas.verify(DIGEST)


@pytest.mark.parametrize("text", ["", "../../../etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n"])
def test_text_that_is_not_a_digest_is_refused(cas: BlobStore, text: str) -> None:
    with pytest.raises(LtxflowError) as caught:
        cas.path(Digest(text))
    assert "64 hex digits" in caught.value.problems[0].hint


def test_a_missing_source_is_named(cas: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(LtxflowError, match=r"nothing\.mp4"):
        cas.put(tmp_path / "nothing.mp4")


PUTTER = """
import sys
from pathlib import Path
from ltxflow.store.blobs import BlobStore
print("ready", flush=True)
sys.stdin.readline()
print(BlobStore(Path(sys.argv[1])).put(Path(sys.argv[2])))
"""


def test_two_processes_put_the_same_blob(cas: BlobStore, film: Path) -> None:
    command = [sys.executable, "-c", PUTTER, str(cas.root), str(film)]
    putters = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for putter in putters:
        assert putter.stdout is not None
        assert putter.stdout.readline() == "ready\n"
    for putter in putters:
        assert putter.stdin is not None
        putter.stdin.write("\n")
        putter.stdin.flush()
    assert [putter.communicate()[0].strip() for putter in putters] == [DIGEST, DIGEST]
    assert list(cas.iter()) == [DIGEST]
    assert cas.verify(DIGEST)
    assert list(cas.path(DIGEST).parent.iterdir()) == [cas.path(DIGEST)]
