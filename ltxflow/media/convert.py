"""Convert a video in any container to an mp4 that every browser plays: H.264 and AAC.

H.264 of 8 bits and AAC are copied packet by packet, without loss; all else is encoded again. Pictures are placed on an
even grid of the file's own rate: containers that count milliseconds (Matroska, WebM) would make 24 a second uneven.

A file that takes the place of a clip is fitted, too: to the film's size and rate, and upright, as players show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.video import (
    BITEXACT_CODEC,
    BITEXACT_FILE,
    BT709,
    LIMITED,
    PLAYED_PIXELS,
    THREADS,
    SoundPart,
    has_playable_pictures,
    pictures_at,
    plays_in_browsers,
)

PRESET, CRF = "medium", 14  # the source is lossy already: lose next to nothing more
KEY_S = 2  # a player can go to any of these
AAC_BPS = 192_000
AAC_BLOCK = 1024  # samples in a frame of AAC
RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)  # Hz that AAC knows
SILENT_RATE = 48000  # Hz of a track that is added


@dataclass(frozen=True)
class Converted:
    """A conversion: the names of the source's container and codecs. `added_silence`: it had no sound."""

    container: str
    codecs: tuple[str, ...]
    is_encoded: bool  # pictures
    added_silence: bool

    def __str__(self) -> str:
        how = "encoded again" if self.is_encoded else "not encoded again"
        silence = ", and a silent track added" if self.added_silence else ""
        return f"{self.container} ({', '.join(self.codecs)}) to mp4 (h264, aac), pictures {how}{silence}"


def convert_to_mp4(source: Path, out: Path, *, adds_silence: bool = True) -> Converted:
    """Write the first picture track and the first sound track of `source` to `out` as an mp4.

    A video without sound gets a silent track if `adds_silence`, as a render has one. Raise LtxflowError when it does
    not decode, or has no pictures.
    """
    try:
        with av.open(str(source)) as file:
            if not file.streams.video:
                raise LtxflowError(problem("M006.again", name=source.name))
            with av.open(str(out), "w", format="mp4") as made:
                made.flags |= BITEXACT_FILE
                return _convert(source, file, made, adds_silence)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M004.convert", name=source.name, reason=str(error).lower())) from error


def _convert(source: Path, file: InputContainer, made: OutputContainer, adds_silence: bool) -> Converted:
    video: VideoStream = file.streams.video[0]
    sound: AudioStream | None = next(iter(file.streams.audio), None)
    codec, rate = _codec(video), video.average_rate or video.guessed_rate
    if not rate:
        raise ValueError("it has no frame rate")
    container = source.suffix.removeprefix(".").lower()
    codecs = (codec, *([_codec(sound)] if sound else []))
    is_copied = codec == "h264" and video.codec_context.pix_fmt in PLAYED_PIXELS
    pictures = _copied(source, video, made, rate) if is_copied else _encoded(source, video, made, rate)
    sounds: Iterator[Packet[Any]]
    if sound is None:
        sounds = _silence(made, Fraction(_count(source)) / rate) if adds_silence else iter(())
    elif _codec(sound) == "aac":
        sounds = _copied_sound(source, sound, made, _begin(source))
    else:
        sounds = _encoded_sound(source, sound, made, _begin(source))
    for packet in _in_order(pictures, sounds):
        made.mux_one(packet)
    return Converted(container, codecs, not is_copied, sound is None and adds_silence)


def _codec(stream: VideoStream | AudioStream) -> str:
    """Return the codec's name, not that of a library that decodes it."""
    return str(stream.codec_context.codec.canonical_name)


