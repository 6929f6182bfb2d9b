"""What happened once, by key: one JSON file each, the truth that the index is made from. Knows no blobs."""

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
from ltxflow.core.errors import LtxflowError, Problem, hint_for
from ltxflow.core.regular import is_damage, parse_json, read_bytes
from ltxflow.store.blobs import is_digest

TRACE_FORMAT = "trace/1"
TRACE_BYTES = 64 << 20
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_CHECKSUM = re.compile(rb',"crc32":"([0-9a-f]{8})"\}\n?\Z')


@dataclass(frozen=True)
class Trace:
    """An action that ran: what it was, what came out, and the circumstances.

    `fields` are the flat settings that led to it, kept so that a later plan can say what changed. `seconds`
    are timings by name, `versions` name → version of what took part (and how a graph was adapted to its server,
    `adapted.89.format.codec`, or a file converted, `converted.video`), `made_at` is ISO 8601 in UTC. `source` says what
    made it: "comfyui", "animatic", …; `model` is the title of the model, "" of none and of an older trace.
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
        """All but the action, which is the most of it, and which only those who explain ask for."""
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
        """Given the data of a trace file, return the Trace. Raise ValueError when it is not one."""
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
    """A trace as JSON, in two parts: what stands before its action, and the action."""

    head: str
    action: str

    @property
    def whole(self) -> str:
        """The text of the trace's file: one line of JSON that ends with a checksum of all before it."""
        body = f'{self.head[:-1]},"action":{self.action}'
        return f'{body},"crc32":"{zlib.crc32(body.encode()):08x}"}}\n'


def text_of(trace: Trace) -> TraceText:
    """Given a trace, return its text, in the order of the fields: it is both in its file and in the index."""
    return TraceText(_ENCODER.encode(trace.head()), _ENCODER.encode(dict(trace.action)))


def trace_text(trace: Trace) -> str:
    """Given a trace, return the text of its file: one line of JSON in the order of the fields."""
    return text_of(trace).whole


def trace_path(root: Path, key: Key) -> Path:
    """Given the traces' folder and a key, return where the trace would be. Raise LtxflowError for no key."""
    if not is_digest(key):
        raise LtxflowError(Problem(f'"{key}" is not a key', hint="a key has 64 hex digits"))
    return root / key[:2] / f"{key}.json"


def write_trace(root: Path, trace: Trace) -> Path:
    """Given a trace, write its file, whole or not at all, and return the path."""
    path = trace_path(root, trace.key)
    put_trace(path, trace_text(trace))
    return path


def put_trace(path: Path, text: str, fsync: bool = True) -> files.Signature:
    """Given the path of a trace's file and its text, write it, whole or not at all, and return its signature."""
    files.make_dir(path.parent, 0o700)
    files.make_room(path)
    return files.write_atomic(path, text, fsync=fsync)


def read_trace(
    root: Path, key: Key, check: Callable[[Trace], str] = lambda trace: ""
) -> tuple[Trace | None, Problem | None]:
    """Given a key, return its trace, or None and what is wrong with the file, if there is one.

    A damaged file is moved aside as `.corrupt` and counts as absent; one of a newer format is left as it is. `check`
    says what is wrong with a trace that has no checksum.
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
        hint = f"{hint_for(error)}; until then it counts as absent"
        return None, Problem(f'cannot read the trace "{path}": {reason}', hint=hint, level="warning")
    try:
        trace = parse_trace(text, key)
        if not is_sealed(text) and (wrong := check(trace)):
            raise ValueError(wrong)
        return trace, None
    except ValueError as error:
        return None, _damaged(path, text, str(error))


def is_sealed(text: bytes) -> bool:
    """Return whether the text of a trace file has a checksum; those of the first versions have none.

    Raise ValueError where it has one, and it is wrong: one flipped bit can leave JSON with another number in it.
    """
    found = _CHECKSUM.search(text, max(0, len(text) - 40))
    if found is None:
        return False
    if int(found[1], 16) != zlib.crc32(text[: found.start()]):
        raise ValueError("its checksum is wrong")
    return True


def parse_trace(text: bytes, key: Key) -> Trace:
    """Given the text of a trace file, return the Trace. Raise ValueError when it is not that of `key`."""
    is_sealed(text)
    trace = Trace.from_json(parse_json(text))
    if trace.key != key:
        raise ValueError("the trace of another key")
    return trace


def _damaged(path: Path, text: bytes, reason: str) -> Problem:
    is_ours = text.startswith(f'{{"format":"{TRACE_FORMAT}"'.encode())
    if text.startswith(b'{"format":"trace/') and not is_ours:
        message = f'the trace "{path}" is of a newer format'
        return Problem(message, hint="upgrade ltxflow; until then it counts as absent", level="warning")
    where = path
    with suppress(LtxflowError):  # a read-only store: the damage is reported all the same
        where = files.set_aside(path)
    message = f'the trace "{path}" is damaged: {reason}'
    return Problem(message, hint=f'it counts as absent; the file is kept as "{where.name}"', level="warning")


def remove_trace(root: Path, key: Key) -> None:
    """Given a key, drop its trace; one that is not there is fine."""
    files.remove(trace_path(root, key))


def trace_keys(root: Path) -> Iterator[Key]:
    """Given the traces' folder, return the keys of all trace files, sorted."""
    for folder in trace_folders(root):
        for path in sorted(folder.iterdir()):
            if path.suffix == ".json" and is_digest(path.stem):
                yield Key(path.stem)


def trace_folders(root: Path) -> list[Path]:
    """Given the traces' folder, return the folders traces are in, sorted."""
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if len(path.name) == 2 and path.is_dir())
