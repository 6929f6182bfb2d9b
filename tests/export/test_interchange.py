"""The cut as EDL, Final Cut Pro 7 XML and FCPXML: the same frames of the same files at the same places.

The first two are read back by OpenTimelineIO's adapters; FCPXML is checked against the rules of Apple's DTD for version
1.10, and read by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

import opentimelineio
import pytest
from harness.cuts import DISSOLVES, FPS, Json, clip, film, shown

from ltxflow.core.errors import LtxflowError
from ltxflow.export.interchange import CutMedia, edl, fcpxml, ranges_of, xmeml

AT = "file:///films/a%20film/public/"


def media(told: Json) -> dict[str, CutMedia]:
    found = {}
    for scene in told["scenes"]:
        for c in scene["clips"]:
            found[c["src"]] = CutMedia(AT + c["src"], c["src"].rpartition("/")[2], 48000 if c["hasAudio"] else 0, 2)
        if scene["narration"]:
            src = scene["narration"]["src"]
            found[src] = CutMedia(AT + src, src.rpartition("/")[2], 24000, 1)
    return found


def absolute(found: dict[int, tuple[str, int]]) -> dict[int, tuple[str, int]]:
    return {at: (AT + src, frame) for at, (src, frame) in found.items()}


def frames(item: Any) -> int:
    return int(item.duration().rescaled_to(FPS).value)


def seen(track: Any) -> dict[int, tuple[str, int]]:
    """Every frame of a track → (file, frame of the file), as OpenTimelineIO places its clips between their cuts."""
    found = {}
    for item in track.find_clips():
        start = int(item.range_in_parent().start_time.value)
        for frame in range(frames(item)):
            url = item.media_reference.target_url
            found[start + frame] = (url, int(item.source_range.start_time.value) + frame)
    return found


def test_stretches_sum_to_the_scene() -> None:
    for scene in DISSOLVES["scenes"]:
        assert sum(part.frames for part in ranges_of(scene["clips"])) == scene["durationInFrames"]


# --- EDL


def test_an_edl_has_every_event_and_the_same_length() -> None:
    text = edl(DISSOLVES, media(DISSOLVES))
    timeline = opentimelineio.adapters.read_from_string(text, "cmx_3600", rate=FPS)
    (track,) = timeline.tracks
    assert frames(track) == DISSOLVES["durationInFrames"]
    assert [line.split()[1] for line in text.splitlines() if line[:3].isdigit() and " C " in line] == [
        *("S0A", "S0A", "S1A", "S1A", "S1B", "S2A"),
    ]
    assert [line.split()[3:5] for line in text.splitlines() if " D " in line] == [
        ["D", "012"],
        ["D", "007"],
        ["D", "001"],
    ]
    assert [item.name for item in track.find_clips()] == ["s0/0-a", "s0/0-b", "s1/1-a", "s1/1-b", "s1/1-c", "s2/2-a"]


def test_an_edl_shows_the_frames_of_the_timeline() -> None:
    """Each event's source and record times, read by hand; outside dissolves there is one file a frame."""
    at, found = re.compile(r"(\d\d):(\d\d):(\d\d):(\d\d)"), {}
    for line in edl(DISSOLVES, media(DISSOLVES)).splitlines():
        if not line[:3].isdigit():
            continue
        times = [((int(h) * 60 + int(m)) * 60 + int(s)) * FPS + int(f) for h, m, s, f in at.findall(line)]
        first, end, start, stop = times
        assert end - first == stop - start
        reel = line.split()[1]
        for frame in range(stop - start):
            found[start + frame] = (reel, first + frame)
    wanted = {n: (f"S{src[13:-4].replace('-', '').upper()}", frame) for n, (src, frame) in shown(DISSOLVES).items()}
    assert {n: found[n] for n in wanted} == wanted
    assert sorted(found) == list(range(DISSOLVES["durationInFrames"]))


@pytest.mark.parametrize("fps", [24, 25, 30, 50, 60])
def test_an_hour_is_counted_in_frames(fps: int) -> None:
    told = {**film([clip("0-a", fps * 3700 + 7)]), "fps": fps}
    assert f"01:01:40:{7:02d}" in edl(told, media(told))


def test_a_rate_that_has_no_timecode_is_not_edl() -> None:
    told = {**film([clip("0-a", 97)]), "fps": 17}
    with pytest.raises(LtxflowError) as caught:
        edl(told, media(told))
    (problem,) = caught.value.problems
    assert problem.message == "edl counts no 17 frames a second"
    assert problem.hint == "use another format: ltxflow export otio"


