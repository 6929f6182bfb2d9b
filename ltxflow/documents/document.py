"""A document: plain data with the place of every value and key, joined from one or more files; and its paths.

Finds a project and its workspace, and keeps the paths that a project names inside it, without reading any content.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.workspace import confine_writes, real_path

FILE = "project.yaml"
WINDOWS_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)

LONGEST_NAME, LONGEST_PATH = 255, 1024  # bytes: of a name on nearly any file system, of a path on macOS


def find_project(name: str | None, cwd: Path) -> Path:
    """Find project.yaml by the value of `-p`: a folder, a file, or a name under `projects/`.

    Without one, search the folders upward, then for a `projects/` folder with exactly one project. Raise LtxflowError
    when there is none, or more than one to choose from.
    """
    if name is not None:
        return _named(name, cwd)
    for folder in (cwd, *cwd.parents):
        if (folder / FILE).is_file():
            return folder / FILE
    for folder in (cwd, *cwd.parents):
        found = _projects_under(folder)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(path.parent.name for path in found)
            raise LtxflowError(problem("L001.several", names=names))
    raise LtxflowError(problem("L001.none", file=FILE, folder=cwd))


def _named(name: str, cwd: Path) -> Path:
    path = cwd / name
    for candidate in (path, path / FILE):
        if candidate.is_file():
            return candidate
    names: list[str] = []
    for folder in (cwd, *cwd.parents):
        found = _projects_under(folder)
        names += [p.parent.name for p in found]
        for candidate in found:
            if candidate.parent.name == name:
                return candidate
    near = _closest(name, names)
    hint = f'did you mean "{near[0]}"?' if near else "give a folder, a project.yaml, or a name under projects/"
    raise LtxflowError(problem("L001.unknown", hint=hint, name=name))


def _projects_under(folder: Path) -> list[Path]:
    root = folder / "projects"
    if not root.is_dir():
        return []
    return sorted(child / FILE for child in root.iterdir() if (child / FILE).is_file())


def workspace_of(folder: Path, root: str | None = None) -> Path:
    """Return the workspace of a folder: `root`, else the nearest parent with `.git`, else the folder itself."""
    if root is not None:
        workspace = real_path(root)
        if not real_path(folder).is_relative_to(workspace):
            raise LtxflowError(problem("L002", root=root))
        return workspace
    for parent in (real_path(folder), *real_path(folder).parents):
        if (parent / ".git").exists():
            return parent
    return real_path(folder)


def confine(name: str | None, root: str | None, cwd: Path) -> None:
    """Confine writes of this process to the workspaces of the project and of the folder it runs in.

    `name` and `root` are the values of `-p` and `--root`. Without a project only the git checkout around `cwd` counts.
    """
    if root is not None:
        confine_writes(Path(root))
    elif (home := workspace_of(cwd)) != real_path(cwd) or (home / ".git").exists():
        confine_writes(home)
    with suppress(LtxflowError):  # reported by the verb if it needs a project
        confine_project(find_project(name, cwd), root)


def confine_project(file: Path, root: str | None) -> None:
    """Confine writes to the workspace of a project. Raise LtxflowError where it is not inside `root`."""
    confine_writes(workspace_of(file.parent, root), file.parent)


def contained(
    name: str,
    folder: Path,
    workspace: Path,
    span: Span | None,
    trusted: bool = False,
    known: dict[str, str] | None = None,
) -> tuple[Path | None, Problem | None]:
    """Resolve a path as written: return it, or the Problem with it.

    It is relative to the project folder and must resolve (symbolic links too) inside the workspace. An absolute path
    needs a trusted project. `known` caches the resolved paths of folders during one load.
    """
    if "\x00" in name or not name.strip():
        return None, problem("L010.name", span, path=repr(name))
    if _is_too_long(name):
        return None, problem("L010.long", span, path=name[:40])
    if os.path.isabs(name) or name.startswith("~"):
        if not trusted:
            return None, problem("L011", span, path=name)
        return Path(name).expanduser(), None
    path = folder / name
    try:
        inside = _is_inside(path, workspace, {} if known is None else known)
    except OSError:
        return None, problem("L010.loop", span, path=name)
    if not inside:
        wider = "keep the files in the workspace (the git checkout), or name a wider one with --root"
        hint = _from_own_file(name, folder, span) or wider
        return None, problem("L012", span, hint=hint, path=name, workspace=workspace)
    return path, None


def _is_too_long(name: str) -> bool:
    length = len(name.encode(errors="replace"))
    if length <= LONGEST_NAME:
        return False
    parts = Path(name).parts
    return length > LONGEST_PATH or any(len(part.encode(errors="replace")) > LONGEST_NAME for part in parts)


def _is_inside(path: Path, workspace: Path, known: dict[str, str]) -> bool:
    """Return whether a path resolves inside the workspace. Each folder is resolved once for all its files.

    Raise OSError for a circle of links.
    """
    folder, name = os.path.split(str(path))
    if name in ("", ".", ".."):
        return Path(_resolved(path)).is_relative_to(real_path(workspace))
    for place in (folder, str(workspace)):
        if place not in known:
            known[place] = _resolved(place)
    real = os.path.join(known[folder], name)
    if os.path.islink(real):
        real = _resolved(real)
    top = known[str(workspace)]
    return real == top or real.startswith(top if top.endswith("/") else f"{top}/")


def _resolved(path: str | Path) -> str:
    real = os.path.realpath(path)
    try:
        os.stat(real)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise
    return real


def shown(path: Path, cwd: Path | None = None) -> str:
    """Return a path relative to `cwd`, or absolute where that would be longer."""
    base = real_path(cwd or Path.cwd())
    target = path if path.is_absolute() else base / path
    try:
        return str(target.relative_to(base))
    except ValueError:
        pass
    parent = base.parent
    if parent != base and target.is_relative_to(parent):
        return str(Path("..") / target.relative_to(parent))
    return str(target)


def _from_own_file(name: str, folder: Path, span: Span | None) -> str:
    """Return a hint for a name relative to the file it is in: names are relative to the project folder."""
    if span is None:
        return ""
    meant = os.path.relpath(Path(span.file).parent / name, folder)
    if meant == os.path.normpath(name) or meant.startswith("..") or not (folder / meant).is_file():
        return ""
    return f'write "{Path(meant).as_posix()}": paths are relative to the folder of {FILE}'


def nearby(missing: Path, name: str, span: Span | None = None) -> str:
    """Return a hint for a missing file: a similar name, or the files of its folder."""
    if not name.startswith(("/", "~")) and (hint := _from_own_file(name, _start(missing, name), span)):
        return hint
    folder = missing.parent
    if missing.is_dir():
        return "name a file in that folder"
    if not folder.is_dir():
        return f"create the folder {shown(folder)}, or correct the path"
    names = sorted(child.name for child in folder.iterdir() if child.is_file())
    near = _closest(missing.name, names)
    if near:
        return f'did you mean "{PurePosixPath(name).with_name(near[0])}"?'
    return f"put it in {shown(folder)}" + (f" (there: {', '.join(names[:6])})" if names else "")


def _start(missing: Path, name: str) -> Path:
    """Return the folder that a name is relative to."""
    return missing.parents[len(Path(name).parts) - 1]


def _closest(name: str, names: Iterable[str]) -> list[str]:
    import difflib  # by need: importing it takes longer than a cached answer

    return difflib.get_close_matches(name, list(names), n=1)


KeyPath = tuple[str | int, ...]

COLUMNS = 1 << 24  # positions are packed into one int, line * COLUMNS + column: cheap to keep by the 10,000


@dataclass(frozen=True)
class Include:
    """`!include path`, for the caller to resolve."""

    path: str


@dataclass(slots=True)
class Marks:
    """The position of a mapping or a list, and of its keys and items; a scalar has only a position.

    `file` is set where the content of another file begins: there a scalar has marks, too, without items.
    """

    at: int
    keys: dict[str, int] | None  # None for a list
    items: Any  # dict[str, Marks | int] | list[Marks | int]
    file: str = ""


@dataclass(frozen=True)
class Document:
    """A file as plain data (dict, list, str, int, float, bool, None), with the place of every value and key.

    Parts named by an alias are the same object in both places: treat `data` as frozen. `problems` are those that
    parse() collected. `written` holds, by file and position, the text of values that print differently, such as
    `0x10` or `1.50`.
    """

    file: str
    data: Any
    marks: Any = field(repr=False, compare=False)
    problems: tuple[Problem, ...] = field(default=(), compare=False)
    written: dict[tuple[str, int], str] = field(default_factory=dict, repr=False, compare=False)

    def as_written(self, path: KeyPath) -> str | None:
        """Return the text of the number or word at a path, where it differs from how the value prints."""
        marks, rest, file = self._marks(path)
        return None if rest else self.written.get((file, position(marks)))

    def span(self, path: KeyPath = ()) -> Span:
        """Return the place of the value at a path of keys and indexes, else of its nearest parent."""
        marks, _, file = self._marks(path)
        return span_at(file, position(marks))

    def key_span(self, path: KeyPath) -> Span:
        """Return the place of the key that a path ends in; for other paths as span()."""
        marks, rest, file = self._marks(path[:-1])
        if path and not rest and isinstance(marks, Marks) and marks.keys and path[-1] in marks.keys:
            return span_at(file, marks.keys[str(path[-1])])
        return self.span(path)

    def put(self, path: KeyPath, other: Document) -> None:
        """Replace the value at `path` by the content of another file, whose places it keeps."""
        *above, last = path
        data = self.data
        for step in above:
            data = data[step]
        data[last] = other.data
        self.written.update(other.written)
        self._marks(tuple(above))[0].items[last] = other.as_part()

    def put_items(self, path: KeyPath, index: int, others: Sequence[Document]) -> None:
        """Replace one item of the list at `path` by the contents of other files."""
        data = self.data
        for step in path:
            data = data[step]
        data[index : index + 1] = [other.data for other in others]
        for other in others:
            self.written.update(other.written)
        self._marks(path)[0].items[index : index + 1] = [other.as_part() for other in others]

    def keep_items(self, path: KeyPath, parts: Sequence[Document | int]) -> None:
        """Replace the list at `path` by `parts`: items of it, by index, and contents of other files."""
        data = self.data
        for step in path:
            data = data[step]
        marks = self._marks(path)[0]
        marks.items = [marks.items[part] if isinstance(part, int) else part.as_part() for part in parts]
        data[:] = [data[part] if isinstance(part, int) else part.data for part in parts]

    def over(self, base: Document) -> Document:
        """Return this document merged over `base`: mappings merge by key, null removes a key, other values replace.

        Each value keeps the place in its file.
        """
        data, marks = _merged(self.data, self.as_part(), base.data, base.as_part(), (self.file, base.file))
        written = {**base.written, **self.written}
        return Document(self.file, data, marks, (*base.problems, *self.problems), written)

    def as_part(self) -> Marks:
        """Return its marks for use inside another document."""
        return _in_file(self.marks, self.file)

    def _marks(self, path: KeyPath) -> tuple[Any, KeyPath, str]:
        """Return the marks at a path or nearest above it, the rest of the path, and their file."""
        marks, file = self.marks, self.file
        for i, step in enumerate(path):
            try:
                marks = marks.items[step]
            except (AttributeError, KeyError, IndexError, TypeError):
                return marks, path[i:], file
            if isinstance(marks, Marks) and marks.file:
                file = marks.file
        return marks, (), file


def _in_file(marks: Any, file: str) -> Marks:
    """Return marks with their file set to `file`, unless they name another."""
    if isinstance(marks, Marks):
        return Marks(marks.at, marks.keys, marks.items, marks.file or file)
    return Marks(marks, None, None, file)


def _merged(own: Any, marks: Marks, base: Any, base_marks: Marks, files: tuple[str, str]) -> tuple[Any, Marks]:
    """Merge one value over another, with marks. `files` are the files of marks that name none."""
    file, base_file = marks.file or files[0], base_marks.file or files[1]
    if not (isinstance(own, dict) and isinstance(base, dict)):
        return own, _in_file(marks, file)
    data: dict[str, Any] = {}
    items: dict[str, Marks] = {}
    for key in [*base, *(key for key in own if key not in base)]:
        if key not in own:
            data[key], items[key] = base[key], _in_file(base_marks.items[key], base_file)
        elif key not in base:
            data[key], items[key] = own[key], _in_file(marks.items[key], file)
        elif own[key] is not None:
            over, under = _in_file(marks.items[key], file), _in_file(base_marks.items[key], base_file)
            data[key], items[key] = _merged(own[key], over, base[key], under, (file, base_file))
    return data, Marks(marks.at, marks.keys, items, file)


def span_at(file: str, at: int) -> Span:
    """Return the place at a packed position."""
    return Span(file, at // COLUMNS + 1, at % COLUMNS + 1)


def position(marks: Any) -> int:
    """Return the packed position of marks."""
    return marks.at if isinstance(marks, Marks) else marks or 0
