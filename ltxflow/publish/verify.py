"""Compare a film's lock, its blobs and its published files byte by byte, and repair what can be."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_bytes, digest_there
from ltxflow.core.errors import LtxflowError
from ltxflow.core.workspace import ASIDE, read_json
from ltxflow.lock.model import made_of
from ltxflow.media.image import draw_poster, undecodable
from ltxflow.publish.publish import may_be_reworded
from ltxflow.publish.timeline import TIMELINE
from ltxflow.session.session import Session
from ltxflow.store.gc import FAULTS, examine, repair
from ltxflow.store.published import Published, committed, with_intent, write_published

Kind = Literal["missing", "edited", "extra", "rotted", "empty", "unreadable", "undecodable", "unfinished", "disagrees"]


@dataclass(frozen=True)
class FileDifference:
    """One thing that differs from the lock, or from what was published. `outcome` is what --repair did about it.

    `where` is "store", "published" or "lock"; `name` is the file's, or that of a clip and an output.
    """

    where: str
    kind: Kind
    name: str
    detail: str
    target: str = ""
    digest: str = ""
    outcome: str = ""
    is_repaired: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "where": self.where,
            "kind": self.kind,
            "name": self.name,
            "told": self.detail,
            "target": self.target,
            "digest": self.digest,
            "outcome": self.outcome,
            "mended": self.is_repaired,
        }


@dataclass
class Verified:
    """What was read, what differs, and which files people reworded, as they may."""

    blobs: int = 0
    published: int = 0
    size: int = 0  # bytes that were read
    differences: list[FileDifference] = field(default_factory=list)
    reworded: list[str] = field(default_factory=list)


def verify(session: Session, *, deep: bool = False) -> Verified:
    """Read every blob that the lock names and every published file; return what differs."""
    result = Verified()
    films: dict[Path, str] = {}
    for digest, names in sorted(_named_by_lock(session).items(), key=lambda item: item[1]):
        path = session.store.cas.path(digest)
        result.blobs += 1
        result.size += session.store.cas.size(digest) or 0
        kind = examine(session.store.cas, digest)
        if kind is None:
            films |= {path: names[0]} if names[0].endswith((" video", " published")) else {}
            continue
        result.differences += [
            FileDifference("store", kind, name, FAULTS[kind], name.split(" ")[0], digest) for name in names
        ]
    result.differences += _disagreements(session)
    result.differences += _published(session, result, films)
    if deep:
        for path, name in films.items():
            if why := undecodable(path):
                where = "store" if path.is_relative_to(session.store.root) else "published"
                result.differences.append(FileDifference(where, "undecodable", name, why))
    return result


def _named_by_lock(session: Session) -> dict[Digest, list[str]]:
    """Return digest → its names in the lock: `hook/b@2 video`."""
    named: dict[Digest, list[str]] = {}
    for clip, entry in session.lock.entries.items():
        for number, take in entry.takes.items():
            for output, digest in {made_of(clip): take.digest, **take.outputs}.items():
                named.setdefault(digest, []).append(f"{clip}@{number} {output}")
    return named


def _disagreements(session: Session) -> Iterator[FileDifference]:
    """Yield keys with other bytes in the store than in the lock: rendered again here."""
    for clip, entry in session.lock.entries.items():
        for number, take in entry.takes.items():
            trace = session.trace_of(take.key)
            other = trace.outputs[made_of(clip)].digest if trace is not None else take.digest
            if other != take.digest:
                detail = f"the lock has {take.digest[:12]}…, this store has another render of the same: {other[:12]}…"
                yield FileDifference("lock", "disagrees", f"{clip}@{number}", detail, f"{clip}@{number}", take.digest)


def _published(session: Session, result: Verified, films: dict[Path, str]) -> Iterator[FileDifference]:
    base, folder = session.project.output.parent, session.project.output.name
    for path, entry in session.published.entries.items():
        place, target = base / path, entry.target
        result.published += 1
        if place.is_symlink() or not place.is_file():
            yield FileDifference("published", "missing", path, FAULTS["missing"], target, entry.digests[-1])
            continue
        result.size += place.stat().st_size
        there = digest_there(place)
        if there not in entry.digests and may_be_reworded(path):
            result.reworded.append(path)
        elif there not in entry.digests:
            detail = "it was changed by hand, or by another program"
            yield FileDifference("published", "edited", path, detail, target, entry.digests[-1])
        elif len(entry.digests) > 1 and path != f"{folder}/{TIMELINE}":
            detail = "a build was interrupted while it was replaced"
            yield FileDifference("published", "unfinished", path, detail, target, entry.digests[-1])
        elif path.endswith(".mp4"):
            films[place] = path
    yield from _timeline(session)
    for place in sorted(session.project.output.rglob("*")):
        path = place.relative_to(base).as_posix()
        if place.is_file() and not place.name.startswith(".") and not _is_of(path, session.published):
            yield FileDifference("published", "extra", path, "ltxflow did not write it")


def _is_of(path: str, published: Published) -> bool:
    """Return whether a path is that of a file of ours, or lies in a folder in place of one."""
    return any(str(above) in published.entries for above in (path, *PurePosixPath(path).parents))


def _timeline(session: Session) -> Iterator[FileDifference]:
    """Yield the ways in which a whole timeline names other files than are published."""
    place = session.project.output / TIMELINE
    path = f"{session.project.output.name}/{TIMELINE}"
    try:
        data = read_json(place)
        clips = [clip for scene in data["scenes"] for clip in scene["clips"]]
    except (OSError, ValueError, KeyError, TypeError):
        return  # missing or edited: reported already
    if not data.get("complete"):
        yield FileDifference("published", "unfinished", path, "it is marked incomplete")
        return
    for clip in clips:
        entry = session.published.entries.get(str(clip.get("src")))
        if entry is not None and clip.get("sha256") not in entry.digests:
            yield FileDifference("published", "disagrees", path, f"it names another {clip['src']} than was published")


# --- repair


def repair_all(session: Session, differences: list[FileDifference]) -> list[FileDifference]:
    """Repair what can be, and return all differences with their outcomes.

    Nothing is lost: an edited file and a damaged blob are moved aside. The next build makes what cannot be repaired.
    """
    published = session.published
    results = []
    for difference in differences:
        if difference.where == "store" and difference.kind != "undecodable":
            results.append(_repair_blob(session, difference))
        elif difference.where == "published":
            done, published = _repair_published(session, difference, published)
            results.append(done)
        else:
            results.append(difference)
    if published != session.published:
        write_published(session.record_path, published)
        session.published = published
    return results


def _repair_blob(session: Session, difference: FileDifference) -> FileDifference:
    digest, cas = Digest(difference.digest), session.store.cas
    if examine(cas, digest) is None:
        return replace(difference, outcome="restored", is_repaired=True)  # under another name already
    base = session.project.output.parent
    copies = [base / path for path, entry in session.published.entries.items() if digest in entry.digests]
    if repair(cas, digest, copies):
        return replace(difference, outcome="restored from what is published", is_repaired=True)
    clip, _, take = difference.target.partition("@")  # a take as people name it: `hook/b@2`
    entry = session.lock.entries.get(clip)
    if entry is not None and entry.status and str(entry.pick) == take:
        outcome = f"lost, though {entry.status}: copy it from another store, or give it up with: ltxflow forget {clip}"
        return replace(difference, outcome=outcome)
    return replace(difference, outcome="the next build makes it again", is_repaired=True)


def _repair_published(
    session: Session, difference: FileDifference, published: Published
) -> tuple[FileDifference, Published]:
    base, path = session.project.output.parent, difference.name
    entry, place = published.entries.get(path), base / path
    if difference.kind == "extra" or entry is None:
        return replace(difference, outcome="left alone: move it away if it is in the way"), published
    digest, moved = entry.digests[-1], ""
    for other in _others(base, place, entry.digests):
        moved = f"; what was there is kept as {_keep_aside(session, other)}"
    if path == f"{session.project.output.name}/{TIMELINE}":
        return replace(difference, outcome=f"the next build writes it{moved}", is_repaired=True), published
    video = _video(session, published, entry.key) if entry.source == "poster" else None
    if video is not None:  # it can be drawn again, so the store does not keep it
        try:
            data = draw_poster(video)
        except LtxflowError as error:
            return replace(difference, outcome=f"left as it is: {error}{moved}"), published
        done = replace(difference, outcome=f"drawn again{moved}", is_repaired=True)
        return done, _put(session, published, path, data)
    if examine(session.store.cas, digest) is not None:
        return replace(difference, outcome=f"the next build makes it again{moved}", is_repaired=True), published
    files.make_dir(place.parent)
    files.copy_into(session.store.cas.path(digest), place, expect=digest, mode=0o644)
    outcome = f"put back from the store{moved}"
    return replace(difference, outcome=outcome, is_repaired=True), committed(published, base, {path: digest})


def _others(base: Path, place: Path, ours: Container[Digest | None]) -> Iterator[Path]:
    """Yield what is in the way of a file of ours: a file in place of a folder, or another file, link or folder."""
    for folder in place.parents:
        if folder.is_relative_to(base) and os.path.lexists(folder) and not folder.is_dir():
            yield folder
    if os.path.lexists(place) and (place.is_symlink() or digest_there(place) not in ours):
        yield place


def _video(session: Session, published: Published, digest: str) -> Path | None:
    """Return where the video of a poster can be read: in the store, or published."""
    if examine(session.store.cas, Digest(digest)) is None:
        return session.store.cas.path(Digest(digest))
    base = session.project.output.parent
    copies = (base / path for path, entry in published.entries.items() if digest in entry.digests)
    return next((place for place in copies if digest_there(place) == digest), None)


def _put(session: Session, published: Published, path: str, data: bytes) -> Published:
    """Write a poster, and return the record with it: other libraries draw other bytes."""
    base, digest = session.project.output.parent, digest_bytes(data)
    published = with_intent(published, {path: replace(published.entries[path], digests=(digest,))})
    write_published(session.record_path, published)
    files.make_dir((base / path).parent)
    files.write_atomic(base / path, data)
    return committed(published, base, {path: digest})


def _keep_aside(session: Session, place: Path) -> str:
    """Move a foreign file into `.ltxflow/aside/`, under an unused name."""
    folder = session.own / ASIDE
    files.make_dir(folder)
    numbers = (f"{place.stem}-{number}{place.suffix}" for number in range(1, 10**6))
    name = next(name for name in numbers if not os.path.lexists(folder / name))
    files.move(place, folder / name)
    return str((folder / name).relative_to(session.project.folder))
