"""Keep the last answers of a command, each with a manifest of its inputs, and repeat one while its inputs hold.

Light on purpose: it is read before YAML, Jinja, networkx or PyAV are imported. A file is known by its signature (size,
mtime, ctime, inode), never by its content; the caller names the inputs. A film of 10,000 clips has 80,000 of them: a
manifest lists names by folder, and has one digest of the signatures in a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from array import array
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltxflow import __version__
from ltxflow.core.workspace import opened_regular, parse_json, read_bytes

FORMAT = "snapshot/3"
KEPT, KEPT_BYTES = 64, 32 << 20  # answers: every command, a few ways to ask each; those of 10,000 clips are large
RACY_NS = 2_000_000_000  # a file changed this short before it was read is hashed: its clock may be coarse
RACY_BYTES = 128 << 20  # hash no more than this; with more just published, keep nothing: the next run is soon enough
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What else an answer may depend on: where things are, who speaks and renders, and how it is shown.
SCREEN = ("NO_COLOR", "FORCE_COLOR", "TERM", "CI", "COLUMNS")
ENVIRONMENT = ("HOME", "PATH", *SCREEN)
FAMILIES = ("LTXFLOW_", "XDG_", "COMFY", "GIT_")


@dataclass(frozen=True)
class CachedAnswer:
    """What a command printed, to its two streams, and its exit code."""

    out: str
    err: str
    code: int


def code_id(package: str | None = None) -> str:
    """Return an id of this very code: it changes when any file of the package is written, added or removed.

    The signatures of 200 files take a millisecond, so an editable install and a wheel are treated alike: pip writes
    every file of a new version, and ctime and inode cannot be set back.
    """
    rows = [__version__]
    folders = [package or PACKAGE]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    if entry.name != "__pycache__":
                        folders.append(entry.path)
                else:
                    facts = entry.stat()
                    rows.append(f"{entry.path} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns} {facts.st_ino}")
    return hashlib.sha256("\n".join(sorted(rows)).encode("utf-8", "surrogateescape")).hexdigest()


def answer_key(argv: Sequence[str], env: Mapping[str, str], surroundings: Sequence[object], code: str) -> str:
    """Return a digest of all inputs that are no file: arguments, environment, working folder and screen, code."""
    names = [*ENVIRONMENT, *sorted(name for name in env if name.startswith(FAMILIES))]
    parts = [FORMAT, code, *argv, "", *(f"{name}={env.get(name)}" for name in names), *map(str, surroundings)]
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()


def recall(path: Path) -> CachedAnswer | None:
    """Return the answer kept in a file if none of its inputs has changed, else None.

    A digest of a file that is no longer new is dropped: from then on its signature is enough.
    """
    try:
        entry = read_kept(path)
        manifest = manifest_from(entry)
        if entry["format"] != FORMAT or not manifest.holds():
            return None
        racy = manifest.without_old_digests().racy
        if len(racy) < len(manifest.racy):
            keep(path, json.dumps({**entry, "racy": racy}, separators=(",", ":")).encode())
        answer = CachedAnswer(entry["out"], entry["err"], entry["code"])
        is_whole = isinstance(answer.out, str) and isinstance(answer.err, str) and type(answer.code) is int
        return answer if is_whole else None
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, MemoryError, OverflowError):
        return None


def sealed(entry: bytes) -> bytes:
    """Return an entry as it is written: a checksum, a space, and the entry. One flipped bit can leave JSON."""
    return b"%08x " % zlib.crc32(entry) + entry


def read_kept(path: Path) -> Any:
    """Return what `keep` wrote, as data. Raise OSError for a missing file, ValueError for a damaged one."""
    checksum, _, entry = read_bytes(path).partition(b" ")
    if checksum != b"%08x" % zlib.crc32(entry):
        raise ValueError("its checksum is wrong")
    return parse_json(entry)


def entry_of(answer: CachedAnswer, manifest: InputManifest, first: str = "") -> bytes:
    """Return an answer and the manifest of its inputs, ready for `keep`.

    The folder `first` changes most often, and is compared first.
    """
    entry = {"format": FORMAT, "out": answer.out, "err": answer.err, "code": answer.code, **manifest.as_json(first)}
    return json.dumps(entry, separators=(",", ":")).encode()


@dataclass(frozen=True)
class InputManifest:
    """Files and folders that an answer depends on: by folder, their names and one digest of their signatures.

    A missing file counts, too. `racy` maps each file that was so new that its clock may not show the next write to
    the digest of its content.
    """

    folders: Mapping[str, tuple[Sequence[str], str]]
    racy: Mapping[str, str]

    def holds(self) -> bool:
        """Return whether every input is unchanged. Raise OSError for one that must be read and cannot be."""
        return all(_state(folder, names)[0] == state for folder, (names, state) in self.folders.items()) and all(
            _digest(path) == digest for path, digest in self.racy.items()
        )

    def with_more(
        self, paths: Iterable[str | Path], since_ns: int, written: Container[str] = ()
    ) -> InputManifest | None:
        """Return the manifest with further files and folders, as they are now.

        None when one of them, or another in its folder, changed since `since_ns`, when the command began (the answer
        may be of the earlier state), and when too many bytes of it are new. The command itself may have `written`
        some.
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
                if since_ns and at >= since_ns and os.path.join(folder, name) not in written:
                    return None
                if at > newest:
                    new.append(os.path.join(folder, name))
        digests = _digests(new)
        return None if digests is None else InputManifest(folders, {**self.racy, **digests})

    def without_old_digests(self) -> InputManifest:
        """Return a manifest that holds without the digests of files that are no longer new."""
        newest = time.time_ns() - RACY_NS
        times = {path: _changed_at(path) for path in self.racy}
        return InputManifest(self.folders, {path: self.racy[path] for path, at in times.items() if at > newest})

    def as_json(self, first: str = "") -> dict[str, Any]:
        rows = [
            [folder, *self.folders[folder]] for folder in sorted(self.folders, key=lambda name: (name != first, name))
        ]
        return {"folders": rows, "racy": dict(self.racy)}


