"""Split files in which several sounds run together, as servers that stream send a header with every piece.

FFmpeg reads such a file up to the length in the first header: of WAV, AIFF, W64, CAF, WebM and MP4 it drops the rest
silently, mp3 does not decode, AU gets a click (FFmpeg 8.1; Ogg, FLAC and ADTS are read to the end). So the file is cut
at its headers first, and every part is decoded separately.

Sources: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF), EBU Tech 3306 (RF64), ISO/IEC 14496-12
(boxes), id3.org (ID3v2), FFmpeg's and LAME's description of the Xing tag.

Measure the length of sound files by decoding them, and the loudness and peaks of samples (ITU-R BS.1770-4).

Headers often state a wrong length. Samples are float arrays, 1.0 at full scale: (samples,) or (channels, samples).
Loudness is in LUFS, gains and peaks in dB. Sound that is too quiet to be measured has a loudness of -inf.
"""

from __future__ import annotations

import io
import math
import mmap
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.workspace import opened_regular, read_bytes

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
# The formats that FFmpeg may detect: no playlists or scripts, which name other files and addresses.
FORMATS = (
    *("wav", "w64", "aiff", "au", "caf", "flac", "mp3", "aac", "ac3", "eac3", "amr", "ogg", "asf", "wv", "tta", "ape"),
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "mpegts", "mpeg", "avi", "flv", "mxf", "nut"),
    *("image2", "png_pipe", "jpeg_pipe", "webp_pipe", "gif"),  # these have no sound, and are named by that
)
OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}
PLAYED = {  # by every browser: codecs by format, or by suffix where formats share a container
    "wav": ("pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"),
    "mp3": ("mp3",),
    "aac": ("aac",),
    "flac": ("flac",),
    "ogg": ("opus", "vorbis", "flac"),
    ".m4a": ("aac",),
    ".mp4": ("aac",),
    ".webm": ("opus", "vorbis"),
}
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
    with opened_regular(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
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


@dataclass(frozen=True)
class SoundFacts:
    """The length of a sound when played: `samples` per channel at `sample_rate` Hz.

    `is_played` means that every browser plays the file.
    """

    samples: int
    sample_rate: int
    channels: int
    is_played: bool = True

    @property
    def seconds(self) -> Fraction:
        return Fraction(self.samples, self.sample_rate)


def measure_sound(path: Path) -> SoundFacts:
    """Return the length of the sound in a file, by decoding every sample.

    Streamed WAVs (sizes 0 or 0xFFFFFFFF) and incomplete files have wrong headers. AAC and mp3 without a Xing header
    come out some ms long, by padding that really plays. Raise LtxflowError when the file is missing, unreadable,
    without a sound track, without a single sample, or several files in one.
    """
    if not path.is_file():
        raise LtxflowError(problem("M001.sound", name=path.name))
    if (count := count_sounds(path)) > 1:
        raise LtxflowError(problem("M002.run-together", name=path.name, count=count))
    samples = rate = channels = 0
    try:
        with av.open(str(path), options=dict(OPTIONS)) as container:
            if not container.streams.audio:
                raise LtxflowError(problem("M007.none", name=path.name))
            track = container.streams.audio[0]
            if track.codec_context is None:
                raise LtxflowError(problem("M007.codec", name=path.name))
            codec = str(track.codec_context.codec.canonical_name)
            is_played = not container.streams.video and codec in PLAYED.get(_kind(container.format.name, path), ())
            for frame in container.decode(track):
                samples += frame.samples
                rate = rate or frame.sample_rate
                channels = channels or len(frame.layout.channels)
                if frame.sample_rate != rate:
                    raise LtxflowError(problem("M002.rate", name=path.name))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M002.sound", name=path.name)) from error
    if samples == 0:
        raise LtxflowError(problem("M003.sound", name=path.name))
    return SoundFacts(samples, rate, channels, is_played)


def sound_layout(path: Path) -> tuple[int, int]:
    """Return the sample rate in Hz and the channels in the header of a sound file; 0 for one without sound.

    Raise LtxflowError when it cannot be read.
    """
    try:
        with av.open(str(path), options=dict(OPTIONS)) as container:
            tracks = [track for track in container.streams.audio if track.codec_context is not None]
            return (int(tracks[0].rate or 0), int(tracks[0].channels or 0)) if tracks else (0, 0)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M002.sound", name=path.name)) from error


def _kind(format_: str, path: Path) -> str:
    """Return the format of a sound as `PLAYED` calls it: browsers go by the name, too."""
    kind, suffix = format_.partition(",")[0], path.suffix.lower()
    return suffix if kind in ("mov", "matroska") else kind


Sound = NDArray[np.floating]

ABSOLUTE_GATE = -70.0  # LUFS; BS.1770-4 annex 1
RELATIVE_GATE = -10.0  # LU
OFFSET = -0.691  # dB: makes 997 Hz at 0 dBFS in one channel -3.01
HOPS = 4  # a gating block is 400 ms, a new one begins each 100 ms
SURROUND = 1.41  # weight of a channel behind the listener
CENTRE_OF_5 = (1.0, 1.0, 1.0, SURROUND, SURROUND)  # L R C Ls Rs
CENTRE_OF_6 = (1.0, 1.0, 1.0, 0.0, SURROUND, SURROUND)  # L R C LFE Ls Rs, as FFmpeg orders 5.1

CHUNK_S = 4  # filtered at a time: memory stays small for an hour of speech

PHASES = 4  # true peak: BS.1770-4 annex 2 asks for 4 times the rate at 48 kHz
REACH = 16  # samples on either side of an interpolated one


@dataclass(frozen=True)
class Loudness:
    """Loudness of a whole sound, and the highest peak between its samples."""

    lufs: float  # -inf when nothing is above the gate
    true_peak_db: float  # dBTP; -inf for digital silence


def measure_loudness(sound: Sound, rate: int) -> Loudness:
    """Return the integrated loudness and true peak of samples at `rate` Hz."""
    return Loudness(integrated_lufs(sound, rate), true_peak_db(sound))


def integrated_lufs(sound: Sound, rate: int) -> float:
    """Return the gated loudness of samples at `rate` Hz in LUFS, -inf when all of it is below the gate.

    One channel counts once, as in BS.1770: played by two speakers it is 3 LU louder. Five or six channels are
    L R C (LFE) Ls Rs; other numbers of channels have equal weights. Sound shorter than a gating block is one block.
    """
    channels = _channels(sound)
    count = channels.shape[1]
    if count == 0:
        return -math.inf
    hops = min(HOPS, max(1, round(count / rate * 10)))
    edges = [round(hop * rate / 10) for hop in range(int(count * 10 // rate) + 1)]
    if len(edges) <= HOPS:
        edges, hops = [0, count], 1
    energies = np.zeros(len(edges) - 1)
    for weight, samples in zip(_weights(len(channels)), channels, strict=True):
        if weight:
            energies += weight * _energies(samples, rate, edges)
    lengths = np.diff(edges)
    blocks = _sums(energies, hops) / _sums(lengths.astype(np.float64), hops)
    return _gated(blocks)


def true_peak_db(sound: Sound) -> float:
    """Return the highest peak of the curve through samples in dBTP, -inf for digital silence.

    An estimate by 4 times oversampling: at most 0.7 dB low at half the rate, much less at audible frequencies.
    """
    channels = _channels(sound)
    peak = float(np.abs(channels).max(initial=0.0))
    for samples in channels:
        if len(samples) == 0:
            continue
        around = np.pad(samples, REACH)
        for taps in _interpolators():
            for part in _parts(around, 2 * REACH):
                peak = max(peak, float(np.abs(np.convolve(part, taps, "valid")).max()))
    return 20 * math.log10(peak) if peak > 0 else -math.inf


def gain_to(target_lufs: float, measured: Loudness, ceiling_db: float = math.inf) -> float:
    """Return the gain in dB that brings a measured sound to a target loudness, 0 for silence.

    A `ceiling_db` keeps the true peak below it, if necessary with a quieter result. A mix that ends in a limiter needs
    none.
    """
    if math.isinf(measured.lufs):
        return 0.0
    return min(target_lufs - measured.lufs, ceiling_db - measured.true_peak_db)


def amplitude(gain_db: float) -> float:
    """Return the factor of a gain in dB."""
    return float(10 ** (gain_db / 20))


def _channels(sound: Sound) -> NDArray[np.float64]:
    return np.atleast_2d(np.asarray(sound, np.float64))


def _weights(channels: int) -> tuple[float, ...]:
    return {5: CENTRE_OF_5, 6: CENTRE_OF_6}.get(channels, (1.0,) * channels)


def _energies(samples: NDArray[np.float64], rate: int, edges: list[int]) -> NDArray[np.float64]:
    """Return the sums of the K-weighted squares of one channel between successive edges.

    Filters by multiplying spectra, which wraps the end of each chunk into its start: that part, `settle`, is discarded.
    """
    sums = np.zeros(len(edges) - 1)
    settle = rate // 2
    size = settle + rate * min(CHUNK_S, math.ceil(len(samples) / rate))  # whole seconds: a clip is shorter than a chunk
    padded = np.pad(samples, (settle, 0))
    for first in range(0, len(sums), CHUNK_S * 10):
        bounds = edges[first : first + CHUNK_S * 10 + 1]
        chunk = padded[bounds[0] : bounds[-1] + settle]
        weighted = np.fft.irfft(np.fft.rfft(chunk, size) * _response(rate, size), size)[: len(chunk)]
        starts = [edge - bounds[0] + settle for edge in bounds[:-1]]
        sums[first : first + CHUNK_S * 10] = np.add.reduceat(weighted**2, starts)
    return sums


@lru_cache(maxsize=4)
def _response(rate: int, size: int) -> NDArray[np.complex128]:
    """Return the response of both filters of BS.1770-4 annex 1 at any rate, equal to the published one at 48 kHz.

    The analogue prototypes (frequency, gain, Q) are those of libebur128 and pyloudnorm.
    """
    back = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)  # z^-1
    gain, quality, k = 10 ** (3.999843853973347 / 20), 0.7071752369554196, _warped(1681.974450955533, rate)
    middle = gain**0.4996667741545416
    shelf = (gain + middle * k / quality + k * k, 2 * (k * k - gain), gain - middle * k / quality + k * k)
    head = _biquad(back, shelf, k, quality)
    k, quality = _warped(38.13547087602444, rate), 0.5003270373238773
    scale = 1 + k / quality + k * k  # the published high-pass has 1, -2, 1 above, unscaled
    low_cut = _biquad(back, (scale, -2 * scale, scale), k, quality)
    response: NDArray[np.complex128] = head * low_cut
    return response


def _biquad(
    back: NDArray[np.complex128], above: tuple[float, float, float], k: float, quality: float
) -> NDArray[np.complex128]:
    below = (1 + k / quality + k * k, 2 * (k * k - 1), 1 - k / quality + k * k)
    result: NDArray[np.complex128] = np.polyval(above[::-1], back) / np.polyval(below[::-1], back)
    return result


def _warped(hertz: float, rate: int) -> float:
    return math.tan(math.pi * hertz / rate)


def _sums(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    totals = np.concatenate([[0.0], np.cumsum(values)])
    result: NDArray[np.float64] = totals[width:] - totals[:-width]
    return result


def _gated(blocks: NDArray[np.float64]) -> float:
    loud = blocks[blocks > _energy(ABSOLUTE_GATE)]
    if len(loud):
        loud = loud[loud > loud.mean() * 10 ** (RELATIVE_GATE / 10)]
    return OFFSET + 10 * math.log10(loud.mean()) if len(loud) else -math.inf


def _energy(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET) / 10))


@cache
def _interpolators() -> tuple[NDArray[np.float64], ...]:
    """Return filters for the curve 1/4, 1/2 and 3/4 of the way to the next sample: a sinc in a Kaiser window."""
    filters = []
    for phase in range(1, PHASES):
        place = np.arange(-REACH, REACH + 1) + phase / PHASES
        window = np.i0(8 * np.sqrt(np.maximum(0, 1 - (place / (REACH + 1)) ** 2))) / np.i0(8.0)
        taps = np.sinc(place) * window
        filters.append(taps / taps.sum())
    return tuple(filters)


def _parts(values: NDArray[np.float64], overlap: int, step: int = 1 << 20) -> Iterator[NDArray[np.float64]]:
    for at in range(0, len(values) - overlap, step):
        yield values[at : at + step + overlap]
