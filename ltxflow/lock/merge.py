"""Merges two versions of a lock that went apart. Pure. What two people decided differently is said, and not decided.

Clip by clip, against the version both came from:
  takes     are united. Where both have another take of the same number, and neither was there before, theirs gets the
            next free number: two retakes are two takes. Where both rendered the same take anew, the one that a person
            put a word on stands, else ours; the other one is still in the store under its key.
  the word  pick, status and reason go together: whoever changed it has it. If both did, and not to the same, the
            stronger word stands: approved or pinned, then accepted, then rejected, then a pick. Of two equally strong
            ones ours stands, and that is a conflict for a person.
  a line    that one side removed goes, unless the other side changed it.
  a model   what `auto` came to is united, part by part; where both chose, and not the same, ours stands, and that is a
            conflict for a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ltxflow.lock.model import MODEL, Lock, LockEntry, LockTake

OTHER_PARTS = ("quality", "stages")  # of what is chosen for a model, beside the precision of each role
STRENGTH: Mapping[str, int] = {"approved": 3, "pinned": 3, "accepted": 2, "rejected": 1}


@dataclass(frozen=True)
class LockMergeConflict:
    """A clip about which two people said different things: `ours` stands. As `take 2 (approved)`.

    Of a model (`model:ltx-2/19b`), what was chosen; `remedy` says then how to take theirs.
    """

    clip: str
    ours: str
    theirs: str
    their_take: int = 0
    remedy: str = ""

    @property
    def message(self) -> str:
        return f"{self.clip}: here {self.ours}, there {self.theirs}: {self.ours.split(' (')[0]} stands"

    @property
    def hint(self) -> str:
        return f"talk about it; to take theirs: {self.remedy or f'ltxflow pick {self.clip} {self.their_take}'}"


@dataclass(frozen=True)
class Merged:
    """The lock that comes of two, and what a person has to decide. `renumbered`: clip, their number, the new one."""

    lock: Lock
    clashes: tuple[LockMergeConflict, ...] = ()
    renumbered: tuple[tuple[str, int, int], ...] = ()


def sides(text: str) -> tuple[str, str, str] | None:
    """Given a lock's text, return base, ours and theirs where it has git's marks of a conflict, else None.

    What the base was is known only where git was asked for it (merge.conflictStyle diff3), and outside of conflicts.
    """
    told: dict[str, list[str]] = {"base": [], "ours": [], "theirs": []}
    where: tuple[str, ...] = tuple(told)
    marks = {"<<<<<<<": ("ours",), "|||||||": ("base",), "=======": ("theirs",), ">>>>>>>": tuple(told)}
    found = False
    for line in text.splitlines(keepends=True):
        mark = marks.get(line.rstrip("\r\n").partition(" ")[0])
        found = found or mark is not None
        where = mark or where
        for side in where if mark is None else ():
            told[side].append(line)
    return ("".join(told["base"]), "".join(told["ours"]), "".join(told["theirs"])) if found else None


def merge(base: Lock, ours: Lock, theirs: Lock) -> Merged:
    """Given two locks and the one they both came from, return the Merged one."""
    entries: dict[str, LockEntry] = {}
    clashes: list[LockMergeConflict] = []
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
            kept, clash = _with_word(clip, kept, before, mine, _renamed(other, numbers))
            clashes += [clash] if clash else []
        if kept is not None:
            entries[clip] = kept
    choices: dict[str, Mapping[str, Any]] = {}
    for model in sorted({*ours.choices, *theirs.choices}):
        was, own, their = (_parts(lock.choices.get(model, {})) for lock in (base, ours, theirs))
        if united := _chosen(model, was, own, their, clashes):
            choices[model] = united
    return Merged(Lock(entries, choices), tuple(clashes), tuple(renumbered))


def _chosen(
    model: str, before: dict[str, Any], mine: dict[str, Any], other: dict[str, Any], clashes: list[LockMergeConflict]
) -> dict[str, Any]:
    """What was chosen for a model on both sides, part by part."""
    united: dict[str, Any] = {}
    for part in dict.fromkeys([*mine, *other]):
        was, own, their = (each.get(part) for each in (before, mine, other))
        taken = their if own == was or (own is None and their != was) else own
        if taken is not None:  # else one side took it back, and the other left it as it was
            united[part] = taken
        if None not in (own, their) and own != their and was not in (own, their):
            wish = f"{part}: {their}"
            remedy = f"write  {wish if part in OTHER_PARTS else f'weights: {{{wish}}}'}"
            clashes.append(LockMergeConflict(f"{MODEL}{model}", f"{part} {own}", f"{part} {their}", remedy=remedy))
    weights = {part: value for part, value in united.items() if part not in OTHER_PARTS}
    rest = {part: united[part] for part in OTHER_PARTS if part in united}
    return {**({"weights": weights} if weights else {}), **rest}


def _parts(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Roles and what else is chosen, side by side: no role is called quality or stages."""
    others: dict[str, Any] = {part: choices[part] for part in OTHER_PARTS if part in choices}
    return {**choices.get("weights", {}), **others}


def _united(before: LockEntry, mine: LockEntry, other: LockEntry) -> tuple[LockEntry, dict[int, int]]:
    """The takes of both, and under which number each of theirs is."""
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
        elif known == was or (take != was and _stands(other, number) > _stands(mine, number)):
            takes[number] = take
    for number in before.takes:  # removed there and untouched here: it goes
        if number not in other.takes and mine.takes.get(number) == before.takes[number]:
            takes.pop(number, None)
    return replace(mine, takes=takes), numbers


def _is_other_seed(one: LockTake, two: LockTake) -> bool:
    return one.seed != two.seed or one.seed is None


def _stands(entry: LockEntry, take: int) -> int:
    return STRENGTH.get(entry.status, 0) if entry.pick == take else 0


def _renamed(entry: LockEntry, numbers: Mapping[int, int]) -> LockEntry:
    return replace(entry, pick=numbers.get(entry.pick, entry.pick))


def _with_word(
    clip: str, united: LockEntry, before: LockEntry | None, mine: LockEntry, other: LockEntry
) -> tuple[LockEntry, LockMergeConflict | None]:
    """The united takes with the word of whoever changed it."""
    was = _word(before) if before else (1, "", "")
    word, clash = _word(mine), None
    if _word(mine) == was:
        word = _word(other)
    elif _word(other) not in (was, word):
        strong, stronger = (STRENGTH.get(entry.status, 0) for entry in (mine, other))
        if stronger > strong:
            word = _word(other)
        elif stronger == strong and _word(mine)[:2] != _word(other)[:2]:
            clash = LockMergeConflict(clip, _told(mine), _told(other), other.pick)
    pick, status, reason = word
    if pick not in united.takes and united.takes:  # the take it was about is gone
        pick, status, reason = min(united.takes), "", ""
    return replace(united, pick=pick, status=status, reason=reason), clash


def _word(entry: LockEntry) -> tuple[int, str, str]:
    return entry.pick, entry.status, entry.reason


def _told(entry: LockEntry) -> str:
    return f"take {entry.pick}" + (f" ({entry.status})" if entry.status else "")
