"""The store as one: a trace counts when its blobs are there; files are the truth, the index only a copy."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from harness.crashing import crash_everywhere, refuse, watch_writes
from harness.media import canned

from ltxflow.core import files
from ltxflow.core.digest import Action, Output, digest_bytes
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.probe import probe_mp4
from ltxflow.store.memo import Memory
from ltxflow.store.store import Store, open_store, store_path
from ltxflow.store.traces import Trace, trace_path, write_trace


def a_trace(name: str = "a") -> Trace:
    action = Action("clip", "1", {"prompt": name}, outputs=("video",))
    outputs = {
        part: Output(digest_bytes(f"{name} {part}".encode()), {"frames": 9}, len(f"{name} {part}"))
        for part in ("video", "last_frame")
    }
    return Trace(action.key, action.as_json(), outputs, target=f"clip:hook/{name}@1")


def put_blobs(store: Store, name: str = "a") -> None:
    for part in ("video", "last_frame"):
        store.cas.put_bytes(f"{name} {part}".encode())


TRACE = a_trace()
VIDEO = TRACE.outputs["video"].digest


@pytest.fixture
def problems() -> list[Problem]:
    return []


@pytest.fixture
def store(tmp_path: Path, problems: list[Problem]) -> Store:
    return Store(tmp_path / "store", problems.append)


@pytest.fixture
def full(store: Store) -> Store:
    put_blobs(store)
    store.record(TRACE)
    return store


def again(store: Store) -> Store:
    return Store(store.root)


def test_a_recorded_trace_is_found_by_the_next_process(full: Store) -> None:
    assert full.lookup(TRACE.key) == TRACE
    assert again(full).lookup(TRACE.key) == TRACE
    assert full.lost(TRACE.key) == {}
    assert list(full.keys()) == [TRACE.key]
    assert full.index.get(TRACE.key) is not None


def test_a_trace_recorded_in_a_group_is_found_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row in the index comes later: until then, and for another process, its file is read."""
    put_blobs(store)
    done: list[tuple[str, str]] = []
    watch_writes(monkeypatch, lambda op, path: done.append((op, path.name)))
    recorded = store.record(TRACE, in_group=True)
    assert ("index", "index") not in done
    assert (recorded.key, recorded.outputs, recorded.target, recorded.action) == (
        TRACE.key,
        TRACE.outputs,
        TRACE.target,
        TRACE.action,
    )
    assert store.lookup(TRACE.key) == again(store).lookup(TRACE.key) == TRACE
    store.write_index()
    assert ("index", "index") in done
    assert store.index.keys() == [TRACE.key]


def test_a_row_returns_the_recorded_trace(full: Store) -> None:
    """It is made of what was written, not read back: it must say the same as one made from the file."""
    row = full.index.get(TRACE.key)
    full.rebuild_index()
    assert full.index.get(TRACE.key) == row


def test_a_look_up_in_no_store_makes_none(store: Store) -> None:
    assert store.lookup(TRACE.key) is None
    assert store.lost(TRACE.key) == {}
    store.forget(TRACE.key)
    assert store.clean() == 0
    assert not store.root.exists()


def test_a_trace_without_its_blobs_is_not_recorded(store: Store) -> None:
    store.cas.put_bytes(b"a video")
    with pytest.raises(ValueError, match="last_frame"):
        store.record(TRACE)
    assert list(store.keys()) == []


@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_a_trace_whose_blob_is_lost_does_not_count(full: Store, damage: str) -> None:
    path = full.cas.path(VIDEO)
    path.chmod(0o644)
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, 1)
    assert full.lookup(TRACE.key) is None
    assert full.lost(TRACE.key) == {"video": VIDEO}
    assert full.trace(TRACE.key) == TRACE


def test_a_removed_trace_file_is_missing_even_with_a_row_in_the_index(full: Store) -> None:
    trace_path(full.traces, TRACE.key).unlink()
    assert full.index.get(TRACE.key) is not None
    assert full.lookup(TRACE.key) is None


def test_a_row_with_a_flipped_bit_is_not_believed(full: Store) -> None:
    row = full.index.get(TRACE.key)
    assert row is not None
    full.index.put(TRACE.key, row.replace(b'"prompt":"a"', b'"prompt":"b"'))
    assert full.lookup(TRACE.key) == TRACE
    assert full.index.get(TRACE.key) == row


def test_a_trace_from_the_index_is_the_one_of_the_file(full: Store) -> None:
    indexed = again(full).lookup(TRACE.key)
    assert indexed is not None
    assert indexed.as_json() == TRACE.as_json()
    assert dict(indexed.action) == TRACE.action


def test_a_replaced_trace_file_is_read_again(full: Store) -> None:
    newer = replace(TRACE, target="clip:intro/a@1")
    write_trace(full.traces, newer)
    assert full.lookup(TRACE.key) == newer
    assert again(full).lookup(TRACE.key) == newer


