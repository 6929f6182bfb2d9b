"""The last answer of a verb with everything it rested on, so that "up to date" is said without thinking again.

Light on purpose: it is read before YAML, Jinja, networkx or PyAV are imported. It knows files by their signature
(size, mtime, ctime, inode), never what is in them; whoever remembers an answer says which files it rests on. A film of
10,000 clips rests on 80,000 files: they are told by folder, and a folder's signatures by one digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FORMAT = "snapshot/2"
KEPT = 8  # answers: a few verbs, a few ways to ask each
RACY_NS = 2_000_000_000  # a file written this short before it was looked at is hashed: its clock may be coarse

# What else an answer may depend on: where things are, who speaks and renders, and how it is shown.
ENVIRONMENT = ("HOME", "PATH", "NO_COLOR", "FORCE_COLOR", "TERM", "CI", "COLUMNS")
FAMILIES = ("LTXFLOW_", "XDG_", "COMFY")


@dataclass(frozen=True)
class Answer:
    """What a verb printed, to its two streams, and its exit code."""

    out: str
    err: str
    code: int


def question(argv: Sequence[str], env: Mapping[str, str], look: Sequence[object], version: str) -> str:
    """Given all that is no file – arguments, environment, working folder and screen (`look`) – return its digest."""
    names = [*ENVIRONMENT, *sorted(name for name in env if name.startswith(FAMILIES))]
    parts = [FORMAT, version, *argv, "", *(f"{name}={env.get(name)}" for name in names), *map(str, look)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def recall(path: Path) -> Answer | None:
    """Given an answer's file, return the answer if nothing it rests on has changed, else None."""
    try:
        with open(path, "rb") as file:
            entry = json.loads(file.read())
        if entry["format"] != FORMAT:
            return None
        for folder, names, state in entry["folders"]:
            if _state(folder, names)[0] != state:
                return None
        for name, digest in entry["racy"].items():
            with open(name, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return None
        return Answer(entry["out"], entry["err"], entry["code"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def entry_of(answer: Answer, rests_on: Iterable[str | Path], since_ns: int = 0, first: str = "") -> bytes | None:
    """Given an answer and the files and folders it rests on, return what to keep. One that is missing counts, too.

    What is in the folder `first` changes most often, and is looked at first. None when one of them changed since
    `since_ns`, when the question was asked: the answer may be of what it was.
    """
    folders: dict[str, list[str]] = {}
    racy: dict[str, str] = {}
    absolute = {path if isinstance(path, str) and path[:1] == "/" else os.path.abspath(path) for path in rests_on}
    for path in sorted(absolute):
        folder, _, name = path.rpartition(os.sep)
        folders.setdefault(folder or os.sep, []).append(name)
    rows = []
    for folder in sorted(folders, key=lambda folder: (folder != first, folder)):
        state, times = _state(folder, folders[folder])
        rows.append([folder, folders[folder], state])
        newest = time.time_ns() - RACY_NS
        for name, changed in zip(folders[folder], times, strict=True):
            if since_ns and changed >= since_ns:
                return None
            if changed > newest and os.path.isfile(path := os.path.join(folder, name)):
                with open(path, "rb") as file:
                    racy[path] = hashlib.file_digest(file, "sha256").hexdigest()
    told = {"format": FORMAT, "out": answer.out, "err": answer.err, "code": answer.code, "folders": rows, "racy": racy}
    return json.dumps(told, separators=(",", ":")).encode()


def superfluous(folder: Path) -> list[Path]:
    """Given the folder of answers, return the oldest of them, which make room for the KEPT newest."""
    found = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return found[KEPT:]


_MASK = (1 << 63) - 1
_ABSENT = (-1, -1, -1, -1)


def _state(folder: str, names: Sequence[str]) -> tuple[str, list[int]]:
    """A digest of the signatures (size, mtime, ctime, inode) of what is in a folder, and when each was changed last.

    What is not there has a signature, too, and was changed never.
    """
    found: list[int] = []
    times = []
    try:
        home: int | None = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        home = None
    try:
        for name in names:
            try:
                if home is None:
                    raise FileNotFoundError(folder)
                facts = os.stat(name, dir_fd=home)
            except (OSError, ValueError):
                found += _ABSENT
                times.append(0)
                continue
            found += (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino & _MASK)
            times.append(max(facts.st_mtime_ns, facts.st_ctime_ns))
    finally:
        if home is not None:
            os.close(home)
    return hashlib.sha256(array("q", found).tobytes()).hexdigest(), times
