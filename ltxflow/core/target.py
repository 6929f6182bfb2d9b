"""Targets: what the nodes of a build graph are called, as people type them: `clip:hook/b@2`."""

from __future__ import annotations


class Target(str):
    """A kind, a path and a take: `clip:hook/b@2`, `reference:hero@1`, `narration:hook@1`, `frame:hook/b/last@1`.

    It is the text itself, so that it is a key, prints and serialises as such. A text without a take has take 1.
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
        return self.startswith("reference:")

    @property
    def lock_entry(self) -> str:
        """What the lock calls it, takes aside: `hook/b`, `reference:hero`."""
        return self.partition("@")[0] if self.is_reference else self.path

    @property
    def short(self) -> str:
        """What people are shown: `hook/b`, `hook/b@2`, `reference:hero`."""
        return self.lock_entry if self.take == 1 else f"{self.lock_entry}@{self.take}"
