"""What a ComfyUI server says, as checked records. Knows no network, and trusts nothing it is given.

Shapes: ComfyUI 0.27.0 and 0.33.0 `server.py`, `execution.py`, `comfy_execution/jobs.py`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ltxflow.comfy.untrusted import as_ms, as_number, clean, items, mapping, names
from ltxflow.core.errors import FAILED, LtxflowError, Problem

_NAME_LIMIT = 255  # bytes of a file name on every file system that matters
_PROBLEMS_LIMIT = 20  # refused nodes listed one by one

JobKind = Literal["queued", "running", "done", "failed", "cancelled", "unknown"]

_STATUS: dict[str, JobKind] = {
    "pending": "queued",
    "in_progress": "running",
    "completed": "done",
    "failed": "failed",
    "cancelled": "cancelled",
}

_DRIVE = re.compile(r"[A-Za-z]:")
_OOM_KINDS = ("OutOfMemoryError", "MemoryError")
_OOM_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")
_UNWRITABLE_WORDS = (
    *("no space left on device", "not enough space on the disk", "disk quota exceeded", "read-only file system"),
    *("[errno 28]", "[errno 30]", "[errno 122]"),
)
_PASSING_STATUSES = frozenset({408, 425, 429})
_PASSING_WORDS = ("cuda error", "cublas_status", "cudnn_status", "connection reset", "connection aborted")


@dataclass(frozen=True)
class OutputFile:
    """A file that a node wrote below the server's output folder. `media` is the list it stood in ("images").

    The names are plain, but they are the server's: use them to ask for the file, never to name one of ours.
    """

    node: str
    filename: str
    subfolder: str
    type: str
    media: str


@dataclass(frozen=True)
class ServerError:
    """Why a prompt died, in the server's words, shortened. `kind` is the Python exception's type."""

    kind: str
    message: str
    node: str = ""
    node_type: str = ""

    def __str__(self) -> str:
        where = f'{self.node_type or "node"} "{self.node}": ' if self.node else ""
        return where + ": ".join(part for part in (self.kind, self.message) if part)


@dataclass(frozen=True)
class Timings:
    """When a prompt was queued, began and ended, by the server's clock, in milliseconds since 1970."""

    created_ms: int | None = None
    started_ms: int | None = None
    ended_ms: int | None = None

    @property
    def queued_s(self) -> float | None:
        return _seconds_between(self.created_ms, self.started_ms)

    @property
    def ran_s(self) -> float | None:
        return _seconds_between(self.started_ms, self.ended_ms)


@dataclass(frozen=True)
class JobState:
    """How a prompt stands. `refused` names listed outputs whose names no honest server would send, `temporary` are
    previews: files that the server deletes when it ends."""

    kind: JobKind
    outputs: tuple[OutputFile, ...] = ()
    temporary: tuple[OutputFile, ...] = ()
    error: ServerError | None = None
    cached_nodes: tuple[str, ...] = ()
    timings: Timings = Timings()
    refused: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        return self.kind in ("done", "failed", "cancelled")


@dataclass(frozen=True)
class NodeError:
    """Why the server refuses a graph: one entry of its `node_errors`, or its `error` where that names no node.

    `extra` holds what the type brings: `input_name`, `input_config`, `received_value`, `linked_node`, `cycle_nodes`. It
    comes from the server: nothing of it is shown unchecked.
    """

    type: str
    node: str = ""
    class_type: str = ""
    details: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Refused(Problem):
    """A reason of the server's, in its own words. `reason` is what `refusals.reword` makes our words of."""

    reason: NodeError = NodeError("")


@dataclass(frozen=True)
class Reply:
    """The answer to a submitted prompt. Problems with a 200 mean: queued, but without the nodes they name."""

    prompt_id: str
    number: float | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class QueueEntry:
    """A prompt that runs or waits. `is_foreign` is the asker's view: not among the ids it called its own."""

    prompt_id: str
    is_running: bool
    is_foreign: bool = True


@dataclass(frozen=True)
class Device:
    name: str
    type: str
    vram_total: int  # bytes
    vram_free: int  # bytes


@dataclass(frozen=True)
class SystemStats:
    """What `/system_stats` tells of a server. Sizes in bytes, 0 when it does not say."""

    version: str
    os: str
    python: str
    pytorch: str
    ram_total: int
    ram_free: int
    devices: tuple[Device, ...] = ()


