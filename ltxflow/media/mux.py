"""Mux encoded segments and the sound of scenes into one mp4, with chapters and captions.

Copies the packets of the segments unchanged. Reads sound scene by scene, so that a long film needs no more memory than
a short one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.codecs import BITEXACT_CODEC, BITEXACT_FILE
from ltxflow.media.mix import RATE, Sound

FAST_START = {"movflags": "+faststart"}  # the index first: a browser plays before it has all
BLOCK = 1024  # samples in a frame of AAC
# libavcodec's mov_text encoder wants the styles of its captions in the form of ASS.
STYLES = b"""[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, \
Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, \
MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


@dataclass(frozen=True)
class Chapter:
    """A chapter of the film, in frames."""

    title: str
    start: int
    end: int


@dataclass(frozen=True)
class Caption:
    """A caption from `start` to `end`, in ms of the film; `italics` are (line, first character, first after it)."""

    start: int
    end: int
    lines: tuple[str, ...]
    italics: tuple[tuple[int, int, int], ...] = ()


def join_film(
    parts: Sequence[Path],
    sounds: Iterable[Sound],
    fps: int,
    out: Path,
    *,
    bit_rate: int,
    chapters: Sequence[Chapter] = (),
    captions: Sequence[Caption] = (),
    tags: Mapping[str, str],
    progress: Callable[[int], None] = lambda frames: None,
) -> int:
    """Write segments in order and the sound of the scenes to `out`; return the number of frames.

    The same inputs and libraries give the same bytes. Raise LtxflowError when segments cannot be joined.
    """
    try:
        with av.open(str(parts[0])) as first, av.open(str(out), "w", format="mp4", options=FAST_START) as container:
            container.flags |= BITEXACT_FILE
            container.metadata.update(tags)
            video = container.add_stream_from_template(first.streams.video[0])
            video.time_base = Fraction(1, fps)
            audio = _audio_stream(container, bit_rate)
            texts = _text_stream(container) if captions else None
            container.set_chapters([_chapter(number, chapter, fps) for number, chapter in enumerate(chapters)])
            container.start_encoding()
            blocks, waiting = _blocks(sounds), list(captions)
            frames = at = 0
            for packet in _packets(parts, fps):
                frames += 1
                while texts is not None and waiting and waiting[0].start * fps < frames * 1000:
                    container.mux(_text(texts, waiting.pop(0)))
                packet.stream = video
                container.mux(packet)
                while at * fps < frames * RATE and (block := next(blocks, None)) is not None:
                    at += block.samples
                    container.mux(audio.encode(block))
                progress(frames)
            for block in blocks:
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
            return frames
    except (av.FFmpegError, OSError) as error:
        raise LtxflowError(problem("M019.write", name=out.name, reason=error)) from error


def _audio_stream(container: OutputContainer, bit_rate: int) -> AudioStream:
    stream = container.add_stream("aac", rate=RATE, layout="stereo")
    stream.codec_context.bit_rate = bit_rate
    stream.codec_context.thread_count = 1
    stream.codec_context.flags |= BITEXACT_CODEC
    return stream


def _text_stream(container: OutputContainer) -> SubtitleStream:
    stream = container.add_stream("mov_text")
    assert isinstance(stream, SubtitleStream)
    stream.codec_context.subtitle_header = STYLES
    stream.time_base = Fraction(1, 1000)
    return stream


def _chapter(number: int, chapter: Chapter, fps: int) -> Any:
    return {
        "id": number + 1,
        "start": chapter.start,
        "end": chapter.end,
        "time_base": Fraction(1, fps),
        "metadata": {"title": chapter.title},
    }


def _text(stream: SubtitleStream, caption: Caption) -> Packet[Any]:
    text = "\\N".join(_styled(line, number, caption.italics) for number, line in enumerate(caption.lines))
    dialogue = f"0,0,Default,,0,0,0,,{text}".encode()
    length = caption.end - caption.start
    packet = stream.codec_context.encode_subtitle(SubtitleSet.create(dialogue, 0, length, caption.start))
    packet.stream, packet.time_base = stream, Fraction(1, 1000)
    packet.pts = packet.dts = caption.start
    packet.duration = length
    return packet


def _styled(line: str, number: int, italics: Iterable[tuple[int, int, int]]) -> str:
    """Return a line in the form of ASS, without characters that would be read as markup."""
    plain = line.replace("{", "(").replace("}", ")").replace("\\", "/")
    parts, at = [], 0
    for of_line, first, end in italics:
        if of_line == number:
            parts += [plain[at:first], r"{\i1}", plain[first:end], r"{\i0}"]
            at = end
    return "".join([*parts, plain[at:]])


def _packets(parts: Sequence[Path], fps: int) -> Iterator[Packet[Any]]:
    """Yield the packets of all segments in display order: one per frame, without B-frames."""
    extradata = None
    done = 0
    for part in parts:
        with av.open(str(part)) as container:
            stream = container.streams.video[0]
            extradata = extradata or stream.codec_context.extradata
            if stream.codec_context.extradata != extradata:
                raise LtxflowError(problem("M019.differs", name=part.name))
            for packet in container.demux(stream):
                if packet.size == 0:
                    continue  # the end of the stream
                if packet.pts != packet.dts:
                    raise ValueError(f"{part.name} has B-frames")
                packet.time_base = Fraction(1, fps)
                packet.pts, packet.dts, packet.duration = done, done, 1
                done += 1
                yield packet


def _blocks(sounds: Iterable[Sound]) -> Iterator[AudioFrame]:
    """Yield successive sounds in equal blocks; only the last one may be shorter."""
    rest = np.zeros((2, 0), np.float32)
    at = 0
    for sound in sounds:
        rest = np.concatenate([rest, sound], axis=1)
        whole = rest.shape[1] // BLOCK * BLOCK
        for first in range(0, whole, BLOCK):
            yield _block(rest[:, first : first + BLOCK], at)
            at += BLOCK
        rest = rest[:, whole:]
    if rest.shape[1]:
        yield _block(rest, at)


def _block(samples: Sound, at: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = RATE, at, Fraction(1, RATE)
    return frame