def test_an_edl_has_ascii_alone() -> None:
    told = {**DISSOLVES, "title": "Früher – heute"}
    assert edl(told, media(told)).startswith("TITLE: Fr?her ? heute\nFCM: NON-DROP FRAME\n")


# --- Final Cut Pro 7


def test_final_cut_7_xml_shows_the_same_frames_at_the_same_places() -> None:
    text = xmeml(DISSOLVES, media(DISSOLVES))
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE xmeml>\n<xmeml version="4">')
    timeline = opentimelineio.adapters.read_from_string(text, "fcp_xml")
    picture, sound, narration = timeline.tracks
    assert [track.kind for track in timeline.tracks] == ["Video", "Audio", "Audio"]
    assert frames(picture) == frames(sound) == DISSOLVES["durationInFrames"]
    promised = absolute(shown(DISSOLVES))
    assert {at: seen(picture)[at] for at in promised} == promised
    assert {at: seen(sound)[at] for at in promised} == promised
    starts = [(int(c.range_in_parent().start_time.value), frames(c)) for c in narration.find_clips()]
    assert starts == [(5, 180), (DISSOLVES["scenes"][2]["from"], 57)]
    fades = [item for item in picture if isinstance(item, opentimelineio.schema.Transition)]
    assert [(int(t.in_offset.value), int(t.out_offset.value)) for t in fades] == [(6, 6), (3, 4), (0, 1)]


def test_final_cut_7_xml_describes_each_file_once() -> None:
    root = ElementTree.fromstring(xmeml(DISSOLVES, media(DISSOLVES)))
    files = [file for file in root.iter("file") if len(file)]
    assert len({file.get("id") for file in files}) == len(files) == 8
    assert all((file.findtext("pathurl") or "").startswith("file:///") for file in files)
    assert [file.findtext("duration") for file in files][:2] == ["97", "121"]
    first = files[0]
    assert first.findtext("media/video/samplecharacteristics/width") == "192"
    assert first.findtext("media/audio/samplecharacteristics/samplerate") == "48000"
    assert root.findtext("sequence/media/video/format/samplecharacteristics/height") == "128"
    for item in root.iter("clipitem"):
        assert int(item.findtext("out") or 0) - int(item.findtext("in") or 0) > 0
        assert int(item.findtext("out") or 0) <= int(item.findtext("duration") or 0)


def test_a_clip_without_sound_is_a_hole_in_the_track_of_sounds() -> None:
    told = film([clip("0-a", 97), clip("0-b", 97, fade=12, sound=False), clip("0-c", 97, fade=12)])
    root = ElementTree.fromstring(xmeml(told, media(told)))
    audio = root.find("sequence/media/audio/track")
    assert audio is not None
    assert [item.tag for item in audio] == ["clipitem", "clipitem"]
    assert [(item.findtext("start"), item.findtext("end")) for item in audio] == [("0", "91"), ("176", "267")]


# --- FCPXML

# Apple's DTD of FCPXML 1.10 for the elements in use: children in order, and attributes with what they may be.
TIME = re.compile(r"-?\d+(/\d+)?s")
ANCHORED = "(asset-clip |gap )*"
CHILDREN = {
    "fcpxml": "(import-options )?(resources )?(library )?",
    "resources": "(asset |effect |format |media )*",
    "format": "",
    "effect": "",
    "asset": "(media-rep )+(metadata )?",
    "media-rep": "(bookmark )?",
    "library": "(event )*",
    "event": "(project |asset-clip )*",
    "project": "sequence ",
    "sequence": "(note )?spine (metadata )?",
    "spine": "(asset-clip |gap |transition )*",
    "asset-clip": f"(note )?(adjust-volume )?{ANCHORED}(marker |chapter-marker )*(filter-video )*(filter-audio )*",
    "gap": f"(note )?{ANCHORED}(marker |chapter-marker )*",
    "transition": "(filter-video )?(filter-audio )?",
    "filter-video": "(param )*",
    "filter-audio": "(param )*",
    "adjust-volume": "",
    "chapter-marker": "",
    "note": "",
}
REQUIRED = {
    "fcpxml": {"version"},
    "format": {"id"},
    "effect": {"id", "uid"},
    "asset": {"id"},
    "media-rep": {"src"},
    "sequence": {"format"},
    "asset-clip": {"ref"},
    "gap": {"duration"},
    "transition": {"duration"},
    "filter-video": {"ref"},
    "filter-audio": {"ref"},
    "chapter-marker": {"start", "value"},
}
OPTIONAL = {
    "format": {"name", "frameDuration", "fieldOrder", "width", "height", "colorSpace"},
    "effect": {"name", "src"},
    "asset": {
        *("name", "uid", "start", "duration", "hasVideo", "format", "hasAudio", "videoSources", "audioSources"),
        *("audioChannels", "audioRate"),
    },
    "media-rep": {"kind", "sig", "suggestedFilename"},
    "library": {"location"},
    "event": {"name", "uid"},
    "project": {"name", "uid", "id", "modDate"},
    "sequence": {"duration", "tcStart", "tcFormat", "audioLayout", "audioRate", "renderFormat", "keywords"},
    "asset-clip": {
        *("lane", "offset", "name", "start", "duration", "enabled", "srcEnable", "audioStart", "audioDuration"),
        *("format", "tcStart", "tcFormat", "modDate", "audioRole", "videoRole"),
    },
    "gap": {"name", "offset", "start", "enabled"},
    "transition": {"name", "offset"},
    "filter-video": {"name", "enabled"},
    "filter-audio": {"name", "enabled"},
    "adjust-volume": {"amount"},
    "chapter-marker": {"duration", "note", "posterOffset"},
}
TIMES = {"start", "offset", "duration", "tcStart", "frameDuration", "posterOffset"}
VALUES = {
    "tcFormat": {"DF", "NDF"},
    "audioLayout": {"mono", "stereo", "surround"},
    "kind": {"original-media", "proxy-media"},
    "hasVideo": {"0", "1"},
    "hasAudio": {"0", "1"},
}


