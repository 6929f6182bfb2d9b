"""Combine blobs, traces and their index into the store of everything that was made."""

from __future__ import annotations

import json
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxflow import messages
from ltxflow.core import files
from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.workspace import exempt_writes, parse_json, read_bytes
from ltxflow.store.blobs import BlobStore, is_digest, prefix_folders
from ltxflow.store.memo import Memory
from ltxflow.store.traces import (
    Trace,
    TraceText,
    forget_trace,
    parse_trace,
    put_trace,
    read_forgotten,
    read_trace,
    remove_trace,
    text_of,
    trace_keys,
    trace_path,
)

if TYPE_CHECKING:
    from ltxflow.store.index import Index


class Store:
    """`cas/` (digest → bytes), `traces/` (key → Trace) and `index/` in one folder, made on the first write.

    `report` is called with damage that was worked around. A read-only store serves every look-up. Any thread may use
    it; the index is used by the opening thread only, because no other could close its connection.
    """

    def __init__(self, root: Path, report: Callable[[Problem], None] = lambda problem: None) -> None:
        self.root = root
        self.cas = BlobStore(root / "cas")
        self.traces = root / "traces"
        self.memory = Memory()  # of traces in the form that a plan needs; the caller sets the project's
        self.paths_read: set[str] = set()  # the path of every trace and blob looked up, on which answers depend
        self._report = report
        self._index: Index | None = None
        self._thread = threading.get_ident()
        self._unindexed: list[tuple[str, bytes]] = []  # rows of recorded traces, for the next transaction

    @property
    def index(self) -> Index:
        """The index, including all recorded traces."""
        index = self._opened()
        if self._unindexed:
            rows, self._unindexed = self._unindexed, []
            index.put_many(rows)
        return index

    def _opened(self) -> Index:
        if self._index is None:
            # on first use: diskcache and sqlite cost 20 ms, and commands with a cached answer never need them
            from ltxflow.store.index import Index

            self._index = Index(self.root / "index", self._rows, self._report)
        return self._index

    def lookup(self, key: Key) -> Trace | None:
        """Return the Trace of a key if all its blobs are present with the right size, else None."""
        trace = self.trace(key)
        return None if trace is None or self._missing(trace) else trace

    def trace(self, key: Key) -> Trace | None:
        """Return the Trace of a key even where blobs are missing.

        A row of the index counts only for the trace file it was made from, identified by its signature: the files are
        the truth, even if another program replaced them.
        """
        path = f"{self.traces}/{key[:2]}/{key}.json" if is_digest(key) else str(trace_path(self.traces, key))
        self.paths_read.add(path)
        signature = files.signature(path)
        if signature is None:
            return None
        known = self.memory.get(f"trace {key}")
        if known is not None and known[0] == list(signature):
            return self._recalled(key, known[1])
        trace, is_current = self._trace(key, signature)
        if trace is not None and is_current:
            self.memory.put(f"trace {key}", [signature, _brief(trace)])
        return trace

    def _trace(self, key: Key, signature: files.Signature) -> tuple[Trace | None, bool]:
        """Return a trace, from the index or its file, and whether its file has this signature."""
        row = self.index.get(key) if self._has_index else None
        if row is not None and (trace := _from_row(row, key, signature)) is not None:
            return trace, True
        trace, row = self._read(key, row)
        if row is not None and self._has_index:
            self.index.put(key, row)
        return trace, row is not None and _from_row(row, key, signature) is not None

    @property
    def _has_index(self) -> bool:
        return threading.get_ident() == self._thread

    def _recalled(self, key: Key, brief: Mapping[str, Any]) -> Trace:
        """Return a trace with its outputs, as a plan needs it; the rest is read on access."""
        outputs = {name: Output(Digest(o[0]), o[2], o[1]) for name, o in brief["outputs"].items()}
        texts = {name: str(brief.get(name, "")) for name in _BRIEF}
        later = {name: LazyMapping(self._part, key, name) for name in ("action", "fields", "seconds", "versions")}
        return Trace(key=key, outputs=outputs, **texts, **later)  # type: ignore[arg-type]  # mypy joins the two

    def _part(self, key: Key, name: str) -> dict[str, Any]:
        """Return a part of a trace that a look-up left out, empty if the trace was removed since."""
        if self._index is None or not self._has_index:  # few traces are explained: do not open the index for them
            whole = self._read(key)[0]
        else:
            whole = self._trace(key, files.signature(trace_path(self.traces, key)) or ())[0]
        return dict(getattr(whole, name, {}))

    def lost(self, key: Key) -> dict[str, Digest]:
        """Return output name → digest of the blobs of a trace that are missing or cut short."""
        trace = self.trace(key)
        return {} if trace is None else self._missing(trace)

    def record(self, trace: Trace, *, in_group: bool = False, fsync: bool = True) -> Trace:
        """Store a trace, whose blobs are stored already, and return it in the form of a look-up.

        With `in_group` its row waits for others, until `write_index` or the next use of the index; a trace without a
        row is read from its file. Without `fsync` a power cut may lose the trace: only for results that cost nothing to
        make again. Raise ValueError when a blob is missing, since a trace must never promise one.
        """
        missing = self._missing(trace)
        if missing:
            raise ValueError(f"a trace without its blobs: {', '.join(sorted(missing))}")
        path, text = trace_path(self.traces, trace.key), text_of(trace)
        self.paths_read.add(str(path))
        signature = put_trace(path, text.whole, fsync)
        self._unindexed.append((trace.key, _row(text, signature)))
        brief = _brief(trace)
        self.memory.put(f"trace {trace.key}", [signature, brief])
        if not in_group:
            self.write_index()
        return replace(self._recalled(trace.key, brief), seconds=trace.seconds)

    def write_index(self) -> None:
        """Write the traces recorded since the last time to the index, in one transaction."""
        if self._unindexed and self._has_index:
            _ = self.index

    def forget(self, key: Key) -> None:
        """Set the trace of a key aside: look-ups no longer find it, and `cache gc --renders` may remove it."""
        if files.signature(trace_path(self.traces, key)) is not None:
            forget_trace(self.traces, key)
            if self._has_index:  # else its row stays, without effect
                self.index.delete(key)

    def forgotten(self, key: Key) -> Trace | None:
        """Return the trace of a key that a person forgot, or None."""
        return read_forgotten(self.traces, key)

    def remove(self, key: Key, suffix: str = ".json") -> None:
        """Remove the trace of a key, or the forgotten one; the blobs stay."""
        remove_trace(self.traces, key, suffix)
        if self._has_index and suffix == ".json":
            self.index.delete(key)

    def keys(self) -> Iterator[Key]:
        """Return the keys of all traces, sorted."""
        return trace_keys(self.traces)

    def mentioning(self, word: str) -> Iterator[Trace]:
        """Yield the traces whose text contains a word. Reads every file, and parses only those."""
        for key in self.keys():
            with suppress(OSError):
                if word.encode() in read_bytes(trace_path(self.traces, key)) and (trace := self.trace(key)):
                    yield trace

    def makers(self, digests: Set[Digest]) -> dict[Digest, Trace]:
        """Return the traces that have any of these digests among their outputs, by digest. Reads every trace file."""
        found: dict[Digest, Trace] = {}
        for key in self.keys() if digests else ():
            with suppress(OSError):
                text = read_bytes(trace_path(self.traces, key)).decode("utf-8", "replace")
                if digests.isdisjoint(_HEX.findall(text)) or (trace := self.trace(key)) is None:
                    continue
                found |= {out.digest: trace for out in trace.outputs.values() if out.digest in digests}
        return found

    def rebuild_index(self) -> int:
        """Fill the index again from the trace files; return the number of its rows (0 when it is disabled)."""
        return self.index.rebuild()

    def scratch(self) -> AbstractContextManager[Path]:
        """Return a private folder on the store's disk for the body of a `with`: moving a file from it is free."""
        return files.temp_dir(self.root / "tmp")

    def clean(self) -> int:
        """Remove the files that killed processes left incomplete; return their number."""
        own = (self.root / name for name in ("tmp", "films", "running", "index", "memory"))
        folders = [self.root, *own, *self.cas.folders(), *prefix_folders(self.traces)]
        return sum(files.clean_temps(folder) for folder in folders)

    def close(self) -> None:
        """Write the index and close it."""
        self.write_index()
        if self._index is not None:
            self._index.close()

    def _missing(self, trace: Trace) -> dict[str, Digest]:
        places = {name: self.cas.place(output.digest) for name, output in trace.outputs.items()}
        self.paths_read.update(places.values())
        outputs = trace.outputs.items()
        return {name: out.digest for name, out in outputs if not self.cas.has(out.digest, out.size, places[name])}

    def _read(self, key: Key, known: bytes | None = None) -> tuple[Trace | None, bytes | None]:
        """Return a trace from its file, and its row for the index unless the file was just replaced.

        `known` is its row in the index, from which a damaged file is restored.
        """
        path = trace_path(self.traces, key)
        signature = files.signature(path)
        trace, fault = read_trace(self.traces, key, self._contradiction)
        if fault is not None:
            text = None if known is None or os.path.lexists(path) else _text_in(known, key)
            hint = messages.find("D109.restored")[1].hint.format(aside=f"{path.name}.corrupt")
            self._report(replace(fault, hint=hint) if text else fault)
            if text is not None:
                with suppress(LtxflowError):  # a read-only store
                    put_trace(path, text.whole)
                trace, signature = parse_trace(text.whole.encode(), key), files.signature(path)
        if trace is None or signature is None or files.signature(path) != signature:
            return trace, None
        return trace, _row(text_of(trace), signature)

    def _contradiction(self, trace: Trace) -> str:
        """Return how a trace without a checksum contradicts its files, "" where it does not or they are missing."""
        from ltxflow.media.probe import probe_mp4  # on first use: every trace that is written now has a checksum

        for name, output in trace.outputs.items():
            path = self.cas.path(output.digest)
            if "frames" not in output.facts or self.cas.size(output.digest) is None:
                continue
            try:
                measured = probe_mp4(path).as_json()
            except LtxflowError:
                continue  # the blob is damaged, or not an mp4: `cache verify` reports that
            wrong = [fact for fact, value in measured.items() if output.facts.get(fact, value) != value]
            if wrong:
                return f'its {name} has {wrong[0]} {measured[wrong[0]]}, not "{output.facts[wrong[0]]}"'
        return ""

    def _rows(self) -> Iterator[tuple[str, bytes]]:
        for key in trace_keys(self.traces):
            _, row = self._read(key)
            if row is not None:
                yield key, row


