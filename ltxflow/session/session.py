"""Open what a command works with: the project, its lock, the store, and what is published; and plan with it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

from ltxflow.core import files, process_lock
from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.core.timing import clip_file_name
from ltxflow.core.workspace import OWN, check_own, check_writes, read_json, real_path
from ltxflow.documents.document import confine_project, find_project, shown
from ltxflow.lock.file import LockFile, read_choices
from ltxflow.lock.merge import Merged
from ltxflow.lock.model import Lock, LockTake, with_choices, with_take
from ltxflow.media.bidi import needs_shaping
from ltxflow.media.speech import MISSING, Engine, pick_offline
from ltxflow.models.load import templates_folder
from ltxflow.plan.evaluate import Lookup
from ltxflow.plan.lengths import SpeechPlan, speak
from ltxflow.plan.plan import Plan, PlanOptions, SceneRow, make_plan
from ltxflow.plan.renditions import PublishedClip
from ltxflow.project.config import Config, is_trusted, read_config
from ltxflow.project.load import LoadedProject, load
from ltxflow.project.model import Project
from ltxflow.project.sources import Sources
from ltxflow.session.recognition import recognise
from ltxflow.steps import Node
from ltxflow.steps.clip.nodes import templates_used
from ltxflow.steps.frame import action_of, outputs_for
from ltxflow.store import snapshot
from ltxflow.store.blobs import prefix_folders
from ltxflow.store.leases import drafts_path
from ltxflow.store.memo import Memory, memory_of
from ltxflow.store.published import SPEEDS, Published, found, not_ours, read_published
from ltxflow.store.snapshot import InputManifest, absolute, code_id
from ltxflow.store.store import LazyMapping, Store, open_store
from ltxflow.store.traces import Trace

LIBRARIES = "/etc/ld.so.cache"  # rewritten when a library is installed


def font_places(env: Mapping[str, str]) -> set[str]:
    """Return the folders in which Pillow finds fonts, and the file that changes when a library is installed.

    A picture with rare letters depends on both. Loads neither fonts nor FriBidi.
    """
    home = env.get("HOME") or os.path.expanduser("~")
    if sys.platform == "darwin":
        roots = ["/Library/Fonts", "/System/Library/Fonts", f"{home}/Library/Fonts"]
    else:
        own = env.get("XDG_DATA_HOME") or f"{home}/.local/share"
        shared = env.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        roots = [os.path.join(folder, "fonts") for folder in (own, *shared.split(os.pathsep))]
    return {LIBRARIES, *roots, *(folder for root in roots for folder, _, _ in os.walk(root))}


LOCK = "ltxflow.lock"
RECORD = "published.json"  # of what is published, in `.ltxflow/`
PUBLISHED = ("narration", "captions", "posters")  # folders beside the output folder
_MEASURES = ("frames", "fps", "width", "height", "audio_rate")  # of a video, in the lock and in its file


@dataclass
class Session:
    """One command's view of a project. `warnings` gathers what to report once at the end.

    `rows` are scenes that `project` leaves out, since the memo has them: enough to plan with, not to build with.
    """

    project: Project
    loaded: LoadedProject
    config: Config
    store: Store
    lock: Lock
    lock_file: LockFile
    published: Published
    warnings: list[Problem] = field(default_factory=list)
    memory: Memory = field(default_factory=Memory)
    opened_ns: int = 0  # when nothing was read yet
    rows: tuple[SceneRow, ...] = ()
    has_later_decisions: bool = False  # whether others changed the lock since a build planned
    has_new_choices: bool = False  # whether the lock is to be written before anything is submitted: `choose`
    tried_before: Mapping[str, Any] | None = None  # the lock's choices, where those of now hold only if they render
    load_with: Callable[[Mapping[str, Mapping[str, Any]]], LoadedProject] | None = (
        None  # the film again, with other choices
    )
    inputs: dict[str, set[str]] = field(default_factory=dict)  # the traces and blobs asked for, by `owner_of`
    _speech: tuple[Project, SpeechPlan] | None = None  # of this project, until `forget_speech`
    _locked: dict[Key, tuple[str, LockTake]] | None = None
    _taken: tuple[Lock, list[tuple[str, int, LockTake]]] | None = None  # takes that frames were taken of, by this lock

    def __post_init__(self) -> None:
        self.inputs.setdefault("", self.store.paths_read)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store's files. The next use of the store opens them again."""
        self.store.close()

    def read_records(self) -> None:
        """Read what commands write about the film: its lock, and what is published."""
        is_part = bool(self.rows)
        self.lock = self.lock_file.read(is_known=is_part)
        left_out = {f"{self.project.output.name}/{name}" for row in self.rows for name in row.files}
        self.published, damage = read_published(self.record_path, AllBut(left_out) if is_part else None)
        self._locked = self._taken = None
        self.warnings += [damage] if damage else []
        if not os.path.lexists(self.record_path):
            self.published = recognise(self.project, self.lock, self.store, self.memory)
        self._measure_locked()

    def _measure_locked(self) -> None:
        """Correct what the lock says of files that are here: a wrong digit would be planned with, and published.

        A file is measured once, since its digest names it; a lock without a mistake is not compared again.
        """
        known = f"lock {self.lock_file.digest}"
        if self.memory.get(known) is not None:
            return
        is_right, left_out = True, {clip for row in self.rows for clip in row.clips}
        for path in [path for path in self.lock.entries if path not in left_out]:
            entry = self.lock.entries[path]
            for number, take in entry.takes.items() if not path.startswith("reference:") else ():
                measured = self._measured(take.digest)
                facts = {**take.facts, "frames": take.frames}
                wrong = [name for name in _MEASURES if measured and facts.get(name, measured[name]) != measured[name]]
                wrong += ["frames"] if measured and take.facts.get("frames", take.frames) != take.frames else []
                is_right = is_right and bool(measured) and not wrong
                if wrong:
                    self.warnings.append(
                        problem(
                            "D004",
                            lock=self.lock_file.name,
                            take=f"{path}@{number}",
                            fact=wrong[0],
                            measured=measured[wrong[0]],
                            recorded=facts[wrong[0]],
                        )
                    )
                    right = replace(take, frames=measured["frames"], facts={**take.facts, **measured})
                    self.lock = with_take(self.lock, path, number, right)
        if is_right and not self.rows:
            self.memory.put(known, True)

    def _measured(self, digest: Digest) -> dict[str, Any]:
        """Return the facts of a video in the store, by its file; none where it is not here, or does not read."""
        name = f"mp4 {digest}"
        measured = self.memory.get(name)
        if measured is None and self.store.cas.size(digest) is not None:
            from ltxflow.media.probe import probe_mp4  # on first use: what was measured once is remembered

            with suppress(LtxflowError):
                measured = probe_mp4(self.store.cas.path(digest)).as_json()
                self.memory.put(name, measured)
        return measured or {}

    def choose(self, choices: Mapping[str, Any]) -> None:
        """Take what `auto` came to for the film's model, and read the film again with that. Write nothing."""
        assert self.load_with is not None
        self.lock = with_choices(self.lock, self.project.profile.model, choices)
        self.loaded = self.load_with(self.lock.choices)
        self.project = self.loaded.project

    def save_lock(self) -> Merged:
        """Write the lock, merged with what others wrote since it was read. Raise LockConflict as `LockFile.save`.

        Builds and decisions run side by side: each holds the file only for a moment.
        """
        with self.writing():
            merged = self.lock_file.save(self.lock)
        if merged.lock is not self.lock:
            self.lock, self._locked = merged.lock, None
        return merged

    def writing(self) -> AbstractContextManager[None]:
        """Hold what several processes of this project change, for a read, a merge and a write in the body."""
        return process_lock.acquire(make_own_folder(self) / "writing")

    @property
    def own(self) -> Path:
        """`.ltxflow/`, the machine's own folder in the project."""
        return self.project.folder / OWN

    @property
    def previews(self) -> Path:
        """The folder of copies of generated references, for people to look at."""
        return self.own / "references"

    @property
    def drafts_path(self) -> Path:
        """The mark that drafts of the film were rendered."""
        return drafts_path(self.store.root, real_path(self.project.folder))

    @property
    def lock_path(self) -> Path:
        return self.lock_file.path

    @property
    def record_path(self) -> Path:
        return self.own / RECORD

    def lookup(self, key: Key) -> Trace | None:
        """Return a trace whose blobs are all here: the store's, or one the lock has."""
        return self.store.lookup(key) or self._from_lock(key)

    def trace_of(self, key: Key) -> Trace | None:
        """Return the trace of a key even where files are missing; a forgotten one where the lock names it again."""
        found = self.store.trace(key)
        is_named = found is None and self.lock.mentions(key) and key in self._locked_takes
        return self.store.forgotten(key) if is_named else found

    def locked(self, key: Key) -> Trace | None:
        """Return what the lock has of a key, as a trace, wherever the files are: the lock is an authority."""
        if not self.lock.mentions(key) or key not in self._locked_takes:
            return self._frame(key)
        target, take = self._locked_takes[key]
        if target.startswith("reference:"):
            return Trace(key, {}, {"image": Output(take.digest, dict(take.facts))}, target, source=take.source)
        outputs = {
            name: Output(digest, dict(take.facts) if name in ("video", "published") else {})
            for name, digest in {**take.outputs, "video": take.digest}.items()
        }
        return Trace(key, {}, outputs, target, source=take.source)

    @property
    def _locked_takes(self) -> Mapping[Key, tuple[str, LockTake]]:
        """The takes of the lock by key, with their targets; those below pinned files included."""
        if self._locked is None:
            takes = ((path, *take) for path, entry in self.lock.entries.items() for take in entry.all_takes())
            self._locked = {
                take.key: (f"{path if ':' in path else f'clip:{path}'}@{number}", take) for path, number, take in takes
            }
        return self._locked

    def _frame(self, key: Key) -> Trace | None:
        """Return what the lock has of a frame that a clip starts from, recorded with the take it is of."""
        if not self.lock.mentions("taken"):
            return None
        if self._taken is None or self._taken[0] is not self.lock:  # else every key that is new asks every take
            takes = [(p, n, take) for p, entry in self.lock.entries.items() for n, take in entry.takes.items()]
            self._taken = self.lock, [each for each in takes if "taken" in each[2].facts]
        for path, number, take in self._taken[1]:
            made = {**take.outputs, "video": take.digest}
            for moment, told in take.facts["taken"].items():
                frame = None if moment == "last" else int(moment.removesuffix("f"))
                source = next(made[name] for name in outputs_for(frame).split("|") if name in made)
                if told.get("of", source) == source and action_of(frame, source).key == key:
                    image = Output(Digest(told["digest"]), told)
                    return Trace(key, {}, {"image": image}, f"frame:{path}/{moment}@{number}", source="frame")
        return None

    def _from_lock(self, key: Key) -> Trace | None:
        """Return the trace that the lock has of a key, if its blobs are here."""
        trace = self.locked(key)
        if trace is None or not {"published", "image"} & trace.outputs.keys():
            return None
        kept = self.trace_of(key)
        if kept is not None and {o.digest for o in kept.outputs.values()} == {o.digest for o in trace.outputs.values()}:
            trace = kept  # it knows more: when, where and from what it was made
        sizes = {output.digest: output.size for output in kept.outputs.values()} if kept else {}
        self.store.paths_read.update(self.store.cas.place(output.digest) for output in trace.outputs.values())
        blobs = [(output.digest, sizes.get(output.digest, 0)) for output in trace.outputs.values()]
        return trace if all(self.store.cas.has(digest, size) for digest, size in blobs) else None

    def published_clips(self) -> dict[str, PublishedClip]:
        """Return the files in the output folder that are just as they were published, by file name."""
        base, folder = self.project.output.parent, self.project.output.name
        clips: dict[str, PublishedClip] = {}
        for path, entry in self.published.entries.items():
            inside, _, name = path.partition("/")
            if inside != folder or "/" in name or entry.source == "timeline":
                continue
            digest = found(self.published, base, path)
            if digest is not None and digest in entry.digests:
                target = _moved(entry.target, self.project.moved)
                facts = LazyMapping(partial(self._facts, entry.key))
                clips[name] = PublishedClip(name, digest, target, Key(entry.key), entry.source, entry.rank, facts)
        return clips

    def untracked_files(self, published: Container[str]) -> dict[str, Problem]:
        """Return a problem for each file in the place of a clip that is not as it was published, by file name."""
        base, folder = self.project.output.parent, self.project.output.name
        names = (clip_file_name(scene.index, clip.index) for scene in self.project.scenes for clip in scene.clips)
        there = [name for name in names if name not in published and os.path.lexists(base / folder / name)]
        return {name: not_ours(self.published, base, f"{folder}/{name}") for name in there}

    def _facts(self, key: str) -> dict[str, Any]:
        """Return the facts of a published video by its trace. A plan of what is unchanged never needs them."""
        trace = self.store.trace(Key(key)) if key else None
        return dict(trace.outputs["video"].facts) if trace else {}

    def clean(self) -> int:
        """Remove what killed processes left half-written, wherever this project writes; return how many files."""
        public = self.project.output.parent
        own = [self.own, *(path for path in self.own.glob("*") if path.is_dir())]
        folders = [self.project.folder, *own, self.project.output, public, *(public / name for name in PUBLISHED)]
        return self.store.clean() + sum(files.clean_temps(folder) for folder in folders)

    def speech(self) -> SpeechPlan:
        """Return the film's narration, as far as it is spoken; evaluated once, until `forget_speech`."""
        if self._speech is None or self._speech[0] is not self.project:
            self._speech = self.project, speak(self.project, self.lookup, self.store.cas.path, self._enter)
            self.store.paths_read = self.inputs[""]
        return self._speech[1]

    def forget_speech(self) -> None:
        """Evaluate the narration again when it is next needed: some of it was spoken."""
        self._speech = None

    def timings(self) -> dict[str, dict[str, Any]]:
        """Return when each line of every spoken narration begins and ends, by scene."""
        made = {target: status.trace for target, status in self.speech().statuses.items() if status.trace}
        return {
            target.partition(":")[2]: self._timing(target, trace.outputs["timing"].digest)
            for target, trace in made.items()
            if "timing" in trace.outputs
        }

    def _timing(self, target: str, digest: Digest) -> dict[str, Any]:
        """Return the content of a timing blob. Raise LtxflowError for a damaged one; the next build makes it again."""
        try:
            timing = read_json(self.store.cas.path(digest))
            if isinstance(timing, dict) and isinstance(timing.get("lines"), list):
                return timing
        except (OSError, ValueError):
            pass
        self.store.cas.set_aside(digest)
        raise LtxflowError(problem("D002.timing", target=target, digest=digest[:12]), exit_code=FAILED)

    def input_paths(self) -> set[str | Path]:
        """Return everything that an answer about this film depends on: what was read, and where files could appear."""
        project = self.project
        paths: set[str | Path] = {*self.loaded.files, self.lock_path, self.record_path, self.previews}
        output = project.output.parent
        paths |= {f"{output}/{path}" for path in (*self.published.entries, *_files(project))}
        paths |= {self.store.root, self.store.root / SPEEDS}
        paths |= {*self.store.cas.folders(), *prefix_folders(self.store.traces)}
        return paths.union(self.film_paths(), *self.inputs.values())

    def manifest(
        self, since_ns: int, more: Iterable[str | Path] = (), written: Iterable[Path] = ()
    ) -> InputManifest | None:
        """Return a manifest of everything that an answer about this film depends on.

        None where some of that changed since `since_ns`, when the command began. `more` was read besides; `written`
        are files of which the command itself is the author, which must stay as they are.
        """
        own = absolute(written)
        return snapshot.take({*self.input_paths(), *more, *own}, since_ns, own)

    def film_paths(self) -> set[str | Path]:
        """Return what all scenes depend on, but for what they are written in, the lock and the store."""
        project, config = self.project, self.config.folder
        paths: set[str | Path] = {
            *project.profile.files,
            config / "config.yaml",
            config / "trust.json",
            self.drafts_path,
        }
        for folder in (project.folder / "templates", templates_folder()):
            paths |= {folder, *(folder / name for name in project.profile.sets)}
        for template in project.templates.values():
            paths |= {template.path, *(template.path.parent / part for part in template.parts)}
        if any(scene.narration.speech for scene in project.scenes):  # an engine may be installed, or go
            paths |= {folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder}
        if any(needs_shaping(clip.prompt.text) for clip in project.clips):  # so may a font, or FriBidi
            paths |= font_places(os.environ)
        return paths

    def plan(self, options: PlanOptions) -> Plan:
        """Return what a build would do."""
        return self._plan(options, self.lookup)

    def plan_from_lock(self, options: PlanOptions) -> Plan:
        """Return what a build would do if every file that the lock names were here: for keys alone."""
        return self._plan(options, lambda key: self.lookup(key) or self.locked(key))

    def _plan(self, options: PlanOptions, lookup: Lookup) -> Plan:
        spoken, published = self.speech(), self.published_clips()
        plan = make_plan(
            spoken.project,
            self.lock,
            options,
            lookup,
            self.trace_of,
            published,
            self.untracked_files(published),
            frozenset(spoken.unmade),
            self.memory,
            self.rows,
            self._enter,
            self.drafts_path.exists(),
        )
        self.store.paths_read = self.inputs[""]
        self.memory.save(is_whole=not self.rows)
        return plan if options.only else replace(plan, unsaid=spoken.unsaid)  # nothing is spoken for references

    def _enter(self, node: Node) -> None:
        """Record what is looked up from now on as inputs of the node's owner."""
        self.store.paths_read = self.inputs.setdefault(owner_of(node), set())


