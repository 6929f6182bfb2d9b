"""One clip on one server, from a free slot there to an end by HTTP. `completion` decides what follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltxflow.comfy.client import prompt_id_for
from ltxflow.comfy.progress import Tracker, follow
from ltxflow.comfy.replies import JobState
from ltxflow.comfy.transport import NEVER_SENT
from ltxflow.comfy.websocket import NodeProgress, Progress
from ltxflow.core import memory_limit
from ltxflow.core.errors import FAILED, LtxflowError, problem
from ltxflow.farm.completion import Completion
from ltxflow.farm.journal import Submission
from ltxflow.farm.queue import ClipQueue
from ltxflow.farm.transfer import plain_graph, prepare
from ltxflow.farm.workers import Attempt, Unreachable, Worker, Workers

MAX_STARTS = 6  # of one clip in one run, whatever their causes
PAUSES_S = (0.25, 0.5, 1.0, 2.0)  # between checks of the queue while a prompt waits in it; the last one repeats
STEPS_EVERY_S = 0.1  # between sampler steps that are shown: people read no faster


class AttemptRunner:
    """Brings clips onto servers and follows them there. Each prompt id is journalled before its prompt is submitted.

    `allowed` are the foreign node classes that a graph may have, `signatures` is the folder of those of servers.
    """

    def __init__(
        self, queue: ClipQueue, workers: Workers, completion: Completion, allowed: frozenset[str], signatures: Path
    ) -> None:
        self.queue, self.workers, self.completion = queue, workers, completion
        self.allowed, self.signatures = allowed, signatures

    async def run(self, attempt: Attempt) -> None:
        """Go from a free slot on a server to verified files, or to a decision what comes next."""
        try:
            graph = await self._enter(attempt)
            if graph is None:
                return
            tracker = Tracker(graph, time.monotonic)
            state = await self._follow(attempt, tracker)
            self.queue.leave(attempt)
            await self.completion.settle(attempt, graph, tracker, state)
        except Unreachable as error:
            self.completion.lost_server(attempt, error)
        except LtxflowError as error:  # how the prompt ended is unknown: the journal keeps it for the next run
            self.queue.fail(attempt.clip, error)
        except (MemoryError, RuntimeError) as error:
            if not memory_limit.is_lack(error):
                raise
            self.queue.fail(attempt.clip, memory_limit.lack())
        finally:
            self.queue.leave(attempt)

    # Onto a server

    async def _enter(self, attempt: Attempt) -> dict[str, Any] | None:
        """Bring a clip onto its server and return its graph; None when it waits again."""
        clip, worker = attempt.clip, attempt.worker
        async with worker.entry:
            if clip.adopt is not None:
                return await self._resume(attempt, clip.adopt)
            holder = await self._holder(attempt)
            if holder is worker:
                attempt.is_there = True
                return plain_graph(clip.spec)
            if holder is not None:
                clip.pinned = holder.name
                self.queue.requeue(attempt)
                return None
            try:
                graph = await self.workers.patiently(
                    attempt, lambda: prepare(attempt, self.allowed, self.signatures), may_leave=True, may_refuse=True
                )
                for doubt in worker.inventory.new_doubts():
                    self.queue.notify(None, f"{doubt.message}; {doubt.hint}", "warning")
                if worker.queue[0] is not attempt and await self._is_shared(attempt):
                    self.queue.requeue(attempt)
                    worker.is_shared = True
                    return None
                await self._submit(attempt, graph)
                return graph
            except Unreachable:
                raise
            except LtxflowError as error:
                await self.completion.refused(attempt, error, self.signatures)
                return None

    async def _holder(self, attempt: Attempt) -> Worker | None:
        """Return the server that has this prompt already, though our journal does not have it.

        Another project submitted it, or we did before the journal was lost. It is adopted, and never cancelled. A
        prompt with a nonce is known to no server under its id, and is not looked for elsewhere.
        """
        clip, worker = attempt.clip, attempt.worker
        while True:
            number = self.queue.submissions.next_attempt(clip.key)
            prompt_id = prompt_id_for(clip.key, number, clip.nonce)
            submission = Submission(number, worker.name, prompt_id, "", clip.job.target, nonce=clip.nonce)
            attempt.submission = submission
            state = await self.workers.patiently(attempt, self._state_of(attempt), may_leave=True)
            if state.kind in ("queued", "running", "done"):
                self.queue.notify(clip, f"resumed: {worker.label} has it already ({state.kind})")
                return worker
            if state.kind == "unknown":
                break
            self.queue.submissions.finished(submission, clip.key, "failed", f"found {state.kind} on the server")
        if clip.nonce or self.queue.submissions.knows(clip.key):
            return None
        others = self.workers.others(attempt)
        found = await asyncio.gather(*(self._has_it(other, attempt.prompt_id) for other in others))
        return next((other for other, has_it in zip(others, found, strict=True) if has_it), None)

    def _state_of(self, attempt: Attempt) -> Callable[[], Awaitable[JobState]]:
        return lambda: attempt.worker.client.state(attempt.prompt_id)

    async def _has_it(self, worker: Worker, prompt_id: str) -> bool:
        if worker.client.has_jobs is False:  # the request would be expensive, and is only a precaution
            return False
        with suppress(LtxflowError, TimeoutError):
            async with asyncio.timeout(2.0):
                return (await worker.client.state(prompt_id)).kind in ("queued", "running", "done")
        return False

    async def _resume(self, attempt: Attempt, submission: Submission) -> dict[str, Any] | None:
        """Adopt the prompt that an earlier run submitted; a server that does not know it has lost it."""
        clip, worker = attempt.clip, attempt.worker
        attempt.submission, attempt.is_ours, attempt.is_there = submission, True, True
        state = await self.workers.patiently(attempt, self._state_of(attempt))
        clip.adopt = None
        if state.kind == "unknown":
            await self.completion.lost(attempt, "the server does not have it: its queue is gone, or it never arrived")
        elif state.kind == "cancelled":
            self.queue.restart(attempt, "cancelled", "it was cancelled when an earlier run ended")
        else:
            self.queue.notify(clip, f"resumed from an earlier run: {state.kind} on {worker.label}")
            await worker.client.socket.open()
            return plain_graph(clip.spec)
        return None

    async def _is_shared(self, attempt: Attempt) -> bool:
        """Return whether other people's prompts are on this server: then ours do not wait there in advance."""
        worker, remaining = attempt.worker, attempt.worker.client.socket.remaining
        if remaining is None:
            remaining = await self.workers.patiently(attempt, worker.client.queue_remaining, may_leave=True)
        return remaining > worker.ours

    async def _submit(self, attempt: Attempt, graph: dict[str, Any]) -> None:
        """Queue the graph under an id that is journalled first."""
        clip, worker, submission = attempt.clip, attempt.worker, attempt.submission
        assert submission is not None
        if clip.starts >= MAX_STARTS:
            raise LtxflowError(problem("C032", starts=MAX_STARTS, cause=clip.cause), exit_code=FAILED)
        client_id = await worker.client.socket.open()
        self.queue.submissions.submitting(submission, clip.key, client_id, clip.cause)
        clip.starts += 1
        attempt.is_ours = True
        extra = {"extra_pnginfo": {"ltxflow": {"key": clip.key, "attempt": submission.attempt}}}
        is_doubtful = False

        async def post() -> None:
            nonlocal is_doubtful
            if is_doubtful and (await worker.client.state(submission.prompt_id)).kind != "unknown":
                return  # its answer was lost, not the prompt: a second submission would be queued, too
            was_doubtful, is_doubtful = is_doubtful, True
            work = worker.client.submit(graph, submission.prompt_id, client_id, extra)
            attempt.posting = asyncio.ensure_future(work)
            try:
                await asyncio.shield(attempt.posting)  # a cancelled build needs to know whether it arrived
            except LtxflowError as error:
                is_doubtful = was_doubtful or not all(problem.code in NEVER_SENT for problem in error.problems)
                raise

        await self.workers.patiently(attempt, post, may_leave=lambda: not is_doubtful)
        attempt.is_there = True
        self.queue.submissions.submitted(submission, clip.key)

    # There

    async def _follow(self, attempt: Attempt, tracker: Tracker) -> JobState:
        clip, worker = attempt.clip, attempt.worker
        clip.job.server = worker.label
        has_begun, is_new, next_step_s = False, attempt.posting is not None, 0.0

        def on_progress(event: Progress) -> None:
            nonlocal has_begun, next_step_s
            shown = tracker.update(event)
            if tracker.has_started and not has_begun:
                has_begun = True
                self._began(attempt)
            if has_begun and attempt.is_ours and not attempt.is_single:
                self._drop_copies(attempt)
            is_step, now = isinstance(event, NodeProgress), time.monotonic()
            if shown is None or (is_step and now < next_step_s):
                return
            next_step_s = now + STEPS_EVERY_S
            clip.job.progress(*shown)

        def follow_on() -> Awaitable[JobState]:
            nonlocal is_new
            was_new, is_new = is_new, False
            return follow(worker.client, attempt.prompt_id, on_progress, is_new=was_new)

        waiting = self.queue.spawn(self._report_place(attempt, lambda: has_begun), clip)
        try:
            state = await self.workers.patiently(attempt, follow_on)
        finally:
            waiting.cancel()
        tracker.end()
        if not has_begun and state.kind == "done":
            clip.job.started(worker.label)
        return state

    async def _report_place(self, attempt: Attempt, has_begun: Callable[[], bool]) -> None:
        """Report how many foreign jobs a prompt waits behind, whenever that changes, until it runs."""
        worker, shown, last, pauses = attempt.worker, 0, -1, iter(PAUSES_S)
        try:
            while not has_begun():
                remaining = worker.client.socket.remaining
                with suppress(LtxflowError):  # progress is optional
                    if remaining is None:
                        remaining = await worker.client.queue_remaining()
                    if remaining != last:
                        ahead = await self._ahead_of(attempt) if remaining > worker.ours else 0
                        if ahead != shown and not has_begun():
                            attempt.clip.job.waits(worker.label, ahead)
                        shown, last = ahead, remaining
                await asyncio.sleep(next(pauses, PAUSES_S[-1]))
        finally:
            if shown and not has_begun():  # it was withdrawn, or its server is gone
                attempt.clip.job.waits(worker.label, 0)

    async def _ahead_of(self, attempt: Attempt) -> int:
        """Return how many foreign jobs run or wait before a prompt of ours; 0 where it is not in the queue."""
        entries = await attempt.worker.client.queue([each.prompt_id for each in attempt.worker.queue])
        places = [place for place, entry in enumerate(entries) if entry.prompt_id == attempt.prompt_id]
        return sum(entry.is_foreign for entry in entries[: places[0]]) if places else 0

    def _began(self, attempt: Attempt) -> None:
        if attempt.worker.queue and attempt.worker.queue[0] is attempt:
            attempt.worker.since = time.monotonic()
        attempt.clip.job.started(attempt.worker.label)

    def _drop_copies(self, attempt: Attempt) -> None:
        """Withdraw a waiting copy once the prompt runs: a proxy that retries may have queued it twice.

        There is none while the server has no more prompts than ours; one may come later, so this is checked with every
        progress event.
        """
        remaining = attempt.worker.client.socket.remaining
        if remaining is None or remaining > attempt.worker.ours:
            attempt.is_single = True
            self.queue.spawn(self._drop_waiting(attempt))

    async def _drop_waiting(self, attempt: Attempt) -> None:
        with suppress(LtxflowError):
            await attempt.worker.client.drop_waiting(attempt.prompt_id)
