"""What the shared store costs: push and pull of a film's files, beside `cp` and `curl`, through nginx with WebDAV.

    python benchmarks/sharing.py                    64 files of 8 MB
    python benchmarks/sharing.py --files 500 --size 2

Wall clock and CPU of whole processes, medians of three. It needs nginx and curl; see the load of the machine.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE / "tests"), str(HERE)]

from harness.shares import nginx  # noqa: E402

PROGRAM = """
import sys
from pathlib import Path
from ltxflow.core.digest import Key
from ltxflow.store.remote import Remote, RemoteAddress
from ltxflow.store.store import Store
what, root, url = sys.argv[1:]
store = Store(Path(root))
keys = [Key(line) for line in Path(root, "..", "keys").read_text().split()]
moved = getattr(Remote(RemoteAddress(url), store, lambda problem: sys.exit(problem.message)), what)(keys)
assert moved.traces == len(keys), moved
store.close()
"""


def make(folder: Path, files: int, size: int) -> None:
    """Record `files` results of one blob of `size` bytes each."""
    from ltxflow.core.digest import Key, Output, digest_json
    from ltxflow.store.store import Store
    from ltxflow.store.traces import Trace

    store, keys = Store(folder / "here"), []
    for number in range(files):
        data = os.urandom(size)
        action = {"format": "action/1", "kind": "clip", "body": number}
        output = Output(store.cas.put_bytes(data), {}, size)
        keys.append(Key(digest_json(action)))
        store.record(Trace(keys[-1], action, {"video": output}, f"clip:s/c{number}@1"), in_group=True)
    store.close()
    (folder / "keys").write_text("\n".join(keys))


def timed(run: Callable[[], object], reset: Callable[[], object]) -> tuple[float, float]:
    """Return wall and CPU seconds of the processes that `run` starts, medians of three."""
    rows = []
    for _ in range(3):
        reset()
        before, started = os.times(), time.perf_counter()
        run()
        after, wall = os.times(), time.perf_counter() - started
        used = after.children_user + after.children_system - before.children_user - before.children_system
        rows.append((wall, used))
    return statistics.median(row[0] for row in rows), statistics.median(row[1] for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--size", type=float, default=8, help="MB a file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, nginx(Path(scratch) / "nginx") as url:
        folder = Path(scratch)
        make(folder, args.files, int(args.size * 1e6))
        data, there, copies = folder / "nginx/data", folder / "there", folder / "copies"
        blobs = sorted(path for path in (folder / "here/cas").rglob("*") if path.is_file())

        def clear(*folders: Path) -> Callable[[], None]:
            def run() -> None:
                for each in folders:
                    shutil.rmtree(each, ignore_errors=True)
                    each.mkdir()

            return run

        def ours(what: str, root: Path) -> Callable[[], object]:
            return lambda: subprocess.run([sys.executable, "-c", PROGRAM, what, str(root), url], check=True, cwd=HERE)

        def curl(*argv: str) -> Callable[[], object]:
            return lambda: subprocess.run(["curl", "-sSf", "--parallel", "--parallel-max", "8", *argv], check=True)

        uploads = [word for p in blobs for word in ("-T", str(p), f"{url}/cas/{p.parent.name}{p.name}")]
        downloads = [word for p in blobs for word in ("-o", str(copies / p.name), f"{url}/cas/{p.parent.name}{p.name}")]
        rows = [
            ("cp", timed(lambda: subprocess.run(["cp", *map(str, blobs), str(copies)], check=True), clear(copies))),
            ("curl, push", timed(curl(*uploads), clear(data))),
            ("ltxflow, push", timed(ours("push", folder / "here"), clear(data))),
            ("curl, pull", timed(curl(*downloads), clear(copies))),
            ("ltxflow, pull (hashed)", timed(ours("pull", there), clear(there))),
        ]
    total = args.files * args.size
    print(f"{args.files} files of {args.size:g} MB, load {os.getloadavg()[0]:.1f}\n")
    print("| what | wall s | CPU s | MB/s |\n|---|---:|---:|---:|")
    for name, (wall, used) in rows:
        print(f"| {name} | {wall:.2f} | {used:.2f} | {total / wall:.0f} |")


if __name__ == "__main__":
    main()
