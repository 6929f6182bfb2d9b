"""Write to a terminal or a log: colours, line breaks, columns, problems with their source lines.

Also fills the storyboard page (report.html), which holds its data and opens from a folder.

JSON output: one versioned envelope per command; a build prints its events before it, one per line.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TextIO

from ltxflow import __version__
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.target import Target
from ltxflow.core.target import count as count
from ltxflow.core.target import counted as counted
from ltxflow.core.workspace import opened_regular

if TYPE_CHECKING:
    from ltxflow.core.events import Event
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
STYLES: Mapping[str, str] = {"error": "red", "warning": "yellow", "advice": "cyan"}
UNWRITABLE = "U007"
IN_FULL = 3  # problems of one kind, and names in a list
NARROWEST, WIDEST = 20, 1000  # cells; narrower terminals break lines themselves
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # ECMA-48 control sequences: colours, cursor moves
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # operating system commands: titles, links, the clipboard
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
    r"|[\u202a-\u202e\u2066-\u2069]"  # bidirectional overrides
)
# `paint` marks styles with this until the stream of the text is known. It is random, so that no other text has it.
_MARK = f"\x1b{os.urandom(6).hex()}"
_STYLE = re.compile(f"{_MARK}([0-9;]+)m")
_NUMBER = re.compile(r"\d+(\.\d+)?")
_EXCERPT = re.compile(r" *\d* *│ ")  # a source line under a problem, already cut to the width


def clean(text: str) -> str:
    """Remove control characters from text of a server or a file."""
    return _CONTROL.sub("", text)


def put(line: str, stream: TextIO) -> None:
    """Write a line and flush it. After the reader has left (`| head`), discard it and continue.

    Raise LtxflowError where standard output fails otherwise, such as on a full disk: the result would be lost.
    """
    try:
        stream.write(f"{line}\n")
        stream.flush()
    except OSError as error:
        let_go(stream)
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            raise LtxflowError(unwritable(error)) from None


def unwritable(error: OSError) -> Problem:
    """Return the problem for an error of standard output."""
    return problem("U007", cause=(error.strerror or "refused").lower())


def let_go(stream: TextIO) -> None:
    """Redirect a stream whose reader has left to the null device."""
    with suppress(OSError, ValueError):  # a stream without a descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def takes_color(stream: TextIO, env: Mapping[str, str]) -> bool:
    """Return whether to write colour to a stream: to terminals, unless NO_COLOR or TERM=dumb is set.

    FORCE_COLOR enables it for any stream. Source: no-color.org, force-color.org; both count when not empty.
    """
    if env.get("NO_COLOR"):
        return False
    return bool(env.get("FORCE_COLOR")) or (stream.isatty() and env.get("TERM") != "dumb")


class Console:
    """The output of a command: two streams with their width and colour. Removes control characters."""

    def __init__(self, out: TextIO | None = None, err: TextIO | None = None, env: Mapping[str, str] | None = None):
        env = os.environ if env is None else env
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        columns = shutil.get_terminal_size((100, 24)).columns
        is_terminal = self.out.isatty() and env.get("TERM") != "dumb" and not env.get("CI")
        self.is_live = is_terminal and columns >= NARROWEST
        self.has_color = takes_color(self.out, env)
        self._err_has_color = takes_color(self.err, env)
        self.is_verbose = False  # whether the same problem of many is printed for each
        self.width = min(max(columns, NARROWEST), WIDEST)
        self.printed: list[str] = []
        self.printed_errors: list[str] = []
        # Returns the inputs of an answer that may be cached, from the time at which the command started.
        self.input_manifest: Callable[[int], InputManifest | None] | None = None

    def paint(self, text: str, *styles: str) -> str:
        """Return the text marked with styles; `say` turns the marks into codes, or drops them."""
        return f"{_MARK}{';'.join(CODES[style] for style in styles)}m{text}{_MARK}0m" if text else text

    def say(self, text: str = "") -> None:
        """Write a line, broken to the width of a terminal. Text of several lines is data, written unchanged."""
        line = rendered(text if "\n" in text else self.fitted(text), self.has_color)
        self.printed.append(f"{line}\n")
        put(line, self.out)

    def warn(self, text: str) -> None:
        """Write lines to standard error."""
        lines = [
            line if _EXCERPT.match(_STYLE.sub("", line)) else self.fitted(line, self.err) for line in text.split("\n")
        ]
        line = rendered("\n".join(lines), self._err_has_color)
        self.printed_errors.append(f"{line}\n")
        put(line, self.err)

    def fitted(self, line: str, stream: TextIO | None = None) -> str:
        """Break a line between words to the width of its terminal. Logs keep long lines."""
        return broken(line, self.width) if (stream or self.out).isatty() else line

    def envelope(self, command: str, data: Any, exit_code: int, problems: Iterable[Problem] = ()) -> int:
        """Print the result of a command that only reads as its last line, and return the exit code."""
        line = _line(envelope(command, data, exit_code, problems))
        self.printed.append(f"{line}\n")
        put(line, self.out)
        return exit_code

    @property
    def can_ask(self) -> bool:
        """Whether a person reads this, and can answer."""
        return self.out.isatty() and sys.stdin.isatty()

    def confirm(self, question: str) -> bool:
        """Ask a yes-or-no question on a terminal and return the answer; return False without a terminal."""
        if not self.can_ask:
            return False
        put(rendered(self.fitted(f"{self.paint('?', 'yellow')} {question} [y/N]"), self.has_color), self.out)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def problems(
        self,
        problems: Sequence[Problem],
        source: Callable[[str], list[str]] | None = None,
        of: Mapping[Problem, Sequence[str]] = MappingProxyType({}),
    ) -> None:
        """Print problems as `file:line:col: level: message`, with the line and a caret where it can be read.

        The same problem of several clips or scenes, or in several places, is printed once, with their number and the
        first of them; of many with the same hint the first are printed in full. `is_verbose` prints all in full.
        `of` has the targets that a problem failed.
        """
        lines = functools.cache(source or read_lines)  # many problems share a file
        full: Counter[tuple[str, str]] = Counter()
        for first, *others in [[each] for each in problems] if self.is_verbose else grouped(problems):
            full[first.code, first.hint] += 1
            is_full = self.is_verbose or not first.hint or full[first.code, first.hint] <= IN_FULL
            text = [self.problem(first, lines) if is_full else self._headline(first)]
            text += [f"  {more_alike(first, others)}"] if others else []
            names = [Target(target).short for target in of.get(first, ())]
            if len(names) > 1 or (names and names[0] not in first.message):
                text.append(f"  it failed {_listed(names)}")
            self.warn("\n".join(text))

    def problem(self, problem: Problem, source: Callable[[str], list[str]]) -> str:
        """Return the text of a problem; `source` returns the lines of a file."""
        style = STYLES[problem.level]
        lines = [self._headline(problem)]
        if problem.span:
            lines += self._quoted(problem, source(problem.span.file), style)
        if problem.hint:
            lines.append(f"  {self.paint('→', style)} {problem.hint}")
        return "\n".join(lines)

    def _headline(self, problem: Problem) -> str:
        place = f"{self.paint(str(problem.span), 'bold')}: " if problem.span else ""
        code = self.paint(f" [{problem.code}]", "dim") if problem.code else ""
        return f"{place}{self.paint(problem.level, STYLES[problem.level], 'bold')}: {problem.message}{code}"

    def _quoted(self, problem: Problem, text: list[str], style: str) -> list[str]:
        span = problem.span
        if span is not None and span.line == len(text) + 1:  # the file ends too early: point at its end
            last = next((number for number in range(len(text), 0, -1) if text[number - 1].strip()), 0)
            span = replace(span, line=last, col=len(text[last - 1].rstrip()) + 1) if last else None
        if span is None or not 0 < span.line <= len(text):
            return []
        line = clean(text[span.line - 1].replace("\t", " "))  # before the caret is placed
        start, room = 0, max(10, self.width - 9)
        if len(line) > room:  # keep the caret in view
            start = max(0, min(span.col - 1 - room // 3, len(line) - room))
            line = line[start : start + room]
        number = self.paint(f"{span.line:>5} │ ", "dim")
        caret = self.paint("^", style, "bold")
        below = " " * (span.col - 1 - start + _extra_cells(line[: span.col - 1 - start]))
        return [f"{number}{line}", f"{self.paint('      │ ', 'dim')}{below}{caret}"]


def grouped(problems: Sequence[Problem]) -> list[list[Problem]]:
    """Return the problems in groups of the same one, each in the place of its first.

    Two are the same where only the clips and scenes differ that they name; of more than IN_FULL also where numbers do.
    """
    same: dict[tuple[str, ...], list[Problem]] = {}
    for each in problems:
        same.setdefault((each.level, each.code, _nameless(each, each.message), _nameless(each, each.hint)), []).append(
            each
        )
    alike: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for key in same:
        alike.setdefault(tuple(_NUMBER.sub("#", part) for part in key), []).append(key)
    found: list[list[Problem]] = []
    for keys in alike.values():
        groups = [same[key] for key in keys]
        found += [[each for group in groups for each in group]] if len(groups) > IN_FULL else groups
    place = {id(each): number for number, each in enumerate(problems)}
    return sorted(found, key=lambda group: place[id(group[0])])


def _nameless(problem: Problem, text: str) -> str:
    """Return a text of a problem without the clips and scenes that it is about."""
    about = (*problem.named, *problem.of)
    names = {name for path in about for name in (path, path.partition("/")[0], path.partition("@")[0]) if name}
    for name in sorted(names, key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", "", text)
    return text


def more_alike(first: Problem, others: Sequence[Problem]) -> str:
    """Return the number of others that have a problem, and where: `2 more: hook/b project.yaml:30:7, …`."""
    names = []
    for each in others:
        place = str(each.span) if each.span and each.span != first.span else ""
        names.append(" ".join(filter(None, [", ".join(each.named[:1] or each.of), place])))
    return f"{len(others)} more: {_listed(list(filter(None, names)))}".removesuffix(": ")


def _listed(names: Sequence[str]) -> str:
    """Return the first of many names."""
    more = f" and {len(names) - IN_FULL} more (-v prints all)" if len(names) > IN_FULL + 1 else ""
    return ", ".join(names[:IN_FULL] if more else names) + more


def broken(line: str, width: int) -> str:
    """Break a painted line between words into lines of at most `width` cells.

    Further lines are indented to the column after the last gap of two spaces in the left half.
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
    """Count the cells beyond one per character: Han, kana and Hangul take two, combining marks none."""
    if text.isascii():
        return 0
    return sum((unicodedata.east_asian_width(char) in ("W", "F")) - (unicodedata.combining(char) > 0) for char in text)


