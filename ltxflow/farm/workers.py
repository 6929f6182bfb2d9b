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
from ltxflow.comfy.transport import AWAY, NEVER_SENT, REFUSED, SERVER_ERROR, SLOW
from ltxflow.core.digest import Action, Key
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem, problem
from ltxflow.farm.journal import Submission
from ltxflow.farm.schedule import Task, WorkerSlot, rate_of
from ltxflow.steps import ActionContext, RenderSpec
from ltxflow.store.published import Speed

T = TypeVar("T")

TRIPS = 3  # requests in a row without an answer, after which a server gets nothing new
RESTS_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)  # between requests to a server that does not answer; the last one repeats
REFUSALS = 6  # answers "I failed" to one request, from a healthy server, after which they count as a refusal
TIMEOUTS_S = (3.0, 30.0)  # of one request: the build's patience, within these
HELLO_S = 3.0  # for the other servers to answer once the first one has, before clips go out
AT_ONCE = NEVER_SENT | {SLOW}  # sets a server aside the first time: an immediate retry would get the same
PAUSES_S = (0.1, 0.2, 0.3, 0.5, 0.8, 1.5, 2.5, 5.0)  # between tries of one request; the last one repeats


@dataclass(eq=False)
class QueuedClip:
    """One clip in progress: what to make, what went wrong so far, and which servers are excluded."""

    place: int  # in the film
    spec: RenderSpec
    job: ActionContext
    action: Action
    task: Task
    done: asyncio.Future[None]
    cause: str  # of its next start
    adopt: Submission | None = None  # an earlier run submitted it: only that server knows how it ended
    pinned: str = ""  # the server to try first: its cache has what this clip needs
    excluded: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    nonce: str = ""  # set where it must be rendered although a server may have it: see transfer.with_nonce
    starts: int = 0
    out_of_memory: Counter[str] = field(default_factory=Counter)  # by server, as the next two
    faults: Counter[str] = field(default_factory=Counter)
    bad_files: Counter[str] = field(default_factory=Counter)
    attempt: Attempt | None = None

    @property
    def key(self) -> Key:
        return self.job.key

    def exclude(self, worker: Worker, *problems: Problem) -> None:
        self.excluded[worker.name] = problems
        self.task = replace(self.task, excluded=frozenset(self.excluded))


@dataclass(eq=False)
class Attempt:
    """One try of a clip on one server: from a slot in its queue to the files, or to a decision what comes next."""

    clip: QueuedClip
    worker: Worker
    submission: Submission | None = None
    runner: asyncio.Task[None] | None = None
    posting: asyncio.Future[Any] | None = None
    graph: dict[str, Any] | None = None  # as prepared for this server
    is_ours: bool = False  # our journal has it as submitted: only such prompts are ever cancelled
    is_there: bool = False  # the server has it
    is_withdrawn: bool = False
    why_withdrawn: str = ""
    is_single: bool = False  # a waiting copy of it, if there was one, is withdrawn
    is_over: bool = False  # the next step of the clip is decided
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
    """One server. Its queue holds our clips alone: the first runs, the second waits, more only when resumed."""

    client: Client
    inventory: Inventory
    speed: Speed | None
    uploaded: dict[str, str]
    queue: list[Attempt] = field(default_factory=list)
    entry: asyncio.Lock = field(default_factory=asyncio.Lock)  # clips queue there in the order they were placed
    since: float = 0.0  # when the first of the queue began
    group: str = ""  # the weights it has loaded, and the prompt it has encoded, as far as we know
    text: str = ""
    is_shared: bool = False  # other people's prompts are there: we keep one in its queue, not two
    unwritable: Problem | None = None  # its disk is full, for example: a clip would be made there and lost
    trips: int = 0
    problems: tuple[Problem, ...] = ()  # in place of its last answer
    down_since: float | None = None
    refused_since: float | None = None  # it refuses connections: its process is gone, and its queue with it
    answers_again: asyncio.Event = field(default_factory=asyncio.Event)
    reviver: asyncio.Task[None] | None = None
    abandoned: list[str] = field(default_factory=list)  # prompts of ours whose clips others make now

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
        """How many prompts of ours it has, or is being sent."""
        return sum(each.is_there or each.posting is not None for each in self.queue)

    @property
    def has_room(self) -> bool:
        return self.is_up and len(self.queue) < (1 if self.is_shared else 2)

    def leave(self, attempt: Attempt) -> bool:
        """Take an attempt from the queue, and return whether it was there: the next one already runs."""
        if attempt not in self.queue:
            return False
        if self.queue[0] is attempt:
            self.since = time.monotonic()
        self.queue.remove(attempt)
        self.is_shared = self.is_shared and not attempt.is_there
        return True

    def forget(self) -> None:
        """Forget what it had: it may have been restarted, even elsewhere."""
        self.inventory.forget()
        self.uploaded.clear()
        self.group = self.text = ""


