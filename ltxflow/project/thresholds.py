"""What is looked for in a clip that came back: a film's `checks:` as thresholds. Pure.

Which warnings and advice a film does not want to see. Apart from `lint`, whose word lists a plan need not load.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ltxflow.core.errors import Problem
from ltxflow.media.findings import Thresholds
from ltxflow.models.profile import Profile
from ltxflow.project.model import Clip, Project

SECONDS: Mapping[str, str] = {"frozen": "freeze_s", "black": "black_s", "silence": "silence_s", "sync": "sync_s"}
NUMBERS: Mapping[str, str] = {
    "motion": "motion",
    "silent": "silent_db",
    "clipped": "top_share",
    "duplicate": "duplicate",
}
SWITCHES: Mapping[str, str] = {
    "cut": "cuts",
    "sound": "wants_sound",
    "size": "size",
    "rate": "rate",
    "length": "length",
}


def thresholds(clip: Clip, profile: Profile) -> Thresholds | None:
    """Given a clip, return from where on what came back is told; None where its checks are off."""
    if clip.get("checks.all") is False:
        return None
    told: dict[str, Any] = {}
    for fields, read in ((SECONDS, _seconds), (NUMBERS, float), (SWITCHES, bool)):
        for name, field in fields.items():
            value = clip.get(f"checks.{name}", True)
            value = profile.checks.get(name, True) if value is True else value
            if value is not True:
                told[field] = None if value is False and fields is not SWITCHES else read(value)
    return Thresholds(**told)


def _seconds(text: str) -> float:
    return float(str(text).removesuffix("s"))


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
