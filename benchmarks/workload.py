"""One film of any size for every measurement: N clips, each of a prompt, parameters and a picture, and one timeline.

Nothing is rendered: what a server would have made are a few bytes of each clip's own, put into the store through
ltxflow's own modules, as after a build. Also for looking at by hand:

    python benchmarks/workload.py 1000 /tmp/film --layout scenes
"""

from __future__ import annotations

import argparse
import json
import os
import struct
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE / "tests"), str(HERE)]

CLIPS_A_SCENE = 5
SIZE = (128, 128)
MADE_AT = "2026-01-02T03:04:05+00:00"
WORDS = [
    "brass",
    "copper",
    "silver",
    "golden",
    "wooden",
    "marble",
    "paper",
    "velvet",
    "crystal",
    "iron",
    "linen",
    "amber",
]

NOTHING = {"start": 0.0, "seconds": 0.0}
FOUND = json.loads("""{
  "frames": 113, "seconds": 4.52, "frozen_share": 0.0, "motion_mean": 0.05, "motion_p90": 0.1, "luma": 0.5,
  "contrast": 0.2, "cuts": [], "fingerprint": "", "width": 128, "height": 128, "fps": 25.0, "has_sound": true,
  "sound_seconds": 4.52, "rms_db": -20.0, "peak_db": -6.0, "true_peak_db": -6.0, "lufs": -20.0
}""") | {"frozen": NOTHING, "black": NOTHING, "silence": NOTHING}

HEAD = """\
ltxflow: 1
id: film-of-{n}
title: "A film of {n} clips"
size: 128x128
fps: 25
seed: 7
vars:
  look: "deep blue and violet palette, volumetric light"
defaults:
  scene: {{ pad: {{ head: 0.2s, tail: 0.4s }}, crossfade: 12f }}
  clip:
    negative: [blurry, low quality, watermark]
    reference: {{ strength: 0.9 }}
"""


