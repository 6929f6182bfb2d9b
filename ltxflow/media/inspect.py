"""What came back, looked at and listened to: still, black, silent, clipped, cut, seen before. Knows no clip.

`inspect_video` measures, in one decode pass over pictures 96 px wide; `judge` decides, from those facts and
thresholds alone, so that other thresholds need no second look.

**Change between two pictures.** A global gain and offset between them is fitted and taken out first, so flicker
and fades are no motion. Then all that noise could be is taken off: grain and the traces of compression are
nearly white on this grid, motion is not, so the high frequencies of the difference say how much is noise.

**Motion score.** What remains is divided by the mean gradient: by how much of the picture's long side its edges
move, on average over the picture. 0 is still, 1 is a tenth of the long side a second. Where slow or fine motion
looks like noise it counts for less. Measured on synthetic pictures of 1536 px: a push-in by 3 % a second 0.04, a
mouth in 2 % of the picture 0.06, a pan by 2 % of the width a second 0.09 and by 10 % 0.45, a figure of a fifth of the
picture that crosses it in 5 s 0.5, a pan by half the width a second 2.7; flickering light below 0.02.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.video.frame import VideoFrame
from numpy.typing import ArrayLike, NDArray

from ltxflow.core.errors import Level, LtxflowError, Problem
from ltxflow.media.boxes import AGAIN
from ltxflow.media.loudness import integrated_lufs, true_peak_db

Luma = NDArray[np.float32]  # (rows, columns), 0 black … 255 white
Light = NDArray[np.float64]

GRID = 96  # cells along the long side
GRID_LEAST = 8  # and along the short one

GRAIN = 32.0  # levels, over px a cell: the most that is taken for noise, grain of 11 levels and 2 px
NOISE_SIGMAS = 1.6  # of one cell, after which a 3×3 mean is not noise: white noise has a third of it
FAINT = 0.25  # of the most noise: what an encoder gets wrong, more of it in small pictures
FAINT_MOST = 1.5  # levels
LIVELY = 0.1  # of the long side a second
LAGS_S = (0.0, 0.2, 1.0)  # a frame, and long enough for slow motion to rise above noise
PLAIN = 1.0  # levels a cell: a picture with less gradient has nothing that could be seen to move

VISIBLE = 1.5  # levels: a cell that changed by more than this and the noise
STILL_SHARE = 0.002  # of the cells may change in a picture that stands still
STILL_S = 1.0  # shorter ones are not counted in `frozen_share`: slow motion is still for that long

BLACK_LEVEL = 16.0  # of 255. FFmpeg's blackdetect: 25 in 98 % of the picture, which a starry night is as well
BLACK_SHARE = 0.995

CUT_UNLIKE = 0.35  # 1 - correlation of the pictures before and after
CUT_LEVELS = 10.0  # mean difference, of 255
CUT_OUTLIER = 3.0  # times as much as between the pictures around it
AROUND_S = 0.5

BLOCK_S = 0.05  # silence is looked for in blocks this long
SILENT_DB = -60.0  # dBFS; FFmpeg's silencedetect has the same default
QUIETEST_DB = -120.0  # stands for digital silence, since JSON has no infinity
TOP = 0.9  # of full scale: FFmpeg's AAC encoder lowers what is above 0.95 to it (`aac.h`, CLIP_AVOIDANCE_FACTOR)
SHOULDER = 0.75

PRINTS = 16  # pictures in a fingerprint
WAVES = 8  # cosines across and down in each
PRINT_STEP = 0.5  # levels
PRINT_FORMAT = "f1:"

MODEL_GUIDE = "Lightricks LTX-2 README and prompting guide"
FREEZE = "Lightricks/LTX-2 issue 11, image-to-video that freezes"
FFMPEG = "FFmpeg filters: freezedetect, blackdetect, silencedetect"
BT1359 = "ITU-R BT.1359: sound 45 ms early or 125 ms late is noticed"
EDITING = "editing practice"
MOVE = "describe motion, try a camera or motion LoRA, or lower the image strength (0.6–0.7)"


@dataclass(frozen=True)
class Stretch:
    """A part of the clip, in seconds from its start."""

    start: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Findings:
    """What a clip shows and sounds like. Seconds by its mean frame rate; the longest stretch where there are many."""

    frames: int
    seconds: float  # of pictures
    frozen: Stretch
    frozen_share: float  # of the frames, in stretches of a second and more
    black: Stretch
    motion_mean: float  # see the module
    motion_p90: float  # the liveliest tenth of the frames is above
    luma: float  # 0…1
    contrast: float  # mean standard deviation of a picture's luma, 0…0.5
    cuts: tuple[float, ...]  # seconds at which another picture begins
    fingerprint: str
    has_sound: bool = False
    sound_seconds: float = 0.0
    silence: Stretch = Stretch()
    rms_db: float = QUIETEST_DB  # dBFS over all channels; a full-scale sine has -3
    peak_db: float = QUIETEST_DB  # dBFS, of samples
    true_peak_db: float = QUIETEST_DB
    top_share: float = 0.0  # of the samples, less than 0.9 dB below full scale, in the channel with the most of them
    top_run: int = 0  # the most of them in a row
    top_pile: float = 0.0  # how many times as many as in the 1.6 dB below: clipped tops pile up
    lufs: float | None = None  # None: nothing above the gate

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"cuts": list(self.cuts)}


def findings_from(data: Mapping[str, Any]) -> Findings:
    """Given what `as_json` returned, return the findings. Raise TypeError or KeyError when it is not that."""
    stretches = {name: Stretch(**data[name]) for name in ("frozen", "black", "silence")}
    return Findings(**{**data, **stretches, "cuts": tuple(data["cuts"])})


@dataclass(frozen=True)
class Thresholds:
    """From where on something is worth a word. Defaults by what viewers notice; sources in `RULES`."""

    freeze_s: float = 1.0
    black_s: float = 0.2
    motion: float = 0.02  # score below which the clip hardly moves
    wants_sound: bool = True
    silent_db: float = SILENT_DB  # RMS of the whole below which it is silent
    silence_s: float = 2.0
    top_share: float = 0.005
    top_pile: float = 0.7  # measured: speech, music 0.2, limited 0.1–0.6, clipped by 3 dB 0.6–1.3, by 6 dB 1.1–2.6
    sync_s: float = 0.1  # sound and picture may differ by
    duplicate: float = 0.97  # similarity from which another take is the same


@dataclass(frozen=True)
class Rule:
    """One rule: `why` it matters, and the `source` that says so."""

    code: str
    level: Level
    title: str
    why: str
    source: str


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule("Q101", "warning", "frozen picture", "the commonest way in which LTX clips fail", FREEZE),
        Rule("Q102", "warning", "black picture", "a hole in the film", FFMPEG),
        Rule("Q103", "advice", "hardly any motion", "a still with sound is seldom what was asked for", MODEL_GUIDE),
        Rule("Q104", "warning", "cut inside", "a clip is one shot; the model jumped to another", MODEL_GUIDE),
        Rule("Q105", "warning", "no sound track", "the model makes sound with the picture", MODEL_GUIDE),
        Rule("Q106", "warning", "silent sound", "there is a track, and nothing on it", FFMPEG),
        Rule("Q107", "advice", "long silence", "sound that stops is heard as a fault", FFMPEG),
        Rule("Q108", "warning", "clipped sound", "tops that are cut off crackle", EDITING),
        Rule("Q109", "warning", "sound of another length", "what follows is out of step with the picture", BT1359),
        Rule("Q110", "warning", "same as another take", "a choice between equals is none", EDITING),
    )
}


def judge(
    findings: Findings, thresholds: Thresholds | None = None, others: Mapping[str, str] | None = None
) -> list[Problem]:
    """Given findings, return what the rules say of them: picture, sound, likeness. No rule is an error: a human
    decides.

    `others` are the fingerprints of the clip's other takes, by the name to show.
    """
    wanted = thresholds or Thresholds()
    return [
        *_judge_picture(findings, wanted),
        *_judge_sound(findings, wanted),
        *_judge_likeness(findings, wanted, others or {}),
    ]


def _judge_picture(found: Findings, wanted: Thresholds) -> Iterator[Problem]:
    whole = found.seconds * 0.9  # a clip of half a second can be frozen, too
    is_black = found.black.seconds >= min(wanted.black_s, whole) > 0
    is_frozen = found.frozen.seconds >= min(wanted.freeze_s, whole) > 0
    if is_black:
        yield _problem("Q102", f"the picture is black for {_span(found.black)}", "try another seed")
    if is_frozen and not (is_black and found.black.seconds >= found.frozen.seconds):
        share = f", {found.frozen_share:.0%} of the clip stands still" if 0 < found.frozen_share < 0.99 else ""
        yield _problem("Q101", f"the picture is frozen for {_span(found.frozen)}{share}", MOVE)
    elif not is_black and found.motion_mean < wanted.motion:
        yield _problem("Q103", f"hardly anything moves: motion {found.motion_mean:.2f}, lively is 1", MOVE)
    if found.cuts:
        places = ", ".join(f"{at:.2f} s" for at in found.cuts[:5]) + (" …" if len(found.cuts) > 5 else "")
        hint = "ask for one shot; leave out cuts, times and changes of place, or try another seed"
        yield _problem("Q104", f"the picture jumps at {places}", hint)


def _judge_sound(found: Findings, wanted: Thresholds) -> Iterator[Problem]:
    if not found.has_sound:
        if wanted.wants_sound:
            yield _problem("Q105", "there is no sound track", "use a template that makes sound")
        return
    if found.rms_db < wanted.silent_db:
        hint = "say in the prompt what is heard, or try another seed"
        yield _problem("Q106", f"the sound is silent: {found.rms_db:.0f} dBFS", hint)
    elif found.silence.seconds >= wanted.silence_s:
        yield _problem("Q107", f"the sound is silent for {_span(found.silence)}", "say in the prompt what is heard")
    if found.top_share >= wanted.top_share and found.top_pile >= wanted.top_pile:
        message = f"the sound is clipped: {found.top_share:.1%} of it at full scale, peak {found.peak_db:+.1f} dBFS"
        yield _problem("Q108", message, "try another seed; a lower gain does not bring it back")
    if abs(found.sound_seconds - found.seconds) > wanted.sync_s:
        message = f"the sound has {found.sound_seconds:.2f} s, the picture {found.seconds:.2f} s"
        yield _problem("Q109", message, "give both the same length and rate in the template")


def _judge_likeness(found: Findings, wanted: Thresholds, others: Mapping[str, str]) -> Iterator[Problem]:
    for name, fingerprint in others.items():
        alike = similarity(found.fingerprint, fingerprint)
        if alike >= wanted.duplicate:
            hint = "give it another seed, or forget one of them"
            yield _problem("Q110", f'the same as "{name}": {math.floor(alike * 100)} % alike', hint)


def _problem(code: str, message: str, hint: str) -> Problem:
    return Problem(message, None, hint, code, RULES[code].level)


def _span(stretch: Stretch) -> str:
    return f"{stretch.seconds:.2f} s from {stretch.start:.2f} s on"


# Measuring


def inspect_video(path: Path) -> Findings:
    """Given a video, decode it once and return what is to be seen and heard in it.

    Costs a quarter of a second more than decoding, for 121 frames of any size. Meant for clips: 20 kB of memory a
    frame, so an hour needs 2 GB. Whether all frames are there is for `probe_mp4` and `decode_count` to say. Raise
    LtxflowError when the file is missing, does not decode, or has no pictures.
    """
    if not path.is_file():
        raise LtxflowError(Problem(f'there is no video "{path.name}"', code="missing"))
    try:
        pictures, fps, size, sound, rate = _decoded(path)
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        problem = Problem(f'"{path.name}" does not decode: it is damaged or no video', hint=AGAIN, code="damaged")
        raise LtxflowError(problem) from error
    if not pictures:
        raise LtxflowError(Problem(f'"{path.name}" has no frames', hint=AGAIN, code="no-frames"))
    heard = _listen(sound, rate) if rate else {}
    return Findings(**_look(pictures, fps, size), **heard)


def similarity(one: str, other: str) -> float:
    """Given two fingerprints, return how alike the clips are: 0 for unrelated ones, 1 for the same.

    Brightness, contrast, size and encoding do not matter. Picture and movement must both be alike: two takes
    from one reference image that move differently are not. Raise ValueError when one is no fingerprint.
    """
    a, b = _read_print(one), _read_print(other)
    size_a, size_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if size_a > 0 and size_b > 0:
        middle = math.sqrt(size_a * size_b)
        a, b = a * (middle / size_a), b * (middle / size_b)
    mean_a, mean_b = a.mean(axis=0), b.mean(axis=0)
    picture = _alike(mean_a, mean_b)
    movement = _alike(a - mean_a, b - mean_b)
    return round(picture * movement, 4)


def _alike(a: Light, b: Light) -> float:
    """How much of both is common, where less than a level in each coefficient is nothing."""
    nothing = float(a.size)
    apart = float(((a - b) ** 2).sum())
    return max(0.0, 1 - apart / (float((a * a).sum() + (b * b).sum()) + nothing))


def _decoded(path: Path) -> tuple[list[Luma], Fraction, int, list[NDArray[np.float32]], int]:
    """Pictures, their rate and long side in px; sound in blocks of (channels, samples), and its rate, 0 for none."""
    pictures: list[Luma] = []
    sound: list[NDArray[np.float32]] = []
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise LtxflowError(Problem(f'"{path.name}" has no picture', hint=AGAIN, code="no-video"))
        video, audio = container.streams.video[0], next(iter(container.streams.audio), None)
        video.thread_type = "AUTO"
        columns, rows = _grid(video.width, video.height)
        rate, plain = 0, AudioResampler(format="fltp")
        for frame in container.decode(video, audio) if audio else container.decode(video):
            if isinstance(frame, VideoFrame):
                small = frame.reformat(columns, rows, "gray16le", interpolation="AREA")
                pictures.append(small.to_ndarray().astype(np.float32) * np.float32(255 / 65535))
            elif isinstance(frame, AudioFrame):
                rate = rate or frame.sample_rate
                sound += [_samples(block) for block in plain.resample(frame)]
        if sound:
            sound += [_samples(block) for block in plain.resample(None)]
        fps = video.average_rate or video.guessed_rate or Fraction(25)
        return pictures, Fraction(fps), max(video.width, video.height), sound, rate


def _samples(block: AudioFrame) -> NDArray[np.float32]:
    """What is not a number, as a failed model may write it into a float wav, is silence here."""
    return np.nan_to_num(block.to_ndarray().astype(np.float32, copy=False), nan=0.0, posinf=1.0, neginf=-1.0)


def _grid(width: int, height: int) -> tuple[int, int]:
    longest = max(width, height, 1)
    scale = min(1.0, GRID / longest)
    return max(GRID_LEAST, round(width * scale)), max(GRID_LEAST, round(height * scale))


def _look(pictures: list[Luma], fps: Fraction, size: int) -> dict[str, Any]:
    """`size` is the long side of the real pictures, in px."""
    rate, grain = float(fps), GRAIN * max(pictures[0].shape) / size
    frozen = [run for run in _still_runs(pictures, grain) if len(run) > 1]
    counted = [run for run in frozen if len(run) >= min(STILL_S * rate, len(pictures))]
    speeds = _speeds(pictures, rate, grain)
    return {
        "frames": len(pictures),
        "seconds": round(len(pictures) / rate, 3),
        "frozen": _longest(frozen, rate),
        "frozen_share": round(sum(map(len, counted)) / len(pictures), 4),
        "black": _longest(_runs([_is_black(picture) for picture in pictures]), rate),
        "motion_mean": round(float(np.mean(speeds)) / LIVELY, 4),
        "motion_p90": round(float(np.percentile(speeds, 90)) / LIVELY, 4),
        "luma": round(float(np.mean([picture.mean() for picture in pictures])) / 255, 4),
        "contrast": round(float(np.mean([picture.std() for picture in pictures])) / 255, 4),
        "cuts": tuple(round(at / rate, 3) for at in _cuts(pictures, max(1, round(AROUND_S * rate)))),
        "fingerprint": _print(pictures),
    }


def _longest(runs: list[range], rate: float) -> Stretch:
    if not runs:
        return Stretch()
    longest = max(runs, key=len)
    return Stretch(round(longest.start / rate, 3), round(len(longest) / rate, 3))


def _runs(claims: ArrayLike) -> list[range]:
    """Given a claim for each place, return the runs in which it holds."""
    edges = np.flatnonzero(np.diff(np.asarray(claims, np.int8), prepend=0, append=0))
    return [range(int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True)]


def _is_black(picture: Luma) -> bool:
    return float((picture <= BLACK_LEVEL).mean()) >= BLACK_SHARE


def _change(before: Luma, after: Luma, grain: float) -> tuple[Luma, float]:
    """How much each 3×3 cells changed but for the light, in levels, and how much of that can be noise."""
    a = before - before.mean()
    gain = float(np.clip((a * (after - after.mean())).sum() / max(float((a * a).sum()), 1e-3), 0.5, 2.0))
    difference = after - np.clip(gain * a + after.mean(), 0, 255)
    return np.abs(_blurred(difference)), NOISE_SIGMAS * min(_noise(difference), grain)


def _blurred(picture: Luma) -> Luma:
    """The mean of 3×3 cells; one row and column less at each edge."""
    rows = picture[:-2] + picture[1:-1] + picture[2:]
    summed: Luma = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    return summed * np.float32(1 / 9)


def _gradient(picture: Luma) -> float:
    across, down = np.diff(picture, axis=1)[:-1], np.diff(picture, axis=0)[:, :-1]
    return float(np.sqrt(across * across + down * down).mean())


def _noise(difference: Luma) -> float:
    """The standard deviation of what is white in it: J. Immerkær, Fast Noise Variance Estimation, 1996, by median."""
    down = difference[:-2] - 2 * difference[1:-1] + difference[2:]
    rough = down[:, :-2] - 2 * down[:, 1:-1] + down[:, 2:]
    return float(np.median(np.abs(rough))) / (0.6745 * 6)


def _speeds(pictures: list[Luma], rate: float, grain: float) -> list[float]:
    """Given pictures, return how fast each two neighbours move, in long sides a second.

    Over a longer lag slow motion shows and fast motion gets lost, over a frame it is the other way round: both
    err downwards, so the larger is the better.
    """
    edges = np.array([_gradient(_blurred(picture)) + PLAIN for picture in pictures])
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
    """The mean change in levels, where it is not noise."""
    changed, noise = _change(before, after, grain)
    return float(np.where(changed > noise + min(FAINT * grain, FAINT_MOST), changed, 0).mean())


def _still_runs(pictures: list[Luma], grain: float) -> list[range]:
    """Cut the clip where it no longer looks like the first picture of a run, for more than one frame."""
    runs = []
    start = 0
    for at in range(1, len(pictures)):
        ahead = min(at + 1, len(pictures) - 1)
        if _differ(pictures[start], pictures[at], grain) and _differ(pictures[start], pictures[ahead], grain):
            runs.append(range(start, at))
            start = at
    return [*runs, range(start, len(pictures))]


def _differ(before: Luma, after: Luma, grain: float) -> bool:
    changed, noise = _change(before, after, grain)
    return float((changed > noise + VISIBLE).mean()) > STILL_SHARE


def _cuts(pictures: list[Luma], around: int) -> list[int]:
    """Numbers of the pictures that are another scene than the one before; not of flashes of a single frame."""
    unlike = [_unlike(before, after) for before, after in pairwise(pictures)]
    cuts = []
    for at, value in enumerate(unlike):
        neighbours = unlike[max(0, at - around) : at] + unlike[at + 1 : at + 1 + around]
        usual = float(np.median(neighbours)) if neighbours else 0.0
        if value >= CUT_UNLIKE and value >= CUT_OUTLIER * usual and value >= max(neighbours, default=0.0):
            past, next_ = pictures[max(0, at - 1)], pictures[min(len(pictures) - 1, at + 2)]
            if _unlike(past, next_) >= CUT_UNLIKE:
                cuts.append(at + 1)
    return cuts


def _unlike(before: Luma, after: Luma) -> float:
    """1 - correlation; 0 where one of them is plain (black, white), or the light hardly changes."""
    a, b = _blurred(before), _blurred(after)
    if float(np.abs(a - b).mean()) < CUT_LEVELS or _is_black(before) or _is_black(after):
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    size = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return 1 - float((a * b).sum()) / size if size > 2.0 * a.size else 0.0


# Fingerprints


def _print(pictures: list[Luma]) -> str:
    """The lowest cosines of 16 pictures, without their mean, a byte each."""
    places = [int((n + 0.5) * len(pictures) / PRINTS) for n in range(PRINTS)]
    rows, columns = pictures[0].shape
    across, down = _cosines(columns), _cosines(rows)
    waves = np.stack([(down @ pictures[at].astype(np.float64) @ across.T).ravel()[1:] for at in places])
    small = np.clip(np.rint(waves / PRINT_STEP), -127, 127).astype(np.int8)
    return PRINT_FORMAT + base64.b64encode(small.tobytes()).decode("ascii")


@cache
def _cosines(count: int) -> Light:
    """Rows that give the amplitude of each cosine over `count` cells, in the unit of the cells."""
    waves = np.cos(np.pi * np.arange(WAVES)[:, None] * (np.arange(count) + 0.5) / count)
    result: Light = waves * (np.where(np.arange(WAVES) == 0, 1, 2)[:, None] / count)
    return result


def _read_print(fingerprint: str) -> Light:
    data = base64.b64decode(fingerprint.removeprefix(PRINT_FORMAT), validate=True)
    if not fingerprint.startswith(PRINT_FORMAT) or len(data) != PRINTS * (WAVES**2 - 1):
        raise ValueError("no fingerprint, or one of another version")
    return np.frombuffer(data, np.int8).reshape(PRINTS, -1).astype(np.float64) * PRINT_STEP


# Listening


def _listen(blocks: list[NDArray[np.float32]], rate: int) -> dict[str, Any]:
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


def _silence(sound: NDArray[np.float32], rate: int) -> Stretch:
    """The longest time in which no channel is above `SILENT_DB`."""
    size = min(sound.shape[1], round(rate * BLOCK_S))
    whole = sound[:, : sound.shape[1] // size * size]  # what is left over is mostly the encoder's padding
    power = np.square(whole, dtype=np.float64).reshape(len(sound), -1, size).mean(axis=2)
    quiet = power.max(axis=0) < 10 ** (SILENT_DB / 10)
    return _longest(_runs(quiet), rate / size)


def _db(level: float) -> float:
    return round(20 * math.log10(level), 2) if level > 10 ** (QUIETEST_DB / 20) else QUIETEST_DB
