"""Compute canonical JSON, digests of bytes, and keys of actions."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, NewType, NoReturn

from ltxflow.core.workspace import opened_regular

Digest = NewType("Digest", str)  # 64 hex digits, sha256 of bytes
Key = NewType("Key", str)  # 64 hex digits, sha256 of an Action's canonical JSON

ACTION_FORMAT = "action/1"
FILM_BYTES = 64 << 30  # an hour at 140 Mbit/s
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical(value: object) -> bytes:
    """Return the canonical bytes of plain JSON data: sorted keys, no spaces, UTF-8.

    Raise ValueError for NaN and infinities, TypeError for data that is not JSON. A float with a whole value is written
    as an integer, so that YAML's `4` and `4.0` are the same setting.
    """
    return _ENCODER.encode(_plain(value)).encode()


def parse_json(text: str, *, is_known: bool = False, number: Callable[[str], Any] | None = None) -> Any:
    """Return the value of a JSON text.

    Raise ValueError for text that is not JSON, for NaN and infinities, and for a name that occurs twice in one object,
    unless the text `is_known` to be good. `number` converts the text of a number, where that text is to be kept.
    """
    pairs = None if is_known else _no_duplicates
    return json.loads(text, object_pairs_hook=pairs, parse_constant=_no_constant, parse_int=number, parse_float=number)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f'"{key[:60]}" occurs twice in one object')
        found[key] = value
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is not JSON")


def _plain(value: Any) -> Any:
    if type(value) is str:  # nearly all are
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def digest_bytes(data: bytes) -> Digest:
    return Digest(hashlib.sha256(data).hexdigest())


def digest_json(value: object) -> Digest:
    return digest_bytes(canonical(value))


def digest_file(path: Path) -> Digest:
    """Return the sha256 of a regular file's bytes, read in blocks.

    Raise OSError for other files, and for one larger than any film, since a sparse file of that size takes no disk.
    """
    with opened_regular(path) as file:
        if os.fstat(file.fileno()).st_size > FILM_BYTES:
            raise OSError(errno.EFBIG, f"larger than {FILM_BYTES >> 30} GB", str(path))
        return digest_of(file)


def digest_there(path: Path) -> Digest | None:
    """Return the digest of the file at a path that others may have written, None where it cannot be read."""
    try:
        return digest_file(path)
    except OSError:
        return None


def digest_of(file: BufferedReader) -> Digest:
    """Return the sha256 of an open file's bytes from its position on."""
    return Digest(hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class Output:
    """A file that an action produced: the digest of its bytes, and the facts others may key on (frames, width, …)."""

    digest: Digest
    facts: dict[str, Any] = field(default_factory=dict)
    size: int = 0  # bytes


@dataclass(frozen=True)
class Action:
    """All that determines an output, as plain JSON. `inputs` maps an input's name to the used part of an Output."""

    kind: str
    version: str
    body: dict[str, Any]
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "format": ACTION_FORMAT,
            "kind": self.kind,
            "version": self.version,
            "body": self.body,
            "inputs": self.inputs,
            "outputs": list(self.outputs),
        }

    @property
    def key(self) -> Key:
        return Key(digest_json(self.as_json()))
