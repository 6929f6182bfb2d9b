"""JSON output: one versioned envelope per command; a build prints its events before it, one per line."""

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
