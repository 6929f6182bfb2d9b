"""How long every clip is: the solver of core.timing with what the lock remembers. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

from ltxflow.core.errors import Problem
from ltxflow.core.timing import (
    STEP,
    Ask,
    Cut,
    Uncovered,
    narration_start,
    needed_frames,
    snap_up,
    solve,
    solve_parts,
)
from ltxflow.script.ignoring import silenced
from ltxflow.script.model import Clip, FrameOf, Project, Scene
from ltxflow.store.lock import Lock

FROZEN = frozenset(["approved", "pinned"])


def cut_film(project: Project, lock: Lock, relength: bool = False) -> tuple[dict[str, Cut], list[Problem]]:
    """Given a film and its lock, return the Cut of every scene by id, and what is wrong or worth knowing.

    Lengths already rendered are kept while they cover the narration, unless `relength`. A scene that cannot be
    covered is an error at its narration. The frames of a Cut are here those that each clip delivers: what a
    continuation samples again is not among them.
    """
    cuts: dict[str, Cut] = {}
    continued = frozenset(path for clip in project.clips for path in _continued(clip))
    problems: list[Problem] = []
    for scene in project.scenes:
        if not scene.clips:
            continue
        try:
            cuts[scene.id] = _cut(project, scene, lock, relength, continued)
        except Uncovered as error:
            hint = f"{error.hint}{_to_free(scene, lock)}"
            problems.append(Problem(f"{scene.id}: {error}", scene.narration.span, hint, "T101"))
            continue
        problems += [
            Problem(f"{scene.id}: {note}", scene.narration.span, code="T102", level="advice", of=(scene.id,))
            for note in cuts[scene.id].notes
        ]
    return cuts, silenced(project, problems)


def _continued(clip: Clip) -> Iterator[str]:
    """The clips whose last frames this one goes on from: they play to their end."""
    if clip.extends:
        yield clip.extends.clip
    for picture in clip.pictures.values():
        if isinstance(picture, FrameOf) and picture.frame is None:
            yield picture.clip


def _cut(project: Project, scene: Scene, lock: Lock, relength: bool, continued: frozenset[str]) -> Cut:
    need = 0
    if scene.narration.kind != "none":
        need = needed_frames(scene.narration.seconds, scene.pad_head, scene.pad_tail, project.fps)
    asks = [_ask(clip, lock, clip.path in continued) for clip in scene.clips]
    limits = project.profile.limits(project.fps)
    parts = _parts(scene, need, project.fps)
    if parts:
        cut = solve_parts(parts, asks, scene.crossfade, limits, relength)
    else:
        cut = solve(need, asks, scene.crossfade, limits, relength)
    delivered = (frames - ask.new_frames_less for frames, ask in zip(cut.frames, asks, strict=True))
    return replace(cut, frames=tuple(delivered))


def _to_free(scene: Scene, lock: Lock) -> str:
    """What else can be done where a clip's length stays because a person said that the take does."""
    frozen = [clip.path for clip in scene.clips if (entry := lock.entries.get(clip.path)) and entry.status in FROZEN]
    return f', or let go of {" or ".join(frozen)}: ltxflow reject {frozen[0]} "too short"' if frozen else ""


def _parts(scene: Scene, need: int, fps: int) -> list[int]:
    """How long each clip plays before the next begins, where clips cover lines: the next begins with its first line."""
    starts = scene.narration.starts
    if not need or not all(clip.covers and clip.covers[0] in starts for clip in scene.clips):
        return []
    begins = [0, *(narration_start(scene.pad_head + starts[clip.covers[0]], fps) for clip in scene.clips[1:]), need]
    return [end - begin for begin, end in pairwise(begins)]


def _ask(clip: Clip, lock: Lock, is_continued: bool) -> Ask:
    """The lock knows delivered frames. A clip that continues samples `again` more; one that is doubled makes 16n+1."""
    entry = lock.entries.get(clip.path)
    take = entry.takes.get(entry.pick) if entry else None
    fixed = bool(entry and entry.status in FROZEN)
    again, step = clip.frames_again, STEP * 2 if clip.is_doubled else STEP
    sticky = take.frames + again if take else None
    if sticky is not None and not fixed:
        sticky = snap_up(sticky, step)  # it was made in another way, if that changes anything
    return Ask(clip.path, clip.length.frames, sticky, fixed, again, step, is_continued, clip.length.around)


def lengths_by_clip(project: Project, cuts: Mapping[str, Cut]) -> dict[str, int]:
    """Given the cuts, return the frames each clip delivers, by its path, for the scenes that could be covered."""
    return {
        clip.path: frames
        for scene in project.scenes
        if scene.id in cuts
        for clip, frames in zip(scene.clips, cuts[scene.id].frames, strict=True)
    }
