"""Answers a shell that asks what a half-typed command could go on with. Imports little: somebody waits with a key down.

`ltxflow __complete BREAKS LINE` prints a candidate a line, or `:files` where the shell knows better. BREAKS are the
characters at which the shell ends a word itself, bash's COMP_WORDBREAKS: what stands before the last of them in the
word is not repeated.
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ltxflow.core.errors import LtxflowError
from ltxflow.documents.paths import find_project
from ltxflow.project.outline import Outline, outline

FILES = ":files"
TAKES_VALUE = {"-p", "--project", "--root"}
# What verbs take, in order; the last may be repeated. Of the others, and of all options, their modules are asked.
PLACES: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("build", "plan", "watch", "explain", "graph"), ("SELECTOR",)),
    **dict.fromkeys(("show", "takes", "forget", "accept"), ("CLIP",)),
    **dict.fromkeys(("approve", "reject", "retake"), ("CLIP", "REASON")),
    "diff": ("REF",),
    "pick": ("CLIP", "TAKE"),
    "pin": ("CLIP", "FILE", "REASON"),
}


def answer(breaks: str, line: str, verbs: Mapping[str, str]) -> list[str]:
    """Given what the shell has, return what its last word could become, in the order to offer it."""
    words = split(line)
    word = words.pop()
    found = [name for name in _candidates(words[1:], word, verbs) if name.startswith(word) or name == FILES]
    known = max((word.rfind(mark) for mark in breaks if mark not in "\"'"), default=-1) + 1
    return [name if name == FILES else name[known:] for name in dict.fromkeys(found)]


def split(line: str) -> list[str]:
    """Given a command line up to the cursor, return its words as the shell takes them; the last is being typed."""
    for end in ("\0", '\0"', "\0'"):  # a quote may still be open
        with suppress(ValueError):
            *words, word = shlex.split(line + end)
            return [*words, word.removesuffix("\0")]
    return [""]


def _candidates(before: Sequence[str], word: str, verbs: Mapping[str, str]) -> list[str]:
    verb, rest = _verb(before)
    if before and before[-1] in ("-p", "--project"):
        return [*_projects(), FILES]
    if not verb:
        return [*verbs, "--version", "--help", "--project"] if word.startswith("-") else list(verbs)
    if verb == "help":
        return list(verbs)
    if verb not in verbs:
        return []
    if word.startswith("-") or (rest and rest[-1].startswith("-")) or verb not in PLACES:
        told = _options(verb, rest, word)
        if told is not None:
            return told
    places = PLACES.get(verb, ("CLIP",))
    free = _free(rest)
    return _names(places[min(len(free), len(places) - 1)], word, before, free)


def _free(rest: Sequence[str]) -> list[str]:
    """The words that are neither options nor the values of those that every verb has."""
    return [
        word
        for last, word in zip(["", *rest], rest, strict=False)
        if not word.startswith("-") and last not in TAKES_VALUE
    ]


def _verb(before: Sequence[str]) -> tuple[str, list[str]]:
    """The verb, and the words after it: `-p film plan` is `plan -p film`."""
    rest = list(before)
    while rest and rest[0].startswith("-"):
        del rest[: 2 if rest[0] in TAKES_VALUE else 1]
    return (rest[0], rest[1:]) if rest else ("", [])


def _names(place: str, word: str, before: Sequence[str], free: Sequence[str]) -> list[str]:
    """The film's names for a place of this kind."""
    if place == "FILE":
        return [FILES]
    if place == "REASON":
        return []
    try:
        file = find_project(_project(before), Path.cwd())
    except LtxflowError:
        return []
    if place == "REF":
        return _revisions(file.parent)
    film = outline(file)
    if place == "TAKE":
        return [str(number) for number in _takes(file).get(free[0] if free else "", [1])]
    return _clips(film, file, word, whole=place == "SELECTOR")


def _clips(film: Outline, file: Path, word: str, *, whole: bool) -> list[str]:
    """Clips; where a selector may stand for several also scenes, tags, what changed since a revision, and `!`."""
    left_out = "!" if whole and word.startswith("!") else ""
    word = word.removeprefix("!") if whole else word
    path, at, _ = word.partition("@")
    if at:
        names = [f"{path}@{number}" for number in _takes(file).get(path, [1])]
    elif whole and word.startswith("changed:"):
        names = [f"changed:{name}" for name in _revisions(file.parent)]
    else:
        groups = [*film.scenes, *(f"tag:{tag}" for tag in sorted(film.tags)), "changed:"] if whole else []
        names = [*groups, *film.clips, *(f"reference:{name}" for name in film.references)]
    return [f"{left_out}{name}" for name in names]


def _project(before: Sequence[str]) -> str | None:
    for index, word in enumerate(before):
        if word in ("-p", "--project") and index + 1 < len(before):
            return before[index + 1]
        if word.startswith("--project="):
            return word.partition("=")[2]
    return None


def _projects() -> list[str]:
    found = [folder / "projects" for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "projects").is_dir()]
    return sorted(path.parent.name for path in found[0].glob("*/project.yaml")) if found else []


def _takes(file: Path) -> dict[str, list[int]]:
    """Clip → the numbers of its takes, by the lock."""
    with suppress(OSError, LtxflowError):
        lock = importlib.import_module("ltxflow.lock.model").read_lock(file.with_name("ltxflow.lock"), "ltxflow.lock")
        return {path: sorted(entry.takes) for path, entry in lock.entries.items()}
    return {}


def _revisions(folder: Path) -> list[str]:
    """The branches and tags of the checkout, and HEAD."""
    argv = ["git", "-C", str(folder), "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags"]
    try:
        told = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except OSError:  # no git here
        return []
    return ["HEAD", *told.split()]


def _options(verb: str, rest: Sequence[str], word: str) -> list[str] | None:
    """What the verb's own parser says can stand here; None where that is a name of the film."""
    from ltxflow.cli import boundary  # slow, and only needed here

    parser = argparse.ArgumentParser(add_help=True)
    boundary.common(parser)
    importlib.import_module(f"ltxflow.cli.commands.{verb}").add_arguments(parser)
    actions = parser._actions
    last = rest[-1] if rest else ""
    taking = next((action for action in actions if last in action.option_strings and action.nargs != 0), None)
    if taking is not None:
        return _values(taking)
    name, equals, _ = word.partition("=")
    named = next((action for action in actions if equals and name in action.option_strings), None)
    if named is not None:
        return [f"{name}={value}" for value in _values(named) if value != FILES]
    if word.startswith("-"):
        return [name for action in actions if action.help != argparse.SUPPRESS for name in action.option_strings]
    if verb in PLACES:
        return None
    free = [action for action in actions if not action.option_strings]
    here = free[min(len(_free(rest)), len(free) - 1)] if free else None
    if here is None or here.metavar == "CLIP":
        return [] if here is None else None
    return _values(here)


def _values(action: argparse.Action) -> list[str]:
    """What an option, or a place, takes."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if action.dest == "quality":
        return ["preview", "distilled", "full"]
    if action.dest == "set":
        return [f"{name}=" for name in sorted(importlib.import_module("ltxflow.project.settings").NAMES)]
    if action.dest == "codes":
        return []
    names = str(action.metavar or "")
    return [FILES] if action.type is Path or any(kind in names for kind in ("FILE", "DIR", "FOLDER")) else []