def owner_of(node: Node) -> str:
    """Return what a node belongs to: the id of its scene, or the path of a generated reference."""
    return node.entry if node.kind == "reference" else node.clip.partition("/")[0]


@dataclass(frozen=True)
class AllBut(Container[str]):
    """Every name but these."""

    names: Container[str]

    def __contains__(self, name: object) -> bool:
        return name not in self.names


def _moved(target: str, moves: Iterable[tuple[str, str]]) -> str:
    """Return a target under its clip's new id, so that what is published for a moved clip stays its own file."""
    kind, _, rest = target.partition(":")
    clip, _, take = rest.partition("@")
    for old, new in moves:
        if clip == old or clip.startswith(f"{old}/"):
            clip = new + clip[len(old) :]
    return f"{kind}:{clip}@{take}"


def open_session(
    asked: str | None,
    *,
    cwd: Path,
    env: Mapping[str, str],
    root: str | None = None,
    command_line: Mapping[str, Any] | None = None,
    sources: Sources | None = None,
    rows: tuple[SceneRow, ...] = (),
    memory: Memory | None = None,
) -> Session:
    """Open the project that `-p` names, with the command line's settings. Writes nothing; the caller closes it.

    `sources` are those that were read already; where they have a part of the film, `rows` are its other scenes.
    `memory` is that of this project, where it was opened already.

    Raise LtxflowError for a project that brings what needs trust and is not trusted, with the list of that.
    """
    opened_ns = time.time_ns()
    file = find_project(asked, cwd)
    confine_project(file, root)
    check_own(file.parent / OWN)
    _check_lock(file.parent / LOCK)
    config = read_config(env)
    warnings: list[Problem] = []
    store = open_store(env, config.store, warnings.append)
    store.memory = memory or memory_of(store.root, file.parent, code_id())

    path = file.parent / LOCK
    lock_file = LockFile(path, shown(path, cwd))

    def read(is_trusted: bool, choices: Mapping[str, Mapping[str, Any]]) -> LoadedProject:
        return load(
            file,
            root=root,
            command_line=command_line,
            is_trusted=is_trusted,
            engines=config.engines,
            offline=lambda: pick_offline(env),
            remembered=cache(lambda name: remembered_engine(name, store, lock_file.read)),
            memory=store.memory,
            sources=sources,
            choices=choices,
        )

    chosen, is_trusting = read_choices(path), False
    try:
        loaded = read(False, chosen)
    except LtxflowError:
        if str(real_path(file.parent)) not in config.trust:
            raise
        loaded, is_trusting = read(True, chosen), True
    project = loaded.project
    check_published(project)
    used = foreign_in_use(project)
    if not is_trusted(config, project.folder, project.foreign, used):
        parts = ", ".join(sorted(used))
        raise LtxflowError(problem("L090.untrusted", parts=parts, folder=shown(project.folder, cwd)))
    session = Session(
        project,
        loaded,
        config,
        store,
        Lock(),
        lock_file,
        Published(),
        warnings,
        store.memory,
        opened_ns,
        rows,
        load_with=partial(read, is_trusting),
    )
    session.read_records()
    return session


