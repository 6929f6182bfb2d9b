"""What it costs to find out that there is nothing to do, or little: ltxflow beside other build tools.

    python benchmarks/planning.py                               all sizes, all tools: about half an hour
    python benchmarks/planning.py --sizes 100,1000 --peers ninja,doit
    python benchmarks/planning.py --sizes 1000 --peers none     a minute

Whole processes, measured from outside: user + system time, wall clock, peak memory; medians. See `workload.py` for
what the film is. It holds no figure against a limit: look at the tables, and at the load of the machine.
What it does hold the peers to is in `peer_rows`: a null build that makes something is none.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent)]

from measure import Cost, Failed, median, run, said  # noqa: E402
from peers import (  # noqa: E402
    PEERS,
    TIMELINE,
    Peer,
    Skipped,
    edit,
    expect_made,
    expect_planned,
    outputs,
    write_sources,
)
from peers import environment as peer_environment  # noqa: E402
from workload import HERE, environment  # noqa: E402

Row = tuple[str, int, Cost]
READ_AT_MOST = 1000  # clips: every command that only reads is measured up to there
LTXFLOW = [sys.executable, "-m", "ltxflow.cli.main"]


class Film:
    """A film in a folder with its store, built once: what is asked of it now costs what it costs every day."""

    def __init__(self, folder: Path, n: int, layout: str) -> None:
        self.n, self.layout = n, layout
        self.folder, self.env = folder / "film", environment(folder / "store")
        self.maker = [sys.executable, str(HERE / "benchmarks/workload.py"), str(n), str(folder), "--layout", layout]
        self.render()
        for _ in range(3):  # publish, look, remember
            run([*LTXFLOW, "build", "-q"], self.folder, self.env)
        self.commit()

    def commit(self) -> None:
        """Put the film under git, for `diff`."""
        (self.folder / ".gitignore").write_text("public/\n.measured\n")
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        for argv in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "a film"]):
            subprocess.run(["git", *argv], cwd=self.folder, env=self.env, check=True, capture_output=True)

    def forget(self, number: int) -> None:
        """Have the next command answer by itself: what was answered before is gone, what was remembered stays."""
        shutil.rmtree(self.folder / ".ltxflow/snapshots", ignore_errors=True)

    def render(self) -> None:
        """Have what a server would make of every clip as it is written now in the store."""
        subprocess.run(self.maker, check=True, capture_output=True)  # apart: whoever measures stays small

    def built_and_edited(self, number: int) -> None:
        """As all day: a prompt is edited, rendered and built, then it is edited once more."""
        self.edit(2 * number)
        self.render()
        run([*LTXFLOW, "build", "-q"], self.folder, self.env)
        self.edit(2 * number + 1)

    def edit(self, number: int) -> None:
        """Another word in the middle clip's prompt, each time."""
        place = self.folder / "project.yaml"
        if self.layout == "scenes":
            place = self.folder / f"scenes/s{self.n // 2 // 5:05d}.yaml"
        text = place.read_text()
        at = text.index(f" {self.n // 2};")
        begin = text.rindex("past ", 0, at) + 5
        place.write_text(f"{text[:begin]}gate{number}{text[at:]}")

    def checkout(self, number: int) -> None:
        """As after `git checkout` of another revision and back: every file written anew, with a time of its own."""
        for path in [self.folder / "project.yaml", *self.folder.glob("refs/*"), *self.folder.glob("scenes/*")]:
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(data)


def ltxflow(folder: Path, n: int, runs: int) -> Iterator[Row]:
    """Everything that is claimed of one size."""
    for layout in ("one", "scenes"):
        film = Film(folder / f"{layout}{n}", n, layout)
        name = "one project.yaml" if layout == "one" else "a file a scene"
        cost = _on(film)
        for verb in ("build", "plan", "status"):
            cost(verb, runs=1)  # its own answer is remembered now
            if layout == "one":
                yield f"ltxflow {verb}, nothing changed", n, cost(verb, runs=runs)
        if layout == "one" and n <= READ_AT_MOST:
            yield from _reading(film, n, runs)
        yield f"ltxflow plan, one prompt edited, {name}", n, cost("plan", runs=runs, before=film.edit)
        after = cost("plan", runs=min(runs, 3), before=film.built_and_edited)
        yield f"ltxflow plan, edited after a build, {name}", n, after
        if layout == "one":
            yield "ltxflow plan, every file written anew", n, cost("plan", runs=min(runs, 3), before=film.checkout)
        shutil.rmtree(folder / f"{layout}{n}")


def _reading(film: Film, n: int, runs: int) -> Iterator[Row]:
    """Every command that only reads: when it is asked for the first time after a build, and when it is repeated."""
    clip = f"s{n // 2 // 5:05d}/c0"
    for words in (
        "check",
        "plan",
        "status",
        f"show {clip}",
        f"explain {clip}",
        f"takes {clip}",
        "report",
        "graph",
        "diff",
    ):
        argv, name = [*LTXFLOW, *words.split()], words.partition(" ")[0]
        run(argv, film.folder, film.env)  # what is remembered of the film is now
        yield f"ltxflow {name}, first", n, median(argv, film.folder, film.env, runs, film.forget)
        yield f"ltxflow {name}, repeated", n, median(argv, film.folder, film.env, runs)


