"""How well a build keeps two unequal servers busy: the demo film on two fake ComfyUIs, against the best possible.

    python benchmarks/two_servers.py                 as the README here shows it
    python benchmarks/two_servers.py --help          other speeds, render times, sizes

The first round knows nothing of the servers; in later ones the store remembers their speeds. Exits 1 when a goal is
missed. Run it on a quiet machine: fakes and client share its processors.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE / "tests"), str(HERE)]

from fakes.comfyui import FakeProcess  # noqa: E402  # the tests' folder is no package of the project
from fakes.optimum import best_makespan  # noqa: E402

GOAL_IDLE_S = 0.050
GOAL_RATIO = 1.05


@dataclass
class Lane:
    """One server in one round: its share of the runs, and how long it had nothing to do between them."""

    speed: float
    runs: list[dict[str, Any]]
    withdrawn: int

    @property
    def busy_s(self) -> float:
        return sum(run["end"] - run["start"] for run in self.runs)

    @property
    def extra_s(self) -> float:
        """What the server takes for a clip beyond the render itself."""
        return statistics.median(
            [run["end"] - run["start"] - run["seconds"] / self.speed for run in self.runs] or [0.0]
        )

    @property
    def gaps_s(self) -> list[float]:
        return [after["start"] - before["end"] for before, after in zip(self.runs, self.runs[1:], strict=False)]


@dataclass
class Round:
    """One build: what it made where, in what time, at what price."""

    lanes: list[Lane]
    clips: int
    wall_s: float
    cpu_s: float
    load_s: float = 0.0  # of a model at speed 1, where none was loaded
    problems: list[str] = field(default_factory=list)

    @property
    def makespan_s(self) -> float:
        runs = [run for lane in self.lanes for run in lane.runs]
        return max(run["end"] for run in runs) - min(run["start"] for run in runs)

    @property
    def best_s(self) -> float:
        """The soonest end of these clips on these servers, had all been known from the start."""
        runs = [run for lane in self.lanes for run in lane.runs]
        seconds = [[run["seconds"] / lane.speed + lane.extra_s for lane in self.lanes] for run in runs]
        return best_makespan(seconds, [self.load_s / lane.speed for lane in self.lanes])

    @property
    def ratio(self) -> float:
        return self.makespan_s / self.best_s

    @property
    def cpu_ms_a_clip(self) -> float:
        return self.cpu_s / max(self.clips, 1) * 1000


def build(project: Path, env: dict[str, str], servers: list[FakeProcess], speeds: list[float]) -> Round:
    """Given the film and its servers, build it once and return what the servers saw."""
    before = [server.stats() for server in servers]
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    command = [sys.executable, "-m", "ltxflow.cli.main", "build", "--json", "-p", str(project)]
    for server in servers:
        command += ["--server", server.url]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    wall_s = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - spent.ru_utime - spent.ru_stime
    events = [json.loads(line) for line in done.stdout.splitlines()]
    clips = sum(e.get("event") == "action-finished" and e["outcome"] == "rendered" for e in events)
    lanes = []
    for server, speed, seen in zip(servers, speeds, before, strict=True):
        stats = server.stats()
        runs = [run for run in stats["runs"][len(seen["runs"]) :] if run["outcome"] == "success"]
        started = {run["prompt_id"] for run in stats["runs"]}
        lanes.append(Lane(speed, runs, sum(id not in started for id in set(stats["accepted"]) - set(seen["accepted"]))))
    found = Round(lanes, clips, wall_s, cpu_s)
    if done.returncode:
        raise SystemExit(f"ltxflow ended with {done.returncode}: {done.stderr[-2000:] or events[-1]['problems']}")
    keys = [run["key"] for lane in lanes for run in lane.runs]
    if len(keys) != clips or len(set(keys)) != clips:
        found.problems.append(f"{clips} clips took {len(keys)} completions of {len(set(keys))} keys")
    timeline = json.loads((project / "public/scenes/timeline.json").read_text())
    if not timeline["complete"]:
        found.problems.append("the timeline is not complete")
    return found


def environment(folder: Path) -> dict[str, str]:
    """Given a folder, return an environment with a store there, and nothing of who runs this."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("LTXFLOW_", "COMFY"))},
        "LTXFLOW_STORE": str(folder / "store"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "PYTHONPATH": str(HERE),
    }


def film(folder: Path, size: str) -> Path:
    """Given a folder, copy the demo film there, of another size if one is given, and return its folder."""
    project = folder / "wallet-explainer"
    shutil.copytree(
        HERE / "projects/wallet-explainer", project, ignore=shutil.ignore_patterns(".ltxflow", "public", "*.lock")
    )
    edit(project, r"(?m)^        seed: 88.*\n", "")  # the one seed by hand: every round is to make every clip
    edit(project, r"(?m)^speech: .*$", "")  # lengths are to be the same whatever voice is installed
    edit(project, r"(?ms)^references:\n.*?(?=^\S)", "")  # nor is anything to wait: the best possible is known only then
    for waits in ("extends: a", *[r"reference: \{ base:"] * 3, r"reference: \{ frame_of:"):
        edit(project, rf"(?m)^        {waits}.*\n", "")
    edit(project, r"(?m)^        takes: 3.*\n", "")
    if size:
        edit(project, r"(?m)^aspect: .*$", f"size: {size}")
    return project


