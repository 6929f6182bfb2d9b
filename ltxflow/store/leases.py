"""Record the users of a store: the films built with it, and the runs in progress, which hold leases.

A film registers at the end of each command; `cache gc` then computes what every registered film still needs. A run
takes a lease on the keys it depends on, in a file that it keeps locked: the kernel releases the lock when the process
dies. A gc lock separates the two: runs share it while they look up or store something, gc holds it exclusively.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ltxflow.core import files, process_lock
from ltxflow.core.errors import FAILED, LtxflowError, problem
from ltxflow.core.workspace import parse_json, read_bytes
from ltxflow.store.blobs import is_digest

FILM_FORMAT, RUN_FORMAT = "film/1", "run/1"


@dataclass(frozen=True)
class RegisteredFilm:
    """A film at its last command: its folder, where it publishes, and every key of its plan."""

    folder: Path
    id: str
    public: Path | None = None
    keys: frozenset[str] = frozenset()
    seen_at: str = ""


@dataclass(frozen=True)
class Run:
    """A run in progress: the film, the process, and the keys of its lease, found or made so far."""

    folder: Path
    owner: str
    keys: frozenset[str] = frozenset()


def gc_shared(root: Path) -> AbstractContextManager[None]:
    """Keep `cache gc` out of a store for the body of a `with`, so that nothing found there is removed."""
    return process_lock.share(root / "gate")


def gc_exclusive(root: Path, on_wait: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
    """Keep all other processes out of a store for the body of a `with`; they wait."""
    return process_lock.acquire(root / "gate", on_wait=lambda owner: on_wait())


# --- films


def remember_film(root: Path, film: RegisteredFilm) -> None:
    """Record a film with the present time, unless the same record exists."""
    path = _film_path(root, film.folder)
    known = _read_film(path)
    if known is not None and replace(known, seen_at="") == replace(film, seen_at=""):
        return
    data = {
        "format": FILM_FORMAT,
        "folder": str(film.folder),
        "id": film.id,
        "public": str(film.public or ""),
        "seen_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "keys": sorted(film.keys),
    }
    files.make_dir(path.parent, 0o700)
    files.write_atomic(path, json.dumps(data) + "\n")


def films(root: Path) -> list[RegisteredFilm]:
    """Return every film that was built with a store, sorted by folder.

    Raise LtxflowError for a record that cannot be read, since the needs of its film are unknown.
    """
    found = []
    for path in sorted((root / "films").glob("*.json")):
        film = _read_film(path)
        if film is None:
            raise LtxflowError(problem("D105", path=path), exit_code=FAILED)
        found.append(film)
    return sorted(found, key=lambda film: str(film.folder))


def film_of(root: Path, folder: Path) -> RegisteredFilm | None:
    """Return the record of the film in a folder, or None."""
    return _read_film(_film_path(root, folder))


def forget_film(root: Path, folder: Path) -> bool:
    """Remove the record of a film, which then needs nothing of the store; return whether there was one."""
    path = _film_path(root, folder)
    is_known = path.exists()
    files.remove(path)
    files.remove(drafts_path(root, folder))
    return is_known


def remember_drafts(path: Path) -> None:
    """Record at a film's `drafts_path` that drafts of it were rendered: from now on they are looked for."""
    if not path.exists():
        files.make_dir(path.parent, 0o700)
        files.write_atomic(path, "")


def drafts_path(root: Path, folder: Path) -> Path:
    """Return the path of the mark of a film that has drafts; most have none, and looking for them takes time."""
    return _film_path(root, folder).with_suffix(".drafts")


def _film_path(root: Path, folder: Path) -> Path:
    return root / "films" / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:32]}.json"


def _read_film(path: Path) -> RegisteredFilm | None:
    data = _read(path, FILM_FORMAT)
    if data is None:
        return None
    public = str(data.get("public", ""))
    return RegisteredFilm(
        folder=Path(data["folder"]),
        id=str(data.get("id", "")),
        public=Path(public) if public else None,
        keys=data["keys"],
        seen_at=str(data.get("seen_at", "")),
    )


# --- runs


@contextmanager
def lease(root: Path, folder: Path, keys: Iterable[str]) -> Iterator[Callable[[Iterable[str]], None]]:
    """Protect the keys that a run depends on from `cache gc` for the body of a `with`; yield a callback that adds keys.

    Enter it, and call the callback, while holding `gc_shared`. Does nothing for a read-only store, where gc cannot
    remove anything.
    """
    if root.exists() and not os.access(root, os.W_OK):
        yield lambda more: None
        return
    path = root / "running" / f"{os.getpid()}-{secrets.token_hex(8)}.json"
    data = {
        "format": RUN_FORMAT,
        "folder": str(folder),
        "owner": f"process {os.getpid()} on {os.uname().nodename}",
        "keys": sorted({*keys}),
    }
    files.make_dir(path.parent, 0o700)
    files.write_atomic(path, json.dumps(data) + "\n", fsync=False)
    fd = process_lock.hold_file(path)
    try:
        yield lambda more: files.append_line(path, json.dumps(sorted({*more})), fsync=False)
    finally:
        try:
            files.remove(path)
        finally:
            os.close(fd)


def runs(root: Path) -> list[Run]:
    """Return the runs in progress, and remove the records of dead ones. Call it while holding `gc_exclusive`."""
    found = []
    for path in sorted((root / "running").glob("*.json")):
        if not path.is_file() or path.is_symlink():
            continue  # not the record of a run
        if not process_lock.is_held(path):
            files.remove(path)
            continue
        data = _read_run(path)
        if data is None:
            raise LtxflowError(problem("D106", path=path), exit_code=FAILED)
        found.append(Run(Path(data["folder"]), str(data.get("owner", "")), data["keys"]))
    return found


def _read_run(path: Path) -> dict[str, Any] | None:
    """Return the record of a run: a head, and a line of keys for each later addition."""
    try:
        head, *more = read_bytes(path).splitlines() or [b""]
        data = _parsed(head, RUN_FORMAT)
        if data is not None:
            data["keys"] = data["keys"].union(*map(parse_json, more))
    except (OSError, ValueError, TypeError):
        return None
    return data


def _read(path: Path, format: str) -> dict[str, Any] | None:
    try:
        return _parsed(read_bytes(path), format)
    except OSError:
        return None


def _parsed(text: bytes, format: str) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = parse_json(text)
        if data["format"] != format or not isinstance(data["folder"], str):
            return None
        data["keys"] = frozenset(data["keys"])
    except (ValueError, KeyError, TypeError):
        return None
    return data if all(map(is_digest, data["keys"])) else None
