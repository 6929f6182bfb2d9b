"""Changes to the lock by others while a verb runs are merged with its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltxflow.core.digest import Digest, Key
from ltxflow.lock.file import LockConflict, LockFile, merge_problems, read_lock, write_lock
from ltxflow.lock.model import Decision, Lock, LockEntry, LockTake, with_decision, with_pick, with_take


def take(letter: str) -> LockTake:
    return LockTake(Key(letter * 64), 7, Digest(letter * 64), 17)


def lock_of(**letters: str) -> Lock:
    return Lock({f"hook/{clip}": LockEntry(1, {1: take(letter)}) for clip, letter in letters.items()})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ltxflow.lock"
    write_lock(path, lock_of(a="a", b="b"))
    return path


def test_a_lock_that_no_other_program_changed_is_written_unmerged(path: Path) -> None:
    file = LockFile(path, "ltxflow.lock")
    lock = with_take(file.read(), "hook/a", 1, take("c"))
    merged = file.save(lock)
    assert merged.lock is lock
    again = with_take(lock, "hook/b", 1, take("d"))
    assert file.save(again).lock is again
    assert read_lock(path) == again


def test_changes_of_others_are_merged(path: Path) -> None:
    file = LockFile(path, "ltxflow.lock")
    lock = with_take(file.read(), "hook/a", 1, take("c"))
    write_lock(path, with_decision(lock_of(a="a", b="b", z="e"), "hook/b", 1, Decision("approved")))
    merged = file.save(lock)
    there = read_lock(path)
    assert merged.lock == there
    assert there.entries["hook/a"].takes[1].key == "c" * 64
    assert there.entries["hook/b"].status == "approved"
    assert there.entries["hook/z"].takes[1].key == "e" * 64
    assert [problem.level for problem in merge_problems(merged, "ltxflow.lock")] == ["warning"]
    later = with_take(merged.lock, "hook/a", 2, take("f"))
    assert file.save(later).lock is later  # once merged it is known


def test_two_picks_of_one_clip_are_reported(path: Path) -> None:
    three = with_take(with_take(lock_of(a="a", b="b"), "hook/b", 2, take("c")), "hook/b", 3, take("d"))
    write_lock(path, three)
    file = LockFile(path, "ltxflow.lock")
    lock = with_pick(file.read(), "hook/b", 2)
    write_lock(path, with_pick(three, "hook/b", 3))
    problems = merge_problems(file.save(lock), "ltxflow.lock")
    assert [problem.message for problem in problems][1:] == ["hook/b: here take 2, there take 3; take 2 is kept"]


def test_a_decision_that_gives_way_is_reported(path: Path) -> None:
    file = LockFile(path, "ltxflow.lock")
    lock = with_take(file.read(), "hook/b", 1, take("c"))
    write_lock(path, with_decision(lock_of(a="a", b="b"), "hook/b", 1, Decision("rejected", "too dark")))
    problems = merge_problems(file.save(lock), "ltxflow.lock")
    assert [(problem.code, problem.level) for problem in problems] == [("K016", "warning"), ("K018", "warning")]
    assert problems[1].message == "hook/b@1 was rejected on one side, and other bytes are kept"


def test_an_unreadable_lock_is_not_overwritten(path: Path) -> None:
    file = LockFile(path, "ltxflow.lock")
    lock = with_take(file.read(), "hook/a", 1, take("c"))
    damaged = path.read_text().replace("hook/b", "<<<<<<< HEAD\nhook/b")
    path.write_text(damaged)
    with pytest.raises(LockConflict, match="unresolved merge conflict"):
        file.save(lock)
    assert path.read_text() == damaged
    write_lock(path, lock_of(a="a", b="b"))
    assert file.save(lock).lock == lock


def test_a_removed_lock_is_written_again_with_later_changes(path: Path) -> None:
    file = LockFile(path, "ltxflow.lock")
    lock = with_take(file.read(), "hook/a", 1, take("c"))
    path.unlink()
    assert file.save(lock).lock == lock_of(a="c")
    assert read_lock(path) == lock_of(a="c")
