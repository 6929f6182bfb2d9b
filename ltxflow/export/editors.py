"""Export the cut for editors: what is published, and for OpenTimelineIO beside it the takes that are not in the cut.

Source: OpenTimelineIO 0.18, docs/tutorials/otio-file-format-specification.md; a track's length is the sum of its clips
and gaps, a transition reaches `in_offset` into the one before and `out_offset` into the one after.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_bytes, digest_there
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.export.conform import files_of, has_changed, read_timeline
from ltxflow.export.interchange import CutMedia, Shot, edl, fcpxml, shots, take_of, xmeml
from ltxflow.media.audio import sound_layout
from ltxflow.media.probe import probe_mp4
from ltxflow.session.session import Session

Json = dict[str, Any]


@dataclass(frozen=True)
class ClipMedia:
    """A rendition of a clip that an editor may choose: its key ("take 2"), its address, its frames in the file."""

    key: str
    url: str
    frames: int


def otio(data: Mapping[str, Any], urls: Mapping[str, str], spare: Mapping[str, Sequence[ClipMedia]]) -> Json:
    """Return the cut of a timeline as OTIO. `urls` are the addresses of its files by `src`.

    `spare` maps a clip's path to the renditions that are not in the cut.
    """
    fps = data["fps"]
    scenes = data["scenes"]
    cut = shots(data)
    tracks = [_track("picture", "Video", list(_clips(cut, fps, urls, spare, is_sound=False)))]
    if any(shot.clip["hasAudio"] for shot in cut):
        tracks.append(_track("sound", "Audio", _joined(list(_clips(cut, fps, urls, spare, is_sound=True)), fps)))
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


# --- the clips and the narration of a scene


def _clips(
    cut: Sequence[Shot],
    fps: int,
    urls: Mapping[str, str],
    spare: Mapping[str, Sequence[ClipMedia]],
    *,
    is_sound: bool,
) -> Iterator[Json]:
    """Yield the clips with their dissolves; for sound, silence where a file has none."""
    is_after_sound = False
    for shot in cut:
        clip, stretch = shot.clip, shot.range
        has_media = clip["hasAudio"] or not is_sound
        if stretch.into and has_media and (is_after_sound or not is_sound):
            yield _transition(stretch.into, fps)
        is_after_sound = has_media
        if not has_media:
            yield _gap(stretch.frames, fps)
            continue
        picked = ClipMedia(take_of(clip), urls[clip["src"]], clip["frames"])
        media = [picked, *(() if is_sound else spare.get(shot.path, ()))]
        yield _clip(shot.path, _range(stretch.start, stretch.frames, fps), media, fps, _about(shot))


def _about(shot: Shot) -> Json:
    """Return the metadata of a clip: which one it is, and a reel name that is short enough for an EDL."""
    scene, _, id = shot.path.partition("/")
    known = {name: shot.clip[name] for name in ("take", "source", "isStandIn", "isStale", "volume", "sha256")}
    known |= {"state": shot.clip["state"]} if shot.clip.get("state") else {}  # an older timeline does not have it
    return {"ltxflow": {"scene": scene, "clip": id, **known}, "cmx_3600": {"reel": shot.reel}}


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


WRITERS: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, CutMedia]], str]] = {
    "edl": edl,
    "fcp7xml": xmeml,
    "fcpxml": fcpxml,
}
SUFFIXES = {"otio": ".otio", "fcpxml": ".fcpxml", "fcp7xml": ".xml", "edl": ".edl"}
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
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class _Spare:
    """A rendered take that is not in the cut, and the path for its file."""

    clip: str
    media: ClipMedia
    digest: Digest
    path: Path


def export_cut(session: Session, kind: str, out: Path | None, *, force: bool = False) -> CutExport:
    """Write the published film's cut as `otio`, `fcpxml`, `fcp7xml` or `edl`.

    Picture and sound are the published files; a warning says where the project would have others now.
    Takes that are not in the cut are copied to `takes/` beside an .otio, which names them. A foreign file, or one
    changed since, is left alone unless `force` is set. Raise LtxflowError for that, and for a film that is not whole.
    """
    data = read_timeline(session)
    public = session.project.output.parent
    path = out or public / f"film{SUFFIXES[kind]}"
    spares = list(_spares(session, data, path)) if kind == "otio" else []
    if kind == "otio":
        by_clip: dict[str, list[ClipMedia]] = {}
        for one in spares:
            by_clip.setdefault(one.clip, []).append(one.media)
        text = otio_text(otio(data, {src: _url(public / src, path) for src in files_of(data)}, by_clip)).encode()
    else:
        text = WRITERS[kind](data, _media(data, public)).encode()
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
    takes = tuple(one.path for one in spares)
    changed = (problem("D011.exported"),) if has_changed(session, data) else ()
    return CutExport(path, is_new, data["durationInFrames"], _tracks(data, kind), takes, data, changed)


def _tracks(data: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    if kind == "edl":
        return ("picture",)
    has_sound = any(clip["hasAudio"] for scene in data["scenes"] for clip in scene["clips"])
    has_narration = any(scene["narration"] for scene in data["scenes"])
    return ("picture", *(["sound"] if has_sound else []), *(["narration"] if has_narration else []))


def _media(data: Mapping[str, Any], public: Path) -> dict[str, CutMedia]:
    """Return the published files by `src`, with their absolute addresses and the facts of their sound."""
    found = {}
    spoken = {scene["narration"]["src"] for scene in data["scenes"] if scene["narration"]}
    for src in files_of(data):
        file = (public / src).absolute()
        if src in spoken:
            rate, channels = sound_layout(file)
        else:
            facts = probe_mp4(file)
            rate, channels = facts.audio_rate, facts.audio_channels
        found[src] = CutMedia(file.as_uri(), file.name, rate, channels)
    return found


def _spares(session: Session, data: Mapping[str, Any], path: Path) -> Iterator[_Spare]:
    """Yield every take with a file in the store that is not the published one."""
    shown = {f"{scene['id']}/{clip['id']}": clip for scene in data["scenes"] for clip in scene["clips"]}
    published = {clip["sha256"] for clip in shown.values()}
    for clip in session.project.clips:
        entry = session.lock.entries.get(clip.path)
        for number, take in sorted(entry.takes.items()) if entry else ():
            digest = take.outputs.get("published", take.digest)
            if digest in published or not session.store.cas.has(digest):
                continue
            place = path.parent / TAKES / f"{clip.scene}-{clip.id}-take-{number}.mp4"
            name = f"take {number}"
            if clip.path in shown and name == take_of(shown[clip.path]):
                name += ", not published"  # what is published is this take of an earlier text
            yield _Spare(clip.path, ClipMedia(name, _url(place, path), take.frames), digest, place)


def _url(file: Path, beside: Path) -> str:
    """Return a file's address relative to the .otio that names it: both can be moved together."""
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
