"""Turn decoded frames into the pictures that players show: upright, whole lines, opaque, in standard range.

Phones store pictures lying and say how to turn them, cameras store half pictures, editors transparent ones, and most
phones record in HDR. Files without any of these are read as before, bit by bit.

Sources: ISO/IEC 14496-12 (matrix of a track), ITU-R BT.2100-2 (PQ, HLG, their colours), ITU-R BT.2408-7 (white of
203 cd/m² in HDR is the white of standard range), ITU-R BT.1886 (a standard screen).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from typing import Any, Literal, cast

import av
import av.filter
import numpy as np
from av.buffer import Buffer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (rows, columns, RGB)
Light = NDArray[np.float32]
Transfer = Literal["pq", "hlg"]

HDR: Mapping[int, Transfer] = {16: "pq", 18: "hlg"}  # transfer characteristics of ITU-T H.273
MATRIX = "DISPLAYMATRIX"

WHITE = 203.0  # cd/m² of white paper in HDR
PEAK = 1000.0  # cd/m² of the screen that HLG is graded on
KNEE = 0.5  # light up to here, of white, stays; what is lighter is compressed towards 1
GAMMA = 2.4  # of a standard screen
CODES = 65536  # a light is looked up by its 16-bit code
LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """Return how a stored picture is shown: first mirrored (left to right), then turned left this many quarters."""
    matrix = frame.side_data.get(MATRIX)
    if matrix is None:
        return 0, False
    a, b, _, c, d = struct.unpack_from("=5i", memoryview(cast(Buffer, matrix)))
    is_mirrored = a * d - b * c < 0
    across, down = (-a, -b) if is_mirrored else (a, b)
    return round(-math.atan2(down, across) / (math.pi / 2)) % 4, is_mirrored


def upright(stored: Picture, turns: int, is_mirrored: bool) -> Picture:
    """Return a stored picture as it is shown; arguments after it as `orientation` returns them."""
    return np.ascontiguousarray(np.rot90(stored[:, ::-1] if is_mirrored else stored, turns))


def has_alpha(frame: VideoFrame) -> bool:
    """Return whether a picture may have transparent parts."""
    return frame.format.name == "pal8" or any(part.is_alpha for part in frame.format.components)


def is_transparent(frame: VideoFrame) -> bool:
    """Return whether a picture has transparent parts."""
    return has_alpha(frame) and bool((frame.to_ndarray(format="rgba")[..., 3] < 255).any())


def whole_frames(stream: VideoStream, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame]:
    """Yield frames with all of their lines of one moment; those that are not interlaced as they are.

    A frame of two half pictures shows combs wherever something moves.
    """
    first = next(frames, None)
    if first is None:
        return
    if not first.interlaced_frame:
        yield first
        yield from frames
        return
    base = stream.time_base or Fraction(1, 1000)
    graph = av.filter.Graph()
    ends = graph.add_buffer(template=stream), graph.add("buffersink")
    graph.link_nodes(ends[0], graph.add("bwdif", "mode=send_frame:deint=interlaced"), ends[1]).configure()
    for frame in _then_none(first, frames):
        graph.push(frame)
        while (made := _pulled(graph)) is not None:
            if made.pts is not None and made.time_base is not None:
                made.pts, made.time_base = round(made.pts * made.time_base / base), base
            yield made


def _then_none(first: VideoFrame, frames: Iterator[VideoFrame]) -> Iterator[VideoFrame | None]:
    yield first
    yield from frames
    yield None


def _pulled(graph: Any) -> VideoFrame | None:
    try:
        found = graph.pull()
    except (av.BlockingIOError, av.EOFError):
        return None
    assert isinstance(found, VideoFrame)
    return found


def as_rgb(frame: VideoFrame, scale: float = 1.0) -> Picture:
    """Return a stored picture in 8-bit RGB of standard range, without transparent parts.

    `scale` is the scale at which it is used: an HDR picture is made smaller first, if that is less than 1.
    """
    transfer = HDR.get(int(frame.color_trc or 0))
    if transfer is not None:
        return _standard_range(frame, transfer, min(1.0, scale))
    if has_alpha(frame):
        pixels = frame.to_ndarray(format="rgba")
        opacity = pixels[..., 3:].astype(np.uint16)
        return ((pixels[..., :3] * opacity + 127) // 255).astype(np.uint8)  # on black, as players do
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


# HDR to standard range


def _standard_range(frame: VideoFrame, transfer: Transfer, scale: float) -> Picture:
    width, height = (max(1, math.ceil(side * scale)) for side in (frame.width, frame.height))
    codes = frame.to_ndarray(width=width, height=height, format="rgb48le", interpolation="BICUBIC")
    light = _lights(transfer)[codes]
    if transfer == "hlg":
        light *= np.power(np.maximum(light @ LUMA, 1e-6), np.float32(0.2))[..., None]  # its system gamma of 1.2
        light *= np.float32(PEAK / WHITE)
    light = np.maximum(light @ TO_709.T, 0)
    brightest = light.max(axis=2, keepdims=True)
    light *= _compressed(brightest)
    encoded: Picture = _encoded()[np.rint(light.clip(0, 1) * (CODES - 1)).astype(np.uint16)]
    return encoded


def _compressed(brightest: Light) -> Light:
    """Return the factors that keep pixels with this brightest colour within 1, up to PEAK (Reinhard's curve)."""
    over, most = np.maximum(brightest - KNEE, 0) / (1 - KNEE), (PEAK / WHITE - KNEE) / (1 - KNEE)
    wanted = KNEE + (1 - KNEE) * over * (1 + over / most**2) / (1 + over)
    factors: Light = np.where(brightest > KNEE, wanted / np.maximum(brightest, KNEE), 1).astype(np.float32)
    return factors


@cache
def _lights(transfer: Transfer) -> Light:
    """Return the light of each code: of PQ as shares of white, of HLG as shares of the scene's brightest."""
    code = np.arange(CODES) / (CODES - 1)
    if transfer == "pq":
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 4096 * 128, 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
        power = np.power(code, 1 / m2)
        nits = 10000 * np.power(np.maximum(power - c1, 0) / (c2 - c3 * power), 1 / m1)
        return (nits / WHITE).astype(np.float32)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * math.log(4 * a)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12).astype(np.float32)


@cache
def _encoded() -> Picture:
    """Return the 8-bit code of each light."""
    codes: Picture = np.rint(255 * np.power(np.arange(CODES) / (CODES - 1), 1 / GAMMA)).astype(np.uint8)
    return codes
