"""A small film on disk and what one does with it: write it, run verbs on it, look at what came out.

Slates are canned: real mp4 files of the right facts, made once and copied, so that a build takes no time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from ltxflow.cli.main import main
from ltxflow.core.digest import Output
from ltxflow.media.image import read_image
from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import SlateSpec
from ltxflow.plan.plan import PlanOptions
from ltxflow.session.session import Session, open_session
from ltxflow.steps import slate as slate_step
from ltxflow.steps import step
from ltxflow.store.traces import Trace

TESTS = Path(__file__).parent
SIZE = (128, 128)
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
    "pearl",
    "granite",
    "cedar",
    "bronze",
]


def prompt(clip: str, motion: str = "turns") -> str:
    """A prompt that has nothing wrong with it, of words of its own for each clip."""
    start = sum(map(ord, clip))
    one, two, three = (WORDS[(start + step) % len(WORDS)] for step in (0, 3, 7))
    return (
        f"A {one} key {motion} in a heavy {two} lock while dust drifts through a beam of {three} light, and the camera "
        f"pushes slowly past the {two} door for {clip}; metal clicks and a low hum grows."
    )


def film_text(scenes: Mapping[str, Sequence[str]], narration: str | Mapping[str, str] = "6s", **top: Any) -> str:
    """A project file: scene id → ids of its clips, other keys of the top level as given."""
    keys = {"ltxflow": 1, "id": "tiny", "title": "Tiny film", "size": "128x128", "fps": 25, "seed": 3, **top}
    lines = [f"{key}: {json.dumps(value)}" for key, value in keys.items()]
    lines.append("scenes:")
    for scene, clips in scenes.items():
        spoken = narration if isinstance(narration, str) else narration.get(scene, "")
        lines += [f"  - id: {scene}", *([f"    narration: {spoken}"] if spoken else []), "    clips:"]
        for clip in clips:
            lines += [f"      - id: {clip}", f'        prompt: "{prompt(f"{scene}-{clip}")}"']
    return "\n".join(lines) + "\n"


FILM = {"hook": ["a", "b"], "middle": ["a"], "end": ["a"]}
NARRATION = {"hook": "6s", "middle": "3.5s", "end": "3s"}


@dataclass
class Ran:
    """What a verb did: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def envelope(self) -> dict[str, Any]:
        return self.lines[-1]

    @property
    def data(self) -> Any:
        return self.envelope["data"]

    def events(self, *names: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") and (not names or line["event"] in names)]

    @property
    def totals(self) -> dict[str, int]:
        """The figures of a build, as its last event tells them."""
        (finished,) = self.events("run-finished")
        return {name: finished[name] for name in ("planned", "hit", "rendered", "restored", "failed", "skipped")}


@dataclass
class Film:
    """A project in a folder, with a store of its own beside it."""

    folder: Path
    store: Path
    drawn: list[str] = field(default_factory=list)  # clips whose slates were drawn, in order

    @property
    def file(self) -> Path:
        return self.folder / "project.yaml"

    @property
    def scenes(self) -> Path:
        return self.folder / "public" / "scenes"

    @property
    def timeline(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.scenes / "timeline.json").read_text())
        return data

    def write(self, scenes: Mapping[str, Sequence[str]] | None = None, narration: Any = None, **top: Any) -> Film:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = film_text(FILM if scenes is None else scenes, NARRATION if narration is None else narration, **top)
        self.file.write_text(text)
        return self

    def edit(self, old: str, new: str) -> Film:
        text = self.file.read_text()
        assert old in text, old
        self.file.write_text(text.replace(old, new, 1))
        return self

    def run(self, *argv: str) -> Ran:
        """Run a verb on the film in this process."""
        return run(*argv, "-p", str(self.folder))

    def build(self, *argv: str) -> Ran:
        """Draw the film; what was drawn is in `drawn`, anew each time."""
        self.drawn.clear()
        return self.run("build", "--animatic", "--json", *argv)

    def session(self) -> Session:
        env = {**os.environ, "LTXFLOW_STORE": str(self.store)}
        return opened(open_session(str(self.folder), cwd=self.folder, env=env))

    def published(self) -> dict[str, bytes]:
        """Every published file and its bytes."""
        public = self.folder / "public"
        return {
            str(path.relative_to(public)): path.read_bytes() for path in sorted(public.rglob("*")) if path.is_file()
        }

    def render(self, *clips: str, text: str = "render") -> None:
        """Pretend that a server rendered these clips as they are written now (all without names)."""
        session = self.session()
        outlook = session.plan(PlanOptions())
        for status in outlook.statuses.values():
            if clips and status.node.clip not in clips:
                continue
            assert status.action is not None
            assert status.key is not None
            outputs = {}
            with session.store.scratch() as folder:
                for name in status.action.outputs:
                    file = folder / name
                    data = canned(status.node.frames, SIZE, 25, f"{text} {name} of {status.node.target} {status.key}")
                    file.write_bytes(data)
                    facts = probe_mp4(file).as_json() if name in ("video", "published") else {}
                    outputs[name] = Output(session.store.cas.put(file, move=True), facts, len(data))
            made = Trace(
                status.key,
                status.action.as_json(),
                outputs,
                status.node.target,
                step(status.node.kind).fields(status.node),
                source="comfyui",
                made_at="2026-01-02T03:04:05+00:00",
            )
            session.store.record(made)
        session.store.close()


