"""Decodes a file to the end and says what does not decode. Knows no film; looks at no picture."""

from __future__ import annotations

from pathlib import Path

import av
from av.error import FFmpegError
from av.video.frame import VideoFrame

from ltxflow.core.errors import LtxflowError
from ltxflow.media.probe import probe_mp4


def undecodable(path: Path) -> str:
    """Given an mp4, decode all of its pictures and sound; return why that fails, or an empty text."""
    try:
        facts = probe_mp4(path)
        pictures = 0
        with av.open(str(path)) as container:
            for stream in container.streams:
                if stream.type in ("video", "audio"):
                    stream.codec_context.options = {"err_detect": "explode"}  # else what is broken is drawn over
            for packet in container.demux():
                if packet.stream.type in ("video", "audio"):
                    pictures += sum(isinstance(frame, VideoFrame) for frame in packet.decode())
    except LtxflowError as error:
        return error.problems[0].message
    except (FFmpegError, OSError) as error:
        return f"it does not decode: {str(error).lower()}"
    return "" if pictures == facts.frames else f"it decodes to {pictures} pictures of {facts.frames}"
