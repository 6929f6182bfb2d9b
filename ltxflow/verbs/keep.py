"""What the lock learns from a finished clip. Stand-ins teach it nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from ltxflow.core.errors import Problem
from ltxflow.plan.outlook import Outlook, derived_seed
from ltxflow.plan.status import Status
from ltxflow.script.model import Clip, Still
from ltxflow.steps import Node
from ltxflow.store.lock import Lock, LockTake, moved, with_take
from ltxflow.store.lockfile import Overtaken
from ltxflow.store.traces import Trace
from ltxflow.verbs.session import Session

KEPT = ("clip", "reference")


class Keeper:
    """Called with each finished node: the clip's line in the lock. `write` writes all lines that are new.

    A line may wait for others, since it follows from the trace, which is on the disk by then: a run that is killed in
    between finds it, and then writes the line (`keep_hits`). The lock that is written carries the film's `moved:`
    entries out, once something was made.
    """

    def __init__(self, session: Session, outlook: Outlook) -> None:
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
            with suppress(Overtaken):  # it is told in the end, when it may have been put in order
                self.session.save_lock()
            self.written = self.session.lock


def keep_hits(session: Session, outlook: Outlook, found: Mapping[str, Status]) -> None:
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
        except Overtaken as error:
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


def taken_of(outlook: Outlook) -> dict[str, Clip | Still]:
    """Given an outlook, return all that has takes, as the lock calls it."""
    both: list[Clip | Still] = [*outlook.project.clips, *outlook.project.stills]
    return {one.path: one for one in both}


def is_stand_in(outlook: Outlook, clip: Clip | Still) -> bool:
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
