"""The fast path is exactly as right as the slow one: an answer holds only while all it rests on is as it was."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ltxflow.store import snapshot
from ltxflow.store.snapshot import (
    KEPT,
    CachedAnswer,
    answer_key,
    entry_of,
    read_kept,
    recall,
    sealed,
    superfluous,
    take,
)

TOLD = CachedAnswer("up to date\n", "", 0)


def keep(path: Path, *rests_on: Path) -> None:
    manifest = take(rests_on)
    assert manifest is not None
    path.write_bytes(sealed(entry_of(TOLD, manifest)))


@pytest.fixture
def film(tmp_path: Path) -> Path:
    (tmp_path / "refs").mkdir()
    for name in ("project.yaml", "refs/a.png"):
        (tmp_path / name).write_text("as it was")
        os.utime(tmp_path / name, (1_000_000_000, 1_000_000_000))
    return tmp_path


def test_an_answer_is_given_again_while_nothing_changed(film: Path) -> None:
    keep(film / "s.json", film / "project.yaml", film / "refs/a.png")
    assert recall(film / "s.json") == TOLD
    assert recall(film / "another question.json") is None


def test_an_edit_that_keeps_size_and_mtime_is_noticed(film: Path) -> None:
    image = film / "refs/a.png"
    keep(film / "s.json", image)
    image.write_text("as it isn")
    os.utime(image, (1_000_000_000, 1_000_000_000))
    assert recall(film / "s.json") is None


def test_a_file_written_just_before_is_known_by_its_bytes(film: Path) -> None:
    fresh = film / "fresh"
    fresh.write_text("one")
    keep(film / "s.json", fresh)
    data = read_kept(film / "s.json")
    assert list(data["racy"]) == [str(fresh)]
    data["racy"][str(fresh)] = "0" * 64  # as if it had changed within one tick of its clock
    (film / "s.json").write_bytes(sealed(json.dumps(data).encode()))
    assert recall(film / "s.json") is None


def test_a_file_that_appears_or_goes_changes_the_answer(film: Path) -> None:
    lock = film / "ltxflow.lock"
    keep(film / "s.json", lock, film / "project.yaml")
    assert recall(film / "s.json") == TOLD
    lock.write_text("")
    assert recall(film / "s.json") is None
    lock.unlink()
    assert recall(film / "s.json") == TOLD
    (film / "project.yaml").unlink()
    assert recall(film / "s.json") is None


def test_something_new_in_a_folder_changes_the_answer(film: Path) -> None:
    keep(film / "s.json", film / "refs")
    assert recall(film / "s.json") == TOLD
    (film / "refs/b.png").write_text("")
    assert recall(film / "s.json") is None


def test_an_answer_about_what_changed_meanwhile_is_not_kept(film: Path) -> None:
    (film / "project.yaml").write_text("edited while we were thinking")
    changed = (film / "project.yaml").stat().st_ctime_ns
    assert take([film / "project.yaml"], since_ns=changed) is None
    assert take([film / "project.yaml"], since_ns=changed + 1) is not None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"format": 3}', b'{"format": "snapshot/2"}', b"\xff"])
def test_a_damaged_snapshot_is_no_answer(film: Path, damage: bytes) -> None:
    (film / "s.json").write_bytes(damage)
    assert recall(film / "s.json") is None
    (film / "s.json").write_bytes(sealed(damage))
    assert recall(film / "s.json") is None
    keep(film / "s.json", film / "project.yaml")
    assert recall(film / "s.json") == TOLD


def test_an_answer_with_one_bit_of_it_flipped_is_none(film: Path) -> None:
    keep(film / "s.json", film / "project.yaml")
    data = (film / "s.json").read_bytes()
    for at in range(len(data)):
        (film / "s.json").write_bytes(bytes([*data[:at], data[at] ^ 1, *data[at + 1 :]]))
        assert recall(film / "s.json") is None


def test_the_oldest_answers_make_room(film: Path) -> None:
    for number in range(KEPT + 3):
        keep(film / f"q{number}.json", film / "project.yaml")
        os.utime(film / f"q{number}.json", (number, number))
    assert sorted(path.name for path in superfluous(film)) == ["q0.json", "q1.json", "q2.json"]


def test_what_changes_most_often_is_looked_at_first(film: Path) -> None:
    manifest = take([film / "refs/a.png", film / "project.yaml", Path("/")])
    assert manifest is not None
    entry = entry_of(TOLD, manifest, first=str(film))
    assert [folder for folder, _, _ in json.loads(entry)["folders"]] == [str(film), "/", str(film / "refs")]


def test_a_folder_that_goes_takes_its_files_along(film: Path) -> None:
    keep(film / "s.json", film / "refs/a.png", film / "refs/b.png")
    (film / "refs").rename(film / "pictures")
    assert recall(film / "s.json") is None
    (film / "pictures").rename(film / "refs")
    assert recall(film / "s.json") == TOLD


def test_the_question_has_arguments_environment_screen_and_version() -> None:
    asked = [
        answer_key(argv, env, look, version)
        for argv, env, look, version in [
            (["plan"], {}, [True], "1"),
            (["plan", "-v"], {}, [True], "1"),
            (["plan"], {"LTXFLOW_STORE": "/x"}, [True], "1"),
            (["plan"], {"COMFY_URL": "http://x"}, [True], "1"),
            (["plan"], {"PATH": "/bin"}, [True], "1"),
            (["plan"], {}, [False], "1"),
            (["plan"], {}, [True], "2"),
        ]
    ]
    assert len(set(asked)) == len(asked)
    assert answer_key(["plan"], {"EDITOR": "vi"}, [True], "1") == asked[0]


def test_what_is_no_longer_new_is_not_read_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"one")
    manifest = snapshot.take([file])
    assert manifest is not None
    assert list(manifest.racy) == [str(file)]
    assert manifest.without_old_digests().racy == manifest.racy
    monkeypatch.setattr(snapshot, "RACY_NS", 0)
    settled = manifest.without_old_digests()
    assert not settled.racy
    assert settled.holds()
    file.write_bytes(b"two")
    assert not settled.holds()


def test_an_answer_reads_what_was_new_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "own/snapshots"
    own.mkdir(parents=True)
    (tmp_path / "a").write_bytes(b"one")
    keep(own / "s.json", tmp_path / "a")
    assert recall(own / "s.json") == TOLD
    assert read_kept(own / "s.json")["racy"]
    monkeypatch.setattr(snapshot, "RACY_NS", 0)
    assert recall(own / "s.json") == TOLD
    assert not read_kept(own / "s.json")["racy"]
    assert recall(own / "s.json") == TOLD
    (tmp_path / "a").write_bytes(b"two")
    assert recall(own / "s.json") is None


def test_of_much_that_is_new_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of videos that were just put in their places are not read for the sake of the next answer."""
    for name in "abc":
        (tmp_path / name).write_bytes(b"four")
    files = [str(tmp_path / name) for name in "abc"]
    monkeypatch.setattr(snapshot, "RACY_BYTES", 12)
    assert snapshot.take(files) is not None
    monkeypatch.setattr(snapshot, "RACY_BYTES", 11)
    assert snapshot.take(files) is None


