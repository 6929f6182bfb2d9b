"""Plan a film with a memo: a finished scene is evaluated again only when something that it is made from changes.

A row of the memo is a scene with nothing to do and nothing to report. It holds while the scene is written as it was, in
the same place of a film whose other parts are as they were, and while its pictures, traces, blobs and published files,
its blocks of the lock, and the scenes that it is connected with are unchanged. Nothing is ever invalidated: a row whose
digest differs is a miss. `ltxflow plan` alone writes rows; what it answers is what a plan of the whole film answers.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltxflow.core.digest import digest_bytes
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.core.timing import clip_file_name
from ltxflow.core.workspace import OWN, read_bytes, read_json
from ltxflow.documents.document import find_project, workspace_of
from ltxflow.lock.text import blocks_of
from ltxflow.media.speech import MISSING
from ltxflow.plan.plan import Change, Mode, Plan, PlanOptions, SceneRow
from ltxflow.project.config import read_config
from ltxflow.project.model import Image, Project, Scene, Still
from ltxflow.project.sources import MAX_INCLUDES, FilmOutline, ProjectRoots, WrittenScene, read_outline
from ltxflow.session.session import LOCK, RECORD, Session, open_session
from ltxflow.store import snapshot
from ltxflow.store.memo import Memory, memory_of
from ltxflow.store.snapshot import InputManifest, absolute, answer_key, code_id, signatures
from ltxflow.store.store import store_path

MOST = 0.5  # of the scenes: with more than that to evaluate, all are
FILM = "film"

Json = dict[str, Any]


@dataclass(frozen=True)
class PlanRequest:
    """A plan of all of a film: which project, in which mode, with which settings of the command line."""

    project: str | None
    root: str | None
    mode: Mode
    settings: Mapping[str, Any]
    cwd: Path
    env: Mapping[str, str]

    def open(self, **part: Any) -> Session:
        """Open the project; `part` is for `open_session`."""
        return open_session(
            self.project, cwd=self.cwd, env=self.env, root=self.root, command_line=self.settings, **part
        )


@dataclass(frozen=True)
class PlannedFilm:
    """A plan, the open session that it was made with, and what is needed to write the memo."""

    session: Session
    plan: Plan
    memo: SceneMemo | None = None

    def keep(self, since_ns: int) -> InputManifest | None:
        """Write the memo's new rows, and return a manifest of everything that the plan was made from.

        None where some of that changed since `since_ns`, when the command began.
        """
        self.keep_rows(since_ns)
        session, states = self.session, self.memo.states if self.memo else {}
        inputs = absolute(session.input_paths()) | absolute(session.loaded.sources)
        inputs |= {path for scene in session.loaded.written for path in scene.home}
        known = snapshot.manifest_on(states)
        return known.with_more(inputs - states.keys(), since_ns) if known else None

    def keep_rows(self, since_ns: int) -> None:
        """Write the memo's new rows, for a plan whose answer depends on more than files."""
        if self.memo:
            with suppress(LtxflowError, OSError, ValueError):
                self.memo.write(self.session, self.plan)


def plan_film(request: PlanRequest) -> PlannedFilm:
    """Return the plan of a film, evaluating the scenes that the memo does not have. The caller closes the session.

    Raise LtxflowError as `open_session` and `Session.plan` do.
    """
    memo = None
    with suppress(LtxflowError, OSError, ValueError):  # the whole evaluation reports what is wrong
        memo = SceneMemo.open(request)
        planned = memo.plan_rest()
        if planned is not None:
            return planned
        memo.states = {}
    with ExitStack() as opened:
        session = opened.enter_context(request.open(memory=memo.shared if memo else None))
        plan = session.plan(PlanOptions(request.mode))
        opened.pop_all()
    return PlannedFilm(session, plan, memo)


