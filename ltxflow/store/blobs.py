"""Bytes by their digest: plain read-only files. Knows nothing of keys, or of what the bytes mean."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_bytes, digest_file
from ltxflow.core.errors import LtxflowError, Problem

_HEX = re.compile(r"[0-9a-f]{64}")
EMPTY = digest_bytes(b"")
_BLOB_MODE = 0o444
_FOLDER_MODE = 0o700


def is_digest(text: object) -> bool:
    """Given anything, return whether it is the text of a sha256: 64 lowercase hex digits."""
    return isinstance(text, str) and _HEX.fullmatch(text) is not None


class BlobStore:
    """The blobs under `root`: `ab/cdef…`, each whole or not there at all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = str(root)

    def path(self, digest: Digest) -> Path:
        """Given a digest, return where its blob is or would be. Raise LtxflowError for what is no digest.

        The check matters: digests come from files that others write, and must not lead out of the store.
        """
        if not is_digest(digest):
            raise LtxflowError(Problem(f'"{digest}" is not a digest', hint="a digest has 64 hex digits"))
        return self.root / digest[:2] / digest[2:]

    def place(self, digest: Digest) -> str:
        """As `path`, in plain text: a plan asks for thousands."""
        return f"{self._root}/{digest[:2]}/{digest[2:]}" if is_digest(digest) else str(self.path(digest))

    def size(self, digest: Digest, place: str = "") -> int | None:
        """Given a digest, and its `place` where that is known, return its blob's size in bytes, or None without one."""
        try:
            found = os.stat(place or self.place(digest))
        except OSError:
            return None
        return found.st_size if stat.S_ISREG(found.st_mode) else None

    def has(self, digest: Digest, size: int = 0, place: str = "") -> bool:
        """Given a digest, return whether its blob is there, with the right size where that is known (not 0).

        Costs one stat: damage inside a blob of the right size is for `verify`.
        """
        found = self.size(digest, place)
        if found == 0:
            return digest == EMPTY
        return found is not None and size in (0, found)

    def put(self, src: Path, digest: Digest | None = None, *, move: bool = False, fsync: bool = True) -> Digest:
        """Given a file, keep its bytes and return their digest. With `move`, `src` is ours and is gone after.

        Without `fsync` a power cut may take what was moved: only for what costs nothing to make again.

        Raise LtxflowError when its bytes have not the digest given; nothing is kept then. What is stored is
        compared with the digest after it was written, so a file that changes meanwhile cannot slip in.
        """
        found = digest or _digest_of(src)
        path = self.path(found)
        if self._is_same_size(src, found) and (digest is None or _digest_of(src) == digest):
            if move:
                files.remove(src)
            return found
        files.make_dir(path.parent, _FOLDER_MODE)
        files.make_room(path)
        if move:
            files.move_into(src, path, expect=digest, mode=_BLOB_MODE, fsync=fsync)
        else:
            files.copy_into(src, path, expect=found, mode=_BLOB_MODE)
        return found

    def _is_same_size(self, src: Path, digest: Digest) -> bool:
        there = self.size(digest)
        found = files.signature(src) if there is not None else None
        return found is not None and found[0] == there

    def put_bytes(self, data: bytes) -> Digest:
        """Given bytes, keep them and return their digest."""
        digest = digest_bytes(data)
        path = self.path(digest)
        if self.size(digest) != len(data):
            files.make_dir(path.parent, _FOLDER_MODE)
            files.make_room(path)
            files.write_atomic(path, data, mode=_BLOB_MODE)
        return digest

    def verify(self, digest: Digest) -> bool:
        """Given a digest, return whether its blob is there and its bytes, all read, are the right ones."""
        try:
            return digest_file(self.path(digest)) == digest
        except OSError:
            return False

    def set_aside(self, digest: Digest) -> bool:
        """Given a digest whose blob is suspected, read it; return whether it was bad, and is set aside now."""
        path = self.path(digest)
        if not os.path.lexists(path) or self.verify(digest):
            return False
        files.set_aside(path)
        return True

    def remove(self, digest: Digest) -> None:
        """Given a digest, drop its blob; one that is not there is fine."""
        files.remove(self.path(digest))

    def iter(self) -> Iterator[Digest]:
        """Return the digests of all blobs, sorted."""
        for folder in self.folders():
            for path in sorted(folder.iterdir()):
                if is_digest(digest := folder.name + path.name):
                    yield Digest(digest)

    def folders(self) -> list[Path]:
        """Return the folders blobs are in, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path for path in self.root.iterdir() if len(path.name) == 2 and path.is_dir())


def _digest_of(src: Path) -> Digest:
    try:
        return digest_file(src)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise LtxflowError(
            Problem(f'cannot read "{src}": {reason}', hint="check the path and its permissions")
        ) from error
