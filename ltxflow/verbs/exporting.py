"""Writes the cut for editors: what is published, and beside it the takes that are not in the cut."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_bytes, digest_file
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.deliver.conform import files_of
from ltxflow.deliver.editors import SUFFIXES, written
from ltxflow.deliver.otio import Media, frames_of, otio
from ltxflow.verbs.conforming import read_timeline
from ltxflow.verbs.session import Session

TAKES = "takes"
NOT_OURS = "D001"


@dataclass(frozen=True)
class Exported:
    """What was written: the editor's file, its length, its tracks, and the takes that went beside it."""

    path: Path
    is_new: bool
    frames: int
    tracks: tuple[str, ...]
    takes: tuple[Path, ...]
    told: Mapping[str, Any]


@dataclass(frozen=True)
class _Spare:
    """A take that is rendered but not in the cut, and where its file goes."""

    clip: str
    media: Media
    digest: Digest
    path: Path


def export_cut(session: Session, kind: str, out: Path | None, *, force: bool = False) -> Exported:
    """Given a session, `otio`, `edl` or `fcpxml`, and where to, write the published film's cut there.

    Takes that are not in the cut are put in `takes/` beside an .otio, which names them. What somebody else wrote, or
    changed since, is left alone unless `force` says otherwise. Raise LtxflowError for that, for a film that is not
    whole, and when OpenTimelineIO is needed and not there.
    """
    told = read_timeline(session)
    public = session.project.output.parent
    path = out or public / f"film{SUFFIXES[kind]}"
    spares = list(_spares(session, told, path)) if kind == "otio" else []
    by_clip: dict[str, list[Media]] = {}
    for one in spares:
        by_clip.setdefault(one.clip, []).append(one.media)
    cut = otio(told, {src: _url(public / src, path) for src in files_of(told)}, by_clip)
    data = written(cut, kind).encode()
    if not force:
        _check(session, {path: digest_bytes(data), **{one.path: one.digest for one in spares}})
    for one in spares:
        if not (one.path.is_file() and digest_file(one.path) == one.digest):
            files.make_dir(one.path.parent)
            files.copy_into(session.store.cas.path(one.digest), one.path, expect=one.digest, mode=0o644)
    session.store.cas.put_bytes(data)  # so that the next export knows this one as ours
    is_new = not path.is_file() or path.read_bytes() != data
    if is_new:
        files.make_dir(path.parent)
        files.write_atomic(path, data)
    tracks = cut["tracks"]["children"]
    names = tuple(track["name"] for track in (tracks[:1] if kind == "edl" else tracks))
    return Exported(path, is_new, frames_of(tracks[0]), names, tuple(one.path for one in spares), told)


def _spares(session: Session, told: Mapping[str, Any], path: Path) -> Iterator[_Spare]:
    """Every take whose file is in the store and that is not what is published."""
    shown = {clip["sha256"] for scene in told["scenes"] for clip in scene["clips"]}
    for clip in session.project.clips:
        entry = session.lock.entries.get(clip.path)
        for number, take in sorted(entry.takes.items()) if entry else ():
            digest = take.outputs.get("published", take.digest)
            if digest in shown or not session.store.cas.has(digest):
                continue
            place = path.parent / TAKES / f"{clip.scene}-{clip.id}-take-{number}.mp4"
            yield _Spare(clip.path, Media(f"take {number}", _url(place, path), take.frames), digest, place)


def _url(file: Path, beside: Path) -> str:
    """A file's address as editors resolve it: relative to the file that names it."""
    return quote(Path(os.path.relpath(file, beside.parent)).as_posix())


def _check(session: Session, wanted: Mapping[Path, Digest]) -> None:
    """Only what we wrote ourselves is written over: its bytes are in the store."""
    problems = []
    for path, digest in wanted.items():
        if not os.path.lexists(path):
            continue
        there = digest_file(path) if path.is_file() else None
        if there != digest and (there is None or not session.store.cas.has(there)):
            message = f'"{os.path.relpath(path)}" was not written by ltxflow, or was changed since; it is left alone'
            problems.append(Problem(message, hint="name another file, or write over it with --force", code=NOT_OURS))
    if problems:
        raise LtxflowError(*problems, exit_code=FAILED)
