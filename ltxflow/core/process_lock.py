"""A file that processes hold, one at a time or together. The kernel lets it go when a process dies, however it dies.

The JSON inside (pid, host, started, command) only tells others who holds it; holding works without it.
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
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.core.regular import NotRegular, parse_json


@contextmanager
def acquire(
    path: Path, wait: bool = True, on_wait: Callable[[dict[str, Any]], None] = lambda owner: None
) -> Iterator[None]:
    """Given the lock's file, hold it for the body. If another has it, tell `on_wait` who, and wait.

    Raise LtxflowError (exit 1) when it is held and `wait` is false. An unreadable owner is {}.
    """
    files.make_dir(path.parent)
    with files.reported("lock", path):
        fd = _open_locked(path, wait, on_wait)
    try:
        with suppress(OSError):  # who holds it is a courtesy
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
    """Given the lock's file, hold it together with others who share it; `acquire` waits for all of them.

    Where there is no folder, or none that can be written, nobody can `acquire` it: then there is nothing to hold.
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
            files.announce("lock", path)
            # for writing, since nfs has no shared lock on a descriptor that only reads, nor an exclusive one
            fd = files.open_to_write(path, os.O_CREAT)
        except OSError as error:
            if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
                return None
            raise files.refused("lock", path, error) from error
        fcntl.flock(fd, fcntl.LOCK_SH)
        if _is_still(fd, path):
            return fd
        os.close(fd)
    return None


def hold_file(path: Path) -> int:
    """Given a file of ours, lock it as long as this process lives, or until the descriptor returned is closed."""
    with files.reported("lock", path):
        fd = files.open_to_write(path)
        fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def is_held(path: Path) -> bool:
    """Given a file, return whether a living process holds it (`hold_file`), on any host that shares its locks."""
    try:
        fd = files.open_to_write(path)
    except NotRegular:
        return False
    except OSError:
        return path.exists()  # that cannot be asked: better to think it is
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def _open_locked(path: Path, wait: bool, on_wait: Callable[[dict[str, Any]], None]) -> int:
    told = False
    while True:
        files.announce("lock", path)
        fd = files.open_to_write(path, os.O_CREAT)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = _read_owner(fd)
                if not wait:
                    raise _held(path, owner) from None
                if not told:
                    told = True
                    on_wait(owner)
                fcntl.flock(fd, fcntl.LOCK_EX)
            if _is_still(fd, path):
                return fd
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # the file was deleted while we waited: what we hold locks nobody out


def _is_still(fd: int, path: Path) -> bool:
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
    files.announce("write", path)
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
    who = "another process"
    if owner:
        who = f"process {owner.get('pid')} on {owner.get('host')}, since {owner.get('started')}"
    hint = "wait for it to end, or run without `--no-wait`"
    return LtxflowError(Problem(f'"{path}" is held by {who}', hint=hint), exit_code=FAILED)
