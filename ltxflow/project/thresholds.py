"""Resolve `checks:` to the thresholds of the clip checks, and apply `ignore:`. Pure.

Separate from `lint`, so that a plan does not load its word lists.
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
    """Return the thresholds for checks of a clip; None where its checks are off."""
    if clip.get("checks.all") is False:
        return None
    values: dict[str, Any] = {}
    for fields, read in ((SECONDS, _seconds), (NUMBERS, float), (SWITCHES, bool)):
        for name, field in fields.items():
            value = clip.get(f"checks.{name}", True)
            value = profile.checks.get(name, True) if value is True else value
            if value is not True:
                values[field] = None if value is False and fields is not SWITCHES else read(value)
    return Thresholds(**values)


def _seconds(text: str) -> float:
    return float(str(text).removesuffix("s"))


def without_ignored(project: Project, problems: Iterable[Problem]) -> list[Problem]:
    """Return problems without the warnings and advice that the film, a scene or a clip ignores.

    A problem of several clips is left out where all of them ignore it, one of the film where all of its clips do.
    """
    of_film = project.settings.get("ignore")
    by_film = frozenset((of_film.value or ()) if of_film else ())
    by_name: dict[str, list[Clip]] = {}  # a clip by its path, those of a scene by its id
    for clip in project.clips:
        by_name.setdefault(clip.path, []).append(clip)
        by_name.setdefault(clip.scene, []).append(clip)

    def is_ignored(problem: Problem) -> bool:
        if problem.level == "error" or not problem.code:
            return False
        if problem.code in by_film:
            return True
        about = [clip for name in problem.of for clip in by_name.get(name, ())] if problem.of else project.clips
        return bool(about) and all(ignores(clip, problem.code) for clip in about)

    return [problem for problem in problems if not is_ignored(problem)]


def ignores(clip: Clip, code: str) -> bool:
    """Return whether a clip, its scene or its film ignores a rule."""
    return code in (clip.get("ignore") or ())
