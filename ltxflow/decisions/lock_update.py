"""Write finished clips to the lock, and compare a film with its lock (`check --locked`).

Stand-ins are not recorded. The comparison needs no store and no GPU, only what is in git.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

from ltxflow.core.digest import Key
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.target import Target
from ltxflow.lock.file import LockConflict, merge_problems
from ltxflow.lock.model import FROZEN, Lock, LockTake, moved, with_take
from ltxflow.plan.evaluate import Status
from ltxflow.plan.explain import reasons
from ltxflow.plan.plan import Plan, PlanOptions, derived_seed, make_plan
from ltxflow.project.model import Clip, Narration, Project, Scene, Still
from ltxflow.session.session import Session
from ltxflow.steps import Node
from ltxflow.store.traces import Trace

KEPT = ("clip", "reference")


class LockUpdater:
    """Updates the lock with each finished node; `write` saves the new lines.

    Lines may be saved late, since they follow from the trace, which is on disk already: a build that is killed in
    between writes them in its next run (`keep_hits`). The first save also applies the `moved:` entries of the film.
    """

    def __init__(self, session: Session, plan: Plan) -> None:
        session.lock = plan.lock
        self.session, self.plan = session, plan
        self.taken = taken_of(plan)
        self.written = session.lock

    def __call__(self, node: Node, trace: Trace) -> None:
        if node.kind not in KEPT or is_stand_in(self.plan, self.taken[node.entry]):
            return
        if is_decided(self.session.lock, self.plan, node, trace):
            return
        made = lock_take(self.session, self.taken[node.entry], node.take, trace, node.spec.seed)
        self.session.lock = with_take(self.session.lock, node.entry, node.take, made)

    def write(self) -> None:
        if self.session.lock is not self.written:
            with suppress(LockConflict):  # reported at the end, if it still holds
                save_merged(self.session)
            self.written = self.session.lock


def save_merged(session: Session) -> None:
    """Save the lock during a build, and warn once of what others changed in it. Raise LockConflict as `save_lock`."""
    lock = session.lock
    merged = session.save_lock()
    if merged.lock is not lock:
        session.has_later_decisions = True
        new = [each for each in merge_problems(merged, session.lock_file.name) if each not in session.warnings]
        session.warnings += new


def is_decided(lock: Lock, plan: Plan, node: Node, trace: Trace) -> bool:
    """Return whether a person decided, since the plan was made, that a take has other bytes than a build made.

    A take may be approved, pinned or accepted while it is rendered again; the render stays in the store.
    """
    take = lock.take(node.entry, node.take)
    if take is None or take.key == trace.key:
        return False
    if lock.decision(node.entry, node.take).status in FROZEN:
        return True
    status = plan.statuses.get(node.target)
    is_forced = status is not None and status.is_forced
    return take.accepted is not None and take.accepted.key == trace.key and not is_forced


def keep_hits(session: Session, plan: Plan, found: Mapping[str, Status]) -> None:
    """Update the lock from the final statuses: after a revert it names the older key again.

    Also applies the `moved:` entries of the film, unless all of it is a stand-in.
    """
    session.lock = moved(session.lock, plan.project.moved)  # done already where something was made
    taken = taken_of(plan)
    final = [s for s in found.values() if s.node.kind in KEPT and not is_stand_in(plan, taken[s.node.entry])]
    for status in final:
        node, trace = status.node, status.trace
        if trace is None or is_decided(session.lock, plan, node, trace):
            continue
        known, before = (lock.take(node.entry, node.take) for lock in (session.lock, plan.lock))
        if known is None and before is not None and before.key == trace.key:
            continue  # a person forgot it during the build
        if known is None or known.key != trace.key or known.tries < status.tries:
            made = lock_take(session, taken[node.entry], node.take, trace, node.spec.seed)
            made = replace(made, tries=status.tries)
            session.lock = with_take(session.lock, node.entry, node.take, made)
    session.lock = _with_frames(session.lock, found)
    try:
        if final:
            save_merged(session)
        elif not session.lock_file.is_unchanged():  # stand-ins are not recorded, but shown beside the takes in the cut
            session.lock, session.has_later_decisions = session.lock_file.read(), True
    except LtxflowError as error:
        session.warnings += [_unwritten(session, problem) for problem in error.problems]


def _unwritten(session: Session, error: Problem) -> Problem:
    found = problem("K101", error.span, file=session.lock_file.name, cause=error.message, fix=error.hint)
    return replace(found, code=error.code or found.code, hint=found.hint.removeprefix("; "))


def _with_frames(lock: Lock, found: Mapping[str, Status]) -> Lock:
    """Record the pixels of frames that clips start from with their takes, so that keys need no store."""
    for status in found.values():
        node, trace = status.node, status.trace
        if node.kind != "frame" or trace is None:
            continue
        frame, number = node.spec.frame, Target(node.target).take
        take = lock.take(frame.clip, number)
        source = trace.action.get("inputs", {}).get("clip")
        if take is None or source not in (take.digest, *take.outputs.values()):
            continue  # the frame of a stand-in, or a trace made from the lock
        image = trace.outputs["image"]
        image_facts = {name: value for name, value in image.facts.items() if name not in ("digest", "of")}
        # the source of the frame is recorded, too: git may merge it with the lines of another render
        taken = {**take.facts.get("taken", {}), frame.moment: {"digest": image.digest, "of": source, **image_facts}}
        facts = {**take.facts, "taken": dict(sorted(taken.items()))}
        if facts != take.facts:
            lock = with_take(lock, frame.clip, number, replace(take, facts=facts))
    return lock


def taken_of(plan: Plan) -> dict[str, Clip | Still]:
    """Return the clips and references of a plan, by their names in the lock."""
    both: list[Clip | Still] = [*plan.project.clips, *plan.project.stills]
    return {one.path: one for one in both}


def is_stand_in(plan: Plan, clip: Clip | Still) -> bool:
    """Return whether the quality of a clip only stands in for the final one."""
    if isinstance(clip, Still):
        return False
    return bool(plan.project.profile.qualities[str(clip.get("quality"))].stand_in)


def lock_take(session: Session, clip: Clip | Still, take: int, trace: Trace, seed: int | None = None) -> LockTake:
    """Return the lock's record of a finished take that was made with `seed`.

    The recorded seed is derived, that of the try that was kept; None while all seeds were explicit.
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


