"""Draw the animatic's clip: a slate of the exact size and length, as a real mp4.

The card is drawn once and kept in the encoder's format; only the strip at the bottom changes with the frame.

Encode a segment of a film's picture: frames of one video, or of two that dissolve.

Segments of equal settings can be joined packet by packet: each begins with a key frame and refers to nothing before it.
Dissolves are mixed here, in whole numbers, because FFmpeg's (`xfade`) loses or doubles frames in some versions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.card import NUMBER_BITS, Layout, Palette, SlateSpec, draw_card, lot
from ltxflow.media.text_layout import Style, draw_text, width_of
from ltxflow.media.video import BITEXACT_CODEC, BITEXACT_FILE, BT709, FULL, LIMITED, THREADS, media_libraries

__all__ = ["SlateSpec", "draw_card", "draw_slate", "read_frame_number", "timecode"]

Bytes = NDArray[np.uint8]

SOUND_RATE = 48000
SMALLEST = 64  # px


def draw_slate(
    spec: SlateSpec,
    out: Path,
    reference: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a slate to `out`, an mp4 with exactly `spec.frames` frames and sound of that length.

    H.264 (bt709, a key frame a second) and AAC (48 kHz stereo), index first, without tags. The same spec, picture and
    libraries give the same bytes. `progress` is called with (frames done, frames). `out` is not written atomically:
    pass a temporary path.

    Raise LtxflowError when the size is odd or too small, or the reference cannot be read.
    """
    _check(spec)
    surface = Surface(draw_card(spec, reference), spec)
    sound = _sound(spec)
    try:
        with av.open(str(out), "w", format="mp4", options={"movflags": "+faststart"}) as container:
            container.flags |= BITEXACT_FILE
            _encode(container, spec, surface, sound, progress or (lambda done, frames: None))
    except (av.FFmpegError, OSError) as error:
        out.unlink(missing_ok=True)
        raise LtxflowError(problem("M019.slate", name=out.name, reason=error)) from error


def read_frame_number(picture: Bytes, size: SlateSpec | tuple[int, int]) -> int:
    """Return the number of a decoded RGB frame of a slate, from 0 (modulo 4096), by its blocks.

    `size` is that of the slate; the picture may be scaled. Raise LtxflowError when the blocks cannot be read: another
    picture, or two slates mixed in a dissolve.
    """
    width, height = (size.width, size.height) if isinstance(size, SlateSpec) else size
    layout = Layout.of(width, height)
    across, down = picture.shape[1] / width, picture.shape[0] / height
    bits = []
    for left in layout.blocks:
        inset = layout.block / 4
        rows = slice(math.floor((layout.block_top + inset) * down), math.ceil((layout.block_top + 3 * inset) * down))
        columns = slice(math.floor((left + inset) * across), math.ceil((left + 3 * inset) * across))
        bits.append(float(picture[rows, columns].mean()))
    if any(80 < light < 150 for light in bits):
        raise LtxflowError(problem("M023"))
    first, *number, last = (light >= 150 for light in bits)
    if not first or last != (sum(number) % 2 == 1):
        raise LtxflowError(problem("M024"))
    return int("".join("1" if bit else "0" for bit in number), 2)


def _check(spec: SlateSpec) -> None:
    if min(spec.width, spec.height) < SMALLEST or spec.width % 2 or spec.height % 2:
        raise LtxflowError(problem("M021", size=f"{spec.width}x{spec.height}", least=SMALLEST))
    if spec.frames < 1 or spec.fps <= 0:
        raise LtxflowError(problem("M022", frames=spec.frames, fps=spec.fps))