def rendered(text: str, has_color: bool) -> str:
    """Turn the marks of `paint` into ANSI codes, or remove them; clean the text between them."""
    parts = _STYLE.split(text)  # text, codes, text, codes … text
    codes = [f"\x1b[{code}m" if has_color else "" for code in parts[1::2]]
    return "".join(clean(part) + code for part, code in zip(parts[::2], [*codes, ""], strict=True))


def read_lines(file: str) -> list[str]:
    """Return the lines of a file, or none where it cannot be read."""
    try:
        with opened_regular(file) as raw:
            data = raw.read(8_000_000)
        coding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        return data.decode(coding, errors="replace").splitlines()
    except (OSError, ValueError):
        return []


def duration(seconds: float) -> str:
    """Return seconds as `12.3s`, `1m 03.7s` or `1h 02m`."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{int(minutes)}m {rest:04.1f}s"
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}h {minutes:02d}m"


def size(number: int) -> str:
    """Return bytes as `3.4 GB`."""
    value, units = float(number), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.0f} B" if units[0] == "B" else f"{value:.1f} {units[0]}"


def columns(rows: Iterable[Sequence[str]], gap: int = 2) -> list[str]:
    """Align rows of plain cells in columns; the last column is not padded."""
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
    """Return the storyboard page with its data inside, since a browser reads no file beside it.

    `<`, `>` and `&` are escaped, so that no data can end the script element.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    before, _, after = PAGE.read_text("utf-8").partition(PLACE)
    return f"{before}{text}{after}"


