"""Reads a whole store and says what in it is not as it should be. Sets bad blobs aside when asked; makes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.errors import LtxflowError
from ltxflow.store.cas import Cas
from ltxflow.store.store import Store
from ltxflow.store.traces import read_trace, trace_keys

Kind = Literal["rotted", "empty", "unreadable", "missing"]
TOLD: Mapping[Kind, str] = {
    "rotted": "its bytes are not what its name says",
    "empty": "it has no bytes",
    "unreadable": "it cannot be read",
    "missing": "it is not there",
}


@dataclass(frozen=True)
class Fault:
    """A blob that is not what traces count on; `targets` are those whose traces name it."""

    kind: Kind
    digest: Digest
    targets: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        return TOLD[self.kind]


def examine(cas: Cas, digest: Digest) -> Kind | None:
    """Given a digest, read its blob to the end; return what is wrong with it, or None."""
    path = cas.path(digest)
    try:
        if digest_file(path) == digest:
            return None
        return "rotted" if path.stat().st_size else "empty"
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"


def promises(store: Store) -> dict[Digest, list[str]]:
    """Given a store, return digest → the targets of all traces that name it as an output."""
    named: dict[Digest, list[str]] = {}
    for key in trace_keys(store.traces):
        trace, _ = read_trace(store.traces, key)
        for output in trace.outputs.values() if trace else ():
            named.setdefault(output.digest, []).append(trace.target if trace else "")
    return named


def faults(store: Store, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[Fault]:
    """Given a store, read every blob, and return what is wrong, blobs that traces name and that are not there too."""
    named = promises(store)
    every = sorted({*store.cas.iter(), *named})
    for number, digest in enumerate(every, 1):
        kind = examine(store.cas, digest)
        if kind is not None:
            yield Fault(kind, digest, tuple(dict.fromkeys(named.get(digest, ()))))
        progress(number, len(every))


def repair(cas: Cas, digest: Digest, copies: Iterable[Path]) -> bool:
    """Given a bad or missing blob, and where whole copies may be, bring it back; return whether one was found.

    The bad one is set aside in any case: what has no bytes is made again by the next build, what has wrong ones
    would be taken for right.
    """
    path = cas.path(digest)
    if path.exists():
        files.set_aside(path)
    for copy in copies:
        try:
            if digest_file(copy) == digest and cas.put(copy, digest) == digest:
                return True
        except (OSError, LtxflowError):
            continue  # it changed meanwhile, or cannot be read: no copy then
    return False
