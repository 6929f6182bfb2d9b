"""Measure the picture and sound of a clip: still, black, silent, clipped, cut, equal to another take.

`inspect_video` measures, in one decode pass over pictures 96 px wide; `findings.judge` decides, from those facts and
thresholds alone, so that other thresholds need no second inspection.

**Frozen.** A picture is still while nothing visible in it changes but the light: a global gain and offset is fitted and
removed first, and the common change of cells of one brightness, so that flicker and fades are no motion. Then two
conditions must hold. On the small grid hardly a cell changes by more than half of all cells do anyway (blotches of a
latent, compression); that finds a mouth that speaks or a hand of a clock. And of some rows of real pixels hardly one
changes by more than faint noise or half a pixel of trembling could: that finds rain, snow and strong grain, which are
lost on the grid.

**Motion score.** The change on the grid, less all that noise could be (nearly white there, unlike motion), is divided
by the mean gradient: by how much of the picture's long side its edges move, on average over the picture. 0 is still,
1 is a tenth of the long side a second. Measured on synthetic pictures of 1536 px: a push-in by 3 % a second
0.04, a mouth in 2 % of the picture 0.06, a pan by 2 % of the width a second 0.09 and by 10 % 0.45, a figure of a fifth
of the picture that crosses it in 5 s 0.5, a pan by half the width a second 2.7; flickering light below 0.02. Fine
texture and slow motion that are lost on the grid count by the real pixels they change, up to 0.1.

For its accuracy on clips of known kinds, compared with FFmpeg's freezedetect, see docs/explanation/checks.md.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import ArrayLike, NDArray

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.audio import integrated_lufs, true_peak_db
from ltxflow.media.findings import PRINT_FORMAT, PRINT_STEP, PRINTS, QUIETEST_DB, WAVES, Findings, FrameRange

Luma = NDArray[np.float32]  # (rows, columns), 0 black … 255 white
Rows = NDArray[np.uint8]  # (2, pairs, width): rows of a picture as decoded, and those below them
Light = NDArray[np.float64]

GRID = 96  # cells along the long side
GRID_LEAST = 8  # and along the short one

GRAIN = 32.0  # levels, over px a cell: the most that counts as noise, grain of 11 levels and 2 px
NOISE_SIGMAS = 1.6  # of one cell, after which a 3×3 mean is not noise: white noise has a third of it
FAINT = 0.25  # of the most noise: errors of an encoder, larger in small pictures
FAINT_MOST = 1.5  # levels
LIVELY = 0.1  # of the long side a second
LAGS_S = (0.0, 0.2, 1.0)  # a frame, and long enough for slow motion to rise above noise
PLAIN = 1.0  # levels a cell: a picture with less gradient has nothing that could visibly move

VISIBLE = 1.5  # levels: a cell that changed by more than this and the unrest has changed
UNREST_SIGMAS = 5.0  # of the change in half of the cells: grain, compression, blotches of a latent
UNREST_MOST = 5.5  # levels: the most that counts as unrest; larger changes are motion
STILL_SHARE = 0.002  # of the cells may change in a still picture
STILL_S = 1.0  # shorter ones are not counted in `frozen_share`: slow motion is still for that long

FINE_PIXELS = 12000  # that are compared as they are, in pairs of rows all over the picture
FINE_LEVELS = 12.0  # a pixel that changed by more than this changed visibly
FINE_EDGES = 0.6  # and by this part of the step to its neighbours: half a pixel of trembling
FINE_SHARE = 0.004  # of those pixels may change in a still picture
FRESH_PAIRS = 30  # of pictures that are compared for the share of changed pixels, after a frame and after a second
FRESH_FRAME, FRESH_SECOND = 8.0, 0.2  # motion score of a picture in which all are
FRESH_MOST = 0.1  # motion score that fine texture alone can have: strong grain is not lively

TONES = 16  # steps of brightness with separate changes: highlights that are cut off change by less
TONE_LEAST = 0.01  # of the cells in a step, below which it is assumed to change like the whole

BLACK_LEVEL = 16.0  # of 255. FFmpeg's blackdetect: 25 in 98 % of the picture, which a starry night is as well
BLACK_SHARE = 0.995
BLACK_LAMPS = 48.0  # levels of the brightest cell: a night with a lamp in it is not black
BLACK_RAMP = 2.0  # levels above its darkest picture a black stretch may rise: a fade is black only at its end

CUT_UNLIKE = 0.2  # 1 - correlation of the pictures before and after
CUT_LEVELS = 10.0  # mean difference, of 255
CUT_OUTLIER = 3.0  # times as much as is usual between the pictures around it
AROUND_S = 0.5
CUT_ABRUPT = 2.2  # times as much as at most between the two pictures before and after: a whip pan comes and goes
CUT_NEAR = 2

BLOCK_S = 0.05  # silence is looked for in blocks this long
SILENT_DB = -60.0  # dBFS; FFmpeg's silencedetect has the same default
TOP = 0.9  # of full scale: FFmpeg's AAC encoder lowers what is above 0.95 to it (`aac.h`, CLIP_AVOIDANCE_FACTOR)
SHOULDER = 0.75


PLAIN_LUMA = frozenset(["yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p", "nv12", "gray"])  # 8 bit


@dataclass(frozen=True, slots=True)
class InspectedFrames:
    """A picture as it is kept: reduced to a grid, and some unchanged rows of it."""

    cells: Luma
    rows: Rows


# Measuring


def inspect_video(path: Path) -> Findings:
    """Decode a video once and return the measurements of its picture and sound.

    Costs a quarter of a second more than decoding, for 121 frames of any size. Meant for clips: 45 kB of memory a
    frame, so an hour needs 4 GB. `probe_mp4` and `decode_count` check that all frames exist. Raise LtxflowError when
    the file is missing, does not decode, or has no pictures.
    """
    if not path.is_file():
        raise LtxflowError(problem("M001.video", name=path.name))
    try:
        decoded = _decoded(path)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise LtxflowError(problem("M004.video", name=path.name)) from error
    if not decoded.pictures:
        raise LtxflowError(problem("M008.none", name=path.name))
    sound: dict[str, Any] = {}
    if decoded.sound_rate:
        sound = {"sound_start": round(decoded.sound_start, 3), **_measure_sound(decoded.sound, decoded.sound_rate)}
    return Findings(**_measure_pictures(decoded.pictures, decoded.fps, decoded.size), **sound)


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A whole clip: rates in frames and samples a second (0 without sound), size in px, sound as (channels, samples).

    The sound begins `sound_start` seconds after the picture.
    """

    pictures: list[InspectedFrames]
    fps: Fraction
    size: tuple[int, int]
    sound: list[NDArray[np.float32]]
    sound_rate: int
    sound_start: float


