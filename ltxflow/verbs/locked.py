"""Whether a film and its lock agree. Needs no store and no GPU: what is in git will do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from ltxflow.core.digest import Key
from ltxflow.core.errors import Problem
from ltxflow.plan.explain import reasons
from ltxflow.plan.outlook import Outlook, Question, look
from ltxflow.script.model import Clip, Narration, Project, Scene
from ltxflow.store.lock import Lock, moved
from ltxflow.verbs.keep import is_stand_in
from ltxflow.verbs.session import Session

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
    outlook = look(project, lock, Question(), session.locked, session.trace_of, {})
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


def _disagreement(session: Session, outlook: Outlook, clip: Clip) -> Iterator[Problem]:
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
