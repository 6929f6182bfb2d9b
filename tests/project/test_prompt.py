"""Prompts: the order of their parts, and variables."""

from __future__ import annotations

import pytest

from ltxflow.core.errors import Span
from ltxflow.project.prompt import PARTS, fill, read_prompt, sheets

SPAN = Span("project.yaml", 9, 17)
VARS = {"look": "deep blue", "n": "3", "brace": "{ not }"}


def test_parts_have_the_order_of_the_model_guide() -> None:
    written = {"audio": "A hum.", "setup": "A vault.", "camera": "It pans."}
    prompt, problems = read_prompt(written, VARS, {})
    assert list(prompt.parts) == ["setup", "camera", "audio"]
    assert prompt.text == "A vault. It pans. A hum."
    assert prompt.camera == "It pans."
    assert problems == []
    assert PARTS == ("setup", "subject", "camera", "action", "mood", "audio")


def test_a_text_is_one_part() -> None:
    prompt, _ = read_prompt("A vault. It pans.", VARS, {"text": SPAN})
    assert dict(prompt.parts) == {"text": "A vault. It pans."}
    assert (prompt.text, prompt.camera) == ("A vault. It pans.", "")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("in {{ look }} light", "in deep blue light"),
        ("{{look}}{{ n }}", "deep blue3"),
        ("{{\n look\n}}", "deep blue"),
        ("one\n  two\tthree ", "one two three"),
        ("{ look } and {look}", "{ look } and {look}"),
        ("{{ brace }}", "{ not }"),
        ("", ""),
    ],
)
def test_names_of_vars_are_filled_in_and_white_space_folded(text: str, filled: str) -> None:
    assert fill(text, VARS, SPAN) == (filled, [])


@pytest.mark.parametrize(
    ("text", "code", "message", "hint"),
    [
        ("{{ lok }}", "L030", 'unknown variable "lok"', 'did you mean "look"?'),
        ("{{ quux }}", "L030", 'unknown variable "quux"', "define it under vars at the top of the file"),
        ("{{ look | upper }}", "L031", '"{{ look | upper }}" is not a variable name', "use names of vars, not code"),
        ("{{ }}", "L031", '"{{ }}" is not a variable name', "use names of vars, not code"),
        ("{{ look }", "L031", '"{{" is unmatched', "write {{ name }}"),
        ("look }}", "L031", '"}}" is unmatched', "write {{ name }}"),
        ("{% set x = 1 %}", "L031", '"{%" is code', "use names of vars, not code"),
    ],
)
def test_invalid_names_are_reported_with_their_place(text: str, code: str, message: str, hint: str) -> None:
    _, (problem,) = fill(text, VARS, SPAN)
    assert (problem.code, problem.message, problem.hint, problem.span) == (code, message, hint, SPAN)


def test_every_unknown_name_is_reported_at_its_part() -> None:
    spans = {"setup": SPAN, "audio": Span("project.yaml", 12, 9)}
    _, problems = read_prompt({"setup": "{{ a1 }} {{ a2 }}", "audio": "{{ a3 }}"}, VARS, spans)
    assert [(problem.message, problem.span) for problem in problems] == [
        ('unknown variable "a1"', SPAN),
        ('unknown variable "a2"', SPAN),
        ('unknown variable "a3"', spans["audio"]),
    ]


def test_the_text_of_a_variable_is_not_expanded() -> None:
    assert fill("{{ outer }}", {"outer": "[[ look ]]", "look": "x"}, SPAN) == ("[[ look ]]", [])


def test_the_look_comes_before_the_sound_and_at_the_end_of_one_text() -> None:
    parts = {"audio": "A hum.", "action": "It turns.", "mood": "Calm."}
    assert read_prompt(parts, {}, {}, "Blue {{ light }}.")[0].text.startswith("It turns. Calm. Blue")
    assert read_prompt(parts, {"light": "dusk"}, {}, "Blue {{ light }}.")[0].text == "It turns. Calm. Blue dusk. A hum."
    assert read_prompt("It turns.", {}, {}, "Blue.")[0].text == "It turns. Blue."


def test_a_sheet_needs_the_name_of_a_part() -> None:
    known = sheets({"mara": {"coat": "a red coat", "age": 60}, "year": 1987})
    assert known == {"mara.coat": "a red coat", "mara.age": "60", "year": "1987"}
    assert fill("{{ mara.coat }}, {{mara.age}}, {{ year }}", known, None) == ("a red coat, 60, 1987", [])
    (whole,) = fill("{{ mara }}", known, None)[1]
    assert whole.hint == '"mara" is a sheet: write {{ mara.coat }}, or mara.age'
    (near,) = fill("{{ mara.caot }}", known, None)[1]
    assert (near.message, near.hint) == ('unknown variable "mara.caot"', 'did you mean "mara.coat"?')
    (code,) = fill("{{ mara.coat.upper() }}", known, None)[1]
    assert code.code == "L031"
