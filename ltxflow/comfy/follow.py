"""Waits until a prompt is over: HTTP decides how it stands, the socket says when to look. Submits nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ltxflow.comfy.client import Client
from ltxflow.comfy.listener import Watcher
from ltxflow.comfy.messages import Failed, Finished, JobState, Progress, Started

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


async def _hear(watcher: Watcher, wait_s: float, on_progress: Callable[[Progress], None]) -> bool:
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


def _drain(watcher: Watcher, on_progress: Callable[[Progress], None]) -> None:
    while not watcher.queue.empty():
        event = watcher.queue.get_nowait()
        if event is not None:
            on_progress(event)
