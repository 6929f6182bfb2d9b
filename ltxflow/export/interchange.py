"""The cut in the formats of editors besides OpenTimelineIO: CMX 3600 (EDL), Final Cut Pro 7 XML, FCPXML.

Dissolves are cut in their middle, so that clips meet at one frame and reach beyond it. Addresses are absolute.

Sources: SMPTE 258M and CMX 3600 (events, dissolves); Apple, "Final Cut Pro XML Interchange Format", version 4 (xmeml);
Apple, "FCPXML Reference" and the DTD of version 1.10, https://developer.apple.com/documentation/professional-video-applications
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from ltxflow.core.errors import FAILED, LtxflowError, problem

Json = Mapping[str, Any]
Element = ElementTree.Element

TIMECODES = (24, 25, 30, 48, 50, 60)  # frames a second that an EDL can count
# Apple's identifiers of the usual dissolves, as Final Cut Pro writes them.
DISSOLVE = ("Cross Dissolve", "FxPlug:4731E73A-8DAC-4113-9A30-AE85B1761265")
CROSSFADE = ("Audio Crossfade", "FFAudioTransition")


@dataclass(frozen=True)
class MediaRange:
    """The range of a file that a clip shows once its dissolves are cut in the middle."""

    start: int
    frames: int
    into: tuple[int, int] | None  # the dissolve into it: frames before the cut, and after it


@dataclass(frozen=True)
class CutMedia:
    """A published file: its address and name, and the facts of its sound; a rate of 0 means none."""

    url: str
    name: str
    rate: int = 0  # Hz
    channels: int = 0


@dataclass(frozen=True)
class Shot:
    """A clip in the cut: its frames in the file, the frame of the film where it begins, the dissolve out of it."""

    path: str
    clip: Json
    range: MediaRange
    at: int
    out: tuple[int, int] | None

    @property
    def end(self) -> int:
        return self.at + self.range.frames

    @property
    def before(self) -> int:
        """The frames before its cut that a dissolve shows of it."""
        return self.range.into[0] if self.range.into else 0

    @property
    def after(self) -> int:
        """The frames after its end that a dissolve shows of it."""
        return self.out[1] if self.out else 0

    @property
    def reel(self) -> str:
        """A name of the file that is short enough for an EDL."""
        stem = str(self.clip["src"]).rpartition("/")[2].partition(".")[0]
        return f"S{stem.removeprefix('scene-').replace('-', '').upper()}"[:8]


def ranges_of(clips: Sequence[Json]) -> list[MediaRange]:
    """Return the range of each of a scene's clips in the timeline; they sum to the scene's length."""
    fades = [(clip["transition"] or {}).get("durationInFrames", 0) for clip in clips] + [0]
    found = []
    for clip, fade, fade_out in zip(clips, fades, fades[1:], strict=False):
        before, after = fade // 2, fade_out - fade_out // 2
        start, frames = clip["trimStart"] + before, clip["durationInFrames"] - before - after
        found.append(MediaRange(start, frames, (before, fade - before) if fade else None))
    return found


def shots(data: Json) -> list[Shot]:
    """Return the clips of a timeline in order; each begins where the one before ends."""
    found, at = [], 0
    for scene in data["scenes"]:
        ranges = ranges_of(scene["clips"])
        for clip, (shown, following) in zip(scene["clips"], pairwise([*ranges, None]), strict=True):
            assert shown is not None
            out = following.into if following else None
            found.append(Shot(f"{scene['id']}/{clip['id']}", clip, shown, at, out))
            at += shown.frames
    return found


def take_of(clip: Json) -> str:
    """Return what a published clip is: "take 2", or "slate"."""
    return "slate" if clip["source"] == "animatic" else f"take {clip['take']}"


# EDL


def edl(data: Json, media: Mapping[str, CutMedia]) -> str:
    """Return the pictures of a timeline as CMX 3600. Raise LtxflowError for a rate that it cannot count."""
    fps = data["fps"]
    if fps not in TIMECODES:
        raise LtxflowError(problem("D032", kind="edl", fps=fps), exit_code=FAILED)
    lines = [f"TITLE: {_plain(data['title'])}", "FCM: NON-DROP FRAME", ""]
    before: Shot | None = None
    for number, shot in enumerate(shots(data), 1):
        first, end = shot.at - shot.before, shot.end - (shot.out[0] if shot.out else 0)
        source = shot.range.start - shot.before
        times = _timecodes((source, source + end - first, first, end), fps)
        if before is not None and shot.range.into:
            fade = sum(shot.range.into)
            last = before.range.start + first - before.at
            lines.append(f"{number:03d}  {before.reel:8} V     C        {_timecodes((last, last, first, first), fps)}")
            lines.append(f"{number:03d}  {shot.reel:8} V     D {fade:03d}    {times}")
            lines += [*_comments("FROM", before, media), *_comments("TO", shot, media)]
        else:
            lines.append(f"{number:03d}  {shot.reel:8} V     C        {times}")
            lines += _comments("FROM", shot, media)
        before = shot
    return "\n".join(lines) + "\n"


def _comments(side: str, shot: Shot, media: Mapping[str, CutMedia]) -> list[str]:
    file = media[shot.clip["src"]]
    return [f"* {side} CLIP NAME: {shot.path}", f"* {side} CLIP: {file.url}"]


def _timecodes(frames: Sequence[int], fps: int) -> str:
    return " ".join(
        f"{at // fps // 3600:02d}:{at // fps // 60 % 60:02d}:{at // fps % 60:02d}:{at % fps:02d}" for at in frames
    )


def _plain(text: str) -> str:
    return text.encode("ascii", "replace").decode()  # CMX 3600 knows no other letters


# Final Cut Pro 7 XML: xmeml, version 4


def xmeml(data: Json, media: Mapping[str, CutMedia]) -> str:
    """Return a timeline as the XML of Final Cut Pro 7: pictures, the clips' sound, the narration."""
    root = ElementTree.Element("xmeml", version="4")
    sequence = _add(root, "sequence", id="sequence-1")
    _text(sequence, name=data["title"], duration=data["durationInFrames"])
    _rate(sequence, data["fps"])
    timecode = _add(sequence, "timecode")
    _rate(timecode, data["fps"])
    _text(timecode, string="00:00:00:00", frame=0, displayformat="NDF")
    tracks = _add(sequence, "media")
    video = _add(tracks, "video")
    _samples(_add(_add(video, "format"), "samplecharacteristics"), data)
    files = _Files(media, data["fps"])
    cut = shots(data)
    _xmeml_track(_add(video, "track"), cut, files)
    audio = _add(tracks, "audio")
    if any(shot.clip["hasAudio"] for shot in cut):
        _xmeml_track(_add(audio, "track"), cut, files, is_sound=True)
    if any(scene["narration"] for scene in data["scenes"]):
        track = _add(audio, "track")
        for scene in data["scenes"]:
            if spoken := scene["narration"]:
                at, frames = scene["from"] + spoken["startFrame"], _spoken_frames(scene)
                item = files.item(track, f"{scene['id']} narration", spoken["durationInFrames"])
                _text(item, start=at, end=at + frames, **{"in": 0, "out": frames})
                files.file(item, spoken["src"], spoken["durationInFrames"])
    for scene in data["scenes"]:
        marker = _add(sequence, "marker")
        _text(marker, name=scene["title"] or scene["id"], comment="", out=-1, **{"in": scene["from"]})
    return _document(root, "xmeml")