def load_json(data: bytes | str) -> Any:
    """Given a body, return its JSON. Raise LtxflowError when it is none: transient (a cut body, a server that
    is starting) unless it is a web page."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        head = data[:200] if isinstance(data, str) else data[:200].decode("utf-8", "replace")
    if head.lstrip().startswith("<"):
        raise _strange(
            "a web page came where JSON was expected",
            hint="something else listens there, or a proxy wants a login: check the address and its path",
        )
    shown = clean(head, 80)
    raise LtxflowError(
        Problem(f'the answer is not JSON: "{shown}"', code="server-answer", transient=True), exit_code=FAILED
    )


def _strange(message: str, hint: str = "") -> LtxflowError:
    hint = hint or "is this a ComfyUI server? check the address and its path"
    return LtxflowError(Problem(message, hint=hint, code="server-answer"), exit_code=FAILED)


# Submitting


def parse_reply(body: object) -> Reply:
    """Given the JSON of a 200 from `POST /prompt`, return it. Raise LtxflowError when it names no prompt."""
    fields = mapping(body)
    prompt_id = fields.get("prompt_id")
    if not isinstance(prompt_id, str) or not prompt_id:
        raise _strange("the server took the prompt without naming it")
    return Reply(clean(prompt_id, 100), as_number(fields.get("number")), _node_problems(fields))


def parse_refusal(body: object) -> tuple[Problem, ...]:
    """Given the JSON of a 4xx, return the server's reasons, one problem for each; at least one."""
    fields = mapping(body)
    problems = _node_problems(fields)
    if problems:
        return problems
    error = fields.get("error")
    if isinstance(error, str) and error.strip():
        return (_refused(clean(error)),)
    told = mapping(error)
    text = _reason(told)
    hint = ""
    if told.get("type") == "missing_node_type":
        hint = "install the node on that server, or use a template that does without it"
    extra = mapping(told.get("extra_info"))
    reason = NodeError(
        str(told.get("type") or ""),
        clean(extra.get("node_id") or "", 40),
        clean(extra.get("class_type") or "", 80),
        clean(told.get("details") or ""),
        extra,
    )
    return (_refused(text or "the server gave no reason", hint, reason),)


def _node_problems(fields: Mapping[str, Any]) -> tuple[Problem, ...]:
    problems: list[Problem] = []
    for node, told in mapping(fields.get("node_errors")).items():
        told = mapping(told)
        class_ = clean(told.get("class_type") or "node", 80)
        for error in [mapping(error) for error in items(told.get("errors"))] or [{}]:
            extra = mapping(error.get("extra_info"))
            details = clean(error.get("details") or "")
            reason = NodeError(str(error.get("type") or ""), clean(node, 40), class_, details, extra)
            text = f'{class_} "{clean(node, 40)}": {_reason(error) or "not valid"}'
            problems.append(_refused(text, _hint_for(error), reason))
    problems.sort(key=lambda p: p.message)  # the server's order is that of a Python set
    if len(problems) > _PROBLEMS_LIMIT:
        rest = len(problems) - _PROBLEMS_LIMIT
        problems[_PROBLEMS_LIMIT:] = [_refused(f"and {rest} more like these")]
    return tuple(problems)


def _reason(error: Mapping[str, Any]) -> str:
    message, details = clean(error.get("message") or ""), clean(error.get("details") or "")
    return ": ".join(part for part in (message[:1].lower() + message[1:], details) if part)


def _hint_for(error: Mapping[str, Any]) -> str:
    if error.get("type") == "value_not_in_list":
        return "that server has no such file or value: put it there, or name one that it has"
    return ""


def _refused(message: str, hint: str = "", reason: NodeError | None = None) -> Refused:
    return Refused(message, hint=hint, code="refused", reason=reason or NodeError(""))


# States


def parse_history(prompt_id: str, body: object) -> JobState | None:
    """Given the JSON of `/history/{id}`, return how the prompt ended, None when it says nothing of it.

    None is not "unknown": a queued or running prompt has no entry either.
    """
    if not isinstance(body, dict):
        raise _strange("the server's history is no mapping")
    entry = body.get(prompt_id)
    return None if entry is None else _ended(mapping(entry), _created_ms(mapping(entry)))


def parse_job(prompt_id: str, body: object) -> JobState:
    """Given the JSON of `/api/jobs/{id}`, return the prompt's state. Raise LtxflowError for another job's.

    A status from a later ComfyUI counts as queued: the server knows the job, so it is neither lost nor over.
    """
    fields = mapping(body)
    if fields.get("id") != prompt_id:
        raise _strange(f'asked for job {prompt_id}, the server answered with "{clean(fields.get("id"), 60)}"')
    kind = _STATUS.get(str(fields.get("status")), "queued")
    created_ms = as_ms(fields.get("create_time"))
    if kind in ("queued", "running"):
        return JobState(kind, timings=Timings(created_ms, as_ms(fields.get("execution_start_time"))))
    state = _ended({"outputs": fields.get("outputs"), "status": fields.get("execution_status")}, created_ms)
    error = state.error
    if kind == "failed" and (error is None or not error.kind):
        error = error_of(mapping(fields.get("execution_error")))
    started, ended = as_ms(fields.get("execution_start_time")), as_ms(fields.get("execution_end_time"))
    timings = Timings(
        created_ms,
        started if started is not None else state.timings.started_ms,
        ended if ended is not None else state.timings.ended_ms,
    )
    return replace(state, kind=kind, error=error if kind == "failed" else None, timings=timings)


