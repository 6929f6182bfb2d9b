"""Speech as samples: one canonical wav, where it is silent, lines joined to the sample. Knows no text and no scene.

Canonical is mono, 16 bit, at the rate it came in, with a header that tells the truth.
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

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.audio import SOUND_HINT, integrated_lufs
from ltxflow.media.streamed_wav import LONGEST_S, sound_parts

Samples = NDArray[np.int16]
Run = tuple[int, int]  # of samples: the first, and the first after it

FULL_SCALE = 32768.0
WINDOW_S = Fraction(1, 100)  # loud or silent is decided for 10 ms at a time
SHORTEST_SILENCE_S = Fraction(1, 10)  # shorter ones are stops inside words
KEPT_S = Fraction(3, 100)  # left on either side when silence is trimmed: breath, and the edge of a consonant

# What is silent, in dB: below speech by so much, near enough to the quietest there is, and below any ear.
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
    """Where a piece went, in samples of the whole; its own first `skipped` samples, at its own `rate`, were cut."""

    start: int
    end: int
    skipped: int
    rate: int

    def at(self, sample: int, rate: int) -> int:
        """Given a sample of the piece, return where it is in the whole, at `rate`; inside the piece always."""
        moved = self.start + round(Fraction((sample - self.skipped) * rate, self.rate))
        return min(max(moved, self.start), self.end)


@dataclass(frozen=True)
class Joined:
    """Pieces as one sound: its facts, where each piece is, and every silence in it."""

    facts: VoiceFacts
    places: tuple[PlacedVoice, ...]
    silences: tuple[Run, ...]


def read_voice(path: Path, rate: int = 0) -> Voice:
    """Return a sound file of any format in mono at `rate` Hz; 0 for its own, of several the highest.

    A file in which several sounds run together is read to its end. Raise LtxflowError when there is no sound in it,
    less than its header says, or more than an hour.
    """
    try:
        parts = sound_parts(path)
        voices = [_decoded(path, part) for part in (parts if parts is not None else [path])]
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise _unreadable(path, "cannot be read as sound") from error
    voices = [voice for voice in voices if len(voice.samples)]
    if not voices:
        raise _unreadable(path, "holds no samples")
    rate = rate or max(voice.rate for voice in voices)
    if sum(voice.seconds for voice in voices) > LONGEST_S:
        raise _unreadable(path, "is longer than an hour")
    same = [voice if voice.rate == rate else _resampled(voice, rate) for voice in voices]
    return Voice(np.concatenate([voice.samples for voice in same]), rate)


def _decoded(path: Path, source: Path | io.BytesIO) -> Voice:
    """One sound in mono, at its own rate; one that changes on the way at its first."""
    parts: list[Samples] = []
    count = rate = 0
    form: tuple[object, ...] = ()
    resampler: av.AudioResampler | None = None
    with av.open(str(source) if isinstance(source, Path) else source, "r") as container:
        if not container.streams.audio:
            raise _unreadable(path, "has no sound track")
        for frame in container.decode(container.streams.audio[0]):
            rate = rate or frame.sample_rate
            is_new = form != (form := (frame.sample_rate, frame.format.name, frame.layout.name))
            if resampler is None or is_new:
                parts += [_samples(part) for part in (resampler.resample(None) if resampler else [])]
                resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
            parts += [_samples(part) for part in resampler.resample(frame)]
            count += frame.samples
            if count > LONGEST_S * frame.sample_rate:
                raise _unreadable(path, "is longer than an hour")
        if resampler is not None:
            parts += [_samples(part) for part in resampler.resample(None)]
    return Voice(np.concatenate(parts) if parts else np.zeros(0, np.int16), rate)


def _samples(frame: AudioFrame) -> Samples:
    return np.ascontiguousarray(frame.to_ndarray().reshape(-1), np.int16)


def _unreadable(path: Path, why: str) -> LtxflowError:
    return LtxflowError(Problem(f'"{path.name}" {why}', hint=SOUND_HINT, code="unreadable"))


def write_wav(path: Path, voice: Voice) -> VoiceFacts:
    """Given samples, write them as a canonical wav; the same samples are the same bytes everywhere."""
    with (
        path.open("wb") as raw,
        wave.open(raw, "wb") as file,
    ):  # one that opens its file itself complains when it cannot
        file.setparams((1, 2, voice.rate, 0, "NONE", ""))
        file.writeframes(voice.samples.astype("<i2").tobytes())
    lufs = integrated_lufs(voice.samples / FULL_SCALE, voice.rate)
    return VoiceFacts(len(voice.samples), voice.rate, None if math.isinf(lufs) else round(lufs, 2))


def canonical(source: Path, out: Path) -> VoiceFacts:
    """Given a sound file of any format, write it as a canonical wav. Raise LtxflowError when it holds no sound."""
    return write_wav(out, read_voice(source))


def join(pieces: Sequence[VoicePiece], out: Path, *, trim: bool = False) -> Joined:
    """Given pieces in order, write one canonical wav of them and their pauses.

    They are joined at the highest rate among them. With `trim` each piece loses the silence at its two ends,
    but for 30 ms. Raise LtxflowError for a piece that holds no sound.
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
    """At another rate, as many samples as the same time has there."""
    frame = AudioFrame.from_ndarray(voice.samples.reshape(1, -1), "s16", "mono")
    frame.sample_rate = voice.rate
    resampler = av.AudioResampler(format="s16", layout="mono", rate=rate)
    made = [_samples(part) for given in (frame, None) for part in resampler.resample(given)]
    count = round(Fraction(len(voice.samples) * rate, voice.rate))
    samples = np.concatenate(made)[:count]
    return Voice(np.pad(samples, (0, count - len(samples))), rate)


def silences(voice: Voice, shortest_s: Fraction = SHORTEST_SILENCE_S) -> tuple[Run, ...]:
    """Given speech, return every silence of at least `shortest_s`, in order, with those at the two ends.

    What is silent is measured against this voice, so that a recording's hiss counts as silence. Exact to 10 ms.
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
    """Given speech, return the run of samples from its first sound to its last, 30 ms wider; all when silent."""
    window = max(1, int(voice.rate * WINDOW_S))
    loud = np.flatnonzero(~_quiet(voice, window))
    if len(loud) == 0:
        return 0, len(voice.samples)
    kept = int(KEPT_S * voice.rate)
    first, end = int(loud[0]) * window, (int(loud[-1]) + 1) * window
    return max(0, first - kept), min(len(voice.samples), end + kept)


def _quiet(voice: Voice, window: int) -> NDArray[np.bool_]:
    """For each window whether it is silent."""
    samples = voice.samples / FULL_SCALE
    padded = np.pad(samples, (0, -len(samples) % window)).reshape(-1, window)
    levels = 10 * np.log10(np.mean(padded**2, axis=1) + 1e-12)
    speech, floor = float(np.percentile(levels, 95)), float(np.percentile(levels, 5))
    threshold = min(max(speech - BELOW_SPEECH, floor + ABOVE_FLOOR), speech - AT_LEAST_BELOW_SPEECH)
    result: NDArray[np.bool_] = levels < max(threshold, NEVER_HEARD)
    return result