OPENED: list[Session] = []


def opened(session: Session) -> Session:
    """Given a session that a test looks into, have it closed when the test ends."""
    OPENED.append(session)
    return session


def run(*argv: str) -> Ran:
    """Run the command line in this process."""
    out, err = StringIO(), StringIO()
    is_held = open_indexes()  # by the test itself: SQLite then lets go of a file when the last in this process does
    with redirect_stdout(out), redirect_stderr(err):
        code = main(list(argv))
    assert is_held or not open_indexes(), f"`{argv[0]}` leaves its store open"
    return Ran(code, out.getvalue(), err.getvalue())


def open_indexes() -> int:
    """How many files of indexes this process holds open, where the system tells."""
    folder = Path("/proc/self/fd")
    found = 0
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(OSError):  # of the listing itself
            found += Path(os.readlink(path)).name.startswith("cache.db")
    return found


def command(*argv: str, setup: str = "import film; film.use_canned()") -> list[str]:
    """The command line in a process of its own, with canned slates unless another `setup` is run before."""
    code = (
        f"import sys\nsys.path.insert(0, {str(TESTS)!r})\n{setup}\nfrom ltxflow.cli.main import main\nsys.exit(main())"
    )
    return [sys.executable, "-c", code, *argv]


def run_alone(*argv: str, **options: Any) -> Ran:
    """Run the command line in a process of its own, to its end."""
    done = subprocess.run(command(*argv), capture_output=True, text=True, check=False, **options)
    return Ran(done.returncode, done.stdout, done.stderr)


# --- canned slates


Draw = Callable[[SlateSpec, Path, Path | None, Any], None]


def use_canned() -> None:
    """Draw no slates in this process from now on."""
    slate_step.draw_slate = canned_drawing([])


def canned_drawing(drawn: list[str], first: Callable[[SlateSpec], None] = lambda spec: None) -> Draw:
    """What takes the place of `draw_slate`: `first` is called before a slate is "drawn", `drawn` hears of it after."""

    def draw(spec: SlateSpec, out: Path, reference: Path | None = None, progress: Any = None) -> None:
        first(spec)
        if reference is not None:
            read_image(reference)  # fails as drawing would
        for done in (spec.frames // 2, spec.frames):
            if progress:
                progress(done, spec.frames)
        out.write_bytes(canned(spec.frames, (spec.width, spec.height), spec.fps, repr(spec)))
        drawn.append(f"{spec.scene}/{spec.clip}")

    return draw


def canned(frames: int, size: tuple[int, int], fps: int, text: str, sound: float | None = None) -> bytes:
    """A real mp4 with these facts; `text` makes its bytes its own, in a box that players skip.

    `sound` is in seconds; None for as much as there is picture.
    """
    data = text.encode()
    return _encoded(frames, size, int(fps), sound) + (8 + len(data)).to_bytes(4, "big") + b"free" + data


@cache
def _encoded(frames: int, size: tuple[int, int], fps: int, sound: float | None) -> bytes:
    out = BytesIO()
    with av.open(out, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=Fraction(fps), options={"preset": "ultrafast", "qp": "40"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        audio = container.add_stream("aac", rate=48000, layout="stereo")
        picture = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
        for number in range(frames):
            frame = VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        samples = -(-48000 * frames // fps) if sound is None else round(48000 * sound)
        for at in range(0, samples, 1024):
            block = AudioFrame.from_ndarray(np.zeros((2, min(1024, samples - at)), np.float32), "fltp", "stereo")
            block.sample_rate, block.pts, block.time_base = 48000, at, Fraction(1, 48000)
            container.mux(audio.encode(block))
        container.mux(audio.encode(None))
    return out.getvalue()
