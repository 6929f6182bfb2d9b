"""What is said of other build tools is true of what they did: whoever is measured had nothing to do, or one clip."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import planning  # noqa: E402
from measure import Cost  # noqa: E402
from peers import PEERS, Peer, Skipped  # noqa: E402

MAKE = PEERS["make"]
JOIN = "cat refs/$i.png prompts/$i.txt > clips/$i.mp4"
EACH = "for i in 00000 00001 00002; do"


def shell(build: str) -> Peer:
    """A tool that is a shell script, without a dry run."""
    return Peer("script", "", lambda folder, n: None, ["sh", "-c", build], [])


def rows(tmp_path: Path, peer: Peer) -> list[planning.Row]:
    return list(planning.peer_rows(tmp_path / "bench", peer, 3, 2))


def test_a_tool_is_measured_with_nothing_to_do_and_after_an_edit(tmp_path: Path) -> None:
    names = [(name, n) for name, n, _ in rows(tmp_path, MAKE)]
    assert names == [("make, nothing changed", 3), ("make dry run, one prompt edited", 3)]
    assert not list((tmp_path / "bench").iterdir())


def test_a_null_build_that_makes_something_is_none(tmp_path: Path) -> None:
    peer = shell(f"{EACH} {JOIN}; done; touch timeline.json")
    with pytest.raises(Skipped, match=r"made clips/00000\.mp4, .* … \(4\) where nothing was due"):
        rows(tmp_path, peer)


def test_a_build_that_makes_nothing_after_an_edit_is_none(tmp_path: Path) -> None:
    peer = shell(f"[ -e timeline.json ] || {{ {EACH} {JOIN}; done; touch timeline.json; }}")
    with pytest.raises(Skipped, match=r"made nothing where clips/00001\.mp4, timeline\.json was due"):
        rows(tmp_path, peer)


def test_a_build_that_leaves_a_clip_out_is_none(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match=r"its build made no clips/00001\.mp4"):
        rows(tmp_path, shell("i=00000; " + JOIN))


@pytest.mark.parametrize(
    ("plan", "named"),
    [(["make", "-n", "--eval=$(info clips/00000.mp4)"], "00000, 00001"), (["make", "--version"], "nothing")],
)
def test_a_dry_run_that_names_other_clips_is_none(tmp_path: Path, plan: list[str], named: str) -> None:
    with pytest.raises(Skipped, match=f"its dry run names {named} where 00001 was due"):
        rows(tmp_path, replace(MAKE, plan=plan))


def test_a_dry_run_that_builds_is_none(tmp_path: Path) -> None:
    builds = ["make", "--eval=$(info clips/00001.mp4)"]
    with pytest.raises(Skipped, match=r"made clips/00001\.mp4, timeline\.json where nothing was due"):
        rows(tmp_path, replace(MAKE, plan=builds))


def test_a_tool_that_fails_is_left_out_with_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="it failed: no luck today"):
        rows(tmp_path, shell("echo no luck today; exit 3"))


def test_a_tool_that_is_not_here_is_left_out(tmp_path: Path) -> None:
    with pytest.raises(Skipped, match="no program no-such-tool on PATH"):
        rows(tmp_path, replace(MAKE, build=["no-such-tool"]))


def test_the_table_says_at_which_size_a_slow_tool_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    cost = Cost(cpu_s=4.2, wall_s=4.3, peak_mb=64.0, runs=5)
    planning.table([("start", 0, cost), ("quick", 100, cost), ("quick", 1000, cost), ("slow", 300, cost)], [100, 1000])
    assert capsys.readouterr().out.splitlines()[3:] == [
        "| start | 4.200 (64) |  |",
        "| quick | 4.200 (64) | 4.200 (64) |",
        "| slow |  | 4.200 (64) at 300 |",
    ]
