"""The first phase of a build: speaks the narration that is missing, so that lengths are known before clips are made."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from ltxflow.build.loop import LocalExecutor, RunContext, build, interruptible
from ltxflow.core.errors import Problem
from ltxflow.core.events import ActionFinished, Event, Notice
from ltxflow.plan.evaluate import Status
from ltxflow.plan.lengths import SpeechPlan
from ltxflow.project.model import Scene
from ltxflow.session.gc_roots import GcLease, relying
from ltxflow.session.session import Session
from ltxflow.store.traces import Trace

VOICES = 2  # lines spoken at once


def speak_film(session: Session, emit: Callable[[Event], None]) -> dict[str, tuple[Problem, ...]]:
    """Given a session, speak every line that is missing and join them; return scene id → what went wrong with it.

    What is spoken is kept, also when a later line fails or the build is interrupted.
    """
    with relying(session, session.speech, _statuses, lambda spoken: bool(spoken.unmade)) as (spoken, reliance):
        return _speak(session, spoken, reliance, emit)


def _statuses(spoken: SpeechPlan) -> Iterable[Status]:
    return spoken.statuses.values()


def _speak(
    session: Session, spoken: SpeechPlan, reliance: GcLease, emit: Callable[[Event], None]
) -> dict[str, tuple[Problem, ...]]:
    if spoken.plan is None or not spoken.unmade:
        return {}
    plan, found = spoken.plan, dict(spoken.statuses)
    builder = RunContext(
        store=session.store,
        lookup=reliance.lookup(session.lookup),
        executors={"cpu": LocalExecutor(VOICES)},
        emit=_told(found, emit),
        made=lambda node, trace: _say_length(trace, emit),
        putting=reliance.putting,
    )
    built = asyncio.run(interruptible(build(plan, found, builder)))
    if built.interrupted:
        raise KeyboardInterrupt
    failed: dict[str, tuple[Problem, ...]] = {}
    for target, problems in built.failed.items():
        scene = session.project.scene(target.partition(":")[2].partition("/")[0])
        failed.setdefault(scene.id, tuple(_placed(problem, scene) for problem in problems))
    return failed


def _placed(problem: Problem, scene: Scene) -> Problem:
    """What an engine complains of, told with the scene that it was to speak, and what to do."""
    hint = (
        problem.hint
        or "until it is spoken its length is a guess, and its clips are not rendered: mend that, then: ltxflow narrate"
    )
    return replace(problem, message=f"{scene.id}: {problem.message}", span=scene.narration.span, hint=hint)


def _told(found: Mapping[str, Status], emit: Callable[[Event], None]) -> Callable[[Event], None]:
    """Clips are what a build counts: of speech only the failures are told as they are."""

    def tell(event: Event) -> None:
        if isinstance(event, ActionFinished) and event.outcome == "failed":
            emit(Notice(event.reason, "warning", event.target))

    return tell


def _say_length(trace: Trace, emit: Callable[[Event], None]) -> None:
    if trace.target.startswith("narration:"):
        facts = trace.outputs["speech"].facts
        seconds = facts["samples"] / facts["sample_rate"]
        emit(Notice(f"spoken, {seconds:.1f}s", target=trace.target))
