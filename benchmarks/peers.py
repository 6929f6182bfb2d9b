"""Other build tools on the same workload: N clips of a picture and a prompt each, and a manifest of all.

What is on PyPI is installed in an environment of its own, under `benchmarks/.peers/`; a program of the system is used
where it is, and never installed. Their actions copy a few bytes: what is measured is what a tool does when there is
nothing to do. That there was nothing is seen by the outputs, not believed: whoever wrote one anew has run an action.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workload import picture, prompt

HOME = Path(__file__).resolve().parent / ".peers"
TIMELINE = "timeline.json"


class Skipped(Exception):
    """Why a tool is left out, in a few words: it cannot be had here, or does not do what is measured."""


@dataclass(frozen=True)
class Peer:
    """One tool: its PyPI package ("" for a program of the system), its files, how it builds and how it only looks."""

    name: str
    package: str
    write: Callable[[Path, int], None]
    build: list[str]
    plan: list[str]  # its dry run; [] where it has none that names what it would do
    planned: str = r"clips/(\d{5})\.mp4"  # where a dry run names a clip that it would make
    most: int = 10_000  # clips: with more, a build takes minutes, or one that has nothing to do does
    compile: Callable[[Path], None] | None = None  # for a tool whose build files are programs: makes the program

    def program(self) -> str:
        """Where the tool is, installed if need be. Raise Skipped when it cannot be had."""
        if self.compile is not None:
            return self._compiled(self.compile)
        if not self.package:
            found = shutil.which(self.build[0])
            if found is None:
                raise Skipped(f"no program {self.build[0]} on PATH")
            return found
        folder = HOME / self.name
        tool = folder / "bin" / self.build[0]
        if not tool.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            told = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            if subprocess.run([*told, self.package], check=False).returncode:
                shutil.rmtree(folder)
                raise Skipped(f"pip could not install {self.package}")
        return str(tool)

    def _compiled(self, make: Callable[[Path], None]) -> str:
        tool = HOME / self.name / self.build[0]
        if not tool.exists():
            tool.parent.mkdir(parents=True, exist_ok=True)
            make(tool)
        return str(tool)


def write_sources(folder: Path, n: int) -> None:
    """The pictures and prompts."""
    for name in ("refs", "prompts", "clips"):
        (folder / name).mkdir(parents=True)
    for index in range(n):
        (folder / f"refs/{index:05d}.png").write_bytes(picture(index))
        (folder / f"prompts/{index:05d}.txt").write_text(prompt(index) + "\n")


def edit(folder: Path, clip: str, text: str) -> None:
    """Another prompt, in another second than the one before: tup sees times by the second only."""
    path = folder / f"prompts/{clip}.txt"
    while int(time.time()) == int(path.stat().st_ctime):
        time.sleep(0.01)
    path.write_text(text + "\n")


# --- what a tool did


def outputs(folder: Path, n: int) -> dict[str, tuple[int, int]]:
    """All that a build makes, each with what changes when it is made anew. Raise Skipped where one is missing."""
    found = {}
    for name in [*(f"clips/{index:05d}.mp4" for index in range(n)), TIMELINE]:
        try:
            seen = (folder / name).stat()
        except FileNotFoundError:
            raise Skipped(f"its build made no {name}") from None
        found[name] = (seen.st_ino, seen.st_mtime_ns)
    return found


def expect_made(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], wanted: set[str]) -> None:
    """Raise Skipped unless a tool made exactly these outputs anew between two looks."""
    made = {name for name in after if after[name] != before[name]}
    if made != wanted:
        raise Skipped(f"made {_some(made)} where {_some(wanted)} was due")


def expect_planned(peer: Peer, said: str, clip: str) -> None:
    """Raise Skipped unless a dry run named this clip and no other."""
    planned = set(re.findall(peer.planned, said, re.MULTILINE))
    if planned != {clip}:
        raise Skipped(f"its dry run names {_some(planned)} where {clip} was due")


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return f"{', '.join(shown)}{f' … ({len(names)})' if len(names) > 3 else ''}" or "nothing"


# --- the tools


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
        "        yield {'name': f'{i:05d}', 'actions': [join], 'targets': [f'clips/{i:05d}.mp4'],\n"
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
        "    shell: 'touch {output}'\n"
        "rule clip:\n    input: 'refs/{c}.png', 'prompts/{c}.txt'\n    output: 'clips/{c}.mp4'\n"
        "    shell: 'cat {input} > {output}'\n"
    )


def _pytask(folder: Path, n: int) -> None:
    (folder / "task_film.py").write_text(
        "from pathlib import Path\nfrom typing import Annotated\nfrom pytask import task, Product\n"
        f"N = {n}\nHERE = Path(__file__).parent\n"
        "for i in range(N):\n"
        "    @task(id=f'{i:05d}')\n"
        "    def task_clip(ref=HERE / f'refs/{i:05d}.png', prompt=HERE / f'prompts/{i:05d}.txt',\n"
        "                  out: Annotated[Path, Product] = HERE / f'clips/{i:05d}.mp4'):\n"
        "        out.write_bytes(ref.read_bytes() + prompt.read_bytes())\n"
        "def task_timeline(clips=[HERE / f'clips/{i:05d}.mp4' for i in range(N)],\n"
        "                  out: Annotated[Path, Product] = HERE / 'timeline.json'):\n"
        "    out.touch()\n"
    )


def _tup(folder: Path, n: int) -> None:
    if shutil.which("fusermount3") is None:  # it would leave a mounted folder behind
        raise Skipped("no fusermount3 on PATH")
    if subprocess.run(["tup", "init"], cwd=folder, capture_output=True, check=False).returncode:
        raise Skipped("tup init fails here")
    lines = [f": refs/{i:05d}.png prompts/{i:05d}.txt |> cat %f > %o |> clips/{i:05d}.mp4 {{c}}" for i in range(n)]
    lines += [": {c} |> cat clips/*.mp4 > %o |> timeline.json"]  # tup goes by what is really read
    (folder / "Tupfile").write_text("\n".join(lines) + "\n")


def _redun(folder: Path, n: int) -> None:
    (folder / "film.py").write_text(
        "from redun import File, task\n"
        f"redun_namespace = 'film'\nN = {n}\n"
        "@task()\n"
        "def clip(ref: File, prompt: File, out: str) -> File:\n"
        "    made = File(out)\n    made.write(ref.read('rb') + prompt.read('rb'), 'wb')\n    return made\n"
        "@task()\n"
        "def timeline(clips: list[File]) -> File:\n"
        "    made = File('timeline.json')\n    made.touch()\n    return made\n"
        "@task()\n"
        "def main() -> File:\n"
        "    return timeline([clip(File(f'refs/{i:05d}.png'), File(f'prompts/{i:05d}.txt'), f'clips/{i:05d}.mp4')\n"
        "                     for i in range(N)])\n"
    )


DVC_CONFIG = "[core]\n  no_scm = true\n  analytics = false\n  site_cache_dir = .dvc/site\n"


def _dvc(folder: Path, n: int) -> None:
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text(DVC_CONFIG)
    lines = ["stages:"]
    for i in range(n):
        sources = [f"refs/{i:05d}.png", f"prompts/{i:05d}.txt"]
        lines += [f"  clip-{i:05d}:", f"    cmd: cat {' '.join(sources)} > clips/{i:05d}.mp4"]
        lines += [f"    deps: [{', '.join(sources)}]", f"    outs: [clips/{i:05d}.mp4]"]
    lines += ["  timeline:", "    cmd: touch timeline.json", "    outs: [timeline.json]"]
    lines += [f"    deps: [{', '.join(f'clips/{i:05d}.mp4' for i in range(n))}]"]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")


SHAKE = """\
import qualified Data.ByteString as Bytes
import Development.Shake
import Development.Shake.FilePath

