"""Small real files. Videos are written the way ComfyUI's SaveVideo writes them: h264 with B-frames, AAC, tags."""

from __future__ import annotations

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

PROMPT_TAG = {"prompt": json.dumps({"6": {"inputs": {"text": "a secret wallet phrase"}}}), "workflow": "{}"}
SIZE, FRAMES, FPS, RATE = (96, 64), 41, 25, 24000

WriteVideo = Callable[..., Path]


def _write_video(
    path: Path,
    frames: int = FRAMES,
    size: tuple[int, int] = SIZE,
    fps: Fraction | int = FPS,
    sound: bool = True,
    movflags: str = "use_metadata_tags+faststart",
    tags: dict[str, str] | None = None,
) -> Path:
    """Every frame has a different grey, with noise that gives the file some bytes."""
    noise = np.random.default_rng(7).integers(0, 60, (size[1], size[0], 3), np.uint8)
    with av.open(str(path), "w", format="mp4", options={"movflags": movflags}) as container:
        for name, text in (PROMPT_TAG if tags is None else tags).items():
            container.metadata[name] = text
        video = container.add_stream("libx264", rate=Fraction(fps))
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.thread_count = 1
        video.codec_context.color_primaries = video.codec_context.colorspace = 1
        video.codec_context.color_trc = 13  # sRGB, as ComfyUI tags it
        audio = container.add_stream("aac", rate=RATE, layout="stereo") if sound else None
        for number in range(frames):
            frame = VideoFrame.from_ndarray(noise + np.uint8(number * 4 % 190), format="rgb24")
            frame.pts, frame.time_base = number, 1 / Fraction(fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            samples = -(-RATE * frames // Fraction(fps))
            tone = 0.1 * np.sin(np.arange(samples) / 9).astype(np.float32)
            for at in range(0, samples, 1024):
                block = AudioFrame.from_ndarray(np.stack([tone[at : at + 1024]] * 2), "fltp", "stereo")
                block.sample_rate, block.pts, block.time_base = RATE, at, Fraction(1, RATE)
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


@pytest.fixture(scope="session")
def write_video() -> WriteVideo:
    return _write_video


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """41 frames of 96x64 at 25 fps with sound, index first, tagged."""
    return _write_video(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def clip_index_last(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_video(tmp_path_factory.mktemp("clip") / "last.mp4", movflags="use_metadata_tags")
