"""Put the film's files into the output folder, the timeline last. Only files that ltxflow wrote are replaced."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Digest, Key, digest_bytes
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.events import Event, FilePublished
from ltxflow.core.target import Target
from ltxflow.core.timing import Cut
from ltxflow.media.image import draw_poster
from ltxflow.project.model import Media, Project
from ltxflow.publish.caption_files import FOLDER as CAPTIONS
from ltxflow.publish.caption_files import SRT, caption_files, corrected, read_captions, with_captions
from ltxflow.publish.timeline import DISCLOSURE, TIMELINE, ClipPlacement, broken, disclosure, timeline
from ltxflow.session.recognition import is_timeline_of
from ltxflow.store.blobs import BlobStore
from ltxflow.store.published import (
    Published,
    PublishedFile,
    committed,
    found,
    is_ours,
    not_ours,
    with_intent,
    write_published,
)

POSTERS = "posters"


@dataclass
class PublishResult:
    """The result of publishing: files written, files already in place, and files that could not be put there.

    `warnings` are about files that people corrected, which stay although the film has changed.
    """

    timeline: dict[str, Any]
    written: list[str] = field(default_factory=list)
    in_place: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class _Piece:
    """One file to publish: its path relative to `public/`, and where its bytes are; `is_drawn` for a poster."""

    path: str
    digest: Digest
    src: Path
    entry: PublishedFile
    is_drawn: bool = False

    def put(self, base: Path) -> None:
        """Write the file whole, its bytes durable.

        Its name is durable before the record claims it: a power cut leaves the old file or the new one, both known as
        ours.
        """
        place = base / self.path
        files.make_dir(place.parent)
        if self.is_drawn:
            files.move_into(self.src, place, expect=self.digest, mode=0o644, sync_folder=False)
        else:
            files.copy_into(self.src, place, expect=self.digest, mode=0o644, sync_folder=False)


def may_be_reworded(path: str) -> bool:
    """Return whether people may reword a published file: the notice, captions."""
    return path == DISCLOSURE or path.startswith(f"{CAPTIONS}/")


def publish(
    project: Project,
    cuts: Mapping[str, Cut],
    placements: Sequence[ClipPlacement],
    published: Published,
    record: Path,
    cas: BlobStore,
    emit: Callable[[Event], None],
    timings: Mapping[str, Mapping[str, Any]] | None = None,
    sounds: Mapping[str, Media] | None = None,
) -> PublishResult:
    """Make the output folder hold what belongs in each place, and write the timeline.

    `timings` has the times of the lines of spoken narrations by scene, for captions; `sounds` what is published of
    narrations that browsers do not play.

    Order of writes: the record of what is about to be ours, an incomplete timeline while clips are being replaced, the
    files (each whole at once), the record, the timeline. A foreign file in a place is left alone and reported; captions
    and the notice may be reworded, and stay. Nothing is written where everything is in place.
    """
    base = project.output.parent
    if not record.is_file():
        published = _with_posters(project, placements, published, base)
    undrawn = [placement for placement in placements if _drawn(placement, published, base) is None]
    with files.temp_dir(record.parent) if undrawn else nullcontext(record.parent) as folder:
        posters = {p.clip: _poster_piece(p, published, base, cas, folder) for p in placements}
        given = {scene.id: scene.narration.file for scene in project.scenes if scene.narration.file}
        pieces = {id: _sound_piece(id, (sounds or {}).get(id, file)) for id, file in given.items()}
        return _publish(project, cuts, placements, posters, pieces, published, record, cas, emit, timings or {})


def _publish(
    project: Project,
    cuts: Mapping[str, Cut],
    placements: Sequence[ClipPlacement],
    posters: Mapping[str, _Piece],
    sounds: Mapping[str, _Piece],
    published: Published,
    record: Path,
    cas: BlobStore,
    emit: Callable[[Event], None],
    timings: Mapping[str, Mapping[str, Any]],
) -> PublishResult:
    base = project.output.parent
    pieces = [_clip_piece(project, placement, cas) for placement in placements]
    result = PublishResult({})
    wanted: list[_Piece] = []
    refused: set[str] = set()
    narrations = {id: piece.path for id, piece in sounds.items()}
    shown = {clip: piece.path for clip, piece in posters.items()}
    kept = {p.clip: p for p in placements}
    data = timeline(project, cuts, kept, complete=True, narrations=narrations, posters=shown)
    captions = caption_files(project, data, timings)
    captions, notes = _as_corrected(captions, data, published, base, cas)
    result.warnings += notes
    texts = [_text_piece(path, data, cas) for path, data in captions.items()]
    notice = _text_piece(DISCLOSURE, disclosure(project, placements).encode(), cas, "disclosure")
    reworded = [piece for piece in (*texts, notice) if _is_reworded(published, base, piece)]
    result.warnings += [
        _outdated(base, piece) for piece in reworded if piece.path in captions and _has_changed(published, piece)
    ]
    others = [piece for piece in (*sounds.values(), *texts, *posters.values(), notice) if piece not in reworded]
    for piece in [*pieces, *others]:
        there = found(published, base, piece.path)
        if there == piece.digest:
            result.in_place.append(piece.path)
        elif os.path.lexists(base / piece.path) and not is_ours(published, base, piece.path):
            refused.add(piece.path)
            result.problems.append(not_ours(published, base, piece.path))
        else:
            wanted.append(piece)
    if refused:
        kept = {p.clip: p for p, piece in zip(placements, pieces, strict=True) if piece.path not in refused}
        narrations = {id: path for id, path in narrations.items() if path not in refused}
        shown = {clip: path for clip, path in shown.items() if path not in refused}
        data = timeline(project, cuts, kept, complete=False, narrations=narrations, posters=shown)
    data = with_captions(data, {path: data for path, data in captions.items() if path not in refused})
    wrong = broken(data)
    if wrong:
        raise AssertionError(f"an impossible timeline: {'; '.join(wrong)}")
    result.timeline = data
    text = _text(data)
    place = f"{project.output.name}/{TIMELINE}"
    there = found(published, base, place)
    if there != digest_bytes(text) and not _is_free(project, published, place):
        result.problems.append(not_ours(published, base, place))
        result.timeline = {**data, "complete": False}
        return result
    coming = {piece.path: piece.entry for piece in (*pieces, *others) if piece.path not in refused}
    is_recorded = record.is_file() and all(path in published.entries for path in (*coming, place))
    if not wanted and there == digest_bytes(text) and is_recorded:
        return result
    unfinished = text.replace(b'\n "complete": true,', b'\n "complete": false,', 1)
    _adopt(wanted, published, base, cas)
    intent = with_intent(published, coming)
    ours = dict.fromkeys((*([there] if there else []), digest_bytes(unfinished), digest_bytes(text)))
    intent = Published({**intent.entries, place: PublishedFile(tuple(ours), "timeline", source="timeline")})
    write_published(record, intent)
    files.make_dir(project.output)
    if wanted and there is not None:
        files.write_atomic(base / place, unfinished)
    for piece in wanted:
        try:
            piece.put(base)
        except LtxflowError:
            if not cas.set_aside(piece.digest):
                raise
            result.problems.append(_damaged(piece))
            coming.pop(piece.path)
            continue
        result.written.append(piece.path)
        emit(FilePublished(piece.path, piece.entry.target, piece.entry.source))
    for folder in {(base / piece.path).parent for piece in wanted}:
        files.sync_folder(folder)
    write_published(record, committed(intent, base, {path: entry.digests[0] for path, entry in coming.items()}))
    if any(each.code == "D002" for each in result.problems):
        result.timeline, text = {**data, "complete": False}, unfinished
    files.write_atomic(base / place, text)
    return result


def _text(data: Mapping[str, Any]) -> bytes:
    return (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode()


def _clip_piece(project: Project, placement: ClipPlacement, cas: BlobStore) -> _Piece:
    digest = Digest(placement.digest)
    entry = PublishedFile((digest,), _target(placement), Key(placement.key), placement.source, placement.rank)
    return _Piece(f"{project.output.name}/{placement.file}", digest, cas.path(digest), entry)


def _text_piece(path: str, data: bytes, cas: BlobStore, kind: str = "captions") -> _Piece:
    digest = cas.put_bytes(data)
    return _Piece(path, digest, cas.path(digest), PublishedFile((digest,), kind, source=kind, rank=2))


def _drawn(placement: ClipPlacement, published: Published, base: Path) -> Digest | None:
    """Return the digest of a clip's poster, if it is in place.

    The key in its record is the digest of the clip it was drawn from: while that stays, it is not drawn again. While a
    poster is being replaced, its record has two digests, and which of them is in place is unknown.
    """
    path = _poster_path(placement)
    known = published.entries.get(path)
    if known is None or known.key != placement.digest or len(known.digests) != 1:
        return None
    return known.digests[0] if is_ours(published, base, path) else None


def _poster_path(placement: ClipPlacement) -> str:
    return f"{POSTERS}/{Path(placement.file).stem}.jpg"


def _poster_piece(placement: ClipPlacement, published: Published, base: Path, cas: BlobStore, folder: Path) -> _Piece:
    """Return a poster that is in place, or draw it into `folder`; the store does not keep it."""
    digest, src, path = _drawn(placement, published, base), folder, _poster_path(placement)
    is_drawn = digest is None
    if digest is None:
        video = cas.path(Digest(placement.digest))
        data = draw_poster(video if video.exists() else _published_at(placement.digest, published, base))
        digest, src = digest_bytes(data), folder / Path(path).name
        files.write_atomic(src, data, fsync=False)
    entry = PublishedFile((digest,), Target(f"poster:{placement.clip}"), placement.digest, "poster", placement.rank)
    return _Piece(path, digest, src, entry, is_drawn)


def _with_posters(project: Project, placements: Sequence[ClipPlacement], published: Published, base: Path) -> Published:
    """Return a record that was lost with the posters that are to be replaced: each is drawn from the clip beside it."""
    entries = dict(published.entries)
    for placement in placements:
        path, video = _poster_path(placement), f"{project.output.name}/{placement.file}"
        there, clip = found(published, base, path), found(published, base, video)
        if path in entries or there is None or clip in (None, placement.digest) or not is_ours(published, base, video):
            continue
        with suppress(LtxflowError):
            if digest_bytes(draw_poster(base / video)) == there:
                target = Target(f"poster:{placement.clip}")
                entries[path] = PublishedFile((there,), target, str(clip), "poster", placement.rank)
    return Published(entries)


def _published_at(digest: str, published: Published, base: Path) -> Path:
    """Return the published path of bytes that only the published tree has."""
    return base / next(path for path in published.entries if found(published, base, path) == digest)


def _target(placement: ClipPlacement) -> Target:
    kind = "slate" if placement.source == "animatic" else "clip"
    return Target.of(kind, placement.clip, placement.take)


def _sound_piece(scene: str, sound: Media) -> _Piece:
    path = f"narration/{scene}{Path(sound.name).suffix.lower()}"
    entry = PublishedFile((sound.digest,), Target(f"narration:{scene}"), source="narration", rank=2)
    return _Piece(path, sound.digest, sound.path, entry)


def _adopt(wanted: Sequence[_Piece], published: Published, base: Path, cas: BlobStore) -> None:
    """Put bytes into the store that only the published tree has: files may swap places one after the other."""
    missing = [piece for piece in wanted if not piece.is_drawn and not piece.src.exists()]
    copies = {found(published, base, path): path for path in published.entries} if missing else {}
    for piece in missing:
        if piece.digest in copies:
            cas.put(base / copies[piece.digest], piece.digest)


def _is_free(project: Project, published: Published, place: str) -> bool:
    """Return whether the timeline may be written: nothing is there, or a file of ours.

    Without a record (`.ltxflow/` was removed) a timeline of this very project counts as ours.
    """
    path = project.output.parent / place
    if not os.path.lexists(path) or is_ours(published, project.output.parent, place):
        return True
    return place not in published.entries and is_timeline_of(project, path)


def _as_corrected(
    captions: dict[str, bytes], data: Mapping[str, Any], published: Published, base: Path, cas: BlobStore
) -> tuple[dict[str, bytes], list[Problem]]:
    """Make the other caption files follow a film.srt that a person corrected, unless the film has changed since."""
    if SRT not in captions:
        return captions, []
    piece = _text_piece(SRT, captions[SRT], cas)
    if not _is_reworded(published, base, piece) or _has_changed(published, piece):
        return captions, []
    try:
        edited = read_captions(base / SRT)
    except LtxflowError as error:
        return captions, [replace(each, level="warning") for each in error.problems]
    return corrected(captions, data, edited.captions), list(edited.warnings)


def _is_reworded(published: Published, base: Path, piece: _Piece) -> bool:
    """Return whether a file that people may reword is in place in other words than ours."""
    there = (base / piece.path).is_file()
    return there and not is_ours(published, base, piece.path) and found(published, base, piece.path) != piece.digest


def _has_changed(published: Published, piece: _Piece) -> bool:
    """Return whether a reworded file would now be written otherwise than when it was published."""
    entry = published.entries.get(piece.path)
    return entry is None or piece.digest not in entry.digests


def _outdated(base: Path, piece: _Piece) -> Problem:
    return problem("D003", path=base / piece.path)


def _damaged(piece: _Piece) -> Problem:
    return problem("D002.published", target=piece.entry.target, digest=piece.digest[:12])
