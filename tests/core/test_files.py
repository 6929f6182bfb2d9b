"""Writes: whole or not at all, whenever the process dies."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from harness.crashing import crash_everywhere, refuse, watch_writes

from ltxflow.core import files
from ltxflow.core.digest import digest_bytes
from ltxflow.core.errors import LtxflowError

OLD, NEW = b"old " * 1000, b"new!" * 2000


@pytest.mark.parametrize("name", ["write_atomic", "copy_into", "move_into"])
def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path, name: str) -> None:
    path, source = tmp_path / "file", tmp_path / "source"
    contents = set()

    def reset() -> None:
        path.write_bytes(OLD)
        source.write_bytes(NEW)

    def act() -> None:
        if name == "write_atomic":
            files.write_atomic(path, NEW)
        elif name == "copy_into":
            files.copy_into(source, path, expect=digest_bytes(NEW))
        else:
            files.move_into(source, path, expect=digest_bytes(NEW))

    def check() -> None:
        data = path.read_bytes()
        assert data in (OLD, NEW)
        contents.add(data)

    steps = crash_everywhere(reset, act, check)
    assert steps >= 3
    assert contents == {OLD, NEW}


def test_no_temporary_file_stays_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, errno.ENOSPC, "fsync")
    with pytest.raises(LtxflowError):
        files.write_atomic(tmp_path / "file", NEW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "hint"),
    [(errno.ENOSPC, "free some space"), (errno.EACCES, "permission"), (errno.EROFS, "writable")],
)
def test_a_refused_write_names_path_and_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, hint: str
) -> None:
    path = tmp_path / "film.mp4"
    refuse(monkeypatch, code, "create")
    with pytest.raises(LtxflowError) as caught:
        files.write_atomic(path, NEW)
    (problem,) = caught.value.problems
    assert str(path) in problem.message
    assert hint in problem.hint
    assert caught.value.exit_code == 1


def test_mode_is_exact_and_the_umask_decides_without_one(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_atomic(tmp_path / "a", b"", mode=0o444)
        files.write_atomic(tmp_path / "b", b"")
        files.make_dir(tmp_path / "c" / "d", 0o700)
    finally:
        os.umask(before)
    modes = [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("a", "b", "c", "c/d")]
    assert modes == ["0o444", "0o640", "0o700", "0o700"]


def test_make_dir_names_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(LtxflowError) as caught:
        files.make_dir(tmp_path / "a" / "b")
    assert "move away" in caught.value.problems[0].hint


# --- append


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "log"
    files.append_line(path, "one")
    with path.open("ab") as file:
        file.write(b'{"tor')
    files.append_line(path, "two")
    files.append_line(path, "three")
    assert path.read_text() == 'one\n{"tor\ntwo\nthree\n'


def test_a_line_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="line feed"):
        files.append_line(tmp_path / "log", "a\nb")


def test_append_dies_with_the_line_there_or_not(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def check() -> None:
        assert path.read_text() in ("first\n", "first\nsecond\n")

    crash_everywhere(lambda: path.write_text("first\n"), lambda: files.append_line(path, "second"), check)


# --- copy


def test_an_edit_of_the_copy_does_not_reach_the_original(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(NEW)
    files.copy_into(source, copy)
    with copy.open("r+b") as file:
        file.write(b"edited")
    assert source.read_bytes() == NEW
    assert source.stat().st_ino != copy.stat().st_ino


@pytest.mark.parametrize("way", ["clone", "copy_file_range", "read"])
def test_every_way_of_copying_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    def elsewhere(*args: object) -> int:
        raise OSError(errno.EXDEV, "not here")

    if way != "clone":
        monkeypatch.setattr(files.fcntl, "ioctl", Kernel(shares=False).ioctl)
    if way == "read":
        monkeypatch.setattr(os, "copy_file_range", elsewhere, raising=False)
    data = os.urandom(3 * (1 << 20) + 17)
    (tmp_path / "source").write_bytes(data)
    files.copy_into(tmp_path / "source", tmp_path / "copy", expect=digest_bytes(data))
    assert (tmp_path / "copy").read_bytes() == data


def test_a_copy_that_is_not_what_it_should_be_is_not_put_there(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(NEW)
    copy.write_bytes(OLD)
    with pytest.raises(LtxflowError, match="has the sha256"):
        files.copy_into(source, copy, expect=digest_bytes(OLD))
    assert copy.read_bytes() == OLD
    assert sorted(tmp_path.iterdir()) == [copy, source]


def test_a_folder_is_not_copied(tmp_path: Path) -> None:
    with pytest.raises(LtxflowError, match="is a directory"):
        files.copy_into(tmp_path, tmp_path / "copy")


def test_a_file_with_a_second_name_is_copied_when_moved(tmp_path: Path) -> None:
    source, other, place = tmp_path / "source", tmp_path / "other", tmp_path / "place"
    source.write_bytes(NEW)
    os.link(source, other)
    files.move_into(source, place)
    other.write_bytes(OLD)
    assert place.read_bytes() == NEW
    assert not source.exists()


# --- copies that share their blocks


class Kernel:
    """`ioctl` of a kernel whose file system shares blocks, or does not."""

    def __init__(self, shares: bool) -> None:
        self.shares = shares
        self.asked: list[int] = []

    def ioctl(self, fd: int, request: int, source: int) -> int:
        self.asked.append(request)
        if not self.shares:
            raise OSError(errno.EOPNOTSUPP, "not here")
        os.write(fd, os.pread(source, 1 << 20, 0))
        return 0


@pytest.mark.parametrize("shares", [True, False])
def test_bytes_are_copied_only_where_blocks_cannot_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shares: bool
) -> None:
    kernel, written = Kernel(shares), []
    copy_range = os.copy_file_range
    monkeypatch.setattr(files.fcntl, "ioctl", kernel.ioctl)
    monkeypatch.setattr(os, "copy_file_range", lambda *args: (written.append(args), copy_range(*args))[1])
    (tmp_path / "source").write_bytes(NEW)
    files.copy_into(tmp_path / "source", tmp_path / "copy", expect=digest_bytes(NEW))
    assert kernel.asked == [0x40049409], "FICLONE"
    assert bool(written) is not shares
    assert (tmp_path / "copy").read_bytes() == NEW


def shared_extents(path: Path) -> list[bool]:
    """Whether each extent of a file has another owner, too (linux/fiemap.h: FS_IOC_FIEMAP, FIEMAP_EXTENT_SHARED)."""
    head, each, count = struct.Struct("=QQLLLL"), 56, 8
    buffer = bytearray(head.pack(0, 2**63, 1, 0, count, 0)) + bytes(each * count)
    with path.open("rb") as file:
        fcntl.ioctl(file, 0xC020660B, buffer)
    found = head.unpack_from(buffer)[3]
    return [bool(struct.unpack_from("=L", buffer, head.size + each * i + 40)[0] & 0x2000) for i in range(found)]


def test_a_file_system_that_can_shares_the_blocks() -> None:
    """Where there is none, say one with LTXFLOW_TEST_REFLINKS: a folder on btrfs or xfs."""
    folder = os.environ.get("LTXFLOW_TEST_REFLINKS")
    if not folder:
        pytest.skip("no folder on a file system that shares blocks is named")
    with files.temp_dir(Path(folder)) as temp:
        (temp / "source").write_bytes(os.urandom(1 << 20))
        files.copy_into(temp / "source", temp / "copy")
        assert all(shared_extents(temp / "copy"))
        assert (temp / "copy").stat().st_nlink == 1


def test_an_append_without_fsync_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    watch_writes(monkeypatch, lambda op, path: done.append(op))
    files.append_line(tmp_path / "log", "one", fsync=False)
    assert "fsync" not in done
    files.append_line(tmp_path / "log", "two")
    assert done.count("fsync") == 1, "the line before it is on the disk with this one"


def test_a_signature_is_of_the_file_that_was_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    signature = files.write_atomic(path, NEW)
    assert signature == files.signature(path)
    files.write_atomic(path, NEW)
    assert signature != files.signature(path)


def test_a_file_on_another_disk_is_copied_when_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced = os.replace

    def elsewhere(src: str, dst: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        if not os.path.samestat(os.stat(src_dir_fd), os.stat(dst_dir_fd)):
            raise OSError(errno.EXDEV, "another disk")
        replaced(src, dst, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "replace", elsewhere)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "source").write_bytes(NEW)
    files.move_into(tmp_path / "a" / "source", tmp_path / "place", expect=digest_bytes(NEW), mode=0o444)
    assert (tmp_path / "place").read_bytes() == NEW
    assert not (tmp_path / "a" / "source").exists()


# --- removing


def test_removing_a_missing_file_is_fine(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f").write_bytes(b"")
    files.remove(tmp_path / "d" / "f")
    files.remove(tmp_path / "d" / "f")
    files.remove(tmp_path / "e" / "f")
    assert list((tmp_path / "d").iterdir()) == []


def test_set_aside_keeps_the_newest_damage(tmp_path: Path) -> None:
    for content in ("first", "second"):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "f").write_text(content)
        aside = files.set_aside(tmp_path / "x")
    assert (aside / "f").read_text() == "second"
    assert list(tmp_path.iterdir()) == [aside]


def test_a_temporary_folder_is_private_and_goes(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_bytes(b"")
    with files.temp_dir(tmp_path / "tmp") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "deep").mkdir()
        (folder / "deep" / "f").write_bytes(b"")
        (folder / "link").symlink_to(outside)
    assert not folder.exists()
    assert (outside / "kept").exists()


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_what_dead_processes_of_ours_left_is_cleaned(tmp_path: Path) -> None:
    mine = files.temp_name()
    host, pid, token = mine.removeprefix(files.TEMP_PREFIX).split("-")[:3]
    dead = f"{files.TEMP_PREFIX}{host}-{dead_pid()}-{token}-0"
    reborn = f"{files.TEMP_PREFIX}{host}-{pid}-00000000-0"  # an earlier process with our pid
    living = f"{files.TEMP_PREFIX}{host}-{os.getppid()}-{token}-0"
    elsewhere = f"{files.TEMP_PREFIX}{'f' * 8}-1-{token}-0"
    long_ago = f"{files.TEMP_PREFIX}{'f' * 8}-1-{token}-1"
    users = [".ltxflow-notes", f"{dead}.mp4", "film.mp4"]
    for name in (mine, reborn, living, elsewhere, long_ago, *users):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / dead).mkdir()
    (tmp_path / dead / "f").write_bytes(b"")
    os.utime(tmp_path / long_ago, (0, 0))
    assert files.clean_temps(tmp_path, older_than_s=3600) == 1
    assert files.clean_temps(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {mine, living, elsewhere, *users}
    assert files.clean_temps(tmp_path / "nowhere") == 0


def test_leftovers_of_a_killed_write_can_be_cleaned(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from ltxflow.core import files\n"
        "files.crash_point = lambda op, path: os._exit(9) if op == 'replace' else None\n"
        "files.write_atomic(Path(sys.argv[1]), b'half')"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "file")], check=False)
    assert killed.returncode == 9
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(files.TEMP_PREFIX)
    assert files.clean_temps(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


# --- signatures and data


def test_a_signature_reveals_an_edit_that_restores_size_and_time(tmp_path: Path) -> None:
    path = tmp_path / "ref.png"
    path.write_bytes(b"one")
    facts, before = path.stat(), files.signature(path)
    other = tmp_path / "other"
    other.write_bytes(b"two")
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.replace(other, path)
    after = files.signature(path)
    assert before is not None
    assert after is not None
    assert before[:2] == after[:2]
    assert before != after
    assert files.signature(tmp_path / "nothing") is None


def test_data_dir_holds_the_templates() -> None:
    assert (files.data_dir() / "templates").is_dir()
