"""The content of a lock, changed only by pure functions: takes, the pick, and decisions about single takes."""

from __future__ import annotations

import pytest
from harness.locks import a_take

from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import LtxflowError
from ltxflow.lock.model import (
    Acceptance,
    Decision,
    Lock,
    LockEntry,
    moved,
    with_acceptance,
    with_decision,
    with_pick,
    with_pinned,
    with_take,
    without_take,
)

ENTRY = LockEntry(2, {1: a_take("one", None), 2: a_take("two")}, {2: Decision("approved", "nice push")})
LOCK = Lock({"hook/b": ENTRY, "hook/a": LockEntry(1, {1: a_take()})})


def decisions(lock: Lock, clip: str = "hook/b") -> dict[int, str]:
    return {number: lock.decision(clip, number).status for number in lock.entries[clip].takes}


def test_the_first_take_is_the_pick_and_later_ones_are_not() -> None:
    lock = with_take(Lock(), "hook/a", 1, a_take("one"))
    lock = with_take(lock, "hook/a", 2, a_take("two"))
    assert lock.entries["hook/a"].pick == 1
    assert lock.take("hook/a", 2) == a_take("two")
    assert lock.entries["hook/a"].picked == a_take("one")
    assert lock.take("hook/x", 1) is None


def test_a_decision_is_about_bytes() -> None:
    assert decisions(with_take(LOCK, "hook/b", 2, ENTRY.takes[2])) == {1: "", 2: "approved"}
    assert decisions(with_take(LOCK, "hook/b", 1, a_take("new"))) == {1: "", 2: "approved"}
    assert decisions(with_take(LOCK, "hook/b", 2, a_take("new"))) == {1: "", 2: ""}
    assert LOCK.entries["hook/b"] == ENTRY


def test_a_pick_ends_no_decision() -> None:
    assert with_pick(LOCK, "hook/b", 2) is LOCK
    picked = with_pick(LOCK, "hook/b", 1)
    assert (picked.entries["hook/b"].pick, picked.entries["hook/b"].status) == (1, "")
    assert decisions(picked) == {1: "", 2: "approved"}


def test_each_take_has_its_decision() -> None:
    lock = with_decision(LOCK, "hook/b", 1, Decision("rejected", "too dark"))
    assert decisions(lock) == {1: "rejected", 2: "approved"}
    assert lock.entries["hook/b"].pick == 2
    assert lock.decision("hook/b", 1).reason == "too dark"


def test_a_take_that_is_accepted_stands_for_two_keys_and_keeps_its_approval() -> None:
    other = Key("c" * 64)
    lock = with_acceptance(LOCK, "hook/b", 2, Acceptance(other))
    take = lock.entries["hook/b"].takes[2]
    assert (take.stands_for(other), take.stands_for(take.key), take.stands_for("d" * 64)) == (True, True, False)
    assert take.key == ENTRY.takes[2].key, "what it was made from is as it was"
    assert decisions(lock) == {1: "", 2: "approved"}
    assert decisions(with_acceptance(LOCK, "hook/b", 1, Acceptance(other))) == {1: "accepted", 2: "approved"}
    rejected = with_decision(lock, "hook/b", 2, Decision("rejected"))
    assert not rejected.entries["hook/b"].takes[2].stands_for(other)


def test_what_a_pinned_file_covers_comes_back() -> None:
    pinned = with_pinned(LOCK, "hook/b", 2, a_take("mine"), "by hand")
    assert decisions(pinned) == {1: "", 2: "pinned"}
    assert pinned.entries["hook/b"].takes[2] == a_take("mine")
    again = with_pinned(pinned, "hook/b", 2, a_take("other"), "by hand")
    assert without_take(again, "hook/b", 2) == LOCK
    new = with_pinned(Lock(), "hook/b", 1, a_take("mine"), "")
    assert without_take(new, "hook/b", 1) == Lock()


def test_the_number_of_a_forgotten_take_is_not_used_again() -> None:
    lock = without_take(LOCK, "hook/b", 2)
    assert lock.entries["hook/b"] == LockEntry(1, {1: ENTRY.takes[1]}, {}, {}, 2)
    assert without_take(lock, "hook/b", 1).entries["hook/b"] == LockEntry(1, {}, highest=2)
    assert with_take(lock, "hook/b", 3, a_take("three")).entries["hook/b"].highest == 0
    assert without_take(LOCK, "hook/a", 1).entries.keys() == {"hook/b"}


def test_an_approved_take_follows_a_forgotten_pick() -> None:
    entry = LockEntry(3, {n: a_take(str(n)) for n in (1, 2, 3)}, {2: Decision("approved")})
    assert without_take(Lock({"hook/a": entry}), "hook/a", 3).entries["hook/a"].pick == 2
    assert without_take(Lock({"hook/a": entry}), "hook/a", 1).entries["hook/a"].pick == 3


def test_a_take_that_is_not_there_cannot_be_picked_or_decided_about() -> None:
    with pytest.raises(LtxflowError) as caught:
        with_pick(LOCK, "hook/b", 3)
    assert "1, 2" in caught.value.problems[0].hint
    with pytest.raises(LtxflowError):
        with_pick(LOCK, "hook/x", 1)
    with pytest.raises(LtxflowError):
        with_decision(LOCK, "hook/x", 1, Decision("approved"))


def test_moves_of_clips_and_scenes_once() -> None:
    lock = Lock({path: LockEntry(number) for number, path in enumerate(["hook/a", "hook/b", "hooked/a"], 1)})
    picks = {path: entry.pick for path, entry in moved(lock, [("hook", "intro"), ("intro/b", "end/b")]).entries.items()}
    assert picks == {"intro/a": 1, "end/b": 2, "hooked/a": 3}
    once = moved(lock, [("hook", "intro")])
    assert moved(once, [("hook", "intro")]) is once
    again = with_take(once, "hook/a", 1, a_take())
    assert moved(again, [("hook", "intro")]) is again


def test_outputs_in_the_lock() -> None:
    take = a_take()
    assert take.output("video") == Output(take.digest, {"frames": 121, "width": 1536, "fps": "25"})
    assert take.output("last_frame") == Output(Digest(take.outputs["last_frame"]))
    assert take.output("audio") is None
