"""Where fonts of the system are, and FriBidi: what a picture with rare letters rests on. Loads neither.

Opens what a verb works with: the project, its lock, the store, and what stands in the output folder.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Self

from ltxflow import __version__
from ltxflow.core import files, process_lock
from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.core.regular import read_json
from ltxflow.core.timing import clip_file_name
from ltxflow.core.workspace import LINK, OWN, check_own, check_writes
from ltxflow.documents.paths import confine_project, find_project, shown
from ltxflow.lock.file import LockFile, merge_problems
from ltxflow.lock.model import Lock, LockTake, read_choices, with_choices, with_take
from ltxflow.media.bidi import needs_shaping
from ltxflow.media.probe import probe_mp4
from ltxflow.media.speech import MISSING, Engine, pick_offline
from ltxflow.models.load import templates_folder
from ltxflow.plan.evaluate import Lookup
from ltxflow.plan.lengths import SpeechPlan, speak
from ltxflow.plan.plan import Plan, PlanOptions, PublishedClip, make_plan
from ltxflow.project.config import Config, is_trusted, read_config
from ltxflow.project.load import LoadedProject, load
from ltxflow.project.model import Project
from ltxflow.project.sources import Sources
from ltxflow.steps.clip.nodes import templates_used
from ltxflow.steps.frame import action_of, outputs_for
from ltxflow.store.memo import Memory, memory_of
from ltxflow.store.published import Published, found, not_ours, read_published
from ltxflow.store.speeds import SPEEDS
from ltxflow.store.store import LazyMapping, Store, open_store
from ltxflow.store.traces import Trace, trace_folders

LIBRARIES = "/etc/ld.so.cache"  # written anew when a library is installed


def font_places(env: Mapping[str, str]) -> set[str]:
    """Given the environment, return the folders in which Pillow finds fonts by name (`ImageFont.truetype`), with all
    that are in them, and the list of the system's libraries: one of them changes when a font or FriBidi is installed.
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
_MEASURES = ("frames", "fps", "width", "height", "audio_rate")  # of a video, in the lock and in its file
PUBLISHED = ("narration", "captions", "posters")  # folders beside the output folder


