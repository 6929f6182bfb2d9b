"""Prompts as written: in the model guide's order, `{{ name }}` filled from the film's vars. One level, no code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from ltxflow.core.errors import Problem, Span
from ltxflow.script.model import Prompt

PARTS = ("setup", "subject", "camera", "action", "mood", "audio")
_VARIABLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def read_prompt(
    written: str | Mapping[str, str], variables: Mapping[str, str], spans: Mapping[str, Span]
) -> tuple[Prompt, list[Problem]]:
    """Given a prompt as text or as a mapping of parts, return it with its variables filled in, and what is wrong.

    `spans` has a Span for each part ("text" when the prompt is one text).
    """
    parts = {"text": written} if isinstance(written, str) else {p: written[p] for p in PARTS if written.get(p)}
    problems: list[Problem] = []
    filled = {}
    for part, text in parts.items():
        filled[part], wrong = fill(text, variables, spans.get(part))
        problems += wrong
    return Prompt(filled, spans), problems


def fill(text: str, variables: Mapping[str, str], span: Span | None) -> tuple[str, list[Problem]]:
    """Given a text, return it with every `{{ name }}` replaced and white space folded, and a Problem a bad name."""
    problems: list[Problem] = []

    def value(match: re.Match[str]) -> str:
        name = match[1].strip()
        if name in variables:
            return str(variables[name])
        if not _NAME.match(name):
            problems.append(
                Problem(f'"{match[0]}" is not a name', span, "prompts take names of vars, not code", "L031")
            )
        else:
            near = difflib.get_close_matches(name, variables, n=1)
            hint = f'did you mean "{near[0]}"?' if near else "define it under vars: at the top of the file"
            problems.append(Problem(f'unknown variable "{name}"', span, hint, "L030"))
        return match[0]

    told = _VARIABLE.sub(value, text)
    if not problems and (stray := re.search(r"\{\{|\}\}|\{%|%\}", told)):
        hint = "write {{ name }}" if stray[0] in ("{{", "}}") else "prompts take names of vars, not code"
        problems.append(Problem(f'"{stray[0]}" stands alone', span, hint, "L031"))
    return " ".join(told.split()), problems
