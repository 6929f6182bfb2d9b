"""A terminal that a program believes in, and somebody at it who waits for what it shows."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import time

PATIENCE_S = 60.0


class Terminal:
    """A program at a pseudo-terminal: what it shows, in order, and keys for it."""

    def __init__(self, *argv: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ |= {"COLUMNS": "110", "TERM": "xterm", "NO_COLOR": "1"}
            os.execvp(argv[0], argv)
        self.shown = ""
        self.at = 0

    def until(self, text: str) -> str:
        """Wait until this is shown, and return all since the last time up to it."""
        end = time.monotonic() + PATIENCE_S
        while (found := self.shown.find(text, self.at)) < 0:
            assert time.monotonic() < end, f'no "{text}" in:\n{self.shown[self.at :]}'
            if select.select([self.fd], [], [], 1)[0]:
                self.shown += re.sub(r"\x1b\[[?0-9;]*[A-Za-z]|\r", "", os.read(self.fd, 65536).decode())
        told = self.shown[self.at : found]
        self.at = found + len(text)
        return told

    def press(self, key: str) -> None:
        os.write(self.fd, key.encode())

    def leave(self) -> int:
        """Wait for its end and return its exit code."""
        while True:
            try:
                if not os.read(self.fd, 65536):
                    break
            except OSError:  # Linux: the other side is closed
                break
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)