@dataclass
class SceneMemo:
    """The rows of one request. `states` are the signatures of the files that the rows in use depend on."""

    request: PlanRequest
    file: Path
    rows: Memory
    shared: Memory  # what else is remembered of the project
    states: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def open(cls, request: PlanRequest) -> SceneMemo:
        """Open the memo of a request. Raise LtxflowError where there is no project."""
        file = find_project(request.project, request.cwd)
        folder, code = file.parent, code_id()
        root = store_path(request.env, read_config(request.env).store)
        env = {name: value for name, value in request.env.items() if name not in snapshot.SCREEN}
        asked = [request.mode, json.dumps(request.settings, sort_keys=True)]
        name = answer_key(asked, env, [request.root, workspace_of(folder, request.root)], "")
        return cls(request, file, memory_of(root, folder, code, name[:16]), memory_of(root, folder, code))

    def plan_rest(self) -> PlannedFilm | None:
        """Plan the scenes that have no row; None where the film is to be evaluated as a whole."""
        film = self.rows.get(FILM)
        if film is None or _state(film["files"], films := signatures(film["files"])) != film["state"]:
            return None
        request, folder = self.request, self.file.parent
        outline = read_outline(self.file, ProjectRoots(folder, workspace_of(folder, request.root)))
        if outline is None or outline.head != film["head"]:
            return None
        records = Records.read(folder, film["output"])
        hits = self._hits(outline, film, records)
        left = [number for number in range(len(outline.written)) if number not in hits]
        if len(left) > MOST * len(outline.written):
            return None
        sources = outline.read(left)
        if sources is None or outline.included + sum(row["included"] for row in hits.values()) > MAX_INCLUDES:
            return None
        sources.characters = sum(row["characters"] for row in hits.values())
        rows = tuple(_row_from(row["row"]) for _, row in sorted(hits.items()))
        self.states |= films
        with ExitStack() as opened:
            session = opened.enter_context(request.open(sources=sources, rows=rows, memory=self.shared))
            if not _fits(session, film, records):
                return None
            session.project = _without_used(session.project, rows)
            plan = session.plan(PlanOptions(request.mode))
            if not session.warnings and _film_problems(session, plan) == film["problems"]:
                opened.pop_all()
                return PlannedFilm(session, plan, self)
        return None

    def _hits(self, outline: FilmOutline, film: Json, records: Records) -> dict[int, Json]:
        """Return the rows that hold, by the place of the scene; put the signatures of their files into `states`."""
        known: dict[int, Json] = {}
        for number, written in enumerate(outline.written):
            row = self.rows.get(f"scene {number}")
            if row is not None and row["name"] == _name(film, number, written):
                known[number] = row
        states = signatures({path for row in known.values() for path in row["files"]})
        hits = {number: row for number, row in known.items() if records.state(row, states) == row["state"]}
        places = {row["row"][1]: number for number, row in hits.items()}
        while True:  # a row holds only beside those that it is connected with, each as it was then
            missed = [
                number
                for number, row in hits.items()
                if any(hits.get(places.get(id, -1), {}).get("state") != state for id, state in row["links"].items())
            ]
            if not missed:
                break
            for number in missed:
                del hits[number]
        self.states = {path: states[path] for row in hits.values() for path in row["files"]}
        return hits

    def write(self, session: Session, plan: Plan) -> None:
        """Write a row for each scene of the session that has nothing to do and nothing to report."""
        project, is_part = session.project, bool(session.rows)
        if session.warnings or project.moved or _has_unknown_engine(project):
            return
        records = Records.read(project.folder, project.output.name)
        film = self.rows.get(FILM) if is_part else _film(session, plan, records)
        if film is None or records.lock_digest != session.lock_file.digest:
            return
        newest = session.opened_ns - snapshot.RACY_NS  # a clock may be too coarse to show the next write

        def is_settled(paths: Iterable[str], states: Mapping[str, bytes]) -> bool:
            return all(snapshot.changed_at(states[path]) < newest for path in paths)

        shared = [*film["files"], str(session.record_path.absolute())]
        films = signatures(shared)
        if not is_settled(shared, films) or _state(film["files"], films) != film["state"]:
            return
        if not absolute(session.film_paths()).issubset(film["files"]):
            return
        scenes = _finished(session, plan)
        files = {scene.id: _files(session, scene, written) for scene, written in scenes}
        states = signatures({path for paths in files.values() for path in paths})
        takes = Counter(map(_owner, plan.changes))
        rows: dict[str, Json] = {}
        for scene, written in scenes:
            if is_settled(files[scene.id], states):
                row = {**_row_of(scene, plan, takes), "name": _name(film, scene.index, written)}
                row |= {"files": files[scene.id], "included": max(0, len(written.home) - 1)}
                rows[scene.id] = {**row, "state": records.state(row, states)}
        links = _links(project.scenes)
        for id, row in rows.items():
            if links[id] <= rows.keys():
                row["links"] = {other: rows[other]["state"] for other in sorted(links[id])}
                self.rows.put(f"scene {row['row'][0]}", row)
        if not is_part:
            self.rows.put(FILM, film)
        self.rows.save(is_fresh=not is_part)


