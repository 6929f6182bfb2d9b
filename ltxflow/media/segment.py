"""A stretch of a film's picture as an encoded part: frames of one video, or of two that dissolve. Knows no scene.

Parts of equal settings can be joined packet by packet: each begins with a key frame and refers to nothing before
it. Dissolves are mixed here, in whole numbers: FFmpeg's own (`xfade`) loses or doubles frames in some versions.
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

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.codecs import media_libraries
from ltxflow.media.mp4 import AGAIN

Planes = NDArray[np.uint8]  # yuv420p as PyAV lays it out: Y above U above V, (rows * 3/2, columns)
Progress = Callable[[int, int], None]

THREADS = 2  # x264's bytes depend on it; parts are encoded side by side
KEY_S = 2  # a player can go to any of these
BITEXACT_FILE = 0x400  # libavformat AVFMT_FLAG_BITEXACT: no version tag
BITEXACT_CODEC = 0x800000  # libavcodec AV_CODEC_FLAG_BITEXACT
BT709, LIMITED, FULL = 1, 1, 2  # libavutil AVCOL_SPC_BT709, AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG


@dataclass(frozen=True)
class Segment:
    """`frames` of a video, from the frame numbered `first` on."""

    video: Path
    first: int
    frames: int


@dataclass(frozen=True)
class EncodeSettings:
    """How a film is encoded: the same for all of its parts."""

    width: int
    height: int
    fps: int
    preset: str
    crf: int

    def keyed(self) -> dict[str, object]:
        """All of it that decides the bytes, with the encoder itself: parts of two versions cannot be joined."""
        own = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**own, "encoder": media_libraries()["FFmpeg"]}


@dataclass(frozen=True)
class Overlay:
    """A picture over the frames from `first` up to `end` of the part, at (left, top): luma and how much of it."""

    first: int
    end: int
    left: int
    top: int
    luma: Planes
    alpha: Planes


def cut_part(
    look: EncodeSettings,
    shown: Segment,
    out: Path,
    before: Segment | None = None,
    overlays: Sequence[Overlay] = (),
    progress: Progress = lambda done, frames: None,
) -> None:
    """Given a stretch, write it to `out` as an mp4 without sound, of exactly `shown.frames` frames.

    With `before`, of as many frames, that one dissolves into it: linear, and the first frame is still all the old
    one, as Remotion has it. Pictures of another size are scaled to fill, and cropped; colours become bt709. The same
    frames and libraries give the same bytes. Raise LtxflowError where a video has not those frames.
    """
    frames = _mixed(look, before, shown) if before else _fitted(look, shown)
    try:
        with av.open(str(out), "w", format="mp4") as container:
            container.flags |= BITEXACT_FILE
            stream = _stream(container, look)
            for number, frame in enumerate(frames):
                frame = _under(frame, number, overlays)
                frame.pts, frame.time_base = number, Fraction(1, look.fps)
                frame.pict_type = 0  # else the encoder repeats what another one chose
                frame.colorspace, frame.color_range = BT709, LIMITED
                container.mux(stream.encode(frame))
                progress(number + 1, shown.frames)
            container.mux(stream.encode(None))
    except (av.FFmpegError, OSError) as error:
        raise LtxflowError(Problem(f'cannot write "{out.name}": {error}', code="encode")) from error


def _stream(container: OutputContainer, look: EncodeSettings) -> VideoStream:
    stream = container.add_stream("libx264", rate=Fraction(look.fps))
    stream.width, stream.height, stream.pix_fmt = look.width, look.height, "yuv420p"
    context = stream.codec_context
    context.time_base, context.thread_count = Fraction(1, look.fps), THREADS
    context.gop_size = KEY_S * look.fps
    # x264 reads memory that it never wrote where it weighs B-frames (`mbtree`, seen at 192x128): other bytes each
    # time. Without them a film is a fifteenth larger, and its packets come in the order in which they are shown.
    context.max_b_frames = 0
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = LIMITED
    context.flags |= BITEXACT_CODEC
    context.options = {"preset": look.preset, "crf": str(look.crf)}
    return stream


def _mixed(look: EncodeSettings, before: Segment, shown: Segment) -> Iterator[VideoFrame]:
    pairs = zip(_fitted(look, before), _fitted(look, shown), strict=True)
    for number, (old, new) in enumerate(pairs):
        planes = dissolved(_planes(old), _planes(new), number, shown.frames)
        yield VideoFrame.from_ndarray(planes, format="yuv420p")


def dissolved(old: Planes, new: Planes, number: int, frames: int) -> Planes:
    """Given two pictures, return the one that is number `number` of `frames` on the way from the first."""
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


def _fitted(look: EncodeSettings, stretch: Segment) -> Iterator[VideoFrame]:
    for frame in _decoded(stretch):
        yield _as(look, frame)


def _decoded(stretch: Segment) -> Iterator[VideoFrame]:
    """The frames of a stretch, from the key frame before it on, told by their times; all of them or an error."""
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
        problem = Problem(f'"{name}" does not decode: it is damaged or no video', hint=AGAIN, code="damaged")
        raise LtxflowError(problem) from error
    raise LtxflowError(Problem(f'"{name}" has no frame {wanted}', hint=AGAIN, code="no-frame"))


def _as(look: EncodeSettings, frame: VideoFrame) -> VideoFrame:
    """A frame in the film's size and colours. Without a tag it is BT.601: so old servers write, and players read."""
    is_plain = frame.format.name == "yuv420p" and frame.colorspace == BT709 and frame.color_range != FULL
    if is_plain and (frame.width, frame.height) == (look.width, look.height):
        return frame
    width, height = _filling(look, frame.width, frame.height)
    scaled = frame.reformat(
        width,
        height,
        "yuv420p",
        src_colorspace=Colorspace.ITU709 if frame.colorspace == BT709 else Colorspace.ITU601,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=LIMITED,
        interpolation="AREA" if width < frame.width else "BICUBIC",
    )
    return scaled if (width, height) == (look.width, look.height) else _cropped(look, scaled)


def _filling(look: EncodeSettings, width: int, height: int) -> tuple[int, int]:
    """The even size at which a picture fills the film's."""
    scale = max(Fraction(look.width, width), Fraction(look.height, height))
    return max(look.width, round(width * scale / 2) * 2), max(look.height, round(height * scale / 2) * 2)


def _cropped(look: EncodeSettings, frame: VideoFrame) -> VideoFrame:
    """The middle of a frame, on even lines: the colours have half the resolution."""
    planes, height = _planes(frame), frame.height
    left, top = (frame.width - look.width) // 4 * 2, (frame.height - look.height) // 4 * 2
    chroma = planes[height:].reshape(2, height // 2, frame.width // 2)
    parts = [planes[top : top + look.height, left : left + look.width]]
    rows, columns = slice(top // 2, (top + look.height) // 2), slice(left // 2, (left + look.width) // 2)
    parts += [plane[rows, columns].reshape(-1, look.width) for plane in chroma]
    return VideoFrame.from_ndarray(np.ascontiguousarray(np.concatenate(parts)), format="yuv420p")
