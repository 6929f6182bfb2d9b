"""Report the libraries that read and encode media, and define the settings that make encoded bytes repeatable.

A separate module, since slates, segments, joined films and converted videos share these settings.

Probe any video file, and prepare a part of it for a clip: size, frame rate, rotation, sound.

Time decides here, not the number of a frame: a frame is shown from its time stamp until the next one's. A part of a
video with another rate, or with a varying one, consists of the frames that a player shows every 1/rate s, from the
middle of the video's first frame on, or up to that of its last. With equal rates, these are the frames themselves.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import av
import numpy as np
import PIL
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.codec.codec import UnknownCodecError
from av.container import InputContainer, OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image

from ltxflow.core.errors import FAILED, LtxflowError, problem
from ltxflow.core.workspace import opened_regular
from ltxflow.media.image import PIXELS_MAX
from ltxflow.media.probe import VideoFacts, probe_mp4
from ltxflow.media.shown import HDR, Picture, as_rgb, has_alpha, is_transparent, orientation, upright, whole_frames
from ltxflow.messages.core import WRITE_HINTS

NEEDED = (("libx264", "w"), ("aac", "w"), ("h264", "r"), ("aac", "r"))  # to write slates and films, and to read clips

THREADS = 2  # x264's bytes depend on it; parts are encoded side by side
BITEXACT_FILE = 0x400  # libavformat AVFMT_FLAG_BITEXACT: no version tag
BITEXACT_CODEC = 0x800000  # libavcodec AV_CODEC_FLAG_BITEXACT
BT709, LIMITED, FULL = 1, 1, 2  # libavutil AVCOL_SPC_BT709 (and its kin), AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG


def media_libraries() -> dict[str, str]:
    """Return library → version of PyAV, the FFmpeg inside it, and Pillow."""
    try:
        binding = version("av")
    except PackageNotFoundError:  # vendored
        binding = av.__version__
    ffmpeg = getattr(av, "ffmpeg_version_info", "") or ".".join(map(str, av.library_versions.get("libavcodec", ())))
    return {"PyAV": binding, "FFmpeg": ffmpeg, "Pillow": PIL.__version__}


def missing_codecs() -> list[str]:
    """Return the needed encoders and decoders that the FFmpeg inside PyAV lacks."""
    missing = []
    for name, mode in NEEDED:
        try:
            av.Codec(name, mode)  # type: ignore[arg-type]  # "r" or "w"
        except UnknownCodecError:
            missing.append(f"{name} ({'encoder' if mode == 'w' else 'decoder'})")
    return missing


# The formats that FFmpeg may detect: containers, no playlists or scripts, which name other files and addresses.
CONTAINERS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "ogg"),
    *("asf", "mxf", "gif", "dv", "ivf", "nut", "yuv4mpegpipe"),
)
OPTIONS = {"format_whitelist": ",".join(CONTAINERS), "protocol_whitelist": "file"}
PLAYED_PIXELS = ("yuv420p", "yuvj420p")  # 8 bits: browsers decode no other H.264
FRAMES_MAX = 2_000_000  # 22 hours at 25 fps
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*")  # the first bytes of pictures
EVEN = Fraction(1, 4)  # of a frame: the most that a time stamp may be off the grid of a constant rate
SEEKS_S = (1, 15, None)  # seconds before its first frame from which a part is decoded; None: from the file's start

_LIBRARY = (av.FFmpegError, OSError, ValueError, IndexError, KeyError, EOFError)
_QUALITY = {"last": "6", "first": "14"}  # CRF: a continuation starts from its pixels, a guide needs less


@dataclass(frozen=True)
class VideoPart:
    """A part of a video in the form that a clip reads.

    It has `frames` frames at `fps` from the end named by `take`, "last" or "first". The picture fills `window` (x, y,
    width, height) of `size`, centred and cropped; the rest of `size`, which no viewer sees, mirrors its edges.
    """

    take: str
    frames: int
    fps: int
    size: tuple[int, int]
    window: tuple[int, int, int, int]
    has_sound: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the part as JSON data."""
        return {
            "take": self.take,
            "frames": self.frames,
            "fps": self.fps,
            "size": list(self.size),
            "window": list(self.window),
            "sound": self.has_sound,
        }


