"""The life of an action as a small state machine. Pure; one function makes every transition.

The build loop: runs what a plan says is missing, as soon as what it needs is there. Knows no server and no face.

Runs actions on this machine, a few at a time.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from ltxflow.core import files, memory_limit
from ltxflow.core.digest import Key, Output
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.core.events import ActionFinished, ActionProgress, ActionStarted, ActionWaiting, Event, Notice, Outcome
from ltxflow.plan.evaluate import Lookup, Status, evaluate_node, output_of
from ltxflow.plan.graph import BuildGraph
from ltxflow.plan.review import Review, is_inspected, shown
from ltxflow.steps import ActionContext, Node, inspect, pool_of, step
from ltxflow.store.store import Store
from ltxflow.store.traces import Trace

State = Literal["waiting", "ready", "running", "made", "failed", "skipped"]

MOVES: Mapping[State, frozenset[State]] = {
    "waiting": frozenset(["ready", "made", "skipped"]),  # made: its key was a hit once its inputs were known
    "ready": frozenset(["running", "made", "skipped"]),
    "running": frozenset(["made", "failed", "ready", "skipped"]),  # ready: a new attempt
    "made": frozenset(),
    "failed": frozenset(),
    "skipped": frozenset(),
}
SETTLED = frozenset[State](["made", "failed", "skipped"])


@dataclass
class States:
    """The state of every target of a run, in plan order."""

    of: dict[str, State] = field(default_factory=dict)

    def set(self, target: str, state: State) -> None:
        """Every transition passes here; a forbidden one is a bug of ours."""
        now = self.of.get(target)
        if now is not None and state not in MOVES[now]:
            raise AssertionError(f"{target}: {now} → {state}")
        self.of[target] = state

    def in_state(self, *states: State) -> list[str]:
        return [target for target, state in self.of.items() if state in states]

    @property
    def is_settled(self) -> bool:
        return all(state in SETTLED for state in self.of.values())


Emit = Callable[[Event], None]
Putting = Callable[[], AbstractContextManager[Callable[[Iterable[str]], None]]]

AHEAD = 128  # targets that are started before others have ended: more than the schedule of servers looks at
GROUP_S = 0.25  # so long at most does what can be had from traces wait to be written together


class Executor(Protocol):
    """Where actions run, and how many at once."""

    async def run(self, status: Status, job: ActionContext) -> None:
        """Make the status' action: fill `job.out` and `job.facts`. Raise LtxflowError when it cannot be made."""


@dataclass
class RunResult:
    """What became of every target of a run."""

    statuses: dict[str, Status]
    rendered: set[str] = field(default_factory=set)
    resumed: set[str] = field(default_factory=set)  # of those rendered: started by an earlier run
    failed: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    made: dict[Key, Trace] = field(default_factory=dict)  # in this run: another clip may want the same


def _alone() -> AbstractContextManager[Callable[[Iterable[str]], None]]:
    return nullcontext(lambda keys: None)


@dataclass(frozen=True)
class RunContext:
    """A run's surroundings: where it keeps what it makes, who runs it, who is told."""

    store: Store
    lookup: Lookup
    executors: Mapping[str, Executor]  # by pool
    emit: Emit
    made: Callable[[Node, Trace], None]  # called once it is known what stands for a target: the lock's turn
    keep_going: bool = True
    recorded: Callable[[Key], None] = lambda key: None  # called once a trace is recorded
    review: Callable[[], Review] | None = None  # of what came back, by the lock as it is then
    putting: Putting = _alone  # around what is put into the store: it yields what is told the key
    write: Callable[[], None] = lambda: None  # called now and then, and at the end: what `made` gathered is to be kept
    is_first: Callable[[Key], bool] = lambda key: False  # what is to be started before all else


