"""Read the files of a film into one document: project.yaml, scene files, `!include`.

Every path in them is relative to the project folder, whichever file it is in. The schema checks each unit separately: a
unit is project.yaml, or a file with one scene, with its includes.

The outline for completion (scenes, clips, tags, references) tolerates errors: a project that is being edited has some.
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

from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.workspace import real_path
from ltxflow.documents import yaml
from ltxflow.documents.document import Document, Include, KeyPath, contained, nearby, shown, workspace_of
from ltxflow.documents.fast_schema import fits
from ltxflow.documents.schema import check


@dataclass
class Outline:
    """Scene id → ids of its clips, in film order; all tags; the names under `references:`."""

    scenes: dict[str, list[str]] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    references: list[str] = field(default_factory=list)

    @property
    def clips(self) -> list[str]:
        return [f"{scene}/{clip}" for scene, clips in self.scenes.items() for clip in clips]


def outline(file: Path) -> Outline:
    """Return the names in project.yaml and its scene files, as far as they can be read."""
    found = Outline()
    film = _mapping(_read(file))
    found.references = [name for name in _mapping(_opened(film.get("references"), file.parent)) if name]
    for scene in _scenes(_opened(film.get("scenes"), file.parent), file.parent):
        found.tags |= _tags(scene)
        clips = found.scenes.setdefault(str(scene.get("id", "")), [])
        for each in _list(_opened(scene.get("clips"), file.parent)):
            clip = _mapping(_opened(each, file.parent))
            found.tags |= _tags(clip)
            clips += [str(clip["id"])] if "id" in clip else []
    found.scenes.pop("", None)
    return found


def _scenes(written: Any, folder: Path) -> Iterator[Mapping[str, Any]]:
    for scene in _list(written):
        if isinstance(scene, str):
            for file in _named(scene, folder):
                yield _mapping(_read(file))
        else:
            yield _mapping(_opened(scene, folder))


def _named(name: str, folder: Path) -> list[Path]:
    """Return the files of a name or a pattern under `scenes:`, if they belong to the project."""
    path = folder / name
    inside = contained(str(Path(name).parent), folder, workspace_of(folder), None)[0]
    return sorted(path.parent.glob(path.name)) if inside else []


def _opened(value: Any, folder: Path) -> Any:
    """Return the content of an include, any other value unchanged."""
    if not isinstance(value, Include):
        return value
    file = contained(value.path, folder, workspace_of(folder), None)[0]
    return _read(file) if file else None


def _read(file: Path) -> Any:
    with suppress(LtxflowError):
        return yaml.read(file, str(file), includes=True, problems=[]).data
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _tags(part: Mapping[str, Any]) -> set[str]:
    return {tag for tag in _list(part.get("tags")) if isinstance(tag, str)}


MAX_INCLUDES = 20_000  # in one film: files that include two files twice, and so on, would exhaust memory
GLOB = "*?["
TEXTS = (".txt", ".md")  # included unparsed: a prompt then needs no quotes
A_SCENE = {"id": "a", "clips": [{"id": "a", "prompt": "…"}]}  # a placeholder for scenes in separate files


@dataclass
class Sources:
    """A film as one document, and the files and folders it was read from, in reading order.

    `foreign` names the parts that need trust: absolute paths. `head` is a digest of all but the scenes. `homes` has for
    each scene with a separate file that file and its includes, and () for the others. `numbers` are the positions of
    the document's scenes in the film, where it has only some of them.
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
class ProjectRoots:
    """The folders of a project, and whether it may name absolute paths."""

    folder: Path
    workspace: Path
    is_trusted: bool = False