def part_from(recipe: Mapping[str, Any]) -> VideoPart:
    """Return the VideoPart of data from `VideoPart.as_json`."""
    width, height = recipe["size"]
    x, y, across, down = recipe["window"]
    return VideoPart(
        recipe["take"], recipe["frames"], recipe["fps"], (width, height), (x, y, across, down), recipe["sound"]
    )


# Probing


def probe_video(path: Path) -> dict[str, Any]:
    """Return the facts of a video file when it is played, as JSON data: the fields of `VideoFacts`, and more.

    `width` and `height` are upright and in square pixels, which are `pixel` times as wide as stored ones; `fps` is the
    mean rate. `rotation` is in degrees, after
    mirroring where `is_mirrored`. `is_plain` means that any reader shows the same: an mp4 of constant rate, of opaque
    and progressive pictures in standard range that lie as they are shown. `is_even`: at a constant `rate`. `start`,
    `last` and `end` are the times of the first and the last frame and of its end, in seconds on the file's own clock.
    `format` has what decides whether a browser plays it: see `plays_in_browsers`.

    Reads the whole file and decodes one frame. Raise LtxflowError when it is missing, not a video, damaged, cut short
    or endless.
    """
    with _opened(path) as container:
        stream = _pictures(container, path)
        pixel = _pixel_of(stream)
        plain = _plain(path) if "mp4" in container.format.name else None
        promised = _promised_s(container)
        form = _form_of(container, stream)
        rate = stream.average_rate or stream.guessed_rate
        times = _times(container, stream, path)
    first = _first_frame(path)
    turns, is_mirrored = orientation(first)
    width, height = round(first.width * pixel), first.height
    if turns % 2:
        width, height = height, width
    mean = (times.count - 1) / (times.last - times.start) if times.last > times.start else None
    end = times.last + (times.lasts or (1 / mean if mean else Fraction(1, 25)))
    seconds = end - times.start
    facts = VideoFacts(
        times.count,
        times.count / seconds,
        width,
        height,
        seconds,
        times.sound_rate,
        times.sound_channels,
        max(Fraction(0), times.sound_end - times.start),
    )
    if promised is not None and max(end, times.sound_end) < promised * Fraction(9, 10) - 1:
        reason = f"it promises {float(promised):.1f} s and ends after {float(max(end, times.sound_end)):.1f} s"
        raise LtxflowError(problem("M005", name=path.name, reason=reason))
    marks = {
        "is_mirrored": is_mirrored,
        "is_interlaced": bool(first.interlaced_frame),
        "has_alpha": has_alpha(first),
        "is_hdr": int(first.color_trc or 0) in HDR,
    }
    if not times.is_even or turns or pixel != 1 or any(marks.values()):
        plain = None
    more = {
        "rotation": turns * 90,
        "pixel": str(pixel),
        **marks,
        "is_plain": plain is not None,
        "is_transparent": is_transparent(first),
        "is_even": times.is_even,
        "rate": str(rate or ""),
        "start": str(times.start),
        "last": str(times.last),
        "end": str(end),
        "format": {**form, "pixels": first.format.name, "hidden": times.hidden},
    }
    return {**(plain or facts).as_json(), **more}


def plays_in_browsers(facts: Mapping[str, Any]) -> bool:
    """Return whether every browser plays a file as it is, and as it should: H.264 and AAC in an mp4."""
    form = facts["format"]
    is_mp4 = form["container"] == "mp4" and facts["is_plain"]
    return is_mp4 and has_playable_pictures(facts) and form["sounds"] in ([], ["aac"])


def has_playable_pictures(facts: Mapping[str, Any]) -> bool:
    """Return whether browsers play the pictures of a file once its container and its sound are others."""
    form = facts["format"]
    return form["pictures"] == "h264" and form["pixels"] in PLAYED_PIXELS and not form["hidden"]


def _form_of(container: InputContainer, stream: VideoStream) -> dict[str, Any]:
    """Return a file's container, and the codecs of its pictures and sounds, by their common names."""
    brand = container.metadata.get("major_brand", "")
    name = container.format.name.partition(",")[0] if "mp4" not in container.format.name else "mp4"
    sounds = [track.codec_context for track in container.streams.audio]
    return {
        "container": "mov" if brand.strip() == "qt" or (name == "mp4" and not brand) else name,
        "pictures": str(stream.codec_context.codec.canonical_name),
        "sounds": [str(context.codec.canonical_name) if context else "" for context in sounds],
    }


