"""Follow a prompt until it ends, and measure its progress and the time of its phases.

HTTP decides the state; events of the socket trigger the next request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ltxflow.comfy.client import Client
from ltxflow.comfy.replies import JobState
from ltxflow.comfy.websocket import (
    Failed,
    Finished,
    NodeDone,
    NodeProgress,
    NodeRunning,
    Progress,
    SocketWatcher,
    Started,
)

# Shares of a clip's time, for the bar only: loading and encoding, sampling, decoding and saving.
LOAD, SAMPLING = 0.08, 0.80
SAMPLERS = ("SamplerCustomAdvanced", "SamplerCustom", "KSampler", "KSamplerAdvanced")
PHASES = {"CLIPTextEncode": "reads the prompt", "LTXVLatentUpsampler": "upscales"}


class Tracker:
    """The progress of one prompt. `seconds` has the time spent loading, sampling and decoding, as far as reported."""

    def __init__(self, graph: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self.classes = {id: str(node.get("class_type", "")) for id, node in graph.items()}
        self.samplers = sum(name in SAMPLERS for name in self.classes.values()) or 1
        self.clock = clock
        self.phase = "load"
        self.since = clock()
        self.seconds: dict[str, float] = {}
        self.reached: list[str] = []  # samplers that run or have finished
        self.fraction = 0.0
        self.has_started = False
        self.shown: tuple[float, str] | None = None

    def update(self, event: Progress) -> tuple[float, str] | None:
        """Return (fraction, words) if an event changes them, else None."""
        current = self._apply(event)
        if current is None or current == self.shown:
            return None
        self.shown = current
        return current

    def _apply(self, event: Progress) -> tuple[float, str] | None:
        if isinstance(event, Started):
            self._begin()
        elif isinstance(event, NodeDone):
            self._reach(event.node)  # a late watcher counts finished samplers without seeing them run
        elif isinstance(event, NodeRunning):
            return self._node(event.node)
        elif isinstance(event, NodeProgress) and self.classes.get(event.node) in SAMPLERS:
            self._begin()
            self._reach(event.node)
            done = self.reached.index(event.node) + event.value / max(event.max, 1)
            self.fraction = LOAD + SAMPLING * min(1.0, done / self.samplers)
            return self.fraction, f"{self._stage()} step {event.value:g}/{event.max:g}".lstrip()
        return None

    def _node(self, node: str) -> tuple[float, str]:
        self._begin()
        name = self.classes.get(node, "")
        if name in SAMPLERS:
            self._reach(node)
            return self.fraction, self._stage() or "sampling"
        if len(self.reached) == self.samplers:
            self._enter("decode")
            self.fraction = max(self.fraction, LOAD + SAMPLING)
            return self.fraction, "saves" if name.startswith("Save") else "decodes"
        return self.fraction, PHASES.get(name, "" if self.reached else "loads")

    def _begin(self) -> None:
        if not self.has_started:
            self.has_started = True
            self.since = self.clock()

    def _reach(self, node: str) -> None:
        if self.classes.get(node) in SAMPLERS and node not in self.reached:
            self.reached.append(node)
            self._enter("sampling")

    def _stage(self) -> str:
        return f"stage {len(self.reached)}" if self.samplers > 1 else ""

    def _enter(self, phase: str) -> None:
        if phase != self.phase:
            self.end()
            self.phase = phase

    def end(self) -> None:
        """Add the time of the phase that ends now; nothing for a prompt whose start was missed."""
        now = self.clock()
        if self.has_started and (self.reached or self.phase != "load"):
            self.seconds[self.phase] = round(self.seconds.get(self.phase, 0.0) + now - self.since, 3)
        self.since = now


POLL_S = (0.25, 0.4, 0.65, 1.0, 1.6, 2.5, 4.0, 5.0)  # seconds between requests; the last one repeats
_QUEUE_EVERY = 8  # on an old server: requests of /history/{id} for one of the whole /queue


async def follow(
    client: Client,
    prompt_id: str,
    on_progress: Callable[[Progress], None] = lambda event: None,
    *,
    poll: Sequence[float] = POLL_S,
    is_new: bool = False,
) -> JobState:
    """Wait until a submitted prompt ends and return its state by HTTP, "unknown" if it is lost.

    `poll` has the seconds between requests, its last one repeats; the end of the prompt on the socket triggers a
    request at once and restarts `poll`. With `is_new`, submitted a moment ago, events are awaited before the first
    request. Raise LtxflowError, transient, if the server cannot be reached: the prompt may continue, so
    follow it again.
    """
    with client.socket.watching((prompt_id,)) as watcher:
        requests = pauses = 0
        is_running = False
        if is_new and not client.socket.has_ended(prompt_id):
            await _await_end(watcher, poll[0], on_progress)
        while True:
            state = await _request_state(client, prompt_id, requests)
            if state.kind == "running" and client.has_jobs and not is_running:  # else it is only supposed to run
                is_running = True
                on_progress(Started(prompt_id))  # the socket may be silent
            if state.is_over or state.kind == "unknown":
                _drain(watcher, on_progress)
                return state
            has_ended = await _await_end(watcher, poll[min(pauses, len(poll) - 1)], on_progress)
            pauses = 0 if has_ended else pauses + 1
            requests += 1


async def _request_state(client: Client, prompt_id: str, requests: int) -> JobState:
    if client.has_jobs is False and requests % _QUEUE_EVERY:  # the whole queue is expensive, an ending is not
        return await client.ending(prompt_id) or JobState("running")
    return await client.state(prompt_id)


async def _await_end(watcher: SocketWatcher, wait_s: float, on_progress: Callable[[Progress], None]) -> bool:
    """Pass on events for `wait_s` seconds, or until the prompt ends; return whether it has."""
    try:
        async with asyncio.timeout(wait_s):
            while True:
                event = await watcher.queue.get()
                if event is not None:
                    on_progress(event)
                if isinstance(event, Finished | Failed):
                    return True
    except TimeoutError:
        return False


def _drain(watcher: SocketWatcher, on_progress: Callable[[Progress], None]) -> None:
    while not watcher.queue.empty():
        event = watcher.queue.get_nowait()
        if event is not None:
            on_progress(event)
