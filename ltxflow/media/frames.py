"""Pictures out of a video, decoded. Knows frames by number; nothing of clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.boxes import AGAIN
from ltxflow.media.fit import ImageFacts
from ltxflow.media.image import open_image, read_image, save_png

PNG = b"\x89PNG\r\n\x1a\n"
Picture = NDArray[np.uint8]  # (height, width, 3), RGB


def last_frame(path: Path) -> Picture:
    """Given a video, return the last picture that decodes, by the colour tags the file carries.

    The whole file is decoded: half a second for 121 frames of 1536x1024. Raise LtxflowError when it is
    missing, damaged or without pictures.
    """
    last = None
    for frame in _decoded(path):
        last = frame
    if last is None:
        raise _without_frames(path)
    return _picture(last)


def frame_at(path: Path, index: int) -> Picture:
    """Given a video and a frame's number from 0, return that picture. Raise LtxflowError where there is none.

    Decodes from the start, which is exact for every file.
    """
    count = 0
    if index >= 0:
        for frame in _decoded(path):
            if count == index:
                return _picture(frame)
            count += 1
    message = f'"{path.name}" has no frame {index}' + (f": it ends after {count}" if count else "")
    raise LtxflowError(Problem(message, hint="frames are numbered from 0", code="no-frame"))


def save_frame(source: Path, index: int | None, out: Path) -> ImageFacts:
    """Given a video, or a picture that is its last frame already, save that frame as PNG and return what it shows.

    `index` counts from 0, None is the last one. Raise LtxflowError where there is no such frame.
    """
    with source.open("rb") as file:
        is_picture = file.read(len(PNG)) == PNG
    if is_picture:
        save_png(open_image(source), out)
    else:
        save_png(Image.fromarray(last_frame(source) if index is None else frame_at(source, index)), out)
    return read_image(out)


def decode_count(path: Path) -> int:
    """Given a video, decode all of it, pictures and sound, and return how many pictures there were.

    Finds what `probe_mp4` cannot: holes and broken data inside the file. A flipped bit may still pass; only a
    digest finds that. Raise LtxflowError when something does not decode.
    """
    count = sum(1 for _ in _decoded(path))
    if count == 0:
        raise _without_frames(path)
    for _ in _decoded(path, sound=True):
        pass
    return count


def _decoded(path: Path, sound: bool = False) -> Iterator[VideoFrame]:
    if not path.is_file():
        raise LtxflowError(Problem(f'there is no video "{path.name}"', code="missing"))
    try:
        with av.open(str(path)) as container:
            streams = container.streams.audio if sound else container.streams.video
            if streams:
                yield from container.decode(streams[0])  # type: ignore[misc]
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        problem = Problem(f'"{path.name}" does not decode: it is damaged or no video', hint=AGAIN, code="damaged")
        raise LtxflowError(problem) from error


def _picture(frame: VideoFrame) -> Picture:
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


def _without_frames(path: Path) -> LtxflowError:
    return LtxflowError(Problem(f'"{path.name}" has no frames', hint=AGAIN, code="no-frames"))
