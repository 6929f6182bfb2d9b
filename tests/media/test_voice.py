from __future__ import annotations

import gc
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from fakes.speech import tone

from ltxflow.core.errors import LtxflowError
from ltxflow.media.audio import measure_sound
from ltxflow.media.mix import (
    PlacedVoice,
    Samples,
    Voice,
    VoicePiece,
    canonical,
    join,
    read_voice,
    silences,
    sounding,
    write_wav,
)

RATE = 22050


def noise(seconds: float, level: float = 0.3, rate: int = RATE) -> Samples:
    values = np.random.default_rng(3).uniform(-level, level, round(seconds * rate))
    return (values * 32767).astype(np.int16)


def speech(*parts: float, level: float = 0.3, hiss: float = 0.0) -> Voice:
    """Seconds of sound and of silence in turn, sound first; a 0 leaves it out."""
    made = [noise(part, level if n % 2 == 0 else hiss) for n, part in enumerate(parts)]
    return Voice(np.concatenate(made), RATE)


def near(runs: tuple[tuple[int, int], ...], *seconds: tuple[float, float]) -> bool:
    expected = [(round(a * RATE), round(b * RATE)) for a, b in seconds]
    return len(runs) == len(expected) and bool(np.abs(np.array(runs) - np.array(expected)).max() <= RATE // 50)


def encode(path: Path, voice: Voice, codec: str, layout: str = "mono", format: str = "s16") -> Path:
    """The same sound by another codec, in both channels when there are two."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=voice.rate, layout=layout)
        channels = 1 if layout == "mono" else 2
        samples = np.repeat(voice.samples, channels).reshape(1, -1)
        frame = AudioFrame.from_ndarray(samples, format, layout)
        frame.sample_rate = voice.rate
        for given in (frame, None):
            container.mux(stream.encode(given))
    return path


# One wav for all


def test_a_canonical_wav_has_every_sample_and_a_true_header(tmp_path: Path) -> None:
    voice = Voice(noise(1.2345), RATE)
    facts = write_wav(tmp_path / "a.wav", voice)
    assert (facts.samples, facts.sample_rate) == (round(1.2345 * RATE), RATE)
    measured = measure_sound(tmp_path / "a.wav")
    assert (measured.samples, measured.sample_rate, measured.channels) == (facts.samples, RATE, 1)
    assert facts.seconds == measured.seconds
    assert np.array_equal(read_voice(tmp_path / "a.wav").samples, voice.samples)


def test_the_same_samples_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        write_wav(tmp_path / name, Voice(noise(0.1), RATE))
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_canonical_wav_made_again_is_itself(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", Voice(noise(0.1), RATE))
    canonical(tmp_path / "a.wav", tmp_path / "b.wav")
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


@pytest.mark.parametrize(
    ("name", "codec", "layout"),
    [("a.flac", "flac", "mono"), ("a.flac", "flac", "stereo"), ("a.wav", "pcm_s16le", "stereo")],
)
def test_other_formats_lose_no_sample(tmp_path: Path, name: str, codec: str, layout: str) -> None:
    voice = Voice(noise(0.777), RATE)
    source = encode(tmp_path / name, voice, codec, layout)
    facts = canonical(source, tmp_path / "out.wav")
    assert facts.samples == len(voice.samples)
    assert np.abs(read_voice(tmp_path / "out.wav").samples.astype(int) - voice.samples).max() <= 1


def test_a_streamed_wav_whose_header_lies_is_read_whole(tmp_path: Path) -> None:
    data = bytearray(tone(0.5, RATE, 0.0))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    assert canonical(tmp_path / "a.wav", tmp_path / "b.wav").seconds == Fraction(1, 2)


@pytest.mark.parametrize("data", [b"", b"<html>no sound</html>", tone(0, RATE, 0)])
def test_a_file_that_is_not_sound_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(LtxflowError, match=r'"a\.wav"') as error:
        canonical(tmp_path / "a.wav", tmp_path / "b.wav")
    assert "wav, flac" in error.value.problems[0].hint


def test_loudness_is_measured_and_none_for_silence(tmp_path: Path) -> None:
    loud = write_wav(tmp_path / "a.wav", Voice(noise(1, 0.4), RATE)).lufs
    soft = write_wav(tmp_path / "b.wav", Voice(noise(1, 0.04), RATE)).lufs
    assert loud is not None
    assert soft is not None
    assert loud - soft == pytest.approx(20, abs=0.1)
    assert write_wav(tmp_path / "c.wav", Voice(np.zeros(RATE, np.int16), RATE)).lufs is None


# Silence


def test_silences_are_found_at_the_ends_and_between() -> None:
    found = silences(speech(0, 0.2, 0.5, 0.3, 0.4, 0.25))
    assert near(found, (0, 0.2), (0.7, 1.0), (1.4, 1.65))


def test_a_stop_inside_a_word_is_not_a_silence() -> None:
    assert silences(speech(0.5, 0.06, 0.5)) == ()


@pytest.mark.parametrize("level", [0.9, 0.05])
def test_hiss_counts_as_silence_however_loud_the_voice(level: float) -> None:
    assert near(silences(speech(1.0, 0.3, 1.0, level=level, hiss=level / 50)), (1.0, 1.3))


def test_a_completely_silent_sound_is_one_silence() -> None:
    voice = Voice(np.zeros(RATE, np.int16), RATE)
    assert silences(voice) == ((0, RATE),)
    assert sounding(voice) == (0, RATE)


def test_sound_without_a_pause_has_no_silence() -> None:
    assert silences(speech(1.0)) == ()


def test_sounding_keeps_a_breath_at_either_side() -> None:
    assert near((sounding(speech(0, 0.5, 1.0, 0.5)),), (0.47, 1.53))


# Lines to a whole


def pieces(folder: Path, *voices: Voice, pause_s: Fraction = Fraction(0)) -> list[VoicePiece]:
    for number, voice in enumerate(voices):
        write_wav(folder / f"{number}.wav", voice)
    return [VoicePiece(folder / f"{number}.wav", pause_s) for number in range(len(voices))]


def test_lines_and_pauses_are_joined_to_the_sample(tmp_path: Path) -> None:
    one, two = Voice(noise(0.4), RATE), Voice(noise(0.7), RATE)
    given = pieces(tmp_path, one, two, pause_s=Fraction(1, 3))
    joined = join(given, tmp_path / "out.wav")
    pause = round(Fraction(RATE, 3))
    assert joined.facts.samples == len(one.samples) + len(two.samples) + 2 * pause
    assert [(place.start, place.end) for place in joined.places] == [
        (0, len(one.samples)),
        (len(one.samples) + pause, len(one.samples) + pause + len(two.samples)),
    ]
    whole = read_voice(tmp_path / "out.wav").samples
    assert np.array_equal(whole[slice(joined.places[1].start, joined.places[1].end)], two.samples)
    assert not whole[joined.places[0].end : joined.places[1].start].any()
    assert near(joined.silences, (0.4, 0.4 + 1 / 3), (1.1 + 1 / 3, 1.1 + 2 / 3))


def test_silence_is_trimmed_only_on_request(tmp_path: Path) -> None:
    given = pieces(tmp_path, speech(0, 0.5, 1.0, 0.5), speech(1.0, 0.5))
    assert join(given, tmp_path / "out.wav").facts.seconds == Fraction(7, 2)
    trimmed = join(given, tmp_path / "out.wav", trim=True)
    assert float(trimmed.facts.seconds) == pytest.approx(2.09, abs=0.03)
    assert trimmed.places[0].skipped == pytest.approx(0.47 * RATE, abs=RATE // 50)


def test_a_word_keeps_its_place_when_its_line_is_trimmed_and_moved(tmp_path: Path) -> None:
    given = pieces(tmp_path, speech(1.0), speech(0, 0.5, 1.0), pause_s=Fraction(1, 2))
    joined = join(given, tmp_path / "out.wav", trim=True)
    begins = joined.places[1].at(round(0.5 * RATE), RATE)
    assert begins / RATE == pytest.approx(1.5 + 0.03, abs=0.02)


def test_places_are_inside_their_piece() -> None:
    place = PlacedVoice(1000, 2000, skipped=100, rate=24000)
    assert [place.at(sample, 48000) for sample in (0, 100, 200, 10**6)] == [1000, 1000, 1200, 2000]


def test_lines_of_other_rates_are_joined_at_the_highest(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", Voice(noise(0.5, rate=16000), 16000))
    write_wav(tmp_path / "b.wav", Voice(noise(0.5, rate=48000), 48000))
    joined = join([VoicePiece(tmp_path / "a.wav"), VoicePiece(tmp_path / "b.wav")], tmp_path / "out.wav")
    assert (joined.facts.sample_rate, joined.facts.seconds) == (48000, 1)
    assert joined.places[0].at(8000, 48000) == 24000


def test_a_folder_that_is_gone_is_an_error_and_leaves_nothing_half_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is stopped takes the folder away while a thread still works for it."""
    left = []
    monkeypatch.setattr(sys, "unraisablehook", left.append)
    with pytest.raises(FileNotFoundError):
        write_wav(tmp_path / "gone/speech.wav", speech(0.2))
    gc.collect()
    assert left == []
