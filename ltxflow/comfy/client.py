"""Talks to one ComfyUI server: HTTP decides, the WebSocket feeds progress. Knows no plan and no journal.

Routes and shapes: ComfyUI 0.27.0 `server.py`; older servers lack `/api/jobs` (before 0.14) or its `cancel`.
The only importer of httpx and websockets.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import hashlib
import json
import logging
import os
import random
import ssl
import time
import uuid
from collections import deque
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any
from urllib.parse import quote

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus, WebSocketException

from ltxflow import __version__
from ltxflow.comfy.messages import (
    Failed,
    Finished,
    JobState,
    NodeDone,
    OutputFile,
    Progress,
    QueueChanged,
    QueueEntry,
    ServerError,
    Started,
    SystemStats,
    clean,
    is_repetition,
    is_transient,
    load_json,
    parse_cancelled,
    parse_frame,
    parse_history,
    parse_job,
    parse_jobs,
    parse_models,
    parse_queue,
    parse_refusal,
    parse_remaining,
    parse_reply,
    parse_stats,
    parse_upload,
)
from ltxflow.comfy.places import Place, Server, is_loopback, normalise, redact_url
from ltxflow.core.digest import Digest
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem
from ltxflow.core.files import announce, remove

USER_AGENT = f"ltxflow/{__version__}"
POLL_S = (0.25, 0.4, 0.65, 1.0, 1.6, 2.5, 4.0, 5.0)  # seconds between looks; the last one repeats

_NAMESPACE = uuid.UUID("5e1f4e57-6a0c-5f0e-9c56-1f6f0a3d7c21")  # of prompt ids; changing it orphans running jobs
_MIB = 2**20
_BODY_CAP = 16 * _MIB  # a history entry of an error carries the whole prompt, several times
_LIST_CAP = 64 * _MIB  # /object_info, and /queue of a thousand waiting prompts (6 MB)
_ERROR_CAP = 65_536
_FRAME_CAP = 32 * _MIB
_PING_S = 20.0  # the server sends none, and a proxy cuts what is silent
_SLOWEST = 64 * 1024  # bytes a second that a download must reach in the long run
_QUEUE_EVERY = 8  # on an old server: looks at /history/{id} for one at the whole /queue
_TRIES = 8  # sockets in a row that brought nothing before the progress bar is given up
_BACKLOG = 1000  # frames the socket, and events a watcher may be behind
_REMEMBERED = 64  # prompts of which it is known that they are over, though nobody watched them yet
_LATELY_S = 20.0  # after which a socket may be deaf
_WHOLE_EVERY_S = 0.25  # between frames that repeat all that is known of a prompt: others tell what is new in them
_JOBS_LIMIT = 1000

_PROXY_VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")
_QUIET = logging.Logger("ltxflow.quiet", logging.CRITICAL)  # websockets would log our headers at DEBUG


@dataclass(frozen=True)
class Submitted:
    """A prompt that the server took. `client_id` is the one its progress is told to."""

    prompt_id: str
    number: float | None
    client_id: str


def prompt_id_for(key: str, attempt: int) -> str:
    """Given an action's key and the attempt's number, return the id its prompt has on any server, in any run.

    A canonical lower-case UUID, the only form ComfyUI 0.27 takes.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{key}/{attempt}"))


