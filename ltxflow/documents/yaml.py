"""Parse strict YAML to plain data with the place of every value, and explain syntax errors. Only importer of pyyaml.

Scalars follow the YAML 1.2 core schema (yaml.org/spec/1.2.2, 10.3.2). Forms that YAML 1.1 readers understand
differently are refused, so that a file means the same to every tool that opens it.
"""

from __future__ import annotations

import math
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

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

from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.documents.document import COLUMNS, Document, Include, Marks, position, span_at

BREAK = re.compile("\r\n|\r|\n")
MAX_DEPTH = 40


class YamlError(Protocol):
    """An error of pyyaml: its context and problem, and the marks of both (`line` and `column` from 0)."""

    context: Any
    context_mark: Any
    problem: Any
    problem_mark: Any


def explain(error: YamlError, text: str, file: str) -> Problem:
    """Explain an error of the parser.

    The texts matched are those of libyaml (scanner.c, parser.c) and of pyyaml's pure parser, which differ.
    """
    context, reason = error.context or "", error.problem or ""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return problem("Y005.other", Span(file, 1, 1), reason=reason)
    start = error.context_mark or mark
    here = Span(file, mark.line + 1, mark.column + 1)
    opened = Span(file, start.line + 1, start.column + 1)
    char = text[mark.index : mark.index + 1]
    line = BREAK.split(text)[mark.line : mark.line + 1]
    before = line[0][: mark.column].strip() if line else ""
    rest = text[start.index :].split("\n", 1)[0].strip()

    if "maximum nesting depth" in reason:  # libyaml's limit, met where its scanner runs ahead of us
        return problem("Y018", here, most=MAX_DEPTH)
    if char == "\t" and ("tab character" in reason or "cannot start any token" in reason):
        return problem("Y006", here)
    if "cannot start any token" in reason:
        return problem("Y005.start", here, char=char)
    if "quoted scalar" in context and ("end of stream" in reason or "document indicator" in reason):
        return problem("Y005.quote", opened, quote=rest[0])
    if "quoted scalar" in context or "double-quoted" in context:
        return problem("Y005.backslash", here if char == "\\" else Span(file, here.line, max(1, here.col - 1)))
    if "mapping values are not allowed" in reason:
        return problem("Y005.colon-in-text" if ":" in before else "Y005.colon", here)
    if "expected ':'" in reason:
        return problem("Y005.no-colon", opened, text=_short(rest))
    if "flow sequence" in context or "flow mapping" in context:
        kind, end = ("list", "]") if "sequence" in context else ("mapping", "}")
        return problem("Y005.bracket", here, kind=kind, end=end, line=opened.line, col=opened.col)
    if "alphabetic or numeric" in reason:
        return problem("Y005.anchor", opened, char=rest[:1], meaning="an alias" if "alias" in context else "an anchor")
    if "undefined tag handle" in reason:
        return problem("Y015.tag", opened, tag=re.split(r"[\s,\]}]", rest)[0])
    if "block mapping" in context or "block collection" in context:
        return _misplaced(before, context, opened, here)
    if "block scalar" in context:
        return problem("Y005.block", here, char=rest[:1])
    if "sequence entries are not allowed" in reason:
        return problem("Y005.item", here)
    if "node content" in reason:
        return problem("Y005.char", here, char=char) if char.strip() else problem("Y005.end", here)
    if "directive" in context or "YAML document" in reason:
        return problem("Y005.directive", Span(file, here.line, 1))
    if "document start" in reason:
        return problem("Y007.after", here)
    return problem("Y005.other", here, reason=reason)


def _misplaced(before: str, context: str, opened: Span, here: Span) -> Problem:
    """Explain a line in the wrong column, or text that follows a complete value."""
    if before.strip("- "):
        return problem("Y005.apostrophe" if "'" in before else "Y005.after-value", here)
    kind = "mapping" if "mapping" in context else "list"
    aligned = "all keys of a mapping" if kind == "mapping" else 'the "- " of all items of a list'
    return problem("Y005.indent", here, kind=kind, line=opened.line, col=opened.col, aligned=aligned)


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"


MAX_BYTES = 8_000_000
MAX_ALIASES = 100
MAX_EXPANDED = 100_000  # nodes that aliases add; nodes written out are bounded by MAX_BYTES

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is ten times as fast

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
_SPECIAL = frozenset("0123456789+-.~nNtTfFyYoO")  # the first characters of scalars that may not be text
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(?::[0-9]{1,2})+(?:\.[0-9]*)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")


def read(path: Path, shown: str, *, includes: bool = False, problems: list[Problem] | None = None) -> Document:
    """Read and parse a file; `shown` is its name in messages.

    Raise LtxflowError as parse() does, and when the file cannot be read.
    """
    return parse(_decode(_bytes(path, shown), shown), shown, includes=includes, problems=problems)


