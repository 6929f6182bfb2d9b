"""One picture of a video as a small JPEG: what is shown where the video is not played. Knows no clip."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
from PIL import Image

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.boxes import AGAIN

LONG_SIDE = 480  # px
QUALITY = 82  # of 100; a picture has about 25 kB


def draw_poster(video: Path) -> bytes:
    """Given a video, return its middle picture as a JPEG; the same file and libraries give the same bytes.

    Costs the pictures from the key frame before it on. Raise LtxflowError when it does not decode.
    """
    try:
        return _jpeg(_middle(video))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        problem = Problem(f'"{video.name}" does not decode: it is damaged or no video', hint=AGAIN, code="damaged")
        raise LtxflowError(problem) from error


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
