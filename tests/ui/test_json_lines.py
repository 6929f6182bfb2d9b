"""Machine output: one document a line, ASCII, with a schema's name in each."""

from __future__ import annotations

import io
import json

from ltxflow import __version__
from ltxflow.core.errors import Problem, Span
from ltxflow.core.events import ActionProgress
from ltxflow.ui.terminal import envelope, print_envelope, print_event


def test_the_envelope_shows_what_ran_and_how_it_went() -> None:
    output = envelope("plan", {"a": 1}, 5, [Problem("odd", Span("f.yaml", 2, 3), "do this", "P1", "warning")])
    assert output == {
        "schema": "ltxflow.envelope/1",
        "command": "plan",
        "version": __version__,
        "ok": True,
        "exit_code": 5,
        "data": {"a": 1},
        "problems": [
            {
                "level": "warning",
                "code": "P1",
                "message": "odd",
                "where": {"file": "f.yaml", "line": 2, "col": 3},
                "hint": "do this",
            }
        ],
    }
    assert not envelope("plan", None, 1)["ok"]


def test_an_envelope_is_one_line_and_its_exit_code_comes_back() -> None:
    out = io.StringIO()
    assert print_envelope("show", "two\nlines\x1b[2J\x9b", 0, out=out) == 0
    (line,) = out.getvalue().splitlines()
    assert line.isascii()
    assert json.loads(line)["data"] == "two\nlines\x1b[2J\x9b"


def test_an_event_is_one_line_with_its_name() -> None:
    out = io.StringIO()
    print_event(ActionProgress("clip:hook/a@1", 0.5, "step 4 of 8"), out)
    assert json.loads(out.getvalue()) == {
        "schema": "ltxflow.event/1",
        "event": "action-progress",
        "target": "clip:hook/a@1",
        "fraction": 0.5,
        "text": "step 4 of 8",
    }


def test_a_name_that_is_not_unicode_can_be_told() -> None:
    out = io.StringIO()
    print_envelope("show", "caf\udce9", 0, out=out)
    assert json.loads(out.getvalue())["data"] == "caf\udce9"
