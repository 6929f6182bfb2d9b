"""Strict YAML with positions: text → plain data and where each value stands. Knows nothing of what keys mean.

The only importer of pyyaml. Scalars follow the YAML 1.2 core schema (yaml.org/spec/1.2.2, 10.3.2); what YAML
1.1 readers understand differently is refused, so that a file means the same to every tool that opens it.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.documents.yaml_errors import BREAK, MAX_DEPTH, TOO_DEEP, UNCLOSED, in_words

MAX_BYTES = 8_000_000
MAX_ALIASES = 100
MAX_EXPANDED = 100_000  # nodes that aliases add; what is written out is bounded by MAX_BYTES

RULES = {
    "Y001": "the file must exist and be readable",
    "Y002": "the file must be UTF-8",
    "Y003": "the file must not be larger than 8 MB",
    "Y004": "the file must not be empty",
    "Y005": "the file must be valid YAML",
    "Y006": "indentation is made of spaces, not tabs",
    "Y007": "a file holds one document",
    "Y008": "a key stands once in its mapping",
    "Y009": "keys are text",
    "Y010": "yes, no, on and off are ambiguous: write true or false, or quote them",
    "Y011": "numbers with colons (1:30) are ambiguous: write 90s, or quote them",
    "Y012": "whole numbers have no leading zeros",
    "Y013": "numbers are finite and below 2^63",
    "Y014": "merge keys (<<) are not used: write defaults",
    "Y015": "tags (!name) are not used",
    "Y016": "an alias (*name) names an anchor (&name) that is complete above it",
    "Y017": "at most 100 aliases, which add at most 100,000 values",
    "Y018": "values are nested at most 40 deep",
    "Y019": "no invisible control characters or line separators",
    "Y020": "a merge of git's is finished",
}

Path_ = tuple[str | int, ...]
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast

_COLUMNS = 1 << 24  # positions are packed into one int, line * _COLUMNS + column: cheap to keep by the 10,000
_INVISIBLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")

_WORDS = {"": None, "~": None} | {
    form: value
    for word, value in (("null", None), ("true", True), ("false", False))
    for form in (word, word.title(), word.upper())
}
_SWITCHES = {
    form: meant
    for word, meant in (("yes", "true"), ("on", "true"), ("no", "false"), ("off", "false"))
    for form in (word, word.title(), word.upper())
}
_SPECIAL = frozenset("0123456789+-.~nNtTfFyYoO")  # what a scalar starts with that may be other than text
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(?::[0-9]{1,2})+(?:\.[0-9]*)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


@dataclass(frozen=True)
class Include:
    """`!include path`, for the caller to resolve."""

    path: str


@dataclass(slots=True)
class _Marks:
    """Where a mapping or a list stands, and its keys and items; a scalar's marks are its position alone.

    `file` is set where another file's content begins: there a scalar has marks, too, without items.
    """

    at: int
    keys: dict[str, int] | None  # None for a list
    items: Any  # dict[str, _Marks | int] | list[_Marks | int]
    file: str = ""


@dataclass(frozen=True)
class Document:
    """A file as plain data (dict, list, str, int, float, bool, None), with where every value and key stands.

    Parts named by an alias are the same object in both places: treat `data` as frozen. `problems` are those
    that parse() was told to collect. `written` holds the values that stand otherwise in the file than they print,
    as `0x10` or `1.50`, by file and place.
    """

    file: str
    data: Any
    marks: Any = field(repr=False, compare=False)
    problems: tuple[Problem, ...] = field(default=(), compare=False)
    written: dict[tuple[str, int], str] = field(default_factory=dict, repr=False, compare=False)

    def as_written(self, path: Path_) -> str | None:
        """Given a path, return how the number or word there is written, where that is not how it prints."""
        marks, rest, file = self._marks(path)
        return None if rest else self.written.get((file, _at(marks)))

    def span(self, path: Path_ = ()) -> Span:
        """Given a path of keys and indexes, return where the value stands, else its nearest parent."""
        marks, _, file = self._marks(path)
        return _span(file, _at(marks))

    def key_span(self, path: Path_) -> Span:
        """Given a path that ends in a key, return where the key is written; else as span()."""
        marks, rest, file = self._marks(path[:-1])
        if path and not rest and isinstance(marks, _Marks) and marks.keys and path[-1] in marks.keys:
            return _span(file, marks.keys[str(path[-1])])
        return self.span(path)

    def put(self, path: Path_, other: Document) -> None:
        """Put another file's content in the place of the value at `path`: spans in there are of that file."""
        *above, last = path
        data = self.data
        for step in above:
            data = data[step]
        data[last] = other.data
        self.written.update(other.written)
        self._marks(tuple(above))[0].items[last] = other.as_part()

    def put_items(self, path: Path_, index: int, others: Sequence[Document]) -> None:
        """Put other files' contents in the place of one item of the list at `path`."""
        data = self.data
        for step in path:
            data = data[step]
        data[index : index + 1] = [other.data for other in others]
        for other in others:
            self.written.update(other.written)
        self._marks(path)[0].items[index : index + 1] = [other.as_part() for other in others]

    def keep_items(self, path: Path_, parts: Sequence[Document | int]) -> None:
        """Leave of the list at `path` only `parts`: items of it, by their index, and other files' contents."""
        data = self.data
        for step in path:
            data = data[step]
        marks = self._marks(path)[0]
        marks.items = [marks.items[part] if isinstance(part, int) else part.as_part() for part in parts]
        data[:] = [data[part] if isinstance(part, int) else part.data for part in parts]

    def over(self, base: Document) -> Document:
        """Return this document laid over `base`: mappings merge key by key, null takes a key away, the rest replaces.

        Spans stay those of the file that a value is written in.
        """
        data, marks = _laid_over(self.data, self.as_part(), base.data, base.as_part(), (self.file, base.file))
        written = {**base.written, **self.written}
        return Document(self.file, data, marks, (*base.problems, *self.problems), written)

    def as_part(self) -> _Marks:
        """Its marks, as they stand inside another document's."""
        return _in_file(self.marks, self.file)

    def _marks(self, path: Path_) -> tuple[Any, Path_, str]:
        """The marks at a path, or the nearest above; what of the path is left then; the file they are in."""
        marks, file = self.marks, self.file
        for i, step in enumerate(path):
            try:
                marks = marks.items[step]
            except (AttributeError, KeyError, IndexError, TypeError):
                return marks, path[i:], file
            if isinstance(marks, _Marks) and marks.file:
                file = marks.file
        return marks, (), file


