"""What the lock learns from a finished clip. Stand-ins teach it nothing.

Whether a film and its lock agree. Needs no store and no GPU: what is in git will do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

from ltxflow.core.digest import Key
from ltxflow.core.errors import Problem
from ltxflow.lock.file import LockConflict
from ltxflow.lock.model import Lock, LockTake, moved, with_take
from ltxflow.plan.evaluate import Status
from ltxflow.plan.explain import reasons
from ltxflow.plan.plan import Plan, PlanOptions, derived_seed, make_plan
from ltxflow.project.model import Clip, Narration, Project, Scene, Still
from ltxflow.session.session import Session
from ltxflow.steps import Node
from ltxflow.store.traces import Trace

KEPT = ("clip", "reference")


class LockUpdater:
    """Called with each finished node: the clip's line in the lock. `write` writes all lines that are new.

    A line may wait for others, since it follows from the trace, which is on the disk by then: a run that is killed in
    between finds it, and then writes the line (`keep_hits`). The lock that is written carries the film's `moved:`
    entries out, once something was made.
    """

    def __init__(self, session: Session, outlook: Plan) -> None:
        session.lock = outlook.lock
        self.session, self.outlook = session, outlook
        self.taken = taken_of(outlook)
        self.written = session.lock

    def __call__(self, node: Node, trace: Trace) -> None:
        if node.kind not in KEPT or is_stand_in(self.outlook, self.taken[node.entry]):
            return
        made = lock_take(self.session, self.taken[node.entry], node.take, trace, node.spec.seed)
        self.session.lock = with_take(self.session.lock, node.entry, node.take, made)

    def write(self) -> None:
        if self.session.lock is not self.written:
            with suppress(LockConflict):  # it is told in the end, when it may have been put in order
                self.session.save_lock()
            self.written = self.session.lock


def keep_hits(session: Session, outlook: Plan, found: Mapping[str, Status]) -> None:
    """Given what is made, bring the lock in line with it: after a revert the lock names the older key again.

    The film's `moved:` entries are carried out too, unless all of it is a stand-in.
    """
    session.lock = moved(session.lock, outlook.project.moved)  # is so already where something was made
    taken = taken_of(outlook)
    final = [s for s in found.values() if s.node.kind in KEPT and not is_stand_in(outlook, taken[s.node.entry])]
    for status in final:
        node, trace = status.node, status.trace
        known = session.lock.take(node.entry, node.take)
        if trace is not None and (known is None or known.key != trace.key or known.tries < status.tries):
            made = lock_take(session, taken[node.entry], node.take, trace, node.spec.seed)
            made = replace(made, tries=status.tries)
            session.lock = with_take(session.lock, node.entry, node.take, made)
    session.lock = _with_frames(session.lock, found)
    if final:
        try:
            session.save_lock()
        except LockConflict as error:
            session.warnings += [_unwritten(session, problem) for problem in error.problems]


def _unwritten(session: Session, problem: Problem) -> Problem:
    message = f"{session.lock_file.name} was written by somebody else meanwhile, and cannot be read: {problem.message}"
    hint = f"{problem.hint}; what was made is in the store, and the next build writes it down"
    return replace(problem, message=message, hint=hint.removeprefix("; "), level="warning")


def _with_frames(lock: Lock, found: Mapping[str, Status]) -> Lock:
    """Keep the pixels of frames that clips start from with the takes they are of: so those clips have a key without
    a store."""
    for status in found.values():
        node, trace = status.node, status.trace
        if node.kind != "frame" or trace is None:
            continue
        frame, number = node.spec.frame, int(node.target.rpartition("@")[2])
        take = lock.take(frame.clip, number)
        if take is None or trace.action.get("inputs", {}).get("clip") not in (take.digest, *take.outputs.values()):
            continue  # it is of a stand-in, or the lock's own word
        image = trace.outputs["image"]
        told = {**take.facts.get("taken", {}), frame.moment: {"digest": image.digest, **image.facts}}
        facts = {**take.facts, "taken": dict(sorted(told.items()))}
        if facts != take.facts:
            lock = with_take(lock, frame.clip, number, replace(take, facts=facts))
    return lock


def taken_of(outlook: Plan) -> dict[str, Clip | Still]:
    """Given an outlook, return all that has takes, as the lock calls it."""
    both: list[Clip | Still] = [*outlook.project.clips, *outlook.project.stills]
    return {one.path: one for one in both}


def is_stand_in(outlook: Plan, clip: Clip | Still) -> bool:
    if isinstance(clip, Still):
        return False
    return bool(outlook.project.profile.qualities[str(clip.get("quality"))].stand_in)


def lock_take(session: Session, clip: Clip | Still, take: int, trace: Trace, seed: int | None = None) -> LockTake:
    """Given a finished take and the seed it was made with, return its record.

    Its seed is a derived one, of whichever try stands; None while all were explicit.
    """
    known = session.lock.take(clip.path, take)
    derived = known.seed if known else None
    if clip.explicit_seed(take) is None and (seed is not None or derived is None):
        derived = seed if seed is not None else derived_seed(session.project, clip, take)
    if isinstance(clip, Still):
        image = trace.outputs["image"]
        return LockTake(trace.key, derived, image.digest, 0, image.facts, trace.source)
    video = trace.outputs["video"]
    return LockTake(
        key=trace.key,
        seed=derived,
        digest=video.digest,
        frames=int(video.facts["frames"]),
        facts=video.facts,
        source=trace.source,
        outputs={name: output.digest for name, output in trace.outputs.items() if name != "video"},
    )


CODE = "K001"
HINT = "render it, and commit ltxflow.lock"


def disagreements(session: Session) -> list[Problem]:
    """Given a session, return a problem for each clip of which the lock has no take, or one of another key; one for all
    where it has none of any.

    Clips in a quality that only stands in are in no lock. A narration that is not spoken here leaves rendered lengths
    as they are: only its speaker knows better.
    """
    spoken = session.speech()
    lock = moved(session.lock, spoken.project.moved)
    project = _as_rendered(spoken.project, lock, frozenset(spoken.unmade))
    outlook = make_plan(project, lock, PlanOptions(), session.locked, session.trace_of, {})
    clips = [clip for clip in project.clips if not is_stand_in(outlook, clip)]
    if clips and not any(clip.path in lock.entries for clip in clips):
        return [Problem("no clip of this film is in the lock yet", None, f"{HINT}: ltxflow build", CODE)]
    return [problem for clip in clips for problem in _disagreement(session, outlook, clip)]


def _as_rendered(project: Project, lock: Lock, unspoken: frozenset[str]) -> Project:
    def scene(each: Scene) -> Scene:
        known = all(clip.path in lock.entries for clip in each.clips)
        silent = Narration("none", Fraction(0), span=each.narration.span)
        return replace(each, narration=silent) if each.id in unspoken and known else each

    return replace(project, scenes=tuple(scene(each) for each in project.scenes))


def _disagreement(session: Session, outlook: Plan, clip: Clip) -> Iterator[Problem]:
    status = outlook.statuses[outlook.picked(clip)]
    if status.state == "hit":
        return
    entry = outlook.lock.entries.get(clip.path)
    take = entry.picked if entry else None
    hint = f"{HINT}: ltxflow build {clip.path}"
    if take is None:
        yield Problem(f"{clip.path} is not in the lock", clip.span, hint, CODE)
    elif status.key is None:
        yield Problem(f"{clip.path} {status.waits}, which is not as the lock has it", clip.span, hint, CODE)
    else:
        told = reasons(status.node, status.action, session.trace_of(Key(take.key)))
        what = ", ".join(reason.field for reason in told) or f"its key is {status.key[:8]}…, not {take.key[:8]}…"
        where = next((reason.span for reason in told if reason.span), clip.span)
        yield Problem(f"{clip.path} is not as the lock has it: {what}", where, hint, CODE)