def _created_ms(entry: Mapping[str, Any]) -> int | None:
    prompt = entry.get("prompt")
    extra = prompt[3] if isinstance(prompt, list) and len(prompt) > 3 else None
    return as_ms(mapping(extra).get("create_time"))


def _ended(entry: Mapping[str, Any], created_ms: int | None) -> JobState:
    status = mapping(entry.get("status"))
    told = _messages(status)
    kind: JobKind = "done"
    if status.get("status_str") == "error":
        kind = "cancelled" if "execution_interrupted" in told else "failed"
    ended = next((told[name] for name in _ENDINGS if name in told), {})
    listed, refused = _outputs(entry.get("outputs"))
    return JobState(
        kind,
        tuple(file for file in listed if file.type == "output"),
        tuple(file for file in listed if file.type != "output"),
        error_of(told.get("execution_error", {})) if kind == "failed" else None,
        names(told.get("execution_cached", {}).get("nodes")),
        Timings(created_ms, as_ms(told.get("execution_start", {}).get("timestamp")), as_ms(ended.get("timestamp"))),
        refused,
    )


_ENDINGS = ("execution_success", "execution_error", "execution_interrupted")


def _messages(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        m[0]: mapping(m[1])
        for m in items(status.get("messages"))
        if isinstance(m, list) and len(m) >= 2 and isinstance(m[0], str)
    }


def error_of(told: Mapping[str, Any]) -> ServerError:
    return ServerError(
        kind=clean(told.get("exception_type") or "", 100),
        message=clean(told.get("exception_message") or "") or "the server gave no reason",
        node=clean(told.get("node_id") or "", 40),
        node_type=clean(told.get("node_type") or "", 80),
    )


def _outputs(body: object) -> tuple[tuple[OutputFile, ...], tuple[str, ...]]:
    files: list[OutputFile] = []
    refused: list[str] = []
    for node, lists in mapping(body).items():
        for media, listed in mapping(lists).items():
            for item in map(mapping, items(listed)):
                kind = item.get("type")  # previews and intermediate frames are "temp"
                name, folder = item.get("filename"), item.get("subfolder") or ""
                if kind not in ("output", "temp"):
                    continue
                if is_plain_name(name) and is_plain_folder(folder):
                    files.append(OutputFile(clean(node, 40), str(name), str(folder), kind, clean(media, 40)))
                elif kind == "output":
                    refused.append(clean(f"{folder}/{name}" if folder else name, 120))
    return tuple(files), tuple(refused)


def with_extension(outputs: Iterable[OutputFile], *extensions: str) -> tuple[OutputFile, ...]:
    """Given outputs and extensions such as ".mp4", return those outputs that end in one of them, in order."""
    endings = tuple(e.lower() for e in extensions)
    return tuple(o for o in outputs if o.filename.lower().endswith(endings))


def is_plain_name(name: object) -> bool:
    """Given a file name from a server, return whether it is one name and no path, on any system."""
    return (
        isinstance(name, str)
        and name.strip() not in ("", ".", "..")
        and not any(c in "/\\" or unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name)
        and not _DRIVE.match(name)
        and len(name.encode("utf-8", "replace")) <= _NAME_LIMIT
    )


def is_plain_folder(folder: object) -> bool:
    """Given a subfolder from a server, return whether it stays below its root. Windows sends `a\\b`."""
    if not isinstance(folder, str):
        return False
    return folder == "" or all(is_plain_name(part) for part in re.split(r"[/\\]", folder))


def parse_queue(body: object) -> tuple[QueueEntry, ...]:
    """Given the JSON of `/queue`, return its prompts in the order they run: running ones, then by number."""
    fields = mapping(body)
    if not isinstance(fields.get("queue_running"), list) or not isinstance(fields.get("queue_pending"), list):
        raise _strange("the server's queue has no lists")
    entries: list[QueueEntry] = []
    for is_running, name in ((True, "queue_running"), (False, "queue_pending")):
        rows = [
            (as_number(row[0]) or 0.0, row[1])
            for row in fields[name]
            if isinstance(row, list) and len(row) >= 2 and isinstance(row[1], str)
        ]
        entries += [QueueEntry(clean(i, 100), is_running) for _, i in sorted(rows, key=lambda row: row[0])]
    return tuple(entries)


