"""Inspect clips that are in the store without findings: a run ended too early, or they came from elsewhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

from ltxflow.build.loop import Executor, LocalExecutor, RunContext, build, interruptible
from ltxflow.core.events import ActionFinished, Event, Notice
from ltxflow.core.target import Target
from ltxflow.plan.evaluate import Status
from ltxflow.plan.graph import BuildGraph
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.plan.review import Review
from ltxflow.session.session import Session


def plan_and_inspect(
    session: Session,
    options: PlanOptions,
    emit: Callable[[Event], None],
    local: Callable[[int], Executor] = LocalExecutor,
) -> Plan:
    """Return the plan once all clips that it finds in the store are inspected.

    A clip that comes out badly may have further tries in the store: then these are inspected, too.
    """
    tried: set[str] = set()
    while True:
        plan = session.plan(options)
        pending = {target: s for target, s in uninspected(session, plan).items() if s.key not in tried}
        if not pending:
            return plan
        tried.update(str(status.key) for status in pending.values())
        _inspect(session, plan, pending, emit, local(os.cpu_count() or 1))


def uninspected(session: Session, plan: Plan) -> dict[str, Status]:
    """Return the inspections that are missing for the made clips of a plan, by their target."""
    review = Review(plan.lock, session.lookup)
    current = {target for target, verdict in plan.verdicts.items() if verdict.is_current}
    unjudged = [status for target, status in plan.statuses.items() if target not in current]
    missing = [review.inspection(s.node, s.trace) for s in unjudged if s.trace is not None]
    return {each.node.target: each for each in missing if each is not None}


def _inspect(
    session: Session,
    plan: Plan,
    inspections: Mapping[str, Status],
    emit: Callable[[Event], None],
    executor: Executor,
) -> None:
    clips = {need.partition("#")[0] for each in inspections.values() for need in each.node.needs.values()}
    statuses = {**{clip: plan.statuses[clip] for clip in clips}, **inspections}
    graph = BuildGraph({target: status.node for target, status in statuses.items()}, tuple(inspections))
    context = RunContext(
        store=session.store,
        lookup=session.lookup,
        executors={"cpu": executor},
        emit=_failures(emit),
        on_made=lambda node, trace: None,
    )
    if asyncio.run(interruptible(build(graph, statuses, context))).interrupted:
        raise KeyboardInterrupt


def _failures(emit: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return an `emit` that reports failed inspections at their clips, and nothing else."""

    def emit_failure(event: Event) -> None:
        if isinstance(event, ActionFinished) and event.outcome == "failed":
            target = Target(event.target)
            clip = Target.of("clip", target.path, target.take)
            emit(Notice(f"could not be inspected: {event.reason}", "warning", clip))

    return emit_failure
