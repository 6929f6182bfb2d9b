"""The life of an action as a small state machine. Pure; one function makes every transition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["waiting", "ready", "running", "made", "failed", "skipped"]

MOVES: Mapping[State, frozenset[State]] = {
    "waiting": frozenset(["ready", "made", "skipped"]),  # made: its key was a hit once its inputs were known
    "ready": frozenset(["running", "made", "skipped"]),
    "running": frozenset(["made", "failed", "ready", "skipped"]),  # ready: a new attempt
    "made": frozenset(),
    "failed": frozenset(),
    "skipped": frozenset(),
}
SETTLED = frozenset[State](["made", "failed", "skipped"])


@dataclass
class States:
    """The state of every target of a run, in plan order."""

    of: dict[str, State] = field(default_factory=dict)

    def set(self, target: str, state: State) -> None:
        """Every transition passes here; a forbidden one is a bug of ours."""
        now = self.of.get(target)
        if now is not None and state not in MOVES[now]:
            raise AssertionError(f"{target}: {now} → {state}")
        self.of[target] = state

    def in_state(self, *states: State) -> list[str]:
        return [target for target, state in self.of.items() if state in states]

    @property
    def is_settled(self) -> bool:
        return all(state in SETTLED for state in self.of.values())
