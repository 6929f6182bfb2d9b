"""What a build costs beside the renders: processor time a clip, in three parts, and memory, for two sizes of film.

    python benchmarks/per_clip.py                       50 and 300 clips, as the README here shows it
    python benchmarks/per_clip.py --clips 20,40         other sizes
    python benchmarks/per_clip.py --profile own.prof    cProfile of the largest build without its bytes

A fake ComfyUI in a process of its own renders in no time, 128x128, a second a clip; only ltxflow's process is counted.
Each film is built three times, into an empty store each time: `plan` alone; a build with the work on pictures and
sound taken out (references are sent as they are, files that come back are not decoded, looked at, stripped or drawn
as posters); a whole build. The second less the first is a build's own cost: submit, follow, hash while downloading,
store, write the lock, publish. The third less the second is the bytes.

`least.py` says what the same questions to the same server cost a client that does nothing else, through the same
libraries: no build costs less.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import workload
from measure import Cost, run

sys.path[:0] = [str(workload.HERE / "tests"), str(workload.HERE)]

from fakes.canned import fine  # noqa: E402  # the tests' folder is no package of the project
from fakes.comfyui import FakeProcess  # noqa: E402

HERE = Path(__file__).resolve().parent
BARE, OWN = "--child", "--child-without-bytes"


def without_bytes() -> None:
    """Take the work on pictures and sound out of this process; sizes and places of all files stay nearly the same."""
    from ltxflow.core.digest import digest_bytes
    from ltxflow.farm import transfer
    from ltxflow.media import inspection
    from ltxflow.media.probe import probe_mp4
    from ltxflow.publish import publish

    def as_it_is(path: Path, *args: Any, **options: Any) -> bytes:
        return path.read_bytes()

    def named_only(name: str, path: Path, *args: Any) -> dict[str, Any]:
        if name in transfer.PICTURES:
            return {"width": 128, "height": 128, "pixels": digest_bytes(path.name.encode())}
        return probe_mp4(path).as_json()

    transfer.verify = named_only
    transfer.strip_mp4 = shutil.copyfile
    inspection.inspect_video = lambda path: fine(path.name, probe_mp4(path).frames)
    publish.draw_poster = lambda video: video.name.encode() * 200
    transfer.prepare_image = as_it_is


def child(args: Sequence[str], profile: str = "") -> int:
    """Be ltxflow, in a process of its own."""
    from ltxflow.cli.main import main as ltxflow

    if not profile:
        return ltxflow(list(args))
    profiler = cProfile.Profile()
    code: int = profiler.runcall(ltxflow, list(args))
    profiler.dump_stats(profile)
    return code


def fresh(film: Path, how: str, *words: str, profile: str = "") -> Cost:
    """Run one verb on a film as if it had never been built, and return what it cost."""
    for name in (".ltxflow", "public"):
        shutil.rmtree(film / name, ignore_errors=True)
    (film / "ltxflow.lock").unlink(missing_ok=True)
    store = film.parent / "store"
    shutil.rmtree(store, ignore_errors=True)
    env = workload.environment(store)
    if profile:
        env["PER_CLIP_PROFILE"] = profile
    command = [sys.executable, str(Path(__file__).resolve()), how, *words]
    return run(command, film, env)


def measure(folder: Path, clips: int, profile: str) -> tuple[Cost, Cost, Cost]:
    """A plan, a build without its bytes, and a whole build of a film of so many clips."""
    film = workload.write_film(folder / f"film-{clips}", clips, seconds=1)
    with FakeProcess() as fake:
        fresh(film, BARE, "build", "--yes", "--server", fake.url)  # what fakes keep of films of a size is made once
    plan = fresh(film, BARE, "plan")
    with FakeProcess() as fake:
        own = fresh(film, OWN, "build", "--yes", "--server", fake.url, profile=profile)
    with FakeProcess() as fake:  # another one: what one has in its cache it would not render again
        whole = fresh(film, BARE, "build", "--yes", "--server", fake.url)
    return plan, own, whole


def least(film: Path) -> tuple[float, float]:
    """Processor time in ms and messages a clip, of a client that does the least."""
    env = workload.environment(film.parent / "store")
    ask = [sys.executable, "-m", "ltxflow.cli.main", "show", workload.clip_paths(1)[0], "--graph", "--json"]
    shown = subprocess.run(ask, cwd=film, env=env, capture_output=True, text=True, check=True)
    graph = json.dumps(json.loads(shown.stdout)["data"])
    with tempfile.TemporaryDirectory(prefix="ltxflow-least-") as folder, FakeProcess() as fake:
        file = Path(folder) / "graph.json"
        file.write_text(re.sub(r"ltxflow/[0-9a-f]+\.png", "{picture}", graph))
        command = [sys.executable, str(HERE / "least.py"), fake.url, str(file), str(film / "refs"), folder]
        told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return told["ms"], told["messages"]


def show(clips: int, plan: Cost, own: Cost, whole: Cost) -> None:
    def each(seconds: float) -> str:
        return f"{seconds / clips * 1000:7.1f} ms"

    print(
        f"{clips:>6}{plan.cpu_s:>8.2f} s{each(own.cpu_s - plan.cpu_s):>14}{each(whole.cpu_s - own.cpu_s):>14}"
        f"{own.peak_mb:>16.0f} MB{whole.peak_mb:>11.0f} MB",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="what a build costs a clip, beside the renders")
    parser.add_argument("--clips", default="50,300", help="sizes of the film (default 50,300)")
    parser.add_argument("--profile", default="", help="a file for cProfile of the largest build without its bytes")
    args = parser.parse_args()
    sizes = sorted(int(size) for size in args.clips.split(","))
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the start; CPU seconds of ltxflow alone\n")
    print(f"{'clips':>6}{'plan':>10}{'own, a clip':>14}{'bytes, a clip':>14}{'peak, own':>19}{'peak, all':>14}")
    found: list[tuple[int, Cost, Cost, Cost]] = []
    with tempfile.TemporaryDirectory(prefix="ltxflow-bench-") as work:
        for size in sizes:
            profile = str(Path(args.profile).resolve()) if args.profile and size == sizes[-1] else ""
            found.append((size, *measure(Path(work), size, profile)))
            show(*found[-1])
        ms, messages = least(Path(work) / f"film-{sizes[-1]}")
    print(f"\nthe least that a client does, through the same libraries: {ms:.1f} ms a clip, {messages:.0f} messages")
    (few, *first), (many, *last) = found[0], found[-1]
    if many > few:
        plan, own, whole = ((b.cpu_s - a.cpu_s) / (many - few) * 1000 for a, b in zip(first, last, strict=True))
        print(f"every further clip: plan {plan:.1f} ms, own {own - plan:.1f} ms, bytes {whole - own:.1f} ms of CPU;")
        print(f"memory {(last[2].peak_mb - first[2].peak_mb) / (many - few) * 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == [OWN]:
        without_bytes()
    if sys.argv[1:2] in ([BARE], [OWN]):
        sys.exit(child(sys.argv[2:], os.environ.get("PER_CLIP_PROFILE", "")))
    sys.exit(main())