class _Connect(connect):
    """A WebSocket that follows no redirect: our headers are for one origin."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class Client:
    """An open line to one server, used as `async with Client(server) as client`.

    Every coroutine raises LtxflowError and nothing else: transient for a connection that fails or breaks, a
    5xx or a cut body; permanent for what the server refuses. Messages quote the server's reason, shortened,
    without control characters and without any secret of ours. No redirect is followed.

    `uploaded` remembers what this server has (name → reference); give the same one again to send nothing
    twice. `client_id` is for the first WebSocket: the one a job in flight was submitted with, so that its
    progress is heard again. Later sockets get fresh ones: a server may go deaf to an id it still holds open.
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
        url, login = normalise(server.url)
        self.server = replace(server, url=url, headers={**login, **server.headers})
        self.has_jobs: bool | None = None  # /api/jobs/{id}, known after the first look
        self._has_cancel: bool | None = None
        self._uploaded = {} if uploaded is None else uploaded
        self._uploading: dict[str, asyncio.Lock] = {}
        self._client_id = client_id or str(uuid.uuid4())
        self._watchers: list[_Watcher] = []
        self._over: deque[str] = deque(maxlen=_REMEMBERED)  # prompts that the socket said are over
        self._next_whole_s = 0.0
        self._remaining: int | None = None
        self._heard_s = 0.0
        self._listener: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        _check_headers(self.server)
        self._secrets = _secrets_of(self.server.headers)
        self._timeout_s = timeout_s
        self._is_direct = is_loopback(url)
        self._tls = _tls(self.server)
        with _proxied(self.server):
            self._http = httpx.AsyncClient(
                headers={"User-Agent": USER_AGENT, **self.server.headers},
                verify=self._tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                trust_env=not self._is_direct,
                follow_redirects=False,
                timeout=httpx.Timeout(timeout_s, connect=connect_s),
                limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
            )

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the socket and all connections; watchers end."""
        listener, self._listener = self._listener, None
        try:
            if listener is not None:
                listener.cancel()
                with suppress(asyncio.CancelledError):
                    await listener
        finally:
            self._end_watchers()
            await self._http.aclose()

    # Prompts

    @property
    def client_id(self) -> str:
        """The id of the live WebSocket, or of the next one: prompts submitted with it are heard of."""
        return self._client_id

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
        client_id = client_id or self._client_id  # never without: a cached prompt would report no outputs
        body = {
            "prompt": graph,
            "prompt_id": prompt_id,
            "client_id": client_id,
            "extra_data": dict(extra or {}),
        }
        what = "submitting the prompt"
        async with self._ask("POST", "/prompt", what, json=body) as response:
            data = await self._body(response, what, _BODY_CAP)
        try:
            with self._saying(what):
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
            raise self._error(what, *told)
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
        async with self._ask("GET", f"/api/jobs/{quote(prompt_id, safe='')}", what, also=(404, 405)) as response:
            data = await self._body(response, what, _BODY_CAP)
        if response.status_code == 200:
            with self._saying(what):
                state = parse_job(prompt_id, load_json(data))
            self.has_jobs = True
            return self._shown(state)
        if _says_no_job(data):
            self.has_jobs = True
            return JobState("unknown")
        if self.has_jobs:  # a proxy speaks, its server is away: that is no word about the job
            raise self._error(what, _broken("what answers is not ComfyUI"))
        return None

    async def ending(self, prompt_id: str) -> JobState | None:
        """Given a prompt's id, return how it ended by `/history/{id}`, None if it did not."""
        body = await self._json("GET", f"/history/{quote(prompt_id, safe='')}", "asking for the history")
        with self._saying("asking for the history"):
            state = parse_history(prompt_id, body)
        return self._shown(state) if state else None

    async def _queued(self, prompt_id: str) -> JobState | None:
        body = await self._json("GET", "/queue", "asking for the queue", cap=_LIST_CAP)
        with self._saying("asking for the queue"):
            entry = next((e for e in parse_queue(body) if e.prompt_id == prompt_id), None)
        return JobState("running" if entry.is_running else "queued") if entry else None

    async def cancel(self, prompt_id: str) -> bool:
        """Given the id of a prompt of ours, cancel it whether it runs or waits; nothing else is touched.

        Return whether it still did either. Cancelling what is over or unknown is no error.
        """
        if self._has_cancel is not False:
            what = "cancelling the prompt"
            path = f"/api/jobs/{quote(prompt_id, safe='')}/cancel"
            async with self._ask("POST", path, what, also=(404, 405)) as response:
                data = await self._body(response, what, _BODY_CAP)
            self._has_cancel = response.status_code == 200
            if self._has_cancel:
                with self._saying(what):
                    was_there = parse_cancelled(load_json(data))
                # a retrying proxy may have queued it twice, and the job's cancel takes one of the two
                await self._post("/queue", what, {"delete": [prompt_id]})
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
        await self._post("/queue", "withdrawing the prompt", {"delete": [prompt_id]})

    async def _cancel_by_queue(self, prompt_id: str) -> bool:
        before = await self._queued(prompt_id)
        if before is None:
            return False
        if before.kind == "queued":
            await self._post("/queue", "cancelling the prompt", {"delete": [prompt_id]})
            before = await self._queued(prompt_id)  # it may have begun just before
        if before is not None:
            await self._post("/interrupt", "interrupting the prompt", {"prompt_id": prompt_id})
        return True

    # Files

    async def upload(self, name: str, data: bytes | Path, subfolder: str = "ltxflow", *, again: bool = False) -> str:
        """Given a name that holds the content's hash, and the content, return what a loader node calls it.

        The server's own name for it counts: it renames what collides. Nothing is sent for a name this server
        has, unless `again` (its input folder was emptied).
        """
        memory = f"{subfolder}/{name}"
        async with self._uploading.setdefault(memory, asyncio.Lock()):
            if again or memory not in self._uploaded:
                self._uploaded[memory] = await self._upload(name, data, subfolder)
            self._uploading.pop(memory, None)
            return self._uploaded[memory]

    async def _upload(self, name: str, data: bytes | Path, subfolder: str) -> str:
        what = f'uploading "{clean(name, 80)}"'
        fields = {
            "subfolder": subfolder,
            "type": "input",
        }  # no overwrite: it would race with a running prompt
        patience_s = self._timeout_s + _size_of(data) / _SLOWEST
        with _opened(data) as content:
            files = {"image": (name, content, "application/octet-stream")}
            async with self._ask(
                "POST", "/upload/image", what, patience_s=patience_s, data=fields, files=files
            ) as response:
                answer = await self._body(response, what, _BODY_CAP)
        with self._saying(what):
            return parse_upload(load_json(answer))

    async def download(
        self,
        output: OutputFile,
        to: Path,
        max_bytes: int,
        on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> Digest:
        """Given an output and a path of the caller's own, write its bytes there and return their digest.

        `on_bytes` hears bytes so far and in all (None when the server does not say). At most `max_bytes` are
        written. A cut body is transient; an output that is gone is permanent, with the code "output-gone".
        Either leaves no file. Only the length is checked: what is inside is for the caller to verify.
        """
        what = f'fetching "{clean(output.filename, 80)}"'
        params = {"filename": output.filename, "subfolder": output.subfolder, "type": output.type}
        patience_s = self._timeout_s + max_bytes / _SLOWEST
        try:
            async with self._ask(
                "GET",
                "/view",
                what,
                also=(404,),
                patience_s=patience_s,
                params=params,
                headers={"Accept-Encoding": "identity"},
            ) as response:
                total = self._promised(response, what, max_bytes)
                return await self._stream_to(response, what, to, total, max_bytes, on_bytes)
        except BaseException:
            with suppress(LtxflowError):
                remove(to)
            raise

    def _promised(self, response: httpx.Response, what: str, max_bytes: int) -> int | None:
        """Return the length a download says it has. Raise LtxflowError for one that we will not read."""
        if response.status_code == 404:
            hint = "its save node must run again"
            problem = Problem("the server no longer has the file", hint=hint, code="output-gone")
            raise self._error(what, problem)
        if response.status_code != 200 or response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._error(what, Problem("the file comes in a form that was not asked for", code="server-answer"))
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isascii() and length.isdigit() else None
        if total is not None and total > max_bytes:
            raise self._error(what, _too_big(max_bytes))
        return total

    async def _stream_to(
        self,
        response: httpx.Response,
        what: str,
        to: Path,
        total: int | None,
        max_bytes: int,
        on_bytes: Callable[[int, int | None], None],
    ) -> Digest:
        sha, done = hashlib.sha256(), 0
        announce("write", to)
        with _disk(to), to.open("wb") as file:
            async for block in response.aiter_raw(_MIB // 4):
                done += len(block)
                if done > max_bytes:
                    raise self._error(what, _too_big(max_bytes))
                sha.update(block)
                file.write(block)
                on_bytes(done, total)
        if total is not None and done != total:
            raise self._error(what, _broken(f"{done} of {total} bytes came"))
        return Digest(sha.hexdigest())

    # The server

    async def models(self, folder: str) -> tuple[str, ...]:
        """Given a folder of models ("checkpoints", "loras" …), return the names in it."""
        what = f'listing the models in "{folder}"'
        async with self._ask("GET", f"/models/{quote(folder, safe='')}", what, also=(404,)) as response:
            data = await self._body(response, what, _BODY_CAP)
        if response.status_code == 404:
            return ()
        with self._saying(what):
            return parse_models(load_json(data))

    async def object_info(self) -> dict[str, Any]:
        """Return the signatures of all nodes, in the server's own format. About 1.4 MB; keep it."""
        return await self._mapping("/object_info", "asking for the nodes", _LIST_CAP)

    async def object_info_class(self, class_type: str) -> dict[str, Any] | None:
        """Given a node class, return its signature, None when the server does not have it."""
        path = f"/object_info/{quote(class_type, safe='')}"
        told = (await self._mapping(path, "asking for a node", _BODY_CAP)).get(class_type)
        return told if isinstance(told, dict) else None

    async def system_stats(self) -> SystemStats:
        """Return version, memory and devices. Raise LtxflowError when what answers is not ComfyUI."""
        body = await self._json("GET", "/system_stats", "asking for its state")
        with self._saying("asking for its state"):
            return parse_stats(body)

    async def server_time(self) -> datetime | None:
        """Return the server's time by the `Date` of an answer, to the second; None when it does not say."""
        async with self._ask("GET", "/prompt", "asking for its time") as response:
            date = response.headers.get("Date", "")
        try:
            told = parsedate_to_datetime(date)
        except ValueError:
            return None
        return told if told.tzinfo else told.replace(tzinfo=UTC)

    async def queue_remaining(self) -> int:
        """Return how many prompts run or wait, everybody's. The cheapest question there is."""
        body = await self._json("GET", "/prompt", "asking for its load")
        with self._saying("asking for its load"):
            return parse_remaining(body)

    async def queue(self, ours: Collection[str] = ()) -> tuple[QueueEntry, ...]:
        """Given the ids that are ours, return what runs and waits, in order, each marked foreign or not.

        On servers without `/api/jobs` this reads the whole queue (seconds, for a thousand prompts).
        """
        entries: tuple[QueueEntry, ...] | None = None
        if self.has_jobs is not False:
            what = "asking for the queue"
            params = {"status": "pending,in_progress", "limit": _JOBS_LIMIT, "sort_order": "asc"}
            async with self._ask("GET", "/api/jobs", what, also=(404, 405), params=params) as response:
                data = await self._body(response, what, _LIST_CAP)
            if response.status_code == 200:
                self.has_jobs = True
                with self._saying(what):
                    entries = parse_jobs(load_json(data))
        if entries is None:
            body = await self._json("GET", "/queue", "asking for the queue", cap=_LIST_CAP)
            with self._saying("asking for the queue"):
                entries = parse_queue(body)
        return tuple(replace(e, is_foreign=e.prompt_id not in ours) for e in entries)

    async def free(self, unload_models: bool = True, free_memory: bool = True) -> None:
        """Ask the server to drop its models and its node cache; it does so when it is next idle."""
        body = {"unload_models": unload_models, "free_memory": free_memory}
        await self._post("/free", "freeing its memory", body)

    async def features(self) -> dict[str, Any]:
        """Return the server's feature flags (`max_upload_size` …), none for a server without them."""
        what = "asking for its features"
        async with self._ask("GET", "/features", what, also=(404,)) as response:
            data = await self._body(response, what, _BODY_CAP)
        if response.status_code == 404:
            return {}
        with self._saying(what):
            told = load_json(data)
        return told if isinstance(told, dict) else {}

    # Progress

    async def listen(self, patience_s: float = 3.0) -> str:
        """Open the WebSocket unless it is, and return the id to submit with once it is live.

        One that does not open in `patience_s` is no error: progress is a luxury.
        """
        self._start_listening()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._settled.wait()
        return self._client_id

    async def watch(self, *prompt_ids: str) -> AsyncIterator[Progress]:
        """Given prompts, yield what the socket tells of them; given none, all that it tells, the queue too.

        Ends when the client closes or the socket is given up. Says nothing of prompts submitted under an
        earlier socket's id, and what it says decides nothing.
        """
        with self._watching(prompt_ids) as watcher:
            while (event := await watcher.queue.get()) is not None:
                yield event

    @contextmanager
    def _watching(self, prompt_ids: Collection[str]) -> Iterator[_Watcher]:
        self._start_listening()
        watcher = _Watcher(frozenset(prompt_ids), asyncio.Queue())
        self._watchers.append(watcher)
        try:
            yield watcher
        finally:
            with suppress(ValueError):
                self._watchers.remove(watcher)

    def _start_listening(self) -> None:
        if self._listener is None or self._listener.done():
            self._settled.clear()
            self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        """Keep one socket open, each with an id of its own; give up when `_TRIES` in a row were silent."""
        silent = 0
        try:
            while silent < _TRIES:
                silent += 1
                self._settled.clear()
                self._remaining = None
                is_known = False  # whether the server may hold this id for a socket
                try:
                    async with self._socket() as socket:
                        is_known = True
                        self._settled.set()
                        async for frame in socket:
                            silent = 0
                            self._hear(frame)
                except InvalidStatus as error:
                    if not is_transient(error.response.status_code):
                        return
                except ImportError:  # a SOCKS proxy in the environment, and no library for it
                    return
                except TimeoutError:
                    is_known = True
                except (WebSocketException, OSError, EOFError, ValueError):
                    pass
                if is_known:
                    self._client_id = str(uuid.uuid4())
                self._settled.set()
                await asyncio.sleep(min(0.25 * 2**silent, 30.0) * random.uniform(0.75, 1.25))
        finally:
            self._settled.set()
            self._end_watchers()

    def _socket(self) -> connect:
        tls: dict[str, Any] = {"ssl": self._tls} if self._tls else {}
        url = "ws" + self.server.url.removeprefix("http") + "/ws?clientId=" + quote(self._client_id, safe="")
        return _Connect(
            url,
            additional_headers=dict(self.server.headers),
            user_agent_header=USER_AGENT,
            compression=None,
            proxy=None if self._is_direct else True,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            open_timeout=10.0,
            close_timeout=0.5,
            max_size=_FRAME_CAP,
            max_queue=_BACKLOG,  # with fewer, reading is held up and let go on for every burst of frames
            logger=_QUIET,
            **tls,
        )

    @property
    def remaining(self) -> int | None:
        """How many prompts run or wait, everybody's, as the socket told last; None where it told nothing lately.

        Who has to know asks `queue_remaining`.
        """
        return self._remaining if time.monotonic() - self._heard_s < _LATELY_S else None

    def _hear(self, frame: str | bytes) -> None:
        now = self._heard_s = time.monotonic()
        if is_repetition(frame):
            if now < self._next_whole_s:
                return
            self._next_whole_s = now + _WHOLE_EVERY_S
        self._tell(parse_frame(frame))

    def _tell(self, events: Sequence[Progress]) -> None:
        for event in events:
            if isinstance(event, Failed):
                event = replace(event, error=self._shown_error(event.error))
            elif isinstance(event, QueueChanged):
                self._remaining = event.remaining
            if isinstance(event, Failed | Finished):
                self._over.append(event.prompt_id)
            for watcher in self._watchers:
                if watcher.wants(event):
                    if watcher.queue.qsize() >= _BACKLOG:
                        watcher.queue.get_nowait()
                    watcher.queue.put_nowait(event)

    def _end_watchers(self) -> None:
        for watcher in self._watchers:
            watcher.queue.put_nowait(None)

    # HTTP

    @asynccontextmanager
    async def _ask(
        self,
        method: str,
        path: str,
        what: str,
        *,
        also: Collection[int] = (),
        patience_s: float | None = None,
        **request: Any,
    ) -> AsyncIterator[httpx.Response]:
        """Open a response with status 200 or one of `also`. Raise LtxflowError for others and for none."""
        patience_s = patience_s or 2 * self._timeout_s
        try:
            async with (
                asyncio.timeout(patience_s),
                self._http.stream(method, self.server.url + path, **request) as response,
            ):
                if response.status_code != 200 and response.status_code not in also:
                    raise await self._refusal(response, what)
                yield response
        except (TimeoutError, httpx.TimeoutException) as error:
            is_connect = isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            reason = "no connection in time" if is_connect else "no answer in time"
            raise self._error(what, _unreachable(reason)) from None
        except httpx.InvalidURL:
            raise self._error(what, Problem("its address is not valid", code="server-url")) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise self._error(what, _connection_problem(error)) from None

    async def _body(self, response: httpx.Response, what: str, cap: int) -> bytes:
        blocks, size = [], 0
        async for block in response.aiter_bytes():
            size += len(block)
            if size > cap:
                raise self._error(what, _too_big(cap))
            blocks.append(block)
        return b"".join(blocks)

    async def _refusal(self, response: httpx.Response, what: str) -> LtxflowError:
        """Return the error for a status that was not hoped for, with the reasons the body gives."""
        status = response.status_code
        data = bytearray()
        with suppress(httpx.HTTPError):  # a reason that breaks off is as good as none
            async for block in response.aiter_bytes():
                data += block
                if len(data) > _ERROR_CAP:
                    break
        if 300 <= status < 400:
            to = clean(redact_url(response.headers.get("Location", "")), 120)
            hint = "redirects are not followed: give the final address, or sign in at the proxy"
            problem = Problem(f'it redirects to "{to}"', hint=hint, code="server-answer")
            return self._error(what, problem)
        problems = _reasons(status, response.reason_phrase, bytes(data[:_ERROR_CAP]))
        return self._error(what, *problems)

    async def _json(self, method: str, path: str, what: str, *, cap: int = _BODY_CAP, **request: Any) -> Any:
        async with self._ask(method, path, what, **request) as response:
            data = await self._body(response, what, cap)
        with self._saying(what):
            return load_json(data)

    async def _mapping(self, path: str, what: str, cap: int) -> dict[str, Any]:
        body = await self._json("GET", path, what, cap=cap)
        if not isinstance(body, dict):
            raise self._error(what, Problem("the answer has another form than ComfyUI's", code="server-answer"))
        return body

    async def _post(self, path: str, what: str, body: Mapping[str, Any]) -> None:
        async with self._ask("POST", path, what, json=body):
            pass  # 200 with an empty body, whatever was asked

    # Words

    def _head(self, what: str) -> str:
        return self._redact(f"{self.server}: {what}")

    def _error(self, what: str, *problems: Problem) -> LtxflowError:
        told = [
            replace(p, message=f"{self._head(what)}: {self._redact(p.message)}", hint=self._redact(p.hint))
            for p in problems
        ]
        code = UNREACHABLE if all(p.code == "unreachable" for p in problems) else FAILED
        return LtxflowError(*told, exit_code=code)

    @contextmanager
    def _saying(self, what: str) -> Iterator[None]:
        """Put the server's name and the question before what a parser complains of."""
        try:
            yield
        except LtxflowError as error:
            raise self._error(what, *error.problems) from None

    def _shown(self, state: JobState) -> JobState:
        return replace(state, error=self._shown_error(state.error)) if state.error else state

    def _shown_error(self, error: ServerError) -> ServerError:
        return replace(error, kind=self._redact(error.kind), message=self._redact(error.message))

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
            for length in range(len(secret) - 1, 3, -1):  # cut in the middle by shortening
                text = text.replace(secret[:length] + "…", "…")
        return text


@dataclass(frozen=True)
class _Watcher:
    prompt_ids: frozenset[str]
    queue: asyncio.Queue[Progress | None]  # None: the socket was given up
    done: set[NodeDone] = field(default_factory=set)

    def wants(self, event: Progress) -> bool:
        """Whether it is news: a server repeats all nodes that are done with every step of a sampler."""
        if self.prompt_ids and event.prompt_id not in self.prompt_ids:
            return False
        if isinstance(event, NodeDone) and self.prompt_ids:
            if event in self.done:
                return False
            self.done.add(event)
        return True


async def follow(
    client: Client,
    prompt_id: str,
    on_progress: Callable[[Progress], None] = lambda event: None,
    *,
    poll: Sequence[float] = POLL_S,
    is_new: bool = False,
) -> JobState:
    """Given a submitted prompt, wait until it is over and return its state by HTTP, "unknown" when lost.

    `poll` holds the seconds between looks, its last one repeats; the socket's word that a prompt ended makes
    the next look come at once and the looks frequent again. One that `is_new`, submitted a moment ago, is listened
    to before the first look. Raise LtxflowError, transient, when the server cannot be reached: the prompt may run
    on, so follow it again.
    """
    with client._watching((prompt_id,)) as watcher:
        looks = pauses = 0
        is_running = False
        if is_new and prompt_id not in client._over:
            await _hear(watcher, poll[0], on_progress)
        while True:
            state = await _look(client, prompt_id, looks)
            if state.kind == "running" and client.has_jobs and not is_running:  # else `_look` only supposes it
                is_running = True
                on_progress(Started(prompt_id))  # a silent socket does not say so
            if state.is_over or state.kind == "unknown":
                _drain(watcher, on_progress)
                return state
            was_told = await _hear(watcher, poll[min(pauses, len(poll) - 1)], on_progress)
            pauses = 0 if was_told else pauses + 1
            looks += 1


async def _look(client: Client, prompt_id: str, looks: int) -> JobState:
    if client.has_jobs is False and looks % _QUEUE_EVERY:  # the whole queue is dear, an ending is not
        return await client.ending(prompt_id) or JobState("running")
    return await client.state(prompt_id)


async def _hear(watcher: _Watcher, wait_s: float, on_progress: Callable[[Progress], None]) -> bool:
    """Pass on what is told for `wait_s` seconds, or until it is over; return whether it is said to be."""
    try:
        async with asyncio.timeout(wait_s):
            while True:
                event = await watcher.queue.get()
                if event is not None:
                    on_progress(event)
                if isinstance(event, Finished | Failed):
                    return True
    except TimeoutError:
        return False


def _drain(watcher: _Watcher, on_progress: Callable[[Progress], None]) -> None:
    while not watcher.queue.empty():
        event = watcher.queue.get_nowait()
        if event is not None:
            on_progress(event)


async def probe(places: Sequence[Place], timeout_s: float = 2.0) -> Place | None:
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


async def _answers(place: Place, timeout_s: float) -> bool:
    try:
        async with Client(place.server, timeout_s=timeout_s, connect_s=timeout_s) as client:
            await client.system_stats()
    except LtxflowError:
        return False
    return True


# Files of ours


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "free some space" if error.errno == errno.ENOSPC else ""
        problem = Problem(f'cannot use "{path}": {(error.strerror or "failed").lower()}', hint=hint, code="disk")
        raise LtxflowError(problem, exit_code=FAILED) from error


@contextmanager
def _opened(data: bytes | Path) -> Iterator[bytes | IO[bytes]]:
    if isinstance(data, bytes):
        yield data
        return
    with _disk(data):
        file = data.open("rb")
    with file:
        yield file


def _size_of(data: bytes | Path) -> int:
    if isinstance(data, bytes):
        return len(data)
    with _disk(data):
        return data.stat().st_size


# What went wrong


def _too_big(cap: int) -> Problem:
    return Problem(f"more than {cap:,} bytes came", hint="is this the right server?", code="too-big")


def _broken(how: str) -> Problem:
    return Problem(how, code="connection", transient=True)


def _unreachable(why: str) -> Problem:
    hint = "is ComfyUI running there, and does it listen on that address?"
    return Problem(why, hint=hint, code="unreachable", transient=True)


def _connection_problem(error: Exception) -> Problem:
    """Given what httpx raised, return it in our words: its own may quote a header."""
    causes = list(_causes(error))
    tls = next((c for c in causes if isinstance(c, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        hint = "name the CA that signed it by ca_file in the user config"
        return Problem(f"its certificate is not trusted: {clean(tls.verify_message, 100)}", hint=hint, code="tls")
    if isinstance(tls, ssl.SSLError) and isinstance(error, httpx.ConnectError):
        return Problem(f"no TLS there: {clean(tls.reason, 60)}", hint="try http:// instead", code="tls")
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return Problem("the request cannot be sent", hint="check the address and its headers", code="server-url")
    reason = next((_strerror(c) for c in reversed(causes) if isinstance(c, OSError) and c.strerror), None)
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return _unreachable(clean(reason, 80).lower() if reason else "no connection")
    return _broken(f"the connection broke off{f' ({clean(reason, 80).lower()})' if reason else ''}")


def _strerror(error: OSError) -> str:
    """What the system calls it: asyncio says "Connect call failed ('127.0.0.1', 8188)" instead."""
    return os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else str(error.strerror)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = inner or error.__cause__ or error.__context__


def _reasons(status: int, phrase: str, data: bytes) -> tuple[Problem, ...]:
    """Given a refusal, return its problems, with the reasons that a ComfyUI or a proxy gives."""
    shown = f"{status} {clean(phrase, 60)}".strip()
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict) and (told.get("error") or told.get("node_errors")):
        reasons = parse_refusal(told)
    else:
        text = data.decode("utf-8", "replace").lstrip().removeprefix(shown).lstrip()  # aiohttp begins with it
        reasons = (Problem("" if text.startswith("<") else clean(text, 200), code="refused"),)
    if is_transient(status):
        return tuple(
            replace(r, message=_joined(f"it answered {shown}", r.message), code="server-error", transient=True)
            for r in reasons
        )
    if status == 400 and reasons[0].message:
        return reasons
    code, hint = _HINTS.get(status, ("refused", ""))
    return tuple(
        replace(r, message=_joined(f"it answered {shown}", r.message), hint=r.hint or hint, code=code) for r in reasons
    )


_ACCESS = "give what its proxy asks for by headers_from_env in the user config"
_HINTS = {
    401: ("denied", _ACCESS),
    403: ("denied", _ACCESS),
    404: ("server-answer", "is this a ComfyUI server? check the address and its path"),
    407: ("denied", _ACCESS),
    413: ("refused", "start ComfyUI with a larger --max-upload-size, or raise the limit of its proxy"),
}


def _joined(*parts: str) -> str:
    return ": ".join(part for part in parts if part)


def _says_no_job(data: bytes) -> bool:
    """Given the body of a 404, return whether ComfyUI wrote it: it knows jobs, but not this one."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(told, dict) and isinstance(told.get("error"), str)


# Secrets and TLS


def _secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return every form in which a server might repeat what our headers hold, the longest first."""
    found: set[str] = set()
    for value in headers.values():
        scheme, _, token = value.partition(" ")
        forms = [value, token.strip()]
        if scheme.lower() == "basic":
            with suppress(binascii.Error, ValueError):
                login = base64.b64decode(token, validate=True).decode("utf-8", "replace")
                forms += [login, login.partition(":")[2]]
        found |= {shape for form in forms for shape in (form, clean(form, len(form)), quote(form, safe=""))}
    return tuple(sorted((s for s in found if len(s) >= 3), key=len, reverse=True))


def _check_headers(server: Server) -> None:
    for name, value in server.headers.items():
        if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            shown = clean(name, 60)
            problem = Problem(f'{server}: the header "{shown}" holds characters that cannot be sent', code="server-url")
            raise LtxflowError(problem)


@contextmanager
def _proxied(server: Server) -> Iterator[None]:
    """Put in our words what httpx says of a proxy that the environment names: it may quote its login."""
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise LtxflowError(
            Problem(
                f"{server}: the proxy that the environment names for it cannot be used",
                hint=f"add its host to NO_PROXY, or correct {', '.join(_PROXY_VARIABLES)}; SOCKS is not supported",
                code="server-url",
            )
        ) from error


def _tls(server: Server) -> ssl.SSLContext | None:
    if not server.url.startswith("https://"):
        return None
    context = httpx.create_ssl_context()
    if server.ca_file is not None:
        try:
            context.load_verify_locations(server.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = clean(error.strerror or "not PEM", 80).lower()
            problem = Problem(
                f'{server}: the CA file "{server.ca_file}" cannot be used: {reason}',
                hint="give a file of PEM certificates",
                code="tls",
            )
            raise LtxflowError(problem) from error
    return context
