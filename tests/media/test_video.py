"""Videos of any kind: their facts, and the part of one that a clip reads, exact to the frame and the sample."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from fakes.media import identity, planes
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError
from ltxflow.media.probe import probe_mp4
from ltxflow.media.video import VideoPart, part_from, prepare_video, probe_video

SIZE = (128, 64)
RED, GREEN, BLUE, WHITE = (200, 30, 30), (30, 180, 30), (30, 30, 200), (220, 220, 220)


def write(
    path: Path,
    frames: int = 50,
    fps: Fraction | int = 25,
    *,
    size: tuple[int, int] = SIZE,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    stamps: Sequence[int] = (),
    rate: int = 0,
    sound_s: float | None = None,
    picture: NDArray[np.uint8] | None = None,
    **options: str,
) -> Path:
    """A video whose frames bear their numbers, or show one `picture`. `stamps` are times in 1/1000 s; with a `rate` its
    sound says which sample it is."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=Fraction(fps), options=options)
        video.width, video.height, video.pix_fmt = *size, pixels
        sound = container.add_stream("pcm_s16le", rate=rate, layout="mono") if rate else None
        if stamps:
            video.codec_context.time_base = Fraction(1, 1000)
        for number in range(len(stamps) or frames):
            if picture is None:
                frame = VideoFrame.from_ndarray(planes(*size, (96, 160), number), format="yuv420p")
            else:
                frame = VideoFrame.from_ndarray(picture, format="rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts, frame.time_base = (stamps[number], Fraction(1, 1000)) if stamps else (number, 1 / Fraction(fps))
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            samples = round(rate * (float(frames / Fraction(fps)) if sound_s is None else sound_s))
            block = AudioFrame.from_ndarray(ramp(0, samples).reshape(1, -1), format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def ramp(start: int, stop: int) -> NDArray[np.int16]:
    """Samples that say which ones they are."""
    return (np.arange(start, stop) % 30_000 + 1).astype(np.int16)


def turned(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Have an mp4 shown with this matrix, as phones write theirs."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = struct.pack(">9i", *(n << 16 for n in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    path.write_bytes(data)
    return path


def prepared(path: Path, **part: Any) -> Path:
    out = path.parent / f"out-{path.stem}.mov"
    size = part.pop("size", SIZE)
    wanted = {"take": "last", "frames": 9, "fps": 25, "size": size, "window": (0, 0, *size), **part}
    made = VideoPart(**wanted)
    assert part_from(made.as_json()) == made
    prepare_video(path, out, made, probe_video(path))
    facts = probe_mp4(out)  # any reader takes it for what it is
    assert (facts.frames, facts.fps, (facts.width, facts.height)) == (made.frames, made.fps, made.size)
    return out


def numbers(path: Path) -> list[int]:
    """Which frames a video shows."""
    with av.open(str(path)) as container:
        found = [identity(frame) for frame in container.decode(container.streams.video[0])]
    return [each[1] if each else -1 for each in found]


def pictures(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(container.streams.video[0])]  # type: ignore[misc]


def wave(path: Path) -> tuple[int, NDArray[np.int16]]:
    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        blocks = [frame.to_ndarray().reshape(-1) for frame in container.decode(track)]
        return int(track.rate), np.concatenate(blocks).astype(np.int16)


def refused(path: Path) -> str:
    with pytest.raises(LtxflowError) as caught:
        probe_video(path)
    (problem,) = caught.value.problems
    assert path.name in problem.message
    assert problem.hint or problem.code == "M001"
    return problem.message


def quarters() -> NDArray[np.uint8]:
    """Red, green, blue, white: top left, top right, bottom left, bottom right."""
    picture = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    half, middle = SIZE[1] // 2, SIZE[0] // 2
    picture[:half, :middle], picture[:half, middle:] = RED, GREEN
    picture[half:, :middle], picture[half:, middle:] = BLUE, WHITE
    return picture


def looks_like(found: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool(np.abs(found.astype(int) - colour).max() < 24)


# --- what they show


def test_a_plain_mp4_has_the_facts_of_its_index(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    facts = probe_video(path)
    assert facts["is_plain"]
    assert {name: facts[name] for name in probe_mp4(path).as_json()} == probe_mp4(path).as_json()
    assert (facts["rotation"], facts["is_hdr"], facts["start"], facts["end"]) == (0, False, "0", "2")


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "options"),
    [
        ("a.mov", "prores_ks", "yuv422p10le", {}),
        ("a.mp4", "libx265", "yuv420p10le", {"x265-params": "log-level=none"}),
        ("a.mkv", "libx264", "yuv420p", {}),
        ("a.webm", "libvpx-vp9", "yuv420p", {"deadline": "realtime"}),
        ("a.avi", "mpeg4", "yuv420p", {}),
        ("a.ts", "libx264", "yuv420p", {}),
    ],
)
def test_videos_of_cameras_and_editors_are_read(
    tmp_path: Path, name: str, codec: str, pixels: str, options: dict[str, str]
) -> None:
    path = write(tmp_path / name, codec=codec, pixels=pixels, **options)
    facts = probe_video(path)
    assert (facts["frames"], facts["width"], facts["height"]) == (50, *SIZE)
    assert abs(Fraction(facts["seconds"]) - 2) < Fraction(1, 100)
    assert numbers(prepared(path)) == list(range(41, 50))


def test_a_phone_turns_its_pictures(tmp_path: Path) -> None:
    path = turned(write(tmp_path / "a.mp4", picture=quarters()), 0, 1, -1, 0)  # a quarter clockwise
    facts = probe_video(path)
    assert (facts["width"], facts["height"], facts["rotation"], facts["is_plain"]) == (64, 128, 270, False)
    last = pictures(prepared(path, size=(64, 128)))[-1]
    corners = [last[8, 8], last[8, -8], last[-8, 8], last[-8, -8]]
    assert all(map(looks_like, corners, (BLUE, RED, WHITE, GREEN)))


def test_upside_down_is_turned_back(tmp_path: Path) -> None:
    path = turned(write(tmp_path / "a.mp4", picture=quarters()), -1, 0, 0, -1)
    assert probe_video(path)["rotation"] == 180
    last = pictures(prepared(path))[-1]
    assert looks_like(last[8, 8], WHITE)
    assert looks_like(last[-8, -8], RED)


def test_pixels_that_are_not_square_are_shown_as_wide_as_they_are(tmp_path: Path) -> None:
    path = _narrow(tmp_path)  # 128x64 stored, to be shown as a square
    facts = probe_video(path)
    assert (facts["width"], facts["height"], facts["is_plain"]) == (64, 64, False)
    last = pictures(prepared(path, size=(64, 64)))[-1]
    corners = [last[8, 8], last[8, -8], last[-8, 8], last[-8, -8]]
    assert all(map(looks_like, corners, (RED, GREEN, BLUE, WHITE)))


def _narrow(tmp_path: Path) -> Path:
    path = tmp_path / "narrow.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.sample_aspect_ratio = Fraction(1, 2)
        for number in range(30):
            frame = VideoFrame.from_ndarray(quarters(), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def test_a_varying_rate_is_not_plain(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", stamps=[0, 40, 80, 200, 240, 1000, 1040])
    facts = probe_video(path)
    assert (facts["frames"], facts["is_plain"]) == (7, False)


def test_one_frame_is_a_video_too(tmp_path: Path) -> None:
    facts = probe_video(write(tmp_path / "a.mp4", frames=1))
    assert (facts["frames"], facts["seconds"]) == (1, "1/25")


# --- which frames


def test_of_the_same_rate_it_is_the_very_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    assert numbers(prepared(path)) == list(range(41, 50))
    assert numbers(prepared(path, take="first", frames=17)) == list(range(17))


@pytest.mark.parametrize(
    ("had", "fps"), [(24, 25), (30, 25), (50, 25), (60, 24), (25, 50), (Fraction(30000, 1001), 25)]
)
@pytest.mark.parametrize("take", ["first", "last"])
def test_of_another_rate_it_is_what_a_player_shows(tmp_path: Path, had: Fraction | int, fps: int, take: str) -> None:
    path = write(tmp_path / "a.mp4", frames=60, fps=had)
    had = Fraction(had)
    if take == "first":
        shown = [floor(Fraction(number, fps) * had + Fraction(1, 2)) for number in range(17)]
        assert shown[0] == 0
    else:
        shown = [floor(60 - Fraction(1, 2) - Fraction(16 - number, fps) * had) for number in range(17)]
        assert shown[-1] == 59
    assert numbers(prepared(path, take=take, frames=17, fps=fps)) == shown


def test_of_a_varying_rate_it_is_what_a_player_shows(tmp_path: Path) -> None:
    stamps = [0, 40, 80, 200, 240, 1000, 1040]
    path = write(tmp_path / "a.mkv", stamps=stamps)
    facts = probe_video(path)
    end = Fraction(facts["end"])
    half = Fraction(facts["seconds"]) / 7 / 2
    times = [end - half - Fraction(24 - number, 25) for number in range(25)]
    shown = [max(place for place, stamp in enumerate(stamps) if Fraction(stamp, 1000) <= time) for time in times]
    assert numbers(prepared(path, frames=25)) == shown
    assert len(set(shown)) > 2


def test_only_its_end_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", frames=500, g="25")
    whole = prepared(path).read_bytes()
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 4
    data[start + 3000 : start + (len(data) - start) // 2] = bytes((len(data) - start) // 2 - 3000)
    path.write_bytes(data)  # the pictures of its first half are gone, but for the first few
    assert numbers(prepared(path)) == list(range(491, 500))
    assert prepared(path).read_bytes() == whole


def test_more_than_there_is_cannot_be_had(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", frames=20)
    with pytest.raises(LtxflowError, match=r'"a\.mp4" lasts 0\.80 s, and 25 frames of it are needed'):
        prepared(path, frames=25)
    assert numbers(prepared(path, frames=20)) == list(range(20))


# --- how they fill the frame


def test_the_window_is_filled_and_the_rest_mirrors_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", picture=quarters())
    last = pictures(prepared(path, size=(128, 96), window=(0, 16, 128, 64)))[-1]
    assert last.shape == (96, 128, 3)
    assert looks_like(last[20, 8], RED)
    assert looks_like(last[76, -8], WHITE)
    assert looks_like(last[2, 8], RED)  # above the window: its upper edge, mirrored
    assert looks_like(last[94, 8], BLUE)
    inner = pictures(prepared(path))[-1]
    assert np.abs(last[16:80].astype(int) - inner).mean() < 2  # pixel by pixel: it was not scaled


def test_both_sides_are_cropped(tmp_path: Path) -> None:
    last = pictures(prepared(write(tmp_path / "a.mp4", picture=quarters()), size=(64, 64)))[-1]
    corners = [last[8, 8], last[8, -8], last[-8, 8], last[-8, -8]]
    assert all(map(looks_like, corners, (RED, GREEN, BLUE, WHITE)))


def test_colours_stay_what_they_are_however_they_are_tagged(tmp_path: Path) -> None:
    for codec, options in (("libx264", {}), ("libx264", {"colorspace": "bt709"})):
        path = write(tmp_path / "a.mp4", picture=quarters(), codec=codec, **options)
        with av.open(str(path)) as container:
            before = next(container.decode(container.streams.video[0])).to_ndarray(format="rgb24")
        after = pictures(prepared(path))[-1]
        assert np.abs(before.astype(int) - after).mean() < 2


# --- sound


def test_the_sound_is_cut_to_the_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", rate=48000)
    rate, samples = wave(prepared(path, has_sound=True))
    assert rate == 48000
    assert np.array_equal(samples.reshape(-1)[: len(samples)], ramp(96_000 - 17_280, 96_000))


def test_its_rate_stays_and_other_frames_take_as_much_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", frames=60, fps=30, rate=22_050)
    rate, samples = wave(prepared(path, has_sound=True, frames=25))
    assert (rate, len(samples)) == (22_050, 22_050)
    assert np.array_equal(samples, ramp(44_100 - 22_050, 44_100))


def test_a_sound_that_ends_early_is_followed_by_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", rate=48000, sound_s=1.9)
    _, samples = wave(prepared(path, has_sound=True))
    assert len(samples) == 17_280
    assert np.array_equal(samples[:-4_800], ramp(96_000 - 17_280, 91_200))
    assert not samples[-4_800:].any()


def test_without_sound_none_is_made_up(tmp_path: Path) -> None:
    for path, has_sound in ((write(tmp_path / "a.mp4"), True), (write(tmp_path / "b.mov", rate=48000), False)):
        assert not probe_mp4(prepared(path, has_sound=has_sound)).has_audio


# --- what is refused


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    index_last = write(tmp_path / "a.mp4")
    index_last.write_bytes(index_last.read_bytes()[:-200])
    assert "is cut short" in refused(index_last)
    index_first = tmp_path / "b.mp4"
    with av.open(str(index_first), "w", options={"movflags": "faststart"}) as container:
        _fill(container)
    index_first.write_bytes(index_first.read_bytes()[:-2000])
    assert "is cut short" in refused(index_first)
    other = write(tmp_path / "c.mkv", frames=400)
    other.write_bytes(other.read_bytes()[: other.stat().st_size // 2])
    assert "is cut short: it promises 16.0 s and ends after" in refused(other)


def _fill(container: Any) -> None:
    video = container.add_stream("libx264", rate=25)
    video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
    for number in range(50):
        frame = VideoFrame.from_ndarray(planes(*SIZE, (96, 160), number), format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        container.mux(video.encode(frame))
    container.mux(video.encode(None))


def test_a_video_that_does_not_decode_where_needed_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    end = data.index(b"moov") - 4
    data[end - 1500 : end] = bytes(1500)
    path.write_bytes(data)
    facts = probe_video(path)
    assert facts["frames"] == 50
    with pytest.raises(LtxflowError, match=r'"a\.mp4" does not decode where it is needed') as caught:
        prepared(path)
    assert "ffmpeg -v error" in caught.value.problems[0].hint


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.mp4", b"", '"a.mp4" is empty'),
        ("a.mp4", b"<html>not found</html>", '"a.mp4" is a web page, not a video'),
        ("a.mp4", b"\x89PNG\r\n\x1a\n" + bytes(200), '"a.mp4" is a picture, not a video'),
        ("a.txt", b"nothing at all", '"a.txt" is damaged, or not a video'),
        ("a.mp4", b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/a.ts\n", '"a.mp4" is damaged, or not a video'),
        ("a.mp4", b"ffconcat version 1.0\nfile a.mov\n", '"a.mp4" is damaged, or not a video'),
    ],
)
def test_a_file_that_is_not_a_video_is_refused(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    write(tmp_path / "a.mov")  # what a playlist could name
    path = tmp_path / name
    path.write_bytes(data)
    assert refused(path) == says


def test_a_sound_with_a_cover_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        block = AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = 48000, 0, Fraction(1, 48000)
        container.mux(sound.encode(block))
        container.mux(sound.encode(None))
    assert refused(path) == '"a.m4a" has no picture'
    assert refused(tmp_path / "nowhere.mp4") == 'no video "nowhere.mp4"'