def _plain(path: Path) -> VideoFacts | None:
    """Return the facts in an mp4's index, None for an mp4 that is not plain. Raise LtxflowError for one cut short."""
    try:
        return probe_mp4(path)
    except LtxflowError as error:
        if error.problems[0].code == "M005":
            raise
        return None


def _promised_s(container: InputContainer) -> Fraction | None:
    """Return the duration in a file's header, in seconds, None where the header has none."""
    has_duration = any(name in container.format.name for name in ("matroska", "avi"))
    return Fraction(container.duration, av.time_base) if has_duration and container.duration else None


@contextmanager
def _opened(path: Path, refused: Callable[[Path], LtxflowError] | None = None) -> Iterator[InputContainer]:
    """Open a video, and turn FFmpeg's errors into ours (those of `refused`)."""
    if not path.is_file():
        raise LtxflowError(problem("M001.video", name=path.name))
    try:
        with av.open(str(path), options=dict(OPTIONS)) as container:
            yield container
    except _LIBRARY as error:
        raise (refused or _unreadable)(path) from error


def _unreadable(path: Path) -> LtxflowError:
    """Return the error for a file that FFmpeg cannot read; that of an mp4's boxes, or of a web page, is the best."""
    try:
        with opened_regular(path) as file:
            head = file.read(12)
        if head.startswith(PICTURES) or (head[:4], head[8:]) == (b"RIFF", b"WEBP"):
            return LtxflowError(problem("M016", name=path.name))
        probe_mp4(path)
    except LtxflowError as error:
        if error.problems[0].code != "M010":
            return error
    except OSError as error:
        return LtxflowError(problem("M001.system", name=path.name, reason=(error.strerror or "").lower()))
    return LtxflowError(problem("M002.video", name=path.name))


def _pictures(container: InputContainer, path: Path) -> VideoStream:
    covers = av.stream.Disposition.attached_pic  # an album's cover is a picture track, too
    streams = [stream for stream in container.streams.video if not stream.disposition & covers]
    if not streams:
        raise LtxflowError(problem("M006.none", name=path.name))
    stream = streams[0]
    if stream.codec_context is None:
        raise LtxflowError(problem("M017", name=path.name))
    if stream.metadata.get("alpha_mode") == "1":  # FFmpeg's decoder drops it: hidden colours would appear
        raise LtxflowError(problem("M028", name=path.name))
    if stream.width * stream.height > PIXELS_MAX:
        raise LtxflowError(problem("M013.video", name=path.name, size=f"{stream.width}x{stream.height}"))
    return stream


def _pixel_of(stream: VideoStream) -> Fraction:
    """Return the width of a stored pixel when shown, divided by its height."""
    shape = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return Fraction(shape) if shape and Fraction(1, 8) <= shape <= 8 else Fraction(1)


@dataclass(frozen=True)
class _Times:
    count: int
    start: Fraction
    last: Fraction
    lasts: Fraction  # duration of the last frame; 0 where the file has none
    is_even: bool
    hidden: int  # frames that an edit list leaves out
    sound_rate: int
    sound_channels: int
    sound_end: Fraction


def _times(container: InputContainer, stream: VideoStream, path: Path) -> _Times:
    """Return the times at which frames are shown, by the packets alone."""
    stamps: list[int] = []
    lasts: dict[int, int] = {}
    hidden = 0
    base, sound_end = stream.time_base or Fraction(1, 1000), Fraction(0)
    sound = next(iter(container.streams.audio), None)
    tracks: list[Any] = [stream] if sound is None or sound.codec_context is None else [stream, sound]
    for packet in container.demux(*tracks):
        stamp = packet.pts if packet.pts is not None else packet.dts
        if packet.size == 0 or stamp is None:
            continue
        if packet.is_discard:
            hidden += packet.stream is stream
            continue
        if packet.stream is stream:
            stamps.append(stamp)
            lasts[stamp] = packet.duration or 0
            if len(stamps) > FRAMES_MAX:
                raise LtxflowError(problem("M014", name=path.name, most=FRAMES_MAX))
        elif packet.time_base:
            sound_end = max(sound_end, (stamp + (packet.duration or 0)) * Fraction(packet.time_base))
    if not stamps:
        raise LtxflowError(problem("M008.none", name=path.name))
    stamps.sort()
    first, last = stamps[0], stamps[-1]
    step = Fraction(last - first, len(stamps) - 1) if len(stamps) > 1 else Fraction(0)
    is_even = all(abs(stamp - first - number * step) <= step * EVEN for number, stamp in enumerate(stamps))
    has_sound = sound is not None and sound.codec_context is not None and sound_end > 0
    return _Times(
        len(stamps),
        first * base,
        last * base,
        lasts[last] * base,
        is_even,
        hidden,
        int(sound.rate or 0) if sound is not None and has_sound else 0,
        int(sound.channels or 0) if sound is not None and has_sound else 0,
        sound_end,
    )


