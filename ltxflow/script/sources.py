"""Reads the files that a film is written in and joins them into one document: scene files, `!include`.

Every path in them is relative to the project's folder, wherever it stands. Knows the shape of files, not what a film
is. A unit is what can be judged by itself: project.yaml, or a file with one scene, each with what it includes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.script import yaml
from ltxflow.script.fits import check, fits
from ltxflow.script.paths import contained, nearby, shown
from ltxflow.script.yaml import Document, Include

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

    `foreign` names what needs trust: absolute paths.
    """

    document: Document
    files: list[Path] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class Place:
    """Where a project is, and what it may name."""

    folder: Path
    workspace: Path
    is_trusted: bool = False


def read_sources(file: Path, place: Place) -> Sources:
    """Given the path of project.yaml, return the film's document, its shape checked.

    Raise LtxflowError for a file that cannot be gone on with: no YAML, not there, includes in a circle. What else is
    wrong is in `problems`, at the file in which it is written.
    """
    sources = Sources(Document("", None, 0))
    reader = _Reader(place, sources)
    document = sources.document = reader.read(file, shown(file))
    written = document.data.get("scenes") if isinstance(document.data, dict) else None
    scenes: list[Any] = written if isinstance(written, list) else []
    units: list[tuple[int, list[Document]]] = []
    lost: list[Problem] = []
    for index, name in enumerate(scenes):
        if isinstance(name, str):
            units.append((index, list(reader.scene_files(name, document.span(("scenes", index)), lost))))
    if lost:
        raise LtxflowError(*document.problems, *lost)
    for index, _ in units:
        scenes[index] = {}  # judged apart
    sources.problems += [*document.problems, *_checked(document, "project", [index for index, _ in units])]
    for index, parts in reversed(units):  # the places before it still hold
        for part in parts:
            sources.problems += [*part.problems, *check(part, "scene")]
        document.put_items(("scenes",), index, parts)
    return sources


def _checked(document: Document, schema: str, apart: Sequence[int]) -> list[Problem]:
    """What the schema has against a unit, but for the scenes that stand in files of their own."""
    if apart and not document.problems:
        own = [scene for index, scene in enumerate(document.data["scenes"]) if index not in apart]
        if fits({**document.data, "scenes": own or [A_SCENE]}, schema):
            return []
    places = {document.span(("scenes", index)) for index in apart}
    return [problem for problem in check(document, schema) if problem.span not in places]


@dataclass
class _Reader:
    """One reading: where the project is, what was found so far, which files are being read."""

    place: Place
    sources: Sources
    known: dict[Path, Document] = field(default_factory=dict)
    opened: list[Path] = field(default_factory=list)
    scenes: set[Path] = field(default_factory=set)  # a pattern names the rest of a folder
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
        for path, include in list(_includes(document.data)):
            problems += self.include(document, path, include)
        self.opened.pop()
        self.known[at] = replace(document, problems=tuple(problems))
        return self.known[at]

    def include(self, document: Document, path: Path_, include: Include) -> list[Problem]:
        """Put what is included into its place, and return what is wrong in there."""
        span = document.span(path)
        self.included += 1
        if self.included > MAX_INCLUDES:
            hint = "include less, or fewer times"
            raise LtxflowError(Problem(f"more than {MAX_INCLUDES} includes", span, hint, "L111"))
        if not path:
            raise LtxflowError(Problem("a file is more than one include", span, "name that file instead", "L110"))
        file = self.one(include.path, span)
        part = self.read(file, shown(file), span)
        document.put(path, part)
        return [_from(problem, span) for problem in part.problems]

    def scene_files(self, name: str, span: Span, lost: list[Problem]) -> Iterator[Document]:
        """Given a name or a pattern under `scenes:`, yield the files it names; what cannot be read goes to `lost`."""
        try:
            files = [file for file in self.named(name, span) if file not in self.scenes]
        except LtxflowError as error:
            lost += error.problems
            return
        for file in files:
            self.scenes.add(file)
            try:
                yield self.read(file, shown(file), span)
            except LtxflowError as error:
                lost += error.problems

    def one(self, name: str, span: Span) -> Path:
        """Given the name of a file as written, return where it is. Raise LtxflowError when it is not there."""
        file, problem = contained(name, self.place.folder, self.place.workspace, span, self.place.is_trusted)
        if Path(name).is_absolute() or name.startswith("~"):
            self.sources.foreign[f"absolute path {name}"] = name
        if problem or file is None:
            raise LtxflowError(*([problem] if problem else []))
        if not file.is_file():
            raise LtxflowError(Problem(f'no file "{name}"', span, nearby(file, name), "L110"))
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
        found = sorted(folder.glob(Path(name).name)) if not any(mark in str(folder) for mark in GLOB) else []
        inside = [self.one(str(path.relative_to(self.place.folder)), span) for path in found if path.is_file()]
        if not inside:
            raise LtxflowError(Problem(f'no file fits "{name}"', span, hint, "L112"))
        return inside


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