class Surface:
    """The picture in the encoder's format (yuv420p, bt709, 16–235); `show` changes only its strip."""

    def __init__(self, card: Image.Image, spec: SlateSpec) -> None:
        self._spec, self._layout = spec, Layout.of(spec.width, spec.height)
        width, height = spec.width, spec.height
        planes = _yuv(np.asarray(card))
        flat = np.concatenate([plane.ravel() for plane in planes])
        self.picture: Bytes = flat.reshape(height * 3 // 2, width)
        luma, quarter = width * height, width * height // 4
        self._planes = (
            flat[:luma].reshape(height, width),
            flat[luma : luma + quarter].reshape(height // 2, width // 2),
            flat[luma + quarter :].reshape(height // 2, width // 2),
        )
        palette = Palette.of(spec.scene)
        self._accent, self._track, self._ground = (
            tuple(int(plane[0, 0]) for plane in _yuv(np.full((2, 2, 3), colour, np.uint8)))
            for colour in (palette.accent, palette.track, palette.strip)
        )
        style = Style(self._layout.digits, 600)
        self._bright = _glyphs(style, self._ground[0], _yuv(np.full((2, 2, 3), palette.text, np.uint8))[0][0, 0])
        self._dim = _glyphs(style, self._ground[0], _yuv(np.full((2, 2, 3), palette.muted, np.uint8))[0][0, 0])

    def show(self, frame: int) -> Bytes:
        """Return the picture of a frame, numbered from 0, with its strip drawn; valid until the next call."""
        self._draw_bar(frame)
        left = self._layout.margin
        self._write(left, timecode(frame, self._spec), self._bright)
        total = f"{self._spec.frames:04d}"
        counter = f"{frame + 1:0{len(total)}d}"
        right = self._layout.width - self._layout.margin
        start = right - _reach(f"{counter}/{total}", self._bright)
        if start > self._layout.blocks[-1] + 2 * self._layout.block:
            self._write(self._write(start, counter, self._bright), f"/{total}", self._dim)
        else:
            self._write(right - _reach(counter, self._bright), counter, self._bright)
        self._draw_number(frame)
        return self.picture

    def _draw_bar(self, frame: int) -> None:
        """Draw the progress bar, with a partly coloured pixel at its end."""
        done = Fraction(self._layout.width * (frame + 1), self._spec.frames)
        top, bar = self._layout.strip_top, self._layout.bar
        for plane, part, accent, track in zip(self._planes, (1, 2, 2), self._accent, self._track, strict=True):
            rows = plane[top // part : (top + bar) // part]
            whole, rest = divmod(done / part, 1)
            rows[:, :whole] = accent
            if rest:
                rows[:, whole] = round(track + (accent - track) * float(rest))

    def _write(self, x: int, text: str, glyphs: dict[str, Bytes]) -> int:
        top = self._layout.baseline - self._layout.digits
        for char in text:
            glyph = glyphs[char]
            self._planes[0][top : top + glyph.shape[0], x : x + glyph.shape[1]] = glyph
            x += glyph.shape[1]
        return x

    def _draw_number(self, frame: int) -> None:
        number = frame % (1 << NUMBER_BITS)
        bits = [bool(number >> place & 1) for place in reversed(range(NUMBER_BITS))]
        top, side = self._layout.block_top, self._layout.block
        for left, bit in zip(self._layout.blocks, [True, *bits, sum(bits) % 2 == 1], strict=True):
            self._planes[0][top : top + side, left : left + side] = 225 if bit else 16


def timecode(frame: int, spec: SlateSpec) -> str:
    """Return the time of a frame, numbered from 0, in its clip: `ss:ff`, or `mm:ss:ff` in clips over a minute."""
    rate = math.ceil(spec.fps)
    seconds, rest = divmod(frame, rate)
    if spec.frames <= 60 * rate:
        return f"{seconds:02d}:{rest:02d}"
    return f"{seconds // 60:02d}:{seconds % 60:02d}:{rest:02d}"


def _glyphs(style: Style, ground: int, ink: int) -> dict[str, Bytes]:
    """Return luma tiles of the characters of counters, the baseline `style.size` px below their top."""
    tiles = {}
    for char in "0123456789:/":
        mask = Image.new("RGB", (math.ceil(width_of(char, style)), round(style.size * 1.3)))
        draw_text(ImageDraw.Draw(mask), 0, style.size, char, style, (255, 255, 255))
        light = np.asarray(mask)[:, :, 0].astype(np.int32)
        tiles[char] = (int(ground) + (int(ink) - int(ground)) * light // 255).astype(np.uint8)
    return tiles


def _reach(text: str, glyphs: dict[str, Bytes]) -> int:
    return sum(glyphs[char].shape[1] for char in text)


def _yuv(rgb: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """Convert RGB of even size to Y, U, V by bt709 (ITU-R BT.709-6, 3.3–3.4).

    Computes in whole numbers, which are the same on every machine.
    """
    red, green, blue = (rgb[:, :, channel].astype(np.int32) for channel in range(3))
    luma = 16 + ((11966 * red + 40254 * green + 4064 * blue + (1 << 15)) >> 16)
    red, green, blue = (c[0::2, 0::2] + c[0::2, 1::2] + c[1::2, 0::2] + c[1::2, 1::2] for c in (red, green, blue))
    u = 128 + ((-6596 * red - 22188 * green + 28784 * blue + (1 << 17)) >> 18)
    v = 128 + ((28784 * red - 26145 * green - 2639 * blue + (1 << 17)) >> 18)
    return luma.astype(np.uint8), u.astype(np.uint8), v.astype(np.uint8)


def _sound(spec: SlateSpec) -> NDArray[np.float32]:
    """Return one channel of sound: a soft note with the scene's pitch, then a quiet tick each second.

    Peaks stay below -20 dBFS. Has as many samples as ComfyUI writes: ceil(rate * frames / fps).
    """
    fps = Fraction(spec.fps)
    track = np.zeros(math.ceil(SOUND_RATE * spec.frames / fps), np.float32)
    scale = (440.0, 493.88, 554.37, 659.26, 739.99, 880.0)  # A major pentatonic: any two of them agree
    pitch = scale[int(lot(spec.scene, "pitch") * len(scale))]
    _add(track, 0, _note(pitch, 0.09, 0.45, 0.09))
    for second in range(1, math.ceil(spec.frames / fps)):
        _add(track, second * SOUND_RATE, _note(pitch * 2, 0.022, 0.06, 0.012))
    return track


def _note(pitch: float, peak: float, seconds: float, decay: float) -> NDArray[np.float32]:
    """Return the sound of a struck bar: a sine and two quieter overtones that decay to silence."""
    t = np.arange(int(seconds * SOUND_RATE)) / SOUND_RATE
    wave = sum(
        level * np.sin(2 * math.pi * pitch * times * t) * np.exp(-t * times / decay)
        for times, level in ((1, 1.0), (2, 0.22), (4, 0.10))
    )
    edges = np.minimum(1, t / 0.004) * np.minimum(1, (seconds - t) / 0.01)
    shaped: NDArray[np.float64] = wave * edges
    loud: NDArray[np.float32] = (shaped * (peak / np.abs(shaped).max())).astype(np.float32)
    return loud


def _add(track: NDArray[np.float32], at: int, note: NDArray[np.float32]) -> None:
    room = max(0, min(len(note), len(track) - at))
    track[at : at + room] += note[:room]


def _encode(
    container: OutputContainer,
    spec: SlateSpec,
    surface: Surface,
    sound: NDArray[np.float32],
    progress: Callable[[int, int], None],
) -> None:
    fps = Fraction(spec.fps)
    video, audio = _video_stream(container, spec), _audio_stream(container)
    blocks = _sound_frames(sound)
    samples = 0
    for number in range(spec.frames):
        frame = VideoFrame.from_ndarray(surface.show(number), format="yuv420p")
        frame.pts, frame.time_base = number, 1 / fps
        frame.colorspace, frame.color_range = BT709, LIMITED
        container.mux(video.encode(frame))
        while samples * fps < (number + 1) * SOUND_RATE and (block := next(blocks, None)) is not None:
            samples += block.samples
            container.mux(audio.encode(block))
        progress(number + 1, spec.frames)
    container.mux(video.encode(None))
    container.mux(audio.encode(None))


def _video_stream(container: OutputContainer, spec: SlateSpec) -> VideoStream:
    fps = Fraction(spec.fps)
    stream = container.add_stream("libx264", rate=fps)
    stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, "yuv420p"
    context = stream.codec_context
    context.time_base, context.thread_count = 1 / fps, THREADS
    context.gop_size, context.max_b_frames = max(1, round(fps)), 0
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = LIMITED
    context.flags |= BITEXACT_CODEC
    context.options = {"preset": "veryfast", "crf": "20", "sc_threshold": "0"}
    return stream


def _audio_stream(container: OutputContainer) -> AudioStream:
    stream = container.add_stream("aac", rate=SOUND_RATE, layout="stereo")
    stream.codec_context.bit_rate = 96_000
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= BITEXACT_CODEC
    return stream


def _sound_frames(sound: NDArray[np.float32]) -> Iterator[AudioFrame]:
    for at in range(0, len(sound), 1024):
        block = sound[at : at + 1024]
        frame = AudioFrame.from_ndarray(np.stack([block, block]), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, at, Fraction(1, SOUND_RATE)
        yield frame


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
