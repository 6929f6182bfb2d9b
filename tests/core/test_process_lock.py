"""The lock of a process: others wait and know its owner; it ends with its process."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ltxflow.core import process_lock
from ltxflow.core.errors import LtxflowError

HOLDER = """
import sys
from pathlib import Path
from ltxflow.core import process_lock
def waiting(owner):
    print("waiting", owner.get("pid"), flush=True)
with process_lock.acquire(Path(sys.argv[1]), True, waiting):
    print("held", flush=True)
    sys.stdin.readline()
print("released", flush=True)
"""


def holder(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go(process: subprocess.Popen[str]) -> None:
    process.communicate("\n")


def test_the_second_one_waits_and_knows_for_whom(tmp_path: Path) -> None:
    path = tmp_path / ".ltxflow" / "lock"
    first = holder(path)
    assert says(first) == "held"
    second = holder(path)
    assert says(second) == f"waiting {first.pid}"
    assert first.stdin is not None
    first.stdin.write("\n")
    first.stdin.flush()
    assert says(first) == "released"
    assert says(second) == "held"
    owner = json.loads(path.read_text())
    assert owner["pid"] == second.pid
    assert set(owner) == {"pid", "host", "started", "command"}
    let_go(second)
    let_go(first)
    assert path.read_text() == ""


def test_without_waiting_the_error_names_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = holder(path)
    assert says(first) == "held"
    error = refused(path)
    let_go(first)
    assert error.exit_code == 1
    assert f"process {first.pid} on" in error.problems[0].message


def refused(path: Path) -> LtxflowError:
    with pytest.raises(LtxflowError) as caught, process_lock.acquire(path, wait=False):
        pass
    return caught.value


def test_a_torn_owner_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.write_text('{"pid": 1')
    first = holder(path)
    assert says(first) == "held"
    path.write_text('{"pi')
    error = refused(path)
    let_go(first)
    assert "another process" in error.problems[0].message
    path.write_text("[1, 2")
    with process_lock.acquire(path, wait=False):
        pass


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = holder(path)
    assert says(first) == "held"
    first.kill()
    first.communicate()
    assert re.search(rf'"pid": {first.pid}\b', path.read_text())
    with process_lock.acquire(path, wait=False):
        pass


def test_a_lock_file_deleted_under_a_waiter_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first = holder(path)
    assert says(first) == "held"
    second = holder(path)
    assert says(second) == f"waiting {first.pid}"
    path.unlink()
    let_go(first)
    assert says(second) == "held"
    assert json.loads(path.read_text())["pid"] == second.pid
    let_go(second)
