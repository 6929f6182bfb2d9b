"""Define the names of the nodes of a build graph, in the form that users type: `clip:hook/b@2`.

A separate module, because every package above names nodes.
"""

from __future__ import annotations


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