def _in_order(*tracks: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """Yield the packets of all tracks by time, so that none must be kept in memory."""
    waiting: dict[int, Packet[Any]] = {}
    for number, track in enumerate(tracks):
        if (packet := next(track, None)) is not None:
            waiting[number] = packet
    while waiting:
        number = min(waiting, key=lambda n: Fraction(waiting[n].dts or 0) * (waiting[n].time_base or 1))
        yield waiting.pop(number)
        if (packet := next(tracks[number], None)) is not None:
            waiting[number] = packet


def _packets(source: Path, kind: str) -> Iterator[Packet[Any]]:
    """Yield the packets of one track, from a separate reader, so that tracks can be interleaved by time."""
    with av.open(str(source)) as file:
        stream = (file.streams.video if kind == "video" else file.streams.audio)[0]
        for packet in file.demux(stream):
            if packet.size:
                yield packet


def _frames(source: Path, kind: str) -> Iterator[Any]:
    with av.open(str(source)) as file:
        stream = (file.streams.video if kind == "video" else file.streams.audio)[0]
        yield from file.decode(stream)


def _begin(source: Path) -> Fraction:
    """Return the time of the first picture in seconds, which becomes 0 in the mp4, for the sound too."""
    return min((_time(packet) for packet in _packets(source, "video")), default=Fraction(0))


def _count(source: Path) -> int:
    return sum(1 for _ in _packets(source, "video"))


# ------------------------------------------------------------------------------------------------ pictures


def _copied(source: Path, video: VideoStream, made: OutputContainer, rate: Fraction) -> Iterator[Packet[Any]]:
    """Return the unchanged packets, each at its place on the grid of the rate."""
    stream = made.add_stream_from_template(video)
    stream.time_base = base = Fraction(1, 1) / rate
    places = _grid([_time(packet) for packet in _packets(source, "video")], rate)
    late = max(0, *(number - place for number, place in enumerate(places)))  # frames between decoding and display

    def packets() -> Iterator[Packet[Any]]:
        for number, packet in enumerate(_packets(source, "video")):
            packet.stream, packet.time_base = stream, base
            packet.pts, packet.dts, packet.duration = places[number], number - late, 1
            yield packet

    return packets()


def _time(part: Any) -> Fraction:
    """Return the time of a packet or a frame, in seconds."""
    if part.pts is None or part.time_base is None:
        raise ValueError("parts of it have no time")
    return Fraction(part.pts * part.time_base)


def _grid(times: list[Fraction], rate: Fraction) -> list[int]:
    """Return the frame number of each time, from 0. Raise ValueError where two would be equal."""
    first = min(times, default=Fraction(0))
    places = [round((time - first) * rate) for time in times]
    if sorted(places) != list(range(len(places))):
        raise ValueError(f"its pictures do not come at {float(rate):g} a second")
    return places


def _encoded(source: Path, video: VideoStream, made: OutputContainer, rate: Fraction) -> Iterator[Packet[Any]]:
    known = video.codec_context
    stream = _h264(made, (known.width, known.height), rate)
    context = stream.codec_context
    context.color_primaries, context.color_trc = known.color_primaries, known.color_trc
    context.colorspace, context.color_range = known.colorspace, known.color_range

    def packets() -> Iterator[Packet[Any]]:
        for number, frame in enumerate(_frames(source, "video")):
            plain = frame.reformat(format="yuv420p")
            plain.pts, plain.time_base, plain.pict_type = number, 1 / rate, 0
            yield from stream.encode(plain)
        yield from stream.encode(None)

    return packets()


def _h264(made: OutputContainer, size: tuple[int, int], rate: Fraction) -> VideoStream:
    stream: VideoStream = made.add_stream("libx264", rate=rate)
    stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
    context = stream.codec_context
    context.time_base, context.thread_count, context.gop_size = 1 / rate, THREADS, round(KEY_S * rate)
    context.max_b_frames = 0
    context.flags |= BITEXACT_CODEC
    # mbtree reads memory that x264 never wrote: of 150 conversions of one file nine had other bytes; without it none
    context.options = {"preset": PRESET, "crf": str(CRF), "x264-params": "mbtree=0"}
    return stream


# ------------------------------------------------------------------------------------------------ sound


def _copied_sound(source: Path, sound: AudioStream, made: OutputContainer, begin: Fraction) -> Iterator[Packet[Any]]:
    stream = made.add_stream_from_template(sound)
    rate = sound.codec_context.sample_rate
    stream.time_base = Fraction(1, rate)

    def packets() -> Iterator[Packet[Any]]:
        first = None
        for number, packet in enumerate(_packets(source, "audio")):
            first = round((_time(packet) - begin) * rate) if first is None else first
            packet.stream, packet.time_base = stream, Fraction(1, rate)
            packet.pts = packet.dts = first + number * AAC_BLOCK
            packet.duration = AAC_BLOCK
            yield packet

    return packets()


def _encoded_sound(source: Path, sound: AudioStream, made: OutputContainer, begin: Fraction) -> Iterator[Packet[Any]]:
    known = sound.codec_context
    rate = next((rate for rate in RATES if rate <= known.sample_rate), RATES[-1])
    layout = "mono" if known.channels == 1 else "stereo"
    stream = _aac(made, rate, layout)

    def packets() -> Iterator[Packet[Any]]:
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        place = None
        for frame in (*_frames(source, "audio"), None):
            if place is None:
                place = round((_time(frame) - begin) * rate) if frame is not None else 0
            for part in resampler.resample(frame):
                part.pts, part.time_base = place, Fraction(1, rate)
                place += part.samples
                yield from stream.encode(part)
        yield from stream.encode(None)

    return packets()


def _silence(made: OutputContainer, seconds: Fraction) -> Iterator[Packet[Any]]:
    stream = _aac(made, SILENT_RATE, "stereo")

    def packets() -> Iterator[Packet[Any]]:
        left, place = round(seconds * SILENT_RATE), 0
        while left > 0:
            count = min(left, AAC_BLOCK)
            part = AudioFrame.from_ndarray(np.zeros((2, count), np.float32), format="fltp", layout="stereo")
            part.sample_rate, part.pts, part.time_base = SILENT_RATE, place, Fraction(1, SILENT_RATE)
            yield from stream.encode(part)
            left, place = left - count, place + count
        yield from stream.encode(None)

    return packets()


def _aac(made: OutputContainer, rate: int, layout: str) -> AudioStream:
    stream: AudioStream = made.add_stream("aac", rate=rate, layout=layout)
    stream.codec_context.bit_rate = AAC_BPS
    stream.codec_context.flags |= BITEXACT_CODEC
    return stream


# ------------------------------------------------------------------------------------------------ fitting


def fits(facts: Mapping[str, Any], size: tuple[int, int], fps: int) -> bool:
    """Return whether a video of these facts (`probe_video`) can take the place of a clip as it is."""
    return _has_shape(facts, size, fps) and facts["fps"] == str(fps) and plays_in_browsers(facts)


def _has_shape(facts: Mapping[str, Any], size: tuple[int, int], fps: int) -> bool:
    is_upright = not (facts["rotation"] or facts["is_mirrored"] or facts["is_interlaced"] or facts["is_hdr"])
    return is_upright and (facts["width"], facts["height"]) == size and facts["is_even"] and facts["rate"] == str(fps)


def fitted_frames(facts: Mapping[str, Any], fps: int) -> int:
    """Return the frames that a video of these facts has once it is fitted to a rate."""
    return len(_times(facts, fps))


def fit_to_mp4(
    source: Path,
    out: Path,
    facts: Mapping[str, Any],
    size: tuple[int, int],
    fps: int,
    progress: Callable[[int, int], None] = lambda done, frames: None,
) -> None:
    """Write a video as an mp4 of this size and rate that every browser plays, with the pictures that players show.

    They fill the size, centred and cropped, in standard range and bt709. Pictures of the right form are copied. The
    same file and libraries give the same bytes. Raise LtxflowError when it does not decode.
    """
    if _has_shape(facts, size, fps) and has_playable_pictures(facts) and not facts["has_alpha"] and _is_square(facts):
        convert_to_mp4(source, out, adds_silence=False)
        return
    times, rate = _times(facts, fps), Fraction(fps)
    try:
        with av.open(str(out), "w", format="mp4") as made:
            made.flags |= BITEXACT_FILE
            pictures = _fitted(source, made, times, facts, size, rate, progress)
            sounds: Iterator[Packet[Any]] = iter(())
            if facts["audio_rate"]:
                part = SoundPart(source, Fraction(facts["start"]), len(times) / rate)
                sounds = _fitted_sound(made, part.wave(), part.rate, part.layout)
            for packet in _in_order(pictures, sounds):
                made.mux_one(packet)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M004.convert", name=source.name, reason=str(error).lower())) from error


def _is_square(facts: Mapping[str, Any]) -> bool:
    return bool(facts["pixel"] == "1")


def _times(facts: Mapping[str, Any], fps: int) -> list[Fraction]:
    """Return the times of the pictures to take, on the file's clock: at this rate, inside the first and the last."""
    start, end = Fraction(facts["start"]), Fraction(facts["end"])
    first = start + min((end - start) / facts["frames"], Fraction(1, fps)) / 2
    return [first + Fraction(number, fps) for number in range(max(1, math.ceil((end - first) * fps)))]


def _fitted(
    source: Path,
    made: OutputContainer,
    times: list[Fraction],
    facts: Mapping[str, Any],
    size: tuple[int, int],
    rate: Fraction,
    progress: Callable[[int, int], None],
) -> Iterator[Packet[Any]]:
    stream = _h264(made, size, rate)
    context = stream.codec_context
    context.color_primaries = context.color_trc = context.colorspace = BT709
    context.color_range = LIMITED

    def packets() -> Iterator[Packet[Any]]:
        shown = pictures_at(source, times, Fraction(facts["last"]), size, (0, 0, *size))
        for number, picture in enumerate(shown):
            whole = VideoFrame.from_ndarray(picture, format="rgb24")
            frame = whole.reformat(format="yuv420p", dst_colorspace=BT709, dst_color_range=LIMITED)
            frame.pts, frame.time_base, frame.pict_type = number, 1 / rate, 0
            frame.colorspace, frame.color_range = BT709, LIMITED
            yield from stream.encode(frame)
            progress(number + 1, len(times))
        yield from stream.encode(None)

    return packets()


def _fitted_sound(made: OutputContainer, wave: NDArray[np.int16], known: int, layout: str) -> Iterator[Packet[Any]]:
    rate = next((rate for rate in RATES if rate <= known), RATES[-1])
    stream = _aac(made, rate, layout)

    def packets() -> Iterator[Packet[Any]]:
        resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
        blocks = [wave[at : at + known] for at in range(0, len(wave), known)]
        place = 0
        for block in (*blocks, None):
            frame = None if block is None else AudioFrame.from_ndarray(block.reshape(1, -1), "s16", layout)
            if frame is not None:
                frame.sample_rate = known
            for part in resampler.resample(frame):
                part.pts, part.time_base = place, Fraction(1, rate)
                place += part.samples
                yield from stream.encode(part)
        yield from stream.encode(None)

    return packets()
