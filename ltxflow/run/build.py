"""The build loop: runs what a plan says is missing, as soon as what it needs is there. Knows no server and no face."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from ltxflow.core import files
from ltxflow.core.digest import Key, Output
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.core.events import ActionFinished, ActionProgress, ActionStarted, Event, Notice
from ltxflow.plan.dag import Plan
from ltxflow.plan.review import Review, shown
from ltxflow.plan.status import Lookup, Status, output_of, status_of
from ltxflow.run.states import States
from ltxflow.steps import Job, Node, pool_of, step
from ltxflow.store.store import Store
from ltxflow.store.traces import Trace

Emit = Callable[[Event], None]
Putting = Callable[[], AbstractContextManager[Callable[[Iterable[str]], None]]]


class Executor(Protocol):
    """Where actions run, and how many at once."""

    async def run(self, status: Status, job: Job) -> None:
        """Make the status' action: fill `job.out` and `job.facts`. Raise LtxflowError when it cannot be made."""


@dataclass
class Built:
    """What became of every target of a run."""

    statuses: dict[str, Status]
    rendered: set[str] = field(default_factory=set)
    failed: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False
    made: dict[Key, Trace] = field(default_factory=dict)  # in this run: another clip may want the same


def _alone() -> AbstractContextManager[Callable[[Iterable[str]], None]]:
    return nullcontext(lambda keys: None)


@dataclass(frozen=True)
class Builder:
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


async def build(plan: Plan, found: Mapping[str, Status], builder: Builder) -> Built:
    """Given a plan and what is known of its targets, make every miss and return what became of each.

    A failure skips what needs it and nothing else, or everything that has not started with `keep_going` off.
    Cancelling keeps what is finished and skips the rest: the result says `interrupted`.
    """
    built = Built(dict(found))
    states = States()
    begun: set[str] = set()  # of the running: those that have left their pool's queue
    for target, status in found.items():
        states.set(target, "made" if status.state == "hit" else "waiting")
    running: dict[asyncio.Task[Trace], str] = {}

    def failed() -> None:
        """Without `keep_going`, end all that has not begun: now, before another takes the place that is free."""
        for task, target in running.items():
            if not builder.keep_going and target not in begun and task is not asyncio.current_task():
                task.cancel()

    try:
        while not states.is_settled:
            _advance(plan, built, states, builder)
            being_made = {built.statuses[target].key for target in running.values()}
            for target in states.in_state("ready"):
                if built.statuses[target].key in being_made:
                    continue  # no key is made twice: this one waits for the other
                being_made.add(built.statuses[target].key)
                states.set(target, "running")
                status = built.statuses[target]
                inputs = _inputs(status.node, built, builder)
                running[asyncio.create_task(_make(status, inputs, builder, begun, failed))] = target
            if not running:
                break
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                _settle(running.pop(task), task, plan, built, states, builder)
            if built.failed:
                failed()
    except asyncio.CancelledError:
        built.interrupted = True
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for task, target in running.items():
            _settle(target, task, plan, built, states, builder)
        for target in states.in_state("waiting", "ready"):
            _skip(target, "interrupted", built, states, builder)
    except BaseException:  # a bug: let the others end quietly, and fly
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        raise
    return built


def _advance(plan: Plan, built: Built, states: States, builder: Builder) -> None:
    """Move every waiting target whose needs are settled: to ready, made (early cutoff) or skipped."""
    for target in states.in_state("ready"):
        _settle_twin(target, plan, built, states, builder)
    for target in states.in_state("waiting"):
        needs = plan.needs(target)
        lost = [need for need in needs if states.of[need] in ("failed", "skipped")]
        if lost:
            _skip(target, f"needs {lost[0]}", built, states, builder)
        elif all(states.of[need] == "made" for need in needs):
            status = built.statuses[target]
            if status.state == "maybe":
                before = {need: built.statuses[need] for need in needs}
                status = _standing(status_of(plan.nodes[target], before, builder.lookup), before, builder)
                built.statuses[target] = status
            states.set(target, "made" if status.state == "hit" else "ready")
            _settle_twin(target, plan, built, states, builder)


def _settle_twin(target: str, plan: Plan, built: Built, states: States, builder: Builder) -> None:
    """What was made in this run for another clip with the same key is this one's, too."""
    status = built.statuses[target]
    trace = built.made.get(status.key) if status.key and states.of[target] == "ready" else None
    if trace is None:
        return
    before = {need: built.statuses[need] for need in plan.needs(target)}
    stands = _standing(Status(status.node, "hit", status.action, status.key, trace), before, builder)
    built.statuses[target] = stands
    if stands.trace is not None:
        states.set(target, "made")
        builder.made(stands.node, stands.trace)


def _skip(target: str, reason: str, built: Built, states: States, builder: Builder) -> None:
    states.set(target, "skipped")
    built.skipped[target] = reason
    builder.emit(ActionFinished(target, "skipped", reason=reason))


def _settle(target: str, task: asyncio.Task[Trace], plan: Plan, built: Built, states: States, builder: Builder) -> None:
    try:
        trace = task.result()
    except asyncio.CancelledError:
        _skip(target, "interrupted" if built.interrupted else "another failed", built, states, builder)
        return
    except LtxflowError as error:
        states.set(target, "failed")
        built.failed[target] = error.problems
        builder.emit(ActionFinished(target, "failed", reason=str(error)))
        if not builder.keep_going:
            for other in states.in_state("waiting", "ready"):
                _skip(other, "another failed", built, states, builder)
        return
    before = {need: built.statuses[need] for need in plan.needs(target)}
    _keep(target, trace, before, built, states, builder)


