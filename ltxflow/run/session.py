"""Opens what a verb works with: the project, its lock, the store, and what stands in the output folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Key, Output
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.plan.outlook import Outlook, Placed, Question, look
from ltxflow.script.config import Config, is_trusted, read_config
from ltxflow.script.load import Loaded, load
from ltxflow.script.model import Project
from ltxflow.script.paths import find_project, shown
from ltxflow.store.lock import Lock, LockTake, read_lock
from ltxflow.store.published import Published, found, read_published
from ltxflow.store.store import Store, open_store
from ltxflow.store.traces import Trace

LOCK = "ltxflow.lock"
OWN = ".ltxflow"


@dataclass
class Session:
    """One verb's view of a project. `warnings` gathers what is worth saying once at the end."""

    project: Project
    loaded: Loaded
    config: Config
    store: Store
    lock: Lock
    published: Published
    warnings: list[Problem] = field(default_factory=list)
    _locked: dict[Key, tuple[str, LockTake]] | None = None

    @property
    def own(self) -> Path:
        """`.ltxflow/`, the machine's own folder in the project."""
        return self.project.folder / OWN

    @property
    def lock_path(self) -> Path:
        return self.project.folder / LOCK

    @property
    def record_path(self) -> Path:
        return self.own / "published.json"

    def lookup(self, key: Key) -> Trace | None:
        """A trace whose blobs are all here: the store's, or one the lock vouches for."""
        return self.store.lookup(key) or self._from_lock(key)

    def trace_of(self, key: Key) -> Trace | None:
        return self.store.trace(key)

    def _from_lock(self, key: Key) -> Trace | None:
        """The lock is an authority: its digest and facts stand for a trace, if the blobs came along."""
        if self._locked is None:
            self._locked = {
                take.key: (f"clip:{path}@{number}", take)
                for path, entry in self.lock.entries.items()
                for number, take in entry.takes.items()
            }
        known = self._locked.get(key)
        if known is None or "published" not in known[1].outputs:
            return None
        target, take = known
        outputs = {
            name: Output(digest, dict(take.facts) if name in ("video", "published") else {})
            for name, digest in {**take.outputs, "video": take.digest}.items()
        }
        if not all(self.store.cas.has(output.digest) for output in outputs.values()):
            return None
        return Trace(key, {}, outputs, target, source=take.source)

    def placed(self) -> dict[str, Placed]:
        """What stands in the output folder just as we wrote it, by file name."""
        base, folder = self.project.output.parent, self.project.output.name
        stands: dict[str, Placed] = {}
        for path, entry in self.published.entries.items():
            inside, _, name = path.partition("/")
            if inside != folder or "/" in name:
                continue
            digest = found(self.published, base, path)
            if digest is not None and digest in entry.digests:
                trace = self.store.trace(Key(entry.key)) if entry.key else None
                facts = (trace.outputs["video"].facts if trace else None) or {}
                stands[name] = Placed(name, digest, entry.target, Key(entry.key), entry.source, entry.rank, facts)
        return stands

    def look(self, question: Question) -> Outlook:
        return look(self.project, self.lock, question, self.lookup, self.trace_of, self.placed())


def open_session(
    asked: str | None,
    *,
    cwd: Path,
    env: Mapping[str, str],
    root: str | None = None,
    command_line: Mapping[str, Any] | None = None,
) -> Session:
    """Given `-p` and the command line's settings, return the Session. Writes nothing.

    A project that brings what needs trust, and is not trusted, is refused with the list of what it brings.
    """
    file = find_project(asked, cwd)
    config = read_config(env)
    try:
        loaded = load(file, root=root, command_line=command_line)
    except LtxflowError:
        if str(file.parent.resolve()) not in config.trust:
            raise
        loaded = load(file, root=root, command_line=command_line, is_trusted=True)
    project = loaded.project
    if not is_trusted(config, project.folder, project.foreign):
        raise LtxflowError(
            Problem(
                f"this project brings {', '.join(sorted(project.foreign))}",
                hint=f"look at it, then allow it with: ltxflow trust -p {shown(project.folder, cwd)}",
                code="L090",
            )
        )
    warnings: list[Problem] = []
    store = open_store(env, config.store, warnings.append)
    lock = read_lock(project.folder / LOCK, shown(project.folder / LOCK, cwd))
    published, problem = read_published(project.folder / OWN / "published.json")
    if problem:
        warnings.append(problem)
    return Session(project, loaded, config, store, lock, published, warnings)


def make_own_folder(session: Session) -> Path:
    """Given a session, make `.ltxflow/` with its own .gitignore, and return it."""
    own = session.own
    files.make_dir(own)
    if not (own / ".gitignore").exists():
        files.write_atomic(own / ".gitignore", "*\n")
    return own


def hold(session: Session, *, wait: bool, on_wait: Any) -> Any:
    """Given a session, hold the project for writing: a kernel lock that dies with its process."""
    return files.ProcessLock.acquire(make_own_folder(session) / "lock", wait=wait, on_wait=on_wait)