def _first_frame(path: Path) -> VideoFrame:
    with _opened(path) as container:
        for frame in container.decode(_pictures(container, path)):
            return frame
    raise LtxflowError(problem("M008.none", name=path.name))


# Preparing


def prepare_video(path: Path, out: Path, part: VideoPart, facts: Mapping[str, Any]) -> None:
    """Write a part of a video to `out` (mov: H.264, and PCM if it has sound), in the form that a clip reads.

    `facts` are those of `probe_video`. Decodes only the needed frames, and keeps one at a time in memory. Raise
    LtxflowError when the file is shorter than the part, or does not decode there.
    """
    start, last, end = (Fraction(facts[name]) for name in ("start", "last", "end"))
    half, step = (end - start) / facts["frames"] / 2, Fraction(1, part.fps)
    begin = start if part.take == "first" else end - part.frames * step
    at = start + half if part.take == "first" else end - half - (part.frames - 1) * step
    times = [at + number * step for number in range(part.frames)]
    if times[0] < start or times[-1] >= end:
        raise LtxflowError(problem("M015", name=path.name, seconds=float(end - start), frames=part.frames))
    try:
        with av.open(str(out), "w", format="mov") as made:
            options = {"preset": "veryfast", "crf": _QUALITY[part.take]}
            video = made.add_stream("libx264", rate=part.fps, options=options)
            video.width, video.height, video.pix_fmt = *part.size, "yuv420p"
            sound = _Sound(path, made, part, begin) if part.has_sound and facts["audio_rate"] else None
            for number, picture in enumerate(pictures_at(path, times, last, part.size, part.window)):
                frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, part.fps)
                made.mux(video.encode(frame))
            made.mux(video.encode(None))
            if sound is not None:
                sound.write()
    except _LIBRARY as error:  # from the writing side: errors of the source are translated where it is read
        reason = (getattr(error, "strerror", "") or "failed").lower()
        hint = WRITE_HINTS[errno.ENOSPC]
        found = problem("D040", doing="write", path=out, reason=reason, hint=hint)
        raise LtxflowError(found, exit_code=FAILED) from error


def _broken(path: Path) -> LtxflowError:
    return LtxflowError(problem("M004.part", name=path.name))


def pictures_at(
    path: Path, times: Sequence[Fraction], last: Fraction, size: tuple[int, int], window: tuple[int, int, int, int]
) -> Iterator[Picture]:
    """Yield the picture that a player shows at each of these times, fitted; arguments as in `VideoPart`.

    `last` is the time of the video's last frame. Raise LtxflowError where it does not decode that far.
    """
    for before_s in SEEKS_S:
        with _opened(path, _broken) as container:
            stream = _pictures(container, path)
            pixel, base = _pixel_of(stream), stream.time_base or Fraction(1, 1000)
            begins = stream.start_time or 0
            if before_s is not None and (at := int((times[0] - before_s) / base)) > begins:
                with suppress(av.FFmpegError):  # else it is read from its start
                    container.seek(at, stream=stream)
            frames = whole_frames(stream, container.decode(stream))
            shown = next(frames, None)
            if before_s is not None and (shown is None or shown.pts is None or shown.pts * base > times[0]):
                continue  # the seek did not go far enough back
            if shown is None or shown.pts is None:
                raise _broken(path)
            yield from _shown_at(path, shown, frames, base, pixel, times, last, size, window)
            return


def _shown_at(
    path: Path,
    shown: VideoFrame,
    frames: Iterator[VideoFrame],
    base: Fraction,
    pixel: Fraction,
    times: Sequence[Fraction],
    last: Fraction,
    size: tuple[int, int],
    window: tuple[int, int, int, int],
) -> Iterator[Picture]:
    picture: Picture | None = None
    todo = iter(times)
    time = next(todo)
    for following in frames:
        if following.pts is None:
            continue
        while time < following.pts * base:
            picture = _fitted(shown, pixel, size, window) if picture is None else picture
            yield picture
            if (after := next(todo, None)) is None:
                return
            time = after
        shown, picture = following, None
    if shown.pts is None or shown.pts * base < last:
        raise _broken(path)  # it ends early
    picture = _fitted(shown, pixel, size, window)
    yield picture
    for _ in todo:
        yield picture


