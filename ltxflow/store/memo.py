"""Remember what was computed, so that it need not be computed again. All of it can be lost; damage is never believed.

A file a project, in the store: the store is its user's own, whereas `.ltxflow/` may come with a stranger's film. A line
a row: a checksum, a name, a JSON value. New rows are appended; unused ones go when the file is rewritten. What a row
was computed from is in its name or its value, and the reader compares. It is not in the store's index, since a plan is
short: importing diskcache takes 9 ms, and reading 2,000 rows of 3 kB 35 ms of processor time, 20 ms from this file.
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
from ltxflow.core.workspace import parse_json, read_bytes, real_path

FORMAT = "memory/1"
MOST = 1 << 30  # bytes: ten times what a film of 10,000 clips keeps
SLACK = 4096  # unused rows may stay until they are this many, and four times those in use
KEPT = 8  # files of rows by request, a project


class Memory:
    """A map of names to JSON values. Without a path it is not written; rows of another `version` are not read."""

    def __init__(self, path: Path | None = None, version: str = "") -> None:
        self.path = path
        self._head = json.dumps({"format": FORMAT, "version": version}).encode()
        self._rows: dict[bytes, bytes] | None = None  # by name, still as text: most are read once, some never
        self._used: set[bytes] = set()
        self._new: dict[bytes, bytes] = {}
        self._lines = 0  # of the file: a row that was written again has several
        self._is_foreign = False  # whether the file is of another version, or damaged: it is rewritten then

    def get(self, name: str) -> Any:
        """Return the value of a name, or None."""
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
        """Remember the value of a name, which has no tab and no line feed in it."""
        key = name.encode("utf-8", "surrogateescape")
        if b"\t" in key or b"\n" in key:
            return  # a file may have such a name; it is read each time
        self._new[key] = _row(key, json.dumps(value, separators=(",", ":")).encode())
        self._used.add(key)

    def save(self, *, is_whole: bool = True, is_fresh: bool = False) -> None:
        """Append what is new, where there is a store already. A full disk is not an error here.

        `is_whole` means that everything still of use was asked for, so that other rows may go once they are many;
        `is_fresh` that all of them go now.
        """
        if not self._new or self.path is None or not self.path.parent.parent.is_dir():
            return
        rows = self._read()
        with suppress(LtxflowError, OSError):
            files.make_dir(self.path.parent, 0o700)
            stale = len(rows) - len(self._used & rows.keys())
            used = self._used if is_whole else {*self._used, *rows}
            is_long = self._lines > 2 * len(rows) + SLACK
            if self._is_foreign or not rows or is_fresh or is_long or (is_whole and stale > max(SLACK, 4 * len(used))):
                kept = {key: rows[key] for key in rows if key in used and _value(rows[key], key) is not None}
                written = {**({} if is_fresh else kept), **self._new}
                body = b"".join(b"\n" + row for row in written.values())
                files.write_atomic(self.path, self._head + body + b"\n", mode=0o600, fsync=False)
                self._is_foreign, self._lines = False, len(written)
            else:
                files.append(self.path, b"".join(row + b"\n" for row in self._new.values()))
                self._lines += len(self._new)
        rows |= self._new
        self._new = {}

    def _read(self) -> dict[bytes, bytes]:
        if self._rows is None:
            self._rows = {}
            lines = [self._head, b""]
            try:
                if self.path is not None:
                    lines = read_bytes(self.path, MOST).split(b"\n") if _is_ours(self.path) else [b""]
            except FileNotFoundError:
                pass
            except (OSError, MemoryError):
                lines = [b""]
            else:
                if lines[0] == self._head:
                    self._lines = len(lines) - 2
                    self._rows = {line[9 : line.find(b"\t")]: line for line in lines[1:-1]}
            self._is_foreign = lines[0] != self._head or lines[-1] != b""  # torn: what is appended would be lost
        return self._rows


def _is_ours(path: Path) -> bool:
    """Return whether only this user can have written the file: code of templates is kept in it, too, and run."""
    facts = [os.stat(path), os.stat(path.parent)]
    return all(fact.st_uid == os.geteuid() and not fact.st_mode & 0o022 for fact in facts)


def memory_of(store: Path, folder: Path, version: str, request: str = "") -> Memory:
    """Return what this `version` remembers of the project in a folder: in general, or of one request about it."""
    name = hashlib.sha256(str(real_path(folder)).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    return Memory(store / "memory" / (f"{name}-{request}" if request else name), version)


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
