"""Which rendition of each clip belongs in its place, and AI-DISCLOSURE.txt, the notice of how the film was made. Pure.

The licence of LTX-2 requires the notice, and so do the laws of many places. It has no title and no version, so that it
changes only with what made the film.

timeline.json: what plays when, in whole frames. Pure; see schemas/timeline.schema.json for its shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from textwrap import fill
from typing import Any

from ltxflow import __version__
from ltxflow.core.errors import LtxflowError
from ltxflow.core.timing import Cut, clip_file_name, narration_start, parse_gain, seconds_to_frames_up
from ltxflow.models.load import load_profile
from ltxflow.plan.evaluate import Status
from ltxflow.plan.plan import Plan
from ltxflow.plan.renditions import RANKS, PublishedClip, Rendition, State, is_draft, of_published
from ltxflow.project.model import Clip, Project, Scene
from ltxflow.store.traces import PINNED, Trace

WIDTH = 78


def disclosure(project: Project, placements: Iterable[ClipPlacement]) -> str:
    """Return the text that discloses how a film was made."""
    placed = list(placements)
    slates = sum(each.rank == RANKS["animatic"] for each in placed)
    parts = ["This film was made by a machine."]
    models = models_of(project, placed)
    if slates < len(placed) and len(models) == 1:
        parts.append(
            f"Its pictures and sounds were generated with {next(iter(models))}, a generative model, from written "
            "prompts and still images."
        )
    elif slates < len(placed):
        each = "; ".join(f"{', '.join(clips)} with {title}" for title, clips in models.items())
        parts.append(
            "Its pictures and sounds were generated with generative models from written prompts and still images: "
            f"{each}."
        )
    if slates:
        what = "all of its clips are" if slates == len(placed) else f"{slates} of its {len(placed)} clips are"
        parts.append(f"At this time {what} slates: drawn stand-ins for clips by {project.profile.title}.")
    if names := voices(project):
        parts.append(f"Its narration is a synthetic voice ({', '.join(names)}).")
    parts.append("Keep this notice with the film, and tell those who watch it.")
    return "\n\n".join(fill(part, WIDTH) for part in parts) + "\n"


Facts = Callable[[PublishedClip], Mapping[str, Any]]
ModelOf = Callable[[str], str]  # key → the title of the model that made its result, "" where unknown


def placements(
    plan: Plan,
    statuses: Mapping[str, Status],
    published: Mapping[str, PublishedClip],
    facts: Facts,
    current: Plan,
    model_of: ModelOf = lambda key: "",
) -> list[ClipPlacement]:
    """Return what belongs in each place, in film order.

    `statuses` are those of made targets, `published` the clips in the output folder by file name. Of clips in the plan
    that is the best that exists; another clip keeps its published file. One without any is left out. `facts` measures a
    file without a trace. `current` is the whole film as it would render now, which says what a kept file is.
    """
    best: dict[str, PublishedClip] = {}
    for each in published.values():
        if each.clip not in best or best[each.clip].rank < each.rank:
            best[each.clip] = each
    chosen = []
    for scene in plan.project.scenes:
        for clip in scene.clips:
            one = _best(plan, clip, statuses) if clip.path in plan.renditions else _kept(clip, best, current)
            if one is not None:
                file = clip_file_name(scene.index, clip.index)
                is_stale = one.state == "stale" or _is_old_slate(plan, clip, one)
                chosen.append(_placement(clip, file, one, facts, model_of, is_stale=is_stale))
    return chosen


def _best(plan: Plan, clip: Clip, statuses: Mapping[str, Status]) -> Rendition | None:
    """Return the best rendition of a clip after a build; its statuses may be newer than the plan."""
    known, status = plan.renditions[clip.path], statuses.get(plan.picked(clip))
    if status is None or status.trace is None:
        return known.best()
    if plan.mode == "animatic":
        return known.best(status)
    if is_draft(status.node):
        return replace(known, draft=status).best()
    return known.best() if known.other is not None else replace(known, final=status).best()


def _kept(clip: Clip, best: Mapping[str, PublishedClip], current: Plan) -> Rendition | None:
    if clip.path not in best:
        return None
    there, known = best[clip.path], current.renditions.get(clip.path)
    return of_published(there, known.state_of(there) if known else RANK_STATES[there.rank])


def _is_old_slate(plan: Plan, clip: Clip, one: Rendition) -> bool:
    """Return whether a slate that stays is of an earlier text, as far as a plan of slates can say."""
    status = plan.statuses.get(plan.picked(clip)) if plan.mode == "animatic" else None
    return one.state == "slate" and status is not None and status.key != one.key


def _placement(
    clip: Clip, file: str, one: Rendition, facts: Facts, model_of: ModelOf, *, is_stale: bool
) -> ClipPlacement:
    trace, there = one.trace, one.published
    measured: Mapping[str, Any]
    if trace is not None:
        is_of_film = one.status is not None and trace.key == one.status.key
        measured, model = trace.outputs["video"].facts, trace.model or ("" if is_of_film else model_in(trace))
    else:
        assert there is not None
        measured, model = there.facts or facts(there), model_of(there.key)
    return ClipPlacement(
        clip=clip.path,
        file=file,
        digest=one.digest,
        key=one.key,
        source="comfyui" if one.source == PINNED else one.source,  # the timeline knows slates and clips
        rank=one.rank,
        take=one.take,
        facts=measured,
        state=one.state,
        is_stale=is_stale,
        model=model,
    )


def model_in(trace: Trace) -> str:
    """Return the title of the model that made a trace; for an older trace without one, that of its profile."""
    if trace.model or not trace.fields.get("profile"):
        return trace.model
    try:
        return load_profile(str(trace.fields["profile"])).title
    except LtxflowError:
        return str(trace.fields["profile"])


TIMELINE_SCHEMA = "ltxflow.timeline/1"
TIMELINE = "timeline.json"
DISCLOSURE = "AI-DISCLOSURE.txt"

RANK_STATES: Sequence[State] = ("slate", "draft", "final")  # of files of which nothing else is known


@dataclass(frozen=True)
class ClipPlacement:
    """A clip's file in the published tree: its rendition, and what is known of it.

    `facts` has frames, fps, width, height and the sound's rate as probed. `state` is what the file is: final, draft,
    stale or slate. `is_stale` is set where the clip's text or settings have changed since it was made.
    """

    clip: str
    file: str  # file name in the output folder
    digest: str
    key: str
    source: str  # "comfyui" | "animatic"
    rank: int
    take: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)
    state: State = "final"
    is_stale: bool = False
    model: str = ""  # the title of the model that made it, "" where its trace does not have it


def timeline(
    project: Project,
    cuts: Mapping[str, Cut],
    placements: Mapping[str, ClipPlacement],
    *,
    complete: bool,
    narrations: Mapping[str, str],
    posters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the timeline of a film as plain JSON.

    `cuts` are its solved lengths by scene. `placements` is by clip path; a clip without one keeps its planned time with
    `src` null, and the timeline is not complete. `narrations` maps a scene's id to the published path of its sound,
    `posters` a clip's path to that of its picture, both relative to `public/`.
    """
    scenes: list[dict[str, Any]] = []
    start = 0
    for scene in project.scenes:
        entry = _scene(project, scene, cuts[scene.id], placements, start, narrations.get(scene.id), posters or {})
        scenes.append(entry)
        start += entry["durationInFrames"]
    width, height = project.size
    crossfades = [scene.crossfade for scene in project.scenes if len(scene.clips) > 1]
    return {
        "schema": TIMELINE_SCHEMA,
        "id": project.id,
        "title": project.title,
        "fps": project.fps,
        "width": width,
        "height": height,
        "durationInFrames": start,
        "crossfadeFrames": crossfades[0] if crossfades else 0,
        "complete": complete and all(clip["src"] for scene in scenes for clip in scene["clips"]),
        "captions": None,
        "generator": {
            "name": "ltxflow",
            "version": __version__,
            "model": ", ".join(models_of(project, placements.values())),
            "machineMade": True,
            "voices": voices(project),
            "disclosure": DISCLOSURE,
        },
        "scenes": scenes,
    }


