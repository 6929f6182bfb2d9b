"""What an mp4 file holds, by its boxes alone: a probe that is not the encoder's bookkeeping. No decoding."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.mp4 import Movie, Track, read_movie


@dataclass(frozen=True)
class VideoFacts:
    """A video as it plays. `fps` is the mean rate, `seconds` of the pictures; audio_rate 0 means no sound."""

    frames: int
    fps: Fraction
    width: int
    height: int
    seconds: Fraction
    audio_rate: int = 0  # Hz
    audio_channels: int = 0
    audio_seconds: Fraction = Fraction(0)

    @property
    def has_audio(self) -> bool:
        return self.audio_rate > 0

    def as_json(self) -> dict[str, Any]:
        """Numbers that JSON can hold; fractions as text (`"25"`, `"24000/1001"`), so that they stay exact."""
        return {
            "frames": self.frames,
            "fps": str(self.fps),
            "width": self.width,
            "height": self.height,
            "seconds": str(self.seconds),
            "audio_rate": self.audio_rate,
            "audio_channels": self.audio_channels,
            "audio_seconds": str(self.audio_seconds),
        }


def probe_mp4(path: Path) -> VideoFacts:
    """Given a finished mp4 file, return what it holds; all bytes that its index names are there.

    Costs well under a millisecond for a clip. Raise LtxflowError when the file is missing, not an mp4, cut
    short, fragmented, without pictures, or hides some of them by an edit list. Damage inside the data is not
    seen: `frames.decode_count` sees most of it, a digest all of it.
    """
    movie = read_movie(path)
    video = next((track for track in movie.tracks if track.handler == b"vide"), None)
    if video is None:
        _refuse(path, "has no picture", "no-video")
    if video.samples == 0 or video.ticks == 0:
        _refuse(path, "has no frames", "no-frames")
    if video.width == 0 or video.height == 0:
        _refuse(path, "has pictures of no size", "no-video")
    seconds = Fraction(video.ticks, video.timescale)
    fps = video.samples / seconds
    shown = _shown(video, movie)
    if abs(shown - seconds) * fps >= Fraction(1, 2):
        frames = round(shown * fps)
        _refuse(path, f"holds {video.samples} frames and shows {frames} of them (edit list)", "edited")
    facts = VideoFacts(video.samples, fps, video.width, video.height, seconds)
    sound = next((track for track in movie.tracks if track.handler == b"soun" and track.samples), None)
    if sound is None:
        return facts
    return VideoFacts(
        facts.frames,
        facts.fps,
        facts.width,
        facts.height,
        facts.seconds,
        sound.rate,
        sound.channels,
        _shown(sound, movie),
    )


def _shown(track: Track, movie: Movie) -> Fraction:
    """Given a track, return how many seconds of it play.

    An edit's own duration is rounded to the movie's clock (mostly 1 ms); where the edit reaches the track's
    end, as it does but for trims, the exact length is what lies after its first tick (AAC: encoder's delay).
    """
    whole = Fraction(track.ticks, track.timescale)
    edits = [(Fraction(length, movie.timescale), first) for length, first in track.edits if first >= 0]
    if len(edits) != 1:
        return sum((length for length, _ in edits), Fraction(0)) or whole
    length, first = edits[0]
    rest = whole - Fraction(first, track.timescale)
    return rest if length == 0 or abs(length - rest) <= Fraction(2, movie.timescale) else length


def _refuse(path: Path, why: str, code: str) -> NoReturn:
    hint = "export it again as a plain mp4" if code == "edited" else "give an mp4 with a picture track"
    raise LtxflowError(Problem(f'"{path.name}" {why}', hint=hint, code=code))