def test_forgetting_leaves_the_blobs(full: Store) -> None:
    full.forget(TRACE.key)
    assert full.lookup(TRACE.key) is None
    assert full.cas.has(VIDEO)
    assert full.index.keys() == []


def test_the_index_is_rebuilt_from_the_traces(full: Store) -> None:
    put_blobs(full, "b")
    full.record(a_trace("b"))
    full.close()
    shutil.rmtree(full.root / "index")
    fresh = again(full)
    assert fresh.rebuild_index() == 2
    assert fresh.index.keys() == sorted([TRACE.key, a_trace("b").key])
    assert fresh.lookup(TRACE.key) == TRACE


def test_a_corrupt_index_loses_nothing(full: Store, problems: list[Problem]) -> None:
    full.close()
    for path in (full.root / "index").iterdir():
        path.write_bytes(b"nonsense" * 1000)
    fresh = Store(full.root, problems.append)
    assert fresh.lookup(TRACE.key) == TRACE
    assert fresh.index.keys() == [TRACE.key]
    assert len(problems) == 1


def test_a_copied_store_works_and_its_index_heals(full: Store, tmp_path: Path) -> None:
    full.close()
    shutil.copytree(full.root, tmp_path / "copy")
    copy = Store(tmp_path / "copy")
    before = copy.index.get(TRACE.key)
    assert copy.lookup(TRACE.key) == TRACE
    assert copy.index.get(TRACE.key) != before


def test_a_damaged_trace_is_reported_once_and_absent(store: Store, problems: list[Problem]) -> None:
    write_trace(store.traces, TRACE).write_text("{")
    assert store.lookup(TRACE.key) is None
    assert store.lookup(TRACE.key) is None
    assert len(problems) == 1


def test_a_read_only_store_serves_look_ups_and_reports_failed_writes(
    full: Store, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    full.close()
    refuse(monkeypatch, errno.EROFS)
    fresh = Store(full.root, problems.append)
    assert fresh.lookup(TRACE.key) == TRACE
    assert [problem.level for problem in problems] == ["advice"]
    with pytest.raises(LtxflowError) as caught:
        fresh.cas.put_bytes(b"b video")
    assert "writable" in caught.value.problems[0].hint
    with pytest.raises(LtxflowError) as caught:
        fresh.record(TRACE)
    assert str(full.traces) in caught.value.problems[0].message


def test_no_death_while_recording_shows_half_of_it(store: Store) -> None:
    def reset() -> None:
        store.forget(TRACE.key)
        for digest in store.cas.iter():
            store.cas.remove(digest)

    def act() -> None:
        put_blobs(store)
        store.record(TRACE)

    def check() -> None:
        store.close()
        for view in (store, again(store)):
            assert view.lookup(TRACE.key) in (None, TRACE)
            # a trace is written after its blobs: where there is one, nothing is lost
            assert view.lost(TRACE.key) == {}
        assert all(store.cas.verify(digest) for digest in store.cas.iter())

    assert crash_everywhere(reset, act, check) > 10
    assert store.lookup(TRACE.key) == TRACE


def test_leftovers_of_a_killed_process_are_cleaned(full: Store) -> None:
    host, pid = files.temp_name().removeprefix(files.TEMP_PREFIX).split("-")[:2]
    left = f"{files.TEMP_PREFIX}{host}-{pid}-00000000-0"
    folders = [full.cas.path(VIDEO).parent, trace_path(full.traces, TRACE.key).parent, full.root / "tmp"]
    files.make_dir(folders[-1])
    for folder in folders:
        (folder / left).write_bytes(b"half")
    assert full.clean() == 3
    assert full.lookup(TRACE.key) == TRACE


def test_scratch_is_on_the_disk_of_the_store(store: Store) -> None:
    with store.scratch() as folder:
        (folder / "video").write_bytes(b"a video")
        inode = (folder / "video").stat().st_ino
        assert store.cas.put(folder / "video", move=True) == VIDEO
    assert store.cas.path(VIDEO).stat().st_ino == inode
    assert not folder.exists()


# --- where it is


@pytest.mark.parametrize(
    ("env", "configured", "path"),
    [
        ({"LTXFLOW_STORE": "/s", "XDG_DATA_HOME": "/x"}, "/c", "/s"),
        ({"LTXFLOW_STORE": "~/s"}, "/c", "/home/ana/s"),
        ({"XDG_DATA_HOME": "/x"}, "/c", "/c"),
        ({}, "~/c", "/home/ana/c"),
        ({"XDG_DATA_HOME": "/x", "LTXFLOW_STORE": ""}, None, "/x/ltxflow/store"),
        ({"XDG_DATA_HOME": "relative"}, None, "/home/ana/.local/share/ltxflow/store"),
        ({}, None, "/home/ana/.local/share/ltxflow/store"),
    ],
)
def test_where_the_store_is(env: dict[str, str], configured: str | None, path: str) -> None:
    assert open_store({"HOME": "/home/ana", **env}, configured).root == Path(path)


def test_a_relative_variable_counts_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert store_path({"LTXFLOW_STORE": "s"}, None) == tmp_path / "s"


def test_a_relative_store_in_the_user_config_is_refused() -> None:
    with pytest.raises(LtxflowError) as caught:
        store_path({"HOME": "/home/ana"}, "my/store")
    assert '"my/store"' in caught.value.problems[0].message
    assert "~/" in caught.value.problems[0].hint


def test_naming_the_store_loads_no_database() -> None:
    script = (
        "import json, sys; from ltxflow.store.store import open_store; open_store({'HOME': '/'}, None)\n"
        "print(json.dumps([name for name in ('diskcache', 'sqlite3') if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("part", [".", "cas", "traces"])
def test_an_unreadable_store_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """It would look as if everything had to be rendered once more."""
    closed = tmp_path / "store" / part
    closed.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != closed)  # tests may run as root
    with pytest.raises(LtxflowError, match="cannot be read: permission denied") as caught:
        open_store({"LTXFLOW_STORE": str(tmp_path / "store")})
    assert "LTXFLOW_STORE" in caught.value.problems[0].hint


def test_a_store_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "store").touch()
    with pytest.raises(LtxflowError, match=r'the store ".*/store" is not a folder'):
        open_store({"LTXFLOW_STORE": str(tmp_path / "store")})


