"""Small real files: pictures, sounds, guide videos, and clips of given facts that are encoded once and copied."""

from __future__ import annotations

import wave
from fractions import Fraction
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from PIL import Image


def write_picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (16, 9), **options: Any) -> Path:
    """Write a picture of one colour; `options` are those of its format, such as compress_level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def write_sound(path: Path, seconds: float, pitch: int = 1, rate: int = 8000) -> Path:
    """Write a wav of this length; a different `pitch` is a different recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(rate)
        file.writeframes(bytes(128 + (n * pitch) % 7 for n in range(round(seconds * rate))))
    return path


def write_guide(path: Path, frames: int = 300) -> Path:
    """Write a video for IC-LoRAs to follow: black frames, more than any clip has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for number in range(frames):
            frame = VideoFrame(16, 16, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def canned(frames: int, size: tuple[int, int], fps: int, text: str, sound: float | None = None) -> bytes:
    """Return a real mp4 with these facts; `text` makes its bytes distinct, in a box that players skip.

    `sound` is in seconds; None for as much as there is picture.
    """
    data = text.encode()
    return _encoded(frames, size, int(fps), sound) + (8 + len(data)).to_bytes(4, "big") + b"free" + data


@cache
def _encoded(frames: int, size: tuple[int, int], fps: int, sound: float | None) -> bytes:
    out = BytesIO()
    with av.open(out, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=Fraction(fps), options={"preset": "ultrafast", "qp": "40"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=48000, layout="stereo")
        picture = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
        for number in range(frames):
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = -(-48000 * frames // fps) if sound is None else round(48000 * sound)
        for at in range(0, samples, 1024):
            block = AudioFrame.from_ndarray(np.zeros((2, min(1024, samples - at)), np.float32), "fltp", "stereo")
            block.sample_rate, block.pts, block.time_base = 48000, at, Fraction(1, 48000)
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    return out.getvalue()