@contextmanager
def _tidy() -> Iterator[None]:
    """Have what clips leave behind taken away soon, so that memory does not grow with them; the film and its plan,
    which are there already and stay, are not looked through each time."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def build(plan: BuildGraph, found: Mapping[str, Status], builder: RunContext) -> RunResult:
    """Given a plan and what is known of its targets, make every miss and return what became of each.

    A failure skips what needs it and nothing else, or everything that has not started with `keep_going` off, and
    where the disk takes no more: what could not be kept is not paid for.
    Cancelling keeps what is finished and skips the rest: the result says `interrupted`. Raise LtxflowError where there
    is not enough memory to begin.
    """
    if any(status.state != "hit" for status in found.values()):
        memory_limit.require()
    return await _Run(plan, found, builder).run()


class _Run:
    """A run under way. What there is to do when a target is settled does not grow with the number of targets."""

    def __init__(self, plan: BuildGraph, found: Mapping[str, Status], builder: RunContext) -> None:
        self.plan, self.builder = plan, builder
        self.keep_going = builder.keep_going
        self.built = RunResult(dict(found))
        self.states = States()
        self.needed_by: dict[str, list[str]] = {}
        self.ready: defaultdict[str, deque[str]] = defaultdict(deque)  # by pool: none waits for what another is full of
        self.taken: Counter[str] = Counter()  # of the running, by pool
        self.parked: dict[Key, list[str]] = {}  # those that wait for another one with the same key
        self.running: dict[asyncio.Task[Trace], str] = {}
        self.begun: set[str] = set()  # of the running: those that have left their pool's queue
        self.ended: deque[asyncio.Task[Trace]] = deque()
        self.wake = asyncio.Event()
        self.write_at: float | None = None  # when what was gathered is to be written

    async def run(self) -> RunResult:
        for target, status in self.built.statuses.items():
            self.states.set(target, "made" if status.state == "hit" else "waiting")
        waiting = self.states.in_state("waiting")
        for target in waiting:
            for need in self.plan.needs(target):
                self.needed_by.setdefault(need, []).append(target)
        try:
            with _tidy():
                self._advance(waiting)
                await self._until_settled()
        except asyncio.CancelledError:
            await self._interrupt()
        except BaseException:  # a bug, a full disk: let the others end quietly, and fly
            await self._cancel_all()
            raise
        finally:
            self._write()
        return self.built

    async def _until_settled(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            self._start()
            if not self.running:
                return
            if not self.ended:
                self.wake.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self.write_at):
                        await self.wake.wait()
            while self.ended:
                self._settle(self.ended.popleft())
                self.write_at = self.write_at or clock() + GROUP_S
            if self.write_at is not None and clock() >= self.write_at:
                self._write()

    def _write(self) -> None:
        """Write what was gathered since the last time: the index's rows and the lock's lines.

        They may wait for each other, since both follow from traces and blobs, which are on the disk before a clip
        counts as made: whoever is killed in between finds those, and the next run writes the rest.
        """
        self.write_at = None
        self.builder.store.write_index()
        self.builder.write()

    def _start(self) -> None:
        """Start what is ready, up to AHEAD of each pool: what they need for their way is in memory for these alone."""
        while pool := next((name for name, queue in self.ready.items() if queue and self.taken[name] < AHEAD), ""):
            self._begin(self.ready[pool].popleft(), pool)

    def _begin(self, target: str, pool: str) -> None:
        if self.states.of[target] != "ready" or self._settle_twin(target):
            return
        status = self.built.statuses[target]
        assert status.key is not None
        if status.key in self.parked:
            self.parked[status.key].append(target)  # no key is made twice: this one waits for the other
            return
        self.parked[status.key] = []
        self.states.set(target, "running")
        self.taken[pool] += 1
        inputs = _inputs(status.node, self.built, self.builder)
        self.built.resumed.discard(target)
        task = asyncio.create_task(
            _make(status, inputs, self.builder, self.begun, self._failed, self.built.resumed.add)
        )
        self.running[task] = target
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Trace]) -> None:
        self.ended.append(task)
        self.wake.set()

    def _failed(self, error: LtxflowError) -> None:
        """Without `keep_going`, end all that has not begun: now, before another takes the place that is free."""
        self.keep_going = self.keep_going and not _is_of_the_machine(error)
        for task, target in self.running.items():
            if not self.keep_going and target not in self.begun and task is not asyncio.current_task():
                task.cancel()

    async def _cancel_all(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def _interrupt(self) -> None:
        self.built.interrupted = True
        await self._cancel_all()
        for task in list(self.running):
            self._settle(task)
        for target in self.states.in_state("waiting", "ready"):
            self._skip(target, "interrupted")

    # What became of a target, and what follows from it

    def _advance(self, targets: Iterable[str]) -> None:
        """Move waiting targets whose needs are settled to ready, made (early cutoff) or skipped; and on from there."""
        todo = deque(targets)
        while todo:
            target = todo.popleft()
            if self.states.of[target] != "waiting":
                continue
            needs = self.plan.needs(target)
            lost = [need for need in needs if self.states.of[need] in ("failed", "skipped")]
            if lost:
                self._skip(target, f"needs {lost[0]}")
            elif all(self.states.of[need] == "made" for need in needs):
                self._now_known(target, needs)
            if self.states.of[target] in SETTLED:
                todo.extend(self.needed_by.get(target, ()))

    def _now_known(self, target: str, needs: Iterable[str]) -> None:
        """What it needs is made: then its key is known, and with it whether it is there already."""
        status = self.built.statuses[target]
        if status.state == "maybe":
            before = {need: self.built.statuses[need] for need in needs}
            found = evaluate_node(self.plan.nodes[target], before, self.builder.lookup, status.is_forced)
            if not found.is_forced:  # a forced clip keeps its own seed, though another try of it is in the cut
                found = _standing(found, before, self.builder)
            status = self.built.statuses[target] = found
        if status.state == "hit":
            self.states.set(target, "made")
        else:
            self._queue(target)

    def _queue(self, target: str) -> None:
        self.states.set(target, "ready")
        if self._settle_twin(target):
            return
        status = self.built.statuses[target]
        queue = self.ready[pool_of(status.node)]
        if status.key is not None and self.builder.is_first(status.key):
            queue.appendleft(target)
        else:
            queue.append(target)

    def _settle_twin(self, target: str) -> bool:
        """What was made in this run for another clip with the same key is this one's, too; return whether it stands."""
        status = self.built.statuses[target]
        trace = self.built.made.get(status.key) if status.key else None
        if trace is None:
            return False
        before = {need: self.built.statuses[need] for need in self.plan.needs(target)}
        hit = Status(status.node, "hit", key=status.key, trace=trace, inputs=status.inputs)
        stands = _standing(hit, before, self.builder)
        self.built.statuses[target] = stands
        if stands.trace is None:
            return False
        self.states.set(target, "made")
        self.builder.made(stands.node, stands.trace)
        self._advance(self.needed_by.get(target, ()))
        return True

    def _skip(self, target: str, reason: str) -> None:
        self.states.set(target, "skipped")
        self.built.skipped[target] = reason
        self.builder.emit(ActionFinished(target, "skipped", reason=reason))

    def _settle(self, task: asyncio.Task[Trace]) -> None:
        target = self.running.pop(task)
        key, pool = self.built.statuses[target].key, pool_of(self.built.statuses[target].node)
        assert key is not None
        self.taken[pool] -= 1
        try:
            trace = task.result()
        except asyncio.CancelledError:
            self._skip(target, "interrupted" if self.built.interrupted else self._why_not())
        except LtxflowError as error:
            self._lose(target, error)
        else:
            self._keep(target, trace)
        self.begun.discard(target)
        self.ready[pool].extend(self.parked.pop(key))
        if not self.built.interrupted:  # else what needs it is told the same as all others
            self._advance(self.needed_by.get(target, ()))

    def _lose(self, target: str, error: LtxflowError) -> None:
        self.states.set(target, "failed")
        self.built.failed[target] = error.problems
        self.builder.emit(ActionFinished(target, "failed", reason=str(error)))
        self._failed(error)
        if not self.keep_going:
            for other in self.states.in_state("waiting", "ready"):
                self._skip(other, self._why_not())

    def _why_not(self) -> str:
        return "another failed" if not self.builder.keep_going else "what it makes could not be kept"

    def _keep(self, target: str, trace: Trace) -> None:
        """It is made: it stands, or another try of it, which may be still to be made."""
        builder, built = self.builder, self.built
        status = built.statuses[target]
        built.made[trace.key] = trace
        builder.recorded(trace.key)
        before = {need: built.statuses[need] for need in self.plan.needs(target)}
        hit = Status(status.node, "hit", key=trace.key, trace=trace, inputs=status.inputs)
        stands = _standing(hit, before, builder)
        built.statuses[target] = stands
        if stands.because:
            builder.emit(Notice(stands.because, "warning", target))
        if stands.trace is None and built.failed and not self.keep_going:
            self._skip(target, self._why_not())
            return
        if stands.trace is None:
            self._queue(target)
            return
        self.states.set(target, "made")
        built.rendered.add(target)
        builder.made(stands.node, stands.trace)
        seconds = trace.seconds.get("total", 0.0)
        outcome: Outcome = "resumed" if target in built.resumed else "rendered"
        builder.emit(ActionFinished(target, outcome, stands.trace.key, seconds, trace.server or "local"))