def parse_jobs(body: object) -> tuple[QueueEntry, ...]:
    """Given the JSON of `/api/jobs`, return those that run or wait, running ones first, then by priority."""
    if not isinstance(mapping(body).get("jobs"), list):
        raise _strange("the server's jobs are no list")
    jobs = [mapping(job) for job in mapping(body)["jobs"]]
    jobs = [j for j in jobs if j.get("status") in ("pending", "in_progress") and isinstance(j.get("id"), str)]
    jobs.sort(key=lambda j: (j["status"] == "pending", as_number(j.get("priority")) or 0.0))
    return tuple(QueueEntry(clean(j["id"], 100), j["status"] == "in_progress") for j in jobs)


def parse_remaining(body: object) -> int:
    """Given the JSON of `GET /prompt`, return how many prompts run or wait. Raise LtxflowError otherwise."""
    remaining = as_number(mapping(mapping(body).get("exec_info")).get("queue_remaining"))
    if remaining is None:
        raise _strange("the server does not say how long its queue is")
    return max(int(remaining), 0)


def parse_stats(body: object) -> SystemStats:
    """Given the JSON of `/system_stats`, return it. Raise LtxflowError when it is no ComfyUI's."""
    system = mapping(mapping(body).get("system"))
    if "python_version" not in system and "comfyui_version" not in system:
        raise _strange("what answers there is not ComfyUI")
    devices = [mapping(d) for d in items(mapping(body).get("devices"))]
    return SystemStats(
        version=clean(system.get("comfyui_version") or "", 40),
        os=clean(system.get("os") or "", 40),
        python=clean(system.get("python_version") or "", 60),
        pytorch=clean(system.get("pytorch_version") or "", 60),
        ram_total=int(as_number(system.get("ram_total")) or 0),
        ram_free=int(as_number(system.get("ram_free")) or 0),
        devices=tuple(
            Device(
                clean(d.get("name") or "", 100),
                clean(d.get("type") or "", 40),
                int(as_number(d.get("vram_total")) or 0),
                int(as_number(d.get("vram_free")) or 0),
            )
            for d in devices
        ),
    )


def parse_cancelled(body: object) -> bool:
    """Given the JSON of `/api/jobs/{id}/cancel`, return whether there was anything to cancel."""
    cancelled = mapping(body).get("cancelled")
    if not isinstance(cancelled, bool):
        raise _strange("the server does not say whether it cancelled the job")
    return cancelled


def parse_upload(body: object) -> str:
    """Given the JSON of `POST /upload/image`, return the name a loader node takes: `subfolder/name`.

    Raise LtxflowError for a name that is none, or for a file put elsewhere than among the inputs.
    """
    fields = mapping(body)
    name, folder = fields.get("name"), fields.get("subfolder") or ""
    if not (is_plain_name(name) and is_plain_folder(folder) and fields.get("type", "input") == "input"):
        raise _strange(f'the server stored the upload as "{clean(name, 120)}", which is no plain input name')
    return "/".join([*re.split(r"[/\\]", folder), str(name)]) if folder else str(name)


def parse_models(body: object) -> tuple[str, ...]:
    """Given the JSON of `/models/{folder}`, return the names, sorted, none with control characters."""
    if not isinstance(body, list):
        raise _strange("the server's list of models is no list")
    return tuple(sorted(n for n in body if isinstance(n, str) and n and clean(n, len(n)) == n))


def is_oom(error: ServerError) -> bool:
    """Given why a prompt died, return whether memory ran out (on the GPU or in RAM)."""
    text = error.message.lower()
    return error.kind.endswith(_OOM_KINDS) or any(word in text for word in _OOM_WORDS)


def is_unwritable(error: ServerError) -> bool:
    """Given why a prompt died, return whether the server could not write: no clip gets a file there, whatever it is."""
    text = error.message.lower()
    is_save = "save" in error.node_type.lower()
    return any(word in text for word in _UNWRITABLE_WORDS) or (is_save and "permission denied" in text)


def is_transient(cause: int | ServerError) -> bool:
    """Given an HTTP status or why a prompt died, return whether the same attempt may succeed later.

    Out of memory is not transient: it asks for freed memory or another server, see `is_oom`.
    """
    if isinstance(cause, int):
        return cause >= 500 or cause in _PASSING_STATUSES
    return not is_oom(cause) and any(word in cause.message.lower() for word in _PASSING_WORDS)


def _seconds_between(start_ms: int | None, end_ms: int | None) -> float | None:
    return None if start_ms is None or end_ms is None else max(end_ms - start_ms, 0) / 1000
