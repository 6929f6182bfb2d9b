"""Conforms a film: reads what is published, encodes the parts that are missing, joins them, puts the file in place."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.errors import FAILED, INTERRUPTED, LtxflowError, Problem
from ltxflow.core.events import Event, RunStarted
from ltxflow.deliver.conform import TARGET, Finish, Source, conform_nodes, files_of, outline
from ltxflow.deliver.edited import CAPTIONS, ODD, Edited, read_captions
from ltxflow.deliver.placements import placements
from ltxflow.deliver.publish import TIMELINE
from ltxflow.deliver.timeline import TIMELINE_SCHEMA, broken, timeline
from ltxflow.media.joining import Caption
from ltxflow.media.lettering import lacking
from ltxflow.media.probe import probe_mp4
from ltxflow.plan.dag import make_plan
from ltxflow.plan.outlook import Placed, Question
from ltxflow.plan.status import statuses
from ltxflow.run.build import Builder, Built, build, interruptible
from ltxflow.run.executors.local import LocalExecutor
from ltxflow.script.schema import check
from ltxflow.script.yaml import Document
from ltxflow.store.published import PublishedFile, found, is_ours, settled, with_intent, write_published
from ltxflow.verbs.session import Session

FILM = "film.mp4"  # in public/, where AI-DISCLOSURE.txt is
INCOMPLETE, CHANGED, NOT_OURS = "D010", "D011", "D001"


@dataclass(frozen=True)
class Conformed:
    """What conforming came to: where the film is and what it is, or what went wrong."""

    path: Path
    code: int
    problems: tuple[Problem, ...]
    parts: int
    encoded: int  # of the parts, in this run
    facts: Mapping[str, Any]
    film_seconds: float
    stand_ins: int  # clips that are slates or previews
    stale: int  # clips whose text or settings have changed since they were made
    seconds: float
    is_interrupted: bool = False


def conform(session: Session, finish: Finish, out: Path | None, jobs: int, emit: Callable[[Event], None]) -> Conformed:
    """Given a session whose project is held, make its film from what is published, at `out` or in `public/`.

    Raise LtxflowError for a film that is not built, or not whole, and for a file at `out` that is not ours.
    """
    started = time.monotonic()
    session.clean()
    told = read_timeline(session)
    base = session.project.output.parent
    sources = _sources(session, told, base)
    edited = _captions(told, base)
    captions = edited.captions
    if finish.burns_captions:
        _check_burnt(captions)
    place = out or base / FILM
    _check_place(session, place, base)
    warnings = (*edited.warnings, *_changes(session, told))
    nodes = conform_nodes(told, sources, captions, finish)
    plan = make_plan(nodes, [TARGET])
    found_ = statuses(plan, session.lookup)
    missing = [status for status in found_.values() if status.state != "hit"]
    emit(RunStarted(session.project.id, "conform", len(nodes), len(missing)))
    executors = {"cpu": LocalExecutor(jobs or os.cpu_count() or 1)}
    builder = Builder(session.store, session.lookup, executors, emit, lambda node, trace: None, keep_going=False)
    built = asyncio.run(interruptible(build(plan, found_, builder))) if missing else Built(dict(found_))
    trace = built.statuses[TARGET].trace
    if trace is not None:
        _put(session, place, trace.outputs["video"].digest, base)
    problems = (*warnings, *(problem for failed in built.failed.values() for problem in failed))
    return Conformed(
        path=place,
        code=INTERRUPTED if built.interrupted else FAILED if trace is None else 0,
        problems=problems,
        parts=len(nodes) - 1,
        encoded=len(built.rendered - {TARGET}),
        facts=trace.outputs["video"].facts if trace else {},
        film_seconds=told["durationInFrames"] / told["fps"],
        stand_ins=sum(clip["isStandIn"] for scene in told["scenes"] for clip in scene["clips"]),
        stale=sum(clip["isStale"] for scene in told["scenes"] for clip in scene["clips"]),
        seconds=round(time.monotonic() - started, 3),
        is_interrupted=built.interrupted,
    )


def read_timeline(session: Session) -> dict[str, Any]:
    """Given a session, return the timeline that is published. Raise LtxflowError when it is not a whole film's."""
    path = session.project.output / TIMELINE
    shown = os.path.relpath(path)
    build_it = "build it: ltxflow build, or ltxflow build --animatic for slates"
    mend_it = "put it aside with: ltxflow verify --repair, and build again: ltxflow build"
    try:
        told = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise LtxflowError(Problem(f'there is no film yet: no "{shown}"', hint=build_it, code=INCOMPLETE)) from None
    except (OSError, ValueError) as error:
        raise LtxflowError(Problem(f'cannot read "{shown}": {error}', hint=mend_it, code=INCOMPLETE)) from error
    if not isinstance(told, dict) or told.get("schema") != TIMELINE_SCHEMA:
        raise LtxflowError(Problem(f'"{shown}" is no {TIMELINE_SCHEMA}', hint=mend_it, code=INCOMPLETE))
    if damage := check(Document(shown, told, 0), "timeline"):
        message = f'"{shown}" is not as ltxflow writes it: {damage[0].message}'
        raise LtxflowError(Problem(message, hint=mend_it, code=INCOMPLETE))
    wrong = broken(told)
    missing = [f"{s['id']}/{c['id']}" for s in told["scenes"] for c in s["clips"] if not c["src"]]
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise LtxflowError(
            Problem(
                f"the film is not whole: {names} {'is' if len(missing) == 1 else 'are'} not made",
                hint="ltxflow build makes them, ltxflow build --animatic puts slates in their places",
                code=INCOMPLETE,
            ),
            exit_code=FAILED,
        )
    if wrong or not told["complete"]:
        why = wrong[0] if wrong else "its files were being replaced"
        raise LtxflowError(Problem(f'"{shown}" is not whole: {why}', hint="ltxflow build", code=INCOMPLETE))
    return told


