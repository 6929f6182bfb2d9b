"""A ComfyUI on loopback: real HTTP, WebSocket and files, no model. Behaves as ComfyUI 0.27.0 and 0.33.0 were seen to.

In a thread of the test:      with FakeComfy(seconds=0.2) as server: … server.url, server.misbehave.oom()
In a process of its own:      with FakeProcess("--seconds", "0.5-3") as server: … server.url, server.stats()
By hand:                      python -m fakes.comfyui --port 8188 --seconds 2        (in the folder `tests`)

Besides ComfyUI's own routes it has `/__fake__/…` for the tests: stats, misbehave, restart, foreign, hold,
go, speed. Those ignore the token, the path prefix and every fault.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import math
import os
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from fractions import Fraction
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import BodyPartReader, WSMsgType, web

from fakes import media
from fakes.graphs import FILE_INPUTS, Graph, Validator, error, with_models
from fakes.misbehave import Misbehave
from fakes.worker import FOREIGN_GRAPH, Job, Worker, now_ms
from ltxflow.comfy.signatures import recorded_info, versions

MAX_BODY = 100 * 1024 * 1024
FAILED = "500 Internal Server Error\n\nServer got itself in trouble"  # aiohttp, when a route of ComfyUI raises
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
CAMERA = ["dolly-in", "dolly-left", "dolly-out", "dolly-right", "jib-down", "jib-up", "static"]
CONTROL = ["canny-control", "depth-control", "pose-control", "detailer"]

MODELS_LTX2: dict[str, list[str]] = {
    "checkpoints": ["ltx-2-19b-dev-fp8.safetensors"],
    "text_encoders": ["gemma_3_12B_it.safetensors"],
    "latent_upscale_models": [
        "ltx-2-spatial-upscaler-x2-1.0.safetensors",
        "ltx-2-temporal-upscaler-x2-1.0.safetensors",
    ],
    "loras": [
        "ltx-2-19b-distilled-lora-384.safetensors",
        *(f"ltx-2-19b-ic-lora-{name}.safetensors" for name in CONTROL),
        *(f"ltx-2-19b-lora-camera-control-{name}.safetensors" for name in CAMERA),
        "my_style_lora.safetensors",
    ],
    "vae": [],
    "diffusion_models": [],
    "frame_interpolation": [],
    "embeddings": [],
}
MODELS_LTX23: dict[str, list[str]] = {
    "checkpoints": ["ltx-2.3-22b-dev-fp8.safetensors"],
    "text_encoders": ["gemma_3_12B_it.safetensors"],
    "latent_upscale_models": [
        "ltx-2.3-spatial-upscaler-x2-1.1.safetensors",
        "ltx-2.3-temporal-upscaler-x2-1.0.safetensors",
    ],
    "loras": ["ltx-2.3-22b-distilled-lora-384-1.1.safetensors"],
}
CLASSIFY = {
    ".png": "image",
    ".jpg": "image",
    ".webp": "image",
    ".mp4": "video",
    ".webm": "video",
    ".latent": "latent",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeComfy:
    """One server. Times are seconds of one uncached render; `speed` divides them.

    `seconds` is a number or a function of the graph; a re-save of a cached render costs nothing.
    `load_seconds` is added when a checkpoint or LoRA is loaded anew (it is not, when the prompt before used
    the same). `prefix` and `token` (header name, value) put it behind a path and a token, as a proxy does.
    `version` says which nodes it has, those of the nearest recorded version, and what it lacks: `/api/jobs` (before
    0.14), its cancel and the rule for prompt ids (before 0.27), what came since (0.33).
    """

    def __init__(
        self,
        *,
        seconds: float | Callable[[Graph], float] = 0.0,
        speed: float = 1.0,
        load_seconds: float = 0.0,
        version: str = "0.27.0",
        models: dict[str, list[str]] | None = None,
        object_info: Graph | None = None,
        extra_nodes: Graph | None = None,
        prefix: str = "",
        token: tuple[str, str] | None = None,
        root: Path | None = None,
        port: int = 0,
        vram_gb: float = 32,
        max_body: int = MAX_BODY,
    ) -> None:
        self.version = numbers(version)
        self.version_text = version
        self.models = {k: list(v) for k, v in (models or MODELS_LTX2).items()}
        info = object_info or recorded_info(nearest(version))
        self.classes: Graph = json.loads(json.dumps(info)) | (extra_nodes or {})  # tests change it
        self.prefix, self.token, self.port, self.vram_gb, self.max_body = (
            prefix,
            token,
            port,
            vram_gb,
            max_body,
        )
        self._own_root = root is None
        self.root = root or Path(tempfile.mkdtemp(prefix="ltxflow-fake-"))
        self.folders = {kind: self.root / kind for kind in ("input", "output", "temp")}
        for folder in self.folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        self.misbehave = Misbehave()
        self.refuse: Callable[[Graph], dict[str, list[Graph]]] | None = None  # graph → node → errors that it finds too
        self._changed = threading.Condition()
        self.worker = Worker(
            self.folders,
            self.misbehave,
            lambda: self.classes,
            self._send,
            self._notify,
            seconds=seconds if callable(seconds) else lambda graph: float(seconds),
            load_seconds=load_seconds,
            version=self.version,
        )
        self.worker.speed = speed
        self.sockets: dict[str, web.WebSocketResponse] = {}
        self._live: set[web.WebSocketResponse] = set()
        self.requests: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()
        self.sockets_opened = self.sockets_most = self.restarts = self.foreign_jobs = 0
        self._outbox: asyncio.Queue[tuple[str, Graph, str | None]] = asyncio.Queue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None
        self._spared: asyncio.Transport | None = None  # the connection over which a restart was asked for

    # -------------------------------------------------------------------------------------------- for tests

    @property
    def url(self) -> str:
        """The address a user would give, with the prefix, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def __enter__(self) -> FakeComfy:
        ready = threading.Event()

        async def serve() -> None:
            await self.open()
            ready.set()
            await self._closing.wait()
            await self.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        if not ready.wait(20):
            raise RuntimeError("the fake server did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop
        assert self._thread
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join(20)
        if self._own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    def stats(self) -> Graph:
        """Return what happened so far, as plain JSON; it survives `restart`.

        `runs`: one entry a start, in order (prompt_id, key, prefixes, start, end, outcome, rendered,
        foreign; times are `time.monotonic()`; seconds: what it takes at speed 1). `prompts` and `keys`: starts,
        completions and renders (completions in which a sampler ran anew) by prompt id and by graph key, which
        is the digest of the reachable graph without file prefixes. `gaps`: idle seconds between
        consecutive runs. `requests`: "METHOD path" → count.
        """
        return self.call(self._stats())

    def wait(self, until: Callable[[Graph], bool], timeout: float = 20) -> Graph:
        """Block until the stats satisfy `until`, and return them. Raise TimeoutError."""
        end = time.monotonic() + timeout
        while not until(found := self.stats()):
            if time.monotonic() > end:
                raise TimeoutError(json.dumps(found)[:2000])
            with self._changed:
                self._changed.wait(0.05)
        return found

    def restart(self, down: float = 0.0) -> None:
        """Die and come back on the same port: queue, history, cache and temp files are gone, files stay."""
        self.call(self._restart(down))

    def stop_listening(self) -> None:
        """Die: connections are cut, new ones refused, memory lost. `listen()` brings it back."""
        self.call(self._down())

    def listen(self) -> None:
        self.call(self._up())

    def hold(self) -> None:
        """Freeze rendering: no prompt starts, a running one stops where it is. `go()` ends it."""
        self._soon(self.worker.going.clear)

    def go(self) -> None:
        self._soon(self.worker.going.set)

    def add_foreign(self, count: int = 1, seconds: float = 0.0, *, front: bool = False) -> list[str]:
        """Queue somebody else's prompts; return their ids."""
        return self.call(self._foreign(count, seconds, front))

    def set_speed(self, speed: float) -> None:
        self.worker.speed = speed

    def warm(self, *shapes: tuple[int, int, int, int]) -> None:
        """Prepare what films of these (width, height, frames, fps) share, so that no render waits for it."""
        for width, height, frames, fps in shapes:
            sound = media.Sound(math.ceil(Fraction(frames * 25, fps)) * 4 * 240 - 720)
            media.mp4(media.one_colour((128, 128), width, height, frames), Fraction(fps), sound, {})

    def call(self, coroutine: Any) -> Any:
        if self._loop and self._loop.is_running():
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)
        return asyncio.run(coroutine)

    def _soon(self, function: Callable[[], None]) -> None:
        assert self._loop
        self._loop.call_soon_threadsafe(function)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    # -------------------------------------------------------------------------------------------- life

    async def open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closing = asyncio.Event()
        app = web.Application(client_max_size=self.max_body, middlewares=[self._gate])
        for base in dict.fromkeys((self.prefix, f"{self.prefix}/api")):
            app.router.add_routes(self._routes(base))
        for route in ("jobs", "jobs/cancel", "jobs/{id}", "jobs/{id}/cancel"):
            method = "POST" if route.endswith("cancel") else "GET"
            handler = {
                "jobs": self._jobs,
                "jobs/cancel": self._cancel_many,
                "jobs/{id}": self._job,
                "jobs/{id}/cancel": self._cancel,
            }[route]
            app.router.add_route(method, f"{self.prefix}/api/{route}", handler)
        app.router.add_route("*", "/__fake__/{what}", self._control)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._up()
        self._tasks = [asyncio.create_task(self._publish())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._down()
        assert self._runner
        await self._runner.cleanup()

    async def _up(self) -> None:
        assert self._runner
        if self._site:
            return
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._work = asyncio.create_task(self.worker.work())

    async def _down(self) -> None:
        if not self._site:
            return
        # stop accepting by closing the socket itself: `site.stop()` also waits for those still connected
        assert self._runner
        server = self._site._server
        assert server
        server.close()
        self._runner._unreg_site(self._site)
        self._site = None
        self._work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._work
        self.sockets.clear()
        self._live.clear()
        if self._runner.server:
            for protocol in list(self._runner.server.connections):
                if protocol.transport and protocol.transport is not self._spared:
                    protocol.transport.abort()
        self.worker.forget()
        for file in self.folders["temp"].iterdir():
            if file.is_file():
                file.unlink()
        self._notify()

    async def _restart(self, down: float) -> None:
        self.restarts += 1
        await self._down()
        self._spared = None
        await asyncio.sleep(down)
        await self._up()

    # -------------------------------------------------------------------------------------------- websocket

    def _send(self, event: str, data: Graph, client: str | None) -> None:
        self._outbox.put_nowait((event, json.loads(json.dumps(data)), client))

    async def _publish(self) -> None:
        while True:
            event, data, client = await self._outbox.get()
            if self.misbehave.silent:
                continue
            text = json.dumps({"type": event, "data": data})
            one = self.sockets.get(client) if client is not None else None
            for ws in list(self.sockets.values()) if client is None else [one] if one else []:
                with contextlib.suppress(ConnectionError, RuntimeError):
                    await ws.send_str(text)

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        if self.misbehave.deaf:
            raise web.HTTPNotFound
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        sid = request.query.get("clientId") or uuid.uuid4().hex
        self.sockets[sid] = ws
        self._live.add(ws)
        self.sockets_opened += 1
        self.sockets_most = max(self.sockets_most, len(self._live))
        try:
            if not self.misbehave.silent:
                status = {"exec_info": {"queue_remaining": self.worker.remaining}}
                await ws.send_json({"type": "status", "data": {"status": status, "sid": sid}})
                running = self.worker.running
                if running and running.extra.get("client_id") == sid and self.worker.node_now is not None:
                    await ws.send_json({"type": "executing", "data": {"node": self.worker.node_now}})
            first = True
            async for message in ws:
                if message.type == WSMsgType.ERROR:
                    break
                if first and message.type == WSMsgType.TEXT:
                    first = False
                    with contextlib.suppress(ValueError):
                        if json.loads(message.data).get("type") == "feature_flags" and not self.misbehave.silent:
                            await ws.send_json({"type": "feature_flags", "data": self._feature_flags()})
        except ConnectionError:
            pass
        finally:
            self.sockets.pop(sid, None)  # as the real one: an older socket's end removes a newer's registration
            self._live.discard(ws)
        return ws

    def _feature_flags(self) -> Graph:
        flags = {
            "supports_preview_metadata": True,
            "max_upload_size": self.max_body,
            "extension": {"manager": {"supports_v4": True}},
            "node_replacements": True,
            "assets": False,
        }
        return flags | ({"supports_model_type_tags": True} if self.version >= (0, 33) else {})

    # -------------------------------------------------------------------------------------------- gate

    @web.middleware
    async def _gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        path = request.path
        if path.startswith("/__fake__"):
            return await handler(request)
        path = path.removeprefix(self.prefix)
        path = path.removeprefix("/api") if not path.startswith("/api/jobs") else path
        self.requests[f"{request.method} {re.sub(UUID, '{id}', path)}"] += 1
        if self.token and request.headers.get(self.token[0]) != self.token[1]:
            return web.Response(status=401, text="no token")
        host, origin = request.headers.get("Host", ""), request.headers.get("Origin")
        if origin is not None and origin.split("://")[-1] != host:
            return web.Response(status=403)
        if request.headers.get("Sec-Fetch-Site") == "cross-site":
            return web.Response(status=403)
        rule = self.misbehave.request(request.method, path)
        if not rule:
            try:
                return await handler(request)
            except web.HTTPNotFound:
                return web.Response(status=404)  # without a word
        match rule.kind:
            case "status":
                status = HTTPStatus(rule.options["status"])  # aiohttp says so when a route of ComfyUI raises
                return web.Response(status=status, text=f"{status} {status.phrase}\n\nServer got itself in trouble")
            case "hang":
                while rule in self.misbehave.requests and not self._closing.is_set() and self._site:
                    await asyncio.sleep(0.02)
                return _reset(request)
            case "lose_reply":
                await handler(request)
                return _reset(request)
            case "post_twice":
                await handler(request)
                return await handler(request)
            case "truncate" | "wrong_length" | "endless" | "dribble":
                return await self._bad_body(request, handler, rule.kind, rule.options)
            case _:
                return _reset(request)

    async def _bad_body(self, request: web.Request, handler: Handler, kind: str, options: Graph) -> web.StreamResponse:
        good = await handler(request)
        if isinstance(good, web.FileResponse):
            body = Path(good._path).read_bytes()
        else:
            body = bytes(good.body) if isinstance(good, web.Response) and isinstance(good.body, bytes) else b""
        status, headers = 200, {"Content-Type": good.content_type}
        if found := re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "")):
            start = int(found[1])
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            status, body = 206, body[start:]
        bad = web.StreamResponse(status=status, headers=headers)
        if kind == "endless":
            await bad.prepare(request)
            with contextlib.suppress(ConnectionError):
                await bad.write(body)
                for _ in range(1 << 16):
                    await bad.write(bytes(1 << 16))
            return bad
        if kind == "dribble":
            await bad.prepare(request)
            with contextlib.suppress(ConnectionError):
                for at in range(0, len(body), options["size"]):
                    await bad.write(body[at : at + options["size"]])
                    await asyncio.sleep(options["pause"])
            return bad
        announced = len(body) + options.get("by", 0)
        bad.content_length = max(announced, 0)
        sent = body[: int(len(body) * options["part"])] if kind == "truncate" else body[: max(announced, 0)]
        await bad.prepare(request)
        with contextlib.suppress(ConnectionError):
            await bad.write(sent)
            if len(sent) < announced:
                await asyncio.sleep(0.02)
                if request.transport:
                    request.transport.close()
        return bad

    # -------------------------------------------------------------------------------------------- routes

    def _routes(self, base: str) -> Iterator[web.RouteDef]:
        yield web.get(f"{base}/ws", self._ws)
        yield web.post(f"{base}/prompt", self._post_prompt)
        yield web.get(f"{base}/prompt", self._get_prompt)
        yield web.get(f"{base}/history", self._history)
        yield web.post(f"{base}/history", self._post_history)
        yield web.get(f"{base}/history/{{id}}", self._history_one)
        yield web.get(f"{base}/queue", self._queue)
        yield web.post(f"{base}/queue", self._post_queue)
        yield web.post(f"{base}/interrupt", self._interrupt)
        yield web.post(f"{base}/free", self._free)
        yield web.get(f"{base}/system_stats", self._system)
        yield web.get(f"{base}/features", self._features)
        yield web.get(f"{base}/object_info", self._object_info)
        yield web.get(f"{base}/object_info/{{name}}", self._object_info)
        yield web.get(f"{base}/models", self._models)
        yield web.get(f"{base}/models/{{folder}}", self._models)
        yield web.get(f"{base}/experiment/models/{{folder}}", self._models_long)
        yield web.get(f"{base}/view", self._view)
        yield web.post(f"{base}/upload/image", self._upload)

    def info(self) -> Graph:
        """object_info as it is now: model files and input files in the lists."""
        models = {k: v for k, v in self.models.items() if k not in self.misbehave.no_models}
        files: dict[str, list[str]] = {kind: [] for kind in FILE_INPUTS.values()}
        for file in sorted(self.folders["input"].iterdir()):
            kind = CLASSIFY.get(file.suffix)
            if kind:
                files[kind].append(file.name)
        return with_models(self.classes, models, files)

    async def _post_prompt(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
        except ValueError:
            return web.Response(status=500, text=FAILED)
        if "number" in body:
            number = float(body["number"])
        else:
            number = float(self.worker.number)
            if body.get("front"):
                number = -number
            self.worker.number += 1
        if "prompt" not in body:
            return _refusal(
                {
                    "type": "no_prompt",
                    "message": "No prompt provided",
                    "details": "No prompt provided",
                    "extra_info": {},
                }
            )
        prompt_id = body.get("prompt_id")
        if self.version < (0, 27):
            prompt_id = str(body.get("prompt_id", uuid.uuid4()))
        elif prompt_id is None:
            prompt_id = str(uuid.uuid4())
        elif not isinstance(prompt_id, str) or not UUID.fullmatch(prompt_id):
            return _refusal(
                {
                    "type": "invalid_prompt_id",
                    "message": "prompt_id must be a valid UUID",
                    "details": "prompt_id must be a UUID string in canonical lowercase hyphenated form; "
                    "omit it to let the server generate one",
                    "extra_info": {},
                }
            )
        graph = body["prompt"]
        validator = Validator(graph, self.info(), self._exists, knows_cycles=self.version > (0, 14, 1))
        refused, outputs, node_errors = validator.run(body.get("partial_execution_targets"))
        for node_id, errors in (self.refuse(graph) if self.refuse else {}).items():
            class_ = graph[node_id]["class_type"]
            node_errors[node_id] = {"errors": errors, "dependent_outputs": outputs, "class_type": class_}
            refused = refused or error("prompt_outputs_failed_validation", "Prompt outputs failed validation", "")
        if refused:
            return web.json_response({"error": refused, "node_errors": node_errors}, status=400)
        extra = dict(body.get("extra_data") or {})
        if "client_id" in body:
            extra["client_id"] = body["client_id"]
        extra["create_time"] = now_ms()
        key = self.worker.graph_key(graph, outputs)
        self.worker.put(Job(number, prompt_id, graph, extra, outputs, key))
        return web.json_response({"prompt_id": prompt_id, "number": number, "node_errors": node_errors})

    def _exists(self, name: str) -> bool:
        try:
            path = self.worker.open_file(name)
        except (OSError, ValueError):
            return False
        return path.is_file() or path.is_relative_to("/nonexistent")

    async def _get_prompt(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"exec_info": {"queue_remaining": self.worker.remaining}})

    async def _history(self, request: web.Request) -> web.StreamResponse:
        ids = list(self.worker.history)
        if "max_items" in request.query:
            count, offset = int(request.query["max_items"]), int(request.query.get("offset", -1))
            start = max(len(ids) - count, 0) if offset < 0 else offset
            ids = ids[start : start + count]
        return web.json_response({i: self.worker.history[i] for i in ids})

    async def _history_one(self, request: web.Request) -> web.StreamResponse:
        prompt_id = request.match_info["id"]
        entry = self.worker.history.get(prompt_id)
        return web.json_response({prompt_id: entry} if entry else {})

    async def _post_history(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("clear"):
            self.worker.history.clear()
        for prompt_id in body.get("delete", []):
            self.worker.history.pop(prompt_id, None)
        return web.Response()

    async def _queue(self, request: web.Request) -> web.StreamResponse:
        running = [self.worker.running.item()] if self.worker.running else []
        pending = [job.item() for job in self.worker.pending]
        return web.json_response({"queue_running": running, "queue_pending": pending})

    async def _post_queue(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("clear"):
            self.worker.clear()
        for prompt_id in body.get("delete", []):
            self.worker.delete(prompt_id)
        return web.Response()

    async def _interrupt(self, request: web.Request) -> web.StreamResponse:
        try:
            body = json.loads(await request.read())
        except ValueError:
            body = {}
        self.worker.interrupt(body.get("prompt_id") or None)
        return web.Response()

    async def _free(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("free_memory"):
            self.worker.free_cache = True
            if not self.worker.running:
                self.worker.cache = {}
        if body.get("free_memory") or body.get("unload_models"):
            self.misbehave.freed()
        return web.Response()

    async def _jobs(self, request: web.Request) -> web.StreamResponse:
        if self.version < (0, 14):
            raise web.HTTPNotFound
        wanted = set(filter(None, request.query.get("status", "").split(",")))
        if wrong := _wrong_page(request.query, wanted):
            return web.json_response({"error": wrong}, status=400)
        views = [view for i in self.worker.job_ids() if (view := self.worker.job_view(i, full=False))]
        views = [view for view in views if not wanted or view["status"] in wanted]
        views.sort(key=lambda view: view.get("create_time") or 0, reverse=request.query.get("sort_order") != "asc")
        offset, total = int(request.query.get("offset", 0)), len(views)
        limit = int(request.query["limit"]) if "limit" in request.query else None
        page = views[offset : offset + limit if limit is not None else None]
        pages = {"offset": offset, "limit": limit, "total": total, "has_more": offset + len(page) < total}
        return web.json_response({"jobs": page, "pagination": pages})

    async def _job(self, request: web.Request) -> web.StreamResponse:
        if self.version < (0, 14):
            raise web.HTTPNotFound
        view = self.worker.job_view(request.match_info["id"], full=True)
        return web.json_response(view) if view else web.json_response({"error": "Job not found"}, status=404)

    def _cancel_id(self, prompt_id: str) -> bool:
        return self.worker.interrupt(prompt_id) or self.worker.delete(prompt_id)  # one of two copies

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        if self.version < (0, 27):
            raise web.HTTPNotFound
        return web.json_response({"cancelled": self._cancel_id(request.match_info["id"])})

    async def _cancel_many(self, request: web.Request) -> web.StreamResponse:
        if self.version < (0, 27):
            raise web.HTTPNotFound
        ids = (await request.json()).get("job_ids", [])
        wrong = [i for i in ids if not isinstance(i, str) or not UUID.fullmatch(i)]
        if wrong:
            body = {"error": "job_ids contains invalid id(s)", "invalid_ids": wrong}
            return web.json_response(body, status=400)
        cancelled = [self._cancel_id(i) for i in ids]
        return web.json_response({"cancelled": any(cancelled)})

    async def _system(self, request: web.Request) -> web.StreamResponse:
        total = int(self.vram_gb * 2**30)
        system = {
            "os": "linux",
            "ram_total": 128 * 2**30,
            "ram_free": 96 * 2**30,
            "comfyui_version": self.version_text,
            "required_frontend_version": "1.45.20",
            "installed_templates_version": "0.11.1",
            "required_templates_version": "0.11.1",
            "comfy_package_versions": [{"name": "comfy-kitchen", "installed": "0.2.16", "required": "0.2.16"}],
            "deploy_environment": "local-git",
            "python_version": "3.12.7 (main)",
            "pytorch_version": "2.9.1+cu128",
            "embedded_python": False,
            "argv": ["main.py", "--listen", "127.0.0.1"],
        }
        device = {
            "name": "cuda:0 Fake GPU : cudaMallocAsync",
            "type": "cuda",
            "index": 0,
            "vram_total": total,
            "vram_free": total - 2**30,
            "torch_vram_total": 0,
            "torch_vram_free": 0,
        }
        return web.json_response({"system": system, "devices": [device]})

    async def _features(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._feature_flags())

    async def _object_info(self, request: web.Request) -> web.StreamResponse:
        info, name = self.info(), request.match_info.get("name")
        if name is None:
            return web.json_response(info)
        return web.json_response({name: info[name]} if name in info else {})

    async def _models(self, request: web.Request) -> web.StreamResponse:
        folder = request.match_info.get("folder")
        known = {k: v for k, v in self.models.items() if k not in self.misbehave.no_models}
        if folder is None:
            return web.json_response(list(known))
        if folder not in known:
            return web.Response(status=404)
        return web.json_response(known[folder])

    async def _models_long(self, request: web.Request) -> web.StreamResponse:
        folder = request.match_info["folder"]
        if folder not in self.models or folder in self.misbehave.no_models:
            return web.Response(status=404)
        sizes = [2**20 * (1 + hashlib.sha256(name.encode()).digest()[0]) for name in self.models[folder]]
        return web.json_response(
            [
                {
                    "name": name,
                    "pathIndex": 0,
                    "modified": 1790000000.0,
                    "created": 1790000000.0,
                    "size": size,
                }
                for name, size in zip(self.models[folder], sizes, strict=True)
            ]
        )

    async def _view(self, request: web.Request) -> web.StreamResponse:
        name, kind = request.query.get("filename", ""), request.query.get("type", "output")
        found = re.fullmatch(r"(.*) \[(input|output|temp)\]", name, re.DOTALL)
        if found:
            name, kind = found[1], found[2]
        if not name:
            return web.Response(status=404 if "filename" not in request.query else 400)
        if name.startswith("/") or ".." in name or kind not in self.folders:
            return web.Response(status=400)
        base = self.folders[kind].resolve()
        folder = Path(os.path.abspath(base / request.query.get("subfolder", "")))
        if not folder.is_relative_to(base):
            return web.Response(status=403)
        file = folder / Path(name).name
        with contextlib.suppress(OSError, ValueError):
            if file.is_file():
                headers = {"Content-Disposition": f'filename="{file.name}"'}
                return web.FileResponse(file, headers=headers)
        return web.Response(status=404)

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        fields: dict[str, str] = {}
        name, data = "", None
        size = 0
        async for part in await request.multipart():
            assert isinstance(part, BodyPartReader)
            content = bytes(await part.read())
            size += len(content)
            if size > self.max_body:
                raise web.HTTPRequestEntityTooLarge(self.max_body, size)
            if part.name == "image" and part.filename is not None:
                name, data = part.filename, content
            else:
                fields[part.name or ""] = content.decode()
        if data is None:
            return web.Response(status=400)
        kind = fields.get("type") or "input"
        if kind not in self.folders or not name:
            return web.Response(status=500, text=FAILED)
        base = self.folders[kind].resolve()
        subfolder = fields.get("subfolder") or ""
        folder = base / os.path.normpath(subfolder)
        file = Path(os.path.abspath(folder / name))
        if not file.is_relative_to(base):
            return web.Response(status=400)
        folder.mkdir(parents=True, exist_ok=True)
        if not file.parent.is_dir():
            return web.Response(status=500, text=FAILED)
        name = _place(folder, name, data, overwrite=fields.get("overwrite") in ("true", "1"))
        self.uploads[f"{subfolder}/{name}".lstrip("/")] += 1
        return web.json_response({"name": name, "subfolder": subfolder, "type": kind})

    # -------------------------------------------------------------------------------------------- control

    async def _stats(self) -> Graph:
        prompts: Graph = {}
        keys: Graph = {}
        for run in self.worker.runs:
            for table, name in ((prompts, run["prompt_id"]), (keys, run["key"])):
                if table is keys and run["foreign"]:
                    continue
                entry = table.setdefault(name, {"starts": 0, "completions": 0, "renders": 0, "outcomes": []})
                entry["starts"] += 1
                entry["completions"] += run["outcome"] == "success"
                entry["renders"] += run["outcome"] == "success" and run["rendered"]
                entry["outcomes"].append(run["outcome"])
        runs = [dict(run) for run in self.worker.runs]
        return {
            "runs": runs,
            "prompts": prompts,
            "keys": keys,
            "accepted": dict(self.worker.accepted),
            "gaps": [b["start"] - a["end"] for a, b in itertools.pairwise(runs) if a["end"]],
            "pending": len(self.worker.pending),
            "running": self.worker.running.id if self.worker.running else None,
            "requests": dict(self.requests),
            "uploads": dict(self.uploads),
            "sockets": {"opened": self.sockets_opened, "open": len(self._live), "most": self.sockets_most},
            "escapes": list(self.worker.escapes),
            "restarts": self.restarts,
            "bugs": list(self.worker.bugs),
        }

    async def _foreign(self, count: int, seconds: float, front: bool) -> list[str]:
        ids = []
        for _ in range(count):
            self.foreign_jobs += 1
            graph = json.loads(json.dumps(FOREIGN_GRAPH))
            graph["1"]["inputs"]["color"] = self.foreign_jobs
            ids.append(str(uuid.uuid5(uuid.NAMESPACE_URL, f"foreign {self.port} {self.foreign_jobs}")))
            number = float(-self.worker.number if front else self.worker.number)
            self.worker.number += 1
            extra = {"client_id": "someone-else", "create_time": now_ms()}
            self.worker.put(Job(number, ids[-1], graph, extra, ["2"], "", foreign=True, seconds=seconds))
        return ids

    async def _control(self, request: web.Request) -> web.StreamResponse:
        what = request.match_info["what"]
        body = await request.json() if request.can_read_body else {}
        answer: Any = {}
        match what:
            case "stats":
                answer = await self._stats()
            case "misbehave":
                self.misbehave.apply(body.pop("kind"), **body)
            case "restart":
                self._spared = request.transport
                await self._restart(body.get("down", 0.0))
            case "foreign":
                args = body.get("count", 1), body.get("seconds", 0.0), body.get("front", False)
                answer = await self._foreign(*args)
            case "hold":
                self.worker.going.clear()
            case "go":
                self.worker.going.set()
            case "speed":
                self.worker.speed = float(body["speed"])
            case "models":
                self.models = body
            case _:
                raise web.HTTPNotFound
        return web.json_response(answer)


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers: "0.33.0-5-gabc" → (0, 33, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def nearest(version: str) -> str:
    """Return the recorded version that a server of `version` is like: the newest that is not newer, else the oldest."""
    return next((known for known in versions() if numbers(known) <= numbers(version)), versions()[-1])


def _refusal(error: Graph) -> web.Response:
    return web.json_response({"error": error, "node_errors": {}}, status=400)


STATUSES = ("pending", "in_progress", "completed", "failed", "cancelled")


def _wrong_page(query: Mapping[str, str], wanted: set[str]) -> str:
    """Given what a list of jobs is asked with, return what ComfyUI says of it, "" when it is right."""
    if strange := sorted(wanted - set(STATUSES)):
        return f"Invalid status value(s): {', '.join(strange)}. Valid values: {', '.join(STATUSES)}"
    for name in ("limit", "offset"):
        if not re.fullmatch(r"-?\d+", query.get(name, "1")):
            return f"{name} must be an integer"
    return "limit must be a positive integer" if int(query.get("limit", 1)) <= 0 else ""


def _reset(request: web.Request) -> web.Response:
    """Close so that the peer sees a reset, not an end."""
    transport = request.transport
    if transport:
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    return web.Response(status=500)


def _place(folder: Path, name: str, data: bytes, *, overwrite: bool) -> str:
    """Store an upload as ComfyUI does: same name and bytes → that name; other bytes → `name (1).ext`, …"""
    stem, suffix = os.path.splitext(name)
    i = 0
    while True:
        candidate = f"{stem} ({i}){suffix}" if i else name
        file = folder / candidate
        if overwrite or not file.exists():
            file.write_bytes(data)
            return candidate
        if file.read_bytes() == data:
            return candidate
        i += 1


# ------------------------------------------------------------------------------------------------ process


def spread(spec: str) -> Callable[[Graph], float]:
    """Given "2", "0.5-3" or "0.01/frame", return how long a graph renders: always the same, in a range by its
    texts and seeds (no client can foresee it), or by the frames it samples (a client can, as with a real GPU).
    """
    low, _, high = spec.partition("-")
    if spec.endswith("/frame"):
        return lambda graph: float(spec.removesuffix("/frame")) * _frames(graph)
    if not high:
        return lambda graph: float(low)

    def seconds(graph: Graph) -> float:
        told = json.dumps(
            [
                sorted((k, v) for k, v in node["inputs"].items() if k in ("text", "noise_seed", "length"))
                for node in graph.values()
            ]
        )
        part = int.from_bytes(hashlib.sha256(told.encode()).digest()[:4]) / 2**32
        return float(low) + (float(high) - float(low)) * part

    return seconds


def _frames(graph: Graph) -> int:
    lengths = [node["inputs"]["length"] for node in graph.values() if node["class_type"] == "EmptyLTXVLatentVideo"]
    return sum(length for length in lengths if isinstance(length, int)) or 121


class FakeProcess:
    """The fake in a process of its own, which outlives a killed client. Arguments as on its command line."""

    def __init__(self, *args: str) -> None:
        self.args = args
        self.url = ""

    def __enter__(self) -> FakeProcess:
        own = "--root" not in self.args
        self.root = Path(tempfile.mkdtemp(prefix="ltxflow-fake-") if own else self.args[self.args.index("--root") + 1])
        self._own_root = own
        self.folders = {kind: self.root / kind for kind in ("input", "output", "temp")}
        here = Path(__file__).resolve().parents[1]
        path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fakes.comfyui", "--exit-with-parent", *self.args, "--root", str(self.root)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert self.process.stdout
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            raise RuntimeError("the fake server did not start")
        self.origin = "/".join(self.url.split("/")[:3])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        if self.process.stdout:
            self.process.stdout.close()
        if self._own_root:
            shutil.rmtree(self.root, ignore_errors=True)

    def control(self, what: str, /, **body: Any) -> Any:
        """`stats`, `misbehave`, `restart`, `foreign`, `hold`, `go`, `speed`: ask or tell the server."""
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{self.origin}/__fake__/{what}", data, {"Content-Type": "application/json"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as reply:
            return json.loads(reply.read())

    def stats(self) -> Graph:
        found: Graph = self.control("stats")
        return found

    def wait(self, until: Callable[[Graph], bool], timeout: float = 30) -> Graph:
        end = time.monotonic() + timeout
        while not until(found := self.stats()):
            if time.monotonic() > end:
                raise TimeoutError(json.dumps(found)[:2000])
            time.sleep(0.02)
        return found


async def _serve(server: FakeComfy, parent: int | None) -> None:
    await server.open()
    print(server.url, flush=True)
    while parent is None or os.getppid() == parent:
        await asyncio.sleep(0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description="a ComfyUI without a model, for tests")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--seconds", default="0", help="seconds a render, a range (0.5-3), or 0.01/frame")
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--version", default="0.27.0")
    parser.add_argument("--vram-gb", type=float, default=32)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--prefix", default="")
    parser.add_argument("--token", help="NAME=VALUE of the header every request must have")
    parser.add_argument("--models", help="JSON: folder → list of files")
    parser.add_argument("--exit-with-parent", action="store_true")
    args = parser.parse_args()
    name, _, value = (args.token or "").partition("=")
    server = FakeComfy(
        seconds=spread(args.seconds),
        speed=args.speed,
        load_seconds=args.load_seconds,
        version=args.version,
        models=json.loads(args.models) if args.models else None,
        prefix=args.prefix,
        token=(name, value) if args.token else None,
        root=args.root,
        port=args.port,
        vram_gb=args.vram_gb,
    )
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(server, os.getppid() if args.exit_with_parent else None))


if __name__ == "__main__":
    main()
