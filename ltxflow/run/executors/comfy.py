"""Runs clips on ComfyUI servers: places, submits, follows, fetches and verifies them. Nothing is paid for twice.

The life of a clip here: a Ticket waits until the schedule gives it a place on a Machine (a server); that is an Attempt.
Its prompt id is journalled before it is submitted; HTTP says how it ended; its files are fetched and verified. Whatever
crashes, the next run finds the id in the journal and asks the server for it before submitting anything.
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import insort
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

from ltxflow.comfy.client import prompt_id_for
from ltxflow.comfy.follow import follow
from ltxflow.comfy.messages import JobState, NodeProgress, Progress, is_oom, is_transient, is_unwritable
from ltxflow.comfy.places import Server
from ltxflow.comfy.progress import SAMPLERS, Tracker
from ltxflow.comfy.servers import check_live, resolve_names
from ltxflow.core import files
from ltxflow.core.digest import Digest, Key
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem
from ltxflow.core.events import Event, Notice
from ltxflow.media.image import prepare_image
from ltxflow.plan.estimate import work_of
from ltxflow.plan.status import Status
from ltxflow.run.fetch import BadFile, fetch
from ltxflow.run.machines import Attempt, Machine, Machines, Ticket, Unreachable
from ltxflow.run.schedule import FEW, Task, assign, next_start, pull_back
from ltxflow.run.submissions import Submissions
from ltxflow.steps import Asset, Job, Order
from ltxflow.store.journal import Journal, Submission
from ltxflow.store.speeds import Speed

ATTEMPTS = 6  # starts of one clip in one run, whatever their causes
FAULTS = 2  # passing faults of one clip on one server, after which it goes elsewhere
LOOK_S = (0.1, 2.0)  # between looks at a schedule that time alone may change: what runs takes longer than was thought
GIVE_WAY_S = 2.0  # files wait so long for the next clip to get onto their server: fetching them idles nobody
FAREWELL_S = 5.0  # for cancelling, when we are told to stop
SPEEDS_EVERY_S = 10.0  # between writing down how fast the servers are
STEPS_EVERY_S = 0.1  # between steps of a sampler that are shown: nobody reads faster


@dataclass(frozen=True)
class Terms:
    """What a build allows: how long an unreachable server is waited for, which foreign nodes, how much GPU time."""

    patience_s: float = 300.0
    allowed: frozenset[str] = frozenset()
    max_gpu_s: float | None = None


class ComfyExecutor:
    """The pool "gpu": drives one or many servers. Used as `async with ComfyExecutor(…) as executor`."""

    def __init__(
        self,
        servers: Sequence[Server],
        journal: Journal,
        terms: Terms,
        emit: Callable[[Event], None],
        speeds: Mapping[str, Speed],
        signatures: Path,
        learned: Callable[[Mapping[str, Speed]], None] = lambda speeds: None,
    ) -> None:
        self.servers = servers
        self.terms = terms
        self.emit = emit
        self.speeds = speeds
        self.signatures = signatures
        self.learned = learned
        self.submissions = Submissions(journal)
        self.pending: list[Ticket] = []  # in the film's order; any server may take them
        self.homing: list[Ticket] = []  # those that only one server may take: see `_go_home`
        self.spent_s = 0.0
        self._open: set[Ticket] = set()
        self._places = count()
        self._measured: dict[str, Speed] = {}  # in this run, by server
        self._tell_speeds_s = 0.0  # when they are told next
        self._has_barred = False  # whether any clip was ever refused by a server
        self._pulled: Counter[str] = Counter()
        self._ahead: set[tuple[str, str]] = set()  # server and clip: what it reads was sent there in advance
        self._decoding = asyncio.Semaphore(max(1, (os.cpu_count() or 1) // 2))  # the rest is for what servers wait for
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._bug: BaseException | None = None
        self.machines = Machines(
            terms.patience_s, lambda text, level: self._tell(None, text, level), self._wake.set, self._spawn
        )

    async def __aenter__(self) -> ComfyExecutor:
        try:
            await self.machines.open(self.servers, self.submissions.client_of, self.speeds)
        except BaseException:
            await self._close()
            raise
        self._spawn(self._schedule())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._measured:
            self._tell_speeds()
        await self.machines.close()

    # What the build loop calls

    async def run(self, status: Status, job: Job) -> None:
        """Make one clip: return when its files are in the job. Cancelled, cancel its prompt, if it is ours."""
        assert status.action is not None
        if self._bug is not None:
            raise self._bug
        order: Order = status.node.spec
        task = Task(job.target, work_of(status.node), order.loads, text=order.text)
        done, cause = asyncio.get_running_loop().create_future(), self.submissions.cause_of(job.key)
        ticket = Ticket(next(self._places), order, job, status.action, task, done, cause)
        for machine in self.machines:
            if machine.unwritable is not None:
                ticket.bar(machine, machine.unwritable)
        self._open.add(ticket)
        ticket.adopt = self._left_open(ticket)
        self._queue(ticket)
        try:
            await ticket.done
        except asyncio.CancelledError:
            await asyncio.shield(self._cancel(ticket))
            raise
        finally:
            self._open.discard(ticket)

    def is_under_way(self, key: Key) -> bool:
        """Whether an earlier run left `key` on a server: such a clip comes first, its render may be done already."""
        return self.submissions.open_of(key) is not None

    def kept(self, key: Key) -> None:
        """The trace of `key` is recorded: its submission is over."""
        self.submissions.kept(key)

    def _left_open(self, ticket: Ticket) -> Submission | None:
        """The attempt that an earlier run left open; one whose server is not named any more is given up, aloud."""
        submission = self.submissions.open_of(ticket.key)
        if submission is None:
            return None
        home = self.machines.named(submission.server)
        if home is None:
            self._tell(ticket, f"was submitted to {submission.server}, which is not among the servers now", "warning")
            ticket.cause = "its server is no longer named"
            self.submissions.finished(submission, ticket.key, "lost", ticket.cause)
            return None
        if not home.is_up:
            self._tell(ticket, f"waits for {home.label}, which has it from an earlier run", "warning")
        return submission

    # Tasks of our own: none fails unheard

    def _spawn(self, work: Coroutine[Any, Any, None], ticket: Ticket | None = None) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:  # a bug of ours: the build stops on it
                self._bug = self._bug or (None if ticket else error)
                for each in [ticket] if ticket else list(self._open):
                    self._fail(each, error)

        task.add_done_callback(ended)
        return task

    # The schedule

    def _queue(self, ticket: Ticket) -> None:
        if not ticket.done.done():
            self._has_barred = self._has_barred or bool(ticket.barred)
            queue = self.homing if ticket.adopt or ticket.pinned else self.pending
            insort(queue, ticket, key=lambda each: each.place)
            self._wake.set()

    def _unqueue(self, ticket: Ticket) -> None:
        for queue in (self.homing, self.pending):
            if ticket in queue:
                queue.remove(ticket)

    async def _schedule(self) -> None:
        """Give waiting clips to servers whenever something changes. It asks no server: that would hold up others."""
        while True:
            self._wake.clear()
            self._give_up_hopeless()
            self._go_home()
            while (choice := self._choose()) is not None:
                self._start(*choice)
            self._pull_back()
            self._send_ahead()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_look_s()):
                    await self._wake.wait()

    def _next_look_s(self) -> float | None:
        is_waiting = bool(self.pending or self.homing)
        looks = [self.machines.next_end_of_patience_s()] if is_waiting else []
        if len(self.machines.all) > 1 and (is_waiting or any(len(m.queue) > 1 for m in self.machines)):
            least, most = LOOK_S
            usual = [m.queue[0].ticket.task.work * self.machines.rate(m) for m in self.machines if m.queue]
            looks.append(max(least, min(most, 0.05 * min(usual, default=most))))
        return min((look for look in looks if look is not None), default=None)

    def _give_up_hopeless(self) -> None:
        """Fail the clips that no server can make, or that no server has answered for longer than is patient."""
        is_any_given_up = any(self.machines.is_given_up(machine) for machine in self.machines)
        doubtful = self.pending if is_any_given_up or self._has_barred else []  # else there is hope for all of them
        for ticket in [*self.homing, *doubtful]:
            open_to = [m for m in self.machines if m.name not in ticket.barred and not self.machines.is_given_up(m)]
            if ticket.adopt is None:
                if not open_to:
                    self._fail(ticket, self._hopeless(ticket))
                continue
            home = self.machines.named(ticket.adopt.server)
            assert home is not None
            if not self.machines.is_given_up(home):
                continue
            if not any(machine.is_up for machine in open_to):
                self._fail(ticket, LtxflowError(self.machines.not_answered(home), exit_code=UNREACHABLE))
                continue
            ticket.cause = self.machines.silence(home)
            self.submissions.finished(ticket.adopt, ticket.key, "lost", ticket.cause)
            home.abandoned.append(ticket.adopt.prompt_id)
            ticket.adopt = None
            self._set_free(ticket)

    def _hopeless(self, ticket: Ticket) -> LtxflowError:
        problems = [problem for told in ticket.barred.values() for problem in told]
        problems += [self.machines.not_answered(m) for m in self.machines if m.name not in ticket.barred]
        return LtxflowError(*dict.fromkeys(problems), exit_code=FAILED if ticket.barred else UNREACHABLE)

    def _go_home(self) -> None:
        """Start what only one server may take: what an earlier run left there, and what is tried there again."""
        for ticket in list(self.homing):
            home = self.machines.named(ticket.adopt.server if ticket.adopt else ticket.pinned)
            if home is not None and home.is_up:
                self._start(ticket, home)
            elif not ticket.adopt:
                ticket.pinned = ""
                self._set_free(ticket)

    def _set_free(self, ticket: Ticket) -> None:
        """Any server may take it from now on."""
        self.homing.remove(ticket)
        self._queue(ticket)

    def _choose(self) -> tuple[Ticket, Machine] | None:
        """The next clip and its server, or None when no server has room for one that should run there."""
        room = {machine.name: machine for machine in self.machines if machine.has_room}
        if not room or not self.pending:
            return None
        free = self._next()
        choice = next_start([ticket.task for ticket in free.values()], self.machines.lanes(), room)
        return (free[choice[0]], room[choice[1]]) if choice else None

    def _next(self) -> dict[str, Ticket]:
        """The clips that may be placed next, by the ids of their tasks. With more the plan would be no better."""
        most = 4 * FEW if len(self.machines.all) > 1 else FEW
        return {ticket.task.id: ticket for ticket in self.pending[:most]}

    def _pull_back(self) -> None:
        """Take a waiting prompt off a slow server when another would end it sooner."""
        if len(self.machines.all) < 2 or len(self.pending) > FEW:
            return  # there is nothing to gain
        name = pull_back([ticket.task for ticket in self.pending], self.machines.lanes(), self._pulled)
        machine = self.machines.named(name or "")
        if machine is not None:
            attempt = machine.queue[1]
            self._pulled[attempt.ticket.task.id] += 1
            self._take_back(attempt, "pulled back for a server that ends it sooner")

    def _take_back(self, attempt: Attempt, why: str) -> None:
        attempt.is_withdrawn = True  # before the question: its follower may hear the answer first
        attempt.why_withdrawn = why
        self._spawn(self._withdraw(attempt))

    def _send_ahead(self) -> None:
        """Have each server sent what the clip after the next reads: then that clip can follow at once."""
        if not self.pending or not any(machine.queue for machine in self.machines):
            return
        free = self._next()
        for name, ids in assign([ticket.task for ticket in free.values()], self.machines.lanes()).items():
            machine = self.machines.named(name)
            if ids and machine is not None and machine.queue and (name, ids[0]) not in self._ahead:
                self._ahead.add((name, ids[0]))
                self._spawn(self._upload_all(machine, free[ids[0]]))

    async def _upload_all(self, machine: Machine, ticket: Ticket) -> None:
        with suppress(LtxflowError):  # it will be tried again, and reported, when its turn comes
            async with machine.entry:
                pass  # who enters now comes first
            for asset in ticket.order.assets():
                await self._upload(machine, asset, ticket.job)

    async def _withdraw(self, attempt: Attempt) -> None:
        with suppress(LtxflowError):  # then we do not know: its follower will
            attempt.is_withdrawn = await attempt.machine.client.withdraw(attempt.prompt_id)
            if attempt.is_withdrawn and not attempt.is_over and attempt.runner:
                attempt.runner.cancel()
                self._was_taken_back(attempt)

    def _was_taken_back(self, attempt: Attempt) -> None:
        attempt.ticket.starts -= 1  # it never ran
        self._again(attempt, "cancelled", attempt.why_withdrawn)

    def _start(self, ticket: Ticket, machine: Machine) -> None:
        if self._is_over_budget(ticket, machine):
            self._fail(ticket, _over_budget(self.terms.max_gpu_s or 0.0))
            return
        self._unqueue(ticket)
        ticket.pinned = ""
        if not machine.queue:
            machine.since = time.monotonic()
        attempt = ticket.attempt = Attempt(ticket, machine)
        machine.queue.append(attempt)
        attempt.runner = self._spawn(self._attempt(attempt), ticket)

    def _is_over_budget(self, ticket: Ticket, machine: Machine) -> bool:
        if self.terms.max_gpu_s is None or ticket.adopt:
            return False
        running = sum(a.ticket.task.work * self.machines.rate(m) for m in self.machines for a in m.queue)
        return self.spent_s + running + ticket.task.work * self.machines.rate(machine) > self.terms.max_gpu_s

    # One attempt

    async def _attempt(self, attempt: Attempt) -> None:
        """From an empty place on a server to verified files, or to a decision what comes next."""
        try:
            graph = await self._enter(attempt)
            if graph is None:
                return
            tracker = Tracker(graph, time.monotonic)
            state = await self._follow(attempt, tracker)
            self._leave(attempt)
            await self._settle(attempt, graph, tracker, state)
        except Unreachable as error:
            self._lost_server(attempt, error)
        except LtxflowError as error:  # no word on how the prompt ended: the journal keeps it, the next run looks again
            self._fail(attempt.ticket, error)
        finally:
            self._leave(attempt)

    def _leave(self, attempt: Attempt) -> None:
        if attempt.machine.leave(attempt):
            self._wake.set()

    async def _enter(self, attempt: Attempt) -> dict[str, Any] | None:
        """Bring a clip onto its server, and return its graph; None when it waits again."""
        ticket, machine = attempt.ticket, attempt.machine
        async with machine.entry:
            if ticket.adopt is not None:
                return await self._take_up(attempt, ticket.adopt)
            holder = await self._holder(attempt)
            if holder is machine:
                attempt.is_there = True
                return _plain_graph(ticket.order)
            if holder is not None:
                ticket.pinned = holder.name
                self._back_to_pending(attempt)
                return None
            try:
                graph = await self.machines.patiently(
                    attempt, lambda: self._prepare(attempt), may_leave=True, may_refuse=True
                )
                if machine.queue[0] is not attempt and await self._is_shared(attempt):
                    self._back_to_pending(attempt)
                    machine.is_shared = True
                    return None
                await self._submit(attempt, graph)
                return graph
            except Unreachable:
                raise
            except LtxflowError as error:
                self._refused(attempt, error)
                return None

    async def _holder(self, attempt: Attempt) -> Machine | None:
        """The server that has this prompt already, though our journal does not say so: somebody else's, or ours from
        before the journal was lost. It is taken up, and never cancelled."""
        ticket, machine = attempt.ticket, attempt.machine
        while True:
            number = self.submissions.next_attempt(ticket.key)
            submission = Submission(number, machine.name, prompt_id_for(ticket.key, number), "", ticket.job.target)
            attempt.submission = submission
            state = await self.machines.patiently(attempt, self._state_of(attempt), may_leave=True)
            if state.kind in ("queued", "running", "done"):
                self._tell(ticket, f"taken up: {machine.label} has it already ({state.kind})")
                return machine
            if state.kind == "unknown":
                break
            self.submissions.finished(submission, ticket.key, "failed", f"found {state.kind} on the server")
        if self.submissions.knows(ticket.key):
            return None
        others = self.machines.others(attempt)
        found = await asyncio.gather(*(self._has_it(other, attempt.prompt_id) for other in others))
        return next((other for other, has_it in zip(others, found, strict=True) if has_it), None)

    def _state_of(self, attempt: Attempt) -> Callable[[], Awaitable[JobState]]:
        return lambda: attempt.machine.client.state(attempt.prompt_id)

    async def _has_it(self, machine: Machine, prompt_id: str) -> bool:
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
            await self._lost(attempt, "the server does not know it: its queue is gone, or it never came there")
        elif state.kind == "cancelled":
            self._again(attempt, "cancelled", "it was cancelled when an earlier run ended")
        else:
            self._tell(ticket, f"taken up where an earlier run left it: {state.kind} on {machine.label}")
            await machine.client.socket.open()
            return _plain_graph(ticket.order)
        return None

    async def _prepare(self, attempt: Attempt) -> dict[str, Any]:
        """Resolve names, send what the graph reads, and check every node against this server's signatures."""
        ticket, machine, order = attempt.ticket, attempt.machine, attempt.ticket.order
        names = await resolve_names(
            machine.inventory, order.profile, order.weights, order.roles(ticket.action), order.loras, order.path
        )
        stored = {asset.name: await self._upload(machine, asset, ticket.job) for asset in order.assets()}
        number = attempt.submission.attempt if attempt.submission else 1
        graph = order.graph(names.models, names.loras, f"ltxflow/{ticket.key[:16]}-{number}")
        graph = _renamed(graph, {name: real for name, real in stored.items() if name != real})
        await check_live(
            machine.inventory,
            graph,
            template=order.template.name,
            span=order.span,
            allowed=self.terms.allowed,
            cache=self.signatures,
        )
        # its own signatures also know the loaders among the foreign classes that the user allows
        strays = order.strays(graph, machine.inventory.signatures, stored.values())
        if strays:
            raise LtxflowError(*strays, exit_code=FAILED)
        ticket.job.versions["comfyui"] = machine.inventory.stats.version if machine.inventory.stats else ""
        ticket.job.versions |= {f"model.{role}": name for role, name in names.models.items()}
        return graph

    async def _upload(self, machine: Machine, asset: Asset, job: Job) -> str:
        folder, _, name = asset.name.partition("/")
        known = machine.uploaded.get(asset.name)
        return known or await machine.client.files.upload(name, await asyncio.to_thread(_content, asset, job), folder)

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
        self.submissions.submitting(submission, ticket.key, client_id, ticket.cause)
        ticket.starts += 1
        attempt.is_ours = True
        extra = {"extra_pnginfo": {"ltxflow": {"key": ticket.key, "attempt": submission.attempt}}}
        is_doubtful = False

        async def post() -> None:
            nonlocal is_doubtful
            if is_doubtful and (await machine.client.state(submission.prompt_id)).kind != "unknown":
                return  # its answer was lost, not the prompt: sent again, it would be queued twice
            is_doubtful = True
            work = machine.client.submit(graph, submission.prompt_id, client_id, extra)
            attempt.posting = asyncio.ensure_future(work)
            await asyncio.shield(attempt.posting)  # told to stop meanwhile, we cancel what came of it

        await self.machines.patiently(attempt, post)
        attempt.is_there = True
        self.submissions.submitted(submission, ticket.key)

    async def _follow(self, attempt: Attempt, tracker: Tracker) -> JobState:
        ticket, machine = attempt.ticket, attempt.machine
        ticket.job.server = machine.label
        is_told, is_new, next_step_s = False, attempt.posting is not None, 0.0

        def hear(event: Progress) -> None:
            nonlocal is_told, next_step_s
            news = tracker.hear(event)
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

        state = await self.machines.patiently(attempt, ask)
        tracker.end()
        if not is_told and state.kind == "done":
            ticket.job.started(machine.label)
        return state

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
            self._spawn(self._drop_waiting(attempt))

    async def _drop_waiting(self, attempt: Attempt) -> None:
        with suppress(LtxflowError):
            await attempt.machine.client.drop_waiting(attempt.prompt_id)

    # How it ended

    async def _settle(self, attempt: Attempt, graph: dict[str, Any], tracker: Tracker, state: JobState) -> None:
        """Given how the prompt ended, fetch its files, start it again, or give it up."""
        if attempt.posting is not None:  # what an earlier run started was in that run's budget
            self.spent_s += state.timings.ran_s or 0.0
        if state.kind == "unknown" and attempt.is_withdrawn:
            self._was_taken_back(attempt)
        elif state.kind == "unknown":
            await self._lost(attempt, "the server no longer has it: it was started anew, or its queue was cleared")
        elif state.kind == "cancelled":
            self._finish(attempt, "cancelled", "cancelled on the server")
            told, hint = f"{attempt.machine.label}: somebody cancelled it there", "build again to have it made"
            raise LtxflowError(Problem(told, attempt.ticket.order.span, hint, "C024"), exit_code=FAILED)
        elif state.kind == "failed":
            await self._failed(attempt, state)
        else:
            self._learn(attempt, graph, tracker, state)
            await self._give_way(attempt.machine)
            await self._fetch(attempt, graph, tracker, state)

    async def _lost(self, attempt: Attempt, cause: str) -> None:
        """Start again what a server does not know; only the word of a ComfyUI counts, not that of a proxy before it."""
        await self.machines.patiently(attempt, attempt.machine.client.queue_remaining)
        attempt.machine.forget()
        self._again(attempt, "lost", cause)

    async def _give_way(self, machine: Machine) -> None:
        """Let the next clip onto a server before files are fetched from it and decoded: a GPU is dearer than a CPU."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GIVE_WAY_S):
                while self._wake.is_set():
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
        self._measured[machine.name] = machine.speed
        if time.monotonic() >= self._tell_speeds_s:
            self._tell_speeds()

    def _tell_speeds(self) -> None:
        self._tell_speeds_s = time.monotonic() + SPEEDS_EVERY_S
        with suppress(LtxflowError):  # an estimate that cannot be kept is no reason to fail
            self.learned(self._measured)

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
            self._again(attempt, "failed", f"a passing fault: {reason}")
        else:
            self._finish(attempt, "failed", reason)
            raise LtxflowError(problem, exit_code=FAILED)

    async def _ran_out_of_memory(self, attempt: Attempt, reason: str) -> None:
        """Free the server and try once more there; then elsewhere; then say what the profile advises."""
        ticket, machine = attempt.ticket, attempt.machine
        ticket.out_of_memory[machine.name] += 1
        with suppress(LtxflowError):
            await machine.client.free()
        if ticket.out_of_memory[machine.name] == 1:
            ticket.pinned = machine.name
            self._again(attempt, "failed", "out of memory: freed, and tried once more there")
            return
        advice = "; ".join(ticket.order.profile.advice.get("out_of_memory", ()))
        ticket.bar(machine, Problem(f"{machine.label}: {reason}", ticket.order.span, advice, "C021"))
        self._again(attempt, "failed", f"out of memory on {machine.label}")

    def _cannot_write(self, attempt: Attempt, reason: str) -> None:
        """A full disk refuses every clip, and each only when it is rendered: this server gets none any more."""
        machine, told = attempt.machine, f"{attempt.machine.label} cannot write its files: {reason}"
        if machine.unwritable is None:
            hint = "free space in its output folder, or let it write there; then build again"
            machine.unwritable = Problem(told, None, hint, "C023")
            self._tell(None, f"{machine.label} gets no more clips: it cannot write its files", "warning")
            self._bar_all(machine, machine.unwritable)
        if self.machines.others(attempt):
            self._again(attempt, "failed", told)
        else:
            self._finish(attempt, "failed", told)
            raise LtxflowError(machine.unwritable, exit_code=FAILED)

    def _bar_all(self, machine: Machine, problem: Problem) -> None:
        self._has_barred = True
        for ticket in self._open:
            ticket.bar(machine, problem)
            ticket.pinned = "" if ticket.pinned == machine.name else ticket.pinned
        for attempt in machine.queue:
            if attempt.can_be_withdrawn:
                self._take_back(attempt, f"{machine.label} cannot write its files")

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
        self._again(attempt, "failed", f"a refused file, {then}: {problem.message}")

    # What comes next

    def _back_to_pending(self, attempt: Attempt) -> None:
        self._leave(attempt)
        attempt.is_over = True
        self._queue(attempt.ticket)

    def _again(self, attempt: Attempt, outcome: str, cause: str) -> None:
        """End this attempt in the journal, and queue the clip once more, saying why."""
        self._finish(attempt, outcome, cause)
        attempt.ticket.adopt = None
        self._tell(attempt.ticket, f"starts again: {cause}", "info" if attempt.is_withdrawn else "warning")
        attempt.ticket.cause = cause
        self._back_to_pending(attempt)

    def _finish(self, attempt: Attempt, outcome: str, cause: str) -> None:
        assert attempt.submission is not None
        attempt.is_over = True
        self.submissions.finished(attempt.submission, attempt.ticket.key, outcome, cause)

    def _refused(self, attempt: Attempt, error: LtxflowError) -> None:
        """A permanent no, before anything ran. It is this server's: another one may have the model, or the node."""
        ticket, machine = attempt.ticket, attempt.machine
        if attempt.is_ours:
            self._finish(attempt, "failed", str(error))
        ticket.bar(machine, *error.problems)
        ticket.cause = f"{machine.label} refused it: {error.problems[0].message}"
        self._back_to_pending(attempt)

    def _lost_server(self, attempt: Attempt, error: Unreachable) -> None:
        """Patience with a server is over. Elsewhere the clip starts anew; without another it stays in the journal."""
        machine = attempt.machine
        machine.problems = error.problems
        if not self.machines.others(attempt):
            self._fail(attempt.ticket, LtxflowError(self.machines.not_answered(machine), exit_code=UNREACHABLE))
        elif attempt.is_ours or attempt.is_there:
            if attempt.is_ours:
                machine.abandoned.append(attempt.prompt_id)
            self._again(attempt, "lost", self.machines.silence(machine))
        else:
            self._back_to_pending(attempt)

    def _fail(self, ticket: Ticket, error: BaseException) -> None:
        self._unqueue(ticket)
        if not ticket.done.done():
            ticket.done.set_exception(error)

    async def _cancel(self, ticket: Ticket) -> None:
        """Ctrl-C: cancel this prompt, if it is ours and still runs or waits. The next run fetches a finished one."""
        self._unqueue(ticket)
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
        if attempt.is_ours and not attempt.is_over and await attempt.machine.client.cancel(attempt.prompt_id):
            self._finish(attempt, "cancelled", "interrupted")

    def _tell(self, ticket: Ticket | None, message: str, level: str = "info") -> None:
        self.emit(Notice(message, level, ticket.job.target if ticket else ""))


