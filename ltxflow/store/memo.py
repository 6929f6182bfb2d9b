"""What was computed before, so that it need not be computed again. All of it can be lost; damage is never believed.

One file a project, in the store: the store is its user's own, whereas `.ltxflow/` may come with a stranger's film. A
line a row: a checksum, a name, a JSON value. New rows are appended; what nobody asks for any more goes when the file
is written anew. A row's name says what it was computed from, or its value does: whoever asks compares.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from ltxflow.core import files
from ltxflow.core.errors import LtxflowError
from ltxflow.core.regular import parse_json, read_bytes

FORMAT = "memory/1"
MOST = 1 << 30  # bytes: ten times what a film of 10,000 clips keeps
SLACK = 4096  # rows that nobody asked for may stay until they are this many, and four times those in use


class Memory:
    """name → JSON value. Without a path it forgets at the end; of another `version` it knows nothing."""

    def __init__(self, path: Path | None = None, version: str = "") -> None:
        self._path = path
        self._head = json.dumps({"format": FORMAT, "version": version}).encode()
        self._rows: dict[bytes, bytes] | None = None  # by name, still as text: most are read once, some never
        self._used: set[bytes] = set()
        self._new: dict[bytes, bytes] = {}
        self._is_foreign = False  # what is in the file is of another version, or damaged: it is written anew

    def get(self, name: str) -> Any:
        """Given a name, return its value, or None."""
        key = name.encode("utf-8", "surrogateescape")
        row = self._new.get(key) or self._read().get(key)
        if row is None:
            return None
        self._used.add(key)
        value = _value(row, key)
        if value is None:
            self._is_foreign = True
        return value

    def put(self, name: str, value: Any) -> None:
        """Given a name without tabs and line feeds, and its value, remember it."""
        key = name.encode("utf-8", "surrogateescape")
        if b"\t" in key or b"\n" in key:
            return  # a file may have such a name; it is looked at each time
        self._new[key] = _row(key, json.dumps(value, separators=(",", ":")).encode())
        self._used.add(key)

    def save(self, *, is_whole: bool = True) -> None:
        """Write what is new. Only where there is a store already: a plan makes none. A full disk is no error here.

        `is_whole` says that all that is still of use was asked for: what was not may go.
        """
        if not self._new or self._path is None or not self._path.parent.parent.is_dir():
            return
        rows = self._read()
        with suppress(LtxflowError, OSError):
            files.make_dir(self._path.parent, 0o700)
            stale = len(rows) - len(self._used & rows.keys())
            used = self._used if is_whole else {*self._used, *rows}
            if self._is_foreign or not rows or (is_whole and stale > max(SLACK, 4 * len(used))):
                kept = {key: rows[key] for key in rows if key in used and _value(rows[key], key) is not None}
                body = b"".join(b"\n" + row for row in {**kept, **self._new}.values())
                files.write_atomic(self._path, self._head + body + b"\n", mode=0o600, fsync=False)
                self._is_foreign = False
            else:
                files.append(self._path, b"".join(row + b"\n" for row in self._new.values()))
        rows |= self._new
        self._new = {}

    def _read(self) -> dict[bytes, bytes]:
        if self._rows is None:
            self._rows = {}
            lines = [self._head, b""]
            try:
                if self._path is not None:
                    lines = read_bytes(self._path, MOST).split(b"\n") if _is_ours(self._path) else [b""]
            except FileNotFoundError:
                pass
            except (OSError, MemoryError):
                lines = [b""]
            else:
                if lines[0] == self._head:
                    self._rows = {line[9 : line.find(b"\t")]: line for line in lines[1:-1]}
            self._is_foreign = lines[0] != self._head or lines[-1] != b""  # torn: what is appended would be lost
        return self._rows


def _is_ours(path: Path) -> bool:
    """Whether only this user can have written the file. Code of templates is kept in it, too: nobody else's is run."""
    facts = [os.stat(path), os.stat(path.parent)]
    return all(fact.st_uid == os.geteuid() and not fact.st_mode & 0o022 for fact in facts)


def memory_of(store: Path, folder: Path, version: str) -> Memory:
    """Given the store's folder and a project's, return what is remembered of the project by this `version`."""
    name = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return Memory(store / "memory" / name, version)


def _row(key: bytes, text: bytes) -> bytes:
    body = key + b"\t" + text
    return b"%08x " % zlib.crc32(body) + body


def _value(row: bytes, key: bytes) -> Any:
    if row[:9] != b"%08x " % zlib.crc32(row[9:]):
        return None
    try:
        return parse_json(row[len(key) + 10 :].decode())  # of bytes it would guess the encoding first
    except ValueError:
        return None
