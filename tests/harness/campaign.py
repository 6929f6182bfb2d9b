"""What the campaigns tried: how often each kind, and what failed. A table at the end of the run shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Campaign:
    """Rows of the table; `failures` are those of the test that runs."""

    tries: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, kind: str, tries: int, failures: Sequence[str]) -> None:
        """Count so many tries of a kind, and what failed in them."""
        self.tries[kind] = self.tries.get(kind, 0) + tries
        self.failed[kind] = self.failed.get(kind, 0) + len(failures)
        self.failures += failures

    def check(self) -> None:
        """Fail the test that runs for what failed in it."""
        failures, self.failures = self.failures, []
        assert not failures, "\n".join(failures)

    def table(self) -> list[str]:
        """Return the table's lines: kind, tries, failures."""
        width = max(map(len, self.tries), default=4)
        rows = [f"{kind.ljust(width)}  {self.tries[kind]:>6}  {self.failed[kind]:>8}" for kind in self.tries]
        total = f"{'all'.ljust(width)}  {sum(self.tries.values()):>6}  {sum(self.failed.values()):>8}"
        return [f"{'kind'.ljust(width)}   tries  failures", *rows, total]