def disagreements(session: Session) -> list[Problem]:
    """Return a problem for each clip whose take in the lock is missing or has a different key.

    A lock without any clip is one problem. Stand-ins are not checked. Rendered lengths are kept where the narration
    is not synthesized here, since its length is unknown.
    """
    spoken = session.speech()
    lock = moved(session.lock, spoken.project.moved)
    project = _as_rendered(spoken.project, lock, frozenset(spoken.unmade))
    plan = make_plan(project, lock, PlanOptions(), session.locked, session.trace_of, {})
    clips = [clip for clip in project.clips if not is_stand_in(plan, clip)]
    if clips and not any(clip.path in lock.entries for clip in clips):
        return [problem("K001.empty")]
    return [each for clip in clips for each in _disagreement(session, plan, clip)]


def _as_rendered(project: Project, lock: Lock, unspoken: frozenset[str]) -> Project:
    def scene(each: Scene) -> Scene:
        known = all(clip.path in lock.entries for clip in each.clips)
        silent = Narration("none", Fraction(0), span=each.narration.span)
        return replace(each, narration=silent) if each.id in unspoken and known else each

    return replace(project, scenes=tuple(scene(each) for each in project.scenes))


def _disagreement(session: Session, plan: Plan, clip: Clip) -> Iterator[Problem]:
    status = plan.statuses[plan.picked(clip)]
    if status.state == "hit":
        return
    entry = plan.lock.entries.get(clip.path)
    take = entry.picked if entry else None
    if take is None:
        yield problem("K001.missing", clip.span, clip=clip.path)
    elif status.key is None:
        yield problem("K001.blocked", clip.span, clip=clip.path, cause=status.waits)
    else:
        found = reasons(status.node, status.action, session.trace_of(Key(take.key)))
        what = ", ".join(reason.field for reason in found) or f"key {status.key[:8]}… instead of {take.key[:8]}…"
        where = next((reason.span for reason in found if reason.span), clip.span)
        yield problem("K001.differs", where, clip=clip.path, what=what)
