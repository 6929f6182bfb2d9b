"""Store bytes by their digest, as plain read-only files."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_bytes, digest_file
from ltxflow.core.errors import LtxflowError, problem

_HEX = re.compile(r"[0-9a-f]{64}")
EMPTY = digest_bytes(b"")
_BLOB_MODE = 0o444
_FOLDER_MODE = 0o700


def is_digest(text: object) -> bool:
    """Return whether a value is the text of a sha256: 64 lowercase hex digits."""
    return isinstance(text, str) and _HEX.fullmatch(text) is not None


class BlobStore:
    """The blobs under `root` (`ab/cdef…`), each complete or absent."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = str(root)

    def path(self, digest: Digest) -> Path:
        """Return the path of a blob, present or not. Raise LtxflowError for text that is not a digest.

        The check matters: digests come from files that others write, and must not lead out of the store.
        """
        if not is_digest(digest):
            raise LtxflowError(problem("D100", digest=digest))
        return self.root / digest[:2] / digest[2:]

    def place(self, digest: Digest) -> str:
        """Return the `path` of a blob as text, faster: a plan needs thousands."""
        return f"{self._root}/{digest[:2]}/{digest[2:]}" if is_digest(digest) else str(self.path(digest))

    def size(self, digest: Digest, place: str = "") -> int | None:
        """Return the size of a blob in bytes, None without it; `place` is its path, if known."""
        try:
            found = os.stat(place or self.place(digest))
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def has(self, digest: Digest, size: int = 0, place: str = "") -> bool:
        """Return whether a blob is present, with the right size if that is known (not 0).

        Costs one stat; `verify` finds damage inside a blob of the right size.
        """
        found = self.size(digest, place)
        if found == 0:
            return digest == EMPTY
        return found is not None and size in (0, found)

    def put(
        self,
        src: Path,
        digest: Digest | None = None,
        *,
        move: bool = False,
        fsync: bool = True,
        is_checked: bool = False,
    ) -> Digest:
        """Store the bytes of a file and return their digest. With `move`, `src` is ours and is removed.

        With `is_checked`, the bytes were hashed while they were written, and are not read again.

        Without `fsync` a power cut may lose a moved file: only for data that costs nothing to make again. Raise
        LtxflowError, storing nothing, when the bytes do not match `digest`. The stored bytes are compared after they
        were written, so that a file that changes in between cannot slip in.
        """
        found = digest or _digest_of(src)
        path = self.path(found)
        if self._is_same_size(src, found) and (digest is None or is_checked or _digest_of(src) == digest):
            if move:
                files.remove(src)
            return found
        files.make_dir(path.parent, _FOLDER_MODE)
        files.make_room(path)
        if move:
            files.move_into(src, path, expect=None if is_checked else digest, mode=_BLOB_MODE, fsync=fsync)
        else:
            files.copy_into(src, path, expect=found, mode=_BLOB_MODE)
        return found

    def _is_same_size(self, src: Path, digest: Digest) -> bool:
        known = self.size(digest)
        found = files.signature(src) if known is not None else None
        return found is not None and found[0] == known

    def put_bytes(self, data: bytes) -> Digest:
        """Store bytes and return their digest."""
        digest = digest_bytes(data)
        path = self.path(digest)
        if self.size(digest) != len(data):
            files.make_dir(path.parent, _FOLDER_MODE)
            files.make_room(path)
            files.write_atomic(path, data, mode=_BLOB_MODE)
        return digest

    def verify(self, digest: Digest) -> bool:
        """Return whether a blob is present and its bytes, all read, match its digest."""
        try:
            return digest_file(self.path(digest)) == digest
        except OSError:
            return False

    def set_aside(self, digest: Digest) -> bool:
        """Read a suspected blob and set it aside if it is damaged; return whether it was."""
        path = self.path(digest)
        if not os.path.lexists(path) or self.verify(digest):
            return False
        files.set_aside(path)
        return True

    def remove(self, digest: Digest) -> None:
        """Remove a blob, if present."""
        files.remove(self.path(digest))

    def iter(self) -> Iterator[Digest]:
        """Return the digests of all blobs, sorted."""
        for folder in self.folders():
            for path in sorted(folder.iterdir()):
                if is_digest(digest := folder.name + path.name):
                    yield Digest(digest)

    def folders(self) -> list[Path]:
        """Return the folders that hold blobs, sorted."""
        return prefix_folders(self.root)


def prefix_folders(root: Path) -> list[Path]:
    """Return the folders of two letters in a folder, sorted: blobs and traces are in those that begin their names."""
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        names = [entry.name for entry in entries if len(entry.name) == 2 and entry.is_dir()]
    return [root / name for name in sorted(names)]


def _digest_of(src: Path) -> Digest:
    try:
        return digest_file(src)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise LtxflowError(problem("D102", path=src, reason=reason)) from error
