"""Sound for the labelled clips: (1 or 2 channels, samples), full scale is 1."""

from __future__ import annotations

import numpy as np

from labelled.encode import Sound


def _level(sound: Sound, db: float) -> Sound:
    """Return it at an RMS of `db` dBFS."""
    return np.asarray(sound / max(1e-9, float(np.sqrt((sound**2).mean()))) * 10 ** (db / 20), np.float32)


def _noise(rng: np.random.Generator, count: int, rate: int, low: float, high: float) -> Sound:
    """Noise between two frequencies."""
    waves = np.fft.rfft(rng.normal(size=count))
    at = np.fft.rfftfreq(count, 1 / rate)
    return np.asarray(np.fft.irfft(waves * ((at > low) & (at < high)), count), np.float32)[None]


def hum(seconds: float, rate: int, seed: int, db: float = -30.0) -> Sound:
    """Mains hum with its harmonics."""
    time = np.arange(round(seconds * rate)) / rate
    made = sum(np.sin(2 * np.pi * 50 * n * time + seed + n) / n for n in (1, 2, 3, 5))
    return _level(np.asarray(made, np.float32)[None], db)


def air(seconds: float, rate: int, seed: int, db: float = -48.0) -> Sound:
    """A room in which nothing happens, in two channels."""
    rng, count = np.random.default_rng(seed), round(seconds * rate)
    return _level(np.concatenate([_noise(rng, count, rate, 60, 3000) for _ in range(2)]), db)


def speech(
    seconds: float, rate: int, seed: int, db: float = -22.0, pause: tuple[float, float] = (0, 0), room: float = -62.0
) -> Sound:
    """Syllables of a buzz through two formants, with gaps between words, and a pause from a time to a time."""
    rng, count = np.random.default_rng(seed), round(seconds * rate)
    time = np.arange(count) / rate
    pitch = 110 + 25 * np.sin(2 * np.pi * 0.7 * time + seed)
    buzz = np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / rate)) + 0.2 * rng.normal(size=count)
    waves, at = np.fft.rfft(buzz), np.fft.rfftfreq(count, 1 / rate)
    shape = 1 / (1 + ((at - 550) / 160) ** 2) + 0.5 / (1 + ((at - 1600) / 260) ** 2)
    syllables = np.clip(np.sin(2 * np.pi * 4.2 * time + seed), 0, 1) ** 0.6 * (np.sin(2 * np.pi * 0.9 * time) > -0.7)
    made = np.fft.irfft(waves * shape, count) * syllables
    made[(time >= pause[0]) & (time < pause[1])] = 0
    back = _level(_noise(rng, count, rate, 100, 4000), room) if room > -100 else 0
    return np.asarray(_level(np.asarray(made, np.float32)[None], db) + back, np.float32)


def music(seconds: float, rate: int, seed: int, db: float = -16.0) -> Sound:
    """Chords that change twice a second, with a beat, in two channels."""
    rng, count = np.random.default_rng(seed), round(seconds * rate)
    time = np.arange(count) / rate
    made = np.zeros((2, count))
    for beat in range(int(seconds * 2) + 1):
        fall = np.exp(-3 * np.clip(time - beat / 2, 0, None)) * (time >= beat / 2)
        for note in rng.choice([220.0, 247.5, 277.2, 330.0, 370.0, 440.0, 554.4], 3, replace=False):
            phase, side = rng.uniform(0, 6), rng.uniform(0.3, 1, 2)[:, None]
            made += side * fall * (np.sin(2 * np.pi * note * time + phase) + 0.3 * np.sin(4 * np.pi * note * time))
        made += 0.8 * np.exp(-30 * np.clip(time - beat / 2, 0, None)) * (time >= beat / 2) * rng.normal(size=count)
    return _level(np.asarray(made, np.float32), db)


def limited(sound: Sound, peak: float = 0.95, drive: float = 2.5) -> Sound:
    """As a limiter leaves it: loud, its tops rounded and not cut."""
    made = np.tanh(drive * sound / float(np.abs(sound).max()))
    return np.asarray(made / float(np.abs(made).max()) * peak, np.float32)


def clipped(sound: Sound, by_db: float = 9.0) -> Sound:
    """With its tops cut off, so many dB below its peak."""
    return np.asarray(np.clip(sound / float(np.abs(sound).max()) * 10 ** (by_db / 20), -1, 1), np.float32)


def silence(seconds: float, rate: int, seed: int, db: float = -120.0) -> Sound:
    """Nothing, or hiss far below what is heard."""
    count = round(seconds * rate)
    if db <= -120:
        return np.zeros((1, count), np.float32)
    return _level(_noise(np.random.default_rng(seed), count, rate, 100, 8000), db)
