"""Frames, the 8n+1 grid, covering a narration, seeds, file names. Whole numbers and fractions only; no files.

A scene of n clips with lengths f, neighbours overlapping by a crossfade x, shows Σf − (n−1)·x frames. That
picture must cover the narration with its pads. `solve` finds the lengths; what is too much is trimmed from
the clips' tails, which costs no render.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heapify, heappop, heappush

from ltxflow.core.digest import canonical

STEP = 8  # LTX-2 `video_vae.py`: 1 + 8k frames. ComfyUI's `EmptyLTXVLatentVideo` floors others silently
SHORTEST = 9
MOST_SUGGESTED = 40  # clips in one hint
_TIME = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([a-z]*)")


class TimingError(ValueError):
    """A time or a length that cannot be used. The caller turns `message` and `hint` into a Problem."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


class LengthConflict(TimingError):
    """Lengths that cannot be made to fit: too short, too long as written, or shorter than their crossfades.

    `need` and `have` are frames; `clips_needed` is a number of clips that would do, None where no number does
    or where the number is not what is wrong.
    """

    def __init__(self, message: str, hint: str, need: int, have: int, clips_needed: int | None = None) -> None:
        self.need = need
        self.have = have
        self.clips_needed = clips_needed
        super().__init__(message, hint)


# Times


