"""The first phase of a build: speak the missing narration, so that lengths are known before clips are made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from ltxflow.build.loop import LocalExecutor, RunContext, build, interruptible
from ltxflow.core.errors import Problem
from ltxflow.core.events import ActionFinished, Event, Notice
from ltxflow.core.target import Target
from ltxflow.plan.lengths import SpeechPlan
from ltxflow.project.model import Scene
from ltxflow.session.gc_roots import GcLease, relying
from ltxflow.session.session import Session
from ltxflow.store.traces import Trace

VOICES = 2  # lines spoken at once
_UNTIL_SPOKEN = "no clip is rendered until it is spoken; fix that, then: ltxflow narrate"


def speak_film(session: Session, emit: Callable[[Event], None]) -> dict[str, tuple[Problem, ...]]:
    """Speak every missing line and join them; return the problems of scenes that failed, by scene id.

    What is spoken is kept, also when a later line fails or the build is interrupted.
    """
    with relying(
        session,
        session.speech,
        lambda speech: speech.statuses.values(),
        lambda speech: bool(speech.unmade),
    ) as (speech, lease):
        try:
            return _speak(session, speech, lease, emit)
        finally:
            session.forget_speech()


def _speak(
    session: Session, speech: SpeechPlan, lease: GcLease, emit: Callable[[Event], None]
) -> dict[str, tuple[Problem, ...]]:
    if speech.plan is None or not speech.unmade:
        return {}
    context = RunContext(
        store=session.store,
        lookup=lease.lookup(session.lookup),
        executors={"cpu": LocalExecutor(VOICES)},
        emit=_failures(emit),
        on_made=lambda node, trace: _report_length(trace, emit),
        storing=lease.putting,
    )
    run = asyncio.run(interruptible(build(speech.plan, speech.statuses, context)))
    if run.interrupted:
        raise KeyboardInterrupt
    failed: dict[str, tuple[Problem, ...]] = {}
    for target, problems in run.failed.items():
        scene = session.project.scene(Target(target).scene)
        failed.setdefault(scene.id, tuple(_of_scene(each, scene) for each in problems))
    return failed


def _of_scene(problem: Problem, scene: Scene) -> Problem:
    """Return the problem of an engine with the scene it belongs to, and what to do."""
    hint = f"{problem.hint}, then: ltxflow narrate" if problem.hint else _UNTIL_SPOKEN
    return replace(problem, message=f"{scene.id}: {problem.message}", span=scene.narration.span, hint=hint)


def _failures(emit: Callable[[Event], None]) -> Callable[[Event], None]:
    """Return an `emit` that reports failed lines, and nothing else: a build counts clips."""

    def emit_failure(event: Event) -> None:
        if isinstance(event, ActionFinished) and event.outcome == "failed":
            emit(Notice(event.reason, "warning", event.target))

    return emit_failure


def _report_length(trace: Trace, emit: Callable[[Event], None]) -> None:
    if Target(trace.target).kind == "narration":
        facts = trace.outputs["speech"].facts
        emit(Notice(f"spoken, {facts['samples'] / facts['sample_rate']:.1f}s", target=trace.target))
