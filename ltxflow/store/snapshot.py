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
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltxflow.core.regular import open_regular, parse_json, read_bytes

FORMAT = "snapshot/2"
KEPT = 8  # answers: a few verbs, a few ways to ask each
RACY_NS = 2_000_000_000  # a file written this short before it was looked at is hashed: its clock may be coarse
RACY_BYTES = 128 << 20  # of so much at the most; of more, just published, nothing is kept: the next look is soon enough

# What else an answer may depend on: where things are, who speaks and renders, and how it is shown.
ENVIRONMENT = ("HOME", "PATH", "NO_COLOR", "FORCE_COLOR", "TERM", "CI", "COLUMNS")
FAMILIES = ("LTXFLOW_", "XDG_", "COMFY")


@dataclass(frozen=True)
class CachedAnswer:
    """What a verb printed, to its two streams, and its exit code."""

    out: str
    err: str
    code: int


def question(argv: Sequence[str], env: Mapping[str, str], look: Sequence[object], version: str) -> str:
    """Given all that is no file – arguments, environment, working folder and screen (`look`) – return its digest."""
    names = [*ENVIRONMENT, *sorted(name for name in env if name.startswith(FAMILIES))]
    parts = [FORMAT, version, *argv, "", *(f"{name}={env.get(name)}" for name in names), *map(str, look)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def recall(path: Path) -> CachedAnswer | None:
    """Given an answer's file, return the answer if nothing it rests on has changed, else None.

    What was new when it was kept, and is not any more, is read this once and not again.
    """
    try:
        entry = read_kept(path)
        footing = footing_from(entry)
        if entry["format"] != FORMAT or not footing.holds():
            return None
        racy = footing.settled().racy
        if len(racy) < len(footing.racy):
            keep(path, json.dumps({**entry, "racy": racy}, separators=(",", ":")).encode())
        answer = CachedAnswer(entry["out"], entry["err"], entry["code"])
        is_whole = isinstance(answer.out, str) and isinstance(answer.err, str) and type(answer.code) is int
        return answer if is_whole else None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, MemoryError, OverflowError):
        return None


def sealed(entry: bytes) -> bytes:
    """Return what is written of an entry: a checksum, a space, and the entry. One flipped bit can leave JSON."""
    return b"%08x " % zlib.crc32(entry) + entry


def read_kept(path: Path) -> Any:
    """Return what `keep` wrote, as data. Raise OSError where it is not there, ValueError where it is damaged."""
    checksum, _, entry = read_bytes(path).partition(b" ")
    if checksum != b"%08x" % zlib.crc32(entry):
        raise ValueError("its checksum is wrong")
    return parse_json(entry)


def entry_of(answer: CachedAnswer, footing: InputManifest, first: str = "") -> bytes:
    """Given an answer and what it rests on, return what to keep.

    What is in the folder `first` changes most often, and is looked at first.
    """
    told = {"format": FORMAT, "out": answer.out, "err": answer.err, "code": answer.code, **footing.as_json(first)}
    return json.dumps(told, separators=(",", ":")).encode()


@dataclass(frozen=True)
class InputManifest:
    """Files and folders that an answer rests on, as they were: by folder, their names and one digest of their states.

    One that is missing counts, too. `racy` are those that were so new that their clock may not tell the next write:
    path → digest of what is in them.
    """

    folders: Mapping[str, tuple[Sequence[str], str]]
    racy: Mapping[str, str]

    def holds(self) -> bool:
        """Whether all of it is as it was. Raise OSError where one that is to be read cannot be."""
        return all(_state(folder, names)[0] == state for folder, (names, state) in self.folders.items()) and all(
            _digest(path) == digest for path, digest in self.racy.items()
        )

    def with_more(self, paths: Iterable[str | Path], since_ns: int) -> InputManifest | None:
        """Given further files and folders, return all of it together, these as they are now.

        None when one of them, or another in its folder, changed since `since_ns`, when the question was asked: the
        answer may be of what it was; and when too much of it is new.
        """
        folders = dict(self.folders)
        newest, new = time.time_ns() - RACY_NS, list[str]()
        for folder, more in _by_folder(paths).items():
            known = folders[folder][0] if folder in folders else ()
            names = sorted({*known, *more})
            if len(names) == len(known):
                continue
            state, times = _state(folder, names)
            folders[folder] = names, state
            for name, at in zip(names, times, strict=True):
                if since_ns and at >= since_ns:
                    return None
                if at > newest:
                    new.append(os.path.join(folder, name))
        digests = _digests(new)
        return None if digests is None else InputManifest(folders, {**self.racy, **digests})

    def settled(self) -> InputManifest:
        """Given that it holds, return it without the digests of files that are no longer new: their clock tells the
        next write by now."""
        newest = time.time_ns() - RACY_NS
        times = {path: _changed(path) for path in self.racy}
        return InputManifest(self.folders, {path: self.racy[path] for path, at in times.items() if at > newest})

    def as_json(self, first: str = "") -> dict[str, Any]:
        rows = [
            [folder, *self.folders[folder]] for folder in sorted(self.folders, key=lambda name: (name != first, name))
        ]
        return {"folders": rows, "racy": dict(self.racy)}


def footing_from(data: Mapping[str, Any]) -> InputManifest:
    """Given what `as_json` gave, return the Footing. Raise KeyError, TypeError or ValueError where it is none."""
    return InputManifest({folder: (names, state) for folder, names, state in data["folders"]}, data["racy"])


