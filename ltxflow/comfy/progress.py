"""How far a prompt is and where its time went, from what the socket tells. Pure but for the clock it is given.

Waits until a prompt is over: HTTP decides how it stands, the socket says when to look. Submits nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ltxflow.comfy.client import Client
from ltxflow.comfy.frames import Failed, Finished, NodeDone, NodeProgress, NodeRunning, Progress, Started
from ltxflow.comfy.replies import JobState
from ltxflow.comfy.websocket import SocketWatcher

# Shares of a clip's time, for the bar only: loading and encoding, sampling, decoding and saving.
LOAD, SAMPLING = 0.08, 0.80
SAMPLERS = ("SamplerCustomAdvanced", "SamplerCustom", "KSampler", "KSamplerAdvanced")
PHASES = {"CLIPTextEncode": "reads the prompt", "LTXVLatentUpsampler": "upscales"}


class Tracker:
    """Follows one prompt. `seconds` has how long it took to load, to sample and to decode, as far as it was told."""

    def __init__(self, graph: Mapping[str, Any], clock: Callable[[], float]) -> None:
        self.classes = {id: str(node.get("class_type", "")) for id, node in graph.items()}
        self.samplers = sum(name in SAMPLERS for name in self.classes.values()) or 1
        self.clock = clock
        self.phase = "load"
        self.since = clock()
        self.seconds: dict[str, float] = {}
        self.reached: list[str] = []  # samplers that run, or are done
        self.fraction = 0.0
        self.has_started = False
        self.news: tuple[float, str] | None = None

    def hear(self, event: Progress) -> tuple[float, str] | None:
        """Given an event, return (fraction, words) when there is something new to show."""
        news = self._hear(event)
        if news is None or news == self.news:
            return None
        self.news = news
        return news

    def _hear(self, event: Progress) -> tuple[float, str] | None:
        if isinstance(event, Started):
            self._begin()
        elif isinstance(event, NodeDone):
            self._reach(event.node)  # we may have come late: what is done counts, though we did not see it run
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
        """Count the time of the phase that ends now. Of a prompt that was not seen to start nothing is known."""
        now = self.clock()
        if self.has_started and (self.reached or self.phase != "load"):
            self.seconds[self.phase] = round(self.seconds.get(self.phase, 0.0) + now - self.since, 3)
        self.since = now


POLL_S = (0.25, 0.4, 0.65, 1.0, 1.6, 2.5, 4.0, 5.0)  # seconds between looks; the last one repeats
_QUEUE_EVERY = 8  # on an old server: looks at /history/{id} for one at the whole /queue


async def follow(
    client: Client,
    prompt_id: str,
    on_progress: Callable[[Progress], None] = lambda event: None,
    *,
    poll: Sequence[float] = POLL_S,
    is_new: bool = False,
) -> JobState:
    """Given a submitted prompt, wait until it is over and return its state by HTTP, "unknown" when lost.

    `poll` holds the seconds between looks, its last one repeats; the socket's word that a prompt ended makes
    the next look come at once and the looks frequent again. One that `is_new`, submitted a moment ago, is listened
    to before the first look. Raise LtxflowError, transient, when the server cannot be reached: the prompt may run
    on, so follow it again.
    """
    with client.socket.watching((prompt_id,)) as watcher:
        looks = pauses = 0
        is_running = False
        if is_new and not client.socket.said_over(prompt_id):
            await _hear(watcher, poll[0], on_progress)
        while True:
            state = await _look(client, prompt_id, looks)
            if state.kind == "running" and client.has_jobs and not is_running:  # else `_look` only supposes it
                is_running = True
                on_progress(Started(prompt_id))  # a silent socket does not say so
            if state.is_over or state.kind == "unknown":
                _drain(watcher, on_progress)
                return state
            was_told = await _hear(watcher, poll[min(pauses, len(poll) - 1)], on_progress)
            pauses = 0 if was_told else pauses + 1
            looks += 1


async def _look(client: Client, prompt_id: str, looks: int) -> JobState:
    if client.has_jobs is False and looks % _QUEUE_EVERY:  # the whole queue is dear, an ending is not
        return await client.ending(prompt_id) or JobState("running")
    return await client.state(prompt_id)


async def _hear(watcher: SocketWatcher, wait_s: float, on_progress: Callable[[Progress], None]) -> bool:
    """Pass on what is told for `wait_s` seconds, or until it is over; return whether it is said to be."""
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
