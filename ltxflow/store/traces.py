"""Store traces: what an action produced once, by key, in a JSON file each, from which the index is built."""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Digest, Key, Output
from ltxflow.core.errors import LtxflowError, Problem, hint_for, problem
from ltxflow.core.workspace import is_damage, parse_json, read_bytes
from ltxflow.store.blobs import is_digest, prefix_folders

TRACE_FORMAT = "trace/1"
TRACE_BYTES = 64 << 20
PINNED = "pinned"  # the source of a file that a person put in the place of a take
FORGOTTEN = ".forgotten"  # the suffix of the trace of a take that a person forgot
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_CHECKSUM = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\n?\Z')


@dataclass(frozen=True)
class Trace:
    """An action that ran: its content, its outputs, and the circumstances.

    `fields` are the flat settings that led to it, so that a later plan can name changes. `seconds` are timings by name,
    `versions` name → version of the software involved (also how a graph was adapted to its server,
    `adapted.89.format.codec`, or a file converted, `converted.video`), `made_at` is ISO 8601 in UTC. `source` names the
    maker: "comfyui", "animatic", "pinned" for a person's file, …; `model` is the title of the model, "" without one and
    in older traces.
    """

    key: Key
    action: Mapping[str, Any]
    outputs: Mapping[str, Output]
    target: str = ""
    fields: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    seconds: Mapping[str, float] = field(default_factory=lambda: _EMPTY)
    source: str = ""
    server: str = ""
    versions: Mapping[str, str] = field(default_factory=lambda: _EMPTY)
    made_at: str = ""
    model: str = ""

    def as_json(self) -> dict[str, Any]:
        return {**self.head(), "action": dict(self.action)}

    def head(self) -> dict[str, Any]:
        """Return all but the action, the largest part, which only explanations need."""
        return {
            "format": TRACE_FORMAT,
            "key": self.key,
            "target": self.target,
            "source": self.source,
            **({"model": self.model} if self.model else {}),
            "server": self.server,
            "made_at": self.made_at,
            "seconds": dict(self.seconds),
            "versions": dict(self.versions),
            "outputs": {
                name: {"digest": out.digest, "size": out.size, "facts": out.facts} for name, out in self.outputs.items()
            },
            "fields": dict(self.fields),
        }

    @classmethod
    def from_json(cls, data: Any) -> Trace:
        """Return the Trace of a file's data. Raise ValueError for other data."""
        if not isinstance(data, dict) or data.get("format") != TRACE_FORMAT:
            raise ValueError("not a trace")
        outputs = _mapping(data, "outputs")
        if not is_digest(data.get("key")):
            raise ValueError("a trace without a key")
        return cls(
            key=Key(data["key"]),
            action=_mapping(data, "action"),
            outputs={name: _output(out) for name, out in outputs.items()},
            target=_text(data, "target"),
            fields=_mapping(data, "fields"),
            seconds=_numbers(data, "seconds"),
            source=_text(data, "source"),
            server=_text(data, "server"),
            versions=_mapping(data, "versions"),
            made_at=_text(data, "made_at"),
            model=_text(data, "model"),
        )


def _mapping(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f'"{name}" is not a mapping')
    return value


def _numbers(data: dict[str, Any], name: str) -> dict[str, float]:
    values = _mapping(data, name)
    if not all(type(value) in (int, float) and math.isfinite(value) for value in values.values()):
        raise ValueError(f'"{name}" are not numbers')
    return values


def _text(data: dict[str, Any], name: str) -> str:
    value = data.get(name, "")
    if not isinstance(value, str):
        raise ValueError(f'"{name}" is not text')
    return value


def _output(data: Any) -> Output:
    if not isinstance(data, dict) or not is_digest(data.get("digest")):
        raise ValueError("an output without a digest")
    size = data.get("size", 0)
    if type(size) is not int:
        raise ValueError('"size" is not a whole number')
    return Output(Digest(data["digest"]), _mapping(data, "facts"), size)


_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False)


@dataclass(frozen=True)
class TraceText:
    """A trace as JSON, in two parts: all before its action, and the action."""

    head: str
    action: str

    @property
    def whole(self) -> str:
        """The text of the trace's file: one line of JSON that ends with a checksum of all before it."""
        body = f'{self.head[:-1]},"action":{self.action}'
        return f'{body},"crc32":"{zlib.crc32(body.encode()):08x}"}}\n'


