"""The catalogue of all messages and hints, by code. `ltxflow rules` and the docs are generated from it.

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

AREAS: Mapping[str, tuple[str, str]] = {  # first letter of a code → its subject, the modules with its rules
    "C": ("servers", "comfy farm"),
    "D": ("store, lock and published files", "core store lock publish session export"),
    "F": ("model profiles", "models"),
    "K": ("decisions and the lock", "lock decisions"),
    "L": ("the film", "project documents plan session steps core"),
    "M": ("media files", "media"),
    "N": ("nodes of a workflow", "comfy cli"),
    "P": ("prompts", "project"),
    "Q": ("clips that came back", "media"),
    "R": ("the build", "build steps"),
    "S": ("speech, and the form of files", "media documents"),
    "T": ("templates and lengths", "workflow plan cli"),
    "U": ("the command line", "cli core decisions plan session board"),
    "X": ("hand-over", "export"),
    "Y": ("YAML", "documents"),
}


class Text(NamedTuple):
    """A message and its hint, with `{name}` for a value. An empty hint may be given by the caller."""

    message: str
    hint: str = ""


@dataclass(frozen=True)
class Rule:
    """What must hold (`title`), the level of a violation, why it matters, the source, and the texts by name.

    `check` is the key under `checks:` that disables a rule about clips, `seed` whether another seed may help.
    """

    title: str
    texts: Mapping[str, Text]
    level: Level = "error"
    why: str = ""
    source: str = ""
    check: str = ""
    seed: str = ""


def rule(
    title: str,
    *text: str,
    level: Level = "error",
    why: str = "",
    source: str = "",
    check: str = "",
    seed: str = "",
    **texts: Text,
) -> Rule:
    """Return a rule with one unnamed text (`message`, `hint`), or with the named `texts` (`too_many` is `too-many`)."""
    own = {"": Text(*text)} if text else {}
    named = {name.replace("_", "-"): each for name, each in texts.items()}
    return Rule(title, own | named, level, why, source, check, seed)


def find(id: str) -> tuple[Rule, Text]:
    """Return the rule and the text of `L044` or `L044.too-many`. Raise KeyError for an unknown id."""
    code, _, name = id.partition(".")
    found = _table(code[0])[code]
    return found, found.texts[name]


def every() -> Iterator[tuple[str, Rule]]:
    """Yield code and rule of the whole catalogue, in order."""
    yield from sorted((code, found) for letter in AREAS for code, found in _table(letter).items() if code[0] == letter)


@cache
def _table(letter: str) -> Mapping[str, Rule]:
    """Return the rules of one area. A rule that several packages use has the texts of all of them."""
    found: dict[str, Rule] = {}
    for name in AREAS[letter][1].split():
        for code, each in importlib.import_module(f"ltxflow.messages.{name}").RULES.items():
            found[code] = replace(found[code], texts={**found[code].texts, **each.texts}) if code in found else each
    return found
