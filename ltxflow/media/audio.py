"""How long a sound is, by decoding it: what headers say is often wrong. Knows nothing of scenes.

How loud a sound is and how high it peaks (ITU-R BS.1770-4), in numpy alone. Knows no file and no scene.

Sound is an array of float samples, 1.0 at full scale: (samples,) or (channels, samples). Loudness is in LUFS,
gains and peaks in dB. What is too quiet to be measured has a loudness of -inf.
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

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.streamed_wav import count_sounds

SOUND_HINT = "give a sound file: wav, flac, mp3, ogg, opus or m4a"


@dataclass(frozen=True)
class SoundFacts:
    """A sound as it plays: `samples` per channel at `sample_rate` Hz."""

    samples: int
    sample_rate: int
    channels: int

    @property
    def seconds(self) -> Fraction:
        return Fraction(self.samples, self.sample_rate)


def measure_sound(path: Path) -> SoundFacts:
    """Given a file with sound in it, return how much of it there is.

    Every sample is decoded: streamed WAVs (sizes 0 or 0xFFFFFFFF) and half files have headers that lie. AAC
    and mp3 without a Xing header come out some ms long, by padding that really plays. Raise LtxflowError when
    the file is missing, unreadable, without a sound track, without a single sample, or several files in one.
    """
    if not path.is_file():
        raise LtxflowError(Problem(f'there is no sound file "{path.name}"', code="missing"))
    if (count := count_sounds(path)) > 1:
        message = f'"{path.name}" has {count} sounds run together: players stop at the end of the first'
        raise LtxflowError(Problem(message, hint="export it again as one sound", code="unreadable"))
    samples = rate = channels = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise LtxflowError(Problem(f'"{path.name}" has no sound track', hint=SOUND_HINT, code="no-sound"))
            for frame in container.decode(container.streams.audio[0]):
                samples += frame.samples
                rate = rate or frame.sample_rate
                channels = channels or len(frame.layout.channels)
                if frame.sample_rate != rate:
                    raise LtxflowError(_changing(path))
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        problem = Problem(f'"{path.name}" cannot be read as sound', hint=SOUND_HINT, code="unreadable")
        raise LtxflowError(problem) from error
    if samples == 0:
        raise LtxflowError(Problem(f'"{path.name}" is silent: it holds no samples', hint=SOUND_HINT, code="empty"))
    return SoundFacts(samples, rate, channels)


def _changing(path: Path) -> Problem:
    return Problem(
        f'"{path.name}" changes its sample rate on the way', hint="export it again, as wav", code="unreadable"
    )


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
    """Given samples at `rate` Hz, return their integrated loudness and true peak."""
    return Loudness(integrated_lufs(sound, rate), true_peak_db(sound))


def integrated_lufs(sound: Sound, rate: int) -> float:
    """Given samples at `rate` Hz, return the gated loudness in LUFS; -inf when all of it is below the gate.

    One channel counts once, as BS.1770 has it: played by two speakers it is 3 LU louder. Five or six channels
    are L R C (LFE) Ls Rs, any other number counts alike. What is shorter than a gating block is one block.
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
    """Given samples, return the highest peak of the curve through them in dBTP; -inf for digital silence.

    An estimate by 4 times oversampling: at most 0.7 dB low at half the rate, much less for what is heard.
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
    """Given what was measured, return the gain in dB that brings it to the target; 0 for what is silent.

    With a `ceiling_db` the true peak stays below it, and the sound quieter than asked where it must. A mix
    that ends in a limiter needs none.
    """
    if math.isinf(measured.lufs):
        return 0.0
    return min(target_lufs - measured.lufs, ceiling_db - measured.true_peak_db)


def amplitude(gain_db: float) -> float:
    """Given a gain in dB, return what samples are multiplied by."""
    return float(10 ** (gain_db / 20))


def _channels(sound: Sound) -> NDArray[np.float64]:
    return np.atleast_2d(np.asarray(sound, np.float64))


def _weights(channels: int) -> tuple[float, ...]:
    return {5: CENTRE_OF_5, 6: CENTRE_OF_6}.get(channels, (1.0,) * channels)


def _energies(samples: NDArray[np.float64], rate: int, edges: list[int]) -> NDArray[np.float64]:
    """Given one channel, return the sum of its K-weighted squares between each two edges.

    Filtered by multiplying spectra, which bends the end of each chunk into its start: that part, `settle`, is
    only there to be thrown away.
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
    """The two filters of BS.1770-4 annex 1 at any rate; at 48 kHz their published coefficients come out.

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
    """Filters for the curve 1/4, 1/2 and 3/4 of the way to the next sample: a sinc in a Kaiser window."""
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
