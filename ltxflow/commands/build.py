"""Renders what changed, and nothing else; then writes the film's files and timeline.json."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from ltxflow.core.errors import FAILED, INTERRUPTED, Problem
from ltxflow.core.events import ActionFinished, Event, Notice, RunFinished, RunStarted
from ltxflow.deliver.placements import placements
from ltxflow.deliver.publish import Delivered, publish
from ltxflow.faces.jsonlines import print_envelope, print_event
from ltxflow.faces.progress import LiveWatcher, PlainWatcher, Watcher, summary
from ltxflow.faces.terminal import Face
from ltxflow.media.probe import probe_mp4
from ltxflow.plan.outlook import Outlook, Placed
from ltxflow.run.build import Builder, Built, Executor, build, interruptible
from ltxflow.run.executors.local import LocalExecutor
from ltxflow.run.keep import keep_hits, keeper
from ltxflow.run.options import add_question, add_servers, question_of, seconds_of, session_of
from ltxflow.run.servers import comfy_executor
from ltxflow.run.session import Session, hold
from ltxflow.steps import Node, step
from ltxflow.store.traces import Trace


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    add_servers(parser)
    parser.add_argument("--max-gpu", type=seconds_of, metavar="TIME", help="start nothing that would pass this, as 30m")
    parser.add_argument("--jobs", type=int, metavar="N", help="slates drawn at once (default: one a processor)")
    going = parser.add_mutually_exclusive_group()
    going.add_argument("--keep-going", action="store_true", default=True, help="a failed clip stops no other (default)")
    going.add_argument("--fail-fast", dest="keep_going", action="store_false", help="start nothing after a failure")
    parser.add_argument("--no-wait", action="store_true", help="leave when another build holds the project")


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
    watcher: Watcher = (
        JsonWatcher() if args.json else (LiveWatcher if face.is_live else PlainWatcher)(face, args.quiet, args.verbose)
    )

    def waiting(owner: Mapping[str, Any]) -> None:
        who = f"process {owner.get('pid', '?')} on {owner.get('host', '?')}, since {owner.get('started', '?')}"
        watcher(Notice(f"another build holds this project ({who}); waiting for it", "warning"))

    with hold(session, wait=not args.no_wait, on_wait=waiting):
        session = session_of(args)  # as it is now that it is ours: another build may have changed it
        return _build(args, face, session, watcher)


def _build(args: argparse.Namespace, face: Face, session: Session, watcher: Watcher) -> int:
    started = time.monotonic()
    outlook = session.look(question_of(args))
    if not args.json and not args.quiet:
        face.problems([p for p in session.loaded.problems if p.level == "warning"])
    session.store.clean()
    with watcher:
        missing = [status for status in outlook.statuses.values() if status.state != "hit"]
        watcher(RunStarted(session.project.id, outlook.mode, len(outlook.statuses), len(missing)))
        built = _make(args, session, outlook, watcher)
        keep_hits(session, outlook, built.statuses)
        delivered = _deliver(session, outlook, built, watcher)
        finished = _finish(session, outlook, built, delivered, time.monotonic() - started, watcher)
    return _report(args, face, outlook, built, delivered, finished)


def _make(args: argparse.Namespace, session: Session, outlook: Outlook, emit: Callable[[Event], None]) -> Built:
    if all(status.state == "hit" for status in outlook.statuses.values()):
        return Built(dict(outlook.statuses))
    return asyncio.run(interruptible(_run(args, session, outlook, emit)))


async def _run(args: argparse.Namespace, session: Session, outlook: Outlook, emit: Callable[[Event], None]) -> Built:
    """Open what the missing targets need: threads for slates, servers for clips."""
    keep = keeper(session, outlook)
    async with AsyncExitStack() as stack:
        executors: dict[str, Executor] = {"cpu": LocalExecutor(args.jobs or os.cpu_count() or 1)}
        comfy = None
        if any(status.state != "hit" and step(status.node.kind).POOL == "gpu" for status in outlook.statuses.values()):
            comfy = await stack.enter_async_context(await comfy_executor(args, session, outlook, emit))
            executors["gpu"] = comfy

        def made(node: Node, trace: Trace) -> None:
            keep(node, trace)
            if comfy is not None:
                comfy.kept(trace.key)  # only now is its submission over

        builder = Builder(session.store, session.lookup, executors, emit, made, args.keep_going)
        return await build(outlook.plan, outlook.statuses, builder)


def _deliver(session: Session, outlook: Outlook, built: Built, emit: Callable[[Event], None]) -> Delivered:
    base = session.project.output

    def facts(stand: Placed) -> Mapping[str, Any]:
        return probe_mp4(base / stand.file).as_json()

    stands = session.placed()
    wanted = placements(outlook, built.statuses, stands, facts)
    return publish(
        session.project, outlook.cuts, wanted, session.published, session.record_path, session.store.cas, emit
    )


def _finish(
    session: Session,
    outlook: Outlook,
    built: Built,
    delivered: Delivered,
    seconds: float,
    emit: Callable[[Event], None],
) -> RunFinished:
    written = {path.rpartition("/")[2] for path in delivered.written}
    file_of = {change.target: change.file for change in outlook.changes}
    restored = hit = 0
    for target, status in outlook.statuses.items():
        if target in built.rendered or target in built.failed or target in built.skipped:
            continue
        if built.statuses[target].state != "hit":
            continue
        if file_of.get(target) in written:
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
    args: argparse.Namespace, face: Face, outlook: Outlook, built: Built, delivered: Delivered, finished: RunFinished
) -> int:
    code = FAILED if built.failed or built.skipped or delivered.problems else 0
    if built.interrupted:
        code = INTERRUPTED
    problems: list[Problem] = [problem for told in built.failed.values() for problem in told] + delivered.problems
    if args.json:
        data = {"totals": finished.as_json(), "output": finished.output, "orphans": [o.file for o in outlook.orphans]}
        return print_envelope("build", data, code, problems)
    face.problems(problems)
    if outlook.orphans and not args.quiet:
        names = ", ".join(orphan.file for orphan in outlook.orphans)
        face.say(f"  - {names}: no longer in the film; remove with: ltxflow clean --yes")
    if built.interrupted:
        print("interrupted: what is finished is kept; run it again to go on", file=sys.stderr)
    if not args.quiet or code:
        summary(face, finished, outlook.mode)
    return code