@dataclass
class Session:
    """One verb's view of a project. `warnings` gathers what is worth saying once at the end."""

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
    is_part: bool = False  # whether `project` has only some of its scenes: enough to look, not to build
    has_new_choices: bool = False  # whether the lock is to be written before anything is submitted: `choose`
    tried_before: Mapping[str, Any] | None = None  # the lock's choices, where those of now hold only if they render
    load_with: Callable[[Mapping[str, Mapping[str, Any]]], LoadedProject] | None = (
        None  # the film again, with other choices
    )
    _speech: tuple[Project, SpeechPlan] | None = None  # of this project, until `forget_speech`
    _locked: dict[Key, tuple[str, LockTake]] | None = None
    _taken: tuple[Lock, list[tuple[str, int, LockTake]]] | None = None  # takes that frames were taken of, by this lock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the store's files. Whoever asks the store for more opens them again."""
        self.store.close()

    def read_records(self) -> None:
        """Read what verbs write about the film: its lock, and what is published. Another may have written since."""
        self.lock = self.lock_file.read(is_known=self.is_part)
        self.published, problem = read_published(self.record_path, _files(self.project) if self.is_part else None)
        self._locked = self._taken = None
        self.warnings += [problem] if problem else []
        if not self.is_part:
            self._measure_locked()

    def _measure_locked(self) -> None:
        """Put right what the lock says of files that are here: a wrong digit would be planned with, and published.

        Each file is measured once, since its digest names it; a lock that was found right is not looked at again.
        """
        known = f"lock {self.lock_file.digest}"
        if self.memory.get(known) is not None:
            return
        is_right = True
        for path, entry in self.lock.entries.items():
            for number, take in entry.takes.items() if not path.startswith("reference:") else ():
                measured = self._measured(take.digest)
                said = {**take.facts, "frames": take.frames}
                wrong = [name for name in _MEASURES if measured and said.get(name, measured[name]) != measured[name]]
                wrong += ["frames"] if measured and take.facts.get("frames", take.frames) != take.frames else []
                is_right = is_right and bool(measured) and not wrong
                if wrong:
                    was, now = said[wrong[0]], measured[wrong[0]]
                    self.warnings.append(_mismeasured(self.lock_file.name, f"{path}@{number}", wrong[0], was, now))
                    right = replace(take, frames=measured["frames"], facts={**take.facts, **measured})
                    self.lock = with_take(self.lock, path, number, right)
        if is_right:
            self.memory.put(known, True)

    def _measured(self, digest: Digest) -> dict[str, Any]:
        """Return the facts of a video in the store, by its file; none where it is not here, or does not read."""
        name = f"mp4 {digest}"
        measured = self.memory.get(name)
        if measured is None and self.store.cas.size(digest) is not None:
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

    def save_lock(self) -> None:
        """Write the lock; what others wrote to its file meanwhile is in it then, and told. Raise Overtaken for what
        cannot be read."""
        merged = self.lock_file.save(self.lock)
        if merged.lock is not self.lock:
            self.lock = merged.lock
            self.warnings += merge_problems(merged, self.lock_file.name)

    @property
    def own(self) -> Path:
        """`.ltxflow/`, the machine's own folder in the project."""
        return self.project.folder / OWN

    @property
    def lock_path(self) -> Path:
        return self.lock_file.path

    @property
    def record_path(self) -> Path:
        return self.own / "published.json"

    def lookup(self, key: Key) -> Trace | None:
        """A trace whose blobs are all here: the store's, or one the lock vouches for."""
        return self.store.lookup(key) or self._from_lock(key)

    def trace_of(self, key: Key) -> Trace | None:
        return self.store.trace(key)

    def locked(self, key: Key) -> Trace | None:
        """What the lock says of a key, as a trace, wherever the files are: the lock is an authority."""
        if not self.lock.mentions(key):
            return self._frame(key)
        if self._locked is None:
            self._locked = {
                take.key: (f"{path if ':' in path else f'clip:{path}'}@{number}", take)
                for path, entry in self.lock.entries.items()
                for number, take in entry.takes.items()
            }
        if key not in self._locked:
            return self._frame(key)
        target, take = self._locked[key]
        if target.startswith("reference:"):
            return Trace(key, {}, {"image": Output(take.digest, dict(take.facts))}, target, source=take.source)
        outputs = {
            name: Output(digest, dict(take.facts) if name in ("video", "published") else {})
            for name, digest in {**take.outputs, "video": take.digest}.items()
        }
        return Trace(key, {}, outputs, target, source=take.source)

    def _frame(self, key: Key) -> Trace | None:
        """What the lock says of a frame that a clip starts from: its pixels stand with the take it is of."""
        if not self.lock.mentions('"taken"'):
            return None
        if self._taken is None or self._taken[0] is not self.lock:  # else every key that is new asks every take
            takes = [(p, n, take) for p, entry in self.lock.entries.items() for n, take in entry.takes.items()]
            self._taken = self.lock, [each for each in takes if "taken" in each[2].facts]
        for path, number, take in self._taken[1]:
            made = {**take.outputs, "video": take.digest}
            for moment, told in take.facts["taken"].items():
                frame = None if moment == "last" else int(moment.removesuffix("f"))
                source = next(made[name] for name in outputs_for(frame).split("|") if name in made)
                if action_of(frame, source).key == key:
                    image = Output(Digest(told["digest"]), told)
                    return Trace(key, {}, {"image": image}, f"frame:{path}/{moment}@{number}", source="frame")
        return None

    def _from_lock(self, key: Key) -> Trace | None:
        """The lock's word stands for a trace if the blobs came along."""
        trace = self.locked(key)
        if trace is None or not {"published", "image"} & trace.outputs.keys():
            return None
        kept = self.store.trace(key)
        sizes = {output.digest: output.size for output in kept.outputs.values()} if kept else {}
        self.store.paths_read.update(self.store.cas.place(output.digest) for output in trace.outputs.values())
        blobs = [(output.digest, sizes.get(output.digest, 0)) for output in trace.outputs.values()]
        return trace if all(self.store.cas.has(digest, size) for digest, size in blobs) else None

    def placed(self) -> dict[str, PublishedClip]:
        """What stands in the output folder just as we wrote it, by file name; of a part of a film, what is of it."""
        base, folder = self.project.output.parent, self.project.output.name
        stands: dict[str, PublishedClip] = {}
        for path, entry in self.published.entries.items():
            inside, _, name = path.partition("/")
            if inside != folder or "/" in name or entry.source == "timeline":
                continue
            digest = found(self.published, base, path)
            if digest is not None and digest in entry.digests:
                target = _moved(entry.target, self.project.moved)
                facts = LazyMapping(partial(self._facts, entry.key))
                stands[name] = PublishedClip(name, digest, target, Key(entry.key), entry.source, entry.rank, facts)
        return stands

    def strangers(self, placed: Container[str]) -> dict[str, Problem]:
        """Files in the places of clips that are not ours (`placed`) as we wrote them, by name, with what to say."""
        base, folder = self.project.output.parent, self.project.output.name
        names = (clip_file_name(scene.index, clip.index) for scene in self.project.scenes for clip in scene.clips)
        there = [name for name in names if name not in placed and os.path.lexists(base / folder / name)]
        return {name: not_ours(self.published, base, f"{folder}/{name}") for name in there}

    def _facts(self, key: str) -> dict[str, Any]:
        """What the trace of a published video says of it. A plan of what is unchanged never asks."""
        trace = self.store.trace(Key(key)) if key else None
        return dict(trace.outputs["video"].facts) if trace else {}

    def clean(self) -> int:
        """Take away what killed processes left half-written, wherever this project writes; return how many."""
        public = self.project.output.parent
        own = [self.own, *(path for path in self.own.glob("*") if path.is_dir())]
        folders = [self.project.folder, *own, self.project.output, public, *(public / name for name in PUBLISHED)]
        return self.store.clean() + sum(files.clean_temps(folder) for folder in folders)

    def speech(self) -> SpeechPlan:
        """Return the film's narration, as far as it is spoken; evaluated once, until `forget_speech`."""
        if self._speech is None or self._speech[0] is not self.project:
            self._speech = self.project, speak(self.project, self.lookup, self.store.cas.path)
        return self._speech[1]

    def forget_speech(self) -> None:
        """Evaluate the narration again when it is next needed: some of it was spoken."""
        self._speech = None

    def timings(self) -> dict[str, dict[str, Any]]:
        """When the lines of every spoken narration are said, by scene."""
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
        message = f"the file of {target} in the store is damaged: {digest[:12]}…; it is set aside"
        raise LtxflowError(Problem(message, hint="ltxflow build makes it again", code="D002"), exit_code=FAILED)

    def rests_on(self) -> set[str | Path]:
        """Everything that an answer about this film depends on: what was read, and where something could appear."""
        project, config = self.project, self.config.folder
        rests: set[str | Path] = {*self.loaded.files, *project.profile.files, self.lock_path, self.record_path}
        rests |= {config / "config.yaml", config / "trust.json", self.store.root / SPEEDS}
        for folder in (project.folder / "templates", templates_folder()):
            rests |= {folder, *(folder / name for name in project.profile.sets)}
        for template in project.templates.values():
            rests |= {template.path, *(template.path.parent / part for part in template.parts)}
        output = project.output.parent
        rests |= {f"{output}/{path}" for path in (*self.published.entries, *_files(project))}
        rests |= {self.own / "references"}
        rests |= {self.store.root, *self.store.cas.folders(), *trace_folders(self.store.traces)}
        if any(scene.narration.speech for scene in project.scenes):  # an engine may be installed, or go
            rests |= {folder for folder in os.environ.get("PATH", "").split(os.pathsep) if folder}
        if any(needs_shaping(clip.prompt.text) for clip in project.clips):  # so may a font, or FriBidi
            rests |= font_places(os.environ)
        return rests | self.store.paths_read

    def look(self, question: PlanOptions) -> Plan:
        return self._look(question, self.lookup)

    def look_on_paper(self, question: PlanOptions) -> Plan:
        """As `look`, where the lock's word is enough: for what needs keys and no files."""
        return self._look(question, lambda key: self.lookup(key) or self.locked(key))

    def _look(self, question: PlanOptions, lookup: Lookup) -> Plan:
        spoken, placed = self.speech(), self.placed()
        outlook = make_plan(
            spoken.project,
            self.lock,
            question,
            lookup,
            self.trace_of,
            placed,
            self.strangers(placed),
            frozenset(spoken.unmade),
            self.memory,
        )
        self.memory.save(is_whole=not self.is_part)
        return outlook if question.only else replace(outlook, unsaid=spoken.unsaid)  # for stills nothing is spoken


