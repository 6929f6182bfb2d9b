"""Define the findings of a clip's inspection, and judge them by the rules Q101 to Q113.

Judging needs no second inspection when thresholds change.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ltxflow.core.errors import Problem, problem
from ltxflow.messages import Rule
from ltxflow.messages.media import RULES as _RULES

QUIETEST_DB = -120.0  # of digital silence, since JSON has no infinity

PRINTS = 16  # pictures in a fingerprint
WAVES = 8  # cosines across and down in each
PRINT_STEP = 0.5  # levels
PRINT_FORMAT = "f1:"

# The rules of clips by code. Where `seed` is "tried", `reseed:` spends GPU time on further seeds: the clip is useless,
# and the model, not the workflow, decided that. Where it "may help", a person may ask for another take, since a render
# costs more than the fault.
RULES: Mapping[str, Rule] = {code: rule for code, rule in _RULES.items() if code.startswith("Q")}


@dataclass(frozen=True)
class FrameRange:
    """A part of the clip, in seconds from its start."""

    start: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Findings:
    """The measurements of a clip's picture and sound, in seconds by its mean frame rate; ranges are the longest."""

    frames: int
    seconds: float  # of pictures
    frozen: FrameRange
    frozen_share: float  # of the frames, in stretches of a second and more
    black: FrameRange
    motion_mean: float  # see the module `inspection`
    motion_p90: float  # exceeded by the liveliest tenth of the frames
    luma: float  # 0…1
    contrast: float  # mean standard deviation of a picture's luma, 0…0.5
    cuts: tuple[float, ...]  # seconds at which another picture begins
    fingerprint: str
    width: int = 0  # px; 0 if not measured
    height: int = 0
    fps: float = 0.0
    has_sound: bool = False
    sound_start: float = 0.0  # seconds by which it begins after the picture
    sound_seconds: float = 0.0
    silence: FrameRange = FrameRange()
    rms_db: float = QUIETEST_DB  # dBFS over all channels; a full-scale sine has -3
    peak_db: float = QUIETEST_DB  # dBFS, of samples
    true_peak_db: float = QUIETEST_DB
    top_share: float = 0.0  # of samples less than 0.9 dB below full scale, in the channel with the most of them
    top_run: int = 0  # the most of them in a row
    top_pile: float = 0.0  # their number divided by that in the 1.6 dB below: clipped tops pile up
    lufs: float | None = None  # None: nothing above the gate

    def as_json(self) -> dict[str, Any]:
        """Return the findings as JSON data."""
        return asdict(self) | {"cuts": list(self.cuts)}


def findings_from(data: Mapping[str, Any]) -> Findings:
    """Return the findings of data from `as_json`. Raise TypeError or KeyError for other data."""
    stretches = {name: FrameRange(**data[name]) for name in ("frozen", "black", "silence")}
    return Findings(**{**data, **stretches, "cuts": tuple(data["cuts"])})


@dataclass(frozen=True)
class Thresholds:
    """Thresholds of each check; None or False disables it. Sources are in `RULES`.

    Those of a film come from its profile and its `checks:`; these defaults are what viewers notice.
    """

    freeze_s: float | None = 1.0
    black_s: float | None = 0.2
    motion: float | None = 0.02  # score below which the clip hardly moves
    cuts: bool = True
    wants_sound: bool = True
    silent_db: float | None = -60.0  # RMS of the whole below which it is silent
    silence_s: float | None = 2.0
    top_share: float | None = 0.005
    top_pile: float = 0.7  # measured: speech, music 0.2, limited 0.1–0.6, clipped by 3 dB 0.6–1.3, by 6 dB 1.1–2.6
    sync_s: float | None = 0.1  # sound and picture may differ by
    duplicate: float | None = 0.97  # similarity from which another take is the same
    size: bool = True
    rate: bool = True
    length: bool = True


@dataclass(frozen=True)
class ClipRequirements:
    """The required frames, frames a second, width and height in px of a clip; None accepts any value."""

    frames: int | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None


def judge(
    findings: Findings,
    thresholds: Thresholds | None = None,
    others: Mapping[str, str] | None = None,
    wanted: ClipRequirements | None = None,
) -> list[Problem]:
    """Return the problems of findings: shape, picture, sound, likeness.

    No rule is an error, since a person decides. `others` are the fingerprints of the clip's other takes, by the name to
    show.
    """
    limits = thresholds or Thresholds()
    return [
        *_judge_shape(findings, limits, wanted or ClipRequirements()),
        *_judge_picture(findings, limits),
        *_judge_sound(findings, limits),
        *_judge_likeness(findings, limits, others or {}),
    ]


