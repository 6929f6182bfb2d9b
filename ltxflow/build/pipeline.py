"""Makes a film: speaks it, looks at it, makes what is missing, delivers it. Knows no verb and no face.

speak ──► look ──► make ──► show stills ──► deliver ──► finish

Looks at clips that are in the store and were never inspected: a run was ended too early, or they came along.

Puts the images that are made for a film where a person can look at them: `.ltxflow/references/hero@1.png`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltxflow.build.approval import Consent, check_twins, unasked
from ltxflow.build.loop import Executor, LocalExecutor, RunContext, RunResult, build, interruptible
from ltxflow.build.speech import speak_film
from ltxflow.core import files
from ltxflow.core.digest import Key, digest_there
from ltxflow.core.errors import FAILED, INTERRUPTED, UNREACHABLE, Problem
from ltxflow.core.events import ActionFinished, Event, Notice, Outcome, RunFinished, RunStarted
from ltxflow.decisions.lock_update import LockUpdater, keep_hits
from ltxflow.farm.capabilities import settle
from ltxflow.farm.options import BuildOptions
from ltxflow.farm.servers import comfy_executor
from ltxflow.lock.model import Lock
from ltxflow.media.probe import probe_mp4
from ltxflow.plan.evaluate import Status
from ltxflow.plan.graph import BuildGraph
from ltxflow.plan.plan import Plan, PlanOptions, PublishedClip, drifted, judged, not_forced, rejected
from ltxflow.plan.review import Review, Verdict, concerns
from ltxflow.plan.upgrades import notices
from ltxflow.publish.placements import model_in, placements
from ltxflow.publish.publish import PublishResult, publish
from ltxflow.publish.timeline import RANKS
from ltxflow.session.gc_roots import GcLease, register, relying
from ltxflow.session.session import Session, make_own_folder
from ltxflow.steps import pool_of
from ltxflow.store.leases import gate

Emit = Callable[[Event], None]


@dataclass(frozen=True)
class BuildResult:
    """What became of a film: `unspoken` has what went wrong with scenes that could not be spoken, by their id.

    `verdicts` are by target, on every take that is made; `lock` is as it is now.
    """

    outlook: Plan
    built: RunResult
    delivered: PublishResult
    finished: RunFinished
    lock: Lock
    verdicts: Mapping[str, Verdict]
    unspoken: Mapping[str, Sequence[Problem]] = field(default_factory=dict)
    stills: tuple[Path, ...] = ()  # where the images that were made for it can be looked at

    @property
    def concerns(self) -> list[Problem]:
        """What a person should look at: takes in the cut, or just made, that came out badly, or were rejected."""
        before = self.outlook.statuses
        told = concerns(self.lock, self.verdicts, frozenset(t for t in self.verdicts if before[t].state != "hit"))
        bad = [problem for problems in told.values() for problem in problems]
        project, found = self.outlook.project, self.built.statuses
        kept = not_forced(self.lock, self.outlook.statuses)
        return [*bad, *rejected(project, self.lock, found), *drifted(project, found), *kept]

    @property
    def problems(self) -> list[Problem]:
        failed = dict.fromkeys(problem for told in self.built.failed.values() for problem in told)
        silent = dict.fromkeys(problem for told in self.unspoken.values() for problem in told)
        return [*failed, *self.delivered.problems, *self.delivered.warnings, *silent]

    @property
    def code(self) -> int:
        """The exit code this comes to."""
        built = self.built
        if built.interrupted:
            return INTERRUPTED
        if built.failed and all(problem.code == "C002" for told in built.failed.values() for problem in told):
            return UNREACHABLE  # the servers went away: nothing is wrong with the clips
        return FAILED if built.failed or built.skipped or self.delivered.problems or self.unspoken else 0

    @property
    def is_nothing_new(self) -> bool:
        """Whether all was up to date and in its place: then the same answer holds until something changes."""
        is_all_hit = self.finished.hit == self.finished.planned
        return self.code == 0 and is_all_hit and not self.delivered.written and not self.problems


def make_film(
    session: Session, question: PlanOptions, means: BuildOptions, emit: Emit, consent: Consent = unasked
) -> BuildResult:
    """Given a session whose project is held, make what `question` asks for and write the film's files.

    `consent` sees what would be done before anything is. What is finished is kept, whatever else fails. Raise
    LtxflowError where nothing can begin: without a server (4), for a film that cannot be cut.
    """
    started = time.monotonic()
    session.clean()
    mute = {} if question.only else speak_film(session, emit)
    wanted = _without(question, mute)
    settle(session, wanted, means.servers, emit)
    with relying(session, lambda: look_closely(session, wanted, emit), _statuses, _has_work) as (outlook, reliance):
        check_twins(outlook)
        consent(session, outlook)
        for words in notices(outlook):
            emit(Notice(words))
        if session.has_new_choices:
            session.save_lock()
            session.has_new_choices = False
        missing = _missing(outlook)
        to_make = sum(status.node.target in outlook.targets for status in missing)
        emit(RunStarted(session.project.id, outlook.mode, len(outlook.targets), to_make))
        built = _make(means, session, outlook, missing, reliance, _without_frames(emit))
        if session.tried_before is not None and not built.rendered:
            session.lock = replace(session.lock, choices=session.tried_before)
        keep_hits(session, outlook, built.statuses)
        stills = show_stills(session, built.statuses)
        with gate(session.store.root):
            delivered = PublishResult({}) if question.only else _deliver(session, outlook, built, emit)
        register(session, built.statuses.values(), is_whole=not (wanted.selectors or wanted.only))
    finished = _finish(session, outlook, built, delivered, time.monotonic() - started, emit)
    verdicts = _verdicts(session, outlook, built)
    return BuildResult(outlook, built, delivered, finished, session.lock, verdicts, mute, tuple(stills))


def _without_frames(emit: Emit) -> Emit:
    """Frames are taken on the way, in no time: only one that cannot be taken is worth a word."""

    def told(event: Event) -> None:
        is_frame = str(getattr(event, "target", "")).startswith("frame:")
        if not is_frame or (isinstance(event, ActionFinished) and event.outcome == "failed"):
            emit(event)

    return told


def _statuses(outlook: Plan) -> Iterable[Status]:
    return outlook.statuses.values()


def _has_work(outlook: Plan) -> bool:
    return bool(_missing(outlook))


def _without(question: PlanOptions, mute: Mapping[str, Sequence[Problem]]) -> PlanOptions:
    """A scene that could not be spoken is not rendered to a length that is only a guess; slates cost nothing."""
    if not mute or question.mode == "animatic":
        return question
    return replace(question, selectors=(*question.selectors, *(f"!{scene}" for scene in mute)))


def _missing(outlook: Plan) -> list[Status]:
    """What is to be made. Where a render stands nobody draws a slate: it would never be placed."""
    stands = {change.target for change in outlook.changes if change.kind in ("unchanged", "restore")}
    return [s for target, s in outlook.statuses.items() if s.state != "hit" and target not in stands]


def _make(
    means: BuildOptions, session: Session, outlook: Plan, missing: Sequence[Status], reliance: GcLease, emit: Emit
) -> RunResult:
    if not missing:
        return RunResult(dict(outlook.statuses))
    left = {status.node.target for status in missing}
    found = {target: s for target, s in outlook.statuses.items() if s.state == "hit" or target in left}
    built = asyncio.run(interruptible(_run(means, session, outlook, found, reliance, emit)))
    built.statuses = {**outlook.statuses, **built.statuses}
    return built


async def _run(
    means: BuildOptions, session: Session, outlook: Plan, found: Mapping[str, Status], reliance: GcLease, emit: Emit
) -> RunResult:
    """Open what the missing targets need: threads for slates, servers for clips."""
    async with AsyncExitStack() as stack:
        executors: dict[str, Executor] = {"cpu": LocalExecutor(means.jobs or os.cpu_count() or 1)}
        comfy = None
        if any(status.state != "hit" and pool_of(status.node) == "gpu" for status in found.values()):
            comfy = await stack.enter_async_context(await comfy_executor(means.servers, session, outlook, emit))
            executors["gpu"] = comfy

        def recorded(key: Key) -> None:
            if comfy is not None:
                comfy.kept(key)  # only now is its submission over

        def is_under_way(key: Key) -> bool:
            return comfy is not None and comfy.is_under_way(key)

        keeper = LockUpdater(session, outlook)
        builder = RunContext(
            store=session.store,
            lookup=reliance.lookup(session.lookup),
            executors=executors,
            emit=emit,
            made=keeper,
            keep_going=means.keep_going,
            recorded=recorded,
            putting=reliance.putting,
            review=lambda: Review(session.lock, session.lookup),
            write=keeper.write,
            is_first=is_under_way,
        )
        return await build(outlook.plan, found, builder)


def _deliver(session: Session, outlook: Plan, built: RunResult, emit: Emit) -> PublishResult:
    base = session.project.output

    def facts(stand: PublishedClip) -> Mapping[str, Any]:
        return probe_mp4(base / stand.file).as_json()

    stands = session.published_clips()
    current = outlook
    if (outlook.mode == "animatic" or len(outlook.plan.nodes) < len(outlook.nodes)) and any(
        stand.rank > RANKS["animatic"] for stand in stands.values()
    ):
        current = session.plan(PlanOptions())  # the whole film, to say which renders are stale

    def model_of(key: str) -> str:
        trace = session.trace_of(Key(key)) if key else None
        return model_in(trace) if trace else ""

    wanted = placements(outlook, built.statuses, stands, facts, current, model_of)
    return publish(
        outlook.project,
        outlook.cuts,
        wanted,
        session.published,
        session.record_path,
        session.store.cas,
        emit,
        session.timings(),
    )


def _verdicts(session: Session, outlook: Plan, built: RunResult) -> dict[str, Verdict]:
    """On every take that is made: anew where something of its clip was made, or the lock says something else of it."""
    was, now = outlook.lock.entries, session.lock.entries
    again = {
        target: status
        for target, status in built.statuses.items()
        if status is not outlook.statuses.get(target) or was.get(status.node.entry) != now.get(status.node.entry)
    }
    stays = {target: verdict for target, verdict in outlook.verdicts.items() if target not in again}
    return stays | judged(Review(session.lock, session.lookup), again)


def _finish(
    session: Session, outlook: Plan, built: RunResult, delivered: PublishResult, seconds: float, emit: Emit
) -> RunFinished:
    folder = session.project.output.name
    file_of = {change.target: f"{folder}/{change.file}" for change in outlook.changes}
    stands = {change.target for change in outlook.changes if change.kind in ("unchanged", "restore")}
    count: Counter[str] = Counter()
    for target in outlook.targets:
        status = outlook.statuses[target]
        if target in built.rendered or target in built.failed or target in built.skipped:
            made: Outcome = "resumed" if target in built.resumed else "rendered"
            count[made] += target in built.rendered
            count["failed"] += target in built.failed
        elif built.statuses[target].state == "hit" or target in stands:
            outcome: Outcome = "restored" if file_of.get(target) in delivered.written else "hit"
            count[outcome] += 1
            emit(ActionFinished(target, outcome, status.key or ""))
    told = delivered.timeline
    clips = [target for target in outlook.targets if not target.startswith("reference:")]
    event = RunFinished(
        planned=len(outlook.targets),
        hit=count["hit"],
        rendered=count["rendered"],
        restored=count["restored"],
        failed=count["failed"],
        skipped=len(outlook.targets) - count.total(),
        seconds=round(seconds, 3),
        output=os.path.relpath(session.project.output if told else session.previews),
        complete=bool(told.get("complete", True)),
        film_seconds=told["durationInFrames"] / told["fps"] if told else 0.0,
        references=len(outlook.targets) - len(clips),
        more_takes=len(clips) - len({target.rpartition("@")[0] for target in clips}),
        resumed=count["resumed"],
    )
    emit(event)
    return event


def look_closely(session: Session, question: PlanOptions, emit: Callable[[Event], None]) -> Plan:
    """Given a session and a question, return the Outlook once all clips that it finds in the store are inspected.

    A clip that comes out badly may have further tries in the store: then these are inspected, too.
    """
    seen: set[str] = set()
    while True:
        outlook = session.plan(question)
        unseen = {target: s for target, s in uninspected(session, outlook).items() if s.key not in seen}
        if not unseen:
            return outlook
        seen.update(str(status.key) for status in unseen.values())
        _inspect(session, outlook, unseen, emit)


def uninspected(session: Session, outlook: Plan) -> dict[str, Status]:
    """Given an outlook, return the looks that are missing at clips that are made, by their target."""
    review = Review(outlook.lock, session.lookup)
    seen = {target for target, verdict in outlook.verdicts.items() if verdict.is_current}
    unjudged = [status for target, status in outlook.statuses.items() if target not in seen]
    looks = [review.inspection(s.node, s.trace) for s in unjudged if s.trace is not None]
    return {look.node.target: look for look in looks if look is not None}


def _inspect(session: Session, outlook: Plan, looks: Mapping[str, Status], emit: Callable[[Event], None]) -> None:
    clips = {need.partition("#")[0] for look in looks.values() for need in look.node.needs.values()}
    found = {**{clip: outlook.statuses[clip] for clip in clips}, **looks}
    plan = BuildGraph({target: status.node for target, status in found.items()}, tuple(looks))
    builder = RunContext(
        store=session.store,
        lookup=session.lookup,
        executors={"cpu": LocalExecutor(os.cpu_count() or 1)},
        emit=_told(emit),
        made=lambda node, trace: None,
    )
    if asyncio.run(interruptible(build(plan, found, builder))).interrupted:
        raise KeyboardInterrupt


def _told(emit: Callable[[Event], None]) -> Callable[[Event], None]:
    """Clips are what a build counts: of looks only the failures are told."""

    def tell(event: Event) -> None:
        if isinstance(event, ActionFinished) and event.outcome == "failed":
            clip = event.target.partition(":")[2]
            emit(Notice(f"could not be inspected: {event.reason}", "warning", f"clip:{clip}"))

    return tell


def file_name(path: str, take: int) -> str:
    """`reference:hero/seen-from-the-left`, 2 → `hero--seen-from-the-left@2.png`"""
    return f"{path.removeprefix('reference:').replace('/', '--')}@{take}.png"


def show_stills(session: Session, found: Mapping[str, Status]) -> list[Path]:
    """Given what is made, put every take of every reference into the folder; return the files, in the film's order.

    They are copies to look at: nothing reads them. What another text made under the same name is written over.
    """
    shown = []
    for status in found.values():
        if status.node.kind != "reference" or status.trace is None:
            continue
        file = session.previews / file_name(status.node.entry, status.node.take)
        digest = status.trace.outputs["image"].digest
        if digest_there(file) != digest:
            make_own_folder(session)
            files.make_dir(file.parent)
            files.make_room(file)
            files.copy_into(session.store.cas.path(digest), file, expect=digest, mode=0o644)
        shown.append(file)
    return shown
