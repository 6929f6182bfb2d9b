"""Decoded frames as players show them: upright, whole lines, opaque, in standard range."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from harness.footage import MATRICES, RED, SHOWN, quarters, seen, write_footage
from numpy.typing import NDArray

from ltxflow.media.shown import as_rgb, has_alpha, is_transparent, orientation, upright, whole_frames


def first(path: Path) -> VideoFrame:
    with av.open(str(path)) as file:
        return next(file.decode(video=0))


@pytest.mark.parametrize("lies", MATRICES)
def test_a_picture_lies_as_players_show_it(tmp_path: Path, lies: str) -> None:
    frame = first(write_footage(tmp_path / "a.mp4", 2, lies=lies))
    assert seen(upright(as_rgb(frame), *orientation(frame))) == SHOWN[lies]


def test_without_a_matrix_a_picture_lies_as_it_is_stored(tmp_path: Path) -> None:
    assert orientation(first(write_footage(tmp_path / "a.mkv", 2))) == (0, False)


def test_a_plain_frame_is_read_as_before(tmp_path: Path) -> None:
    frame = first(write_footage(tmp_path / "a.mp4", 2))
    assert np.array_equal(as_rgb(frame), frame.to_ndarray(format="rgb24"))
    assert not has_alpha(frame)


# --- interlaced


def combs(frames: list[VideoFrame]) -> float:
    """How much the lines of the pictures differ from their neighbours, beyond what every other line differs."""
    luma = [frame.to_ndarray(format="gray").astype(float) for frame in frames]
    return float(np.mean([np.abs(p[1:-1:2] - (p[:-2:2] + p[2::2]) / 2).mean() for p in luma]))


def interlaced(path: Path, frames: int = 12) -> Path:
    """A white bar that moves 8 px between the two half pictures of a frame."""
    with av.open(str(path), "w") as made:
        video = made.add_stream("libx264", rate=25, options={"flags": "+ilme+ildct", "x264-params": "tff=1"})
        video.width, video.height, video.pix_fmt = 192, 128, "yuv420p"
        for number in range(frames):
            picture = np.zeros((128, 192, 3), np.uint8)
            for field in (0, 1):
                left = 8 * (2 * number + field) % 160
                picture[field::2, left : left + 32] = 255
            frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
    return path


def test_half_pictures_become_whole_ones(tmp_path: Path) -> None:
    with av.open(str(interlaced(tmp_path / "a.mp4"))) as file:
        stream = file.streams.video[0]
        stored = list(file.decode(stream))
    with av.open(str(tmp_path / "a.mp4")) as file:
        stream = file.streams.video[0]
        whole = list(whole_frames(stream, file.decode(stream)))
    assert [(f.pts, f.time_base) for f in whole] == [(f.pts, f.time_base) for f in stored]
    assert combs(stored) > 8
    assert combs(whole) < combs(stored) / 4


def test_progressive_frames_are_not_touched(tmp_path: Path) -> None:
    with av.open(str(write_footage(tmp_path / "a.mp4", 3))) as file:
        stream = file.streams.video[0]
        frames = list(file.decode(stream))
        assert list(whole_frames(stream, iter(frames))) == frames
        assert list(whole_frames(stream, iter([]))) == []


# --- transparent


def test_transparent_parts_are_black(tmp_path: Path) -> None:
    picture = np.dstack([quarters((192, 128)), np.full((128, 192), 255, np.uint8)])
    picture[64:, :96, 3], picture[64:, 96:, 3] = 0, 128
    frame = first(write_footage(tmp_path / "a.mov", 2, codec="qtrle", pixels="argb", picture=picture, form="rgba"))
    shown = as_rgb(frame)
    assert is_transparent(frame)
    assert shown[8, 8].tolist() == list(RED)
    assert shown[-8, 8].tolist() == [0, 0, 0]
    assert shown[-8, -8].tolist() == [110, 110, 110]


def test_a_format_with_transparency_may_be_opaque(tmp_path: Path) -> None:
    frame = first(write_footage(tmp_path / "a.mov", 2, codec="qtrle", pixels="argb"))
    assert has_alpha(frame)
    assert not is_transparent(frame)
    assert seen(as_rgb(frame)) == "RGBW"


# --- HDR


def hdr(transfer: int, code: float, scale: tuple[float, float, float] = (1, 1, 1)) -> VideoFrame:
    """A frame of one colour in 10 bits and the colours of BT.2020."""
    red, green, blue = (code * part for part in scale)
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    values = 64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746
    frame = VideoFrame(64, 32, "yuv420p10le")
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(np.full(plane.buffer_size // 2, round(value), np.uint16).tobytes())
    frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 9, 1, 9, transfer
    return frame


def grey(frame: VideoFrame, **options: Any) -> int:
    shown: NDArray[np.uint8] = as_rgb(frame, **options)
    assert np.ptp(shown[4, 4].astype(int)) <= 2, "a grey keeps no colour"
    return int(shown[4, 4].astype(int).mean())


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.5807), (18, 0.75)])
def test_white_paper_is_nearly_white(transfer: int, white: float) -> None:
    """Of 203 cd/m² (BT.2408): the codes of PQ and HLG for it."""
    assert 225 <= grey(hdr(transfer, white)) <= 240


@pytest.mark.parametrize(("transfer", "middle"), [(16, 0.3786), (18, 0.38)])
def test_a_grey_card_is_as_grey_as_in_standard_range(transfer: int, middle: float) -> None:
    """About 26 cd/m² (BT.2408): 41 % in standard range."""
    assert 98 <= grey(hdr(transfer, middle)) <= 118


@pytest.mark.parametrize("transfer", [16, 18])
def test_light_stays_in_order_and_nothing_is_clipped_early(transfer: int) -> None:
    top = 0.75 if transfer == 16 else 1.0  # 1000 cd/m²
    found = [grey(hdr(transfer, top * step / 20)) for step in range(21)]
    assert found == sorted(found)
    assert found[0] == 0
    assert found[-1] >= 250
    assert len({*found}) == 21


def test_a_colour_of_the_small_space_stays_itself() -> None:
    """BT.709's red in BT.2020's colours: linear 0.6274, 0.0691, 0.0164 of white."""
    linear = np.array([0.6274, 0.0691, 0.0164]) * 0.4  # below the knee
    codes = [_pq(203 * part) for part in linear]
    shown = as_rgb(hdr(16, 1.0, (codes[0], codes[1], codes[2])))[4, 4].astype(int)
    assert abs(shown[0] - 255 * 0.4 ** (1 / 2.4)) < 5
    assert shown[1:].max() < 40


def _pq(nits: float) -> float:
    power = (nits / 10000) ** (2610 / 16384)
    return float(((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32))


def test_an_hdr_picture_is_made_smaller_first() -> None:
    assert as_rgb(hdr(16, 0.5), 0.5).shape == (16, 32, 3)
    assert as_rgb(hdr(16, 0.5), 3.0).shape == (32, 64, 3)
    assert grey(hdr(16, 0.5), scale=0.5) == grey(hdr(16, 0.5))
