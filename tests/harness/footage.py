"""Videos as phones, cameras and editors write them: lying, mirrored, uneven, interlaced, in HDR, in any codec.

Every picture shows a red, a green, a blue and a white quarter (top left, top right, bottom left, bottom right), so that
a test sees how it lies.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

RED, GREEN, BLUE, WHITE = (200, 30, 30), (30, 180, 30), (30, 30, 200), (220, 220, 220)
NAMES = {"R": RED, "G": GREEN, "B": BLUE, "W": WHITE}
QUIET = {"libx265": {"x265-params": "log-level=none"}, "libsvtav1": {"preset": "12", "svtav1-params": "rtc=1"}}
FAST = {"libvpx-vp9": {"deadline": "realtime"}, "libvpx": {"deadline": "realtime"}}

# Matrices of a track, as ISO/IEC 14496-12 has them: a, b, c, d.
MATRICES = {
    "upright": (1, 0, 0, 1),
    "quarter": (0, 1, -1, 0),  # clockwise
    "half": (-1, 0, 0, -1),
    "three quarters": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "mirrored half": (1, 0, 0, -1),
    "mirrored quarter": (0, 1, 1, 0),
    "mirrored three quarters": (0, -1, -1, 0),
}
# How the quarters lie when shown: top left, top right, bottom left, bottom right.
SHOWN = {
    "upright": "RGBW",
    "quarter": "BRWG",
    "half": "WBGR",
    "three quarters": "GWRB",
    "mirrored": "GRWB",
    "mirrored half": "BWRG",
    "mirrored quarter": "RBGW",
    "mirrored three quarters": "WGBR",
}


def write_footage(
    path: Path,
    frames: int = 25,
    fps: Fraction | int = 25,
    *,
    size: tuple[int, int] = (192, 128),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    lies: str = "upright",
    stamps: Sequence[int] = (),
    sounds: Sequence[tuple[str, int, str]] = (("aac", 48000, "stereo"),),
    pixel: Fraction | None = None,
    context: Mapping[str, int] | None = None,
    container: Mapping[str, str] | None = None,
    picture: NDArray[Any] | None = None,
    form: str = "rgb24",
    **options: str,
) -> Path:
    """Write a video of quarters, or of one `picture` in the format `form`.

    `lies` is a name of `MATRICES`; `stamps` are times in ms; `sounds` the codec, rate and layout of each track; `pixel`
    the width of a pixel divided by its height; `context` values of the encoder, such as colour tags.
    """
    shown, tags = quarters(size) if picture is None else picture, context or {}
    with av.open(str(path), "w", options=dict(container or {})) as made:
        given = {**QUIET.get(codec, {}), **FAST.get(codec, {}), **options}
        video = made.add_stream(codec, rate=Fraction(fps), options=given)
        video.width, video.height, video.pix_fmt = *size, pixels
        if pixel is not None:
            video.codec_context.sample_aspect_ratio = pixel
        for name, value in tags.items():
            setattr(video.codec_context, name, value)
        if stamps:
            video.codec_context.time_base = Fraction(1, 1000)
        tracks = [made.add_stream(name, rate=rate, layout=layout) for name, rate, layout in sounds]
        for number in range(len(stamps) or frames):
            whole = VideoFrame.from_ndarray(shown, format=form)
            frame = whole.reformat(format=pixels, dst_colorspace=1 if tags.get("colorspace") == 1 else None)
            frame.pts, frame.time_base = (stamps[number], Fraction(1, 1000)) if stamps else (number, 1 / Fraction(fps))
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
        seconds = Fraction(stamps[-1] + 40, 1000) if stamps else frames / Fraction(fps)
        for track in tracks:
            tone(made, track, seconds)
    if lies != "upright":
        turn(path, lies)
    return path


def quarters(size: tuple[int, int]) -> NDArray[np.uint8]:
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    down, across = size[1] // 2, size[0] // 2
    picture[:down, :across], picture[:down, across:] = RED, GREEN
    picture[down:, :across], picture[down:, across:] = BLUE, WHITE
    return picture


def seen(picture: NDArray[Any]) -> str:
    """Return the letters of the quarters of a picture, as in `SHOWN`; "?" for another colour."""
    height, width = picture.shape[:2]
    spots = [
        (height // 8, width // 8),
        (height // 8, -width // 8),
        (-height // 8, width // 8),
        (-height // 8, -width // 8),
    ]
    return "".join(_letter(picture[spot]) for spot in spots)


def _letter(pixel: NDArray[Any]) -> str:
    near = [name for name, colour in NAMES.items() if np.abs(pixel.astype(int) - colour).max() < 24]
    return near[0] if near else "?"


def turn(path: Path, lies: str) -> None:
    """Have the pictures of an mp4 shown by one of `MATRICES`, as phones write theirs."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = MATRICES[lies]
    data[at : at + 36] = struct.pack(">9i", *(n << 16 for n in (a, b, 0, c, d, 0, 0, 0)), 1 << 30)
    path.write_bytes(data)


def pictures(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as made:
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in made.decode(video=0)]


def tone(made: OutputContainer, track: Any, seconds: Fraction) -> None:
    """Write a tone of some seconds to a track."""
    context = track.codec_context
    rate, channels = context.sample_rate, context.layout.nb_channels
    resampler = av.AudioResampler(format=context.format, layout=context.layout, rate=rate)
    step = context.frame_size or 1024
    for at in range(0, int(rate * seconds), step):
        wave = 0.3 * np.sin(np.arange(at, min(at + step, int(rate * seconds))) / 17).astype(np.float32)
        block = AudioFrame.from_ndarray(np.tile(wave, (channels, 1)), format="fltp", layout=context.layout.name)
        block.sample_rate, block.pts, block.time_base = rate, at, Fraction(1, rate)
        for part in resampler.resample(block):
            made.mux(track.encode(part))
    made.mux(track.encode(None))
