"""How the attempts of a build end: made, failed, lost, refused, taken back, cancelled; and what follows from each."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltxflow.comfy.inventory import refresh
from ltxflow.comfy.progress import SAMPLERS, Tracker
from ltxflow.comfy.refusals import reword
from ltxflow.comfy.replies import JobState, Refused, is_oom, is_transient, is_unwritable
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem
from ltxflow.farm.queue import Tickets
from ltxflow.farm.transfer import BadFile, fetch
from ltxflow.farm.workers import Attempt, QueuedClip, Unreachable, Worker, Workers
from ltxflow.store.speeds import Speed

FAULTS = 2  # passing faults of one clip on one server, after which it goes elsewhere
GIVE_WAY_S = 2.0  # files wait so long for the next clip to get onto their server: fetching them idles nobody
FAREWELL_S = 5.0  # for cancelling, when we are told to stop
STOPS_S = 2.0  # for a running prompt to notice that it is cancelled: it does so between nodes, and steps of a sampler
LOOKS_S = (0.02, 0.05, 0.1, 0.2)  # between looks whether it has; the last one repeats
SPEEDS_EVERY_S = 10.0  # between writing down how fast the servers are


class Endings:
    """Decides what becomes of a clip whose attempt ended: it is made, starts again, waits again, or fails.

    `learned` hears from time to time how fast the servers are.
    """

    def __init__(self, tickets: Tickets, machines: Workers, learned: Callable[[Mapping[str, Speed]], None]) -> None:
        self.tickets = tickets
        self.machines = machines
        self.learned = learned
        self.spent_s = 0.0
        self.measured: dict[str, Speed] = {}  # in this run, by server
        self._tell_speeds_s = 0.0  # when they are told next
        self._decoding = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))  # the rest is for what servers wait for

    async def settle(self, attempt: Attempt, graph: dict[str, Any], tracker: Tracker, state: JobState) -> None:
        """Given how the prompt ended, fetch its files, start it again, or give it up."""
        if attempt.posting is not None:  # what an earlier run started was in that run's budget
            self.spent_s += state.timings.ran_s or 0.0
        if state.kind == "unknown" and attempt.is_withdrawn:
            self._was_taken_back(attempt)
        elif state.kind == "unknown":
            await self.lost(attempt, "the server no longer has it: it was started anew, or its queue was cleared")
        elif state.kind == "cancelled" and attempt.posting is None:
            self.tickets.again(attempt, "cancelled", "it was cancelled when an earlier run ended")
        elif state.kind == "cancelled":
            self.tickets.finish(attempt, "cancelled", "cancelled on the server")
            told, hint = f"{attempt.machine.label}: somebody cancelled it there", "build again to have it made"
            raise LtxflowError(Problem(told, attempt.ticket.order.span, hint, "C024"), exit_code=FAILED)
        elif state.kind == "failed":
            await self._failed(attempt, state)
        else:
            self._learn(attempt, graph, tracker, state)
            await self._give_way(attempt.machine)
            await self._fetch(attempt, graph, tracker, state)

    async def lost(self, attempt: Attempt, cause: str) -> None:
        """Start again what a server does not know; only the word of a ComfyUI counts, not that of a proxy before it."""
        await self.machines.patiently(attempt, attempt.machine.client.queue_remaining)
        attempt.machine.forget()
        self.tickets.again(attempt, "lost", cause)

    def lost_server(self, attempt: Attempt, error: Unreachable) -> None:
        """Patience with a server is over. Elsewhere the clip starts anew; without another it stays in the journal."""
        machine = attempt.machine
        machine.problems = error.problems
        if not self.machines.others(attempt):
            self.tickets.fail(attempt.ticket, LtxflowError(self.machines.not_answered(machine), exit_code=UNREACHABLE))
        elif attempt.is_ours or attempt.is_there:
            if attempt.is_ours:
                machine.abandoned.append(attempt.prompt_id)
            self.tickets.again(attempt, "lost", self.machines.silence(machine))
        else:
            self.tickets.back(attempt)

    async def refused(self, attempt: Attempt, error: LtxflowError, signatures: Path) -> None:
        """A permanent no, before anything ran. It is this server's: another one may have the model, or the node.

        Where it refuses a graph that fits the signatures which an earlier run kept (`signatures` is their folder), it
        is asked for them again, and the clip is tried once more.
        """
        ticket, machine, inventory = attempt.ticket, attempt.machine, attempt.machine.inventory
        is_refusal = any(isinstance(problem, Refused) and problem.reason.type for problem in error.problems)
        if attempt.is_ours:
            self.tickets.finish(attempt, "failed", str(error))
        if is_refusal and not inventory.is_fresh:
            with suppress(LtxflowError):
                await refresh(inventory, signatures)
            if inventory.is_fresh:
                ticket.cause = f"{machine.label} has other nodes than before"
                ticket.pinned = machine.name
                self.tickets.back(attempt)
                return
        problems = error.problems
        if is_refusal and attempt.graph is not None:
            problems = reword(
                problems,
                attempt.graph,
                inventory.signatures,
                template=ticket.order.template.name,
                span=ticket.order.span,
                server=machine.label,
            )
        ticket.bar(machine, *problems)
        ticket.cause = f"{machine.label} refused it: {problems[0].message.removeprefix(f'{machine.label}: ')}"
        self.tickets.back(attempt)

    # Made

    async def _give_way(self, machine: Worker) -> None:
        """Let the next clip onto a server before files are fetched from it and decoded: a GPU is dearer than a CPU."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_WAY_S):
                while self.tickets.wake.is_set():
                    await asyncio.sleep(0)  # until the schedule has looked
                await asyncio.sleep(0)
                async with machine.entry:
                    pass

    def _learn(self, attempt: Attempt, graph: dict[str, Any], tracker: Tracker, state: JobState) -> None:
        machine, task, seconds = attempt.machine, attempt.ticket.task, state.timings.ran_s
        loading = tracker.seconds.get("load", 0.0) if machine.group != task.group else 0.0  # once, not for every clip
        machine.group, machine.text = task.group, task.text
        samplers = {id for id, node in graph.items() if node["class_type"] in SAMPLERS}
        if not seconds or not task.work or samplers & set(state.cached_nodes):  # a cached run says nothing of its speed
            return
        seconds -= loading if loading < seconds else 0.0
        machine.speed = (machine.speed or Speed(seconds / task.work, 0)).after(seconds, task.work)
        self.measured[machine.name] = machine.speed
        if time.monotonic() >= self._tell_speeds_s:
            self.tell_speeds()

    def tell_speeds(self) -> None:
        """Have it written down how fast the servers were in this run."""
        self._tell_speeds_s = time.monotonic() + SPEEDS_EVERY_S
        with suppress(LtxflowError):  # an estimate that cannot be kept is no reason to fail
            self.learned(self.measured)

    async def _fetch(self, attempt: Attempt, graph: dict[str, Any], tracker: Tracker, state: JobState) -> None:
        """Download and verify every output; one that is bad is fetched again, then saved again, then made again."""
        ticket, machine, started = attempt.ticket, attempt.machine, time.monotonic()

        async def patiently(ask: Callable[[], Awaitable[object]]) -> object:
            return await self.machines.patiently(attempt, ask)

        try:
            await fetch(machine.client, patiently, state, ticket.order, graph, ticket.job, self._decoding)
        except BadFile as bad:
            await self._refuse_file(attempt, bad.problem)
            return
        seconds = tracker.seconds | {"queued": state.timings.queued_s, "ran": state.timings.ran_s}
        seconds["download"] = time.monotonic() - started
        ticket.job.seconds |= {name: round(value, 3) for name, value in seconds.items() if value is not None}
        ticket.job.is_resumed = attempt.posting is None
        if not ticket.done.done():
            ticket.done.set_result(None)

    async def _refuse_file(self, attempt: Attempt, problem: Problem) -> None:
        ticket, machine = attempt.ticket, attempt.machine
        ticket.bad_files[machine.name] += 1
        if ticket.bad_files[machine.name] == 1:  # its prefix carries the attempt: only the save nodes run again
            ticket.pinned, then = machine.name, "saved again"
        elif ticket.bad_files[machine.name] == 2:
            ticket.pinned, then = machine.name, "made again"
            with suppress(LtxflowError):
                await machine.client.free(unload_models=False, free_memory=True)
        else:
            message, hint = f"{machine.label}: {problem.message}", "the server's log and disk may tell more"
            ticket.bar(machine, Problem(message, ticket.order.span, hint, "C022"))
            then = f"not made on {machine.label}"
        self.tickets.again(attempt, "failed", f"a refused file, {then}: {problem.message}")

    # Failed

    async def _failed(self, attempt: Attempt, state: JobState) -> None:
        ticket, machine, error = attempt.ticket, attempt.machine, state.error
        reason = str(error) if error else "it failed without a word"
        problem = Problem(f"{machine.label}: {reason}", ticket.order.span, "the server's log tells more", "C020")
        if error is not None and is_oom(error):
            await self._ran_out_of_memory(attempt, reason)
        elif error is not None and is_unwritable(error):
            self._cannot_write(attempt, reason)
        elif error is not None and is_transient(error):
            ticket.faults[machine.name] += 1
            if ticket.faults[machine.name] >= FAULTS:
                ticket.bar(machine, problem)
            self.tickets.again(attempt, "failed", f"a passing fault: {reason}")
        else:
            self.tickets.finish(attempt, "failed", reason)
            raise LtxflowError(problem, exit_code=FAILED)

    async def _ran_out_of_memory(self, attempt: Attempt, reason: str) -> None:
        """Free the server and try once more there; then elsewhere; then say what the profile advises."""
        ticket, machine = attempt.ticket, attempt.machine
        ticket.out_of_memory[machine.name] += 1
        with suppress(LtxflowError):
            await machine.client.free()
        if ticket.out_of_memory[machine.name] == 1:
            ticket.pinned = machine.name
            self.tickets.again(attempt, "failed", "out of memory: freed, and tried once more there")
            return
        advice = "; ".join(ticket.order.profile.advice.get("out_of_memory", ()))
        ticket.bar(machine, Problem(f"{machine.label}: {reason}", ticket.order.span, advice, "C021"))
        self.tickets.again(attempt, "failed", f"out of memory on {machine.label}")

    def _cannot_write(self, attempt: Attempt, reason: str) -> None:
        """A full disk refuses every clip, and each only when it is rendered: this server gets none any more."""
        machine, told = attempt.machine, f"{attempt.machine.label} cannot write its files: {reason}"
        if machine.unwritable is None:
            hint = "free space in its output folder, or let it write there; then build again"
            machine.unwritable = Problem(told, None, hint, "C023")
            self.tickets.tell(None, f"{machine.label} gets no more clips: it cannot write its files", "warning")
            self._bar_all(machine, machine.unwritable)
        if self.machines.others(attempt):
            self.tickets.again(attempt, "failed", told)
        else:
            self.tickets.finish(attempt, "failed", told)
            raise LtxflowError(machine.unwritable, exit_code=FAILED)

    def _bar_all(self, machine: Worker, problem: Problem) -> None:
        self.tickets.has_barred = True
        for ticket in self.tickets.open:
            ticket.bar(machine, problem)
            ticket.pinned = "" if ticket.pinned == machine.name else ticket.pinned
        for attempt in machine.queue:
            if attempt.can_be_withdrawn:
                self.take_back(attempt, f"{machine.label} cannot write its files")

    # Taken back, cancelled

    def take_back(self, attempt: Attempt, why: str) -> None:
        """Take a prompt that waits off its server, unless it has begun meanwhile; its clip waits once more."""
        attempt.is_withdrawn = True  # before the question: its follower may hear the answer first
        attempt.why_withdrawn = why
        self.tickets.spawn(self._withdraw(attempt))

    async def _withdraw(self, attempt: Attempt) -> None:
        with suppress(LtxflowError):  # then we do not know: its follower will
            attempt.is_withdrawn = await attempt.machine.client.withdraw(attempt.prompt_id)
            if attempt.is_withdrawn and not attempt.is_over and attempt.runner:
                attempt.runner.cancel()
                self._was_taken_back(attempt)

    def _was_taken_back(self, attempt: Attempt) -> None:
        attempt.ticket.starts -= 1  # it never ran
        self.tickets.again(attempt, "cancelled", attempt.why_withdrawn)

    async def cancel(self, ticket: QueuedClip) -> None:
        """Ctrl-C: cancel this prompt, if it is ours and still runs or waits. The next run fetches a finished one."""
        self.tickets.remove(ticket)
        attempt = ticket.attempt
        if attempt is None or attempt.runner is None or attempt.runner.done():
            return
        queue = attempt.machine.queue
        behind = queue[queue.index(attempt) + 1 :] if attempt in queue else []
        attempt.is_stopping = True
        attempt.runner.cancel()
        await asyncio.sleep(0)  # all are told in the same moment
        with suppress(LtxflowError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                for other in behind:  # it would begin as soon as this one is gone
                    if other.is_stopping:
                        await other.stopped.wait()
                await self._cancel_prompt(attempt)
        attempt.stopped.set()

    async def _cancel_prompt(self, attempt: Attempt) -> None:
        if attempt.posting is not None:
            await asyncio.wait([attempt.posting])
        if not attempt.is_ours or attempt.is_over:
            return
        if await attempt.machine.client.cancel(attempt.prompt_id) and await self._has_stopped(attempt):
            self.tickets.finish(attempt, "cancelled", "interrupted")

    async def _has_stopped(self, attempt: Attempt) -> bool:
        """Whether a prompt that was cancelled will make no file. One that does not stop in time may still end well: the
        journal keeps it open, and the next run asks what became of it."""
        looks = iter(LOOKS_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOPS_S):
                while (state := await attempt.machine.client.state(attempt.prompt_id)).kind == "running":
                    await asyncio.sleep(next(looks, LOOKS_S[-1]))
                return state.kind in ("cancelled", "unknown")  # one that waited leaves no trace
        return False
