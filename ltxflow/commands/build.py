"""Renders what changed, and nothing else; then writes the film's files and timeline.json."""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from ltxflow.core.errors import FAILED, INTERRUPTED, UNREACHABLE, Problem
from ltxflow.core.events import ActionFinished, Event, Notice, RunFinished, RunStarted
from ltxflow.deliver.placements import placements
from ltxflow.deliver.publish import Delivered, publish
from ltxflow.deliver.timeline import RANKS
from ltxflow.faces.jsonlines import print_envelope, print_event
from ltxflow.faces.progress import LiveWatcher, PlainWatcher, Watcher, summary
from ltxflow.faces.terminal import Face
from ltxflow.media.probe import probe_mp4
from ltxflow.plan.outlook import Outlook, Placed, Question
from ltxflow.plan.status import Status
from ltxflow.run.build import Builder, Built, Executor, build, interruptible
from ltxflow.run.executors.local import LocalExecutor
from ltxflow.run.keep import keep_hits, keeper
from ltxflow.run.options import add_question, add_servers, question_of, seconds_of, session_of
from ltxflow.run.servers import comfy_executor
from ltxflow.run.session import Session, hold
from ltxflow.run.speaking import speak_film
from ltxflow.steps import Node, step
from ltxflow.store.traces import Trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    add_servers(parser)
    parser.add_argument("--max-gpu", type=seconds_of, metavar="TIME", help="start nothing that would pass this, as 30m")
    parser.add_argument("--jobs", type=count_of, metavar="N", help="slates drawn at once (default: one a processor)")
    going = parser.add_mutually_exclusive_group()
    going.add_argument("--keep-going", action="store_true", default=True, help="a failed clip stops no other (default)")
    going.add_argument("--fail-fast", dest="keep_going", action="store_false", help="start nothing after a failure")
    parser.add_argument("--no-wait", action="store_true", help="leave when another build holds the project")