def manifest_from(data: Mapping[str, Any]) -> InputManifest:
    """Return the manifest that `as_json` gave. Raise KeyError, TypeError or ValueError for any other data."""
    return InputManifest({folder: (names, state) for folder, names, state in data["folders"]}, data["racy"])


def take(paths: Iterable[str | Path], since_ns: int = 0, written: Container[str] = ()) -> InputManifest | None:
    """Return a manifest of these files and folders as they are now; None as `with_more` does."""
    return InputManifest({}, {}).with_more(paths, since_ns, written)


def manifest_on(states: Mapping[str, bytes]) -> InputManifest | None:
    """Return a manifest of files and folders in the state that `signatures` gave; None where one of them is new."""
    folders, newest = {}, time.time_ns() - RACY_NS
    for folder, names in _by_folder(states).items():
        names.sort()
        rows = [states[os.path.join(folder, name)] for name in names]
        if any(changed_at(row) > newest for row in rows):
            return None
        folders[folder] = names, hashlib.sha256(b"".join(rows)).hexdigest()
    return InputManifest(folders, {})


def signatures(paths: Iterable[str | Path]) -> dict[str, bytes]:
    """Return the signature of each file and folder, by its absolute path; `ABSENT` for one that is missing."""
    found: dict[str, bytes] = {}
    for folder, names in _by_folder(paths).items():
        row, _ = _row(folder, names)
        for number, name in enumerate(names):
            found[os.path.join(folder, name)] = row[number * WIDTH : (number + 1) * WIDTH]
    return found


def changed_at(signature: bytes) -> int:
    """Return when a file with this signature was changed last, in ns; 0 for a missing one."""
    _, mtime, ctime, _ = array("q", signature)
    return max(mtime, ctime, 0)


def _changed_at(path: str) -> int:
    """Return when a file was changed last, in ns; a missing one is new."""
    try:
        facts = os.stat(path)
    except OSError:
        return time.time_ns()
    return max(facts.st_mtime_ns, facts.st_ctime_ns)


def _digests(paths: Iterable[str]) -> dict[str, str] | None:
    """Return the digest of each of them that is a file, by path; None for more than RACY_BYTES."""
    files = [path for path in paths if os.path.isfile(path)]
    if sum(map(os.path.getsize, files)) > RACY_BYTES:
        return None
    return {path: _digest(path) for path in files}


def _digest(path: str) -> str:
    with opened_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def keep(path: Path, entry: bytes) -> None:
    """Write an entry to a file in a folder of `.ltxflow/`, and remove the oldest files beside it.

    Without `.ltxflow/` nothing is kept; a folder that cannot be written is not an error.
    """
    from ltxflow.core import files  # on first use: recalling writes nothing
    from ltxflow.core.errors import LtxflowError

    with suppress(LtxflowError, OSError):
        if not path.parents[1].is_dir():
            return
        files.make_dir(path.parent)
        files.write_atomic(path, sealed(entry), fsync=False)
        for old in superfluous(path.parent):
            files.remove(old)


def superfluous(folder: Path) -> list[Path]:
    """Return the oldest files in the folder of answers: those past KEPT files or KEPT_BYTES, but never the newest."""
    found = [(facts.st_mtime_ns, facts.st_size, path) for path in folder.glob("*.json") for facts in [path.stat()]]
    left, old = KEPT_BYTES, list[Path]()
    for number, (_, size, path) in enumerate(sorted(found, reverse=True)):
        left -= size
        if number and (number >= KEPT or left < 0):
            old.append(path)
    return old


_MASK = (1 << 63) - 1
_NONE = (-1, -1, -1, -1)
ABSENT = array("q", _NONE).tobytes()
WIDTH = len(ABSENT)


def absolute(paths: Iterable[str | Path]) -> set[str]:
    """Return paths as absolute ones. One that begins with a slash is taken to be so."""
    return {path if isinstance(path, str) and path[:1] == "/" else os.path.abspath(path) for path in paths}


def _by_folder(paths: Iterable[str | Path]) -> dict[str, list[str]]:
    """Return the names of files and folders, by the absolute path of the folder each is in."""
    found: dict[str, list[str]] = {}
    for path in absolute(paths):
        folder, _, name = path.rpartition(os.sep)
        found.setdefault(folder or os.sep, []).append(name)
    return found


def _state(folder: str, names: Sequence[str]) -> tuple[str, list[int]]:
    """Return a digest of the signatures of these files in a folder, and when each was changed last."""
    row, times = _row(folder, names)
    return hashlib.sha256(row).hexdigest(), times


def _row(folder: str, names: Sequence[str]) -> tuple[bytes, list[int]]:
    """Return the signatures (size, mtime, ctime, inode) of files in a folder, in a row, and when each was last changed.

    A missing file has a signature, too, and was changed at 0.
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