# A row of the index has 3 lines: the trace file's signature with a checksum of the rest; the trace without
# its action; the action. A plan needs every trace, but explains few; half of a look-up is parsing actions.


def _row(text: TraceText, signature: files.Signature) -> bytes:
    body = f"{text.head}\n{text.action}".encode()
    return json.dumps([*signature, zlib.crc32(body)]).encode() + b"\n" + body


def _from_row(row: bytes, key: Key, signature: files.Signature) -> Trace | None:
    head, _, body = row.partition(b"\n")
    if head != json.dumps([*signature, zlib.crc32(body)]).encode():
        return None
    text, _, action = body.partition(b"\n")
    try:
        trace = parse_trace(text, key)
    except ValueError:
        return None
    return replace(trace, action=LazyMapping(lambda: parse_json(action)))


_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


def _text_in(row: bytes, key: Key) -> TraceText | None:
    """Return the text of the trace in a row of the index, regardless of the signature in the row."""
    head, _, body = row.partition(b"\n")
    text, _, action = body.partition(b"\n")
    try:
        if parse_json(head)[-1] != zlib.crc32(body):
            return None
        parse_trace(text, key)
        return TraceText(text.decode(), action.decode())
    except (ValueError, TypeError, IndexError, KeyError):
        return None


_BRIEF = ("target", "source", "server", "made_at", "model")