def _sources(session: Session, told: Mapping[str, Any], base: Path) -> dict[str, Source]:
    """The files a timeline names, as they are. It may be a stranger's: none may lie outside of `public/`."""
    sources = {}
    problems = []
    for src, wanted in files_of(told).items():
        pure = PurePosixPath(src)
        if pure.is_absolute() or ".." in pure.parts:
            raise LtxflowError(Problem(f'"{src}" in the timeline leads out of "{base.name}"', code=INCOMPLETE))
        digest = found(session.published, base, src)
        if digest is None:
            problems.append(Problem(f'"{src}" is not there', hint="ltxflow build puts it back", code=INCOMPLETE))
        elif wanted is not None and digest != wanted:
            hint = "move it away and build again: ltxflow build"
            problems.append(Problem(f'"{src}" is not the file that the timeline names', hint=hint, code=INCOMPLETE))
        else:
            sources[src] = Source(base / src, digest)
    if problems:
        raise LtxflowError(*problems, exit_code=FAILED)
    return sources


def _captions(told: Mapping[str, Any], base: Path) -> Edited:
    """Those of the published file: what a person corrected in it is kept. Some may come too late to be seen."""
    path = base / told["captions"]["srt"] if told["captions"] else None
    if path is None or not path.is_file():
        return Edited(())
    edited = read_captions(path)
    end = told["durationInFrames"] * 1000 / told["fps"]
    late = [caption for caption in edited.captions if caption.start >= end]
    if not late:
        return edited
    message = f'"{os.path.relpath(path)}": {len(late)} of {len(edited.captions)} captions begin after the film ends'
    hint = f'correct their times; the first is "{late[0].lines[0]}"'
    return Edited(edited.captions, (*edited.warnings, Problem(message, None, hint, ODD, "warning")))


def _check_burnt(captions: Sequence[Caption]) -> None:
    for caption in captions:
        if lack := lacking(" ".join(caption.lines)):
            raise LtxflowError(
                Problem(
                    f'{lack.message}: the caption "{caption.lines[0]}"',
                    hint=f"{lack.remedy}, or leave --burn-captions away: players have fonts of their own",
                    code=CAPTIONS,
                )
            )


def _check_place(session: Session, place: Path, base: Path) -> None:
    """Only a film that we made is replaced: one we recorded, or whose bytes are in the store."""
    if place.suffix.lower() != ".mp4" or place.is_dir():
        named = place / FILM if place.is_dir() else place.with_suffix(".mp4")
        hint = f"write --output {shlex.quote(os.path.relpath(named))}"
        raise LtxflowError(Problem(f'"{place.name}" is no name for an mp4', hint=hint, code=NOT_OURS))
    if not os.path.lexists(place):
        return
    is_known = place.parent == base and is_ours(session.published, base, place.name)
    if not is_known and not (place.is_file() and session.store.cas.has(digest_file(place))):
        hint = "move it away, or give another place with --output"
        raise LtxflowError(Problem(f'"{place}" was not made by ltxflow; it is left alone', hint=hint, code=NOT_OURS))


def _changes(session: Session, told: Mapping[str, Any]) -> list[Problem]:
    """A word where the project is no longer what was built."""
    project = session.speech().project

    def facts(stand: Placed) -> Mapping[str, Any]:
        return probe_mp4(project.output / stand.file).as_json()

    outlook = session.look(Question())
    wanted = placements(outlook, outlook.statuses, session.placed(), facts, outlook)
    heard = {scene["id"]: scene["narration"]["src"] for scene in told["scenes"] if scene["narration"]}
    now = timeline(project, outlook.cuts, {p.clip: p for p in wanted}, complete=True, narrations=heard)
    if outline(now) == outline(told):
        return []
    hint = "build first, then conform again"
    message = "the film has changed since it was built: this is the film as it was"
    return [Problem(message, hint=hint, code=CHANGED, level="warning")]


def _put(session: Session, place: Path, digest: Digest, base: Path) -> None:
    cas = session.store.cas
    files.make_dir(place.parent)
    if place.parent != base:
        if not (place.is_file() and digest_file(place) == digest):
            files.copy_into(cas.path(digest), place, expect=digest, mode=0o644)
        return
    if found(session.published, base, place.name) == digest and place.name in session.published.entries:
        return
    entry = PublishedFile((digest,), TARGET, source="film", rank=2)
    intent = with_intent(session.published, {place.name: entry})
    write_published(session.record_path, intent)
    files.copy_into(cas.path(digest), place, expect=digest, mode=0o644)
    write_published(session.record_path, settled(intent, base, {place.name: digest}))
