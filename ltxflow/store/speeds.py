"""How fast each server was: seconds per unit of work, from finished clips. A help for estimates, never a truth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ltxflow.core import files
from ltxflow.core.regular import read_json

MEMORY = 20  # renders that count: a new driver or another card shows soon

SPEEDS = "speeds.json"  # in the store's folder


@dataclass(frozen=True)
class Speed:
    """`rate` is seconds per pixel × frame × step, over `count` renders; `spread` how far single ones lay off it."""

    rate: float
    count: int
    spread: float = 0.0

    def after(self, seconds: float, work: float) -> Speed:
        """Given one more render, return the speed with it counted in."""
        new = seconds / work
        weight = 1 / min(self.count + 1, MEMORY)
        rate = self.rate + (new - self.rate) * weight
        off = abs(new - self.rate) / self.rate if self.rate else 0.0
        return Speed(rate, self.count + 1, self.spread + (off - self.spread) * weight)


def read_speeds(root: Path) -> dict[str, Speed]:
    """Given the store's folder, return server name → Speed; nothing where nothing is known."""
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
    data = {
        name: {"rate": s.rate, "count": s.count, "spread": round(s.spread, 4)} for name, s in sorted(speeds.items())
    }
    files.make_dir(root)
    files.make_room(root / SPEEDS)
    files.write_atomic(root / SPEEDS, json.dumps(data, indent=1) + "\n", fsync=False)
