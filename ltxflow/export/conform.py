"""Conform a film to one file: encode the missing parts of what is published, join them, put the file in place.

      ┌─ a ──┐        ┌── b ───┐
film: │ a    │ a→b    │ b      │      a part for every clip between its dissolves, and one for every dissolve:
      part   part     part            an edit of b encodes two of the three again
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
from ltxflow.core.errors import FAILED, INTERRUPTED, LtxflowError, Problem, problem
from ltxflow.core.events import Event, RunStarted
from ltxflow.core.target import Target
from ltxflow.core.workspace import read_json
from ltxflow.documents.document import Document
from ltxflow.documents.schema import check
from ltxflow.media.mix import RATE, Bed, MixedVoice
from ltxflow.media.mux import Caption, Chapter
from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import EncodeSettings, Segment
from ltxflow.media.text_layout import lacking
from ltxflow.plan.evaluate import evaluate
from ltxflow.plan.graph import build_graph
from ltxflow.plan.plan import PlanOptions
from ltxflow.plan.renditions import PublishedClip
from ltxflow.publish.caption_files import EditedCaptions, read_captions
from ltxflow.publish.timeline import TIMELINE, TIMELINE_SCHEMA, broken, placements, timeline
from ltxflow.session.session import Session
from ltxflow.steps import Node
from ltxflow.steps.conform import ConformSpec, SceneSound
from ltxflow.steps.part import BurntCaption, PartSpec
from ltxflow.store.published import PublishedFile, committed, found, is_ours, with_intent, write_published

PROXY_LONG_SIDE = 640  # px
TARGET = Target("conform:film")

Json = Mapping[str, Any]
OF_CLIPS = ("id", "sha256", "trimStart", "durationInFrames", "from", "transition", "volume")


@dataclass(frozen=True)
class Finish:
    """The finish of a film: full size or a small quick proxy; captions in the picture, or as a track."""

    is_proxy: bool = False
    burns_captions: bool = False

    def encode_settings(self, data: Json) -> EncodeSettings:
        """Return the size and the encoder settings of a timeline's picture."""
        width, height = data["width"], data["height"]
        if not self.is_proxy:
            return EncodeSettings(width, height, data["fps"], "veryfast", 18)
        long = max(width, height, PROXY_LONG_SIDE)
        width, height = (max(2, round(side * PROXY_LONG_SIDE / long / 2) * 2) for side in (width, height))
        return EncodeSettings(width, height, data["fps"], "ultrafast", 26)

    @property
    def bit_rate(self) -> int:
        return 128_000 if self.is_proxy else 192_000


@dataclass(frozen=True)
class Source:
    """A published file and the digest of its bytes."""

    path: Path
    digest: Digest


def conform_nodes(data: Json, sources: Mapping[str, Source], captions: Sequence[Caption], finish: Finish) -> list[Node]:
    """Return the nodes that make the film from a complete timeline: the parts, and last the film that needs them.

    `sources` are the timeline's files by their `src`.
    """
    settings = finish.encode_settings(data)
    parts = [
        Node(Target(f"part:{name}"), "part", part, part.shown.frames)
        for name, part in _parts(data, sources, settings, captions if finish.burns_captions else ())
    ]
    film = ConformSpec(
        fps=data["fps"],
        frames=data["durationInFrames"],
        bit_rate=finish.bit_rate,
        scenes=tuple(_sound(scene, sources, data["fps"]) for scene in data["scenes"]),
        chapters=tuple(_chapter(scene) for scene in data["scenes"]),
        captions=() if finish.burns_captions else tuple(captions),
        tags={"title": data["title"], "comment": f"machine-made, with {data['generator']['model']}"},
    )
    needs = {f"part.{number:04d}": node.target for number, node in enumerate(parts)}
    return [*parts, Node(TARGET, "conform", film, film.frames, needs)]


def _parts(
    data: Json, sources: Mapping[str, Source], settings: EncodeSettings, captions: Sequence[Caption]
) -> Iterator[tuple[str, PartSpec]]:
    """Yield the parts in order, each with its name: `hook/a`, `hook/a+b`."""
    at = 0
    for scene in data["scenes"]:
        for name, part in _scene_parts(scene, sources, settings):
            burnt = tuple(_burnt(caption, at, part.shown.frames, settings.fps) for caption in captions)
            yield name, replace(part, captions=tuple(one for one in burnt if one.first < one.end))
            at += part.shown.frames


