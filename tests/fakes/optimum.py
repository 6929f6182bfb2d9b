"""The soonest end that whole clips on unequal servers allow, by exact search: what schedules are measured against."""

from __future__ import annotations

import math
from collections.abc import Sequence


def best_makespan(seconds: Sequence[Sequence[float]], free_in_s: Sequence[float] = ()) -> float:
    """Given each clip's seconds on each server, and when each server is free, return the soonest last end.

    Infinite seconds bar a clip from a server. Branch and bound, longest clip first: fine up to about twenty clips.
    """
    clips = sorted(seconds, key=lambda clip: -min(clip))
    lanes = len(clips[0]) if clips else len(free_in_s)
    ends = list(free_in_s) or [0.0] * lanes
    left = [0.0] * (len(clips) + 1)  # the least that clips from here on add to the sum of ends
    for index in range(len(clips) - 1, -1, -1):
        left[index] = left[index + 1] + min(clips[index])
    rates = [min(clip[lane] / min(clip) for clip in clips) if clips else 1.0 for lane in range(lanes)]
    best = math.inf

    def bound(index: int) -> float:
        """Were clips divisible, and each server as fast as on the clip that suits it most."""
        return (left[index] + sum(end / rate for end, rate in zip(ends, rates, strict=True))) / sum(
            1 / rate for rate in rates
        )

    def place(index: int) -> None:
        nonlocal best
        if index == len(clips):
            best = min(best, max(ends))
            return
        if max(bound(index), max(ends)) >= best * (1 - 1e-12):
            return
        clip = clips[index]
        for lane in sorted(range(lanes), key=lambda lane: ends[lane] + clip[lane]):
            before = ends[lane]
            ends[lane] += clip[lane]
            if ends[lane] < best:
                place(index + 1)
            ends[lane] = before

    place(0)
    return best
