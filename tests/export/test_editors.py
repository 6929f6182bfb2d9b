"""The cut for editors, read back by OpenTimelineIO itself: the same frames of the same files at the same places."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import opentimelineio
import pytest

from ltxflow.core.errors import LtxflowError, install_command
from ltxflow.export import editors
from ltxflow.export.editors import ClipMedia, frames_of, otio, otio_text, ranges_of, render_cut

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
        words = {"src": f"narration/{index}.wav", "startFrame": start, "durationInFrames": frames, "volume": 1}
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
        "durationInFrames": sum(scene["durationInFrames"] for scene in told),
        "generator": {"name": "ltxflow", "version": "1", "model": "LTX-2", "machineMade": True},
        "scenes": told,
    }


def cut(told: Json, spare: Mapping[str, Sequence[ClipMedia]] | None = None) -> Json:
    srcs = [c["src"] for scene in told["scenes"] for c in scene["clips"]]
    srcs += [scene["narration"]["src"] for scene in told["scenes"] if scene["narration"]]
    return otio(told, {src: src for src in srcs}, spare or {})


def read(text: str, adapter: str = "otio_json", **options: Any) -> Any:
    return opentimelineio.adapters.read_from_string(text, adapter, **options)


def frames(item: Any) -> int:
    return int(item.duration().rescaled_to(FPS).value)


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


def test_stretches_sum_to_the_scene() -> None:
    for scene in DISSOLVES["scenes"]:
        assert sum(part.frames for part in ranges_of(scene["clips"])) == scene["durationInFrames"]


def test_an_edl_has_every_event_and_the_same_length() -> None:
    text = render_cut(cut(DISSOLVES), "edl")
    timeline = read(text, "cmx_3600", rate=FPS)
    assert len(timeline.tracks) == 1
    assert frames(timeline.tracks[0]) == DISSOLVES["durationInFrames"]
    assert [line.split()[1] for line in text.splitlines() if line[:3].isdigit() and " C " in line] == [
        *("S0A", "S0A", "S1A", "S1A", "S1B", "S2A"),
    ]
    assert [line.split()[3:5] for line in text.splitlines() if " D " in line] == [
        ["D", "012"],
        ["D", "007"],
        ["D", "001"],
    ]


def test_final_cut_xml_has_all_tracks_and_the_same_length() -> None:
    timeline = read(render_cut(cut(DISSOLVES), "fcpxml"), "fcp_xml")
    picture, sound, narration = timeline.tracks
    assert [track.kind for track in timeline.tracks] == ["Video", "Audio", "Audio"]
    assert frames(picture) == frames(sound) == DISSOLVES["durationInFrames"]
    assert frames(narration) == DISSOLVES["durationInFrames"]
    urls = {item.media_reference.target_url for item in timeline.find_clips()}
    assert "scenes/scene-0-a.mp4" in urls


def test_without_the_library_its_formats_state_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(editors, "NEEDED", ("no_such_library",))
    assert render_cut(cut(DISSOLVES), "otio")
    for kind in ("edl", "fcpxml"):
        with pytest.raises(LtxflowError) as caught:
            render_cut(cut(DISSOLVES), kind)
        (problem,) = caught.value.problems
        assert problem.message == f"{kind} is written by OpenTimelineIO, which is not installed"
        assert problem.hint == (
            f"run `{install_command('editors')}`, or use the format that needs nothing: ltxflow export otio"
        )


def test_a_rate_that_has_no_timecode_is_not_edl() -> None:
    told = {**film([clip("0-a", 97)]), "fps": 17}
    with pytest.raises(LtxflowError) as caught:
        render_cut(cut(told), "edl")
    (problem,) = caught.value.problems
    assert problem.message.startswith("OpenTimelineIO cannot write this film as edl: ")
    assert problem.hint == "use another format: ltxflow export otio"


def test_a_track_is_as_long_as_its_clips_and_gaps() -> None:
    assert frames_of(cut(DISSOLVES)["tracks"]["children"][0]) == DISSOLVES["durationInFrames"]