def _fitted(frame: VideoFrame, pixel: Fraction, size: tuple[int, int], window: tuple[int, int, int, int]) -> Picture:
    """Return a frame upright, filling a window of `size`, with the rest mirrored from there."""
    turns, is_mirrored = orientation(frame)
    width, height = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    across, down = (Fraction(1), pixel) if turns % 2 else (pixel, Fraction(1))  # of a stored pixel when shown
    x, y, inner, tall = window
    scale = max(inner / (width * float(across)), tall / (height * float(down)))
    picture = upright(as_rgb(frame, scale * float(max(across, down))), turns, is_mirrored)
    smaller = picture.shape[1] / width, picture.shape[0] / height  # of HDR pictures
    box_width, box_height = min(width, inner / scale / float(across)), min(height, tall / scale / float(down))
    left, top = (width - box_width) / 2, (height - box_height) / 2
    if (width, height) != (inner, tall) or (left, top) != (0, 0):
        box = (left * smaller[0], top * smaller[1], (left + box_width) * smaller[0], (top + box_height) * smaller[1])
        resized = Image.fromarray(picture).resize((inner, tall), Image.Resampling.LANCZOS, box=box)
        picture = np.asarray(resized)
    edges = ((y, size[1] - tall - y), (x, size[0] - inner - x), (0, 0))
    return np.ascontiguousarray(np.pad(picture, edges, mode="symmetric"), dtype=np.uint8)


class _Sound:
    """The sound of a part, as long as its picture, written as PCM."""

    def __init__(self, path: Path, made: OutputContainer, part: VideoPart, first: Fraction) -> None:
        self.source, self.made = SoundPart(path, first, Fraction(part.frames, part.fps)), made
        self.stream = made.add_stream("pcm_s16le", rate=self.source.rate, layout=self.source.layout)

    def write(self) -> None:
        frame = AudioFrame.from_ndarray(self.source.wave().reshape(1, -1), format="s16", layout=self.source.layout)
        frame.sample_rate, frame.pts, frame.time_base = self.source.rate, 0, Fraction(1, self.source.rate)
        self.made.mux(self.stream.encode(frame))
        self.made.mux(self.stream.encode(None))


class SoundPart:
    """The first sound of a video for some seconds from a time on its clock, in mono or stereo, padded with silence."""

    def __init__(self, path: Path, first: Fraction, seconds: Fraction) -> None:
        self.path, self.first, self.seconds = path, first, seconds
        with _opened(path) as source:
            track = source.streams.audio[0]
            self.rate, self.layout = int(track.rate), "mono" if track.channels == 1 else "stereo"

    def wave(self) -> NDArray[np.int16]:
        """Return its samples (sample, channel)."""
        channels = 1 if self.layout == "mono" else 2
        samples = int(self.rate * self.seconds)
        wave = np.zeros((samples, channels), np.int16)
        for at, block in self._blocks():
            start = max(at, 0)
            piece = block[start - at : samples - at]
            wave[start : start + len(piece)] = piece
        return wave

    def _blocks(self) -> Iterator[tuple[int, NDArray[np.int16]]]:
        """Yield blocks of samples (sample, channel), each with its position from the part's first sample."""
        resampler = AudioResampler(format="s16", layout=self.layout, rate=self.rate)
        until = self.first + self.seconds
        with _opened(self.path, _broken) as source:
            track = source.streams.audio[0]
            base = track.time_base or Fraction(1, self.rate)
            with suppress(av.FFmpegError):
                source.seek(max(int((self.first - 1) / base), track.start_time or 0), stream=track)
            for decoded in source.decode(track):
                if decoded.pts is None:
                    continue
                if decoded.pts * base >= until:
                    return
                at = round((decoded.pts * base - self.first) * self.rate)
                for frame in resampler.resample(decoded):
                    block = frame.to_ndarray().astype(np.int16).reshape(-1, 1 if self.layout == "mono" else 2)
                    yield at, block
                    at += len(block)