def _is_of_the_machine(error: LtxflowError) -> bool:
    """Whether what failed one action will fail all others, too: a full disk, no memory."""
    return any(problem.code in (files.DISK, memory_limit.NO_MEMORY) for problem in error.problems)


def _standing(status: Status, before: Mapping[str, Status], builder: RunContext) -> Status:
    return status if builder.review is None else builder.review().standing(status, before)


def _inputs(node: Node, built: RunResult, builder: RunContext) -> dict[str, Path]:
    """Where the outputs are that a node needs: all that come before it are made."""
    paths = {}
    for name, need in node.needs.items():
        source, _, output = need.partition("#")
        trace = built.statuses[source].trace
        assert trace is not None
        paths[name] = builder.store.cas.path(output_of(trace, output, node).digest)
    return paths


async def _make(
    status: Status,
    inputs: Mapping[str, Path],
    builder: RunContext,
    begun: set[str],
    failed: Callable[[LtxflowError], None],
    resumed: Callable[[str], None],
) -> Trace:
    """Run one action and keep what it made. The scratch folder is on the store's file system."""
    node, action, key = status.node, status.action, status.key
    assert action is not None
    assert key is not None
    loop, home = asyncio.get_running_loop(), threading.get_ident()
    started = time.monotonic()
    is_given_up = False

    def progress(fraction: float, text: str) -> None:
        """Called from whatever thread works; events are told one after the other, in the loop's."""
        if is_given_up:
            raise asyncio.CancelledError  # ends the thread's work: nobody waits for it
        event = ActionProgress(node.target, fraction, text)
        if threading.get_ident() == home:
            builder.emit(event)
        else:
            loop.call_soon_threadsafe(builder.emit, event)

    def begin(where: str) -> None:
        nonlocal started
        started = time.monotonic()  # not before: the time in a queue is nobody's work
        begun.add(node.target)
        builder.emit(ActionStarted(node.target, key, node.frames, where))

    def wait(where: str, ahead: int) -> None:
        builder.emit(ActionWaiting(node.target, where, ahead))

    with builder.store.scratch() as folder:
        job = ActionContext(node.target, key, folder, inputs, progress, begin, wait)
        job.inspects = builder.review is not None and is_inspected(node)
        try:
            await builder.executors[pool_of(node)].run(status, job)
        except asyncio.CancelledError:
            is_given_up = True
            raise
        except OSError as error:  # of whoever writes the file: an encoder, a thread that downloads
            refused = files.refused("write", folder, error)
            failed(refused)
            raise refused from error
        except LtxflowError as error:
            failed(error)
            raise
        except (MemoryError, RuntimeError) as error:
            if not memory_limit.is_lack(error):
                raise
            failed(memory_limit.lack())
            raise memory_limit.lack() from error
        if job.is_resumed:
            resumed(node.target)
        keeping = asyncio.ensure_future(_keep_and_look(status, job, builder, started))
        try:
            return await asyncio.shield(keeping)
        except asyncio.CancelledError:
            return await keeping  # it is made: that moment is taken even when somebody wants to stop


