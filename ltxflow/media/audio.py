"""Measure the length of sound files by decoding them, and the loudness and peaks of samples (ITU-R BS.1770-4).

Headers often state a wrong length. Samples are float arrays, 1.0 at full scale: (samples,) or (channels, samples).
Loudness is in LUFS, gains and peaks in dB. Sound that is too quiet to be measured has a loudness of -inf.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.streamed_wav import count_sounds


@dataclass(frozen=True)
class SoundFacts:
    """The length of a sound when played: `samples` per channel at `sample_rate` Hz."""

    samples: int
    sample_rate: int
    channels: int

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
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise LtxflowError(problem("M007", name=path.name))
            for frame in container.decode(container.streams.audio[0]):
                samples += frame.samples
                rate = rate or frame.sample_rate
                channels = channels or len(frame.layout.channels)
                if frame.sample_rate != rate:
                    raise LtxflowError(problem("M002.rate", name=path.name))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M002.sound", name=path.name)) from error
    if samples == 0:
        raise LtxflowError(problem("M003.sound", name=path.name))
    return SoundFacts(samples, rate, channels)


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