def _decoded(path: Path) -> _Decoded:
    pictures: list[InspectedFrames] = []
    sound: list[NDArray[np.float32]] = []
    starts: dict[type, float] = {}
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise LtxflowError(problem("M006.again", name=path.name))
        video, audio = container.streams.video[0], next(iter(container.streams.audio), None)
        video.thread_type = "AUTO"
        columns, rows = _grid(video.width, video.height)
        rate, plain = 0, AudioResampler(format="fltp")
        scaler = VideoReformatter()  # one for all: each makes its tables again, and threads that small pictures waste
        pairs = _row_pairs(video.width, video.height)
        for frame in container.decode(video, audio) if audio else container.decode(video):
            if isinstance(frame, VideoFrame | AudioFrame) and frame.time is not None:
                starts.setdefault(type(frame), frame.time)
            if isinstance(frame, VideoFrame):
                small = scaler.reformat(frame, columns, rows, "gray16le", interpolation="AREA", threads=1)
                cells = small.to_ndarray().astype(np.float32) * np.float32(255 / 65535)
                pictures.append(InspectedFrames(cells, _rows_of(frame, pairs)))
            elif isinstance(frame, AudioFrame):
                rate = rate or frame.sample_rate
                sound += [_samples(block) for block in plain.resample(frame)]
        if sound:
            sound += [_samples(block) for block in plain.resample(None)]
        fps = video.average_rate or video.guessed_rate or Fraction(25)
        late = starts.get(AudioFrame, 0.0) - starts.get(VideoFrame, 0.0)
        return _Decoded(pictures, Fraction(fps), (video.width, video.height), sound, rate, late)


def _samples(block: AudioFrame) -> NDArray[np.float32]:
    """Return the samples of a block, with silence for NaN, which a failed model may write into a float wav."""
    return np.nan_to_num(block.to_ndarray().astype(np.float32, copy=False), nan=0.0, posinf=1.0, neginf=-1.0)


def _grid(width: int, height: int) -> tuple[int, int]:
    longest = max(width, height, 1)
    scale = min(1.0, GRID / longest)
    return max(GRID_LEAST, round(width * scale)), max(GRID_LEAST, round(height * scale))


