"""Prompts as written: in the model guide's order, `{{ name }}` filled from the film's vars. No code.

A var is a text, or a sheet of texts: of a character, a place (`{{ mara.coat }}`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from ltxflow.core.errors import Problem, Span
from ltxflow.project.model import Prompt

TEXT_MOST = 20_000  # characters of one text; `maxLength` of a text in the project's schema
PARTS = ("setup", "subject", "camera", "action", "mood", "audio")
LOOK_BEFORE = "audio"  # the look of a film is said with light and colour, before the sound; of one text, at its end
_VARIABLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?\Z")


def read_prompt(
    written: str | Mapping[str, str], variables: Mapping[str, str], spans: Mapping[str, Span], look: str = ""
) -> tuple[Prompt, list[Problem]]:
    """Given a prompt as text or as a mapping of parts, return it with its variables filled in, and what is wrong.

    `spans` has a Span for each part ("text" when the prompt is one text). `look` is a sentence that prompts share; it
    is a part of its own.
    """
    parts = {"text": written} if isinstance(written, str) else {p: written[p] for p in PARTS if written.get(p)}
    if look:
        before = {part: text for part, text in parts.items() if part != LOOK_BEFORE}
        parts = {**before, "look": look, **{part: text for part, text in parts.items() if part == LOOK_BEFORE}}
    problems: list[Problem] = []
    filled = {}
    for part, text in parts.items():
        filled[part], wrong = fill(text, variables, spans.get(part))
        problems += wrong
    return Prompt(filled, spans), problems


def sheets(written: Mapping[str, object]) -> dict[str, str]:
    """Given `vars:` as written, return every text by the name that prompts use: `look`, `mara.coat`."""
    flat: dict[str, str] = {}
    for name, value in written.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{part}": str(text) for part, text in value.items()}
        else:
            flat[name] = str(value)
    return flat


def fill(text: str, variables: Mapping[str, str], span: Span | None) -> tuple[str, list[Problem]]:
    """Given a text, return it with every `{{ name }}` replaced and white space folded, and a Problem a bad name."""
    problems: list[Problem] = []
    left = TEXT_MOST - len(text)

    def value(match: re.Match[str]) -> str:
        nonlocal left
        name = match[1].strip()
        if name in variables:
            told = str(variables[name])
            left -= len(told)
            return told if left >= 0 else ""
        if not _NAME.match(name):
            problems.append(
                Problem(f'"{match[0]}" is not a name', span, "prompts take names of vars, not code", "L031")
            )
        else:
            problems.append(Problem(f'unknown variable "{name}"', span, _known(name, variables), "L030"))
        return match[0]

    told = _VARIABLE.sub(value, text)
    if left < 0 and text:
        message = f"the text has more than {TEXT_MOST} characters once its variables are filled in"
        problems.append(Problem(message, span, "shorten it, or the variables that it names", "L034"))
    if not problems and (stray := re.search(r"\{\{|\}\}|\{%|%\}", told)):
        hint = "write {{ name }}" if stray[0] in ("{{", "}}") else "prompts take names of vars, not code"
        problems.append(Problem(f'"{stray[0]}" stands alone', span, hint, "L031"))
    return " ".join(told.split()), problems


def _known(name: str, variables: Mapping[str, str]) -> str:
    """A hint for a variable that is not there: a sheet is named with one of its parts."""
    parts = [known for known in variables if known.startswith(f"{name}.")]
    if parts:
        others = f", or {', '.join(parts[1:4])}" if parts[1:] else ""
        return f'"{name}" is a sheet: write {{{{ {parts[0]} }}}}{others}'
    near = difflib.get_close_matches(name, variables, n=1)
    return f'did you mean "{near[0]}"?' if near else "define it under vars: at the top of the file"
