"""How it looks on a terminal and in a plain log: problems, plans, a build's progress. Reads events; decides nothing."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TextIO

from ltxflow.core.errors import Problem

CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "cyan": "36",
    "struck": "9;31",
}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]|\x1b\[[0-9;]*[A-Za-z]")


def clean(text: str) -> str:
    """Given text from anywhere, return it without control characters: it may come from a server or a stranger's file."""
    return _CONTROL.sub("", text)


class Face:
    """A stream to write to, and whether it takes colour and live lines.

    NO_COLOR and TERM=dumb turn colour off, FORCE_COLOR turns it on (no-color.org).
    """

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, env: Mapping[str, str] | None = None):
        env = os.environ if env is None else env
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.is_live = self.out.isatty() and env.get("TERM") != "dumb" and not env.get("CI")
        self.has_color = bool(env.get("FORCE_COLOR")) or (
            self.out.isatty() and "NO_COLOR" not in env and env.get("TERM") != "dumb"
        )
        if env.get("NO_COLOR"):
            self.has_color = False
        self.width = shutil.get_terminal_size((100, 24)).columns

    def paint(self, text: str, *styles: str) -> str:
        if not self.has_color or not text:
            return text
        return f"\x1b[{';'.join(CODES[style] for style in styles)}m{text}\x1b[0m"

    def say(self, text: str = "") -> None:
        print(text, file=self.out)

    def problems(self, problems: Sequence[Problem], source: Callable[[str], list[str]] | None = None) -> None:
        """Print problems as `file:line:col: level: message`, with the line and a caret where it can be read."""
        for problem in problems:
            print(self.problem(problem, source or read_lines), file=self.err)

    def problem(self, problem: Problem, source: Callable[[str], list[str]]) -> str:
        style = {"error": "red", "warning": "yellow", "advice": "cyan"}[problem.level]
        place = f"{self.paint(str(problem.span), 'bold')}: " if problem.span else ""
        code = self.paint(f" [{problem.code}]", "dim") if problem.code else ""
        lines = [f"{place}{self.paint(problem.level, style, 'bold')}: {clean(problem.message)}{code}"]
        if problem.span:
            lines += self._quoted(problem, source(problem.span.file), style)
        if problem.hint:
            lines.append(f"  {self.paint('→', style)} {clean(problem.hint)}")
        return "\n".join(lines)

    def _quoted(self, problem: Problem, text: list[str], style: str) -> list[str]:
        span = problem.span
        if span is None or not 0 < span.line <= len(text):
            return []
        line = clean(text[span.line - 1].replace("\t", " "))
        start, room = 0, max(40, self.width - 10)
        if len(line) > room:  # keep the caret in view
            start = max(0, min(span.col - 1 - room // 3, len(line) - room))
            line = line[start : start + room]
        number = self.paint(f"{span.line:>5} │ ", "dim")
        caret = self.paint("^", style, "bold")
        return [f"{number}{line}", f"{self.paint('      │ ', 'dim')}{' ' * (span.col - 1 - start)}{caret}"]


def read_lines(file: str) -> list[str]:
    """Given a file's name as shown, return its lines, or none where it cannot be read."""
    try:
        with open(file, encoding="utf-8-sig", errors="replace") as text:
            return text.read(8_000_000).splitlines()
    except OSError:
        return []


def duration(seconds: float) -> str:
    """`63.7` → `1m 03.7s`"""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{int(minutes)}m {rest:04.1f}s"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h {minutes:02d}m"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def columns(rows: Iterable[Sequence[str]], gap: int = 2) -> list[str]:
    """Given rows of plain cells, return lines with the cells aligned; the last column runs free."""
    table = [list(row) for row in rows]
    if not table:
        return []
    widths = [max(len(row[i]) for row in table if i < len(row)) for i in range(max(map(len, table)) - 1)]
    return [
        (" " * gap).join(cell.ljust(widths[i]) if i < len(row) - 1 else cell for i, cell in enumerate(row)).rstrip()
        for row in table
    ]
