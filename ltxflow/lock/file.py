"""Read and write the file `ltxflow.lock`, and hold it while a command runs.

A build takes hours, and people and git write the lock in that time. Nothing is ever written over their changes: they
are merged first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import digest_bytes, digest_file
from ltxflow.core.errors import LtxflowError, Problem, Span, hint_for, problem
from ltxflow.core.workspace import is_damage, read_bytes
from ltxflow.lock.merge import Merged, merge
from ltxflow.lock.model import Lock, LockEntry
from ltxflow.lock.text import (
    BLOCK_START,
    MODEL,
    BadBlock,
    BlockReader,
    find_blocks,
    lock_text,
    parse_lock,
    plain_text,
    problem_of,
    version_of,
)

_EMPTY: Mapping[str, Any] = MappingProxyType({})


def read_lock(path: Path, name: str = "", *, is_known: bool = False) -> Lock:
    """Return the Lock of a file, an empty one without it. `name` is the file in errors.

    Raise LtxflowError, with line and column, for a damaged file or one with merge conflicts. Blocks of a file that
    `is_known` to be good, since it was read before and is unchanged, are read on access.
    """
    shown = name or str(path)
    try:
        data = read_bytes(path)
    except FileNotFoundError:
        return Lock()
    except OSError as error:
        reason = str(error.strerror) if is_damage(error) else (error.strerror or str(error)).lower()
        raise LtxflowError(problem("K015.system", path=shown, reason=reason, hint=hint_for(error))) from error
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        span = Span(shown, before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise LtxflowError(problem("K015.encoding", span)) from None
    if not text.strip():  # we never write one: takes and decisions are lost
        raise LtxflowError(problem("K015.empty", Span(shown, 1, 1), name=path.name))
    if not is_known:
        return parse_lock(text, shown)
    entries = LazyEntries(text, shown)
    return Lock(entries, entries.choices)


class LazyEntries(Mapping[str, LockEntry]):
    """The entries of a lock's text, each read on access; a bad one raises LtxflowError then."""

    def __init__(self, text: str, name: str) -> None:
        self.text = plain_text(text)
        self._name = name
        self._reader = BlockReader(version_of(self.text, name))
        self._read: dict[str, LockEntry] = {}
        models, at = [], self.text.find(f"\n{MODEL}")
        while at >= 0:
            models.append(at + 1)
            at = self.text.find(f"\n{MODEL}", at + 1)
        self.choices = {name.removeprefix(MODEL): block for name, block in map(self._parsed, models)}

    @cached_property
    def _places(self) -> dict[str, int]:
        """Where the block of each clip begins."""
        return {name: start for name, start in find_blocks(self.text) if not name.startswith(MODEL)}

    def _parsed(self, start: int) -> tuple[str, Any]:
        following = BLOCK_START.search(self.text, start + 1)
        try:
            return self._reader.block(self.text[start : following.start() + 1 if following else len(self.text)])
        except BadBlock as bad:
            raise LtxflowError(problem_of(bad, self.text, start, self._name)) from None

    def __getitem__(self, clip: str) -> LockEntry:
        if clip not in self._read:
            self._read[clip] = self._parsed(self._places[clip])[1]
        return self._read[clip]

    def __contains__(self, clip: object) -> bool:
        return clip in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def read_choices(path: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the choices of a lock's file by model, empty where it cannot be read: a full read reports that."""
    try:
        return read_lock(path, is_known=True).choices
    except LtxflowError:
        return _EMPTY


def write_lock(path: Path, lock: Lock) -> bool:
    """Write a lock's file atomically; return whether it changed.

    A file with the same text (with any line ends) is left alone, so that git sees no change.
    """
    text = lock_text(lock)
    try:
        is_same = read_bytes(path).replace(b"\r\n", b"\n") == text.encode()
    except FileNotFoundError:
        is_same = not (lock.entries or lock.choices)
    except OSError:
        is_same = False
    if is_same:
        return False
    files.write_atomic(path, text)
    return True


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
    """Return warnings about a merge with the changes of others: that it happened, and the decisions it concerns."""
    overruled = [problem("K018", what=what) for what in merged.overruled]
    conflicts = [replace(each.problem, level="warning") for each in merged.conflicts]
    return [problem("K016", name=name), *overruled, *conflicts]
