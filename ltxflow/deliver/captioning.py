"""The captions of a film as files: film.srt and film.vtt, and Remotion's JSON a scene. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ltxflow.core.timing import narration_start
from ltxflow.deliver.captions import Passage, cues, moved, passages, remotion, srt, webvtt
from ltxflow.script.model import Project, Scene

FOLDER = "captions"


def caption_files(
    project: Project, told: Mapping[str, Any], timings: Mapping[str, Mapping[str, Any]]
) -> dict[str, bytes]:
    """Given a film, its timeline and the `timing` of every narration that is spoken (by scene), return path → bytes.

    Times of film.srt and film.vtt are the film's, those of `<scene>.json` the scene's. A scene that has a text but
    no sound gets its words spread over the time that is planned. Nothing at all for a film without words.
    """
    of_film: list[Passage] = []
    files: dict[str, bytes] = {}
    for scene, placed in zip(project.scenes, told["scenes"], strict=True):
        found = _passages(project, scene, timings.get(scene.id))
        if not found:
            continue
        until = placed["durationInFrames"] / project.fps
        data = remotion(cues(found, until))
        files[f"{FOLDER}/{scene.id}.json"] = (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()
        start = placed["from"] / project.fps
        of_film += [moved(passage, start) for passage in found]
    if of_film:
        shown = cues(of_film, told["durationInFrames"] / project.fps)
        files[f"{FOLDER}/film.srt"] = srt(shown).encode()
        files[f"{FOLDER}/film.vtt"] = webvtt(shown).encode()
    return files


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
        path = f"{FOLDER}/{scene['id']}.json"
        script = {**scene["script"], "captions": path if path in files else None}
        narration = scene["narration"]
        if narration is not None:
            narration = {**narration, "captions": script["captions"]}
        scenes.append({**scene, "script": script, "narration": narration})
    whole = {kind: f"{FOLDER}/film.{kind}" for kind in ("srt", "vtt") if f"{FOLDER}/film.{kind}" in files}
    return {**told, "captions": whole or None, "scenes": scenes}
