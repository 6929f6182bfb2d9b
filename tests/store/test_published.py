"""The record of published files: ours are known after any crash, and foreign ones never mistaken for ours."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from fakes.odd import ODD, Put, link_to_itself, link_to_zeros
from harness.crashing import crash_everywhere

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_bytes
from ltxflow.core.errors import LtxflowError
from ltxflow.store.published import (
    Published,
    PublishedFile,
    committed,
    found,
    is_ours,
    read_published,
    with_intent,
    without,
    write_published,
)

PATH = "scenes/01-hook/a.mp4"
OLD, NEW = b"old film", b"new film!"


def coming(data: bytes) -> PublishedFile:
    return PublishedFile((digest_bytes(data),), "clip:hook/a@1", "k" * 64, "comfyui", 2)


def publish(record: Path, base: Path, data: bytes) -> None:
    published, _ = read_published(record)
    published = with_intent(published, {PATH: coming(data)})
    write_published(record, published)
    files.make_dir((base / PATH).parent)
    files.write_atomic(base / PATH, data)
    write_published(record, committed(published, base, {PATH: digest_bytes(data)}))


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return tmp_path / ".ltxflow" / "published.json"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "public"


def ours(record: Path, base: Path) -> bool:
    return is_ours(read_published(record)[0], base, PATH)


def test_a_published_file_is_ours_until_it_is_edited(record: Path, base: Path) -> None:
    assert not ours(record, base)
    publish(record, base, OLD)
    assert ours(record, base)
    publish(record, base, NEW)
    entry = read_published(record)[0].entries[PATH]
    assert entry.digests == (digest_bytes(NEW),)
    assert (entry.target, entry.source, entry.rank) == ("clip:hook/a@1", "comfyui", 2)
    assert ours(record, base)
    (base / PATH).write_bytes(b"graded by hand")
    assert not ours(record, base)
    (base / PATH).unlink()
    assert not ours(record, base)


def test_a_foreign_file_is_not_ours(record: Path, base: Path) -> None:
    publish(record, base, OLD)
    published, _ = read_published(record)
    other = base / "scenes" / "mine.mp4"
    other.write_bytes(OLD)
    assert not is_ours(published, base, "scenes/mine.mp4")
    assert found(published, base, "scenes/mine.mp4") == digest_bytes(OLD)
    (base / PATH).unlink()
    (base / PATH).symlink_to(other)
    assert not ours(record, base)


def test_an_unchanged_file_is_not_read_again(record: Path, base: Path) -> None:
    publish(record, base, OLD)
    (base / PATH).chmod(0)
    published, _ = read_published(record)
    lied = Digest("0" * 64)
    assert found(committed(published, base, {PATH: lied}), base, PATH) == lied


def test_an_edit_that_restores_size_and_time_is_seen(record: Path, base: Path) -> None:
    publish(record, base, OLD)
    facts = (base / PATH).stat()
    (base / "x").write_bytes(OLD[::-1])
    os.utime(base / "x", ns=(facts.st_atime_ns, facts.st_mtime_ns))
    os.replace(base / "x", base / PATH)
    assert not ours(record, base)


def test_while_pending_old_and_new_are_ours(record: Path, base: Path) -> None:
    publish(record, base, OLD)
    pending = with_intent(read_published(record)[0], {PATH: coming(NEW)})
    assert pending.entries[PATH].digests == (digest_bytes(OLD), digest_bytes(NEW))
    assert is_ours(pending, base, PATH)
    (base / PATH).write_bytes(NEW)
    assert is_ours(pending, base, PATH)
    (base / PATH).write_bytes(b"other")
    assert not is_ours(pending, base, PATH)


def test_no_death_makes_our_file_a_strangers(record: Path, base: Path) -> None:
    contents = set()

    def check() -> None:
        assert ours(record, base)
        contents.add((base / PATH).read_bytes())

    steps = crash_everywhere(lambda: publish(record, base, OLD), lambda: publish(record, base, NEW), check)
    assert steps > 10
    assert contents == {OLD, NEW}


def test_a_removed_entry_is_forgotten(record: Path, base: Path) -> None:
    publish(record, base, OLD)
    assert without(read_published(record)[0], [PATH, "never"]) == Published({})


@pytest.mark.parametrize(
    "damage", ["", "[]", '{"format": "published/1"}', '{"format": "published/1", "files": {"a": 1}}']
)
def test_a_damaged_record_claims_nothing(record: Path, base: Path, damage: str) -> None:
    publish(record, base, OLD)
    record.write_text(damage)
    published, problem = read_published(record)
    assert published == Published()
    assert problem is not None
    assert record.with_name("published.json.corrupt").read_text() == damage
    assert read_published(record) == (Published(), None)


@pytest.mark.parametrize("path", ["../../.ssh/config", "/etc/passwd", "a/../../b", ""])
def test_no_record_leads_out_of_the_output_folder(record: Path, base: Path, path: str) -> None:
    publish(record, base, OLD)
    data = json.loads(record.read_text())
    data["files"][path] = data["files"][PATH]
    record.write_text(json.dumps(data))
    published, problem = read_published(record)
    assert published == Published()
    assert problem is not None
    with pytest.raises(ValueError, match="leads out"):
        with_intent(published, {path: coming(NEW)})


def test_a_record_that_may_not_be_read_is_an_error(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "stat", refused)  # root may read all
    with pytest.raises(LtxflowError, match="permission denied"):
        read_published(record)


@pytest.mark.parametrize("put", [*ODD, link_to_itself, link_to_zeros])
def test_a_folder_or_fifo_in_the_records_place_is_set_aside(record: Path, put: Put) -> None:
    record.parent.mkdir(parents=True)
    put(record, record.parent)
    published, problem = read_published(record)
    assert published.entries == {}
    assert problem is not None
    assert "published.json.corrupt" in problem.hint
    assert os.path.lexists(record.with_name("published.json.corrupt"))
    assert not os.path.lexists(record)