def _in_file(marks: Any, file: str) -> _Marks:
    """Marks of a value that is written in `file`, unless they name another one."""
    if isinstance(marks, _Marks):
        return _Marks(marks.at, marks.keys, marks.items, marks.file or file)
    return _Marks(marks, None, None, file)


def _laid_over(own: Any, marks: _Marks, base: Any, base_marks: _Marks, files: tuple[str, str]) -> tuple[Any, _Marks]:
    """Return data and marks of one value over another; `files` are those that their marks are of, if they name none."""
    file, base_file = marks.file or files[0], base_marks.file or files[1]
    if not (isinstance(own, dict) and isinstance(base, dict)):
        return own, _in_file(marks, file)
    data: dict[str, Any] = {}
    items: dict[str, _Marks] = {}
    for key in [*base, *(key for key in own if key not in base)]:
        if key not in own:
            data[key], items[key] = base[key], _in_file(base_marks.items[key], base_file)
        elif key not in base:
            data[key], items[key] = own[key], _in_file(marks.items[key], file)
        elif own[key] is not None:
            over, under = _in_file(marks.items[key], file), _in_file(base_marks.items[key], base_file)
            data[key], items[key] = _laid_over(own[key], over, base[key], under, (file, base_file))
    return data, _Marks(marks.at, marks.keys, items, file)


