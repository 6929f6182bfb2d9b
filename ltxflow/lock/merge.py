"""Merge two diverged versions of a lock against their common base, fact by fact.

Changes of different facts are all kept. Where both sides changed the same one:

  takes      are united. Where both sides added a take of the same number, theirs gets the next free number: two retakes
             are two takes. A take that one side removed is removed, unless the other side changed it or decided about
             it. Where both rendered the same take again, the one with a person's decision is kept, else ours; the other
             one is still in the store under its key.
  decisions  concern bytes, so each goes with the take that it is about. Approved or pinned is stronger than accepted,
             that than rejected. Of two equally strong ones ours wins, and that is a conflict for a person.
  the pick   is that of the side with the stronger decision about its pick, else ours, with a conflict.
  a model    has the results of `auto` united, part by part; where both sides chose differently, ours wins, with a
             conflict.

A clip that one side moved to another id is merged under its new name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from ltxflow.core.errors import Problem, problem
from ltxflow.lock.model import UNDECIDED, CoveredTake, Decision, Lock, LockEntry, LockTake
from ltxflow.lock.text import MODEL

T = TypeVar("T")

OTHER_PARTS = ("quality", "stages")  # of the choices for a model, besides the precision of each role
STRENGTH: Mapping[str, int] = {"approved": 3, "pinned": 3, "accepted": 2, "rejected": 1}


@dataclass(frozen=True)
class LockMergeConflict:
    """A clip about which two people decided differently, such as `take 2 (approved)`; `ours` is kept.

    For a model (`model:ltx-2/19b`) the choices. `remedy` is the command, or the setting, that takes theirs.
    """

    clip: str
    ours: str
    theirs: str
    remedy: str

    @property
    def problem(self) -> Problem:
        """The conflict as an error for a person to decide."""
        kept = self.ours.split(" (")[0]
        return problem("K017", name=self.clip, ours=self.ours, theirs=self.theirs, kept=kept, remedy=self.remedy)


@dataclass(frozen=True)
class Merged:
    """A merged lock, and the conflicts a person must decide. `renumbered`: clip, their number, the new one.

    `overruled` are decisions that gave way to stronger ones, or to new bytes: nothing is to be decided, but a person
    should know.
    """

    lock: Lock
    conflicts: tuple[LockMergeConflict, ...] = ()
    renumbered: tuple[tuple[str, int, int], ...] = ()
    overruled: tuple[str, ...] = ()


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
    base, ours, theirs = _under_new_names(base, ours, theirs)
    entries: dict[str, LockEntry] = {}
    merging = _Merging()
    for clip in sorted({*ours.entries, *theirs.entries}):
        before, mine, other = (lock.entries.get(clip) for lock in (base, ours, theirs))
        kept = _changed(before, mine, other)
        if kept is _BOTH:
            gone = LockEntry(before.pick if before else 1)  # of a side that forgot all takes of the clip
            made = merging.entry(clip, before, mine or gone, other or gone)
            kept = made if made.takes or made.decisions or made.highest else None
        if kept is not None:
            entries[clip] = kept
    choices: dict[str, Mapping[str, Any]] = {}
    for model in sorted({*ours.choices, *theirs.choices}):
        was, own, their = (_parts(lock.choices.get(model, {})) for lock in (base, ours, theirs))
        if united := _chosen(model, was, own, their, merging.conflicts):
            choices[model] = united
    return Merged(Lock(entries, choices), tuple(merging.conflicts), tuple(merging.renumbered), tuple(merging.overruled))


_BOTH: Any = object()  # both sides changed it, and differently


def _changed(before: T, mine: T, other: T) -> T:
    """Return the value of the side that changed it, `_BOTH` where both did and differently."""
    if mine == other or other == before:
        return mine
    return other if mine == before else _BOTH


def _under_new_names(base: Lock, ours: Lock, theirs: Lock) -> tuple[Lock, Lock, Lock]:
    """Return the three locks with clips that either side moved under their new names in all."""
    names = {**_moves(base, theirs, ours), **_moves(base, ours, theirs)}
    if not names:
        return base, ours, theirs

    def renamed(lock: Lock) -> Lock:
        return replace(lock, entries={names.get(clip, clip): entry for clip, entry in lock.entries.items()})

    return renamed(base), renamed(ours), renamed(theirs)


def _moves(base: Lock, side: Lock, other: Lock) -> dict[str, str]:
    """Return old → new name of the clips that a side moved, and the other side has under the old name alone."""
    gone = [clip for clip in base.entries if clip not in side.entries and clip in other.entries]
    if not gone:
        return {}
    new = {frozenset(_keys(side.entries[clip])): clip for clip in side.entries if clip not in base.entries}
    found = {clip: new.get(frozenset(_keys(base.entries[clip]))) for clip in gone if base.entries[clip].takes}
    return {old: name for old, name in found.items() if name is not None and name not in other.entries}


def _keys(entry: LockEntry) -> list[str]:
    return [take.key for _, take in entry.all_takes()]


@dataclass
class _Merging:
    """Merges entries, and gathers what to report."""

    conflicts: list[LockMergeConflict] = field(default_factory=list)
    renumbered: list[tuple[str, int, int]] = field(default_factory=list)
    overruled: list[str] = field(default_factory=list)

    def entry(self, clip: str, base: LockEntry | None, mine: LockEntry, other: LockEntry) -> LockEntry:
        """Return the entry of a clip that both sides changed."""
        before = base or LockEntry(1)
        numbers = _new_numbers(before, mine, other)
        self.renumbered += [(clip, old, new) for old, new in numbers.items() if old != new]
        other = _renumbered(other, numbers)
        takes: dict[int, LockTake] = {}
        decisions: dict[int, Decision] = {}
        covered: dict[int, CoveredTake] = {}
        for number in sorted({*mine.takes, *other.takes, *mine.decisions, *other.decisions}):
            take, side = self._take(clip, number, before, mine, other)
            if take is None and number in {*mine.takes, *other.takes}:
                continue  # it was forgotten, and the decision about it with it
            decision = self._decision(clip, number, take, before, mine, other)
            if decision != UNDECIDED:
                decisions[number] = decision
            if take is not None:
                takes[number] = take
                if number in side.covered:
                    covered[number] = _covered(side.covered[number], number, mine, other)
        united = LockEntry(mine.pick, takes, decisions, covered)
        pick = self._pick(clip, united, before, mine, other)
        highest = max(mine.highest, other.highest)
        return replace(united, pick=pick, highest=highest if highest > max(takes, default=1) else 0)

    def _take(
        self, clip: str, number: int, before: LockEntry, mine: LockEntry, other: LockEntry
    ) -> tuple[LockTake | None, LockEntry]:
        """Return the take of a number, and the side that has its bytes."""
        was, own, their = (entry.takes.get(number) for entry in (before, mine, other))
        if own is None or their is None:
            side = other if own is None else mine
            take = own or their
            if was is not None and take == was and not _is_decided(side, before, number):
                return None, side
            if was is not None and _is_decided(side, before, number):
                self.overruled.append(f"{clip}@{number} was forgotten on one side; {_describe(side, number)} is kept")
            return take, side
        strengths = [_strength(entry, before, number) for entry in (mine, other)]
        is_theirs = strengths[1] > strengths[0]
        if own.digest == their.digest:
            return _same_bytes(was, own, their), other if is_theirs else mine
        if was is None or was.digest not in (own.digest, their.digest):
            return (their, other) if is_theirs else (own, mine)
        # Other bytes on one side alone. A word about the old ones on the other side holds them, but a rejection.
        is_new_theirs = own.digest == was.digest
        new, old = reversed(strengths) if is_new_theirs else strengths
        is_held = old > max(STRENGTH["rejected"], new)
        if old == new and old > STRENGTH["rejected"]:  # a file was pinned in the place of a take that was approved
            is_held = is_new_theirs
            remedy = f"ltxflow {'pin' if is_new_theirs else 'forget'} {clip}@{number}{' FILE' if is_new_theirs else ''}"
            self.conflicts.append(LockMergeConflict(clip, _describe(mine, number), _describe(other, number), remedy))
        return (their, other) if is_new_theirs != is_held else (own, mine)

    def _decision(
        self, clip: str, number: int, take: LockTake | None, before: LockEntry, mine: LockEntry, other: LockEntry
    ) -> Decision:
        """Return the decision about a take; one about other bytes than were kept has no object any more."""
        was, own, their = (_about(entry, number, take) for entry in (before, mine, other))
        for entry in (mine, other):
            lost = entry.decisions.get(number, UNDECIDED)
            if _about(entry, number, take) != lost and lost != before.decisions.get(number):
                self.overruled.append(f"{clip}@{number} was {lost.status} on one side, and other bytes are kept")
        kept = _changed(was, own, their)
        if kept is not _BOTH:
            return kept
        kept, lost = (their, own) if STRENGTH.get(their.status, 0) > STRENGTH.get(own.status, 0) else (own, their)
        if lost.status not in ("", kept.status):
            self.overruled.append(f"{clip}@{number} was {lost.status} on one side; it stays {kept.status}")
        return kept

    def _pick(self, clip: str, united: LockEntry, before: LockEntry, mine: LockEntry, other: LockEntry) -> int:
        """Return the take in the cut. An approval of the pick is a word for it, though the pick did not change."""
        own, their = (_is_chosen(entry, before) for entry in (mine, other))
        pick, left = (other.pick, mine.pick) if their and not own else (mine.pick, other.pick)
        if own and their and mine.pick != other.pick:
            strengths = [STRENGTH.get(entry.status, 0) for entry in (mine, other)]
            if strengths[0] == strengths[1]:
                ours, theirs = _describe(mine, mine.pick), _describe(other, other.pick)
                self.conflicts.append(LockMergeConflict(clip, ours, theirs, f"ltxflow pick {clip}@{other.pick}"))
            elif strengths[1] > strengths[0]:
                pick, left = left, pick
            if strengths[0] != strengths[1]:
                kept = _describe(united, pick)
                self.overruled.append(f"{clip}: take {left} was picked on one side; {kept} stays in the cut")
        if pick not in united.takes and united.takes:  # its take was removed
            pick = min(united.takes)
        return pick


def _new_numbers(before: LockEntry, mine: LockEntry, other: LockEntry) -> dict[int, int]:
    """Return the new number of each of their takes: it changes where both sides added a take of that number."""
    numbers: dict[int, int] = {}
    used = {*mine.takes, *other.takes}
    for number, take in sorted(other.takes.items()):
        known = mine.takes.get(number)
        numbers[number] = number
        is_added = known is not None and number not in before.takes and known.key != take.key
        if is_added and known is not None and (known.seed != take.seed or known.seed is None):
            numbers[number] = next(n for n in range(1, 10**9) if n not in used)
            used.add(numbers[number])
    return numbers


def _renumbered(entry: LockEntry, numbers: Mapping[int, int]) -> LockEntry:
    def renumbered(mapping: Mapping[int, T]) -> dict[int, T]:
        return {numbers.get(number, number): value for number, value in mapping.items()}

    if all(old == new for old, new in numbers.items()):
        return entry
    return replace(
        entry,
        pick=numbers.get(entry.pick, entry.pick),
        takes=renumbered(entry.takes),
        decisions=renumbered(entry.decisions),
        covered=renumbered(entry.covered),
    )


def _same_bytes(was: LockTake | None, own: LockTake, their: LockTake) -> LockTake:
    """Return a take whose bytes both sides have, with what either side changed of the rest."""
    if was is None or was.digest != own.digest:
        was = own
    united = {name: _changed(getattr(was, name), getattr(own, name), getattr(their, name)) for name in vars(own)}
    kept = {name: value for name, value in united.items() if value is not _BOTH}
    facts = _united(was.facts, own.facts, their.facts)
    return replace(own, **{**kept, "facts": facts, "tries": max(own.tries, their.tries)})


def _united(was: Any, own: Any, their: Any) -> Any:
    """Return a value with the changes of both sides, ours where both changed the same."""
    kept = _changed(was, own, their)
    if kept is not _BOTH:
        return kept
    if not (isinstance(own, Mapping) and isinstance(their, Mapping)):
        return own
    before = was if isinstance(was, Mapping) else {}
    names = dict.fromkeys([*own, *their])
    values = {name: _united(*(part.get(name, _BOTH) for part in (before, own, their))) for name in names}
    return {name: value for name, value in values.items() if value is not _BOTH}


def _covered(covered: CoveredTake, number: int, *sides: LockEntry) -> CoveredTake:
    """Return a covered take with what the side that has it uncovered says of it."""
    for entry in sides:
        take = entry.takes.get(number)
        if take is not None and take.digest == covered.take.digest and number in entry.decisions:
            return CoveredTake(take, entry.decisions[number])
    return covered


def _about(entry: LockEntry, number: int, take: LockTake | None) -> Decision:
    """Return a side's decision about a take, none where it is about other bytes than these."""
    its = entry.takes.get(number)
    is_other = take is not None and its is not None and its.digest != take.digest
    return UNDECIDED if is_other else entry.decisions.get(number, UNDECIDED)