main :: IO ()
main = shakeArgs shakeOptions $ do
  want ["timeline.json"]
  "timeline.json" %> \\out -> do
    prompts <- getDirectoryFiles "prompts" ["*.txt"]
    need ["clips" </> takeBaseName prompt <.> "mp4" | prompt <- prompts]
    writeFile' out ""
  "clips/*.mp4" %> \\out -> do
    let sources = ["refs" </> takeBaseName out <.> "png", "prompts" </> takeBaseName out <.> "txt"]
    need sources
    liftIO $ Bytes.writeFile out . Bytes.concat =<< mapM Bytes.readFile sources
"""


def _shake(tool: Path) -> None:
    """Shake is a library: its build file is a program."""
    if shutil.which("ghc") is None:
        raise Skipped("no ghc on PATH to compile its build file with")
    source = tool.parent / "Film.hs"
    source.write_text(SHAKE)
    told = ["ghc", "-O1", "-package", "shake", "-package", "bytestring", "-o", str(tool), str(source)]
    if subprocess.run(told, capture_output=True, check=False).returncode:
        raise Skipped("ghc cannot compile its build file: no library shake")


def _nothing(folder: Path, n: int) -> None:
    pass


PEERS = {
    peer.name: peer
    for peer in [
        Peer("ninja", "ninja", _ninja, ["ninja"], ["ninja", "-n", "-d", "explain"]),
        Peer("make", "", _make, ["make"], ["make", "-n"]),
        Peer("tup", "", _tup, ["tup"], ["tup", "todo"]),
        Peer("shake", "", _nothing, ["shake", "-j2"], [], compile=_shake),
        Peer("doit", "doit", _doit, ["doit"], ["doit", "list", "--all", "--status"], r"^R\s+clip:(\d{5})"),
        Peer(
            "scons",
            "scons",
            _scons,
            ["scons", "-Q"],
            ["scons", "-Q", "-n", "--debug=explain"],
            r"ing `clips/(\d{5})",
        ),
        Peer(
            "snakemake",
            "snakemake",
            _snakemake,
            ["snakemake", "-c2"],
            ["snakemake", "-n"],
            r"output: clips/(\d{5})",
            1000,
        ),
        Peer("redun", "redun", _redun, ["redun", "run", "film.py", "main"], [], most=1000),
        Peer("pytask", "pytask", _pytask, ["pytask"], ["pytask", "--dry-run", "-v", "2"], r"clip\[(\d{5})\] │ w", 1000),
        Peer("dvc", "dvc", _dvc, ["dvc", "repro"], ["dvc", "repro", "--dry"], r"Running stage 'clip-(\d{5})", 300),
    ]
}


def environment() -> dict[str, str]:
    """An environment for other tools: without what is Python's of who runs this."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
