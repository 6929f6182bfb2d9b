"""Record which files under the output folder are ours, by digest, and how fast each server is, for estimates.

Files that are not recorded here, in a trace or in the lock are foreign and never touched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.errors import LtxflowError, Problem, hint_for, problem
from ltxflow.core.workspace import RECORD_BYTES, is_damage, read_json
from ltxflow.store.blobs import is_digest

PUBLISHED_FORMAT = "published/1"
UNREAD = Digest("")  # of a file that cannot be ours because of its size
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class PublishedFile:
    """A file that we wrote. `digests` are its possible contents: one, or old and new while it is replaced.

    `signature` is that of the file when it last had its one digest, None while pending. `rank` orders sources: a
    stand-in never replaces a file of higher rank.
    """

    digests: tuple[Digest, ...]
    target: str = ""
    key: str = ""
    source: str = ""
    rank: int = 0
    signature: files.Signature | None = None


@dataclass(frozen=True)
class Published:
    """Path relative to the output folder's parent (`scenes/hook/a.mp4`) → the record of the file there."""

    entries: Mapping[str, PublishedFile] = field(default_factory=lambda: _EMPTY)


# --- changes: each returns a new Published; write it before the files are touched, and again after


def with_intent(published: Published, files_to_come: Mapping[str, PublishedFile]) -> Published:
    """Return the record with the digests of files about to be written, added to the earlier ones, by path.

    Write it BEFORE replacing anything: after a crash in between, either file is still known as ours.
    """
    entries = dict(published.entries)
    for path, coming in files_to_come.items():
        _check_path(path)
        earlier = entries[path].digests if path in entries else ()
        digests = tuple(dict.fromkeys((*earlier, *coming.digests)))
        entries[path] = replace(coming, digests=digests, signature=None)
    return Published(entries)


def committed(published: Published, base: Path, done: Mapping[str, Digest]) -> Published:
    """Return the record after files were written: path → its one digest, and the file's signature."""
    entries = dict(published.entries)
    for path, digest in done.items():
        entries[path] = replace(entries[path], digests=(digest,), signature=files.signature(base / path))
    return Published(entries)


def without(published: Published, paths: Iterable[str]) -> Published:
    """Return the record without some paths."""
    removed = set(paths)
    return Published({path: entry for path, entry in published.entries.items() if path not in removed})


# --- look-ups


def found(published: Published, base: Path, path: str) -> Digest | None:
    """Return the digest of the file at a path below `base`, None without a plain file.

    Does not read a file again whose signature is as recorded, nor one far larger than recorded, which is `UNREAD`. A
    symbolic link is never a file of ours.
    """
    place = f"{base}/{path}"  # in plain text: a film has thousands
    entry = published.entries.get(path)
    signature = files.signature_of_file(place)
    if signature is None:
        return None
    if entry is not None and len(entry.digests) == 1 and entry.signature is not None:
        if entry.signature == signature:
            return entry.digests[0]
        if signature[0] > max(entry.signature[0], RECORD_BYTES):
            return UNREAD  # reading a sparse file of terabytes would take hours
    try:
        return digest_file(Path(place))
    except OSError:
        return None


def is_ours(published: Published, base: Path, path: str) -> bool:
    """Return whether the file at a path below `base` is one we wrote, unchanged; False without a file."""
    entry = published.entries.get(path)
    return entry is not None and found(published, base, path) in entry.digests


def not_ours(published: Published, base: Path, path: str) -> Problem:
    """Return the problem of a file that we did not write, or that was changed since."""
    return problem("D001.changed" if path in published.entries else "D001.foreign", path=base / path)


# --- the file


def read_published(path: Path, wanted: Container[str] | None = None) -> tuple[Published, Problem | None]:
    """Return the record of a file, limited to the paths `wanted`, and a problem if it is damaged.

    A damaged record is set aside and counts as empty: every published file is then foreign until its digest proves
    otherwise.
    """
    try:
        return _from_json(read_json(path), wanted), None
    except FileNotFoundError:
        return Published(), None
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and not is_damage(error):
            reason = (error.strerror or str(error)).lower()
            raise LtxflowError(problem("D107.system", path=path, reason=reason, hint=hint_for(error))) from error
        aside = files.set_aside(path)
        damage = error.strerror if isinstance(error, OSError) else error
        return Published(), problem("D107.damaged", path=path, reason=damage, aside=aside.name, level="warning")


def write_published(path: Path, published: Published) -> None:
    """Write the record's file atomically."""
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
    chosen = entries.items() if wanted is None else [(name, e) for name, e in entries.items() if name in wanted]
    return Published({_check_path(name): _entry(entry) for name, entry in chosen})


def _entry(data: Any) -> PublishedFile:
    if not isinstance(data, dict):
        raise ValueError("a file is a mapping")
    digests, signature, rank = data.get("digests"), data.get("signature"), data.get("rank", 0)
    if not isinstance(digests, list) or not all(is_digest(digest) for digest in digests):
        raise ValueError('"digests" are not digests')
    if signature is not None and not (isinstance(signature, list) and all(type(part) is int for part in signature)):
        raise ValueError('"signature" is not a list of whole numbers')
    if type(rank) is not int:
        raise ValueError('"rank" is not a whole number')
    return PublishedFile(
        digests=tuple(Digest(digest) for digest in digests),
        target=str(data.get("target", "")),
        key=str(data.get("key", "")),
        source=str(data.get("source", "")),
        rank=rank,
        signature=None if signature is None else tuple(signature),
    )


def _check_path(path: str) -> str:
    """Return a path of the record. Raise ValueError where it leads out of the output folder's parent.

    The record may come with a stranger's film.
    """
    if path and path[0] != "/" and ".." not in path and "\0" not in path:  # as nearly all are
        return path
    pure = PurePosixPath(path)
    if not path or pure.is_absolute() or ".." in pure.parts or "\0" in path:
        raise ValueError(f'"{path}" leads out of the output folder')
    return path


MEMORY = 20  # renders that count, so that a new driver or card shows soon

SPEEDS = "speeds.json"  # in the store's folder


@dataclass(frozen=True)
class Speed:
    """Seconds per pixel × frame × step as `rate`, over `count` renders; `spread` is their mean relative deviation."""

    rate: float
    count: int
    spread: float = 0.0

    def after(self, seconds: float, work: float) -> Speed:
        """Return the speed with one more render counted, of `seconds` for `work` units."""
        new = seconds / work
        weight = 1 / min(self.count + 1, MEMORY)
        rate = self.rate + (new - self.rate) * weight
        off = abs(new - self.rate) / self.rate if self.rate else 0.0
        return Speed(rate, self.count + 1, self.spread + (off - self.spread) * weight)


def read_speeds(root: Path) -> dict[str, Speed]:
    """Return server name → Speed of a store, empty without a readable record."""
    try:
        data = read_json(root / SPEEDS)
        found = {
            str(name): Speed(float(s["rate"]), int(s["count"]), float(s["spread"]))
            for name, s in data.items()
            if isinstance(s, dict)
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return {}
    return {name: speed for name, speed in found.items() if speed.rate > 0 and math.isfinite(speed.rate)}


def write_speeds(root: Path, speeds: Mapping[str, Speed]) -> None:
    """Write the speeds of servers to a store, not durably."""
    data = {
        name: {"rate": s.rate, "count": s.count, "spread": round(s.spread, 4)} for name, s in sorted(speeds.items())
    }
    files.make_dir(root)
    files.make_room(root / SPEEDS)
    files.write_atomic(root / SPEEDS, json.dumps(data, indent=1) + "\n", fsync=False)