def _check_lock(path: Path) -> None:
    """Raise LtxflowError for a lock that is a link: a new version of it would take the link's place."""
    if path.is_symlink():
        raise LtxflowError(problem("L014.lock", file=path, target=os.readlink(path)))


def check_published(project: Project) -> None:
    """Raise LtxflowError where a folder that is published to leads out of the workspace, or below `.git`."""
    for folder in (project.output, *(project.output.parent / name for name in PUBLISHED)):
        check_writes(folder)


def foreign_in_use(project: Project) -> list[str]:
    """Return the parts of a project that need trust now: a template counts only where something is made with it."""
    used = templates_used(project)
    return [part for part in project.foreign if not part.startswith("template ") or part.partition(" ")[2] in used]


def remembered_engine(name: str, store: Store, read_lock: Callable[[], Lock]) -> Engine | None:
    """Return a stand-in for an engine that is not configured, as the lock or the newest trace of its work has it.

    It has the same part in keys, so that what the engine made is found. None where nothing is known of it.
    """
    for path, entry in read_lock().entries.items():
        for take in entry.takes.values() if path.startswith("reference:") else ():
            by = take.facts.get("engine")
            if isinstance(by, dict) and by.get("name") == name and isinstance(by.get("keyed"), dict):
                return Engine(name, MISSING, was_keyed=json.dumps(by["keyed"]))
    newest: tuple[str, Any, str] = ("", None, "")
    for trace in store.mentioning(json.dumps(name)):
        if trace.target.partition(":")[0] not in ("line", "reference"):
            continue
        told, body = trace.fields.get("engine"), trace.action.get("body", {})
        if name in (told, told.get("is") if isinstance(told, dict) else None) and isinstance(body.get("engine"), dict):
            newest = max(newest, (trace.made_at, body["engine"], str(body.get("voice", ""))), key=lambda row: row[0])
    return Engine(name, MISSING, newest[2], was_keyed=json.dumps(newest[1])) if newest[1] is not None else None


def _files(project: Project) -> frozenset[str]:
    """Return the paths of a film's clips in the record of what is published."""
    places = (clip_file_name(scene.index, clip.index) for scene in project.scenes for clip in scene.clips)
    return frozenset(f"{project.output.name}/{place}" for place in places)


def make_own_folder(session: Session) -> Path:
    """Make `.ltxflow/` with its own .gitignore, and return it."""
    own = session.own
    files.make_dir(own)
    if not (own / ".gitignore").exists():
        files.write_atomic(own / ".gitignore", "*\n")
    return own


def hold(session: Session, *, wait: bool, on_wait: Any) -> Any:
    """Hold the project for writing: a kernel lock that dies with its process."""
    return process_lock.acquire(make_own_folder(session) / "lock", wait=wait, on_wait=on_wait)