def read_text(path: Path, shown: str) -> Document:
    """Read a file that is one plain text, not YAML, as a document; `shown` is its name in messages.

    Raise LtxflowError when it cannot be read, is empty, or holds invisible characters.
    """
    text = _decode(_bytes(path, shown), shown).removeprefix("\ufeff")
    if found := _INVISIBLE.search(text):
        raise LtxflowError(_invisible(text, found.start(), shown))
    _refuse_conflicts(text, shown)
    if not text.strip():
        raise LtxflowError(problem("Y004.text", Span(shown, 1, 1)))
    return Document(shown, text.strip(), 0)


def _bytes(path: Path, shown: str) -> bytes:
    try:
        info = path.stat()
        if stat.S_ISDIR(info.st_mode):
            raise LtxflowError(problem("Y001.folder", file=shown))
        if not stat.S_ISREG(info.st_mode):
            raise LtxflowError(problem("Y001.special", file=shown))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise LtxflowError(problem("Y001.missing", file=shown)) from None
    except OSError as error:
        reason = (error.strerror or "input error").lower()
        raise LtxflowError(problem("Y001.unreadable", file=shown, reason=reason)) from error
    if len(data) > MAX_BYTES:
        raise LtxflowError(problem("Y003", file=shown))
    return data


def _refuse_conflicts(text: str, shown: str) -> None:
    """Raise LtxflowError for a merge conflict, which would be a confusing YAML error, and none in a text."""
    begin = "<<<<<<< "
    at = 0 if text.startswith(begin) else text.find(f"\n{begin}") + 1
    if not text.startswith(begin, at):
        return
    line = text.count("\n", 0, at) + 1
    mark = text[at:].split("\n", 1)[0].rstrip()
    raise LtxflowError(problem("Y020", Span(shown, line, 1), mark=mark))


def parse(text: str, file: str, *, includes: bool = False, problems: list[Problem] | None = None) -> Document:
    """Parse YAML text to its one document; `file` is its name in messages.

    Raise LtxflowError with all problems of the text, or with those before a syntax error. With a list `problems`,
    problems that leave usable data are added to it (and to `Document.problems`) instead of raised; a refused scalar is
    then the text as written. With `includes`, `!include path` becomes an Include.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise LtxflowError(problem("Y003", file=file))
    if found := _INVISIBLE.search(text):
        raise LtxflowError(_invisible(text, found.start(), file))
    _refuse_conflicts(text, file)
    composer = _Composer(text, file, includes)
    try:
        composer.run(LOADER(text))
    except yaml.MarkedYAMLError as error:
        syntax = explain(error, text, file)
        if not any(p.code == "Y009" and _place_of(p).line == _place_of(syntax).line for p in composer.problems):
            composer.problems.append(syntax)  # `{{ look }} a vault` without quotes is one mistake, not two
        raise LtxflowError(*sorted(composer.problems, key=_place_of)) from None
    collected = tuple(sorted(composer.problems, key=_place_of))
    if collected and problems is None:
        raise LtxflowError(*collected)
    if problems is not None:
        problems.extend(collected)
    written = {(file, at): text for at, text in composer.written.items()}
    return Document(file, composer.data, composer.marks, collected, written)


def _place_of(found: Problem) -> Span:
    return found.span or Span("", 0, 0)


# ---- events → data and marks


_NO_KEY: Any = object()  # the next node is a key
_DROPPED: Any = object()  # the next node is the value of a key that was refused


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still open."""

    data: Any
    marks: Marks
    mark: Any
    anchor: str | None
    nodes: int  # the number of nodes before it
    key: Any = _NO_KEY


