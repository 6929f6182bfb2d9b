"""Keep a fast copy of the traces, by key, in diskcache. All of it can be lost."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import diskcache

from ltxflow.core import files
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.workspace import read_bytes, real_path

T = TypeVar("T")
Rows = Iterable[tuple[str, bytes]]

# sqlite's locks do not work there, or fail late: https://www.sqlite.org/faq.html#q5, diskcache issues 13, 345
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "vboxsf"}
INDEX_VERSION = 1
DATABASE = "cache.db"  # diskcache.core.DBNAME
_MODE_RAW = 1  # diskcache.core.MODE_RAW: the value is in the row itself
# sqlite's primary result codes for a file that is not, or is no longer, a database of ours
_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH}


class _Refused(ValueError):
    """A row that we did not write: pickled, or in a separate file."""


class BytesOnlyDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """Keep text keys and bytes values in the rows themselves, and refuse everything else, on reading too.

    diskcache unpickles a row that is marked as pickled, and a planted pickle runs code (CVE-2025-69872, through its
    JSONDisk too). Values never become files, which diskcache neither syncs nor checks.
    """

    def __init__(self, directory: str, **settings: Any) -> None:
        super().__init__(directory)  # settings stored in a database are not trusted

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError("a key of the index is text")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if type(key) is not str or not raw:
            raise _Refused("a key that is not text")
        return key

    def store(self, value: object, read: bool, key: object = None) -> tuple[int, int, None, memoryview]:
        if type(value) is not bytes or read:
            raise TypeError("a value of the index is bytes")
        return len(value), _MODE_RAW, None, memoryview(value)

    def fetch(self, mode: object, filename: object, value: object, read: bool) -> bytes:
        if mode != _MODE_RAW or filename is not None or type(value) is not bytes or read:
            raise _Refused("a value that is not bytes")
        return value

    def remove(self, file_path: str) -> None:
        raise _Refused("a value in a file")


class _Database(diskcache.Cache):  # type: ignore[misc]  # diskcache has no types
    """A cache that leaves no file open when opening it fails, because of damage or a full disk."""

    def __init__(self, folder: str, **settings: Any) -> None:
        try:
            super().__init__(folder, **settings)
        except BaseException:
            with suppress(AttributeError):  # so early that there is nothing to close
                self.close()
            raise


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system of an absolute path, from the text of `/proc/mounts`."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), parts[1]))
        # a later mount on the same point covers the earlier one
        if path.is_relative_to(point) and len(point.parts) >= best:
            best, kind = len(point.parts), parts[2]
    return kind


def is_networked(kind: str) -> bool:
    """Return whether a file system of this type is unsafe for a database."""
    return kind in _NETWORK or kind.startswith("fuse")


class Index:
    """key → bytes, opened on first use. A fault makes it slow or `disabled`, never wrong or fatal.

    `rows` returns all its rows, to fill it again after damage. `report` is called with each fault.
    """

    def __init__(
        self,
        folder: Path,
        rows: Callable[[], Rows] = lambda: (),
        report: Callable[[Problem], None] = lambda problem: None,
        mounts: Path = Path("/proc/mounts"),
    ) -> None:
        self.folder = folder
        self._rows = rows
        self._report = report
        self._mounts = mounts
        self._cache: Any = None
        self.disabled = ""  # the reason, empty while it is in use

    def get(self, key: str) -> bytes | None:
        """Return the bytes of a key, or None."""
        return self._try(lambda cache: _bytes_or_none(cache.get(key)), None)

    def put(self, key: str, value: bytes) -> None:
        """Store the bytes of a key."""
        self.put_many([(key, value)])

    def put_many(self, rows: Rows) -> int:
        """Store rows in one transaction; return their number, 0 if that failed."""
        listed = list(rows)
        return self._try(lambda cache: self._write(cache, listed, clear=False), 0)

    def delete(self, key: str) -> None:
        """Remove the row of a key, if present."""

        def drop(cache: Any) -> None:
            files.crash_point("index", self.folder)
            cache.delete(key)

        self._try(drop, None)

    def keys(self) -> list[str]:
        """Return all keys, sorted."""
        return self._try(lambda cache: sorted(cache), [])

    def rebuild(self) -> int:
        """Replace its content by `rows`, in one transaction; return their number."""
        listed = list(self._rows())
        return self._try(lambda cache: self._write(cache, listed, clear=True), 0)

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    # --- faults and damage

    def _write(self, cache: Any, rows: list[tuple[str, bytes]], clear: bool) -> int:
        files.crash_point("index", self.folder)
        with cache.transact():
            if clear:
                cache.clear()
            # never `retry=True`: diskcache then retries a full or read-only disk for ever, without a pause
            for key, value in rows:
                cache.set(key, value)
        return len(rows)

    def _try(self, use: Callable[[Any], T], otherwise: T) -> T:
        if self.disabled:
            return otherwise
        try:
            try:
                return use(self._open())
            except (sqlite3.DatabaseError, _Refused) as error:
                if not _is_damage(error):
                    raise
                self._renew(str(error))
                return use(self._open())
        except LtxflowError as error:
            self._disable(error.problems[0].message)
        except diskcache.Timeout:
            self._disable("it cannot be written")
        except (sqlite3.Error, OSError, _Refused) as error:
            self._disable(str(error))
        return otherwise

    def _open(self) -> Any:
        if self._cache is None:
            kind = self._file_system()
            if is_networked(kind):
                raise OSError(f"a database does not belong on {kind}")
            if not self.folder.is_dir():
                files.make_room(self.folder)
            files.make_dir(self.folder, 0o700)
            self._check_format()
            for name in ("", "-wal", "-shm"):  # opening a FIFO would wait, reading a device never end
                files.make_room(self.folder / f"{DATABASE}{name}")
            files.crash_point("index", self.folder)
            self._cache = _Database(
                str(self.folder),
                timeout=60,  # seconds to wait for another process's transaction
                disk=BytesOnlyDisk,
                eviction_policy="none",
                cull_limit=0,
                size_limit=2**62,
                statistics=0,
                sqlite_cache_size=256,  # pages of 4 kB; diskcache's 8192 would keep all that a run writes in memory
                sqlite_mmap_size=0,  # reading a mapped file that was truncated ends the process (SIGBUS)
            )
        return self._cache

    def _check_format(self) -> None:
        """Raise OSError for an index of a later version, which is neither read nor written."""
        mark = self.folder / "format"
        text = read_bytes(mark, 1 << 20).decode(errors="replace").strip() if mark.is_file() else ""
        found = re.fullmatch(r"index/(\d{1,9})", text)
        if found is None:  # a new one, or a damaged one: its rows are checked one by one
            files.make_room(mark)
            files.write_atomic(mark, f"index/{INDEX_VERSION}\n", fsync=False)
        elif int(found[1]) > INDEX_VERSION:
            raise OSError(f"its version is newer ({text}): upgrade ltxflow")

    def _file_system(self) -> str:
        try:
            mounts = self._mounts.read_text(errors="surrogateescape")
        except OSError:
            return ""  # not Linux
        return file_system(real_path(self.folder), mounts)

    def _renew(self, reason: str) -> None:
        """Set the damaged database aside and fill a new one. A process that has it open loses nothing."""
        with suppress(sqlite3.Error):
            self.close()
        self._cache = None
        aside = files.set_aside(self.folder)
        self._report(problem("D103", folder=self.folder, reason=reason, aside=aside.name))
        self._write(self._open(), list(self._rows()), clear=True)

    def _disable(self, reason: str) -> None:
        self.disabled = reason
        with suppress(sqlite3.Error):
            self.close()
        self._cache = None
        self._report(problem("D104", folder=self.folder, reason=reason))


def _bytes_or_none(value: Any) -> bytes | None:
    return value if isinstance(value, bytes) else None


def _is_damage(error: Exception) -> bool:
    if isinstance(error, _Refused):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _CORRUPT
