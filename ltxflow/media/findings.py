"""What a look at a clip found, and what the rules say of it. Pure: thresholds may change without a second look."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ltxflow.core.errors import Level, Problem

QUIETEST_DB = -120.0  # stands for digital silence, since JSON has no infinity

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
class FrameRange:
    """A part of the clip, in seconds from its start."""

    start: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Findings:
    """What a clip shows and sounds like. Seconds by its mean frame rate; the longest stretch where there are many."""

    frames: int
    seconds: float  # of pictures
    frozen: FrameRange
    frozen_share: float  # of the frames, in stretches of a second and more
    black: FrameRange
    motion_mean: float  # see the module `inspect`
    motion_p90: float  # the liveliest tenth of the frames is above
    luma: float  # 0…1
    contrast: float  # mean standard deviation of a picture's luma, 0…0.5
    cuts: tuple[float, ...]  # seconds at which another picture begins
    fingerprint: str
    width: int = 0  # px; 0 where nobody looked
    height: int = 0
    fps: float = 0.0
    has_sound: bool = False
    sound_start: float = 0.0  # seconds by which it begins after the picture
    sound_seconds: float = 0.0
    silence: FrameRange = FrameRange()
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
    stretches = {name: FrameRange(**data[name]) for name in ("frozen", "black", "silence")}
    return Findings(**{**data, **stretches, "cuts": tuple(data["cuts"])})


@dataclass(frozen=True)
class Thresholds:
    """From where on something is worth a word; None or False where nobody wants to hear of it. Sources in `RULES`.

    A film's come from its profile and its `checks:`; these are what viewers notice.
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
    """What a clip is to be: frames, frames a second, width and height in px. None where anything will do."""

    frames: int | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None


Seed = Literal["tried", "may help", "no help"]


@dataclass(frozen=True)
class CheckRule:
    """One rule: the check that switches it, `why` it matters, and the `source` that says so.

    `seed` says what another seed does about it. Where it is "tried", `reseed:` spends GPU time on further seeds: the
    clip is of no use as it is, and the model, not the workflow, decided that. Where it "may help", a person may ask
    for another take: a render costs more than the fault.
    """

    code: str
    check: str
    level: Level
    title: str
    why: str
    source: str
    seed: Seed = "no help"


RULES: dict[str, CheckRule] = {
    rule.code: rule
    for rule in (
        CheckRule(
            "Q101", "frozen", "warning", "frozen picture", "the commonest way in which LTX clips fail", FREEZE, "tried"
        ),
        CheckRule("Q102", "black", "warning", "black picture", "a hole in the film", FFMPEG, "tried"),
        CheckRule(
            "Q103", "motion", "advice", "hardly any motion", "a still with sound is seldom asked for", MODEL_GUIDE
        ),
        CheckRule(
            "Q104",
            "cut",
            "warning",
            "cut inside",
            "a clip is one shot; the model jumped to another",
            MODEL_GUIDE,
            "tried",
        ),
        CheckRule("Q105", "sound", "warning", "no sound track", "the model makes sound with pictures", MODEL_GUIDE),
        CheckRule("Q106", "silent", "warning", "silent sound", "there is a track, and nothing on it", FFMPEG, "tried"),
        CheckRule("Q107", "silence", "advice", "long silence", "sound that stops is heard as a fault", FFMPEG),
        CheckRule("Q108", "clipped", "warning", "clipped sound", "tops that are cut off crackle", EDITING, "may help"),
        CheckRule("Q109", "sync", "warning", "sound of another length", "what follows is out of step", BT1359),
        CheckRule(
            "Q110",
            "duplicate",
            "warning",
            "same as another take",
            "a choice between equals is none",
            EDITING,
            "may help",
        ),
        CheckRule("Q111", "size", "warning", "another size", "it is scaled in the cut", EDITING),
        CheckRule("Q112", "rate", "warning", "another frame rate", "the cut doubles or drops frames", EDITING),
        CheckRule("Q113", "length", "warning", "another length", "the cut ends early, or is cut off", EDITING),
    )
}


def judge(
    findings: Findings,
    thresholds: Thresholds | None = None,
    others: Mapping[str, str] | None = None,
    wanted: ClipRequirements | None = None,
) -> list[Problem]:
    """Given findings, return what the rules say of them: shape, picture, sound, likeness.

    No rule is an error: a human decides. `others` are the fingerprints of the clip's other takes, by the name to show.
    """
    limits = thresholds or Thresholds()
    return [
        *_judge_shape(findings, limits, wanted or ClipRequirements()),
        *_judge_picture(findings, limits),
        *_judge_sound(findings, limits),
        *_judge_likeness(findings, limits, others or {}),
    ]


def causes(problems: Iterable[Problem]) -> list[Problem]:
    """Return those of the problems that `reseed:` tries other seeds for."""
    return [problem for problem in problems if RULES[problem.code].seed == "tried"]


def is_bad_luck(problems: Iterable[Problem]) -> bool:
    """Return whether another seed should be tried."""
    return bool(causes(problems))


SAME_PLACE_S = 0.25


