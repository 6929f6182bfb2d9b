"""Sounds that run together in one file are read to the last sample, or refused; headers are not trusted."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from ltxflow.core.errors import LtxflowError
from ltxflow.media.audio import count_sounds, measure_sound
from ltxflow.media.mix import Samples, read_voice

RATE = 24000


def ramp(count: int, first: int = 0) -> Samples:
    """Samples that tell where they are from."""
    return ((np.arange(first, first + count) * 7) % 20011 - 10000).astype(np.int16)


def wav(
    samples: Samples,
    rate: int = RATE,
    size: int | None = None,
    before: bytes = b"",
    after: bytes = b"",
    form: bytes = b"",
    name: bytes = b"RIFF",
) -> bytes:
    """A mono wav; `size` is what its header says, `before` and `after` are chunks around its sound."""
    data = samples.astype("<i2").tobytes()
    form = form or struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data + after
    whole = len(body) if size is None else min(size + 36, 0xFFFFFFFF)
    return name + struct.pack("<I", whole) + body


def read(folder: Path, data: bytes) -> Samples:
    (folder / "a.wav").write_bytes(data)
    return read_voice(folder / "a.wav").samples


ONE, TWO = ramp(36000), ramp(24000, 36000)
BOTH = np.concatenate([ONE, TWO])


# WAV

UNKNOWN = [0, 0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000 - 36]


@pytest.mark.parametrize("size", [None, *UNKNOWN])
@pytest.mark.parametrize("other", [None, *UNKNOWN])
def test_two_that_run_together_are_read_to_the_last_sample(size: int | None, other: int | None, tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, wav(ONE, size=size) + wav(TWO, size=other)), BOTH)


def test_one_that_is_streamed_is_read_to_the_last_sample(tmp_path: Path) -> None:
    for size in UNKNOWN:
        assert np.array_equal(read(tmp_path, wav(ONE, size=size)), ONE)


@settings(deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=6), st.lists(st.sampled_from([None, *UNKNOWN]), min_size=6))
def test_however_many_run_together(counts: list[int], sizes: list[int | None]) -> None:
    firsts = np.cumsum([0, *counts[:-1]])
    made = [ramp(count, first) for count, first in zip(counts, firsts, strict=True)]
    data = b"".join(wav(samples, size=size) for samples, size in zip(made, sizes, strict=False))
    with tempfile.TemporaryDirectory() as folder:
        if sum(counts):
            assert np.array_equal(read(Path(folder), data), np.concatenate(made))
        else:
            with pytest.raises(LtxflowError, match="no samples"):
                read(Path(folder), data)


def chunk(name: bytes, content: bytes, pad: bool = True) -> bytes:
    return name + struct.pack("<I", len(content)) + content + (b"\0" if pad and len(content) % 2 else b"")


@pytest.mark.parametrize(
    "data",
    [
        wav(ONE, before=chunk(b"JUNK", b"x" * 27)),
        wav(ONE, before=chunk(b"JUNK", b"x" * 27, pad=False)),
        wav(ONE, after=chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0")),
        wav(ONE, after=chunk(b"id3 ", b"y" * 101)),
        wav(ONE, size=0xFFFFFFFF, after=chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0")),
        wav(ONE, after=b"\n"),
        wav(ONE, after=b"\0" * 99999),
        wav(ONE, after=b"garbage of a hundred bytes" * 4),
        wav(ONE, size=72036),  # the header counts itself in
        wav(ONE, before=chunk(b"ds64", struct.pack("<QQQI", 0, 72000, 36000, 0)), size=0xFFFFFFFF, name=b"RF64"),
        wav(ONE, before=chunk(b"ds64", struct.pack("<QQQI", 0, 0, 0, 0)), size=0xFFFFFFFF, name=b"RF64"),
        wav(ONE, size=0xFFFFFFFF, after=b"\x01"),  # half a sample
        wav(ONE[:20000], after=chunk(b"data", ONE[20000:].tobytes())),
        wav(ONE, size=0x7FFFF000) + wav(ONE[:0]),
        wav(ONE[:0]) + wav(ONE),
    ],
)
def test_chunks_around_the_sound_are_ignored(data: bytes, tmp_path: Path) -> None:
    assert np.array_equal(read(tmp_path, data), ONE)


def test_other_ways_to_write_samples(tmp_path: Path) -> None:
    values = (ONE / 32768).astype("<f4")
    form = struct.pack("<HHIIHH", 3, 1, RATE, RATE * 4, 4, 32)
    data = wav(ONE, form=form, size=len(values) * 4)[:44] + values.tobytes()
    assert np.abs(read(tmp_path, data + data).astype(int) - np.concatenate([ONE, ONE])).max() <= 1


def test_stereo_becomes_one_channel(tmp_path: Path) -> None:
    form = struct.pack("<HHIIHH", 1, 2, RATE, RATE * 4, 4, 16)
    double = np.repeat(ONE, 2)
    found = read(tmp_path, wav(double, form=form) + wav(TWO))
    assert np.abs(found.astype(int) - BOTH).max() <= 1


def test_parts_of_another_rate_are_joined_at_the_highest(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(ramp(16000), 16000) + wav(ramp(48000), 48000))
    voice = read_voice(tmp_path / "a.wav")
    assert (voice.rate, voice.seconds) == (48000, 2)
    assert np.array_equal(voice.samples[48000:], ramp(48000))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (wav(ONE)[:36044], "is cut off: 0.75 s of 1.50 s exist"),
        (wav(ONE) + wav(TWO)[:24044], "is cut off: 0.50 s of 1.00 s exist"),
        (wav(ONE, after=TWO.tobytes()), "has 1.00 s more than the 1.50 s in its header"),
        (b"RIFF\0\0\0\0WAVEdata" + struct.pack("<I", 8) + b"12345678", "has sound before its format"),
    ],
)
def test_a_wav_that_broke_off_is_refused_and_not_shortened(data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(LtxflowError) as caught:
        read(tmp_path, data)
    (problem,) = caught.value.problems
    assert problem.message == f'"a.wav" {says}'
    assert problem.code == "M020"


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 250))
def test_damage_is_reported_and_never_a_crash(noise: bytes, at: int) -> None:
    data = bytearray(wav(ramp(80), before=chunk(b"JUNK", b"x" * 7)) + wav(ramp(40)))
    data[at : at + len(noise)] = noise
    with tempfile.TemporaryDirectory() as folder, suppress(LtxflowError):
        read(Path(folder), bytes(data))


# Other formats


def encoded(format: str, codec: str, rate: int, seconds: float) -> bytes:
    file = io.BytesIO()
    count = int(seconds * rate)
    frame = AudioFrame.from_ndarray(
        (9000 * np.sin(np.arange(count) / 9)).astype(np.int16).reshape(1, -1), "s16", "mono"
    )
    frame.sample_rate = rate
    with av.open(file, "w", format=format) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=rate)
        fifo = av.AudioFifo()
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        while block := fifo.read(size, partial=True):
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return file.getvalue()


FORMATS: list[tuple[str, str, int, float]] = [  # with the seconds that padding may add to each part
    ("mp3", "libmp3lame", 24000, 0),
    ("ogg", "libopus", 48000, 0),
    ("flac", "flac", 24000, 0),
    ("adts", "aac", 24000, 0.1),
    ("mp4", "aac", 24000, 0.1),
    ("matroska", "libopus", 48000, 0.02),
    ("aiff", "pcm_s16be", 24000, 0),
    ("au", "pcm_s16be", 24000, 0),
    ("caf", "pcm_s16le", 24000, 0),
    ("w64", "pcm_s16le", 24000, 0),
]


@pytest.mark.parametrize(("format", "codec", "rate", "slack"), FORMATS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_part_of_other_formats_is_read(
    format: str, codec: str, rate: int, slack: float, count: int, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(encoded(format, codec, rate, 1.5) * count)
    seconds = float(read_voice(tmp_path / "a").seconds)
    assert 1.5 * count <= seconds <= (1.5 + slack) * count


@pytest.mark.parametrize(("format", "codec", "rate", "slack"), [f for f in FORMATS if f[2] == 24000])
def test_parts_of_other_formats_may_change_their_rate(
    format: str, codec: str, rate: int, slack: float, tmp_path: Path
) -> None:
    data = encoded(format, codec, rate, 1.5) + encoded(format, codec, 16000, 1.5)
    (tmp_path / "a").write_bytes(data)
    voice = read_voice(tmp_path / "a")
    assert voice.rate == 24000
    assert 3 <= float(voice.seconds) <= 3 + 3 * slack


# Files of the author's own


@pytest.mark.parametrize("make", [lambda: wav(ONE), lambda: encoded("mp3", "libmp3lame", 24000, 1.5)])
def test_a_file_of_ones_own_with_two_sounds_is_refused(make: Callable[[], bytes], tmp_path: Path) -> None:
    """It is published as it is, and players stop at the end of the first."""
    data = make()
    (tmp_path / "a.wav").write_bytes(data)
    assert measure_sound(tmp_path / "a.wav").seconds == Fraction(3, 2)
    (tmp_path / "a.wav").write_bytes(data + data)
    assert count_sounds(tmp_path / "a.wav") == 2
    with pytest.raises(LtxflowError) as caught:
        measure_sound(tmp_path / "a.wav")
    assert caught.value.problems[0].hint == "export it again as one sound"


@pytest.mark.parametrize("read", [measure_sound, read_voice])
def test_a_sparse_file_is_refused_before_it_is_searched(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "voice.wav"
    path.write_bytes(wav(ramp(100)))
    os.truncate(path, 1 << 40)
    with pytest.raises(LtxflowError, match=r'"voice.wav" is larger than 4 GB'):
        read(path)