def read_sources(file: Path, roots: ProjectRoots) -> Sources:
    """Read project.yaml and its files into one document, and check it against the schema.

    Raise LtxflowError for a file that is missing or not YAML, and for includes in a cycle. Other problems are collected
    in `problems`, each at the file it is in.
    """
    sources = Sources(Document("", None, 0))
    reader = _Reader(roots, sources)
    document = sources.document = reader.read(file, shown(file))
    scenes = _scenes_of_sources(document)
    sources.head = _head(document.data, scenes)
    units: list[tuple[int, list[Document]]] = []
    failures: list[Problem] = []
    for index, name in enumerate(scenes):
        if isinstance(name, str):
            span, parts = document.span(("scenes", index)), []
            for path in reader.scene_files(name, span, failures):
                try:
                    parts.append(reader.read(path, shown(path), span))
                    sources.homes.append(reader.homes[real_path(path)])
                except LtxflowError as error:
                    failures += error.problems
            units.append((index, parts))
        else:
            sources.homes.append(())
    if failures:
        raise LtxflowError(*document.problems, *failures)
    for index, _ in units:
        scenes[index] = {}  # checked separately
    sources.problems += [*document.problems, *_checked(document, [index for index, _ in units])]
    for index, parts in reversed(units):  # reversed, so that earlier indexes stay valid
        for part in parts:
            sources.problems += [*part.problems, *check(part, "scene")]
        document.put_items(("scenes",), index, parts)
    return sources


@dataclass(frozen=True)
class WrittenScene:
    """A scene as written: `values`, a digest of its values, or `home`, its separate files; and its place."""

    values: str = ""
    home: tuple[str, ...] = ()
    span: Span | None = field(default=None, compare=False)


def written_scenes(sources: Sources) -> tuple[WrittenScene, ...]:
    """Return the scenes of the sources as written."""
    document, scenes = sources.document, []
    for index, (scene, home) in enumerate(zip(document.data["scenes"], sources.homes, strict=True)):
        values = "" if home else _values(scene)
        scenes.append(WrittenScene(values, tuple(map(str, home)), document.span(("scenes", index))))
    return tuple(scenes)


@dataclass
class FilmOutline:
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
        data = _scenes_of_sources(document)
        parts: list[Document | int] = []
        for place in (self._places[number] for number in sources.numbers):
            if isinstance(place, int):
                parts.append(place)
                sources.homes.append(())
            else:
                parts.append(self._reader.read(place, shown(place)))
                sources.homes.append(self._reader.homes[real_path(place)])
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


def read_outline(file: Path, roots: ProjectRoots) -> FilmOutline | None:
    """Read project.yaml and list its scenes; None where something is wrong: `read_sources` says what."""
    sources = Sources(Document("", None, 0))
    reader = _Reader(roots, sources)
    document = sources.document = reader.read(file, shown(file))
    scenes = _scenes_of_sources(document)
    sources.head = _head(document.data, scenes)
    places: list[Path | int] = []
    failures: list[Problem] = []
    for index, scene in enumerate(scenes):
        span = document.span(("scenes", index))
        places += reader.scene_files(scene, span, failures) if isinstance(scene, str) else [index]
    if document.problems or failures:
        return None
    written = tuple(
        WrittenScene(_values(scenes[at])) if isinstance(at, int) else WrittenScene(home=(str(at),)) for at in places
    )
    return FilmOutline(sources.head, written, reader, places)


def _scenes_of_sources(document: Document) -> list[Any]:
    scenes = document.data.get("scenes") if isinstance(document.data, dict) else None
    return scenes if isinstance(scenes, list) else []


def _head(data: Any, scenes: Sequence[Any]) -> str:
    """Return a digest of all but the scenes, and of the names of scene files."""
    rest = {key: value for key, value in data.items() if key != "scenes"} if isinstance(data, dict) else data
    return _values([rest, [scene if isinstance(scene, str) else None for scene in scenes]])


def _values(data: Any) -> str:
    """Return a digest of values as written, in their order."""
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


def _checked(document: Document, apart: Sequence[int]) -> list[Problem]:
    """Return the schema's problems of project.yaml, without those of scenes in separate files."""
    if apart and not document.problems:
        own = [scene for index, scene in enumerate(document.data["scenes"]) if index not in apart]
        if _fits_with(document, own):
            return []
    places = {document.span(("scenes", index)) for index in apart}
    return [each for each in check(document) if each.span not in places]


def _fits_with(document: Document, own: Sequence[Any]) -> bool:
    """Return whether project.yaml certainly fits its schema with only these of its scenes."""
    return fits({**document.data, "scenes": own or [A_SCENE]})


