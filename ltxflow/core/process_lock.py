"""Lock files between processes, exclusively or shared. The kernel releases a lock when its process dies.

The JSON inside (pid, host, started, command) only names the owner; locking works without it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ltxflow.core import files
from ltxflow.core.errors import FAILED, LtxflowError, problem
from ltxflow.core.workspace import NotRegular, parse_json


@contextmanager
def acquire(
    path: Path, wait: bool = True, on_wait: Callable[[dict[str, Any]], None] = lambda owner: None
) -> Iterator[None]:
    """Hold a lock file exclusively for the body. Call `on_wait` with the present owner before waiting.

    Raise LtxflowError (exit 1) when it is held and `wait` is false. An unreadable owner is {}.
    """
    files.make_dir(path.parent)
    with files.reported("lock", path):
        fd = _open_locked(path, wait, on_wait)
    try:
        with suppress(OSError):  # the owner's name is a courtesy
            _write_owner(fd, path, _me())
        yield
    finally:
        try:
            with suppress(OSError):
                _write_owner(fd, path, None)
        finally:
            os.close(fd)


@contextmanager
def share(path: Path) -> Iterator[None]:
    """Hold a lock file together with other sharers for the body; `acquire` waits for all of them.

    Holds nothing where the folder is missing or read-only, since no process can `acquire` the lock there.
    """
    fd = _open_shared(path)
    try:
        yield
    finally:
        if fd is not None:
            os.close(fd)


def _open_shared(path: Path) -> int | None:
    while path.parent.is_dir():
        try:
            files.crash_point("lock", path)
            # for writing, since nfs has no shared lock on a descriptor that only reads, nor an exclusive one
            fd = files.open_to_write(path, os.O_CREAT)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return None
            raise files.refused("lock", path, error) from error
        fcntl.flock(fd, fcntl.LOCK_SH)
        if _is_current(fd, path):
            return fd
        os.close(fd)
    return None


def hold_file(path: Path) -> int:
    """Lock a file until the returned descriptor is closed, or this process ends."""
    with files.reported("lock", path):
        fd = files.open_to_write(path)
        fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def is_held(path: Path) -> bool:
    """Return whether a living process holds a file (`hold_file`), on any host that shares its locks."""
    try:
        fd = files.open_to_write(path)
    except NotRegular:
        return False
    except OSError:
        return path.exists()  # it cannot be checked: assume that it is held
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _open_locked(path: Path, wait: bool, on_wait: Callable[[dict[str, Any]], None]) -> int:
    is_reported = False
    while True:
        files.crash_point("lock", path)
        fd = files.open_to_write(path, os.O_CREAT)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _read_owner(fd)
                if not wait:
                    raise _held(path, owner) from None
                if not is_reported:
                    is_reported = True
                    on_wait(owner)
                fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_current(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the file was deleted while we waited: this lock excludes no other process


def _is_current(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _me() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "host": os.uname().nodename,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(sys.argv),
    }


def _write_owner(fd: int, path: Path, owner: dict[str, Any] | None) -> None:
    files.crash_point("write", path)
    os.ftruncate(fd, 0)
    if owner is not None:
        os.pwrite(fd, json.dumps(owner).encode() + b"\n", 0)


def _read_owner(fd: int) -> dict[str, Any]:
    try:
        owner = parse_json(os.pread(fd, 1 << 16, 0))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def _held(path: Path, owner: dict[str, Any]) -> LtxflowError:
    name = f"process {owner.get('pid')} on {owner.get('host')}, since {owner.get('started')}"
    return LtxflowError(problem("D044", path=path, owner=name if owner else "another process"), exit_code=FAILED)
