"""Read regular files only, up to a size: a FIFO, a device or deeply nested JSON is an error, never a hang.

Imports little, because cached answers are read through it before anything else is loaded.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

# Far above the needs of a film of 10,000 clips, and far below the memory of a machine that renders.
RECORD_BYTES = 256 << 20  # lock, timeline, record of published files, journal, snapshot
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class NotRegular(OSError):
    """A FIFO, a socket or a device where a regular file belongs."""


def open_regular(path: str | Path) -> int:
    """Open a regular file, or a link to one, for reading, and return its descriptor.

    Raise OSError for anything else: `NotRegular`, IsADirectoryError, or the system's error. Never blocks, and never
    opens a device, which can have effects.
    """
    _check_mode(os.stat(path).st_mode, path)
    fd = os.open(path, _FLAGS)
    try:
        _check_mode(os.fstat(fd).st_mode, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_mode(mode: int, path: str | Path) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise NotRegular(errno.EINVAL, f"{kind_of(mode)}, not a file", str(path))


def kind_of(mode: int) -> str:
    """Return the name of the kind of file in a mode, such as "a folder" or "a FIFO"."""
    kinds = [
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISLNK, "a symbolic link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
    ]
    return next((name for is_kind, name in kinds if is_kind(mode)), "a file")


def read_bytes(path: str | Path, most: int = RECORD_BYTES) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Raise OSError otherwise, EFBIG for a larger one."""
    fd = open_regular(path)
    with open(fd, "rb", buffering=0) as file:
        size = os.fstat(fd).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"larger than {most >> 20} MB", str(path))
        data = bytearray()
        while block := file.read(max(size - len(data), 0) + 1):  # one more: at the right size the next read is empty
            data += block
            if len(data) > most:  # it grows while it is read
                raise OSError(errno.EFBIG, f"larger than {most >> 20} MB", str(path))
    return bytes(data)


def read_text(path: str | Path, most: int = RECORD_BYTES) -> str:
    """Return the text of a UTF-8 file. Raise OSError as `read_bytes` does, and UnicodeDecodeError, a ValueError."""
    return read_bytes(path, most).decode("utf-8")


def is_damage(error: OSError) -> bool:
    """Return whether a file's place holds something else: a folder, a FIFO, a link to itself, a far too large file.

    False for a file that cannot be read for lack of permission: it may still be the one that was written.
    """
    return isinstance(error, (IsADirectoryError, NotRegular)) or error.errno in (errno.ELOOP, errno.EFBIG)


def read_json(path: str | Path, most: int = RECORD_BYTES) -> Any:
    """Return the data of a JSON file. Raise OSError as `read_bytes` does, and ValueError for other text."""
    return parse_json(read_bytes(path, most))


def parse_json(data: bytes | str) -> Any:
    """Return the data of a JSON text. Raise ValueError for other text: NaN, wrong UTF-8, 1000 nested brackets."""
    try:
        return json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")
