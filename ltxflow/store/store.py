"""All that has been made: blobs, traces and their index as one. Knows no project, no plan and no server."""

from __future__ import annotations

import importlib
import json
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxflow.core import files
from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.core.regular import parse_json, read_bytes
from ltxflow.core.workspace import exempt_writes
from ltxflow.media.probe import probe_mp4
from ltxflow.store.blobs import BlobStore, is_digest
from ltxflow.store.memo import Memory
from ltxflow.store.traces import (
    Trace,
    TraceText,
    parse_trace,
    put_trace,
    read_trace,
    remove_trace,
    text_of,
    trace_folders,
    trace_keys,
    trace_path,
)

if TYPE_CHECKING:
    from ltxflow.store.index import Index


class Store:
    """`cas/` (digest → bytes), `traces/` (key → Trace) and `index/` in one folder, made on the first write.

    `report` hears of damage that was worked around. A read-only store answers every look-up. Any thread may ask; the
    index is for the one that opened the store, since nobody else could close what another thread opened of it.
    """

    def __init__(self, root: Path, report: Callable[[Problem], None] = lambda problem: None) -> None:
        self.root = root
        self.cas = BlobStore(root / "cas")
        self.traces = root / "traces"
        self.memory = Memory()  # of traces as a plan needs them; the caller knows whose
        self.looked_at: set[str] = set()  # every trace and blob that was asked for: what answers rest on
        self._report = report
        self._index: Index | None = None
        self._thread = threading.get_ident()
        self._unindexed: list[tuple[str, bytes]] = []  # rows of traces that are recorded: the next group

    @property
    def index(self) -> Index:
        """The index, with all in it that was recorded."""
        index = self._opened()
        if self._unindexed:
            rows, self._unindexed = self._unindexed, []
            index.put_many(rows)
        return index

    def _opened(self) -> Index:
        # By name, on first use: diskcache and sqlite cost 20 ms, and commands that only name the store (or
        # find their snapshot unchanged) never ask it.
        if self._index is None:
            module = importlib.import_module("ltxflow.store.index")
            self._index = module.Index(self.root / "index", self._rows, self._report)
        return self._index

    def lookup(self, key: Key) -> Trace | None:
        """Given a key, return its Trace if all its blobs are there, whole by their size; else None."""
        trace = self.trace(key)
        return None if trace is None or self._missing(trace) else trace

    def trace(self, key: Key) -> Trace | None:
        """Given a key, return its Trace even where blobs are missing.

        The index answers only for the very trace file it was made from, told by its signature: the files are
        the truth, whoever removed or replaced them.
        """
        path = f"{self.traces}/{key[:2]}/{key}.json" if is_digest(key) else str(trace_path(self.traces, key))
        self.looked_at.add(path)
        seen = files.signature(path)
        if seen is None:
            return None
        told = self.memory.get(f"trace {key}")
        if told is not None and told[0] == list(seen):
            return self._recalled(key, told[1])
        trace, is_whole = self._trace(key, seen)
        if trace is not None and is_whole:
            self.memory.put(f"trace {key}", [seen, _brief(trace)])
        return trace

    def _trace(self, key: Key, seen: files.Signature) -> tuple[Trace | None, bool]:
        """Return a trace, by the index or its file, and whether its file is the one whose signature is given."""
        row = self.index.get(key) if self._has_index else None
        if row is not None and (trace := _from_row(row, key, seen)) is not None:
            return trace, True
        trace, row = self._read(key, row)
        if row is not None and self._has_index:
            self.index.put(key, row)
        return trace, row is not None and _from_row(row, key, seen) is not None

    @property
    def _has_index(self) -> bool:
        return threading.get_ident() == self._thread

    def _recalled(self, key: Key, brief: Mapping[str, Any]) -> Trace:
        """A trace of which a plan asks the outputs. What else is in it is read when somebody looks."""
        outputs = {name: Output(Digest(o[0]), o[2], o[1]) for name, o in brief["outputs"].items()}
        told = {name: str(brief.get(name, "")) for name in _BRIEF}
        later = {name: LazyMapping(self._part, key, name) for name in ("action", "fields", "seconds", "versions")}
        return Trace(key=key, outputs=outputs, **told, **later)  # type: ignore[arg-type]  # mypy joins the two

    def _part(self, key: Key, name: str) -> dict[str, Any]:
        """What a look-up left out of a trace, from its file or its row; nothing if it is gone meanwhile."""
        if self._index is None or not self._has_index:  # for the few that are explained it need not be opened
            whole = self._read(key)[0]
        else:
            whole = self._trace(key, files.signature(trace_path(self.traces, key)) or ())[0]
        return dict(getattr(whole, name, {}))

    def lost(self, key: Key) -> dict[str, Digest]:
        """Given a key, return output name → digest of its trace's blobs that are missing or cut short."""
        trace = self.trace(key)
        return {} if trace is None else self._missing(trace)

    def record(self, trace: Trace, *, in_group: bool = False, fsync: bool = True) -> Trace:
        """Given what just happened, keep it: its blobs are here already, then the trace, then the index. Return it as a
        look-up gives it, which holds little more than its outputs.

        With `in_group` its row waits for others, until `write_index` or the next use of the index: that is safe, since
        a trace without a row is read from its file. Without `fsync` a power cut may take the trace: only for what
        costs nothing to make again. Raise ValueError when a blob is not here: a trace must never promise what is not
        kept.
        """
        missing = self._missing(trace)
        if missing:
            raise ValueError(f"a trace without its blobs: {', '.join(sorted(missing))}")
        path, text = trace_path(self.traces, trace.key), text_of(trace)
        self.looked_at.add(str(path))
        seen = put_trace(path, text.whole, fsync)
        self._unindexed.append((trace.key, _row(text, seen)))
        brief = _brief(trace)
        self.memory.put(f"trace {trace.key}", [seen, brief])
        if not in_group:
            self.write_index()
        return replace(self._recalled(trace.key, brief), seconds=trace.seconds)

    def write_index(self) -> None:
        """Put into the index what was recorded since the last time, in one transaction."""
        if self._unindexed and self._has_index:
            _ = self.index

    def forget(self, key: Key) -> None:
        """Given a key, drop its trace; the blobs stay until `cache gc`."""
        if files.signature(trace_path(self.traces, key)) is not None:
            remove_trace(self.traces, key)
            if self._has_index:  # else its row stays, and answers for no file any more
                self.index.delete(key)

    def keys(self) -> Iterator[Key]:
        """Return the keys of all traces, sorted."""
        return trace_keys(self.traces)

    def mentioning(self, word: str) -> Iterator[Trace]:
        """Yield the traces whose text has a word in it. Reads every file, and parses those alone."""
        for key in self.keys():
            with suppress(OSError):
                if word.encode() in read_bytes(trace_path(self.traces, key)) and (trace := self.trace(key)):
                    yield trace

    def rebuild_index(self) -> int:
        """Fill the index anew from the trace files; return how many are in it (0 when it is disabled)."""
        return self.index.rebuild()

    def scratch(self) -> AbstractContextManager[Path]:
        """Return a private folder for the body of a `with`, on the store's disk: `put(move=True)` is free."""
        return files.temp_dir(self.root / "tmp")

    def clean(self) -> int:
        """Take away what killed processes left half-written; return how many."""
        own = (self.root / name for name in ("tmp", "films", "running", "index", "memory"))
        folders = [self.root, *own, *self.cas.folders(), *trace_folders(self.traces)]
        return sum(files.clean_temps(folder) for folder in folders)

    def close(self) -> None:
        self.write_index()
        if self._index is not None:
            self._index.close()

    def _missing(self, trace: Trace) -> dict[str, Digest]:
        places = {name: self.cas.place(output.digest) for name, output in trace.outputs.items()}
        self.looked_at.update(places.values())
        outputs = trace.outputs.items()
        return {name: out.digest for name, out in outputs if not self.cas.has(out.digest, out.size, places[name])}

    def _read(self, key: Key, known: bytes | None = None) -> tuple[Trace | None, bytes | None]:
        """Return a trace from its file, and its row for the index unless the file was replaced meanwhile.

        `known` is the row that the index has of it: where the file is damaged, the trace is restored from that.
        """
        path = trace_path(self.traces, key)
        seen = files.signature(path)
        trace, problem = read_trace(self.traces, key, self._contradiction)
        if problem is not None:
            text = None if known is None or os.path.lexists(path) else _text_in(known, key)
            self._report(_restored(problem) if text else problem)
            if text is not None:
                with suppress(LtxflowError):  # a store that can only be read
                    put_trace(path, text.whole)
                trace, seen = parse_trace(text.whole.encode(), key), files.signature(path)
        if trace is None or seen is None or files.signature(path) != seen:
            return trace, None
        return trace, _row(text_of(trace), seen)

    def _contradiction(self, trace: Trace) -> str:
        """Return how a trace without a checksum contradicts its files, "" where it does not, or they are not here."""
        for name, output in trace.outputs.items():
            path = self.cas.path(output.digest)
            if "frames" not in output.facts or self.cas.size(output.digest) is None:
                continue
            try:
                measured = probe_mp4(path).as_json()
            except LtxflowError:
                continue  # the blob is damaged, or is no mp4: that is for `cache verify`
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
# its action; the action. A plan looks at every trace, explains few; half of a look-up is parsing actions.


