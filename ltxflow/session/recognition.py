"""Recognise what ltxflow published before its record of that was lost, as `rm -r .ltxflow` loses it.

A file is ours where its bytes are known: as a take of the lock, as the result of a trace, or as a blob of the store. To
replace such a file loses nothing, since the same bytes are in the store. A timeline is known by its content.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.target import Target
from ltxflow.core.workspace import read_json
from ltxflow.lock.model import Lock
from ltxflow.plan.renditions import RANKS
from ltxflow.project.model import Project
from ltxflow.store.memo import Memory
from ltxflow.store.published import Published, PublishedFile
from ltxflow.store.store import Store
from ltxflow.store.traces import Trace

FOLDERS = ("narration", "captions")  # beside the output folder; posters are drawn again, and compared
NOTICE = "AI-DISCLOSURE.txt"
FILM = "conform"  # the source of a trace whose result is the finished film
TIMELINE = "timeline.json"


def recognise(project: Project, lock: Lock, store: Store, memory: Memory) -> Published:
    """Return a record of the published files that are ours. Each file is read once, while it stays as it is."""
    base = project.output.parent
    found: dict[str, tuple[files.Signature, Digest]] = {}
    for path in _paths(project):
        signature = files.signature_of_file(f"{base}/{path}")
        known = memory.get(f"published {path}")
        if signature is None:
            continue
        if known is not None and known[0] == list(signature):
            found[path] = signature, Digest(known[1])
            continue
        with suppress(OSError):  # it is being replaced
            digest = digest_file(base / path)
            found[path] = signature, digest
            memory.put(f"published {path}", [signature, digest])
    videos = _locked(lock)
    missing = {digest for path, (_, digest) in found.items() if path.endswith(".mp4") and digest not in videos}
    traces = store.makers(missing)
    sounds = {scene.narration.file.digest for scene in project.scenes if scene.narration.file}
    entries: dict[str, PublishedFile] = {}
    for path, (signature, digest) in found.items():
        if path.endswith(".mp4"):
            video = videos.get(digest) or _made(project, path, traces.get(digest))
            if video is None and "/" in path and store.cas.has(digest):
                video = "", "", "", RANKS["animatic"]  # of a trace that is lost, too
        else:
            is_known = digest in sounds or store.cas.has(digest)
            video = _text(path) if is_known else None
        if video is not None:
            target, key, source, rank = video
            entries[path] = PublishedFile((digest,), target, key, source, rank, signature)
    place = base / project.output.name / TIMELINE
    if is_timeline_of(project, place):
        path = f"{project.output.name}/{TIMELINE}"
        entries[path] = PublishedFile((digest_file(place),), "timeline", source="timeline")
    return Published(entries)


def is_timeline_of(project: Project, path: Path) -> bool:
    """Return whether a file is a timeline of this very project, which only ltxflow writes."""
    try:
        data = {} if path.is_symlink() else read_json(path)
    except (OSError, ValueError):
        return False
    return (
        isinstance(data, dict)
        and str(data.get("schema", "")).startswith("ltxflow.timeline/")
        and data.get("id") == project.id
    )


_Video = tuple[str, str, str, int]  # target, key, source, rank


def _paths(project: Project) -> Iterator[str]:
    """Yield the paths of files where ltxflow publishes, below the parent of the output folder."""
    base = project.output.parent
    for folder in ("", project.output.name, *FOLDERS):
        try:
            with os.scandir(base / folder) as listed:
                names = sorted(each.name for each in listed if each.is_file(follow_symlinks=False))
        except OSError:
            continue
        if folder:
            yield from (f"{folder}/{name}" for name in names if name[0] != "." and name != TIMELINE)
        else:
            yield from (name for name in names if name == NOTICE or name.endswith(".mp4"))


def _locked(lock: Lock) -> dict[Digest, _Video]:
    """Return the published videos of all takes in the lock by digest."""
    found: dict[Digest, _Video] = {}
    for path, entry in lock.entries.items():
        if Target(path).is_reference:
            continue
        for number, take in entry.all_takes():
            target = Target.of("clip", path, number)
            found[take.outputs.get("published", take.digest)] = (target, take.key, take.source, RANKS["render"])
    return found


def _made(project: Project, path: str, trace: Trace | None) -> _Video | None:
    """Return what a trace says of a video; a film beside the output folder is a conformed one."""
    if trace is None:
        return None
    if "/" not in path:
        return (trace.target, "", "film", RANKS["render"]) if trace.source == FILM else None
    quality = trace.fields.get("quality")
    name = quality.get("is") if isinstance(quality, Mapping) else None
    preset = project.profile.qualities.get(str(name))
    rank = RANKS["animatic" if trace.source == "animatic" else "preview" if preset and preset.stand_in else "render"]
    return trace.target, trace.key, trace.source, rank


def _text(path: str) -> _Video:
    """Return the record of another file than a video: of a narration, captions, or the notice."""
    folder, _, name = path.rpartition("/")
    if folder == "narration":
        return Target.of("narration", Path(name).stem).partition("@")[0], "", "narration", RANKS["render"]
    kind = "captions" if folder == "captions" else "disclosure"
    return kind, "", kind, RANKS["render"]
