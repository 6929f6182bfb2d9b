"""What build tools do when something goes wrong: killed, run twice at once, their inputs edited meanwhile.

    python benchmarks/faults.py [tool …] [--json]

The same small film for every tool: four clips, each of a prompt and a picture, and one manifest of all. An action
writes half of its file, waits as long as a file tells it to, and writes the rest; it logs when it starts and ends. So
it is no matter of luck when a fault comes. ltxflow draws its slates the same way: through a drawing of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peers import DVC_CONFIG, PEERS, Skipped, environment
from workload import picture, prompt

N = 4
CLIPS = [f"{index:05d}" for index in range(N)]
PATIENCE_S = 60.0
SECOND_S = 12.0  # for a second build to begin with something, if it does not wait for the first
PYTHON = sys.executable
TESTS = Path(__file__).resolve().parents[1] / "tests"

ACT = """\
import os, sys, time
from pathlib import Path
clip = sys.argv[1]
def say(what):
    with open("log", "a") as log:
        log.write(f"{what} {clip}\\n")
data = Path(f"prompts/{clip}.txt").read_bytes() + Path(f"refs/{clip}.png").read_bytes()
say("start")
with open(f"clips/{clip}.mp4", "wb") as out:
    out.write(data[:len(data) // 2]); out.flush()
    say("half")
    while os.path.exists(f"hold-{clip}"):
        time.sleep(0.01)
    out.write(data[len(data) // 2:])
say("end")
"""

SLATES = """\
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from harness.media import canned
from ltxflow.steps import slate
root = Path({root!r})
def draw(spec, out, reference=None, progress=None):
    clip = f"{{'abcd'.index(spec.clip):05d}}"
    def say(what):
        with open(root / "log", "a") as log:
            log.write(f"{{what}} {{clip}}\\n")
    data = canned(spec.frames, (spec.width, spec.height), spec.fps, repr(spec) + Path(reference).read_bytes().hex())
    say("start")
    with open(out, "wb") as file:
        file.write(data[:len(data) // 2]); file.flush()
        say("half")
        while (root / f"hold-{{clip}}").exists():
            time.sleep(0.01)
        file.write(data[len(data) // 2:])
    say("end")
slate.draw_slate = draw
from ltxflow.cli.main import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Tool:
    """One tool: how its definition is written, what runs it, and how one clip's prompt is edited."""

    name: str
    write: Callable[[Path], None]
    command: Callable[[Path], list[str]]
    edit: Callable[[Path, str, str], None]
    unlock: Callable[[Path], list[str]] | None = None  # what its messages ask for after a kill


class Place:
    """A folder with a film in it, and what a tool did there by its log."""

    def __init__(self, tool: Tool, folder: Path) -> None:
        self.tool, self.folder = tool, folder
        for name in ("refs", "prompts", "clips"):
            (folder / name).mkdir(parents=True)
        for index, clip in enumerate(CLIPS):
            (folder / f"refs/{clip}.png").write_bytes(picture(index))
            (folder / f"prompts/{clip}.txt").write_text(prompt(index) + "\n")
        (folder / "act.py").write_text(ACT)
        tool.write(folder)

    def start(self) -> subprocess.Popen[bytes]:
        own = {"LTXFLOW_STORE": str(self.folder / "store"), "XDG_CONFIG_HOME": str(self.folder / "none")}
        return subprocess.Popen(
            self.tool.command(self.folder),
            cwd=self.folder,
            env=environment() | own,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def build(self) -> int:
        return self.start().wait(PATIENCE_S)

    def log(self, what: str = "start") -> list[str]:
        """The clips of which that is logged, in order."""
        file = self.folder / "log"
        lines = file.read_text().split("\n") if file.exists() else []
        return [line.partition(" ")[2] for line in lines if line.startswith(f"{what} ")]

    def forget(self) -> None:
        (self.folder / "log").unlink(missing_ok=True)

    def hold(self, clip: str) -> None:
        (self.folder / f"hold-{clip}").touch()

    def go(self, clip: str) -> None:
        (self.folder / f"hold-{clip}").unlink()

    def until(
        self, is_so: Callable[[], bool], process: subprocess.Popen[bytes], patience_s: float = PATIENCE_S
    ) -> bool:
        """Wait for something; return whether it came before the process ended, or patience did."""
        end = time.monotonic() + patience_s
        while not is_so():
            if time.monotonic() > end or process.poll() is not None:
                return is_so()
            time.sleep(0.01)
        return True

    def edit(self, clip: str, text: str) -> None:
        self.tool.edit(self.folder, clip, text)


# --- the faults


def killed(place: Place) -> tuple[str, str]:
    """kill -9 while the third clip is half written: what is made again, and is the half taken for the whole?"""
    place.hold(CLIPS[2])
    process = place.start()
    place.until(lambda: CLIPS[2] in place.log("half"), process)
    time.sleep(1)  # a render takes minutes: what a tool writes down of the first two, it has written down by then
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = set(place.log("end"))
    place.go(CLIPS[2])
    place.forget()
    code, note = place.build(), ""
    if code and place.tool.unlock:
        subprocess.run(place.tool.unlock(place.folder), cwd=place.folder, capture_output=True, check=False)
        code, note = place.build(), ", after an unlock by hand"
    again = finished & set(place.log())
    half = "HALF FILE ACCEPTED" if CLIPS[2] not in place.log() else "no"
    return (
        f"{len(again)} of {len(finished)} again" if again else "none again"
    ) + note, half if not code else "no: it refuses to go on"


def twice(place: Place) -> str:
    """Two builds at once: how often the four clips are made, and how both end."""
    place.hold(CLIPS[0])
    first = place.start()
    place.until(lambda: CLIPS[0] in place.log("half"), first)
    begun = len(place.log())
    second = place.start()
    place.until(lambda: len(place.log()) > begun, second, SECOND_S)
    place.go(CLIPS[0])
    codes = [process.wait(PATIENCE_S) for process in (first, second)]
    return f"{len(place.log())} actions for {N}, exit {codes[0]} and {codes[1]}"


def edited_meanwhile(place: Place) -> str:
    """A prompt is edited while its clip is made: does the next build make it of the new one?"""
    place.hold(CLIPS[1])
    process = place.start()
    place.until(lambda: CLIPS[1] in place.log("half"), process)
    place.edit(CLIPS[1], "the prompt is another one now")
    place.go(CLIPS[1])
    process.wait(PATIENCE_S)
    place.forget()
    place.build()
    return "made anew" if CLIPS[1] in place.log() else "STALE FOR GOOD"


def same_stat(place: Place) -> str:
    """A picture becomes another one of the same size and time, as a careful tool leaves it."""
    place.build()
    place.forget()
    file = place.folder / f"refs/{CLIPS[1]}.png"
    seen, data = file.stat(), picture(99)
    file.write_bytes(data[: seen.st_size].ljust(seen.st_size, b"\0") if place.tool.name != "ltxflow" else other(file))
    os.utime(file, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert file.stat().st_size == seen.st_size
    place.build()
    return "noticed" if CLIPS[1] in place.log() else "NOT NOTICED"


def other(file: Path) -> bytes:
    """The same picture with one pixel of another colour, in a file of the same size."""
    from PIL import Image  # only ltxflow looks at pixels

    size = file.stat().st_size
    with Image.open(file) as image:
        for value in range(256):
            changed = image.convert("RGB")
            changed.putpixel((0, 0), (value, 255 - value, 7))
            changed.save(file.with_suffix(".new"), "PNG")
            data = file.with_suffix(".new").read_bytes()
            file.with_suffix(".new").unlink()
            if len(data) <= size:
                return data.ljust(size, b"\0")
    raise AssertionError("no such picture")


def reverted(place: Place) -> str:
    """A prompt is edited, built, and put back: is what was made for it still there?"""
    text = (place.folder / f"prompts/{CLIPS[1]}.txt").read_text().strip()
    place.build()
    place.edit(CLIPS[1], "another prompt for a while")
    place.build()
    place.forget()
    place.edit(CLIPS[1], text)
    place.build()
    return f"{len(place.log())} made again"


def touched(place: Place) -> str:
    """Every file gets a new time, as from `git clone` or a checkout and back."""
    place.build()
    place.forget()
    for path in [*place.folder.glob("refs/*"), *place.folder.glob("prompts/*")]:
        os.utime(path)
    place.build()
    return f"{len(place.log())} made again"


FAULTS: dict[str, Callable[[Place], str | tuple[str, str]]] = {
    "kill -9": killed,
    "two builds at once": twice,
    "prompt edited while its clip is made": edited_meanwhile,
    "same size and time, other picture": same_stat,
    "edit put back": reverted,
    "all times new": touched,
}


# --- the tools


def edit_text(folder: Path, clip: str, text: str) -> None:
    (folder / f"prompts/{clip}.txt").write_text(text + "\n")


def write_make(folder: Path) -> None:
    (folder / "Makefile").write_text(
        f"CLIPS := {' '.join(f'clips/{clip}.mp4' for clip in CLIPS)}\n"
        "manifest: $(CLIPS)\n\t@touch $@\n"
        f"$(CLIPS): clips/%.mp4: prompts/%.txt refs/%.png\n\t@{PYTHON} act.py $*\n"
    )


def write_ninja(folder: Path) -> None:
    lines = ["rule clip", f"  command = {PYTHON} act.py $clip", "rule all", "  command = touch $out"]
    for clip in CLIPS:
        lines += [f"build clips/{clip}.mp4: clip prompts/{clip}.txt refs/{clip}.png", f"  clip = {clip}"]
    lines += ["build manifest: all " + " ".join(f"clips/{clip}.mp4" for clip in CLIPS)]
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def write_doit(folder: Path) -> None:
    (folder / "dodo.py").write_text(
        f"CLIPS = {CLIPS}\n"
        "def task_clip():\n    for c in CLIPS:\n"
        f"        yield {{'name': c, 'actions': [f'{PYTHON} act.py {{c}}'], 'targets': [f'clips/{{c}}.mp4'],\n"
        "               'file_dep': [f'refs/{c}.png', f'prompts/{c}.txt']}\n"
        "def task_manifest():\n"
        "    return {'actions': ['touch manifest'], 'targets': ['manifest'],\n"
        "            'file_dep': [f'clips/{c}.mp4' for c in CLIPS]}\n"
    )


def write_scons(folder: Path) -> None:
    (folder / "SConstruct").write_text(
        "env = Environment(tools=[])\n"
        f"clips = [env.Command(f'clips/{{c}}.mp4', [f'prompts/{{c}}.txt', f'refs/{{c}}.png'],\n"
        f"                     f'{PYTHON} act.py {{c}}') for c in {CLIPS}]\n"
        "env.Command('manifest', clips, 'touch $TARGET')\n"
    )


def write_snakemake(folder: Path) -> None:
    (folder / "Snakefile").write_text(
        f"CLIPS = {CLIPS}\n"
        "rule manifest:\n    input: expand('clips/{c}.mp4', c=CLIPS)\n    output: 'manifest'\n"
        "    shell: 'touch {output}'\n"
        "rule clip:\n    input: 'refs/{c}.png', 'prompts/{c}.txt'\n    output: 'clips/{c}.mp4'\n"
        f"    shell: '{PYTHON} act.py {{wildcards.c}}'\n"
    )


def write_pytask(folder: Path) -> None:
    (folder / "task_film.py").write_text(
        "import subprocess\nfrom pathlib import Path\nfrom typing import Annotated\nfrom pytask import task, Product\n"
        "HERE = Path(__file__).parent\n"
        f"for c in {CLIPS}:\n    @task(id=c)\n"
        "    def task_clip(ref=HERE / f'refs/{c}.png', prompt=HERE / f'prompts/{c}.txt',\n"
        "                  out: Annotated[Path, Product] = HERE / f'clips/{c}.mp4'):\n"
        f"        subprocess.run([{PYTHON!r}, 'act.py', out.stem], check=True, cwd=HERE)\n"
    )


REDUN_CONFIG = """\
[backend]
db_uri = sqlite:///redun.db

[executors.default]
type = local
max_workers = 1
"""


def write_redun(folder: Path) -> None:
    (folder / ".redun").mkdir()
    (folder / ".redun/redun.ini").write_text(REDUN_CONFIG)
    (folder / "film.py").write_text(
        "import subprocess\nfrom redun import File, task\n"
        f"redun_namespace = 'film'\nCLIPS = {CLIPS}\n"
        "@task()\n"
        "def clip(c: str, ref: File, prompt: File) -> File:\n"
        f"    subprocess.run([{PYTHON!r}, 'act.py', c], check=True)\n    return File(f'clips/{{c}}.mp4')\n"
        "@task()\n"
        "def manifest(clips: list[File]) -> File:\n"
        "    made = File('manifest')\n    made.touch()\n    return made\n"
        "@task()\n"
        "def main() -> File:\n"
        "    return manifest([clip(c, File(f'refs/{c}.png'), File(f'prompts/{c}.txt')) for c in CLIPS])\n"
    )


def write_dvc(folder: Path) -> None:
    (folder / ".dvc").mkdir()
    (folder / ".dvc/config").write_text(DVC_CONFIG)
    lines = ["stages:"]
    for clip in CLIPS:
        lines += [f"  clip-{clip}:", f"    cmd: {PYTHON} act.py {clip}", f"    outs: [clips/{clip}.mp4]"]
        lines += [f"    deps: [refs/{clip}.png, prompts/{clip}.txt]"]
    lines += ["  manifest:", "    cmd: touch manifest", "    outs: [manifest]"]
    lines += [f"    deps: [{', '.join(f'clips/{clip}.mp4' for clip in CLIPS)}]"]
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")


def write_ltxflow(folder: Path) -> None:
    (folder / "run.py").write_text(SLATES.format(tests=str(TESTS), root=str(folder)))
    lines = ["ltxflow: 1", "id: film", "title: Film", "size: 128x128", "fps: 25", "vars: {look: blue}"]
    lines += ["scenes:", "  - id: s", "    crossfade: 0f", "    clips:"]
    for clip, id in zip(CLIPS, "abcd", strict=True):
        text = (folder / f"prompts/{clip}.txt").read_text().strip()
        lines += [f"      - id: {id}", "        length: 9f", f"        reference: refs/{clip}.png"]
        lines += [f"        prompt: {json.dumps(text)}"]
    (folder / "project.yaml").write_text("\n".join(lines) + "\n")


def edit_film(folder: Path, clip: str, text: str) -> None:
    edit_text(folder, clip, text)
    write_ltxflow(folder)


def tools(names: list[str]) -> list[Tool]:
    """The tools asked for that are here or can be installed; the others are named on stderr."""
    arguments = {"ninja": ["-j1"], "make": ["-j1"], "scons": ["-Q"], "snakemake": ["-c1"], "dvc": ["repro"]}
    arguments |= {"doit": [], "pytask": [], "redun": ["run", "film.py", "main"]}
    writers = {
        "make": write_make,
        "ninja": write_ninja,
        "doit": write_doit,
        "scons": write_scons,
        "snakemake": write_snakemake,
        "pytask": write_pytask,
        "redun": write_redun,
        "dvc": write_dvc,
    }
    ours = Tool(
        "ltxflow",
        write_ltxflow,
        lambda folder: [PYTHON, "run.py", "build", "--animatic", "--jobs", "1", "--root", str(folder)],
        edit_film,
    )
    found = [ours] if not names or "ltxflow" in names else []
    for name, write in writers.items():
        if names and name not in names:
            continue
        try:
            program = PEERS[name].program()
        except Skipped as why:
            print(f"{name}, skipped: {why}", file=sys.stderr)
            continue
        line = [program, *arguments[name]]
        unlock = [program, "--unlock"] if name == "snakemake" else None
        found.append(
            Tool(name, write, lambda folder, line=line: line, edit_text, unlock and (lambda folder, u=unlock: u))  # type: ignore[misc]
        )
    return found


def measure(tool: Tool) -> dict[str, str]:
    told: dict[str, str] = {}
    for fault, play in FAULTS.items():
        folder = Path(tempfile.mkdtemp(prefix=f"faults-{tool.name}-"))
        try:
            result = play(Place(tool, folder / "film"))
        except subprocess.TimeoutExpired:
            result = "hangs"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(result, tuple):
            told[f"{fault}: finished clips"], told[f"{fault}: half-written file accepted"] = result
        else:
            told[fault] = result
    return told


def table(measured: dict[str, dict[str, str]]) -> str:
    columns = list(next(iter(measured.values())))
    lines = [f"| tool | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | {' | '.join(told[column] for column in columns)} |" for name, told in measured.items()]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tools", nargs="*", help="only these")
    parser.add_argument("--json", action="store_true", help="as data")
    args = parser.parse_args()
    measured = {}
    for tool in tools(args.tools):
        print(f"{tool.name} …", file=sys.stderr)
        measured[tool.name] = measure(tool)
    print(json.dumps(measured, indent=1) if args.json else table(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
