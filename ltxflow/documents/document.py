"""A document: plain data with the place of every value and key, joined from one or more files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ltxflow.core.errors import Problem, Span

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
