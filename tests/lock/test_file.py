"""Changes to the lock by others while a verb runs are merged with its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from ltxflow.core.digest import Digest, Key
from ltxflow.lock.merge import LockConflict, LockFile, merge_problems
from ltxflow.lock.model import Lock, LockEntry, LockTake, read_lock, with_status, with_take, write_lock


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
    write_lock(path, with_status(lock_of(a="a", b="b", z="e"), "hook/b", "approved", ""))
    merged = file.save(lock)
    there = read_lock(path)
    assert merged.lock == there
    assert there.entries["hook/a"].takes[1].key == "c" * 64
    assert there.entries["hook/b"].status == "approved"
    assert there.entries["hook/z"].takes[1].key == "e" * 64
    assert [problem.level for problem in merge_problems(merged, "ltxflow.lock")] == ["warning"]
    later = with_take(merged.lock, "hook/a", 2, take("f"))
    assert file.save(later).lock is later  # once merged it is known


def test_two_decisions_on_one_clip_are_reported(path: Path) -> None:
    file = LockFile(path, "ltxflow.lock")
    lock = with_status(file.read(), "hook/b", "rejected", "too dark")
    other = with_take(lock_of(a="a", b="b"), "hook/b", 2, take("c"))
    entry = other.entries["hook/b"]
    write_lock(path, Lock({**other.entries, "hook/b": LockEntry(2, entry.takes, "rejected", "")}))
    problems = merge_problems(file.save(lock), "ltxflow.lock")
    assert [problem.message for problem in problems][1:] == [
        "hook/b: here take 1 (rejected), there take 2 (rejected); take 1 is kept"
    ]


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