def _is_decided(entry: LockEntry, before: LockEntry, number: int) -> bool:
    """Return whether a side decided about a take, or picked it."""
    is_picked = entry.pick == number != before.pick
    return is_picked or entry.decision(number) not in (UNDECIDED, before.decision(number))


def _strength(entry: LockEntry, before: LockEntry, number: int) -> int:
    """Return the strength of a side's decision about a take, 0 for one that it did not change."""
    decision = entry.decision(number)
    return 0 if decision == before.decision(number) else STRENGTH.get(decision.status, 0)


def _is_chosen(entry: LockEntry, before: LockEntry) -> bool:
    """Return whether a side decided what is in the cut."""
    is_affirmed = entry.is_frozen and entry.decision(entry.pick) != before.decision(entry.pick)
    return entry.pick != before.pick or is_affirmed


def _describe(entry: LockEntry, number: int) -> str:
    status = entry.decision(number).status
    return f"take {number}" + (f" ({status})" if status else "")


# --- the choices for a model


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
            conflicts.append(LockMergeConflict(f"{MODEL}{model}", f"{part} {own}", f"{part} {their}", remedy))
    weights = {part: value for part, value in united.items() if part not in OTHER_PARTS}
    rest = {part: united[part] for part in OTHER_PARTS if part in united}
    return {**({"weights": weights} if weights else {}), **rest}


def _parts(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Return roles and other choices in one mapping: no role has the name quality or stages."""
    others: dict[str, Any] = {part: choices[part] for part in OTHER_PARTS if part in choices}
    return {**choices.get("weights", {}), **others}
