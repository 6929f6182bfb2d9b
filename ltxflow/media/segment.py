"""Encode a segment of a film's picture: frames of one video, or of two that dissolve.

Segments of equal settings can be joined packet by packet: each begins with a key frame and refers to nothing before it.
Dissolves are mixed here, in whole numbers, because FFmpeg's (`xfade`) loses or doubles frames in some versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.codecs import BITEXACT_CODEC, BITEXACT_FILE, BT709, FULL, LIMITED, THREADS, media_libraries

Planes = NDArray[np.uint8]  # yuv420p as PyAV lays it out: Y above U above V, (rows * 3/2, columns)
Progress = Callable[[int, int], None]

KEY_S = 2  # seconds between key frames, to which a player can seek


@dataclass(frozen=True)
class Segment:
    """`frames` of a video, from the frame numbered `first` on."""

    video: Path
    first: int
    frames: int


@dataclass(frozen=True)
class EncodeSettings:
    """The encoding of a film, equal for all of its segments."""

    width: int
    height: int
    fps: int
    preset: str
    crf: int

    def keyed(self) -> dict[str, object]:
        """Return all that decides the bytes, with the encoder's version: segments of two versions cannot be joined."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**own, "encoder": media_libraries()["FFmpeg"]}


@dataclass(frozen=True)
class Overlay:
    """A picture over the frames from `first` up to `end` of the segment, at (left, top), as luma and opacity."""

    first: int
    end: int
    left: int
    top: int
    luma: Planes
    alpha: Planes


def cut_part(
    settings: EncodeSettings,
    shown: Segment,
    out: Path,
    before: Segment | None = None,
    overlays: Sequence[Overlay] = (),
    progress: Progress = lambda done, frames: None,
) -> None:
    """Write a segment to `out` as an mp4 without sound, of exactly `shown.frames` frames.

    `before`, of as many frames, dissolves into it: linearly, and the first frame still shows only the old picture, as
    in Remotion. Pictures of another size are scaled to fill, and cropped; colours become bt709. The same frames and
    libraries give the same bytes. Raise LtxflowError where a video lacks those frames.
    """
    frames = _mixed(settings, before, shown) if before else _fitted(settings, shown)
    try:
        with av.open(str(out), "w", format="mp4") as container:
            container.flags |= BITEXACT_FILE
            stream = _stream(container, settings)
            for number, frame in enumerate(frames):
                frame = _under(frame, number, overlays)
                frame.pts, frame.time_base = number, Fraction(1, settings.fps)
                frame.pict_type = 0  # else the encoder repeats the choice of the source's encoder
                frame.colorspace, frame.color_range = BT709, LIMITED
                container.mux(stream.encode(frame))
                progress(number + 1, shown.frames)
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise LtxflowError(problem("M019.write", name=out.name, reason=error)) from error


def _stream(container: OutputContainer, settings: EncodeSettings) -> VideoStream:
    stream = container.add_stream("libx264", rate=Fraction(settings.fps))
    stream.width, stream.height, stream.pix_fmt = settings.width, settings.height, "yuv420p"
    context = stream.codec_context
    context.time_base, context.thread_count = Fraction(1, settings.fps), THREADS
    context.gop_size = KEY_S * settings.fps
    # x264 reads memory that it never wrote where it weighs B-frames (`mbtree`, seen at 192x128): other bytes each
    # time. Without them a film is a fifteenth larger, and its packets come in the order in which they are shown.
    context.max_b_frames = 0
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = LIMITED
    context.flags |= BITEXACT_CODEC
    context.options = {"preset": settings.preset, "crf": str(settings.crf)}
    return stream


def _mixed(settings: EncodeSettings, before: Segment, shown: Segment) -> Iterator[VideoFrame]:
    pairs = zip(_fitted(settings, before), _fitted(settings, shown), strict=True)
    for number, (old, new) in enumerate(pairs):
        planes = dissolved(_planes(old), _planes(new), number, shown.frames)
        yield VideoFrame.from_ndarray(planes, format="yuv420p")


def dissolved(old: Planes, new: Planes, number: int, frames: int) -> Planes:
    """Return picture `number` of `frames` in a dissolve from one picture to another."""
    share = (512 * number + frames) // (2 * frames)  # of 256, rounded
    mixed = old.astype(np.uint16) * np.uint16(256 - share) + new.astype(np.uint16) * np.uint16(share) + np.uint16(128)
    return (mixed >> 8).astype(np.uint8)


