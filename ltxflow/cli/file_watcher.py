"""Single keys from a terminal, without Enter, while waiting for something else. Knows no meaning of any key.

Notices when what a film rests on has changed, by the signatures of files. Knows no keyboard and no screen.
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
    """The terminal that `stream` is; where it is none, or has gone, no key is ever pressed. Ctrl-C stays what it is."""

    def __init__(self, stream: TextIO) -> None:
        self.fd = stream.fileno() if stream.isatty() else -1
        self._before: Any = None

    def __enter__(self) -> Keyboard:
        if self.is_there:
            self._before = termios.tcgetattr(self.fd)
            tty.setcbreak(self.fd, termios.TCSANOW)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._before and self.is_there:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._before)

    @property
    def is_there(self) -> bool:
        return self.fd >= 0

    def wait(self, seconds: float) -> str:
        """Return the key that is pressed within this time, or "" when none is."""
        if not self.is_there:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return ""
        try:
            pressed = os.read(self.fd, 1)
        except OSError:  # the terminal is gone
            pressed = b""
        if not pressed:
            self.fd = -1
        return pressed.decode("ascii", "replace")


PAUSE_S = 0.25  # between two looks at the files
SETTLED_S = 0.05  # many editors empty a file, then fill it: it is read when it has stayed the same for this long
SHARE = 20  # a pause is at least this many times what looking takes: a film of 10,000 clips shall not keep one busy
NOT_WRITTEN = {"node_modules", "__pycache__"}

Signature = tuple[int, ...]


def signature(path: Path) -> Signature:
    """Given a path, return size, mtime, ctime and inode of what stands there; nothing where nothing does."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return ()
    return facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino


def around(file: Path) -> set[Path]:
    """Given the path of project.yaml, return what is beside and below it: any of that may mend its errors."""
    found = {file}
    for folder, folders, names in os.walk(file.parent):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in NOT_WRITTEN]
        found |= {Path(folder), *(Path(folder, name) for name in names if not name.startswith("."))}
    return found


@dataclass
class FileWatcher:
    """Files and folders, as they were before they were last read: an edit while they are read is noticed, too."""

    paths: set[Path]
    seen: dict[Path, Signature] = field(default_factory=dict)
    pause_s: float = PAUSE_S

    def open(self) -> None:
        """Remember how everything is. Then read it."""
        self.seen = {path: signature(path) for path in self.paths}

    def rest_on(self, paths: Iterable[Path]) -> None:
        """From now on look at these."""
        self.paths = {path.absolute() for path in paths}
        self.seen = {path: self.seen[path] if path in self.seen else signature(path) for path in self.paths}

    def changed(self) -> list[Path]:
        """Return what is no longer as it was when the eye was opened, once it has settled."""
        started = time.monotonic()
        found = sorted(path for path, seen in self.seen.items() if signature(path) != seen)
        self.pause_s = max(PAUSE_S, SHARE * (time.monotonic() - started))
        _settle(found)
        return found


def _settle(paths: Iterable[Path]) -> None:
    """Return when none of these is being written any more."""
    before, now = None, [signature(path) for path in paths]
    while before != now and now:
        time.sleep(SETTLED_S)
        before, now = now, [signature(path) for path in paths]
