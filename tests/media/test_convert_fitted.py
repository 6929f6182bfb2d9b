"""Videos of phones and editors in the shape of a film's clips: plain mp4, with the pictures that players show."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from harness.footage import MATRICES, SHOWN, pictures, quarters, seen, write_footage

from ltxflow.core.errors import LtxflowError
from ltxflow.media.convert import fit_to_mp4, fits, fitted_frames
from ltxflow.media.image import decode_count
from ltxflow.media.probe import probe_mp4
from ltxflow.media.video import VideoPart, plays_in_browsers, prepare_video, probe_video

SIZE, FPS = (192, 128), 25
BT709: Any = {"context": {"colorspace": 1}}
OPUS, PCM = (("libopus", 48000, "stereo"),), (("pcm_s16le", 48000, "stereo"),)


def fitted(path: Path, size: tuple[int, int] = SIZE, fps: int = FPS) -> Path:
    """Fit a file and check all that every clip has."""
    facts = probe_video(path)
    assert not fits(facts, size, fps)
    out = path.with_name(f"fitted-{path.stem}.mp4")
    fit_to_mp4(path, out, facts, size, fps)
    made = probe_video(out)
    assert fits(made, size, fps)
    assert made["frames"] == fitted_frames(facts, fps) == decode_count(out)
    assert made["format"]["sounds"] == (["aac"] if facts["audio_rate"] else [])
    if facts["audio_rate"]:
        assert abs(Fraction(made["audio_seconds"]) - Fraction(made["seconds"])) < Fraction(1, 10)
    return out


def stored(path: Path) -> list[bytes]:
    with av.open(str(path)) as file:
        return [bytes(packet) for packet in file.demux(video=0) if packet.size]


@pytest.mark.parametrize("sounds", [(), (("aac", 44100, "mono"),), (("aac", 48000, "5.1"),)], ids=len)
def test_a_plain_clip_fits_as_it_is(tmp_path: Path, sounds: Any) -> None:
    assert fits(probe_video(write_footage(tmp_path / "a.mp4", sounds=sounds)), SIZE, FPS)


@pytest.mark.parametrize("lies", [name for name in MATRICES if name != "upright"])
def test_pictures_lie_as_players_show_them(tmp_path: Path, lies: str) -> None:
    size = SIZE[::-1] if "quarter" in lies else SIZE
    out = fitted(write_footage(tmp_path / "a.mp4", 5, size=size, lies=lies))
    assert {seen(picture) for picture in pictures(out)} == {SHOWN[lies]}


@pytest.mark.parametrize(
    ("name", "given", "frames"),
    [
        ("29.97.mp4", {"fps": Fraction(30000, 1001), "frames": 60}, 50),
        ("59.94.mov", {"fps": Fraction(60000, 1001), "frames": 60}, 25),
        ("23.976.mp4", {"fps": Fraction(24000, 1001), "frames": 24}, 25),
        ("50.mp4", {"fps": 50, "frames": 50}, 25),
        ("120.mp4", {"fps": 120, "frames": 120}, 25),
        ("12.5.mp4", {"fps": Fraction(25, 2), "frames": 20}, 40),
        ("1.mp4", {"fps": 25, "frames": 1, "size": (64, 64)}, 1),
        ("varying.mp4", {"stamps": [0, 33, 66, 80, 200, 233, 300, 340, 400, 700, 740]}, 20),
    ],
)
def test_a_rate_becomes_that_of_the_film(tmp_path: Path, name: str, given: Any, frames: int) -> None:
    made = probe_mp4(fitted(write_footage(tmp_path / name, **given)))
    assert (made.frames, made.fps) == (frames, FPS)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("odd.mp4", {"size": (193, 129), "pixels": "yuv444p"}),
        ("small.mp4", {"size": (96, 64)}),
        ("large.mp4", {"size": (384, 256)}),
        ("anamorphic.mp4", {"size": (144, 128), "pixel": Fraction(4, 3)}),
        ("anamorphic.mkv", {"size": (144, 128), "pixel": Fraction(4, 3)}),
        ("narrow.mp4", {"size": (384, 128), "pixel": Fraction(1, 2)}),
    ],
)
def test_a_size_becomes_that_of_the_film(tmp_path: Path, name: str, given: Any) -> None:
    assert {seen(picture) for picture in pictures(fitted(write_footage(tmp_path / name, 5, **given)))} == {"RGBW"}


def test_both_sides_of_a_wide_picture_are_cut(tmp_path: Path) -> None:
    picture = quarters((256, 128))
    picture[:, :24] = picture[:, -24:] = 0
    shown = pictures(fitted(write_footage(tmp_path / "a.mp4", 3, size=(256, 128), picture=picture)))[0]
    assert seen(shown) == "RGBW"
    assert shown[:, 2].max() > 100


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("hevc.mp4", {"codec": "libx265"}),
        ("hevc10.mov", {"codec": "libx265", "pixels": "yuv420p10le"}),
        ("h264-10.mp4", {"pixels": "yuv420p10le"}),
        ("h264-422.mp4", {"pixels": "yuv422p"}),
        ("prores.mov", {"codec": "prores_ks", "pixels": "yuv422p10le", "sounds": PCM}),
        ("prores-4444.mov", {"codec": "prores_ks", "pixels": "yuva444p10le", "sounds": ()}),
        ("vp9.webm", {"codec": "libvpx-vp9", "sounds": OPUS}),
        ("vp9.mp4", {"codec": "libvpx-vp9"}),
        ("vp8.webm", {"codec": "libvpx", "sounds": OPUS}),
        ("av1.mkv", {"codec": "libsvtav1", "sounds": OPUS}),
        ("mjpeg.mov", {"codec": "mjpeg", "pixels": "yuvj420p", "sounds": PCM}),
        ("mpeg4.avi", {"codec": "mpeg4", "sounds": (("libmp3lame", 48000, "stereo"),)}),
        ("mpeg2.ts", {"codec": "mpeg2video", "sounds": (("mp2", 48000, "stereo"),)}),
        ("dnxhr.mov", {"codec": "dnxhd", "pixels": "yuv422p", "profile": "dnxhr_sq", "size": (384, 256), **BT709}),
    ],
)
def test_a_codec_that_browsers_may_not_play_becomes_h264(tmp_path: Path, name: str, given: Any) -> None:
    out = fitted(write_footage(tmp_path / name, 10, **given))
    assert {seen(picture) for picture in pictures(out)} == {"RGBW"}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("ac3.mp4", {"sounds": (("ac3", 48000, "5.1"),)}),
        ("opus.mp4", {"sounds": OPUS}),
        ("pcm.mov", {"sounds": PCM}),
        ("alac.mov", {"sounds": (("alac", 44100, "stereo"),)}),
        ("flac.mkv", {"sounds": (("flac", 96000, "stereo"),)}),
        ("two.mp4", {"sounds": (("aac", 48000, "stereo"), ("aac", 48000, "mono"))}),
        ("aac.mov", {}),
        ("pieces.mp4", {"container": {"movflags": "frag_keyframe+empty_moov"}}),
        ("silent.mov", {"sounds": ()}),
    ],
)
def test_only_what_must_be_is_encoded_again(tmp_path: Path, name: str, given: Any) -> None:
    path = write_footage(tmp_path / name, **given)
    assert stored(fitted(path)) == stored(path)


def test_frames_before_the_first_one_that_is_shown_stay_out(tmp_path: Path) -> None:
    """An edit list that begins at the third frame, as editors of phones write when they trim."""
    path = write_footage(tmp_path / "a.mp4", 30, sounds=(), bf="0")
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12  # version, count; then duration in ms, first tick
    data[at : at + 8] = (1120).to_bytes(4, "big") + (2 * 512).to_bytes(4, "big")
    path.write_bytes(data)
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.time_base == Fraction(1, 12800)
    assert probe_mp4(fitted(path)).frames == 28


def test_colours_stay_and_are_tagged(tmp_path: Path) -> None:
    with av.open(str(fitted(write_footage(tmp_path / "a.mp4", 3, size=(384, 256))))) as file:
        frame = next(file.decode(video=0))
    assert (int(frame.colorspace), int(frame.color_range), int(frame.color_trc)) == (1, 1, 1)
    assert seen(frame.to_ndarray(format="rgb24")) == "RGBW"


@pytest.mark.parametrize("transfer", [16, 18], ids=["pq", "hlg"])
def test_hdr_becomes_standard_range(tmp_path: Path, transfer: int) -> None:
    tags = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9}
    picture = np.full((128, 192, 3), 148 if transfer == 16 else 191, np.uint8)  # white paper: 203 cd/m²
    path = write_footage(tmp_path / "a.mov", 3, codec="libx265", pixels="yuv420p10le", context=tags, picture=picture)
    shown = pictures(fitted(path))[0]
    assert 215 < shown.mean() < 245


def test_the_same_file_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write_footage(tmp_path / "a.mov", 30, size=(256, 128), fps=30)
    assert fitted(path).read_bytes() == fitted(path).read_bytes()


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    path, told = write_footage(tmp_path / "a.mp4", 10, size=(96, 64)), list[tuple[int, int]]()
    fit_to_mp4(path, tmp_path / "b.mp4", probe_video(path), SIZE, FPS, lambda done, total: told.append((done, total)))
    assert told == [(number, 10) for number in range(1, 11)]


def test_a_transparent_webm_is_refused_by_name(tmp_path: Path) -> None:
    """FFmpeg's decoder leaves its transparency out: colours that nobody was to see would appear."""
    path = write_footage(tmp_path / "a.webm", 3, codec="libvpx-vp9", pixels="yuva420p", sounds=())
    with pytest.raises(LtxflowError) as caught:
        probe_video(path)
    (problem,) = caught.value.problems
    assert problem.message == '"a.webm" is a transparent WebM, whose transparency is not read'
    assert "ProRes 4444" in problem.hint