def scene_ids(n: int) -> list[str]:
    """The ids of the scenes of a film of `n` clips, in order."""
    return [f"s{index:05d}" for index in range(-(-n // CLIPS_A_SCENE))]


def clip_paths(n: int) -> list[str]:
    return [f"s{index // CLIPS_A_SCENE:05d}/c{index % CLIPS_A_SCENE}" for index in range(n)]


def prompt(index: int) -> str:
    """A prompt of a usual length that no other clip has."""
    one, two, three = (WORDS[(index * step + step) % len(WORDS)] for step in (1, 3, 7))
    return (
        f"A {one} key turns in a heavy {two} lock while dust drifts through a beam of {three} light, {{{{ look }}}}. "
        f"The camera pushes slowly past door {index}; metal clicks and a low hum grows."
    )


def scene_text(n: int, scene: int, indent: str = "  ", seconds: int = 4) -> str:
    """A scene as it stands in project.yaml, or, without indentation, in a file of its own."""
    clips = range(scene * CLIPS_A_SCENE, min(n, (scene + 1) * CLIPS_A_SCENE))
    lead = f"{indent}- " if indent else ""
    rest = f"{indent}  " if indent else ""
    lines = [f"{lead}id: s{scene:05d}", f"{rest}narration: {seconds * len(clips)}s", f"{rest}clips:"]
    for index in clips:
        lines += [
            f"{rest}  - id: c{index % CLIPS_A_SCENE}",
            f"{rest}    reference: refs/r{index:05d}.png",
            f'{rest}    prompt: "{prompt(index)}"',
            f"{rest}    cfg: {1 + index % 3}",
        ]
    return "\n".join(lines) + "\n"


def picture(index: int) -> bytes:
    """A PNG of about 2 kB, another one for every index. Made by hand: a benchmark needs no library for it."""
    width, height = SIZE
    rows = b"".join(
        b"\0" + bytes((x * (index % 7 + 1) + y * y + index) % 256 >> 4 << 4 for x in range(width) for _ in range(3))
        if y % 16 == 0
        else b"\2" + b"\0" * (3 * width)
        for y in range(height)
    )
    rows = rows[:-3] + index.to_bytes(3, "big")

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    noise = bytes((index * 7919 + k * 104729) % 251 for k in range(1200))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"tEXt", b"noise\0" + bytes(97 + b % 26 for b in noise))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def write_film(folder: Path, n: int, layout: str = "one", seconds: int = 4) -> Path:
    """Given a folder, write a film of `n` clips there: in `one` project.yaml, or a file for each scene.

    `seconds` is how long is spoken over each clip, which gives it its length.
    """
    (folder / "refs").mkdir(parents=True)
    for index in range(n):
        (folder / f"refs/r{index:05d}.png").write_bytes(picture(index))
    scenes = range(len(scene_ids(n)))
    text = HEAD.format(n=n)
    if layout == "one":
        text += "scenes:\n" + "".join(scene_text(n, scene, seconds=seconds) for scene in scenes)
    else:
        (folder / "scenes").mkdir()
        for scene in scenes:
            (folder / f"scenes/s{scene:05d}.yaml").write_text(scene_text(n, scene, "", seconds))
        text += "scenes: [scenes/*.yaml]\n"
    (folder / "project.yaml").write_text(text)
    return folder


def environment(store: Path) -> dict[str, str]:
    """An environment with a store of its own, and nothing of who runs this."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LTXFLOW_", "COMFY", "PYTHON"))}
    config = {"XDG_CONFIG_HOME": str(store.parent / "config"), "XDG_STATE_HOME": str(store.parent / "state")}
    return {**kept, "LTXFLOW_STORE": str(store), **config, "PYTHONPATH": str(HERE), "LC_ALL": "C.UTF-8"}


def fill(folder: Path, env: dict[str, str]) -> int:
    """Given a film, put into its store what a server would have made of every clip; return how many there were.

    Each was inspected, too, and found well.
    """
    from harness.media import canned  # the tests' folder is no package of the project

    from ltxflow.core.digest import Output
    from ltxflow.plan.plan import PlanOptions
    from ltxflow.session.session import open_session
    from ltxflow.steps import inspect, step
    from ltxflow.store.traces import Trace

    known: dict[int, dict[str, Any]] = {}
    with _unsynced():
        session = open_session(str(folder), cwd=folder, env=env)
        store, made = session.store, 0
        for status in session.plan(PlanOptions()).statuses.values():
            if status.state == "hit" or status.action is None or status.key is None:
                continue
            node = status.node
            outputs = {}
            for name in status.action.outputs:
                data = canned(node.frames, SIZE, 25, f"{name} of {node.target} {status.key}")
                facts = _once(known, node.frames, data) if name in ("video", "published") else {}
                outputs[name] = Output(store.cas.put_bytes(data), facts, len(data))
            fields = step(node.kind).fields(node)
            action = status.action.as_json()
            store.record(Trace(status.key, action, outputs, node.target, fields, source="comfyui", made_at=MADE_AT))
            look = inspect.action_of(outputs["published"].digest)
            findings = json.dumps(FOUND).encode()
            seen = {"findings": Output(store.cas.put_bytes(findings), FOUND, len(findings))}
            store.record(
                Trace(look.key, look.as_json(), seen, f"inspect:{node.clip}@1", source="inspect", made_at=MADE_AT)
            )
            made += 1
        store.close()
    return made


def _once(known: dict[int, dict[str, Any]], frames: int, video: bytes) -> dict[str, Any]:
    if frames not in known:
        known[frames] = _facts(video)
    return known[frames]


def _facts(video: bytes) -> dict[str, Any]:
    from ltxflow.media.probe import probe_mp4

    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        file.write(video)
        file.flush()
        return probe_mp4(Path(file.name)).as_json()


@contextmanager
def _unsynced() -> Iterator[None]:
    """Filling a store is no measurement: nobody waits here for a disk to be sure."""
    real = os.fsync
    os.fsync = lambda fd: None
    try:
        yield
    finally:
        os.fsync = real


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clips", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=["one", "scenes"], default="one")
    args = parser.parse_args()
    film = args.folder / "film"
    if not film.exists():  # else what was edited in it is rendered
        write_film(film, args.clips, args.layout)
    env = environment(args.folder / "store")
    print(json.dumps({"made": fill(film, env), "film": str(film), "LTXFLOW_STORE": env["LTXFLOW_STORE"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