def check(root: ElementTree.Element) -> None:
    """Check a document against the rules above, and that what it names exists once."""
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len({*ids})
    for element in root.iter():
        children = "".join(f"{child.tag} " for child in element)
        assert re.fullmatch(CHILDREN[element.tag], children), (element.tag, children)
        given, needed = {*element.attrib}, REQUIRED.get(element.tag, set())
        assert needed <= given <= needed | OPTIONAL.get(element.tag, set()), (element.tag, given)
        for name, value in element.items():
            assert name not in TIMES or TIME.fullmatch(value), (element.tag, name, value)
            assert value in VALUES.get(name, {value}), (element.tag, name, value)
        named = element.get("format") if element.tag != "format" else None
        for id, kinds in ((element.get("ref"), {"asset", "effect"}), (named, {"format"})):
            assert id is None or next(e.tag for e in root.iter() if e.get("id") == id) in kinds


def read(told: Json) -> ElementTree.Element:
    text = fcpxml(told, media(told))
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n<fcpxml version="1.10">')
    root = ElementTree.fromstring(text)
    check(root)
    return root


def at(element: ElementTree.Element, name: str) -> int:
    """Return a time in frames; every one is whole."""
    written = element.get(name, "0s").removesuffix("s")
    found = Fraction(written) * FPS
    assert found.denominator == 1, (element.tag, name, written)
    return int(found)


def items(root: ElementTree.Element, tag: str) -> list[ElementTree.Element]:
    spine = root.find("library/event/project/sequence/spine")
    assert spine is not None
    return [item for item in spine if item.tag == tag]


def connected(root: ElementTree.Element) -> Iterator[tuple[ElementTree.Element, int]]:
    """Yield connected clips, each with the frame of the film where it begins."""
    for parent in items(root, "asset-clip"):
        for child in parent.findall("asset-clip"):
            yield child, at(parent, "offset") + at(child, "offset") - at(parent, "start")


def test_fcpxml_shows_the_same_frames_at_the_same_places() -> None:
    root = read(DISSOLVES)
    assets = {asset.get("id"): asset for asset in root.iter("asset")}
    found, place = {}, 0
    for item in items(root, "asset-clip"):
        assert at(item, "offset") == place, "clips of a spine meet"
        asset = assets[item.get("ref")]
        (file,) = asset
        for frame in range(at(item, "duration")):
            found[place + frame] = (file.get("src"), at(item, "start") + frame)
        assert at(item, "start") + at(item, "duration") <= at(asset, "duration")
        place += at(item, "duration")
    promised = absolute(shown(DISSOLVES))
    assert {n: found[n] for n in promised} == promised
    sequence = root.find("library/event/project/sequence")
    assert sequence is not None
    assert place == at(sequence, "duration") == DISSOLVES["durationInFrames"]


