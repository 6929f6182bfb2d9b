"""The servers of a build: which of them answer, what runs and waits on each, how fast they are. Submits nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ltxflow.comfy.client import Client
from ltxflow.comfy.discovery import Server
from ltxflow.comfy.inventory import Inventory
from ltxflow.comfy.transport import AWAY, NEVER_SENT, REFUSED, SERVER_ERROR, SLOW, UNREACHED
from ltxflow.core.digest import Action, Key
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem
from ltxflow.farm.journal import Submission
from ltxflow.farm.schedule import Task, WorkerSlot, rate_of
from ltxflow.steps import ActionContext, RenderSpec
from ltxflow.store.speeds import Speed

T = TypeVar("T")

TRIPS = 3  # questions in a row without an answer, after which a server gets nothing new
RESTS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # between questions to a server that does not answer; the last one repeats
REFUSALS = 6  # answers "I failed" to one question, from a server that is well, after which it is taken at its word
TIMEOUTS_S = (3.0, 30.0)  # of one question: as patient as the build, within these
HELLO_S = 3.0  # after the first server answered the others have so long, before clips go to those that did
AT_ONCE = NEVER_SENT | {SLOW}  # what sets a server aside the first time: asked again at once it would say the same
PAUSES_S = (0.1, 0.2, 0.3, 0.5, 0.8, 1.5, 2.5, 5.0)  # between tries of one question; the last one repeats


@dataclass(eq=False)
class QueuedClip:
    """One clip on its way: what is to be made, what went wrong so far, and where it may not go."""

    place: int  # in the film
    order: RenderSpec
    job: ActionContext
    action: Action
    task: Task
    done: asyncio.Future[None]
    cause: str  # of its next start
    adopt: Submission | None = None  # an earlier run submitted it: only that server may say what became of it
    pinned: str = ""  # the server to try first: it has in its cache what this clip needs
    barred: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    nonce: str = ""  # not empty where it is to be rendered again though a server may have it: see prepare.with_nonce
    starts: int = 0
    out_of_memory: Counter[str] = field(default_factory=Counter)  # by server, as the next two
    faults: Counter[str] = field(default_factory=Counter)
    bad_files: Counter[str] = field(default_factory=Counter)
    attempt: Attempt | None = None

    @property
    def key(self) -> Key:
        return self.job.key

    def bar(self, machine: Worker, *problems: Problem) -> None:
        self.barred[machine.name] = problems
        self.task = replace(self.task, barred=frozenset(self.barred))


@dataclass(eq=False)
class Attempt:
    """One way of a clip over one server: from a place in its queue to the files, or to a decision what comes next."""

    ticket: QueuedClip
    machine: Worker
    submission: Submission | None = None
    runner: asyncio.Task[None] | None = None
    posting: asyncio.Future[Any] | None = None
    graph: dict[str, Any] | None = None  # as it was made ready for this server
    is_ours: bool = False  # this project's journal has it as submitted: only such prompts are ever cancelled
    is_there: bool = False  # the server has it
    is_withdrawn: bool = False
    why_withdrawn: str = ""
    is_single: bool = False  # a copy of it that waited, if there was any, was taken back
    is_over: bool = False  # what becomes of the clip is decided
    is_stopping: bool = False
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def prompt_id(self) -> str:
        return self.submission.prompt_id if self.submission else ""

    @property
    def can_be_withdrawn(self) -> bool:
        return self.is_ours and self.is_there and not self.is_withdrawn


@dataclass(eq=False)
class Worker:
    """One server. Its queue holds our clips alone; the first runs, the second waits, more only when taken up."""

    client: Client
    inventory: Inventory
    speed: Speed | None
    uploaded: dict[str, str]
    queue: list[Attempt] = field(default_factory=list)
    entry: asyncio.Lock = field(default_factory=asyncio.Lock)  # clips queue there in the order they were placed
    since: float = 0.0  # when the first of the queue began
    group: str = ""  # the weights it has loaded, and the prompt it has read, as far as we know
    text: str = ""
    is_shared: bool = False  # other people's prompts are there: we keep one, not two
    unwritable: Problem | None = None  # its disk is full, say: a clip would be made there and lost
    trips: int = 0
    problems: tuple[Problem, ...] = ()  # what came in place of its last answer
    down_since: float | None = None
    refused_since: float | None = None  # it refuses connections: its process is gone, and its queue with it
    back: asyncio.Event = field(default_factory=asyncio.Event)  # set when it answers again
    reviver: asyncio.Task[None] | None = None
    abandoned: list[str] = field(default_factory=list)  # prompts of ours that were given to others meanwhile

    @property
    def name(self) -> str:
        return self.client.server.url

    @property
    def label(self) -> str:
        return str(self.client.server)

    @property
    def is_up(self) -> bool:
        return self.down_since is None

    @property
    def ours(self) -> int:
        """How many prompts of ours it has, or is just being sent."""
        return sum(each.is_there or each.posting is not None for each in self.queue)

    @property
    def has_room(self) -> bool:
        return self.is_up and len(self.queue) < (1 if self.is_shared else 2)

    def leave(self, attempt: Attempt) -> bool:
        """Given an attempt, take it from the queue, and return whether it was there: the next one runs already."""
        if attempt not in self.queue:
            return False
        if self.queue[0] is attempt:
            self.since = time.monotonic()
        self.queue.remove(attempt)
        self.is_shared = self.is_shared and not attempt.is_there
        return True

    def forget(self) -> None:
        """It may have been started anew, elsewhere even: what it had is no longer known."""
        self.inventory.forget()
        self.uploaded.clear()
        self.group = self.text = ""


class Unreachable(LtxflowError):
    """A server did not answer for as long as we are patient."""


class Workers:
    """All servers of a build. One that does not answer gets nothing new and is asked again from time to time.

    One that refuses connections for `dead_after_s` has lost its jobs, which are in memory only: another one that has
    room makes them. All others are waited for, `patience_s`: what runs there may be only slow, or out of reach.

    `tell` hears what a person should know, `changed` is called whenever something may be placed, `spawn` runs a
    coroutine whose failure somebody hears of.
    """

    def __init__(
        self,
        patience_s: float,
        dead_after_s: float,
        tell: Callable[[str, str], None],
        changed: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.patience_s, self.dead_after_s = patience_s, min(dead_after_s, patience_s)
        self.tell, self.changed, self.spawn = tell, changed, spawn
        self.all: list[Worker] = []
        self._stack = AsyncExitStack()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self.all)

    async def open(
        self, servers: Iterable[Server], client_of: Callable[[str], str | None], speeds: Mapping[str, Speed]
    ) -> None:
        """Given the servers, greet them all. Raise LtxflowError (4) when none is there, nor coming up."""
        for server in servers:
            uploaded: dict[str, str] = {}
            timeout_s = max(TIMEOUTS_S[0], min(TIMEOUTS_S[1], self.patience_s))
            client = Client(server, uploaded=uploaded, client_id=client_of(server.url), timeout_s=timeout_s)
            await self._stack.enter_async_context(client)
            self.all.append(Worker(client, Inventory(client), speeds.get(client.server.url), uploaded))
        errors = await self._greet_all()
        if all(error is not None and not _is_starting(error) for error in errors):
            raise _nobody([error for error in errors if error is not None])
        for machine, error in zip(self.all, errors, strict=True):
            if error is not None:
                self._set_aside(machine, error)

    async def close(self) -> None:
        await self._stack.aclose()

    def named(self, name: str) -> Worker | None:
        return next((machine for machine in self.all if machine.name == name), None)

    def others(self, attempt: Attempt) -> list[Worker]:
        """Given an attempt, return the servers that could take its clip instead."""
        barred = attempt.ticket.barred
        return [m for m in self.all if m is not attempt.machine and m.is_up and m.name not in barred]

    # Health

    async def _greet_all(self) -> list[LtxflowError | None]:
        """Greet all servers; what has gone wrong with each. Those that are slower than others by HELLO_S are asked
        again beside the build."""
        asked = [asyncio.create_task(self._greet(machine)) for machine in self.all]
        waiting, is_any_there = set(asked), False
        try:
            while waiting and not is_any_there:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                is_any_there = any(task.result() is None for task in done)
            if waiting:
                await asyncio.wait(waiting, timeout=HELLO_S)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return [
            _no_answer_yet(machine) if task.cancelled() else task.result()
            for machine, task in zip(self.all, asked, strict=True)
        ]

    async def _greet(self, machine: Worker) -> LtxflowError | None:
        try:
            machine.inventory.stats = await machine.client.system_stats()
        except LtxflowError as error:
            return error
        return None

    async def patiently(
        self,
        attempt: Attempt,
        ask: Callable[[], Awaitable[T]],
        *,
        may_leave: bool | Callable[[], bool] = False,
        may_refuse: bool = False,
    ) -> T:
        """Ask a server until it answers. Raise what is permanent, and Unreachable when patience is over.

        It is over, too, when the server has stopped and another one has room. With `may_leave`, it is over when the
        server is set aside and another one could take the clip. With `may_refuse`, a server that fails at this question
        time after time, and is well otherwise, refuses the clip.
        """
        machine, since, pauses, refusals = attempt.machine, None, iter(PAUSES_S), 0
        while True:
            try:
                answer = await ask()
            except LtxflowError as error:
                if not error.transient:
                    raise
                now = time.monotonic()
                since = since or machine.down_since or now
                if may_refuse and await self._fails_at_this(machine, error):
                    refusals += 1
                    if refusals >= REFUSALS:
                        raise _refusal(error) from None
                else:
                    self._missed(machine, error)
                left = since + self.patience_s - now
                may_go = may_leave() if callable(may_leave) else may_leave
                if left <= 0 or self.is_left(attempt) or (may_go and not machine.is_up and self.others(attempt)):
                    raise Unreachable(*error.problems) from None
            else:
                self._answered(machine)
                return answer
            pause = min(next(pauses, PAUSES_S[-1]), left, self._until_dead_s(machine))
            if machine.is_up:
                await asyncio.sleep(pause)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await machine.back.wait()

    async def _fails_at_this(self, machine: Worker, error: LtxflowError) -> bool:
        """Whether a server answered that it failed, and answers another question at once."""
        if any(problem.code != SERVER_ERROR for problem in error.problems):
            return False
        with suppress(LtxflowError):
            await machine.client.queue_remaining()
            return True
        return False

    def is_left(self, attempt: Attempt) -> bool:
        """Whether what was submitted to a server is lost with its process, and another one has room for it."""
        return self.has_stopped(attempt.machine) and any(other.has_room for other in self.others(attempt))

    def has_stopped(self, machine: Worker) -> bool:
        return machine.refused_since is not None and time.monotonic() - machine.refused_since >= self.dead_after_s

    def _until_dead_s(self, machine: Worker) -> float:
        """In how many seconds a server that refuses connections will have done so for long enough; often after that."""
        if machine.refused_since is None:
            return PAUSES_S[-1]
        return max(0.5, machine.refused_since + self.dead_after_s - time.monotonic())

    def _note(self, machine: Worker, error: LtxflowError) -> None:
        """Remember what came in place of an answer, and since when the server has refused connections, if it does."""
        machine.problems = error.problems
        is_refused = all(problem.code == REFUSED for problem in error.problems)
        machine.refused_since = (machine.refused_since or time.monotonic()) if is_refused else None

    def _missed(self, machine: Worker, error: LtxflowError) -> None:
        self._note(machine, error)
        machine.trips += TRIPS if all(problem.code in AT_ONCE for problem in error.problems) else 1
        if machine.trips >= TRIPS and machine.is_up:
            self._set_aside(machine, error)

    def _set_aside(self, machine: Worker, error: LtxflowError) -> None:
        self._note(machine, error)
        machine.down_since = time.monotonic()
        machine.back.clear()
        told = f"set aside until it answers, for {self.patience_s:g} s at most"
        self.tell(f"{told}: {error.problems[0].message}", "warning")
        if machine.reviver is None or machine.reviver.done():
            machine.reviver = self.spawn(self._revive(machine))
        self.changed()

    async def _revive(self, machine: Worker) -> None:
        rests = iter(RESTS_S)
        while not machine.is_up:
            await asyncio.sleep(next(rests, RESTS_S[-1]))
            try:
                machine.inventory.stats = await machine.client.health()
            except LtxflowError as error:
                self._note(machine, error)
                self.changed()
            else:
                self._answered(machine)

    def _answered(self, machine: Worker) -> None:
        machine.trips, machine.refused_since = 0, None
        if machine.is_up:
            return
        machine.down_since = None
        machine.back.set()
        machine.forget()
        self.tell(f"{machine.label} answers again", "info")
        if machine.abandoned:
            self.spawn(self._cancel_abandoned(machine))
        self.changed()

    async def _cancel_abandoned(self, machine: Worker) -> None:
        """Others make these clips by now; what still runs or waits here would be for nothing."""
        while machine.abandoned:
            with suppress(LtxflowError):
                await machine.client.cancel(machine.abandoned.pop())

    def is_given_up(self, machine: Worker) -> bool:
        return machine.down_since is not None and time.monotonic() - machine.down_since > self.patience_s

    def silence(self, machine: Worker) -> str:
        if self.has_stopped(machine) and not self.is_given_up(machine):
            return f"{machine.label} stopped: connection refused for {self.dead_after_s:g} s"
        if machine.refused_since is not None and not self.is_given_up(machine):
            return f"{machine.label} refused the connection"
        return f"{machine.label} did not answer for {self.patience_s:g} s"

    def not_answered(self, machine: Worker) -> Problem:
        last = ": " + machine.problems[0].message.removeprefix(f"{machine.label}: ") if machine.problems else ""
        hint = "build again when it answers: what runs there is taken up, not started anew"
        return Problem(f"{self.silence(machine)}{last}", None, hint, "C002")

    def next_end_of_patience_s(self) -> float | None:
        """Return in how many seconds patience with a server ends, None where there is none to lose."""
        now = time.monotonic()
        ends = [m.down_since + self.patience_s - now for m in self.all if m.down_since is not None]
        ends += [m.refused_since + self.dead_after_s - now for m in self.all if m.refused_since is not None]
        return min((end for end in ends if end >= 0), default=None)

    # What the schedule sees

    def lanes(self) -> list[WorkerSlot]:
        return [self._lane(machine) for machine in self.all if machine.is_up]

    def _lane(self, machine: Worker) -> WorkerSlot:
        rate, queue = self.rate(machine), list(machine.queue)
        waiting = queue.pop(1).ticket.task if len(queue) > 1 and queue[1].can_be_withdrawn else None
        if not queue:
            return WorkerSlot(machine.name, 0.0, rate, machine.group, machine.text, waiting)
        first, *more = [attempt.ticket.task for attempt in queue]
        left = max(0.0, first.work * rate - (time.monotonic() - machine.since))
        left += sum(task.work for task in more) * rate
        last = (more or [first])[-1]
        return WorkerSlot(machine.name, left, rate, last.group, last.text, waiting)

    def rate(self, machine: Worker) -> float:
        """Seconds per unit of work: measured, or as the others are, but never below what the running clip shows."""
        others = [m.speed.rate for m in self.all if m.speed is not None]
        measured = machine.speed.rate if machine.speed else None
        if not machine.queue:
            return rate_of(measured, others)
        return rate_of(measured, others, time.monotonic() - machine.since, machine.queue[0].ticket.task.work)


def _no_answer_yet(machine: Worker) -> LtxflowError:
    problem = Problem(f"{machine.label}: no answer yet", code=UNREACHED, transient=True)
    return LtxflowError(problem, exit_code=UNREACHABLE)


def _is_starting(error: LtxflowError) -> bool:
    """Whether something answers there already: a proxy, before a ComfyUI that is coming up."""
    return error.transient and error.exit_code != UNREACHABLE


def _refusal(error: LtxflowError) -> LtxflowError:
    """What a server says time after time, as its last word."""
    hint = "its log tells why; is its disk full?"
    return LtxflowError(*(replace(p, hint=p.hint or hint, transient=False) for p in error.problems), exit_code=FAILED)


def _nobody(errors: list[LtxflowError]) -> LtxflowError:
    told = "; ".join(error.problems[0].message for error in errors)
    hints = [p.hint for error in errors for p in error.problems if p.code not in AWAY and p.hint]
    hints.append("start one, name it with --server, or draw slates: ltxflow build --animatic")
    message = f"no ComfyUI server is reachable ({told})"
    return LtxflowError(Problem(message, hint="; ".join(dict.fromkeys(hints)), code="C001"), exit_code=UNREACHABLE)
