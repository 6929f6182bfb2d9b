"""How long a sound is, by decoding it: what headers say is often wrong. Knows nothing of scenes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.parts import count_sounds

SOUND_HINT = "give a sound file: wav, flac, mp3, ogg, opus or m4a"


@dataclass(frozen=True)
class SoundFacts:
    """A sound as it plays: `samples` per channel at `sample_rate` Hz."""

    samples: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> Fraction:
        return Fraction(self.samples, self.sample_rate)


def measure_sound(path: Path) -> SoundFacts:
    """Given a file with sound in it, return how much of it there is.

    Every sample is decoded: streamed WAVs (sizes 0 or 0xFFFFFFFF) and half files have headers that lie. AAC
    and mp3 without a Xing header come out some ms long, by padding that really plays. Raise LtxflowError when
    the file is missing, unreadable, without a sound track, without a single sample, or several files in one.
    """
    if not path.is_file():
        raise LtxflowError(Problem(f'there is no sound file "{path.name}"', code="missing"))
    if (count := count_sounds(path)) > 1:
        message = f'"{path.name}" has {count} sounds run together: players stop at the end of the first'
        raise LtxflowError(Problem(message, hint="export it again as one sound", code="unreadable"))
    samples = rate = channels = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise LtxflowError(Problem(f'"{path.name}" has no sound track', hint=SOUND_HINT, code="no-sound"))
            for frame in container.decode(container.streams.audio[0]):
                samples += frame.samples
                rate = rate or frame.sample_rate
                channels = channels or len(frame.layout.channels)
                if frame.sample_rate != rate:
                    raise LtxflowError(_changing(path))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        problem = Problem(f'"{path.name}" cannot be read as sound', hint=SOUND_HINT, code="unreadable")
        raise LtxflowError(problem) from error
    if samples == 0:
        raise LtxflowError(Problem(f'"{path.name}" is silent: it holds no samples', hint=SOUND_HINT, code="empty"))
    return SoundFacts(samples, rate, channels)


def _changing(path: Path) -> Problem:
    return Problem(
        f'"{path.name}" changes its sample rate on the way', hint="export it again, as wav", code="unreadable"
    )