def causes(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems for which `reseed:` tries other seeds."""
    return [each for each in problems if RULES[each.code].seed == "tried"]


def is_bad_luck(problems: Iterable[Problem]) -> bool:
    """Return whether another seed should be tried."""
    return bool(causes(problems))


SAME_PLACE_S = 0.25


def is_same_fault(one: Findings, other: Findings, codes: Iterable[str]) -> bool:
    """Return whether common faults, by code, are at the same place in both: then the seed is not the cause."""

    def is_near(a: float, b: float) -> bool:
        return abs(a - b) <= SAME_PLACE_S

    same = {
        "Q101": is_near(one.frozen.start, other.frozen.start),
        "Q102": is_near(one.black.start, other.black.start),
        "Q104": len(one.cuts) == len(other.cuts) and all(map(is_near, one.cuts, other.cuts)),
        "Q106": True,  # of the whole track
    }
    return all(same[code] for code in codes)


def _judge_shape(found: Findings, limits: Thresholds, wanted: ClipRequirements) -> Iterator[Problem]:
    width, height = found.width, found.height
    if limits.size and wanted.size is not None and width and (width, height) != wanted.size:
        yield problem("Q111", width=width, height=height, wanted=f"{wanted.size[0]}x{wanted.size[1]}")
    if limits.rate and wanted.fps is not None and found.fps and abs(found.fps - wanted.fps) > 0.01:
        yield problem("Q112", fps=found.fps, wanted=wanted.fps)
    if limits.length and wanted.frames is not None and found.frames != wanted.frames:
        yield problem("Q113", frames=found.frames, wanted=wanted.frames)


def _judge_picture(found: Findings, limits: Thresholds) -> Iterator[Problem]:
    whole = found.seconds * 0.9  # a clip of half a second can be frozen, too
    is_black = limits.black_s is not None and found.black.seconds >= min(limits.black_s, whole) > 0
    is_frozen = limits.freeze_s is not None and found.frozen.seconds >= min(limits.freeze_s, whole) > 0
    if is_black:
        yield problem("Q102", seconds=found.black.seconds, start=found.black.start)
    if is_frozen and not (is_black and found.black.seconds >= found.frozen.seconds):
        frozen, share = found.frozen, found.frozen_share
        if 0 < share < 0.99:
            yield problem("Q101.part", seconds=frozen.seconds, start=frozen.start, share=share)
        else:
            yield problem("Q101.whole", seconds=frozen.seconds, start=frozen.start)
    elif not is_black and limits.motion is not None and found.motion_mean < limits.motion:
        yield problem("Q103", motion=found.motion_mean)
    if limits.cuts and found.cuts:
        places = ", ".join(f"{at:.2f} s" for at in found.cuts[:5]) + (" …" if len(found.cuts) > 5 else "")
        yield problem("Q104", places=places)


def _judge_sound(found: Findings, limits: Thresholds) -> Iterator[Problem]:
    if not found.has_sound:
        if limits.wants_sound:
            yield problem("Q105")
        return
    if limits.silent_db is not None and found.rms_db < limits.silent_db:
        yield problem("Q106", loudness=found.rms_db)
    elif limits.silence_s is not None and found.silence.seconds >= limits.silence_s:
        yield problem("Q107", seconds=found.silence.seconds, start=found.silence.start)
    if limits.top_share is not None and found.top_share >= limits.top_share and found.top_pile >= limits.top_pile:
        yield problem("Q108", share=found.top_share, peak=found.peak_db)
    if limits.sync_s is not None:
        late, end = found.sound_start, found.sound_start + found.sound_seconds - found.seconds
        if abs(late) > limits.sync_s:
            yield problem("Q109.begins", seconds=abs(late), side="after" if late > 0 else "before")
        elif abs(end) > limits.sync_s:
            side = "after" if end > 0 else "before"
            yield problem("Q109.ends", seconds=abs(end), side=side, picture=found.seconds)


def _judge_likeness(found: Findings, limits: Thresholds, others: Mapping[str, str]) -> Iterator[Problem]:
    for name, fingerprint in others.items() if limits.duplicate is not None else ():
        alike = similarity(found.fingerprint, fingerprint)
        if alike >= (limits.duplicate or 0.0):
            yield problem("Q110", other=name, percent=math.floor(alike * 100))


# Fingerprints: plain lists, since a plan loads no numpy

Waves = list[float]


def similarity(one: str, other: str) -> float:
    """Return how alike the clips of two fingerprints are: 0 for unrelated ones, 1 for the same.

    Brightness, contrast, size and encoding do not matter. Picture and movement must both be alike: two takes from one
    reference image that move differently are not. Raise ValueError for text that is not a fingerprint.
    """
    a, b = _read_print(one), _read_print(other)
    size_a, size_b = _size(a), _size(b)
    if size_a > 0 and size_b > 0:
        middle = math.sqrt(size_a * size_b)
        a, b = _scaled(a, middle / size_a), _scaled(b, middle / size_b)
    mean_a, mean_b = _mean(a), _mean(b)
    picture = _alike([mean_a], [mean_b])
    movement = _alike(_less(a, mean_a), _less(b, mean_b))
    return round(picture * movement, 4)


def _read_print(fingerprint: str) -> list[Waves]:
    """Return the cosines of each picture, in levels."""
    data = base64.b64decode(fingerprint.removeprefix(PRINT_FORMAT), validate=True)
    each = WAVES**2 - 1
    if not fingerprint.startswith(PRINT_FORMAT) or len(data) != PRINTS * each:
        raise ValueError("not a fingerprint, or one of another version")
    levels = [(byte - 256 if byte > 127 else byte) * PRINT_STEP for byte in data]
    return [levels[at : at + each] for at in range(0, len(levels), each)]


def _alike(a: list[Waves], b: list[Waves]) -> float:
    """Return the common share of both, ignoring less than a level in each coefficient."""
    nothing = float(sum(map(len, a)))
    apart = sum((x - y) ** 2 for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True))
    return max(0.0, 1 - apart / (_size(a) ** 2 + _size(b) ** 2 + nothing))


def _size(rows: list[Waves]) -> float:
    return math.sqrt(sum(x * x for row in rows for x in row))


def _scaled(rows: list[Waves], factor: float) -> list[Waves]:
    return [[x * factor for x in row] for row in rows]


def _mean(rows: list[Waves]) -> Waves:
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]


def _less(rows: list[Waves], mean: Waves) -> list[Waves]:
    return [[x - y for x, y in zip(row, mean, strict=True)] for row in rows]
