"""The cut for editors, read back by OpenTimelineIO itself: the same frames of the same files at the same places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import opentimelineio
from harness.cuts import DISSOLVES, FPS, clip, film, shown

from ltxflow.export.editors import ClipMedia, otio, otio_text

Json = dict[str, Any]


def cut(told: Json, spare: Mapping[str, Sequence[ClipMedia]] | None = None) -> Json:
    srcs = [c["src"] for scene in told["scenes"] for c in scene["clips"]]
    srcs += [scene["narration"]["src"] for scene in told["scenes"] if scene["narration"]]
    return otio(told, {src: src for src in srcs}, spare or {})


def read(text: str, adapter: str = "otio_json", **options: Any) -> Any:
    return opentimelineio.adapters.read_from_string(text, adapter, **options)


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


def test_the_library_reads_the_same_frames_at_the_same_places() -> None:
    timeline = read(otio_text(cut(DISSOLVES)))
    picture, sound, narration = timeline.tracks
    assert [frames(track) for track in timeline.tracks] == [DISSOLVES["durationInFrames"]] * 3
    promised = shown(DISSOLVES)
    assert len(promised) == DISSOLVES["durationInFrames"] - 12 - 7 - 1
    assert {at: seen(picture)[at] for at in promised} == promised
    assert {at: seen(sound)[at] for at in promised} == promised
    assert [(kind.kind, kind.name) for kind in timeline.tracks] == [
        ("Video", "picture"),
        ("Audio", "sound"),
        ("Audio", "narration"),
    ]
    starts = [(int(c.range_in_parent().start_time.value), frames(c)) for c in narration.find_clips()]
    assert starts == [(5, 180), (DISSOLVES["scenes"][2]["from"], 57)]


def test_dissolves_reach_over_their_cuts_and_no_further_than_the_files() -> None:
    (picture, *_) = read(otio_text(cut(DISSOLVES))).tracks
    for item in picture.find_clips():
        whole = picture.trimmed_range_of_child(item)
        assert whole.duration.value > 0
        visible = item.visible_range()  # with the frames that dissolves reach for
        assert visible.start_time.value >= 0
        assert visible.end_time_exclusive().value <= item.available_range().end_time_exclusive().value
    fades = [item for item in picture if isinstance(item, opentimelineio.schema.Transition)]
    assert [(t.in_offset.value, t.out_offset.value) for t in fades] == [(6, 6), (3, 4), (0, 1)]


def test_written_again_by_the_library_it_states_the_same() -> None:
    text = otio_text(cut(DISSOLVES))
    again = opentimelineio.adapters.write_to_string(read(text), "otio_json")
    assert json.loads(again) == json.loads(text)


def test_other_takes_are_references_and_the_pick_is_the_active_one() -> None:
    spare = {"s0/a": [ClipMedia("take 2", "takes/a-2.mp4", 97)]}
    told = film([{**clip("0-a", 97), "id": "a"}])
    (first, *_) = read(otio_text(cut(told, spare))).tracks[0].find_clips()
    assert first.active_media_reference_key == "take 1"
    urls = {key: media.target_url for key, media in first.media_references().items()}
    assert urls == {"take 1": "scenes/scene-0-a.mp4", "take 2": "takes/a-2.mp4"}


def test_a_clip_without_sound_is_silence_of_its_length_between_the_others() -> None:
    told = film([clip("0-a", 97), clip("0-b", 97, fade=12, sound=False), clip("0-c", 97, fade=12)])
    picture, sound = read(otio_text(cut(told))).tracks
    assert frames(sound) == frames(picture) == told["durationInFrames"]
    assert [type(item).__name__ for item in sound] == ["Clip", "Gap", "Clip"]
    assert [type(item).__name__ for item in picture] == ["Clip", "Transition", "Clip", "Transition", "Clip"]


def test_a_scene_begins_at_its_marker() -> None:
    timeline = read(otio_text(cut(DISSOLVES)))
    marks = [(mark.name, int(mark.marked_range.start_time.value)) for mark in timeline.tracks.markers]
    assert marks == [(scene["title"], scene["from"]) for scene in DISSOLVES["scenes"]]
