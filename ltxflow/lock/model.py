"""The content of `ltxflow.lock`: what was rendered, which takes are in the cut, and what people decided about them.

A decision concerns the bytes of one take. It is kept with the number of that take, so that picking another take, or
rendering one more, ends no approval; it ends only where those bytes give way to others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.target import Target

_EMPTY: Mapping[Any, Any] = MappingProxyType({})
FROZEN = frozenset(["approved", "pinned"])  # later edits change nothing until a person asks for it


@dataclass(frozen=True)
class Acceptance:
    """A person's decision that a result is also that of another key than the one it was made under.

    `text` is a digest of what the author wrote (`plan.explain.digest_of_text`), "" where the key depends on nothing
    else: while only what the clip starts from changes, the decision holds.
    """

    key: Key
    text: str = ""


@dataclass(frozen=True)
class LockTake:
    """The result of one take.

    `digest` and `facts` are those of its `video`, or of a reference's `image`, which has no frames; `outputs` has the
    digest of every other output. `key` is the one it was made under, always. `seed` is the derived seed as first used,
    None where only seeds written in the project were. `source` names the maker: "comfyui", or "pinned" for a file of a
    person. `tries` is the number of seeds that were tried automatically without a good result.
    """

    key: Key
    seed: int | None
    digest: Digest
    frames: int
    facts: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    source: str = ""
    outputs: Mapping[str, Digest] = field(default_factory=lambda: _EMPTY)
    tries: int = 0
    accepted: Acceptance | None = None

    def output(self, name: str) -> Output | None:
        """Return the output of a name, or None; only `video` has facts here."""
        if name == "video":
            return Output(self.digest, {"frames": self.frames, **self.facts})
        found = self.outputs.get(name)
        return None if found is None else Output(found)

    def stands_for(self, key: str | None) -> bool:
        """Return whether this is the result of a key: made under it, or accepted for it."""
        return key is not None and (self.key == key or (self.accepted is not None and self.accepted.key == key))


@dataclass(frozen=True)
class Decision:
    """What a person decided about a take: "approved", "rejected" or "pinned", and why; "" without a decision.

    "accepted" is one of an older lock; today that is the take's `accepted`.
    """

    status: str = ""
    reason: str = ""


UNDECIDED = Decision()


@dataclass(frozen=True)
class CoveredTake:
    """The take in whose place a file was pinned, and the decision about it: both return with `forget`."""

    take: LockTake
    decision: Decision = UNDECIDED


@dataclass(frozen=True)
class LockEntry:
    """A clip or a reference: the picked take, all takes by number, and people's decisions by number.

    `covered` are the takes below pinned files. `highest` is the highest number of a take that was forgotten, where that
    is above all that are left: its seed is not used again.
    """

    pick: int
    takes: Mapping[int, LockTake] = field(default_factory=lambda: _EMPTY)
    decisions: Mapping[int, Decision] = field(default_factory=lambda: _EMPTY)
    covered: Mapping[int, CoveredTake] = field(default_factory=lambda: _EMPTY)
    highest: int = 0

    @property
    def picked(self) -> LockTake | None:
        """The picked take, None while it does not exist."""
        return self.takes.get(self.pick)

    def decision(self, take: int) -> Decision:
        """Return the decision about a take; one that is only accepted has the status "accepted"."""
        found = self.decisions.get(take, UNDECIDED)
        made = self.takes.get(take)
        if not found.status and made is not None and made.accepted is not None:
            return Decision("accepted", found.reason)
        return found

    @property
    def status(self) -> str:
        """The status of the picked take."""
        return self.decision(self.pick).status

    @property
    def reason(self) -> str:
        """The reason that goes with it."""
        return self.decision(self.pick).reason

    @property
    def is_frozen(self) -> bool:
        """Whether the cut is settled: the picked take is approved or pinned."""
        return self.status in FROZEN

    def all_takes(self) -> Iterator[tuple[int, LockTake]]:
        """Yield every take by number, those below pinned files included."""
        yield from self.takes.items()
        yield from ((number, covered.take) for number, covered in self.covered.items())


@dataclass(frozen=True)
class Lock:
    """The whole file: clip path (`hook/b`), or name of a made reference (`reference:hero`) → its entry.

    `choices` are the results of `auto` by the model's name: {weights: {role: precision}, quality, stages}, each only
    where it was to be chosen.
    """

    entries: Mapping[str, LockEntry] = field(default_factory=lambda: _EMPTY)
    choices: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _EMPTY)

    def mentions(self, word: str) -> bool:
        """Return whether a word may occur in it: a quick check that avoids parsing all of it."""
        text: str | None = getattr(self.entries, "text", None)
        return text is None or word in text

    def take(self, clip: str, take: int) -> LockTake | None:
        """Return a take of a clip or reference, or None."""
        entry = self.entries.get(clip)
        return None if entry is None else entry.takes.get(take)

    def decision(self, clip: str, take: int) -> Decision:
        """Return the decision about a take."""
        entry = self.entries.get(clip)
        return UNDECIDED if entry is None else entry.decision(take)


def made_of(entry: str) -> str:
    """Return the name of the output whose digest an entry's takes have, "image" or "video"."""
    return "image" if Target(entry).is_reference else "video"


# --- changes: each returns a new Lock


def with_entry(lock: Lock, clip: str, entry: LockEntry) -> Lock:
    """Return the lock with a new entry of a clip."""
    return replace(lock, entries={**lock.entries, clip: entry})


def without(lock: Lock, clip: str) -> Lock:
    """Return the lock without a clip."""
    return replace(lock, entries={path: entry for path, entry in lock.entries.items() if path != clip})


