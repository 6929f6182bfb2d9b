"""Writes a clip as ComfyUI's SaveVideo does: libx264 with its defaults (CRF 23), yuv420p, AAC."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from labelled.pictures import Picture

Sound = NDArray[np.float32]  # (channels, samples), full scale is 1


def write(
    path: Path,
    pictures: Iterable[Picture],
    fps: int,
    sound: Sound | None = None,
    rate: int = 24000,
    starts_s: float = 0.0,
    options: dict[str, str] | None = None,
) -> None:
    """Write the mp4. `starts_s` is where the sound begins; `options` are x264's, such as `crf`.

    One thread, so that the file does not depend on the machine's processors.
    """
    drawn = iter(pictures)
    first = next(drawn)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps)
        video.height, video.width = first.shape[:2]
        video.pix_fmt, video.options = "yuv420p", dict(options or {})
        video.codec_context.thread_count = 1
        layout = "mono" if sound is not None and len(sound) == 1 else "stereo"
        audio = container.add_stream("aac", rate=rate, layout=layout) if sound is not None else None
        for picture in (first, *drawn):
            frame = VideoFrame.from_ndarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None and sound is not None:
            for at in range(0, sound.shape[1], 1024):
                block = AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, at : at + 1024]), "fltp", layout)
                block.sample_rate, block.pts = rate, at + round(starts_s * rate)
                block.time_base = Fraction(1, rate)
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
