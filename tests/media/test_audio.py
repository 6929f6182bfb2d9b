from __future__ import annotations

import struct
import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from harness.footage import tone

from ltxflow.core.errors import LtxflowError
from ltxflow.media.audio import SoundFacts, measure_sound
from ltxflow.media.mix import read_voice

SAMPLES = 31415


def write_wav(path, samples=SAMPLES, rate=22050, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.zeros(samples * channels, np.int16).tobytes())
    return path


def write_sound(path, codec, rate=48000, samples=SAMPLES):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        layout = stream.codec_context.format.name
        tone = np.sin(np.arange(samples) / 20)[None] * 0.3
        whole = {"s16": np.int16, "s16p": np.int16, "s32p": np.int32}.get(layout)
        values = tone.astype(np.float32) if whole is None else (tone * 30000).astype(whole)
        for at in range(0, samples, 960):
            block = AudioFrame.from_ndarray(np.ascontiguousarray(values[:, at : at + 960]), layout, "mono")
            block.sample_rate, block.pts, block.time_base = rate, at, Fraction(1, rate)
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return path


def test_a_wav_is_measured_to_the_sample(tmp_path):
    facts = measure_sound(write_wav(tmp_path / "a.wav", channels=2))
    assert facts == SoundFacts(SAMPLES, 22050, 2)
    assert facts.seconds == Fraction(SAMPLES, 22050)


@pytest.mark.parametrize("claimed", [0, 0xFFFFFFFF])
def test_a_streamed_wav_is_measured_by_what_is_there(tmp_path, claimed):
    path = write_wav(tmp_path / "a.wav")
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 4, claimed)
    struct.pack_into("<I", data, data.index(b"data") + 4, claimed)
    path.write_bytes(data)
    assert measure_sound(path).samples == SAMPLES


def test_half_a_wav_is_half_as_long(tmp_path):
    path = write_wav(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[: 44 + 10000])
    assert measure_sound(path).samples == 5000


@pytest.mark.parametrize(
    ("name", "codec", "slack"),
    [("a.flac", "flac", 0), ("a.mp3", "libmp3lame", 0), ("a.opus", "libopus", 0), ("a.m4a", "aac", 1024)],
)
def test_compressed_sound_is_measured_by_decoding(tmp_path, name, codec, slack):
    facts = measure_sound(write_sound(tmp_path / name, codec))
    assert facts.sample_rate == 48000
    assert SAMPLES <= facts.samples <= SAMPLES + slack


def test_the_sound_of_a_video_counts(clip):
    facts = measure_sound(clip)
    assert (facts.sample_rate, facts.channels) == (24000, 2)
    assert 0 <= facts.samples - 24000 * 41 // 25 < 1024


def test_a_silent_video_is_refused(write_video, tmp_path):
    path = write_video(tmp_path / "mute.mp4", frames=2, sound=False)
    with pytest.raises(LtxflowError, match=r'"mute\.mp4" has no sound track') as caught:
        measure_sound(path)
    assert "wav" in caught.value.problems[0].hint


@pytest.mark.parametrize("data", [b"", b"not a sound", b"RIFF\0\0\0\0WAVE"])
def test_a_file_that_is_not_sound_is_refused(tmp_path, data):
    path = tmp_path / "a.wav"
    path.write_bytes(data)
    with pytest.raises(LtxflowError, match=r'"a\.wav"'):
        measure_sound(path)


def test_a_sound_without_samples_is_refused(tmp_path):
    with pytest.raises(LtxflowError, match=r'"a\.wav"'):
        measure_sound(write_wav(tmp_path / "a.wav", samples=0))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LtxflowError, match="no sound file") as caught:
        measure_sound(tmp_path / "gone.wav")
    assert caught.value.problems[0].code == "M001"


@pytest.mark.parametrize("text", ["ffconcat version 1.0\nfile a.wav\n", "#EXTM3U\n#EXTINF:9,\na.wav\n"])
@pytest.mark.parametrize("read", [measure_sound, read_voice])
def test_a_list_of_other_files_is_no_sound(tmp_path, text, read):
    """FFmpeg would read the files that it names: the digest is of the list alone."""
    write_wav(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_text(text)
    with pytest.raises(LtxflowError, match=r'"b\.wav" cannot be read as sound'):
        read(tmp_path / "b.wav")


@pytest.mark.parametrize(
    ("name", "codec", "is_played"),
    [
        ("a.wav", "pcm_s16le", True),
        ("a.wav", "pcm_f32le", True),
        ("a.wav", "adpcm_ima_wav", False),
        ("a.mp3", "libmp3lame", True),
        ("a.m4a", "aac", True),
        ("a.m4a", "alac", False),
        ("a.aac", "aac", True),
        ("a.flac", "flac", True),
        ("a.ogg", "libopus", True),
        ("a.opus", "libopus", True),
        ("a.webm", "libopus", True),
        ("a.mka", "libopus", False),
        ("a.mov", "aac", False),
        ("a.aiff", "pcm_s16be", False),
        ("a.caf", "pcm_s16le", False),
        ("a.w64", "pcm_s16le", False),
        ("a.au", "pcm_s16be", False),
        ("a.ac3", "ac3", False),
    ],
)
def test_browsers_play_some_files(tmp_path, name, codec, is_played):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        tone(container, container.add_stream(codec, rate=48000, layout="stereo"), Fraction(1))
    assert measure_sound(path).is_played == is_played


def test_the_sound_of_a_video_is_none_that_browsers_play_alone(clip):
    assert not measure_sound(clip).is_played
