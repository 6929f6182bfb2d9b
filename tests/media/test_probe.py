from __future__ import annotations

import random
import struct
import subprocess
import sys
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import pytest

from ltxflow.core.errors import LtxflowError
from ltxflow.media.probe import VideoFacts, probe_mp4


def refused(path: Path) -> tuple[str, str]:
    with pytest.raises(LtxflowError) as caught:
        probe_mp4(path)
    (problem,) = caught.value.problems
    assert path.name in problem.message
    return problem.code, problem.message


def damaged(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    return path


def test_a_clip_is_known_by_its_boxes(clip):
    assert probe_mp4(clip) == VideoFacts(
        frames=41,
        fps=Fraction(25),
        width=96,
        height=64,
        seconds=Fraction(41, 25),
        audio_rate=24000,
        audio_channels=2,
        audio_seconds=Fraction(41, 25),
    )


def test_it_does_not_matter_where_the_index_is(clip, clip_index_last):
    assert probe_mp4(clip_index_last) == probe_mp4(clip)


@pytest.mark.parametrize(
    ("frames", "fps", "size"),
    [(1, 25, (64, 64)), (9, 24, (64, 96)), (17, Fraction(24000, 1001), (96, 64)), (33, 50, (128, 64))],
)
def test_probe_and_pyav_agree(write_video, tmp_path, frames, fps, size):
    path = write_video(tmp_path / "clip.mp4", frames=frames, fps=fps, size=size)
    facts = probe_mp4(path)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (facts.frames, facts.fps) == (video.frames, video.average_rate) == (frames, fps)
        assert facts.seconds == video.duration * video.time_base
        assert (facts.width, facts.height) == (video.width, video.height) == size
        assert (facts.audio_rate, facts.audio_channels) == (audio.rate, audio.channels)
        assert abs(facts.audio_seconds - audio.duration * audio.time_base) < Fraction(1, 500)
        assert sum(1 for _ in container.decode(video)) == frames


def test_a_silent_clip_has_no_audio(write_video, tmp_path):
    facts = probe_mp4(write_video(tmp_path / "clip.mp4", frames=9, sound=False))
    assert not facts.has_audio
    assert facts.audio_seconds == 0


def test_facts_are_plain_json(clip):
    assert probe_mp4(clip).as_json() == {
        "frames": 41,
        "fps": "25",
        "width": 96,
        "height": 64,
        "seconds": "41/25",
        "audio_rate": 24000,
        "audio_channels": 2,
        "audio_seconds": "41/25",
    }


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.95])
def test_a_download_cut_short_is_refused(clip, clip_index_last, tmp_path, kept):
    for source in (clip, clip_index_last):
        data = source.read_bytes()
        assert refused(damaged(tmp_path, data[: int(len(data) * kept)]))[0] == "M005"


@pytest.mark.parametrize("missing", [1, 7, 3000])
def test_even_one_missing_byte_is_seen(clip, clip_index_last, tmp_path, missing):
    for source in (clip, clip_index_last):
        code, message = refused(damaged(tmp_path, source.read_bytes()[:-missing]))
        assert code == "M005"
        assert "bytes are missing" in message


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "M003"),
        (b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "M025"),
        (b'{"error": "no such file"}', "M025"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "M010"),
        (b"plain text that says nothing", "M010"),
        (b"abc", "M010"),
        (struct.pack(">I4s8x", 16, b"ftyp"), "M005"),
    ],
)
def test_other_files_are_named_by_kind(tmp_path, data, code):
    assert refused(damaged(tmp_path, data))[0] == code


def test_a_missing_file_is_named(tmp_path):
    assert refused(tmp_path / "gone.mp4")[0] == "M001"


def test_a_fragmented_file_is_refused_with_the_way_out(write_video, tmp_path):
    path = write_video(tmp_path / "clip.mp4", frames=9, movflags="frag_keyframe+empty_moov")
    with pytest.raises(LtxflowError, match="fragmented") as caught:
        probe_mp4(path)
    assert "-c copy" in caught.value.problems[0].hint


def test_a_sound_file_has_no_picture(tmp_path, clip):
    data = clip.read_bytes().replace(b"vide", b"text")
    assert refused(damaged(tmp_path, data))[0] == "M006"


def test_frames_hidden_by_an_edit_list_are_not_counted_in_silence(clip, tmp_path):
    data = bytearray(clip.read_bytes())
    at = data.index(b"elst") + 12  # the video track's: version and flags, count, then the duration in ms
    assert struct.unpack_from(">I", data, at)[0] == 1640
    struct.pack_into(">I", data, at, 1000)
    code, message = refused(damaged(tmp_path, bytes(data)))
    assert code == "M012"
    assert "41 frames and shows 25" in message


def test_an_index_that_points_past_the_end_is_refused(clip, tmp_path):
    data = bytearray(clip.read_bytes())
    struct.pack_into(">I", data, data.index(b"stco") + 12, 1 << 31)
    assert refused(damaged(tmp_path, bytes(data)))[0] == "M005"


@pytest.mark.parametrize("table", [b"stsz", b"stco", b"stsc", b"stts"])
@pytest.mark.parametrize("count", [0, 3, 0xFFFFFFFF])
def test_counts_are_claims(clip, tmp_path, table, count):
    data = bytearray(clip.read_bytes())
    struct.pack_into(">I", data, data.index(table) + (12 if table == b"stsz" else 8), count)
    assert refused(damaged(tmp_path, bytes(data)))[0] in ("M004", "M008")


def test_no_byte_of_the_index_can_break_the_probe(clip, tmp_path):
    """Random damage to the index is either refused or harmless; never another exception, never a hang."""
    data = clip.read_bytes()
    index = data.index(b"moov") - 4, data.index(b"mdat") - 4
    dice = random.Random(1)
    path = tmp_path / "clip.mp4"
    for _ in range(600):
        broken = bytearray(data)
        for _ in range(dice.randint(1, 4)):
            broken[dice.randrange(*index)] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        path.write_bytes(broken)
        with suppress(LtxflowError):
            probe_mp4(path)


def test_probing_loads_neither_pyav_nor_pillow():
    code = "import sys, ltxflow.media.probe; sys.exit(bool({'av', 'PIL', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
