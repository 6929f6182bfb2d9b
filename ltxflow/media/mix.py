"""Handle speech as samples: write canonical wavs, find silences, join lines exactly to the sample.

A canonical wav is mono, 16 bit, at its original rate, with a correct header.

Mix the sound of a film, scene by scene: speech in front, the clips' own sound beneath it.

Speech is normalised to -16 LUFS and the rest to -24, lowered by another 12 dB during speech, from a little before the
first word. A limiter removes the remaining peaks. Sound is float32 (2, samples) at 48 kHz.
"""

from __future__ import annotations

import io
import math
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.audio import LONGEST_S, OPTIONS, amplitude, integrated_lufs, sound_parts

Samples = NDArray[np.int16]
Run = tuple[int, int]  # of samples: the first, and the first after it

FULL_SCALE = 32768.0
WINDOW_S = Fraction(1, 100)  # silence is decided for 10 ms at a time
SHORTEST_SILENCE_S = Fraction(1, 10)  # shorter ones are stops inside words
KEPT_S = Fraction(3, 100)  # kept on either side when silence is trimmed: breath, and the edge of a consonant

# Thresholds of silence in dB: below speech, above the quietest parts, and below hearing.
BELOW_SPEECH, AT_LEAST_BELOW_SPEECH = 35.0, 20.0
ABOVE_FLOOR = 6.0
NEVER_HEARD = -65.0


@dataclass(frozen=True)
class Voice:
    """Mono samples at `rate` Hz."""

    samples: Samples
    rate: int

    @property
    def seconds(self) -> Fraction:
        return Fraction(len(self.samples), self.rate)


@dataclass(frozen=True)
class VoiceFacts:
    """A canonical wav. `lufs` is None where nothing is loud enough to be measured."""

    samples: int
    sample_rate: int
    lufs: float | None

    @property
    def seconds(self) -> Fraction:
        return Fraction(self.samples, self.sample_rate)


@dataclass(frozen=True)
class VoicePiece:
    """One sound to be joined, and the silence after it, in seconds."""

    path: Path
    pause_s: Fraction = Fraction(0)


@dataclass(frozen=True)
class PlacedVoice:
    """The place of a piece, in samples of the whole; its first `skipped` samples, at its `rate`, were cut."""

    start: int
    end: int
    skipped: int
    rate: int

    def at(self, sample: int, rate: int) -> int:
        """Return the position of a sample of the piece in the whole, at `rate`, always inside the piece."""
        moved = self.start + round(Fraction((sample - self.skipped) * rate, self.rate))
        return min(max(moved, self.start), self.end)


@dataclass(frozen=True)
class Joined:
    """Pieces joined into one sound: its facts, the place of each piece, and every silence in it."""

    facts: VoiceFacts
    places: tuple[PlacedVoice, ...]
    silences: tuple[Run, ...]


def read_voice(path: Path, rate: int = 0) -> Voice:
    """Return a sound file of any format in mono at `rate` Hz; 0 keeps its rate, of several the highest.

    Reads a file in which several sounds run together to its end. Raise LtxflowError when it has no sound, less than its
    header states, or more than an hour.
    """
    try:
        parts = sound_parts(path)
        voices = [_decoded(path, part) for part in (parts if parts is not None else [path])]
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M002.sound", name=path.name)) from error
    voices = [voice for voice in voices if len(voice.samples)]
    if not voices:
        raise LtxflowError(problem("M003.voice", name=path.name))
    rate = rate or max(voice.rate for voice in voices)
    if sum(voice.seconds for voice in voices) > LONGEST_S:
        raise LtxflowError(problem("M002.too-long", name=path.name))
    same = [voice if voice.rate == rate else _resampled(voice, rate) for voice in voices]
    return Voice(np.concatenate([voice.samples for voice in same]), rate)


def peaks(path: Path, columns: int) -> list[float]:
    """Return the loudest sample of each of `columns` equal parts of a sound file, as a share of the loudest of all."""
    samples = np.abs(read_voice(path).samples.astype(np.float32))
    most = float(samples.max(initial=0.0)) or 1.0
    return [float(part.max(initial=0.0)) / most for part in np.array_split(samples, max(1, columns))]


def _decoded(path: Path, source: Path | io.BytesIO) -> Voice:
    """Return one sound in mono, at its rate, or its first rate if that changes."""
    parts: list[Samples] = []
    count = rate = 0
    form: tuple[object, ...] = ()
    resampler: av.AudioResampler | None = None
    opened = str(source) if isinstance(source, Path) else source
    with av.open(opened, "r", options=dict(OPTIONS)) as container:
        if not container.streams.audio:
            raise LtxflowError(problem("M007.none", name=path.name))
        for frame in container.decode(container.streams.audio[0]):
            rate = rate or frame.sample_rate
            is_new = form != (form := (frame.sample_rate, frame.format.name, frame.layout.name))
            if resampler is None or is_new:
                parts += [_samples(part) for part in (resampler.resample(None) if resampler else [])]
                resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            parts += [_samples(part) for part in resampler.resample(frame)]
            count += frame.samples
            if count > LONGEST_S * frame.sample_rate:
                raise LtxflowError(problem("M002.too-long", name=path.name))
        if resampler is not None:
            parts += [_samples(part) for part in resampler.resample(None)]
    return Voice(np.concatenate(parts) if parts else np.zeros(0, np.int16), rate)


