"""The captions of a film as files: film.srt and film.vtt, and Remotion's JSON a scene. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ltxflow.core.timing import narration_start
from ltxflow.deliver.captions import (
    Cue,
    Passage,
    cues,
    edited_cue,
    moved,
    passages,
    remotion,
    srt,
    webvtt,
    within,
)
from ltxflow.media.joining import Caption
from ltxflow.script.model import Project, Scene

FOLDER = "captions"
SRT, VTT = f"{FOLDER}/film.srt", f"{FOLDER}/film.vtt"
SHORTEST_REST_S = 0.3  # of a caption that a person let run into the next scene: less of it is not shown there


def caption_files(
    project: Project, told: Mapping[str, Any], timings: Mapping[str, Mapping[str, Any]]
) -> dict[str, bytes]:
    """Return the caption files of a film, path → bytes; none for a film without words.

    `told` is its timeline, `timings` has the `timing` of every narration that is spoken, by scene. Times of film.srt
    and film.vtt are the film's, those of `<scene>.json` the scene's. A scene that has a text but no sound gets its
    words spread over the time that is planned. No cue has words of two scenes, or is shown in both.
    """
    of_film: list[Cue] = []
    files: dict[str, bytes] = {}
    for scene, placed in zip(project.scenes, told["scenes"], strict=True):
        start, length = placed["from"] / project.fps, placed["durationInFrames"] / project.fps
        found = [within(passage, length) for passage in _passages(project, scene, timings.get(scene.id))]
        if not found:
            continue
        files[_of_scene(scene.id)] = _json(cues(found, length))
        of_film += cues([moved(passage, start) for passage in found], start + length)
    if of_film:
        files |= {SRT: srt(of_film).encode(), VTT: webvtt(of_film).encode()}
    return files


def corrected(files: Mapping[str, bytes], told: Mapping[str, Any], captions: Sequence[Caption]) -> dict[str, bytes]:
    """Return caption files that say what a person wrote into film.srt; film.srt as it is in `files`.

    `captions` are those of the corrected film.srt, in ms of the film. The words of one share its time.
    """
    found = [
        edited_cue(caption.start / 1000, caption.end / 1000, caption.lines, caption.italics) for caption in captions
    ]
    changed = {VTT: webvtt(found).encode()}
    for scene in told["scenes"]:
        start, end = scene["from"] / told["fps"], (scene["from"] + scene["durationInFrames"]) / told["fps"]
        shown = [part for cue in found if (part := _part(cue, start, end)) is not None]
        path = _of_scene(scene["id"])
        if shown or path in files:
            changed[path] = _json(shown)
    return {**files, **changed}


def _part(cue: Cue, start: float, end: float) -> Cue | None:
    """What of a cue is shown in a scene, in the scene's time."""
    first, last = max(cue.start, start), min(cue.end, end)
    is_rest = first > cue.start and last - first < SHORTEST_REST_S
    if last <= first or is_rest:
        return None
    return edited_cue(first - start, last - start, cue.lines, cue.italics)


def _of_scene(id: str) -> str:
    return f"{FOLDER}/{id}.json"


def _json(found: Sequence[Cue]) -> bytes:
    return (json.dumps(remotion(found), indent=1, ensure_ascii=False) + "\n").encode()


def _passages(project: Project, scene: Scene, timing: Mapping[str, Any] | None) -> list[Passage]:
    spoken = scene.narration
    offset = Fraction(narration_start(scene.pad_head, project.fps), project.fps)
    if spoken.speech is not None and timing is not None:
        return list(passages(spoken.speech, timing, offset))
    if not spoken.text.strip() or not spoken.seconds:
        return []
    return [Passage(spoken.text, float(offset), float(offset + spoken.seconds))]


def with_captions(told: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, Any]:
    """Given a timeline and the caption files that stand beside it, return the timeline that names them."""
    scenes = []
    for scene in told["scenes"]:
        path = _of_scene(scene["id"])
        script = {**scene["script"], "captions": path if path in files else None}
        narration = scene["narration"]
        if narration is not None:
            narration = {**narration, "captions": script["captions"]}
        scenes.append({**scene, "script": script, "narration": narration})
    whole = {kind: f"{FOLDER}/film.{kind}" for kind in ("srt", "vtt") if f"{FOLDER}/film.{kind}" in files}
    return {**told, "captions": whole or None, "scenes": scenes}
