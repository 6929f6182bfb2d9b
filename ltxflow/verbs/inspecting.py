"""Looks at clips that are in the store and were never inspected: a run was ended too early, or they came along."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

from ltxflow.core.events import ActionFinished, Event, Notice
from ltxflow.plan.dag import Plan
from ltxflow.plan.outlook import Outlook, Question
from ltxflow.plan.review import Review
from ltxflow.plan.status import Status
from ltxflow.run.build import Builder, build, interruptible
from ltxflow.run.executors.local import LocalExecutor
from ltxflow.verbs.session import Session


def look_closely(session: Session, question: Question, emit: Callable[[Event], None]) -> Outlook:
    """Given a session and a question, return the Outlook once all clips that it finds in the store are inspected.

    A clip that comes out badly may have further tries in the store: then these are inspected, too.
    """
    seen: set[str] = set()
    while True:
        outlook = session.look(question)
        unseen = {target: s for target, s in uninspected(session, outlook).items() if s.key not in seen}
        if not unseen:
            return outlook
        seen.update(str(status.key) for status in unseen.values())
        _inspect(session, outlook, unseen, emit)


def uninspected(session: Session, outlook: Outlook) -> dict[str, Status]:
    """Given an outlook, return the looks that are missing at clips that are made, by their target."""
    review = Review(outlook.lock, session.lookup)
    seen = {target for target, verdict in outlook.verdicts.items() if verdict.is_current}
    unjudged = [status for target, status in outlook.statuses.items() if target not in seen]
    looks = [review.inspection(s.node, s.trace) for s in unjudged if s.trace is not None]
    return {look.node.target: look for look in looks if look is not None}


def _inspect(session: Session, outlook: Outlook, looks: Mapping[str, Status], emit: Callable[[Event], None]) -> None:
    clips = {need.partition("#")[0] for look in looks.values() for need in look.node.needs.values()}
    found = {**{clip: outlook.statuses[clip] for clip in clips}, **looks}
    plan = Plan({target: status.node for target, status in found.items()}, tuple(looks))
    builder = Builder(
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
