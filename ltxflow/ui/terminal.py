"""How it looks on a terminal and in a plain log: problems, plans, a build's progress. Reads events; decides nothing.

A film's storyboard as one page that opens from a folder: data and all in it, but for pictures and clips.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.core.regular import open_regular

if TYPE_CHECKING:
    from ltxflow.store.snapshot import InputManifest


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
UNWRITABLE = "U007"
NARROWEST, WIDEST = 20, 1000  # cells: what is narrower is left to the terminal to break
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # ECMA-48 control sequences: colours, cursor moves
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # operating system commands: titles, links, the clipboard
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
    r"|[\u202a-\u202e\u2066-\u2069]"  # what turns the order of the text around
)
# `paint` marks a style with this until it is known which stream the text goes to; no text from outside can hold it.
_MARK = f"\x1b{os.urandom(6).hex()}"
_STYLE = re.compile(f"{_MARK}([0-9;]+)m")
_EXCERPT = re.compile(r" *\d* *│ ")  # a line of a file under a problem: cut to the width already


def clean(text: str) -> str:
    """Given text from anywhere, a server or a stranger's file, return it without control characters."""
    return _CONTROL.sub("", text)


def put(line: str, stream: TextIO) -> None:
    """Given a line, write it at once, whole. Where the reader has left (`| head`) it vanishes: work goes on.

    Raise LtxflowError where what is told cannot be kept, on a full disk say: nobody would know what was done.
    """
    try:
        stream.write(f"{line}\n")
        stream.flush()
    except OSError as error:
        let_go(stream)
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            raise LtxflowError(unwritable(error)) from None


def unwritable(error: OSError) -> Problem:
    """Given why standard output took nothing more, return that as a problem."""
    hint = "look where it goes to, and run it again: what is finished is kept"
    return Problem(f"the output cannot be written: {(error.strerror or 'refused').lower()}", None, hint, UNWRITABLE)