def _plain_graph(order: Order) -> dict[str, Any]:
    """The graph of a prompt that runs already, for its nodes' ids and classes: the files may have other names there."""
    return order.graph({role: role for role in order.weights}, {}, "ltxflow")


def _renamed(graph: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A server calls an upload otherwise when another file has that name: what it says counts."""
    if not names:
        return graph
    return {
        id: {**node, "inputs": {k: names.get(v, v) if isinstance(v, str) else v for k, v in node["inputs"].items()}}
        for id, node in graph.items()
    }


def _content(asset: Asset, job: Job) -> bytes | Path:
    """What is sent for an asset: a picture prepared for this clip, a video as it is, or what another clip made.

    Always the very bytes that the key was made of: a file that was edited meanwhile, or rotted, is refused.
    """
    if asset.video is not None or asset.image is None:
        source = asset.video.path if asset.video is not None else job.inputs[asset.input]
        return _copy(source, Digest(asset.recipe["video"]), job.folder, is_ours=asset.video is None)
    fit = asset.recipe["fit"]
    focus = asset.recipe["focus"] or (0.5, 0.5)
    width, height = asset.recipe["size"]
    path = job.inputs[asset.input] if asset.input else asset.image.path
    return prepare_image(path, (width, height), fit, tuple(focus), asset.image.pixels)


def _copy(source: Path, digest: Digest, folder: Path, *, is_ours: bool) -> Path:
    """A copy of a file that nobody else writes to: what is sent cannot change while it is sent."""
    copy = folder / f"{digest[:16]}{source.suffix}"
    if copy.exists():
        return copy
    try:
        files.copy_into(source, copy, expect=digest)
    except LtxflowError as error:
        if not source.exists():
            raise
        message, hint = f'"{source.name}" changed while the film was being built', "build again, to use it as it is now"
        if is_ours:
            message = f"a file in the store is damaged: {digest[:12]}…"
            hint = "ltxflow cache verify --repair sets it aside; the next build makes it again"
        raise LtxflowError(Problem(message, hint=hint, code="C031"), exit_code=FAILED) from error
    return copy


def _over_budget(seconds: float) -> LtxflowError:
    shown = f"{seconds:g}s" if seconds < 60 else f"{seconds / 60:g}m"
    return LtxflowError(
        Problem(
            f"not started: it would pass --max-gpu {shown}",
            hint="build again with more, or choose clips by selectors",
            code="C030",
        ),
        exit_code=FAILED,
    )
