"""Define the names of the nodes of a build graph, in the form that users type, `clip:hook/b@2`; and count them.

A separate module, because every package above names nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass


class Target(str):
    """A kind, a path and a take: `clip:hook/b@2`, `reference:hero@1`, `narration:hook@1`, `frame:hook/b/last@1`.

    A str, so that it prints, serialises and works as a key unchanged. A text without a take has take 1.
    """

    __slots__ = ()

    @classmethod
    def of(cls, kind: str, path: str, take: int = 1) -> Target:
        """Return the target of these parts."""
        return cls(f"{kind}:{path}@{take}")

    @property
    def kind(self) -> str:
        """`clip` of `clip:hook/b@2`."""
        return self.partition(":")[0]

    @property
    def path(self) -> str:
        """`hook/b` of `clip:hook/b@2`."""
        return self.partition(":")[2].partition("@")[0]

    @property
    def take(self) -> int:
        """2 of `clip:hook/b@2`."""
        return int(self.partition("@")[2] or 1)

    @property
    def scene(self) -> str:
        """`hook` of `clip:hook/b@2`."""
        return self.path.partition("/")[0]

    @property
    def is_reference(self) -> bool:
        """Whether it is an image that clips start from."""
        return self.startswith("reference:")

    @property
    def lock_entry(self) -> str:
        """The name of its line in the lock, without the take: `hook/b`, `reference:hero`."""
        return self.partition("@")[0] if self.is_reference else self.path

    @property
    def short(self) -> str:
        """The form for display: `hook/b`, `hook/b@2`, `reference:hero`."""
        return self.lock_entry if self.take == 1 else f"{self.lock_entry}@{self.take}"


@dataclass(frozen=True)
class Tally:
    """How many clips and references there are among targets, and how many further takes of them.

    The one way in which ltxflow counts: a clip or reference counts once, whichever of its takes are there.
    """

    clips: int = 0
    more_takes: int = 0
    references: int = 0

    @classmethod
    def of(cls, targets: Iterable[str], heads: Collection[str]) -> Tally:
        """Count targets. Those in `heads` stand for their clip or reference; the others are further takes."""
        found = [Target(target) for target in targets]
        first = [target for target in found if target in heads]
        references = sum(target.is_reference for target in first)
        return cls(len(first) - references, len(found) - len(first), references)

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.clips + other.clips, self.more_takes + other.more_takes, self.references + other.references)

    def __sub__(self, other: Tally) -> Tally:
        return self + Tally(-other.clips, -other.more_takes, -other.references)

    def __bool__(self) -> bool:
        return self != Tally()

    def __str__(self) -> str:
        """Return the counts in words: `2 clips, 1 more take and 3 references`; "" for none."""
        return counted((self.clips, "clip"), (self.more_takes, "more take"), (self.references, "reference"))


def heads_of(targets: Iterable[str], picked: Callable[[str], int]) -> frozenset[str]:
    """Return the target that counts as its clip or reference, for each among targets: the picked take, else the first.

    `picked` returns the number of the take that is in the cut, by the name of the entry in the lock.
    """
    by_entry: dict[str, dict[int, Target]] = {}
    for target in map(Target, targets):
        by_entry.setdefault(target.lock_entry, {})[target.take] = target
    return frozenset(takes.get(picked(entry)) or takes[min(takes)] for entry, takes in by_entry.items())


def count(number: int, noun: str) -> str:
    """Return `1 clip` or `2 clips`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def counted(*numbers: tuple[int, str]) -> str:
    """Join the counts that are not zero: `2 clips, 1 more take and 3 references`."""
    *most, last = [count(number, noun) for number, noun in numbers if number] or [""]
    return f"{', '.join(most)} and {last}" if most else last
