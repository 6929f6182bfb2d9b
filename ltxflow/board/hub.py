"""Messages to open pages: numbered, kept for a while, and sent again to a page that reconnects."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

KEPT = 2000  # messages: a page that missed more asks for everything
WAITING = 500  # messages that a slow page may be behind before it must ask for everything
PING_S = 15.0  # a comment, so that proxies and browsers keep the connection


@dataclass
class Hub:
    """The messages of one server. Used in the event loop alone."""

    epoch: str = field(default_factory=lambda: uuid4().hex[:8])
    number: int = 0
    kept: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=KEPT))
    readers: set[asyncio.Queue[tuple[int, str]]] = field(default_factory=set)
    is_closed: bool = False

    @property
    def last_id(self) -> str:
        return f"{self.epoch}-{self.number}"

    def send(self, kind: str, data: Any) -> None:
        """Send a message to every page."""
        self.number += 1
        text = f"id: {self.last_id}\nevent: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
        self.kept.append((self.number, text))
        for reader in list(self.readers):
            if reader.qsize() >= WAITING:
                while not reader.empty():
                    reader.get_nowait()
                reader.put_nowait((self.number, self._ask_again()))
            else:
                reader.put_nowait((self.number, text))

    async def stream(self, last_id: str) -> AsyncIterator[str]:
        """Yield what was sent after `last_id`, then what is sent from now on, as server-sent events."""
        queue: asyncio.Queue[tuple[int, str]] = asyncio.Queue()
        self.readers.add(queue)
        try:
            yield "retry: 1000\n\n"
            missed = self._after(last_id)
            yield self._ask_again() if missed is None else "".join(missed)
            while not self.is_closed:
                try:
                    async with asyncio.timeout(PING_S):
                        _, text = await queue.get()
                except TimeoutError:
                    text = ": still here\n\n"
                yield text
        finally:
            self.readers.discard(queue)

    def close(self) -> None:
        """End all streams: the server stops."""
        self.is_closed = True
        for reader in self.readers:
            reader.put_nowait((self.number, ""))

    def _after(self, last_id: str) -> list[str] | None:
        """Return the messages after an id; None where some are not kept any more. Without an id there are none."""
        if not last_id:
            return []
        epoch, _, number = last_id.partition("-")
        if epoch != self.epoch or not number.isdecimal() or int(number) > self.number:
            return None
        first = self.kept[0][0] if self.kept else self.number + 1
        if int(number) + 1 < first:
            return None
        return [text for each, text in self.kept if each > int(number)]

    def _ask_again(self) -> str:
        return f"id: {self.last_id}\nevent: reset\ndata: {{}}\n\n"
