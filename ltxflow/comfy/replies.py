"""Parse replies of a ComfyUI server into checked records. Pure; nothing in a reply is trusted.

Shapes: ComfyUI 0.27.0 and 0.33.0 `server.py`, `execution.py`, `comfy_execution/jobs.py`.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem

TEXT_LIMIT = 500  # characters of a server's own words that are repeated
_READ_LIMIT = 65_536  # characters read before shortening: a traceback may carry megabytes

# CSI, OSC, DCS and the two-byte escapes; the 8-bit CSI as well
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]?"
)


def clean(text: object, limit: int = TEXT_LIMIT) -> str:
    """Return anything a server sent as one printable line of at most `limit` characters.

    Escape sequences, control, format (bidi) and surrogate characters are removed, white space is folded.
    """
    raw = str(text)[:_READ_LIMIT]
    if not (raw.isascii() and raw.isprintable()):  # nearly all is, and a frame has dozens of names
        raw = "".join(_printable(_ESCAPES.sub("", raw)))
    line = " ".join(raw.split())
    return line if len(line) <= limit else line[: max(limit - 1, 0)].rstrip() + "…"


def _printable(text: str) -> Iterator[str]:
    for char in text:
        category = unicodedata.category(char)
        if char in "\n\r\t\v\f\x85" or category in ("Zl", "Zp"):
            yield " "
        elif category not in ("Cc", "Cf", "Cs"):
            yield char


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def names(value: object) -> tuple[str, ...]:
    return tuple(clean(v, 40) for v in items(value) if isinstance(v, (str, int)))


def as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_ms(value: object) -> int | None:
    number = as_number(value)
    return None if number is None else int(number)


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
    """A file that a node wrote below the server's output folder. `media` is the list that named it ("images").

    The names are plain, but they are the server's: use them to request the file, never to name a local one.
    """

    node: str
    filename: str
    subfolder: str
    type: str
    media: str


@dataclass(frozen=True)
class ServerError:
    """The error of a prompt in the server's words, shortened. `kind` is the type of the Python exception."""

    kind: str
    message: str
    node: str = ""
    node_type: str = ""

    def __str__(self) -> str:
        where = f'{self.node_type or "node"} "{self.node}": ' if self.node else ""
        return where + ": ".join(part for part in (self.kind, self.message) if part)


@dataclass(frozen=True)
class Timings:
    """When a prompt was queued, started and ended by the server's clock, in milliseconds since 1970."""

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
    """The state of a prompt. `refused` lists outputs with names that no honest server would send.

    `temporary` are previews: files that the server deletes when it exits.
    """

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
    """The reason for refusing a graph: an entry of `node_errors`, or `error` if there is none.

    `extra` depends on the type: `input_name`, `input_config`, `received_value`, `linked_node`, `cycle_nodes`. It comes
    from the server: show nothing of it unchecked.
    """

    type: str
    node: str = ""
    class_type: str = ""
    details: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Refused(Problem):
    """A refusal in the server's words. `refusals.reword` rewords its `reason`."""

    reason: NodeError = NodeError("")


@dataclass(frozen=True)
class Reply:
    """The answer to a submitted prompt. With problems it is queued without the nodes that they name."""

    prompt_id: str
    number: float | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class QueueEntry:
    """A prompt that runs or waits. `is_foreign` if it is not among the caller's own ids."""

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
    """The content of `/system_stats`. Sizes in bytes, 0 if missing."""

    version: str
    os: str
    python: str
    pytorch: str
    ram_total: int
    ram_free: int
    devices: tuple[Device, ...] = ()


def load_json(data: bytes | str) -> Any:
    """Return the JSON of a body.

    Raise LtxflowError for other text: transient (a cut body, a server that is starting) unless it is a web page.
    """
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        head = data[:200] if isinstance(data, str) else data[:200].decode("utf-8", "replace")
    if head.lstrip().startswith("<"):
        raise _unexpected(problem("C009.web-page"))
    raise _unexpected(problem("C009.not-json", shown=clean(head, 80), transient=True))


def _unexpected(found: Problem) -> LtxflowError:
    return LtxflowError(found, exit_code=FAILED)


# Submitting


def parse_reply(body: object) -> Reply:
    """Parse the JSON of a 200 from `POST /prompt`. Raise LtxflowError if it names no prompt."""
    fields = mapping(body)
    prompt_id = fields.get("prompt_id")
    if not isinstance(prompt_id, str) or not prompt_id:
        raise _unexpected(problem("C009.no-prompt-id"))
    return Reply(clean(prompt_id, 100), as_number(fields.get("number")), _node_problems(fields))