def _xmeml_track(track: Element, cut: Sequence[Shot], files: _Files, *, is_sound: bool = False) -> None:
    """Add the clips of the cut. Where one meets a dissolve, its end is -1, and its range has the dissolve's frames."""
    before: Shot | None = None
    for shot, following in pairwise([*cut, None]):
        assert shot is not None
        if is_sound and not shot.clip["hasAudio"]:
            before = None
            continue
        fades_in = shot.range.into is not None and before is not None
        fades_out = shot.out is not None and (not is_sound or bool(following and following.clip["hasAudio"]))
        if shot.range.into and fades_in:
            _transition(track, shot, files.fps, is_sound=is_sound)
        item = files.item(track, shot.path, shot.clip["frames"])
        first, end = shot.range.start, shot.range.start + shot.range.frames
        _text(
            item,
            start=-1 if fades_in else shot.at,
            end=-1 if fades_out else shot.end,
            **{"in": first - shot.before if fades_in else first, "out": end + shot.after if fades_out else end},
        )
        files.file(item, shot.clip["src"], shot.clip["frames"], shot.clip)
        before = shot


def _transition(track: Element, shot: Shot, fps: int, *, is_sound: bool) -> None:
    assert shot.range.into is not None
    item = _add(track, "transitionitem")
    _text(item, start=shot.at - shot.range.into[0], end=shot.at + shot.range.into[1], alignment="center")
    _rate(item, fps)
    name = "Cross Fade (+3dB)" if is_sound else "Cross Dissolve"
    identity = "KGAudioTransCrossFade3dB" if is_sound else "Cross Dissolve"
    effect = _add(item, "effect")
    _text(effect, name=name, effectid=identity, effectcategory="Dissolve", effecttype="transition")
    _text(effect, mediatype="audio" if is_sound else "video")


