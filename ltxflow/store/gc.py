"""Collect garbage in a store, and check it for damage (fsck).

A store holds three sorts of things: those still needed; those paid for (renders, speech, pictures of a model), removed
only on request; and the rest, which a build makes again at no cost, such as slates. Pictures and sound without a trace
count as paid for: the trace may be damaged, or a crash came between a render and its trace.
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
from ltxflow.core.workspace import open_regular, read_bytes
from ltxflow.store.blobs import BlobStore, prefix_folders
from ltxflow.store.store import Store
from ltxflow.store.traces import FORGOTTEN, TRACE_BYTES, Trace, read_trace, trace_keys, trace_path

FREE_SOURCES = frozenset(["animatic", "conform", "inspect"])
_HEX = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


# How the files begin that a model, a speech engine or a person may have made: MP4, Matroska, PNG, JPEG, RIFF, sound.
_MEDIA = re.compile(rb".{4}ftyp|\x1aE\xdf\xa3|\x89PNG|\xff\xd8\xff|RIFF|fLaC|OggS|ID3|\xff[\xe0-\xff]", re.DOTALL)


@dataclass(frozen=True)
class Blob:
    """A file in `cas/`: its size in bytes, when it was written (seconds since 1970), whether no trace names it.

    `is_media` is known of such a blob alone.
    """

    size: int
    at: float
    is_stray: bool = False
    is_media: bool = False


@dataclass(frozen=True)
class StoredAction:
    """A trace as garbage collection needs it. `names` are all digests in it: outputs, and inputs.

    `is_forgotten` is set for one that a person forgot: it was paid for, whatever its source.
    """

    key: Key
    target: str
    source: str
    made_at: str
    seconds: float
    at: float
    outputs: frozenset[Digest]
    names: frozenset[str]
    is_forgotten: bool = False

    @property
    def id(self) -> str:
        """Its name in an inventory: a key may have a forgotten trace beside its present one."""
        return f"{self.key}{FORGOTTEN}" if self.is_forgotten else self.key

    @property
    def is_paid(self) -> bool:
        """Whether making it again would cost money or GPU time."""
        return self.source not in FREE_SOURCES


@dataclass(frozen=True)
class StoreInventory:
    """The content of a store: traces by id, blobs by digest. `damaged` are files and folders that were set aside."""

    made: Mapping[str, StoredAction]
    blobs: Mapping[Digest, Blob]
    damaged: tuple[Path, ...] = ()

    @property
    def size(self) -> int:
        """The size of all blobs, in bytes."""
        return sum(blob.size for blob in self.blobs.values())

    def size_of(self, digests: Iterable[Digest]) -> int:
        """Return the size of some blobs, in bytes, each counted once."""
        return sum(self.blobs[digest].size for digest in {*digests} & self.blobs.keys())


def take_inventory(store: Store) -> StoreInventory:
    """Return the content of a store. Reads every trace, and stats every blob."""
    made: dict[str, StoredAction] = {}
    for suffix in (".json", FORGOTTEN):
        for key in trace_keys(store.traces, suffix):
            path = trace_path(store.traces, key).with_suffix(suffix)
            trace = store.forgotten(key) if suffix == FORGOTTEN else read_trace(store.traces, key)[0]
            with suppress(OSError):  # another process may remove it
                if trace is not None:
                    action = _made(trace, path, is_forgotten=suffix == FORGOTTEN)
                    made[action.id] = action
    named = {digest for action in made.values() for digest in action.outputs}
    blobs = {}
    for digest in store.cas.iter():
        path = store.cas.path(digest)
        facts = os.lstat(path)
        if not S_ISREG(facts.st_mode):
            continue  # not a blob: `cache verify` reports it
        is_stray = digest not in named
        is_media = is_stray and _is_media(path)
        blobs[digest] = Blob(facts.st_size, max(facts.st_mtime, facts.st_ctime), is_stray, is_media)
    return StoreInventory(made, blobs, tuple(_damaged(store)))


def _is_media(path: Path) -> bool:
    """Return whether a file begins as pictures or sound do; True where it cannot be read."""
    try:
        with open(open_regular(path), "rb") as file:
            return _MEDIA.match(file.read(16)) is not None
    except OSError:
        return True


def _made(trace: Trace, path: Path, *, is_forgotten: bool) -> StoredAction:
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
        is_forgotten=is_forgotten,
    )


def _damaged(store: Store) -> Iterable[Path]:
    for folder in (store.root, *store.cas.folders(), *prefix_folders(store.traces)):
        yield from sorted(folder.glob("*.corrupt"))


def closure(stock: StoreInventory, keys: Iterable[str], digests: Iterable[str]) -> tuple[set[str], set[Digest]]:
    """Return the ids of the needed traces and the needed digests, with everything that they were made from.

    A clip that continues another, or starts from a picture that a model made, has their digests in its action: without
    those traces its key could not even be computed. The results of its checks are kept with it.
    """
    makers: dict[str, list[str]] = {}
    for made in stock.made.values():
        for digest in made.outputs:
            makers.setdefault(digest, []).append(made.id)
    needed: set[str] = set()
    named = {Digest(digest) for digest in digests if digest in stock.blobs}
    todo = [key if key in stock.made else f"{key}{FORGOTTEN}" for key in keys]
    todo = [id for id in todo if id in stock.made]
    while todo:
        key = todo.pop()
        if key in needed:
            continue
        needed.add(key)
        for name in stock.made[key].names:
            if name in stock.blobs:
                named.add(Digest(name))
            todo += makers.get(name, ())
    checks = [made for made in stock.made.values() if made.source == "inspect" and (made.names - made.outputs) & named]
    needed |= {made.id for made in checks}
    return needed, {Digest(digest) for digest in named}.union(*(made.outputs for made in checks))


@dataclass(frozen=True)
class Sweep:
    """What to remove, and what remains. `spared` was paid for but is unused; `over` bytes still exceed the cap.

    `spared_blobs` are pictures and sound without a trace, which may have been paid for.
    """

    traces: tuple[StoredAction, ...] = ()
    blobs: tuple[Digest, ...] = ()
    damaged: tuple[Path, ...] = ()
    size: int = 0  # bytes to remove
    spared: tuple[StoredAction, ...] = ()
    spared_size: int = 0
    spared_blobs: tuple[Digest, ...] = ()
    over: int = 0
    needed: frozenset[Digest] = field(default_factory=frozenset)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
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
    """Return what can be removed from a store, all but the needed keys and digests and what they were made from.

    `paid` includes unused renders, `before` excludes all that was made at or after that moment. `max_size` removes only
    as much as brings the store below it, oldest first.
    """
    needed, named = closure(stock, keys, digests)
    unused = sorted(
        (made for key, made in stock.made.items() if key not in needed), key=lambda made: (made.at, made.key)
    )
    old = float("inf") if before is None else before
    may_go = [made for made in unused if (paid or not made.is_paid) and made.at < old]
    leaving = {made.id for made in may_go}
    stays = named.union(*(made.outputs for id, made in stock.made.items() if id not in leaving))
    strays = {digest for digest, blob in stock.blobs.items() if blob.is_stray and digest not in named}
    orphans = {d for d in strays if stock.blobs[d].at < old and (paid or not stock.blobs[d].is_media)}
    traces, blobs = _until(stock, may_go, orphans, stays, max_size)
    size = stock.size_of(blobs)
    removed = {made.id for made in traces}
    spared = tuple(made for made in unused if made.id not in removed and made.is_paid)
    spared_blobs = tuple(sorted(digest for digest in strays - {*blobs} if stock.blobs[digest].is_media))
    held = {digest for made in spared for digest in made.outputs}.union(spared_blobs) - named
    over = 0 if max_size is None else max(0, stock.size - size - max_size)
    damaged = () if max_size is not None else tuple(p for p in stock.damaged if paid or not _is_paid_for(p))
    return Sweep(traces, blobs, damaged, size, spared, stock.size_of(held), spared_blobs, over, frozenset(named))


def _is_paid_for(damaged: Path) -> bool:
    """Return whether a damaged file may be all that is left of a render: a trace, pictures or sound."""
    return damaged.is_file() and (damaged.suffixes[:1] == [".json"] or _is_media(damaged))


def _until(
    stock: StoreInventory, may_go: list[StoredAction], orphans: set[Digest], stays: set[Digest], max_size: int | None
) -> tuple[tuple[StoredAction, ...], tuple[Digest, ...]]:
    """Choose blobs without a trace, then traces by age with the blobs that only they have, until the cap is met."""
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
    """Remove the content of a sweep: traces first, so that no trace ever promises a removed blob."""
    for made in sweep.traces:
        store.remove(made.key, FORGOTTEN if made.is_forgotten else ".json")
    for digest in sweep.blobs:
        store.cas.remove(digest)
    for path in sweep.damaged:
        files.remove_tree(path)


def minutes(made: Iterable[StoredAction]) -> float:
    """Return the minutes that making some actions took."""
    return sum(each.seconds for each in made) / 60


Kind = Literal["rotted", "empty", "unreadable", "missing"]
FAULTS: Mapping[Kind, str] = {
    "rotted": "its bytes do not match its name",
    "empty": "it is empty",
    "unreadable": "it cannot be read",
    "missing": "it is missing",
}


@dataclass(frozen=True)
class BlobFault:
    """A damaged or missing blob; `targets` are those whose traces name it."""

    kind: Kind
    digest: Digest
    targets: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """What is wrong, for display."""
        return FAULTS[self.kind]


def examine(cas: BlobStore, digest: Digest) -> Kind | None:
    """Read a blob to its end; return its kind of fault, or None."""
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
    """Return digest → the targets of all traces that name it as an output."""
    named: dict[Digest, list[str]] = {}
    for key in trace_keys(store.traces):
        trace, _ = read_trace(store.traces, key)
        for output in trace.outputs.values() if trace else ():
            named.setdefault(output.digest, []).append(trace.target if trace else "")
    return named


def faults(store: Store, progress: Callable[[int, int], None] = lambda done, total: None) -> Iterator[BlobFault]:
    """Read every blob of a store, and yield its faults, including missing blobs that traces name."""
    named = promises(store)
    every = sorted({*store.cas.iter(), *named})
    for number, digest in enumerate(every, 1):
        kind = examine(store.cas, digest)
        if kind is not None:
            yield BlobFault(kind, digest, tuple(dict.fromkeys(named.get(digest, ()))))
        progress(number, len(every))


def repair(cas: BlobStore, digest: Digest, copies: Iterable[Path]) -> bool:
    """Restore a damaged or missing blob from possible copies; return whether a good one was found.

    Sets a damaged blob aside in any case: the next build makes a missing one again, but would take a wrong one for
    right.
    """
    path = cas.path(digest)
    if os.path.lexists(path):
        files.set_aside(path)
    for copy in copies:
        try:
            if digest_file(copy) == digest and cas.put(copy, digest) == digest:
                return True
        except (OSError, LtxflowError):
            continue  # it has just changed, or cannot be read
    return False
