"""Record the speed of each server, in seconds per unit of work, for estimates only.

A separate module, since it owns the format of its file in the store.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ltxflow.core import files
from ltxflow.core.regular import read_json

MEMORY = 20  # renders that count, so that a new driver or card shows soon

SPEEDS = "speeds.json"  # in the store's folder


@dataclass(frozen=True)
class Speed:
    """Seconds per pixel × frame × step as `rate`, over `count` renders; `spread` is their mean relative deviation."""

    rate: float
    count: int
    spread: float = 0.0

    def after(self, seconds: float, work: float) -> Speed:
        """Return the speed with one more render counted, of `seconds` for `work` units."""
        new = seconds / work
        weight = 1 / min(self.count + 1, MEMORY)
        rate = self.rate + (new - self.rate) * weight
        off = abs(new - self.rate) / self.rate if self.rate else 0.0
        return Speed(rate, self.count + 1, self.spread + (off - self.spread) * weight)


def read_speeds(root: Path) -> dict[str, Speed]:
    """Return server name → Speed of a store, empty without a readable record."""
    try:
        data = read_json(root / SPEEDS)
        found = {
            str(name): Speed(float(s["rate"]), int(s["count"]), float(s["spread"]))
            for name, s in data.items()
            if isinstance(s, dict)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return {}
    return {name: speed for name, speed in found.items() if speed.rate > 0 and math.isfinite(speed.rate)}


def write_speeds(root: Path, speeds: Mapping[str, Speed]) -> None:
    """Write the speeds of servers to a store, not durably."""
    data = {
        name: {"rate": s.rate, "count": s.count, "spread": round(s.spread, 4)} for name, s in sorted(speeds.items())
    }
    files.make_dir(root)
    files.make_room(root / SPEEDS)
    files.write_atomic(root / SPEEDS, json.dumps(data, indent=1) + "\n", fsync=False)
