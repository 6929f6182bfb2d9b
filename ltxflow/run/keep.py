"""What the lock learns from a finished clip. Stand-ins teach it nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ltxflow.core.timing import seed_for
from ltxflow.plan.outlook import Outlook
from ltxflow.plan.status import Status
from ltxflow.run.session import Session
from ltxflow.script.model import Clip
from ltxflow.steps import Node
from ltxflow.store.lock import LockTake, with_take, write_lock
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
            session.lock, node.clip, node.take, lock_take(session, clips[node.clip], node.take, trace)
        )
        write_lock(session.lock_path, session.lock)

    return keep


def keep_hits(session: Session, outlook: Outlook, found: Mapping[str, Status]) -> None:
    """Given what is made, bring the lock in line with it: after a revert the lock names the older key again."""
    lock = outlook.lock if session.lock.entries == outlook.lock.entries else session.lock
    clips = {clip.path: clip for clip in outlook.project.clips}
    for status in found.values():
        node, trace = status.node, status.trace
        if node.kind != "clip" or trace is None or is_stand_in(outlook, clips[node.clip]):
            continue
        known = lock.take(node.clip, node.take)
        if known is None or known.key != trace.key:
            lock = with_take(lock, node.clip, node.take, lock_take(session, clips[node.clip], node.take, trace))
    if outlook.mode == "render" and lock.entries != session.lock.entries:
        write_lock(session.lock_path, lock)
    session.lock = lock


def is_stand_in(outlook: Outlook, clip: Clip) -> bool:
    return bool(outlook.project.profile.qualities[str(clip.get("quality"))].stand_in)


def lock_take(session: Session, clip: Clip, take: int, trace: Trace) -> LockTake:
    """Given a finished take, return its record: the seed is the one it has without an explicit `seed:`."""
    known = session.lock.take(clip.path, take)
    derived = known.seed if known and known.seed is not None else None
    if derived is None:
        derived = seed_for(session.project.seed, clip.scene, clip.id, take)
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
