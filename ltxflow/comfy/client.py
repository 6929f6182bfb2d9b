"""Submit, query and cancel prompts on one ComfyUI server, and list its models, nodes and queue.

Routes and shapes: ComfyUI 0.27.0 `server.py`; older servers lack `/api/jobs` (before 0.14) or its `cancel`. Requests
are sent by transport.py, files by files.py; websocket.py receives progress.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any
from urllib.parse import quote

from ltxflow.comfy.discovery import Server, ServerAddress
from ltxflow.comfy.files import Transfers
from ltxflow.comfy.replies import (
    JobState,
    QueueEntry,
    SystemStats,
    load_json,
    parse_cancelled,
    parse_history,
    parse_job,
    parse_jobs,
    parse_models,
    parse_queue,
    parse_remaining,
    parse_reply,
    parse_stats,
)
from ltxflow.comfy.transport import BODY_CAP, LIST_CAP, Transport
from ltxflow.comfy.websocket import Listener
from ltxflow.core.errors import LtxflowError, problem

_NAMESPACE = uuid.UUID("5e1f4e57-6a0c-5f0e-9c56-1f6f0a3d7c21")  # of prompt ids; changing it orphans running jobs
_JOBS_LIMIT = 1000


@dataclass(frozen=True)
class Submitted:
    """A prompt that the server accepted. Its progress is sent to `client_id`."""

    prompt_id: str
    number: float | None
    client_id: str


def prompt_id_for(key: str, attempt: int, nonce: str = "") -> str:
    """Return the id of the prompt for an action's key and attempt: the same on any server, in any run.

    A nonce gives the id of a further prompt, for when one without a nonce may have run. A canonical lower-case UUID,
    the only form ComfyUI 0.27 accepts.
    """
    return str(uuid.uuid5(_NAMESPACE, "/".join(map(str, (key, attempt, *([nonce] if nonce else []))))))


class Client:
    """A client of one server, used as `async with Client(server) as client`.

    Every coroutine raises LtxflowError and nothing else: transient for a connection that fails or breaks, a 5xx or a
    cut body; permanent for a refusal.

    `files` uploads and downloads; `uploaded` holds the names this server has (name → reference): pass the same mapping
    to send nothing twice. `socket` receives progress; `client_id` is for the first WebSocket.
    """

    def __init__(
        self,
        server: Server,
        *,
        uploaded: MutableMapping[str, str] | None = None,
        client_id: str | None = None,
        timeout_s: float = 30.0,
        connect_s: float = 5.0,
    ) -> None:
        self._http = Transport(server, timeout_s, connect_s)
        self.server = self._http.server
        self.files = Transfers(self._http, {} if uploaded is None else uploaded)
        self.socket = Listener(self._http, client_id)
        self.has_jobs: bool | None = None  # /api/jobs/{id}; None before the first request
        self._has_cancel: bool | None = None

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the socket and all connections; watchers end."""
        try:
            await self.socket.close()
        finally:
            await self._http.close()

    # Prompts

    async def submit(
        self,
        graph: Mapping[str, Any],
        prompt_id: str,
        client_id: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Submitted:
        """Queue a graph in API format under `prompt_id`. `extra` becomes `extra_data`.

        After a transient error the server may have accepted it: call `state` before submitting again, as the server
        queues a known id a second time. After a permanent one nothing of it is queued: a graph that was accepted
        without some of its outputs is cancelled first.
        """
        client_id = client_id or self.socket.client_id  # never without: a cached prompt would report no outputs
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            "client_id": client_id,
            "extra_data": dict(extra or {}),
        }
        what = "submitting the prompt"
        async with self._http.ask("POST", "/prompt", what, json=body) as response:
            data = await self._http.body(response, what, BODY_CAP)
        try:
            with self._http.naming(what):
                reply = parse_reply(load_json(data))
        except LtxflowError as error:
            if not error.transient:
                await self._undo(prompt_id)
            raise
        if reply.problems or reply.prompt_id != prompt_id:
            await self._undo(reply.prompt_id)
            raise self._http.error(what, *(reply.problems or [problem("C009.other-prompt-id")]))
        return Submitted(prompt_id, reply.number, client_id)

    async def _undo(self, prompt_id: str) -> None:
        with suppress(LtxflowError):  # the refusal matters more
            await self.cancel(prompt_id)

    async def state(self, prompt_id: str) -> JobState:
        """Return the state of a prompt by HTTP; "unknown" if this server does not know it."""
        if self.has_jobs is not False:
            job = await self._job(prompt_id)
            if job is not None:
                return job
        state = await self.ending(prompt_id) or await self._queued(prompt_id)
        # It may have ended between the two requests; and only a server that has /history is to be believed.
        state = state or await self.ending(prompt_id) or JobState("unknown")
        self.has_jobs = False
        return state

    async def _job(self, prompt_id: str) -> JobState | None:
        """Return the job by `/api/jobs/{id}`, None if the server has no such route."""
        what = "reading the job"
        async with self._http.ask("GET", f"/api/jobs/{quote(prompt_id, safe='')}", what, also=(404, 405)) as response:
            data = await self._http.body(response, what, BODY_CAP)
        if response.status_code == 200:
            with self._http.naming(what):
                state = parse_job(prompt_id, load_json(data))
            self.has_jobs = True
            return self._shown(state)
        if _knows_jobs(data):
            self.has_jobs = True
            return JobState("unknown")
        if self.has_jobs:  # a proxy answers and its server is away: the job's state is unknown
            raise self._http.error(what, problem("C005.proxy", transient=True))
        return None

    async def ending(self, prompt_id: str) -> JobState | None:
        """Return how a prompt ended by `/history/{id}`, None if it has not."""
        what = "reading the history"
        body = await self._http.json("GET", f"/history/{quote(prompt_id, safe='')}", what)
        with self._http.naming(what):
            state = parse_history(prompt_id, body)
        return self._shown(state) if state else None

    def _shown(self, state: JobState) -> JobState:
        return replace(state, error=self._http.shown_error(state.error)) if state.error else state

    async def _queued(self, prompt_id: str) -> JobState | None:
        body = await self._http.json("GET", "/queue", "reading the queue", cap=LIST_CAP)
        with self._http.naming("reading the queue"):
            entry = next((e for e in parse_queue(body) if e.prompt_id == prompt_id), None)
        return JobState("running" if entry.is_running else "queued") if entry else None

    async def cancel(self, prompt_id: str) -> bool:
        """Cancel a prompt of ours, whether it runs or waits; nothing else is touched.

        Return whether it still did either. Cancelling an ended or unknown prompt raises no error.
        """
        if self._has_cancel is not False:
            what = "cancelling the prompt"
            path = f"/api/jobs/{quote(prompt_id, safe='')}/cancel"
            async with self._http.ask("POST", path, what, also=(404, 405)) as response:
                data = await self._http.body(response, what, BODY_CAP)
            self._has_cancel = response.status_code == 200
            if self._has_cancel:
                with self._http.naming(what):
                    was_there = parse_cancelled(load_json(data))
                # a retrying proxy may have queued it twice, and the job's cancel takes one of the two
                await self._http.post("/queue", what, {"delete": [prompt_id]})
                return was_there
        return await self._cancel_by_queue(prompt_id)

    async def withdraw(self, prompt_id: str) -> bool:
        """Remove a prompt of ours from the queue if it still waits; a running one continues.

        Return whether it is gone. Then it never ran: deleting a waiting prompt leaves no trace.
        """
        await self.drop_waiting(prompt_id)
        return (await self.state(prompt_id)).kind == "unknown"

    async def drop_waiting(self, prompt_id: str) -> None:
        """Remove one waiting copy of a prompt of ours from the queue, if there is one."""
        await self._http.post("/queue", "withdrawing the prompt", {"delete": [prompt_id]})

    async def _cancel_by_queue(self, prompt_id: str) -> bool:
        before = await self._queued(prompt_id)
        if before is None:
            return False
        if before.kind == "queued":
            await self._http.post("/queue", "cancelling the prompt", {"delete": [prompt_id]})
            before = await self._queued(prompt_id)  # it may have started just before
        if before is not None:
            await self._http.post("/interrupt", "interrupting the prompt", {"prompt_id": prompt_id})
        return True

    # The server

    async def models(self, folder: str) -> tuple[str, ...]:
        """Return the names in a folder of models ("checkpoints", "loras" …)."""
        what = f'listing the models in "{folder}"'
        async with self._http.ask("GET", f"/models/{quote(folder, safe='')}", what, also=(404,)) as response:
            data = await self._http.body(response, what, BODY_CAP)
        if response.status_code == 404:
            return ()
        with self._http.naming(what):
            return parse_models(load_json(data))

    async def object_info(self) -> dict[str, Any]:
        """Return the signatures of all nodes, in the server's own format. About 1.4 MB; keep it."""
        return await self._http.mapping("/object_info", "reading the nodes", LIST_CAP)

    async def object_info_class(self, class_type: str) -> dict[str, Any] | None:
        """Return the signature of a node class, None if the server does not have it."""
        path = f"/object_info/{quote(class_type, safe='')}"
        entry = (await self._http.mapping(path, "reading a node", BODY_CAP)).get(class_type)
        return entry if isinstance(entry, dict) else None

    async def system_stats(self) -> SystemStats:
        """Return version, memory and devices. Raise LtxflowError if the answer is not from ComfyUI."""
        body = await self._http.json("GET", "/system_stats", "")
        with self._http.naming(""):
            return parse_stats(body)

    async def health(self) -> SystemStats:
        """Return `system_stats` after every request that timed out before has succeeded."""
        stats = await self.system_stats()
        for path in sorted(self._http.slow):
            await self._http.json("GET", path, "repeating a request that timed out", cap=LIST_CAP)
        return stats

    async def server_time(self) -> datetime | None:
        """Return the server's time by the `Date` of an answer, to the second; None without one."""
        async with self._http.ask("GET", "/prompt", "reading its clock") as response:
            date = response.headers.get("Date", "")
        try:
            time = parsedate_to_datetime(date)
        except ValueError:
            return None
        return time if time.tzinfo else time.replace(tzinfo=UTC)

    async def queue_remaining(self) -> int:
        """Return the number of prompts of all clients that run or wait. The cheapest request there is."""
        body = await self._http.json("GET", "/prompt", "reading its load")
        with self._http.naming("reading its load"):
            return parse_remaining(body)

    async def queue(self, ours: Collection[str] = ()) -> tuple[QueueEntry, ...]:
        """Return the prompts that run or wait, in order; those not in `ours` are marked foreign.

        On servers without `/api/jobs` this reads the whole queue (seconds, for a thousand prompts).
        """
        entries: tuple[QueueEntry, ...] | None = None
        if self.has_jobs is not False:
            what = "reading the queue"
            params = {"status": "pending,in_progress", "limit": _JOBS_LIMIT, "sort_order": "asc"}
            async with self._http.ask("GET", "/api/jobs", what, also=(404, 405), params=params) as response:
                data = await self._http.body(response, what, LIST_CAP)
            if response.status_code == 200:
                self.has_jobs = True
                with self._http.naming(what):
                    entries = parse_jobs(load_json(data))
        if entries is None:
            body = await self._http.json("GET", "/queue", "reading the queue", cap=LIST_CAP)
            with self._http.naming("reading the queue"):
                entries = parse_queue(body)
        return tuple(replace(e, is_foreign=e.prompt_id not in ours) for e in entries)

    async def free(self, unload_models: bool = True, free_memory: bool = True) -> None:
        """Request that the server drop its models and its node cache; it does so when it is next idle."""
        body = {"unload_models": unload_models, "free_memory": free_memory}
        await self._http.post("/free", "freeing its memory", body)


def _knows_jobs(data: bytes) -> bool:
    """Return whether ComfyUI wrote the body of a 404: then it has jobs, but not this one."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(body, dict) and isinstance(body.get("error"), str)


async def probe(addresses: Sequence[ServerAddress], timeout_s: float = 2.0) -> ServerAddress | None:
    """Return the first address at which a ComfyUI answers, None without one."""
    answers = [asyncio.create_task(_answers(address, timeout_s)) for address in addresses]
    try:
        for address, answer in zip(addresses, answers, strict=True):
            if await answer:
                return address
        return None
    finally:
        for answer in answers:
            answer.cancel()
        await asyncio.gather(*answers, return_exceptions=True)


async def _answers(address: ServerAddress, timeout_s: float) -> bool:
    try:
        async with Client(address.server, timeout_s=timeout_s, connect_s=timeout_s) as client:
            await client.system_stats()
    except LtxflowError:
        return False
    return True
