"""What a parser of YAML complains of, in words that say what to do. Knows no YAML but its mistakes."""

from __future__ import annotations

import re
from typing import Any, Protocol

from ltxflow.core.errors import Problem, Span

BREAK = re.compile("\r\n|\r|\n")
MAX_DEPTH = 40
TOO_DEEP, UNCLOSED = f"values are nested more than {MAX_DEPTH} deep", "check for brackets that are not closed"


class YamlError(Protocol):
    """An error of pyyaml's: what it was at, what it met there, and where these are (`line` and `column` from 0)."""

    context: Any
    context_mark: Any
    problem: Any
    problem_mark: Any


def in_words(error: YamlError, text: str, file: str) -> Problem:
    """Given what the parser complains of in a text, return it in words that say what to do.

    The texts matched are those of libyaml (scanner.c, parser.c) and of pyyaml's own parser, which differ.
    """
    context, problem = error.context or "", error.problem or ""
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(f"not valid YAML: {problem}", Span(file, 1, 1), "", "Y005")
    start = error.context_mark or mark
    here = Span(file, mark.line + 1, mark.column + 1)
    opened = Span(file, start.line + 1, start.column + 1)
    char = text[mark.index : mark.index + 1]
    line = BREAK.split(text)[mark.line : mark.line + 1]
    before = line[0][: mark.column].strip() if line else ""
    rest = text[start.index :].split("\n", 1)[0].strip()

    def said(message: str, hint: str, span: Span = here, code: str = "Y005") -> Problem:
        return Problem(message, span, hint, code)

    if "maximum nesting depth" in problem:  # libyaml's own limit, met where its scanner runs ahead of us
        return said(TOO_DEEP, UNCLOSED, code="Y018")
    if char == "\t" and ("tab character" in problem or "cannot start any token" in problem):
        return said("a tab where spaces are expected", "indent with spaces", code="Y006")
    if "cannot start any token" in problem:
        return said(f'an unquoted text cannot start with "{char}"', "put the text in quotes")
    if "quoted scalar" in context and ("end of stream" in problem or "document indicator" in problem):
        return said("the quote that opens here is never closed", f"add a closing {rest[0]}", opened)
    if "quoted scalar" in context or "double-quoted" in context:
        slash = here if char == "\\" else Span(file, here.line, max(1, here.col - 1))
        return said(
            "a backslash sequence that YAML does not know",
            "write \\\\ for a backslash, or use single quotes",
            slash,
        )
    if "mapping values are not allowed" in problem:
        if ":" in before:
            return said('": " inside an unquoted text', "put the whole text in quotes")
        return said('a ":" is not expected here', 'check the indentation, and that the line above has its own ":"')
    if "expected ':'" in problem:
        return said(
            f'no ":" after "{_short(rest)}"',
            "write key: value, or indent the line if it continues the text above",
            opened,
        )
    if "flow sequence" in context or "flow mapping" in context:
        kind, end = ("list", "]") if "sequence" in context else ("mapping", "}")
        return said(
            f'expected "," or "{end}"',
            f'close the {kind} that opens at line {opened.line}, column {opened.col} with "{end}", or quote the text',
        )
    if "alphabetic or numeric" in problem:
        word = "an alias" if "alias" in context else "an anchor"
        return said(f'"{rest[:1]}" at the start of a text means {word}', "put the text in quotes", opened)
    if "undefined tag handle" in problem:
        tag = re.split(r"[\s,\]}]", rest)[0]
        return said(f'the tag "{tag}" is not supported', "remove it; for text, use quotes", opened, "Y015")
    if "block mapping" in context or "block collection" in context:
        return said(*_misplaced(before, context, opened))
    if "block scalar" in context:
        return said(
            f'unexpected text after "{rest[:1]}"',
            f"start the text on the next line, or quote it if it is meant to start with {rest[:1]}",
        )
    if "sequence entries are not allowed" in problem:
        return said("a list item cannot start here", 'put "- " on a line of its own, or quote the text')
    if "node content" in problem:
        if not char.strip():
            return said("the file ends in the middle of a value", "close what is open above")
        return said(f'unexpected "{char}"', "remove it, or quote the text if it is meant to start with it")
    if "directive" in context or "YAML document" in problem:
        return said("a % directive that is not known", "remove the line", Span(file, here.line, 1))
    if "document start" in problem:
        return said("text after the end of the document", 'remove the "..." above it', code="Y007")
    return said(f"not valid YAML: {problem}", "")


def _misplaced(before: str, context: str, opened: Span) -> tuple[str, str]:
    """A line that is out of its column, or text that follows a value which is already complete."""
    if before.strip("- "):
        if "'" in before:
            hint = "put the whole text in quotes; inside '…' an apostrophe is written ''"
        else:
            hint = "put the whole text in one pair of quotes"
        return "text after the end of a value", hint
    kind = "mapping" if "mapping" in context else "list"
    same = "all keys of a mapping" if kind == "mapping" else 'the "- " of all items of a list'
    return (
        f"this line does not fit the {kind} that starts at line {opened.line}, column {opened.col}",
        f"check the indentation: {same} start in the same column",
    )


def _short(text: str) -> str:
    return text if len(text) <= 30 else text[:29] + "…"
