"""Keep the events of a build in `.ltxflow/events.jsonl`, so that others can follow it while it runs.

One file: a build replaces that of the build before it. Its first line names the run; every other line is an event as
`--json` prints it, with the time `at`. The process that writes it holds a kernel lock on it, so that a reader can tell
a running build from one that was killed. The file is a courtesy: a build never fails because of it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from ltxflow.core import files, process_lock
from ltxflow.core.errors import LtxflowError
from ltxflow.core.events import ActionProgress, Event
from ltxflow.core.workspace import open_regular, parse_json

LOG = "events.jsonl"  # in `.ltxflow/`
LOG_SCHEMA = "ltxflow.event-log/1"
PROGRESS_S = 0.5  # the least time between two lines about the progress of one target
MOST = 8 << 20  # bytes that are read at once: a night's build has fewer

Emit = Callable[[Event], None]


@contextmanager
def recorded(own: Path, emit: Emit, command: Sequence[str] = ()) -> Iterator[Emit]:
    """Yield an `emit` that also writes each event to the log in `own`; the project must be held for writing."""
    path = own / LOG
    fd: int | None = None
    shown: dict[str, float] = {}
    first = {"schema": LOG_SCHEMA, "run": uuid4().hex[:12], "pid": os.getpid(), "command": list(command)}

    def write(data: dict[str, Any]) -> None:
        with suppress(OSError, LtxflowError):
            files.append_line(path, json.dumps({**data, "at": round(time.time(), 3)}), fsync=False)

    def emit_and_write(event: Event) -> None:
        emit(event)
        if fd is None:
            return
        if isinstance(event, ActionProgress):
            now = time.monotonic()
            if now - shown.get(event.target, 0.0) < PROGRESS_S:
                return
            shown[event.target] = now
        write(event.as_json())

    with suppress(OSError, LtxflowError):
        files.write_atomic(path, json.dumps({**first, "at": round(time.time(), 3)}) + "\n", fsync=False)
        fd = process_lock.hold_file(path)
    try:
        yield emit_and_write
    except LtxflowError as error:
        if fd is not None:
            write({"event": "run-failed", "problems": [{"message": p.message, "hint": p.hint} for p in error.problems]})
        raise
    finally:
        if fd is not None:
            os.close(fd)


@dataclass
class LogReader:
    """Reads the log of whichever build runs, as it grows. `run` is the first line of the file that is read."""

    path: Path
    run: dict[str, Any] = field(default_factory=dict)
    _file: tuple[int, int] | None = None  # device and inode of the file that is read
    _offset: int = 0
    _rest: bytes = b""

    def news(self) -> tuple[bool, list[dict[str, Any]]]:
        """Return whether another run's log has begun, and the events since the last call, oldest first."""
        try:
            fd = open_regular(self.path)
        except OSError:
            is_gone, self._file, self.run = self._file is not None, None, {}
            return is_gone, []
        with open(fd, "rb", buffering=0) as file:
            facts = os.fstat(fd)
            is_new = self._file != (facts.st_dev, facts.st_ino) or facts.st_size < self._offset
            if is_new:
                self._file, self._offset, self._rest, self.run = (facts.st_dev, facts.st_ino), 0, b"", {}
            if facts.st_size == self._offset:
                return is_new, []
            file.seek(self._offset)
            data = file.read(MOST)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        found = []
        for line in lines:
            with suppress(ValueError):  # torn by a crash
                event = parse_json(line)
                if isinstance(event, dict) and event.get("schema") == LOG_SCHEMA:
                    self.run = event
                elif isinstance(event, dict) and isinstance(event.get("event"), str):
                    found.append(event)
        return is_new, found

    @property
    def is_running(self) -> bool:
        """Whether the process that writes the log lives."""
        return bool(self.run) and process_lock.is_held(self.path)
