"""Reads the files that a film is written in and joins them into one document: scene files, `!include`.

Every path in them is relative to the project's folder, wherever it stands. Knows the shape of files, not what a film
is. A unit is what can be judged by itself: project.yaml, or a file with one scene, each with what it includes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.documents import yaml
from ltxflow.documents.fast_schema import check, fits
from ltxflow.documents.paths import contained, nearby, shown
from ltxflow.documents.yaml import Document, Include

RULES = {
    "L110": "an include is a YAML or text file of the project, a file under scenes: a YAML file",
    "L111": "includes do not go round in circles",
    "L112": "a pattern under scenes: names files",
}
MAX_INCLUDES = 20_000  # in one film: a file that includes two files twice, and so on, would fill the memory
GLOB = "*?["
TEXTS = (".txt", ".md")  # included as they are: a prompt needs no quotes then
A_SCENE = {"id": "a", "clips": [{"id": "a", "prompt": "…"}]}  # stands for those in files of their own

Path_ = tuple[str | int, ...]


@dataclass
class Sources:
    """A film as it is written, in one document; the files and folders that it rests on, in reading order.

    `foreign` names what needs trust: absolute paths. `head` is a digest of all but the scenes. `homes` are for each
    scene the files that it stands in, where it has its own: first its file, then what that includes. `numbers` are the
    places of the document's scenes in the film where it has not all of them.
    """

    document: Document
    files: list[Path] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    head: str = ""
    homes: list[tuple[Path, ...]] = field(default_factory=list)
    numbers: tuple[int, ...] | None = None
    characters: int = 0  # of the prompts of the scenes that are left out


@dataclass(frozen=True)
class PlaceInFile:
    """Where a project is, and what it may name."""

    folder: Path
    workspace: Path
    is_trusted: bool = False


def read_sources(file: Path, place: PlaceInFile) -> Sources:
    """Given the path of project.yaml, return the film's document, its shape checked.

    Raise LtxflowError for a file that cannot be gone on with: no YAML, not there, includes in a circle. What else is
    wrong is in `problems`, at the file in which it is written.
    """
    sources = Sources(Document("", None, 0))
    reader = _Reader(place, sources)
    document = sources.document = reader.read(file, shown(file))
    scenes = _scenes(document)
    sources.head = _head(document.data, scenes)
    units: list[tuple[int, list[Document]]] = []
    lost: list[Problem] = []
    for index, name in enumerate(scenes):
        if isinstance(name, str):
            span, parts = document.span(("scenes", index)), []
            for path in reader.scene_files(name, span, lost):
                try:
                    parts.append(reader.read(path, shown(path), span))
                    sources.homes.append(reader.homes[path.resolve()])
                except LtxflowError as error:
                    lost += error.problems
            units.append((index, parts))
        else:
            sources.homes.append(())
    if lost:
        raise LtxflowError(*document.problems, *lost)
    for index, _ in units:
        scenes[index] = {}  # judged apart
    sources.problems += [*document.problems, *_checked(document, [index for index, _ in units])]
    for index, parts in reversed(units):  # the places before it still hold
        for part in parts:
            sources.problems += [*part.problems, *check(part, "scene")]
        document.put_items(("scenes",), index, parts)
    return sources


@dataclass(frozen=True)
class WrittenScene:
    """A scene as it was written, and where: `values`, a digest of what is there, or `home`, the files of its own."""

    values: str = ""
    home: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False)


def how_written(sources: Sources) -> tuple[WrittenScene, ...]:
    """Given a film's sources, return how each of their scenes is written."""
    document, told = sources.document, []
    for index, (scene, home) in enumerate(zip(document.data["scenes"], sources.homes, strict=True)):
        values = "" if home else _values(scene)
        told.append(WrittenScene(values, tuple(map(str, home)), document.span(("scenes", index))))
    return tuple(told)