def _span(file: str, at: int) -> Span:
    return Span(file, at // _COLUMNS + 1, at % _COLUMNS + 1)


def read(path: Path, shown: str, *, includes: bool = False, problems: list[Problem] | None = None) -> Document:
    """Given a file and the name to show for it, return it parsed.

    Raise as parse() does, and when the file cannot be read.
    """
    return parse(_decode(_bytes(path, shown), shown), shown, includes=includes, problems=problems)


def read_text(path: Path, shown: str) -> Document:
    """Given a file that is one text, and no YAML, and the name to show for it, return it as a document.

    Raise LtxflowError when it cannot be read, is empty, or holds what no text should.
    """
    text = _decode(_bytes(path, shown), shown).removeprefix("\ufeff")
    if found := _INVISIBLE.search(text):
        raise LtxflowError(_invisible(text, found.start(), shown))
    _refuse_conflicts(text, shown)
    if not text.strip():
        raise LtxflowError(Problem("the file is empty", Span(shown, 1, 1), "write a text into it", "Y004"))
    return Document(shown, text.strip(), 0)


def _bytes(path: Path, shown: str) -> bytes:
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise LtxflowError(Problem(f'"{shown}" is a folder', hint="name the file inside it", code="Y001"))
        if not stat.S_ISREG(info.st_mode):
            raise LtxflowError(Problem(f'"{shown}" is not a file', hint="name a text file", code="Y001"))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise LtxflowError(
            Problem(f'"{shown}" does not exist', hint="check the name and the folder", code="Y001")
        ) from None
    except OSError as error:
        raise LtxflowError(
            Problem(
                f'"{shown}" cannot be read: {(error.strerror or "input error").lower()}',
                hint="check the file's permissions",
                code="Y001",
            )
        ) from error
    if len(data) > MAX_BYTES:
        raise LtxflowError(_too_large(shown))
    return data


def _refuse_conflicts(text: str, shown: str) -> None:
    """Raise LtxflowError where git left two versions: YAML would complain of something else, a text of nothing."""
    begin = "<<<<<<< "
    at = 0 if text.startswith(begin) else text.find(f"\n{begin}") + 1
    if not text.startswith(begin, at):
        return
    line = text.count("\n", 0, at) + 1
    hint = "keep what is right of the two versions, and take the lines with <<<<<<<, ======= and >>>>>>> out"
    mark = text[at:].split("\n", 1)[0].rstrip()
    raise LtxflowError(Problem(f'an unresolved merge conflict: "{mark}"', Span(shown, line, 1), hint, "Y020"))


def parse(text: str, file: str, *, includes: bool = False, problems: list[Problem] | None = None) -> Document:
    """Given YAML text and the file name to show, return its one document.

    Raise LtxflowError with all problems of the text; a syntax error ends the search for more. Given a list
    `problems`, those that leave something to go on with are added to it (and to `Document.problems`) instead,
    for the caller to report with its own; what was refused then stands as the text that was written.
    With `includes`, `!include path` becomes an Include.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise LtxflowError(_too_large(file))
    if found := _INVISIBLE.search(text):
        raise LtxflowError(_invisible(text, found.start(), file))
    _refuse_conflicts(text, file)
    composer = _Composer(text, file, includes)
    try:
        composer.run(LOADER(text))
    except yaml.MarkedYAMLError as error:
        problem = in_words(error, text, file)
        if not any(p.code == "Y009" and _position(p).line == _position(problem).line for p in composer.problems):
            composer.problems.append(problem)  # `{{ look }} a vault` without quotes is one mistake, not two
        raise LtxflowError(*sorted(composer.problems, key=_position)) from None
    collected = tuple(sorted(composer.problems, key=_position))
    if collected and problems is None:
        raise LtxflowError(*collected)
    if problems is not None:
        problems.extend(collected)
    written = {(file, at): text for at, text in composer.written.items()}
    return Document(file, composer.data, composer.marks, collected, written)


def _position(problem: Problem) -> Span:
    return problem.span or Span("", 0, 0)


def _at(marks: Any) -> int:
    return marks.at if isinstance(marks, _Marks) else marks or 0


# ---- events → data and marks


_NO_KEY: Any = object()  # the next node is a key
_DROPPED: Any = object()  # the next node is the value of a key that was refused


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still open."""

    data: Any
    marks: _Marks
    mark: Any
    anchor: str | None
    nodes: int  # how many nodes had been seen when it began
    key: Any = _NO_KEY


class _Composer:
    """Turns parser events into data and marks, collecting what is wrong on the way. Never recurses."""

    def __init__(self, text: str, file: str, includes: bool) -> None:
        self.text, self.file, self.includes = text, file, includes
        self.problems: list[Problem] = []
        self.data: Any = None
        self.marks: Any = 0
        self.stack: list[_Frame] = []
        self.anchors: dict[str, tuple[Any, Any, int] | None] = {}  # None: begun, not complete
        self.written: dict[int, str] = {}
        self.nodes = self.aliases = self.expanded = self.documents = 0

    def run(self, loader: Any) -> None:
        steps: dict[type, Any] = {
            ScalarEvent: self.scalar,
            MappingStartEvent: self.mapping,
            SequenceStartEvent: self.sequence,
            MappingEndEvent: self.close,
            SequenceEndEvent: self.close,
            AliasEvent: self.alias,
            DocumentStartEvent: self.document,
            DocumentEndEvent: lambda event: None,
            StreamStartEvent: lambda event: None,
        }
        get = loader.get_event
        while type(event := get()) is not StreamEndEvent:
            steps[type(event)](event)
        if self.data is None:
            self.report("Y004", 0, "the file is empty", "write at least one key")

    def report(self, code: str, at: int, message: str, hint: str) -> None:
        self.problems.append(Problem(message, _span(self.file, at), hint, code))

    def stop(self, code: str, at: int, message: str, hint: str) -> NoReturn:
        self.report(code, at, message, hint)
        raise LtxflowError(*sorted(self.problems, key=_position))

    def document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self.stop(
                "Y007",
                _pack(event.start_mark),
                "a second document starts here",
                'keep one document in a file: remove the "---"',
            )

    def scalar(self, event: Any) -> None:
        self.nodes += 1
        mark = event.start_mark
        at = mark.line * _COLUMNS + mark.column
        value: Any = event.value
        if event.tag is not None:
            value = self.tagged(event, at)
        elif event.implicit[0] and (not value or value[0] in _SPECIAL or value == "<<"):
            value = self.plain(value, at)
            if type(value) is not str and repr(value).lower() != event.value and value is not None:
                self.written[at] = event.value
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, at, 1)
        self.put(value, at, mark, event)

    def plain(self, text: str, at: int) -> Any:
        """The value of an unquoted scalar; one that readers disagree on is reported and stays text."""
        if text in _WORDS:
            return _WORDS[text]
        if meant := _SWITCHES.get(text):
            self.report(
                "Y010",
                at,
                f'"{text}" is ambiguous: some readers take it for {meant}, others for text',
                f'write {meant}, or "{text}" in quotes if it is text',
            )
        elif _INT.fullmatch(text):
            digits = text.lstrip("+-")
            if digits[0] == "0" and len(digits) > 1:
                self.report(
                    "Y012",
                    at,
                    f'"{text}" has a leading zero: some readers take it for an octal number',
                    f'write {_unpadded(text)}, or "{text}" in quotes if it is text',
                )
            elif len(digits) > 19 or not -(2**63) <= int(text) < 2**63:
                self.too_big(text, at)
            else:
                return int(text)
        elif _FLOAT.fullmatch(text):
            if math.isfinite(value := float(text)):
                return value
            self.too_big(text, at)
        elif _BASED.fullmatch(text):
            if (value := int(text, 0)) < 2**63:
                return value
            self.too_big(text, at)
        elif _SEXAGESIMAL.fullmatch(text):
            self.report(
                "Y011",
                at,
                f'"{text}" is ambiguous: some readers take it for the number {_base60(text)}',
                f'write {_base60(text)}s if it is a time, or "{text}" in quotes if it is text',
            )
        elif _NOT_FINITE.fullmatch(text):
            self.report("Y013", at, f'"{text}" is not a number to work with', "write a finite number")
        return text

    def too_big(self, text: str, at: int) -> None:
        shown = text if len(text) <= 30 else text[:29] + "…"
        self.report("Y013", at, f'the number "{shown}" is too large', "put it in quotes if it is text")

    def tagged(self, event: Any, at: int) -> Any:
        if event.tag == "!include" and self.includes:
            if event.value:
                return Include(event.value)
            self.report("Y015", at, '"!include" names no file', "write !include prompts/a.yaml")
            return event.value
        self.tag(event.tag, at)
        return event.value

    def tag(self, tag: str, at: int) -> None:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        self.report("Y015", at, f'the tag "{shown}" is not supported', "remove it; for text, use quotes")

    def mapping(self, event: Any) -> None:
        self.open(event, {}, {}, {})

    def sequence(self, event: Any) -> None:
        self.open(event, [], None, [])

    def open(self, event: Any, data: Any, keys: dict[str, int] | None, items: Any) -> None:
        self.nodes += 1
        at = _pack(event.start_mark)
        if len(self.stack) == MAX_DEPTH:
            self.stop("Y018", at, TOO_DEEP, UNCLOSED)
        if event.tag is not None:
            self.tag(event.tag, at)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Frame(data, _Marks(at, keys, items), event.start_mark, event.anchor, self.nodes - 1))

    def close(self, event: Any) -> None:
        frame = self.stack.pop()
        if frame.anchor is not None:
            self.anchors[frame.anchor] = (frame.data, frame.marks, self.nodes - frame.nodes)
        self.put(frame.data, frame.marks, frame.mark, event)

    def alias(self, event: Any) -> None:
        at, name = _pack(event.start_mark), event.anchor
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            self.stop("Y017", at, f"more than {MAX_ALIASES} aliases", "write defaults, or vars, instead")
        found = self.anchors.get(name)
        if found is None:
            inside = name in self.anchors
            self.report(
                "Y016",
                at,
                f'"*{name}" stands inside what it names' if inside else f'no anchor "&{name}" stands above "*{name}"',
                "name something that is complete above it"
                if inside
                else "put the text in quotes if it is meant to start with *",
            )
            self.put(f"*{name}", at, event.start_mark, event)
            return
        value, marks, size = found
        self.nodes += size
        self.expanded += size
        if self.expanded > MAX_EXPANDED:
            self.stop("Y017", at, f"aliases add more than {MAX_EXPANDED:,} values", "write defaults instead")
        here = _Marks(at, marks.keys, marks.items) if isinstance(marks, _Marks) else at
        self.put(value, here, event.start_mark, event)

    def put(self, value: Any, marks: Any, mark: Any, event: Any) -> None:
        """Give a complete node to the mapping or list around it."""
        if not self.stack:
            self.data, self.marks = value, marks
            return
        frame = self.stack[-1]
        if frame.marks.keys is None:
            frame.data.append(value)
            frame.marks.items.append(marks)
        elif frame.key is _NO_KEY:
            frame.key = value if self.is_key(frame, value, marks, mark, event) else _DROPPED
        else:
            if frame.key is not _DROPPED:
                frame.data[frame.key] = value
                frame.marks.items[frame.key] = marks
            frame.key = _NO_KEY

    def is_key(self, frame: _Frame, value: Any, marks: Any, mark: Any, event: Any) -> bool:
        keys = frame.marks.keys
        assert keys is not None
        at = _at(marks)
        if type(value) is not str:
            self.not_text(frame, value, at, mark, event)
            return False
        if value == "<<" and type(event) is ScalarEvent and event.implicit[0]:
            self.report(
                "Y014",
                at,
                'merge keys "<<" are not supported',
                "put what is shared under defaults, or repeat it",
            )
            return False
        if value in keys:
            line, col = divmod(keys[value], _COLUMNS)
            self.report(
                "Y008",
                at,
                f'duplicate key "{value}"',
                f"the first is at line {line + 1}, column {col + 1}; keep one of them",
            )
            return False
        keys[value] = at
        return True

    def not_text(self, frame: _Frame, value: Any, at: int, mark: Any, event: Any) -> None:
        if isinstance(value, dict) and self.text.startswith("{{", frame.mark.index):
            end = self.text.find("}}", frame.mark.index)
            written = self.text[frame.mark.index : end + 2 if end > 0 else frame.mark.index + 20]
            written = written if "\n" not in written else "{{ … }}"
            self.report("Y009", frame.marks.at, f"{written} is not in quotes", f'write "{written}"')
        elif isinstance(value, (dict, list)):
            kind = "mapping" if isinstance(value, dict) else "list"
            self.report("Y009", at, f"a {kind} cannot be a key", "keys are text; put it in quotes")
        else:
            written = event.value if type(event) is ScalarEvent else str(value)
            self.report("Y009", at, f'the key "{written}" is not text', f'put it in quotes: "{written}"')


