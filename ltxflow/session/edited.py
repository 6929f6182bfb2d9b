"""Looks at the part of a film that was edited since the film was last looked at. The rest is as it was.

While all that the last look rested on holds (`looks`), and scenes and clips are the same ones, an edit inside scenes
can change nothing but these and what is made from them: they are loaded, keyed and compared as always, and the others
are counted. Whatever is not as simple as that is looked at as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from ltxflow.core.errors import LtxflowError
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.project.model import Project
from ltxflow.project.sources import ProjectRoots, read_part
from ltxflow.session.looks import Look, LookAnswerKey, Seen, needs_of, outside_of, read_look, stills_of
from ltxflow.session.session import Session, open_session


def look_at_edited(asked: LookAnswerKey) -> Seen | None:
    """Given what is asked, look at the scenes that were edited since; None where the film is to be looked at whole.

    Whatever is wrong is told by whoever looks at the whole. The session is for the caller to close.
    """
    with suppress(LtxflowError, OSError):
        then = read_look(asked.kept_at)
        if then is None or not then.footing.holds():
            return None
        place = ProjectRoots(asked.file.parent, asked.workspace)
        written = [scene.written for scene in then.scenes]
        sources = read_part(asked.file, place, then.head, written, then.is_as_it_was, then.touched)
        if sources is None or sources.numbers is None:
            return None
        session = open_session(
            asked.project, cwd=asked.cwd, env=asked.env, root=asked.root, command_line=asked.settings, sources=sources
        )
        with ExitStack() as opened:
            opened.enter_context(session)
            session.project = _without_idle(session.project, then.angles(sources.numbers))
            outlook = session.look(PlanOptions(asked.mode))
            if _is_the_rest_as_it_was(then, session, outlook, sources.numbers):
                opened.pop_all()  # whoever asked goes on with it
                rest = then.rest(sources.numbers, stills_of(session.project.scenes))
                return Seen(session, replace(outlook, rest=rest), then)
    return None


def _is_the_rest_as_it_was(then: Look, session: Session, outlook: Plan, numbers: Sequence[int]) -> bool:
    """Whether an edit stayed inside the scenes that were looked at: nothing about the others can be another."""
    project = session.project
    were = [then.scenes[number] for number in numbers]
    others = then.angles(numbers)
    is_same = [(scene.id, [clip.id for clip in scene.clips]) for scene in project.scenes] == [
        (scene.id, scene.clips) for scene in were
    ]
    own = {scene.id for scene in project.scenes}
    is_apart = all(own.issuperset(needs_of(scene)) for scene in project.scenes)
    return (
        is_same
        and is_apart
        and not project.moved
        and all(others.get(path, still.angle) == still.angle for path, still in stills_of(project.scenes).items())
        and not session.warnings
        and dict(project.foreign) == then.foreign
        and outside_of(session, outlook) == then.outside
    )


def _without_idle(project: Project, elsewhere: Iterable[str]) -> Project:
    """A part of a film without the images that are made for others: nothing uses them here, yet they are not idle."""
    used = {still.name for still in stills_of(project.scenes).values()}
    names = {path.partition(":")[2].partition("/")[0] for path in elsewhere} - used
    left = {name: found for name, found in project.references.items() if name not in names}
    return replace(project, references=left)
