"""A film in which every verb has written something, and the list of all that was written: traced, never listed by hand.

Attacks put something else in the place of each of these files and folders, and run verbs. A path that a later verb
writes is on the list by itself.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from fakes.comfyui import FakeComfy
from fakes.images import FakeImages
from fakes.odd import Put
from fakes.workflows import text_to_video

from harness.command import Ran, environment, run
from harness.crashing import at_each_write
from harness.film import OnDisk, prompt
from harness.speech import configure_engine
from ltxflow.core.files import TEMP_PREFIX

KEY = "sk-stage"
LIMIT_S = 60.0  # of one verb: far above what it takes, so that only a hang is one
FILM = f"""\
ltxflow: 1
id: tiny
title: Tiny film
size: 128x128
fps: 25
seed: 3
speech: {{ engine: say }}
references:
  hero:
    generate: {{ prompt: "A young locksmith in a leather apron", engine: studio }}
scenes:
  - id: hook
    narration: {{ text: "Lose it." }}
    clips:
      - {{ id: a, length: 25f, reference: hero, prompt: "{prompt("hook-a")}" }}
      - {{ id: b, length: 25f, takes: 2, prompt: "{prompt("hook-b")}" }}
  - id: end
    clips:
      - {{ id: a, length: 25f, prompt: "{prompt("end-a")}" }}
