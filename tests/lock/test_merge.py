"""Diverged locks: takes are united, changed decisions win, and contradicting decisions are conflicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import product
from typing import Any

import pytest
from harness.locks import locks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ltxflow.core.digest import Digest, Key
from ltxflow.lock.merge import merge
from ltxflow.lock.model import (
    Acceptance,
    Decision,
    Lock,
    LockEntry,
    LockTake,
    with_acceptance,
    with_choices,
    with_decision,
    with_pick,
    with_pinned,
    with_take,
    without_take,
)
from ltxflow.lock.text import lock_text, parse_lock


def take(name: str, seed: int | None = 7) -> LockTake:
    return LockTake(Key(name.ljust(64, "0")), seed, Digest(name.ljust(64, "1")), 121)


def lock(**entries: LockEntry) -> Lock:
    return Lock({f"hook/{clip}": entry for clip, entry in entries.items()})


def decided(pick: int, takes: Mapping[int, LockTake], status: str = "", reason: str = "") -> LockEntry:
    """Return an entry with a decision about its pick."""
    return LockEntry(pick, takes, {pick: Decision(status, reason)} if status else {})


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
    ours, theirs = LockEntry(1, {1: A, 2: B}), decided(2, {1: A, 2: other}, "approved")
    merged = merge(lock(a=BASE), lock(a=ours), lock(a=theirs))
    assert merged.lock.entries["hook/a"] == decided(2, {1: A, 2: other}, "approved")
    assert not merged.conflicts


def test_a_take_rendered_again_on_both_sides_is_ours_unless_theirs_was_approved() -> None:
    ours, theirs = LockEntry(1, {1: B}), LockEntry(1, {1: C})
    assert merge(lock(a=BASE), lock(a=ours), lock(a=theirs)).lock == lock(a=ours)
    approved = decided(1, {1: C}, "approved")
    assert merge(lock(a=BASE), lock(a=ours), lock(a=approved)).lock == lock(a=approved)


@pytest.mark.parametrize(
    ("ours", "theirs", "kept"),
    [(("", 2), ("approved", 3), 3), (("approved", 2), ("", 3), 2), (("accepted", 2), ("rejected", 3), 2)],
)
def test_the_stronger_decision_wins(ours: tuple[str, int], theirs: tuple[str, int], kept: int) -> None:
    takes = {1: A, 2: B, 3: C}
    base = LockEntry(1, takes)
    mine, other = (decided(pick, takes, status) for status, pick in (ours, theirs))
    merged = merge(lock(a=base), lock(a=mine), lock(a=other))
    assert merged.lock.entries["hook/a"].pick == kept
    assert not merged.conflicts


@pytest.mark.parametrize("status", ["", "approved"])
def test_contradicting_decisions_are_a_conflict(status: str) -> None:
    takes = {1: A, 2: B, 3: C}
    ours, theirs = decided(2, takes, status), decided(3, takes, status)
    merged = merge(lock(a=LockEntry(1, takes)), lock(a=ours), lock(a=theirs))
    assert merged.lock == lock(a=LockEntry(2, takes, {**ours.decisions, **theirs.decisions}))
    (clash,) = merged.conflicts
    assert (clash.clip, clash.remedy) == ("hook/a", "ltxflow pick hook/a@3")


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
        decided(2, {1: A, 2: B, 3: D}, "approved"),
        decided(3, {1: A, 2: C, 3: B}, "rejected", "too dark"),
    ]
    for ours, theirs in product(edits, edits):
        merged = merge(lock(a=BASE), lock(a=ours), lock(a=theirs)).lock.entries["hook/a"]
        keys = [made.key for made in merged.takes.values()]
        assert {made.key for entry in (ours, theirs) for made in entry.takes.values()} == set(keys)
        assert merged.pick in merged.takes
        same = merge(lock(a=BASE), lock(a=ours), lock(a=ours))
        assert same.lock == lock(a=ours)
        assert not same.conflicts


# --- decisions are about bytes


@pytest.mark.parametrize("is_ours_new", [True, False])
@pytest.mark.parametrize(
    ("status", "kept", "told"),
    [
        ("approved", A, []),
        ("pinned", A, []),
        ("rejected", B, ["hook/a@1 was rejected on one side, and other bytes are kept"]),
    ],
)
def test_a_take_that_was_rendered_again_gives_way_to_a_word_about_the_old_one(
    status: str, kept: LockTake, told: list[str], is_ours_new: bool
) -> None:
    new, said = LockEntry(1, {1: B}), decided(1, {1: A}, status)
    ours, theirs = (new, said) if is_ours_new else (said, new)
    merged = merge(lock(a=BASE), lock(a=ours), lock(a=theirs))
    assert merged.lock == lock(a=said if kept == A else new)
    assert list(merged.overruled) == told
    assert not merged.conflicts


@pytest.mark.parametrize("is_ours_new", [True, False])
def test_an_accepted_take_is_not_replaced_by_the_render_it_stands_for(is_ours_new: bool) -> None:
    new, said = LockEntry(1, {1: B}), LockEntry(1, {1: replace(A, accepted=Acceptance(B.key))})
    ours, theirs = (new, said) if is_ours_new else (said, new)
    assert merge(lock(a=BASE), lock(a=ours), lock(a=theirs)).lock == lock(a=said)


def test_a_decision_that_both_sides_had_does_not_hold_what_one_side_replaced() -> None:
    """Rejected here, and rendered again: the other side did nothing."""
    approved = decided(1, {1: A}, "approved")
    assert merge(lock(a=approved), lock(a=LockEntry(1, {1: B})), lock(a=approved)).lock == lock(a=LockEntry(1, {1: B}))


def test_a_forgotten_take_stays_where_the_other_side_approved_or_picked_it() -> None:
    base, forgot = LockEntry(1, {1: A, 2: B}), LockEntry(1, {1: A}, highest=2)
    for said in (LockEntry(1, base.takes, {2: Decision("approved")}), LockEntry(2, base.takes)):
        for ours, theirs in ((forgot, said), (said, forgot)):
            merged = merge(lock(a=base), lock(a=ours), lock(a=theirs))
            assert merged.lock == lock(a=said)
            assert "hook/a@2 was forgotten on one side" in merged.overruled[0]


def test_a_pick_gives_way_to_an_approval_of_another_take() -> None:
    base = LockEntry(1, {1: A, 2: B})
    approved, picked = decided(1, base.takes, "approved"), LockEntry(2, base.takes)
    for ours, theirs in ((approved, picked), (picked, approved)):
        merged = merge(lock(a=base), lock(a=ours), lock(a=theirs))
        assert merged.lock == lock(a=approved)
        assert merged.overruled == ("hook/a: take 2 was picked on one side; take 1 (approved) stays in the cut",)


def test_what_both_sides_noted_about_one_take_is_united() -> None:
    def noted(**facts: Any) -> LockEntry:
        return LockEntry(1, {1: replace(A, facts={"fps": "25", **facts})})

    ours = noted(taken={"last": {"digest": "c" * 64}})
    theirs = noted(taken={"10f": {"digest": "d" * 64}})
    theirs = replace(theirs, takes={1: replace(theirs.takes[1], tries=3)})
    (merged,) = merge(lock(a=noted()), lock(a=ours), lock(a=theirs)).lock.entries["hook/a"].takes.values()
    assert merged.facts["taken"] == {"last": {"digest": "c" * 64}, "10f": {"digest": "d" * 64}}
    assert merged.tries == 3


def test_a_clip_that_one_side_moved_keeps_what_the_other_said() -> None:
    moved = Lock({"intro/a": BASE})
    said = decided(1, {1: A}, "approved")
    assert merge(lock(a=BASE), moved, lock(a=said)).lock == Lock({"intro/a": said})
    assert merge(lock(a=BASE), lock(a=said), moved).lock == Lock({"intro/a": said})


# --- changes of different facts


@dataclass(frozen=True)
class Edit:
    """One change of a lock, and the facts that it touches."""

    name: str
    touches: frozenset[object]
    apply: Callable[[Lock], Lock] = field(repr=False, compare=False)


def edits(clip: str, entry: LockEntry) -> list[Edit]:
    """Return all kinds of changes of a clip."""
    found = []
    for number in entry.takes:
        about = {(clip, number), *([(clip, "pick")] if number == entry.pick else [])}
        new = take(f"e{number}", number)
        changes: dict[str, Callable[[Lock], Lock]] = {
            "render": lambda lock, n=number, new=new: with_take(lock, clip, n, new),
            "reject": lambda lock, n=number: with_decision(lock, clip, n, Decision("rejected", "dark")),
            "approve": lambda lock, n=number: with_decision(lock, clip, n, Decision("approved")),
            "accept": lambda lock, n=number: with_acceptance(lock, clip, n, Acceptance(Key("9" * 64))),
            "pin": lambda lock, n=number, new=new: with_pinned(lock, clip, n, new, "mine"),
            "forget": lambda lock, n=number: without_take(lock, clip, n),
        }
        all_of_it = {(clip, "pick"), *((clip, n) for n in entry.takes)}  # which take follows depends on the others
        for name, apply in changes.items():
            touches = all_of_it if name == "forget" and number == entry.pick else about
            found.append(Edit(f"{name} {clip}@{number}", frozenset(touches), apply))
        picked = frozenset({(clip, "pick"), (clip, number), (clip, entry.pick)})
        found.append(Edit(f"pick {clip}@{number}", picked, lambda lock, n=number: with_pick(lock, clip, n)))
    for number in (max(entry.takes) + 1, max(entry.takes) + 2):
        new = take(f"f{number}", number)
        touches = frozenset({(clip, number)})
        found.append(
            Edit(f"retake {clip}@{number}", touches, lambda lock, n=number, new=new: with_take(lock, clip, n, new))
        )
    return found


THREE = LockEntry(2, {1: A, 2: B, 3: C}, {1: Decision("rejected", "flat")})
TWO = LockEntry(1, {1: C, 2: D}, {1: Decision("approved", "good")})
FILM = Lock({"hook/a": THREE, "hook/b": TWO}, {"ltx-2/19b": {"weights": {"checkpoint": "fp8"}}})
EDITS = [
    *edits("hook/a", THREE),
    *edits("hook/b", TWO),
    Edit("new clip", frozenset(["hook/c"]), lambda lock: with_take(lock, "hook/c", 1, take("ab", 9))),
    Edit("other clip", frozenset(["hook/d"]), lambda lock: with_take(lock, "hook/d", 1, take("ac", 9))),
    Edit("stages", frozenset(["stages"]), lambda lock: with_choices(lock, "ltx-2/19b", {"stages": 2})),
    Edit(
        "weights",
        frozenset(["encoder"]),
        lambda lock: with_choices(lock, "ltx-2/19b", {"weights": {"encoder": "bf16"}}),
    ),
]


@given(st.permutations(EDITS), st.integers(1, 3), st.integers(1, 3))
def test_changes_of_different_facts_are_all_made(order: list[Edit], ours: int, theirs: int) -> None:
    chosen: list[Edit] = []
    touched: set[object] = set()
    for edit in order:
        if len(chosen) < ours + theirs and not touched & edit.touches:
            chosen.append(edit)
            touched |= edit.touches

    def applied(some: list[Edit]) -> Lock:
        return reduce(lambda lock, edit: edit.apply(lock), some, FILM)

    merged = merge(FILM, applied(chosen[:ours]), applied(chosen[ours:]))
    assert merged.lock == applied(chosen)
    assert not merged.conflicts
    assert not merged.overruled
    assert not merged.renumbered
    assert parse_lock(lock_text(merged.lock), "") == merged.lock


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(locks(), locks(), locks())
def test_any_three_locks_can_be_merged(base: Lock, ours: Lock, theirs: Lock) -> None:
    merged = merge(base, ours, theirs).lock
    assert parse_lock(lock_text(merged), "") == merged
    assert all(entry.covered.keys() <= entry.takes.keys() for entry in merged.entries.values())
    assert merge(base, ours, base).lock == ours
    assert merge(base, base, theirs).lock == theirs
    assert merge(base, ours, ours).lock == ours
