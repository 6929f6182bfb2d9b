"""Whole projects on disk, of tiny files: what one writes, edits and builds to see what is made again.

Everything passes the front door, the command line; only what would run on a server, or draw, is canned.
"""

from __future__ import annotations

import copy
import os
import shutil
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest
import yaml
from fakes.canned import Canned
from film import Ran, opened, run
from PIL import Image

from ltxflow.build import pipeline as film_module
from ltxflow.comfy.graph import canonical_graph
from ltxflow.core.digest import canonical
from ltxflow.lock.model import Lock, read_lock
from ltxflow.plan.plan import Change, Mode, Plan, PlanOptions
from ltxflow.project import load as load_module
from ltxflow.project.config import read_config, remember_trust
from ltxflow.publish import publish as publishing
from ltxflow.session.session import Session, open_session
from ltxflow.steps import clip as clip_step
from ltxflow.store.memo import Memory
from ltxflow.workflow.render import render
from ltxflow.workflow.template import Template, read_templates

Data = dict[str, Any]
Path_ = tuple[str | int, ...]

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


# --- files


def write_picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (16, 9), **options: Any) -> Path:
    """A picture of one colour; `options` are those of its format, such as compress_level."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path, **options)
    return path


def write_sound(path: Path, seconds: float, pitch: int = 1, rate: int = 8000) -> Path:
    """A wav of this length; another `pitch` is another recording."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(rate)
        file.writeframes(bytes(128 + (n * pitch) % 7 for n in range(round(seconds * rate))))
    return path


def write_guide(path: Path, frames: int = 300) -> Path:
    """A video for IC-LoRAs to follow: black frames, more than any clip has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(16, 16, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


# --- a project's data, and places in it


def dump(data: Data) -> str:
    """The project file as one would write it: block style, keys in order."""
    text: str = yaml.dump(data, Dumper=DUMPER, sort_keys=False, allow_unicode=True, width=1000)
    return text


def leaves(data: Any, at: str = "") -> Iterator[str]:
    """Every leaf of the data by its path: `scenes/hook/clips/a/seed`; things with ids by their ids."""
    if isinstance(data, Mapping) and data:
        for key, value in data.items():
            yield from leaves(value, f"{at}/{key}" if at else str(key))
    elif isinstance(data, list) and data:
        for index, value in enumerate(data):
            yield from leaves(value, f"{at}/{_name(value, index)}")
    else:
        yield at


def _name(value: Any, index: int) -> str:
    return str(value["id"]) if isinstance(value, Mapping) and "id" in value else str(index)


def place(data: Any, at: str) -> Path_:
    """Given a path as `leaves` tells it, return it as keys and indices. The last key need not be there."""
    found: list[str | int] = []
    for part in at.split("/"):
        step: str | int = part
        if isinstance(data, list):
            step = next(index for index, value in enumerate(data) if _name(value, index) == part)
        found.append(step)
        data = data[step] if isinstance(data, list) else (data or {}).get(step)
    return tuple(found)


def get(data: Any, at: str) -> Any:
    for step in place(data, at):
        data = data[step]
    return data


def with_value(data: Data, at: str, value: Any) -> Data:
    """The data with this value at that path, where there may be none yet."""
    changed = copy.deepcopy(data)
    *above, last = place(changed, at)
    inner: Any = changed
    for step in above:
        inner = inner[step]
    inner[last] = value
    return changed


def without(data: Data, at: str) -> Data:
    changed = copy.deepcopy(data)
    *above, last = place(changed, at)
    inner: Any = changed
    for step in above:
        inner = inner[step]
    del inner[last]
    return changed


def line_of(text: str, at: str) -> int:
    """The line, from 1, where the value of that path is written; told by another YAML reader than ours."""
    node: Any = yaml.compose(text, Loader=LOADER)
    for step in place(yaml.load(text, Loader=LOADER), at):
        if isinstance(node, yaml.MappingNode):
            node = next(value for key, value in node.value if key.value == str(step))
        else:
            node = node.value[step]
    return int(node.start_mark.line) + 1


# --- a project


@dataclass
class Project:
    """A project in a folder, and a store. What a build would run on servers is canned."""

    folder: Path
    store: Path
    config: Path

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
    def data(self) -> Data:
        data: Data = yaml.load(self.file.read_text(), Loader=LOADER)
        return data

    def write(self, data: Data | str) -> Project:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(data if isinstance(data, str) else dump(data))
        return self

    def set(self, at: str, value: Any) -> Project:
        return self.write(with_value(self.data, at, value))

    def drop(self, at: str) -> Project:
        return self.write(without(self.data, at))

    @property
    def env(self) -> dict[str, str]:
        return {**os.environ, "LTXFLOW_STORE": str(self.store), "XDG_CONFIG_HOME": str(self.config)}

    def session(self, **settings: Any) -> Session:
        return opened(open_session(str(self.folder), cwd=self.folder, env=self.env, command_line=settings))

    def look(self, *selectors: str, mode: Mode = "render", **settings: Any) -> Plan:
        return self.session(**settings).plan(PlanOptions(mode, selectors))

    def build(self, *argv: str) -> Built:
        """Build the film; servers and drawings are canned, the figures are those of the events."""
        canned = Canned()

        async def servers(*args: object) -> Canned:
            return canned

        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.env.items():
                patch.setenv(name, value)
            patch.setattr(publishing, "draw_poster", lambda video: b"poster of " + video.read_bytes())
            patch.setattr(film_module, "comfy_executor", servers)
            patch.setattr(film_module, "settle", lambda *asked: None)  # there is no server to ask
            patch.setattr(film_module, "LocalExecutor", lambda jobs: canned)
            done = run("build", "--json", "-p", str(self.folder), *argv)
        return Built(done, canned.ran)

    def files(self) -> dict[str, bytes]:
        """What is published as clips, by file name."""
        found = (self.folder / "public").rglob("scene-*.mp4")
        return {path.name: path.read_bytes() for path in sorted(found)}

    def trust(self) -> None:
        """The user's word for what the project brings now."""
        project = load_module.load(self.file, is_trusted=True).project
        remember_trust(read_config(self.env), self.folder, project.foreign)

    def clone(self, folder: Path, *, store: Path | None = None, lock: bool = True) -> Project:
        """What `git clone` gives: the project without what the machine made; the lock if it was committed."""
        left = [".ltxflow", "public", *([] if lock else ["ltxflow.lock"])]
        shutil.copytree(self.folder, folder, ignore=shutil.ignore_patterns(*left))
        return Project(folder, store or self.store, self.config)