def parse_refusal(body: object) -> tuple[Problem, ...]:
    """Return the reasons in the JSON of a 4xx, one problem each; at least one."""
    fields = mapping(body)
    problems = _node_problems(fields)
    if problems:
        return problems
    error = fields.get("error")
    if isinstance(error, str) and error.strip():
        return (refused(clean(error)),)
    details = mapping(error)
    extra = mapping(details.get("extra_info"))
    reason = NodeError(
        str(details.get("type") or ""),
        clean(extra.get("node_id") or "", 40),
        clean(extra.get("class_type") or "", 80),
        clean(details.get("details") or ""),
        extra,
    )
    text = _reason(details)
    if not text:
        return (_refusal(problem("C007.none"), reason),)
    is_missing = details.get("type") == "missing_node_type"
    return (_refusal(problem("C007.missing-class" if is_missing else "C007.reason", reason=text), reason),)


def _node_problems(fields: Mapping[str, Any]) -> tuple[Problem, ...]:
    problems: list[Problem] = []
    for node, entry in mapping(fields.get("node_errors")).items():
        entry = mapping(entry)
        class_ = clean(entry.get("class_type") or "node", 80)
        for error in [mapping(error) for error in items(entry.get("errors"))] or [{}]:
            extra = mapping(error.get("extra_info"))
            details = clean(error.get("details") or "")
            reason = NodeError(str(error.get("type") or ""), clean(node, 40), class_, details, extra)
            text = f'{class_} "{clean(node, 40)}": {_reason(error) or "not valid"}'
            is_listed = error.get("type") == "value_not_in_list"
            problems.append(_refusal(problem("C007.not-in-list" if is_listed else "C007.reason", reason=text), reason))
    problems.sort(key=lambda p: p.message)  # the server's order is that of a Python set
    if len(problems) > _PROBLEMS_LIMIT:
        rest = len(problems) - _PROBLEMS_LIMIT
        problems[_PROBLEMS_LIMIT:] = [_refusal(problem("C007.rest", count=rest), NodeError(""))]
    return tuple(problems)


def _reason(error: Mapping[str, Any]) -> str:
    message, details = clean(error.get("message") or ""), clean(error.get("details") or "")
    return ": ".join(part for part in (message[:1].lower() + message[1:], details) if part)


def refused(text: str) -> Refused:
    """Return a refusal of which only a text is known."""
    return _refusal(problem("C007.reason", reason=text), NodeError(""))


def _refusal(found: Problem, reason: NodeError) -> Refused:
    return Refused(found.message, hint=found.hint, code=found.code, reason=reason)


# States


def parse_history(prompt_id: str, body: object) -> JobState | None:
    """Return how a prompt ended, from the JSON of `/history/{id}`; None without an entry.

    None is not "unknown": a queued or running prompt has no entry either.
    """
    if not isinstance(body, dict):
        raise _unexpected(problem("C009.history"))
    entry = body.get(prompt_id)
    return None if entry is None else _ended(mapping(entry), _created_ms(mapping(entry)))


def parse_job(prompt_id: str, body: object) -> JobState:
    """Return the state of a prompt, from the JSON of `/api/jobs/{id}`. Raise LtxflowError for another job's.

    A status from a later ComfyUI counts as queued: the server knows the job, so it is neither lost nor over.
    """
    fields = mapping(body)
    if fields.get("id") != prompt_id:
        raise _unexpected(problem("C009.other-job", wanted=prompt_id, received=clean(fields.get("id"), 60)))
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
    events = _messages(status)
    kind: JobKind = "done"
    if status.get("status_str") == "error":
        kind = "cancelled" if "execution_interrupted" in events else "failed"
    ended = next((events[name] for name in _ENDINGS if name in events), {})
    listed, refused = _outputs(entry.get("outputs"))
    return JobState(
        kind,
        tuple(file for file in listed if file.type == "output"),
        tuple(file for file in listed if file.type != "output"),
        error_of(events.get("execution_error", {})) if kind == "failed" else None,
        names(events.get("execution_cached", {}).get("nodes")),
        Timings(created_ms, as_ms(events.get("execution_start", {}).get("timestamp")), as_ms(ended.get("timestamp"))),
        refused,
    )


_ENDINGS = ("execution_success", "execution_error", "execution_interrupted")


