"""On whatever machine: it works, or it ends with a sentence. Some at every run, all of them in the campaigns."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from harness.film import Film
from harness.machines import MACHINES, Machine, clock_library, film_in, run_on, wrong

from ltxflow.core import memory_limit
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.store.snapshot import signatures
from ltxflow.ui.terminal import Console, broken

QUICK = {
    "a film that is not UTF-8": [("build", "--animatic"), ("verify",)],
    "a store that is not UTF-8": [("cache", "stats")],
    "the year 9999": [("plan",)],
    "a terminal of 1 x 1": [("plan",)],
    "a terminal of 24 x 5": [("explain", "hook/a")],
    "300 MB of address space": [("build", "--animatic")],
    "closed streams (0, 1, 2)": [("plan",)],
    "TZ=XXX-99": [("report",)],
    "XDG_CONFIG_HOME is a circle of links": [("plan",)],
    "a store of too long a name": [("plan",)],
    "PYTHONOPTIMIZE=2": [("plan", "--help")],
}


@pytest.mark.parametrize("name", QUICK)
def test_it_works_or_says_why_not(tmp_path: Path, name: str) -> None:
    machine = next(machine for machine in MACHINES if machine.name == name)
    if machine.clock is not None and clock_library() is None:
        pytest.skip("no compiler for a library that moves the clock")
    folder = film_in(tmp_path / "root", machine)
    for argv in QUICK[name]:
        assert not wrong(run_on(machine, tmp_path / "root", folder, argv))


@pytest.mark.parametrize("megabytes", [250, 350])
def test_too_little_memory_is_said_before_anything_is_drawn(tmp_path: Path, megabytes: int) -> None:
    machine = next(machine for machine in MACHINES if machine.name == f"{megabytes} MB of address space")
    assert isinstance(machine, Machine)
    ran = run_on(machine, tmp_path / "root", film_in(tmp_path / "root", machine), ("build", "--animatic"))
    assert ran.code == 1
    assert "error: not enough memory: 256 MB more are refused [U009]" in ran.err
    assert "ulimit -v unlimited" in ran.err


def test_a_lack_of_memory_is_told_from_what_else_goes_wrong() -> None:
    assert memory_limit.is_lack(MemoryError())
    assert memory_limit.is_lack(RuntimeError("can't start new thread"))
    assert not memory_limit.is_lack(RuntimeError("dictionary changed size"))
    assert memory_limit.is_available(1 << 20)
    assert not memory_limit.is_available(1 << 62)


@pytest.mark.parametrize("when_s", [-1, 0, 2**33, 250_000_000_000])
def test_files_of_any_year_tell_their_state(tmp_path: Path, when_s: int) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    try:
        os.utime(path, (when_s, when_s))
    except OverflowError:
        pytest.skip("no file of this disk can be of that year")
    before = signatures([path])
    assert before
    path.write_text("two")
    assert signatures([path]) != before


@pytest.mark.parametrize("width", [0, 1, 2, 3, 5, 10, 10**9])
@pytest.mark.parametrize("line", ["", " ", "x" * 50, "    indented  and more  words", "  a  b", "漢字 漢字"])
def test_a_line_is_broken_for_any_width(line: str, width: int) -> None:
    assert broken(line, width).replace("\n", "").replace(" ", "") == line.replace(" ", "")


@pytest.mark.parametrize("columns", ["1", "5", "0", "-1", "x", "999999999999"])
def test_a_face_has_a_width_to_write_in(film: Film, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    face = Console()
    assert 20 <= face.width <= 1000
    face.problem(Problem("wrong", hint="mend it"), lambda file: [])


def test_without_room_nothing_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "NEEDED", 1 << 62)
    with pytest.raises(LtxflowError, match="not enough memory"):
        memory_limit.require()