class _Files:
    """The items and the files of an xmeml: a file is described once, and named afterwards."""

    def __init__(self, media: Mapping[str, CutMedia], fps: int) -> None:
        self.media, self.fps, self.items = media, fps, 0
        self.known: dict[str, str] = {}

    def item(self, track: Element, name: str, frames: int) -> Element:
        self.items += 1
        item = _add(track, "clipitem", id=f"clipitem-{self.items}")
        _text(item, name=name, enabled="TRUE", duration=frames)
        _rate(item, self.fps)
        return item

    def file(self, item: Element, src: str, frames: int, clip: Json | None = None) -> None:
        if src in self.known:
            _add(item, "file", id=self.known[src])
            return
        self.known[src] = id = f"file-{len(self.known) + 1}"
        file, found = _add(item, "file", id=id), self.media[src]
        _text(file, name=found.name, pathurl=found.url)
        _rate(file, self.fps)
        _text(file, duration=frames)
        kinds = _add(file, "media")
        if clip is not None:
            _samples(_add(_add(kinds, "video"), "samplecharacteristics"), {**clip, "fps": self.fps})
        if found.rate:
            sound = _add(kinds, "audio")
            _text(_add(sound, "samplecharacteristics"), depth=16, samplerate=found.rate)
            _text(sound, channelcount=found.channels)


def _samples(parent: Element, picture: Json) -> None:
    _rate(parent, picture["fps"])
    _text(parent, width=picture["width"], height=picture["height"])
    _text(parent, anamorphic="FALSE", pixelaspectratio="square", fielddominance="none")


def _rate(parent: Element, fps: int) -> None:
    _text(_add(parent, "rate"), timebase=fps, ntsc="FALSE")


# FCPXML 1.10: Final Cut Pro from 10.6 on, DaVinci Resolve from 18 on


def fcpxml(data: Json, media: Mapping[str, CutMedia]) -> str:
    """Return a timeline as FCPXML: the clips in the spine, the narration connected to them, a chapter for a scene.

    Every place is a whole number of frames.
    """
    fps, cut = data["fps"], shots(data)
    root = ElementTree.Element("fcpxml", version="1.10")
    resources = _Resources(_add(root, "resources"), media, fps)
    whole = resources.format(data["width"], data["height"])
    fades = any(shot.range.into for shot in cut)
    dissolve = resources.effect(*DISSOLVE) if fades else ""
    crossfade = resources.effect(*CROSSFADE) if fades and any(shot.clip["hasAudio"] for shot in cut) else ""
    project = _add(_add(_add(root, "library"), "event", name=data["title"]), "project", name=data["title"])
    sequence = _add(
        project,
        "sequence",
        format=whole,
        duration=_time(data["durationInFrames"], fps),
        tcStart="0s",
        tcFormat="NDF",
        audioLayout="stereo",
        audioRate="48k",
    )
    spine = _add(sequence, "spine")
    spoken = list(_narrations(data, fps, media))
    chapters = {scene["from"]: scene["title"] or scene["id"] for scene in data["scenes"]}
    for number, shot in enumerate(cut):
        is_last = number == len(cut) - 1
        if shot.range.into:
            _fcpxml_transition(spine, shot, fps, dissolve, crossfade, cut[number - 1])
        asset = resources.clip(shot)
        item = _add(
            spine,
            "asset-clip",
            ref=asset,
            offset=_time(shot.at, fps),
            name=shot.path,
            start=_time(shot.range.start, fps),
            duration=_time(shot.range.frames, fps),
            tcFormat="NDF",
            videoRole="video",
            **({"audioRole": "effects"} if shot.clip["hasAudio"] else {}),
        )
        _add(item, "note").text = _note(shot.clip)
        if shot.clip["hasAudio"] and shot.clip["volume"] != 1:
            _add(item, "adjust-volume", amount=_decibels(shot.clip["volume"]))
        mine = [each for each in spoken if shot.at <= each.at and (each.at < shot.end or is_last)]
        for each in mine:
            spoken.remove(each)
            _connect(item, each, each.at - shot.at + shot.range.start, resources, fps)
        for at in [at for at in chapters if shot.at <= at < shot.end]:
            place = _time(at - shot.at + shot.range.start, fps)
            _add(item, "chapter-marker", start=place, duration=_time(1, fps), value=chapters.pop(at), posterOffset="0s")
    return _document(root, "fcpxml")


@dataclass(frozen=True)
class _Narration:
    scene: str
    src: str
    at: int  # the frame of the film where it begins
    frames: int
    volume: float


