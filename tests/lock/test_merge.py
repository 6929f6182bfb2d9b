"""Diverged locks: takes are united, changed decisions win, and contradicting decisions are conflicts."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from ltxflow.core.digest import Digest, Key
from ltxflow.lock.merge import merge
from ltxflow.lock.model import Lock, LockEntry, LockTake


def take(name: str, seed: int | None = 7) -> LockTake:
    return LockTake(Key(name.ljust(64, "0")), seed, Digest(name.ljust(64, "1")), 121)


def lock(**entries: LockEntry) -> Lock:
    return Lock({f"hook/{clip}": entry for clip, entry in entries.items()})


A, B, C, D = take("aa", 1), take("bb", 2), take("cc", 3), take("dd", 4)
BASE = LockEntry(1, {1: A})


def test_a_line_that_one_side_changed_is_as_that_side_has_it() -> None:
    edited = LockEntry(1, {1: B})
    for ours, theirs in ((edited, BASE), (BASE, edited)):
        assert merge(lock(a=BASE), lock(a=ours), lock(a=theirs)).lock == lock(a=edited)


def test_new_clips_of_both_sides_are_there() -> None:
    assert merge(Lock(), lock(a=BASE), lock(b=BASE)).lock == lock(a=BASE, b=BASE)


def test_retakes_of_both_sides_become_two_takes() -> None:
    ours, theirs = LockEntry(1, {1: A, 2: B}), LockEntry(2, {1: A, 2: C})
    merged = merge(lock(a=BASE), lock(a=ours), lock(a=theirs))
    assert merged.lock.entries["hook/a"] == LockEntry(3, {1: A, 2: B, 3: C}), "their pick goes with their take"
    assert merged.renumbered == (("hook/a", 2, 3),)
    assert not merged.conflicts


def test_the_same_take_rendered_on_both_sides_is_one() -> None:
    """The same key, other bytes: no number is spent on it, and the approved one is kept."""
    other = replace(B, digest=Digest("e" * 64))
    ours, theirs = LockEntry(1, {1: A, 2: B}), LockEntry(2, {1: A, 2: other}, "approved")
    merged = merge(lock(a=BASE), lock(a=ours), lock(a=theirs))
    assert merged.lock.entries["hook/a"] == LockEntry(2, {1: A, 2: other}, "approved")
    assert not merged.conflicts


def test_a_take_rendered_again_on_both_sides_is_ours_unless_theirs_was_approved() -> None:
    ours, theirs = LockEntry(1, {1: B}), LockEntry(1, {1: C})
    assert merge(lock(a=BASE), lock(a=ours), lock(a=theirs)).lock == lock(a=ours)
    approved = replace(theirs, status="approved")
    assert merge(lock(a=BASE), lock(a=ours), lock(a=approved)).lock == lock(a=approved)


@pytest.mark.parametrize(
    ("ours", "theirs", "kept"),
    [(("", 2), ("approved", 3), 3), (("approved", 2), ("", 3), 2), (("accepted", 2), ("rejected", 3), 2)],
)
def test_the_stronger_decision_wins(ours: tuple[str, int], theirs: tuple[str, int], kept: int) -> None:
    takes = {1: A, 2: B, 3: C}
    base = LockEntry(1, takes)
    mine, other = (LockEntry(pick, takes, status) for status, pick in (ours, theirs))
    merged = merge(lock(a=base), lock(a=mine), lock(a=other))
    assert merged.lock.entries["hook/a"].pick == kept
    assert not merged.conflicts


@pytest.mark.parametrize("status", ["", "approved"])
def test_contradicting_decisions_are_a_conflict(status: str) -> None:
    takes = {1: A, 2: B, 3: C}
    ours, theirs = LockEntry(2, takes, status), LockEntry(3, takes, status)
    merged = merge(lock(a=LockEntry(1, takes)), lock(a=ours), lock(a=theirs))
    assert merged.lock == lock(a=ours)
    (clash,) = merged.conflicts
    assert (clash.clip, clash.their_take) == ("hook/a", 3)


def test_a_clip_removed_on_one_side_is_removed_unless_the_other_changed_it() -> None:
    assert merge(lock(a=BASE), Lock(), lock(a=BASE)).lock == Lock()
    changed = lock(a=LockEntry(1, {1: B}))
    assert merge(lock(a=BASE), Lock(), changed).lock == changed
    assert merge(lock(a=BASE), changed, Lock()).lock == changed


def test_a_take_that_was_forgotten_stays_forgotten() -> None:
    base = LockEntry(2, {1: A, 2: B})
    merged = merge(lock(a=base), lock(a=LockEntry(2, {2: B})), lock(a=LockEntry(2, {1: A, 2: B, 3: C})))
    assert merged.lock.entries["hook/a"].takes == {2: B, 3: C}
    other = merge(lock(a=base), lock(a=LockEntry(2, {1: A, 2: B, 3: C})), lock(a=LockEntry(2, {2: B})))
    assert other.lock.entries["hook/a"].takes == {2: B, 3: C}


def test_no_take_is_lost_whatever_the_two_sides_did() -> None:
    """Of every pair of edits of one entry: each key that a side has is in what comes of it."""
    edits = [
        BASE,
        LockEntry(1, {1: A, 2: B}),
        LockEntry(2, {1: A, 2: C}),
        LockEntry(2, {1: A, 2: B, 3: D}, "approved"),
        LockEntry(3, {1: A, 2: C, 3: B}, "rejected", "too dark"),
    ]
    for ours, theirs in product(edits, edits):
        merged = merge(lock(a=BASE), lock(a=ours), lock(a=theirs)).lock.entries["hook/a"]
        keys = [made.key for made in merged.takes.values()]
        assert {made.key for entry in (ours, theirs) for made in entry.takes.values()} == set(keys)
        assert merged.pick in merged.takes
        same = merge(lock(a=BASE), lock(a=ours), lock(a=ours))
        assert same.lock == lock(a=ours)
        assert not same.conflicts