@dataclass
class Outline:
    """A film before the files of its scenes are read: `head` (of `Sources`) and, by place, how each scene is written.

    Of a scene in a file only the file itself is known, not what that includes.
    """

    head: str
    written: tuple[WrittenScene, ...]
    _reader: _Reader
    _places: list[Path | int]  # of each scene: its file, or its index under `scenes:`

    def read(self, numbers: Iterable[int]) -> Sources | None:
        """Return the scenes at these places; None where something is wrong: `read_sources` says what."""
        sources = self._reader.sources
        document = sources.document
        sources.numbers = tuple(sorted(numbers))
        data = _scenes(document)
        parts: list[Document | int] = []
        for place in (self._places[number] for number in sources.numbers):
            if isinstance(place, int):
                parts.append(place)
                sources.homes.append(())
            else:
                parts.append(self._reader.read(place, shown(place)))
                sources.homes.append(self._reader.homes[place.resolve()])
        own = [data[part] for part in parts if isinstance(part, int)]
        document.keep_items(("scenes",), parts)
        if not _fits_with(document, own):
            return None
        if not all(fits(part.data, "scene") and not part.problems for part in parts if isinstance(part, Document)):
            return None
        return sources

    @property
    def included(self) -> int:
        """How many files were included so far."""
        return self._reader.included


def read_outline(file: Path, place: PlaceInFile) -> Outline | None:
    """Read project.yaml and list its scenes; None where something is wrong: `read_sources` says what."""
    sources = Sources(Document("", None, 0))
    reader = _Reader(place, sources)
    document = sources.document = reader.read(file, shown(file))
    scenes = _scenes(document)
    sources.head = _head(document.data, scenes)
    places: list[Path | int] = []
    lost: list[Problem] = []
    for index, scene in enumerate(scenes):
        span = document.span(("scenes", index))
        places += reader.scene_files(scene, span, lost) if isinstance(scene, str) else [index]
    if document.problems or lost:
        return None
    written = tuple(
        WrittenScene(_values(scenes[at])) if isinstance(at, int) else WrittenScene(home=(str(at),)) for at in places
    )
    return Outline(sources.head, written, reader, places)


def _scenes(document: Document) -> list[Any]:
    scenes = document.data.get("scenes") if isinstance(document.data, dict) else None
    return scenes if isinstance(scenes, list) else []


def _head(data: Any, scenes: Sequence[Any]) -> str:
    """A digest of all but the scenes, and of how these are named."""
    rest = {key: value for key, value in data.items() if key != "scenes"} if isinstance(data, dict) else data
    return _values([rest, [scene if isinstance(scene, str) else None for scene in scenes]])


def _values(data: Any) -> str:
    """A digest of values as they are written, in their order."""
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


def _checked(document: Document, apart: Sequence[int]) -> list[Problem]:
    """What the schema has against a unit, but for the scenes that stand in files of their own."""
    if apart and not document.problems:
        own = [scene for index, scene in enumerate(document.data["scenes"]) if index not in apart]
        if _fits_with(document, own):
            return []
    places = {document.span(("scenes", index)) for index in apart}
    return [problem for problem in check(document) if problem.span not in places]


def _fits_with(document: Document, own: Sequence[Any]) -> bool:
    """Return whether project.yaml certainly fits the schema with these of its scenes alone."""
    return fits({**document.data, "scenes": own or [A_SCENE]})


