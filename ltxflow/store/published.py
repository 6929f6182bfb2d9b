"""Which files under the output folder are ours, by digest, so that nobody else's is ever touched."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.errors import LtxflowError, Problem, hint_for
from ltxflow.core.regular import RECORD_BYTES, is_damage, read_json
from ltxflow.store.blobs import is_digest

PUBLISHED_FORMAT = "published/1"
UNREAD = Digest("")  # of a file that is not ours by its size alone
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class PublishedFile:
    """One file we wrote. `digests` are all that may be there: one, or old and new while it is replaced.

    `signature` is that of the file as last seen with its one digest, None while pending. `rank` orders
    sources: a stand-in never replaces what ranks higher.
    """

    digests: tuple[Digest, ...]
    target: str = ""
    key: str = ""
    source: str = ""
    rank: int = 0
    signature: files.Signature | None = None


@dataclass(frozen=True)
class Published:
    """Path relative to the output folder's parent (`scenes/hook/a.mp4`) → what we know of the file there."""

    entries: Mapping[str, PublishedFile] = field(default_factory=lambda: _EMPTY)


# --- changes: each returns a new Published; write it before the files are touched, and again after


def with_intent(published: Published, files_to_come: Mapping[str, PublishedFile]) -> Published:
    """Given path → the file about to be put there, return the record with its and all earlier digests.

    Write this BEFORE replacing anything: killed in between, either file is still known as ours.
    """
    entries = dict(published.entries)
    for path, coming in files_to_come.items():
        _check_path(path)
        earlier = entries[path].digests if path in entries else ()
        digests = tuple(dict.fromkeys((*earlier, *coming.digests)))
        entries[path] = replace(coming, digests=digests, signature=None)
    return Published(entries)


def settled(published: Published, base: Path, done: Mapping[str, Digest]) -> Published:
    """Given path → the digest now there, return the record with that alone and the file's signature."""
    entries = dict(published.entries)
    for path, digest in done.items():
        seen = files.signature(base / path)
        entries[path] = replace(entries[path], digests=(digest,), signature=seen)
    return Published(entries)


def without(published: Published, paths: Iterable[str]) -> Published:
    """Given paths that are gone, or given up, return the record without them."""
    gone = set(paths)
    return Published({path: entry for path, entry in published.entries.items() if path not in gone})


# --- questions


def found(published: Published, base: Path, path: str) -> Digest | None:
    """Given a path below `base`, return the digest of the file there, or None without a plain file.

    A file whose signature is as recorded is not read again, nor one that is far larger than recorded: that is `UNREAD`.
    A symbolic link is never a file of ours.
    """
    place = f"{base}/{path}"  # in plain text: a film has thousands
    entry = published.entries.get(path)
    seen = files.signature_of_file(place)
    if seen is None:
        return None
    if entry is not None and len(entry.digests) == 1 and entry.signature is not None:
        if entry.signature == seen:
            return entry.digests[0]
        if seen[0] > max(entry.signature[0], RECORD_BYTES):
            return UNREAD  # a sparse file of terabytes would be read for hours, to find that it is another
    try:
        return digest_file(Path(place))
    except OSError:
        return None


def is_ours(published: Published, base: Path, path: str) -> bool:
    """Given a path below `base`, return whether the file there is one we wrote, unchanged. No file: False."""
    entry = published.entries.get(path)
    return entry is not None and found(published, base, path) in entry.digests


def not_ours(published: Published, base: Path, path: str) -> Problem:
    """Given the path of a file that is none we wrote, or was changed since, return what to say of it."""
    place = base / path
    if path in published.entries:
        message = f'"{place}" was changed since ltxflow wrote it; it is left alone'
        hint = "ltxflow verify --repair puts it aside and ours back; a clip of your own stays with: ltxflow pin"
    else:
        message = f'"{place}" was not written by ltxflow; it is left alone'
        hint = "move it away and build again; a clip of your own goes into the film with: ltxflow pin"
    return Problem(message, hint=hint, code="D001")


# --- the file


def read_published(path: Path, wanted: Container[str] | None = None) -> tuple[Published, Problem | None]:
    """Given the record's path, return it and, if it was damaged, what is wrong. `wanted` are the paths to be read.

    A damaged one is moved aside and counts as empty: then every published file is somebody else's until its
    digest says otherwise.
    """
    try:
        return _from_json(read_json(path), wanted), None
    except FileNotFoundError:
        return Published(), None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            reason = (error.strerror or str(error)).lower()
            raise LtxflowError(Problem(f'cannot read "{path}": {reason}', hint=hint_for(error))) from error
        aside = files.set_aside(path)
        error = ValueError(error.strerror) if isinstance(error, OSError) else error
        hint = f'the damaged one is kept as "{aside.name}"; files that are already published are left alone'
        return Published(), Problem(f'"{path}" is damaged: {error}', hint=hint, level="warning")


def write_published(path: Path, published: Published) -> None:
    """Given the record, write its file, whole or not at all."""
    entries = {
        name: {
            "digests": list(entry.digests),
            "target": entry.target,
            "key": entry.key,
            "source": entry.source,
            "rank": entry.rank,
            "signature": None if entry.signature is None else list(entry.signature),
        }
        for name, entry in sorted(published.entries.items())
    }
    text = json.dumps({"format": PUBLISHED_FORMAT, "files": entries}, separators=(",", ":"), ensure_ascii=False)
    files.make_dir(path.parent)
    files.write_atomic(path, text + "\n")


def _from_json(data: Any, wanted: Container[str] | None) -> Published:
    if not isinstance(data, dict) or data.get("format") != PUBLISHED_FORMAT:
        raise ValueError("not a record of published files")
    entries = data.get("files")
    if not isinstance(entries, dict):
        raise ValueError('"files" is not a mapping')
    told = entries.items() if wanted is None else [(name, e) for name, e in entries.items() if name in wanted]
    return Published({_check_path(name): _entry(entry) for name, entry in told})


def _entry(data: Any) -> PublishedFile:
    if not isinstance(data, dict):
        raise ValueError("a file is a mapping")
    digests, seen, rank = data.get("digests"), data.get("signature"), data.get("rank", 0)
    if not isinstance(digests, list) or not all(is_digest(digest) for digest in digests):
        raise ValueError('"digests" are not digests')
    if seen is not None and not (isinstance(seen, list) and all(type(part) is int for part in seen)):
        raise ValueError('"signature" is not a list of whole numbers')
    if type(rank) is not int:
        raise ValueError('"rank" is not a whole number')
    return PublishedFile(
        digests=tuple(Digest(digest) for digest in digests),
        target=str(data.get("target", "")),
        key=str(data.get("key", "")),
        source=str(data.get("source", "")),
        rank=rank,
        signature=None if seen is None else tuple(seen),
    )


def _check_path(path: str) -> str:
    """The record may come with a stranger's film: it must not lead out of the output folder's parent."""
    if path and path[0] != "/" and ".." not in path and "\0" not in path:  # as nearly all are
        return path
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\0" in path:
        raise ValueError(f'"{path}" leads out of the output folder')
    return path