def _planes(frame: VideoFrame) -> Planes:
    return np.asarray(frame.to_ndarray(), np.uint8)


def _under(frame: VideoFrame, number: int, overlays: Sequence[Overlay]) -> VideoFrame:
    here = [overlay for overlay in overlays if overlay.first <= number < overlay.end]
    if not here:
        return frame
    planes, height = _planes(frame), frame.height
    for overlay in here:
        _lay(planes[:height], overlay.luma, overlay.alpha, overlay.left, overlay.top)
        alpha = overlay.alpha[::2, ::2]
        grey = np.full_like(alpha, 128)
        for chroma in planes[height:].reshape(2, height // 2, -1):
            _lay(chroma, grey, alpha, overlay.left // 2, overlay.top // 2)
    return VideoFrame.from_ndarray(planes, format="yuv420p")


def _lay(plane: Planes, light: Planes, alpha: Planes, left: int, top: int) -> None:
    rows, columns = alpha.shape
    under = plane[top : top + rows, left : left + columns]
    share = alpha.astype(np.uint16)
    mixed = under.astype(np.uint16) * (np.uint16(255) - share) + light.astype(np.uint16) * share + np.uint16(127)
    under[:] = (mixed // 255).astype(np.uint8)


# Reading


def _fitted(settings: EncodeSettings, stretch: Segment) -> Iterator[VideoFrame]:
    for frame in _decoded(stretch):
        yield _as(settings, frame)


def _decoded(stretch: Segment) -> Iterator[VideoFrame]:
    """Yield the frames of a segment, found by their times from the key frame before it; all of them or an error."""
    name, wanted = stretch.video.name, stretch.first
    end = stretch.first + stretch.frames
    try:
        with av.open(str(stretch.video)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate, base = stream.average_rate, stream.time_base
            if rate is None or base is None:
                raise ValueError("no frame rate")
            start = stream.start_time or 0
            if stretch.first:
                container.seek(start + int(stretch.first / rate / base), stream=stream)
            for frame in container.decode(stream):
                number = round((frame.pts - start) * base * rate) if frame.pts is not None else wanted
                if number < wanted:
                    continue
                if number > wanted:
                    break
                yield frame
                wanted += 1
                if wanted == end:
                    return
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M004.video", name=name)) from error
    raise LtxflowError(problem("M009.segment", name=name, frame=wanted))


def _as(settings: EncodeSettings, frame: VideoFrame) -> VideoFrame:
    """Return a frame in the film's size and colours. Untagged frames are BT.601, as written by old servers."""
    is_plain = frame.format.name == "yuv420p" and frame.colorspace == BT709 and frame.color_range != FULL
    if is_plain and (frame.width, frame.height) == (settings.width, settings.height):
        return frame
    width, height = _filling(settings, frame.width, frame.height)
    scaled = frame.reformat(
        width,
        height,
        "yuv420p",
        src_colorspace=Colorspace.ITU709 if frame.colorspace == BT709 else Colorspace.ITU601,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=LIMITED,
        interpolation="AREA" if width < frame.width else "BICUBIC",
    )
    return scaled if (width, height) == (settings.width, settings.height) else _cropped(settings, scaled)


def _filling(settings: EncodeSettings, width: int, height: int) -> tuple[int, int]:
    """Return the even size at which a picture fills the film's."""
    scale = max(Fraction(settings.width, width), Fraction(settings.height, height))
    return max(settings.width, round(width * scale / 2) * 2), max(settings.height, round(height * scale / 2) * 2)


def _cropped(settings: EncodeSettings, frame: VideoFrame) -> VideoFrame:
    """Return the middle of a frame, on even lines, since the colours have half the resolution."""
    planes, height = _planes(frame), frame.height
    left, top = (frame.width - settings.width) // 4 * 2, (frame.height - settings.height) // 4 * 2
    chroma = planes[height:].reshape(2, height // 2, frame.width // 2)
    parts = [planes[top : top + settings.height, left : left + settings.width]]
    rows, columns = slice(top // 2, (top + settings.height) // 2), slice(left // 2, (left + settings.width) // 2)
    parts += [plane[rows, columns].reshape(-1, settings.width) for plane in chroma]
    return VideoFrame.from_ndarray(np.ascontiguousarray(np.concatenate(parts)), format="yuv420p")
