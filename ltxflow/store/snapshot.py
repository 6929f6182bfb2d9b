"""The last answer of a verb with everything it rested on, so that "up to date" is said without thinking again.

Light on purpose: it is read before YAML, Jinja, networkx or PyAV are imported. It knows files by their signature
(size, mtime, ctime, inode), never what is in them; whoever remembers an answer says which files it rests on.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FORMAT = "snapshot/1"
KEPT = 12  # answers: a few verbs, a few ways to ask each
RACY_NS = 2_000_000_000  # a file written this short before it was looked at is hashed: its clock may be coarse

# What else an answer may depend on: where things are, and how they are shown.
ENVIRONMENT = (
    "HOME",
    "LTXFLOW_STORE",
    "XDG_CONFIG_HOME",
    "XDG_DATA_HOME",
    "NO_COLOR",
    "FORCE_COLOR",
    "TERM",
    "CI",
    "COLUMNS",
)


@dataclass(frozen=True)
class Answer:
    """What a verb printed, to its two streams, and its exit code."""

    out: str
    err: str
    code: int


def question(argv: Sequence[str], env: Mapping[str, str], look: Sequence[object], version: str) -> str:
    """Given all that is no file – arguments, environment, working folder and screen (`look`) – return its digest."""
    parts = [FORMAT, version, *argv, "", *(f"{name}={env.get(name)}" for name in ENVIRONMENT), *map(str, look)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def recall(path: Path, asked: str) -> Answer | None:
    """Given the snapshot's file and a question, return the answer if nothing it rests on has changed, else None."""
    try:
        with open(path, "rb") as file:
            data = json.loads(file.read())
        entry = data[asked]
        if entry["format"] != FORMAT:
            return None
        folders: list[str] = entry["folders"]
        for number, name, *signature in entry["files"]:
            if _signature(os.path.join(folders[number], name)) != signature:
                return None
        for name, digest in entry["racy"].items():
            with open(name, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    return None
        return Answer(entry["out"], entry["err"], entry["code"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None


def entry_of(answer: Answer, rests_on: Iterable[Path], since_ns: int = 0) -> dict[str, object] | None:
    """Given an answer and the files and folders it rests on, return what to keep. One that is missing counts, too.

    None when one of them changed since `since_ns`, when the question was asked: the answer may be of what it was.
    """
    folders: dict[str, int] = {}
    files: list[list[object]] = []
    racy: dict[str, str] = {}
    now = time.time_ns()
    for path in sorted({os.path.abspath(path) for path in rests_on}):
        signature = _signature(path)
        if signature and since_ns and max(signature[1], signature[2]) >= since_ns:
            return None
        folder, name = os.path.split(path)
        files.append([folders.setdefault(folder, len(folders)), name, *signature])
        if signature and os.path.isfile(path) and now - max(signature[1], signature[2]) < RACY_NS:
            with open(path, "rb") as file:
                racy[path] = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "format": FORMAT,
        "at": now,
        "out": answer.out,
        "err": answer.err,
        "code": answer.code,
        "folders": list(folders),
        "files": files,
        "racy": racy,
    }


def with_entry(text: bytes, asked: str, entry: Mapping[str, object]) -> bytes:
    """Given the snapshot's present content, return it with one more answer, the oldest dropped."""
    try:
        data = json.loads(text)
        known = {name: old for name, old in data.items() if isinstance(old, dict) and old.get("format") == FORMAT}
    except (ValueError, AttributeError):
        known = {}
    known[asked] = dict(entry)
    newest = sorted(known.items(), key=lambda item: int(item[1].get("at", 0)), reverse=True)[:KEPT]
    return json.dumps(dict(newest), separators=(",", ":")).encode()


def _signature(path: str) -> list[int]:
    """Size, mtime, ctime and inode; nothing for what is not there."""
    try:
        facts = os.stat(path)
    except (OSError, ValueError):
        return []
    return [facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino]
