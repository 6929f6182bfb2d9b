"""How attempts end: made, failed, lost, refused, withdrawn, cancelled; and what follows from each."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltxflow.comfy.checks import reword
from ltxflow.comfy.inventory import refresh
from ltxflow.comfy.progress import SAMPLERS, Tracker
from ltxflow.comfy.replies import JobState, Refused, is_oom, is_transient, is_unwritable
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem, problem
from ltxflow.farm.ledger import Ledger
from ltxflow.farm.queue import ClipQueue
from ltxflow.farm.transfer import BadFile, fetch
from ltxflow.farm.workers import Attempt, QueuedClip, Unreachable, Worker, Workers
from ltxflow.store.published import Speed

FAULTS = 2  # transient faults of one clip on one server, after which it goes elsewhere
GIVE_WAY_S = 2.0  # how long files wait for the next clip to get onto their server, so that it does not idle
FAREWELL_S = 5.0  # for cancelling when the build is interrupted
STOPS_S = 2.0  # for a running prompt to notice a cancellation: it does so between nodes and sampler steps
PAUSES_S = (0.02, 0.05, 0.1, 0.2)  # between checks whether it has; the last one repeats
SPEEDS_EVERY_S = 10.0  # between records of how fast the servers are


class Completion:
    """Decides what happens to a clip whose attempt ended: it is made, starts again, waits again, or fails.

    `record_speeds` is called from time to time with the speeds of the servers. What each prompt cost goes to the
    `ledger`, however it ended.
    """

    def __init__(
        self, queue: ClipQueue, workers: Workers, record_speeds: Callable[[Mapping[str, Speed]], None], ledger: Ledger
    ) -> None:
        self.queue = queue
        self.workers = workers
        self.record_speeds = record_speeds
        self.ledger = ledger
        self.spent_s = 0.0
        self.measured: dict[str, Speed] = {}  # in this run, by server
        self._report_speeds_s = 0.0  # when they are recorded next
        self._decoding = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))  # the other CPUs feed the servers

    async def settle(self, attempt: Attempt, graph: dict[str, Any], tracker: Tracker, state: JobState) -> None:
        """Fetch the files of a prompt that ended, start it again, or give it up."""
        if attempt.posting is not None:  # what an earlier run started was in that run's budget
            self.spent_s += state.timings.ran_s or 0.0
        self._enter(attempt, state)
        if state.kind == "unknown" and attempt.is_withdrawn:
            self._was_withdrawn(attempt)
        elif state.kind == "unknown":
            await self.lost(attempt, "the server no longer has it: it was restarted, or its queue was cleared")
        elif state.kind == "cancelled" and attempt.posting is None:
            self.queue.restart(attempt, "cancelled", "it was cancelled when an earlier run ended")
        elif state.kind == "cancelled":
            self.queue.finish(attempt, "cancelled", "cancelled on the server")
            span, server = attempt.clip.spec.span, attempt.worker.label
            raise LtxflowError(problem("C024", span, server=server), exit_code=FAILED)
        elif state.kind == "failed":
            await self._failed(attempt, state)
        else:
            self._learn(attempt, graph, tracker, state)
            await self._give_way(attempt.worker)
            await self._fetch(attempt, graph, tracker, state)

    def _enter(self, attempt: Attempt, state: JobState) -> None:
        """Enter what a prompt cost in the ledger. One that a server no longer knows has no price."""
        if state.is_over and state.timings.ran_s:
            clip, server = attempt.clip, attempt.worker.name
            with suppress(LtxflowError):  # a cost that cannot be kept is not a failure
                self.ledger.add(attempt.prompt_id, clip.job.target, server, state.timings.ran_s, state.kind)

    async def lost(self, attempt: Attempt, cause: str) -> None:
        """Start a prompt again that a server does not know. Only a ComfyUI's answer counts, not that of its proxy."""
        await self.workers.patiently(attempt, attempt.worker.client.queue_remaining)
        attempt.worker.forget()
        self.queue.restart(attempt, "lost", cause)

    def lost_server(self, attempt: Attempt, error: Unreachable) -> None:
        """Handle the end of patience with a server: start the clip elsewhere, or else leave it in the journal."""
        worker = attempt.worker
        worker.problems = error.problems
        if not self.workers.others(attempt):
            self.queue.fail(attempt.clip, LtxflowError(self.workers.not_answered(worker), exit_code=UNREACHABLE))
        elif attempt.is_ours or attempt.is_there:
            if attempt.is_ours:
                worker.abandoned.append(attempt.prompt_id)
            self.queue.restart(attempt, "lost", self.workers.describe_silence(worker))
        else:
            self.queue.requeue(attempt)

    async def refused(self, attempt: Attempt, error: LtxflowError, signatures: Path) -> None:
        """Exclude a server that refuses a clip before anything ran; another may have the model, or the node.

        Where it refuses a graph that fits signatures kept by an earlier run (in the folder `signatures`), refresh those
        and try the clip once more.
        """
        clip, worker, inventory = attempt.clip, attempt.worker, attempt.worker.inventory
        is_refusal = any(isinstance(problem, Refused) and problem.reason.type for problem in error.problems)
        if attempt.is_ours:
            self.queue.finish(attempt, "failed", str(error))
        if is_refusal and not inventory.is_fresh:
            with suppress(LtxflowError):
                await refresh(inventory, signatures)
            if inventory.is_fresh:
                clip.cause = f"{worker.label} has other nodes than before"
                clip.pinned = worker.name
                self.queue.requeue(attempt)
                return
        problems = error.problems
        if is_refusal and attempt.graph is not None:
            problems = reword(
                problems,
                attempt.graph,
                inventory.signatures,
                template=clip.spec.template.name,
                span=clip.spec.span,
                server=worker.label,
            )
        clip.exclude(worker, *problems)
        clip.cause = f"{worker.label} refused it: {problems[0].message.removeprefix(f'{worker.label}: ')}"
        self.queue.requeue(attempt)

    # Made

    async def _give_way(self, worker: Worker) -> None:
        """Let the next clip onto a server before fetching and decoding files: a GPU is dearer than a CPU."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_WAY_S):
                while self.queue.wake.is_set():
                    await asyncio.sleep(0)  # until the schedule has run
                await asyncio.sleep(0)
                async with worker.entry:
                    pass

    def _learn(self, attempt: Attempt, graph: dict[str, Any], tracker: Tracker, state: JobState) -> None:
        worker, task, seconds = attempt.worker, attempt.clip.task, state.timings.ran_s
        loading = tracker.seconds.get("load", 0.0) if worker.group != task.group else 0.0  # once, not for every clip
        worker.group, worker.text = task.group, task.text
        samplers = {id for id, node in graph.items() if node["class_type"] in SAMPLERS}
        if not seconds or not task.work or samplers & set(state.cached_nodes):  # a cached run does not show its speed
            return
        seconds -= loading if loading < seconds else 0.0
        worker.speed = (worker.speed or Speed(seconds / task.work, 0)).after(seconds, task.work)
        self.measured[worker.name] = worker.speed
        if time.monotonic() >= self._report_speeds_s:
            self.report_speeds()

    def report_speeds(self) -> None:
        """Record how fast the servers were in this run."""
        self._report_speeds_s = time.monotonic() + SPEEDS_EVERY_S
        with suppress(LtxflowError):  # an estimate that cannot be kept is not a failure
            self.record_speeds(self.measured)

    async def _fetch(self, attempt: Attempt, graph: dict[str, Any], tracker: Tracker, state: JobState) -> None:
        """Download and verify every output; a bad one is fetched again, then saved again, then made again."""
        clip, worker, started = attempt.clip, attempt.worker, time.monotonic()

        async def patiently(request: Callable[[], Awaitable[object]]) -> object:
            return await self.workers.patiently(attempt, request)

        try:
            await fetch(worker.client, patiently, state, clip.spec, graph, clip.job, self._decoding)
        except BadFile as bad:
            await self._refuse_file(attempt, bad.problem)
            return
        seconds = tracker.seconds | {"queued": state.timings.queued_s, "ran": state.timings.ran_s}
        seconds["download"] = time.monotonic() - started
        clip.job.seconds |= {name: round(value, 3) for name, value in seconds.items() if value is not None}
        clip.job.is_resumed = attempt.posting is None
        if not clip.done.done():
            clip.done.set_result(None)

    async def _refuse_file(self, attempt: Attempt, bad: Problem) -> None:
        clip, worker = attempt.clip, attempt.worker
        clip.bad_files[worker.name] += 1
        if clip.bad_files[worker.name] == 1:  # its prefix carries the attempt: only the save nodes run again
            clip.pinned, action = worker.name, "saved again"
        elif clip.bad_files[worker.name] == 2:
            clip.pinned, action = worker.name, "made again"
            with suppress(LtxflowError):
                await worker.client.free(unload_models=False, free_memory=True)
        else:
            clip.exclude(worker, problem("C022", clip.spec.span, server=worker.label, reason=bad.message))
            action = f"not made on {worker.label}"
        self.queue.restart(attempt, "failed", f"a refused file, {action}: {bad.message}")

    # Failed

    async def _failed(self, attempt: Attempt, state: JobState) -> None:
        clip, worker, error = attempt.clip, attempt.worker, state.error
        reason = str(error) if error else "it gave no reason"
        failure = problem("C020", clip.spec.span, server=worker.label, reason=reason)
        if error is not None and is_oom(error):
            await self._ran_out_of_memory(attempt, reason)
        elif error is not None and is_unwritable(error):
            self._cannot_write(attempt, reason)
        elif error is not None and is_transient(error):
            clip.faults[worker.name] += 1
            if clip.faults[worker.name] >= FAULTS:
                clip.exclude(worker, failure)
            self.queue.restart(attempt, "failed", f"a transient fault: {reason}")
        else:
            self.queue.finish(attempt, "failed", reason)
            raise LtxflowError(failure, exit_code=FAILED)

    async def _ran_out_of_memory(self, attempt: Attempt, reason: str) -> None:
        """Free the server and try once more there, then elsewhere; then report what the profile advises."""
        clip, worker = attempt.clip, attempt.worker
        clip.out_of_memory[worker.name] += 1
        with suppress(LtxflowError):
            await worker.client.free()
        if clip.out_of_memory[worker.name] == 1:
            clip.pinned = worker.name
            self.queue.restart(attempt, "failed", "out of memory: freed, and tried once more there")
            return
        advice = "; ".join(clip.spec.profile.advice.get("out_of_memory", ()))
        clip.exclude(worker, problem("C021", clip.spec.span, hint=advice, server=worker.label, reason=reason))
        self.queue.restart(attempt, "failed", f"out of memory on {worker.label}")

    def _cannot_write(self, attempt: Attempt, reason: str) -> None:
        """Stop using a server with a full disk: it refuses every clip, and each only after it is rendered."""
        worker = attempt.worker
        if worker.unwritable is None:
            worker.unwritable = problem("C023", server=worker.label, reason=reason)
            self.queue.notify(None, f"{worker.label} gets no more clips: it cannot write its files", "warning")
            self._exclude_everywhere(worker, worker.unwritable)
        if self.workers.others(attempt):
            self.queue.restart(attempt, "failed", worker.unwritable.message)
        else:
            self.queue.finish(attempt, "failed", worker.unwritable.message)
            raise LtxflowError(worker.unwritable, exit_code=FAILED)

    def _exclude_everywhere(self, worker: Worker, problem: Problem) -> None:
        self.queue.has_exclusions = True
        for clip in self.queue.open:
            clip.exclude(worker, problem)
            clip.pinned = "" if clip.pinned == worker.name else clip.pinned
        for attempt in worker.queue:
            if attempt.can_be_withdrawn:
                self.withdraw(attempt, f"{worker.label} cannot write its files")

    # Withdrawn, cancelled

    def withdraw(self, attempt: Attempt, why: str) -> None:
        """Withdraw a waiting prompt from its server, unless it has begun; its clip waits again."""
        attempt.is_withdrawn = True  # before the request: its follower may get the answer first
        attempt.why_withdrawn = why
        self.queue.spawn(self._try_to_withdraw(attempt))

    async def _try_to_withdraw(self, attempt: Attempt) -> None:
        with suppress(LtxflowError):  # unknown then: its follower will learn it
            attempt.is_withdrawn = await attempt.worker.client.withdraw(attempt.prompt_id)
            if attempt.is_withdrawn and not attempt.is_over and attempt.runner:
                attempt.runner.cancel()
                self._was_withdrawn(attempt)

    def _was_withdrawn(self, attempt: Attempt) -> None:
        attempt.clip.starts -= 1  # it never ran
        self.queue.restart(attempt, "cancelled", attempt.why_withdrawn)

    async def cancel(self, clip: QueuedClip) -> None:
        """Cancel the prompt of an interrupted clip, if it is ours; the next run fetches a finished one."""
        self.queue.remove(clip)
        attempt = clip.attempt
        if attempt is None or attempt.runner is None or attempt.runner.done():
            return
        queue = attempt.worker.queue
        behind = queue[queue.index(attempt) + 1 :] if attempt in queue else []
        attempt.is_stopping = True
        attempt.runner.cancel()
        await asyncio.sleep(0)  # all are interrupted at the same moment
        with suppress(LtxflowError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                for other in behind:  # it would begin as soon as this one is cancelled
                    if other.is_stopping:
                        await other.stopped.wait()
                await self._cancel_prompt(attempt)
        attempt.stopped.set()

    async def _cancel_prompt(self, attempt: Attempt) -> None:
        if attempt.posting is not None:
            await asyncio.wait([attempt.posting])
        if not attempt.is_ours or attempt.is_over:
            return
        if await attempt.worker.client.cancel(attempt.prompt_id) and await self._has_stopped(attempt):
            self.queue.finish(attempt, "cancelled", "interrupted")

    async def _has_stopped(self, attempt: Attempt) -> bool:
        """Return whether a cancelled prompt will make no file.

        One that does not stop in time may still finish: the journal keeps it open, and the next run asks for its state.
        """
        pauses = iter(PAUSES_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOPS_S):
                while (state := await attempt.worker.client.state(attempt.prompt_id)).kind == "running":
                    await asyncio.sleep(next(pauses, PAUSES_S[-1]))
                self._enter(attempt, state)
                return state.kind in ("cancelled", "unknown")  # one that waited leaves no trace
        return False
