"""A film as one file: which parts its picture is cut into, and what is heard when. Pure; reads a timeline.

      ┌─ a ──┐        ┌── b ───┐
film: │ a    │ a→b    │ b      │      a part for every clip between its dissolves, and one for every dissolve:
      part   part     part            an edit of b encodes two of the three anew

Conforms a film: reads what is published, encodes the parts that are missing, joins them, puts the file in place.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from ltxflow.build.loop import LocalExecutor, RunContext, RunResult, build, interruptible
from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_there
from ltxflow.core.errors import FAILED, INTERRUPTED, LtxflowError, Problem
from ltxflow.core.events import Event, RunStarted
from ltxflow.core.regular import read_json
from ltxflow.documents.document import Document
from ltxflow.documents.schema import check
from ltxflow.media.mix import RATE, Bed, MixedVoice
from ltxflow.media.mux import Caption, Chapter
from ltxflow.media.probe import probe_mp4
from ltxflow.media.segment import EncodeSettings, Segment
from ltxflow.media.text_layout import lacking
from ltxflow.plan.evaluate import evaluate
from ltxflow.plan.graph import build_graph
from ltxflow.plan.plan import PlanOptions, PublishedClip
from ltxflow.publish.caption_files import CAPTIONS, ODD, EditedCaptions, read_captions
from ltxflow.publish.placements import placements
from ltxflow.publish.timeline import TIMELINE, TIMELINE_SCHEMA, broken, timeline
from ltxflow.session.session import Session
from ltxflow.steps import Node
from ltxflow.steps.conform import ConformSpec, SceneSound
from ltxflow.steps.part import BurntCaption, PartSpec
from ltxflow.store.published import PublishedFile, found, is_ours, settled, with_intent, write_published

PROXY_LONG_SIDE = 640  # px
TARGET = "conform:film"

Json = Mapping[str, Any]
OF_CLIPS = ("id", "sha256", "trimStart", "durationInFrames", "from", "transition", "volume")


@dataclass(frozen=True)
class Finish:
    """How a film is finished: small and quick, or as it is; with captions in the picture, or beside it."""

    is_proxy: bool = False
    burns_captions: bool = False

    def look(self, told: Json) -> EncodeSettings:
        """Given a timeline, return the size and the settings of its picture."""
        width, height = told["width"], told["height"]
        if not self.is_proxy:
            return EncodeSettings(width, height, told["fps"], "veryfast", 18)
        long = max(width, height, PROXY_LONG_SIDE)
        width, height = (max(2, round(side * PROXY_LONG_SIDE / long / 2) * 2) for side in (width, height))
        return EncodeSettings(width, height, told["fps"], "ultrafast", 26)

    @property
    def bit_rate(self) -> int:
        return 128_000 if self.is_proxy else 192_000


@dataclass(frozen=True)
class Source:
    """A published file and the digest of its bytes."""

    path: Path
    digest: Digest


def conform_nodes(told: Json, sources: Mapping[str, Source], captions: Sequence[Caption], finish: Finish) -> list[Node]:
    """Given a timeline that is complete, its files by their `src`, and its captions, return what makes the film.

    The last node is the film, the others are the parts that it needs.
    """
    look = finish.look(told)
    parts = [
        Node(f"part:{name}", "part", part, part.shown.frames)
        for name, part in _parts(told, sources, look, captions if finish.burns_captions else ())
    ]
    film = ConformSpec(
        fps=told["fps"],
        frames=told["durationInFrames"],
        bit_rate=finish.bit_rate,
        scenes=tuple(_sound(scene, sources, told["fps"]) for scene in told["scenes"]),
        chapters=tuple(_chapter(scene) for scene in told["scenes"]),
        captions=() if finish.burns_captions else tuple(captions),
        tags={"title": told["title"], "comment": f"machine-made, with {told['generator']['model']}"},
    )
    needs = {f"part.{number:04d}": node.target for number, node in enumerate(parts)}
    return [*parts, Node(TARGET, "conform", film, film.frames, needs)]


def _parts(
    told: Json, sources: Mapping[str, Source], look: EncodeSettings, captions: Sequence[Caption]
) -> Iterator[tuple[str, PartSpec]]:
    """The parts in order, each under its name: `hook/a`, `hook/a+b`."""
    at = 0
    for scene in told["scenes"]:
        for name, part in _scene_parts(scene, sources, look):
            burnt = tuple(_burnt(caption, at, part.shown.frames, look.fps) for caption in captions)
            yield name, replace(part, captions=tuple(one for one in burnt if one.first < one.end))
            at += part.shown.frames


def _scene_parts(scene: Json, sources: Mapping[str, Source], look: EncodeSettings) -> Iterator[tuple[str, PartSpec]]:
    for before, clip, after in _neighbours(scene["clips"]):
        name, source = f"{scene['id']}/{clip['id']}", sources[clip["src"]]
        fade, fade_out = _fade(clip), _fade(after)
        if fade and before is not None:
            end = before["trimStart"] + before["durationInFrames"]
            yield (
                f"{scene['id']}/{before['id']}+{clip['id']}",
                PartSpec(
                    look,
                    Segment(source.path, clip["trimStart"], fade),
                    source.digest,
                    Segment(sources[before["src"]].path, end - fade, fade),
                    sources[before["src"]].digest,
                ),
            )
        alone = clip["durationInFrames"] - fade - fade_out
        if alone:
            yield name, PartSpec(look, Segment(source.path, clip["trimStart"] + fade, alone), source.digest)


def _neighbours(clips: Sequence[Json]) -> Iterator[tuple[Json | None, Json, Json | None]]:
    around = [None, *clips, None]
    for (before, clip), (_, after) in pairwise(pairwise(around)):
        assert clip is not None
        yield before, clip, after


def _fade(clip: Json | None) -> int:
    """How many frames of a clip dissolve into it from the one before."""
    return int(clip["transition"]["durationInFrames"]) if clip and clip["transition"] else 0


def _burnt(caption: Caption, start: int, frames: int, fps: int) -> BurntCaption:
    """A caption in a part that starts at the frame `start`; outside of it, one that ends before it begins."""
    first, end = (-(-ms * fps // 1000) - start for ms in (caption.start, caption.end))
    return BurntCaption(max(0, first), min(frames, end), caption.lines, caption.italics)


def _sound(scene: Json, sources: Mapping[str, Source], fps: int) -> SceneSound:
    start: int = scene["from"]

    def samples(frame: int) -> int:
        return (start + frame) * RATE // fps - start * RATE // fps

    beds, digests = [], []
    for _, clip, after in _neighbours(scene["clips"]):
        if clip["hasAudio"]:
            at, end = samples(clip["from"]), samples(clip["from"] + clip["durationInFrames"])
            first = clip["trimStart"] * RATE // fps
            slopes = (_fade(clip) * RATE // fps, _fade(after) * RATE // fps)
            beds.append(Bed(sources[clip["src"]].path, first, at, end - at, *slopes, clip["volume"]))
            digests.append(sources[clip["src"]].digest)
    voice, spoken = None, scene["narration"]
    if spoken is not None:
        voice = MixedVoice(sources[spoken["src"]].path, samples(spoken["startFrame"]), spoken["volume"])
        digests.append(sources[spoken["src"]].digest)
    return SceneSound(samples(scene["durationInFrames"]), tuple(beds), voice, tuple(digests))


def _chapter(scene: Json) -> Chapter:
    return Chapter(scene["title"] or scene["id"], scene["from"], scene["from"] + scene["durationInFrames"])


def files_of(told: Json) -> dict[str, str | None]:
    """Given a timeline, return the `src` of every file that a film needs → the digest it says, if it does."""
    named: dict[str, str | None] = {}
    for scene in told["scenes"]:
        named |= {clip["src"]: clip["sha256"] for clip in scene["clips"] if clip["src"]}
        if scene["narration"]:
            named[scene["narration"]["src"]] = None
    return named


def outline(told: Json) -> list[Any]:
    """Given a timeline, return what of it is seen and heard in the film: two films are the same if this is."""
    return [
        [
            [scene[name] for name in ("id", "title", "from", "durationInFrames")],
            [(scene["narration"] or {}).get(name) for name in ("startFrame", "samples", "sampleRate", "volume")],
            [[clip[name] for name in OF_CLIPS] for clip in scene["clips"]],
        ]
        for scene in told["scenes"]
    ]


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
    plan = build_graph(nodes, [TARGET])
    found_ = evaluate(plan, session.lookup)
    missing = [status for status in found_.values() if status.state != "hit"]
    emit(RunStarted(session.project.id, "conform", len(nodes), len(missing)))
    executors = {"cpu": LocalExecutor(jobs or os.cpu_count() or 1)}
    builder = RunContext(session.store, session.lookup, executors, emit, lambda node, trace: None, keep_going=False)
    built = asyncio.run(interruptible(build(plan, found_, builder))) if missing else RunResult(dict(found_))
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
        told = read_json(path)
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


def _captions(told: Mapping[str, Any], base: Path) -> EditedCaptions:
    """Those of the published file: what a person corrected in it is kept. Some may come too late to be seen."""
    path = base / told["captions"]["srt"] if told["captions"] else None
    if path is None or not path.is_file():
        return EditedCaptions(())
    edited = read_captions(path)
    end = told["durationInFrames"] * 1000 / told["fps"]
    late = [caption for caption in edited.captions if caption.start >= end]
    if not late:
        return edited
    message = f'"{os.path.relpath(path)}": {len(late)} of {len(edited.captions)} captions begin after the film ends'
    hint = f'correct their times; the first is "{late[0].lines[0]}"'
    return EditedCaptions(edited.captions, (*edited.warnings, Problem(message, None, hint, ODD, "warning")))


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
    there = None if is_known else digest_there(place)
    if not is_known and (there is None or not session.store.cas.has(there)):
        hint = "move it away, or give another place with --output"
        raise LtxflowError(Problem(f'"{place}" was not made by ltxflow; it is left alone', hint=hint, code=NOT_OURS))


def _changes(session: Session, told: Mapping[str, Any]) -> list[Problem]:
    """A word where the project is no longer what was built."""
    project = session.speech().project

    def facts(stand: PublishedClip) -> Mapping[str, Any]:
        return probe_mp4(project.output / stand.file).as_json()

    outlook = session.plan(PlanOptions())
    wanted = placements(outlook, outlook.statuses, session.published_clips(), facts, outlook)
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
        if digest_there(place) != digest:
            files.copy_into(cas.path(digest), place, expect=digest, mode=0o644)
        return
    if found(session.published, base, place.name) == digest and place.name in session.published.entries:
        return
    entry = PublishedFile((digest,), TARGET, source="film", rank=2)
    intent = with_intent(session.published, {place.name: entry})
    write_published(session.record_path, intent)
    files.copy_into(cas.path(digest), place, expect=digest, mode=0o644)
    write_published(session.record_path, settled(intent, base, {place.name: digest}))
