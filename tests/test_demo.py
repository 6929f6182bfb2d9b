"""What `make demo` ends with: a film to watch and to listen to. Each picture is read, and the voice is found in it."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from harness.command import run
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError
from ltxflow.media.mix import RATE, read_sound
from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import read_frame_number
from ltxflow.media.speech import pick_offline

DEMO = Path(__file__).parents[1] / "projects" / "wallet-explainer"
SIZE = (960, 540)


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo film, a little smaller, made by the two commands of `make demo`."""
    root = tmp_path_factory.mktemp("demo")
    (root / ".git").mkdir()
    folder = root / "wallet-explainer"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns(".ltxflow", "public", "*.lock"))
    file = folder / "project.yaml"
    file.write_text(re.sub(r"(?m)^aspect: .*$", f"size: {SIZE[0]}x{SIZE[1]}", file.read_text()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTXFLOW_STORE", str(root / "store"))
        assert run("build", "--animatic", "-q", "-p", str(folder)).code == 0
        ran = run("conform", "--proxy", "--json", "-p", str(folder))
        assert (ran.code, ran.envelope["problems"]) == (0, [])
    return folder / "public"


@pytest.fixture(scope="module")
def told(public: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((public / "scenes" / "timeline.json").read_text())
    return data


def test_the_film_is_as_long_as_its_timeline_to_the_frame(public: Path, told: dict[str, Any]) -> None:
    facts = probe_mp4(public / "film.mp4")
    assert (facts.frames, facts.fps) == (told["durationInFrames"], told["fps"])
    assert facts.audio_seconds == facts.seconds
    assert (facts.width, facts.height) == (640, 360)


def test_every_frame_shows_the_right_slate(public: Path, told: dict[str, Any]) -> None:
    """Its number is read from every frame, its clip is known by the picture of it that stands alone."""
    clips = [clip for scene in told["scenes"] for clip in scene["clips"]]
    screen: list[list[tuple[str, int]]] = [[] for _ in range(told["durationInFrames"])]
    for clip in clips:
        for number in range(clip["durationInFrames"]):
            screen[clip["absoluteFrom"] + number].append((clip["src"], clip["trimStart"] + number))
    cards = {clip["src"]: _card(public / clip["src"]) for clip in clips}
    mixed = 0
    with av.open(str(public / "film.mp4")) as container:
        for frame, wanted in zip(container.decode(video=0), screen, strict=True):
            picture = frame.to_ndarray(format="rgb24")
            if len(wanted) == 1:
                src, number = wanted[0]
                assert read_frame_number(picture, SIZE) == number
                top = picture[:300:4, ::4].astype(np.int16)
                assert min(cards, key=lambda name: float(np.abs(top - cards[name]).mean())) == src
            else:
                mixed += 1
    assert mixed == sum((clip["transition"] or {"durationInFrames": 0})["durationInFrames"] for clip in clips) > 0


def _card(path: Path) -> NDArray[np.int16]:
    """The part of a slate that stands still, as large as in the film."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0)).reformat(640, 360, "rgb24", interpolation="AREA")
        return frame.to_ndarray()[:300:4, ::4].astype(np.int16)


def test_the_voice_is_heard_where_the_timeline_says(public: Path, told: dict[str, Any]) -> None:
    if pick_offline(os.environ) is None:
        pytest.skip("no voice is installed here")
    film = read_sound(public / "film.mp4")[0]
    spoken = [scene for scene in told["scenes"] if scene["narration"]]
    assert len(spoken) >= 5
    assert told["generator"]["voices"]
    for scene in spoken:
        voice = read_sound(public / scene["narration"]["src"])[0]
        wanted = (scene["from"] + scene["narration"]["startFrame"]) * RATE // told["fps"]
        assert abs(_lag(film, voice, wanted)) <= RATE // 200, f"{scene['id']} is more than 5 ms off"


def _lag(film: NDArray[np.float32], voice: NDArray[np.float32], at: int) -> int:
    """By how many samples a voice is later in a film than it should be, up to a second either way."""
    first = max(0, at - RATE)
    part = film[first : at + len(voice) + RATE]
    size = 1 << (len(part) + len(voice) - 1).bit_length()
    likeness = np.fft.irfft(np.fft.rfft(part, size) * np.conj(np.fft.rfft(voice, size)), size)
    return int(np.argmax(likeness[: at - first + RATE])) - (at - first)


def test_captions_are_in_it_and_are_said_at_their_time(public: Path, told: dict[str, Any]) -> None:
    heard = read_sound(public / "film.mp4")
    with av.open(str(public / "film.mp4")) as container:
        shown = [
            (float(packet.pts * packet.time_base), float(packet.duration * packet.time_base))
            for packet in container.demux(container.streams.subtitles[0])
            if packet.size > 2
        ]
        assert len(container.chapters()) == len(told["scenes"])
    assert len(shown) > 12
    if pick_offline(os.environ) is None:
        return
    for start, length in shown:
        part = heard[:, int(start * RATE) : int((start + min(length, 1)) * RATE)]
        assert np.sqrt((part**2).mean()) > 0.03, f"nobody speaks at {start} s"


def test_what_stands_beside_it_belongs_to_it(public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTXFLOW_STORE", str(public.parents[1] / "store"))
    assert run("clean", "-p", str(public.parent)).out == "nothing to clean\n"
    assert run("verify", "--deep", "-q", "-p", str(public.parent)).code == 0
    if pick_offline(os.environ) is not None:
        assert "estimate" not in run("status", "-p", str(public.parent)).out


def test_another_picture_is_not_taken_for_a_slate(public: Path) -> None:
    with pytest.raises(LtxflowError):
        read_frame_number(np.full((360, 640, 3), 30, np.uint8), SIZE)