def test_what_browsers_play_depends_on_all_of_it(tmp_path: Path) -> None:
    plain = probe_video(write_footage(tmp_path / "a.mp4", 3))
    assert plays_in_browsers(plain)
    for part, value in [("pictures", "hevc"), ("pixels", "yuv420p10le"), ("sounds", ["ac3"]), ("container", "mov")]:
        assert not plays_in_browsers({**plain, "format": {**plain["format"], part: value}}), part


@pytest.mark.parametrize(
    ("name", "codec", "options"),
    [
        ("a.ts", "mpeg2video", {"g": "12"}),
        ("a.mpg", "mpeg2video", {"g": "100"}),
        ("b.ts", "libx264", {"g": "50"}),
        ("a.flv", "libx264", {"g": "100"}),
        ("a.avi", "mpeg4", {"g": "100"}),
    ],
)
def test_a_container_without_an_index_is_read_where_it_is_needed(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    """A search by time may end anywhere in it, also at its end."""
    path = write_footage(tmp_path / name, 200, codec=codec, sounds=(), **options)
    part = VideoPart("last", 9, FPS, SIZE, (0, 0, *SIZE))
    prepare_video(path, tmp_path / "out.mov", part, probe_video(path))
    assert [seen(picture) for picture in pictures(tmp_path / "out.mov")] == ["RGBW"] * 9
