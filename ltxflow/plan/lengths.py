"""How long every clip is: the solver of core.timing with what the lock remembers. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.core.errors import Problem
from ltxflow.core.timing import Ask, Cut, Uncovered, needed_frames, solve
from ltxflow.script.model import Clip, Project, Scene
from ltxflow.store.lock import Lock

FROZEN = frozenset(["approved", "pinned"])


def cut_film(project: Project, lock: Lock, relength: bool = False) -> tuple[dict[str, Cut], list[Problem]]:
    """Given a film and its lock, return the Cut of every scene by id, and what is wrong or worth knowing.

    Lengths already rendered are kept while they cover the narration, unless `relength`. A scene that cannot be
    covered is an error at its narration.
    """
    cuts: dict[str, Cut] = {}
    problems: list[Problem] = []
    for scene in project.scenes:
        if not scene.clips:
            continue
        try:
            cuts[scene.id] = _cut(project, scene, lock, relength)
        except Uncovered as error:
            problems.append(Problem(f"{scene.id}: {error}", scene.narration.span, error.hint, "T101"))
            continue
        problems += [
            Problem(f"{scene.id}: {note}", scene.narration.span, code="T102", level="advice")
            for note in cuts[scene.id].notes
        ]
    return cuts, problems


def _cut(project: Project, scene: Scene, lock: Lock, relength: bool) -> Cut:
    need = 0
    if scene.narration.kind != "none":
        need = needed_frames(scene.narration.seconds, scene.pad_head, scene.pad_tail, project.fps)
    asks = [_ask(clip, lock) for clip in scene.clips]
    limits = project.profile.limits(project.fps)
    return solve(need, asks, scene.crossfade, limits, relength)


def _ask(clip: Clip, lock: Lock) -> Ask:
    entry = lock.entries.get(clip.path)
    take = entry.takes.get(entry.pick) if entry else None
    return Ask(
        name=clip.path,
        explicit=clip.length.frames,
        sticky=take.frames if take else None,
        fixed=bool(entry and entry.status in FROZEN),
    )


def lengths_by_clip(project: Project, cuts: Mapping[str, Cut]) -> dict[str, int]:
    """Given the cuts, return frames by clip path, for the clips of scenes that could be covered."""
    return {
        clip.path: frames
        for scene in project.scenes
        if scene.id in cuts
        for clip, frames in zip(scene.clips, cuts[scene.id].frames, strict=True)
    }