def _row_pairs(width: int, height: int) -> NDArray[np.intp]:
    """Return the numbers of the rows that are compared pixel by pixel, each with the one below it: (2, pairs)."""
    count = max(1, min(round(FINE_PIXELS / max(width, 1)), height // 2))
    first = ((np.arange(count) + 0.5) * height / count).astype(np.intp)
    return np.stack([first, np.minimum(first + 1, height - 1)])


def _rows_of(frame: VideoFrame, pairs: NDArray[np.intp]) -> Rows:
    """Return pairs of rows of a frame's luma, as decoded: (2, pairs, width)."""
    if frame.format.name not in PLAIN_LUMA:
        return np.asarray(frame.to_ndarray(format="gray"), np.uint8)[pairs]
    plane = frame.planes[0]
    luma: Rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return luma[pairs, : frame.width].copy()


def _measure_pictures(frames: list[InspectedFrames], fps: Fraction, size: tuple[int, int]) -> dict[str, Any]:
    """Return the findings on the pictures; `size` is the width and height of the real pictures in px."""
    pictures = [each.cells for each in frames]
    rate, grain = float(fps), GRAIN * max(pictures[0].shape) / max(size)
    frozen = [run for run in _still_runs(frames) if len(run) > 1]
    counted = [run for run in frozen if len(run) >= min(STILL_S * rate, len(pictures))]
    soft = [_blurred(picture) for picture in pictures]
    speeds, fresh = _speeds(pictures, soft, rate, grain), _freshness(frames, rate)
    return {
        "frames": len(pictures),
        "width": size[0],
        "height": size[1],
        "fps": round(rate, 3),
        "seconds": round(len(pictures) / rate, 3),
        "frozen": _longest(frozen, rate),
        "frozen_share": round(sum(map(len, counted)) / len(pictures), 4),
        "black": _longest(_black_runs(pictures), rate),
        "motion_mean": round(max(float(np.mean(speeds)) / LIVELY, fresh), 4),
        "motion_p90": round(max(float(np.percentile(speeds, 90)) / LIVELY, fresh), 4),
        "luma": round(float(np.mean([picture.mean() for picture in pictures])) / 255, 4),
        "contrast": round(float(np.mean([picture.std() for picture in pictures])) / 255, 4),
        "cuts": tuple(round(at / rate, 3) for at in _cuts(pictures, soft, max(1, round(AROUND_S * rate)))),
        "fingerprint": _print(pictures),
    }


def _longest(runs: list[range], rate: float) -> FrameRange:
    if not runs:
        return FrameRange()
    longest = max(runs, key=len)
    return FrameRange(round(longest.start / rate, 3), round(len(longest) / rate, 3))


def _runs(claims: ArrayLike) -> list[range]:
    """Return the runs of places at which a claim holds."""
    edges = np.flatnonzero(np.diff(np.asarray(claims, np.int8), prepend=0, append=0))
    return [range(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _black_runs(pictures: list[Luma]) -> list[range]:
    """Return the black stretches; of a fade only the part as dark as its darkest picture."""
    runs = []
    for run in _runs([_is_black(picture) for picture in pictures]):
        levels = np.array([float(pictures[at].mean()) for at in run])
        runs += [range(run.start + r.start, run.start + r.stop) for r in _runs(levels <= levels.min() + BLACK_RAMP)]
    return runs


def _is_black(picture: Luma) -> bool:
    return float((picture <= BLACK_LEVEL).mean()) >= BLACK_SHARE and float(picture.max()) <= BLACK_LAMPS


def _light(before: Luma, after: Luma) -> tuple[float, float]:
    """Return the gain and offset, in levels, that make one picture most similar to the other."""
    mean, lit = float(before.mean()), float(after.mean())
    a = before - mean
    gain = min(max(float((a * (after - lit)).sum()) / max(float((a * a).sum()), 1e-3), 0.5), 2.0)
    return gain, lit - gain * mean


def _change(before: Luma, after: Luma, grain: float) -> tuple[Luma, float]:
    """Return the change of each 3×3 cells except for the light, in levels, and how much of it can be noise."""
    gain, offset = _light(before, after)
    difference = after - np.clip(gain * before + offset, 0, 255)
    return np.abs(_blurred(difference)), NOISE_SIGMAS * min(_noise(difference), grain)


def _blurred(picture: Luma) -> Luma:
    """Return the mean of 3×3 cells; one row and column less at each edge."""
    rows = picture[:-2] + picture[1:-1] + picture[2:]
    summed: Luma = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return summed * np.float32(1 / 9)


def _gradient(picture: Luma) -> float:
    across, down = np.diff(picture, axis=1)[:-1], np.diff(picture, axis=0)[:, :-1]
    return float(np.sqrt(across * across + down * down).mean())


def _noise(difference: Luma) -> float:
    """Return the standard deviation of white noise: J. Immerkær, Fast Noise Variance Estimation, 1996, by median."""
    down = difference[:-2] - 2 * difference[1:-1] + difference[2:]
    rough = down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:]
    return float(np.median(np.abs(rough[::2, ::2]))) / (0.6745 * 6)


def _speeds(pictures: list[Luma], soft: list[Luma], rate: float, grain: float) -> list[float]:
    """Return the speed of motion between successive pictures, in long sides a second.

    A longer lag reveals slow motion and loses fast motion, a frame does the opposite. Both err downwards, so the larger
    value is the better.
    """
    edges = np.array([_gradient(picture) + PLAIN for picture in soft])
    best = np.zeros(max(1, len(pictures) - 1))
    for lag in sorted({max(1, round(seconds * rate)) for seconds in LAGS_S}):
        if lag < len(pictures):
            pairs = zip(pictures, pictures[lag:], strict=False)
            levels = np.array([_movement(before, after, grain) for before, after in pairs])
            cells = levels * 2 / (edges[:-lag] + edges[lag:])
            speeds = cells / max(pictures[0].shape) / lag * rate
            best = np.maximum(best, np.pad(speeds, ((lag - 1) // 2, lag // 2), mode="edge"))
    return [float(speed) for speed in best]


def _movement(before: Luma, after: Luma, grain: float) -> float:
    """Return the mean change in levels, ignoring noise."""
    changed, noise = _change(before, after, grain)
    return float(np.where(changed > noise + min(FAINT * grain, FAINT_MOST), changed, 0).mean())


def _still_runs(frames: list[InspectedFrames]) -> list[range]:
    """Cut the clip where it differs from the first picture of a run for more than one frame."""
    runs = []
    start = 0
    for at in range(1, len(frames)):
        ahead = min(at + 1, len(frames) - 1)
        if _differ(frames[start], frames[at]) and _differ(frames[start], frames[ahead]):
            runs.append(range(start, at))
            start = at
    return [*runs, range(start, len(frames))]


def _differ(before: InspectedFrames, after: InspectedFrames) -> bool:
    """Return whether something moved visibly: a part of the picture, or fine texture all over it."""
    light = _light(before.cells, after.cells)
    if _fine_share(before.rows, after.rows, light) > FINE_SHARE:
        return True
    changed = np.abs(_blurred(_but_for_tones(before.cells, after.cells, light)))
    unrest = min(UNREST_SIGMAS * float(np.median(changed[::2, ::2])) / 0.6745, UNREST_MOST)
    return float((changed > VISIBLE + unrest).mean()) > STILL_SHARE


def _but_for_tones(before: Luma, after: Luma, light: tuple[float, float]) -> Luma:
    """Return the change of each cell in levels, except for the light, and for the mean change of its tone.

    Highlights that were cut off and come back change by another gain than the rest.
    """
    gain, offset = light
    difference = after - np.clip(gain * before + offset, 0, 255)
    tone = (before * (TONES / 256)).astype(np.intp).ravel()
    count = np.bincount(tone, minlength=TONES)
    mean = np.bincount(tone, difference.ravel(), minlength=TONES) / np.maximum(count, 1)
    mean[count < TONE_LEAST * tone.size] = 0
    made: Luma = difference - mean.astype(np.float32)[tone].reshape(before.shape)
    return made


def _fine_share(before: Rows, after: Rows, light: tuple[float, float]) -> float:
    """Return the share of pixels that changed clearly, except for the light and half a pixel of trembling."""
    row, below = before.astype(np.float32) * np.float32(light[0]) + np.float32(light[1])
    step = np.abs(np.diff(row, axis=1))
    edge = np.abs(below - row)
    edge[:, 1:] = np.maximum(edge[:, 1:], step)
    edge[:, :-1] = np.maximum(edge[:, :-1], step)
    return float((np.abs(after[0] - row) > FINE_LEVELS + FINE_EDGES * edge).mean())


def _freshness(frames: list[InspectedFrames], rate: float) -> float:
    """Return the part of a motion score due to pixels that change clearly, though nothing travels far.

    From one picture to the next: rain, snow, leaves. Within a second: a slow push-in.
    """
    second = max(1, min(round(rate), len(frames) - 1))
    return min(FRESH_MOST, max(FRESH_FRAME * _mean_share(frames, 1), FRESH_SECOND * _mean_share(frames, second)))


def _mean_share(frames: list[InspectedFrames], lag: int) -> float:
    starts = range(0, len(frames) - lag, max(1, len(frames) // FRESH_PAIRS))
    pairs = [(frames[at], frames[at + lag]) for at in starts]
    shares = [_fine_share(one.rows, other.rows, _light(one.cells, other.cells)) for one, other in pairs]
    return float(np.mean(shares)) if shares else 0.0


def _cuts(pictures: list[Luma], soft: list[Luma], around: int) -> list[int]:
    """Return the numbers of the pictures that begin another shot, ignoring flashes of a single frame.

    `soft` are the same pictures, blurred. A change that comes and goes within a few pictures is a whip pan, or an
    object close to the camera.
    """

    def unlike(one: int, other: int) -> float:
        """Return 1 - correlation; 0 where one of them is plain (black, white), or the light hardly changes."""
        a, b = soft[one], soft[other]
        if float(np.abs(a - b).mean()) < CUT_LEVELS or _is_black(pictures[one]) or _is_black(pictures[other]):
            return 0.0
        a, b = a - a.mean(), b - b.mean()
        size = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
        return 1 - float((a * b).sum()) / size if size > 2.0 * a.size else 0.0

    changes = [unlike(at, at + 1) for at in range(len(pictures) - 1)]
    cuts = []
    for at, value in enumerate(changes):
        if value < CUT_UNLIKE:
            continue
        neighbours = changes[max(0, at - around) : at] + changes[at + 1 : at + 1 + around]
        near = changes[max(0, at - CUT_NEAR) : at] + changes[at + 1 : at + 1 + CUT_NEAR]
        usual = float(np.median(neighbours)) if neighbours else 0.0
        is_abrupt = value >= CUT_OUTLIER * usual and value >= CUT_ABRUPT * max(near, default=0.0)
        if is_abrupt and unlike(max(0, at - 1), min(len(pictures) - 1, at + 2)) >= CUT_UNLIKE:
            cuts.append(at + 1)
    return cuts


# Fingerprints


def _print(pictures: list[Luma]) -> str:
    """Return the lowest cosines of 16 pictures, without their mean, a byte each."""
    places = [int((n + 0.5) * len(pictures) / PRINTS) for n in range(PRINTS)]
    rows, columns = pictures[0].shape
    across, down = _cosines(columns), _cosines(rows)
    waves = np.stack([(down @ pictures[at].astype(np.float64) @ across.T).ravel()[1:] for at in places])
    small = np.clip(np.rint(waves / PRINT_STEP), -127, 127).astype(np.int8)
    return PRINT_FORMAT + base64.b64encode(small.tobytes()).decode("ascii")


@cache
def _cosines(count: int) -> Light:
    """Return rows that yield the amplitude of each cosine over `count` cells, in the unit of the cells."""
    waves = np.cos(np.pi * np.arange(WAVES)[:, None] * (np.arange(count) + 0.5) / count)
    result: Light = waves * (np.where(np.arange(WAVES) == 0, 1, 2)[:, None] / count)
    return result


# Sound


def _measure_sound(blocks: list[NDArray[np.float32]], rate: int) -> dict[str, Any]:
    sound = np.concatenate(blocks, axis=1)
    count = sound.shape[1]
    lufs = integrated_lufs(sound, rate)
    level = np.abs(sound)
    loudest = level[int((level >= TOP).sum(axis=1).argmax())]
    top, shoulder = loudest >= TOP, (loudest >= SHOULDER) & (loudest < TOP)
    return {
        "has_sound": True,
        "sound_seconds": round(count / rate, 3),
        "silence": _silence(sound, rate),
        "rms_db": _db(math.sqrt(float(np.square(sound, dtype=np.float64).mean()))),
        "peak_db": _db(float(level.max())),
        "true_peak_db": round(max(true_peak_db(sound), QUIETEST_DB), 2),
        "top_share": round(float(top.mean()), 5),
        "top_run": max(map(len, _runs(top)), default=0),
        "top_pile": round(float(top.sum()) / max(1, int(shoulder.sum())), 3),
        "lufs": None if math.isinf(lufs) else round(lufs, 2),
    }


def _silence(sound: NDArray[np.float32], rate: int) -> FrameRange:
    """Return the longest time in which no channel is above `SILENT_DB`."""
    size = min(sound.shape[1], round(rate * BLOCK_S))
    whole = sound[:, : sound.shape[1] // size * size]  # the rest is mostly the encoder's padding
    power = np.square(whole, dtype=np.float64).reshape(len(sound), -1, size).mean(axis=2)
    quiet = power.max(axis=0) < 10 ** (SILENT_DB / 10)
    return _longest(_runs(quiet), rate / size)


def _db(level: float) -> float:
    return round(20 * math.log10(level), 2) if level > 10 ** (QUIETEST_DB / 20) else QUIETEST_DB