@dataclass(frozen=True)
class Records:
    """The lock by blocks and the record of published files, as they are on disk. `output` is the output folder."""

    blocks: Mapping[str, str]
    lock_digest: str
    published: Mapping[str, Any]
    output: str

    @classmethod
    def read(cls, folder: Path, output: str) -> Records:
        """Read both. Raise OSError or ValueError for what cannot be read."""
        data, published = b"", {}
        with suppress(FileNotFoundError):
            data = read_bytes(folder / LOCK)
        blocks = blocks_of(data.decode())
        with suppress(FileNotFoundError):
            published = read_json(folder / OWN / RECORD)["files"]
        if not all(isinstance(entry, dict) for entry in published.values()):
            raise ValueError("not a record of published files")
        return cls(blocks, digest_bytes(data) if data else "", published, output)

    def state(self, row: Json, states: Mapping[str, bytes]) -> str:
        """Return a digest of everything that a row depends on besides how its scene is written."""
        index, _, clips, *_ = row["row"]
        digest = hashlib.sha256(b"".join(states[path] for path in row["files"]))
        for number, clip in enumerate(clips):
            published = self.published.get(f"{self.output}/{clip_file_name(index, number)}")
            digest.update(f"\n{self.blocks.get(clip)}\n{published}".encode())
        return digest.hexdigest()

    def rest(self, scenes: Iterable[tuple[int, Iterable[str]]]) -> str:
        """Return a digest of the blocks and records of no clip of these scenes, each with its place and its clips."""
        clips, files = set[str](), set[str]()
        for index, names in scenes:
            for number, clip in enumerate(names):
                clips.add(clip)
                files.add(f"{self.output}/{clip_file_name(index, number)}")
        blocks = [block for name, block in self.blocks.items() if name not in clips]
        inside = f"{self.output}/"
        records = [
            f"{path} {entry}"
            for path, entry in self.published.items()
            if path.startswith(inside) and path not in files and entry.get("source") != "timeline"
        ]
        return hashlib.sha256("\n".join([*blocks, "", *sorted(records)]).encode()).hexdigest()


def _film(session: Session, plan: Plan, records: Records) -> Json:
    """Return what all rows of a film depend on; `id` is a digest of it."""
    project = session.project
    files = sorted(absolute(session.film_paths()))
    film: Json = {
        "head": session.loaded.head,
        "files": files,
        "state": _state(files, signatures(files)),
        "rest": records.rest((scene.index, [clip.path for clip in scene.clips]) for scene in project.scenes),
        "output": project.output.name,
        "foreign": dict(project.foreign),
        "problems": _film_problems(session, plan),
    }
    return {**film, "id": hashlib.sha256(json.dumps(film).encode()).hexdigest()}


def _fits(session: Session, film: Json, records: Records) -> bool:
    """Return whether the scenes of a session can be planned without its rows."""
    project, rows = session.project, session.rows
    ids = [*(scene.id for scene in project.scenes), *(row.id for row in rows)]
    own = {scene.id for scene in project.scenes}
    angles = {path: angle for row in rows for path, (_, angle) in row.stills.items()}
    clips = [(row.index, row.clips) for row in rows]
    clips += [(scene.index, tuple(clip.path for clip in scene.clips)) for scene in project.scenes]
    return (
        not session.warnings
        and not project.moved
        and len(ids) == len(set(ids))
        and all(own.issuperset(_sources(scene)) for scene in project.scenes)
        and all(angles.get(path, still.angle) == still.angle for path, still in _stills([*project.scenes]).items())
        and dict(project.foreign) == film["foreign"]
        and records.lock_digest == session.lock_file.digest
        and records.rest(clips) == film["rest"]
    )


def _name(film: Json, number: int, written: WrittenScene) -> str:
    """Return a digest of a scene as written, at its place in the film; the signature of its file is in its row."""
    return hashlib.sha256("\0".join([film["id"], str(number), written.values, *written.home[:1]]).encode()).hexdigest()


def _state(files: Iterable[str], states: Mapping[str, bytes]) -> str:
    return hashlib.sha256(b"".join(states[path] for path in files)).hexdigest()


def _row_of(scene: Scene, plan: Plan, takes: Mapping[str, int]) -> Json:
    row = [
        scene.index,
        scene.id,
        [clip.path for clip in scene.clips],
        plan.cuts[scene.id].covered if scene.id in plan.cuts else 0,
        takes[scene.id],
        list(dict.fromkeys(str(clip.get("quality")) for clip in scene.clips)),
        {path: [takes[path], still.angle] for path, still in _stills([scene]).items()},
        [plan.states[clip.path] for clip in scene.clips],
    ]
    return {"row": row, "characters": sum(len(part) for clip in scene.clips for part in clip.prompt.parts.values())}