ENVELOPE_SCHEMA = "ltxflow.envelope/1"
EVENT_SCHEMA = "ltxflow.event/1"


def problem_json(problem: Problem) -> dict[str, Any]:
    """Return a problem as it appears in an envelope."""
    span = problem.span
    place = {"file": span.file, "line": span.line, "col": span.col} if span else None
    return {
        "level": problem.level,
        "code": problem.code,
        "message": problem.message,
        "where": place,
        "hint": problem.hint,
    }


def envelope(command: str, data: Any, exit_code: int, problems: Iterable[Problem] = ()) -> dict[str, Any]:
    """Return the document that ends the output of every command."""
    return {
        "schema": ENVELOPE_SCHEMA,
        "command": command,
        "version": __version__,
        "ok": exit_code in (0, 5),
        "exit_code": exit_code,
        "data": data,
        "problems": [problem_json(problem) for problem in problems],
    }


def print_envelope(
    command: str, data: Any, exit_code: int, problems: Iterable[Problem] = (), out: TextIO | None = None
) -> int:
    """Print the result of a command as its last line, and return the exit code."""
    put(_line(envelope(command, data, exit_code, problems)), out or sys.stdout)
    return exit_code


def print_event(event: Event, out: TextIO | None = None) -> None:
    """Print an event as one line and flush it, so that another process can follow the build."""
    put(_line({"schema": EVENT_SCHEMA, **event.as_json()}), out or sys.stdout)


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data)  # ASCII: valid in any encoding, and free of control characters
