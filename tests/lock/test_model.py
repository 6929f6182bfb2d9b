"""The lock: YAML that git merges line by line, read with positions, changed only by pure functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from harness.crashing import crash_everywhere
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.core.digest import Digest, Key, Output, digest_bytes
from ltxflow.core.errors import LtxflowError, Span
from ltxflow.lock.model import (
    Lock,
    LockEntry,
    LockTake,
    lock_text,
    moved,
    parse_lock,
    read_lock,
    with_pick,
    with_status,
    with_take,
    without,
    write_lock,
)


def a_take(name: str = "a", seed: int | None = 88) -> LockTake:
    digest = digest_bytes(name.encode())
    return LockTake(
        key=Key(digest_bytes(b"key " + name.encode())),
        seed=seed,
        digest=digest,
        frames=121,
        facts={"width": 1536, "fps": 25},
        source="comfyui",
        outputs={"video": digest, "last_frame": digest_bytes(b"last " + name.encode())},
    )


ENTRY = LockEntry(2, {1: a_take("one", None), 2: a_take("two")}, "approved", "nice push: “yes” # 100 %")
LOCK = Lock({"hook/b": ENTRY, "hook/a": LockEntry(1, {1: a_take()})})


def at(text: str) -> tuple[LtxflowError, Span]:
    with pytest.raises(LtxflowError) as caught:
        parse_lock(text, "ltxflow.lock")
    span = caught.value.problems[0].span
    assert span is not None
    return caught.value, span


def test_a_lock_comes_back_as_it_went(tmp_path: Path) -> None:
    path = tmp_path / "ltxflow.lock"
    assert write_lock(path, LOCK)
    assert read_lock(path) == LOCK
    assert read_lock(tmp_path / "nothing") == Lock()


def test_it_is_one_line_a_clip_in_order() -> None:
    lines = lock_text(LOCK).splitlines()
    assert lines[0].startswith("# ")
    assert lines[1] == "ltxflow-lock: 1"
    assert [line.split(":")[0] for line in lines[2:]] == ["hook/a", "hook/b"]
    assert lock_text(Lock(dict(reversed(LOCK.entries.items())))) == lock_text(LOCK)


def test_it_is_yaml() -> None:
    data = yaml.safe_load(lock_text(LOCK))
    assert data["ltxflow-lock"] == 1
    assert data["hook/b"]["pick"] == 2
    assert data["hook/b"]["reason"] == ENTRY.reason
    assert data["hook/b"]["takes"]["1"]["seed"] is None
    assert data["hook/b"]["takes"]["2"]["facts"] == {"width": 1536, "fps": 25}


@given(st.text(st.characters(codec=None)))
def test_any_reason_stays_on_its_line_and_is_yaml(reason: str) -> None:
    text = lock_text(Lock({"hook/a": LockEntry(1, {}, "rejected", reason)}))
    assert len(text.encode().decode().splitlines()) == 3
    assert parse_lock(text, "").entries["hook/a"].reason == reason
    assert yaml.safe_load(text)["hook/a"]["status"] == "rejected"


def test_line_ends_marks_blanks_comments_and_order_do_not_matter(tmp_path: Path) -> None:
    head, *clips = lock_text(LOCK).splitlines()[1:]
    text = "\ufeff" + "\r\n".join(["", head, "# mine", *reversed(clips), "", ""])
    assert parse_lock(text, "") == LOCK


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


def test_no_death_leaves_half_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "ltxflow.lock"
    old = without(LOCK, "hook/b")

    def check() -> None:
        assert read_lock(path) in (old, LOCK)

    assert crash_everywhere(lambda: write_lock(path, old), lambda: write_lock(path, LOCK), check) >= 4


# --- errors


def test_a_merge_conflict_is_reported_with_its_line() -> None:
    lines = lock_text(LOCK).splitlines()
    text = "\n".join([*lines[:3], "<<<<<<< HEAD", lines[3], "=======", lines[3], ">>>>>>> theirs", ""])
    error, span = at(text)
    assert span == Span("ltxflow.lock", 4, 1)
    assert len(error.problems) == 1
    assert "merge conflict" in error.problems[0].message
    assert "ltxflow lock merge" in error.problems[0].hint


def test_a_clip_that_occurs_twice_is_reported() -> None:
    text = lock_text(LOCK) + lock_text(LOCK).splitlines()[2] + "\n"
    error, span = at(text)
    assert span == Span("ltxflow.lock", 5, 1)
    assert '"hook/a" occurs twice' in error.problems[0].message


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
def test_a_bad_line_is_reported_with_line_column_and_hint(line: str, col: int, message: str) -> None:
    error, span = at(f"# x\nltxflow-lock: 1\n{line}\n")
    assert span == Span("ltxflow.lock", 3, col)
    assert message in error.problems[0].message
    assert error.problems[0].hint
    assert error.exit_code == 2


def test_bad_values_in_a_take_are_reported() -> None:
    good = lock_text(Lock({"hook/a": LockEntry(1, {1: a_take()})}))
    for old, new, message in [
        ('"seed": 88', '"seed": -1', '"seed"'),
        ('"seed": 88', '"seed": 9007199254740992', '"seed"'),
        ('"frames": 121', '"frames": -1', '"frames"'),
        ('"frames": 121', '"frames": 12.5', '"frames"'),
        ('"source": "comfyui"', '"source": 1', '"source"'),
        ('"last_frame": "', '"last_frame": "x', '"last_frame"'),
    ]:
        assert old in good
        error, _ = at(good.replace(old, new))
        assert message in error.problems[0].message


def test_all_bad_lines_are_reported_at_once() -> None:
    error, _ = at("ltxflow-lock: 1\nx\nhook/a: {}\n")
    assert [problem.span.line for problem in error.problems if problem.span] == [2, 3]


def test_another_version_or_another_file_is_reported() -> None:
    error, span = at("# c\nltxflow-lock: 2\n")
    assert "upgrade" in error.problems[0].hint
    assert span.line == 2
    error, span = at("hook/a: {}\n")
    assert '"ltxflow-lock: 1"' in error.problems[0].hint


def test_text_that_is_not_utf8_is_reported_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "ltxflow.lock"
    path.write_bytes(b"ltxflow-lock: 1\nho\xffok")
    with pytest.raises(LtxflowError) as caught:
        read_lock(path, "ltxflow.lock")
    assert caught.value.problems[0].span == Span("ltxflow.lock", 2, 3)


# --- changes


def test_the_first_take_is_the_pick_and_later_ones_are_not() -> None:
    lock = with_take(Lock(), "hook/a", 1, a_take("one"))
    lock = with_take(lock, "hook/a", 2, a_take("two"))
    assert lock.entries["hook/a"].pick == 1
    assert lock.take("hook/a", 2) == a_take("two")
    assert lock.entries["hook/a"].picked == a_take("one")
    assert lock.take("hook/x", 1) is None


def test_a_word_is_about_bytes() -> None:
    lock = Lock({"hook/b": ENTRY})
    assert with_take(lock, "hook/b", 2, ENTRY.takes[2]).entries["hook/b"].status == "approved"
    assert with_take(lock, "hook/b", 1, a_take("new")).entries["hook/b"].status == "approved"
    assert with_take(lock, "hook/b", 2, a_take("new")).entries["hook/b"].status == ""
    assert with_pick(lock, "hook/b", 2) == lock
    picked = with_pick(lock, "hook/b", 1).entries["hook/b"]
    assert (picked.pick, picked.status, picked.reason) == (1, "", "")
    assert lock.entries["hook/b"] == ENTRY


def test_a_take_that_is_not_there_cannot_be_picked() -> None:
    with pytest.raises(LtxflowError) as caught:
        with_pick(LOCK, "hook/b", 3)
    assert "1, 2" in caught.value.problems[0].hint
    with pytest.raises(LtxflowError):
        with_pick(LOCK, "hook/x", 1)


def test_a_status_needs_an_entry() -> None:
    entry = with_status(LOCK, "hook/a", "rejected", "too dark").entries["hook/a"]
    assert (entry.status, entry.reason) == ("rejected", "too dark")
    with pytest.raises(LtxflowError):
        with_status(LOCK, "hook/x", "approved")


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
    assert take.output("video") == Output(take.digest, {"frames": 121, "width": 1536, "fps": 25})
    assert take.output("last_frame") == Output(Digest(take.outputs["last_frame"]))
    assert take.output("audio") is None


def test_references_have_lines_of_their_own() -> None:
    take = LockTake(Key("a" * 64), 7, Digest("b" * 64), 0, {"pixels": "c" * 64, "width": 8, "height": 8}, "reference")
    lock = Lock(
        {"reference:hero": LockEntry(2, {2: take}), "hero/a": LockEntry(1, {1: take}), "z/a": LockEntry(1, {1: take})}
    )
    lock = with_take(lock, "reference:hero/from-above", 1, take)
    names = [line.partition(": {")[0] for line in lock_text(lock).splitlines()[2:]]
    assert names == ["hero/a", "reference:hero", "reference:hero/from-above", "z/a"]
    assert parse_lock(lock_text(lock), "ltxflow.lock") == lock
    assert moved(lock, [("hero", "other")]).entries.keys() == {*lock.entries, "other/a"} - {"hero/a"}


def test_a_lock_with_nothing_in_it_is_damage(tmp_path: Path) -> None:
    """What stood there, words of people among it, is not forgotten in silence."""
    path = tmp_path / "ltxflow.lock"
    for text in ("", "\n"):
        path.write_text(text)
        with pytest.raises(LtxflowError, match="the lock is empty"):
            read_lock(path)
