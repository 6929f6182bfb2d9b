"""Hold the lock file while a verb runs: merge the changes that others write to it, and never overwrite them.

A build takes hours, and other programs (git) write the lock in that time.

Merge two diverged versions of a lock, and report decisions of people that contradict each other.

Clip by clip, against the common base:
  takes     are united. Where both sides added a take of the same number, theirs gets the next free number: two retakes
            are two takes. Where both rendered the same take again, the one with a person's decision is kept, else ours;
            the other one is still in the store under its key.
  decision  pick, status and reason belong together: the side that changed them wins. If both did, and differently, the
            stronger decision wins: approved or pinned, then accepted, then rejected, then a pick. Of two equally strong
            ones ours wins, and that is a conflict for a person.
  a line    that one side removed is removed, unless the other side changed it.
  a model   has the results of `auto` united, part by part; where both sides chose differently, ours wins, and that is a
            conflict for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ltxflow.core.digest import digest_bytes, digest_file
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.lock.model import MODEL, Lock, LockEntry, LockTake, lock_text, read_lock, write_lock


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


OTHER_PARTS = ("quality", "stages")  # of the choices for a model, besides the precision of each role
STRENGTH: Mapping[str, int] = {"approved": 3, "pinned": 3, "accepted": 2, "rejected": 1}


@dataclass(frozen=True)
class LockMergeConflict:
    """A clip about which two people decided differently, such as `take 2 (approved)`; `ours` is kept.

    For a model (`model:ltx-2/19b`) the choices, with the `remedy` that takes theirs.
    """

    clip: str
    ours: str
    theirs: str
    their_take: int = 0
    remedy: str = ""

    @property
    def problem(self) -> Problem:
        """The conflict as an error for a person to decide."""
        remedy = self.remedy or f"ltxflow pick {self.clip} {self.their_take}"
        kept = self.ours.split(" (")[0]
        return problem("K017", name=self.clip, ours=self.ours, theirs=self.theirs, kept=kept, remedy=remedy)


@dataclass(frozen=True)
class Merged:
    """A merged lock, and the conflicts a person must decide. `renumbered`: clip, their number, the new one."""

    lock: Lock
    conflicts: tuple[LockMergeConflict, ...] = ()
    renumbered: tuple[tuple[str, int, int], ...] = ()


def sides(text: str) -> tuple[str, str, str] | None:
    """Return base, ours and theirs of a lock's text with git's conflict marks, None without any.

    Inside of conflicts the base is known only if git writes it (merge.conflictStyle diff3).
    """
    lines: dict[str, list[str]] = {"base": [], "ours": [], "theirs": []}
    where: tuple[str, ...] = tuple(lines)
    marks = {"<<<<<<<": ("ours",), "|||||||": ("base",), "=======": ("theirs",), ">>>>>>>": tuple(lines)}
    found = False
    for line in text.splitlines(keepends=True):
        mark = marks.get(line.rstrip("\r\n").partition(" ")[0])
        found = found or mark is not None
        where = mark or where
        for side in where if mark is None else ():
            lines[side].append(line)
    return ("".join(lines["base"]), "".join(lines["ours"]), "".join(lines["theirs"])) if found else None


def merge(base: Lock, ours: Lock, theirs: Lock) -> Merged:
    """Merge two locks against their common base."""
    entries: dict[str, LockEntry] = {}
    conflicts: list[LockMergeConflict] = []
    renumbered: list[tuple[str, int, int]] = []
    for clip in sorted({*ours.entries, *theirs.entries}):
        before, mine, other = (lock.entries.get(clip) for lock in (base, ours, theirs))
        if mine == other or other == before:
            kept = mine
        elif mine == before:
            kept = other
        elif mine is None or other is None:
            kept = mine or other  # removed here, changed there: no take is lost by a merge
        else:
            kept, numbers = _united(before or LockEntry(1), mine, other)
            renumbered += [(clip, old, new) for old, new in numbers.items() if old != new]
            kept, conflict = _with_decision(clip, kept, before, mine, _renamed(other, numbers))
            conflicts += [conflict] if conflict else []
        if kept is not None:
            entries[clip] = kept
    choices: dict[str, Mapping[str, Any]] = {}
    for model in sorted({*ours.choices, *theirs.choices}):
        was, own, their = (_parts(lock.choices.get(model, {})) for lock in (base, ours, theirs))
        if united := _chosen(model, was, own, their, conflicts):
            choices[model] = united
    return Merged(Lock(entries, choices), tuple(conflicts), tuple(renumbered))


def _chosen(
    model: str, before: dict[str, Any], mine: dict[str, Any], other: dict[str, Any], conflicts: list[LockMergeConflict]
) -> dict[str, Any]:
    """Return the united choices for a model, part by part, adding to `conflicts`."""
    united: dict[str, Any] = {}
    for part in dict.fromkeys([*mine, *other]):
        was, own, their = (each.get(part) for each in (before, mine, other))
        taken = their if own == was or (own is None and their != was) else own
        if taken is not None:  # else one side removed it, and the other left it as it was
            united[part] = taken
        if None not in (own, their) and own != their and was not in (own, their):
            setting = f"{part}: {their}"
            remedy = f"write  {setting if part in OTHER_PARTS else f'weights: {{{setting}}}'}"
            conflicts.append(LockMergeConflict(f"{MODEL}{model}", f"{part} {own}", f"{part} {their}", remedy=remedy))
    weights = {part: value for part, value in united.items() if part not in OTHER_PARTS}
    rest = {part: united[part] for part in OTHER_PARTS if part in united}
    return {**({"weights": weights} if weights else {}), **rest}


def _parts(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return roles and other choices in one mapping: no role has the name quality or stages."""
    others: dict[str, Any] = {part: choices[part] for part in OTHER_PARTS if part in choices}
    return {**choices.get("weights", {}), **others}