def _row_from(data: list[Any]) -> SceneRow:
    index, id, clips, frames, takes, qualities, stills, states = data
    kept = {path: tuple(known) for path, known in stills.items()}
    return SceneRow(index, id, tuple(clips), frames, takes, tuple(qualities), kept, tuple(states))


def _finished(session: Session, plan: Plan) -> list[tuple[Scene, WrittenScene]]:
    """Return the scenes with nothing to do and nothing to report, each with how it is written."""
    busy = {_owner(change) for change in plan.changes if plan.is_worth_a_line(change)}
    busy |= {id for _, id in _warnings(session, plan) if id} | {line.scene for line in plan.unsaid}
    scenes = zip(session.project.scenes, session.loaded.written, strict=True)
    return [(scene, written) for scene, written in scenes if busy.isdisjoint([scene.id, *_stills([scene])])]


def _files(session: Session, scene: Scene, written: WrittenScene) -> list[str]:
    """Return the absolute paths of the files that a scene depends on: media, traces and blobs, published files."""
    output = session.project.output
    paths: set[str | Path] = {*written.home, *session.inputs.get(scene.id, ())}
    paths = paths.union(*(session.inputs.get(path, ()) for path in _stills([scene])))
    media = [scene.narration.file]
    for clip in scene.clips:
        media += [clip.control, clip.sound, clip.extends.file if clip.extends else None]
        pictures = [*clip.pictures.values(), *(keyframe.image for keyframe in clip.keyframes)]
        paths |= {picture.path for picture in pictures if isinstance(picture, Image)}
    paths |= {each.path for each in media if each is not None}
    paths |= {output / clip_file_name(scene.index, number) for number in range(len(scene.clips))}
    return sorted(absolute(paths))


def _owner(change: Change) -> str:
    """Return the id of a change's scene; of a reference, its path."""
    return change.target.rpartition("@")[0] if change.target.startswith("reference:") else change.clip.partition("/")[0]


def _stills(scenes: Iterable[Scene]) -> dict[str, Still]:
    pictures = (picture for scene in scenes for clip in scene.clips for picture in clip.pictures.values())
    return {picture.path: picture for picture in pictures if isinstance(picture, Still)}


def _sources(scene: Scene) -> set[str]:
    """Return the ids of the scenes that a scene's clips are made from."""
    return {path.partition("/")[0] for clip in scene.clips for path in clip.upstream}


def _links(scenes: Iterable[Scene]) -> dict[str, set[str]]:
    """Return for each scene the ids of those that it is made from, and of those that are made from it."""
    links: dict[str, set[str]] = {scene.id: _sources(scene) - {scene.id} for scene in scenes}
    for id, sources in [*links.items()]:
        for source in [*sources]:
            links[source].add(id)
    return links


def _without_used(project: Project, rows: Iterable[SceneRow]) -> Project:
    """Return a film without the references that only scenes in `rows` use: they are not idle."""
    names = {path.partition(":")[2].partition("/")[0] for row in rows for path in row.stills}
    names -= {still.name for still in _stills(project.scenes).values()}
    return replace(project, references={name: one for name, one in project.references.items() if name not in names})


def _has_unknown_engine(project: Project) -> bool:
    """Return whether an engine is not configured here: what it made is found by reading every trace of the store."""
    speech = [scene.narration.speech for scene in project.scenes]
    engines = [*(each.engine for each in speech if each), *(still.engine for still in project.stills)]
    return any(engine is not None and engine.kind == MISSING for engine in engines)


def _film_problems(session: Session, plan: Plan) -> list[str]:
    """Return the warnings that are about no scene."""
    return [repr((p.message, str(p.span), p.hint, p.code)) for p, id in _warnings(session, plan) if not id]


def _warnings(session: Session, plan: Plan) -> Iterator[tuple[Problem, str]]:
    """Yield every warning with the id of the scene in which it is written, "" for any other."""
    scenes = zip(session.project.scenes, session.loaded.written, strict=True)
    starts = [(written.span, scene.id) for scene, written in scenes if written.span]
    for problem in (*session.loaded.problems, *plan.problems):
        if problem.level == "warning":
            span = problem.span
            above = [(at.line, id) for at, id in starts if span and at.file == span.file and at.line <= span.line]
            yield problem, max(above)[1] if above else ""