def is_same_fault(one: Findings, other: Findings, codes: Iterable[str]) -> bool:
    """Return whether faults that both have, by code, are at the same place in both: then it is not the seed."""

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
    hint = "look at what the template saves: it decides that, not the seed"
    size = (found.width, found.height)
    if limits.size and wanted.size is not None and found.width and size != wanted.size:
        yield _problem("Q111", f"it is {size[0]}x{size[1]}, not {wanted.size[0]}x{wanted.size[1]}", hint)
    if limits.rate and wanted.fps is not None and found.fps and abs(found.fps - wanted.fps) > 0.01:
        yield _problem("Q112", f"it has {found.fps:g} frames a second, not {wanted.fps:g}", hint)
    if limits.length and wanted.frames is not None and found.frames != wanted.frames:
        yield _problem("Q113", f"it has {found.frames} frames, not {wanted.frames}", hint)


def _judge_picture(found: Findings, limits: Thresholds) -> Iterator[Problem]:
    whole = found.seconds * 0.9  # a clip of half a second can be frozen, too
    is_black = limits.black_s is not None and found.black.seconds >= min(limits.black_s, whole) > 0
    is_frozen = limits.freeze_s is not None and found.frozen.seconds >= min(limits.freeze_s, whole) > 0
    if is_black:
        hint = "say in the prompt what is seen from the first frame on, or try another seed"
        yield _problem("Q102", f"the picture is black for {_span(found.black)}", hint)
    if is_frozen and not (is_black and found.black.seconds >= found.frozen.seconds):
        share = f"; {found.frozen_share:.0%} of the clip stands still" if 0 < found.frozen_share < 0.99 else ""
        yield _problem("Q101", f"the picture is frozen for {_span(found.frozen)}{share}", MOVE)
    elif not is_black and limits.motion is not None and found.motion_mean < limits.motion:
        yield _problem("Q103", f"hardly anything moves: motion {found.motion_mean:.2f}, lively is 1", MOVE)
    if limits.cuts and found.cuts:
        places = ", ".join(f"{at:.2f} s" for at in found.cuts[:5]) + (" …" if len(found.cuts) > 5 else "")
        hint = "ask for one shot; leave out cuts, times and changes of place, or try another seed"
        yield _problem("Q104", f"the picture jumps at {places}", hint)


def _judge_sound(found: Findings, limits: Thresholds) -> Iterator[Problem]:
    if not found.has_sound:
        if limits.wants_sound:
            hint = "use a template that makes sound, or allow it with checks: {sound: false}"
            yield _problem("Q105", "there is no sound track", hint)
        return
    if limits.silent_db is not None and found.rms_db < limits.silent_db:
        hint = "say in the prompt what is heard, or try another seed"
        yield _problem("Q106", f"the sound is silent: {found.rms_db:.0f} dBFS", hint)
    elif limits.silence_s is not None and found.silence.seconds >= limits.silence_s:
        hint = "say in the prompt what is heard, or allow it with checks: {silence: false}"
        yield _problem("Q107", f"the sound is silent for {_span(found.silence)}", hint)
    if limits.top_share is not None and found.top_share >= limits.top_share and found.top_pile >= limits.top_pile:
        message = f"the sound is clipped: {found.top_share:.1%} of it at full scale, peak {found.peak_db:+.1f} dBFS"
        yield _problem("Q108", message, "a lower gain does not bring it back: try another seed")
    if limits.sync_s is not None:
        late, end = found.sound_start, found.sound_start + found.sound_seconds - found.seconds
        hint = "give both the same length and rate in the template"
        if abs(late) > limits.sync_s:
            message = f"the sound begins {abs(late):.2f} s {'after' if late > 0 else 'before'} the picture"
            yield _problem("Q109", message, hint)
        elif abs(end) > limits.sync_s:
            side = "after" if end > 0 else "before"
            message = f"the sound ends {abs(end):.2f} s {side} the picture, which has {found.seconds:.2f} s"
            yield _problem("Q109", message, hint)


def _judge_likeness(found: Findings, limits: Thresholds, others: Mapping[str, str]) -> Iterator[Problem]:
    for name, fingerprint in others.items() if limits.duplicate is not None else ():
        alike = similarity(found.fingerprint, fingerprint)
        if alike >= (limits.duplicate or 0.0):
            hint = "forget one of them, or give it another seed"
            yield _problem("Q110", f"the same as {name}: {math.floor(alike * 100)} % alike", hint)


def _problem(code: str, message: str, hint: str) -> Problem:
    return Problem(message, None, hint, code, RULES[code].level)


def _span(stretch: FrameRange) -> str:
    return f"{stretch.seconds:.2f} s from {stretch.start:.2f} s on"


# Fingerprints: plain lists, since a plan loads no numpy

Waves = list[float]


def similarity(one: str, other: str) -> float:
    """Given two fingerprints, return how alike the clips are: 0 for unrelated ones, 1 for the same.

    Brightness, contrast, size and encoding do not matter. Picture and movement must both be alike: two takes
    from one reference image that move differently are not. Raise ValueError when one is no fingerprint.
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
    """The cosines of each picture, in levels."""
    data = base64.b64decode(fingerprint.removeprefix(PRINT_FORMAT), validate=True)
    each = WAVES**2 - 1
    if not fingerprint.startswith(PRINT_FORMAT) or len(data) != PRINTS * each:
        raise ValueError("no fingerprint, or one of another version")
    levels = [(byte - 256 if byte > 127 else byte) * PRINT_STEP for byte in data]
    return [levels[at : at + each] for at in range(0, len(levels), each)]


def _alike(a: list[Waves], b: list[Waves]) -> float:
    """How much of both is common, where less than a level in each coefficient is nothing."""
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
