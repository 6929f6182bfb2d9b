"""Signals of EBU Tech 3341 (loudness meters), as far as they can be synthesised; 0.1 LU is its tolerance, too."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ltxflow.media.audio import Loudness, amplitude, gain_to, integrated_lufs, measure_loudness, true_peak_db

RATE = 48000


def sine(db, seconds, rate=RATE, hertz=1000.0, channels=2):
    """Peaks at `db` dBFS in each channel."""
    tone = amplitude(db) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return np.tile(tone.astype(np.float32), (channels, 1))


def parts(*levels_and_seconds):
    return np.concatenate([sine(db, seconds) for db, seconds in levels_and_seconds], axis=1)


def test_full_scale_in_one_channel_is_three_below():
    """BS.1770-4: 997 Hz at 0 dBFS in one front channel reads -3.01."""
    assert integrated_lufs(sine(0, 5, hertz=997, channels=1)[0], RATE) == pytest.approx(-3.01, abs=0.01)


@pytest.mark.parametrize(
    ("case", "sound", "lufs"),
    [
        (1, parts((-23, 20)), -23),
        (2, parts((-33, 20)), -33),
        (3, parts((-36, 10), (-23, 60), (-36, 10)), -23),
        (4, parts((-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)), -23),
        (5, parts((-26, 20), (-20, 20.1), (-26, 20)), -23),
        (6, np.concatenate([sine(db, 20, channels=1) for db in (-28, -28, -24, -30, -30)]), -23),
    ],
)
def test_ebu_signals_measure_what_they_must(case, sound, lufs):
    assert integrated_lufs(sound, RATE) == pytest.approx(lufs, abs=0.1)


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 44100, 48000, 96000])
def test_the_sample_rate_does_not_matter(rate):
    assert integrated_lufs(sine(-23, 5, rate), rate) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("hertz", [25, 100, 500, 997, 2000, 10000])
def test_each_frequency_counts_as_published(hertz):
    """The two filters of BS.1770-4 tables 1 and 2, for 48 kHz; FFmpeg's ebur128 reads the same."""
    back = np.exp(-2j * np.pi * hertz / RATE)
    shelf = np.polyval([1.19839281085285, -2.69169618940638, 1.53512485958697], back)
    shelf /= np.polyval([0.73248077421585, -1.69065929318241, 1], back)
    low_cut = np.polyval([1, -2, 1], back) / np.polyval([0.99007225036621, -1.99004745483398, 1], back)
    published = -0.691 - 20 + 20 * math.log10(abs(shelf * low_cut))
    assert integrated_lufs(sine(-20, 3, hertz=hertz), RATE) == pytest.approx(published, abs=0.01)


def test_a_bass_channel_does_not_count():
    sound = np.concatenate([sine(-23, 5), sine(-120, 5, channels=1), sine(-3, 5, channels=1), sine(-120, 5)])
    assert integrated_lufs(sound, RATE) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.4, 0.41, 9.9, 10.05, 20.3])
def test_every_length_is_measured(seconds):
    assert integrated_lufs(sine(-23, seconds), RATE) == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("sound", [np.zeros((2, RATE)), np.zeros((2, 0)), np.zeros(1), sine(-90, 2)])
def test_silence_has_no_loudness(sound):
    assert integrated_lufs(sound, RATE) == -math.inf


@pytest.mark.parametrize(
    ("part", "phase", "peak", "dbtp"),
    [(4, 0, 0.5, -6.0), (4, 45, 0.5, -6.0), (6, 60, 0.5, -6.0), (8, 67.5, 0.5, -6.0), (4, 45, 1.41, 3.0)],
)
def test_peaks_between_samples_are_found(part, phase, peak, dbtp):
    """EBU 3341 cases 15 to 19: sines at a part of the rate; +0.2, -0.4 dB is its tolerance."""
    place = np.arange(RATE)
    fade = np.clip(np.minimum(place, RATE - place) / 2000, 0, 1)
    measured = true_peak_db(fade * peak * np.sin(2 * np.pi * place / part + math.radians(phase)))
    assert dbtp - 0.4 <= measured <= dbtp + 0.2


def test_true_peak_is_never_below_the_samples():
    noise = np.random.default_rng(1).uniform(-0.7, 0.7, (2, 999))
    assert true_peak_db(noise) >= 20 * math.log10(np.abs(noise).max())
    assert true_peak_db(np.zeros((2, 99))) == true_peak_db(np.zeros((2, 0))) == -math.inf


def test_gain_brings_a_sound_to_the_target():
    sound = sine(-30, 3)
    gain = gain_to(-16, measure_loudness(sound, RATE))
    assert integrated_lufs(sound * amplitude(gain), RATE) == pytest.approx(-16, abs=0.1)


def test_gain_stops_below_the_ceiling():
    speech = Loudness(lufs=-30.0, true_peak_db=-6.0)
    assert gain_to(-16, speech) == 14
    assert gain_to(-16, speech, ceiling_db=-1.5) == 4.5
    assert gain_to(-35, speech, ceiling_db=-1.5) == -5


def test_silence_is_not_amplified():
    assert gain_to(-16, measure_loudness(np.zeros((1, RATE)), RATE), ceiling_db=-1) == 0