async def _keep_and_look(status: Status, job: ActionContext, builder: RunContext, started: float) -> Trace:
    """Keep what an action made, and inspect it before anything rests on it. What cannot be inspected is told."""
    trace, look = await asyncio.to_thread(_keep, status, job, builder, started)
    if look is None:
        return trace
    looking, its_job = look
    try:
        began = time.monotonic()
        await builder.executors["cpu"].run(looking, its_job)
        await asyncio.to_thread(_keep_look, looking, its_job, builder, began)
    except (LtxflowError, OSError) as error:
        builder.emit(Notice(f"could not be inspected: {error}", "warning", status.node.target))
    return trace


def _keep(
    status: Status, job: ActionContext, builder: RunContext, started: float
) -> tuple[Trace, tuple[Status, ActionContext] | None]:
    """Keep what an action made, and what was found on its way, if somebody looked; else return the look to be taken.

    In a thread: it waits for the disk, and perhaps for `cache gc`.
    """
    with builder.putting() as tell:
        trace = _store(status, job, builder, started)
        tell([trace.key])
        looking = builder.review().inspection(status.node, trace) if builder.review is not None else None
        if looking is None:
            return trace, None
        assert looking.key is not None
        inputs = {"video": builder.store.cas.path(shown(trace))}
        look = ActionContext(looking.node.target, looking.key, job.folder, inputs, lambda fraction, text: None)
        if job.found is not None:
            with suppress(LtxflowError, OSError):  # a full disk: it is tried once more, and told
                inspect.put(job.found, look)
                tell([_store(looking, look, builder, time.monotonic(), fsync=False).key])
                return trace, None
        return trace, (looking, look)