def parse_time(text: str, fps: int) -> Fraction:
    """Given "12f" or "0.4s", return the exact seconds. Raise TimingError for anything without its unit."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise TimingError(f'"{text}" is not a time', "write frames as 12f or seconds as 0.4s")
    number, unit = found.groups()
    if unit == "s":
        return Fraction(number)
    if unit == "f" and "." not in number:
        return Fraction(int(number), fps)
    hint = f"write {number}s" if "." in number else f"write {number}f for frames or {number}s for seconds"
    if unit == "f":
        raise TimingError(f'"{text}" is not a whole number of frames', f"{hint} if you mean seconds")
    raise TimingError(f'"{text}" has the unknown unit "{unit}"' if unit else f'"{text}" has no unit', hint)


def parse_gain(text: str) -> Fraction:
    """Given "-6dB", return how much louder (or softer) that is, in decibels. Raise ValueError for anything else."""
    if not text.endswith("dB"):
        raise ValueError(f'"{text}" has no unit: write -6dB')
    return Fraction(text[:-2])


def parse_frames(text: str, fps: int) -> int:
    """Given "12f" or "0.4s", return frames at `fps`, halves rounded up ("0.5s" at 25 fps is 13).

    For a crossfade, where a little more or less does no harm. A clip's length is one of the grid: `lengths_near`.
    """
    return int(parse_time(text, fps) * fps + Fraction(1, 2))


def seconds_to_frames_up(seconds: Fraction, fps: int) -> int:
    """Given exact seconds, return the fewest frames that last as long; floats say 8 for 0.28 s at 25 fps."""
    return -(-seconds.numerator * fps // seconds.denominator)


def frames_within(seconds: Fraction, frames: int, fps: int) -> int:
    """Return how many frames of a rate a video has that lasts so long with so many of another rate.

    From the middle of its first frame to that of its last: 129 frames at 48 a second are 65 at 24.

    >>> frames_within(Fraction(145, 30), 145, 25), frames_within(Fraction(129, 48), 129, 24)
    (121, 65)
    """
    return math.floor((seconds - seconds / frames / 2) * fps) + 1


def needed_frames(narration: Fraction, head: Fraction, tail: Fraction, fps: int) -> int:
    """Given seconds of narration and its pads, return the frames of picture that cover them."""
    return seconds_to_frames_up(narration + head + tail, fps)


def narration_start(head: Fraction, fps: int) -> int:
    """Given the seconds before a narration, return the frame it starts at, rounded down.

    Down, because then its start and its own frames, rounded up, never exceed `needed_frames`.
    """
    return head.numerator * fps // head.denominator


# The grid


def is_on_grid(frames: int) -> bool:
    return frames >= SHORTEST and frames % STEP == 1


def snap_up(frames: int, step: int = STEP) -> int:
    """Given frames, return the next length on the grid of `step`·n+1, one step at least: 9 on that of 8."""
    return max(step, -(-(frames - 1) // step) * step) + 1


def snap_down(frames: int, step: int = STEP) -> int:
    """Given frames, return the longest length on the grid of `step`·n+1 that is not above them, or its shortest."""
    return max(step, (frames - 1) // step * step) + 1


def lengths_near(seconds: Fraction, fps: int, max_frames: int, step: int = STEP) -> tuple[int, ...]:
    """Return the lengths on the grid of `step`·n+1 around a time, the nearest first; of two as near, the longer.

    Those above `max_frames` are left out, so that 20 s at 24 fps are 473 frames where 481 cannot be made. Empty
    where both are above.

    >>> lengths_near(Fraction(20), 25, 505), lengths_near(Fraction(4), 25, 497)
    ((497, 505), (97, 105))
    """
    exact = seconds * fps
    around = {snap_down(exact.numerator // exact.denominator, step), snap_up(seconds_to_frames_up(seconds, fps), step)}
    legal = [frames for frames in around if frames <= max_frames]
    return tuple(sorted(legal, key=lambda frames: (abs(frames - exact), -frames)))


def longest(seconds: Fraction, fps: int, max_frames: int) -> int:
    """Given a model's ceilings in seconds and in frames, return the longest length on the grid under both."""
    return snap_down(min(seconds.numerator * fps // seconds.denominator, max_frames))


# Covering


@dataclass(frozen=True)
class Limits:
    """What a profile says of lengths, in frames.

    `auto` stays within auto_min … auto_max; an author may write up to `max_frames`, the model's ceiling at
    this frame rate. Clips look best within preferred_min … preferred_max. `trim_max` is the most that may be
    cut off one clip's tail.
    """

    auto_min: int
    auto_max: int
    preferred_min: int
    preferred_max: int
    max_frames: int
    trim_max: int

    def prefers(self, lengths: Iterable[int]) -> bool:
        return all(self.preferred_min <= length <= self.preferred_max for length in lengths)


@dataclass(frozen=True)
class LengthRequest:
    """What is known of a clip's length before solving, in frames.

    `explicit` is the author's, on the grid already; `around` are all lengths that a time may become: the longer one is
    taken where the nearest does not cover. `sticky` is what is rendered, from the lock; `fixed` says that the rendered
    length cannot change (approved, pinned). `new_frames_less` of its frames repeat another clip. `step` is that of its
    grid: 16 for a clip whose frame rate is doubled after sampling, since 8n+1 sampled frames make 16n+1. `keeps_tail`
    says that another clip goes on where it ends, so that nothing is cut off there.
    """

    name: str
    explicit: int | None = None
    sticky: int | None = None
    fixed: bool = False
    new_frames_less: int = 0
    step: int = STEP
    keeps_tail: bool = False
    around: tuple[int, ...] = ()


@dataclass(frozen=True)
class Cut:
    """A scene's solved lengths, in frames and in the order of its clips.

    `frames` is what is rendered and `trims` what is cut off the tails. `picture` is what would play without
    the trims; `covered` what plays: exactly `need` where there is one, unless a note says that a longer tail
    stays.
    """

    frames: tuple[int, ...]
    trims: tuple[int, ...]
    need: int
    picture: int
    covered: int
    notes: tuple[str, ...] = ()

    @property
    def overshoot(self) -> int:
        """Frames that are rendered beyond what is needed."""
        return self.picture - self.need


@dataclass(frozen=True)
class _Room:
    """What may become of one clip's length; `now` is None while nothing is rendered or written."""

    held: str  # by whom, the strongest first: "fixed", "explicit", "sticky", "auto"
    now: int | None
    low: int  # if it is rendered anew, it stays within low … high, both on the grid
    high: int
    less: int
    overlap: int  # frames its crossfades take, in and out
    step: int
    keeps_tail: bool


def solve(need: int, asks: Sequence[LengthRequest], crossfade: int, limits: Limits, relength: bool = False) -> Cut:
    """Given the frames to cover (0: no narration), return the lengths. Raise Uncovered where none will do.

    Rendered lengths stay while they cover; the excess is trimmed, from the last clip on. Where they do not,
    clips not rendered yet take what they can, and then the fewest others are lengthened, the shortest first.
    Where nothing is rendered, or with `relength`, lengths are near equal, the longer first, and exceed the
    need by less than a step of their grid unless the limits forbid it. Solving again with the result as `sticky`
    changes nothing.

    >>> solve(315, [Ask("a"), Ask("b"), Ask("c")], 12, Limits(97, 257, 121, 161, 497, 48)).frames
    (113, 113, 113)
    """
    if not asks:
        raise LengthConflict("the scene has no clips", "write at least one", need, 0)
    rooms = _rooms(need, asks, crossfade, limits, relength)
    overlaps = (len(rooms) - 1) * crossfade + sum(r.less for r in rooms)
    if need == 0:
        frames = tuple(r.now or max(r.low, min(r.high, _usual(r, limits))) for r in rooms)
        picture = sum(frames) - overlaps
        return Cut(frames, (0,) * len(frames), need, picture, picture)
    frames = _lengths(need, rooms, crossfade, limits)
    picture = sum(frames) - overlaps
    trims = _trims(picture - need, frames, rooms, limits)
    cut = Cut(frames, trims, need, picture, picture - sum(trims))
    if cut.covered > need:
        return replace(cut, notes=_tail_notes(cut, rooms, crossfade, limits))
    return replace(cut, notes=_length_notes(cut, asks, rooms, crossfade, limits))


def solve_parts(
    parts: Sequence[int], asks: Sequence[LengthRequest], crossfade: int, limits: Limits, relength: bool = False
) -> Cut:
    """Given how many frames each clip plays before the next begins, return the lengths. Raise Uncovered as `solve`.

    Each clip is cut where the next one should begin. One that is longer than trimming allows, or that another
    continues, plays on; those after it begin later, and play so much less.

    >>> solve_parts([100, 150], [Ask("a"), Ask("b")], 12, Limits(97, 257, 121, 161, 497, 48))
    Cut(frames=(113, 153), trims=(1, 3), need=250, picture=254, covered=250, notes=())
    """
    need, late = sum(parts), 0
    frames, trims, notes = [], [], []
    for index, (part, room) in enumerate(zip(parts, _rooms(need, asks, crossfade, limits, relength), strict=True)):
        if late:
            notes.append(f"{asks[index].name} begins {late} frames after its line: the clip before it is that long")
        goal = part - late + (crossfade if index < len(parts) - 1 else 0)
        length = _length_for(goal + room.less, room, asks[index], limits)
        most = 0 if room.keeps_tail else min(limits.trim_max, length - room.less - max(room.overlap, 1))
        trim = max(0, min(length - room.less - goal, most))
        late = length - room.less - trim - goal
        frames.append(length)
        trims.append(trim)
    overlaps = (len(asks) - 1) * crossfade + sum(ask.new_frames_less for ask in asks)
    picture = sum(frames) - overlaps
    if late:
        notes.append(f"the picture stays {late} frames longer than needed")
    return Cut(tuple(frames), tuple(trims), need, picture, picture - sum(trims), tuple(notes))


def _length_for(goal: int, room: _Room, ask: LengthRequest, limits: Limits) -> int:
    """The length of one clip that must have `goal` frames: as it is while it has, else the next that will do."""
    if room.now is not None and room.now >= goal:
        return room.now
    if room.held == "explicit" and room.high >= goal:
        return room.high
    longest_frames = limits.max_frames if room.held == "auto" else room.high
    wanted = max(room.low, snap_up(goal, room.step))
    if room.held in ("auto", "sticky") and wanted <= longest_frames:
        return wanted
    have = room.now if room.now is not None and room.held in ("fixed", "explicit") else longest_frames
    message = f'"{ask.name}" has {have} frames at most, and its lines take {goal}'
    raise LengthConflict(message, "let another clip cover some of its lines, or add one", goal, have)


def suggest(need: int, crossfade: int, limits: Limits) -> tuple[int, ...]:
    """Return the lengths of the fewest clips within preferred_max that cover `need` frames, () if none do.

    () also where that takes more than MOST_SUGGESTED: nobody reads such a list.
    """
    count = _fewest(need, crossfade, limits)
    return _afresh(need, [LengthRequest("")] * count, crossfade, limits) if 0 < count <= MOST_SUGGESTED else ()


def _fewest(need: int, crossfade: int, limits: Limits) -> int:
    """Return how many clips of the preferred length cover `need` frames, 0 where a crossfade takes all of each."""
    each = limits.preferred_max - crossfade
    return max(1, -(-(need - crossfade) // each)) if each > 0 else 0


def _afresh(need: int, asks: Sequence[LengthRequest], crossfade: int, limits: Limits) -> tuple[int, ...]:
    try:
        return _lengths(need, _rooms(need, asks, crossfade, limits, True), crossfade, limits)
    except LengthConflict:
        return ()


def _rooms(
    need: int, asks: Sequence[LengthRequest], crossfade: int, limits: Limits, relength: bool
) -> tuple[_Room, ...]:
    last = len(asks) - 1
    return tuple(_room(need, ask, crossfade * ((i > 0) + (i < last)), limits, relength) for i, ask in enumerate(asks))


def _usual(room: _Room, limits: Limits) -> int:
    return snap_up(_after_doubling(limits.preferred_min, room.step), room.step)


def _after_doubling(sampled: int, step: int) -> int:
    """Given sampled frames and the step of a clip's grid, return what they become: limits are of sampled ones."""
    return (sampled - 1) * step // STEP + 1


def _room(need: int, ask: LengthRequest, overlap: int, limits: Limits, relength: bool) -> _Room:
    shortest = max(overlap, 1) + ask.new_frames_less
    low = snap_up(max(_after_doubling(limits.auto_min, ask.step), shortest), ask.step)
    high = snap_down(min(_after_doubling(limits.auto_max, ask.step), limits.max_frames), ask.step)
    held, now = "auto", None
    if ask.fixed and ask.sticky is not None:
        held, now = "fixed", ask.sticky
    elif ask.explicit is not None:
        is_kept = not relength and ask.sticky in ask.around
        held, now = "explicit", ask.sticky if is_kept else ask.explicit
        high = max((ask.explicit, *ask.around))
        if now is not None and now < shortest <= high:
            now = high
    elif not relength and ask.sticky is not None and shortest <= ask.sticky <= limits.max_frames:
        held, now = "sticky", ask.sticky
    if held == "explicit" and now is not None and now > limits.max_frames:
        message = f'"{ask.name}" asks for {now} frames, the model makes {limits.max_frames} at most'
        raise LengthConflict(message, "make it shorter, or split it into two clips", need, limits.max_frames)
    if (high if now is None else now) < (low if now is None else shortest):
        have = (high if now is None else now) - ask.new_frames_less
        message = f'"{ask.name}" has {have} frames of its own, its crossfades take {overlap}'
        raise LengthConflict(message, "make the crossfade shorter or the clip longer", need, have)
    return _Room(held, now, low, high, ask.new_frames_less, overlap, ask.step, ask.keeps_tail)


def _lengths(need: int, rooms: Sequence[_Room], crossfade: int, limits: Limits) -> tuple[int, ...]:
    """The lengths before trimming. Between `low` and `high` the shortest clip grows first: near equal."""
    goal = need + (len(rooms) - 1) * crossfade + sum(r.less for r in rooms)
    low = [r.low if r.now is None else r.now for r in rooms]
    high = [r.high if r.now is None else r.now for r in rooms]
    for i, room in enumerate(rooms):  # first what the author left open by a few frames
        if sum(high) < goal and room.held == "explicit":
            high[i] = max(high[i], room.high)
    spare = [i for i, r in enumerate(rooms) if r.held == "sticky" and low[i] < r.high]
    spare.sort(key=lambda i: (-low[i], i))  # the shortest last: it gains most and costs least
    most = sum(high)
    while most < goal and spare:
        i = spare.pop()
        low[i] = max(rooms[i].low, snap_up(low[i] + 1, rooms[i].step))
        most += rooms[i].high - high[i]
        high[i] = rooms[i].high
    if most < goal:
        raise _too_short(need, need - goal + most, rooms, crossfade, limits)
    total = sum(low)
    shortest = [(length, i) for i, length in enumerate(low) if length < high[i]]
    heapify(shortest)
    while total < goal:
        length, i = heappop(shortest)
        low[i] = length + rooms[i].step
        total += rooms[i].step
        if low[i] < high[i]:
            heappush(shortest, (low[i], i))
    return tuple(low)


def _trims(excess: int, frames: Sequence[int], rooms: Sequence[_Room], limits: Limits) -> tuple[int, ...]:
    trims = [0] * len(frames)
    for i, room in reversed(list(enumerate(rooms))):
        if room.keeps_tail:
            continue
        trims[i] = max(0, min(excess, limits.trim_max, frames[i] - room.less - max(room.overlap, 1)))
        excess -= trims[i]
    return tuple(trims)


def _too_short(need: int, have: int, rooms: Sequence[_Room], crossfade: int, limits: Limits) -> LengthConflict:
    missing = need - have
    says = f"cover {have} of the {need} frames needed"
    if all(r.held in ("auto", "sticky") for r in rooms):
        instead = suggest(need, crossfade, limits)
        hint = "make the crossfade shorter: it takes more than another clip adds"
        if (count := _fewest(need, crossfade, limits)) > MOST_SUGGESTED:
            hint = f"write about {_clips(count)}, or shorten the text by {missing} frames"
        elif instead:
            hint = f"write {_clips(len(instead))} ({_list(instead)}), or shorten the text by {missing} frames"
        message = f"{_clips(len(rooms))} of at most {max(r.high for r in rooms)} frames {says}"
        return LengthConflict(message, hint, need, have, len(instead) or None)
    each = limits.preferred_max - crossfade
    more = max(0, -(-missing // each)) if each > 0 else 0
    hint = f"{missing} more frames are needed" + (f": make them longer, or add {_clips(more)}" if more else "")
    who = "the lengths as written" if any(r.held == "explicit" for r in rooms) else "the approved lengths"
    return LengthConflict(f"{who} {says}", hint, need, have, len(rooms) + more if more else None)


def _tail_notes(cut: Cut, rooms: Sequence[_Room], crossfade: int, limits: Limits) -> tuple[str, ...]:
    """What to say where trimming leaves a longer tail. Raise Uncovered where the author's own lengths do."""
    left = cut.covered - cut.need
    held = {r.held for r in rooms}
    if "explicit" in held and "sticky" not in held:
        message = f"the lengths as written cover {cut.picture} frames, {cut.need} are needed"
        hint = f"take {left} frames off them, or write `auto`; trimming the tails takes {sum(cut.trims)} at most"
        raise LengthConflict(message, hint, cut.need, cut.picture)
    says = f"the picture stays {left} frames longer than needed"
    if any(r.held == "sticky" and r.now is not None and r.now > r.low for r in rooms):
        return (f"{says}: rendered lengths are kept; `--relength` solves them afresh",)
    instead = suggest(cut.need, crossfade, limits)
    if 0 < len(instead) < len(rooms):
        return (f"{says}: {_clips(len(instead))} would be enough ({_list(instead)})",)
    return (says,)


def _length_notes(
    cut: Cut, asks: Sequence[LengthRequest], rooms: Sequence[_Room], crossfade: int, limits: Limits
) -> tuple[str, ...]:
    """What to say of lengths that are not preferred, where `--relength` or another number of clips helps."""
    sampled = [(f - 1) * STEP // r.step + 1 for f, r in zip(cut.frames, rooms, strict=True)]
    outside = [f for f in sampled if not limits.prefers([f])]
    if not outside or not all(r.held in ("auto", "sticky") for r in rooms):
        return ()
    says = f"{outside[0]} frames is outside {limits.preferred_min}–{limits.preferred_max}, where clips look best"
    afresh = _afresh(cut.need, asks, crossfade, limits)
    if afresh and limits.prefers((f - 1) * STEP // r.step + 1 for f, r in zip(afresh, rooms, strict=True)):
        return (f"{says}: `--relength` would make them {_list(afresh)}",)
    instead = suggest(cut.need, crossfade, limits)
    if instead and limits.prefers(instead):
        return (f"{says}: {_clips(len(instead))} would be within ({_list(instead)})",)
    return ()


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _list(lengths: Sequence[int]) -> str:
    return ", ".join(f"{length}f" for length in lengths)


def schedule(frames: Sequence[int], trims: Sequence[int], crossfade: int) -> list[tuple[int, int]]:
    """Given a scene's clips in frames, return (from, duration) of each, from the start of the scene.

    A clip starts where the one before it ends, less the crossfade into it.

    >>> schedule((121, 113), (0, 4), 12)
    [(0, 121), (109, 109)]
    """
    placed: list[tuple[int, int]] = []
    start = 0
    for length, trim in zip(frames, trims, strict=True):
        placed.append((start, length - trim))
        start += length - trim - crossfade
    return placed


# Seeds and names


def seed_for(project_seed: int, scene: str, clip: str, take: int, try_: int = 0) -> int:
    """Given where a take stands in the film, return its seed: 53 bits of a sha256, exact in any JSON."""
    digest = hashlib.sha256(canonical(["seed/1", project_seed, scene, clip, take, try_])).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def letters(index: int) -> str:
    """Given a position from 0, return a … z, aa, ab …"""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(ord("a") + rest) + name
    return name


def clip_file_name(scene_index: int, clip_index: int) -> str:
    """`scene-0-a.mp4`"""
    return f"scene-{scene_index}-{letters(clip_index)}.mp4"