def _scene_parts(
    scene: Json, sources: Mapping[str, Source], settings: EncodeSettings
) -> Iterator[tuple[str, PartSpec]]:
    for before, clip, after in _neighbours(scene["clips"]):
        name, source = f"{scene['id']}/{clip['id']}", sources[clip["src"]]
        fade, fade_out = _fade(clip), _fade(after)
        if fade and before is not None:
            end = before["trimStart"] + before["durationInFrames"]
            yield (
                f"{scene['id']}/{before['id']}+{clip['id']}",
                PartSpec(
                    settings,
                    Segment(source.path, clip["trimStart"], fade),
                    source.digest,
                    Segment(sources[before["src"]].path, end - fade, fade),
                    sources[before["src"]].digest,
                ),
            )
        alone = clip["durationInFrames"] - fade - fade_out
        if alone:
            yield name, PartSpec(settings, Segment(source.path, clip["trimStart"] + fade, alone), source.digest)


def _neighbours(clips: Sequence[Json]) -> Iterator[tuple[Json | None, Json, Json | None]]:
    around = [None, *clips, None]
    for (before, clip), (_, after) in pairwise(pairwise(around)):
        assert clip is not None
        yield before, clip, after


def _fade(clip: Json | None) -> int:
    """Return how many frames the dissolve into a clip takes."""
    return int(clip["transition"]["durationInFrames"]) if clip and clip["transition"] else 0


def _burnt(caption: Caption, start: int, frames: int, fps: int) -> BurntCaption:
    """Return a caption in a part that starts at the frame `start`; one outside of it ends before it begins."""
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


def files_of(data: Json) -> dict[str, str | None]:
    """Return the files that the film of a timeline needs: `src` → its digest, where the timeline has it."""
    named: dict[str, str | None] = {}
    for scene in data["scenes"]:
        named |= {clip["src"]: clip["sha256"] for clip in scene["clips"] if clip["src"]}
        if scene["narration"]:
            named[scene["narration"]["src"]] = None
    return named


def outline(data: Json) -> list[Any]:
    """Return the parts of a timeline that reach the film: equal outlines make equal films."""
    return [
        [
            [scene[name] for name in ("id", "title", "from", "durationInFrames")],
            [(scene["narration"] or {}).get(name) for name in ("startFrame", "samples", "sampleRate", "volume")],
            [[clip[name] for name in OF_CLIPS] for clip in scene["clips"]],
        ]
        for scene in data["scenes"]
    ]


FILM = "film.mp4"  # in public/, where AI-DISCLOSURE.txt is


@dataclass(frozen=True)
class Conformed:
    """The result of conforming: the film's place and facts, or what went wrong."""

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
    """Conform a session's film from what is published, to `out` or into `public/`. The project must be held.

    Raise LtxflowError for a film that is not built or not whole, and for a foreign file at `out`.
    """
    started = time.monotonic()
    session.clean()
    data = read_timeline(session)
    base = session.project.output.parent
    sources = _sources(session, data, base)
    edited = _captions(data, base)
    captions = edited.captions
    if finish.burns_captions:
        _check_burnt(captions)
    place = out or base / FILM
    _check_place(session, place, base)
    changed = [problem("D011.conformed")] if has_changed(session, data) else []
    warnings = (*edited.warnings, *changed)
    nodes = conform_nodes(data, sources, captions, finish)
    graph = build_graph(nodes, [TARGET])
    statuses = evaluate(graph, session.lookup)
    missing = [status for status in statuses.values() if status.state != "hit"]
    emit(RunStarted(session.project.id, "conform", len(nodes), len(missing)))
    executors = {"cpu": LocalExecutor(jobs or os.cpu_count() or 1)}
    context = RunContext(session.store, session.lookup, executors, emit, lambda node, trace: None, keep_going=False)
    run = asyncio.run(interruptible(build(graph, statuses, context))) if missing else RunResult(dict(statuses))
    trace = run.statuses[TARGET].trace
    if trace is not None:
        _put(session, place, trace.outputs["video"].digest, base)
    problems = (*warnings, *(problem for failed in run.failed.values() for problem in failed))
    return Conformed(
        path=place,
        code=INTERRUPTED if run.interrupted else FAILED if trace is None else 0,
        problems=problems,
        parts=len(nodes) - 1,
        encoded=len(run.rendered - {TARGET}),
        facts=trace.outputs["video"].facts if trace else {},
        film_seconds=data["durationInFrames"] / data["fps"],
        stand_ins=sum(clip["isStandIn"] for scene in data["scenes"] for clip in scene["clips"]),
        stale=sum(clip["isStale"] for scene in data["scenes"] for clip in scene["clips"]),
        seconds=round(time.monotonic() - started, 3),
        is_interrupted=run.interrupted,
    )


