"""Traces: they are read back unchanged; damage counts as absence with a reason."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from fakes import odd
from harness.crashing import crash_everywhere, refuse

from ltxflow.core.digest import Action, Key, Output, digest_bytes
from ltxflow.core.errors import LtxflowError
from ltxflow.store.traces import Trace, read_trace, remove_trace, trace_keys, trace_path, trace_text, write_trace

ACTION = Action("clip", "1", {"prompt": "a vault, “open”", "cfg": 1.5}, {"narration": {"frames": 121}}, ("video",))
TRACE = Trace(
    key=ACTION.key,
    action=ACTION.as_json(),
    outputs={"video": Output(digest_bytes(b"video"), {"frames": 121, "fps": 25}, 5)},
    target="clip:hook/b@1",
    fields={"cfg": 1.5, "seed": 88},
    seconds={"render": 61.25},
    source="comfyui",
    server="http://gpu:8188",
    versions={"comfyui": "0.27.0"},
    made_at="2026-01-11T10:00:00+00:00",
)


def test_a_trace_comes_back_as_it_went(tmp_path: Path) -> None:
    path = write_trace(tmp_path, TRACE)
    assert path == tmp_path / TRACE.key[:2] / f"{TRACE.key}.json"
    assert read_trace(tmp_path, TRACE.key) == (TRACE, None)
    assert list(trace_keys(tmp_path)) == [TRACE.key]
    remove_trace(tmp_path, TRACE.key)
    assert read_trace(tmp_path, TRACE.key) == (None, None)
    assert list(trace_keys(tmp_path / "nowhere")) == []


def test_the_file_begins_with_its_format() -> None:
    assert trace_text(TRACE).startswith('{"format":"trace/1",')
    assert Trace.from_json(json.loads(trace_text(TRACE))) == TRACE


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b'{"format":"other"}',
        trace_text(TRACE).encode()[:-20],
        trace_text(TRACE).replace(TRACE.key, "0" * 64).encode(),
        trace_text(TRACE).replace(digest_bytes(b"video"), "../x").encode(),
        trace_text(TRACE).replace('"fields":{', '"fields":[],"x":{').encode(),
    ],
)
def test_a_damaged_trace_is_absent_and_moved_aside(tmp_path: Path, damage: bytes) -> None:
    path = write_trace(tmp_path, TRACE)
    path.write_bytes(damage)
    trace, problem = read_trace(tmp_path, TRACE.key)
    assert trace is None
    assert problem is not None
    assert problem.level == "warning"
    assert str(path) in problem.message
    assert path.with_name(path.name + ".corrupt").read_bytes() == damage
    assert read_trace(tmp_path, TRACE.key) == (None, None)
    assert list(trace_keys(tmp_path)) == []


def test_a_damaged_trace_in_a_read_only_store_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_trace(tmp_path, TRACE)
    path.write_bytes(b"{")
    refuse(monkeypatch, errno.EROFS)
    trace, problem = read_trace(tmp_path, TRACE.key)
    assert trace is None
    assert problem is not None
    assert path.exists()


def test_a_trace_of_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    path = write_trace(tmp_path, TRACE)
    path.write_text(trace_text(TRACE).replace("trace/1", "trace/2"))
    trace, problem = read_trace(tmp_path, TRACE.key)
    assert trace is None
    assert problem is not None
    assert "upgrade" in problem.hint
    assert path.exists()


def test_no_death_leaves_half_a_trace(tmp_path: Path) -> None:
    def check() -> None:
        trace, problem = read_trace(tmp_path, TRACE.key)
        assert problem is None
        assert trace in (None, TRACE)

    crash_everywhere(lambda: remove_trace(tmp_path, TRACE.key), lambda: write_trace(tmp_path, TRACE), check)


def test_text_that_is_not_a_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LtxflowError, match="is not a key"):
        trace_path(tmp_path, Key("../../x"))


def test_one_flipped_bit_anywhere_is_damage(tmp_path: Path) -> None:
    """A 9 for a 1 in its facts is good JSON, too. Only the word for the checksum can be lost without a trace."""
    path = write_trace(tmp_path, TRACE)
    data = path.read_bytes()
    word = range(data.rindex(b',"crc32":"'), len(data))
    believed = []
    for at in range(len(data)):
        for bit in (1, 8, 32):
            path.write_bytes(bytes([*data[:at], data[at] ^ bit, *data[at + 1 :]]))
            trace, problem = read_trace(tmp_path, TRACE.key)
            assert (trace is None) == (problem is not None)
            if trace is not None:
                assert trace == TRACE
                believed.append(at)
    assert set(believed) <= set(word)


def test_a_trace_of_the_first_versions_is_still_read(tmp_path: Path) -> None:
    path = write_trace(tmp_path, TRACE)
    text = trace_text(TRACE)
    path.write_text(text[: text.rindex(',"crc32"')] + "}\n")
    assert read_trace(tmp_path, TRACE.key) == (TRACE, None)
    found, problem = read_trace(tmp_path, TRACE.key, check=lambda trace: "its video has frames 9")
    assert found is None
    assert problem is not None
    assert "is damaged: its video has frames 9" in problem.message


def test_seconds_that_are_no_numbers_are_damage(tmp_path: Path) -> None:
    path = write_trace(tmp_path, TRACE)
    text = trace_text(TRACE).replace("61.25", '"long"')
    path.write_text(text[: text.rindex(',"crc32"')] + "}\n")
    assert read_trace(tmp_path, TRACE.key)[0] is None


@pytest.mark.parametrize("put", [odd.fifo, odd.folder, odd.huge, odd.deep_json, odd.link_to_itself, odd.link_to_zeros])
def test_a_folder_or_fifo_in_a_traces_place_is_damage_and_set_aside(tmp_path: Path, put: odd.Put) -> None:
    path = trace_path(tmp_path, TRACE.key)
    path.parent.mkdir()
    put(path, tmp_path)
    found, problem = read_trace(tmp_path, TRACE.key)
    assert found is None
    assert problem is not None
    assert f'kept as "{TRACE.key}.json.corrupt"' in problem.hint
    put(path, tmp_path)
    write_trace(tmp_path, TRACE)
    assert read_trace(tmp_path, TRACE.key) == (TRACE, None)