def _row(text: TraceText, seen: files.Signature) -> bytes:
    body = f"{text.head}\n{text.action}".encode()
    return json.dumps([*seen, zlib.crc32(body)]).encode() + b"\n" + body


def _from_row(row: bytes, key: Key, seen: files.Signature) -> Trace | None:
    head, _, body = row.partition(b"\n")
    if head != json.dumps([*seen, zlib.crc32(body)]).encode():
        return None
    text, _, action = body.partition(b"\n")
    try:
        trace = parse_trace(text, key)
    except ValueError:
        return None
    return replace(trace, action=LazyMapping(lambda: parse_json(action)))


def _text_in(row: bytes, key: Key) -> TraceText | None:
    """Return the text of the trace in a row of the index, whichever version of its file the row was made from."""
    head, _, body = row.partition(b"\n")
    text, _, action = body.partition(b"\n")
    try:
        if parse_json(head)[-1] != zlib.crc32(body):
            return None
        parse_trace(text, key)
        return TraceText(text.decode(), action.decode())
    except (ValueError, TypeError, IndexError, KeyError):
        return None


def _restored(problem: Problem) -> Problem:
    return replace(problem, hint=f"it was restored from the index; {problem.hint.rpartition('; ')[2]}")


_BRIEF = ("target", "source", "server", "made_at", "model")