def take(paths: Iterable[str | Path], since_ns: int = 0) -> InputManifest | None:
    """Given the files and folders that an answer rests on, return them as they are; None as `with_more` says."""
    return InputManifest({}, {}).with_more(paths, since_ns)


def states(paths: Iterable[str | Path], since_ns: int = 0) -> dict[str, bytes] | None:
    """Given files and folders, return what tells each from what it becomes later (`changed`), by its absolute path.

    None where one changed since `since_ns`, or too much is new, as `with_more` says.
    """
    told: dict[str, bytes] = {}
    newest, new = time.time_ns() - RACY_NS, list[str]()
    for folder, names in _by_folder(paths).items():
        for name, (signature, at) in zip(names, _signatures(folder, names), strict=True):
            path = os.path.join(folder, name)
            if since_ns and at >= since_ns:
                return None
            told[path] = signature
            if at > newest:
                new.append(path)
    digests = _digests(new)
    if digests is None:
        return None
    for path, digest in digests.items():
        told[path] += digest.encode()
    return told


def changed(before: Mapping[str, bytes], now: Mapping[str, bytes]) -> dict[str, bool]:
    """Given what `states` told at two times, return the paths of what became another, each with whether it was there
    before."""
    found: dict[str, bool] = {}
    for path, was in before.items():
        state = now[path]
        if was == state:
            continue
        signature, digest = was[: len(ABSENT)], was[len(ABSENT) :]
        is_same = signature == state[: len(ABSENT)]
        if not is_same or (digest and digest != (state[len(ABSENT) :] or _digest(path).encode())):
            found[path] = signature != ABSENT
    return found


def footing_on(told: Mapping[str, bytes]) -> InputManifest:
    """Given what `states` told, return the Footing on all of it."""
    folders = {}
    for folder, names in _by_folder(told).items():
        names.sort()
        row = b"".join(told[os.path.join(folder, name)][: len(ABSENT)] for name in names)
        folders[folder] = names, hashlib.sha256(row).hexdigest()
    return InputManifest(
        folders, {path: state[len(ABSENT) :].decode() for path, state in told.items() if state[len(ABSENT) :]}
    )


def _changed(path: str) -> int:
    """When a file was changed last, in ns; one that is gone is new."""
    try:
        facts = os.stat(path)
    except OSError:
        return time.time_ns()
    return max(facts.st_mtime_ns, facts.st_ctime_ns)


def _digests(paths: Iterable[str]) -> dict[str, str] | None:
    """What is in those that are files, by path; None of more than RACY_BYTES."""
    files = [path for path in paths if os.path.isfile(path)]
    if sum(map(os.path.getsize, files)) > RACY_BYTES:
        return None
    return {path: _digest(path) for path in files}


def _digest(path: str) -> str:
    with open(open_regular(path), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(path: Path, entry: bytes) -> None:
    """Given a place in a folder of `.ltxflow/` and what is to be found there the next time, write it.

    The oldest beside it make room. Without `.ltxflow/` nothing is kept; a folder that cannot be written is no error.
    """
    from ltxflow.core import files  # by need: who only recalls writes nothing
    from ltxflow.core.errors import LtxflowError

    with suppress(LtxflowError, OSError):
        if not path.parents[1].is_dir():
            return
        files.make_dir(path.parent)
        files.write_atomic(path, sealed(entry), fsync=False)
        for old in superfluous(path.parent):
            files.remove(old)


def superfluous(folder: Path) -> list[Path]:
    """Given the folder of answers, return the oldest of them, which make room for the KEPT newest."""
    found = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return found[KEPT:]


_MASK = (1 << 63) - 1
_NONE = (-1, -1, -1, -1)
ABSENT = array("q", _NONE).tobytes()


def absolute(paths: Iterable[str | Path]) -> set[str]:
    """Given paths of files, return them as absolute ones. Those that begin with a slash are taken to be so."""
    return {path if isinstance(path, str) and path[:1] == "/" else os.path.abspath(path) for path in paths}


def _by_folder(paths: Iterable[str | Path]) -> dict[str, list[str]]:
    """The names of files and folders, by the absolute path of the folder each is in."""
    found: dict[str, list[str]] = {}
    for path in absolute(paths):
        folder, _, name = path.rpartition(os.sep)
        found.setdefault(folder or os.sep, []).append(name)
    return found


def _state(folder: str, names: Sequence[str]) -> tuple[str, list[int]]:
    """A digest of the signatures of what is in a folder, and when each was changed last."""
    row, times = _row(folder, names)
    return hashlib.sha256(row).hexdigest(), times


def _signatures(folder: str, names: Sequence[str]) -> Iterator[tuple[bytes, int]]:
    """Of each of these in a folder its signature, and when it was changed last."""
    row, times = _row(folder, names)
    width = len(ABSENT)
    return zip((row[at : at + width] for at in range(0, len(row), width)), times, strict=True)


def _row(folder: str, names: Sequence[str]) -> tuple[bytes, list[int]]:
    """The signatures (size, mtime, ctime, inode) of what is in a folder, in a row, and when each was changed last.

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
                found += _NONE
                times.append(0)
                continue
            found += (facts.st_size, facts.st_mtime_ns & _MASK, facts.st_ctime_ns & _MASK, facts.st_ino & _MASK)
            times.append(max(facts.st_mtime_ns, facts.st_ctime_ns))
    finally:
        if home is not None:
            os.close(home)
    return array("q", found).tobytes(), times
