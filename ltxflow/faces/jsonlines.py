"""Machine output: one versioned envelope a verb, and for a build an event a line before it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from ltxflow import __version__
from ltxflow.core.errors import Problem
from ltxflow.core.events import EVENT_SCHEMA, Event

ENVELOPE_SCHEMA = "ltxflow.envelope/1"


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
    print(json.dumps(envelope(command, data, exit_code, problems), ensure_ascii=False), file=out or sys.stdout)
    return exit_code


def print_event(event: Event, out: TextIO | None = None) -> None:
    """One event, one line, at once: a reader in another process follows the build with it."""
    line = {"schema": EVENT_SCHEMA, **event.as_json()}
    print(json.dumps(line, ensure_ascii=False), file=out or sys.stdout, flush=True)
