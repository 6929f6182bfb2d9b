"""What a store holds, what of it is still needed, and what could go. Decides; removes only what it is handed.

Three sorts of things: what somebody needs; what was paid for (renders, speech, pictures of a model), which goes only
when that is asked for by name; and the rest, which a build makes again at no cost: slates, and blobs of no trace.

Reads a whole store and says what in it is not as it should be. Sets bad blobs aside when asked; makes nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import Literal

from ltxflow.core import files
from ltxflow.core.digest import Digest, Key, digest_file
from ltxflow.core.errors import LtxflowError
from ltxflow.core.regular import read_bytes
from ltxflow.store.blobs import BlobStore
from ltxflow.store.store import Store
from ltxflow.store.traces import TRACE_BYTES, Trace, read_trace, trace_folders, trace_keys, trace_path

FREE_SOURCES = frozenset(["animatic", "conform", "inspect"])
_HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


@dataclass(frozen=True)
class Blob:
    """A file in `cas/`: its bytes, and when it came (seconds since 1970)."""

    size: int
    at: float


@dataclass(frozen=True)
class StoredAction:
    """A trace as far as it matters here. `names` are all digests that stand in it: outputs, and inputs."""

    key: Key
    target: str
    source: str
    made_at: str
    seconds: float
    at: float
    outputs: frozenset[Digest]
    names: frozenset[str]

    @property
    def is_paid(self) -> bool:
        return self.source not in FREE_SOURCES


@dataclass(frozen=True)
class StoreInventory:
    """All that a store holds. `damaged` are files and folders that were set aside."""

    made: Mapping[Key, StoredAction]
    blobs: Mapping[Digest, Blob]
    damaged: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        return sum(blob.size for blob in self.blobs.values())

    def size_of(self, digests: Iterable[Digest]) -> int:
        return sum(self.blobs[digest].size for digest in {*digests} & self.blobs.keys())


def stock(store: Store) -> StoreInventory:
    """Given a store, return what is in it. Reads every trace, and looks at every blob."""
    made = {}
    for key in trace_keys(store.traces):
        path = trace_path(store.traces, key)
        trace, _ = read_trace(store.traces, key)
        with suppress(OSError):  # it may go while it is looked at
            if trace is not None:
                made[key] = _made(trace, path)
    blobs = {}
    for digest in store.cas.iter():
        facts = os.lstat(store.cas.path(digest))
        if not S_ISREG(facts.st_mode):
            continue  # no blob: `cache verify` says so
        blobs[digest] = Blob(facts.st_size, max(facts.st_mtime, facts.st_ctime))
    return StoreInventory(made, blobs, tuple(_damaged(store)))


def _made(trace: Trace, path: Path) -> StoredAction:
    facts = path.stat()
    return StoredAction(
        key=trace.key,
        target=trace.target,
        source=trace.source,
        made_at=trace.made_at,
        seconds=float(trace.seconds.get("ran") or trace.seconds.get("total") or 0.0),
        at=max(facts.st_mtime, facts.st_ctime),
        outputs=frozenset(output.digest for output in trace.outputs.values()),
        names=frozenset(found.decode() for found in _HEX.findall(read_bytes(path, TRACE_BYTES))),
    )


def _damaged(store: Store) -> Iterable[Path]:
    for folder in (store.root, *store.cas.folders(), *trace_folders(store.traces)):
        yield from sorted(folder.glob("*.corrupt"))


def closure(stock: StoreInventory, keys: Iterable[str], digests: Iterable[str]) -> tuple[set[Key], set[Digest]]:
    """Given what is needed by name, return it with all that it was made from.

    A clip that continues another, or starts from a picture that a model made, has their digests in its action:
    without those traces its key could not even be computed. What was found in looking at it stays with it.
    """
    makers: dict[str, list[Key]] = {}
    for made in stock.made.values():
        for digest in made.outputs:
            makers.setdefault(digest, []).append(made.key)
    needed: set[Key] = set()
    named = {digest for digest in digests if digest in stock.blobs}
    todo = [Key(key) for key in keys if key in stock.made]
    while todo:
        key = todo.pop()
        if key in needed:
            continue
        needed.add(key)
        for name in stock.made[key].names:
            if name in stock.blobs:
                named.add(Digest(name))
            todo += makers.get(name, ())
    looks = [made for made in stock.made.values() if made.source == "inspect" and (made.names - made.outputs) & named]
    needed |= {made.key for made in looks}
    return needed, {Digest(digest) for digest in named}.union(*(made.outputs for made in looks))


@dataclass(frozen=True)
class Sweep:
    """What would go, and what is left. `spared` was paid for and nobody needs it; `over`: bytes above the cap still."""

    traces: tuple[StoredAction, ...] = ()
    blobs: tuple[Digest, ...] = ()
    damaged: tuple[Path, ...] = ()
    size: int = 0  # bytes that go
    spared: tuple[StoredAction, ...] = ()
    spared_size: int = 0
    over: int = 0
    needed: frozenset[Digest] = field(default_factory=frozenset)

    @property
    def is_empty(self) -> bool:
        return not (self.traces or self.blobs or self.damaged)


def sweep(
    stock: StoreInventory,
    keys: Iterable[str],
    digests: Iterable[str],
    *,
    paid: bool = False,
    max_size: int | None = None,
    before: float | None = None,
) -> Sweep:
    """Given what a store holds and what is needed of it, return what can go.

    `paid` lets renders go that nobody needs, `before` only what came before that moment. With `max_size` only as much
    goes as brings the store below it, oldest first.
    """
    needed, named = closure(stock, keys, digests)
    idle = sorted((made for key, made in stock.made.items() if key not in needed), key=lambda made: (made.at, made.key))
    old = float("inf") if before is None else before
    may_go = [made for made in idle if (paid or not made.is_paid) and made.at < old]
    leaving = {made.key for made in may_go}
    stays = named.union(*(made.outputs for key, made in stock.made.items() if key not in leaving))
    orphans = {digest for digest, blob in stock.blobs.items() if digest not in stays and blob.at < old}
    orphans -= {digest for made in may_go for digest in made.outputs}
    traces, blobs = _until(stock, may_go, orphans, stays, max_size)
    size = stock.size_of(blobs)
    gone = {made.key for made in traces}
    spared = tuple(made for made in idle if made.key not in gone and made.is_paid)
    held = {digest for made in spared for digest in made.outputs} - named
    over = 0 if max_size is None else max(0, stock.size - size - max_size)
    damaged = stock.damaged if max_size is None else ()
    return Sweep(traces, blobs, damaged, size, spared, stock.size_of(held), over, frozenset(named))


def _until(
    stock: StoreInventory, may_go: list[StoredAction], orphans: set[Digest], stays: set[Digest], max_size: int | None
) -> tuple[tuple[StoredAction, ...], tuple[Digest, ...]]:
    """Blobs of no trace first, then traces by age, each with the blobs that only it had, until the cap is met."""
    left = stock.size
    traces: list[StoredAction] = []
    blobs: list[Digest] = []
    users: dict[Digest, int] = {}
    for made in may_go:
        for digest in made.outputs:
            users[digest] = users.get(digest, 0) + 1

    def is_enough() -> bool:
        return max_size is not None and left <= max_size

    for digest in sorted(orphans, key=lambda digest: (stock.blobs[digest].at, digest)):
        if is_enough():
            break
        blobs.append(digest)
        left -= stock.blobs[digest].size
    for made in may_go:
        if is_enough():
            break
        traces.append(made)
        for digest in sorted(made.outputs):
            users[digest] -= 1
            if users[digest] == 0 and digest not in stays and digest in stock.blobs:
                blobs.append(digest)
                left -= stock.blobs[digest].size
    return tuple(traces), tuple(blobs)


def remove(store: Store, sweep: Sweep) -> None:
    """Given what is to go, take it away: traces first, so that none ever promises a blob that is gone."""
    for made in sweep.traces:
        store.forget(made.key)
    for digest in sweep.blobs:
        store.cas.remove(digest)
    for path in sweep.damaged:
        files.remove_tree(path)


def minutes(made: Iterable[StoredAction]) -> float:
    """Given what was made, return the minutes that it took."""
    return sum(each.seconds for each in made) / 60


Kind = Literal["rotted", "empty", "unreadable", "missing"]
TOLD: Mapping[Kind, str] = {
    "rotted": "its bytes are not what its name says",
    "empty": "it has no bytes",
    "unreadable": "it cannot be read",
    "missing": "it is not there",
}


@dataclass(frozen=True)
class BlobFault:
    """A blob that is not what traces count on; `targets` are those whose traces name it."""

    kind: Kind
    digest: Digest
    targets: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        return TOLD[self.kind]


def examine(cas: BlobStore, digest: Digest) -> Kind | None:
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


def faults(store: Store, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[BlobFault]:
    """Given a store, read every blob, and return what is wrong, blobs that traces name and that are not there too."""
    named = promises(store)
    every = sorted({*store.cas.iter(), *named})
    for number, digest in enumerate(every, 1):
        kind = examine(store.cas, digest)
        if kind is not None:
            yield BlobFault(kind, digest, tuple(dict.fromkeys(named.get(digest, ()))))
        progress(number, len(every))


def repair(cas: BlobStore, digest: Digest, copies: Iterable[Path]) -> bool:
    """Given a bad or missing blob, and where whole copies may be, bring it back; return whether one was found.

    The bad one is set aside in any case: what has no bytes is made again by the next build, what has wrong ones
    would be taken for right.
    """
    path = cas.path(digest)
    if os.path.lexists(path):
        files.set_aside(path)
    for copy in copies:
        try:
            if digest_file(copy) == digest and cas.put(copy, digest) == digest:
                return True
        except (OSError, LtxflowError):
            continue  # it changed meanwhile, or cannot be read: no copy then
    return False