def text_of(trace: Trace) -> TraceText:
    """Return the text of a trace, in the order of the fields, for its file and for the index."""
    return TraceText(_ENCODER.encode(trace.head()), _ENCODER.encode(dict(trace.action)))


def trace_text(trace: Trace) -> str:
    """Return the text of a trace's file: one line of JSON in the order of the fields."""
    return text_of(trace).whole


def trace_path(root: Path, key: Key) -> Path:
    """Return the path of a trace, present or not. Raise LtxflowError for text that is not a key."""
    if not is_digest(key):
        raise LtxflowError(problem("D101", key=key))
    return root / key[:2] / f"{key}.json"


def write_trace(root: Path, trace: Trace) -> Path:
    """Write a trace's file atomically, and return its path."""
    path = trace_path(root, trace.key)
    put_trace(path, trace_text(trace))
    return path


def put_trace(path: Path, text: str, fsync: bool = True) -> files.Signature:
    """Write the text of a trace's file atomically, and return its signature."""
    files.make_dir(path.parent, 0o700)
    files.make_room(path)
    return files.write_atomic(path, text, fsync=fsync)


def read_trace(
    root: Path, key: Key, check: Callable[[Trace], str] = lambda trace: ""
) -> tuple[Trace | None, Problem | None]:
    """Return the trace of a key, or None and the problem of its file, if there is one.

    A damaged file is set aside as `.corrupt` and counts as absent; one of a newer format is left as it is. `check`
    returns the fault of a trace without a checksum, or "".
    """
    path = trace_path(root, key)
    try:
        text = read_bytes(path, TRACE_BYTES)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        if is_damage(error):
            return None, _damaged(path, b"", str(error.strerror))
        reason = (error.strerror or str(error)).lower()
        return None, problem("D109.system", path=path, reason=reason, remedy=hint_for(error))
    try:
        trace = parse_trace(text, key)
        if not is_sealed(text) and (wrong := check(trace)):
            raise ValueError(wrong)
        return trace, None
    except ValueError as error:
        return None, _damaged(path, text, str(error))


def is_sealed(text: bytes) -> bool:
    """Return whether the text of a trace file has a checksum; the first versions wrote none.

    Raise ValueError for a wrong checksum: one flipped bit can leave valid JSON with another number in it.
    """
    found = _CHECKSUM.search(text, max(0, len(text) - 40))
    if found is None:
        return False
    if int(found[1], 16) != zlib.crc32(text[: found.start()]):
        raise ValueError("its checksum is wrong")
    return True


def parse_trace(text: bytes, key: Key) -> Trace:
    """Return the Trace in the text of a file. Raise ValueError when it is not that of `key`."""
    is_sealed(text)
    trace = Trace.from_json(parse_json(text))
    if trace.key != key:
        raise ValueError("the trace of another key")
    return trace


def _damaged(path: Path, text: bytes, reason: str) -> Problem:
    is_ours = text.startswith(f'{{"format":"{TRACE_FORMAT}"'.encode())
    if text.startswith(b'{"format":"trace/') and not is_ours:
        return problem("D109.newer", path=path)
    aside = path
    with suppress(LtxflowError):  # a read-only store: the damage is reported nevertheless
        aside = files.set_aside(path)
    return problem("D109.damaged", path=path, reason=reason, aside=aside.name)


def remove_trace(root: Path, key: Key, suffix: str = ".json") -> None:
    """Remove the trace of a key, if present."""
    files.remove(trace_path(root, key).with_suffix(suffix))


def forget_trace(root: Path, key: Key) -> None:
    """Set the trace of a key aside, so that no look-up finds it; it still says what its files are."""
    path = trace_path(root, key)
    files.move(path, path.with_suffix(FORGOTTEN))


def read_forgotten(root: Path, key: Key) -> Trace | None:
    """Return the trace of a key that a person forgot, None without one and where it is damaged."""
    try:
        return parse_trace(read_bytes(trace_path(root, key).with_suffix(FORGOTTEN), TRACE_BYTES), key)
    except (OSError, ValueError):
        return None


def trace_keys(root: Path, suffix: str = ".json") -> Iterator[Key]:
    """Yield the keys of all trace files, sorted."""
    for folder in prefix_folders(root):
        for path in sorted(folder.iterdir()):
            if path.suffix == suffix and is_digest(path.stem):
                yield Key(path.stem)