def _messages(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {
        m[0]: mapping(m[1])
        for m in items(status.get("messages"))
        if isinstance(m, list) and len(m) >= 2 and isinstance(m[0], str)
    }


def error_of(fields: Mapping[str, Any]) -> ServerError:
    """Return the error that the fields of an `execution_error` describe."""
    return ServerError(
        kind=clean(fields.get("exception_type") or "", 100),
        message=clean(fields.get("exception_message") or "") or "the server gave no reason",
        node=clean(fields.get("node_id") or "", 40),
        node_type=clean(fields.get("node_type") or "", 80),
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


def is_plain_name(name: object) -> bool:
    """Return whether a file name from a server is a single name, not a path, on any system."""
    return (
        isinstance(name, str)
        and name.strip() not in ("", ".", "..")
        and not any(c in "/\\" or unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in name)
        and not _DRIVE.match(name)
        and len(name.encode("utf-8", "replace")) <= _NAME_LIMIT
    )


def is_plain_folder(folder: object) -> bool:
    """Return whether a subfolder from a server stays below its root. Windows sends `a\\b`."""
    if not isinstance(folder, str):
        return False
    return folder == "" or all(is_plain_name(part) for part in re.split(r"[/\\]", folder))


def parse_queue(body: object) -> tuple[QueueEntry, ...]:
    """Return the prompts in the JSON of `/queue` in the order they run: running ones, then by number."""
    fields = mapping(body)
    if not isinstance(fields.get("queue_running"), list) or not isinstance(fields.get("queue_pending"), list):
        raise _unexpected(problem("C009.queue"))
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
    """Return the prompts in the JSON of `/api/jobs` that run or wait: running ones, then by priority."""
    if not isinstance(mapping(body).get("jobs"), list):
        raise _unexpected(problem("C009.jobs"))
    jobs = [mapping(job) for job in mapping(body)["jobs"]]
    jobs = [j for j in jobs if j.get("status") in ("pending", "in_progress") and isinstance(j.get("id"), str)]
    jobs.sort(key=lambda j: (j["status"] == "pending", as_number(j.get("priority")) or 0.0))
    return tuple(QueueEntry(clean(j["id"], 100), j["status"] == "in_progress") for j in jobs)


def parse_remaining(body: object) -> int:
    """Return the number of prompts that run or wait, from the JSON of `GET /prompt`."""
    remaining = as_number(mapping(mapping(body).get("exec_info")).get("queue_remaining"))
    if remaining is None:
        raise _unexpected(problem("C009.queue-length"))
    return max(int(remaining), 0)


def parse_stats(body: object) -> SystemStats:
    """Parse the JSON of `/system_stats`. Raise LtxflowError if it is not ComfyUI's."""
    system = mapping(mapping(body).get("system"))
    if "python_version" not in system and "comfyui_version" not in system:
        raise _unexpected(problem("C009.not-comfyui"))
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
    """Return whether the JSON of `/api/jobs/{id}/cancel` confirms that there was a job to cancel."""
    cancelled = mapping(body).get("cancelled")
    if not isinstance(cancelled, bool):
        raise _unexpected(problem("C009.cancelled"))
    return cancelled


def parse_upload(body: object) -> str:
    """Return the name that a loader node takes, `subfolder/name`, from the JSON of `POST /upload/image`.

    Raise LtxflowError for a name that is not plain, or for a file stored outside the inputs.
    """
    fields = mapping(body)
    name, folder = fields.get("name"), fields.get("subfolder") or ""
    if not (is_plain_name(name) and is_plain_folder(folder) and fields.get("type", "input") == "input"):
        raise _unexpected(problem("C009.upload", name=clean(name, 120)))
    return "/".join([*re.split(r"[/\\]", folder), str(name)]) if folder else str(name)


def parse_models(body: object) -> tuple[str, ...]:
    """Return the names in the JSON of `/models/{folder}`, sorted, none with control characters."""
    if not isinstance(body, list):
        raise _unexpected(problem("C009.models"))
    return tuple(sorted(n for n in body if isinstance(n, str) and n and clean(n, len(n)) == n))


def is_oom(error: ServerError) -> bool:
    """Return whether a prompt failed because memory ran out (on the GPU or in RAM)."""
    text = error.message.lower()
    return error.kind.endswith(_OOM_KINDS) or any(word in text for word in _OOM_WORDS)


def is_unwritable(error: ServerError) -> bool:
    """Return whether a prompt failed because the server cannot write: then no clip succeeds there."""
    text = error.message.lower()
    is_save = "save" in error.node_type.lower()
    return any(word in text for word in _UNWRITABLE_WORDS) or (is_save and "permission denied" in text)


def is_transient(cause: int | ServerError) -> bool:
    """Return whether the same attempt may succeed later, for an HTTP status or the error of a prompt.

    Out of memory is not transient: it needs freed memory or another server, see `is_oom`.
    """
    if isinstance(cause, int):
        return cause >= 500 or cause in _PASSING_STATUSES
    return not is_oom(cause) and any(word in cause.message.lower() for word in _PASSING_WORDS)


def _seconds_between(start_ms: int | None, end_ms: int | None) -> float | None:
    return None if start_ms is None or end_ms is None else max(end_ms - start_ms, 0) / 1000
