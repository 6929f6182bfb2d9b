"""Build a film: speak ──► plan ──► approve ──► make ──► publish. Knows no verb and no user interface."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltxflow.build.approval import Approve, approve_all, check_same_motion, check_written
from ltxflow.build.event_log import recorded
from ltxflow.build.fitting import played_sounds
from ltxflow.build.inspection import plan_and_inspect
from ltxflow.build.loop import Executor, LocalExecutor, RunContext, RunResult, ServerExecutor, build, interruptible
from ltxflow.build.speech import speak_film
from ltxflow.core import files
from ltxflow.core.digest import Key, digest_there
from ltxflow.core.errors import FAILED, INTERRUPTED, UNREACHABLE, LtxflowError, Problem
from ltxflow.core.events import ActionFinished, Event, Notice, Outcome, RunFinished, RunStarted
from ltxflow.core.target import Tally, Target
from ltxflow.decisions.lock_update import LockUpdater, keep_hits
from ltxflow.farm.capabilities import resolve_auto
from ltxflow.farm.executor import comfy_executor
from ltxflow.farm.journal import JOURNAL, Journal, submissions
from ltxflow.farm.ledger import LEDGER, Ledger
from ltxflow.farm.options import BuildOptions, Servers
from ltxflow.lock.model import Lock
from ltxflow.media.probe import probe_mp4
from ltxflow.plan.choices import notices
from ltxflow.plan.evaluate import Status
from ltxflow.plan.plan import Plan, PlanOptions, drifted, judged, not_forced, rejected
from ltxflow.plan.renditions import RANKS, PublishedClip, State, is_draft
from ltxflow.plan.review import Review, Verdict, concerns
from ltxflow.publish.publish import PublishResult, publish
from ltxflow.publish.timeline import model_in, placements
from ltxflow.session.gc_roots import GcLease, register, relying
from ltxflow.session.session import Session, make_own_folder
from ltxflow.session.sharing import Sharing, sharing
from ltxflow.steps import pool_of
from ltxflow.store.leases import gc_shared, remember_drafts

Emit = Callable[[Event], None]
OpenServers = Callable[[Servers, Session, Plan, Emit], Awaitable[ServerExecutor]]


@dataclass(frozen=True)
class Executors:
    """Where the actions of a build run: on this machine, up to `jobs` at once, and on its servers.

    `resolve_auto` asks the servers what the film's `auto` comes to, before anything is planned.
    """

    local: Callable[[int], Executor] = LocalExecutor
    servers: OpenServers = comfy_executor
    resolve_auto: Callable[[Session, PlanOptions, Servers, Emit], None] = resolve_auto


COMFYUI = Executors()


@dataclass(frozen=True)
class BuildResult:
    """The result of a build.

    `verdicts` are by target, on every take that is made; `lock` is as it is now; `speech_failures` are the problems of
    scenes that could not be spoken, by scene id; `previews` are the files of references, for a person to look at;
    `left_on` are prompts that an interrupted build left on servers, server by target: the next build asks for them;
    `edited` are files of the film that were edited since the build read them.
    """

    plan: Plan
    run: RunResult
    published: PublishResult
    finished: RunFinished
    lock: Lock
    verdicts: Mapping[str, Verdict]
    speech_failures: Mapping[str, Sequence[Problem]] = field(default_factory=dict)
    previews: tuple[Path, ...] = ()
    left_on: Mapping[str, str] = field(default_factory=dict)
    edited: tuple[Path, ...] = ()

    @property
    def failed_by(self) -> dict[Problem, list[str]]:
        """The targets that each problem failed, in film order."""
        found: dict[Problem, list[str]] = {}
        for target in self.plan.targets:
            for each in self.run.failed.get(target, ()):
                found.setdefault(each, []).append(target)
        return found

    def tally(self, targets: Iterable[str]) -> Tally:
        """Count some of the targets."""
        return Tally.of(targets, self.plan.heads)

    @property
    def states(self) -> dict[str, State]:
        """What is now published of each clip of the film, by path; none where nothing is published."""
        scenes = self.published.timeline.get("scenes", ())
        return {
            f"{scene['id']}/{clip['id']}": clip["state"] or "missing" for scene in scenes for clip in scene["clips"]
        }

    @property
    def concerns(self) -> list[Problem]:
        """What a person should look at: takes in the cut, or just made, that came out badly or were rejected."""
        before, found = self.plan.statuses, self.run.statuses
        new = frozenset(target for target in self.verdicts if before[target].state != "hit")
        bad = [each for problems in concerns(self.lock, self.verdicts, new).values() for each in problems]
        project = self.plan.project
        return [
            *bad,
            *rejected(project, self.lock, found),
            *drifted(project, self.lock, found),
            *not_forced(self.lock, before),
        ]

    @property
    def problems(self) -> list[Problem]:
        failed = dict.fromkeys(each for problems in self.run.failed.values() for each in problems)
        unspoken = dict.fromkeys(each for problems in self.speech_failures.values() for each in problems)
        return [*failed, *self.published.problems, *self.published.warnings, *unspoken]

    @property
    def code(self) -> int:
        """The exit code."""
        run = self.run
        if run.interrupted:
            return INTERRUPTED
        if run.failed and all(each.code == "C002" for problems in run.failed.values() for each in problems):
            return UNREACHABLE  # the servers went away: nothing is wrong with the clips
        return FAILED if run.failed or run.skipped or self.published.problems or self.speech_failures else 0

    @property
    def is_nothing_new(self) -> bool:
        """Whether everything was up to date and in its place: the same answer holds until something changes."""
        is_all_hit = self.finished.hit == self.finished.planned
        return self.code == 0 and is_all_hit and not self.published.written and not self.problems


def make_film(
    session: Session,
    options: PlanOptions,
    build_options: BuildOptions,
    emit: Emit,
    approve: Approve = approve_all,
    executors: Executors = COMFYUI,
) -> BuildResult:
    """Make what `options` select, and publish the film. The session's project must be held.

    `approve` gets the plan before anything is done. What is finished is kept, whatever else fails. Events are kept in
    `.ltxflow` as well, for programs that watch. Raise LtxflowError where nothing can begin: without a server (4), or
    for a film that cannot be cut.
    """
    check_written(session, options)
    with (
        recorded(make_own_folder(session), emit, sys.argv[1:]) as emit_too,
        sharing(session, os.environ, emit_too) as shared,
    ):
        shared.fetch_locked()
        shared.fetch(lambda: session.speech().statuses.values())
        return _make_film(session, options, build_options, emit_too, approve, executors, shared)


def _make_film(
    session: Session,
    options: PlanOptions,
    build_options: BuildOptions,
    emit: Emit,
    approve: Approve,
    executors: Executors,
    shared: Sharing,
) -> BuildResult:
    started, read = time.monotonic(), _contents(session.loaded.sources)
    session.clean()
    speech_failures = {} if options.only else speak_film(session, emit)
    wanted = _without_unspoken(options, speech_failures)
    executors.resolve_auto(session, wanted, build_options.servers, emit)
    shared.fetch(lambda: session.plan(wanted).statuses.values())
    with relying(
        session,
        lambda: plan_and_inspect(session, wanted, emit, executors.local),
        lambda plan: plan.statuses.values(),
        lambda plan: bool(_missing(plan)),
    ) as (plan, lease):
        check_same_motion(plan)
        approve(session, plan)
        for notice in notices(plan):
            emit(Notice(notice))
        if session.has_new_choices:
            session.save_lock()
            session.has_new_choices = False
        missing = _missing(plan)
        lacking = {status.node.target for status in missing}
        making = tuple(target for target in plan.targets if target in lacking)
        ledger = Ledger(session.own / LEDGER)
        if any(pool_of(status.node) == "gpu" for status in missing):
            ledger.compact(_rendered_before(session))
        before = ledger.read()
        emit(RunStarted(session.project.id, plan.mode, len(plan.targets), len(making), making))
        run = _make(executors, build_options, session, plan, missing, lease, _without_frames(emit))
        has_drafts = any(is_draft(status.node) and status.trace is not None for status in run.statuses.values())
        if has_drafts and os.access(session.store.root, os.W_OK):
            remember_drafts(session.drafts_path)
        if session.tried_before is not None and not run.rendered:
            session.lock = replace(session.lock, choices=session.tried_before)
        keep_hits(session, plan, run.statuses)
        previews = write_previews(session, run.statuses)
        with gc_shared(session.store.root):
            published = PublishResult({}) if options.only else _publish_as_decided(session, plan, wanted, run, emit)
        register(session, run.statuses.values(), is_whole=not (wanted.selectors or wanted.only))
        shared.send([*session.speech().statuses.values(), *run.statuses.values()], run.made)
    spent_s = ledger.read().gpu_s - before.gpu_s
    finished = _finish(session, plan, run, published, time.monotonic() - started, spent_s, emit)
    verdicts = _verdicts(session, plan, run)
    return BuildResult(
        plan,
        run,
        published,
        finished,
        session.lock,
        verdicts,
        speech_failures,
        tuple(previews),
        _left_on(session, plan, run) if run.interrupted else {},
        tuple(path for path, digest in _contents(read).items() if digest != read[path]),
    )


def _rendered_before(session: Session) -> Iterator[tuple[str, str, float]]:
    """Yield target, server and GPU seconds of the takes in the lock, as far as this store knows them."""
    for path, entry in session.lock.entries.items():
        for number, take in entry.all_takes():
            trace = session.trace_of(take.key)
            if trace is not None and trace.source == "comfyui" and "ran" in trace.seconds:
                yield trace.target or f"{path}@{number}", trace.server, trace.seconds["ran"]


def _contents(paths: Iterable[Path]) -> dict[Path, str | None]:
    """Return the digest of each file, None where there is none."""
    return {path: digest_there(path) for path in paths}


def _without_unspoken(options: PlanOptions, failures: Mapping[str, Sequence[Problem]]) -> PlanOptions:
    """Leave out scenes that could not be spoken: their length is only a guess. Slates cost nothing and stay."""
    if not failures or options.mode == "animatic":
        return options
    return replace(options, selectors=(*options.selectors, *(f"!{scene}" for scene in failures)))


# --- make


def _in_place(plan: Plan) -> set[str]:
    """Return the targets with a rendition in the output folder or the store that stays."""
    return {change.target for change in plan.changes if change.kind in ("unchanged", "restore")}


def _missing(plan: Plan) -> list[Status]:
    """Return what must be made. Where a render is in place no slate is drawn: it would never be published."""
    in_place = _in_place(plan)
    return [s for target, s in plan.statuses.items() if s.state != "hit" and target not in in_place]


def _make(
    executors: Executors,
    options: BuildOptions,
    session: Session,
    plan: Plan,
    missing: Sequence[Status],
    lease: GcLease,
    emit: Emit,
) -> RunResult:
    if not missing:
        return RunResult(dict(plan.statuses))
    wanted = {status.node.target for status in missing}
    statuses = {target: s for target, s in plan.statuses.items() if s.state == "hit" or target in wanted}
    run = asyncio.run(interruptible(_run(executors, options, session, plan, statuses, lease, emit)))
    run.statuses = {**plan.statuses, **run.statuses}
    return run


async def _run(
    executors: Executors,
    options: BuildOptions,
    session: Session,
    plan: Plan,
    statuses: Mapping[str, Status],
    lease: GcLease,
    emit: Emit,
) -> RunResult:
    """Open what the missing targets need, threads for slates and servers for clips, and make them."""
    async with AsyncExitStack() as stack:
        pools: dict[str, Executor] = {"cpu": executors.local(options.jobs or os.cpu_count() or 1)}
        servers = None
        if any(status.state != "hit" and pool_of(status.node) == "gpu" for status in statuses.values()):
            servers = await stack.enter_async_context(await executors.servers(options.servers, session, plan, emit))
            pools["gpu"] = servers

        def recorded(key: Key) -> None:
            if servers is not None:
                servers.recorded(key)  # only now is its submission over

        def is_submitted(key: Key) -> bool:
            return servers is not None and servers.is_submitted(key)

        updater = LockUpdater(session, plan)
        context = RunContext(
            store=session.store,
            lookup=lease.lookup(session.lookup),
            executors=pools,
            emit=emit,
            on_made=updater,
            keep_going=options.keep_going,
            on_recorded=recorded,
            storing=lease.putting,
            review=lambda: Review(session.lock, session.lookup),
            write=updater.write,
            is_first=is_submitted,
        )
        return await build(plan.plan, statuses, context)


def _left_on(session: Session, plan: Plan, run: RunResult) -> dict[str, str]:
    """Return the prompts of skipped targets that could not be cancelled, server by target, in film order."""
    known = submissions(Journal(session.own / JOURNAL))
    keys = {target: run.statuses[target].key for target in plan.targets if target in run.skipped}
    left = {target: [each for each in known.get(key, ()) if each.is_open] for target, key in keys.items() if key}
    return {target: some[-1].server for target, some in left.items() if some}


def _without_frames(emit: Emit) -> Emit:
    """Return an `emit` without the events of frames, which are taken on the way; their failures stay."""

    def emit_others(event: Event) -> None:
        is_frame = Target(getattr(event, "target", "")).kind == "frame"
        if not is_frame or (isinstance(event, ActionFinished) and event.outcome == "failed"):
            emit(event)

    return emit_others


# --- publish


def preview_name(reference: Target) -> str:
    """`reference:hero/seen-from-the-left@2` → `hero--seen-from-the-left@2.png`"""
    return f"{reference.path.replace('/', '--')}@{reference.take}.png"


def write_previews(session: Session, statuses: Mapping[str, Status]) -> list[Path]:
    """Copy every made take of every reference to `.ltxflow/references/`; return the files in film order.

    The copies are to look at, and no input of anything. One that another text made under the same name is replaced.
    """
    written = []
    for status in statuses.values():
        if status.node.kind != "reference" or status.trace is None:
            continue
        file = session.previews / preview_name(status.node.target)
        digest = status.trace.outputs["image"].digest
        if digest_there(file) != digest:
            make_own_folder(session)
            files.make_dir(file.parent)
            files.make_room(file)
            files.copy_into(session.store.cas.path(digest), file, expect=digest, mode=0o644)
        written.append(file)
    return written


ROUNDS = 5  # of publishing: as often a person may decide while files are copied


def _publish_as_decided(
    session: Session, plan: Plan, options: PlanOptions, run: RunResult, emit: Emit
) -> PublishResult:
    """Publish the film as the lock says now: people may decide while a build runs, and while it publishes."""
    written: list[str] = []
    for _ in range(ROUNDS):
        if session.has_later_decisions:
            plan, run = _as_decided(session, plan, options, run)
        session.has_later_decisions = False
        published = _publish(session, plan, options, run, emit)
        written += published.written
        if session.lock_file.is_unchanged():
            break
        try:
            session.read_records()
        except LtxflowError:
            break  # it is being edited, or in conflict: the next command reports that
        session.has_later_decisions = True
    published.written = [*dict.fromkeys(written)]
    return published


def _as_decided(session: Session, plan: Plan, options: PlanOptions, run: RunResult) -> tuple[Plan, RunResult]:
    """Return plan and statuses by the lock as it is now, of what is made already."""
    try:
        now = session.plan(replace(options, force=False, relength=False))
    except LtxflowError as error:
        session.warnings += [replace(each, level="warning") for each in error.problems]
        return plan, run
    return now, replace(run, statuses={**run.statuses, **now.statuses})


def _publish(session: Session, plan: Plan, options: PlanOptions, run: RunResult, emit: Emit) -> PublishResult:
    base = session.project.output

    def facts(clip: PublishedClip) -> Mapping[str, Any]:
        return probe_mp4(base / clip.file).as_json()

    in_output = session.published_clips()
    current = plan
    if plan.renditions.keys() != {clip.path for clip in plan.project.clips} and any(
        clip.rank > RANKS["animatic"] for clip in in_output.values()
    ):
        current = session.plan(PlanOptions())  # the whole film, to know what the files are that stay
    if run.failed or run.skipped:  # what could not be made may have a draft
        plan = replace(plan, renditions=session.plan(replace(options, drafts=True)).renditions)

    def model_of(key: str) -> str:
        trace = session.trace_of(Key(key)) if key else None
        return model_in(trace) if trace else ""

    chosen = placements(plan, run.statuses, in_output, facts, current, model_of)
    return publish(
        plan.project,
        plan.cuts,
        chosen,
        session.published,
        session.record_path,
        session.store.cas,
        emit,
        session.timings(),
        played_sounds(session, plan.project, emit),
    )


def _verdicts(session: Session, plan: Plan, run: RunResult) -> dict[str, Verdict]:
    """Return a verdict on every take that is made, judged again where its status or its lock entry changed."""
    before, now = plan.lock.entries, session.lock.entries
    changed = {
        target: status
        for target, status in run.statuses.items()
        if status is not plan.statuses.get(target) or before.get(status.node.entry) != now.get(status.node.entry)
    }
    unchanged = {target: verdict for target, verdict in plan.verdicts.items() if target not in changed}
    return unchanged | judged(Review(session.lock, session.lookup), changed)


def _finish(
    session: Session, plan: Plan, run: RunResult, published: PublishResult, seconds: float, gpu_s: float, emit: Emit
) -> RunFinished:
    """Count the outcomes, and emit the events of targets that were not made, then the end of the run."""
    folder = session.project.output.name
    file_of = {change.target: f"{folder}/{change.file}" for change in plan.changes}
    in_place = _in_place(plan)
    count: Counter[str] = Counter()
    for target in plan.targets:
        status = plan.statuses[target]
        if target in run.rendered or target in run.failed or target in run.skipped:
            made: Outcome = "resumed" if target in run.resumed else "rendered"
            count[made] += target in run.rendered
            count["failed"] += target in run.failed
        elif run.statuses[target].state == "hit" or target in in_place:
            outcome: Outcome = "restored" if file_of.get(target) in published.written else "hit"
            count[outcome] += 1
            emit(ActionFinished(target, outcome, status.key or ""))
    timeline, tally = published.timeline, plan.tally()
    event = RunFinished(
        planned=len(plan.targets),
        hit=count["hit"],
        rendered=count["rendered"],
        restored=count["restored"],
        failed=count["failed"],
        skipped=len(plan.targets) - count.total(),
        seconds=round(seconds, 3),
        output=os.path.relpath(session.project.output if timeline else session.previews),
        complete=bool(timeline.get("complete", True)),
        film_seconds=timeline["durationInFrames"] / timeline["fps"] if timeline else 0.0,
        references=tally.references,
        more_takes=tally.more_takes,
        resumed=count["resumed"],
        clips=tally.clips,
        renders=sum(Target(trace.target).kind in ("clip", "reference") for trace in run.made.values()),
        interrupted=run.interrupted,
        gpu_s=round(gpu_s, 3),
    )
    emit(event)
    return event
