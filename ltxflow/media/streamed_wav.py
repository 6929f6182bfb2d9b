"""Split files in which several sounds run together, as servers that stream send a header with every piece.

FFmpeg reads such a file up to the length in the first header: of WAV, AIFF, W64, CAF, WebM and MP4 it drops the rest
silently, mp3 does not decode, AU gets a click (FFmpeg 8.1; Ogg, FLAC and ADTS are read to the end). So the file is cut
at its headers first, and every part is decoded separately.

Sources: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF), EBU Tech 3306 (RF64), ISO/IEC 14496-12
(boxes), id3.org (ID3v2), FFmpeg's and LAME's description of the Xing tag.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.regular import open_regular, read_bytes

LONGEST_S = 3600
LARGEST = 4 << 30  # bytes: the limit of the sizes in a WAV, and an hour in studio quality
SLACK = 64  # bytes by which a size may be wrong: some include the header
LOOSE_S = 0.1  # of sound after the end: less is garbage, more was intended

_WAVE = re.compile(rb"(?:RIFF|RF64|BW64)....WAVE(?=[ -~]{4})", re.DOTALL)
_OTHERS = {  # headers by kind, anywhere in a file; the first match must be at 0
    "AIFF": re.compile(rb"FORM....AIF[FC](?=[ -~]{4})", re.DOTALL),
    "AU": re.compile(rb"\.snd\0\0[\0-\x0f].(?:\xff{4}|.{4})\0\0\0[\x01-\x1b]\0[\0-\x0f]..\0\0\0[\x01-\x08]", re.DOTALL),
    "CAF": re.compile(rb"caff\0\x01\0\0desc"),
    "W64": re.compile(rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0"),
    "WebM": re.compile(rb"\x1aE\xdf\xa3[\x01-\xff].{0,7}?\x42\x86\x81", re.DOTALL),
    "FLAC": re.compile(rb"fLaC[\0\x80]\0\0\x22"),
}
_MP3 = re.compile(
    rb"ID3[\x02-\x04]\0[\0-\xf0][\0-\x7f]{4}|\xff[\xe2-\xff][\x10-\xeb].(?:.{32}|.{17}|.{9})(?:Xing|Info)",
    re.DOTALL,
)
Bytes = bytes | mmap.mmap
_BOX = re.compile(rb"[ -~]{4}")
_UNKNOWN = (0, 0xFFFFFFFF)  # sizes of a header that was written before its sound


def sound_parts(path: Path) -> list[io.BytesIO] | None:
    """Return the sounds in a file, each with a correct header, or None for a file that can be read as it is.

    Raise LtxflowError for a WAV that is cut off or has more sound than its header states, and for a file larger than
    `LARGEST`; OSError for something other than a regular file.
    """
    _check_size(path)
    data = read_bytes(path, LARGEST)
    if _WAVE.match(data):
        starts = [match.start() for match in _WAVE.finditer(data)]
        parts = [data[first:end] for first, end in zip(starts, [*starts[1:], len(data)], strict=True)]
        mended = [_mended(part, path.name) for part in parts]
        return [io.BytesIO(part) for part in mended if part]
    starts = _starts(data)
    if len(starts) < 2:
        return None
    return [io.BytesIO(data[first:end]) for first, end in zip(starts, [*starts[1:], len(data)], strict=True)]


def count_sounds(path: Path) -> int:
    """Return the number of sounds in a file, 1 for nearly all, reading as little of a large file as possible.

    Raise LtxflowError for a file larger than `LARGEST`, since a sparse file of that size takes no disk.
    """
    if not _check_size(path):
        return 1
    with open(open_regular(path), "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts = sum(1 for _ in _WAVE.finditer(data)) if _WAVE.match(data) else len(_starts(data))
    return max(1, starts)


def _check_size(path: Path) -> int:
    """Return the size of a file in bytes. Raise LtxflowError for one that is too large for the sound of a film."""
    size = path.stat().st_size
    if size > LARGEST:
        raise LtxflowError(problem("M002.too-large", name=path.name, size=LARGEST >> 30))
    return size


def _starts(data: Bytes) -> list[int]:
    """Return the positions of the headers in a file of a known kind."""
    if data[4:8] == b"ftyp":
        return list(_boxes(data))
    if data[:3] == b"ID3" or re.match(rb"\xff[\xe2-\xff]", data):
        return _of_mp3(data)
    kind = next((pattern for pattern in _OTHERS.values() if pattern.match(data)), None)
    return [match.start() for match in kind.finditer(data)] if kind else []


def _of_mp3(data: Bytes) -> list[int]:
    """Return the positions of the parts of an mp3, each a tag and frames; the first may have no tag."""
    starts = [0]
    behind = _behind_tag(data, 0)
    for match in _MP3.finditer(data):
        at = match.start()
        if at > behind:
            starts.append(at)
        if at >= behind:
            behind = _behind_tag(data, at)
    return starts


def _behind_tag(data: Bytes, at: int) -> int:
    if data[at : at + 3] != b"ID3":
        return at
    size = 0
    for byte in data[at + 6 : at + 10]:
        size = size << 7 | byte & 0x7F
    return at + 10 + size


def _boxes(data: Bytes) -> Iterator[int]:
    """Yield the positions of the files in an mp4: of every `ftyp` that is in no other box."""
    at = 0
    while at + 8 <= len(data) and _BOX.fullmatch(data, at + 4, at + 8):
        (size,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"ftyp":
            yield at
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size < 8:
            return
        at += size


# WAV


@dataclass(frozen=True)
class _Chunk:
    """A chunk of a WAV: its name, the position of its content, and the size in its header."""

    name: bytes
    start: int
    size: int


def _mended(part: bytes, name: str) -> bytes:
    """Return a WAV with correct sizes; empty if it has no sound."""
    form, sound, long_size = b"", [], 0
    at = 12
    while at + 8 <= len(part) and _BOX.fullmatch(part, at, at + 4):
        chunk = _Chunk(part[at : at + 4], at + 8, struct.unpack_from("<I", part, at + 4)[0])
        if chunk.name == b"ds64" and len(part) >= chunk.start + 16:
            (long_size,) = struct.unpack_from("<Q", part, chunk.start + 8)
        elif chunk.name == b"fmt ":
            form = part[chunk.start : chunk.start + chunk.size]
        elif chunk.name == b"data":
            if len(form) < 16:
                raise _refused(name, "has sound before its format")
            size = long_size if chunk.size == 0xFFFFFFFF and 0 < long_size <= len(part) else chunk.size
            count, at = _sound(part, _Chunk(chunk.name, chunk.start, size), form, name)
            sound.append(part[chunk.start : chunk.start + count])
            continue
        at = _behind(part, chunk)
    whole = b"".join(sound)
    align = max(1, struct.unpack_from("<H", form, 12)[0]) if len(form) >= 16 else 1
    whole = whole[: len(whole) // align * align]
    if not whole:
        return b""
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"\0" * (len(form) % 2)
    chunks += b"data" + struct.pack("<I", len(whole)) + whole + b"\0" * (len(whole) % 2)
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _sound(part: bytes, chunk: _Chunk, form: bytes, name: str) -> tuple[int, int]:
    """Return the bytes of sound in a chunk, and the position of the next one."""
    there = len(part) - chunk.start
    rate = max(1, struct.unpack_from("<I", form, 8)[0])  # bytes a second
    if chunk.size in _UNKNOWN or chunk.size > rate * LONGEST_S:
        return _until_tail(part, chunk.start), len(part)
    if chunk.size > there + SLACK:
        raise _refused(name, f"is cut off: {there / rate:.2f} s of {chunk.size / rate:.2f} s exist")
    count = min(chunk.size, there)
    behind = _behind(part, chunk)
    rest = part[chunk.start + count :]
    if len(rest) / rate > LOOSE_S and rest.strip(b"\0") and not _is_tail(part, behind):
        more = len(rest) / rate
        raise _refused(name, f"has {more:.2f} s more than the {count / rate:.2f} s in its header")
    return count, behind


def _behind(part: bytes, chunk: _Chunk) -> int:
    """Return the position of the chunk after one. A padding byte, which some forget, follows an odd one."""
    end = chunk.start + chunk.size
    is_padded = chunk.size % 2 == 1 and not _BOX.fullmatch(part, end, end + 4)
    return end + is_padded


def _is_tail(part: bytes, at: int) -> bool:
    """Return whether chunks, from a position on, fill a WAV to its end."""
    while at + 8 <= len(part):
        if not _BOX.fullmatch(part, at, at + 4):
            return False
        at = _behind(part, _Chunk(b"", at + 8, struct.unpack_from("<I", part, at + 4)[0]))
    return at <= len(part) + 1


def _until_tail(part: bytes, start: int) -> int:
    """Return the bytes of a sound of unknown size: all except a list of tags after it."""
    for mark in (b"LIST", b"id3 "):
        at = part.rfind(mark, start)
        if at >= 0 and _is_tail(part, at):
            return at - start
    return len(part) - start


def _refused(name: str, reason: str) -> LtxflowError:
    return LtxflowError(problem("M020", name=name, reason=reason))
