"""Other build tools on the same workload: N clips of a picture and a prompt each, and a manifest of all.

Each is installed in an environment of its own, under `benchmarks/.peers/`; what is a program of the system is used
where it is. Their actions copy a few bytes: what is measured is what a tool does when there is nothing to do.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workload import picture, prompt

HOME = Path(__file__).resolve().parent / ".peers"


@dataclass(frozen=True)
class Peer:
    """One tool: its PyPI package ("" for a program of the system), its files, how it builds and how it only looks."""

    name: str
    package: str
    write: Callable[[Path, int], None]
    build: list[str]
    plan: list[str]
    most: int = 10_000  # clips: beyond, it takes minutes

    def program(self) -> str | None:
        """Where the tool is, installed if need be; None when it cannot be had."""
        if not self.package:
            return shutil.which(self.build[0])
        folder = HOME / self.name
        tool = folder / "bin" / self.build[0]
        if not tool.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            told = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            if subprocess.run([*told, self.package], check=False).returncode:
                shutil.rmtree(folder)
                return None
        return str(tool) if tool.exists() else None


def write_sources(folder: Path, n: int) -> None:
    for name in ("refs", "prompts", "clips"):
        (folder / name).mkdir(parents=True)
    for index in range(n):
        (folder / f"refs/{index:05d}.png").write_bytes(picture(index))
        (folder / f"prompts/{index:05d}.txt").write_text(prompt(index) + "\n")


def _ninja(folder: Path, n: int) -> None:
    lines = ["rule clip", "  command = cat $in > $out", "rule all", "  command = touch $out"]
    lines += [f"build clips/{i:05d}.mp4: clip refs/{i:05d}.png prompts/{i:05d}.txt" for i in range(n)]
    lines += ["build timeline.json: all " + " ".join(f"clips/{i:05d}.mp4" for i in range(n))]
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def _make(folder: Path, n: int) -> None:
    (folder / "Makefile").write_text(
        "CLIPS := $(patsubst prompts/%.txt,clips/%.mp4,$(wildcard prompts/*.txt))\n"
        "timeline.json: $(CLIPS)\n\t@touch $@\n"
        "$(CLIPS): clips/%.mp4: prompts/%.txt refs/%.png\n\t@cat $^ > $@\n"
    )


def _doit(folder: Path, n: int) -> None:
    (folder / "dodo.py").write_text(
        "from pathlib import Path\n"
        f"N = {n}\n"
        "DOIT_CONFIG = {'backend': 'json'}\n"
        "def join(dependencies, targets):\n"
        "    Path(targets[0]).write_bytes(b''.join(Path(d).read_bytes() for d in sorted(dependencies)))\n"
        "def task_clip():\n"
        "    for i in range(N):\n"
        "        yield {'name': str(i), 'actions': [join], 'targets': [f'clips/{i:05d}.mp4'],\n"
        "               'file_dep': [f'refs/{i:05d}.png', f'prompts/{i:05d}.txt']}\n"
        "def task_timeline():\n"
        "    return {'actions': [lambda targets: Path(targets[0]).touch()], 'targets': ['timeline.json'],\n"
        "            'file_dep': [f'clips/{i:05d}.mp4' for i in range(N)]}\n"
    )


def _scons(folder: Path, n: int) -> None:
    (folder / "SConstruct").write_text(
        "env = Environment(tools=[])\n"
        "def join(target, source, env):\n"
        "    open(str(target[0]), 'wb').write(b''.join(open(str(s), 'rb').read() for s in source))\n"
        f"clips = [env.Command(f'clips/{{i:05d}}.mp4', [f'refs/{{i:05d}}.png', f'prompts/{{i:05d}}.txt'], join)\n"
        f"         for i in range({n})]\n"
        "env.Command('timeline.json', clips, join)\n"
    )


def _snakemake(folder: Path, n: int) -> None:
    (folder / "Snakefile").write_text(
        f"N = {n}\n"
        "rule timeline:\n    input: [f'clips/{i:05d}.mp4' for i in range(N)]\n    output: 'timeline.json'\n"
        "    run:\n        open(output[0], 'w').close()\n"
        "rule clip:\n    input: 'refs/{c}.png', 'prompts/{c}.txt'\n    output: 'clips/{c}.mp4'\n"
        "    run:\n        open(output[0], 'wb').write(b''.join(open(f, 'rb').read() for f in input))\n"
    )


def _pytask(folder: Path, n: int) -> None:
    (folder / "task_film.py").write_text(
        "from pathlib import Path\nfrom typing import Annotated\nfrom pytask import task, Product\n"
        f"N = {n}\nHERE = Path(__file__).parent\n"
        "for i in range(N):\n"
        "    @task(id=str(i))\n"
        "    def task_clip(ref=HERE / f'refs/{i:05d}.png', prompt=HERE / f'prompts/{i:05d}.txt',\n"
        "                  out: Annotated[Path, Product] = HERE / f'clips/{i:05d}.mp4'):\n"
        "        out.write_bytes(ref.read_bytes() + prompt.read_bytes())\n"
        "def task_timeline(clips=[HERE / f'clips/{i:05d}.mp4' for i in range(N)],\n"
        "                  out: Annotated[Path, Product] = HERE / 'timeline.json'):\n"
        "    out.touch()\n"
    )


def _tup(folder: Path, n: int) -> None:
    subprocess.run(["tup", "init"], cwd=folder, check=True, capture_output=True)
    lines = [f": refs/{i:05d}.png prompts/{i:05d}.txt |> cat %f > %o |> clips/{i:05d}.mp4 {{c}}" for i in range(n)]
    (folder / "Tupfile").write_text("\n".join([*lines, ": {c} |> touch %o |> timeline.json"]) + "\n")


PEERS = {
    peer.name: peer
    for peer in [
        Peer("ninja", "ninja", _ninja, ["ninja"], ["ninja", "-n", "-d", "explain"]),
        Peer("make", "", _make, ["make"], ["make", "-n"]),
        Peer("tup", "", _tup, ["tup"], ["tup", "todo"]),
        Peer("doit", "doit", _doit, ["doit"], []),
        Peer("scons", "scons", _scons, ["scons", "-Q"], ["scons", "-Q", "-n", "--debug=explain"], 1000),
        Peer("snakemake", "snakemake", _snakemake, ["snakemake", "-c2"], ["snakemake", "-n"], 100),
        Peer("pytask", "pytask", _pytask, ["pytask"], ["pytask", "--dry-run"], 1000),
    ]
}


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
