"""What is remembered is what was told, or nothing: whatever becomes of its file."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.crashing import watch_writes

from ltxflow.store import memo
from ltxflow.store.memo import Memory, memory_of


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    return tmp_path / "store" / "memory" / "film"


def remember(path: Path, **values: object) -> None:
    known = Memory(path, "1")
    for name, value in values.items():
        known.put(name, value)
    known.save()


def test_what_was_saved_is_there_for_the_next(path: Path) -> None:
    remember(path, a=[1, {"b": "ü"}], b="x")
    remember(path, b="y", c=None)
    known = Memory(path, "1")
    assert [known.get(name) for name in "abcd"] == [[1, {"b": "ü"}], "y", None, None]
    assert path.stat().st_mode & 0o777 == 0o600


def test_of_another_version_it_knows_nothing(path: Path) -> None:
    remember(path, a=1)
    other = Memory(path, "2")
    assert other.get("a") is None
    other.put("a", 2)
    other.save()
    assert Memory(path, "1").get("a") is None
    assert Memory(path, "2").get("a") == 2


def test_without_a_store_nothing_is_written(tmp_path: Path) -> None:
    remember(tmp_path / "no-store" / "memory" / "film", a=1)
    assert not (tmp_path / "no-store").exists()


def test_a_torn_end_does_not_swallow_what_comes_after(path: Path) -> None:
    remember(path, a=1, b=2)
    path.write_bytes(path.read_bytes()[:-3])
    remember(path, c=3)
    known = Memory(path, "1")
    assert (known.get("b"), known.get("c")) == (None, 3)


def test_any_flipped_bit_is_noticed(path: Path) -> None:
    remember(path, a={"x": 1}, b="value")
    whole = path.read_bytes()
    for at in range(whole.index(b"\n"), len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        known = Memory(path, "1")
        assert known.get("a") in ({"x": 1}, None)
        assert known.get("b") in ("value", None)
        assert sum(known.get(name) is None for name in "ab") >= 1 or at == len(whole) - 1


def test_rows_that_nobody_asks_for_go_in_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo, "SLACK", 10)
    for number in range(40):
        remember(path, **{f"row{number}": number, "kept": number})
    assert path.read_bytes().count(b"\n") < 25
    assert Memory(path, "1").get("kept") == 39


def test_a_file_that_cannot_be_written_is_no_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(op: str, where: Path) -> None:
        raise OSError(28, "No space left on device")

    watch_writes(monkeypatch, full)
    remember(path, a=1)
    assert not path.exists()


def test_a_name_with_a_line_feed_is_not_remembered(path: Path) -> None:
    remember(path, **{"a\nb": 1, "a\tb": 2, "c": 3})
    known = Memory(path, "1")
    assert [known.get(name) for name in ("a\nb", "a\tb", "c")] == [None, None, 3]


def test_each_project_has_its_own(tmp_path: Path) -> None:
    one, two = (memory_of(tmp_path, tmp_path / name, "1") for name in "ab")
    assert one.path != two.path


@pytest.mark.parametrize("of", ["file", "folder"])
def test_what_others_could_have_written_is_not_believed(path: Path, of: str) -> None:
    remember(path, a=1)
    place = path if of == "file" else path.parent
    mode = place.stat().st_mode
    place.chmod(mode | 0o020)
    assert Memory(path, "1").get("a") is None
    remember(path, b=2)  # written anew, by us
    place.chmod(mode)
    known = Memory(path, "1")
    assert (known.get("a"), known.get("b")) == (None, 2)
