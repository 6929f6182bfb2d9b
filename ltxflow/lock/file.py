"""Hold the lock file while a verb runs: merge the changes that others write to it, and never overwrite them.

A build takes hours, and other programs (git) write the lock in that time.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ltxflow.core.digest import digest_bytes, digest_file
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.lock.merge import Merged, merge
from ltxflow.lock.model import Lock, lock_text, read_lock, write_lock


class LockConflict(LtxflowError):
    """Others changed the lock, and the result cannot be read, so that nothing was written over it."""


class LockFile:
    """The lock as it was last read or written. `name` is the file's name in messages."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._known, self._digest = Lock(), ""

    def read(self, *, is_known: bool = False) -> Lock:
        """Return the lock as it is now; see `read_lock`."""
        self._digest = self._there()  # first, so that a write in between is merged later
        self._known = read_lock(self.path, self.name, is_known=is_known)
        return self._known

    def save(self, lock: Lock) -> Merged:
        """Write a lock, merged with the changes of others since it was read or written; return the result.

        Raise LockConflict, and write nothing, where their changes cannot be read.
        """
        merged = Merged(lock)
        if not self.is_unchanged():
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

    def is_unchanged(self) -> bool:
        """Return whether the file is as it was last read or written; git and other people write it, too."""
        return self._there() == self._digest

    def _there(self) -> str:
        try:
            return digest_file(self.path)
        except OSError:
            return ""


def merge_problems(merged: Merged, name: str) -> list[Problem]:
    """Return warnings about a merge with the changes of others: that it happened, and its conflicts."""
    return [problem("K016", name=name), *(replace(each.problem, level="warning") for each in merged.conflicts)]
