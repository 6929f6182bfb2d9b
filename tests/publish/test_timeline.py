"""The timeline's arithmetic, against a player that walks through the film frame by frame."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ltxflow.core.digest import Digest
from ltxflow.core.timing import Cut, LengthConflict, LengthRequest, Limits, needed_frames, snap_up, solve
from ltxflow.project.model import Clip, Length, Media, Narration, Project, Prompt, Scene
from ltxflow.publish.timeline import RANKS, ClipPlacement, broken, timeline

LIMITS = Limits(97, 257, 121, 161, 497, 48)
GEOMETRY = {"fps": 25, "width": 1536, "height": 1024, "audio_rate": 48000}


def a_scene(index: int, clips: int, crossfade: int, narration: Narration, head: Fraction = Fraction(0)) -> Scene:
    id = f"scene-{index}"
    return Scene(
        id=id,
        index=index,
        clips=tuple(Clip(f"c{i}", id, i, Prompt({"text": "…"}), Length(), {}) for i in range(clips)),
        narration=narration,
        pad_head=head,
        crossfade=crossfade,
    )


def a_film(*scenes: Scene) -> Project:
    return Project(
        id="film",
        title="Film",
        folder=Path("film"),
        file=Path("film/project.yaml"),
        workspace=Path("film"),
        output=Path("film/public/scenes"),
        fps=25,
        size=(1536, 1024),
        seed=0,
        profile=SimpleNamespace(title="LTX-2"),
        scenes=scenes,
    )


def placed(clip: Clip, frames: int, **changes: Any) -> ClipPlacement:
    facts = {**GEOMETRY, "frames": frames}
    return ClipPlacement(
        clip.path, f"{clip.scene}-{clip.id}.mp4", "d" * 64, "k" * 64, "comfyui", 2, 1, facts, **changes
    )


def spoken(samples: int, rate: int = 48000) -> Narration:
    sound = Media(Path("voice.wav"), "voice.wav", Digest("e" * 64), {"samples": samples, "sample_rate": rate})
    return Narration("file", Fraction(samples, rate), text="…", file=sound)


SILENT = Narration("none", Fraction(0))


@st.composite
def films(draw: st.DrawFn) -> tuple[Project, dict[str, Cut], dict[str, ClipPlacement], dict[str, str]]:
    """Films as `solve` cuts them, some clips missing, some with an older file of another length in place."""
    scenes, cuts, placements, narrations = [], {}, {}, {}
    for index in range(draw(st.integers(1, 3))):
        clips, crossfade = draw(st.integers(1, 4)), draw(st.sampled_from([0, 1, 12, 15, 40]))
        head, tail = (Fraction(draw(st.integers(0, 40)), 100) for _ in range(2))
        voice = spoken(draw(st.integers(1, 48000 * 12)), draw(st.sampled_from([22050, 44100, 48000])))
        scene = a_scene(index, clips, crossfade, draw(st.sampled_from([SILENT, voice])), head)
        need = 0 if scene.narration is SILENT else needed_frames(scene.narration.seconds, head, tail, 25)
        asks = [
            LengthRequest(
                clip.path,
                draw(st.none() | st.integers(0, 300).map(snap_up)),
                draw(st.none() | st.integers(9, 300).map(snap_up)),
            )
            for clip in scene.clips
        ]
        try:
            cuts[scene.id] = solve(need, asks, crossfade, LIMITS)
        except LengthConflict:
            assume(False)
        for clip, frames in zip(scene.clips, cuts[scene.id].frames, strict=True):
            stands = draw(st.sampled_from([frames, frames, frames, 9, 17, 97, 257, None]))
            if stands is not None:
                placements[clip.path] = placed(clip, stands)
        if scene.narration is not SILENT and draw(st.booleans()):
            narrations[scene.id] = f"narration/{scene.id}.wav"
        scenes.append(scene)
    return a_film(*scenes), cuts, placements, narrations


def watch(told: Mapping[str, Any]) -> list[list[tuple[str, str, int]]]:
    """Play a timeline: for each frame of the film, every clip that is on screen, and which of its frames.

    Knows nothing of how a timeline is computed, only how a player reads it.
    """
    screen: list[list[tuple[str, str, int]]] = [[] for _ in range(told["durationInFrames"])]
    for scene in told["scenes"]:
        for clip in scene["clips"]:
            for frame in range(clip["durationInFrames"]):
                shown = clip["trimStart"] + frame
                assert shown < clip["frames"], "a frame that the file does not have: players freeze"
                screen[scene["from"] + clip["from"] + frame].append((scene["id"], clip["id"], shown))
    return screen


@settings(max_examples=60, deadline=None)
@given(films())
def test_at_every_frame_there_is_a_picture_and_never_more_than_two(
    film: tuple[Project, dict[str, Cut], dict[str, ClipPlacement], dict[str, str]],
) -> None:
    project, cuts, placements, narrations = film
    told = timeline(project, cuts, placements, complete=True, narrations=narrations)
    assert broken(told) == []
    screen = watch(told)
    assert all(1 <= len(pictures) <= 2 for pictures in screen)
    for pictures in screen:
        assert len({scene for scene, _, _ in pictures}) == 1, "scenes do not overlap"
    for scene in told["scenes"]:
        part = screen[scene["from"] : scene["from"] + scene["durationInFrames"]]
        order = [clip["id"] for clip in scene["clips"]]
        mixed = [(a[1], b[1]) for a, b in (pictures for pictures in part if len(pictures) == 2)]
        for before, clip in zip(order, scene["clips"][1:], strict=False):
            fade = (clip["transition"] or {"durationInFrames": 0})["durationInFrames"]
            assert mixed.count((before, clip["id"])) == fade <= scene["crossfadeFrames"]
        assert len(mixed) == sum(
            (clip["transition"] or {"durationInFrames": 0})["durationInFrames"] for clip in scene["clips"]
        )


@settings(max_examples=30, deadline=None)
@given(films())
def test_what_is_rendered_as_planned_covers_its_narration(
    film: tuple[Project, dict[str, Cut], dict[str, ClipPlacement], dict[str, str]],
) -> None:
    project, cuts, _, _ = film
    whole = {
        clip.path: placed(clip, frames)
        for scene in project.scenes
        for clip, frames in zip(scene.clips, cuts[scene.id].frames, strict=True)
    }
    narrations = {scene.id: f"narration/{scene.id}.wav" for scene in project.scenes}
    told = timeline(project, cuts, whole, complete=True, narrations=narrations)
    assert told["complete"]
    assert broken(told) == []
    for scene, written in zip(told["scenes"], project.scenes, strict=True):
        cut = cuts[written.id]
        assert scene["durationInFrames"] == cut.covered >= cut.need
        assert scene["coverage"] == {
            "neededFrames": cut.need,
            "effectiveFrames": cut.covered,
            "trimmedFrames": sum(cut.trims),
            "ok": True,
        }
        voice = scene["narration"]
        if voice:
            assert Fraction(voice["startFrame"], 25) <= written.pad_head < Fraction(voice["startFrame"] + 1, 25)
            assert Fraction(voice["durationInFrames"], 25) >= Fraction(voice["samples"], voice["sampleRate"])
            assert voice["startFrame"] + voice["durationInFrames"] <= scene["durationInFrames"]


# --- what it says


def one_scene(**changes: Any) -> dict[str, Any]:
    """Two clips of 121 and 113 frames, 12 of them mixed, 3 trimmed, under 8.5 s of voice after 0.2 s."""
    scene = a_scene(0, 2, 12, spoken(48000 * 85 // 10), Fraction(1, 5))
    first, second = scene.clips
    cut = Cut((121, 113), (0, 3), 219, 222, 219)
    placements = {first.path: placed(first, 121), second.path: placed(second, 113)}
    placements |= changes.pop("placements", {})
    options = {"complete": True, "narrations": {"scene-0": "narration/scene-0.wav"}, **changes}
    return timeline(a_film(scene), {"scene-0": cut}, {p: v for p, v in placements.items() if v}, **options)


def test_a_film_is_reported_in_whole_frames() -> None:
    told = one_scene()
    assert (told["durationInFrames"], told["crossfadeFrames"], told["fps"]) == (219, 12, 25)
    (scene,) = told["scenes"]
    first, second = scene["clips"]
    assert (first["from"], first["durationInFrames"], first["transition"]) == (0, 121, None)
    assert (second["from"], second["durationInFrames"]) == (109, 110)
    assert second["transition"] == {"type": "fade", "durationInFrames": 12}
    assert (second["frames"], second["trimStart"]) == (113, 0)
    assert first["src"] == "scenes/scene-0-c0.mp4"
    voice = scene["narration"]
    assert (voice["startFrame"], voice["durationInFrames"], voice["samples"]) == (5, 213, 408000)


def test_a_clip_that_is_missing_keeps_its_planned_time() -> None:
    told = one_scene(placements={"scene-0/c1": None})
    assert not told["complete"]
    missing = told["scenes"][0]["clips"][1]
    assert (missing["src"], missing["source"], missing["sha256"]) == (None, None, None)
    assert missing["durationInFrames"] == 110
    assert told["durationInFrames"] == 219


def test_an_older_file_that_is_shorter_plays_only_what_it_has() -> None:
    clip = a_scene(0, 2, 12, SILENT).clips[1]
    told = one_scene(placements={clip.path: placed(clip, 97, is_stale=True)})
    second = told["scenes"][0]["clips"][1]
    assert (second["frames"], second["durationInFrames"], second["isStale"]) == (97, 97, True)
    assert not told["scenes"][0]["coverage"]["ok"]


def test_a_short_file_between_two_others_shortens_its_crossfades() -> None:
    scene = a_scene(0, 3, 12, SILENT)
    lengths = {"c0": 97, "c1": 9, "c2": 97}
    told = timeline(
        a_film(scene),
        {scene.id: Cut((97, 97, 97), (0, 0, 0), 0, 267, 267)},
        {clip.path: placed(clip, lengths[clip.id]) for clip in scene.clips},
        complete=True,
        narrations={},
    )
    fades = [clip["transition"] and clip["transition"]["durationInFrames"] for clip in told["scenes"][0]["clips"]]
    assert fades == [None, 4, 5]
    assert broken(told) == []


def test_a_stand_in_is_marked() -> None:
    clip = a_scene(0, 2, 12, SILENT).clips[0]
    slate = ClipPlacement(
        clip.path, "x.mp4", "d" * 64, "k" * 64, "animatic", RANKS["animatic"], facts={**GEOMETRY, "frames": 121}
    )
    first, second = one_scene(placements={clip.path: slate})["scenes"][0]["clips"]
    assert (first["source"], first["isStandIn"]) == ("animatic", True)
    assert (second["source"], second["isStandIn"]) == ("comfyui", False)


def test_a_narration_that_is_not_published_is_null_but_its_script_stays() -> None:
    (scene,) = one_scene(narrations={})["scenes"]
    assert scene["narration"] is None
    assert scene["script"].items() >= {"text": "…", "seconds": 8.5, "isEstimate": False}.items()


# --- what cannot be


def clip_of(told: dict[str, Any], index: int) -> dict[str, Any]:
    clip: dict[str, Any] = told["scenes"][0]["clips"][index]
    return clip


IMPOSSIBLE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a scene starts late": (lambda t: t["scenes"][0].update({"from": 3}), "starts at 3"),
    "the film is longer": (lambda t: t.update(durationInFrames=500), "the film lasts 219 frames"),
    "a clip plays more than it has": (lambda t: clip_of(t, 1).update(frames=100), "plays 110 of 100"),
    "a clip is shorter than its fades": (
        lambda t: clip_of(t, 1)["transition"].update(durationInFrames=115),
        "shorter than its crossfades",
    ),
    "the first clip fades in": (
        lambda t: clip_of(t, 0).update(transition={"type": "fade", "durationInFrames": 1}),
        "the first clip has a transition",
    ),
    "half a frame": (lambda t: clip_of(t, 1).update({"from": 109.0}), "not in whole frames"),
    "a clip is elsewhere": (lambda t: clip_of(t, 1).update({"from": 100}), "starts at 100, not 109"),
    "the scene ends elsewhere": (lambda t: t["scenes"][0].update(durationInFrames=218), "does not end with its last"),
    "another place in the film": (lambda t: clip_of(t, 1).update(absoluteFrom=7), "has 7 as its place"),
    "half a sample": (lambda t: t["scenes"][0]["narration"].update(samples=4.5), "the narration is not in whole"),
    "half a pad": (lambda t: t["scenes"][0].update(tail=0.5), "scene scene-0 is not in whole frames"),
    "the voice is cut off": (lambda t: t["scenes"][0]["narration"].update(startFrame=50), "the narration ends at 263"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_no_player_could_play_is_found(what: str) -> None:
    change, says = IMPOSSIBLE[what]
    told = copy.deepcopy(one_scene())
    change(told)
    assert any(says in wrong for wrong in broken(told)), broken(told)
