"""Which warnings and advice a film does not want to see. Apart from `lint`, whose word lists a plan need not load."""

from __future__ import annotations

from collections.abc import Iterable

from ltxflow.core.errors import Problem
from ltxflow.script.model import Clip, Project


def silenced(project: Project, problems: Iterable[Problem]) -> list[Problem]:
    """Return problems without the warnings and advice that the film, a scene or a clip silences by `ignore:`.

    What is about several clips is silent where all of them say so, what is about the film where all of its clips do.
    """
    return [problem for problem in problems if problem.level == "error" or not _is_silent(project, problem)]


def ignores(clip: Clip, code: str) -> bool:
    """Return whether a clip, by its own word or by that of its scene or film, silences a rule."""
    return code in (clip.get("ignore") or ())


def _is_silent(project: Project, problem: Problem) -> bool:
    if not problem.code:
        return False
    of_film = project.settings.get("ignore")
    if of_film is not None and problem.code in (of_film.value or ()):
        return True
    about = [c for c in project.clips if not problem.of or c.path in problem.of or c.scene in problem.of]
    return bool(about) and all(ignores(clip, problem.code) for clip in about)
