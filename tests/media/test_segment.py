"""Parts of a film's picture: the right frames, in the right colours, in the requested number."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError
from ltxflow.media.image import decode_count
from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import (
    EncodeSettings,
    Overlay,
    Segment,
    SlateSpec,
    cut_part,
    dissolved,
    draw_slate,
    read_frame_number,
)

SPEC = SlateSpec(192, 128, 25, 60, "hook", "a", 1, "A vault.", "")
LOOK = EncodeSettings(192, 128, 25, "veryfast", 18)


@pytest.fixture(scope="module")
def slate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slate") / "slate.mp4"
    draw_slate(SPEC, path)
    return path


def pictures(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def flat(path: Path, rgb: tuple[int, int, int], size: tuple[int, int] = (96, 64), space: int | None = 1) -> Path:
    """Five frames of one colour, encoded in BT.709 (1), or in BT.601 without a word of it (None)."""
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=25, options={"qp": "1"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        if space:
            video.codec_context.colorspace = video.codec_context.color_primaries = space
        for number in range(5):
            frame = VideoFrame.from_ndarray(np.full((size[1], size[0], 3), rgb, np.uint8), format="rgb24")
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709" if space else "ITU601")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize(("first", "frames"), [(0, 60), (0, 1), (7, 20), (24, 2), (25, 30), (59, 1)])
def test_a_segment_has_the_requested_frames(slate: Path, tmp_path: Path, first: int, frames: int) -> None:
    out = tmp_path / "part.mp4"
    cut_part(LOOK, Segment(slate, first, frames), out)
    facts = probe_mp4(out)
    assert (facts.frames, facts.fps, facts.width, facts.height, facts.has_audio) == (frames, 25, 192, 128, False)
    numbers = [read_frame_number(picture, SPEC) for picture in pictures(out)]
    assert numbers == list(range(first, first + frames))


def test_frames_are_exact_after_b_frames_as_servers_write_them(clip: Path, tmp_path: Path) -> None:
    whole, out = pictures(clip), tmp_path / "part.mp4"
    cut_part(EncodeSettings(96, 64, 25, "veryfast", 1), Segment(clip, 13, 9), out)
    for number, picture in enumerate(pictures(out)):
        errors = [np.abs(picture.astype(int) - other).mean() for other in whole]
        assert int(np.argmin(errors)) == 13 + number


def test_a_frame_that_is_not_there_is_an_error_never_a_still(slate: Path, tmp_path: Path) -> None:
    with pytest.raises(LtxflowError, match=r'"slate.mp4" has no frame 60'):
        cut_part(LOOK, Segment(slate, 50, 11), tmp_path / "part.mp4")
    half = tmp_path / "half.mp4"
    half.write_bytes(slate.read_bytes()[:-4000])
    with pytest.raises(LtxflowError, match=r"half\.mp4"):
        cut_part(LOOK, Segment(half, 0, 60), tmp_path / "part.mp4")


def test_the_same_part_is_the_same_bytes(slate: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        cut_part(LOOK, Segment(slate, 5, 40), tmp_path / name, before=Segment(slate, 0, 40))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_same_part_is_the_same_bytes_however_busy_the_machine_is(slate: Path, tmp_path: Path) -> None:
    def part(number: int) -> bytes:
        out = tmp_path / f"{number}.mp4"
        cut_part(LOOK, Segment(slate, 0, 60), out)
        return out.read_bytes()

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(part, range(30)))) == 1


def test_a_dissolve_goes_from_all_of_one_to_nearly_all_of_the_other(tmp_path: Path) -> None:
    dark, light = flat(tmp_path / "dark.mp4", (20, 20, 20)), flat(tmp_path / "light.mp4", (220, 220, 220))
    out = tmp_path / "part.mp4"
    cut_part(EncodeSettings(96, 64, 25, "veryfast", 5), Segment(light, 0, 5), out, before=Segment(dark, 0, 5))
    levels = [float(picture.mean()) for picture in pictures(out)]
    assert levels == pytest.approx([20, 60, 100, 140, 180], abs=3)


@given(st.integers(1, 60), st.integers(0, 255), st.integers(0, 255))
def test_a_dissolve_is_linear_to_half_a_level(frames: int, one: int, other: int) -> None:
    old, new = (np.full((2, 2), level, np.uint8) for level in (one, other))
    for number in range(frames):
        exact = one + (other - one) * number / frames
        assert abs(float(dissolved(old, new, number, frames)[0, 0]) - exact) <= 1.0 + abs(other - one) / 512
    assert (dissolved(old, new, 0, frames) == old).all()


def test_a_part_begins_with_a_key_frame_and_has_one_every_two_seconds(slate: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.mp4"
    cut_part(LOOK, Segment(slate, 3, 57), out)
    with av.open(str(out)) as container:
        keys = sorted(packet.pts for packet in container.demux(video=0) if packet.size and packet.is_keyframe)
        assert keys == [0, 50 * 512]


@pytest.mark.parametrize("space", [1, None])
@pytest.mark.parametrize("rgb", [(200, 40, 40), (40, 180, 60), (30, 60, 220)])
def test_colours_are_those_of_the_source_whatever_matrix_it_has(
    tmp_path: Path, rgb: tuple[int, int, int], space: int | None
) -> None:
    out = tmp_path / "part.mp4"
    cut_part(EncodeSettings(96, 64, 25, "veryfast", 5), Segment(flat(tmp_path / "c.mp4", rgb, space=space), 0, 5), out)
    with av.open(str(out)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (1, 1)
        mean = frame.to_ndarray(format="rgb24").mean(axis=(0, 1))
    assert mean == pytest.approx(rgb, abs=6)  # the wrong matrix would be 20 off, and more


@pytest.mark.parametrize("size", [(96, 64), (384, 256), (160, 160), (48, 96)])
def test_another_size_fills_the_film_and_is_cropped_in_the_middle(tmp_path: Path, size: tuple[int, int]) -> None:
    out = tmp_path / "part.mp4"
    cut_part(LOOK, Segment(flat(tmp_path / "c.mp4", (30, 60, 220), size), 0, 5), out)
    (picture, *_) = pictures(out)
    assert picture.shape == (128, 192, 3)
    assert picture.reshape(-1, 3).std(axis=0).max() < 2  # no bars, no other colours at the edges


def test_only_the_edges_are_cropped(slate: Path, tmp_path: Path) -> None:
    out = tmp_path / "part.mp4"
    cut_part(EncodeSettings(128, 128, 25, "veryfast", 5), Segment(slate, 0, 1), out)
    middle = pictures(slate)[0][:, 32:160].astype(int)
    assert np.abs(pictures(out)[0].astype(int) - middle).mean() < 2


def test_an_overlay_is_seen_in_its_frames_alone(slate: Path, tmp_path: Path) -> None:
    luma, alpha = np.full((20, 40), 235, np.uint8), np.full((20, 40), 255, np.uint8)
    over = Overlay(3, 6, left=60, top=50, luma=luma, alpha=alpha)
    out = tmp_path / "part.mp4"
    cut_part(LOOK, Segment(slate, 0, 9), out, overlays=[over])
    lit = [picture[52:68, 62:98].mean() > 240 for picture in pictures(out)]
    assert lit == [False] * 3 + [True] * 3 + [False] * 3
    assert [read_frame_number(picture, SPEC) for picture in pictures(out)] == list(range(9))
    assert decode_count(out) == 9
