"""What the files are that a film names: pictures, sounds, videos. Looked at once, remembered while they are unchanged.

A file is known by its signature (size, mtime, ctime, inode). One written just before it was looked at is looked at
again the next time: a clock may be too coarse to tell two writes apart. Libraries are imported when there is to look.

What one load gathers on its way: problems with their places, the files that the film names, and what they are.
"""

from __future__ import annotations

import difflib
import importlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.documents import yaml
from ltxflow.documents.paths import WINDOWS_RESERVED, contained, nearby
from ltxflow.media.fit import Fit, ImageFacts, fit_warnings
from ltxflow.media.speech import MISSING, Engine
from ltxflow.models.profile import Profile
from ltxflow.project.model import Image, Media, Scene, Value
from ltxflow.project.references import ReferenceLibrary
from ltxflow.store.memo import Memory

RACY_NS = 2_000_000_000


class Facts:
    """What is asked of files, with what is remembered. Each raises LtxflowError as the function that looks.

    What raises is not remembered: it is told anew each time.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    def image(self, path: Path) -> ImageFacts:
        """As `media.image.read_image`."""

        def look() -> list[Any]:
            found: ImageFacts = importlib.import_module("ltxflow.media.image").read_image(path)
            return [found.pixels, found.width, found.height, list(found.warnings)]

        pixels, width, height, warnings = self._of("image", path, look)
        return ImageFacts(Digest(pixels), width, height, tuple(warnings))

    def sound(self, path: Path) -> tuple[int, int, Digest]:
        """As `media.sound.measure_sound`: samples, sample rate, and the digest of the file."""

        def look() -> list[Any]:
            found = importlib.import_module("ltxflow.media.audio").measure_sound(path)
            return [found.samples, found.sample_rate, digest_file(path)]

        samples, rate, digest = self._of("sound", path, look)
        return samples, rate, Digest(digest)

    def video(self, path: Path) -> tuple[dict[str, Any], Digest]:
        """As `media.video.probe_video`, and the digest of the file."""

        def look() -> list[Any]:
            return [importlib.import_module("ltxflow.media.video").probe_video(path), digest_file(path)]

        facts, digest = self._of("footage", path, look)
        return facts, Digest(digest)

    def _of(self, kind: str, path: Path, look: Callable[[], list[Any]]) -> Any:
        name = f"{kind} {path if path.is_absolute() else path.absolute()}"
        before = files.signature(path)
        row = self.memory.get(name) if before else None
        if row is not None and row[0] == list(before or ()):
            return row[1]
        found = look()
        if before is not None and before == files.signature(path) and time.time_ns() - max(before[1:3]) > RACY_NS:
            self.memory.put(name, [before, found])
        return found


RULES = {
    "L010": "a path can be resolved",
    "L011": "a path is relative to the project's folder, unless the project is trusted",
    "L012": "a path stays in the workspace",
    "L014": "no symbolic link leads out of the workspace, and none is in .ltxflow",
    "L015": "nothing is written below .git",
    "L020": "a file that is named exists",
    "L021": "an image can be read",
    "L022": "an image fits: not much of it is cut off or enlarged",
    "L023": "a video can be read",
    "L024": "a sound can be read",
    "L025": "a video is of standard dynamic range",
    "L050": "an id is used once",
    "L051": "an id is no reserved name on Windows",
}

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class FilmSettings:
    """What all scenes and clips of a film are read with. `size` is what is delivered, in px; `variables` are flat."""

    profile: Profile
    fps: int
    size: tuple[int, int]
    variables: Mapping[str, str]


@dataclass
class Reader:
    """What one load gathers on its way: the document, its problems, the files it read."""

    document: yaml.Document
    folder: Path
    workspace: Path
    is_trusted: bool
    problems: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    images: dict[Path, Image | None] = field(default_factory=dict)
    misfits: dict[Path, list[Problem]] = field(default_factory=dict)  # what is odd in a picture; its users come later
    engines: dict[str, Engine] = field(default_factory=dict)
    numbers: Sequence[int] | None = None  # of the scenes, in the film, where only some of them are read
    library: ReferenceLibrary | None = None
    characters: int = 0  # of all prompts that were read
    offline: Callable[[], str | None] = lambda: None
    remembered: Callable[[str], Engine | None] = lambda name: None
    facts: Facts = field(default_factory=Facts)
    real: dict[str, str] = field(default_factory=dict)  # folder → where it really is

    def absent(self, name: str) -> Engine | None:
        """Return what stands in for an engine that is not configured here; None for a name that is a misspelling.

        One that made something is known by that, whatever its name is like.
        """
        found = self.remembered(name)
        if found is None and not difflib.get_close_matches(name, ["offline", *self.engines], n=1):
            found = Engine(name, MISSING)
        return found

    def span(self, path: Path_) -> Span:
        return self.document.span(path)

    def wrong(self, message: str, path: Path_, hint: str = "", code: str = "") -> None:
        self.problems.append(Problem(message, self.span(path), hint, code))

    def file(self, name: str, path: Path_, span: Span | None = None) -> Path | None:
        """Return where the file named at `path` is, or None after noting what is wrong with it."""
        span = span or self.span(path)
        if Path(name).is_absolute() or name.startswith("~"):
            self.foreign[f"absolute path {name}"] = name
        found, problem = contained(name, self.folder, self.workspace, span, self.is_trusted, self.real)
        if problem:
            self.problems.append(problem)
        if found is None:
            return None
        if not found.is_file():
            self.problems.append(Problem(f'no file "{name}"', span, nearby(found, name, span), "L020"))
            return None
        self.files.append(found)
        return found

    def unique(self, id: str, path: Path_, seen: dict[str, Path_], what: str) -> None:
        """Note an id that one of those `seen` has, or that no file can have."""
        if id in seen:
            first = self.span(seen[id])
            elsewhere = f" of {first.file}" if first.file != self.span(path).file else ""
            hint = f"the first is at line {first.line}{elsewhere}"
            self.wrong(f'{what} id "{id}" is used twice', path, hint, "L050")
        seen.setdefault(id, path)
        if id in WINDOWS_RESERVED:
            self.wrong(f'"{id}" is a reserved name on Windows', path, f'use another id, such as "{id}-1"', "L051")

    def image(self, named: Value, span: Span, fit: str, size: tuple[int, int]) -> Image | None:
        """Return the picture that a setting names, or None: without one, or after noting what is wrong with it."""
        if not named.value:
            return None
        name = str(named.value)
        file, problem = contained(name, self.folder, self.workspace, span, self.is_trusted, self.real)
        if os.path.isabs(name):
            self.foreign[f"absolute path {name}"] = name
        if problem or file is None:
            self.problems += [problem] if problem else []
            return None
        known = self.images.get(file)
        if known is None:  # one that cannot be read is told wherever it is named
            known = self.images[file] = self._read_image(file, name, span, fit, size)
        return known

    def _read_image(self, file: Path, name: str, span: Span, fit: str, size: tuple[int, int]) -> Image | None:
        if not file.is_file():
            near = difflib.get_close_matches(name, self.library.defined if self.library else (), n=1)
            hint = f'did you mean the reference "{near[0]}"?' if near else nearby(file, name, span)
            self.problems.append(Problem(f'no file "{name}"', span, hint, "L020"))
            return None
        self.files.append(file)
        try:
            facts = self.facts.image(file)
        except LtxflowError as error:
            self.problems += [Problem(p.message, span, p.hint, "L021") for p in error.problems]
            return None
        self.misfits[file] = [
            Problem(f"{name}: {warning}", span, code="L022", level="warning")
            for warning in (*facts.warnings, *fit_warnings(facts, size, cast(Fit, fit)))
        ]
        return Image(file, name, facts.pixels, facts.width, facts.height, span)

    def video(self, value: Value) -> Media | None:
        """Return the video that a setting names, or None after noting what is wrong with it."""
        name, span = str(value.value), value.span
        file, problem = contained(name, self.folder, self.workspace, span, self.is_trusted, self.real)
        if problem or file is None:
            self.problems += [problem] if problem else []
            return None
        if not file.is_file():
            self.problems.append(Problem(f'no file "{name}"', span, nearby(file, name, span), "L020"))
            return None
        self.files.append(file)
        try:
            facts, digest = self.facts.video(file)
        except LtxflowError as error:
            self.problems += [Problem(p.message, span, p.hint, "L023") for p in error.problems]
            return None
        if facts["is_hdr"]:
            message = f"{name} is HDR, and its colours are taken as they are: they will look pale"
            hint = "convert it first: ffmpeg -i … -vf zscale=t=linear,tonemap=hable,zscale=t=bt709:m=bt709:r=tv …"
            self.problems.append(Problem(message, span, hint, "L025", "warning"))
        return Media(file, name, digest, facts, span)

    def sound(self, name: str, path: Path_, span: Span | None = None) -> Media | None:
        """Return the sound that is named at `path`, or None after noting what is wrong with it.

        `span` is where it is written, if not at `path`.
        """
        span = span or self.span(path)
        file = self.file(name, path, span)
        if file is None:
            return None
        try:
            samples, rate, digest = self.facts.sound(file)
        except LtxflowError as error:
            self.problems += [Problem(p.message, span, p.hint, "L024") for p in error.problems]
            return None
        return Media(file, name, digest, {"samples": samples, "sample_rate": rate}, span)


def picture_warnings(reader: Reader, scenes: Sequence[Scene]) -> list[Problem]:
    """Return what is odd in the pictures of a film, each with the clips that use it."""
    users: dict[Path, list[str]] = {}
    for clip in (clip for scene in scenes for clip in scene.clips):
        for picture in clip.pictures.values():
            if isinstance(picture, Image):
                users.setdefault(picture.path, []).append(clip.path)
    return [
        replace(problem, of=tuple(users.get(file, ())))
        for file, problems in reader.misfits.items()
        for problem in problems
    ]
