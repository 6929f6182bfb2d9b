"""One clip on one server: from an empty place there to an end by HTTP. What follows from it, endings.py decides."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltxflow.comfy.client import prompt_id_for
from ltxflow.comfy.frames import NodeProgress, Progress
from ltxflow.comfy.progress import Tracker, follow
from ltxflow.comfy.replies import JobState
from ltxflow.comfy.transport import NEVER_SENT
from ltxflow.core import memory_limit
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.farm.completion import Endings
from ltxflow.farm.journal import Submission
from ltxflow.farm.queue import Tickets
from ltxflow.farm.transfer import plain_graph, prepare
from ltxflow.farm.workers import Attempt, Unreachable, Worker, Workers

ATTEMPTS = 6  # starts of one clip in one run, whatever their causes
LOOKS_S = (0.25, 0.5, 1.0, 2.0)  # between looks at the queue while a prompt waits in it; the last one repeats
STEPS_EVERY_S = 0.1  # between steps of a sampler that are shown: nobody reads faster


class Attempts:
    """Brings clips onto servers and follows them there. Its prompt id is journalled before a prompt is submitted.

    `allowed` are the foreign node classes that a graph may have, `signatures` is where those of servers are kept.
    """

    def __init__(
        self, tickets: Tickets, machines: Workers, endings: Endings, allowed: frozenset[str], signatures: Path
    ) -> None:
        self.tickets, self.machines, self.endings = tickets, machines, endings
        self.allowed, self.signatures = allowed, signatures

    async def make(self, attempt: Attempt) -> None:
        """From an empty place on a server to verified files, or to a decision what comes next."""
        try:
            graph = await self._enter(attempt)
            if graph is None:
                return
            tracker = Tracker(graph, time.monotonic)
            state = await self._follow(attempt, tracker)
            self.tickets.leave(attempt)
            await self.endings.settle(attempt, graph, tracker, state)
        except Unreachable as error:
            self.endings.lost_server(attempt, error)
        except LtxflowError as error:  # no word on how the prompt ended: the journal keeps it, the next run looks again
            self.tickets.fail(attempt.ticket, error)
        except (MemoryError, RuntimeError) as error:
            if not memory_limit.is_lack(error):
                raise
            self.tickets.fail(attempt.ticket, memory_limit.lack())
        finally:
            self.tickets.leave(attempt)

    # Onto a server

    async def _enter(self, attempt: Attempt) -> dict[str, Any] | None:
        """Bring a clip onto its server, and return its graph; None when it waits again."""
        ticket, machine = attempt.ticket, attempt.machine
        async with machine.entry:
            if ticket.adopt is not None:
                return await self._take_up(attempt, ticket.adopt)
            holder = await self._holder(attempt)
            if holder is machine:
                attempt.is_there = True
                return plain_graph(ticket.order)
            if holder is not None:
                ticket.pinned = holder.name
                self.tickets.back(attempt)
                return None
            try:
                graph = await self.machines.patiently(
                    attempt, lambda: prepare(attempt, self.allowed, self.signatures), may_leave=True, may_refuse=True
                )
                for doubt in machine.inventory.new_doubts():
                    self.tickets.tell(None, f"{doubt.message}; {doubt.hint}", "warning")
                if machine.queue[0] is not attempt and await self._is_shared(attempt):
                    self.tickets.back(attempt)
                    machine.is_shared = True
                    return None
                await self._submit(attempt, graph)
                return graph
            except Unreachable:
                raise
            except LtxflowError as error:
                await self.endings.refused(attempt, error, self.signatures)
                return None

    async def _holder(self, attempt: Attempt) -> Worker | None:
        """The server that has this prompt already, though our journal does not say so: somebody else's, or ours from
        before the journal was lost. It is taken up, and never cancelled.

        A prompt with a nonce is known to no server under its id, and is not looked for elsewhere.
        """
        ticket, machine = attempt.ticket, attempt.machine
        while True:
            number = self.tickets.submissions.next_attempt(ticket.key)
            prompt_id = prompt_id_for(ticket.key, number, ticket.nonce)
            submission = Submission(number, machine.name, prompt_id, "", ticket.job.target, nonce=ticket.nonce)
            attempt.submission = submission
            state = await self.machines.patiently(attempt, self._state_of(attempt), may_leave=True)
            if state.kind in ("queued", "running", "done"):
                self.tickets.tell(ticket, f"taken up: {machine.label} has it already ({state.kind})")
                return machine
            if state.kind == "unknown":
                break
            self.tickets.submissions.finished(submission, ticket.key, "failed", f"found {state.kind} on the server")
        if ticket.nonce or self.tickets.submissions.knows(ticket.key):
            return None
        others = self.machines.others(attempt)
        found = await asyncio.gather(*(self._has_it(other, attempt.prompt_id) for other in others))
        return next((other for other, has_it in zip(others, found, strict=True) if has_it), None)

    def _state_of(self, attempt: Attempt) -> Callable[[], Awaitable[JobState]]:
        return lambda: attempt.machine.client.state(attempt.prompt_id)

    async def _has_it(self, machine: Worker, prompt_id: str) -> bool:
        if machine.client.has_jobs is False:  # the question would be dear, and it is only a precaution
            return False
        with suppress(LtxflowError, TimeoutError):
            async with asyncio.timeout(2.0):
                return (await machine.client.state(prompt_id)).kind in ("queued", "running", "done")
        return False

    async def _take_up(self, attempt: Attempt, submission: Submission) -> dict[str, Any] | None:
        """Adopt the prompt that an earlier run submitted; a server that does not know it has lost it."""
        ticket, machine = attempt.ticket, attempt.machine
        attempt.submission, attempt.is_ours, attempt.is_there = submission, True, True
        state = await self.machines.patiently(attempt, self._state_of(attempt))
        ticket.adopt = None
        if state.kind == "unknown":
            await self.endings.lost(attempt, "the server does not know it: its queue is gone, or it never came there")
        elif state.kind == "cancelled":
            self.tickets.again(attempt, "cancelled", "it was cancelled when an earlier run ended")
        else:
            self.tickets.tell(ticket, f"taken up where an earlier run left it: {state.kind} on {machine.label}")
            await machine.client.socket.open()
            return plain_graph(ticket.order)
        return None

    async def _is_shared(self, attempt: Attempt) -> bool:
        """Whether other people's prompts are on this server: then ours do not wait there in advance."""
        machine, remaining = attempt.machine, attempt.machine.client.socket.remaining
        if remaining is None:
            remaining = await self.machines.patiently(attempt, machine.client.queue_remaining, may_leave=True)
        return remaining > machine.ours

    async def _submit(self, attempt: Attempt, graph: dict[str, Any]) -> None:
        """Queue the graph under an id that is written down first."""
        ticket, machine, submission = attempt.ticket, attempt.machine, attempt.submission
        assert submission is not None
        if ticket.starts >= ATTEMPTS:
            raise LtxflowError(Problem(f"given up after {ATTEMPTS} starts; the last: {ticket.cause}"), exit_code=FAILED)
        client_id = await machine.client.socket.open()
        self.tickets.submissions.submitting(submission, ticket.key, client_id, ticket.cause)
        ticket.starts += 1
        attempt.is_ours = True
        extra = {"extra_pnginfo": {"ltxflow": {"key": ticket.key, "attempt": submission.attempt}}}
        is_doubtful = False

        async def post() -> None:
            nonlocal is_doubtful
            if is_doubtful and (await machine.client.state(submission.prompt_id)).kind != "unknown":
                return  # its answer was lost, not the prompt: sent again, it would be queued twice
            was_doubtful, is_doubtful = is_doubtful, True
            work = machine.client.submit(graph, submission.prompt_id, client_id, extra)
            attempt.posting = asyncio.ensure_future(work)
            try:
                await asyncio.shield(attempt.posting)  # a build that is cancelled needs to know what came of it
            except LtxflowError as error:
                is_doubtful = was_doubtful or not all(problem.code in NEVER_SENT for problem in error.problems)
                raise

        await self.machines.patiently(attempt, post, may_leave=lambda: not is_doubtful)
        attempt.is_there = True
        self.tickets.submissions.submitted(submission, ticket.key)

    # There

    async def _follow(self, attempt: Attempt, tracker: Tracker) -> JobState:
        ticket, machine = attempt.ticket, attempt.machine
        ticket.job.server = machine.label
        is_told, is_new, next_step_s = False, attempt.posting is not None, 0.0

        def hear(event: Progress) -> None:
            nonlocal is_told, next_step_s
            news = tracker.update(event)
            if tracker.has_started and not is_told:
                is_told = True
                self._began(attempt)
            if is_told and attempt.is_ours and not attempt.is_single:
                self._drop_copies(attempt)
            is_step, now = isinstance(event, NodeProgress), time.monotonic()
            if news is None or (is_step and now < next_step_s):
                return
            next_step_s = now + STEPS_EVERY_S
            ticket.job.progress(*news)

        def ask() -> Awaitable[JobState]:
            nonlocal is_new
            was_new, is_new = is_new, False
            return follow(machine.client, attempt.prompt_id, hear, is_new=was_new)

        waiting = self.tickets.spawn(self._tell_place(attempt, lambda: is_told), ticket)
        try:
            state = await self.machines.patiently(attempt, ask)
        finally:
            waiting.cancel()
        tracker.end()
        if not is_told and state.kind == "done":
            ticket.job.started(machine.label)
        return state

    async def _tell_place(self, attempt: Attempt, has_begun: Callable[[], bool]) -> None:
        """Say behind how many jobs of other people a prompt waits, whenever that changes, until it runs."""
        machine, shown, seen, looks = attempt.machine, 0, -1, iter(LOOKS_S)
        try:
            while not has_begun():
                remaining = machine.client.socket.remaining
                with suppress(LtxflowError):  # progress is a luxury
                    if remaining is None:
                        remaining = await machine.client.queue_remaining()
                    if remaining != seen:
                        ahead = await self._ahead_of(attempt) if remaining > machine.ours else 0
                        if ahead != shown and not has_begun():
                            attempt.ticket.job.waits(machine.label, ahead)
                        shown, seen = ahead, remaining
                await asyncio.sleep(next(looks, LOOKS_S[-1]))
        finally:
            if shown and not has_begun():  # it was taken back, or its server is gone
                attempt.ticket.job.waits(machine.label, 0)

    async def _ahead_of(self, attempt: Attempt) -> int:
        """How many jobs of other people run or wait before a prompt of ours; 0 where it is not in the queue."""
        entries = await attempt.machine.client.queue([each.prompt_id for each in attempt.machine.queue])
        places = [place for place, entry in enumerate(entries) if entry.prompt_id == attempt.prompt_id]
        return sum(entry.is_foreign for entry in entries[: places[0]]) if places else 0

    def _began(self, attempt: Attempt) -> None:
        if attempt.machine.queue and attempt.machine.queue[0] is attempt:
            attempt.machine.since = time.monotonic()
        attempt.ticket.job.started(attempt.machine.label)

    def _drop_copies(self, attempt: Attempt) -> None:
        """A proxy that retries may have queued it twice: what runs is let be, a copy that waits would run in vain.

        Where no more prompts are on the server than ours there is none; it may come later, so that is looked at with
        every word of the prompt's progress.
        """
        remaining = attempt.machine.client.socket.remaining
        if remaining is None or remaining > attempt.machine.ours:
            attempt.is_single = True
            self.tickets.spawn(self._drop_waiting(attempt))

    async def _drop_waiting(self, attempt: Attempt) -> None:
        with suppress(LtxflowError):
            await attempt.machine.client.drop_waiting(attempt.prompt_id)