def count_of(text: str) -> int:
    """Given a number of at least 1, return it. Raise ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from 1 on')
    return int(text)


class JsonWatcher:
    """Events as JSON lines."""

    def __enter__(self) -> JsonWatcher:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        print_event(event)


def run(args: argparse.Namespace, face: Face) -> int:
    session = session_of(args)  # problems are told before anybody waits
    damage = session.warnings
    lines = LiveWatcher if face.is_live and not args.quiet else PlainWatcher
    watcher: Watcher = JsonWatcher() if args.json else lines(face, args.quiet, args.verbose)

    def waiting(owner: Mapping[str, Any]) -> None:
        who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('started', '?')}"
        watcher(Notice(f"another build holds this project ({who}); waiting for it", "warning"))

    with hold(session, wait=not args.no_wait, on_wait=waiting):
        session = session_of(args)  # as it is now that it is ours: another build may have changed it
        session.warnings[:0] = damage
        return _build(args, face, session, watcher)


def _build(args: argparse.Namespace, face: Face, session: Session, watcher: Watcher) -> int:
    started = time.monotonic()
    if not args.json and not args.quiet:
        face.problems([p for p in session.loaded.problems if p.level == "warning"])
    session.clean()
    with watcher:
        mute = speak_film(session, watcher)
        outlook = session.look(_without(question_of(args), mute))
        missing = _missing(outlook)
        watcher(RunStarted(session.project.id, outlook.mode, len(outlook.statuses), len(missing)))
        built = _make(args, session, outlook, missing, watcher)
        keep_hits(session, outlook, built.statuses)
        delivered = _deliver(session, outlook, built, watcher)
        finished = _finish(session, outlook, built, delivered, time.monotonic() - started, watcher)
    silent = [problem for problems in mute.values() for problem in problems]
    return _report(args, face, session, outlook, built, delivered, finished, silent)


def _without(question: Question, mute: Mapping[str, Sequence[Problem]]) -> Question:
    """A scene that could not be spoken is not rendered to a length that is only a guess; slates cost nothing."""
    if not mute or question.mode == "animatic":
        return question
    return replace(question, selectors=(*question.selectors, *(f"!{scene}" for scene in mute)))


def _missing(outlook: Outlook) -> list[Status]:
    """What is to be made. Where a render stands nobody draws a slate: it would never be placed."""
    stands = {change.target for change in outlook.changes if change.kind in ("unchanged", "restore")}
    return [s for target, s in outlook.statuses.items() if s.state != "hit" and target not in stands]


def _make(
    args: argparse.Namespace,
    session: Session,
    outlook: Outlook,
    missing: Sequence[Status],
    emit: Callable[[Event], None],
) -> Built:
    if not missing:
        return Built(dict(outlook.statuses))
    left = {status.node.target for status in missing}
    found = {target: s for target, s in outlook.statuses.items() if s.state == "hit" or target in left}
    built = asyncio.run(interruptible(_run(args, session, outlook, found, emit)))
    built.statuses = {**outlook.statuses, **built.statuses}
    return built


async def _run(
    args: argparse.Namespace,
    session: Session,
    outlook: Outlook,
    found: Mapping[str, Status],
    emit: Callable[[Event], None],
) -> Built:
    """Open what the missing targets need: threads for slates, servers for clips."""
    keep = keeper(session, outlook)
    async with AsyncExitStack() as stack:
        executors: dict[str, Executor] = {"cpu": LocalExecutor(args.jobs or os.cpu_count() or 1)}
        comfy = None
        if any(status.state != "hit" and step(status.node.kind).POOL == "gpu" for status in found.values()):
            comfy = await stack.enter_async_context(await comfy_executor(args, session, outlook, emit))
            executors["gpu"] = comfy

        def made(node: Node, trace: Trace) -> None:
            keep(node, trace)
            if comfy is not None:
                comfy.kept(trace.key)  # only now is its submission over

        builder = Builder(session.store, session.lookup, executors, emit, made, args.keep_going)
        return await build(outlook.plan, found, builder)


def _deliver(session: Session, outlook: Outlook, built: Built, emit: Callable[[Event], None]) -> Delivered:
    base = session.project.output

    def facts(stand: Placed) -> Mapping[str, Any]:
        return probe_mp4(base / stand.file).as_json()

    stands = session.placed()
    current = outlook
    if (outlook.mode == "animatic" or len(outlook.plan.nodes) < len(outlook.nodes)) and any(
        stand.rank > RANKS["animatic"] for stand in stands.values()
    ):
        current = session.look(Question())  # the whole film, to say which renders are stale
    wanted = placements(outlook, built.statuses, stands, facts, current)
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


def _finish(
    session: Session,
    outlook: Outlook,
    built: Built,
    delivered: Delivered,
    seconds: float,
    emit: Callable[[Event], None],
) -> RunFinished:
    folder = session.project.output.name
    file_of = {change.target: f"{folder}/{change.file}" for change in outlook.changes}
    stands = {change.target for change in outlook.changes if change.kind in ("unchanged", "restore")}
    restored = hit = 0
    for target, status in outlook.statuses.items():
        if target in built.rendered or target in built.failed or target in built.skipped:
            continue
        if built.statuses[target].state != "hit" and target not in stands:
            continue
        if file_of.get(target) in delivered.written:
            restored += 1
            emit(ActionFinished(target, "restored", status.key or ""))
        else:
            hit += 1
            emit(ActionFinished(target, "hit", status.key or ""))
    told = delivered.timeline
    event = RunFinished(
        planned=len(outlook.statuses),
        hit=hit,
        rendered=len(built.rendered),
        restored=restored,
        failed=len(built.failed),
        skipped=len(outlook.statuses) - hit - restored - len(built.rendered) - len(built.failed),
        seconds=round(seconds, 3),
        output=os.path.relpath(session.project.output),
        complete=bool(told["complete"]),
        film_seconds=told["durationInFrames"] / told["fps"],
    )
    emit(event)
    return event


def _report(
    args: argparse.Namespace,
    face: Face,
    session: Session,
    outlook: Outlook,
    built: Built,
    delivered: Delivered,
    finished: RunFinished,
    silent: Sequence[Problem],
) -> int:
    code = FAILED if built.failed or built.skipped or delivered.problems or silent else 0
    if built.failed and all(problem.code == "C002" for told in built.failed.values() for problem in told):
        code = UNREACHABLE  # the servers went away: nothing is wrong with the clips
    if built.interrupted:
        code = INTERRUPTED
    problems = [problem for told in built.failed.values() for problem in told] + delivered.problems
    problems += [*silent, *session.warnings]
    if args.json:
        data = {"totals": finished.as_json(), "output": finished.output, "orphans": [o.file for o in outlook.orphans]}
        return print_envelope("build", data, code, problems)
    face.problems(problems)
    if outlook.orphans and not args.quiet:
        names = ", ".join(orphan.file for orphan in outlook.orphans)
        face.say(f"  - {names}: no longer in the film; remove with: ltxflow clean --yes")
    if built.interrupted:
        face.warn("interrupted: what is finished is kept; run it again to go on")
    if not args.quiet or code:
        summary(face, finished, outlook.mode)
    if code == 0 and finished.hit == finished.planned and not delivered.written and not problems:
        face.rests_on = frozenset(session.rests_on())
    return code
