"""The sound of a scene: levels, ducking and limits, measured on what comes out."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError
from ltxflow.media.audio import integrated_lufs
from ltxflow.media.mix import Bed, MixedVoice, ducking, limited, mix, read_sound

RATE = 48000


def tone(seconds: float, level: float, hertz: float, rate: int = RATE) -> NDArray[np.float64]:
    return level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def write(path: Path, samples: NDArray[np.float64], rate: int = RATE) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def decibels(sound: NDArray[np.floating], hertz: float) -> float:
    """How strong one pitch is in a sound, in dB of its amplitude."""
    waves = np.exp(-2j * np.pi * hertz * np.arange(sound.shape[-1]) / RATE)
    return float(20 * np.log10(2 * abs((sound[0] * waves).mean()) + 1e-9))


@pytest.mark.parametrize("level", [0.02, 0.2, 0.9])
def test_speech_is_brought_to_its_loudness(tmp_path: Path, level: float) -> None:
    voice = write(tmp_path / "v.wav", tone(4, level, 300, 22050), 22050)
    assert integrated_lufs(mix(4 * RATE, [], MixedVoice(voice, 0)), RATE) == pytest.approx(-16, abs=0.3)


def test_a_volume_applies_after_the_loudness(tmp_path: Path) -> None:
    voice = write(tmp_path / "v.wav", tone(4, 0.2, 300))
    assert integrated_lufs(mix(4 * RATE, [], MixedVoice(voice, 0, 0.5)), RATE) == pytest.approx(-22, abs=0.3)


def test_the_clips_own_sound_is_beneath(tmp_path: Path) -> None:
    bed = write(tmp_path / "b.wav", tone(6, 0.2, 900))
    voice = write(tmp_path / "v.wav", np.zeros(RATE))
    made = mix(6 * RATE, [Bed(bed, 0, 0, 6 * RATE)], MixedVoice(voice, 0))
    assert integrated_lufs(made, RATE) == pytest.approx(-24, abs=0.3)


def test_scenes_without_speech_are_louder(tmp_path: Path) -> None:
    bed = write(tmp_path / "b.wav", tone(6, 0.2, 900))
    assert integrated_lufs(mix(6 * RATE, [Bed(bed, 0, 0, 6 * RATE)], None), RATE) == pytest.approx(-20, abs=0.3)


def test_nearly_silent_sound_is_not_amplified_into_noise(tmp_path: Path) -> None:
    bed = write(tmp_path / "b.wav", tone(6, 0.001, 900))
    made = mix(6 * RATE, [Bed(bed, 0, 0, 6 * RATE)], None)
    assert integrated_lufs(made, RATE) < -50


def test_the_bed_goes_down_by_12_db_under_the_voice_and_comes_back(tmp_path: Path) -> None:
    bed = write(tmp_path / "b.wav", tone(6, 0.2, 900))
    voice = write(tmp_path / "v.wav", tone(2, 0.3, 150))
    made = mix(6 * RATE, [Bed(bed, 0, 0, 6 * RATE)], MixedVoice(voice, 2 * RATE))

    def at(seconds: float) -> float:
        first = int(seconds * RATE)
        return decibels(made[:, first : first + RATE // 10], 900)

    free = at(1.0)
    assert at(1.7) == pytest.approx(free, abs=0.3)  # not before the look-ahead
    assert at(2.0) == pytest.approx(free - 12, abs=0.5)  # down when the first sound comes
    assert at(3.0) == pytest.approx(free - 12, abs=0.5)
    assert at(4.1) == pytest.approx(free - 12, abs=0.5)  # held
    assert at(4.9) == pytest.approx(free, abs=0.5)


def test_a_breath_between_words_does_not_bring_the_bed_back() -> None:
    spoken = np.zeros((2, 4 * RATE), np.float32)
    spoken[:, RATE : 2 * RATE] = spoken[:, 2 * RATE + RATE // 5 : 3 * RATE] = 0.2
    assert ducking(spoken)[RATE : 3 * RATE].max() == pytest.approx(10 ** (-12 / 20), rel=0.01)
    assert ducking(spoken)[0] == ducking(spoken)[-1] == 1


def test_speech_begins_at_its_sample(tmp_path: Path) -> None:
    click = np.zeros(RATE)
    click[0] = 0.5
    voice = write(tmp_path / "v.wav", click)
    made = mix(3 * RATE, [], MixedVoice(voice, 9600))
    assert int(np.argmax(np.abs(made[0]))) == 9600


def test_two_clips_that_overlap_are_as_loud_there_as_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    one, other = (write(tmp_path / f"{n}.wav", rng.normal(size=3 * RATE) * 0.05) for n in "ab")
    fade = RATE // 2
    beds = [Bed(one, 0, 0, 3 * RATE, 0, fade), Bed(other, 0, 3 * RATE - fade, 3 * RATE, fade, 0)]
    made = mix(6 * RATE - fade, beds, None)
    alone = made[0, RATE : 2 * RATE].std()
    assert made[0, 3 * RATE - fade : 3 * RATE].std() == pytest.approx(alone, rel=0.05)


def test_a_trimmed_clip_plays_from_its_first_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "b.wav", np.concatenate([tone(1, 0.2, 500), tone(2, 0.2, 2000)]))
    made = mix(RATE, [Bed(path, RATE, 0, RATE)], None)
    assert decibels(made, 2000) > decibels(made, 500) + 40


def test_sound_shorter_than_its_picture_ends_in_silence(tmp_path: Path) -> None:
    path = write(tmp_path / "b.wav", tone(1, 0.2, 500))
    made = mix(3 * RATE, [Bed(path, 0, 0, 3 * RATE)], None)
    assert made.shape == (2, 3 * RATE)
    assert np.abs(made[:, RATE + 100 :]).max() == 0


def test_no_peak_passes_the_limit_and_the_rest_is_untouched() -> None:
    rng = np.random.default_rng(1)
    sound = (rng.normal(size=(2, 3 * RATE)) * 0.05).astype(np.float32)
    sound[:, RATE : RATE + 200] = 1.7
    quiet = limited(sound)
    assert np.abs(quiet).max() <= 10 ** (-1.5 / 20) + 1e-6
    assert np.array_equal(quiet[:, : RATE - 960], sound[:, : RATE - 960])
    assert np.array_equal(quiet[:, RATE + 1200 :], sound[:, RATE + 1200 :])
    assert np.array_equal(limited(sound * np.float32(0.4)), sound * np.float32(0.4))


def test_a_file_that_is_not_sound_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"not a sound")
    with pytest.raises(LtxflowError, match=r'"x.wav" cannot be read as sound'):
        read_sound(tmp_path / "x.wav")


def test_a_stretch_is_the_same_as_that_part_of_the_whole(clip: Path) -> None:
    whole = read_sound(clip)
    assert np.array_equal(read_sound(clip, 20000, 10000), whole[:, 20000:30000])