class _Composer:
    """Turn parser events into data and marks, and collect problems on the way. Never recurses."""

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
            self.report(problem("Y004.yaml", self.span(0)))

    def span(self, at: int) -> Span:
        return span_at(self.file, at)

    def report(self, found: Problem) -> None:
        self.problems.append(found)

    def stop(self, found: Problem) -> NoReturn:
        self.report(found)
        raise LtxflowError(*sorted(self.problems, key=_place_of))

    def document(self, event: Any) -> None:
        self.documents += 1
        if self.documents > 1:
            self.stop(problem("Y007.second", self.span(_pack(event.start_mark))))

    def scalar(self, event: Any) -> None:
        self.nodes += 1
        mark = event.start_mark
        at = mark.line * COLUMNS + mark.column
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
        """Return the value of an unquoted scalar; an ambiguous one is reported and stays text."""
        if text in _WORDS:
            return _WORDS[text]
        if meaning := _SWITCHES.get(text):
            self.report(problem("Y010", self.span(at), word=text, meaning=meaning))
        elif _INT.fullmatch(text):
            digits = text.lstrip("+-")
            if digits[0] == "0" and len(digits) > 1:
                self.report(problem("Y012", self.span(at), text=text, number=_unpadded(text)))
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
            self.report(problem("Y011", self.span(at), text=text, number=_base60(text)))
        elif _NOT_FINITE.fullmatch(text):
            self.report(problem("Y013.finite", self.span(at), text=text))
        return text

    def too_big(self, text: str, at: int) -> None:
        shown = text if len(text) <= 30 else text[:29] + "…"
        self.report(problem("Y013.large", self.span(at), number=shown))

    def tagged(self, event: Any, at: int) -> Any:
        if event.tag == "!include" and self.includes:
            if event.value:
                return Include(event.value)
            self.report(problem("Y015.include", self.span(at)))
            return event.value
        self.tag(event.tag, at)
        return event.value

    def tag(self, tag: str, at: int) -> None:
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        self.report(problem("Y015.tag", self.span(at), tag=shown))

    def mapping(self, event: Any) -> None:
        self.open(event, {}, {}, {})

    def sequence(self, event: Any) -> None:
        self.open(event, [], None, [])

    def open(self, event: Any, data: Any, keys: dict[str, int] | None, items: Any) -> None:
        self.nodes += 1
        at = _pack(event.start_mark)
        if len(self.stack) == MAX_DEPTH:
            self.stop(problem("Y018", self.span(at), most=MAX_DEPTH))
        if event.tag is not None:
            self.tag(event.tag, at)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        self.stack.append(_Frame(data, Marks(at, keys, items), event.start_mark, event.anchor, self.nodes - 1))

    def close(self, event: Any) -> None:
        frame = self.stack.pop()
        if frame.anchor is not None:
            self.anchors[frame.anchor] = (frame.data, frame.marks, self.nodes - frame.nodes)
        self.put(frame.data, frame.marks, frame.mark, event)

    def alias(self, event: Any) -> None:
        at, name = _pack(event.start_mark), event.anchor
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            self.stop(problem("Y017.count", self.span(at), most=MAX_ALIASES))
        found = self.anchors.get(name)
        if found is None:
            self.report(problem("Y016.inside" if name in self.anchors else "Y016.missing", self.span(at), name=name))
            self.put(f"*{name}", at, event.start_mark, event)
            return
        value, marks, size = found
        self.nodes += size
        self.expanded += size
        if self.expanded > MAX_EXPANDED:
            self.stop(problem("Y017.values", self.span(at), most=f"{MAX_EXPANDED:,}"))
        here = Marks(at, marks.keys, marks.items) if isinstance(marks, Marks) else at
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
        at = position(marks)
        if type(value) is not str:
            self.not_text(frame, value, at, mark, event)
            return False
        if value == "<<" and type(event) is ScalarEvent and event.implicit[0]:
            self.report(problem("Y014", self.span(at)))
            return False
        if value in keys:
            line, col = divmod(keys[value], COLUMNS)
            self.report(problem("Y008", self.span(at), key=value, line=line + 1, col=col + 1))
            return False
        keys[value] = at
        return True

    def not_text(self, frame: _Frame, value: Any, at: int, mark: Any, event: Any) -> None:
        if isinstance(value, dict) and self.text.startswith("{{", frame.mark.index):
            end = self.text.find("}}", frame.mark.index)
            written = self.text[frame.mark.index : end + 2 if end > 0 else frame.mark.index + 20]
            written = written if "\n" not in written else "{{ … }}"
            self.report(problem("Y009.variable", self.span(frame.marks.at), text=written))
        elif isinstance(value, (dict, list)):
            kind = "mapping" if isinstance(value, dict) else "list"
            self.report(problem("Y009.kind", self.span(at), kind=kind))
        else:
            written = event.value if type(event) is ScalarEvent else str(value)
            self.report(problem("Y009.scalar", self.span(at), key=written))


def _pack(mark: Any) -> int:
    return int(mark.line * COLUMNS + mark.column)


def _unpadded(text: str) -> str:
    sign = text[0] if text[0] in "+-" else ""
    return sign + (text.lstrip("+-").lstrip("0") or "0")


def _base60(text: str) -> str:
    """Return `1:30` as `90`, the number that YAML 1.1 reads (yaml.org/type/int.html)."""
    whole, _, part = text.lstrip("+-").partition(".")
    value = 0
    for digits in whole.split(":"):
        value = value * 60 + int(digits)
    return ("-" if text[0] == "-" else "") + str(value) + (f".{part}" if part else "")


# ---- errors that end parsing


def _decode(data: bytes, shown: str) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise LtxflowError(problem("Y002.utf16", Span(shown, 1, 1)))
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        place = _place(before.removeprefix("\ufeff"), shown)
        raise LtxflowError(problem("Y002.byte", place, byte=f"0x{data[error.start]:02x}")) from None


def _place(before: str, file: str) -> Span:
    """Return the place at the end of a text."""
    lines = BREAK.split(before)
    return Span(file, len(lines), len(lines[-1]) + 1)


def _invisible(text: str, index: int, file: str) -> Problem:
    name = f"U+{ord(text[index]):04X}"
    is_separator = text[index] in "\x85\u2028\u2029"
    return problem("Y019.separator" if is_separator else "Y019.control", _place(text[:index], file), char=name)