def _keep(
    target: str, trace: Trace, before: Mapping[str, Status], built: Built, states: States, builder: Builder
) -> None:
    """It is made: it stands, or another try of it, which may be still to be made."""
    status = built.statuses[target]
    built.made[trace.key] = trace
    builder.recorded(trace.key)
    stands = _standing(Status(status.node, "hit", status.action, trace.key, trace), before, builder)
    built.statuses[target] = stands
    if stands.because:
        builder.emit(Notice(stands.because, "warning", target))
    if stands.trace is None and built.failed and not builder.keep_going:
        _skip(target, "another failed", built, states, builder)
        return
    if stands.trace is None:
        states.set(target, "ready")
        return
    states.set(target, "made")
    built.rendered.add(target)
    builder.made(stands.node, stands.trace)
    seconds = trace.seconds.get("total", 0.0)
    builder.emit(ActionFinished(target, "rendered", stands.trace.key, seconds, trace.server or "local"))


def _standing(status: Status, before: Mapping[str, Status], builder: Builder) -> Status:
    return status if builder.review is None else builder.review().standing(status, before)


def _inputs(node: Node, built: Built, builder: Builder) -> dict[str, Path]:
    """Where the outputs are that a node needs: all that come before it are made."""
    paths = {}
    for name, need in node.needs.items():
        source, _, output = need.partition("#")
        trace = built.statuses[source].trace
        assert trace is not None
        paths[name] = builder.store.cas.path(output_of(trace, output, node).digest)
    return paths


async def _make(
    status: Status, inputs: Mapping[str, Path], builder: Builder, begun: set[str], failed: Callable[[], None]
) -> Trace:
    """Run one action and keep what it made. The scratch folder is on the store's file system."""
    node, action, key = status.node, status.action, status.key
    assert action is not None
    assert key is not None
    loop = asyncio.get_running_loop()
    started = time.monotonic()
    is_given_up = False

    def progress(fraction: float, text: str) -> None:
        """Called from the thread that works; events are told one after the other, in the loop's."""
        if is_given_up:
            raise asyncio.CancelledError  # ends the thread's work: nobody waits for it
        loop.call_soon_threadsafe(builder.emit, ActionProgress(node.target, fraction, text))

    def begin(where: str) -> None:
        nonlocal started
        started = time.monotonic()  # not before: the time in a queue is nobody's work
        begun.add(node.target)
        builder.emit(ActionStarted(node.target, key, node.frames, where))

    with builder.store.scratch() as folder:
        job = Job(node.target, key, folder, inputs, progress, begin)
        try:
            await builder.executors[pool_of(node)].run(status, job)
        except asyncio.CancelledError:
            is_given_up = True
            raise
        except OSError as error:  # of whoever writes the file: an encoder, a thread that downloads
            failed()
            raise files.refused("write", folder, error) from error
        except LtxflowError:
            failed()
            raise
        keeping = asyncio.ensure_future(_keep_and_look(status, job, builder, started))
        try:
            return await asyncio.shield(keeping)
        except asyncio.CancelledError:
            return await keeping  # it is made: that moment is taken even when somebody wants to stop


async def _keep_and_look(status: Status, job: Job, builder: Builder, started: float) -> Trace:
    """Keep what an action made, and inspect it before anything rests on it. What cannot be inspected is told."""
    trace = await _store(status, job, builder, started)
    looking = builder.review().inspection(status.node, trace) if builder.review is not None else None
    if looking is None:
        return trace
    assert looking.key is not None
    inputs = {"video": builder.store.cas.path(shown(trace))}
    with builder.store.scratch() as folder:
        look = Job(looking.node.target, looking.key, folder, inputs, lambda fraction, text: None)
        try:
            began = time.monotonic()
            await builder.executors["cpu"].run(looking, look)
            await _store(looking, look, builder, began)
        except LtxflowError as error:
            builder.emit(Notice(f"could not be inspected: {error}", "warning", status.node.target))
    return trace


async def _store(status: Status, job: Job, builder: Builder, started: float) -> Trace:
    """Keep what an action made: blobs, then trace."""
    with ExitStack() as stack:
        tell = await asyncio.to_thread(stack.enter_context, builder.putting())  # it may have to wait
        trace = await _put(status, job, builder, started)
        tell([trace.key])
        return trace


async def _put(status: Status, job: Job, builder: Builder, started: float) -> Trace:
    node, action, module = status.node, status.action, step(status.node.kind)
    assert action is not None
    missing = [name for name in action.outputs if name not in job.out]
    if missing:
        raise LtxflowError(Problem(f'{node.target} came back without "{missing[0]}"'), exit_code=FAILED)
    outputs = {}
    for name in action.outputs:
        size = job.out[name].stat().st_size
        digest = await asyncio.to_thread(builder.store.cas.put, job.out[name], job.digests.get(name), move=True)
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
    )
    builder.store.record(trace)
    return trace


async def interruptible(work: Awaitable[Built]) -> Built:
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
