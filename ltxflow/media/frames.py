"""Take things out of pictures and videos: single frames, posters, faults of decoding, and ComfyUI's workflow.

Frames have numbers from 0. A poster is a small JPEG, shown where the video is not played.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.regular import open_regular
from ltxflow.media.fit import ImageFacts
from ltxflow.media.image import open_image, read_image, save_png
from ltxflow.media.probe import probe_mp4


def undecodable(path: Path) -> str:
    """Decode all pictures and sound of an mp4; return the reason if that fails, or ""."""
    try:
        facts = probe_mp4(path)
        pictures = 0
        with av.open(str(path)) as container:
            for stream in container.streams:
                if stream.type in ("video", "audio"):
                    stream.codec_context.options = {"err_detect": "explode"}  # else faults are concealed
            for packet in container.demux():
                if packet.stream.type in ("video", "audio"):
                    pictures += sum(isinstance(frame, VideoFrame) for frame in packet.decode())
    except LtxflowError as error:
        return error.problems[0].message
    except (FFmpegError, OSError) as error:
        return f"it does not decode: {str(error).lower()}"
    return "" if pictures == facts.frames else f"it decodes to {pictures} pictures of {facts.frames}"


PNG = b"\x89PNG\r\n\x1a\n"
Picture = NDArray[np.uint8]  # (height, width, 3), RGB


def last_frame(path: Path) -> Picture:
    """Return the last picture of a video that decodes, by the file's colour tags.

    Decodes the whole file: half a second for 121 frames of 1536x1024. Raise LtxflowError when it is missing, damaged or
    without pictures.
    """
    last = None
    for frame in _decoded(path):
        last = frame
    if last is None:
        raise LtxflowError(problem("M008.none", name=path.name))
    return _picture(last)


def frame_at(path: Path, index: int) -> Picture:
    """Return the picture of a video with a number from 0. Raise LtxflowError where it does not exist.

    Decodes from the start, which is exact for every file.
    """
    count = 0
    if index >= 0:
        for frame in _decoded(path):
            if count == index:
                return _picture(frame)
            count += 1
    if count:
        raise LtxflowError(problem("M009.past-end", name=path.name, frame=index, count=count))
    raise LtxflowError(problem("M009.none", name=path.name, frame=index))


def save_frame(source: Path, index: int | None, out: Path) -> ImageFacts:
    """Save a frame of a video, or a picture that is its last frame already, as PNG, and return its facts.

    `index` counts from 0, None is the last frame. Raise LtxflowError for a frame that does not exist.
    """
    with open(open_regular(source), "rb") as file:
        is_picture = file.read(len(PNG)) == PNG
    if is_picture:
        save_png(open_image(source), out)
    else:
        save_png(Image.fromarray(last_frame(source) if index is None else frame_at(source, index)), out)
    return read_image(out)


def decode_count(path: Path) -> int:
    """Decode all pictures and sound of a video, and return the number of pictures.

    Finds faults that `probe_mp4` cannot: holes and broken data inside the file. A flipped bit may still pass; only a
    digest finds that. Raise LtxflowError when something does not decode.
    """
    count = sum(1 for _ in _decoded(path))
    if count == 0:
        raise LtxflowError(problem("M008.none", name=path.name))
    for _ in _decoded(path, sound=True):
        pass
    return count


def _decoded(path: Path, sound: bool = False) -> Iterator[VideoFrame]:
    if not path.is_file():
        raise LtxflowError(problem("M001.video", name=path.name))
    try:
        with av.open(str(path)) as container:
            streams = container.streams.audio if sound else container.streams.video
            if streams:
                yield from container.decode(streams[0])  # type: ignore[misc]
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M004.video", name=path.name)) from error


def _picture(frame: VideoFrame) -> Picture:
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)


LONG_SIDE = 480  # px
QUALITY = 82  # of 100; a picture has about 25 kB


def draw_poster(video: Path) -> bytes:
    """Return the middle picture of a video as a JPEG; the same file and libraries give the same bytes.

    Decodes from the key frame before it. Raise LtxflowError when that fails.
    """
    try:
        return _jpeg(_middle(video))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M004.video", name=video.name)) from error


def _middle(video: Path) -> Image.Image:
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        base, start = stream.time_base or Fraction(1, 25), stream.start_time or 0
        wanted = start + (stream.duration or 0) // 2
        container.seek(wanted, stream=stream)
        shown = None
        for frame in container.decode(stream):
            if shown is None or frame.pts is None or frame.pts <= wanted:
                shown = frame
            if frame.pts is not None and frame.pts + Fraction(1, stream.average_rate or 25) / base > wanted:
                break
        if shown is None:
            raise ValueError("no pictures")
        return Image.fromarray(shown.to_ndarray(format="rgb24"))


def _jpeg(picture: Image.Image) -> bytes:
    scale = min(1.0, LONG_SIDE / max(picture.size))
    width, height = (max(1, round(side * scale)) for side in picture.size)
    out = BytesIO()
    picture.resize((width, height), Image.Resampling.LANCZOS).save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()


NAMES = ("prompt", "workflow")  # in API format, and in the editor's format
MAX_TEXT = 8 << 20  # characters

# The first bytes of files. ComfyUI `nodes.py` SaveImage, `comfy_extras/nodes_images.py` and `nodes_video.py`.
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"RIFF", b"\xff\xd8\xff")
_VIDEOS = (b"\x1aE\xdf\xa3",)


def is_media(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a picture or a video."""
    return head.startswith((*_PICTURES, *_VIDEOS)) or head[4:8] == b"ftyp"


def embedded_workflow(file: Path) -> str:
    """Return the text of the workflow in a picture or video, in API format if present, else the editor's.

    Raise LtxflowError for a file that cannot be read, and for one without a workflow.
    """
    with file.open("rb") as opened:
        head = opened.read(16)
    tags = _picture_tags(file) if head.startswith(_PICTURES) else _video_tags(file)
    for name in NAMES:
        text = tags.get(name, "")
        if text.lstrip().startswith("{") and len(text) <= MAX_TEXT:
            return _without_constants(text)
    raise LtxflowError(problem("M026.none", name=file.name))


def _picture_tags(file: Path) -> dict[str, str]:
    try:
        with Image.open(file) as picture:
            found = {str(name): str(text) for name, text in picture.info.items() if isinstance(text, str)}
            exif = [str(value) for value in picture.getexif().values() if isinstance(value, str)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise LtxflowError(problem("M026.unreadable", name=file.name, reason=error)) from None
    for value in exif:  # WebP: "prompt:{…}" each in a field
        name, _, text = value.partition(":")
        found.setdefault(name.lower(), text)
    return found


def _video_tags(file: Path) -> dict[str, str]:
    try:
        with av.open(str(file), metadata_errors="ignore") as container:
            found = {name.lower(): text for name, text in container.metadata.items()}
    except (av.FFmpegError, OSError, ValueError) as error:
        raise LtxflowError(problem("M026.unreadable", name=file.name, reason=error)) from None
    comment = found.get("comment", "")
    if comment.startswith("{") and len(comment) <= MAX_TEXT:  # VHS_VideoCombine
        try:
            inner: Any = json.loads(comment)
        except (ValueError, RecursionError):
            inner = {}
        for name, value in inner.items() if isinstance(inner, Mapping) else ():
            found.setdefault(str(name), value if isinstance(value, str) else json.dumps(value))
    return found


def _without_constants(text: str) -> str:
    """Return JSON without NaN, which servers write for comparison values: `"is_changed": [NaN]`."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    try:
        return json.dumps(json.loads(text, parse_constant=lambda word: None), ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
