"""Explain errors of the YAML parser in plain words, with a hint."""

from __future__ import annotations

import re
from typing import Any, Protocol

from ltxflow.core.errors import Problem, Span, problem

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
