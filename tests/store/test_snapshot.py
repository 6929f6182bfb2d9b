"""The fast path is exactly as right as the slow one: an answer holds only while all it rests on is as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ltxflow.store.snapshot import KEPT, Answer, entry_of, question, recall, with_entry

TOLD = Answer("up to date\n", "", 0)


def keep(path: Path, asked: str, *rests_on: Path) -> None:
    entry = entry_of(TOLD, rests_on)
    assert entry is not None
    path.write_bytes(with_entry(path.read_bytes() if path.exists() else b"", asked, entry))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "refs").mkdir()
    for name in ("project.yaml", "refs/a.png"):
        (tmp_path / name).write_text("as it was")
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    return tmp_path


def test_an_answer_is_given_again_while_nothing_changed(film: Path) -> None:
    keep(film / "s.json", "q", film / "project.yaml", film / "refs/a.png")
    assert recall(film / "s.json", "q") == TOLD
    assert recall(film / "s.json", "another question") is None


def test_an_edit_that_keeps_size_and_mtime_is_noticed(film: Path) -> None:
    image = film / "refs/a.png"
    keep(film / "s.json", "q", image)
    image.write_text("as it isn")
    os.utime(image, (1_000_000_000, 1_000_000_000))
    assert recall(film / "s.json", "q") is None


def test_a_file_written_just_before_is_known_by_its_bytes(film: Path) -> None:
    fresh = film / "fresh"
    fresh.write_text("one")
    keep(film / "s.json", "q", fresh)
    data = json.loads((film / "s.json").read_bytes())
    assert list(data["q"]["racy"]) == [str(fresh)]
    data["q"]["racy"][str(fresh)] = "0" * 64  # as if it had changed within one tick of its clock
    (film / "s.json").write_text(json.dumps(data))
    assert recall(film / "s.json", "q") is None


def test_a_file_that_appears_or_goes_changes_the_answer(film: Path) -> None:
    lock = film / "ltxflow.lock"
    keep(film / "s.json", "q", lock, film / "project.yaml")
    assert recall(film / "s.json", "q") == TOLD
    lock.write_text("")
    assert recall(film / "s.json", "q") is None
    lock.unlink()
    assert recall(film / "s.json", "q") == TOLD
    (film / "project.yaml").unlink()
    assert recall(film / "s.json", "q") is None


def test_something_new_in_a_folder_changes_the_answer(film: Path) -> None:
    keep(film / "s.json", "q", film / "refs")
    assert recall(film / "s.json", "q") == TOLD
    (film / "refs/b.png").write_text("")
    assert recall(film / "s.json", "q") is None


def test_an_answer_about_what_changed_meanwhile_is_not_kept(film: Path) -> None:
    (film / "project.yaml").write_text("edited while we were thinking")
    changed = (film / "project.yaml").stat().st_ctime_ns
    assert entry_of(TOLD, [film / "project.yaml"], since_ns=changed) is None
    assert entry_of(TOLD, [film / "project.yaml"], since_ns=changed + 1) is not None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"q": 3}', b'{"q": {"format": "snapshot/1"}}', b"\xff"])
def test_a_damaged_snapshot_is_no_answer(film: Path, damage: bytes) -> None:
    (film / "s.json").write_bytes(damage)
    assert recall(film / "s.json", "q") is None
    keep(film / "s.json", "q", film / "project.yaml")
    assert recall(film / "s.json", "q") == TOLD


def test_the_oldest_answers_make_room(film: Path) -> None:
    for number in range(KEPT + 3):
        keep(film / "s.json", f"q{number}", film / "project.yaml")
    assert recall(film / "s.json", "q0") is None
    assert recall(film / "s.json", f"q{KEPT + 2}") == TOLD


def test_the_question_has_arguments_environment_screen_and_version() -> None:
    asked = [
        question(argv, env, look, version)
        for argv, env, look, version in [
            (["plan"], {}, [True], "1"),
            (["plan", "-v"], {}, [True], "1"),
            (["plan"], {"LTXFLOW_STORE": "/x"}, [True], "1"),
            (["plan"], {}, [False], "1"),
            (["plan"], {}, [True], "2"),
        ]
    ]
    assert len(set(asked)) == len(asked)
    assert question(["plan"], {"EDITOR": "vi"}, [True], "1") == asked[0]
