"""Complete a half-typed command for a shell. Imports little: it runs at every press of the key.

`ltxflow __complete BREAKS LINE` prints one candidate per line, or `:files` where the shell completes file names.
BREAKS are the characters at which the shell ends a word itself (bash's COMP_WORDBREAKS): what precedes the last of
them in the word is not repeated.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ltxflow.cli.table import COMMANDS
from ltxflow.core.errors import LtxflowError
from ltxflow.documents.document import find_project
from ltxflow.project.sources import Outline, outline

FILES = ":files"
TAKES_VALUE = {"-p", "--project", "--root"}


def complete(breaks: str, line: str) -> list[str]:
    """Return what the last word of the line can become, in the order to offer it."""
    words = split(line)
    word = words.pop()
    found = [name for name in _candidates(words[1:], word) if name.startswith(word) or name == FILES]
    known = max((word.rfind(mark) for mark in breaks if mark not in "\"'"), default=-1) + 1
    return [name if name == FILES else name[known:] for name in dict.fromkeys(found)]


def split(line: str) -> list[str]:
    """Split a command line up to the cursor into words, as the shell does; the last one is being typed."""
    for end in ("\0", '\0"', "\0'"):  # a quote may still be open
        with suppress(ValueError):
            *words, word = shlex.split(line + end)
            return [*words, word.removesuffix("\0")]
    return [""]


def _candidates(before: Sequence[str], word: str) -> list[str]:
    name, rest = _command(before)
    if before and before[-1] in ("-p", "--project"):
        return [*_projects(), FILES]
    if not name:
        return [*COMMANDS, "--version", "--help", "--project"] if word.startswith("-") else list(COMMANDS)
    if name == "help":
        return list(COMMANDS)
    if name not in COMMANDS:
        return []
    kinds = COMMANDS[name].arguments.split()
    if word.startswith("-") or (rest and rest[-1].startswith("-")) or not kinds:
        options = _from_parser(name, rest, word)
        if options is not None:
            return options
    free = _free(rest)
    kind = kinds[min(len(free), len(kinds) - 1)].strip("[].") if kinds else "TAKE"
    return _names(kind, word, before, free)


def _free(rest: Sequence[str]) -> list[str]:
    """Return the words that are neither options nor values of common options."""
    return [
        word
        for last, word in zip(["", *rest], rest, strict=False)
        if not word.startswith("-") and last not in TAKES_VALUE
    ]


def _command(before: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command and the words after it: `-p film plan` is `plan -p film`."""
    rest = list(before)
    while rest and rest[0].startswith("-"):
        del rest[: 2 if rest[0] in TAKES_VALUE else 1]
    return (rest[0], rest[1:]) if rest else ("", [])


def _names(kind: str, word: str, before: Sequence[str], free: Sequence[str]) -> list[str]:
    """Return the names in the film for an argument of this kind (`table.ARGUMENTS`)."""
    if kind == "FILE":
        return [FILES]
    if kind == "REASON":
        return []
    try:
        file = find_project(_project(before), Path.cwd())
    except LtxflowError:
        return []
    if kind == "REF":
        return _revisions(file.parent)
    film = outline(file)
    if kind == "NUMBER":
        return [str(number) for number in _takes(file).get(free[0] if free else "", [1])]
    return _clips(film, file, word, selects=kind == "SELECTOR")


def _clips(film: Outline, file: Path, word: str, *, selects: bool) -> list[str]:
    """Return clips and takes; for a selector also scenes, tags, what changed since a revision, and `!`."""
    excluded = "!" if selects and word.startswith("!") else ""
    word = word.removeprefix("!") if selects else word
    path, at, _ = word.partition("@")
    if at:
        names = [f"{path}@{number}" for number in _takes(file).get(path, [1])]
    elif selects and word.startswith("changed:"):
        names = [f"changed:{name}" for name in _revisions(file.parent)]
    else:
        groups = [*film.scenes, *(f"tag:{tag}" for tag in sorted(film.tags)), "changed:"] if selects else []
        names = [*groups, *film.clips, *(f"reference:{name}" for name in film.references)]
    return [f"{excluded}{name}" for name in names]


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
    """Return the numbers of the takes of each clip in the lock."""
    from ltxflow.lock.file import read_lock

    with suppress(OSError, LtxflowError):
        lock = read_lock(file.with_name("ltxflow.lock"), "ltxflow.lock")
        return {path: sorted(entry.takes) for path, entry in lock.entries.items()}
    return {}


def _revisions(folder: Path) -> list[str]:
    """Return HEAD, the branches and the tags of the checkout."""
    argv = ["git", "-C", str(folder), "for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/tags"]
    try:
        names = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    except OSError:  # git is not installed
        return []
    return ["HEAD", *names.split()]


def _from_parser(name: str, rest: Sequence[str], word: str) -> list[str] | None:
    """Return what the parser of a command accepts here; None where that is a name in the film."""
    from ltxflow.cli.parser import parser_of  # slow, and only needed here

    actions = parser_of(name)._actions
    last = rest[-1] if rest else ""
    taking = next((action for action in actions if last in action.option_strings and action.nargs != 0), None)
    if taking is not None:
        return _values(taking)
    option, equals, _ = word.partition("=")
    named = next((action for action in actions if equals and option in action.option_strings), None)
    if named is not None:
        return [f"{option}={value}" for value in _values(named) if value != FILES]
    if word.startswith("-"):
        return [each for action in actions if action.help != argparse.SUPPRESS for each in action.option_strings]
    if COMMANDS[name].arguments:
        return None
    free = [action for action in actions if not action.option_strings]
    here = free[min(len(_free(rest)), len(free) - 1)] if free else None
    if here is None or here.metavar == "CLIP":
        return [] if here is None else None
    return _values(here)


def _values(action: argparse.Action) -> list[str]:
    """Return the values that an option or an argument takes, as far as they are known."""
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if action.dest == "quality":
        return ["preview", "distilled", "full"]
    if action.dest == "set":
        from ltxflow.project.settings import NAMES  # only for --set

        return [f"{name}=" for name in sorted(NAMES)]
    if action.dest == "codes":
        return []
    names = str(action.metavar or "")
    return [FILES] if action.type is Path or any(kind in names for kind in ("FILE", "DIR", "FOLDER")) else []
