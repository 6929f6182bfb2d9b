"""Handle speech as samples: write canonical wavs, find silences, join lines exactly to the sample.

A canonical wav is mono, 16 bit, at its original rate, with a correct header.
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
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.audio import integrated_lufs
from ltxflow.media.streamed_wav import LONGEST_S, sound_parts

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


def _decoded(path: Path, source: Path | io.BytesIO) -> Voice:
    """Return one sound in mono, at its rate, or its first rate if that changes."""
    parts: list[Samples] = []
    count = rate = 0
    form: tuple[object, ...] = ()
    resampler: av.AudioResampler | None = None
    with av.open(str(source) if isinstance(source, Path) else source, "r") as container:
        if not container.streams.audio:
            raise LtxflowError(problem("M007", name=path.name))
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
