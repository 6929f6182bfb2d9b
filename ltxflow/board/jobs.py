"""Actions of a page that are commands: each runs as a separate process, which outlives the board.

A crash of the board never harms a build: the process has its own session, and its output goes to a file.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltxflow.core.files import make_dir, open_to_write

POLL_S = 0.2
TAIL = 4000  # characters of its output that a page shows


@dataclass
class Job:
    """One command that a page started."""

    number: int
    words: tuple[str, ...]
    output: Path
    process: subprocess.Popen[bytes] = field(repr=False)
    code: int | None = None

    @property
    def command(self) -> str:
        return shlex.join(("ltxflow", *self.words))

    def as_json(self) -> dict[str, Any]:
        return {"number": self.number, "command": self.command, "code": self.code, "output": self.text()}

    def text(self) -> str:
        """Return the end of what it printed."""
        try:
            return self.output.read_text(errors="replace")[-TAIL:].strip()
        except OSError:
            return ""


@dataclass
class Jobs:
    """The commands that pages started, oldest first. `options` are given to each: the project, its servers."""

    folder: Path
    options: Sequence[str]
    changed: Callable[[Job], None]
    all: list[Job] = field(default_factory=list)

    @property
    def running(self) -> list[Job]:
        return [job for job in self.all if job.code is None]

    def start(self, words: Sequence[str]) -> Job:
        """Start a command, and call `changed` when it ends."""
        make_dir(self.folder)
        number = len(self.all) + 1
        output = self.folder / f"board-{number}.log"
        fd = open_to_write(output, os.O_CREAT | os.O_TRUNC)
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "ltxflow", *words, *self.options],
                stdin=subprocess.DEVNULL,
                stdout=fd,
                stderr=fd,
                start_new_session=True,
                env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
            )
        finally:
            os.close(fd)
        job = Job(number, tuple(words), output, process)
        self.all.append(job)
        asyncio.get_running_loop().create_task(self._wait(job))
        return job

    async def _wait(self, job: Job) -> None:
        while (code := job.process.poll()) is None:  # a thread that waits would hold up the end of the board
            await asyncio.sleep(POLL_S)
        job.code = code
        self.changed(job)

    def cancel(self, pid: int) -> bool:
        """Interrupt a command as Ctrl-C does: what is finished is kept. Return whether it is one of ours."""
        job = next((job for job in self.running if job.process.pid == pid), None)
        if job is not None:
            job.process.send_signal(signal.SIGINT)
        return job is not None