def test_fcpxml_dissolves_over_its_cuts_and_no_further_than_the_files() -> None:
    root = read(DISSOLVES)
    spine = root.find("library/event/project/sequence/spine")
    assert spine is not None
    assets = {asset.get("id"): asset for asset in root.iter("asset")}
    found = []
    for before, fade, after in zip(spine, list(spine)[1:], list(spine)[2:], strict=False):
        if fade.tag != "transition":
            continue
        cut, first, length = at(after, "offset"), at(fade, "offset"), at(fade, "duration")
        found.append((cut - first, first + length - cut))
        assert [child.tag for child in fade] == ["filter-video", "filter-audio"]
        assert at(after, "start") >= cut - first
        tail = at(before, "start") + at(before, "duration") + first + length - cut
        assert tail <= at(assets[before.get("ref")], "duration")
    assert found == [(6, 6), (3, 4), (0, 1)]
    effects = {effect.get("name"): effect.get("uid") for effect in root.iter("effect")}
    assert effects == {
        "Cross Dissolve": "FxPlug:4731E73A-8DAC-4113-9A30-AE85B1761265",
        "Audio Crossfade": "FFAudioTransition",
    }


def test_fcpxml_connects_the_narration_where_it_is_spoken() -> None:
    root = read(DISSOLVES)
    found = [(child.get("name"), begin, at(child, "duration")) for child, begin in connected(root)]
    assert found == [("s0 narration", 5, 179), ("s2 narration", DISSOLVES["scenes"][2]["from"], 56)]  # whole frames
    for child, _ in connected(root):
        assert (child.get("lane"), child.get("audioRole"), child.get("videoRole")) == ("-1", "dialogue", None)
    assert {item.get("audioRole") for item in items(root, "asset-clip")} == {"effects"}


def test_a_narration_that_begins_under_a_later_clip_is_connected_to_that() -> None:
    told = film([clip("0-a", 97), clip("0-b", 97, fade=12)], spoken={0: (150, 30)})
    ((child, begin),) = connected(read(told))
    assert (begin, at(child, "duration")) == (150, 29)


def test_fcpxml_has_a_chapter_for_every_scene() -> None:
    root = read(DISSOLVES)
    found = [
        (mark.get("value"), at(item, "offset") + at(mark, "start") - at(item, "start"))
        for item in items(root, "asset-clip")
        for mark in item.findall("chapter-marker")
    ]
    assert found == [(scene["title"], scene["from"]) for scene in DISSOLVES["scenes"]]


def test_fcpxml_names_every_file_once_with_what_is_in_it() -> None:
    told = film(
        [clip("0-a", 97), {**clip("0-b", 97, sound=False), "width": 96, "height": 64}, clip("0-a", 97)],
        spoken={0: (0, 50)},
    )
    root = read(told)
    assets = {asset.get("name"): asset for asset in root.iter("asset")}
    assert [*assets] == ["scene-0-a.mp4", "0.wav", "scene-0-b.mp4"]
    assert [asset.get("hasAudio") for asset in assets.values()] == ["1", "1", None]
    assert [asset.get("hasVideo") for asset in assets.values()] == ["1", None, "1"]
    assert [asset.get("audioRate") for asset in assets.values()] == ["48000", "24000", None]
    formats = {f.get("id"): (f.get("width"), f.get("height"), f.get("frameDuration")) for f in root.iter("format")}
    assert formats[assets["scene-0-b.mp4"].get("format")] == ("96", "64", "1/25s")
    assert formats[assets["scene-0-a.mp4"].get("format")] == ("192", "128", "1/25s")
    assert {rep.get("kind") for rep in root.iter("media-rep")} == {"original-media"}
    assert {rep.get("src") for rep in root.iter("media-rep")} == {AT + src for src in media(told)}


def test_fcpxml_tells_of_volume_and_of_what_a_clip_is() -> None:
    told = film(
        [{**clip("0-a", 97), "volume": 0.5, "isStale": True, "take": 3}, {**clip("0-b", 9), "source": "animatic"}]
    )
    first, second = items(read(told), "asset-clip")
    volume = first.find("adjust-volume")
    assert volume is not None
    assert volume.get("amount") == "-6.0dB"
    assert first.findtext("note") == "take 3, of an earlier text"
    assert second.findtext("note") == "slate"


def test_without_dissolves_or_sound_there_are_no_effects() -> None:
    root = read(film([clip("0-a", 97, sound=False)]))
    assert [child.tag for child in root.find("resources") or ()] == ["format", "asset"]
    quiet = read(film([clip("0-a", 97, sound=False), clip("0-b", 97, fade=12, sound=False)]))
    assert [effect.get("name") for effect in quiet.iter("effect")] == ["Cross Dissolve"]