def _mismeasured(lock: str, take: str, what: str, was: object, measured: object) -> Problem:
    message = f'{lock}: {take} has {what} "{measured}" by its file, not "{was}"'
    hint = "look at what changed in the lock with: git diff; the file counts, and the next build writes it down"
    return Problem(message, hint=hint, code="D004", level="warning")


def _moved(target: str, moves: Iterable[tuple[str, str]]) -> str:
    """`clip:hook/b@1` under its new id, so that what stands for a moved clip still stands for it."""
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
) -> Session:
    """Given `-p` and the command line's settings, return the Session, to be closed. Writes nothing. `sources` as `load`
    takes them.

    A project that brings what needs trust, and is not trusted, is refused with the list of what it brings.
    """
    opened_ns = time.time_ns()
    file = find_project(asked, cwd)
    confine_project(file, root)
    check_own(file.parent / OWN)
    _check_lock(file.parent / LOCK)
    config = read_config(env)
    warnings: list[Problem] = []
    store = open_store(env, config.store, warnings.append)
    store.memory = memory_of(store.root, file.parent, release())

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
        if str(file.parent.resolve()) not in config.trust:
            raise
        loaded, is_trusting = read(True, chosen), True
    project = loaded.project
    check_published(project)
    used = foreign_in_use(project)
    if not is_trusted(config, project.folder, project.foreign, used):
        raise LtxflowError(
            Problem(
                f"this project brings {', '.join(sorted(used))}",
                hint=f"look at it, then allow it with: ltxflow trust -p {shown(project.folder, cwd)}",
                code="L090",
            )
        )
    is_part = sources is not None and sources.numbers is not None
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
        is_part,
        load_with=partial(read, is_trusting),
    )
    session.read_records()
    return session


