"""Compute frames, the 8n+1 grid, lengths that cover a narration, seeds and file names, in exact numbers.

A scene of n clips with lengths f, neighbours overlapping by a crossfade x, shows Σf − (n−1)·x frames. That picture
must cover the narration with its pads. `solve` finds the lengths; the excess is trimmed from the clips' tails, which
costs no render.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from heapq import heapify, heappop, heappush
from typing import Any

from ltxflow.core.digest import canonical
from ltxflow.messages.core import TIMES

STEP = 8  # LTX-2 `video_vae.py`: 1 + 8k frames. ComfyUI's `EmptyLTXVLatentVideo` floors others silently
SHORTEST = 9
MOST_SUGGESTED = 40  # clips in one hint
_TIME = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([a-z]*)")


class TimingError(ValueError):
    """A time or a length that cannot be used. Its caller turns `message` and `hint` into a Problem."""

    def __init__(self, message: str, hint: str = "") -> None:
        self.message = message
        self.hint = hint
        super().__init__(message)


class LengthConflict(TimingError):
    """Lengths that cannot be made to fit: too short, too long as written, or shorter than their crossfades.

    `need` and `have` are frames; `clips_needed` is a sufficient number of clips, None where no number suffices or the
    number is not at fault.
    """

    def __init__(self, message: str, hint: str, need: int, have: int, clips_needed: int | None = None) -> None:
        self.need = need
        self.have = have
        self.clips_needed = clips_needed
        super().__init__(message, hint)


def _text(id: str, *, hint: str = "", **values: Any) -> tuple[str, str]:
    """Return message and hint of a text in the catalogue, filled with `values`; `hint` replaces the catalogue's."""
    message, known = TIMES[id]
    return message.format_map(values), hint or known.format_map(values)


# Times