"""

# Every verb that writes, in an order in which each has something to do. `SERVER` stands for the fake server's address.
VERBS: tuple[tuple[str, ...], ...] = (
    ("init", "other"),
    ("narrate",),
    ("build", "--animatic"),
    ("plan",),
    ("plan", "--animatic"),
    ("build", "--server", "SERVER"),
    ("build", "--only", "references", "--server", "SERVER"),
    ("status",),
    ("report",),
    ("export", "remotion", "starter/remotion"),
    ("export", "otio"),
    ("export", "edl", "cuts/film.edl"),
    ("export", "fcpxml"),
    ("export", "fcp7xml"),
    ("conform", "--proxy"),
    ("conform", "--proxy", "--output", "cuts/film.mp4"),
    ("pick", "hook/b", "2"),
    ("approve", "hook/a"),
    ("reject", "hook/b", "too dark"),
    ("retake", "end/a", "--server", "SERVER"),
    ("accept", "end/a"),
    ("forget", "end/a@2"),
    ("lock", "setup"),
    ("template", "import", "mine_api.json"),
    ("trust",),
    ("clean", "--yes"),
    ("verify", "--repair"),
    ("cache", "verify", "--repair"),
    ("cache", "gc", "--yes"),
    ("cache", "rebuild"),
    ("build", "--server", "SERVER"),
)


@dataclass(kw_only=True)
class Stage(OnDisk):
    """`root/work` is the workspace with `film` in it, `root/outside` what no verb may touch."""

    server: str
    env: dict[str, str]
    written: set[str] = field(default_factory=set)  # paths of files that verbs wrote, below `root`

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def saved(self) -> Path:
        return self.root / "saved"

    def run(self, *argv: str) -> Ran:
        """Run a verb where the film is, in this process; one that hangs fails."""
        words = [self.server if word == "SERVER" else word for word in argv]
        with environment({**self.home, **self.env}), chdir(self.folder), in_time(LIMIT_S, " ".join(argv)):
            return run(*words)

    def play(self) -> None:
        """Run every verb once, and note what was written."""

        def noted(op: str, path: Path) -> None:
            # a write is announced under the name it is written by; what it is for is named when it is in its place
            if path.is_relative_to(self.root) and TEMP_PREFIX not in str(path):
                self.written.add(path.relative_to(self.root).as_posix())

        with at_each_write(noted):
            for argv in VERBS:
                ran = self.run(*argv)
                assert ran.code in (0, 1), f"{argv}: {ran.out}{ran.err}"
            clip = self.folder / "public/scenes/scene-0-a.mp4"
            clip.write_bytes(b"by hand")  # what a repair puts aside
            assert self.run("verify", "--repair").code == 0

    def keep(self) -> None:
        """Keep the film and the store as they are now."""
        for name in ("work", "store"):
            shutil.copytree(self.root / name, self.saved / name, symlinks=True)

    def restore(self) -> None:
        """Bring back what was kept, and nothing outside."""
        for name in ("work", "store"):
            clear(self.root / name)
            shutil.copytree(self.saved / name, self.root / name, symlinks=True)
        clear(self.outside)
        (self.outside / "folder").mkdir(parents=True)
        (self.outside / "folder" / "kept.txt").write_text("kept")
        (self.outside / "secret.txt").write_text("a secret")

    def places(self, top: str) -> list[str]:
        """What was written below `work` or `store` and is still there, and the folders it is in, by path from `root`.

        Of files that are alike, such as the blobs of the store, only the first one.
        """
        written = self.written | {path.relative_to(self.saved).as_posix() for path in (self.saved / "store").rglob("*")}
        found = {path for path in written if path.startswith(f"{top}/") and os.path.lexists(self.saved / path)}
        for path in [*found]:
            found |= {above.as_posix() for above in Path(path).parents if above.as_posix().startswith(f"{top}/")}
        alike: dict[str, str] = {}
        for path in sorted(found - {"work/film"}, key=lambda path: (path.count("/"), path)):
            alike.setdefault(_alike(path, (self.saved / path).is_dir()), path)
        return list(alike.values())

    def seen_outside(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.outside)): path.read_bytes() if path.is_file() else b""
            for path in sorted(self.outside.rglob("*"))
        }


def _alike(path: str, is_folder: bool) -> str:
    """What a path has in common with those that are written in the same way."""
    plain = re.sub(r"\b[0-9a-f]{16,}\b", "DIGEST", path)
    plain = re.sub(r"/(cas|traces)/[0-9a-f]{2}\b", r"/\1/XX", plain)
    plain = re.sub(r"(starter/remotion)/.*\.", r"\1/any.", plain)
    plain = re.sub(r"scene-\d-\w", "scene-N", plain)
    return f"{plain} {is_folder}"


def clear(path: Path) -> None:
    if path.is_symlink() or (os.path.lexists(path) and not path.is_dir()):
        path.unlink()
    shutil.rmtree(path, ignore_errors=True)


@contextmanager
def in_time(limit_s: float, what: str) -> Iterator[None]:
    """Fail what hangs, and go on with the rest."""

    def stop(*_: object) -> None:
        raise Hung(f"`{what}` did not end in {limit_s:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Hung(BaseException):
    """A verb waits for what never comes. No Exception: the verb must not take it for one of its own."""


@contextmanager
def staged(root: Path) -> Iterator[Stage]:
    """Write the film, play it, and keep it; the servers live as long as the context."""
    with FakeComfy() as server, FakeImages(KEY) as images:
        studio = {"url": images.url, "model": "flux", "key_from_env": "STUDIO_KEY"}
        configure_engine(root, root / "config", studio=studio)
        stage = Stage.at(root, server=server.url, env={"STUDIO_KEY": KEY})
        stage.folder.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", str(stage.work)], check=True, capture_output=True)
        stage.file.write_text(FILM)
        (stage.folder / "mine_api.json").write_text(json.dumps(text_to_video()))
        stage.play()
        stage.keep()
        stage.restore()
        yield stage


# --- something else in the place of a file or a folder


def replaced(stage: Stage, path: str, put: Put) -> None:
    """Put something else where a file or folder is."""
    place = stage.root / path
    clear(place)
    with suppress(FileNotFoundError):
        put(place, stage.outside)


def wrong(ran: Ran) -> str:
    """What no verb may say, whatever it finds."""
    text = ran.out + ran.err
    if ran.code not in (0, 1, 2, 4):
        return f"exit {ran.code}: {text[-2000:]}"
    return "a traceback" if "Traceback" in text or "a bug in ltxflow" in text else ""


def tried(stage: Stage, path: str, put: Put, verbs: Sequence[Sequence[str]]) -> list[str]:
    """Put it there, run the verbs one after the other, and return what they did that they may not."""
    stage.restore()
    replaced(stage, path, put)
    before, found = stage.seen_outside(), []
    for argv in verbs:
        try:
            ran = stage.run(*argv)
        except Hung as error:
            found.append(f"{put.__name__} at {path}: {error}")
            continue
        if said := wrong(ran):
            found.append(f"{put.__name__} at {path}: `{' '.join(argv)}`: {said}")
        if stage.seen_outside() != before:
            found.append(f"{put.__name__} at {path}: `{' '.join(argv)}` wrote outside")
            stage.restore()
            replaced(stage, path, put)
    return found
