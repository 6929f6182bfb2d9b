"""The cut as OpenTimelineIO: pictures with all their takes, the clips' own sound, the narration. Pure, stdlib only.

Source: OpenTimelineIO 0.18, its file format: docs/tutorials/otio-file-format-specification.md; a track's length is
the sum of its clips and gaps, a transition reaches `in_offset` into the one before and `out_offset` into the one after.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Media:
    """One rendition of a clip that an editor may choose: its key ("take 2"), its address, its frames in the file."""

    key: str
    url: str
    frames: int


@dataclass(frozen=True)
class Stretch:
    """What a clip shows once its dissolves are cut in their middle: where in the file it starts, for how long."""

    start: int
    frames: int
    into: tuple[int, int] | None  # the dissolve into it: frames before the cut, and after it


def stretches(clips: Sequence[Mapping[str, Any]]) -> list[Stretch]:
    """Given a scene's clips as in the timeline, return a Stretch for each; they sum to the scene's length."""
    fades = [(clip["transition"] or {}).get("durationInFrames", 0) for clip in clips] + [0]
    found = []
    for clip, fade, fade_out in zip(clips, fades, fades[1:], strict=False):
        before, after = fade // 2, fade_out - fade_out // 2
        start, frames = clip["trimStart"] + before, clip["durationInFrames"] - before - after
        found.append(Stretch(start, frames, (before, fade - before) if fade else None))
    return found


def otio(told: Mapping[str, Any], urls: Mapping[str, str], spare: Mapping[str, Sequence[Media]]) -> Json:
    """Given a timeline, the address of each file it names, and what else was made of a clip, return the cut as OTIO.

    `spare` maps a clip's path to the renditions that are not in the cut.
    """
    fps = told["fps"]
    scenes = told["scenes"]
    picture = [item for scene in scenes for item in _clips(scene, fps, urls, spare, heard=False)]
    tracks = [_track("picture", "Video", picture)]
    if any(clip["hasAudio"] for scene in scenes for clip in scene["clips"]):
        sound = [item for scene in scenes for item in _clips(scene, fps, urls, spare, heard=True)]
        tracks.append(_track("sound", "Audio", _joined(sound, fps)))
    if any(scene["narration"] for scene in scenes):
        spoken = [item for scene in scenes for item in _narration(scene, fps, urls)]
        tracks.append(_track("narration", "Audio", _joined(spoken, fps)))
    markers = [_marker(scene, fps) for scene in scenes]
    stack = _item("Stack.1", "tracks", None, {"children": tracks, "markers": markers})
    made = {name: told["generator"][name] for name in ("name", "version", "model", "machineMade")}
    return {
        "OTIO_SCHEMA": "Timeline.1",
        "metadata": {"ltxflow": {"id": told["id"], "generator": made}},
        "name": told["title"],
        "global_start_time": None,
        "tracks": stack,
    }


def otio_text(cut: Json) -> str:
    """Given a cut, return its file: the same cut gives the same bytes."""
    return json.dumps(cut, indent=1, ensure_ascii=False) + "\n"


def picture_only(cut: Json) -> Json:
    """Given a cut, return it with nothing but its pictures, and of those what is in the cut: all an EDL can say."""
    tracks = cut["tracks"]
    return {**cut, "tracks": {**tracks, "children": tracks["children"][:1], "markers": []}}


def frames_of(track: Json) -> int:
    """Given a track, return its length in frames."""
    items = (child for child in track["children"] if child["OTIO_SCHEMA"] != "Transition.1")
    return sum(int(child["source_range"]["duration"]["value"]) for child in items)


# --- a scene's clips and words


def _clips(
    scene: Mapping[str, Any],
    fps: int,
    urls: Mapping[str, str],
    spare: Mapping[str, Sequence[Media]],
    *,
    heard: bool,
) -> Iterator[Json]:
    """The clips of a scene with their dissolves; for sound, silence where a file has none."""
    is_after_sound = False
    for clip, stretch in zip(scene["clips"], stretches(scene["clips"]), strict=True):
        path = f"{scene['id']}/{clip['id']}"
        is_there = clip["hasAudio"] or not heard
        if stretch.into and is_there and (is_after_sound or not heard):
            yield _transition(stretch.into, fps)
        is_after_sound = is_there
        if not is_there:
            yield _gap(stretch.frames, fps)
            continue
        picked = "slate" if clip["source"] == "animatic" else f"take {clip['take']}"
        media = [Media(picked, urls[clip["src"]], clip["frames"]), *(() if heard else spare.get(path, ()))]
        yield _clip(path, _range(stretch.start, stretch.frames, fps), media, fps, _about(scene, clip))


def _about(scene: Mapping[str, Any], clip: Mapping[str, Any]) -> Json:
    """What editors do not know: which clip it is, and a name for its reel that is short enough for an EDL."""
    known = {name: clip[name] for name in ("take", "source", "isStandIn", "isStale", "volume", "sha256")}
    stem = str(clip["src"]).rpartition("/")[2].partition(".")[0]
    reel = stem.removeprefix("scene-").replace("-", "").upper()
    return {"ltxflow": {"scene": scene["id"], "clip": clip["id"], **known}, "cmx_3600": {"reel": f"S{reel}"[:8]}}


def _narration(scene: Mapping[str, Any], fps: int, urls: Mapping[str, str]) -> Iterator[Json]:
    spoken, length = scene["narration"], scene["durationInFrames"]
    if not spoken:
        yield _gap(length, fps)
        return
    start = spoken["startFrame"]
    frames = min(spoken["durationInFrames"], length - start)
    if start:
        yield _gap(start, fps)
    media = [Media("narration", urls[spoken["src"]], spoken["durationInFrames"])]
    about = {"ltxflow": {"scene": scene["id"], "volume": spoken["volume"]}}
    yield _clip(f"{scene['id']} narration", _range(0, frames, fps), media, fps, about)
    if length - start - frames:
        yield _gap(length - start - frames, fps)


def _joined(items: Sequence[Json], fps: int) -> list[Json]:
    """Gaps that follow each other as one."""
    joined: list[Json] = []
    for item in items:
        if joined and item["OTIO_SCHEMA"] == joined[-1]["OTIO_SCHEMA"] == "Gap.1":
            frames = sum(int(gap["source_range"]["duration"]["value"]) for gap in (joined.pop(), item))
            item = _gap(frames, fps)
        joined.append(item)
    return joined


# --- the objects of the format


def _time(frames: int, fps: int) -> Json:
    return {"OTIO_SCHEMA": "RationalTime.1", "rate": float(fps), "value": float(frames)}


def _range(start: int, frames: int, fps: int) -> Json:
    return {"OTIO_SCHEMA": "TimeRange.1", "duration": _time(frames, fps), "start_time": _time(start, fps)}


def _item(schema: str, name: str, source_range: Json | None, more: Json) -> Json:
    return {
        "OTIO_SCHEMA": schema,
        "metadata": {},
        "name": name,
        "source_range": source_range,
        "effects": [],
        "markers": [],
        "enabled": True,
        "color": None,
        **more,
    }


def _track(name: str, kind: str, children: Sequence[Json]) -> Json:
    return _item("Track.1", name, None, {"children": list(children), "kind": kind})


def _gap(frames: int, fps: int) -> Json:
    return _item("Gap.1", "", _range(0, frames, fps), {})


def _clip(name: str, source_range: Json, media: Sequence[Media], fps: int, about: Json) -> Json:
    """The first of `media` is the one that is in the cut."""
    references = {one.key: _reference(one, fps) for one in media}
    more = {"metadata": about, "media_references": references, "active_media_reference_key": media[0].key}
    return _item("Clip.2", name, source_range, more)


def _reference(media: Media, fps: int) -> Json:
    return {
        "OTIO_SCHEMA": "ExternalReference.1",
        "metadata": {},
        "name": media.key,
        "available_range": _range(0, media.frames, fps),
        "available_image_bounds": None,
        "target_url": media.url,
    }


def _transition(into: tuple[int, int], fps: int) -> Json:
    return {
        "OTIO_SCHEMA": "Transition.1",
        "metadata": {},
        "name": "dissolve",
        "in_offset": _time(into[0], fps),
        "out_offset": _time(into[1], fps),
        "transition_type": "SMPTE_Dissolve",
    }


def _marker(scene: Mapping[str, Any], fps: int) -> Json:
    return {
        "OTIO_SCHEMA": "Marker.2",
        "metadata": {},
        "name": scene["title"] or scene["id"],
        "color": "GREEN",
        "marked_range": _range(scene["from"], 1, fps),
        "comment": "",
    }
