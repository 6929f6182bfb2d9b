"""Define the one error type, its problems and their positions in text files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ltxflow import messages
from ltxflow.messages import Level as Level
from ltxflow.messages.core import READ_HINT, READ_HINTS

FAILED = 1  # a clip, a check or a verification failed
USAGE = 2  # bad arguments, or a project that cannot be read
BUG = 3  # ours
UNREACHABLE = 4  # no server answers
CHANGES = 5  # `plan --exit-code` found something to do
INTERRUPTED = 130


@dataclass(frozen=True, order=True)
class Span:
    """A place in a text file: 1-based line and column; `file` is shown to the user unchanged."""

    file: str
    line: int
    col: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it is, and what to do about it.

    `message` is lowercase, without a final period, with the offending word quoted. `transient` means that the same
    attempt may succeed later; nothing else decides about a retry. `of` names the clips or scenes concerned by path, and
    is empty for the whole film; a warning is hidden where all of them `ignore:` its code.
    """

    message: str
    span: Span | None = None
    hint: str = ""
    code: str = ""
    level: Level = "error"
    transient: bool = False
    of: tuple[str, ...] = field(default=(), compare=False)


def problem(
    id: str,
    span: Span | None = None,
    *,
    hint: str | None = None,
    level: Level | None = None,
    transient: bool = False,
    of: tuple[str, ...] = (),
    **values: Any,
) -> Problem:
    """Return the problem `id` of the catalogue (`L044` or `L044.too-many`), filled with `values`.

    `hint` replaces the catalogue's, `level` the rule's. Raise KeyError for an unknown id or a missing value.
    """
    rule, text = messages.find(id)
    found = text.hint.format_map(values) if hint is None else hint
    return Problem(
        text.message.format_map(values), span, found, id.partition(".")[0], level or rule.level, transient, of
    )


class LtxflowError(Exception):
    """One or more problems, collected, so that a file with five typos shows five."""

    def __init__(self, *problems: Problem | str, exit_code: int = USAGE) -> None:
        self.problems: tuple[Problem, ...] = tuple(Problem(p) if isinstance(p, str) else p for p in problems)
        self.exit_code = exit_code
        super().__init__("; ".join(p.message for p in self.problems))

    @property
    def transient(self) -> bool:
        """Whether the same attempt may succeed later."""
        return bool(self.problems) and all(p.transient for p in self.problems)


def hint_for(error: OSError) -> str:
    """Return what to do about an error that occurred while a file was read."""
    return READ_HINTS.get(error.errno or 0, READ_HINT)


def raise_errors(problems: Iterable[Problem]) -> None:
    """Raise LtxflowError with the problems that are errors, if any."""
    errors = [p for p in problems if p.level == "error"]
    if errors:
        raise LtxflowError(*errors)