def _scene(
    project: Project,
    scene: Scene,
    cut: Cut,
    placements: Mapping[str, ClipPlacement],
    start: int,
    sound: str | None,
    posters: Mapping[str, str],
) -> dict[str, Any]:
    clips: list[dict[str, Any]] = []
    position = 0
    for clip, planned, trim in zip(scene.clips, cut.frames, cut.trims, strict=True):
        placed = placements.get(clip.path)
        frames = int(placed.facts["frames"]) if placed else planned
        duration = min(planned - trim, frames)
        overlap = _overlap(scene, clips, duration)
        position = clips[-1]["from"] + clips[-1]["durationInFrames"] - overlap if clips else 0
        entry = _clip(project, clip, placed, frames, duration, position, overlap)
        poster = posters.get(clip.path) if placed else None
        clips.append({**entry, "absoluteFrom": start + position, "poster": poster})
    length = position + clips[-1]["durationInFrames"]
    return {
        "id": scene.id,
        "index": scene.index,
        "title": scene.title,
        "from": start,
        "durationInFrames": length,
        "crossfadeFrames": scene.crossfade if len(clips) > 1 else 0,
        "lead": narration_start(scene.pad_head, project.fps),
        "tail": seconds_to_frames_up(scene.pad_tail, project.fps),
        "script": {
            "text": scene.narration.text,
            "seconds": float(scene.narration.seconds),
            "isEstimate": scene.narration.estimated,
            "captions": None,
        },
        "narration": _narration(project, scene, sound),
        "coverage": {
            "neededFrames": cut.need,
            "effectiveFrames": length,
            "trimmedFrames": sum(cut.trims),
            "ok": length >= cut.need,
        },
        "clips": clips,
    }