def read_timeline(session: Session) -> dict[str, Any]:
    """Return the published timeline. Raise LtxflowError when it is not that of a whole film."""
    path = session.project.output / TIMELINE
    shown = os.path.relpath(path)
    try:
        data = read_json(path)
    except FileNotFoundError:
        raise LtxflowError(problem("D010.none", file=shown)) from None
    except (OSError, ValueError) as error:
        raise LtxflowError(problem("D010.unreadable", file=shown, reason=error)) from error
    if not isinstance(data, dict) or data.get("schema") != TIMELINE_SCHEMA:
        raise LtxflowError(problem("D010.schema", file=shown, schema=TIMELINE_SCHEMA))
    if damage := check(Document(shown, data, 0), "timeline"):
        raise LtxflowError(problem("D010.malformed", file=shown, reason=damage[0].message))
    wrong = broken(data)
    missing = [f"{s['id']}/{c['id']}" for s in data["scenes"] for c in s["clips"] if not c["src"]]
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise LtxflowError(
            problem("D010.not-made", clips=names, verb="is" if len(missing) == 1 else "are"), exit_code=FAILED
        )
    if wrong or not data["complete"]:
        why = wrong[0] if wrong else "its files were being replaced"
        raise LtxflowError(problem("D010.broken", file=shown, reason=why))
    return data


def _sources(session: Session, data: Mapping[str, Any], base: Path) -> dict[str, Source]:
    """Return the files that a timeline names. It may be a stranger's: none may lie outside of `public/`."""
    sources = {}
    problems = []
    for src, wanted in files_of(data).items():
        pure = PurePosixPath(src)
        if pure.is_absolute() or ".." in pure.parts:
            raise LtxflowError(problem("D010.outside", src=src, folder=base.name))
        digest = found(session.published, base, src)
        if digest is None:
            problems.append(problem("D010.missing", src=src))
        elif wanted is not None and digest != wanted:
            problems.append(problem("D010.other", src=src))
        else:
            sources[src] = Source(base / src, digest)
    if problems:
        raise LtxflowError(*problems, exit_code=FAILED)
    return sources


def _captions(data: Mapping[str, Any], base: Path) -> EditedCaptions:
    """Return the captions of the published file, with people's corrections. Some may begin after the end."""
    path = base / data["captions"]["srt"] if data["captions"] else None
    if path is None or not path.is_file():
        return EditedCaptions(())
    edited = read_captions(path)
    end = data["durationInFrames"] * 1000 / data["fps"]
    late = [caption for caption in edited.captions if caption.start >= end]
    if not late:
        return edited
    warning = problem(
        "D013.late",
        file=os.path.relpath(path),
        late=len(late),
        all=len(edited.captions),
        first=late[0].lines[0],
    )
    return EditedCaptions(edited.captions, (*edited.warnings, warning))


def _check_burnt(captions: Sequence[Caption]) -> None:
    for caption in captions:
        if lack := lacking(" ".join(caption.lines)):
            raise LtxflowError(problem("D012.font", lack=lack.message, text=caption.lines[0], remedy=lack.hint))


def _check_place(session: Session, place: Path, base: Path) -> None:
    """Raise LtxflowError unless the place is free or has a film of ours: one recorded, or with bytes in the store."""
    if place.suffix.lower() != ".mp4" or place.is_dir():
        named = place / FILM if place.is_dir() else place.with_suffix(".mp4")
        path = shlex.quote(os.path.relpath(named))
        raise LtxflowError(problem("D001.not-mp4", file=place.name, path=path))
    if not os.path.lexists(place):
        return
    is_known = place.parent == base and is_ours(session.published, base, place.name)
    there = None if is_known else digest_there(place)
    if not is_known and (there is None or not session.store.cas.has(there)):
        raise LtxflowError(problem("D001.film", file=place))


def has_changed(session: Session, data: Mapping[str, Any]) -> bool:
    """Return whether a build would publish something else than a timeline has."""
    project = session.speech().project

    def facts(clip: PublishedClip) -> Mapping[str, Any]:
        return probe_mp4(project.output / clip.file).as_json()

    plan = session.plan(PlanOptions())
    chosen = placements(plan, plan.statuses, session.published_clips(), facts, plan)
    narrations = {scene["id"]: scene["narration"]["src"] for scene in data["scenes"] if scene["narration"]}
    now = timeline(project, plan.cuts, {p.clip: p for p in chosen}, complete=True, narrations=narrations)
    return outline(now) != outline(data)


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
    write_published(session.record_path, committed(intent, base, {place.name: digest}))
