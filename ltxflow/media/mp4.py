"""Read the index of an mp4 file, its boxes and tracks, without decoding.

Boxes and their fields are those of ISO/IEC 14496-12. Nothing read from the file is trusted: sizes and counts are
checked against the bytes that exist before they are used, and nothing recurses on them.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.workspace import opened_regular

INDEX_MAX_BYTES = 16 << 20  # an hour at 25 fps needs 2 MB
TOP_MAX = 4096
TRACKS_MAX = 64

# Content Credentials (C2PA 2.1, "Embedding manifests into BMFF-based assets"): the signed origin of a file.
C2PA = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")


@dataclass(frozen=True)
class Box:
    """A box: its kind, where its header starts, where its payload starts and where it ends."""

    kind: bytes
    start: int
    body: int
    end: int


@dataclass(frozen=True)
class Track:
    """One track of the index. `chunks` are (offset, length) in bytes of the file, in playing order."""

    handler: bytes  # b"vide", b"soun", …
    box: Box  # its `trak` in `Movie.moov`
    samples: int  # video frames, or packets of sound
    ticks: int  # duration of all samples, in 1/timescale s
    timescale: int
    edits: tuple[tuple[int, int], ...]  # (duration in 1/Movie.timescale s, first tick shown or -1)
    chunks: tuple[tuple[int, int], ...]
    width: int = 0
    height: int = 0
    rate: int = 0  # Hz
    channels: int = 0


@dataclass(frozen=True)
class Movie:
    """The index of an mp4 file, checked against its size; `moov` is the whole index box.

    `credentials` are the (offset, end) of boxes that name its origin.
    """

    size: int
    ftyp: bytes
    moov: bytes
    timescale: int
    tracks: tuple[Track, ...]
    credentials: tuple[tuple[int, int], ...] = ()


def read_movie(path: Path) -> Movie:
    """Return the index of a finished mp4 file, with `moov` before or after the data.

    Raise LtxflowError when the file is missing, empty, something else, cut short, fragmented, or when its index
    contradicts itself or names bytes that do not exist.
    """
    try:
        with opened_regular(path) as file:
            return _read(file, os.fstat(file.fileno()).st_size, path.name)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise LtxflowError(problem("M001.system", name=path.name, reason=reason)) from error


def children(data: bytes, box: Box, skip: int = 0) -> list[Box]:
    """Return the boxes in the payload of a box in `data`, after `skip` bytes, in order.

    Raise ValueError when they do not fit in it.
    """
    found = []
    at = box.body + skip
    while at < box.end:
        if at + 8 > box.end and not any(data[at : box.end]):
            break  # QuickTime ends some lists with a zero word
        child = _box(data[at : at + 16], at, box.end)
        found.append(child)
        at = child.end
    return found


def _box(head: bytes, at: int, limit: int) -> Box:
    """Return the box at `at` from its first bytes. Raise ValueError when it ends after `limit`."""
    if len(head) < 8:
        raise ValueError("a box breaks off")
    size, kind = struct.unpack_from(">I4s", head)
    body = at + 8
    if size == 1:
        if len(head) < 16:
            raise ValueError("a box breaks off")
        size = struct.unpack_from(">Q", head, 8)[0]
        body = at + 16
    end = limit if size == 0 else at + size
    if end < body or end > limit:
        raise ValueError("a box is larger than its container")
    return Box(kind, at, body, end)


def _read(file: BinaryIO, size: int, name: str) -> Movie:
    head = file.read(512)
    _refuse_others(head, size, name)
    top = _top_boxes(file, size, name)
    kinds = {box.kind for box in top}
    if kinds & {b"moof", b"sidx", b"styp"}:
        _fragmented(name)
    index = next((box for box in top if box.kind == b"moov"), None)
    if index is None:
        _cut_short(name, "its index (moov) is missing")
    if index.end - index.start > INDEX_MAX_BYTES:
        _damaged(name, f"its index is larger than {INDEX_MAX_BYTES >> 20} MB")
    file.seek(index.start)
    moov = file.read(index.end - index.start)
    brand = next((box for box in top if box.kind == b"ftyp" and box.end - box.start <= 1024), None)
    ftyp = b""
    if brand is not None:
        file.seek(brand.start)
        ftyp = file.read(brand.end - brand.start)
    data = [(box.body, box.end) for box in top if box.kind == b"mdat"]
    try:
        movie = _movie(moov, ftyp, size)
    except _Fragmented:
        _fragmented(name)
    except (ValueError, struct.error) as error:
        _damaged(name, str(error) if type(error) is ValueError else "its index breaks off")
    _check_extents(movie, data, name)
    return replace(movie, credentials=tuple(_credentials(file, top)))


def _credentials(file: BinaryIO, top: list[Box]) -> Iterator[tuple[int, int]]:
    for box in top:
        if box.kind == b"uuid":
            file.seek(box.body)
        if box.kind == b"jumb" or (box.kind == b"uuid" and file.read(16) == C2PA):
            yield box.start, box.end


def _refuse_others(head: bytes, size: int, name: str) -> None:
    if size == 0:
        raise LtxflowError(problem("M003.file", name=name))
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if start in (b"<", b"{", b"["):
        raise LtxflowError(problem("M025", name=name, kind="a web page" if start == b"<" else "a JSON text"))
    if size >= 8 and not all(32 <= c < 127 or c == 0xA9 for c in head[4:8]):
        raise LtxflowError(problem("M010", name=name))


def _top_boxes(file: BinaryIO, size: int, name: str) -> list[Box]:
    boxes: list[Box] = []
    at = 0
    while at < size:
        file.seek(at)
        head = file.read(16)
        try:
            box = _box(head, at, size)
        except ValueError:
            if not boxes and head[4:8] not in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
                raise LtxflowError(problem("M010", name=name)) from None
            claimed = _claimed_size(head)
            missing = f", {at + claimed - size} bytes are missing" if at + claimed > size else ""
            _cut_short(name, f"it ends inside a box at byte {at}{missing}")
        boxes.append(box)
        at = box.end
        if len(boxes) > TOP_MAX:
            _damaged(name, f"it has more than {TOP_MAX} boxes")
    return boxes


class _Fragmented(Exception):
    """The samples are in fragments, according to the index."""


def _movie(moov: bytes, ftyp: bytes, size: int) -> Movie:
    root = _box(moov[:16], 0, len(moov))
    timescale = 0
    tracks: list[Track] = []
    for box in children(moov, root):
        if box.kind == b"mvex":
            raise _Fragmented
        if box.kind == b"mvhd":
            timescale = _timescale(moov, box)
        if box.kind == b"trak":
            if len(tracks) == TRACKS_MAX:
                raise ValueError(f"it has more than {TRACKS_MAX} tracks")
            tracks.append(_track(moov, box))
    if timescale == 0:
        raise ValueError("its index has no header (mvhd)")
    return Movie(size, ftyp, moov, timescale, tuple(tracks))


def _track(data: bytes, trak: Box) -> Track:
    media = _child(data, trak, b"mdia")
    handler = _take(data, _child(data, media, b"hdlr"), ">8x4s")[0]
    table = _child(data, _child(data, media, b"minf"), b"stbl")
    counts, ticks = _times(data, _child(data, table, b"stts"))
    chunks, samples = _chunks(data, table)
    if counts != samples:
        raise ValueError(f"it lists {samples} samples and the times of {counts}")
    timescale = _timescale(data, _child(data, media, b"mdhd"))
    width, height, rate, channels = _format(data, _child(data, table, b"stsd"), handler)
    if handler == b"soun":
        rate = rate or timescale  # rates above 65535 Hz do not fit the field
    edits = _edits(data, trak)
    return Track(handler, trak, samples, ticks, timescale, edits, chunks, width, height, rate, channels)


def _child(data: bytes, box: Box, kind: bytes) -> Box:
    for child in children(data, box):
        if child.kind == kind:
            return child
    raise ValueError(f"its index lacks a part ({kind.decode()})")


def _take(data: bytes, box: Box, layout: str, skip: int = 0) -> tuple[Any, ...]:
    """Return the fields of `layout`, `skip` bytes into the payload of a box."""
    if box.body + skip + struct.calcsize(layout) > box.end:
        raise ValueError(f"a part of its index breaks off ({box.kind.decode('latin-1')})")
    return struct.unpack_from(layout, data, box.body + skip)


def _table(data: bytes, box: Box, columns: str, skip: int = 4) -> list[tuple[int, ...]]:
    """Return the rows of a table box: a count `skip` bytes into the payload, then that many rows."""
    return list(struct.iter_unpack(">" + columns, _rows(data, box, struct.calcsize(">" + columns), skip)))


def _column(data: bytes, box: Box, bits: Literal["I", "Q"], skip: int = 4) -> array[int]:
    """Return the numbers of a table box with one column, which can be long."""
    numbers = array(bits, _rows(data, box, struct.calcsize(">" + bits), skip))
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _rows(data: bytes, box: Box, width: int, skip: int) -> bytes:
    count = _take(data, box, ">I", skip)[0]
    start = box.body + skip + 4
    end = start + count * width
    if end > box.end:
        raise ValueError(f"a table of its index breaks off ({box.kind.decode('latin-1')})")
    return data[start:end]


def _timescale(data: bytes, box: Box) -> int:
    """Return the time scale of an `mvhd` or `mdhd` box; version 1 has 64-bit times."""
    value: int = _take(data, box, ">I", 20 if data[box.body : box.body + 1] == b"\1" else 12)[0]
    if value == 0:
        raise ValueError("its time scale is 0")
    return value


def _times(data: bytes, box: Box) -> tuple[int, int]:
    rows = _table(data, box, "II")
    return sum(count for count, _ in rows), sum(count * delta for count, delta in rows)


def _edits(data: bytes, trak: Box) -> tuple[tuple[int, int], ...]:
    edts = [box for box in children(data, trak) if box.kind == b"edts"]
    if not edts:
        return ()
    box = _child(data, edts[0], b"elst")
    wide = data[box.body : box.body + 1] == b"\1"
    return tuple((row[0], row[1]) for row in _table(data, box, "Qq4x" if wide else "Ii4x"))


def _format(data: bytes, box: Box, handler: bytes) -> tuple[int, int, int, int]:
    """Return width, height, rate and channels of the first sample description; 0 where one does not apply."""
    entries = children(data, box, skip=8)
    if not entries:
        raise ValueError("a track has no description of its samples (stsd)")
    if handler == b"vide":
        width, height = _take(data, entries[0], ">HH", 24)
        return width, height, 0, 0
    if handler == b"soun":
        channels, rate = _take(data, entries[0], ">H6xI", 16)
        return 0, 0, rate >> 16, channels
    return 0, 0, 0, 0


def _chunks(data: bytes, table: Box) -> tuple[tuple[tuple[int, int], ...], int]:
    """Return the (offset, length) of every chunk of a sample table, and the number of their samples."""
    boxes = {box.kind: box for box in children(data, table)}
    if b"co64" in boxes:
        offsets = _column(data, boxes[b"co64"], "Q")
    else:
        offsets = _column(data, _child(data, table, b"stco"), "I")
    sizes = _child(data, table, b"stsz")
    fixed, samples = _take(data, sizes, ">II", 4)
    runs = _table(data, _child(data, table, b"stsc"), "III")
    counts: list[int] = []  # samples in each chunk
    for number, (first, per_chunk, _) in enumerate(runs):
        until = runs[number + 1][0] if number + 1 < len(runs) else len(offsets) + 1
        if first != len(counts) + 1 or not first <= until <= len(offsets) + 1:
            raise ValueError("its chunks are numbered wrongly (stsc)")
        counts += [per_chunk] * (until - first)
    ends = list(accumulate(counts))
    if len(counts) != len(offsets) or (ends[-1] if ends else 0) != samples:
        raise ValueError(f"its chunks do not hold the {samples} samples that it lists")
    if fixed:
        return tuple((at, count * fixed) for at, count in zip(offsets, counts, strict=True)), samples
    filled = [0, *accumulate(_column(data, sizes, "I", skip=8))]
    lengths = [filled[end] - filled[end - count] for end, count in zip(ends, counts, strict=True)]
    return tuple(zip(offsets, lengths, strict=True)), samples


def _check_extents(movie: Movie, data: list[tuple[int, int]], name: str) -> None:
    """Check that every chunk lies in a payload of an `mdat` box, whose extents are `data`."""
    data = sorted(data)
    starts = [start for start, _ in data]
    for track in movie.tracks:
        for offset, length in track.chunks:
            place = bisect_right(starts, offset) - 1
            if length and (place < 0 or offset + length > data[place][1]):
                end = offset + length
                if end > movie.size:
                    _cut_short(name, f"its data extends to byte {end}, and the file ends at {movie.size}")
                _damaged(name, f"its index points outside its data, at byte {offset}")


def _claimed_size(head: bytes) -> int:
    if len(head) < 8:
        return 0
    size = int.from_bytes(head[:4], "big")
    return int.from_bytes(head[8:16], "big") if size == 1 and len(head) == 16 else size


def _cut_short(name: str, reason: str) -> NoReturn:
    raise LtxflowError(problem("M005", name=name, reason=reason))


def _damaged(name: str, reason: str) -> NoReturn:
    raise LtxflowError(problem("M004.index", name=name, reason=reason))


def _fragmented(name: str) -> NoReturn:
    raise LtxflowError(problem("M011", name=name))
