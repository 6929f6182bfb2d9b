"""Videos of other containers as mp4: H.264 and AAC taken over untouched, the rest encoded again, on an even grid."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fakes import media

from ltxflow.core.errors import LtxflowError
from ltxflow.media.convert import convert_to_mp4
from ltxflow.media.image import decode_count
from ltxflow.media.mux import strip_mp4
from ltxflow.media.probe import probe_mp4

FILM = media.one_colour((100, 160), 96, 64, 17)
Write = Callable[..., Path]


def packed(source: Path, out: Path) -> Path:
    """The same packets in another container, by the name of `out`."""
    with av.open(str(source)) as file, av.open(str(out), "w") as made:
        tracks = {stream.index: made.add_stream_from_template(stream) for stream in file.streams}
        for packet in file.demux():
            if packet.size:
                packet.stream = tracks[packet.stream.index]
                made.mux(packet)
    return out


def pictures(path: Path) -> list[Any]:
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def samples(path: Path) -> Any:
    with av.open(str(path)) as file:
        return np.concatenate([frame.to_ndarray() for frame in file.decode(audio=0)], axis=1)


def codecs(path: Path) -> list[str]:
    with av.open(str(path)) as file:
        return [stream.codec_context.name for stream in file.streams]


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".ts", ".avi"])
@pytest.mark.parametrize("fps", [25, 24, Fraction(24000, 1001), 30], ids=str)
def test_h264_is_taken_over_without_encoding_it(suffix: str, fps: Fraction, write_video: Write, tmp_path: Path) -> None:
    """With B-frames, as SaveVideo writes them; Matroska counts milliseconds, and AVI knows no times at all."""
    if suffix == ".avi" and fps == 25:
        pytest.skip("AVI has no place for B-frames")
    source = write_video(tmp_path / "a.mp4", fps=fps)
    if suffix == ".avi":
        file = tmp_path / "b.avi"
        file.write_bytes(media.film(FILM, Fraction(fps), media.Sound(24000), {}, "avi", "h264"))
        source = file
    else:
        file = packed(source, tmp_path / f"b{suffix}")
    done = convert_to_mp4(file, tmp_path / "out.mp4")
    assert not done.is_encoded
    assert str(done).startswith(f"{suffix[1:]} (h264, aac) to mp4 (h264, aac), pictures not encoded again")
    before, after = pictures(source), pictures(tmp_path / "out.mp4")
    assert len(after) == len(before)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    facts = probe_mp4(tmp_path / "out.mp4")
    assert (facts.frames, facts.fps) == (len(before), fps)
    assert facts.audio_seconds >= facts.seconds - Fraction(1, 10)


def test_sound_that_is_taken_over_keeps_its_place(write_video: Write, tmp_path: Path) -> None:
    source = write_video(tmp_path / "a.mp4")
    convert_to_mp4(packed(source, tmp_path / "b.mkv"), tmp_path / "out.mp4")
    before, after = samples(source), samples(tmp_path / "out.mp4")
    begins = [int(np.argmax(np.abs(sound[0]) > 0.08)) for sound in (before, after)]
    assert abs(begins[1] - begins[0]) <= 48  # samples of 24,000 a second: Matroska counts milliseconds


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"), [(".webm", "vp9", "opus"), (".webm", "av1", "opus"), (".mkv", "av1", "aac")]
)
@pytest.mark.parametrize("fps", [Fraction(24), Fraction(24000, 1001)], ids=str)
def test_codecs_that_browsers_may_not_play_are_encoded_again(
    suffix: str, codec: str, sound: str, fps: Fraction, tmp_path: Path
) -> None:
    file = tmp_path / f"a{suffix}"
    file.write_bytes(media.film(FILM, fps, media.Sound(24000), {"prompt": "secret"}, suffix[1:], codec))
    done = convert_to_mp4(file, tmp_path / "out.mp4")
    assert str(done) == f"{suffix[1:]} ({codec}, {sound}) to mp4 (h264, aac), pictures encoded again"
    facts = probe_mp4(tmp_path / "out.mp4")
    assert (facts.frames, facts.fps, facts.width, facts.height) == (17, fps, 96, 64)
    assert abs(facts.audio_seconds - facts.seconds) < Fraction(1, 20)
    assert codecs(tmp_path / "out.mp4") == ["h264", "aac"]
    assert [media.identity(frame)[1] for frame in _yuv(tmp_path / "out.mp4")] == list(range(17))
    assert b"secret" not in (tmp_path / "out.mp4").read_bytes()
    again = tmp_path / "again.mp4"
    convert_to_mp4(file, again)
    assert again.read_bytes() == (tmp_path / "out.mp4").read_bytes()


def _yuv(path: Path) -> list[Any]:
    with av.open(str(path)) as file:
        return list(file.decode(video=0))


@pytest.mark.parametrize("suffix", [".webm", ".mp4"])
def test_a_film_without_sound_gets_a_silent_track_as_long_as_it_is(
    suffix: str, write_video: Write, tmp_path: Path
) -> None:
    file = tmp_path / f"a{suffix}"
    if suffix == ".webm":
        file.write_bytes(media.film(FILM, Fraction(24), None, {}, "webm", "vp9"))
    else:
        write_video(file, fps=24, sound=False)
    done = convert_to_mp4(file, tmp_path / "out.mp4")
    assert done.added_silence
    assert "and a silent track added" in str(done)
    facts = probe_mp4(tmp_path / "out.mp4")
    assert facts.has_audio
    assert abs(facts.audio_seconds - facts.seconds) < Fraction(1, 1000)
    assert not samples(tmp_path / "out.mp4").any()


def test_a_converted_video_can_be_stripped_and_decoded(tmp_path: Path) -> None:
    file = tmp_path / "a.webm"
    file.write_bytes(media.film(FILM, Fraction(25), media.Sound(24000), {}, "webm", "vp9"))
    convert_to_mp4(file, tmp_path / "out.mp4")
    strip_mp4(tmp_path / "out.mp4", tmp_path / "stripped.mp4")
    assert decode_count(tmp_path / "stripped.mp4") == 17
    assert probe_mp4(tmp_path / "stripped.mp4") == probe_mp4(tmp_path / "out.mp4")


@pytest.mark.parametrize("data", [b"", b"no video at all" * 100, b"\x1aE\xdf\xa3" + bytes(400)])
def test_a_file_that_is_not_a_video_is_an_error(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.webm"
    file.write_bytes(data)
    with pytest.raises(LtxflowError) as caught:
        convert_to_mp4(file, tmp_path / "out.mp4")
    assert '"a.webm"' in caught.value.problems[0].message


def test_sound_alone_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "a.flac"
    file.write_bytes(media.flac(media.Sound(2400)))
    with pytest.raises(LtxflowError, match="has no picture"):
        convert_to_mp4(file, tmp_path / "out.mp4")


def test_pictures_that_come_unevenly_are_not_put_on_a_grid(tmp_path: Path) -> None:
    """Copied packets keep their number and their order, or are refused: none is lost in silence."""
    file = tmp_path / "a.mkv"
    with av.open(str(file), "w", format="matroska") as made:
        video = made.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for time in (0, 1, 2, 2, 9):
            frame = media.picture(96, 64, (100, 100), time)
            frame.pts, frame.time_base = time * 40 + (3 if time == 2 else 0), Fraction(1, 1000)
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
    with pytest.raises(LtxflowError, match="do not come at"):
        convert_to_mp4(file, tmp_path / "out.mp4")