def _brief(trace: Trace) -> dict[str, Any]:
    """Return the parts of a trace that a plan needs."""
    outputs = {name: [out.digest, out.size, out.facts] for name, out in trace.outputs.items()}
    return {"outputs": outputs, **{name: getattr(trace, name) for name in _BRIEF}}


class LazyMapping(Mapping[str, Any]):
    """A JSON mapping that is read on first access."""

    __slots__ = ("_args", "_cached", "_read")  # a film has thousands

    def __init__(self, read: Callable[..., dict[str, Any]], *args: Any) -> None:
        self._read, self._args = read, args
        self._cached: dict[str, Any] | None = None

    @property
    def _data(self) -> dict[str, Any]:
        if self._cached is None:
            self._cached = self._read(*self._args)
        return self._cached

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


def store_path(env: Mapping[str, str], configured: str | None) -> Path:
    """Return the store's folder, from the environment and the folder `configured` by the user.

    `$LTXFLOW_STORE` > user config > `$XDG_DATA_HOME/ltxflow/store` > `~/.local/share/ltxflow/store`. Raise LtxflowError
    for a relative folder in the user config, which would differ in every project.
    """
    home = Path(env.get("HOME") or Path.home())
    if named := env.get("LTXFLOW_STORE"):
        return _expanded(named, home).absolute()
    if configured:
        path = _expanded(configured, home)
        if not path.is_absolute():
            raise LtxflowError(problem("D108.relative", path=configured))
        return path
    data = Path(env.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():  # the XDG base directory specification: relative paths must be ignored
        data = home / ".local" / "share"
    return data / "ltxflow" / "store"


def _expanded(path: str, home: Path) -> Path:
    return home / path[2:] if path.startswith("~/") else home if path == "~" else Path(path)


def open_store(
    env: Mapping[str, str],
    configured: str | None = None,
    report: Callable[[Problem], None] = lambda problem: None,
) -> Store:
    """Open the Store at `store_path`, without making anything on disk.

    Raise LtxflowError for a folder that cannot be read: it would look like a store without any render.
    """
    store = Store(store_path(env, configured), report)
    exempt_writes(store.root)  # the user chose it, and may have linked it to another disk
    for folder in (store.root, store.cas.root, store.traces):
        if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
            raise LtxflowError(problem("D108.permission", path=folder))
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise LtxflowError(problem("D108.no-folder", path=folder))
    return store
