"""The catalogue: every message and hint of ltxflow, by code. `ltxflow rules` and the docs are made from it.

A code is a letter for the area and three digits. A rule has one or more texts; a rule with several names them:
`problem("L044.too-many", span, steps=9)`. Each module here holds the rules of one package.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, NamedTuple

Level = Literal["error", "warning", "advice"]

AREAS: Mapping[str, tuple[str, str]] = {  # first letter of a code → what it is about, the modules that hold its rules
    "C": ("servers", "comfy farm"),
    "D": ("store, lock and published files", "core store lock publish"),
    "F": ("model profiles", "models"),
    "K": ("decisions and the lock", "lock decisions"),
    "L": ("the film", "project documents plan steps core"),
    "M": ("media files", "media"),
    "N": ("nodes of a workflow", "comfy"),
    "P": ("prompts", "project"),
    "Q": ("clips that came back", "media"),
    "R": ("the build", "build steps"),
    "S": ("speech, and the form of files", "media documents"),
    "T": ("templates and lengths", "workflow plan"),
    "U": ("the command line", "cli core"),
    "X": ("hand-over", "export"),
    "Y": ("YAML", "documents"),
}


class Text(NamedTuple):
    """One message and its hint, with `{name}` where a value belongs. `hint` may be empty, or be given by the caller."""

    message: str
    hint: str = ""


@dataclass(frozen=True)
class Rule:
    """What holds (`title`), how grave a breach is, why it matters and who says so, and the texts by name.

    `check` is the key under `checks:` that switches a rule about clips, `seed` whether another seed may help.
    """

    title: str
    texts: Mapping[str, Text]
    level: Level = "error"
    why: str = ""
    source: str = ""
    check: str = ""
    seed: str = ""


def rule(title: str, *text: str, level: Level = "error", why: str = "", source: str = "", **texts: Text) -> Rule:
    """Return a rule with one unnamed text (`message`, `hint`), or with the named `texts` (`too_many` is `too-many`)."""
    own = {"": Text(*text)} if text else {}
    return Rule(title, own | {name.replace("_", "-"): each for name, each in texts.items()}, level, why, source)


def find(id: str) -> tuple[Rule, Text]:
    """Return the rule and the text of `L044` or `L044.too-many`. Raise KeyError for one that is not there."""
    code, _, name = id.partition(".")
    found = _table(code[0])[code]
    return found, found.texts[name]


def every() -> Iterator[tuple[str, Rule]]:
    """Yield code and rule of the whole catalogue, in order."""
    yield from sorted((code, found) for letter in AREAS for code, found in _table(letter).items() if code[0] == letter)


@cache
def _table(letter: str) -> Mapping[str, Rule]:
    """Return the rules of one area, and others of the same modules. A rule of two packages has the texts of both."""
    found: dict[str, Rule] = {}
    for name in AREAS[letter][1].split():
        for code, each in importlib.import_module(f"ltxflow.messages.{name}").RULES.items():
            found[code] = replace(found[code], texts={**found[code].texts, **each.texts}) if code in found else each
    return found