def _brief(trace: Trace) -> dict[str, Any]:
    """What a plan asks of the trace of a clip that is made."""
    outputs = {name: [out.digest, out.size, out.facts] for name, out in trace.outputs.items()}
    return {"outputs": outputs, **{name: getattr(trace, name) for name in _BRIEF}}


class LazyMapping(Mapping[str, Any]):
    """A JSON mapping that is read when somebody looks inside."""

    __slots__ = ("_args", "_read", "_told")  # a film has thousands

    def __init__(self, read: Callable[..., dict[str, Any]], *args: Any) -> None:
        self._read, self._args = read, args
        self._told: dict[str, Any] | None = None

    @property
    def _data(self) -> dict[str, Any]:
        if self._told is None:
            self._told = self._read(*self._args)
        return self._told

    def __getitem__(self, name: str) -> Any:
        return self._data[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)


def store_path(env: Mapping[str, str], configured: str | None) -> Path:
    """Given the environment and what the user config says, return the store's folder.

    `$LTXFLOW_STORE` > user config > `$XDG_DATA_HOME/ltxflow/store` > `~/.local/share/ltxflow/store`. Raise
    LtxflowError when the user config names a relative folder: it would be another one in every project.
    """
    home = Path(env.get("HOME") or Path.home())
    if named := env.get("LTXFLOW_STORE"):
        return _expanded(named, home).absolute()
    if configured:
        path = _expanded(configured, home)
        if not path.is_absolute():
            hint = "write a path that starts with / or ~/"
            raise LtxflowError(Problem(f'the store "{configured}" is not an absolute path', hint=hint))
        return path
    data = Path(env.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():  # the XDG base directory specification: relative ones are to be ignored
        data = home / ".local" / "share"
    return data / "ltxflow" / "store"


def _expanded(path: str, home: Path) -> Path:
    return home / path[2:] if path.startswith("~/") else home if path == "~" else Path(path)


def open_store(
    env: Mapping[str, str],
    configured: str | None = None,
    report: Callable[[Problem], None] = lambda problem: None,
) -> Store:
    """Given the environment and what the user config says, return the Store there. Makes nothing on disk.

    Raise LtxflowError where there is something that cannot be read: it would look like a store without any render.
    """
    store = Store(store_path(env, configured), report)
    exempt_writes(store.root)  # the user chose it, and may have linked it to another disk
    for folder in (store.root, store.cas.root, store.traces):
        if os.path.isdir(folder) and not os.access(folder, os.R_OK | os.X_OK):
            hint = "give yourself permission to read it, or name another store with LTXFLOW_STORE"
            raise LtxflowError(Problem(f'the store "{folder}" cannot be read: permission denied', hint=hint))
        if os.path.lexists(folder) and not os.path.isdir(folder):
            hint = "name a folder with LTXFLOW_STORE, or move what is there away"
            raise LtxflowError(Problem(f'the store "{folder}" is no folder', hint=hint))
    return store
