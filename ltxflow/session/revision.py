"""The film as it was at a git revision, read out of git's objects. Touches neither work tree nor index."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from ltxflow.core import git
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.lock.model import read_lock
from ltxflow.media.speech import pick_offline
from ltxflow.plan.graph import build_graph
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.plan.plan_diff import FilmDifference, difference
from ltxflow.plan.select import revisions
from ltxflow.project.config import is_trusted
from ltxflow.project.load import load
from ltxflow.session.session import LOCK, Session, foreign_in_use
from ltxflow.store.published import Published


def differs_from(session: Session, ref: str) -> FilmDifference:
    """Return what changed in the film since a git revision. Raise LtxflowError when it cannot be read there."""
    with film_at(session, ref) as before:
        return difference(before.plan(PlanOptions()), session.plan(PlanOptions()))


@dataclass(frozen=True)
class RemainingWork:
    """What is still to be rendered of the clips that changed, and of the references that they start from."""

    targets: frozenset[str]

    @property
    def references(self) -> int:
        return sum(target.startswith("reference:") for target in self.targets)

    @property
    def clips(self) -> int:
        takes = [target for target in self.targets if not target.startswith("reference:")]
        return len({target.rpartition("@")[0] for target in takes})

    @property
    def more_takes(self) -> int:
        return len(self.targets) - self.references - self.clips


def left_to_render(outlook: Plan, clips: Collection[str]) -> RemainingWork:
    """Return what is not made yet of them, and of the stills that they need."""
    theirs = [target for target in outlook.plan.wanted if outlook.plan.nodes[target].clip in clips]
    needed = build_graph(outlook.nodes, theirs).nodes
    return RemainingWork(
        frozenset(
            target
            for target, node in needed.items()
            if outlook.statuses[target].state != "hit"
            and (node.kind == "reference" or (node.kind == "clip" and node.clip in clips))
        )
    )


def with_groups(session: Session, question: PlanOptions) -> PlanOptions:
    """Return the options with the clips of each `changed:REF` among their selectors."""
    wanted = revisions(question.selectors)
    if not wanted:
        return question
    return replace(question, groups={name: differs_from(session, ref).changed for name, ref in wanted.items()})


@contextmanager
def film_at(session: Session, ref: str) -> Iterator[Session]:
    """Open the film as it was then, with the store of today; its files go with the context."""
    folder = session.project.folder.resolve()
    if not git.is_checkout(folder):
        raise LtxflowError(problem("U050.no-checkout", folder=folder))
    with _told_as_usage():
        top = Path(os.fsdecode(git.git(folder, "rev-parse", "--show-toplevel").removesuffix(b"\n")))
    commit = _commit(folder, ref)
    with tempfile.TemporaryDirectory(prefix="ltxflow-revision-") as temp:
        tree = Path(temp).resolve() / "tree"
        tree.mkdir()
        with _told_as_usage():
            git.check_out(top, commit, tree, os.path.relpath(session.project.output.resolve(), top))
        file = tree / folder.relative_to(top) / session.project.file.name
        if not file.is_file():
            name = folder.relative_to(top) / session.project.file.name
            raise LtxflowError(problem("U051", file=name, revision=ref))
        yield _open(session, file, tree, ref)


def _open(session: Session, file: Path, root: Path, ref: str) -> Session:
    try:
        loaded = load(
            file,
            root=str(root),
            is_trusted=str(session.project.folder.resolve()) in session.config.trust,
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


def _commit(folder: Path, ref: str) -> str:
    try:
        found = git.git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    except LtxflowError:
        raise LtxflowError(problem("U050.unknown", revision=ref)) from None
    return found.decode().strip()


@contextmanager
def _told_as_usage() -> Iterator[None]:
    """Report errors of git as usage errors: the question cannot be answered here, but no clip failed."""
    try:
        yield
    except LtxflowError as error:
        raise LtxflowError(*(replace(problem, code="U050") for problem in error.problems)) from None