def _pack(mark: Any) -> int:
    return int(mark.line * _COLUMNS + mark.column)


def _unpadded(text: str) -> str:
    sign = text[0] if text[0] in "+-" else ""
    return sign + (text.lstrip("+-").lstrip("0") or "0")


def _base60(text: str) -> str:
    """`1:30` → `90`, as YAML 1.1 reads it (yaml.org/type/int.html)."""
    whole, _, part = text.lstrip("+-").partition(".")
    value = 0
    for digits in whole.split(":"):
        value = value * 60 + int(digits)
    return ("-" if text[0] == "-" else "") + str(value) + (f".{part}" if part else "")


# ---- what ends the parsing


def _too_large(file: str) -> Problem:
    return Problem(f'"{file}" is larger than 8 MB', hint="split the film into several projects", code="Y003")


def _decode(data: bytes, shown: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise LtxflowError(Problem("the file is UTF-16, not UTF-8", Span(shown, 1, 1), "save it as UTF-8", "Y002"))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        problem = Problem(
            f"the byte 0x{data[error.start]:02x} is not UTF-8",
            _place(before.removeprefix("\ufeff"), shown),
            "save the file as UTF-8",
            "Y002",
        )
        raise LtxflowError(problem) from None


def _place(before: str, file: str) -> Span:
    """Given all text before a place, return the place."""
    lines = BREAK.split(before)
    return Span(file, len(lines), len(lines[-1]) + 1)


def _invisible(text: str, index: int, file: str) -> Problem:
    name = f"U+{ord(text[index]):04X}"
    kind = "line separator" if text[index] in "\x85\u2028\u2029" else "control character"
    hint = "delete it, or end the line with a plain line break" if kind == "line separator" else "delete it"
    return Problem(f"invisible {kind} {name}", _place(text[:index], file), hint, "Y019")