def _on(film: Film) -> Callable[..., Cost]:
    def cost(verb: str, runs: int, before: Callable[[int], object] = lambda number: None) -> Cost:
        return median([*LTXFLOW, verb], film.folder, film.env, runs, before)

    return cost


def peer_rows(folder: Path, peer: Peer, n: int, runs: int) -> Iterator[Row]:
    """One tool on one size: nothing changed; and a dry run after one prompt was edited, where it has one.

    Raise Skipped when it cannot be had, when it made anything though nothing had changed, and when after the edit it
    names or makes anything but that clip and the timeline.
    """
    program, env = peer.program(), peer_environment()
    place = folder / f"{peer.name}{n}"
    try:
        write_sources(place, n)
        peer.write(place, n)
        yield from _checked(peer, program, place, env, n, runs)
    except Failed as failed:
        raise Skipped(f"it failed: {failed.said.splitlines()[-1] if failed.said else failed}") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _checked(peer: Peer, program: str, place: Path, env: dict[str, str], n: int, runs: int) -> Iterator[Row]:
    build, clip = [program, *peer.build[1:]], f"{n // 2:05d}"

    def another(number: int) -> None:
        edit(place, clip, f"another prompt, {number}")

    run(build, place, env)
    built = outputs(place, n)
    cost = median(build, place, env, runs)
    expect_made(built, outputs(place, n), set())
    rows = [(f"{peer.name}, nothing changed", n, cost)]
    if peer.plan:
        cost = median([program, *peer.plan[1:]], place, env, runs, another)
        expect_planned(peer, said(place), clip)
        expect_made(built, outputs(place, n), set())
        rows.append((f"{peer.name} dry run, one prompt edited", n, cost))
    another(runs)
    run(build, place, env)
    expect_made(built, outputs(place, n), {f"clips/{clip}.mp4", TIMELINE})
    yield from rows


def starts(folder: Path, runs: int) -> Iterator[Row]:
    env = environment(folder / "none")
    for name, argv in [
        ("python -c pass", [sys.executable, "-c", "pass"]),
        ("ltxflow --version", [*LTXFLOW, "--version"]),
        ("ltxflow --help", [*LTXFLOW, "--help"]),
    ]:
        yield name, 0, median(argv, folder, env, 2 * runs + 1)


def show(row: Row) -> Row:
    print(f"{row[0]:<52} {row[1] or '':>7} {row[2]}", flush=True)
    return row


def table(rows: list[Row], sizes: list[int]) -> None:
    """The same as Markdown, for README.md: CPU seconds by size, and the peak.

    A tool that is too slow for a size stands there with the largest that it was measured at.
    """
    print(f"\n| CPU seconds (peak MB) | {' | '.join(f'{n:,}' for n in sizes)} |")
    print(f"|---|{'---|' * len(sizes)}")
    for name in dict.fromkeys(row[0] for row in rows):
        of = {n: f"{cost.cpu_s:.3f} ({cost.peak_mb:.0f})" for other, n, cost in rows if other == name}
        cells = [of.pop(n, "") for n in sizes]
        if 0 in of:
            cells[0] = of.pop(0)
        for n, told in of.items():
            at = next(place for place, size in enumerate(sizes) if size > n)
            cells[at] = f"{told} at {n:,}"
        print(f"| {name} | {' | '.join(cells)} |")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", default="100,1000,10000", help="clips, as 100,1000,10000 (default)")
    parser.add_argument("--peers", default="all", help=f"of {', '.join(PEERS)}; or all (default), or none")
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    sizes = sorted({int(size) for size in args.sizes.split(",")})
    names = {"all": list(PEERS), "none": []}.get(args.peers, args.peers.split(","))
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"no such peer: {', '.join(unknown)}")
    peers = [PEERS[name] for name in names]
    asked = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(asked, cwd=HERE, capture_output=True, text=True, check=False)
    print(
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} processors ({platform.machine()}), "
        f"Python {platform.python_version()}, {commit.stdout.strip()}, load {os.getloadavg()[0]:.1f}\n"
    )
    rows: list[Row] = []
    skipped: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ltxflow-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        rows += map(show, starts(folder, args.runs))
        for n in sizes:
            rows += map(show, ltxflow(folder, n, args.runs))
        for peer in peers:
            for n in sorted({min(n, peer.most) for n in sizes}):
                try:
                    rows += map(show, peer_rows(folder, peer, n, args.runs))
                except Skipped as why:
                    skipped.append(f"{peer.name} at {n:,}, skipped: {why}")
                    print(skipped[-1], flush=True)
    table(rows, sizes)
    print("", *skipped, sep="\n")
    print(f"\nload {os.getloadavg()[0]:.1f} at the end")
    return 0


if __name__ == "__main__":
    sys.exit(main())
