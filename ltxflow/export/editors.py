"""The cut for editors: what is published, and beside it the takes that are not in the cut.

OpenTimelineIO files are written here; older formats (EDL, FCP XML) by OpenTimelineIO's adapters (the extra `editors`).
Source: OpenTimelineIO 0.18, docs/tutorials/otio-file-format-specification.md; a track's length is the sum of its clips
and gaps, a transition reaches `in_offset` into the one before and `out_offset` into the one after.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_bytes, digest_there
from ltxflow.core.errors import FAILED, LtxflowError, install_command, problem
from ltxflow.export.conform import files_of, read_timeline
from ltxflow.session.session import Session

Json = dict[str, Any]


@dataclass(frozen=True)
class ClipMedia:
    """A rendition of a clip that an editor may choose: its key ("take 2"), its address, its frames in the file."""

    key: str
    url: str
    frames: int


@dataclass(frozen=True)
class MediaRange:
    """The range of a file that a clip shows once its dissolves are cut in the middle."""

    start: int
    frames: int
    into: tuple[int, int] | None  # the dissolve into it: frames before the cut, and after it


def ranges_of(clips: Sequence[Mapping[str, Any]]) -> list[MediaRange]:
    """Return the range of each of a scene's clips in the timeline; they sum to the scene's length."""
    fades = [(clip["transition"] or {}).get("durationInFrames", 0) for clip in clips] + [0]
    found = []
    for clip, fade, fade_out in zip(clips, fades, fades[1:], strict=False):
        before, after = fade // 2, fade_out - fade_out // 2
        start, frames = clip["trimStart"] + before, clip["durationInFrames"] - before - after
        found.append(MediaRange(start, frames, (before, fade - before) if fade else None))
    return found


def otio(data: Mapping[str, Any], urls: Mapping[str, str], spare: Mapping[str, Sequence[ClipMedia]]) -> Json:
    """Return the cut of a timeline as OTIO. `urls` are the addresses of its files by `src`.

    `spare` maps a clip's path to the renditions that are not in the cut.
    """
    fps = data["fps"]
    scenes = data["scenes"]
    picture = [item for scene in scenes for item in _clips(scene, fps, urls, spare, is_sound=False)]
    tracks = [_track("picture", "Video", picture)]
    if any(clip["hasAudio"] for scene in scenes for clip in scene["clips"]):
        sound = [item for scene in scenes for item in _clips(scene, fps, urls, spare, is_sound=True)]
        tracks.append(_track("sound", "Audio", _joined(sound, fps)))
    if any(scene["narration"] for scene in scenes):
        spoken = [item for scene in scenes for item in _narration(scene, fps, urls)]
        tracks.append(_track("narration", "Audio", _joined(spoken, fps)))
    markers = [_marker(scene, fps) for scene in scenes]
    stack = _item("Stack.1", "tracks", None, {"children": tracks, "markers": markers})
    generator = {name: data["generator"][name] for name in ("name", "version", "model", "machineMade")}
    return {
        "OTIO_SCHEMA": "Timeline.1",
        "metadata": {"ltxflow": {"id": data["id"], "generator": generator}},
        "name": data["title"],
        "global_start_time": None,
        "tracks": stack,
    }


def otio_text(cut: Json) -> str:
    """Return the text of a cut: the same cut gives the same bytes."""
    return json.dumps(cut, indent=1, ensure_ascii=False) + "\n"


def picture_only(cut: Json) -> Json:
    """Return a cut with nothing but its pictures, without spare takes: all that an EDL can hold."""
    tracks = cut["tracks"]
    return {**cut, "tracks": {**tracks, "children": tracks["children"][:1], "markers": []}}


def frames_of(track: Json) -> int:
    """Return the length of a track in frames."""
    items = (child for child in track["children"] if child["OTIO_SCHEMA"] != "Transition.1")
    return sum(int(child["source_range"]["duration"]["value"]) for child in items)


# --- the clips and the narration of a scene


def _clips(
    scene: Mapping[str, Any],
    fps: int,
    urls: Mapping[str, str],
    spare: Mapping[str, Sequence[ClipMedia]],
    *,
    is_sound: bool,
) -> Iterator[Json]:
    """Yield the clips of a scene with their dissolves; for sound, silence where a file has none."""
    is_after_sound = False
    for clip, stretch in zip(scene["clips"], ranges_of(scene["clips"]), strict=True):
        path = f"{scene['id']}/{clip['id']}"
        has_media = clip["hasAudio"] or not is_sound
        if stretch.into and has_media and (is_after_sound or not is_sound):
            yield _transition(stretch.into, fps)
        is_after_sound = has_media
        if not has_media:
            yield _gap(stretch.frames, fps)
            continue
        picked = "slate" if clip["source"] == "animatic" else f"take {clip['take']}"
        media = [ClipMedia(picked, urls[clip["src"]], clip["frames"]), *(() if is_sound else spare.get(path, ()))]
        yield _clip(path, _range(stretch.start, stretch.frames, fps), media, fps, _about(scene, clip))


def _about(scene: Mapping[str, Any], clip: Mapping[str, Any]) -> Json:
    """Return the metadata of a clip: which one it is, and a reel name that is short enough for an EDL."""
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
    media = [ClipMedia("narration", urls[spoken["src"]], spoken["durationInFrames"])]
    about = {"ltxflow": {"scene": scene["id"], "volume": spoken["volume"]}}
    yield _clip(f"{scene['id']} narration", _range(0, frames, fps), media, fps, about)
    if length - start - frames:
        yield _gap(length - start - frames, fps)


def _joined(items: Sequence[Json], fps: int) -> list[Json]:
    """Join gaps that follow each other."""
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


def _clip(name: str, source_range: Json, media: Sequence[ClipMedia], fps: int, about: Json) -> Json:
    """Return a clip; the first of `media` is in the cut."""
    references = {one.key: _reference(one, fps) for one in media}
    more = {"metadata": about, "media_references": references, "active_media_reference_key": media[0].key}
    return _item("Clip.2", name, source_range, more)


def _reference(media: ClipMedia, fps: int) -> Json:
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


ADAPTERS = {"edl": "cmx_3600", "fcpxml": "fcp_xml"}
SUFFIXES = {"otio": ".otio", "edl": ".edl", "fcpxml": ".xml"}
NEEDED = ("opentimelineio", "otio_cmx3600_adapter", "otio_fcp_adapter")


def render_cut(cut: dict[str, Any], kind: str) -> str:
    """Return the text of a cut as `otio`, `edl` or `fcpxml`.

    Raise LtxflowError when OpenTimelineIO is required and missing, or its adapter cannot express the film.
    """
    if kind == "otio":
        return otio_text(cut)
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise LtxflowError(problem("D031", kind=kind, command=install_command("editors")))
    otio = importlib.import_module("opentimelineio")
    timeline = otio.adapters.read_from_string(otio_text(picture_only(cut) if kind == "edl" else cut), "otio_json")
    rate = {"rate": timeline.tracks[0].duration().rate} if kind == "edl" else {}
    try:
        return str(otio.adapters.write_to_string(timeline, ADAPTERS[kind], **rate))
    except (otio.exceptions.OTIOError, ValueError) as error:
        raise LtxflowError(problem("D032", kind=kind, reason=error), exit_code=FAILED) from error


TAKES = "takes"


@dataclass(frozen=True)
class CutExport:
    """The files written: the editor's file, its length and tracks, and the takes beside it."""

    path: Path
    is_new: bool
    frames: int
    tracks: tuple[str, ...]
    takes: tuple[Path, ...]
    timeline: Mapping[str, Any]


