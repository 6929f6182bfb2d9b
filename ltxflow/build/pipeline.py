"""Build a film: speak ──► plan ──► approve ──► make ──► publish. Knows no verb and no user interface."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltxflow.build.approval import Approve, approve_all, check_same_motion
from ltxflow.build.fitting import played_sounds
from ltxflow.build.inspection import plan_and_inspect
from ltxflow.build.loop import Executor, LocalExecutor, RunContext, RunResult, build, interruptible
from ltxflow.build.speech import speak_film
from ltxflow.core import files
from ltxflow.core.digest import Key, digest_there
from ltxflow.core.errors import FAILED, INTERRUPTED, UNREACHABLE, Problem
from ltxflow.core.events import ActionFinished, Event, Notice, Outcome, RunFinished, RunStarted
from ltxflow.core.target import Target
from ltxflow.decisions.lock_update import LockUpdater, keep_hits
from ltxflow.farm.capabilities import resolve_auto
from ltxflow.farm.executor import comfy_executor
from ltxflow.farm.options import BuildOptions
from ltxflow.lock.model import Lock
from ltxflow.media.probe import probe_mp4
from ltxflow.plan.choices import notices
from ltxflow.plan.evaluate import Status
from ltxflow.plan.plan import Plan, PlanOptions, PublishedClip, drifted, judged, not_forced, rejected
from ltxflow.plan.review import Review, Verdict, concerns
from ltxflow.publish.publish import PublishResult, publish
from ltxflow.publish.timeline import RANKS, model_in, placements
from ltxflow.session.gc_roots import GcLease, register, relying
from ltxflow.session.session import Session, make_own_folder
from ltxflow.steps import pool_of
from ltxflow.store.leases import gc_shared

Emit = Callable[[Event], None]


@dataclass(frozen=True)
class BuildResult:
    """The result of a build.

    `verdicts` are by target, on every take that is made; `lock` is as it is now; `speech_failures` are the problems of
    scenes that could not be spoken, by scene id; `previews` are the files of references, for a person to look at.
    """

    plan: Plan
    run: RunResult
    published: PublishResult
    finished: RunFinished
    lock: Lock
    verdicts: Mapping[str, Verdict]
    speech_failures: Mapping[str, Sequence[Problem]] = field(default_factory=dict)
    previews: tuple[Path, ...] = ()

    @property
    def concerns(self) -> list[Problem]:
        """What a person should look at: takes in the cut, or just made, that came out badly or were rejected."""
        before, found = self.plan.statuses, self.run.statuses
        new = frozenset(target for target in self.verdicts if before[target].state != "hit")
        bad = [each for problems in concerns(self.lock, self.verdicts, new).values() for each in problems]
        project = self.plan.project
        return [*bad, *rejected(project, self.lock, found), *drifted(project, found), *not_forced(self.lock, before)]

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
    session: Session, options: PlanOptions, means: BuildOptions, emit: Emit, approve: Approve = approve_all
) -> BuildResult:
    """Make what `options` select, and publish the film. The session's project must be held.

    `approve` gets the plan before anything is done. What is finished is kept, whatever else fails. Raise LtxflowError
    where nothing can begin: without a server (4), or for a film that cannot be cut.
    """
    started = time.monotonic()
    session.clean()
    speech_failures = {} if options.only else speak_film(session, emit)
    wanted = _without_unspoken(options, speech_failures)
    resolve_auto(session, wanted, means.servers, emit)
    with relying(
        session,
        lambda: plan_and_inspect(session, wanted, emit),
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
        to_make = sum(status.node.target in plan.targets for status in missing)
        emit(RunStarted(session.project.id, plan.mode, len(plan.targets), to_make))
        run = _make(means, session, plan, missing, lease, _without_frames(emit))
        if session.tried_before is not None and not run.rendered:
            session.lock = replace(session.lock, choices=session.tried_before)
        keep_hits(session, plan, run.statuses)
        previews = write_previews(session, run.statuses)
        with gc_shared(session.store.root):
            published = PublishResult({}) if options.only else _publish(session, plan, run, emit)
        register(session, run.statuses.values(), is_whole=not (wanted.selectors or wanted.only))
    finished = _finish(session, plan, run, published, time.monotonic() - started, emit)
    verdicts = _verdicts(session, plan, run)
    return BuildResult(plan, run, published, finished, session.lock, verdicts, speech_failures, tuple(previews))


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
    means: BuildOptions, session: Session, plan: Plan, missing: Sequence[Status], lease: GcLease, emit: Emit
) -> RunResult:
    if not missing:
        return RunResult(dict(plan.statuses))
    wanted = {status.node.target for status in missing}
    statuses = {target: s for target, s in plan.statuses.items() if s.state == "hit" or target in wanted}
    run = asyncio.run(interruptible(_run(means, session, plan, statuses, lease, emit)))
    run.statuses = {**plan.statuses, **run.statuses}
    return run


async def _run(
    means: BuildOptions, session: Session, plan: Plan, statuses: Mapping[str, Status], lease: GcLease, emit: Emit
) -> RunResult:
    """Open what the missing targets need, threads for slates and servers for clips, and make them."""
    async with AsyncExitStack() as stack:
        executors: dict[str, Executor] = {"cpu": LocalExecutor(means.jobs or os.cpu_count() or 1)}
        comfy = None
        if any(status.state != "hit" and pool_of(status.node) == "gpu" for status in statuses.values()):
            comfy = await stack.enter_async_context(await comfy_executor(means.servers, session, plan, emit))
            executors["gpu"] = comfy

        def recorded(key: Key) -> None:
            if comfy is not None:
                comfy.recorded(key)  # only now is its submission over

        def is_submitted(key: Key) -> bool:
            return comfy is not None and comfy.is_submitted(key)

        updater = LockUpdater(session, plan)
        context = RunContext(
            store=session.store,
            lookup=lease.lookup(session.lookup),
            executors=executors,
            emit=emit,
            on_made=updater,
            keep_going=means.keep_going,
            on_recorded=recorded,
            storing=lease.putting,
            review=lambda: Review(session.lock, session.lookup),
            write=updater.write,
            is_first=is_submitted,
        )
        return await build(plan.plan, statuses, context)


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


def _publish(session: Session, plan: Plan, run: RunResult, emit: Emit) -> PublishResult:
    base = session.project.output

    def facts(clip: PublishedClip) -> Mapping[str, Any]:
        return probe_mp4(base / clip.file).as_json()

    in_output = session.published_clips()
    current = plan
    if (plan.mode == "animatic" or len(plan.plan.nodes) < len(plan.nodes)) and any(
        clip.rank > RANKS["animatic"] for clip in in_output.values()
    ):
        current = session.plan(PlanOptions())  # the whole film, to know which renders are stale

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
    session: Session, plan: Plan, run: RunResult, published: PublishResult, seconds: float, emit: Emit
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
    timeline = published.timeline
    clips = [Target(target) for target in plan.targets if not Target(target).is_reference]
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
        references=len(plan.targets) - len(clips),
        more_takes=len(clips) - len({clip.path for clip in clips}),
        resumed=count["resumed"],
    )
    emit(event)
    return event
