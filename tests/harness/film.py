"""A film in a folder, with its store beside it: write it, edit it, run a command on it, read what came out.

Slates are canned: real mp4 files of the right facts, made once and copied, so that a build takes no time.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest
import yaml
from fakes.canned import Canned

from harness.command import Ran, environment, opened, run
from harness.data import LOADER, Data, dump, with_value, without
from harness.media import canned
from ltxflow.core.digest import Output, digest_bytes
from ltxflow.core.files import TEMP_PREFIX
from ltxflow.lock.file import read_lock
from ltxflow.lock.model import Lock
from ltxflow.media.probe import probe_mp4
from ltxflow.plan.plan import Change, Mode, Plan, PlanOptions
from ltxflow.project.config import read_config, remember_trust
from ltxflow.project.load import load
from ltxflow.publish import publish as publishing
from ltxflow.session.session import Session, open_session
from ltxflow.steps import step
from ltxflow.store.traces import Trace

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
class OnDisk:
    """A folder with a project file in it, and the store and settings that belong to it.

    A film with none of its own `config` has the settings of the test.
    """

    folder: Path
    store: Path
    config: Path | None = None

    @classmethod
    def at(cls, root: Path, **options: Any) -> Self:
        """Lay a film out below `root`: in a workspace `work`, beside it the store and the settings."""
        (root / "work" / ".git").mkdir(parents=True, exist_ok=True)
        return cls(root / "work" / "film", root / "store", root / "config", **options)

    @property
    def file(self) -> Path:
        return self.folder / "project.yaml"

    @property
    def lock_file(self) -> Path:
        return self.folder / "ltxflow.lock"

    @property
    def lock(self) -> Lock:
        return read_lock(self.lock_file)

    @property
    def root(self) -> Path:
        """The folder with the workspace, the store and the settings in it."""
        return self.store.parent

    @property
    def public(self) -> Path:
        return self.folder / "public"

    @property
    def scenes(self) -> Path:
        return self.public / "scenes"

    @property
    def timeline(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.scenes / "timeline.json").read_text())
        return data

    def published(self) -> dict[str, bytes]:
        """Return every published file by its path below `public`."""
        found = sorted(self.public.rglob("*"))
        return {str(path.relative_to(self.public)): path.read_bytes() for path in found if path.is_file()}

    def files(self) -> dict[str, bytes]:
        """Return every published clip by its file name."""
        return {path.name: path.read_bytes() for path in sorted(self.public.rglob("scene-*.mp4"))}

    def watch(self, known: set[str]) -> None:
        """Read the published tree as a player may at any moment: every file whole, a whole timeline true.

        `known` has the digests of whole files.
        """
        for path in self.public.rglob("*"):
            if path.suffix == ".mp4" and not path.name.startswith(TEMP_PREFIX):
                assert digest_bytes(path.read_bytes()) in known, f"{path.name} is not whole"
        timeline = self.timeline if (self.scenes / "timeline.json").exists() else {"complete": False}
        for clip in (clip for scene in timeline["scenes"] for clip in scene["clips"]) if timeline["complete"] else ():
            data = (self.public / clip["src"]).read_bytes()
            assert digest_bytes(data) == clip["sha256"], f"{clip['src']} is not what a whole timeline says"

    @property
    def home(self) -> dict[str, str]:
        """The variables that name its store and settings."""
        config = {} if self.config is None else {"XDG_CONFIG_HOME": str(self.config)}
        return {"LTXFLOW_STORE": str(self.store), **config}

    def move_in(self, patch: pytest.MonkeyPatch) -> Self:
        """Make its store and settings those of the test, for `run`."""
        for name, value in self.home.items():
            patch.setenv(name, value)
        return self

    def run(self, *argv: str, **defaults: object) -> Ran:
        """Run a command on the film in this process, with the store and the settings of the test."""
        return run(*argv, "-p", str(self.folder), **defaults)

    def session(self, **settings: Any) -> Session:
        env = {**os.environ, **self.home}
        return opened(open_session(str(self.folder), cwd=self.folder, env=env, command_line=settings))

    def look(self, *selectors: str, mode: Mode = "render", **settings: Any) -> Plan:
        """Return the plan of a fresh session."""
        return self.session(**settings).plan(PlanOptions(mode, selectors))


@dataclass
class Film(OnDisk):
    """A film that tests write and build. Nothing is drawn for it, and no server is asked."""

    drawn: list[str] = field(default_factory=list)  # clips whose slates were drawn, in order

    # Write it

    def write(self, scenes: Mapping[str, Sequence[str]] | None = None, narration: Any = None, **top: Any) -> Film:
        """Write scenes (id → ids of clips), or those of `FILM`."""
        text = film_text(FILM if scenes is None else scenes, NARRATION if narration is None else narration, **top)
        return self.write_data(text)

    def write_data(self, data: Data | str) -> Film:
        """Write a project file of this data, or of this text."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(data if isinstance(data, str) else dump(data))
        return self

    @property
    def data(self) -> Data:
        data: Data = yaml.load(self.file.read_text(), Loader=LOADER)
        return data

    def edit(self, old: str, new: str) -> Film:
        """Replace the first occurrence of a text in the project file."""
        text = self.file.read_text()
        assert old in text, old
        self.file.write_text(text.replace(old, new, 1))
        return self

    def set(self, at: str, value: Any) -> Film:
        """Give the value at a path, such as `scenes/hook/clips/a/seed`."""
        return self.write_data(with_value(self.data, at, value))

    def drop(self, at: str) -> Film:
        """Take away the value at a path."""
        return self.write_data(without(self.data, at))

    def trust(self) -> None:
        """Trust what the project brings now."""
        project = load(self.file, is_trusted=True).project
        remember_trust(read_config({**os.environ, **self.home}), self.folder, project.foreign)

    def clone(self, folder: Path, *, store: Path | None = None, lock: bool = True) -> Film:
        """Do as `git clone`: copy the project without what the machine made; the lock if it was committed."""
        left = [".ltxflow", "public", *([] if lock else ["ltxflow.lock"])]
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(*left))
        return Film(folder, store or self.store, self.config)

    # Build it

    def build(self, *argv: str) -> Ran:
        """Build the animatic; `drawn` has the clips whose slates this build drew."""
        self.drawn.clear()
        return self.run("build", "--animatic", "--json", *argv)

    def make(self, *argv: str, meanwhile: Callable[[], object] = lambda: None) -> Made:
        """Build the film in its store; what would run on a server, or draw, is canned.

        `meanwhile` is called before the first clip is made.
        """
        canned = Canned(meanwhile=meanwhile)
        with environment(self.home), pytest.MonkeyPatch.context() as patch:
            patch.setattr(publishing, "draw_poster", lambda video: b"poster of " + video.read_bytes())
            return Made(self.run("build", "--json", *argv, executors=canned.executors()), canned.ran)

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


@dataclass(frozen=True)
class Made:
    """What a canned build did: what the command printed, and what was run."""

    done: Ran
    ran: list[str]

    @property
    def rendered(self) -> set[str]:
        """`hook/b@1` of every target that was run; the events agree. Frames are taken on the way."""
        assert self.done.code == 0, self.done.out + self.done.err
        made = [target for target in self.ran if not target.startswith("frame:")]
        assert self.done.totals["rendered"] == len(made)
        return {target.partition(":")[2] for target in made}


def stale(plan: Plan) -> set[str]:
    """Return `hook/b@1` of every target that is not in the store."""
    return {target.partition(":")[2] for target, status in plan.statuses.items() if status.state != "hit"}


def reasons(plan: Plan) -> dict[str, Change]:
    """Return the changes of a plan by `hook/b@1`."""
    return {change.target.partition(":")[2]: change for change in plan.of_kind("change")}