def _overlap(scene: Scene, before: Sequence[Mapping[str, Any]], duration: int) -> int:
    """Return the crossfade into a clip, shortened where an older and shorter file would be used up by it."""
    if not before:
        return 0
    last = before[-1]
    left = int(last["durationInFrames"]) - int((last["transition"] or {}).get("durationInFrames", 0))
    is_last = len(before) == len(scene.clips) - 1
    return min(scene.crossfade, left, duration if is_last else duration // 2)


def _clip(
    project: Project,
    clip: Clip,
    placed: ClipPlacement | None,
    frames: int,
    duration: int,
    position: int,
    overlap: int,
) -> dict[str, Any]:
    width, height = project.size
    facts = placed.facts if placed else {}
    return {
        "id": clip.id,
        "take": placed.take if placed else 1,
        "src": f"{project.output.name}/{placed.file}" if placed else None,
        "source": placed.source if placed else None,
        "state": placed.state if placed else None,
        "isStandIn": placed is not None and placed.rank < RANKS["render"],
        "isStale": placed is not None and placed.is_stale,
        "frames": frames,
        "fps": project.fps,
        "width": facts.get("width", width),
        "height": facts.get("height", height),
        "trimStart": 0,
        "durationInFrames": duration,
        "from": position,
        "transition": {"type": "fade", "durationInFrames": overlap} if overlap else None,
        "hasAudio": bool(facts.get("audio_rate")),
        "volume": volume(parse_gain(str(clip.get("gain", "0dB")))),
        "sha256": placed.digest if placed else None,
    }


def _narration(project: Project, scene: Scene, sound: str | None) -> dict[str, Any] | None:
    spoken = scene.narration
    if sound is None or spoken.file is None:
        return None
    facts = spoken.file.facts
    return {
        "src": sound,
        "startFrame": narration_start(scene.pad_head, project.fps),
        "durationInFrames": seconds_to_frames_up(spoken.seconds, project.fps),
        "seconds": float(spoken.seconds),
        "samples": facts["samples"],
        "sampleRate": facts["sample_rate"],
        "text": spoken.text,
        "captions": None,
        "volume": volume(spoken.gain_db),
    }


def volume(gain_db: Fraction) -> float:
    """Return the factor for samples that a gain in decibels amounts to, to four places; 1 for none."""
    return round(10 ** (float(gain_db) / 20), 4) if gain_db else 1


def models_of(project: Project, placements: Iterable[ClipPlacement]) -> dict[str, list[str]]:
    """Return the models that made the published clips: title → paths of clips.

    A clip whose trace does not have its model counts as the film's profile, and so does a film without renders.
    """
    found: dict[str, list[str]] = {}
    for placed in placements:
        if placed.rank > RANKS["animatic"]:
            found.setdefault(placed.model or project.profile.title, []).append(placed.clip)
    return found or {project.profile.title: []}


def voices(project: Project) -> list[str]:
    """Return the engines whose voices are in the film, sorted."""
    spoken = (scene.narration for scene in project.scenes)
    return sorted({n.speech.engine.name for n in spoken if n.speech is not None and n.file is not None})


def broken(data: Mapping[str, Any]) -> list[str]:
    """Return what is impossible about a timeline; an empty list for every one that we write.

    Source: Remotion's TransitionSeries; a transition longer than a sequence throws, a clip shorter than its duration
    freezes silently on its last frame.
    """
    wrong: list[str] = []
    start = 0
    for scene in data["scenes"]:
        name = f"scene {scene['id']}"
        if not _are_whole(scene, "from", "durationInFrames", "crossfadeFrames", "lead", "tail"):
            wrong.append(f"{name} is not in whole frames")
        if scene["from"] != start:
            wrong.append(f"{name} starts at {scene['from']}, not {start}")
        start += scene["durationInFrames"]
        wrong += _broken_clips(name, scene)
        spoken = scene["narration"]
        if spoken and not _are_whole(spoken, "startFrame", "durationInFrames", "samples", "sampleRate"):
            wrong.append(f"{name}: the narration is not in whole frames")
        if spoken and scene["coverage"]["ok"] and data["complete"]:
            end = spoken["startFrame"] + spoken["durationInFrames"]
            if end > scene["durationInFrames"]:
                wrong.append(f"{name}: the narration ends at {end}, after the scene")
    if data["durationInFrames"] != start:
        wrong.append(f"the film lasts {start} frames, not {data['durationInFrames']}")
    return wrong


def _are_whole(data: Mapping[str, Any], *names: str) -> bool:
    return all(type(data[name]) is int and data[name] >= 0 for name in names)


def _broken_clips(name: str, scene: Mapping[str, Any]) -> list[str]:
    wrong = []
    clips: Sequence[Mapping[str, Any]] = scene["clips"]
    overlaps = [(clip["transition"] or {}).get("durationInFrames", 0) for clip in clips] + [0]
    if clips[0]["transition"] is not None:
        wrong.append(f"{name}: the first clip has a transition")
    at = 0
    for index, clip in enumerate(clips):
        place = f"{name}, clip {clip['id']}"
        if clip["trimStart"] + clip["durationInFrames"] > clip["frames"]:
            wrong.append(f"{place} plays {clip['durationInFrames']} of {clip['frames']} frames")
        if clip["durationInFrames"] < max(1, overlaps[index] + overlaps[index + 1]):
            wrong.append(f"{place} is shorter than its crossfades")
        if not _are_whole(clip, "frames", "trimStart", "durationInFrames", "from", "absoluteFrom"):
            wrong.append(f"{place} is not in whole frames")
        at -= overlaps[index]
        if clip["from"] != at:
            wrong.append(f"{place} starts at {clip['from']}, not {at}")
        if clip["absoluteFrom"] != scene["from"] + clip["from"]:
            wrong.append(f"{place} has {clip['absoluteFrom']} as its place in the film")
        at += clip["durationInFrames"]
    if at != scene["durationInFrames"]:
        wrong.append(f"{name} does not end with its last clip")
    return wrong