def edit(project: Path, pattern: str, text: str) -> None:
    file = project / "project.yaml"
    changed, count = re.subn(pattern, text, file.read_text(), count=1)
    assert count == 1
    file.write_text(changed)


def show(number: int, found: Round) -> None:
    known = "speeds unknown" if number == 1 else "speeds known"
    print(f"round {number} ({known})")
    print(f"  {'server':<10}{'clips':>6}{'busy':>10}{'idle, median':>15}{'idle, most':>13}{'pulled back':>13}")
    for index, lane in enumerate(found.lanes):
        gaps = lane.gaps_s or [0.0]
        name = f"{'ABCDEFGH'[index]} ×{lane.speed:g}"
        print(
            f"  {name:<10}{len(lane.runs):>6}{lane.busy_s:>8.2f} s{statistics.median(gaps) * 1000:>12.1f} ms"
            f"{max(gaps) * 1000:>10.1f} ms{lane.withdrawn:>13}"
        )
    print(f"  makespan {found.makespan_s:.2f} s, best possible {found.best_s:.2f} s: {(found.ratio - 1) * 100:+.1f} %")
    print(f"  wall {found.wall_s:.2f} s, CPU {found.cpu_s:.2f} s: {found.cpu_ms_a_clip:.0f} ms a clip")
    for problem in found.problems:
        print(f"  ! {problem}")
    print(flush=True)


def load() -> str:
    return f"{os.getloadavg()[0]:.2f}"


def misses(found: Round) -> list[str]:
    gaps = [gap for lane in found.lanes for gap in lane.gaps_s]
    told = list(found.problems)
    if max(gaps, default=0.0) >= GOAL_IDLE_S:
        told.append(f"a server idled for {max(gaps) * 1000:.0f} ms")
    if found.ratio > GOAL_RATIO:
        told.append(f"makespan {(found.ratio - 1) * 100:.1f} % over the best")
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description="the demo film on two fake servers of unequal speed")
    parser.add_argument("--speeds", default="1,0.45", help="of the servers, as 1,0.45 (default); two or more")
    parser.add_argument("--seconds", default="0.01/frame", help="a render at speed 1: 2, 0.5-3, 0.01/frame (default)")
    parser.add_argument("--load-seconds", default="0", help="when a server loads a model (default 0)")
    parser.add_argument("--size", default="", help="of the film, as 256x144: less encoding in the fakes")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    speeds = [float(speed) for speed in args.speeds.split(",")]
    print(
        f"{os.cpu_count()} processors, load {load()} at the start; renders of {args.seconds} s; speeds {args.speeds}\n"
    )
    rounds = []
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ltxflow-bench-")))
        with FakeProcess() as server:  # what fakes keep of films of a size is made once, and is no render
            build(film(work / "first", args.size), environment(work / "first"), [server], [1.0])
        options = ["--seconds", args.seconds, "--load-seconds", args.load_seconds]
        servers = [stack.enter_context(FakeProcess(*options, "--speed", str(speed))) for speed in speeds]
        project = film(work, args.size)
        env = environment(work)
        for number in range(1, args.rounds + 1):
            edit(project, r"(?m)^seed: \d+", f"seed: {number}")  # other keys: nothing is there yet
            (project / "ltxflow.lock").unlink(missing_ok=True)  # the seeds of the round before
            rounds.append(build(project, env, servers, speeds))
            rounds[-1].load_s = float(args.load_seconds) if number == 1 else 0.0
            show(number, rounds[-1])
    gaps = [gap for found in rounds for lane in found.lanes for gap in lane.gaps_s]
    median, worst = statistics.median(r.ratio for r in rounds) - 1, max(r.ratio for r in rounds) - 1
    print(f"medians of {len(rounds)} rounds, load {load()} at the end")
    print(f"  makespan {median * 100:+.1f} % over the best possible (worst {worst * 100:+.1f} %)")
    print(f"  idle between clips {statistics.median(gaps) * 1000:.1f} ms (most {max(gaps) * 1000:.1f} ms)")
    print(f"  CPU of ltxflow {statistics.median(r.cpu_ms_a_clip for r in rounds):.0f} ms a clip, its start included")
    missed = [f"round {number}: {miss}" for number, found in enumerate(rounds, 1) for miss in misses(found)]
    for miss in missed:
        print(f"missed: {miss}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