@dataclass
class _Reader:
    """The state of one reading: the project, the documents read so far, the files being read."""

    roots: ProjectRoots
    sources: Sources
    known: dict[Path, Document] = field(default_factory=dict)
    homes: dict[Path, tuple[Path, ...]] = field(default_factory=dict)  # file → the file and its includes
    opened: list[Path] = field(default_factory=list)
    scenes: set[Path] = field(default_factory=set)  # a pattern matches only files not named before
    real: dict[str, str] = field(default_factory=dict)  # folder → its resolved path
    included: int = 0

    def read(self, file: Path, name: str, span: Span | None = None) -> Document:
        """Read a file with its includes. `span` is the place that names it."""
        at = real_path(file)
        if at in self.opened:
            cycle = " → ".join(shown(path) for path in [*self.opened[self.opened.index(at) :], at])
            raise LtxflowError(problem("L111.cycle", span, cycle=cycle))
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
            raise LtxflowError(*(_named_at(each, span) for each in error.problems)) from None
        self.opened.append(at)
        home = [file]
        for path, include in list(_includes(document.data)):
            problems += self.include(document, path, include, home)
        self.opened.pop()
        self.homes[at] = tuple(home)
        self.known[at] = replace(document, problems=tuple(problems))
        return self.known[at]

    def include(self, document: Document, path: KeyPath, include: Include, home: list[Path]) -> list[Problem]:
        """Put an include into its place and its files into `home`. Return the problems in it."""
        span = document.span(path)
        self.included += 1
        if self.included > MAX_INCLUDES:
            raise LtxflowError(problem("L111.many", span, most=MAX_INCLUDES))
        if not path:
            raise LtxflowError(problem("L110.whole", span))
        file = self.one(include.path, span)
        part = self.read(file, shown(file), span)
        home += self.homes[real_path(file)]
        document.put(path, part)
        return [_named_at(each, span) for each in part.problems]

    def scene_files(self, name: str, span: Span, failures: list[Problem]) -> list[Path]:
        """Return the files of a name or a pattern under `scenes:`. Problems are added to `failures`."""
        try:
            files = [file for file in self.named(name, span) if file not in self.scenes]
        except LtxflowError as error:
            failures += error.problems
            return []
        self.scenes.update(files)
        return files

    def one(self, name: str, span: Span) -> Path:
        """Return the file of a name as written. Raise LtxflowError when there is none."""
        roots = self.roots
        file, refusal = contained(name, roots.folder, roots.workspace, span, roots.is_trusted, self.real)
        if Path(name).is_absolute() or name.startswith("~"):
            self.sources.foreign[f"absolute path {name}"] = name
        if refusal or file is None:
            raise LtxflowError(*([refusal] if refusal else []))
        if not file.is_file():
            raise LtxflowError(problem("L110.missing", span, hint=nearby(file, name, span), name=name))
        return file

    def named(self, name: str, span: Span) -> list[Path]:
        """Return the files of a name or a pattern under `scenes:`, sorted by name. Raise LtxflowError for none."""
        if not any(mark in name for mark in GLOB):
            return [self.one(name, span)]
        if Path(name).is_absolute() or ".." in Path(name).parts or "**" in name:
            raise LtxflowError(problem("L112.folder", span, name=name))
        folder = (self.roots.folder / name).parent
        self.sources.files.append(folder)  # a new file in there is a new scene
        found = [] if any(mark in str(folder) for mark in GLOB) else sorted(_matching(folder, Path(name).name))
        if not found:
            raise LtxflowError(problem("L112.none", span, name=name))
        above, is_known = Path(name).parent, False
        files = []
        for file, is_link in found:  # if one that is not a link lies in the workspace, all such files do
            files.append(folder / file if is_known and not is_link else self.one(str(above / file), span))
            is_known = is_known or not is_link
        return files


def _matching(folder: Path, pattern: str) -> Iterator[tuple[str, bool]]:
    """Yield the names of the files in a folder that match a pattern, each with whether it is a link."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if fnmatchcase(entry.name, pattern) and entry.is_file():
                yield entry.name, entry.is_symlink()


def _includes(data: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Include]]:
    """Yield every include of a document with its path."""
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


def _named_at(found: Problem, span: Span | None) -> Problem:
    """Add the place that names a file to the hint of a problem in it."""
    if span is None:
        return found
    where = f"named at {span.file}:{span.line}:{span.col}"
    hint = f"{found.hint} ({where})" if found.hint else where
    return replace(found, span=found.span or span, hint=hint)
