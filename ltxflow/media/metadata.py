"""Strip the metadata of an mp4, box by box, without decoding or encoding.

ComfyUI stores the whole prompt graph, including paths, in tags of the files it saves. Dropping known boxes by name
would leave unknown ones, so only the boxes that playing needs are copied, and only the bytes of data that the index
names. Content credentials (C2PA), samples, times, edit lists and colour tags stay as they are. The result depends on
the input alone, not on the version of a library.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

from ltxflow.media.mp4 import Box, Movie, children, read_movie

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