def test_another_thread_uses_the_store_without_the_index(store: Store) -> None:
    """Nobody else could close what a thread opened of it. Its row is written by who opened the store."""
    put_blobs(store)
    store.write_index()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(store.record, TRACE).result()
        store.memory = Memory()
        assert pool.submit(store.lookup, TRACE.key).result() == TRACE
        assert not (store.root / "index").exists()
        store.write_index()
        assert store.index.get(TRACE.key) is not None
        pool.submit(store.forget, TRACE.key).result()
    assert store.lookup(TRACE.key) is None
    store.close()


def damage(store: Store, old: bytes, new: bytes) -> Path:
    path = trace_path(store.traces, TRACE.key)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))
    return path


def test_a_trace_that_lies_by_one_digit_is_restored_from_the_index(full: Store, problems: list[Problem]) -> None:
    whole = trace_path(full.traces, TRACE.key).read_bytes()
    path = damage(full, b'"frames":9', b'"frames":1')
    assert full.lookup(TRACE.key) == TRACE
    (problem,) = problems
    assert "its checksum is wrong" in problem.message
    assert problem.hint == f'it was restored from the index; the file is kept as "{path.name}.corrupt"'
    assert path.read_bytes() == whole
    assert again(full).lookup(TRACE.key) == TRACE


def test_without_an_index_a_damaged_trace_is_absent(full: Store, problems: list[Problem]) -> None:
    path = damage(full, b'"frames":9', b'"frames":1')
    full.close()
    shutil.rmtree(full.root / "index")
    assert full.lookup(TRACE.key) is None
    assert not path.exists()
    assert "it counts as absent" in problems[0].hint


def test_a_damaged_trace_in_a_store_that_can_only_be_read_is_absent(
    full: Store, problems: list[Problem], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(full, b'"frames":9', b'"frames":1')
    refuse(monkeypatch, errno.EROFS)
    assert full.lookup(TRACE.key) is None, "it cannot be set aside, and might be of a newer format"


def test_a_row_of_the_index_that_is_damaged_restores_nothing(full: Store) -> None:
    row = full.index.get(TRACE.key)
    assert row is not None
    full.index.put(TRACE.key, row.replace(b'"frames":9', b'"frames":7', 1))
    damage(full, b'"frames":9', b'"frames":1')
    assert full.lookup(TRACE.key) is None


def test_the_facts_of_a_trace_without_a_checksum_are_compared_with_its_files(store: Store) -> None:
    """As those are that were written before traces had one."""
    store.cas.root.mkdir(parents=True)
    data = canned(9, (128, 128), 25, "a film")
    digest = store.cas.put_bytes(data)
    facts = probe_mp4(store.cas.path(digest)).as_json()
    for stated, is_true in ((facts, True), ({**facts, "frames": 25}, False), ({**facts, "width": 129}, False)):
        trace = replace(TRACE, outputs={"video": Output(digest, stated, len(data))})
        path = write_trace(store.traces, trace)
        text = path.read_text()
        path.write_text(text[: text.rindex(',"crc32"')] + "}\n")
        shutil.rmtree(store.root / "index", ignore_errors=True)
        found = again(store).lookup(TRACE.key)
        assert (found is not None) is is_true
