"""The index: fast, and never wrong, dangerous or fatal."""

from __future__ import annotations

import errno
import os
import pickle
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from harness.crashing import crash_everywhere, refuse

from ltxflow.core.errors import Problem
from ltxflow.store.index import BytesOnlyDisk, Index, file_system, is_networked

LOCAL = "/dev/vda / ext4 rw 0 0\n"


@pytest.fixture
def problems() -> list[Problem]:
    return []


@pytest.fixture
def index(tmp_path: Path, problems: list[Problem]) -> Index:
    return Index(tmp_path / "index", lambda: [("filled", b"again")], problems.append)


def database(index: Index) -> sqlite3.Connection:
    return sqlite3.connect(index.folder / "cache.db")


def test_a_stored_row_is_returned(index: Index) -> None:
    assert index.get("a") is None
    index.put("a", b"1")
    assert index.put_many([("b", b"2"), ("c", b"x" * 100_000)]) == 2
    index.delete("b")
    index.delete("never")
    index.close()
    assert index.keys() == ["a", "c"]
    assert index.get("a") == b"1"
    assert index.get("c") == b"x" * 100_000
    assert index.folder.stat().st_mode & 0o777 == 0o700


def test_nothing_is_opened_before_it_is_used(index: Index) -> None:
    index.close()
    assert not index.folder.exists()


def test_nothing_is_ever_dropped_and_nothing_lies_in_files(index: Index) -> None:
    index.put_many((f"key {number}", bytes(40_000)) for number in range(50))
    assert len(index.keys()) == 50
    with database(index) as connection:
        settings = dict(connection.execute("SELECT key, value FROM Settings"))
    assert settings["eviction_policy"] == "none"
    assert settings["cull_limit"] == 0
    assert settings["size_limit"] == 2**62
    assert {path.name.split("-")[0] for path in index.folder.iterdir()} == {"cache.db", "format"}


class Bomb:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["value", "value in a file", "key"])
def test_a_planted_pickle_does_not_run(index: Index, problems: list[Problem], tmp_path: Path, where: str) -> None:
    index.put("a", b"1")
    index.close()
    bomb = pickle.dumps(Bomb(tmp_path / "exploded"))
    (index.folder / "bomb.val").write_bytes(bomb)
    with database(index) as connection:
        if where == "value":
            connection.execute("UPDATE Cache SET mode = 4, value = ?", (bomb,))
        elif where == "value in a file":
            connection.execute("UPDATE Cache SET mode = 4, value = NULL, filename = 'bomb.val'")
        else:
            connection.execute("UPDATE Cache SET key = ?, raw = 0", (bomb,))
    connection.close()
    if where == "key":
        assert index.keys() == ["filled"]
    else:
        assert index.get("a") is None
    assert not (tmp_path / "exploded").exists()
    assert "is damaged" in problems[0].message
    assert index.get("filled") == b"again"


def test_a_planted_file_is_not_read(index: Index, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    index.put("a", b"1")
    with database(index) as connection:
        connection.execute("UPDATE Cache SET mode = 2, value = NULL, filename = '../secret'")
    connection.close()
    assert index.get("a") is None


def test_only_text_and_bytes_go_in(tmp_path: Path) -> None:
    disk = BytesOnlyDisk(str(tmp_path))
    with pytest.raises(TypeError):
        disk.put(1)
    with pytest.raises(TypeError):
        disk.store({"a": 1}, False)
    with pytest.raises(TypeError):
        disk.store("text", False)


@pytest.mark.parametrize("damage", ["not a database", "torn", "another table"])
def test_a_corrupt_database_is_set_aside_and_filled_again(index: Index, problems: list[Problem], damage: str) -> None:
    index.put_many((f"key {number}", bytes(2000)) for number in range(200))
    index.close()
    path = index.folder / "cache.db"
    if damage == "not a database":
        path.write_bytes(b"not a database at all" * 100)
    elif damage == "torn":
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 60_000)
    else:
        path.unlink()
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE Cache (key)")
        connection.close()
    index.put("b", b"2")
    for number in range(200):
        index.get(f"key {number}")
    assert index.get("filled") == b"again"
    assert not index.disabled
    assert [problem.level for problem in problems] == ["warning"]
    assert index.folder.with_name("index.corrupt").is_dir()


def test_rebuild_makes_it_what_it_should_be(index: Index) -> None:
    index.put("stale", b"1")
    assert index.rebuild() == 1
    assert index.keys() == ["filled"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_an_index_that_cannot_be_written_is_done_without(
    index: Index, problems: list[Problem], monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refuse(monkeypatch, code)
    index.put("a", b"1")
    assert index.get("a") is None
    assert index.keys() == []
    assert index.rebuild() == 0
    assert index.disabled
    assert [problem.level for problem in problems] == ["advice"]


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "9p", "fuse.sshfs"])
def test_there_is_none_on_a_network_file_system(tmp_path: Path, problems: list[Problem], kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"{LOCAL}server:/x {tmp_path} {kind} rw 0 0\n")
    index = Index(tmp_path / "index", report=problems.append, mounts=mounts)
    index.put("a", b"1")
    assert index.get("a") is None
    assert kind in index.disabled
    assert not index.folder.exists()
    assert len(problems) == 1


def test_the_nearest_mount_counts_and_the_last_of_them() -> None:
    mounts = LOCAL + (
        "s:/home /home nfs rw 0 0\n"
        "/dev/b /home/my\\040films xfs rw 0 0\n"
        "tmpfs /over tmpfs rw 0 0\n"
        "s:/over /over cifs rw 0 0\n"
        "nonsense\n"
    )
    places = ["/srv/store", "/home/ana/store", "/home/my films/store", "/over/x", "/homely"]
    assert [file_system(Path(place), mounts) for place in places] == ["ext4", "nfs", "xfs", "cifs", "ext4"]
    assert not is_networked("ext4")
    assert file_system(Path("/x"), "") == ""


def test_a_death_leaves_an_index_that_opens(index: Index, problems: list[Problem]) -> None:
    def act() -> None:
        index.put("a", b"1")
        index.put("b", b"2")

    def check() -> None:
        index.close()
        assert index.keys() in ([], ["a"], ["a", "b"])

    crash_everywhere(lambda: index.delete("b"), act, check)
    assert problems == []


WRITER = """
import sys
from pathlib import Path
from ltxflow.store.index import Index
index = Index(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(200):
    index.put(f"{sys.argv[2]} {number}", b"x")
print(index.disabled)
"""


def test_two_processes_write_and_nothing_is_lost(index: Index) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(index.folder), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "two")
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    assert [writer.communicate()[0].strip() for writer in writers] == ["", ""]
    assert len(index.keys()) == 400
