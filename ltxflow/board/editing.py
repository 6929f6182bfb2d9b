"""Replace a text in a YAML file at its place: comments, layout and every other value stay as they are.

The result is parsed again and must be the same file but for that one value, else the edit is refused.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltxflow.core.errors import LtxflowError, Span, problem
from ltxflow.documents.yaml import LOADER

PLAIN_TEXTS = (".txt", ".md")  # included whole
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
_HEADER = re.compile(r"[|>][-+0-9]*[^\n]*")
WIDTH = 100  # columns of text that is wrapped, where the text before had no long line


@dataclass(frozen=True)
class Place:
    """Where a text is written: [start, end) in its file, how, and its value; `number` counts the file's events."""

    start: int
    end: int
    style: str  # "" plain, "'", '"', "|", ">", or "file" for a whole text file
    value: str
    number: int = 0


@dataclass(frozen=True)
class Edited:
    """The text of a file after an edit."""

    text: str


def place_of(text: str, span: Span, file: Path | None) -> Place | None:
    """Return the place of the scalar at a position; None for an alias, or where something else begins there."""
    if file is not None and file.suffix in PLAIN_TEXTS:
        return Place(0, len(text), "file", text.strip())
    body = text.removeprefix("\ufeff")
    shift = len(text) - len(body)
    for number, event in enumerate(_events(body)):
        mark = getattr(event, "start_mark", None)
        if mark is None or not hasattr(event, "style") or not hasattr(event, "value"):
            continue
        if (mark.line + 1, mark.column + 1) == (span.line, span.col):
            found = _PROPERTIES.match(body, mark.index)
            start = found.end() if found else mark.index
            style = "" if event.style is None or event.style == ":" else str(event.style)
            return Place(start + shift, event.end_mark.index + shift, style, str(event.value), number)
    return None


def changed_text(text: str, place: Place, value: str) -> Edited:
    """Return the file with another text at a place. Raise LtxflowError where no way of writing it reads the same."""
    value = value.replace("\r\n", "\n").strip()
    if not value:
        raise LtxflowError(problem("U063.empty"))
    if place.style == "file":
        tail = text[len(text.rstrip()) :] or "\n"
        return Edited(value + tail)
    newline = "\r\n" if "\r\n" in text else "\n"
    if " ".join(value.split()) == " ".join(place.value.split()):
        return Edited(text)
    for written in _ways(text, place, value):
        result = text[: place.start] + written.replace("\n", newline) + text[place.end :]
        if _is_same_but_for(text, result, place, value):
            return Edited(result)
    raise LtxflowError(problem("U063.form"))


def _ways(text: str, place: Place, value: str) -> Iterator[str]:
    """Yield forms of a value for a place, the one like the form before first."""
    old = text[place.start : place.end].replace("\r\n", "\n")
    flat = " ".join(value.split())
    column = place.start - (text.rfind("\n", 0, place.start) + 1)
    lines = old.split("\n")
    if place.style in ("|", ">"):
        head = _HEADER.match(old)
        indents = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
        indent = " " * (min(indents) if indents else _block_indent(text, place.start))
        width = max([len(line) for line in lines[1:]] + [60])
        body = value.split("\n") if place.style == "|" else _wrapped(flat, width - len(indent))
        tail = old[len(old.rstrip()) :]  # the line ends after it, and blank lines
        written = "\n".join(indent + line.strip() if line.strip() else "" for line in body)
        if head is not None:
            yield f"{head[0].rstrip()}\n{written}{tail or chr(10)}"
        return
    if len(lines) > 1:
        rest = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
        indent = " " * (min(rest) if rest else column)
        width = max(len(line) for line in lines) - len(indent)
        parts = _wrapped(flat, max(40, width))
        for style in dict.fromkeys([place.style, '"']):
            yield style + f"\n{indent}".join(_escaped(part, style) for part in parts) + style
    for style in dict.fromkeys([place.style, '"']):
        yield style + _escaped(flat, style) + style


def _escaped(text: str, style: str) -> str:
    """Return a text as it is written between quotes of a style; as it is without them."""
    if style == "'":
        return text.replace("'", "''")
    return json.dumps(text, ensure_ascii=False)[1:-1] if style == '"' else text


def _wrapped(flat: str, width: int) -> list[str]:
    return textwrap.wrap(flat, max(20, width), break_long_words=False, break_on_hyphens=False) or [flat]


def _block_indent(text: str, start: int) -> int:
    line = text[text.rfind("\n", 0, start) + 1 : start]
    return len(line) - len(line.lstrip(" -")) + 2


def _events(text: str) -> Iterator[Any]:
    loader = LOADER(text)
    try:
        while True:
            event = loader.get_event()
            if event is None:
                return
            yield event
            if type(event).__name__ == "StreamEndEvent":
                return
    finally:
        loader.dispose()


def _is_same_but_for(before: str, after: str, place: Place, value: str) -> bool:
    """Return whether two files read the same, but for the value at a place, which is the one that is wanted."""
    try:
        old, new = (list(map(_meaning, _events(text.removeprefix("\ufeff")))) for text in (before, after))
    except Exception:  # whatever the parser says of it: it is not a way to write this
        return False
    if len(old) != len(new):
        return False
    others = all(a == b for i, (a, b) in enumerate(zip(old, new, strict=True)) if i != place.number)
    is_text = new[place.number][0] == "ScalarEvent" and new[place.number][3] in (True, "quoted")
    return others and is_text and " ".join(str(new[place.number][1]).split()) == " ".join(value.split())


def _meaning(event: Any) -> tuple[Any, ...]:
    name = type(event).__name__
    if name != "ScalarEvent":
        return name, getattr(event, "anchor", None), getattr(event, "tag", None), None
    is_quoted = event.style in ("'", '"', "|", ">")
    return name, event.value, (event.anchor, event.tag), "quoted" if is_quoted else _is_plain_text(event.value)


def _is_plain_text(value: str) -> bool:
    """Return whether a plain scalar is text, and not a number, a truth value or null."""
    return re.fullmatch(r"[-+.~]?[0-9].*|~|null|true|false|yes|no|on|off|<<|", value, re.IGNORECASE) is None