def _samples(frame: AudioFrame) -> Samples:
    return np.ascontiguousarray(frame.to_ndarray().reshape(-1), np.int16)


def write_wav(path: Path, voice: Voice) -> VoiceFacts:
    """Write samples as a canonical wav; the same samples give the same bytes everywhere."""
    with (
        path.open("wb") as raw,  # `wave` prints a complaint when it cannot open a file
        wave.open(raw, "wb") as file,
    ):
        file.setparams((1, 2, voice.rate, 0, "NONE", ""))
        file.writeframes(voice.samples.astype("<i2").tobytes())
    lufs = integrated_lufs(voice.samples / FULL_SCALE, voice.rate)
    return VoiceFacts(len(voice.samples), voice.rate, None if math.isinf(lufs) else round(lufs, 2))


def canonical(source: Path, out: Path) -> VoiceFacts:
    """Write a sound file of any format as a canonical wav. Raise LtxflowError when it has no sound."""
    return write_wav(out, read_voice(source))


def join(pieces: Sequence[VoicePiece], out: Path, *, trim: bool = False) -> Joined:
    """Write one canonical wav of pieces in order, with their pauses.

    Uses the highest rate among them. With `trim` each piece loses the silence at its two ends, except for 30 ms. Raise
    LtxflowError for a piece without sound.
    """
    voices = [read_voice(piece.path) for piece in pieces]
    rate = max(voice.rate for voice in voices)
    parts: list[Samples] = []
    places = []
    at = 0
    for piece, voice in zip(pieces, voices, strict=True):
        first, end = sounding(voice) if trim else (0, len(voice.samples))
        part = Voice(voice.samples[first:end], voice.rate)
        part = part if voice.rate == rate else _resampled(part, rate)
        places.append(PlacedVoice(at, at + len(part.samples), first, voice.rate))
        pause = np.zeros(round(piece.pause_s * rate), np.int16)
        parts += [part.samples, pause]
        at += len(part.samples) + len(pause)
    whole = Voice(np.concatenate(parts), rate)
    return Joined(write_wav(out, whole), tuple(places), silences(whole))


def _resampled(voice: Voice, rate: int) -> Voice:
    """Return a voice at another rate, with exactly the samples of the same time."""
    frame = AudioFrame.from_ndarray(voice.samples.reshape(1, -1), "s16", "mono")
    frame.sample_rate = voice.rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    made = [_samples(part) for given in (frame, None) for part in resampler.resample(given)]
    count = round(Fraction(len(voice.samples) * rate, voice.rate))
    samples = np.concatenate(made)[:count]
    return Voice(np.pad(samples, (0, count - len(samples))), rate)


def silences(voice: Voice, shortest_s: Fraction = SHORTEST_SILENCE_S) -> tuple[Run, ...]:
    """Return every silence of at least `shortest_s` in speech, in order, including those at the two ends.

    Silence is relative to this voice, so that a recording's hiss counts as silence. Exact to 10 ms.
    """
    window = max(1, int(voice.rate * WINDOW_S))
    quiet = _quiet(voice, window)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], quiet, [False]]).astype(np.int8)))
    runs = [
        (int(first) * window, min(int(end) * window, len(voice.samples)))
        for first, end in zip(edges[::2], edges[1::2], strict=True)
    ]
    return tuple(run for run in runs if run[1] - run[0] >= shortest_s * voice.rate)


def sounding(voice: Voice) -> Run:
    """Return the run of samples from the first sound of speech to its last, 30 ms wider; all when silent."""
    window = max(1, int(voice.rate * WINDOW_S))
    loud = np.flatnonzero(~_quiet(voice, window))
    if len(loud) == 0:
        return 0, len(voice.samples)
    kept = int(KEPT_S * voice.rate)
    first, end = int(loud[0]) * window, (int(loud[-1]) + 1) * window
    return max(0, first - kept), min(len(voice.samples), end + kept)


def _quiet(voice: Voice, window: int) -> NDArray[np.bool_]:
    """Return for each window whether it is silent."""
    samples = voice.samples / FULL_SCALE
    padded = np.pad(samples, (0, -len(samples) % window)).reshape(-1, window)
    levels = 10 * np.log10(np.mean(padded**2, axis=1) + 1e-12)
    speech, floor = float(np.percentile(levels, 95)), float(np.percentile(levels, 5))
    threshold = min(max(speech - BELOW_SPEECH, floor + ABOVE_FLOOR), speech - AT_LEAST_BELOW_SPEECH)
    result: NDArray[np.bool_] = levels < max(threshold, NEVER_HEARD)
    return result


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
