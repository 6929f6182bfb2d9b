"""Makes and reads the fake server's pictures and films: real files whose every frame says which one it is.

A frame is a flat tint (the *colour*: which render it comes from) with a moving bar (so that it is neither
black nor frozen) and a binary frame number in the top left corner. Knows nothing of servers or graphs.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

CELL = 4  # px; the frame number is 12 bits and their complement, 8 cells a row
BITS = 12
BITEXACT = 0x400  # AVFMT_FLAG_BITEXACT: no library version in the file
BUCKET = 64  # frames; film skeletons are made in multiples of it, and shared by all shorter films
X264 = {
    "preset": "ultrafast",
    "qp": "20",
    "x264-params": "keyint=infinite:scenecut=0:bframes=0:threads=1:slices=1",
}


@dataclass(frozen=True)
class Run:
    """Consecutive frames of one render: `colour` is (U, V), `first` the number of its first frame; below 0 is black."""

    colour: tuple[int, int]
    first: int
    count: int


@dataclass(frozen=True)
class Frames:
    """A batch of pictures, as runs."""

    width: int
    height: int
    runs: tuple[Run, ...]

    @property
    def count(self) -> int:
        return sum(run.count for run in self.runs)

    def cut(self, start: int, count: int) -> Frames:
        left: list[Run] = []
        for run in self.runs:
            skip = min(max(start, 0), run.count)
            take = min(run.count - skip, count)
            if take > 0:
                left.append(Run(run.colour, run.first + skip, take))
            start, count = start - run.count, count - max(take, 0)
        return replace(self, runs=tuple(left))

    def then(self, other: Frames) -> Frames:
        runs = list(self.runs)
        for run in other.runs:
            last = runs[-1] if runs else None
            if last and last.colour == run.colour and last.first + last.count == run.first:
                runs[-1] = replace(last, count=last.count + run.count)
            else:
                runs.append(run)
        return replace(self, runs=tuple(runs))

    def sized(self, width: int, height: int) -> Frames:
        return replace(self, width=width, height=height)

    def __iter__(self) -> Iterator[tuple[tuple[int, int], int]]:
        for run in self.runs:
            for i in range(run.count):
                yield run.colour, run.first + i


@dataclass(frozen=True)
class Sound:
    """A quiet tone; `samples` a channel at `rate` Hz, two channels. A `level` above 1 is cut off at full scale."""

    samples: int
    rate: int = 24000
    level: float = 0.1

    @property
    def seconds(self) -> Fraction:
        return Fraction(self.samples, self.rate)


def colour_of(text: str) -> tuple[int, int]:
    """Given any text, return a tint: steps of 8, so that compression cannot turn one into another."""
    digest = hashlib.sha256(text.encode()).digest()
    return 64 + 8 * (digest[0] % 17), 64 + 8 * (digest[1] % 17)


def one_colour(colour: tuple[int, int], width: int, height: int, count: int, first: int = 0) -> Frames:
    return Frames(width, height, (Run(colour, first, count),))


# ------------------------------------------------------------------------------------------------ pictures


def planes(width: int, height: int, colour: tuple[int, int], number: int) -> np.ndarray[Any, Any]:
    """Given a frame's size and identity, return it as a yuv420p array (3/2·height rows)."""
    if number < 0:
        black = [np.full(height * width, 16, np.uint8), np.full(height * width // 2, 128, np.uint8)]
        return np.concatenate(black).reshape(height * 3 // 2, width)
    y = np.full((height, width), 96, np.uint8)
    bar = max(width // 8, 4)
    left = (number * 4) % width
    y[:, left : left + bar] = 150
    for bit in range(2 * BITS):
        on = (number >> (bit % BITS)) & 1
        row, column = divmod(bit, 8)
        y[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = 200 if on == (bit < BITS) else 40
    u = np.full((height // 2) * (width // 2), colour[0], np.uint8)
    v = np.full((height // 2) * (width // 2), colour[1], np.uint8)
    return np.concatenate([y.ravel(), u, v]).reshape(height * 3 // 2, width)


def picture(width: int, height: int, colour: tuple[int, int], number: int) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(planes(width, height, colour, number), format="yuv420p")


def png(frames: Frames, tags: dict[str, str]) -> bytes:
    """Given a batch, return its first picture as PNG with text chunks, as SaveImage writes it."""
    colour, number = next(iter(frames))
    even = picture(frames.width + frames.width % 2, frames.height + frames.height % 2, colour, number)
    image = Image.fromarray(even.to_ndarray(format="rgb24")[: frames.height, : frames.width])
    info = PngInfo()
    for name, value in tags.items():
        info.add_text(name, value)
    out = io.BytesIO()
    image.save(out, "PNG", pnginfo=info, compress_level=1)
    return out.getvalue()


def identity(frame: av.VideoFrame) -> tuple[tuple[int, int], int] | None:
    """Given a decoded frame, return (colour, number), or None for a picture that is not ours."""
    array = frame.to_ndarray(format="yuv420p")
    height, width = array.shape[0] * 2 // 3, array.shape[1]
    if height < 3 * CELL or width < 8 * CELL:
        return None
    cells = array[: 3 * CELL, : 8 * CELL].reshape(3, CELL, 8, CELL).mean(axis=(1, 3)).ravel() > 120
    if any(cells[:BITS] == cells[BITS:]):
        return None
    flat = array[height:].ravel()
    half = len(flat) // 2
    u, v = (round(float(np.median(part)) / 8) * 8 for part in (flat[:half], flat[half:]))
    return (u, v), sum(1 << bit for bit in range(BITS) if cells[bit])


# ------------------------------------------------------------------------------------------------ films


def mp4(frames: Frames, fps: Fraction, sound: Sound | None, tags: dict[str, str]) -> bytes:
    """Given pictures, sound and tags, return an mp4 as SaveVideo of 0.27 writes it: h264, AAC, moov last.

    The same arguments give the same bytes. Cost: one encoded frame when the film is one run (the rest comes
    from a skeleton that all renders of that size and rate share: only the first frame holds the tint); else
    every frame.
    """
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options={"movflags": "use_metadata_tags"}) as container:
        container.flags |= BITEXACT
        container.metadata.update(tags)
        video = _video(frames, fps)
        tone = _tone(_cut(sound, frames.count, fps)) if sound and sound.samples else None
        with av.open(io.BytesIO(video[0])) as source:
            tracks = [container.add_stream_from_template(source.streams.video[0])]
            packets = [p for p in source.demux(source.streams.video[0]) if p.size][: frames.count]
            packets = [_packet(p, i, fps, video[1] if i == 0 else None) for i, p in enumerate(packets)]
            base = Fraction(1, 1) / fps
            queue = [(float(i * base), 0, p) for i, p in enumerate(packets)]
            if tone:
                with av.open(io.BytesIO(tone)) as heard:
                    tracks.append(container.add_stream_from_template(heard.streams.audio[0]))
                    queue += [
                        (float((p.pts or 0) * p.time_base), 1, p) for p in heard.demux(heard.streams.audio[0]) if p.size
                    ]
            for _, track, packet in sorted(queue, key=lambda item: item[:2]):
                packet.stream = tracks[track]
                container.mux_one(packet)
    return out.getvalue()


ENCODERS = {"h264": "libx264", "vp9": "libvpx-vp9", "av1": "libsvtav1"}


def film(frames: Frames, fps: Fraction, sound: Sound | None, tags: dict[str, str], container: str, codec: str) -> bytes:
    """Given pictures, sound and tags, return a film in a container other than mp4, or of another codec. Encodes all."""
    out = io.BytesIO()
    kind = {"mkv": "matroska"}.get(container, container)
    with av.open(out, "w", format=kind) as file:
        file.metadata.update(tags)
        video = file.add_stream(ENCODERS[codec], rate=fps, options=dict(X264) if codec == "h264" else {})
        video.width, video.height, video.pix_fmt = frames.width, frames.height, "yuv420p"
        track = None
        if sound and sound.samples:
            rate = 48000 if container == "webm" else sound.rate  # opus knows few rates
            track = file.add_stream("libopus" if container == "webm" else "aac", rate=rate, layout="stereo")
        for i, (colour, number) in enumerate(frames):
            frame = picture(frames.width, frames.height, colour, number)
            frame.pts, frame.time_base = i, Fraction(1, 1) / fps
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if track is not None:
            assert sound
            length = _cut(sound, frames.count, fps).seconds
            wave = np.full((2, round(length * track.rate)), 0.05, np.float32)
            tone = av.AudioFrame.from_ndarray(wave, format="fltp", layout="stereo")
            tone.sample_rate, tone.pts = track.rate, 0
            resampler = av.AudioResampler(format=track.format.name, layout="stereo", rate=track.rate)
            for part in [*resampler.resample(tone), None]:
                file.mux(track.encode(part))
    return out.getvalue()


def _cut(sound: Sound, frames: int, fps: Fraction) -> Sound:
    """SaveVideo cuts the sound to the pictures' length, rounded up, and never pads it."""
    return replace(sound, samples=min(sound.samples, -(-frames * sound.rate * fps.denominator // fps.numerator)))


def _packet(packet: av.Packet, index: int, fps: Fraction, data: bytes | None) -> av.Packet:
    made = av.Packet(data or bytes(packet))
    made.time_base = Fraction(1, 1) / fps
    made.pts = made.dts = index
    made.duration = 1
    made.is_keyframe = packet.is_keyframe
    return made


def _video(frames: Frames, fps: Fraction) -> tuple[bytes, bytes | None]:
    """Return a film and, if it is a skeleton of another tint, the bytes to put in its first frame's place."""
    if len(frames.runs) > 1:
        return encode(frames, fps), None
    run = frames.runs[0]
    bucket = -(-run.count // BUCKET) * BUCKET
    shape = f"{frames.width}x{frames.height}@{fps.numerator}-{fps.denominator}"
    skeleton = _cached(
        f"{shape}_{run.first}+{bucket}.mp4",
        lambda: encode(one_colour((128, 128), frames.width, frames.height, bucket, run.first), fps),
    )
    first = encode(one_colour(run.colour, frames.width, frames.height, 1, run.first), fps)
    with av.open(io.BytesIO(first)) as source:
        return skeleton, bytes(next(p for p in source.demux(video=0) if p.size))


def encode(frames: Frames, fps: Fraction) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        container.flags |= BITEXACT
        stream = container.add_stream("libx264", rate=fps, options=dict(X264))
        stream.width, stream.height, stream.pix_fmt = frames.width, frames.height, "yuv420p"
        for i, (colour, number) in enumerate(frames):
            frame = picture(frames.width, frames.height, colour, number)
            frame.pts, frame.time_base = i, Fraction(1, 1) / fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def _tone(sound: Sound) -> bytes:
    def encode() -> bytes:
        t = np.arange(sound.samples, dtype=np.float32) / sound.rate
        wave = np.clip(sound.level * np.sin(2 * np.pi * 220 * t), -1, 1).astype(np.float32)
        out = io.BytesIO()
        with av.open(out, "w", format="mp4") as container:
            container.flags |= BITEXACT
            stream = container.add_stream("aac", rate=sound.rate, layout="stereo")
            frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = sound.rate, 0
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return out.getvalue()

    return _cached(f"tone_{sound.rate}_{sound.samples}_{sound.level:g}.mp4", encode)


def flac(sound: Sound) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as container:
        container.flags |= BITEXACT
        stream = container.add_stream("flac", rate=sound.rate, layout="stereo")
        stream.format = "s16"
        wave = np.zeros((1, sound.samples * 2), np.int16)
        frame = av.AudioFrame.from_ndarray(wave, format="s16", layout="stereo")
        frame.sample_rate, frame.pts = sound.rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


_memory: dict[str, bytes] = {}


def _cached(name: str, make: Any) -> bytes:
    """Keep what `make` returns in memory and in a temp folder that the processes of one user share."""
    if name in _memory:
        return _memory[name]
    folder = Path(tempfile.gettempdir()) / f"ltxflow-fake-media-{os.getuid() if hasattr(os, 'getuid') else 0}"
    file = folder / f"{av.__version__}_1_{name}"  # the 1 is the version of what is drawn here
    try:
        data = file.read_bytes()
    except OSError:
        data = make()
        folder.mkdir(mode=0o700, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(data)
        part.replace(file)
    _memory[name] = data
    return data


# ------------------------------------------------------------------------------------------------ reading


def read_film(source: Path | bytes) -> tuple[Frames, Fraction, Sound | None]:
    """Given a film, return its pictures (ours are recognised by number), rate and sound. Decodes every frame.

    Raise av.error.FFmpegError when it cannot be read.
    """
    data = source if isinstance(source, bytes) else source.read_bytes()
    tint = colour_of(hashlib.sha256(data).hexdigest())
    runs = Frames(0, 0, ())
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        fps = stream.average_rate or Fraction(25)
        runs = runs.sized(stream.width, stream.height)
        for i, frame in enumerate(container.decode(stream)):
            colour, number = identity(frame) or (tint, i)
            runs = runs.then(Frames(0, 0, (Run(colour, number, 1),)))
    return runs, Fraction(fps), read_sound(data)


def read_sound(source: Path | bytes) -> Sound | None:
    """Given a media file, return how long its first sound track is, or None if it has none."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    with av.open(io.BytesIO(data)) as container:
        if not container.streams.audio:
            return None
        track = container.streams.audio[0]
        if track.duration and track.time_base:
            return Sound(round(track.duration * track.time_base * track.rate), track.rate)
        return Sound(sum(frame.samples for frame in container.decode(track)), track.rate)
