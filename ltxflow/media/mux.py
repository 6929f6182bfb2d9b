"""Strip the metadata of an mp4, box by box, without decoding or encoding.

ComfyUI stores the whole prompt graph, including paths, in tags of the files it saves. Dropping known boxes by name
would leave unknown ones, so only the boxes that playing needs are copied, and only the bytes of data that the index
names. Content credentials (C2PA), samples, times, edit lists and colour tags stay as they are. The result depends on
the input alone, not on the version of a library.

Mux encoded segments and the sound of scenes into one mp4, with chapters and captions.

Copies the packets of the segments unchanged. Reads sound scene by scene, so that a long film needs no more memory than
a short one.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.subtitles.stream import SubtitleStream
from av.subtitles.subtitle import SubtitleSet

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.mix import RATE, Sound
from ltxflow.media.mp4 import Box, Movie, children, read_movie
from ltxflow.media.video import BITEXACT_CODEC, BITEXACT_FILE

KEPT = {
    b"moov": {b"mvhd", b"trak"},
    b"trak": {b"tkhd", b"edts", b"mdia"},
    b"mdia": {b"mdhd", b"hdlr", b"minf"},
    b"minf": {b"vmhd", b"smhd", b"dinf", b"stbl"},
    b"stbl": {
        b"stsd",
        b"stts",
        b"ctts",
        b"cslg",
        b"stss",
        b"stsc",
        b"stsz",
        b"stco",
        b"co64",
        b"sgpd",
        b"sbgp",
    },
}
FTYP = struct.pack(">I4s4sI4s4s", 24, b"ftyp", b"isom", 512, b"isom", b"mp41")
BLOCK_BYTES = 1 << 20

Extent = tuple[int, int]  # (offset, end) in bytes of the source


def strip_mp4(src: Path, out: Path) -> None:
    """Write the pictures and sound of an mp4 to `out`, index first, without any tag, name or date.

    Marks of origin stay: credentials before the index, watermarks in the samples. Tracks that are neither picture nor
    sound (subtitles, timecode) are left out. The same input gives the same bytes. Raise LtxflowError when `src` is not
    a complete mp4.
    """
    movie = read_movie(src)
    kept = [track for track in movie.tracks if track.handler in (b"vide", b"soun")]
    extents = _merged([(at, at + length) for track in kept for at, length in track.chunks if length])
    size = sum(end - at for at, end in extents)
    ftyp = movie.ftyp or FTYP
    signed = sum(end - at for at, end in movie.credentials)
    wide = len(ftyp) + signed + len(movie.moov) * 2 + size >= 1 << 32  # an upper bound
    traks = {track.box for track in kept}
    head = len(ftyp) + signed + len(_moov(movie, traks, extents, 0, wide)) + (16 if wide else 8)
    moov = _moov(movie, traks, extents, head, wide)
    with src.open("rb") as source, out.open("wb") as file:
        file.write(ftyp)
        for at, end in movie.credentials:
            _copy(source, at, end, file)
        file.write(moov)
        long = struct.pack(">I4sQ", 1, b"mdat", size + 16)
        file.write(long if wide else struct.pack(">I4s", size + 8, b"mdat"))
        for at, end in extents:
            _copy(source, at, end, file)


def _merged(extents: list[Extent]) -> list[Extent]:
    """Return extents sorted, with those that touch or overlap joined."""
    merged: list[Extent] = []
    for at, end in sorted(extents):
        if merged and at <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((at, end))
    return merged


def _moov(movie: Movie, traks: set[Box], extents: list[Extent], data_at: int, wide: bool) -> bytes:
    """Return the index of extents that will follow one another from `data_at` on."""
    data = movie.moov
    starts = [at for at, _ in extents]
    places = [data_at, *(data_at + n for n in accumulate(end - at for at, end in extents))]

    def rebuilt(box: Box) -> bytes:
        if box.kind in KEPT:
            kept = [child for child in children(data, box) if child.kind in KEPT[box.kind]]
            return _box(box.kind, b"".join(rebuilt(c) for c in kept if c.kind != b"trak" or c in traks))
        payload = data[box.body : box.end]
        if box.kind in (b"mvhd", b"tkhd", b"mdhd"):
            times = 16 if payload[:1] == b"\1" else 8  # creation and modification
            return _box(box.kind, payload[:4] + bytes(times) + payload[4 + times :])
        if box.kind == b"hdlr":
            return _box(box.kind, payload[:24] + b"\0")  # the rest is a name in free text
        if box.kind in (b"stco", b"co64"):
            layout = "I" if box.kind == b"stco" else "Q"
            count = struct.unpack_from(">I", payload, 4)[0]
            old = struct.unpack_from(f">{count}{layout}", payload, 8)
            return _offsets([moved(at) for at in old], wide)
        return _box(box.kind, payload)

    def moved(at: int) -> int:
        place = bisect_right(starts, at) - 1
        return places[place] + at - starts[place] if place >= 0 else data_at  # an empty chunk may point anywhere

    return rebuilt(Box(b"moov", 0, 16 if data[:4] == b"\0\0\0\1" else 8, len(data)))


def _offsets(offsets: list[int], wide: bool) -> bytes:
    table = struct.pack(f">II{len(offsets)}{'Q' if wide else 'I'}", 0, len(offsets), *offsets)
    return _box(b"co64" if wide else b"stco", table)


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def _copy(source: BinaryIO, at: int, end: int, out: BinaryIO) -> None:
    source.seek(at)
    while at < end:
        block = source.read(min(BLOCK_BYTES, end - at))
        if not block:
            raise OSError("the file shrank while it was read")
        out.write(block)
        at += len(block)


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
