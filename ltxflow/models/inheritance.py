"""Reads a profile's file with those that it extends, as one document. Knows YAML and folders, not what a model is."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.documents import yaml
from ltxflow.documents.document import Document
from ltxflow.documents.paths import shown

FILE = "profile.yaml"
NOT_INHERITED = ("name", "extends")  # a profile has its own

Stamp = tuple[Path, int, int]  # a file, when it was written (ns), and its size


@dataclass(frozen=True)
class Lineage:
    """A profile's document, laid over those that it extends; `files` has its own first, then the one it extends, ….

    `sets` are the names of the profiles whose templates it uses, the nearest first.
    """

    document: Document
    files: tuple[Path, ...]
    sets: tuple[str, ...]


def profile_path(name: str, places: Sequence[Path]) -> Path | None:
    """Return where the profile of this name is: in the first of the places that has it."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", name):
        return None
    return next((path for place in places if (path := place / name / FILE).is_file()), None)


def known_profiles(places: Sequence[Path]) -> list[str]:
    """Return the names of all profiles in these places, sorted."""
    return sorted({path.parent.name for place in places for path in place.glob(f"*/{FILE}")})


def unknown_profile(name: str, places: Sequence[Path]) -> Problem:
    """Return the problem that no place has a profile of this name, with the nearest one that there is."""
    known = known_profiles(places)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"there is: {', '.join(known)}"
    return Problem(f'unknown profile "{name}"', hint=hint, code="F001")


def stamps_of(path: Path, places: Sequence[Path]) -> tuple[Stamp, ...]:
    """Return the files of a profile: its own, then the one that it extends, and so on.

    A profile that extends its own name extends the one that it shadows. Raise LtxflowError, at `extends`, for a
    profile that is not there and for a circle.
    """
    found: list[Stamp] = []
    while True:
        info = path.stat()
        found.append((path, info.st_mtime_ns, info.st_size))
        document = _document(*found[-1])
        base = document.data.get("extends") if isinstance(document.data, dict) else None
        if not isinstance(base, str):  # none, or the schema says what is wrong with it
            return tuple(found)
        name = path.parent.name
        further = places[places.index(path.parents[1]) + 1 :] if base == name else places
        above = profile_path(base, further)
        span = document.span(("extends",))
        if above is None:
            problem = unknown_profile(base, further)
            message = f'profile "{name}" extends "{base}", which is not there'
            raise LtxflowError(Problem(message, span, problem.hint, "F003"))
        if above in [each for each, _, _ in found]:
            names = [each.parent.name for each, _, _ in found]
            circle = " → ".join([*names[names.index(base) :], base])
            raise LtxflowError(
                Problem(f"profiles extend each other: {circle}", span, "let one of them extend nothing", "F003")
            )
        path = above


@lru_cache(maxsize=16)
def _document(path: Path, mtime_ns: int, size: int) -> Document:
    return yaml.read(path, shown(path))


def read_lineage(stamps: Sequence[Stamp]) -> Lineage:
    """Return a profile's files as one document: what one of them states replaces what the next one does."""
    documents = [_document(*stamp) for stamp in stamps]
    whole = documents[-1]
    for document in reversed(documents[:-1]):
        whole = document.over(_inherited(whole))
    sets: list[str] = []
    for document, (path, _, _) in zip(documents, stamps, strict=True):
        also = document.data.get("templates") if isinstance(document.data, dict) else None
        sets += [path.parent.name, *([also] if isinstance(also, str) else [])]
    return Lineage(whole, tuple(path for path, _, _ in stamps), tuple(dict.fromkeys(sets)))


def _inherited(document: Document) -> Document:
    """Leave out what a profile does not get from the one that it extends."""
    if not isinstance(document.data, dict):
        return document
    data = {key: value for key, value in document.data.items() if key not in NOT_INHERITED}
    return Document(document.file, data, document.marks, document.problems, document.written)
