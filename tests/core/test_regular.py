"""Only regular files are read, and never without end; all invalid JSON is one kind of error."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ltxflow.core import workspace


def test_a_file_is_read_whole_and_a_link_to_one_too(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "link").symlink_to("file")
    assert workspace.read_bytes(tmp_path / "file") == workspace.read_bytes(str(tmp_path / "link")) == data
    assert workspace.read_bytes(tmp_path / "file", most=len(data)) == data


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no room
    with pytest.raises(OSError, match="larger than 256 MB") as caught:
        workspace.read_bytes(tmp_path / "file")
    assert caught.value.errno == errno.EFBIG
    assert workspace.is_damage(caught.value)


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "loop", "link to a device"])
def test_a_folder_or_fifo_in_a_files_place_is_damage(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "loop":
        place.symlink_to("place")
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(OSError) as caught:  # noqa: PT011 (each kind has another text)
        workspace.read_bytes(place)
    assert workspace.is_damage(caught.value)


def test_an_unreadable_file_is_not_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        workspace.read_bytes(tmp_path / "not-there")
    assert not workspace.is_damage(caught.value)
    assert not workspace.is_damage(PermissionError(errno.EACCES, "no"))


@pytest.mark.parametrize("data", [b"", b"{", b"[" * 100_000, b"\xff", b"[NaN]", b"[-Infinity]", b"9" * 5000, b"\0"])
def test_all_invalid_json_raises_one_kind_of_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ValueError):  # noqa: PT011
        workspace.read_json(tmp_path / "file")
