"""What the lock learns from a finished clip. Stand-ins teach it nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from ltxflow.core.timing import seed_for
from ltxflow.plan.outlook import Outlook
from ltxflow.plan.status import Status
from ltxflow.run.session import Session
from ltxflow.script.model import Clip
from ltxflow.steps import Node
from ltxflow.store.lock import LockTake, moved, with_take, write_lock
from ltxflow.store.traces import Trace


def keeper(session: Session, outlook: Outlook) -> Callable[[Node, Trace], None]:
    """Given a session, return what to call with each finished node: it writes the clip's line in the lock.

    The lock that is written carries the film's `moved:` entries out, once something was made.
    """
    session.lock = outlook.lock
    clips = {clip.path: clip for clip in outlook.project.clips}

    def keep(node: Node, trace: Trace) -> None:
        if node.kind != "clip" or is_stand_in(outlook, clips[node.clip]):
            return
        session.lock = with_take(
            session.lock, node.clip, node.take, lock_take(session, clips[node.clip], node.take, trace, node.spec.seed)
        )
        write_lock(session.lock_path, session.lock)

    return keep


def keep_hits(session: Session, outlook: Outlook, found: Mapping[str, Status]) -> None:
    """Given what is made, bring the lock in line with it: after a revert the lock names the older key again.

    The film's `moved:` entries are carried out too, unless all of it is a stand-in.
    """
    session.lock = moved(session.lock, outlook.project.moved)  # is so already where something was made
    clips = {clip.path: clip for clip in outlook.project.clips}
    final = [s for s in found.values() if s.node.kind == "clip" and not is_stand_in(outlook, clips[s.node.clip])]
    for status in final:
        node, trace = status.node, status.trace
        known = session.lock.take(node.clip, node.take)
        if trace is not None and (known is None or known.key != trace.key or known.tries < status.tries):
            made = lock_take(session, clips[node.clip], node.take, trace, node.spec.seed)
            made = replace(made, tries=status.tries)
            session.lock = with_take(session.lock, node.clip, node.take, made)
    if final:
        write_lock(session.lock_path, session.lock)


def is_stand_in(outlook: Outlook, clip: Clip) -> bool:
    return bool(outlook.project.profile.qualities[str(clip.get("quality"))].stand_in)


def lock_take(session: Session, clip: Clip, take: int, trace: Trace, seed: int | None = None) -> LockTake:
    """Given a finished take and the seed it was made with, return its record.

    Its seed is a derived one, of whichever try stands; None while all were explicit.
    """
    known = session.lock.take(clip.path, take)
    derived = known.seed if known else None
    if clip.explicit_seed(take) is None and (seed is not None or derived is None):
        derived = seed if seed is not None else seed_for(session.project.seed, clip.scene, clip.id, take)
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