def parse_time(text: str, fps: int) -> Fraction:
    """Return the exact seconds of "12f" or "0.4s". Raise TimingError for text without a known unit."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise TimingError(*_text("no-time", text=text))
    number, unit = found.groups()
    if unit == "s":
        return Fraction(number)
    if unit == "f" and "." not in number:
        return Fraction(int(number), fps)
    if unit == "f":
        raise TimingError(*_text("part-of-a-frame", text=text, number=number))
    hint = f"write {number}s" if "." in number else f"write {number}f for frames or {number}s for seconds"
    raise TimingError(*_text("unknown-unit" if unit else "no-unit", hint=hint, text=text, unit=unit))


def parse_gain(text: str) -> Fraction:
    """Return the decibels of a gain such as "-6dB". Raise TimingError for text without the unit."""
    if not text.endswith("dB"):
        raise TimingError(*_text("no-decibels", text=text))
    return Fraction(text[:-2])


def parse_frames(text: str, fps: int) -> int:
    """Return the frames of "12f" or "0.4s" at `fps`, halves rounded up ("0.5s" at 25 fps is 13).

    For a crossfade, where a frame more or less does no harm. A clip's length is on the grid: see `lengths_near`.
    """
    return int(parse_time(text, fps) * fps + Fraction(1, 2))


def seconds_to_frames_up(seconds: Fraction, fps: int) -> int:
    """Return the fewest frames that last at least `seconds`, exactly: floats give 8 for 0.28 s at 25 fps."""
    return -(-seconds.numerator * fps // seconds.denominator)


def frames_within(seconds: Fraction, frames: int, fps: int) -> int:
    """Return the frames at `fps` of a video of `frames` frames that lasts `seconds`.

    Counts from the middle of its first frame to that of its last: 129 frames at 48 a second are 65 at 24.

    >>> frames_within(Fraction(145, 30), 145, 25), frames_within(Fraction(129, 48), 129, 24)
    (121, 65)
    """
    return math.floor((seconds - seconds / frames / 2) * fps) + 1


def needed_frames(narration: Fraction, head: Fraction, tail: Fraction, fps: int) -> int:
    """Return the frames of picture that cover a narration and its pads, all in seconds."""
    return seconds_to_frames_up(narration + head + tail, fps)


def narration_start(head: Fraction, fps: int) -> int:
    """Return the frame at which a narration starts after `head` seconds, rounded down.

    Rounded down, so that its start and its own frames, rounded up, never exceed `needed_frames`.
    """
    return head.numerator * fps // head.denominator


# The grid


def is_on_grid(frames: int) -> bool:
    """Return whether a length is on the grid of 8n+1 frames."""
    return frames >= SHORTEST and frames % STEP == 1


def snap_up(frames: int, step: int = STEP) -> int:
    """Return the shortest length on the grid of `step`·n+1 with at least `frames` frames, and at least one step."""
    return max(step, -(-(frames - 1) // step) * step) + 1


def snap_down(frames: int, step: int = STEP) -> int:
    """Return the longest length on the grid of `step`·n+1 with at most `frames` frames, or the grid's shortest."""
    return max(step, (frames - 1) // step * step) + 1


def lengths_near(seconds: Fraction, fps: int, max_frames: int, step: int = STEP) -> tuple[int, ...]:
    """Return the two lengths on the grid of `step`·n+1 around a time, the nearer first; the longer if equally near.

    Lengths above `max_frames` are left out, so that 20 s at 24 fps are 473 frames where 481 cannot be made. Empty where
    both are above.

    >>> lengths_near(Fraction(20), 25, 505), lengths_near(Fraction(4), 25, 497)
    ((497, 505), (97, 105))
    """
    exact = seconds * fps
    around = {snap_down(exact.numerator // exact.denominator, step), snap_up(seconds_to_frames_up(seconds, fps), step)}
    legal = [frames for frames in around if frames <= max_frames]
    return tuple(sorted(legal, key=lambda frames: (abs(frames - exact), -frames)))


def longest(seconds: Fraction, fps: int, max_frames: int) -> int:
    """Return the longest length on the grid below a model's ceilings in seconds and in frames."""
    return snap_down(min(seconds.numerator * fps // seconds.denominator, max_frames))


# Covering


@dataclass(frozen=True)
class Limits:
    """A profile's limits of lengths, in frames.

    `auto` stays within auto_min … auto_max; an author may write up to `max_frames`, the model's ceiling at this frame
    rate. Clips look best within preferred_min … preferred_max. At most `trim_max` frames are cut off one clip's tail.
    """

    auto_min: int
    auto_max: int
    preferred_min: int
    preferred_max: int
    max_frames: int
    trim_max: int

    def prefers(self, lengths: Iterable[int]) -> bool:
        """Return whether all lengths are in the range where clips look best."""
        return all(self.preferred_min <= length <= self.preferred_max for length in lengths)


@dataclass(frozen=True)
class LengthRequest:
    """The constraints of a clip's length before solving, in frames.

    `explicit` is the author's, on the grid already; `around` are all lengths that a time may become: the longer one is
    used where the nearest does not cover. `sticky` is the rendered length, from the lock; `fixed` means that it cannot
    change (approved, pinned). `new_frames_less` of its frames repeat another clip. `step` is that of its grid: 16 for a
    clip whose frame rate is doubled after sampling, since 8n+1 sampled frames make 16n+1. `keeps_tail` means that
    another clip continues where it ends, so that nothing is cut off there.
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

    `frames` are rendered and `trims` cut off the tails. `picture` frames would play without the trims; `covered` do
    play: exactly `need` where there is one, unless a note reports a longer tail.
    """

    frames: tuple[int, ...]
    trims: tuple[int, ...]
    need: int
    picture: int
    covered: int
    notes: tuple[str, ...] = ()

    @property
    def overshoot(self) -> int:
        """Frames that are rendered beyond the need."""
        return self.picture - self.need


@dataclass(frozen=True)
class _Room:
    """The range of one clip's length; `now` is None while nothing is rendered or written."""

    held: str  # what decides it, the strongest first: "fixed", "explicit", "sticky", "auto"
    now: int | None
    low: int  # a new render stays within low … high, both on the grid
    high: int
    less: int
    overlap: int  # frames its crossfades take, in and out
    step: int
    keeps_tail: bool


def solve(need: int, requests: Sequence[LengthRequest], crossfade: int, limits: Limits, relength: bool = False) -> Cut:
    """Return lengths that cover `need` frames (0: no narration). Raise LengthConflict where none do.

    Rendered lengths stay while they cover; the excess is trimmed, from the last clip on. Where they do not, clips not
    rendered yet become as long as needed and allowed, and then the fewest others are lengthened, the shortest first.
    Where nothing is rendered, or with `relength`, lengths are near equal, the longer first, and exceed the need by less
    than a step of their grid unless the limits forbid it. Solving again with the result as `sticky` changes nothing.

    >>> requests = [LengthRequest("a"), LengthRequest("b"), LengthRequest("c")]
    >>> solve(315, requests, 12, Limits(97, 257, 121, 161, 497, 48)).frames
    (113, 113, 113)
    """
    if not requests:
        raise LengthConflict(*_text("no-clips"), need, 0)
    rooms = _rooms(need, requests, crossfade, limits, relength)
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
    return replace(cut, notes=_length_notes(cut, requests, rooms, crossfade, limits))


def solve_parts(
    parts: Sequence[int], requests: Sequence[LengthRequest], crossfade: int, limits: Limits, relength: bool = False
) -> Cut:
    """Return lengths for clips that play `parts` frames each before the next begins.

    Each clip is cut where the next one should begin. A clip that is longer than trimming allows, or that another
    continues, plays on; those after it begin later, and play correspondingly less. Raise LengthConflict as `solve`.

    >>> requests = [LengthRequest("a"), LengthRequest("b")]
    >>> solve_parts([100, 150], requests, 12, Limits(97, 257, 121, 161, 497, 48))
    Cut(frames=(113, 153), trims=(1, 3), need=250, picture=254, covered=250, notes=())
    """
    need, late = sum(parts), 0
    frames, trims, notes = [], [], []
    for index, (part, room) in enumerate(zip(parts, _rooms(need, requests, crossfade, limits, relength), strict=True)):
        if late:
            notes.append(_text("begins-late", clip=requests[index].name, frames=late)[0])
        goal = part - late + (crossfade if index < len(parts) - 1 else 0)
        length = _length_for(goal + room.less, room, requests[index], limits)
        most = 0 if room.keeps_tail else min(limits.trim_max, length - room.less - max(room.overlap, 1))
        trim = max(0, min(length - room.less - goal, most))
        late = length - room.less - trim - goal
        frames.append(length)
        trims.append(trim)
    overlaps = (len(requests) - 1) * crossfade + sum(request.new_frames_less for request in requests)
    picture = sum(frames) - overlaps
    if late:
        notes.append(_text("stays-longer", frames=late)[0])
    return Cut(tuple(frames), tuple(trims), need, picture, picture - sum(trims), tuple(notes))


def _length_for(goal: int, room: _Room, request: LengthRequest, limits: Limits) -> int:
    """Return the length of a clip that needs `goal` frames: its present one if sufficient, else the next one."""
    if room.now is not None and room.now >= goal:
        return room.now
    if room.held == "explicit" and room.high >= goal:
        return room.high
    longest_frames = limits.max_frames if room.held == "auto" else room.high
    wanted = max(room.low, snap_up(goal, room.step))
    if room.held in ("auto", "sticky") and wanted <= longest_frames:
        return wanted
    have = room.now if room.now is not None and room.held in ("fixed", "explicit") else longest_frames
    raise LengthConflict(*_text("lines-too-long", clip=request.name, have=have, need=goal), goal, have)


def suggest(need: int, crossfade: int, limits: Limits) -> tuple[int, ...]:
    """Return the lengths of the fewest clips within preferred_max that cover `need` frames, () if none do.

    () also for more than MOST_SUGGESTED clips, too many to list in a hint.
    """
    count = fewest_clips(need, crossfade, limits)
    return _afresh(need, [LengthRequest("")] * count, crossfade, limits) if 0 < count <= MOST_SUGGESTED else ()


def fewest_clips(need: int, crossfade: int, limits: Limits) -> int:
    """Return how many clips of the preferred length cover `need` frames, 0 where a crossfade takes all of each."""
    each = limits.preferred_max - crossfade
    return max(1, -(-(need - crossfade) // each)) if each > 0 else 0


def _afresh(need: int, requests: Sequence[LengthRequest], crossfade: int, limits: Limits) -> tuple[int, ...]:
    try:
        return _lengths(need, _rooms(need, requests, crossfade, limits, True), crossfade, limits)
    except LengthConflict:
        return ()


def _rooms(
    need: int, requests: Sequence[LengthRequest], crossfade: int, limits: Limits, relength: bool
) -> tuple[_Room, ...]:
    last = len(requests) - 1
    return tuple(
        _room(need, request, crossfade * ((i > 0) + (i < last)), limits, relength) for i, request in enumerate(requests)
    )


def _usual(room: _Room, limits: Limits) -> int:
    return snap_up(_after_doubling(limits.preferred_min, room.step), room.step)


def _after_doubling(sampled: int, step: int) -> int:
    """Return the frames of a clip after doubling, from its sampled frames, to which limits apply."""
    return (sampled - 1) * step // STEP + 1


def _room(need: int, request: LengthRequest, overlap: int, limits: Limits, relength: bool) -> _Room:
    shortest = max(overlap, 1) + request.new_frames_less
    low = snap_up(max(_after_doubling(limits.auto_min, request.step), shortest), request.step)
    high = snap_down(min(_after_doubling(limits.auto_max, request.step), limits.max_frames), request.step)
    held, now = "auto", None
    if request.fixed and request.sticky is not None:
        held, now = "fixed", request.sticky
    elif request.explicit is not None:
        is_kept = not relength and request.sticky in request.around
        held, now = "explicit", request.sticky if is_kept else request.explicit
        high = max((request.explicit, *request.around))
        if now is not None and now < shortest <= high:
            now = high
    elif not relength and request.sticky is not None and shortest <= request.sticky <= limits.max_frames:
        held, now = "sticky", request.sticky
    if held == "explicit" and now is not None and now > limits.max_frames:
        most = limits.max_frames
        raise LengthConflict(*_text("above-the-model", clip=request.name, frames=now, most=most), need, most)
    if (high if now is None else now) < (low if now is None else shortest):
        have = (high if now is None else now) - request.new_frames_less
        raise LengthConflict(*_text("crossfades-too-long", clip=request.name, have=have, overlap=overlap), need, have)
    return _Room(held, now, low, high, request.new_frames_less, overlap, request.step, request.keeps_tail)


def _lengths(need: int, rooms: Sequence[_Room], crossfade: int, limits: Limits) -> tuple[int, ...]:
    """Return the lengths before trimming. The shortest clip grows first, so that lengths are near equal."""
    goal = need + (len(rooms) - 1) * crossfade + sum(r.less for r in rooms)
    low = [r.low if r.now is None else r.now for r in rooms]
    high = [r.high if r.now is None else r.now for r in rooms]
    for i, room in enumerate(rooms):  # first the lengths that the author left open by a few frames
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
    if all(r.held in ("auto", "sticky") for r in rooms):
        instead = suggest(need, crossfade, limits)
        hint = "make the crossfade shorter: it takes more than another clip adds"
        if (count := fewest_clips(need, crossfade, limits)) > MOST_SUGGESTED:
            hint = f"write about {_clips(count)}, or shorten the narration by {missing} frames"
        elif instead:
            hint = f"write {_clips(len(instead))} ({_list(instead)}), or shorten the narration by {missing} frames"
        most = max(r.high for r in rooms)
        text = _text("clips-too-short", hint=hint, clips=_clips(len(rooms)), most=most, have=have, need=need)
        return LengthConflict(*text, need, have, len(instead) or None)
    each = limits.preferred_max - crossfade
    more = max(0, -(-missing // each)) if each > 0 else 0
    hint = f"{missing} more frames are needed" + (f": make them longer, or add {_clips(more)}" if more else "")
    lengths = "the lengths as written" if any(r.held == "explicit" for r in rooms) else "the approved lengths"
    text = _text("lengths-too-short", hint=hint, lengths=lengths, have=have, need=need)
    return LengthConflict(*text, need, have, len(rooms) + more if more else None)


def _tail_notes(cut: Cut, rooms: Sequence[_Room], crossfade: int, limits: Limits) -> tuple[str, ...]:
    """Return notes on a tail that trimming leaves. Raise LengthConflict where the author's lengths cause it."""
    left = cut.covered - cut.need
    held = {r.held for r in rooms}
    if "explicit" in held and "sticky" not in held:
        trimmed = sum(cut.trims)
        text = _text("lengths-too-long", picture=cut.picture, need=cut.need, left=left, trimmed=trimmed)
        raise LengthConflict(*text, cut.need, cut.picture)
    if any(r.held == "sticky" and r.now is not None and r.now > r.low for r in rooms):
        return _text("stays-longer-kept", frames=left)[:1]
    instead = suggest(cut.need, crossfade, limits)
    if 0 < len(instead) < len(rooms):
        return _text("stays-longer-fewer", frames=left, clips=_clips(len(instead)), lengths=_list(instead))[:1]
    return _text("stays-longer", frames=left)[:1]


def _length_notes(
    cut: Cut, requests: Sequence[LengthRequest], rooms: Sequence[_Room], crossfade: int, limits: Limits
) -> tuple[str, ...]:
    """Return notes on lengths outside the preferred range, where `--relength` or another number of clips helps."""
    sampled = [(f - 1) * STEP // r.step + 1 for f, r in zip(cut.frames, rooms, strict=True)]
    outside = [f for f in sampled if not limits.prefers([f])]
    if not outside or not all(r.held in ("auto", "sticky") for r in rooms):
        return ()
    values: dict[str, Any] = {"frames": outside[0], "low": limits.preferred_min, "high": limits.preferred_max}
    afresh = _afresh(cut.need, requests, crossfade, limits)
    if afresh and limits.prefers((f - 1) * STEP // r.step + 1 for f, r in zip(afresh, rooms, strict=True)):
        return _text("outside-preferred", **values, lengths=_list(afresh))[:1]
    instead = suggest(cut.need, crossfade, limits)
    if instead and limits.prefers(instead):
        return _text("outside-preferred-count", **values, clips=_clips(len(instead)), lengths=_list(instead))[:1]
    return ()


def _clips(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def _list(lengths: Sequence[int]) -> str:
    if len(lengths) > 1 and len(set(lengths)) == 1:
        return f"{lengths[0]}f each"
    return ", ".join(f"{length}f" for length in lengths)


def schedule(frames: Sequence[int], trims: Sequence[int], crossfade: int) -> list[tuple[int, int]]:
    """Return (from, duration) of each clip of a scene, in frames from the start of the scene.

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
    """Return the seed of a take, derived from its place in the film: 53 bits of a sha256, exact in any JSON."""
    digest = hashlib.sha256(canonical(["seed/1", project_seed, scene, clip, take, try_])).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def letters(index: int) -> str:
    """Return the letters of a position from 0, in the order a … z, aa, ab."""
    name = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        name = chr(ord("a") + rest) + name
    return name


def clip_file_name(scene_index: int, clip_index: int) -> str:
    """Return a clip's file name by position, such as `scene-0-a.mp4`."""
    return f"scene-{scene_index}-{letters(clip_index)}.mp4"
