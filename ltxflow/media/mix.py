"""Mix the sound of a film, scene by scene: speech in front, the clips' own sound beneath it.

Speech is normalised to -16 LUFS and the rest to -24, lowered by another 12 dB during speech, from a little before the
first word. A limiter removes the remaining peaks. Sound is float32 (2, samples) at 48 kHz.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.audio import amplitude, integrated_lufs

Sound = NDArray[np.float32]

RATE = 48000
VOICE_LUFS = -16.0  # the norm of services for podcasts and web video
BED_LUFS = -24.0  # under a voice
ALONE_LUFS = -20.0  # in a scene without speech
MOST_DB = 10.0  # nearly silent clips are not amplified into noise,
BED_PEAK_DB = -9.0  # nor one knock in them to the front

WINDOW = RATE // 100  # loudness is decided for 10 ms at a time
SPEAKS_DB = -40.0  # dBFS RMS, of speech at its level
DUCK_DB = -12.0
LOOK_AHEAD_S, HOLD_S, RELEASE_S = 0.15, 0.25, 0.4

PEAK_DB = -1.5
LIMIT = RATE // 200  # the limiter takes 5 ms to come and to go
EDGE = RATE // 200  # and a cut in the sound as much, so that it does not click


@dataclass(frozen=True)
class Bed:
    """A clip's own sound in a scene: `count` samples of it from `first` on, played from `at` on.

    The first `fade_in` and the last `fade_out` of them overlap with a neighbour.
    """

    path: Path
    first: int
    at: int
    count: int
    fade_in: int = 0
    fade_out: int = 0
    volume: float = 1.0


@dataclass(frozen=True)
class MixedVoice:
    """The speech of a scene, played from `at` on."""

    path: Path
    at: int
    volume: float = 1.0


def mix(count: int, beds: Sequence[Bed], voice: MixedVoice | None) -> Sound:
    """Return the sound of a scene of `count` samples, without a peak above -1.5 dBFS.

    Raise LtxflowError for a sound that cannot be read.
    """
    spoken = _voice(count, voice) if voice else np.zeros((2, count), np.float32)
    under = np.zeros((2, count), np.float32)
    for bed in beds:
        sound = _level_beneath(read_sound(bed.path, bed.first, bed.count), BED_LUFS if voice else ALONE_LUFS)
        end = min(count, bed.at + bed.count)
        under[:, bed.at : end] += (sound * _slopes(bed) * np.float32(bed.volume))[:, : end - bed.at]
    return limited(spoken + under * ducking(spoken)) if voice else limited(under)


def _voice(count: int, voice: MixedVoice) -> Sound:
    placed = np.zeros((2, count), np.float32)
    sound = _levelled(read_sound(voice.path), VOICE_LUFS) * np.float32(voice.volume)
    part = sound[:, : max(0, count - voice.at)]
    placed[:, voice.at : voice.at + part.shape[1]] = part
    return placed


def _levelled(sound: Sound, lufs: float) -> Sound:
    measured = integrated_lufs(sound, RATE)
    return sound * np.float32(1 if math.isinf(measured) else amplitude(lufs - measured))


def _level_beneath(sound: Sound, lufs: float) -> Sound:
    measured, peak = integrated_lufs(sound, RATE), float(np.abs(sound).max(initial=0.0))
    gain = 0.0 if math.isinf(measured) else min(lufs - measured, MOST_DB)
    room = BED_PEAK_DB - 20 * math.log10(peak) if peak else 0.0
    return sound * np.float32(amplitude(min(gain, max(0.0, room))))


def _slopes(bed: Bed) -> Sound:
    """Return the gain of each sample: overlapping sounds keep their common power, and no end clicks."""
    gains = np.ones(bed.count, np.float32)
    for length, ends in ((bed.fade_in or EDGE, gains), (bed.fade_out or EDGE, gains[::-1])):
        room = min(length, bed.count)
        ends[:room] *= np.sin(np.arange(room, dtype=np.float32) * np.float32(math.pi / 2 / length))
    return gains


def ducking(spoken: Sound) -> Sound:
    """Return the factor of each sample beneath a speech at its final level."""
    count = spoken.shape[1]
    steps = -(-count // WINDOW)
    power = np.zeros(steps * WINDOW, np.float32)
    power[:count] = (spoken * spoken).mean(axis=0)
    speaks = power.reshape(steps, WINDOW).mean(axis=1) > 10 ** (SPEAKS_DB / 10)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speaks, [False]]).astype(np.int8)))
    level = np.zeros(steps + 1)
    ahead, hold, release = (round(seconds * RATE / WINDOW) for seconds in (LOOK_AHEAD_S, HOLD_S, RELEASE_S))
    place = np.arange(steps + 1)
    for first, end in zip(edges[::2], edges[1::2], strict=True):
        near, far = max(0, first - ahead), min(steps + 1, end + hold + release)
        slope = np.interp(place[near:far], [first - ahead, first, end + hold, end + hold + release], [0, 1, 1, 0])
        level[near:far] = np.maximum(level[near:far], slope)
    decibels = np.interp(np.arange(count) / WINDOW, place, level * DUCK_DB)
    gains: Sound = (10 ** (decibels / 20)).astype(np.float32)
    return gains


def limited(sound: Sound) -> Sound:
    """Return a sound with every sample below -1.5 dBFS, turned down for some ms around each peak."""
    ceiling = np.float32(amplitude(PEAK_DB))
    peaks = np.abs(sound).max(axis=0, initial=0.0)
    if not len(peaks) or peaks.max() <= ceiling:
        return sound
    wanted = np.minimum(1, ceiling / np.maximum(peaks, ceiling)).astype(np.float32)
    width = 2 * LIMIT + 1
    lowest = _lowest(np.pad(wanted, 2 * LIMIT, constant_values=1), width)  # over all samples of the mean below
    sums = np.cumsum(np.concatenate([[0.0], lowest.astype(np.float64)]))
    gains = ((sums[width:] - sums[:-width]) / width).astype(np.float32)
    quiet: Sound = np.clip(sound * gains, -ceiling, ceiling)
    return quiet


def _lowest(values: Sound, width: int) -> Sound:
    """Return the minimum of each `width` successive values, in pieces, since all windows at once need much memory."""
    step = RATE
    parts = [
        sliding_window_view(values[at : at + step + width - 1], width).min(axis=1)
        for at in range(0, len(values) - width + 1, step)
    ]
    return np.concatenate(parts)


def read_sound(path: Path, first: int = 0, count: int | None = None) -> Sound:
    """Return `count` samples of a sound file from `first` on, padded with silence; all samples without a count.

    Raise LtxflowError when it cannot be read as sound.
    """
    parts: list[Sound] = []
    end = None if count is None else first + count
    have = 0
    try:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
            for frame in container.decode(container.streams.audio[0]):
                blocks = [np.asarray(block.to_ndarray(), np.float32) for block in resampler.resample(frame)]
                parts += blocks
                have += sum(block.shape[1] for block in blocks)
                if end is not None and have >= end:
                    break
            else:
                parts += [np.asarray(block.to_ndarray(), np.float32) for block in resampler.resample(None)]
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M002.sound", name=path.name)) from error
    whole = np.concatenate(parts, axis=1) if parts else np.zeros((2, 0), np.float32)
    if count is None:
        return whole[:, first:]
    part = whole[:, first : first + count]
    return np.pad(part, ((0, 0), (0, count - part.shape[1])))
