"""Who uses a store: the films that were built with it, and the runs that are under way. Knows no plan and no lock.

A film registers itself at the end of whatever it did; `cache gc` then asks each for what it still needs. A run says
what it counts on before it relies on it, in a file that it holds: the kernel lets that go when the process dies.
The gate keeps the two apart: runs share it while they look up or put something down, gc has it for itself.
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
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.core.regular import parse_json, read_bytes
from ltxflow.store.blobs import is_digest

FILM_FORMAT, RUN_FORMAT = "film/1", "run/1"


@dataclass(frozen=True)
class RegisteredFilm:
    """A film as it was last seen: where it is and publishes to, and every key it was planned with then."""

    folder: Path
    id: str
    public: Path | None = None
    keys: frozenset[str] = frozenset()
    seen_at: str = ""


@dataclass(frozen=True)
class Run:
    """A run under way: the film, the process, and the keys it counts on: what it found, and what it made so far."""

    folder: Path
    owner: str
    keys: frozenset[str] = frozenset()


def gate(root: Path) -> AbstractContextManager[None]:
    """Given the store's folder, keep `cache gc` out for the body of a `with`: what is looked up stays there."""
    return process_lock.share(root / "gate")


def gate_closed(root: Path, on_wait: Callable[[], None] = lambda: None) -> AbstractContextManager[None]:
    """Given the store's folder, keep everybody else out for the body of a `with`; the others wait."""
    return process_lock.acquire(root / "gate", on_wait=lambda owner: on_wait())


# --- films


def remember_film(root: Path, film: RegisteredFilm) -> None:
    """Given a film, write it down with the time of day, unless all that is written already."""
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
    """Given the store's folder, return every film that was built with it, by folder.

    Raise LtxflowError for a record that cannot be read: what it needs is not known then.
    """
    found = []
    for path in sorted((root / "films").glob("*.json")):
        film = _read_film(path)
        if film is None:
            hint = "build that film again, which writes it anew; or, if it is of no film of yours, remove the file"
            raise LtxflowError(
                Problem(f'"{path}" is damaged: what its film needs is not known', hint=hint), exit_code=FAILED
            )
        found.append(film)
    return sorted(found, key=lambda film: str(film.folder))


def film_of(root: Path, folder: Path) -> RegisteredFilm | None:
    """Given a film's folder, return it as it was last seen, or None."""
    return _read_film(_film_path(root, folder))


def forget_film(root: Path, folder: Path) -> bool:
    """Given a film's folder, drop its record: it needs nothing of this store any more. Return whether there was one."""
    path = _film_path(root, folder)
    there = path.exists()
    files.remove(path)
    return there


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
def under_way(root: Path, folder: Path, keys: Iterable[str]) -> Iterator[Callable[[Iterable[str]], None]]:
    """Given what a run counts on, let `cache gc` know for the body of a `with`, and yield what to tell more to.

    Enter it, and tell it more, inside the gate. Where the store cannot be written nobody removes anything.
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
    """Given the store's folder, return the runs under way. Records of dead ones are taken away; call it in the gate."""
    found = []
    for path in sorted((root / "running").glob("*.json")):
        if not path.is_file() or path.is_symlink():
            continue  # no record of a run
        if not process_lock.is_held(path):
            files.remove(path)
            continue
        data = _read_run(path)
        if data is None:
            hint = "wait for that run to end, then try again"
            raise LtxflowError(
                Problem(f'"{path}" cannot be read: a run needs what it says', hint=hint), exit_code=FAILED
            )
        found.append(Run(Path(data["folder"]), str(data.get("owner", "")), data["keys"]))
    return found


def _read_run(path: Path) -> dict[str, Any] | None:
    """What a run says: a head, and a line of keys for each thing that it came to count on since."""
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
