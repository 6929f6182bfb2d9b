"""Wait for a key of the terminal, or for files to change.

A change is seen in the stat signature of a file: size, mtime, ctime and inode.
"""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO


class Keyboard:
    """Reads single keys from a terminal, without Enter. On another stream no key is ever pressed. Ctrl-C interrupts."""

    def __init__(self, stream: TextIO) -> None:
        self.fd = stream.fileno() if stream.isatty() else -1
        self._before: Any = None

    def __enter__(self) -> Keyboard:
        if self.is_open:
            self._before = termios.tcgetattr(self.fd)
            tty.setcbreak(self.fd, termios.TCSANOW)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._before and self.is_open:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)

    @property
    def is_open(self) -> bool:
        return self.fd >= 0

    def wait(self, seconds: float) -> str:
        """Return the key that is pressed within this time, or an empty string."""
        if not self.is_open:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return ""
        try:
            pressed = os.read(self.fd, 1)
        except OSError:  # the terminal was closed
            pressed = b""
        if not pressed:
            self.fd = -1
        return pressed.decode("ascii", "replace")


PAUSE_S = 0.25  # between two checks of the files
SETTLED_S = 0.05  # editors may truncate a file, then write it: wait until it is stable for this long
SHARE = 20  # a pause lasts at least this many times as long as a check, so that large films use little CPU
NOT_WRITTEN = {"node_modules", "__pycache__"}

Signature = tuple[int, ...]


def signature(path: Path) -> Signature:
    """Return size, mtime, ctime and inode of a path; an empty tuple where nothing exists."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return ()
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def around(file: Path) -> set[Path]:
    """Return all files and folders beside and below project.yaml: an edit of any may fix its errors."""
    found = {file}
    for folder, folders, names in os.walk(file.parent):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_WRITTEN]
        found |= {Path(folder), *(Path(folder, name) for name in names if not name.startswith("."))}
    return found


@dataclass
class FileWatcher:
    """Files and folders as they were before they were last read, so that an edit during the read is seen."""

    paths: set[Path]
    signatures: dict[Path, Signature] = field(default_factory=dict)
    pause_s: float = PAUSE_S

    def open(self) -> None:
        """Record all signatures. Call it before reading the files."""
        self.signatures = {path: signature(path) for path in self.paths}

    def watch(self, paths: Iterable[Path]) -> None:
        """Watch these paths instead; those watched before keep their signatures."""
        self.paths = {path.absolute() for path in paths}
        self.signatures = {
            path: self.signatures[path] if path in self.signatures else signature(path) for path in self.paths
        }

    def changed(self) -> list[Path]:
        """Return the paths that differ from their signatures, once they are stable."""
        started = time.monotonic()
        found = sorted(path for path, before in self.signatures.items() if signature(path) != before)
        self.pause_s = max(PAUSE_S, SHARE * (time.monotonic() - started))
        _settle(found)
        return found


def _settle(paths: Iterable[Path]) -> None:
    """Wait until none of these paths changes."""
    before, now = None, [signature(path) for path in paths]
    while before != now and now:
        time.sleep(SETTLED_S)
        before, now = now, [signature(path) for path in paths]
