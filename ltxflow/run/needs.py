"""What films need of a store: what their locks name, on every branch, and what stands in their output folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ltxflow.core import git
from ltxflow.core.errors import FAILED, LtxflowError
from ltxflow.run.session import LOCK, OWN, Session
from ltxflow.store.published import read_published
from ltxflow.store.users import Film, remember_film

_HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class Needs:
    """What one film needs, keys and digests alike by name. `told` says for people where that is from."""

    film: Film
    names: frozenset[str]
    told: str
    is_gone: bool = False


def register(session: Session, keys: Iterable[str]) -> None:
    """Given a session and the keys of its plan, let the store know of this film and of what it needs now."""
    locked = {take.key for entry in session.lock.entries.values() for take in entry.takes.values()}
    project = session.project
    film = Film(project.folder.resolve(), project.id, project.output.parent, frozenset(keys) | locked)
    remember_film(session.store.root, film)


def needs_of(film: Film, *, with_git: bool = True) -> Needs:
    """Given a film, return what it needs: what its last plan named, its lock here and at the tip of every branch,
    and what is published.

    Locks are not parsed: whatever looks like a key or a digest counts, also in the middle of a merge or of a newer
    version. A film whose folder is gone (moved, or on a disk that is away) needs what it needed last. Raise
    LtxflowError when git cannot be asked, or the record of what is published is damaged.
    """
    if not any((film.folder / name).exists() for name in ("project.yaml", LOCK)):
        return Needs(film, film.keys, f"its folder is not there: what it needed on {film.seen_at[:10]}", True)
    texts, tips = [], 0
    if (film.folder / LOCK).exists():
        texts.append((film.folder / LOCK).read_bytes())
    if with_git and git.is_checkout(film.folder):
        found = git.tips(film.folder)
        tips = len(found)
        texts += git.texts(film.folder, LOCK, sorted({*found.values()})).values()
    names = {*film.keys, *(name.decode() for text in texts for name in _HEX.findall(text))}
    published, problem = read_published(film.folder / OWN / "published.json")
    if problem is not None:
        raise LtxflowError(problem, exit_code=FAILED)
    for piece in published.entries.values():
        names |= {piece.key, *piece.digests}
    told = (
        f"its lock, here and at {tips} tips of git, and what is published" if tips else "its lock and what is published"
    )
    return Needs(film, frozenset(names), told)