def _keep_look(looking: Status, look: ActionContext, builder: RunContext, began: float) -> None:
    with builder.putting() as tell:
        tell([_store(looking, look, builder, began, fsync=False).key])


def _store(status: Status, job: ActionContext, builder: RunContext, started: float, *, fsync: bool = True) -> Trace:
    """Keep what an action made: blobs, then trace. All of it is on the disk when this returns.

    Without `fsync` a power cut may take it, which is for looks alone: the next run looks again.
    """
    node, action, module = status.node, status.action, step(status.node.kind)
    assert action is not None
    missing = [name for name in action.outputs if name not in job.out]
    if missing:
        raise LtxflowError(Problem(f'{node.target} came back without "{missing[0]}"'), exit_code=FAILED)
    outputs = {}
    for name in action.outputs:
        size = job.out[name].stat().st_size
        digest = builder.store.cas.put(job.out[name], job.digests.get(name), move=True, fsync=fsync)
        outputs[name] = Output(digest, job.facts.get(name, {}), size)
    trace = Trace(
        key=job.key,
        action=action.as_json(),
        outputs=outputs,
        target=node.target,
        fields=module.fields(node),
        seconds={"total": round(time.monotonic() - started, 3), **job.seconds},
        source=module.SOURCE,
        server=job.server,
        versions=job.versions,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        model=module.made_by(node, action),
    )
    return builder.store.record(trace, in_group=True, fsync=fsync)


async def interruptible(work: Awaitable[RunResult]) -> RunResult:
    """Given a build, run it so that Ctrl-C cancels it and lets it keep what is finished; a second one ends it.

    Raise KeyboardInterrupt where nothing can be kept any more: before it began, or while its servers are closed.
    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def as_ever() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    def stop() -> None:
        as_ever()
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        as_ever()


class LocalExecutor:
    """At most `jobs` actions at once."""

    def __init__(self, jobs: int) -> None:
        self._places = asyncio.Semaphore(max(1, jobs))

    async def run(self, status: Status, job: ActionContext) -> None:
        async with self._places:
            job.started("local")
            assert status.action is not None
            run = step(status.node.kind).run
            assert run is not None, f"{status.node.target} needs a server"
            await run(status.node, status.action, job)
