"""The build loop: run what a build graph is missing, each action as soon as its inputs are made.

The life of an action is a small state machine in which one function makes every transition. Knows no server and no
user interface; `LocalExecutor` runs actions on this machine.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol

from ltxflow.core import files, memory_limit
from ltxflow.core.digest import Key, Output
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.core.events import (
    INTERRUPTED,
    ActionFinished,
    ActionProgress,
    ActionStarted,
    ActionWaiting,
    Event,
    Notice,
    Outcome,
)
from ltxflow.core.target import Target
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
    """The state of every target of a run, in the order of the graph."""

    of: dict[str, State] = field(default_factory=dict)

    def set(self, target: str, state: State) -> None:
        """Change the state of a target. A forbidden transition is a bug of ours."""
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
Storing = Callable[[], AbstractContextManager[Callable[[Iterable[str]], None]]]

AHEAD = 128  # targets started before others have ended: more than the schedule of servers considers
GROUP_S = 0.25  # the longest wait before what follows from traces is written together


class Executor(Protocol):
    """Where actions run, and how many at once."""

    async def run(self, status: Status, job: ActionContext) -> None:
        """Run the action of a status: fill `job.out` and `job.facts`. Raise LtxflowError when it fails."""


class ServerExecutor(Executor, AbstractAsyncContextManager["ServerExecutor", None], Protocol):
    """Runs actions on servers, which keep running when this process ends: it records what it submitted."""

    def is_submitted(self, key: Key) -> bool:
        """Return whether the action of a key was submitted by an earlier process, and may be running."""

    def recorded(self, key: Key) -> None:
        """Close the submission of a key: its trace is in the store."""


@dataclass
class RunResult:
    """How every target of a run ended."""

    statuses: dict[str, Status]
    rendered: set[str] = field(default_factory=set)
    resumed: set[str] = field(default_factory=set)  # of those rendered: started by an earlier run
    failed: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    made: dict[Key, Trace] = field(default_factory=dict)  # in this run: another clip may have the same key


def _unregistered() -> AbstractContextManager[Callable[[Iterable[str]], None]]:
    return nullcontext(lambda keys: None)


@dataclass(frozen=True)
class RunContext:
    """The surroundings of a run: the store, the executors, and the callbacks."""

    store: Store
    lookup: Lookup
    executors: Mapping[str, Executor]  # by pool
    emit: Emit
    on_made: Callable[[Node, Trace], None]  # called once the result of a target is settled: updates the lock
    keep_going: bool = True
    on_recorded: Callable[[Key], None] = lambda key: None  # called once a trace is recorded
    review: Callable[[], Review] | None = None  # of results, by the lock as it is then
    storing: Storing = _unregistered  # around writes to the store: yields a callback that registers their keys
    write: Callable[[], None] = lambda: None  # called now and then, and at the end: writes what `on_made` gathered
    is_first: Callable[[Key], bool] = lambda key: False  # whether a key starts before all others


@contextmanager
def _small_heap() -> Iterator[None]:
    """Collect garbage often, so that memory does not grow with the clips.

    The film and its plan, which stay, are frozen and not searched each time.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(5_000, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def build(graph: BuildGraph, found: Mapping[str, Status], context: RunContext) -> RunResult:
    """Make every miss of a build graph, and return how each target ended. `found` are the statuses before.

    A failure skips what needs it and nothing else; with `keep_going` off, or when the disk is full, it skips everything
    that has not started: what cannot be kept is not paid for. Cancelling keeps what is finished and skips the rest; the
    result is then `interrupted`. Raise LtxflowError where there is not enough memory to begin.
    """
    if any(status.state != "hit" for status in found.values()):
        memory_limit.require()
    return await _Run(graph, found, context).run()


class _Run:
    """A run in progress. The work when a target settles does not grow with the number of targets."""

    def __init__(self, graph: BuildGraph, found: Mapping[str, Status], context: RunContext) -> None:
        self.graph, self.context = graph, context
        self.keep_going = context.keep_going
        self.result = RunResult(dict(found))
        self.states = States()
        self.needed_by: dict[str, list[str]] = {}
        self.ready: defaultdict[str, deque[str]] = defaultdict(deque)  # by pool: a full pool delays no other
        self.taken: Counter[str] = Counter()  # of the running, by pool
        self.waiting_on_key: dict[Key, list[str]] = {}  # targets whose key is being made for another
        self.running: dict[asyncio.Task[Trace], str] = {}
        self.begun: set[str] = set()  # of the running: those that left the queue of their pool
        self.ended: deque[asyncio.Task[Trace]] = deque()
        self.wake = asyncio.Event()
        self.write_at: float | None = None  # when gathered results are to be written

    async def run(self) -> RunResult:
        for target, status in self.result.statuses.items():
            self.states.set(target, "made" if status.state == "hit" else "waiting")
        waiting = self.states.in_state("waiting")
        for target in waiting:
            for need in self.graph.needs(target):
                self.needed_by.setdefault(need, []).append(target)
        try:
            with _small_heap():
                self._advance(waiting)
                await self._until_settled()
        except asyncio.CancelledError:
            await self._interrupt()
        except BaseException:  # a bug, a full disk: end the others first
            await self._cancel_all()
            raise
        finally:
            self._write()
        return self.result

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
        """Write what was gathered since the last time: the rows of the index and the lines of the lock.

        They may wait: both follow from traces and blobs, which are on the disk before a clip counts as made. After
        a kill the next run finds those and writes the rest.
        """
        self.write_at = None
        self.context.store.write_index()
        self.context.write()

    def _start(self) -> None:
        """Start ready targets, up to AHEAD in each pool: only these hold their inputs and files in memory."""
        while pool := next((name for name, queue in self.ready.items() if queue and self.taken[name] < AHEAD), ""):
            self._begin(self.ready[pool].popleft(), pool)

    def _begin(self, target: str, pool: str) -> None:
        if self.states.of[target] != "ready" or self._reuse_same_key(target):
            return
        status = self.result.statuses[target]
        assert status.key is not None
        if status.key in self.waiting_on_key:
            self.waiting_on_key[status.key].append(target)  # no key is made twice
            return
        self.waiting_on_key[status.key] = []
        self.states.set(target, "running")
        self.taken[pool] += 1
        inputs = _inputs(status.node, self.result, self.context)
        self.result.resumed.discard(target)
        task = asyncio.create_task(
            _make(status, inputs, self.context, self.begun, self._failed, self.result.resumed.add)
        )
        self.running[task] = target
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Trace]) -> None:
        self.ended.append(task)
        self.wake.set()

    def _failed(self, error: LtxflowError) -> None:
        """Without `keep_going`, cancel what has not begun, now, before another takes the free slot."""
        self.keep_going = self.keep_going and not _is_of_the_machine(error)
        for task, target in self.running.items():
            if not self.keep_going and target not in self.begun and task is not asyncio.current_task():
                task.cancel()

    async def _cancel_all(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    async def _interrupt(self) -> None:
        self.result.interrupted = True
        await self._cancel_all()
        for task in list(self.running):
            self._settle(task)
        for target in self.states.in_state("waiting", "ready"):
            self._skip(target, INTERRUPTED)

    # How a target ends, and what follows

    def _advance(self, targets: Iterable[str]) -> None:
        """Move waiting targets with settled needs to ready, made (early cutoff) or skipped, and so on from there."""
        todo = deque(targets)
        while todo:
            target = todo.popleft()
            if self.states.of[target] != "waiting":
                continue
            needs = self.graph.needs(target)
            lost = [need for need in needs if self.states.of[need] in ("failed", "skipped")]
            if lost:
                self._skip(target, f"needs {Target(lost[0]).short}")
            elif all(self.states.of[need] == "made" for need in needs):
                self._inputs_made(target, needs)
            if self.states.of[target] in SETTLED:
                todo.extend(self.needed_by.get(target, ()))

    def _inputs_made(self, target: str, needs: Iterable[str]) -> None:
        """Compute the key of a target whose needs are made, and take its result if that exists already."""
        status = self.result.statuses[target]
        if status.state == "maybe":
            before = {need: self.result.statuses[need] for need in needs}
            found = evaluate_node(self.graph.nodes[target], before, self.context.lookup, status.is_forced)
            if not found.is_forced:  # a forced clip keeps its seed, even if another try of it is in the cut
                found = _reviewed(found, before, self.context)
            status = self.result.statuses[target] = found
        if status.state == "hit":
            self.states.set(target, "made")
        else:
            self._queue(target)

    def _queue(self, target: str) -> None:
        self.states.set(target, "ready")
        if self._reuse_same_key(target):
            return
        status = self.result.statuses[target]
        queue = self.ready[pool_of(status.node)]
        if status.key is not None and self.context.is_first(status.key):
            queue.appendleft(target)
        else:
            queue.append(target)

    def _reuse_same_key(self, target: str) -> bool:
        """Take the result that this run made for another target with the same key; return whether there is one."""
        status = self.result.statuses[target]
        trace = self.result.made.get(status.key) if status.key else None
        if trace is None:
            return False
        before = {need: self.result.statuses[need] for need in self.graph.needs(target)}
        hit = Status(status.node, "hit", key=status.key, trace=trace, inputs=status.inputs)
        reviewed = _reviewed(hit, before, self.context)
        self.result.statuses[target] = reviewed
        if reviewed.trace is None:
            return False
        self.states.set(target, "made")
        self.context.on_made(reviewed.node, reviewed.trace)
        self._advance(self.needed_by.get(target, ()))
        return True

    def _skip(self, target: str, reason: str) -> None:
        self.states.set(target, "skipped")
        self.result.skipped[target] = reason
        self.context.emit(ActionFinished(target, "skipped", reason=reason))

    def _settle(self, task: asyncio.Task[Trace]) -> None:
        target = self.running.pop(task)
        key, pool = self.result.statuses[target].key, pool_of(self.result.statuses[target].node)
        assert key is not None
        self.taken[pool] -= 1
        try:
            trace = task.result()
        except asyncio.CancelledError:
            self._skip(target, INTERRUPTED if self.result.interrupted else self._why_not())
        except LtxflowError as error:
            self._lose(target, error)
        else:
            self._keep(target, trace)
        self.begun.discard(target)
        self.ready[pool].extend(self.waiting_on_key.pop(key))
        if not self.result.interrupted:  # otherwise the targets that need it are skipped like all others
            self._advance(self.needed_by.get(target, ()))

    def _lose(self, target: str, error: LtxflowError) -> None:
        self.states.set(target, "failed")
        self.result.failed[target] = error.problems
        self.context.emit(ActionFinished(target, "failed", reason=str(error)))
        self._failed(error)
        if not self.keep_going:
            for other in self.states.in_state("waiting", "ready"):
                self._skip(other, self._why_not())

    def _why_not(self) -> str:
        return "another failed" if not self.context.keep_going else "its result could not be kept"

    def _keep(self, target: str, trace: Trace) -> None:
        """Take a made result, or queue another try of the target where the review asks for one."""
        context, result = self.context, self.result
        status = result.statuses[target]
        result.made[trace.key] = trace
        context.on_recorded(trace.key)
        before = {need: result.statuses[need] for need in self.graph.needs(target)}
        hit = Status(status.node, "hit", key=trace.key, trace=trace, inputs=status.inputs)
        reviewed = _reviewed(hit, before, context)
        result.statuses[target] = reviewed
        if reviewed.because:
            context.emit(Notice(reviewed.because, "warning", target))
        if reviewed.trace is None and result.failed and not self.keep_going:
            self._skip(target, self._why_not())
            return
        if reviewed.trace is None:
            self._queue(target)
            return
        self.states.set(target, "made")
        result.rendered.add(target)
        context.on_made(reviewed.node, reviewed.trace)
        seconds = trace.seconds.get("total", 0.0)
        outcome: Outcome = "resumed" if target in result.resumed else "rendered"
        context.emit(ActionFinished(target, outcome, reviewed.trace.key, seconds, trace.server or "local"))


def _is_of_the_machine(error: LtxflowError) -> bool:
    """Return whether the cause of a failure will fail all other actions, too: a full disk, no memory."""
    return any(problem.code in (files.DISK, memory_limit.NO_MEMORY) for problem in error.problems)


def _reviewed(status: Status, before: Mapping[str, Status], context: RunContext) -> Status:
    return status if context.review is None else context.review().standing(status, before)


def _inputs(node: Node, result: RunResult, context: RunContext) -> dict[str, Path]:
    """Return the files of a node's inputs; all that it needs is made."""
    paths = {}
    for name, need in node.needs.items():
        source, _, output = need.partition("#")
        trace = result.statuses[source].trace
        assert trace is not None
        paths[name] = context.store.cas.path(output_of(trace, output, node).digest)
    return paths


async def _make(
    status: Status,
    inputs: Mapping[str, Path],
    context: RunContext,
    begun: set[str],
    failed: Callable[[LtxflowError], None],
    resumed: Callable[[str], None],
) -> Trace:
    """Run one action and keep its result. The scratch folder is on the store's file system."""
    node, action, key = status.node, status.action, status.key
    assert action is not None
    assert key is not None
    loop, home = asyncio.get_running_loop(), threading.get_ident()
    started = time.monotonic()
    is_given_up = False

    def progress(fraction: float, text: str) -> None:
        """Emit progress from whatever thread works; events are emitted one by one, in the loop's thread."""
        if is_given_up:
            raise asyncio.CancelledError  # ends the thread's work
        event = ActionProgress(node.target, fraction, text)
        if threading.get_ident() == home:
            context.emit(event)
        else:
            loop.call_soon_threadsafe(context.emit, event)

    def begin(where: str) -> None:
        nonlocal started
        started = time.monotonic()  # time in a queue does not count
        begun.add(node.target)
        context.emit(ActionStarted(node.target, key, node.frames, where))

    def wait(where: str, ahead: int) -> None:
        context.emit(ActionWaiting(node.target, where, ahead))

    with context.store.scratch() as folder:
        job = ActionContext(node.target, key, folder, inputs, progress, begin, wait)
        job.inspects = context.review is not None and is_inspected(node)
        try:
            await context.executors[pool_of(node)].run(status, job)
        except asyncio.CancelledError:
            is_given_up = True
            raise
        except OSError as error:  # from an encoder, or a thread that downloads
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
        keeping = asyncio.ensure_future(_keep_and_inspect(status, job, context, started))
        try:
            return await asyncio.shield(keeping)
        except asyncio.CancelledError:
            return await keeping  # it is made: an interruption waits for it to be kept


async def _keep_and_inspect(status: Status, job: ActionContext, context: RunContext, started: float) -> Trace:
    """Keep the result of an action, and inspect it before anything uses it. A failed inspection is reported."""
    trace, pending = await asyncio.to_thread(_keep, status, job, context, started)
    if pending is None:
        return trace
    inspection, its_job = pending
    try:
        began = time.monotonic()
        await context.executors["cpu"].run(inspection, its_job)
        await asyncio.to_thread(_keep_inspection, inspection, its_job, context, began)
    except (LtxflowError, OSError) as error:
        context.emit(Notice(f"could not be inspected: {error}", "warning", status.node.target))
    return trace


def _keep(
    status: Status, job: ActionContext, context: RunContext, started: float
) -> tuple[Trace, tuple[Status, ActionContext] | None]:
    """Keep the result of an action, with its findings if the job has them; otherwise return the inspection to run.

    Runs in a thread: it waits for the disk, and perhaps for `cache gc`.
    """
    with context.storing() as register:
        trace = _store(status, job, context, started)
        register([trace.key])
        inspection = context.review().inspection(status.node, trace) if context.review is not None else None
        if inspection is None:
            return trace, None
        assert inspection.key is not None
        inputs = {"video": context.store.cas.path(shown(trace))}
        its_job = ActionContext(inspection.node.target, inspection.key, job.folder, inputs, lambda fraction, text: None)
        if job.found is not None:
            with suppress(LtxflowError, OSError):  # a full disk: it is tried once more, and reported
                inspect.put(job.found, its_job)
                register([_store(inspection, its_job, context, time.monotonic(), fsync=False).key])
                return trace, None
        return trace, (inspection, its_job)


def _keep_inspection(inspection: Status, job: ActionContext, context: RunContext, began: float) -> None:
    with context.storing() as register:
        register([_store(inspection, job, context, began, fsync=False).key])


def _store(status: Status, job: ActionContext, context: RunContext, started: float, *, fsync: bool = True) -> Trace:
    """Store the result of an action: blobs, then the trace. All of it is on the disk when this returns.

    Without `fsync` a power cut may lose it, which suits inspections: the next run repeats them.
    """
    node, action, module = status.node, status.action, step(status.node.kind)
    assert action is not None
    missing = [name for name in action.outputs if name not in job.out]
    if missing:
        raise LtxflowError(problem("R002", target=node.target, output=missing[0]), exit_code=FAILED)
    outputs = {}
    for name in action.outputs:
        size = job.out[name].stat().st_size
        digest = context.store.cas.put(job.out[name], job.digests.get(name), move=True, fsync=fsync)
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
    return context.store.record(trace, in_group=True, fsync=fsync)


async def interruptible(work: Awaitable[RunResult]) -> RunResult:
    """Run a build so that Ctrl-C cancels it and lets it keep what is finished; a second one ends it.

    Raise KeyboardInterrupt where nothing can be kept any more: before it began, or while its servers are closed.
    """
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def restore_handlers() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    def stop() -> None:
        restore_handlers()
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        restore_handlers()


class LocalExecutor:
    """Runs at most `jobs` actions at once on this machine."""

    def __init__(self, jobs: int) -> None:
        self._slots = asyncio.Semaphore(max(1, jobs))

    async def run(self, status: Status, job: ActionContext) -> None:
        async with self._slots:
            job.started("local")
            assert status.action is not None
            run = step(status.node.kind).run
            assert run is not None, f"{status.node.target} needs a server"
            await run(status.node, status.action, job)
