"""The film as it was at a git revision, read out of git's objects. Touches neither work tree nor index.

Plan a film as if one file had other content: what an edit of it would cost.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ltxflow.core import git
from ltxflow.core.digest import digest_bytes
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.target import Tally
from ltxflow.core.workspace import real_path
from ltxflow.lock.file import read_lock
from ltxflow.media.speech import pick_offline
from ltxflow.plan.graph import build_graph, revisions
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.plan.plan_diff import FilmDifference, difference
from ltxflow.project import model
from ltxflow.project.config import is_trusted
from ltxflow.project.load import load
from ltxflow.project.model import Clip, Image, Media
from ltxflow.session.session import LOCK, Session, foreign_in_use
from ltxflow.store.published import Published
from ltxflow.store.snapshot import absolute


def differs_from(session: Session, ref: str) -> FilmDifference:
    """Return what changed in the film since a git revision. Raise LtxflowError when it cannot be read there."""
    with film_at(session, ref) as before:
        return difference(before.plan(PlanOptions()), session.plan(PlanOptions()))


@dataclass(frozen=True)
class RemainingWork:
    """What is still to be rendered of the clips that changed, and of the references that they start from."""

    targets: frozenset[str]
    tally: Tally


def left_to_render(outlook: Plan, clips: Collection[str]) -> RemainingWork:
    """Return what is not made yet of them, and of the stills that they need."""
    theirs = [target for target in outlook.plan.wanted if outlook.plan.nodes[target].clip in clips]
    needed = build_graph(outlook.nodes, theirs).nodes
    found = frozenset(
        target
        for target, node in needed.items()
        if outlook.statuses[target].state != "hit"
        and (node.kind == "reference" or (node.kind == "clip" and node.clip in clips))
    )
    return RemainingWork(found, Tally.of(found, outlook.heads))


def with_groups(session: Session, question: PlanOptions) -> PlanOptions:
    """Return the options with the clips of each `changed:REF` among their selectors."""
    wanted = revisions(question.selectors)
    if not wanted:
        return question
    return replace(question, groups={name: differs_from(session, ref).changed for name, ref in wanted.items()})


@contextmanager
def film_at(session: Session, ref: str) -> Iterator[Session]:
    """Open the film as it was then, with the store of today; its files go with the context."""
    folder = real_path(session.project.folder)
    if not git.is_checkout(folder):
        raise LtxflowError(problem("U050.no-checkout", folder=folder))
    with _told_as_usage():
        top = Path(os.fsdecode(git.git(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
    try:
        commit = git.commit_of(folder, ref)
    except LtxflowError:
        raise LtxflowError(problem("U050.unknown", revision=ref)) from None
    with tempfile.TemporaryDirectory(prefix="ltxflow-revision-") as temp:
        tree = real_path(temp) / "tree"
        tree.mkdir()
        with _told_as_usage():
            git.check_out(top, commit, tree, os.path.relpath(real_path(session.project.output), top))
        file = tree / folder.relative_to(top) / session.project.file.name
        if not file.is_file():
            name = folder.relative_to(top) / session.project.file.name
            raise LtxflowError(problem("U051", file=name, revision=ref))
        before = _open(session, file, tree, ref)
        yield before
        read = {path for path in absolute(before.input_paths()) if not path.startswith(f"{tree}/")}
        session.inputs[f"film at {ref}"] = read | absolute(git.settings(top))


def _open(session: Session, file: Path, root: Path, ref: str) -> Session:
    try:
        loaded = load(
            file,
            root=str(root),
            is_trusted=str(real_path(session.project.folder)) in session.config.trust,
            engines=session.config.engines,
            offline=lambda: pick_offline(os.environ),
            memory=session.memory,
        )
        lock = read_lock(file.parent / LOCK, f"{LOCK} at {ref}")
    except LtxflowError as error:
        first = error.problems[0]
        raise LtxflowError(problem("U052", hint=first.hint, revision=ref, cause=first.message)) from None
    used = foreign_in_use(loaded.project)
    if not is_trusted(session.config, session.project.folder, loaded.project.foreign, used):
        raise LtxflowError(problem("L090.revision", revision=ref, parts=", ".join(sorted(used))))
    return replace(
        session, project=loaded.project, loaded=loaded, lock=lock, published=Published(), inputs={}, _locked=None
    )


@contextmanager
def _told_as_usage() -> Iterator[None]:
    """Report errors of git as usage errors: the question cannot be answered here, but no clip failed."""
    try:
        yield
    except LtxflowError as error:
        raise LtxflowError(*(replace(problem, code="U050") for problem in error.problems)) from None


OTHER = digest_bytes(b"what if it were another one")


@dataclass(frozen=True)
class WhatIf:
    """The targets that an edit of `file` would render again, and those where that depends on the edit, with why."""

    file: str
    again: tuple[str, ...]
    maybe: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {"file": self.file, "again": list(self.again), "maybe": dict(self.maybe)}


def what_if(session: Session, question: PlanOptions, outlook: Plan, name: str, cwd: Path) -> WhatIf:
    """Return what an edit of that file would come to.

    Raise LtxflowError when the film does not read that file.
    """
    file = next(
        (real_path(p) for p in (cwd / name, session.project.folder / name) if p.exists()), real_path(cwd / name)
    )
    known = {real_path(path) for path in session.loaded.files}
    edited = _edited(session.project, file)
    maybe = _by_text(outlook, file)
    if file not in known and edited == session.project and not maybe:
        names = sorted(str(path) for path in known if path.is_relative_to(real_path(session.project.folder)))
        near = difflib.get_close_matches(str(file), names, n=1, cutoff=0.5)
        hint = (
            f'did you mean "{Path(near[0]).relative_to(real_path(session.project.folder))}"?'
            if near
            else "ltxflow check"
        )
        raise LtxflowError(problem("U014.what-if", hint=hint, file=name))
    there = replace(session, project=edited, warnings=[]).plan(question)
    again = []
    for target, status in there.statuses.items():
        before = outlook.statuses.get(target)
        if before is None or status.key == before.key or status.node.kind == "frame":
            continue  # taken on the way: its clip, and those that start from it, are listed
        if status.state == "maybe":
            maybe.setdefault(target, status.waits)
        elif status.state == "miss":
            again.append(target)
    return WhatIf(name, tuple(again), {target: why for target, why in maybe.items() if target not in again})


def _edited(value: Any, file: Path) -> Any:
    """Return the film with other pixels or bytes wherever it names that file."""
    if isinstance(value, Image) and real_path(value.path) == file:
        return replace(value, pixels=OTHER)
    if isinstance(value, Media) and real_path(value.path) == file:
        return replace(value, digest=OTHER)
    if isinstance(value, tuple):
        parts = tuple(_edited(part, file) for part in value)
        return parts if parts != value else value
    if is_dataclass(value) and type(value).__module__ == model.__name__:
        found = {part.name: getattr(value, part.name) for part in fields(value)}
        changed = {name: _edited(part, file) for name, part in found.items()}
        return replace(value, **changed) if changed != found else value  # type: ignore[type-var]
    if isinstance(value, Mapping) and any(is_dataclass(part) for part in value.values()):
        changed = {name: _edited(part, file) for name, part in value.items()}
        return changed if changed != dict(value) else value
    return value


def _by_text(outlook: Plan, file: Path) -> dict[str, str]:
    """Targets that depend on how a text, a template or a sound is edited: what of it will change is not known yet."""
    maybe: dict[str, str] = {}
    scenes = {scene.id: scene for scene in outlook.project.scenes}
    for target in outlook.plan.wanted:
        node = outlook.plan.nodes[target]
        template = getattr(node.spec, "template", None)
        clip = getattr(node.spec, "clip", None)
        if template is not None and file in _files_of(template):
            maybe[target] = "if what the template makes changes"
        if not isinstance(clip, Clip):
            continue
        if any(real_path(Path(span.file)) == file for span in clip.prompt.spans.values()):
            maybe[target] = "if its prompt changes"
        sound = scenes[clip.scene].narration.file
        if sound is not None and real_path(sound.path) == file and clip.length.frames is None:
            maybe[target] = "if the narration becomes longer than the clips cover"
    return maybe


def _files_of(template: Any) -> set[Path]:
    return {real_path(template.path), *(real_path(template.path.parent / part) for part in template.parts)}
