"""Hears what one server tells over its WebSocket, and tells it to whoever watches a prompt. Decides nothing.

Routes and frames: ComfyUI 0.27.0 `server.py`. The only importer of websockets.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from ltxflow.comfy.frames import Failed, Finished, NodeDone, Progress, QueueChanged, is_repetition, parse_frame
from ltxflow.comfy.replies import is_transient
from ltxflow.comfy.transport import MIB, USER_AGENT, Transport

_FRAME_CAP = 32 * MIB
_PING_S = 20.0  # the server sends none, and a proxy cuts what is silent
_TRIES = 8  # sockets in a row that brought nothing before the progress bar is given up
_BACKLOG = 1000  # frames the socket, and events a watcher may be behind
_REMEMBERED = 64  # prompts of which it is known that they are over, though nobody watched them yet
_LATELY_S = 20.0  # after which a socket may be deaf
_WHOLE_EVERY_S = 0.25  # between frames that repeat all that is known of a prompt: others tell what is new in them

_QUIET = logging.Logger("ltxflow.quiet", logging.CRITICAL)  # websockets would log our headers at DEBUG


@dataclass(frozen=True)
class SocketWatcher:
    prompt_ids: frozenset[str]
    queue: asyncio.Queue[Progress | None]  # None: the socket was given up
    done: set[NodeDone] = field(default_factory=set)

    def wants(self, event: Progress) -> bool:
        """Whether it is news: a server repeats all nodes that are done with every step of a sampler."""
        if self.prompt_ids and event.prompt_id not in self.prompt_ids:
            return False
        if isinstance(event, NodeDone) and self.prompt_ids:
            if event in self.done:
                return False
            self.done.add(event)
        return True


class _Connect(connect):
    """A WebSocket that follows no redirect: our headers are for one origin."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Listener:
    """One socket to a server at a time, opened when somebody listens.

    `client_id` is for the first one: the id a job in flight was submitted with, so that its progress is heard again.
    Later sockets get fresh ones: a server may go deaf to an id it still holds open.
    """

    def __init__(self, transport: Transport, client_id: str | None) -> None:
        self.client_id = client_id or str(uuid.uuid4())  # of the live socket, or of the next one
        self._transport = transport
        self._watchers: list[SocketWatcher] = []
        self._over: deque[str] = deque(maxlen=_REMEMBERED)  # prompts that the socket said are over
        self._next_whole_s = 0.0
        self._remaining: int | None = None
        self._heard_s = 0.0
        self._task: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()

    async def close(self) -> None:
        """Close the socket; watchers end."""
        task, self._task = self._task, None
        try:
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        finally:
            self._end_watchers()

    async def open(self, patience_s: float = 3.0) -> str:
        """Open the WebSocket unless it is, and return the id to submit with once it is live.

        One that does not open in `patience_s` is no error: progress is a luxury.
        """
        self._start()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._settled.wait()
        return self.client_id

    async def watch(self, *prompt_ids: str) -> AsyncIterator[Progress]:
        """Given prompts, yield what the socket tells of them; given none, all that it tells, the queue too.

        Ends when the client closes or the socket is given up. Says nothing of prompts submitted under an
        earlier socket's id, and what it says decides nothing.
        """
        with self.watching(prompt_ids) as watcher:
            while (event := await watcher.queue.get()) is not None:
                yield event

    @contextmanager
    def watching(self, prompt_ids: Collection[str]) -> Iterator[SocketWatcher]:
        """Given prompts, hear of them in the queue of the watcher, as `watch` does; None ends it."""
        self._start()
        watcher = SocketWatcher(frozenset(prompt_ids), asyncio.Queue())
        self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            with suppress(ValueError):
                self._watchers.remove(watcher)

    def _start(self) -> None:
        if self._task is None or self._task.done():
            self._settled.clear()
            self._task = asyncio.create_task(self._keep_open())

    async def _keep_open(self) -> None:
        """Keep one socket open, each with an id of its own; give up when `_TRIES` in a row were silent."""
        silent = 0
        try:
            while silent < _TRIES:
                silent += 1
                self._settled.clear()
                self._remaining = None
                is_known = False  # whether the server may hold this id for a socket
                try:
                    async with self._socket() as socket:
                        is_known = True
                        self._settled.set()
                        async for frame in socket:
                            silent = 0
                            self._hear(frame)
                except InvalidStatus as error:
                    if not is_transient(error.response.status_code):
                        return
                except ImportError:  # a SOCKS proxy in the environment, and no library for it
                    return
                except TimeoutError:
                    is_known = True
                except (WebSocketException, OSError, EOFError, ValueError):
                    pass
                if is_known:
                    self.client_id = str(uuid.uuid4())
                self._settled.set()
                await asyncio.sleep(min(0.25 * 2**silent, 30.0) * random.uniform(0.75, 1.25))
        finally:
            self._settled.set()
            self._end_watchers()

    def _socket(self) -> connect:
        server = self._transport.server
        tls: dict[str, Any] = {"ssl": self._transport.tls} if self._transport.tls else {}
        url = "ws" + server.url.removeprefix("http") + "/ws?clientId=" + quote(self.client_id, safe="")
        return _Connect(
            url,
            additional_headers=dict(server.headers),
            user_agent_header=USER_AGENT,
            compression=None,
            proxy=None if self._transport.is_direct else True,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            open_timeout=10.0,
            close_timeout=0.5,
            max_size=_FRAME_CAP,
            max_queue=_BACKLOG,  # with fewer, reading is held up and let go on for every burst of frames
            logger=_QUIET,
            **tls,
        )

    @property
    def remaining(self) -> int | None:
        """How many prompts run or wait, everybody's, as the socket told last; None where it told nothing lately.

        Who has to know asks `queue_remaining`.
        """
        return self._remaining if time.monotonic() - self._heard_s < _LATELY_S else None

    def said_over(self, prompt_id: str) -> bool:
        """Whether the socket has told the end of a prompt, lately, even if nobody watched it yet."""
        return prompt_id in self._over

    def _hear(self, frame: str | bytes) -> None:
        now = self._heard_s = time.monotonic()
        if is_repetition(frame):
            if now < self._next_whole_s:
                return
            self._next_whole_s = now + _WHOLE_EVERY_S
        self._tell(parse_frame(frame))

    def _tell(self, events: Sequence[Progress]) -> None:
        for event in events:
            if isinstance(event, Failed):
                event = replace(event, error=self._transport.shown_error(event.error))
            elif isinstance(event, QueueChanged):
                self._remaining = event.remaining
            if isinstance(event, Failed | Finished):
                self._over.append(event.prompt_id)
            for watcher in self._watchers:
                if watcher.wants(event):
                    if watcher.queue.qsize() >= _BACKLOG:
                        watcher.queue.get_nowait()
                    watcher.queue.put_nowait(event)

    def _end_watchers(self) -> None:
        for watcher in self._watchers:
            watcher.queue.put_nowait(None)
