"""The ledger: what a film has cost in GPU time so far, a line for every prompt that ended on a server.

Failed and cancelled prompts cost as well, so it is more than the takes that there are. It is this machine's record:
what others rendered came from the shared store, and was paid for there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltxflow.core import files
from ltxflow.core.workspace import parse_json, read_bytes

LEDGER = "spent.jsonl"  # in `.ltxflow/`
KEPT = 500  # lines that compacting leaves as they are: an earlier run's prompt may be settled once more
_EMPTY: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True)
class Spending:
    """GPU seconds spent on a film, by server, over `runs` prompts."""

    by_server: Mapping[str, float] = field(default_factory=lambda: _EMPTY)
    runs: int = 0

    @property
    def gpu_s(self) -> float:
        return sum(self.by_server.values(), 0.0)


@dataclass(frozen=True)
class Ledger:
    """The file `.ltxflow/spent.jsonl` of one project. Only the process that holds the project writes it."""

    path: Path

    def add(self, prompt_id: str, target: str, server: str, gpu_s: float, outcome: str) -> None:
        """Record what a prompt cost. `outcome` is how it ended: `done`, `failed` or `cancelled`."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        line = {"prompt_id": prompt_id, "target": target, "server": server, "gpu_s": round(gpu_s, 3)}
        files.make_dir(self.path.parent)
        files.append_line(self.path, _line({**line, "outcome": outcome, "at": at}), fsync=False)

    def read(self) -> Spending:
        """Return the sum of all lines: one for each prompt. A torn line, or no file, costs nothing."""
        return spending(self._entries())

    def compact(self, before: Iterable[tuple[str, str, float]] = ()) -> None:
        """Sum up old lines, by server. Where there is no ledger yet, begin it with what renders of `before` took.

        These are targets, servers and seconds: takes of a film that is older than its ledger.
        """
        if not self.path.exists():
            lines = [{"target": target, "server": server, "gpu_s": round(s, 3)} for target, server, s in before]
            if lines:
                files.make_dir(self.path.parent)
                files.write_atomic(self.path, "".join(f"{_line(line)}\n" for line in lines))
            return
        entries = self._entries()
        if len(entries) <= 2 * KEPT:
            return
        sums: dict[str, tuple[float, int]] = {}
        for entry in entries[:-KEPT]:
            seconds, runs = sums.get(entry["server"], (0.0, 0))
            sums[entry["server"]] = seconds + entry["gpu_s"], runs + entry.get("runs", 1)
        old = [{"server": name, "gpu_s": round(s, 3), "runs": runs} for name, (s, runs) in sums.items()]
        files.write_atomic(self.path, "".join(f"{_line(entry)}\n" for entry in [*old, *entries[-KEPT:]]))

    def _entries(self) -> list[dict[str, Any]]:
        """Return the lines that read as entries, each prompt once."""
        try:
            data = read_bytes(self.path)
        except OSError:
            return []
        found: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(data.split(b"\n")):
            try:
                entry = parse_json(line)
            except ValueError:
                continue
            if _is_entry(entry):
                found[str(entry.get("prompt_id") or number)] = entry
        return list(found.values())


def spending(entries: Iterable[Mapping[str, Any]]) -> Spending:
    """Return the sum of entries of a ledger."""
    by_server: dict[str, float] = {}
    runs = 0
    for entry in entries:
        by_server[entry["server"]] = by_server.get(entry["server"], 0.0) + entry["gpu_s"]
        runs += entry.get("runs", 1)
    return Spending(by_server, runs)


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, dict) or not isinstance(entry.get("server"), str):
        return False
    seconds, runs = entry.get("gpu_s"), entry.get("runs", 1)
    if not isinstance(seconds, (int, float)) or isinstance(seconds, bool) or type(runs) is not int:
        return False
    return 0 <= seconds < math.inf


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":"), allow_nan=False)  # ASCII: it may be torn at any byte
