from __future__ import annotations

import pytest

from ltxflow.core.errors import LtxflowError
from ltxflow.media.image import decode_count, frame_at, last_frame
from ltxflow.media.probe import probe_mp4


def grey(picture):
    return round(float(picture.mean()))


def test_frames_are_found_by_number(clip):
    first, tenth = frame_at(clip, 0), frame_at(clip, 10)
    assert first.shape == (64, 96, 3)
    assert grey(tenth) - grey(first) == pytest.approx(40, abs=3)


def test_the_last_frame_is_the_last(clip):
    assert (last_frame(clip) == frame_at(clip, 40)).all()


@pytest.mark.parametrize("index", [41, 4000, -1])
def test_a_frame_beyond_the_last_is_refused(clip, index):
    with pytest.raises(LtxflowError, match=f"no frame {index}"):
        frame_at(clip, index)


def test_a_whole_clip_decodes_to_what_it_declares(clip):
    assert decode_count(clip) == probe_mp4(clip).frames == 41


def test_a_hole_that_the_probe_cannot_see_does_not_decode(clip, tmp_path):
    data = bytearray(clip.read_bytes())
    start = data.index(b"mdat") + 4
    hole = slice(start + (len(data) - start) // 3, start + (len(data) - start) // 2)
    data[hole] = bytes(hole.stop - hole.start)
    path = tmp_path / "hole.mp4"
    path.write_bytes(data)
    assert probe_mp4(path).frames == 41
    with pytest.raises(LtxflowError, match="does not decode"):
        decode_count(path)


@pytest.mark.parametrize("data", [b"", b"<html>", b"\0\0\0\x18ftypisom"])
def test_a_file_that_is_not_a_video_is_refused(tmp_path, data):
    path = tmp_path / "x.mp4"
    path.write_bytes(data)
    for reads in (last_frame, decode_count):
        with pytest.raises(LtxflowError, match=r'"x\.mp4"'):
            reads(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LtxflowError, match="no video"):
        last_frame(tmp_path / "gone.mp4")
