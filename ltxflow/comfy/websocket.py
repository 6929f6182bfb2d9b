"""Receive progress from one server over its WebSocket, and pass it to the watchers of each prompt.

Frames become progress events, which feed the progress bar and decide nothing. Routes and frames: ComfyUI 0.27.0
`server.py`. This is the only module that imports websockets.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from ltxflow.comfy.replies import ServerError, as_number, clean, error_of, is_transient, mapping, names
from ltxflow.comfy.transport import MIB, USER_AGENT, Transport


@dataclass(frozen=True)
class Started:
    prompt_id: str


@dataclass(frozen=True)
class NodeRunning:
    prompt_id: str
    node: str


@dataclass(frozen=True)
class NodeProgress:
    prompt_id: str
    node: str
    value: float
    max: float


@dataclass(frozen=True)
class NodeDone:
    """A node has finished. The event may repeat, with `is_cached` only the first time."""

    prompt_id: str
    node: str
    is_cached: bool = False


@dataclass(frozen=True)
class Finished:
    """The server has ended the prompt, whatever the outcome: its history entry exists."""

    prompt_id: str


@dataclass(frozen=True)
class Failed:
    """An error or an interruption; the history entry may be a moment late."""

    prompt_id: str
    error: ServerError


@dataclass(frozen=True)
class QueueChanged:
    """The number of running and waiting prompts of all clients. It belongs to no prompt."""

    remaining: int
    prompt_id: str = ""


Progress = Started | NodeRunning | NodeProgress | NodeDone | Finished | Failed | QueueChanged


def is_repetition(frame: str | bytes) -> bool:
    """Return whether a frame repeats the whole state of a prompt, by its first letters.

    Half of all frames do, each as long as forty others. Their news arrives in other frames too.
    """
    return isinstance(frame, str) and frame.startswith('{"type": "progress_state"')


def parse_frame(frame: str | bytes) -> tuple[Progress, ...]:
    """Return the events of a frame; none for binary, unknown or malformed ones."""
    if not isinstance(frame, str):
        return ()  # previews; LTX-2 sends none
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        return ()
    kind, data = mapping(message).get("type"), mapping(mapping(message).get("data"))
    if kind == "status":
        remaining = as_number(mapping(mapping(data.get("status")).get("exec_info")).get("queue_remaining"))
        return () if remaining is None else (QueueChanged(max(int(remaining), 0)),)
    prompt_id = data.get("prompt_id")
    if not isinstance(prompt_id, str) or not isinstance(kind, str):
        return ()
    return tuple(_events(kind, prompt_id, data))


def _events(kind: str, prompt_id: str, data: Mapping[str, Any]) -> Iterator[Progress]:
    node = data.get("node")
    if kind == "execution_start":
        yield Started(prompt_id)
    elif kind == "execution_cached":
        yield from (NodeDone(prompt_id, name, is_cached=True) for name in names(data.get("nodes")))
    elif kind == "executing" and "node" in data:
        yield Finished(prompt_id) if node is None else NodeRunning(prompt_id, clean(node, 40))
    elif kind == "executed" and node is not None:
        yield NodeDone(prompt_id, clean(node, 40))
    elif kind == "progress" and node is not None:
        yield from _node_progress(prompt_id, clean(node, 40), data)
    elif kind == "progress_state":
        for name, fields in mapping(data.get("nodes")).items():
            fields = mapping(fields)
            if fields.get("state") == "finished":
                yield NodeDone(prompt_id, clean(name, 40))
            elif fields.get("state") == "running":
                yield from _node_progress(prompt_id, clean(name, 40), fields)
    elif kind == "execution_error":
        yield Failed(prompt_id, error_of(data))
    elif kind == "execution_interrupted":
        at = clean(data.get("node_id") or "", 40)
        yield Failed(prompt_id, ServerError("", "interrupted", at, clean(data.get("node_type") or "", 80)))


def _node_progress(prompt_id: str, node: str, data: Mapping[str, Any]) -> Iterator[NodeProgress]:
    value, most = as_number(data.get("value")), as_number(data.get("max"))
    if value is not None and most is not None and most > 0:
        yield NodeProgress(prompt_id, node, min(max(value, 0.0), most), most)


_FRAME_CAP = 32 * MIB
_PING_S = 20.0  # the server sends none, and a proxy closes silent connections
_TRIES = 8  # silent sockets in a row before the progress bar is given up
_BACKLOG = 1000  # frames that the socket, and events that a watcher, may be behind
_REMEMBERED = 64  # ended prompts that are remembered for later watchers
_FRESH_S = 20.0  # age of the last frame at which the socket counts as silent
_WHOLE_EVERY_S = 0.25  # between frames that repeat the whole state of a prompt: other frames have the news

_QUIET = logging.Logger("ltxflow.quiet", logging.CRITICAL)  # websockets would log our headers at DEBUG


@dataclass(frozen=True)
class SocketWatcher:
    prompt_ids: frozenset[str]
    queue: asyncio.Queue[Progress | None]  # None: no more events will follow
    done: set[NodeDone] = field(default_factory=set)

    def wants(self, event: Progress) -> bool:
        """Return whether an event is new: a server repeats all finished nodes with every step of a sampler."""
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
    """One socket to a server at a time, opened for the first watcher.

    `client_id` is for the first socket: the id with which a running job was submitted, to receive its progress again.
    Later sockets get fresh ids: a server may stop serving an id that it still holds open.
    """

    def __init__(self, transport: Transport, client_id: str | None) -> None:
        self.client_id = client_id or str(uuid.uuid4())  # of the live socket, or of the next one
        self._transport = transport
        self._watchers: list[SocketWatcher] = []
        self._over: deque[str] = deque(maxlen=_REMEMBERED)  # prompts whose end the socket has reported
        self._next_whole_s = 0.0
        self._remaining: int | None = None
        self._last_frame_s = 0.0
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
        """Open the WebSocket if it is closed, and return the id to submit with.

        A socket that does not open within `patience_s` raises no error: progress is a luxury.
        """
        self._start()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._settled.wait()
        return self.client_id

    async def watch(self, *prompt_ids: str) -> AsyncIterator[Progress]:
        """Yield the events of these prompts; without any, all events, the queue's included.

        Ends when the client closes or the socket is given up. Prompts submitted under an earlier socket's id send no
        events.
        """
        with self.watching(prompt_ids) as watcher:
            while (event := await watcher.queue.get()) is not None:
                yield event

    @contextmanager
    def watching(self, prompt_ids: Collection[str]) -> Iterator[SocketWatcher]:
        """Yield a watcher whose queue receives the events of these prompts, as in `watch`; None ends it."""
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
        """Keep one socket open, each with a separate id; give up after `_TRIES` silent ones in a row."""
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
                            self.receive(frame)
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
            max_queue=_BACKLOG,  # with fewer, every burst of frames pauses and resumes reading
            logger=_QUIET,
            **tls,
        )

    @property
    def remaining(self) -> int | None:
        """Number of prompts that run or wait by the last frame; None if the socket is silent.

        Use `Client.queue_remaining` for a reliable answer.
        """
        return self._remaining if time.monotonic() - self._last_frame_s < _FRESH_S else None

    def has_ended(self, prompt_id: str) -> bool:
        """Return whether the socket has reported the end of a prompt, watched or not."""
        return prompt_id in self._over

    def receive(self, frame: str | bytes) -> None:
        """Pass the events of a frame to the watchers; of frames that repeat the whole state only some."""
        now = self._last_frame_s = time.monotonic()
        if is_repetition(frame):
            if now < self._next_whole_s:
                return
            self._next_whole_s = now + _WHOLE_EVERY_S
        self._dispatch(parse_frame(frame))

    def _dispatch(self, events: Sequence[Progress]) -> None:
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
