"""What a film is after a build, from what it was before and what a build does: so the next plan need not look again.

A build changes what its own scenes rest on, and files that all share: these it wrote itself. A scene that was quiet
when it began is as it was if nothing that it rests on was changed meanwhile by anybody; the others are looked at when
somebody asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ltxflow.lock.model import Lock
from ltxflow.plan.plan import KIND_OF, Plan
from ltxflow.plan.review import is_inspected
from ltxflow.session.looks import LookAnswerKey, Mark, Seen, is_lasting, keep_as, look_of, marks_of, scenes_of
from ltxflow.session.session import Session
from ltxflow.store.snapshot import absolute, changed, footing_on, states
from ltxflow.store.speeds import SPEEDS
from ltxflow.store.traces import trace_folders


@dataclass(frozen=True)
class LookBeforeBuild:
    """A film when its build began: `states` are those of all that an answer about it rests on, but for `marks`, the
    files that its scenes are written in."""

    seen: Seen
    lock: Lock
    marks: Mapping[str, Mark]
    states: Mapping[str, bytes]


def eve_of(session: Session, outlook: Plan) -> LookBeforeBuild | None:
    """Given what a build found when it began, return the Eve; None where nothing can be kept of it when it ends."""
    seen = Seen(session, outlook)
    if not is_lasting(seen):
        return None
    rests = absolute(session.rests_on()) - absolute(session.loaded.sources)
    shared, store = _shared(session), _inside(session.store.root)
    kept = {path for path in rests if path in shared or path.startswith(store)}
    marks, rest = marks_of(session, session.opened_ns), states(rests - kept, session.opened_ns)
    stored = states(kept)
    if marks is None or rest is None or stored is None:
        return None
    return LookBeforeBuild(seen, session.lock, marks, {**rest, **stored})


def keep_after(asked: LookAnswerKey, eve: LookBeforeBuild) -> None:
    """Given what was asked, and what the film was when its build began, keep what it is now that all of it is made.

    Nothing is kept where somebody else changed what a quiet scene rests on.
    """
    session = eve.seen.session
    loud, shared = _loud(eve), _shared(session)
    now = states(eve.states)
    if now is None:
        return
    others = (
        path
        for path, was_there in changed(eve.states, now).items()
        if path not in shared and not _is_nothing_to_the_quiet(session, path, was_there, loud)
    )
    if any(others) or not session.lock_file.is_unchanged():
        return
    scenes = [replace(scene, is_quiet=scene.is_quiet and scene.id not in loud) for scene in scenes_of(eve.seen)]
    keep_as(asked, look_of(eve.seen, scenes, eve.marks, footing_on(now)))


def _loud(eve: LookBeforeBuild) -> set[str]:
    """The ids of the scenes that the build may have changed, or of which more may be known once it is over."""
    session, outlook = eve.seen.session, eve.seen.outlook
    was, now = eve.lock.entries, session.lock.entries
    clips = {clip.path for clip in session.project.clips if was.get(clip.path) != now.get(clip.path)}
    clips |= {s.node.clip for target, s in outlook.statuses.items() if s.trace is None or _is_unseen(outlook, target)}
    return {clip.partition("/")[0] for clip in clips}


def _is_unseen(outlook: Plan, target: str) -> bool:
    verdict = outlook.verdicts.get(target)
    return (verdict is None or not verdict.is_current) and is_inspected(outlook.statuses[target].node)


def _is_nothing_to_the_quiet(session: Session, path: str, was_there: bool, loud: set[str]) -> bool:
    """Whether a changed file is none that a plan looks at, of a scene that is quiet: such a one has all that it needs,
    so that what is new in the store is nothing to it."""
    if path.startswith(_inside(session.store.root)):
        return not was_there
    base = _inside(session.project.output.parent)
    entry = session.published.entries.get(path.removeprefix(base)) if path.startswith(base) else None
    if entry is None:
        return False
    kind, _, rest = entry.target.partition(":")
    return kind not in KIND_OF.values() or rest.partition("/")[0] in loud


def _inside(folder: Path) -> str:
    """What the absolute path of everything in a folder begins with."""
    return f"{os.path.abspath(folder)}{os.sep}"


def _shared(session: Session) -> set[str]:
    """What every build writes, whatever it makes: the lock, records, the store's folders."""
    store, own = session.store, session.own
    paths: Iterable[Path] = (
        *(session.lock_path, session.record_path, own / "references", store.root, store.root / SPEEDS),
        *(*store.cas.folders(), *trace_folders(store.traces)),
    )
    return absolute(paths)