def let_go(stream: TextIO) -> None:
    """Given a stream whose reader has left, let all that is still written to it vanish."""
    with suppress(OSError, ValueError):  # a stream without a descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def takes_color(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Given a stream, return whether it takes colour: a terminal does, unless NO_COLOR or TERM=dumb says no.

    FORCE_COLOR says yes for any stream. Source: no-color.org, force-color.org; both count when not empty.
    """
    if env.get("NO_COLOR"):
        return False
    return bool(env.get("FORCE_COLOR")) or (stream.isatty() and env.get("TERM") != "dumb")


class Console:
    """Where a verb writes, and whether that takes colour and live lines. No control character passes through."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, env: Mapping[str, str] | None = None):
        env = os.environ if env is None else env
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.is_live = self.out.isatty() and env.get("TERM") != "dumb" and not env.get("CI")
        self.has_color = takes_color(self.out, env)
        self._err_has_color = takes_color(self.err, env)
        self.width = min(max(shutil.get_terminal_size((100, 24)).columns, NARROWEST), WIDEST)
        self.said: list[str] = []
        self.warned: list[str] = []
        # What the answer rests on, if it may be given again: asked with the time at which it was asked for.
        self.footing: Callable[[int], InputManifest | None] | None = None

    def paint(self, text: str, *styles: str) -> str:
        """Given a text and styles, return it marked; `say` turns the marks into codes, or drops them."""
        return f"{_MARK}{';'.join(CODES[style] for style in styles)}m{text}{_MARK}0m" if text else text

    def say(self, text: str = "") -> None:
        """Write a line, fitted to the terminal if there is one. A text of several lines is data, and goes as it is."""
        line = rendered(text if "\n" in text else self.fitted(text), self.has_color)
        self.said.append(f"{line}\n")
        put(line, self.out)

    def warn(self, text: str) -> None:
        lines = [
            line if _EXCERPT.match(_STYLE.sub("", line)) else self.fitted(line, self.err) for line in text.split("\n")
        ]
        line = rendered("\n".join(lines), self._err_has_color)
        self.warned.append(f"{line}\n")
        put(line, self.err)

    def fitted(self, line: str, stream: TextIO | None = None) -> str:
        """Given a line that may be wider than its terminal, return it broken between words. Logs keep long lines."""
        return broken(line, self.width) if (stream or self.out).isatty() else line

    def confirm(self, question: str) -> bool:
        """Given a question, ask it where a person sits at a terminal; return whether they said yes. Elsewhere: no."""
        if not (self.out.isatty() and sys.stdin.isatty()):
            return False
        put(rendered(f"{self.paint('?', 'yellow')} {question} [y/N]", self.has_color), self.out)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def problems(self, problems: Sequence[Problem], source: Callable[[str], list[str]] | None = None) -> None:
        """Print problems as `file:line:col: level: message`, with the line and a caret where it can be read."""
        lines = functools.cache(source or read_lines)  # many are of one file
        for problem in problems:
            self.warn(self.problem(problem, lines))

    def problem(self, problem: Problem, source: Callable[[str], list[str]]) -> str:
        style = {"error": "red", "warning": "yellow", "advice": "cyan"}[problem.level]
        place = f"{self.paint(str(problem.span), 'bold')}: " if problem.span else ""
        code = self.paint(f" [{problem.code}]", "dim") if problem.code else ""
        lines = [f"{place}{self.paint(problem.level, style, 'bold')}: {problem.message}{code}"]
        if problem.span:
            lines += self._quoted(problem, source(problem.span.file), style)
        if problem.hint:
            lines.append(f"  {self.paint('→', style)} {problem.hint}")
        return "\n".join(lines)

    def _quoted(self, problem: Problem, text: list[str], style: str) -> list[str]:
        span = problem.span
        if span is not None and span.line == len(text) + 1:  # what ends too early: where it ends
            last = next((number for number in range(len(text), 0, -1) if text[number - 1].strip()), 0)
            span = replace(span, line=last, col=len(text[last - 1].rstrip()) + 1) if last else None
        if span is None or not 0 < span.line <= len(text):
            return []
        line = clean(text[span.line - 1].replace("\t", " "))  # now, so that the caret stands where it should
        start, room = 0, max(10, self.width - 9)
        if len(line) > room:  # keep the caret in view
            start = max(0, min(span.col - 1 - room // 3, len(line) - room))
            line = line[start : start + room]
        number = self.paint(f"{span.line:>5} │ ", "dim")
        caret = self.paint("^", style, "bold")
        below = " " * (span.col - 1 - start + _extra_cells(line[: span.col - 1 - start]))
        return [f"{number}{line}", f"{self.paint('      │ ', 'dim')}{below}{caret}"]


def broken(line: str, width: int) -> str:
    """Given a line with painted parts, return it as lines of at most `width` cells, where its words allow that.

    What goes on stands under what follows the last gap of two spaces in the left half: under its column.
    """
    plain = _STYLE.sub("", line)
    if len(plain) + _extra_cells(plain) <= width:
        return line
    gaps = [gap.end() for gap in re.finditer(r"^ *|(?<=\S) {2,}", plain) if gap.end() <= width // 2] or [0]
    indent = gaps[-1] if gaps[-1] > gaps[0] else min(gaps[0] + 2, width // 2)
    lines, style, used = [""], "", 0
    for part in re.split(rf"( +|{_STYLE.pattern.replace('(', '(?:')})", line):
        if _STYLE.fullmatch(part):
            style = "" if part == f"{_MARK}0m" else part
            lines[-1] += part
            continue
        cells = len(part) + _extra_cells(part)
        if used + cells > width and part.strip() and used > indent:
            end = f"{_MARK}0m" if style else ""
            lines[-1] = f"{lines[-1].rstrip(' ')}{end}"
            lines.append(f"{' ' * indent}{style}")
            used = indent
        lines[-1] += part
        used += cells
    return "\n".join(lines)


def _extra_cells(text: str) -> int:
    """How many cells a text takes beyond one a character: two for Han, kana and Hangul, none for a mark."""
    if text.isascii():
        return 0
    return sum((unicodedata.east_asian_width(char) in ("W", "F")) - (unicodedata.combining(char) > 0) for char in text)


def rendered(text: str, has_color: bool) -> str:
    """Given a text with painted parts, return it for a terminal: styles as ANSI codes or gone, the rest cleaned."""
    parts = _STYLE.split(text)  # text, codes, text, codes … text
    codes = [f"\x1b[{code}m" if has_color else "" for code in parts[1::2]]
    return "".join(clean(part) + code for part, code in zip(parts[::2], [*codes, ""], strict=True))


def read_lines(file: str) -> list[str]:
    """Given a file's name as shown, return its lines, or none where it cannot be read."""
    try:
        with open(open_regular(file), "rb") as raw:
            data = raw.read(8_000_000)
        coding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return data.decode(coding, errors="replace").splitlines()
    except (OSError, ValueError):
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


def counted(*numbers: tuple[int, str]) -> str:
    """Given numbers of things, name those that are not zero: `2 clips, 1 more take and 3 references`."""
    *most, last = [count(number, noun) for number, noun in numbers if number] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def size(number: int) -> str:
    """Given a number of bytes, return it for people: `3.4 GB`."""
    told, units = float(number), ["B", "kB", "MB", "GB", "TB"]
    while told >= 999.95 and len(units) > 1:
        told /= 1000
        units.pop(0)
    return f"{told:.0f} B" if units[0] == "B" else f"{told:.1f} {units[0]}"


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


PAGE = Path(__file__).parent / "report.html"
PLACE = "/*DATA*/null"


def report_page(data: Mapping[str, Any]) -> str:
    """Given what a report shows, return the page. A browser reads no file beside it: the data stands in it.

    Nothing in the data can end the script it stands in: `<` is written as an escape.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    before, _, after = PAGE.read_text("utf-8").partition(PLACE)
    return f"{before}{text}{after}"
