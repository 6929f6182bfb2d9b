"""Single keys from a terminal, without Enter, while waiting for something else. Knows no meaning of any key."""

from __future__ import annotations

import os
import select
import termios
import time
import tty
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
