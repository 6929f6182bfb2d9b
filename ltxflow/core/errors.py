"""The one error type, with positions. Knows nothing of where the text came from or who prints it."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ltxflow import messages
from ltxflow.messages import Level as Level

FAILED = 1  # a clip, a check or a verification failed
USAGE = 2  # bad arguments, or a project that cannot be read
BUG = 3  # ours
UNREACHABLE = 4  # no server answers
CHANGES = 5  # `plan --exit-code` found something to do
INTERRUPTED = 130


@dataclass(frozen=True, order=True)
class Span:
    """A place in a text file: 1-based line and column; `file` is shown to the user as it stands."""

    file: str
    line: int
    col: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.col}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it is, and what to do about it.

    `message` is lowercase, without a final period, with the offending word quoted. `transient` says that the
    same attempt may succeed later; it alone decides retry. `of` are the clips or scenes that it is about, by path,
    empty for the film: where all of them `ignore:` its code, a warning is not shown.
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
    """Return the problem whose text the catalogue has under `id` (`L044` or `L044.too-many`), filled with `values`.

    `hint` replaces the catalogue's, `level` the rule's. Raise KeyError for an id or a value that is not there.
    """
    rule, text = messages.find(id)
    found = text.hint.format_map(values) if hint is None else hint
    return Problem(
        text.message.format_map(values), span, found, id.partition(".")[0], level or rule.level, transient, of
    )


class LtxflowError(Exception):
    """One or more problems, collected: a file with five typos shows five."""

    def __init__(self, *problems: Problem | str, exit_code: int = USAGE) -> None:
        self.problems: tuple[Problem, ...] = tuple(Problem(p) if isinstance(p, str) else p for p in problems)
        self.exit_code = exit_code
        super().__init__("; ".join(p.message for p in self.problems))

    @property
    def transient(self) -> bool:
        return bool(self.problems) and all(p.transient for p in self.problems)


def hint_for(error: OSError) -> str:
    """Given what the system said when a file was to be read, return what to do about it."""
    if isinstance(error, IsADirectoryError):
        return "a folder stands where the file belongs: move it away"
    if isinstance(error, NotADirectoryError):
        return "a file stands where a folder belongs: move it away"
    if error.errno == errno.EINVAL:  # regular.NotRegular
        return "something else stands where the file belongs: move it away"
    if error.errno == errno.ELOOP:
        return "a link that leads to itself stands where the file belongs: remove it"
    if error.errno == errno.EFBIG:
        return "ltxflow writes none so large: move it away"
    return "check its permissions"


def raise_errors(problems: Iterable[Problem]) -> None:
    """Given problems of any level, raise LtxflowError with the errors among them, if there are any."""
    errors = [p for p in problems if p.level == "error"]
    if errors:
        raise LtxflowError(*errors)
