"""The text of a lock: a block for each clip, one fact to a line, read with positions; and version 1 is still read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from harness.crashing import crash_everywhere
from harness.locks import a_take, locks, old_entries, old_text
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.core.digest import Digest, Key
from ltxflow.core.errors import LtxflowError, Span
from ltxflow.lock.file import LazyEntries, read_lock, write_lock
from ltxflow.lock.model import (
    Acceptance,
    CoveredTake,
    Decision,
    Lock,
    LockEntry,
    LockTake,
    with_decision,
    with_pick,
    with_take,
    without,
)
from ltxflow.lock.text import lock_text, parse_lock

ENTRY = LockEntry(
    2,
    {1: a_take("one", None), 2: a_take("two", accepted=Acceptance(Key("a" * 64), "b" * 64))},
    {2: Decision("approved", "nice push: “yes” # 100 %"), 1: Decision("rejected", "too dark")},
    highest=4,
)
PINNED = LockEntry(
    1, {1: a_take("mine", source="pinned")}, {1: Decision("pinned", "by hand")}, {1: CoveredTake(a_take())}
)
LOCK = Lock({"hook/b": ENTRY, "hook/a": PINNED}, {"ltx-2/19b": {"weights": {"checkpoint": "fp8"}, "stages": 2}})


def at(text: str) -> tuple[LtxflowError, Span]:
    with pytest.raises(LtxflowError) as caught:
        parse_lock(text, "ltxflow.lock")
    span = caught.value.problems[0].span
    assert span is not None
    return caught.value, span


def changed_lines(before: Lock, after: Lock) -> list[str]:
    """Return the lines that a diff of two locks shows."""
    old, new = lock_text(before).splitlines(), lock_text(after).splitlines()
    return [*(f"-{line}" for line in old if line not in new), *(f"+{line}" for line in new if line not in old)]


# --- what is written


def test_a_lock_comes_back_as_it_went(tmp_path: Path) -> None:
    path = tmp_path / "ltxflow.lock"
    assert write_lock(path, LOCK)
    assert read_lock(path) == LOCK
    assert read_lock(tmp_path / "nothing") == Lock()


def test_it_is_a_block_a_clip_in_order() -> None:
    lines = lock_text(LOCK).splitlines()
    assert lines[0].startswith("# ")
    assert lines[1] == "ltxflow-lock: 2"
    assert [line for line in lines[2:] if line and line[0] != " "] == ["hook/a:", "hook/b:", "model:ltx-2/19b:"]
    assert lock_text(Lock(dict(reversed(LOCK.entries.items())), LOCK.choices)) == lock_text(LOCK)


def test_its_lines_are_short() -> None:
    assert max(map(len, lock_text(LOCK).splitlines())) <= 100


@pytest.mark.parametrize(
    ("changed", "lines"),
    [
        (with_pick(LOCK, "hook/b", 1), ["-  pick: 2"]),
        (with_decision(LOCK, "hook/b", 2, Decision("approved")), ['-    reason: "nice push: “yes” # 100 %"']),
        (without(LOCK, "hook/zz"), []),
    ],
)
def test_one_fact_is_one_line(changed: Lock, lines: list[str]) -> None:
    assert changed_lines(LOCK, changed) == lines


def test_a_new_decision_is_a_line_of_its_own() -> None:
    lock = Lock({"hook/a": LockEntry(1, {1: a_take(), 2: a_take("two")})})
    assert changed_lines(lock, with_decision(lock, "hook/a", 2, Decision("rejected", "too dark"))) == [
        "+    status: rejected",
        '+    reason: "too dark"',
    ]


def test_it_is_yaml() -> None:
    data = yaml.safe_load(lock_text(LOCK))
    assert data["ltxflow-lock"] == 2
    assert data["hook/b"]["pick"] == 2
    assert data["hook/b"]["take 2"]["reason"] == "nice push: “yes” # 100 %"
    assert data["hook/b"]["take 2"]["facts"] == {"frames": 121, "width": 1536, "fps": "25"}
    assert data["hook/a"]["covered 1"]["seed"] == 88


@given(st.text(st.characters(codec=None)))
def test_any_reason_stays_on_its_line_and_is_yaml(reason: str) -> None:
    text = lock_text(Lock({"hook/a": LockEntry(1, {}, {1: Decision("rejected", reason)})}))
    assert len(text.encode().decode().splitlines()) == (8 if reason else 7)
    assert parse_lock(text, "").entries["hook/a"].reason == reason
    assert yaml.safe_load(text)["hook/a"]["take 1"]["status"] == "rejected"


# --- whatever a lock holds


@given(locks())
def test_what_is_written_is_read(lock: Lock) -> None:
    text = lock_text(lock)
    assert parse_lock(text, "") == lock
    assert lock_text(parse_lock(text, "")) == text


@given(locks())
def test_what_is_written_is_yaml(lock: Lock) -> None:
    data = yaml.safe_load(lock_text(lock))
    for clip, entry in lock.entries.items():
        assert data[clip]["pick"] == entry.pick
        for number, take in entry.takes.items():
            block = data[clip][f"take {number}"]
            assert (block["key"], block["digest"], block.get("source", "")) == (take.key, take.digest, take.source)
            assert block.get("outputs", {}) == take.outputs
            assert block.get("facts", {}).keys() == take.facts.keys()


@given(locks())
def test_a_block_is_read_on_access_as_it_is_at_once(lock: Lock) -> None:
    known = LazyEntries(lock_text(lock), "")
    assert dict(known) == lock.entries
    assert known.choices == lock.choices


@given(locks(old_entries()))
def test_version_1_loses_nothing(lock: Lock) -> None:
    read = parse_lock(old_text(lock), "")
    assert read == lock
    assert parse_lock(lock_text(read), "") == lock
    assert dict(LazyEntries(old_text(lock), "")) == lock.entries


@given(locks())
def test_the_order_of_lines_does_not_matter(lock: Lock) -> None:
    """The quick way of reading takes blocks as they are written; the other one takes any order."""
    text = lock_text(lock)
    moved = re.sub(r"(    key: .*\n)(    digest: .*\n)", r"\2\1", text)
    assert parse_lock(moved, "") == lock
    assert parse_lock(f"{text}\n# mine\n\n", "") == lock


def test_line_ends_marks_blanks_comments_and_order_do_not_matter() -> None:
    head, *blocks = lock_text(LOCK).removesuffix("\n").split("\n\n")
    text = "\n\n".join(["", head, "# mine", *reversed(blocks), "", ""])
    assert parse_lock("\ufeff" + text.replace("\n", "\r\n"), "") == LOCK


def test_references_have_blocks_of_their_own() -> None:
    take = LockTake(Key("a" * 64), 7, Digest("b" * 64), 0, {"pixels": "c" * 64, "width": 8, "height": 8}, "reference")
    lock = Lock(
        {"reference:hero": LockEntry(2, {2: take}), "hero/a": LockEntry(1, {1: take}), "z/a": LockEntry(1, {1: take})}
    )
    lock = with_take(lock, "reference:hero/from-above", 1, take)
    names = [line[:-1] for line in lock_text(lock).splitlines()[2:] if line and line[0] != " "]
    assert names == ["hero/a", "reference:hero", "reference:hero/from-above", "z/a"]
    assert parse_lock(lock_text(lock), "ltxflow.lock") == lock


# --- the file


def test_unchanged_text_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "ltxflow.lock"
    assert not write_lock(path, Lock())
    assert not path.exists()
    path.write_bytes(lock_text(LOCK).replace("\n", "\r\n").encode())
    before = path.stat()
    assert not write_lock(path, LOCK)
    assert path.stat() == before
    assert write_lock(path, Lock())
    assert read_lock(path) == Lock()


def test_a_lock_of_version_1_becomes_one_of_version_2_when_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "ltxflow.lock"
    lock = Lock({"hook/a": LockEntry(1, {1: a_take()}, {1: Decision("approved", "fine")})})
    path.write_text(old_text(lock))
    assert read_lock(path) == lock
    assert write_lock(path, read_lock(path))
    assert path.read_text() == lock_text(lock)


def test_no_death_leaves_half_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "ltxflow.lock"
    old = without(LOCK, "hook/b")

    def check() -> None:
        assert read_lock(path) in (old, LOCK)

    assert crash_everywhere(lambda: write_lock(path, old), lambda: write_lock(path, LOCK), check) >= 4


def test_a_lock_with_nothing_in_it_is_damage(tmp_path: Path) -> None:
    """What stood there, words of people among it, is not forgotten in silence."""
    path = tmp_path / "ltxflow.lock"
    for text in ("", "\n"):
        path.write_text(text)
        with pytest.raises(LtxflowError, match="the lock is empty"):
            read_lock(path)


def test_text_that_is_not_utf8_is_reported_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "ltxflow.lock"
    path.write_bytes(b"ltxflow-lock: 2\nho\xffok")
    with pytest.raises(LtxflowError) as caught:
        read_lock(path, "ltxflow.lock")
    assert caught.value.problems[0].span == Span("ltxflow.lock", 2, 3)


# --- errors


def test_a_merge_conflict_is_reported_with_its_line() -> None:
    lines = lock_text(LOCK).splitlines()
    text = "\n".join([*lines[:5], "<<<<<<< HEAD", lines[5], "=======", lines[5], ">>>>>>> theirs", ""])
    error, span = at(text)
    assert span == Span("ltxflow.lock", 6, 1)
    assert len(error.problems) == 1
    assert "merge conflict" in error.problems[0].message
    assert "ltxflow lock merge" in error.problems[0].hint


def test_a_clip_that_occurs_twice_is_reported() -> None:
    error, span = at("ltxflow-lock: 2\n\nhook/a:\n  pick: 1\n\nhook/a:\n  pick: 2\n")
    assert span == Span("ltxflow.lock", 6, 1)
    assert '"hook/a" occurs twice' in error.problems[0].message


GOOD = f"    key: {'a' * 64}\n    digest: {'b' * 64}\n    frames: 9\n"


@pytest.mark.parametrize(
    ("block", "line", "col", "message"),
    [
        ("hook: {}", 3, 1, "is not a line of a lock"),
        ("- hook/a", 3, 1, "is not a line of a lock"),
        ("hook/a: {}", 3, 1, "is not a line of a lock"),
        ("hook/a:", 3, 1, '"pick" is missing'),
        ("hook/a:\n  pick", 4, 3, "it is not written as name: value"),
        ("hook/a:\n   pick: 1", 4, 4, "it is not indented by pairs of spaces"),
        ("hook/a:\n  pick: 1\n      take 1:", 5, 7, "it is indented too far"),
        ("hook/a:\n  pick: 1\n  pick: 2", 5, 3, '"pick" occurs twice'),
        ("hook/a:\n  pick: yes", 4, 9, '"yes" is not in quotes'),
        ("hook/a:\n  pick: Two", 4, 9, '"Two" is not in quotes'),
        ("hook/a:\n  pick: true", 4, 9, '"pick" is not a whole number'),
        ("hook/a:\n  pick: 0", 4, 9, "takes count from 1"),
        ("hook/a:\n  pick: [1,, 2]", 4, 12, "not JSON"),
        ("hook/a:\n  pick: " + "[" * 100_000, 4, 9, "nested too deeply"),
        ("hook/a:\n  pick: 1\n  mood: 1", 5, 9, 'a clip has no "mood"'),
        ("hook/a:\n  pick: 1\n  take 0:", 5, 3, 'a clip has no "take 0"'),
        ("hook/a:\n  pick: 1\n  take 1: 7", 5, 11, "a take is a mapping"),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD}    mood: 1", 9, 11, 'a take has no "mood"'),
        ("hook/a:\n  pick: 1\n  take 1:\n    key: ../x", 6, 10, '"../x" is not in quotes'),
        ('hook/a:\n  pick: 1\n  take 1:\n    key: "../x"', 6, 10, '"key" is not 64 hex digits'),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD}    seed: -1", 9, 11, '"seed"'),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD}    seed: 9007199254740992", 9, 11, '"seed"'),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD.replace('9', '-1')}", 8, 13, '"frames" is -1'),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD.replace('9', '12.5')}", 8, 13, '"frames" is not a whole number'),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD}    source: 1", 9, 13, '"source" is not text'),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD}    facts: 1", 9, 12, '"facts" is not a mapping'),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD}    accepted: x", 9, 15, '"accepted" is not 64 hex digits'),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD}    outputs:\n      last: x", 10, 13, '"last" is not 64 hex digits'),
        (f"hook/a:\n  pick: 1\n  take 1:\n{GOOD}    facts:\n      a: NaN", 10, 10, '"NaN" is not in quotes'),
        ("model:ltx-2/19b:\n  mood: 1", 4, 9, 'a model has no "mood"'),
        ("model:ltx-2/19b:\n  stages: 3", 4, 11, '"stages" is 3'),
    ],
)
def test_a_bad_block_is_reported_with_line_column_and_hint(block: str, line: int, col: int, message: str) -> None:
    error, span = at(f"# x\nltxflow-lock: 2\n{block}\n")
    assert span == Span("ltxflow.lock", line, col)
    assert message in error.problems[0].message
    assert error.problems[0].hint
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("line", "col", "message"),
    [
        ("hook: {}", 1, "is not a line of a lock"),
        ("- hook/a", 1, "is not a line of a lock"),
        ('hook/a: {"pick": 1,, }', 20, "not JSON"),
        ("hook/a: " + "[" * 100_000, 9, "nested too deeply"),
        ("hook/a: []", 9, "an entry is a mapping"),
        ("hook/a: {}", 9, '"pick" is missing'),
        ('hook/a: {"pick": true}', 9, '"pick" is not a whole number'),
        ('hook/a: {"pick": 0}', 9, "takes count from 1"),
        ('hook/a: {"pick": 1, "mood": 1}', 9, 'an entry has no "mood"'),
        ('hook/a: {"pick": 1, "takes": {"0": {}}}', 9, '"0" is not the number of a take'),
        ('hook/a: {"pick": 1, "takes": {"1": {"key": "../x"}}}', 9, '"key" is not 64 hex digits'),
    ],
)
def test_a_bad_line_of_version_1_is_reported_with_line_column_and_hint(line: str, col: int, message: str) -> None:
    error, span = at(f"# x\nltxflow-lock: 1\n{line}\n")
    assert span == Span("ltxflow.lock", 3, col)
    assert message in error.problems[0].message
    assert error.problems[0].hint
    assert error.exit_code == 2


def test_all_bad_blocks_are_reported_at_once() -> None:
    error, _ = at("ltxflow-lock: 2\nx\nhook/a:\n  pick: 0\nhook/b:\n  pick: 1\n")
    assert [problem.span.line for problem in error.problems if problem.span] == [2, 4]


def test_a_newer_version_or_another_file_is_reported() -> None:
    error, span = at("# c\nltxflow-lock: 3\n")
    assert error.problems[0].message == 'unsupported version "3" of a lock; this ltxflow reads up to 2'
    assert "upgrade" in error.problems[0].hint
    assert span.line == 2
    error, span = at("hook/a: {}\n")
    assert '"ltxflow-lock: 2"' in error.problems[0].hint
    assert at("# nothing else\n")[1].line == 1
