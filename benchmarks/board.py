"""The board with many clips: first paint, what an update costs, and the server's memory over an hour of events.

    python benchmarks/board.py                     500 clips, and as many events as four servers send in an hour
    python benchmarks/board.py --clips 100 --events 1000

Needs a browser (`make browser`). The film is slates that are copied, in 100 scenes. First paint is the browser's own
measure (first contentful paint) of a page that is loaded afresh; an update is the time that the page's script takes
for a clip whose prompt was edited, and for one step of a render; all are medians.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import workload

sys.path[:0] = [str(workload.HERE / "tests"), str(workload.HERE)]

from harness.browser import board, browser, until  # noqa: E402  # the tests' folder is no package of the project
from harness.film import Film, film_text  # noqa: E402

from ltxflow.build.event_log import recorded  # noqa: E402
from ltxflow.core.events import ActionFinished, ActionProgress, ActionStarted, Event, RunStarted  # noqa: E402

ROUNDS = 7
PAINT = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def memory_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=500)
    parser.add_argument("--events", type=int, default=4 * 2 * 3600, help="four servers, two lines a second, an hour")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        film = Film.at(Path(folder))
        film.config = film.root / "config"
        os.environ.update(film.home)
        film.write_data(film_text({f"s{n}": list("abcde") for n in range(args.clips // 5)}, "20s"))
        with board(film) as served, browser() as chromium:
            page = served.page(chromium, viewport={"width": 1440, "height": 900})
            paints, edits = [], []
            for number in range(ROUNDS):
                page.reload()
                page.wait_for_selector("html[data-js-live]")
                paints.append(page.evaluate(PAINT))
                seen = page.evaluate("ltxflow.updates().length")
                film.edit("turns in a heavy", f"rolls {'very ' * number}in a heavy")
                until(page, lambda seen=seen: page.evaluate("ltxflow.updates().length") > seen)
                edits.append(page.evaluate("ltxflow.updates().at(-1)"))
                film.edit(f"rolls {'very ' * number}in a heavy", "turns in a heavy")
                until(page, lambda seen=seen: page.evaluate("ltxflow.updates().length") > seen + 1)
            before = memory_mb(served.process.pid)
            spent = events_of_an_hour(film, args.events)
            until(page, lambda: page.locator("#run").is_hidden())
            after = memory_mb(served.process.pid)
        print(f"{args.clips} clips: first paint {median(paints):.0f} ms, an update {median(edits):.1f} ms")
        print(f"{args.events} events in {spent:.0f} s: memory of the server {before:.0f} MB, then {after:.0f} MB")


def events_of_an_hour(film: Film, number: int) -> float:
    """Write the log of a build: four clips at a time, each with 60 steps."""
    own = film.folder / ".ltxflow"
    own.mkdir(exist_ok=True)
    begun = time.monotonic()
    targets = [f"clip:s{n}/{id}@1" for n in range(number // 300) for id in "abcde"]

    def ignore(event: Event) -> None:
        del event

    with recorded(own, ignore) as emit:
        emit(RunStarted("film", "render", len(targets), len(targets), tuple(targets)))
        for place, target in enumerate(targets):
            emit(ActionStarted(target, "0" * 64, 97, f"http://gpu-{place % 4}:8188"))
            for step in range(60):
                line = {**ActionProgress(target, step / 60, f"step {step}/60").as_json(), "at": time.time()}
                with (own / "events.jsonl").open("a") as file:  # past the limit of lines a second
                    file.write(json.dumps(line) + "\n")
            emit(ActionFinished(target, "rendered", "0" * 64, 40.0, f"http://gpu-{place % 4}:8188"))
            time.sleep(0.02)
    return time.monotonic() - begun


if __name__ == "__main__":
    main()
