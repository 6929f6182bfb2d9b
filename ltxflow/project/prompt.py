"""Read prompts: order their parts as the model's guide does and fill in `{{ name }}` from `vars:`. No code runs.

A variable is a text, or a sheet of texts, such as those of a character or a place (`{{ mara.coat }}`).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from ltxflow.core.errors import Problem, Span, problem
from ltxflow.project.model import Project, Prompt

TEXT_MOST = 20_000  # characters of one text; `maxLength` of a text in the project's schema
SHOWN = 60  # characters of a prompt in a message
PARTS = ("setup", "subject", "camera", "action", "mood", "audio")
LOOK_BEFORE = "audio"  # the look belongs with light and colour, before the sound; after a prompt of one text
TODO = "TODO"  # begins a prompt, or a part of one, that is still to be written
_UNWRITTEN = re.compile(r"\W*TODO(?=\s*(?:$|[:(.,…–—-])|\s+[a-z])")
_VARIABLE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)?\Z")


def read_prompt(
    written: str | Mapping[str, str], variables: Mapping[str, str], spans: Mapping[str, Span], look: str = ""
) -> tuple[Prompt, list[Problem]]:
    """Return a prompt with its variables filled in, and the problems found.

    `written` is one text, or a mapping of parts; `spans` has a Span for each part ("text" for one text). `look` is a
    sentence that prompts share, added as a separate part.
    """
    parts = {"text": written} if isinstance(written, str) else {p: written[p] for p in PARTS if written.get(p)}
    if look:
        before = {part: text for part, text in parts.items() if part != LOOK_BEFORE}
        parts = {**before, "look": look, **{part: text for part, text in parts.items() if part == LOOK_BEFORE}}
    problems: list[Problem] = []
    filled = {}
    for part, text in parts.items():
        filled[part], found = fill(text, variables, spans.get(part))
        problems += found
    return Prompt(filled, spans), problems


def is_unwritten(text: str) -> bool:
    """Return whether a text begins with TODO: it is still to be written."""
    return _UNWRITTEN.match(text) is not None


def unwritten(prompt: Prompt) -> str:
    """Return the first part of a prompt that is still to be written, "" where there is none."""
    return next((part for part, text in prompt.parts.items() if is_unwritten(text)), "")


def unwritten_problems(project: Project) -> Iterator[Problem]:
    """Yield a problem for each clip, and each image to generate, whose prompt is still to be written."""
    for clip in project.clips:
        if part := unwritten(clip.prompt):
            yield _unwritten(clip.path, clip.prompt.parts[part], clip.prompt.spans.get(part, clip.span))
    for still in project.stills:
        if is_unwritten(still.prompt):
            yield _unwritten(still.path, still.prompt, still.spans.get("prompt", still.span))


def _unwritten(path: str, text: str, span: Span | None) -> Problem:
    shown = text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"
    return problem("L035", span, of=(path,), clip=path, text=shown)


def sheets(written: Mapping[str, object]) -> dict[str, str]:
    """Flatten `vars:` to text by the name that prompts use: `look`, `mara.coat`."""
    flat: dict[str, str] = {}
    for name, value in written.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{part}": str(text) for part, text in value.items()}
        else:
            flat[name] = str(value)
    return flat


def fill(text: str, variables: Mapping[str, str], span: Span | None) -> tuple[str, list[Problem]]:
    """Replace every `{{ name }}` in a text and fold white space. Return a problem for each bad name, too."""
    problems: list[Problem] = []
    left = TEXT_MOST - len(text)

    def value(match: re.Match[str]) -> str:
        nonlocal left
        name = match[1].strip()
        if name in variables:
            text = str(variables[name])
            left -= len(text)
            return text if left >= 0 else ""
        if not _NAME.match(name):
            problems.append(problem("L031.name", span, text=match[0]))
        else:
            problems.append(problem("L030", span, hint=_hint(name, variables), name=name))
        return match[0]

    filled = _VARIABLE.sub(value, text)
    if left < 0 and text:
        problems.append(problem("L034.text", span, most=TEXT_MOST))
    if not problems and (stray := re.search(r"\{\{|\}\}|\{%|%\}", filled)):
        problems.append(problem("L031.unmatched" if stray[0] in ("{{", "}}") else "L031.code", span, text=stray[0]))
    return " ".join(filled.split()), problems


def _hint(name: str, variables: Mapping[str, str]) -> str:
    """Return a hint for an unknown variable; a sheet needs the name of a part."""
    parts = [known for known in variables if known.startswith(f"{name}.")]
    if parts:
        others = f", or {', '.join(parts[1:4])}" if parts[1:] else ""
        return f'"{name}" is a sheet: write {{{{ {parts[0]} }}}}{others}'
    near = difflib.get_close_matches(name, variables, n=1)
    return f'did you mean "{near[0]}"?' if near else "define it under vars at the top of the file"