class Unreachable(LtxflowError):
    """A server did not answer within our patience."""


class Workers:
    """All servers of a build. One that does not answer gets nothing new, and is polled until it answers.

    One that refuses connections for `dead_after_s` has lost its jobs, which are in memory only: a server with room
    makes them. Others get `patience_s`: what runs there may be only slow, or out of reach.

    `notify` shows a message to the user, `changed` is called whenever something may be placed, `spawn` runs a
    coroutine and reports its failure.
    """

    def __init__(
        self,
        patience_s: float,
        dead_after_s: float,
        notify: Callable[[str, str], None],
        changed: Callable[[], None],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self.patience_s, self.dead_after_s = patience_s, min(dead_after_s, patience_s)
        self.notify, self.changed, self.spawn = notify, changed, spawn
        self.all: list[Worker] = []
        self._stack = AsyncExitStack()

    def __iter__(self) -> Iterator[Worker]:
        return iter(self.all)

    async def open(
        self, servers: Iterable[Server], client_of: Callable[[str], str | None], speeds: Mapping[str, Speed]
    ) -> None:
        """Contact all servers. Raise LtxflowError (4) when none answers or is starting."""
        for server in servers:
            uploaded: dict[str, str] = {}
            timeout_s = max(TIMEOUTS_S[0], min(TIMEOUTS_S[1], self.patience_s))
            client = Client(server, uploaded=uploaded, client_id=client_of(server.url), timeout_s=timeout_s)
            await self._stack.enter_async_context(client)
            self.all.append(Worker(client, Inventory(client), speeds.get(client.server.url), uploaded))
        errors = await self._greet_all()
        if all(error is not None and not _is_starting(error) for error in errors):
            raise _none_reachable([error for error in errors if error is not None])
        for worker, error in zip(self.all, errors, strict=True):
            if error is not None:
                self._set_aside(worker, error)

    async def close(self) -> None:
        await self._stack.aclose()

    def named(self, name: str) -> Worker | None:
        return next((worker for worker in self.all if worker.name == name), None)

    def others(self, attempt: Attempt) -> list[Worker]:
        """Return the servers that could take the clip of an attempt instead."""
        excluded = attempt.clip.excluded
        return [m for m in self.all if m is not attempt.worker and m.is_up and m.name not in excluded]

    # Health

    async def _greet_all(self) -> list[LtxflowError | None]:
        """Contact all servers and return the error of each.

        Those slower than others by HELLO_S are polled beside the build.
        """
        greetings = [asyncio.create_task(self._greet(worker)) for worker in self.all]
        waiting, is_any_up = set(greetings), False
        try:
            while waiting and not is_any_up:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                is_any_up = any(task.result() is None for task in done)
            if waiting:
                await asyncio.wait(waiting, timeout=HELLO_S)
        finally:
            for task in greetings:
                task.cancel()
            await asyncio.gather(*greetings, return_exceptions=True)
        return [
            _no_answer_yet(worker) if task.cancelled() else task.result()
            for worker, task in zip(self.all, greetings, strict=True)
        ]

    async def _greet(self, worker: Worker) -> LtxflowError | None:
        try:
            worker.inventory.stats = await worker.client.system_stats()
        except LtxflowError as error:
            return error
        return None

    async def patiently(
        self,
        attempt: Attempt,
        request: Callable[[], Awaitable[T]],
        *,
        may_leave: bool | Callable[[], bool] = False,
        may_refuse: bool = False,
    ) -> T:
        """Repeat a request until the server answers. Raise permanent errors, and Unreachable when patience is over.

        It is over, too, when the server has stopped and another has room; with `may_leave`, when the server is set
        aside and another could take the clip. With `may_refuse`, a server that fails at this request time after
        time, and is healthy otherwise, refuses the clip.
        """
        worker, since, pauses, refusals = attempt.worker, None, iter(PAUSES_S), 0
        while True:
            try:
                answer = await request()
            except LtxflowError as error:
                if not error.transient:
                    raise
                now = time.monotonic()
                since = since or worker.down_since or now
                if may_refuse and await self._fails_at_this(worker, error):
                    refusals += 1
                    if refusals >= REFUSALS:
                        raise _refusal(error) from None
                else:
                    self._missed(worker, error)
                left = since + self.patience_s - now
                may_go = may_leave() if callable(may_leave) else may_leave
                if left <= 0 or self.should_leave(attempt) or (may_go and not worker.is_up and self.others(attempt)):
                    raise Unreachable(*error.problems) from None
            else:
                self._answered(worker)
                return answer
            pause = min(next(pauses, PAUSES_S[-1]), left, self._until_dead_s(worker))
            if worker.is_up:
                await asyncio.sleep(pause)
            else:
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await worker.answers_again.wait()

    async def _fails_at_this(self, worker: Worker, error: LtxflowError) -> bool:
        """Return whether a server answered that it failed, and answers another request at once."""
        if any(problem.code != SERVER_ERROR for problem in error.problems):
            return False
        with suppress(LtxflowError):
            await worker.client.queue_remaining()
            return True
        return False

    def should_leave(self, attempt: Attempt) -> bool:
        """Return whether a submission is lost with its server's process, and another server has room for it."""
        return self.has_stopped(attempt.worker) and any(other.has_room for other in self.others(attempt))

    def has_stopped(self, worker: Worker) -> bool:
        return worker.refused_since is not None and time.monotonic() - worker.refused_since >= self.dead_after_s

    def _until_dead_s(self, worker: Worker) -> float:
        """Return in how many seconds a server will have refused connections for long enough; at least 0.5."""
        if worker.refused_since is None:
            return PAUSES_S[-1]
        return max(0.5, worker.refused_since + self.dead_after_s - time.monotonic())

    def _note(self, worker: Worker, error: LtxflowError) -> None:
        """Remember the error in place of an answer, and since when the server has refused connections, if it does."""
        worker.problems = error.problems
        is_refused = all(problem.code == REFUSED for problem in error.problems)
        worker.refused_since = (worker.refused_since or time.monotonic()) if is_refused else None

    def _missed(self, worker: Worker, error: LtxflowError) -> None:
        self._note(worker, error)
        worker.trips += TRIPS if all(problem.code in AT_ONCE for problem in error.problems) else 1
        if worker.trips >= TRIPS and worker.is_up:
            self._set_aside(worker, error)

    def _set_aside(self, worker: Worker, error: LtxflowError) -> None:
        self._note(worker, error)
        worker.down_since = time.monotonic()
        worker.answers_again.clear()
        message = f"set aside until it answers, for at most {self.patience_s:g} s"
        self.notify(f"{message}: {error.problems[0].message}", "warning")
        if worker.reviver is None or worker.reviver.done():
            worker.reviver = self.spawn(self._revive(worker))
        self.changed()

    async def _revive(self, worker: Worker) -> None:
        rests = iter(RESTS_S)
        while not worker.is_up:
            await asyncio.sleep(next(rests, RESTS_S[-1]))
            try:
                worker.inventory.stats = await worker.client.health()
            except LtxflowError as error:
                self._note(worker, error)
                self.changed()
            else:
                self._answered(worker)

    def _answered(self, worker: Worker) -> None:
        worker.trips, worker.refused_since = 0, None
        if worker.is_up:
            return
        worker.down_since = None
        worker.answers_again.set()
        worker.forget()
        self.notify(f"{worker.label} answers again", "info")
        if worker.abandoned:
            self.spawn(self._cancel_abandoned(worker))
        self.changed()

    async def _cancel_abandoned(self, worker: Worker) -> None:
        """Cancel prompts whose clips others make now: here they would run in vain."""
        while worker.abandoned:
            with suppress(LtxflowError):
                await worker.client.cancel(worker.abandoned.pop())

    def is_given_up(self, worker: Worker) -> bool:
        return worker.down_since is not None and time.monotonic() - worker.down_since > self.patience_s

    def describe_silence(self, worker: Worker) -> str:
        if self.has_stopped(worker) and not self.is_given_up(worker):
            return f"{worker.label} stopped: connection refused for {self.dead_after_s:g} s"
        if worker.refused_since is not None and not self.is_given_up(worker):
            return f"{worker.label} refused the connection"
        return f"{worker.label} did not answer for {self.patience_s:g} s"

    def not_answered(self, worker: Worker) -> Problem:
        silence = self.describe_silence(worker)
        reason = worker.problems[0].message.removeprefix(f"{worker.label}: ") if worker.problems else ""
        reason = f": {reason}" if reason and reason not in silence else ""
        return problem("C002.no-answer", silence=silence, reason=reason)

    def next_end_of_patience_s(self) -> float | None:
        """Return in how many seconds patience with a server ends; None while all answer."""
        now = time.monotonic()
        ends = [m.down_since + self.patience_s - now for m in self.all if m.down_since is not None]
        ends += [m.refused_since + self.dead_after_s - now for m in self.all if m.refused_since is not None]
        return min((end for end in ends if end >= 0), default=None)

    # For the schedule

    def slots(self) -> list[WorkerSlot]:
        return [self._slot(worker) for worker in self.all if worker.is_up]

    def _slot(self, worker: Worker) -> WorkerSlot:
        rate, queue = self.rate(worker), list(worker.queue)
        waiting = queue.pop(1).clip.task if len(queue) > 1 and queue[1].can_be_withdrawn else None
        if not queue:
            return WorkerSlot(worker.name, 0.0, rate, worker.group, worker.text, waiting)
        first, *more = [attempt.clip.task for attempt in queue]
        left = max(0.0, first.work * rate - (time.monotonic() - worker.since))
        left += sum(task.work for task in more) * rate
        last = (more or [first])[-1]
        return WorkerSlot(worker.name, left, rate, last.group, last.text, waiting)

    def rate(self, worker: Worker) -> float:
        """Return seconds per unit of work: measured, or as the others are, but at least what the running clip shows."""
        others = [m.speed.rate for m in self.all if m.speed is not None]
        measured = worker.speed.rate if worker.speed else None
        if not worker.queue:
            return rate_of(measured, others)
        return rate_of(measured, others, time.monotonic() - worker.since, worker.queue[0].clip.task.work)


def _no_answer_yet(worker: Worker) -> LtxflowError:
    return LtxflowError(problem("C003.not-yet", server=worker.label, transient=True), exit_code=UNREACHABLE)


def _is_starting(error: LtxflowError) -> bool:
    """Return whether something answers there: the proxy of a ComfyUI that is starting."""
    return error.transient and error.exit_code != UNREACHABLE


def _refusal(error: LtxflowError) -> LtxflowError:
    """Return a repeated error as permanent."""
    hint = "check its log, and its disk space"
    return LtxflowError(
        *(replace(p, hint=hint if p.code == SERVER_ERROR else p.hint or hint, transient=False) for p in error.problems),
        exit_code=FAILED,
    )


def _none_reachable(errors: list[LtxflowError]) -> LtxflowError:
    reasons = "; ".join(error.problems[0].message for error in errors)
    hints = [p.hint for error in errors for p in error.problems if p.code not in AWAY and p.hint]
    hints.append("start one, name it with --server, or draw slates: ltxflow build --animatic")
    hint = "; ".join(dict.fromkeys(hints))
    return LtxflowError(problem("C001.none-reachable", hint=hint, reasons=reasons), exit_code=UNREACHABLE)
