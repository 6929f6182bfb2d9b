"""The pool "gpu": says which clip goes to which ComfyUI server next. Nothing is paid for twice.

The life of a clip here: a Ticket waits (run/tickets.py) until the schedule, below, gives it a place on a Machine, a
server (run/machines.py); that is an Attempt (run/attempts.py). What its graph reads is sent there (run/prepare.py); its
prompt id is journalled before it is submitted; HTTP says how it ended, and run/endings.py what comes of that: its files
are fetched and verified, or it starts again. Whatever crashes, the next run finds the id in the journal and asks the
server for it before submitting anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from ltxflow.comfy.discovery import Server
from ltxflow.core.digest import Key
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem
from ltxflow.core.events import Event
from ltxflow.farm.attempts import Attempts
from ltxflow.farm.completion import Endings
from ltxflow.farm.journal import Journal, Submission, Submissions
from ltxflow.farm.queue import Tickets
from ltxflow.farm.schedule import FEW, Task, assign, next_start, pull_back
from ltxflow.farm.transfer import upload
from ltxflow.farm.workers import Attempt, QueuedClip, Worker, Workers
from ltxflow.plan.estimate import work_of
from ltxflow.plan.evaluate import Status
from ltxflow.steps import ActionContext, RenderSpec
from ltxflow.store.speeds import Speed

FORCED = "asked for again with --force"  # the cause of a render of what is there already
LOOK_S = (0.1, 2.0)  # between looks at a schedule that time alone may change: what runs takes longer than was thought


@dataclass(frozen=True)
class FarmLimits:
    """What a build allows: how long an unreachable server is waited for, and one that refuses connections, which
    foreign nodes, how much GPU time."""

    patience_s: float = 300.0
    dead_after_s: float = 15.0
    allowed: frozenset[str] = frozenset()
    max_gpu_s: float | None = None


class ComfyExecutor:
    """The pool "gpu": drives one or many servers. Used as `async with ComfyExecutor(…) as executor`."""

    def __init__(
        self,
        servers: Sequence[Server],
        journal: Journal,
        terms: FarmLimits,
        emit: Callable[[Event], None],
        speeds: Mapping[str, Speed],
        signatures: Path,
        learned: Callable[[Mapping[str, Speed]], None] = lambda speeds: None,
    ) -> None:
        self.servers = servers
        self.terms = terms
        self.speeds = speeds
        self.tickets = Tickets(Submissions(journal), emit)
        self.machines = Workers(
            terms.patience_s,
            terms.dead_after_s,
            lambda text, level: self.tickets.tell(None, text, level),
            self.tickets.wake.set,
            self.tickets.spawn,
        )
        self.endings = Endings(self.tickets, self.machines, learned)
        self.attempts = Attempts(self.tickets, self.machines, self.endings, terms.allowed, signatures)
        self._places = count()
        self._nonce = uuid4().hex  # of all clips that this build makes again: models are reloaded once
        self._pulled: Counter[str] = Counter()
        self._ahead: set[tuple[str, str]] = set()  # server and clip: what it reads was sent there in advance

    async def __aenter__(self) -> ComfyExecutor:
        try:
            await self.machines.open(self.servers, self.tickets.submissions.client_of, self.speeds)
        except BaseException:
            await self._close()
            raise
        self.tickets.spawn(self._schedule())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await self.tickets.end_tasks()
        if self.endings.measured:
            self.endings.tell_speeds()
        await self.machines.close()

    # What the build loop calls

    async def run(self, status: Status, job: ActionContext) -> None:
        """Make one clip: return when its files are in the job. Cancelled, cancel its prompt, if it is ours."""
        assert status.action is not None
        if self.tickets.bug is not None:
            raise self.tickets.bug
        order: RenderSpec = status.node.spec
        task = Task(job.target, work_of(status.node), order.model_set, text=order.text)
        done, cause = asyncio.get_running_loop().create_future(), self.tickets.submissions.cause_of(job.key)
        ticket = QueuedClip(next(self._places), order, job, status.action, task, done, cause)
        if status.is_forced:
            ticket.cause, ticket.nonce = FORCED, self._nonce
        for machine in self.machines:
            if machine.unwritable is not None:
                ticket.bar(machine, machine.unwritable)
        self.tickets.open.add(ticket)
        ticket.adopt = self._left_open(ticket)
        self.tickets.put(ticket)
        try:
            await ticket.done
        except asyncio.CancelledError:
            await asyncio.shield(self.endings.cancel(ticket))
            raise
        finally:
            self.tickets.open.discard(ticket)

    def is_under_way(self, key: Key) -> bool:
        """Whether an earlier run left `key` on a server: such a clip comes first, its render may be done already."""
        return self.tickets.submissions.open_of(key) is not None

    def kept(self, key: Key) -> None:
        """The trace of `key` is recorded: its submission is over."""
        self.tickets.submissions.kept(key)

    def _left_open(self, ticket: QueuedClip) -> Submission | None:
        """The attempt that an earlier run left open; one whose server is not named any more is given up, aloud."""
        submission = self.tickets.submissions.open_of(ticket.key)
        if submission is None:
            return None
        home = self.machines.named(submission.server)
        if home is None:
            self.tickets.tell(
                ticket, f"was submitted to {submission.server}, which is not among the servers now", "warning"
            )
            ticket.cause = "its server is no longer named"
            self.tickets.submissions.finished(submission, ticket.key, "lost", ticket.cause)
            return None
        ticket.nonce = submission.nonce or ticket.nonce
        if not home.is_up:
            self.tickets.tell(ticket, f"waits for {home.label}, which has it from an earlier run", "warning")
        return submission

    # The schedule

    async def _schedule(self) -> None:
        """Give waiting clips to servers whenever something changes. It asks no server: that would hold up others."""
        while True:
            self.tickets.wake.clear()
            self._give_up_hopeless()
            self._go_home()
            while (choice := self._choose()) is not None:
                self._start(*choice)
            self._pull_back()
            self._send_ahead()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_look_s()):
                    await self.tickets.wake.wait()

    def _next_look_s(self) -> float | None:
        is_waiting = bool(self.tickets.pending or self.tickets.homing)
        looks = [self.machines.next_end_of_patience_s()] if is_waiting else []
        if len(self.machines.all) > 1 and (is_waiting or any(len(m.queue) > 1 for m in self.machines)):
            least, most = LOOK_S
            usual = [m.queue[0].ticket.task.work * self.machines.rate(m) for m in self.machines if m.queue]
            looks.append(max(least, min(most, 0.05 * min(usual, default=most))))
        return min((look for look in looks if look is not None), default=None)

    def _give_up_hopeless(self) -> None:
        """Fail the clips that no server can make, or that no server has answered for longer than is patient."""
        is_any_given_up = any(self.machines.is_given_up(machine) for machine in self.machines)
        doubtful = (
            self.tickets.pending if is_any_given_up or self.tickets.has_barred else []
        )  # else there is hope for all of them
        for ticket in [*self.tickets.homing, *doubtful]:
            open_to = [m for m in self.machines if m.name not in ticket.barred and not self.machines.is_given_up(m)]
            if ticket.adopt is None:
                if not open_to:
                    self.tickets.fail(ticket, self._hopeless(ticket))
                continue
            home = self.machines.named(ticket.adopt.server)
            assert home is not None
            is_dead = self.machines.has_stopped(home) and any(machine.has_room for machine in open_to)
            if not self.machines.is_given_up(home) and not is_dead:
                continue
            if not any(machine.is_up for machine in open_to):
                self.tickets.fail(ticket, LtxflowError(self.machines.not_answered(home), exit_code=UNREACHABLE))
                continue
            ticket.cause = self.machines.silence(home)
            self.tickets.tell(ticket, f"starts elsewhere: {ticket.cause}", "warning")
            self.tickets.submissions.finished(ticket.adopt, ticket.key, "lost", ticket.cause)
            home.abandoned.append(ticket.adopt.prompt_id)
            ticket.adopt = None
            self.tickets.set_free(ticket)

    def _hopeless(self, ticket: QueuedClip) -> LtxflowError:
        problems = [problem for told in ticket.barred.values() for problem in told]
        problems += [self.machines.not_answered(m) for m in self.machines if m.name not in ticket.barred]
        return LtxflowError(*dict.fromkeys(problems), exit_code=FAILED if ticket.barred else UNREACHABLE)

    def _go_home(self) -> None:
        """Start what only one server may take: what an earlier run left there, and what is tried there again."""
        for ticket in list(self.tickets.homing):
            home = self.machines.named(ticket.adopt.server if ticket.adopt else ticket.pinned)
            if home is not None and home.is_up:
                self._start(ticket, home)
            elif not ticket.adopt:
                ticket.pinned = ""
                self.tickets.set_free(ticket)

    def _choose(self) -> tuple[QueuedClip, Worker] | None:
        """The next clip and its server, or None when no server has room for one that should run there."""
        room = {machine.name: machine for machine in self.machines if machine.has_room}
        if not room or not self.tickets.pending:
            return None
        free = self._next()
        choice = next_start([ticket.task for ticket in free.values()], self.machines.lanes(), room)
        return (free[choice[0]], room[choice[1]]) if choice else None

    def _next(self) -> dict[str, QueuedClip]:
        """The clips that may be placed next, by the ids of their tasks. With more the plan would be no better."""
        most = 4 * FEW if len(self.machines.all) > 1 else FEW
        return {ticket.task.id: ticket for ticket in self.tickets.pending[:most]}

    def _pull_back(self) -> None:
        """Take a waiting prompt off a slow server when another would end it sooner."""
        if len(self.machines.all) < 2 or len(self.tickets.pending) > FEW:
            return  # there is nothing to gain
        name = pull_back([ticket.task for ticket in self.tickets.pending], self.machines.lanes(), self._pulled)
        machine = self.machines.named(name or "")
        if machine is not None:
            attempt = machine.queue[1]
            self._pulled[attempt.ticket.task.id] += 1
            self.endings.take_back(attempt, "pulled back for a server that ends it sooner")

    def _send_ahead(self) -> None:
        """Have each server sent what the clip after the next reads: then that clip can follow at once."""
        if not self.tickets.pending or not any(machine.queue for machine in self.machines):
            return
        free = self._next()
        for name, ids in assign([ticket.task for ticket in free.values()], self.machines.lanes()).items():
            machine = self.machines.named(name)
            if ids and machine is not None and machine.queue and (name, ids[0]) not in self._ahead:
                self._ahead.add((name, ids[0]))
                self.tickets.spawn(self._upload_all(machine, free[ids[0]]))

    async def _upload_all(self, machine: Worker, ticket: QueuedClip) -> None:
        with suppress(LtxflowError):  # it will be tried again, and reported, when its turn comes
            async with machine.entry:
                pass  # who enters now comes first
            for asset in ticket.order.assets():
                await upload(machine, asset, ticket.job)

    def _start(self, ticket: QueuedClip, machine: Worker) -> None:
        if self._is_over_budget(ticket, machine):
            self.tickets.fail(ticket, _over_budget(self.terms.max_gpu_s or 0.0))
            return
        self.tickets.remove(ticket)
        ticket.pinned = ""
        if not machine.queue:
            machine.since = time.monotonic()
        attempt = ticket.attempt = Attempt(ticket, machine)
        machine.queue.append(attempt)
        attempt.runner = self.tickets.spawn(self.attempts.make(attempt), ticket)

    def _is_over_budget(self, ticket: QueuedClip, machine: Worker) -> bool:
        if self.terms.max_gpu_s is None or ticket.adopt:
            return False
        running = sum(a.ticket.task.work * self.machines.rate(m) for m in self.machines for a in m.queue)
        return self.endings.spent_s + running + ticket.task.work * self.machines.rate(machine) > self.terms.max_gpu_s


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
