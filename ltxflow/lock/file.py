"""The lock's file for as long as a verb runs: what others write there meanwhile is merged, never overwritten.

A build takes hours, and git waits for nobody.
"""

from __future__ import annotations

from pathlib import Path

from ltxflow.core.digest import digest_bytes, digest_file
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.lock.merge import Merged, merge
from ltxflow.lock.model import Lock, lock_text, read_lock, write_lock


class LockConflict(LtxflowError):
    """What somebody else wrote to the lock meanwhile cannot be read, so that nothing was written over it."""


class LockFile:
    """Knows the lock as it was last read or written. `name` is how the file is called in messages."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._known, self._digest = Lock(), ""

    def read(self, *, is_known: bool = False) -> Lock:
        """Return the lock as it is now, as `read_lock` says."""
        self._digest = self._there()  # first: what is written in between is merged then
        self._known = read_lock(self.path, self.name, is_known=is_known)
        return self._known

    def save(self, lock: Lock) -> Merged:
        """Given the lock as it is to be, write it; return it with what others wrote since it was read or written.

        Raise Overtaken, and write nothing, where that cannot be read.
        """
        merged = Merged(lock)
        if not self.is_as_left():
            try:
                theirs = read_lock(self.path, self.name)
            except LtxflowError as error:
                raise LockConflict(*error.problems) from None
            merged = merge(self._known, lock, theirs)
        write_lock(self.path, merged.lock)
        self._known, self._digest = merged.lock, digest_bytes(lock_text(merged.lock).encode())
        return merged

    @property
    def digest(self) -> str:
        """The digest of the file as it was last read or written, "" without one."""
        return self._digest

    def is_as_left(self) -> bool:
        """Whether the file is as it was last read or written: others write it, too, and git does."""
        return self._there() == self._digest

    def _there(self) -> str:
        try:
            return digest_file(self.path)
        except OSError:
            return ""


def merge_problems(merged: Merged, name: str) -> list[Problem]:
    """Given what came of a lock and of what others wrote to it meanwhile, return what a person should know."""
    message = f"{name} was written by somebody else meanwhile: what both say is in it now"
    first = Problem(message, hint="look at what became of it with: git diff", level="warning")
    return [first, *(Problem(clash.message, hint=clash.hint, level="warning") for clash in merged.clashes)]
