"""Timelines as data, for the formats of editors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]
FPS = 25


def clip(id: str, frames: int, *, fade: int = 0, trim: int = 0, start: int = 0, sound: bool = True) -> Json:
    return {
        "id": id,
        "take": 1,
        "src": f"scenes/scene-{id}.mp4",
        "source": "comfyui",
        "isStandIn": False,
        "isStale": False,
        "frames": frames,
        "fps": FPS,
        "width": 192,
        "height": 128,
        "trimStart": start,
        "durationInFrames": frames - trim - start,
        "transition": {"type": "fade", "durationInFrames": fade} if fade else None,
        "hasAudio": sound,
        "volume": 1,
        "sha256": None,
    }


def film(*scenes: Sequence[Json], spoken: Mapping[int, tuple[int, int]] | None = None) -> Json:
    """A timeline of these scenes; `spoken`: scene → (start, frames) of its narration."""
    told: list[Json] = []
    for index, clips in enumerate(scenes):
        length = sum(c["durationInFrames"] - (c["transition"] or {}).get("durationInFrames", 0) for c in clips)
        start, frames = (spoken or {}).get(index, (0, 0))
        words = {
            "src": f"narration/{index}.wav",
            "startFrame": start,
            "durationInFrames": frames,
            "samples": frames * 24000 // FPS - 100,
            "sampleRate": 24000,
            "volume": 1,
        }
        told.append(
            {
                "id": f"s{index}",
                "title": f"Scene {index}",
                "from": told[-1]["from"] + told[-1]["durationInFrames"] if told else 0,
                "durationInFrames": length,
                "narration": words if frames else None,
                "clips": list(clips),
            }
        )
    return {
        "id": "film",
        "title": "Film",
        "fps": FPS,
        "width": 192,
        "height": 128,
        "durationInFrames": sum(scene["durationInFrames"] for scene in told),
        "generator": {"name": "ltxflow", "version": "1", "model": "LTX-2", "machineMade": True},
        "scenes": told,
    }


DISSOLVES = film(
    [clip("0-a", 97), clip("0-b", 121, fade=12, trim=3)],
    [clip("1-a", 97, fade=0), clip("1-b", 105, fade=7, start=4), clip("1-c", 97, fade=1, trim=20)],
    [clip("2-a", 57)],
    spoken={0: (5, 180), 2: (0, 57)},
)


def shown(told: Json) -> dict[int, tuple[str, int]]:
    """Every frame of the film outside dissolves → (file, frame of the file), from the timeline."""
    found = {}
    for scene in told["scenes"]:
        at = scene["from"]
        ends = [c["transition"] for c in scene["clips"][1:]] + [None]
        for c, after in zip(scene["clips"], ends, strict=True):
            fade = (c["transition"] or {}).get("durationInFrames", 0)
            fade_out = (after or {}).get("durationInFrames", 0)
            at -= fade
            for frame in range(fade, c["durationInFrames"] - fade_out):
                found[at + frame] = (c["src"], c["trimStart"] + frame)
            at += c["durationInFrames"]
    return found
