"""Runs a command as a process of its own and says what it cost: processor time, wall clock, peak memory.

The kernel counts into a child's peak what it was before it became the command: the 17 MB of who measures are the floor.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

LOG = ".measured"


@dataclass(frozen=True)
class Cost:
    """Medians of several runs: user + system seconds and wall seconds, children included; the largest peak, in MB."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    runs: int

    def __str__(self) -> str:
        return f"{self.cpu_s:8.3f} s CPU {self.wall_s:8.3f} s wall {self.peak_mb:6.0f} MB"


class Failed(Exception):
    """A command ended otherwise than it should: with which exit code, and what it said last."""

    def __init__(self, argv: Sequence[str], code: int, said: str) -> None:
        super().__init__(f"{' '.join(argv)} ended with {code}:\n{said}")
        self.said = said


def said(cwd: Path) -> str:
    """What the last command that was run in a folder said."""
    return (cwd / LOG).read_text(errors="replace")


def run(argv: Sequence[str], cwd: Path, env: dict[str, str], ok: Sequence[int] = (0,)) -> Cost:
    """Run one command to its end. Raise Failed for another exit code than those in `ok`."""
    began = time.monotonic()
    with (cwd / LOG).open("wb") as out:
        process = subprocess.Popen(argv, cwd=cwd, env=env, stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    if process.returncode not in ok:
        raise Failed(argv, process.returncode, said(cwd)[-2000:])
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024, 1)


def _nothing(number: int) -> None:
    pass


def median(
    argv: Sequence[str], cwd: Path, env: dict[str, str], runs: int, before: Callable[[int], object] = _nothing
) -> Cost:
    """Run a command several times, each after `before(number)`, and return the medians."""
    costs = []
    for number in range(runs):
        before(number)
        costs.append(run(argv, cwd, env))
    return Cost(
        statistics.median(cost.cpu_s for cost in costs),
        statistics.median(cost.wall_s for cost in costs),
        max(cost.peak_mb for cost in costs),
        runs,
    )