def _check_lock(path: Path) -> None:
    """Raise LtxflowError for a lock that is a link: a new version of it would take the link's place."""
    if path.is_symlink():
        message = f'"{path}" is a symbolic link to "{os.readlink(path)}": the lock is a file of its film'
        raise LtxflowError(Problem(message, hint="put the file itself in its place", code=LINK))


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
    """The paths of a film's clips in the record of what is published."""
    places = (clip_file_name(scene.index, clip.index) for scene in project.scenes for clip in scene.clips)
    return frozenset(f"{project.output.name}/{place}" for place in places)


# The modules that say what a file shows and what a key is: another text of theirs is another ltxflow.
_DECISIVE = (
    *("core/digest.py", "comfy/graph.py", "script/template.py", "script/jinja.py", "script/rendering.py"),
    *(
        "script/schema.py",
        "steps/clip.py",
        "media/fit.py",
        "media/image.py",
        "media/probe.py",
        "media/sound.py",
        "media/video.py",
    ),
)


def release() -> str:
    """This very ltxflow: its version, and, for those who work on it, the state of its files."""
    package = Path(__file__).parents[1]
    return f"{__version__} {[files.signature(package / name) for name in _DECISIVE]}"


def make_own_folder(session: Session) -> Path:
    """Given a session, make `.ltxflow/` with its own .gitignore, and return it."""
    own = session.own
    files.make_dir(own)
    if not (own / ".gitignore").exists():
        files.write_atomic(own / ".gitignore", "*\n")
    return own


def hold(session: Session, *, wait: bool, on_wait: Any) -> Any:
    """Given a session, hold the project for writing: a kernel lock that dies with its process."""
    return process_lock.acquire(make_own_folder(session) / "lock", wait=wait, on_wait=on_wait)
