"""Machine output: one versioned envelope a verb, and for a build an event a line before it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TextIO

from ltxflow import __version__
from ltxflow.core.errors import Problem
from ltxflow.ui.terminal import put

if TYPE_CHECKING:
    from ltxflow.core.events import Event


ENVELOPE_SCHEMA = "ltxflow.envelope/1"
EVENT_SCHEMA = "ltxflow.event/1"


def problem_json(problem: Problem) -> dict[str, Any]:
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
    """Given a verb's result, return the document that every verb ends with."""
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
    """Print a verb's result as its last line, and return the exit code."""
    put(_line(envelope(command, data, exit_code, problems)), out or sys.stdout)
    return exit_code


def print_event(event: Event, out: TextIO | None = None) -> None:
    """One event, one line, at once: a reader in another process follows the build with it."""
    put(_line({"schema": EVENT_SCHEMA, **event.as_json()}), out or sys.stdout)


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data)  # ASCII: any pipe takes it, and no control character gets to a terminal
