"""Solve how long every clip is, with what the lock records, and plan what is spoken first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import Problem, problem
from ltxflow.core.timing import (
    STEP,
    Cut,
    LengthConflict,
    LengthRequest,
    narration_start,
    needed_frames,
    snap_up,
    solve,
    solve_parts,
)
from ltxflow.lock.model import Lock
from ltxflow.plan.evaluate import Enter, Lookup, Status, evaluate
from ltxflow.plan.graph import BuildGraph, build_graph
from ltxflow.project.model import Clip, FrameOf, Media, Narration, Project, Scene
from ltxflow.project.settings import without_ignored
from ltxflow.project.speech import shown
from ltxflow.steps import ResolvedInputs, step


def cut_film(project: Project, lock: Lock, relength: bool = False) -> tuple[dict[str, Cut], list[Problem]]:
    """Return the Cut of every scene by id, and what is wrong or worth knowing.

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
        except LengthConflict as error:
            hint = f"{error.hint}{_to_free(scene, lock)}"
            problems.append(problem("T101", scene.narration.span, hint=hint, scene=scene.id, problem=error))
            continue
        problems += [
            problem("T102", scene.narration.span, of=(scene.id,), scene=scene.id, note=note)
            for note in cuts[scene.id].notes
        ]
    return cuts, without_ignored(project, problems)


def _continued(clip: Clip) -> Iterator[str]:
    """Yield the paths of clips whose last frames this one continues: they play to their end."""
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
    """Return a further hint where a clip's length is fixed by an approved or pinned take."""
    frozen = [clip.path for clip in scene.clips if (entry := lock.entries.get(clip.path)) and entry.is_frozen]
    return f', or let go of {" or ".join(frozen)}: ltxflow reject {frozen[0]} "too short"' if frozen else ""


def _parts(scene: Scene, need: int, fps: int) -> list[int]:
    """Return how long each clip plays before the next, which begins with the first line that it covers."""
    starts = scene.narration.starts
    if not need or not all(clip.covers and clip.covers[0] in starts for clip in scene.clips):
        return []
    begins = [0, *(narration_start(scene.pad_head + starts[clip.covers[0]], fps) for clip in scene.clips[1:]), need]
    return [end - begin for begin, end in pairwise(begins)]


def _ask(clip: Clip, lock: Lock, is_continued: bool) -> LengthRequest:
    """Return the length that is requested of a clip. The lock has delivered frames.

    A clip that continues another samples `again` more; one that is doubled makes 16n+1.
    """
    entry = lock.entries.get(clip.path)
    take = entry.takes.get(entry.pick) if entry else None
    fixed = bool(entry and entry.is_frozen)
    again, step = clip.frames_again, STEP * 2 if clip.is_doubled else STEP
    sticky = take.frames + again if take else None
    if sticky is not None and not fixed:
        sticky = snap_up(sticky, step)  # it was made in another way, if that changes anything
    return LengthRequest(clip.path, clip.length.frames, sticky, fixed, again, step, is_continued, clip.length.around)


def lengths_by_clip(project: Project, cuts: Mapping[str, Cut]) -> dict[str, int]:
    """Return the frames each clip delivers, by its path, for the scenes that could be covered."""
    return {
        clip.path: frames
        for scene in project.scenes
        if scene.id in cuts
        for clip, frames in zip(scene.clips, cuts[scene.id].frames, strict=True)
    }


KINDS = ("line", "narration")


@dataclass(frozen=True)
class PendingLine:
    """A line that is still to be spoken, and by whom. `engine` is what the project calls it."""

    target: str
    key: Key
    scene: str
    line: str
    text: str
    engine: str
    voice: str


@dataclass(frozen=True)
class SpeechPlan:
    """A film's speech: its plan, what is known of every line and narration, and the film with what was measured."""

    project: Project
    plan: BuildGraph | None = None
    statuses: Mapping[str, Status] = field(default_factory=dict)

    @property
    def unmade(self) -> dict[str, Status]:
        """Scene id → the narration that is still to be spoken."""
        return {
            target.partition(":")[2]: status
            for target, status in self.statuses.items()
            if status.node.kind == "narration" and status.state != "hit"
        }

    @property
    def unsaid(self) -> tuple[PendingLine, ...]:
        """The lines that a build would have spoken, in film order; a repeated line is spoken once."""
        found: dict[Key, PendingLine] = {}
        for target, status in self.statuses.items():
            if status.node.kind == "line" and status.state != "hit" and status.key is not None:
                speech, line = status.node.spec.speech, status.node.spec.line
                scene = target.partition(":")[2].partition("/")[0]
                pending = PendingLine(
                    target, status.key, scene, line.id, shown(line.text), speech.engine.name, speech.voice
                )
                found.setdefault(status.key, pending)
        return tuple(found.values())


def speak(
    project: Project, lookup: Lookup, blob: Callable[[Digest], Path], enter: Enter = lambda node: None
) -> SpeechPlan:
    """Return a film's speech, and the film with its durations: measured where spoken, estimated elsewhere.

    `blob` returns the path of a digest's bytes; `enter` is as in `evaluate`. A film without engines is unchanged.
    """
    if not any(scene.narration.speech for scene in project.scenes):  # what speaks need not even be imported
        return SpeechPlan(project)
    wishes = ResolvedInputs({}, lambda clip, take: 0)
    nodes = [node for kind in KINDS for node in step(kind).nodes(project, wishes)]
    if not nodes:
        return SpeechPlan(project)
    plan = build_graph(nodes, [node.target for node in nodes if node.kind == "narration"])
    found = evaluate(plan, lookup, enter=enter)
    scenes = []
    for scene in project.scenes:
        status = found.get(f"narration:{scene.id}")
        if status is not None and status.trace is not None:
            sound = status.trace.outputs["speech"]
            scene = replace(scene, narration=_measured(scene.narration, scene.id, sound, blob(sound.digest)))
        scenes.append(scene)
    return SpeechPlan(replace(project, scenes=tuple(scenes)), plan, found)


def _measured(narration: Narration, scene: str, sound: Output, path: Path) -> Narration:
    facts = {"samples": sound.facts["samples"], "sample_rate": sound.facts["sample_rate"]}
    file = Media(path, f"{scene}.wav", sound.digest, facts, narration.span)
    seconds = Fraction(facts["samples"], facts["sample_rate"])
    starts = {
        line.id: Fraction(place["start_sample"], facts["sample_rate"])
        for line, place in zip(narration.speech.lines, sound.facts.get("lines", ()), strict=False)
    }
    return replace(narration, seconds=seconds, estimated=False, file=file, starts=starts or narration.starts)