@dataclass
class _Reader:
    """One reading: where the project is, what was found so far, which files are being read."""

    place: PlaceInFile
    sources: Sources
    known: dict[Path, Document] = field(default_factory=dict)
    homes: dict[Path, tuple[Path, ...]] = field(default_factory=dict)  # a file that was read, and what it includes
    opened: list[Path] = field(default_factory=list)
    scenes: set[Path] = field(default_factory=set)  # a pattern names the rest of a folder
    real: dict[str, str] = field(default_factory=dict)  # folder → where it really is
    included: int = 0

    def read(self, file: Path, name: str, span: Span | None = None) -> Document:
        """Given a file and where it is named, return it with what it includes."""
        at = file.resolve()
        if at in self.opened:
            circle = " → ".join(shown(path) for path in [*self.opened[self.opened.index(at) :], at])
            raise LtxflowError(Problem(f"includes go round: {circle}", span, "take one of them out", "L111"))
        if at in self.known:
            return self.known[at]
        self.sources.files.append(file)
        problems: list[Problem] = []
        try:
            if file.suffix in TEXTS and self.opened:
                document = yaml.read_text(file, name)
            else:
                document = yaml.read(file, name, includes=True, problems=problems)
        except LtxflowError as error:
            raise LtxflowError(*(_from(problem, span) for problem in error.problems)) from None
        self.opened.append(at)
        home = [file]
        for path, include in list(_includes(document.data)):
            problems += self.include(document, path, include, home)
        self.opened.pop()
        self.homes[at] = tuple(home)
        self.known[at] = replace(document, problems=tuple(problems))
        return self.known[at]

    def include(self, document: Document, path: Path_, include: Include, home: list[Path]) -> list[Problem]:
        """Put what is included into its place, its files into `home`, and return what is wrong in there."""
        span = document.span(path)
        self.included += 1
        if self.included > MAX_INCLUDES:
            hint = "include less, or fewer times"
            raise LtxflowError(Problem(f"more than {MAX_INCLUDES} includes", span, hint, "L111"))
        if not path:
            raise LtxflowError(Problem("a file is more than one include", span, "name that file instead", "L110"))
        file = self.one(include.path, span)
        part = self.read(file, shown(file), span)
        home += self.homes[file.resolve()]
        document.put(path, part)
        return [_from(problem, span) for problem in part.problems]

    def scene_files(self, name: str, span: Span, lost: list[Problem]) -> list[Path]:
        """Given a name or a pattern under `scenes:`, return the files it names; what is wrong goes to `lost`."""
        try:
            files = [file for file in self.named(name, span) if file not in self.scenes]
        except LtxflowError as error:
            lost += error.problems
            return []
        self.scenes.update(files)
        return files

    def one(self, name: str, span: Span) -> Path:
        """Given the name of a file as written, return where it is. Raise LtxflowError when it is not there."""
        place = self.place
        file, problem = contained(name, place.folder, place.workspace, span, place.is_trusted, self.real)
        if Path(name).is_absolute() or name.startswith("~"):
            self.sources.foreign[f"absolute path {name}"] = name
        if problem or file is None:
            raise LtxflowError(*([problem] if problem else []))
        if not file.is_file():
            raise LtxflowError(Problem(f'no file "{name}"', span, nearby(file, name, span), "L110"))
        return file

    def named(self, name: str, span: Span) -> list[Path]:
        """Given a name or a pattern under `scenes:`, return the files it names, by name."""
        if not any(mark in name for mark in GLOB):
            return [self.one(name, span)]
        hint = "write one such as scenes/*.yaml"
        if Path(name).is_absolute() or ".." in Path(name).parts or "**" in name:
            message = f'the pattern "{name}" does not stay in one folder of the project'
            raise LtxflowError(Problem(message, span, hint, "L112"))
        folder = (self.place.folder / name).parent
        self.sources.files.append(folder)  # a new file in there is a new scene
        found = [] if any(mark in str(folder) for mark in GLOB) else sorted(_fitting(folder, Path(name).name))
        if not found:
            raise LtxflowError(Problem(f'no file fits "{name}"', span, hint, "L112"))
        above, is_known = Path(name).parent, False
        files = []
        for file, is_link in found:  # where one that is no link lies in the workspace, all others of them do
            files.append(folder / file if is_known and not is_link else self.one(str(above / file), span))
            is_known = is_known or not is_link
        return files


def _fitting(folder: Path, pattern: str) -> Iterator[tuple[str, bool]]:
    """The names of the files in a folder that fit a pattern, each with whether it is a link."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if fnmatchcase(entry.name, pattern) and entry.is_file():
                yield entry.name, entry.is_symlink()


def _includes(data: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Include]]:
    """Every include of a document, by its path."""
    if isinstance(data, Include):
        yield path, data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            if not isinstance(value, str):
                yield from _includes(value, (*path, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            if not isinstance(value, str):
                yield from _includes(value, (*path, index))


def _from(problem: Problem, span: Span | None) -> Problem:
    """A problem of a file, with where that file is named."""
    if span is None:
        return problem
    where = f"named at {span.file}:{span.line}:{span.col}"
    hint = f"{problem.hint} ({where})" if problem.hint else where
    return Problem(problem.message, problem.span or span, hint, problem.code, problem.level)