def with_choices(lock: Lock, model: str, choices: Mapping[str, Any]) -> Lock:
    """Return the lock with the results of `auto` for a model, added to its earlier choices."""
    known = lock.choices.get(model, _EMPTY)
    weights = {**known.get("weights", {}), **choices.get("weights", {})}
    united = {**known, **choices, **({"weights": weights} if weights else {})}
    return replace(lock, choices={**lock.choices, model: united}) if united else lock


def with_take(lock: Lock, clip: str, take: int, made: LockTake) -> Lock:
    """Return the lock with the result of a take. Take 1 is the pick until a person picks another.

    A decision concerns bytes: where the take's digest changes, the decision about it and a pinned file's covered take
    are dropped.
    """
    entry = lock.entries.get(clip, LockEntry(pick=1))
    before = entry.takes.get(take)
    if before is not None and before.digest != made.digest:
        entry = replace(entry, decisions=_but(entry.decisions, take), covered=_but(entry.covered, take))
    takes = {**entry.takes, take: made}
    highest = entry.highest if entry.highest > max(takes) else 0
    return with_entry(lock, clip, replace(entry, takes=takes, highest=highest))


def with_pick(lock: Lock, clip: str, take: int) -> Lock:
    """Return the lock with a take of a clip as its pick. Raise LtxflowError for an unknown take."""
    entry = lock.entries.get(clip)
    if entry is None or take not in entry.takes:
        known = ", ".join(str(number) for number in sorted(entry.takes)) if entry else ""
        hint = f"pick one of {known}, or make one more with `ltxflow retake {clip}`" if known else None
        raise LtxflowError(problem("K010.no-such", clip=clip, take=take, hint=hint))
    return lock if take == entry.pick else with_entry(lock, clip, replace(entry, pick=take))


def with_decision(lock: Lock, clip: str, take: int, decision: Decision) -> Lock:
    """Return the lock with a person's decision about a take.

    A rejected take loses its acceptance. Raise LtxflowError for an unknown take.
    """
    entry = lock.entries.get(clip)
    if entry is None or take not in entry.takes:
        raise LtxflowError(problem("K010.no-such", clip=clip, take=take))
    made = entry.takes[take]
    if decision.status == "rejected":
        made = replace(made, accepted=None)
    entry = replace(entry, takes={**entry.takes, take: made}, decisions={**entry.decisions, take: decision})
    return with_entry(lock, clip, entry)


def with_acceptance(lock: Lock, clip: str, take: int, accepted: Acceptance) -> Lock:
    """Return the lock with a take that is accepted for another key, too. Its approval holds, its rejection ends."""
    entry = lock.entries[clip]
    decisions = entry.decisions
    if entry.decision(take).status not in FROZEN:
        decisions = _but(decisions, take)
    takes = {**entry.takes, take: replace(entry.takes[take], accepted=accepted)}
    return with_entry(lock, clip, replace(entry, takes=takes, decisions=decisions))


def with_pinned(lock: Lock, clip: str, take: int, made: LockTake, reason: str) -> Lock:
    """Return the lock with a pinned file in the place of a take, which it covers."""
    entry = lock.entries.get(clip, LockEntry(pick=take))
    covered, before = entry.covered, entry.takes.get(take)
    if before is not None and entry.decision(take).status != "pinned":
        covered = {**covered, take: CoveredTake(before, entry.decisions.get(take, UNDECIDED))}
    return with_entry(
        lock,
        clip,
        replace(
            entry,
            takes={**entry.takes, take: made},
            decisions={**entry.decisions, take: Decision("pinned", reason)},
            covered=covered,
        ),
    )


def without_take(lock: Lock, clip: str, take: int) -> Lock:
    """Return the lock without a take; of one that a pinned file covers, without that file.

    Where it was the pick, the approved take with the lowest number is picked, else the lowest.
    """
    entry = lock.entries[clip]
    covered = entry.covered.get(take)
    decisions = _but(entry.decisions, take)
    if covered is not None:
        decisions |= {take: covered.decision} if covered.decision != UNDECIDED else {}
        takes = {**entry.takes, take: covered.take}
        return with_entry(
            lock, clip, replace(entry, takes=takes, decisions=decisions, covered=_but(entry.covered, take))
        )
    takes = _but(entry.takes, take)
    highest = max(entry.highest, take)
    entry = replace(entry, takes=takes, decisions=decisions)
    if entry.pick == take:
        left = sorted(takes, key=lambda number: (entry.decision(number).status not in FROZEN, number))
        entry = replace(entry, pick=left[0] if left else 1)
    highest = highest if highest > max(takes, default=1) else 0
    entry = replace(entry, highest=highest)
    return with_entry(lock, clip, entry) if takes or highest else without(lock, clip)


def _but(mapping: Mapping[int, Any], number: int) -> dict[int, Any]:
    return {each: value for each, value in mapping.items() if each != number}


def moved(lock: Lock, moves: Iterable[tuple[str, str]]) -> Lock:
    """Return the lock with entries renamed by (from, to) pairs of clip paths or of scene ids, in order.

    A missing entry, or one whose new name is taken, is left alone, so that the pairs may stay in the project after they
    were applied.
    """
    moves = tuple(moves)
    if not moves:
        return lock
    entries = dict(lock.entries)
    of_scene: dict[str, dict[str, None]] = {}
    for clip in entries:
        of_scene.setdefault(clip.partition("/")[0], {})[clip] = None
    for source, target in moves:
        here = of_scene.get(source.partition("/")[0], {})
        there = of_scene.setdefault(target.partition("/")[0], {})
        for clip in [source] if "/" in source else [*here]:
            place = target + clip[len(source) :]
            if clip in entries and place not in entries:
                entries[place] = entries.pop(clip)
                there[place] = here.pop(clip)
    return lock if entries == lock.entries else replace(lock, entries=entries)