def _narrations(data: Json, fps: int, media: Mapping[str, CutMedia]) -> Iterator[_Narration]:
    """Yield the narrations; of each the whole frames that its file has."""
    for scene in data["scenes"]:
        if spoken := scene["narration"]:
            whole = spoken["samples"] * fps // spoken["sampleRate"]
            frames = min(_spoken_frames(scene), whole)
            if frames:
                yield _Narration(
                    scene["id"], spoken["src"], scene["from"] + spoken["startFrame"], frames, spoken["volume"]
                )


def _connect(parent: Element, spoken: _Narration, offset: int, resources: _Resources, fps: int) -> None:
    item = _add(
        parent,
        "asset-clip",
        ref=resources.sound(spoken.src, spoken.frames),
        lane="-1",
        offset=_time(offset, fps),
        name=f"{spoken.scene} narration",
        start="0s",
        duration=_time(spoken.frames, fps),
        audioRole="dialogue",
    )
    if spoken.volume != 1:
        _add(item, "adjust-volume", amount=_decibels(spoken.volume))


def _fcpxml_transition(spine: Element, shot: Shot, fps: int, dissolve: str, crossfade: str, before: Shot) -> None:
    assert shot.range.into is not None
    first, frames = shot.at - shot.range.into[0], sum(shot.range.into)
    item = _add(spine, "transition", name=DISSOLVE[0], offset=_time(first, fps), duration=_time(frames, fps))
    _add(item, "filter-video", ref=dissolve, name=DISSOLVE[0])
    if crossfade and shot.clip["hasAudio"] and before.clip["hasAudio"]:
        _add(item, "filter-audio", ref=crossfade, name=CROSSFADE[0])


class _Resources:
    """The formats, files and effects of an FCPXML, each once."""

    def __init__(self, element: Element, media: Mapping[str, CutMedia], fps: int) -> None:
        self.element, self.media, self.fps = element, media, fps
        self.ids: dict[Any, str] = {}

    def format(self, width: int, height: int) -> str:
        return self._once(
            ("format", width, height),
            "format",
            name="FFVideoFormatRateUndefined",  # none of Apple's own: they have names by size and rate
            frameDuration=_time(1, self.fps),
            width=str(width),
            height=str(height),
            colorSpace="1-1-1 (Rec. 709)",
        )

    def effect(self, name: str, uid: str) -> str:
        return self._once(("effect", uid), "effect", name=name, uid=uid)

    def clip(self, shot: Shot) -> str:
        clip, file = shot.clip, self.media[shot.clip["src"]]
        sound = {
            "hasAudio": "1",
            "audioSources": "1",
            "audioChannels": str(file.channels or 2),
            "audioRate": str(file.rate or 48000),
        }
        return self._file(
            clip["src"],
            clip["frames"],
            hasVideo="1",
            videoSources="1",
            format=self.format(clip["width"], clip["height"]),
            **(sound if clip["hasAudio"] else {}),
        )

    def sound(self, src: str, frames: int) -> str:
        file = self.media[src]
        channels = {"audioChannels": str(file.channels)} if file.channels else {}
        return self._file(src, frames, hasAudio="1", audioSources="1", audioRate=str(file.rate), **channels)

    def _file(self, src: str, frames: int, **facts: str) -> str:
        file, is_new = self.media[src], src not in self.ids
        id = self._once(src, "asset", name=file.name, start="0s", duration=_time(frames, self.fps), **facts)
        if is_new:
            _add(self.element[-1], "media-rep", kind="original-media", src=file.url)
        return id

    def _once(self, key: Any, tag: str, **facts: str) -> str:
        if key not in self.ids:
            self.ids[key] = f"r{len(self.ids) + 1}"
            _add(self.element, tag, id=self.ids[key], **facts)
        return self.ids[key]


def _time(frames: int, fps: int) -> str:
    """Return a time in seconds, as FCPXML writes fractions."""
    seconds = Fraction(frames, fps)
    return f"{seconds.numerator}s" if seconds.denominator == 1 else f"{seconds.numerator}/{seconds.denominator}s"


def _decibels(volume: float) -> str:
    return f"{20 * math.log10(volume):.1f}dB" if volume > 0 else "-96dB"


def _note(clip: Json) -> str:
    return take_of(clip) + (", of an earlier text" if clip["isStale"] else "")


# Both XML formats


def _spoken_frames(scene: Json) -> int:
    """Return the frames of a scene's narration that lie in the scene."""
    spoken = scene["narration"]
    return int(min(spoken["durationInFrames"], scene["durationInFrames"] - spoken["startFrame"]))


def _add(parent: Element, tag: str, **attributes: str) -> Element:
    return ElementTree.SubElement(parent, tag, {name: str(value) for name, value in attributes.items()})


def _text(parent: Element, **texts: object) -> None:
    for tag, text in texts.items():
        _add(parent, tag).text = str(text)


def _document(root: Element, name: str) -> str:
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE {name}>\n{body}\n'
