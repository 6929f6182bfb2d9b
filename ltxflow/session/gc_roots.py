"""What films need of a store: what their locks name, on every branch, and what stands in their output folders."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ltxflow.core import git
from ltxflow.core.digest import Key
from ltxflow.core.errors import FAILED, LtxflowError, hint_for, problem
from ltxflow.core.workspace import OWN, read_bytes, real_path
from ltxflow.plan.evaluate import Lookup, Status
from ltxflow.session.session import LOCK, Session
from ltxflow.store.leases import RegisteredFilm, film_of, gc_shared, lease, remember_film
from ltxflow.store.published import read_published
from ltxflow.store.traces import Trace

T = TypeVar("T")

_HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class GcRoots:
    """What one film needs, keys and digests alike by name. `source` is where that is from, for people."""

    film: RegisteredFilm
    names: frozenset[str]
    source: str
    is_gone: bool = False


def register(session: Session, statuses: Iterable[Status] = (), *, is_whole: bool = False) -> None:
    """Let the store know of this film and of what it needs now.

    Unless it was the whole plan, what the film needed before is needed still. A store that cannot be written needs no
    register: nothing is removed there.
    """
    root, project = session.store.root, session.project
    if not os.access(root, os.W_OK):
        return
    folder = real_path(project.folder)
    locked = {take.key for entry in session.lock.entries.values() for _, take in entry.all_takes()}
    planned = {name for status in (*statuses, *session.speech().statuses.values()) for name in _of_status(status)}
    with session.writing():
        known = None if is_whole else film_of(root, folder)
        needed = planned | locked | (known.keys if known else frozenset())
        remember_film(root, RegisteredFilm(folder, project.id, project.output.parent, frozenset(needed)))


class GcLease:
    """What a run counts on, for as long as it lasts: `cache gc` keeps it."""

    def __init__(self, root: Path, tell: Callable[[Iterable[str]], None]) -> None:
        self._root = root
        self._tell = tell

    def lookup(self, find: Lookup) -> Lookup:
        """Return one whose answers are counted on."""

        def lookup(key: Key) -> Trace | None:
            with gc_shared(self._root):
                trace = find(key)
                if trace is not None:
                    self._tell(names_of(trace))
            return trace

        return lookup

    @contextmanager
    def putting(self) -> Iterator[Callable[[Iterable[str]], None]]:
        """Yield a callback that registers each stored key. `cache gc` waits until the block exits."""
        with gc_shared(self._root):
            yield self._tell


@contextmanager
def relying(
    session: Session,
    find: Callable[[], T],
    statuses: Callable[[T], Iterable[Status]],
    is_long: Callable[[T], bool],
) -> Iterator[tuple[T, GcLease]]:
    """Yield it: till the end those are counted on.

    Where something is to be made (`is_long`) that is written down, and `cache gc` may run; else it waits.
    """
    root = session.store.root
    with ExitStack() as stack, ExitStack() as inside:
        inside.enter_context(gc_shared(root))
        found = find()
        if not is_long(found):
            yield found, GcLease(root, lambda names: None)
            return
        names = {name for status in statuses(found) for name in _of_status(status)}
        tell = stack.enter_context(lease(root, session.project.folder, names))
        inside.close()
        yield found, GcLease(root, tell)


def _of_status(status: Status) -> Iterator[str]:
    if status.key is not None:
        yield status.key
    if status.trace is not None:  # an approved take's is of another key
        yield from names_of(status.trace)


def names_of(trace: Trace) -> list[str]:
    return [trace.key, *(output.digest for output in trace.outputs.values())]


def _lock_text(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise LtxflowError(
            problem("D301", hint=hint_for(error), file=path, cause=error.strerror), exit_code=FAILED
        ) from error


def needs_of(film: RegisteredFilm, *, with_git: bool = True) -> GcRoots:
    """Return the keys and digests that a film needs: of its last plan, its lock on every branch, and what is published.

    Locks are not parsed: whatever looks like a key or a digest counts, also in the middle of a merge or of a newer
    version. A film whose folder is gone (moved, or on a disk that is away) needs what it needed last. Raise
    LtxflowError when git cannot be asked, or the record of what is published is damaged.
    """
    if not any((film.folder / name).exists() for name in ("project.yaml", LOCK)):
        return GcRoots(film, film.keys, f"its folder is not there: what it needed on {film.seen_at[:10]}", True)
    texts, tips = [], 0
    if os.path.lexists(film.folder / LOCK):
        texts.append(_lock_text(film.folder / LOCK))
    if with_git and git.is_checkout(film.folder):
        try:
            found = git.tips(film.folder)
            texts += git.texts(film.folder, LOCK, sorted({*found.values()})).values()
        except LtxflowError as error:
            hint = "what other branches need is not known then; leave them out with --no-git"
            raise LtxflowError(*(replace(p, hint=hint) for p in error.problems), exit_code=FAILED) from None
        tips = len(found)
    names = {*film.keys, *(name.decode() for text in texts for name in _HEX.findall(text))}
    published, problem = read_published(film.folder / OWN / "published.json")
    if problem is not None:
        raise LtxflowError(problem, exit_code=FAILED)
    for piece in published.entries.values():
        names |= {piece.key, *piece.digests}
    source = (
        f"its lock, here and at {tips} tips of git, and what is published" if tips else "its lock and what is published"
    )
    return GcRoots(film, frozenset(names), source)