@dataclass(frozen=True)
class Built:
    """What a build did: what the command said, and what was run."""

    done: Ran
    ran: list[str]

    @property
    def rendered(self) -> set[str]:
        """`hook/b@1` of every target that was run; told the same by the events. Frames are taken on the way."""
        assert self.done.code == 0, self.done.out + self.done.err
        made = [target for target in self.ran if not target.startswith("frame:")]
        assert self.done.totals["rendered"] == len(made)
        return {target.partition(":")[2] for target in made}


def stale(outlook: Plan) -> set[str]:
    """`hook/b@1` of every target that is not in the store."""
    return {target.partition(":")[2] for target, status in outlook.statuses.items() if status.state != "hit"}


def reasons(outlook: Plan) -> dict[str, Change]:
    return {change.target.partition(":")[2]: change for change in outlook.of_kind("change")}


@contextmanager
def templates_read_once() -> Iterator[None]:
    """Read our own templates once for all loads, and render each once for the same values: most of a look's time."""
    ours = read_templates("ltx2-19b", None)
    rendered: dict[tuple[str, bytes], Any] = {}
    forms: dict[tuple[int, bytes], Any] = {}

    def render_once(template: Template, context: Mapping[str, Any]) -> Any:
        known = (template.digest, canonical(context))
        if known not in rendered:
            rendered[known] = render(template, context)
        return rendered[known]

    def canonical_once(graph: Mapping[str, Any], outputs: Mapping[str, str], shared: Any = None) -> Any:
        known = (id(graph), canonical(outputs))
        if known not in forms:
            forms[known] = (graph, canonical_graph(graph, outputs))  # the graph is kept: no other one gets its id
        return forms[known][1]

    def read(profile: str, folder: Path | None, memory: Memory | None = None) -> Any:
        has_own = folder is not None and (folder / "templates").is_dir()
        return read_templates(profile, folder, memory) if has_own or profile != "ltx2-19b" else ours

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_module, "read_templates", read)
        patch.setattr(clip_step, "render", render_once)
        patch.setattr(clip_step, "canonical_graph", canonical_once)
        yield