@dataclass(frozen=True)
class _Spare:
    """A rendered take that is not in the cut, and the path for its file."""

    clip: str
    media: ClipMedia
    digest: Digest
    path: Path


def export_cut(session: Session, kind: str, out: Path | None, *, force: bool = False) -> CutExport:
    """Write the published film's cut as `otio`, `edl` or `fcpxml`.

    Takes that are not in the cut are copied to `takes/` beside an .otio, which names them. A foreign file, or one
    changed since, is left alone unless `force` is set. Raise LtxflowError for that, for a film that is not whole, and
    when OpenTimelineIO is required and missing.
    """
    data = read_timeline(session)
    public = session.project.output.parent
    path = out or public / f"film{SUFFIXES[kind]}"
    spares = list(_spares(session, data, path)) if kind == "otio" else []
    by_clip: dict[str, list[ClipMedia]] = {}
    for one in spares:
        by_clip.setdefault(one.clip, []).append(one.media)
    cut = otio(data, {src: _url(public / src, path) for src in files_of(data)}, by_clip)
    text = render_cut(cut, kind).encode()
    if not force:
        _check(session, {path: digest_bytes(text), **{one.path: one.digest for one in spares}})
    for one in spares:
        if digest_there(one.path) != one.digest:
            files.make_dir(one.path.parent)
            files.copy_into(session.store.cas.path(one.digest), one.path, expect=one.digest, mode=0o644)
    session.store.cas.put_bytes(text)  # so that the next export recognises this file
    is_new = digest_there(path) != digest_bytes(text)
    if is_new:
        files.make_dir(path.parent)
        files.write_atomic(path, text)
    tracks = cut["tracks"]["children"]
    names = tuple(track["name"] for track in (tracks[:1] if kind == "edl" else tracks))
    return CutExport(path, is_new, frames_of(tracks[0]), names, tuple(one.path for one in spares), data)


def _spares(session: Session, data: Mapping[str, Any], path: Path) -> Iterator[_Spare]:
    """Yield every take with a file in the store that is not the published one."""
    shown = {clip["sha256"] for scene in data["scenes"] for clip in scene["clips"]}
    for clip in session.project.clips:
        entry = session.lock.entries.get(clip.path)
        for number, take in sorted(entry.takes.items()) if entry else ():
            digest = take.outputs.get("published", take.digest)
            if digest in shown or not session.store.cas.has(digest):
                continue
            place = path.parent / TAKES / f"{clip.scene}-{clip.id}-take-{number}.mp4"
            yield _Spare(clip.path, ClipMedia(f"take {number}", _url(place, path), take.frames), digest, place)


def _url(file: Path, beside: Path) -> str:
    """Return a file's address as editors resolve it: relative to the file that names it."""
    return quote(os.fsencode(os.path.relpath(file, beside.parent)))


def _check(session: Session, wanted: Mapping[Path, Digest]) -> None:
    """Raise LtxflowError for files that ltxflow did not write: their bytes are not in the store."""
    problems = []
    for path, digest in wanted.items():
        if not os.path.lexists(path):
            continue
        there = digest_there(path)
        if there != digest and (there is None or not session.store.cas.has(there)):
            problems.append(problem("D001.export", file=os.path.relpath(path)))
    if problems:
        raise LtxflowError(*problems, exit_code=FAILED)