def _united(before: LockEntry, mine: LockEntry, other: LockEntry) -> tuple[LockEntry, dict[int, int]]:
    """Return the takes of both sides, and the new number of each of theirs."""
    takes = dict(mine.takes)
    numbers: dict[int, int] = {}
    for number, take in sorted(other.takes.items()):
        known, was = mine.takes.get(number), before.takes.get(number)
        numbers[number] = number
        if known is None:
            if was is None or was != take:
                takes[number] = take
        elif known.key != take.key and was is None and _is_other_seed(known, take):
            numbers[number] = next(n for n in range(1, 10**9) if n not in takes and n not in other.takes)
            takes[numbers[number]] = take
        elif known == was or (take != was and _strength(other, number) > _strength(mine, number)):
            takes[number] = take
    for number in before.takes:  # removed there and untouched here: remove it
        if number not in other.takes and mine.takes.get(number) == before.takes[number]:
            takes.pop(number, None)
    return replace(mine, takes=takes), numbers


def _is_other_seed(one: LockTake, two: LockTake) -> bool:
    return one.seed != two.seed or one.seed is None


def _strength(entry: LockEntry, take: int) -> int:
    return STRENGTH.get(entry.status, 0) if entry.pick == take else 0


def _renamed(entry: LockEntry, numbers: Mapping[int, int]) -> LockEntry:
    return replace(entry, pick=numbers.get(entry.pick, entry.pick))


def _with_decision(
    clip: str, united: LockEntry, before: LockEntry | None, mine: LockEntry, other: LockEntry
) -> tuple[LockEntry, LockMergeConflict | None]:
    """Return the united takes with the decision of the side that changed it, and the conflict if both did."""
    was = _decision(before) if before else (1, "", "")
    decision, conflict = _decision(mine), None
    if decision == was:
        decision = _decision(other)
    elif _decision(other) not in (was, decision):
        strong, stronger = (STRENGTH.get(entry.status, 0) for entry in (mine, other))
        if stronger > strong:
            decision = _decision(other)
        elif stronger == strong and decision[:2] != _decision(other)[:2]:
            conflict = LockMergeConflict(clip, _described(mine), _described(other), other.pick)
    pick, status, reason = decision
    if pick not in united.takes and united.takes:  # its take was removed
        pick, status, reason = min(united.takes), "", ""
    return replace(united, pick=pick, status=status, reason=reason), conflict


def _decision(entry: LockEntry) -> tuple[int, str, str]:
    return entry.pick, entry.status, entry.reason


def _described(entry: LockEntry) -> str:
    return f"take {entry.pick}" + (f" ({entry.status})" if entry.status else "")
