"""Asks one ComfyUI server: submits, watches over and cancels prompts, tells what is there. Knows no plan, no journal.

Routes and shapes: ComfyUI 0.27.0 `server.py`; older servers lack `/api/jobs` (before 0.14) or its `cancel`. How a
question is sent is the business of transport.py; files go by transfers.py, what the WebSocket tells by listener.py.
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
from ltxflow.comfy.transport import BODY_CAP, LIST_CAP, Transport, broken
from ltxflow.comfy.websocket import Listener
from ltxflow.core.errors import LtxflowError, Problem

_NAMESPACE = uuid.UUID("5e1f4e57-6a0c-5f0e-9c56-1f6f0a3d7c21")  # of prompt ids; changing it orphans running jobs
_JOBS_LIMIT = 1000


@dataclass(frozen=True)
class Submitted:
    """A prompt that the server took. `client_id` is the one its progress is told to."""

    prompt_id: str
    number: float | None
    client_id: str


def prompt_id_for(key: str, attempt: int, nonce: str = "") -> str:
    """Return the id that the prompt of an action's key has on any server, in any run, by the attempt's number.

    With a nonce it is the id of a prompt that is to run though one without may have run. A canonical lower-case UUID,
    the only form ComfyUI 0.27 takes.
    """
    return str(uuid.uuid5(_NAMESPACE, "/".join(map(str, (key, attempt, *([nonce] if nonce else []))))))


class Client:
    """An open line to one server, used as `async with Client(server) as client`.

    Every coroutine raises LtxflowError and nothing else: transient for a connection that fails or breaks, a 5xx or a
    cut body; permanent for what the server refuses.

    `files` sends and fetches; `uploaded` remembers what this server has (name → reference): give the same one again
    to send nothing twice. `socket` hears of progress; `client_id` is for the first WebSocket.
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
        self.has_jobs: bool | None = None  # /api/jobs/{id}, known after the first look
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
        """Given a graph in API format, queue it under `prompt_id`. `extra` becomes `extra_data`.

        A transient error leaves open whether the server took it: ask `state` before submitting again, for
        the server queues a known id a second time. A permanent one means that nothing of it is queued: a
        graph that was taken without some of its outputs is cancelled first.
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
            with self._http.saying(what):
                reply = parse_reply(load_json(data))
        except LtxflowError as error:
            if not error.transient:
                await self._undo(prompt_id)
            raise
        if reply.problems or reply.prompt_id != prompt_id:
            await self._undo(reply.prompt_id)
            told = reply.problems or (
                Problem(
                    "the server queued the prompt under another id",
                    hint="update ComfyUI to 0.3.64 or later",
                    code="server-answer",
                ),
            )
            raise self._http.error(what, *told)
        return Submitted(prompt_id, reply.number, client_id)

    async def _undo(self, prompt_id: str) -> None:
        with suppress(LtxflowError):  # what was refused is the better news
            await self.cancel(prompt_id)

    async def state(self, prompt_id: str) -> JobState:
        """Given a prompt's id, return how it stands by HTTP; "unknown" when this server does not know it."""
        if self.has_jobs is not False:
            job = await self._job(prompt_id)
            if job is not None:
                return job
        state = await self.ending(prompt_id) or await self._queued(prompt_id)
        # It may have ended between the two looks; and only a server that knows /history was worth believing.
        state = state or await self.ending(prompt_id) or JobState("unknown")
        self.has_jobs = False
        return state

    async def _job(self, prompt_id: str) -> JobState | None:
        """Return the job by `/api/jobs/{id}`, None when the server has no such route."""
        what = "asking for the job"
        async with self._http.ask("GET", f"/api/jobs/{quote(prompt_id, safe='')}", what, also=(404, 405)) as response:
            data = await self._http.body(response, what, BODY_CAP)
        if response.status_code == 200:
            with self._http.saying(what):
                state = parse_job(prompt_id, load_json(data))
            self.has_jobs = True
            return self._shown(state)
        if _says_no_job(data):
            self.has_jobs = True
            return JobState("unknown")
        if self.has_jobs:  # a proxy speaks, its server is away: that is no word about the job
            raise self._http.error(what, broken("what answers is not ComfyUI"))
        return None

    async def ending(self, prompt_id: str) -> JobState | None:
        """Given a prompt's id, return how it ended by `/history/{id}`, None if it did not."""
        body = await self._http.json("GET", f"/history/{quote(prompt_id, safe='')}", "asking for the history")
        with self._http.saying("asking for the history"):
            state = parse_history(prompt_id, body)
        return self._shown(state) if state else None

    def _shown(self, state: JobState) -> JobState:
        return replace(state, error=self._http.shown_error(state.error)) if state.error else state

    async def _queued(self, prompt_id: str) -> JobState | None:
        body = await self._http.json("GET", "/queue", "asking for the queue", cap=LIST_CAP)
        with self._http.saying("asking for the queue"):
            entry = next((e for e in parse_queue(body) if e.prompt_id == prompt_id), None)
        return JobState("running" if entry.is_running else "queued") if entry else None

    async def cancel(self, prompt_id: str) -> bool:
        """Given the id of a prompt of ours, cancel it whether it runs or waits; nothing else is touched.

        Return whether it still did either. Cancelling what is over or unknown is no error.
        """
        if self._has_cancel is not False:
            what = "cancelling the prompt"
            path = f"/api/jobs/{quote(prompt_id, safe='')}/cancel"
            async with self._http.ask("POST", path, what, also=(404, 405)) as response:
                data = await self._http.body(response, what, BODY_CAP)
            self._has_cancel = response.status_code == 200
            if self._has_cancel:
                with self._http.saying(what):
                    was_there = parse_cancelled(load_json(data))
                # a retrying proxy may have queued it twice, and the job's cancel takes one of the two
                await self._http.post("/queue", what, {"delete": [prompt_id]})
                return was_there
        return await self._cancel_by_queue(prompt_id)

    async def withdraw(self, prompt_id: str) -> bool:
        """Given the id of a prompt of ours, take it out of the queue if it still waits; a running one is let be.

        Return whether it is gone. It never ran then: deleting a waiting prompt leaves no trace.
        """
        await self.drop_waiting(prompt_id)
        return (await self.state(prompt_id)).kind == "unknown"

    async def drop_waiting(self, prompt_id: str) -> None:
        """Given the id of a prompt of ours, take one waiting copy of it out of the queue, if there is any."""
        await self._http.post("/queue", "withdrawing the prompt", {"delete": [prompt_id]})

    async def _cancel_by_queue(self, prompt_id: str) -> bool:
        before = await self._queued(prompt_id)
        if before is None:
            return False
        if before.kind == "queued":
            await self._http.post("/queue", "cancelling the prompt", {"delete": [prompt_id]})
            before = await self._queued(prompt_id)  # it may have begun just before
        if before is not None:
            await self._http.post("/interrupt", "interrupting the prompt", {"prompt_id": prompt_id})
        return True

    # The server

    async def models(self, folder: str) -> tuple[str, ...]:
        """Given a folder of models ("checkpoints", "loras" …), return the names in it."""
        what = f'listing the models in "{folder}"'
        async with self._http.ask("GET", f"/models/{quote(folder, safe='')}", what, also=(404,)) as response:
            data = await self._http.body(response, what, BODY_CAP)
        if response.status_code == 404:
            return ()
        with self._http.saying(what):
            return parse_models(load_json(data))

    async def object_info(self) -> dict[str, Any]:
        """Return the signatures of all nodes, in the server's own format. About 1.4 MB; keep it."""
        return await self._http.mapping("/object_info", "asking for the nodes", LIST_CAP)

    async def object_info_class(self, class_type: str) -> dict[str, Any] | None:
        """Given a node class, return its signature, None when the server does not have it."""
        path = f"/object_info/{quote(class_type, safe='')}"
        told = (await self._http.mapping(path, "asking for a node", BODY_CAP)).get(class_type)
        return told if isinstance(told, dict) else None

    async def system_stats(self) -> SystemStats:
        """Return version, memory and devices. Raise LtxflowError when what answers is not ComfyUI."""
        body = await self._http.json("GET", "/system_stats", "asking for its state")
        with self._http.saying("asking for its state"):
            return parse_stats(body)

    async def is_well(self) -> SystemStats:
        """As `system_stats`, once the server also answers, to the end, what it was too slow to answer before."""
        stats = await self.system_stats()
        for path in sorted(self._http.slow):
            await self._http.json("GET", path, "asking once more what it was too slow to answer", cap=LIST_CAP)
        return stats

    async def server_time(self) -> datetime | None:
        """Return the server's time by the `Date` of an answer, to the second; None when it does not say."""
        async with self._http.ask("GET", "/prompt", "asking for its time") as response:
            date = response.headers.get("Date", "")
        try:
            told = parsedate_to_datetime(date)
        except ValueError:
            return None
        return told if told.tzinfo else told.replace(tzinfo=UTC)

    async def queue_remaining(self) -> int:
        """Return how many prompts run or wait, everybody's. The cheapest question there is."""
        body = await self._http.json("GET", "/prompt", "asking for its load")
        with self._http.saying("asking for its load"):
            return parse_remaining(body)

    async def queue(self, ours: Collection[str] = ()) -> tuple[QueueEntry, ...]:
        """Given the ids that are ours, return what runs and waits, in order, each marked foreign or not.

        On servers without `/api/jobs` this reads the whole queue (seconds, for a thousand prompts).
        """
        entries: tuple[QueueEntry, ...] | None = None
        if self.has_jobs is not False:
            what = "asking for the queue"
            params = {"status": "pending,in_progress", "limit": _JOBS_LIMIT, "sort_order": "asc"}
            async with self._http.ask("GET", "/api/jobs", what, also=(404, 405), params=params) as response:
                data = await self._http.body(response, what, LIST_CAP)
            if response.status_code == 200:
                self.has_jobs = True
                with self._http.saying(what):
                    entries = parse_jobs(load_json(data))
        if entries is None:
            body = await self._http.json("GET", "/queue", "asking for the queue", cap=LIST_CAP)
            with self._http.saying("asking for the queue"):
                entries = parse_queue(body)
        return tuple(replace(e, is_foreign=e.prompt_id not in ours) for e in entries)

    async def free(self, unload_models: bool = True, free_memory: bool = True) -> None:
        """Ask the server to drop its models and its node cache; it does so when it is next idle."""
        body = {"unload_models": unload_models, "free_memory": free_memory}
        await self._http.post("/free", "freeing its memory", body)

    async def features(self) -> dict[str, Any]:
        """Return the server's feature flags (`max_upload_size` …), none for a server without them."""
        what = "asking for its features"
        async with self._http.ask("GET", "/features", what, also=(404,)) as response:
            data = await self._http.body(response, what, BODY_CAP)
        if response.status_code == 404:
            return {}
        with self._http.saying(what):
            told = load_json(data)
        return told if isinstance(told, dict) else {}


def _says_no_job(data: bytes) -> bool:
    """Given the body of a 404, return whether ComfyUI wrote it: it knows jobs, but not this one."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and isinstance(told.get("error"), str)


async def probe(places: Sequence[ServerAddress], timeout_s: float = 2.0) -> ServerAddress | None:
    """Given places, strongest first, return the first where a ComfyUI answers, None when none does."""
    asked = [asyncio.create_task(_answers(place, timeout_s)) for place in places]
    try:
        for place, answer in zip(places, asked, strict=True):
            if await answer:
                return place
        return None
    finally:
        for answer in asked:
            answer.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def _answers(place: ServerAddress, timeout_s: float) -> bool:
    try:
        async with Client(place.server, timeout_s=timeout_s, connect_s=timeout_s) as client:
            await client.system_stats()
    except LtxflowError:
        return False
    return True
