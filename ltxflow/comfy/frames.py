"""Parse WebSocket frames of a server into progress events. They feed the progress bar and decide nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.comfy.replies import ServerError, error_of
from ltxflow.comfy.untrusted import as_number, clean, mapping, names


@dataclass(frozen=True)
class Started:
    prompt_id: str


@dataclass(frozen=True)
class NodeRunning:
    prompt_id: str
    node: str


@dataclass(frozen=True)
class NodeProgress:
    prompt_id: str
    node: str
    value: float
    max: float


@dataclass(frozen=True)
class NodeDone:
    """A node has finished. The event may repeat, with `is_cached` only the first time."""

    prompt_id: str
    node: str
    is_cached: bool = False


@dataclass(frozen=True)
class Finished:
    """The server has ended the prompt, whatever the outcome: its history entry exists."""

    prompt_id: str


@dataclass(frozen=True)
class Failed:
    """An error or an interruption; the history entry may be a moment late."""

    prompt_id: str
    error: ServerError


@dataclass(frozen=True)
class QueueChanged:
    """The number of running and waiting prompts of all clients. It belongs to no prompt."""

    remaining: int
    prompt_id: str = ""


Progress = Started | NodeRunning | NodeProgress | NodeDone | Finished | Failed | QueueChanged


def is_repetition(frame: str | bytes) -> bool:
    """Return whether a frame repeats the whole state of a prompt, by its first letters.

    Half of all frames do, each as long as forty others. Their news arrives in other frames too.
    """
    return isinstance(frame, str) and frame.startswith('{"type": "progress_state"')


def parse_frame(frame: str | bytes) -> tuple[Progress, ...]:
    """Return the events of a frame; none for binary, unknown or malformed ones."""
    if not isinstance(frame, str):
        return ()  # previews; LTX-2 sends none
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError):
        return ()
    kind, data = mapping(message).get("type"), mapping(mapping(message).get("data"))
    if kind == "status":
        remaining = as_number(mapping(mapping(data.get("status")).get("exec_info")).get("queue_remaining"))
        return () if remaining is None else (QueueChanged(max(int(remaining), 0)),)
    prompt_id = data.get("prompt_id")
    if not isinstance(prompt_id, str) or not isinstance(kind, str):
        return ()
    return tuple(_events(kind, prompt_id, data))


def _events(kind: str, prompt_id: str, data: Mapping[str, Any]) -> Iterator[Progress]:
    node = data.get("node")
    if kind == "execution_start":
        yield Started(prompt_id)
    elif kind == "execution_cached":
        yield from (NodeDone(prompt_id, name, is_cached=True) for name in names(data.get("nodes")))
    elif kind == "executing" and "node" in data:
        yield Finished(prompt_id) if node is None else NodeRunning(prompt_id, clean(node, 40))
    elif kind == "executed" and node is not None:
        yield NodeDone(prompt_id, clean(node, 40))
    elif kind == "progress" and node is not None:
        yield from _node_progress(prompt_id, clean(node, 40), data)
    elif kind == "progress_state":
        for name, fields in mapping(data.get("nodes")).items():
            fields = mapping(fields)
            if fields.get("state") == "finished":
                yield NodeDone(prompt_id, clean(name, 40))
            elif fields.get("state") == "running":
                yield from _node_progress(prompt_id, clean(name, 40), fields)
    elif kind == "execution_error":
        yield Failed(prompt_id, error_of(data))
    elif kind == "execution_interrupted":
        at = clean(data.get("node_id") or "", 40)
        yield Failed(prompt_id, ServerError("", "interrupted", at, clean(data.get("node_type") or "", 80)))


def _node_progress(prompt_id: str, node: str, data: Mapping[str, Any]) -> Iterator[NodeProgress]:
    value, most = as_number(data.get("value")), as_number(data.get("max"))
    if value is not None and most is not None and most > 0:
        yield NodeProgress(prompt_id, node, min(max(value, 0.0), most), most)