def test_a_manifest_of_signatures_is_one_of_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    kept.write_bytes(b"one")
    files = [str(kept), str(gone)]
    states = snapshot.signatures(files)
    assert states[str(gone)] == snapshot.ABSENT
    assert snapshot.manifest_on(states) is None, "its clock may not show the next write"
    monkeypatch.setattr(snapshot, "RACY_NS", 0)
    manifest = snapshot.manifest_on(states)
    assert manifest == snapshot.take(files)
    kept.write_bytes(b"two")
    assert manifest is not None
    assert not manifest.holds()


def test_the_id_of_the_code_is_another_for_each_change_of_a_source(tmp_path: Path) -> None:
    package = tmp_path / "package"
    (package / "deep").mkdir(parents=True)
    source = package / "deep/a.py"
    source.write_text("one = 1\n")
    ids = [snapshot.code_id(str(package))]
    (package / "deep/__pycache__").mkdir()
    (package / "deep/__pycache__/a.pyc").write_text("compiled")
    assert snapshot.code_id(str(package)) == ids[0]
    facts = source.stat()
    source.write_text("two = 2\n")
    os.utime(source, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as large and as old as before
    ids.append(snapshot.code_id(str(package)))
    (package / "b.py").write_text("")
    ids.append(snapshot.code_id(str(package)))
    (package / "b.py").unlink()
    source.unlink()
    ids.append(snapshot.code_id(str(package)))
    assert len(set(ids)) == 4
