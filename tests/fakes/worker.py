"""The fake server's queue, its one worker, its cache and its history. Knows no HTTP, tells all by `send`.

All of it runs in one event loop. Order of events and of history after COMFYUI 0.27.0 as seen live: one
prompt at a time, `execution_success` before the history entry, `executing node: null` after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import json
import re
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from fakes import media, simulate
from fakes.graphs import Graph, annotated, declared, digests, links, order
from fakes.misbehave import Misbehave
from fakes.simulate import Call, Film, NodeError, Sigmas

SAMPLERS = {"SamplerCustomAdvanced", "KSampler", "SamplerCustom"}
LOADERS = {
    "CheckpointLoaderSimple",
    "UNETLoader",
    "LoraLoader",
    "LoraLoaderModelOnly",
    "LTXAVTextEncoderLoader",
}
DECODERS = {"VAEDecode", "VAEDecodeTiled"}
OOM_TEXT = (
    "Allocation on device 0 would exceed allowed memory. (out of memory)\n"
    "Currently allocated     : 30.02 GiB\n"
    "This error means you ran out of memory on your GPU.\n\n"
    "TIPS: If the workflow worked before you might have accidentally set the batch_size to a large number."
)
CLOCK = {"year": "%Y", "month": "%m", "day": "%d", "hour": "%H", "minute": "%M", "second": "%S"}
FOREIGN_GRAPH: Graph = {
    "1": {
        "class_type": "EmptyImage",
        "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0},
    },
    "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
}


@dataclass
class Job:
    number: float
    id: str
    graph: Graph
    extra: Graph
    outputs: list[str]
    key: str  # what it renders, whatever the file will be called
    foreign: bool = False
    seconds: float | None = None
    started_ms: int = 0
    loaded: bool = False
    renders: bool = False  # a sampler runs anew in it
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def item(self) -> list[Any]:
        return [self.number, self.id, self.graph, self.extra, self.outputs]

    def __lt__(self, other: Job) -> bool:
        return (self.number, self.id) < (other.number, other.id)


class Interrupted(Exception):
    """Somebody interrupted the running prompt."""


@dataclass
class Cached:
    values: tuple[Any, ...]
    ui: Graph | None


def now_ms() -> int:
    return int(time.time() * 1000)


class Worker:
    """One GPU. `send(event, data, client_id)` gives a message to one client, or to all (None)."""

    def __init__(
        self,
        folders: dict[str, Path],
        misbehave: Misbehave,
        info: Callable[[], Graph],
        send: Callable[[str, Graph, str | None], None],
        changed: Callable[[], None],
        *,
        seconds: Callable[[Graph], float],
        load_seconds: float,
        version: tuple[int, ...] = (0, 27, 0),
    ) -> None:
        self.version = version
        self.folders, self.misbehave, self.info, self.send = folders, misbehave, info, send
        self.changed = changed
        self.seconds, self.load_seconds, self.speed = seconds, load_seconds, 1.0
        self.runs: list[Graph] = []  # one entry a start, in order; survives a restart
        self.accepted: Counter[str] = Counter()  # prompt id → times queued; survives a restart
        self.bugs: list[str] = []  # of the fake itself
        self.escapes: list[str] = []  # file names outside the server's folders that a graph asked for
        self.going = asyncio.Event()
        self.going.set()
        self.forget()

    def forget(self) -> None:
        """What a restart does to memory."""
        self.pending: list[Job] = []
        self.running: Job | None = None
        self.history: dict[str, Graph] = {}
        self.cache: dict[str, Cached] = {}
        self.number = 0
        self.node_now: str | None = None
        self.free_cache = False
        self.wake = asyncio.Event()

    # -------------------------------------------------------------------------------------------- queue

    def put(self, job: Job) -> None:
        self.accepted[job.id] += 1
        heapq.heappush(self.pending, job)
        self.status()
        self.wake.set()
        self.changed()

    @property
    def remaining(self) -> int:
        return len(self.pending) + (self.running is not None)

    def status(self) -> None:
        self.send("status", {"status": {"exec_info": {"queue_remaining": self.remaining}}}, None)

    def delete(self, prompt_id: str) -> bool:
        """Remove one waiting copy of that id; it leaves no trace."""
        for i, job in enumerate(self.pending):
            if job.id == prompt_id:
                del self.pending[i]
                heapq.heapify(self.pending)
                for _ in range(1 if self.pending else 2):  # the last one is wiped, and deleted: both are told
                    self.status()
                self.changed()
                return True
        return False

    def clear(self) -> None:
        self.pending.clear()
        self.status()
        self.changed()

    def interrupt(self, prompt_id: str | None = None) -> bool:
        if self.running and prompt_id in (None, self.running.id):
            if not self.misbehave.prompt("deaf_prompt"):
                self.running.stop.set()
            return True
        return False

    def graph_key(self, graph: Graph, outputs: list[str]) -> str:
        made = digests(graph, order(graph, outputs), self.file_digest, naming=False)
        return hashlib.sha256(json.dumps(sorted(made[o] for o in outputs)).encode()).hexdigest()[:16]

    # -------------------------------------------------------------------------------------------- files

    def open_file(self, name: str) -> Path:
        path = annotated(name, self.folders)
        if not any(path.resolve().is_relative_to(folder.resolve()) for folder in self.folders.values()):
            self.escapes.append(name)  # the real server opens it; we only note that somebody tried
            return Path("/nonexistent") / "outside"
        return path

    def file_digest(self, name: str) -> str:
        try:
            return hashlib.sha256(self.open_file(name).read_bytes()).hexdigest()
        except (OSError, ValueError):
            return f"missing {name}"

    # -------------------------------------------------------------------------------------------- work

    async def work(self) -> None:
        try:
            await self._loop()
        except Exception:
            self.bugs.append(traceback.format_exc())
            raise

    async def _loop(self) -> None:
        while True:
            while not self.pending:
                self.wake.clear()
                await self.wake.wait()
            await self.going.wait()
            if not self.pending:
                continue
            job = heapq.heappop(self.pending)
            if self.misbehave.prompt("lose_job") and not job.foreign:
                self.status()
                self.changed()
                continue
            self.running = job
            self.status()
            await self._one(job)
            if self.free_cache:
                self.cache, self.free_cache = {}, False

    async def _one(self, job: Job) -> None:
        job.started_ms = now_ms()
        run: Graph = {
            "prompt_id": job.id,
            "key": job.key,
            "prefixes": [
                node["inputs"].get("filename_prefix")
                for node in job.graph.values()
                if "filename_prefix" in node.get("inputs", {})
            ],
            "foreign": job.foreign,
            "client_id": job.extra.get("client_id"),
            "start": time.monotonic(),
            "end": None,
            "outcome": "running",
            "rendered": False,
            "seconds": self._planned(job),
        }
        self.runs.append(run)
        messages: list[list[Any]] = []
        outputs: Graph = {}
        try:
            await self._execute(job, messages, outputs)
            run["outcome"] = "success"
        except Interrupted:
            run["outcome"] = "interrupted"
        except NodeError:
            run["outcome"] = "error"
        except asyncio.CancelledError:
            run["outcome"] = "lost"
            raise
        finally:
            run["end"], run["rendered"] = time.monotonic(), job.renders
        since = time.monotonic()
        while (late := self.misbehave.late_s) is None or time.monotonic() - since < late:
            await asyncio.sleep(0.01)
        if run["outcome"] == "success" and self.misbehave.prompt("lose_file"):
            for item in (item for ui in outputs.values() for part in ui.values() for item in part):
                if isinstance(item, dict) and item["type"] == "output":
                    (self.folders["output"] / item["subfolder"] / item["filename"]).unlink(missing_ok=True)
        if run["outcome"] == "success" and (rule := self.misbehave.prompt("hostile_names")):
            for ui in outputs.values():
                for part in ui.values():
                    files = [item for item in part if isinstance(item, dict)]
                    if files:
                        part[:] = [{**files[0], "filename": n} for n in rule.options["names"]]
        self.history[job.id] = {
            "prompt": job.item(),
            "outputs": outputs,
            "status": {
                "status_str": "success" if run["outcome"] == "success" else "error",
                "completed": run["outcome"] == "success",
                "messages": messages,
            },
            "meta": {
                node_id: {
                    "node_id": node_id,
                    "display_node": node_id,
                    "parent_node": None,
                    "real_node_id": node_id,
                }
                for node_id in outputs
            },
        }
        self.running = None
        self.status()
        client = job.extra.get("client_id")
        if client is not None:
            self.send("executing", {"node": None, "prompt_id": job.id}, client)
        self.node_now = None
        self.changed()

    async def _execute(self, job: Job, messages: list[list[Any]], outputs: Graph) -> None:
        client = job.extra.get("client_id")

        def note(event: str, **data: Any) -> None:
            data = {"prompt_id": job.id, **data, "timestamp": now_ms()}
            messages.append([event, data])
            if client is not None or event == "execution_interrupted":
                self.send(event, data, client)

        note("execution_start")
        nodes = order(job.graph, job.outputs)
        known = digests(job.graph, nodes, self.file_digest)
        self.cache = {d: entry for d, entry in self.cache.items() if d in set(known.values())}
        cached = [n for n in nodes if known[n] in self.cache]
        note("execution_cached", nodes=cached)
        progress: Graph = {}
        for node_id in cached:
            ui = self.cache[known[node_id]].ui
            if ui and client is not None:  # without a client the server does not repeat a cached output
                outputs[node_id] = json.loads(json.dumps(ui))
                self._executed(job, node_id, ui)
                self._progress(job, progress, node_id, 1, 1, "finished")
        todo = _wanted(job.graph, job.outputs, set(cached))
        plan, failed = await asyncio.to_thread(self._plan, job, todo, known)
        job.renders = any(job.graph[n]["class_type"] in SAMPLERS for n in todo)
        self.changed()
        saves = {
            n: asyncio.create_task(asyncio.to_thread(self._bytes, job, call))
            for n, (call, _) in plan.items()
            if self.info()[call.class_type].get("output_node")
        }  # fmt: skip
        clock = self.runs[-1]["start"]  # what we need to get going is part of the render
        weights = {n: _weight(job.graph[n], plan.get(n)) for n in nodes}
        if not any(weights.values()):
            weights = dict.fromkeys(nodes, 1.0)
        unit = self._planned(job) / sum(weights.values())
        fault = None if job.foreign else self.misbehave.prompt("oom", "crash", "stuck")
        samplers = [n for n in todo if job.graph[n]["class_type"] in SAMPLERS]
        victim = (samplers or todo or [None])[0] if fault else None
        loaded = False
        try:
            for node_id in todo:
                class_ = job.graph[node_id]["class_type"]
                self._progress(job, progress, node_id, 0, 1)
                self.node_now = node_id
                if client is not None:
                    self.send("executing", {"node": node_id, "display_node": node_id, "prompt_id": job.id}, client)
                if class_ in LOADERS and not loaded:
                    loaded, clock = True, clock + self.load_seconds / self.speed
                    await self._until(job, clock)
                if fault and node_id == victim:
                    await self._fail(job, fault.kind, fault.options)
                call, values = plan.get(node_id, (None, ()))
                if call is None:
                    raise failed or NodeError("RuntimeError", "not planned")
                cost = unit * weights[node_id] / self.speed
                steps = _steps(call) if class_ in SAMPLERS else 0
                last_sent = 0.0
                for step in range(1, steps + 1):
                    clock += cost / steps
                    await self._until(job, clock)
                    if step in (1, steps) or time.monotonic() - last_sent >= 0.1:
                        last_sent = time.monotonic()
                        self.send(
                            "progress",
                            {"value": step, "max": steps, "prompt_id": job.id, "node": node_id},
                            client,
                        )
                        self._progress(job, progress, node_id, step, steps)
                if not steps:
                    clock += cost
                    await self._until(job, clock)
                ui = None
                if node_id in saves:
                    ui = self._save(job, call, await saves[node_id])
                    if ui:
                        outputs[node_id] = json.loads(json.dumps(ui))
                        self._executed(job, node_id, ui)
                self.cache[known[node_id]] = Cached(values, ui)
                self._progress(job, progress, node_id, 1, 1, "finished")
            note("execution_success")
        except Interrupted:
            node_id = self.node_now or ""
            class_ = job.graph[node_id]["class_type"] if node_id else ""
            done = [n for n in todo if known[n] in self.cache]
            note("execution_interrupted", node_id=node_id, node_type=class_, executed=done)
            raise
        except NodeError as exc:
            node_id = self.node_now or ""
            note(
                "execution_error",
                node_id=node_id,
                node_type=job.graph[node_id]["class_type"],
                executed=[n for n in todo if known[n] in self.cache],
                exception_message=exc.message if exc.message.endswith("\n") else exc.message + "\n",
                exception_type=exc.type,
                traceback=[
                    '  File "/opt/ComfyUI/execution.py", line 525, in execute\n    output_data = await …\n',
                    '  File "/opt/ComfyUI/nodes.py", line 1, in run\n    raise\n',
                ],
                current_inputs={"prompt": [json.dumps(job.graph)], **_shown(job.graph[node_id])},
                current_outputs=todo,
            )
            raise
        finally:
            for task in saves.values():
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, NodeError):
                    await task

    def _planned(self, job: Job) -> float:
        return self.seconds(job.graph) if job.seconds is None else job.seconds

    async def _fail(self, job: Job, kind: str, options: Graph) -> None:
        if kind == "stuck":
            await job.stop.wait()
            raise Interrupted
        if kind == "oom":
            raise NodeError("torch.OutOfMemoryError", OOM_TEXT)
        raise NodeError(options["type"], options["message"])

    async def _until(self, job: Job, when: float) -> None:
        """Be busy until that moment; notice an interrupt at once, and wait while the server is held."""
        left = when - time.monotonic()
        if left > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(job.stop.wait(), left)
        else:
            await asyncio.sleep(0)
        if not self.going.is_set() and not job.stop.is_set():
            waits = [asyncio.ensure_future(e.wait()) for e in (self.going, job.stop)]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
        if job.stop.is_set():
            raise Interrupted

    def _progress(self, job: Job, seen: Graph, node_id: str, value: float, most: float, state: str = "running") -> None:
        seen[node_id] = {
            "value": float(value),
            "max": float(most),
            "state": state,
            "node_id": node_id,
            "prompt_id": job.id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        nodes = {n: dict(entry) for n, entry in seen.items()}
        self.send("progress_state", {"prompt_id": job.id, "nodes": nodes}, job.extra.get("client_id"))

    def _executed(self, job: Job, node_id: str, ui: Graph) -> None:
        client = job.extra.get("client_id")
        if client is not None:
            data = {"node": node_id, "display_node": node_id, "output": ui, "prompt_id": job.id}
            self.send("executed", data, client)

    def _plan(
        self, job: Job, todo: list[str], known: dict[str, str]
    ) -> tuple[dict[str, tuple[Call, tuple[Any, ...]]], NodeError | None]:
        """Return what each node is called with and returns, up to the first that fails, and its failure."""
        made: dict[str, tuple[Call, tuple[Any, ...]]] = {}
        info = self.info()
        for node_id in todo:
            node = job.graph[node_id]
            inputs = dict(node["inputs"])
            try:
                declares = {name for name, _, _ in declared(info[node["class_type"]], node["inputs"])}
                for name, source, slot in links(node):
                    if name not in declares and name in node["inputs"]:
                        error = f"{node['class_type']}.execute() got an unexpected keyword argument '{name}'"
                        raise NodeError("TypeError", error)
                    values = made[source][1] if source in made else self.cache[known[source]].values
                    inputs[name] = values[slot]
                call = Call(node["class_type"], inputs, known[node_id], self.open_file, self.version)
                outputs = info[node["class_type"]]["output"]
                made[node_id] = (call, simulate.run(call, len(outputs)))
                _check_savable(call)
            except NodeError as exc:
                made.pop(node_id, None)
                return made, exc
            except (KeyError, IndexError) as exc:
                return made, NodeError(type(exc).__name__, str(exc))
        return made, None

    # -------------------------------------------------------------------------------------------- saving

    def _bytes(self, job: Job, call: Call) -> list[tuple[bytes, str]]:
        """Return the files of an output node: contents and extension."""
        tags = {"prompt": json.dumps(job.graph)}
        tags |= {k: json.dumps(v) for k, v in (job.extra.get("extra_pnginfo") or {}).items()}
        match call.class_type:
            case "SaveVideo":
                film: Film = call["video"]
                spoil = None if job.foreign else self.misbehave.spoilt_seed(_seeds(job.graph))
                spoil = spoil or (None if job.foreign else self.misbehave.prompt("spoil"))
                container, codec = simulate.form_of(call)
                if (container, codec) != ("mp4", "h264"):
                    return [(media.film(film.frames, film.fps, film.sound, tags, container, codec), f".{container}")]
                return [(spoiled(film, tags, spoil.options["what"] if spoil else ""), ".mp4")]
            case "SaveWEBM":
                return [(media.film(call["images"], Fraction(call["fps"]), None, tags, "webm", call["codec"]), ".webm")]
            case "VHS_VideoCombine":
                kind, _, form = call["format"].partition("/")
                frames, rate = call["images"], Fraction(call["frame_rate"])
                if kind == "image":
                    return [(media.png(frames, tags), f".{form}")]
                if form == "webm":
                    return [(media.film(frames, rate, call.get("audio"), tags, "webm", "vp9"), ".webm")]
                return [(media.mp4(frames, rate, call.get("audio"), tags), ".mp4")]
            case "SaveImage" | "PreviewImage":
                frames = call["images"]
                return [(media.png(frames.cut(i, 1), tags), ".png") for i in range(frames.count)]
            case "SaveAudio" | "PreviewAudio" | "SaveAudioAdvanced" | "SaveAudioMP3":
                return [(media.flac(call["audio"]), ".flac")]
            case "SaveLatent":
                return [(repr(call["samples"]).encode(), ".latent")]
            case _:
                return []

    def _save(self, job: Job, call: Call, files: list[tuple[bytes, str]]) -> Graph | None:
        """Write an output node's files under the server's naming rule; return its UI output."""
        if not files:
            return None
        is_temporary = call.class_type.startswith("Preview") or call.get("save_output") is False
        kind = "temp" if is_temporary else "output"
        prefix = call.get("filename_prefix", "ComfyUI_temp_fake")
        frames = call.get("images") or getattr(call.get("video"), "frames", None)
        if frames:
            prefix = prefix.replace("%width%", str(frames.width)).replace("%height%", str(frames.height))
        prefix = re.sub("%(year|month|day|hour|minute|second)%", lambda m: time.strftime(CLOCK[m[1]]), prefix)
        base = self.folders[kind]
        folder = (base / Path(prefix).parent).resolve()
        name = Path(prefix).name
        if not folder.is_relative_to(base.resolve()):
            self.escapes.append(prefix)
            told = (
                "**** ERROR: Saving image outside the output folder is not allowed.\n"
                f" full_output_folder: {folder}\n         output_dir: {base}\n"
            )
            if self.version < (0, 33):
                told += f"         commonpath: {base.parent}"
            raise NodeError("Exception", told)
        folder.mkdir(parents=True, exist_ok=True)
        counter = 1 + max(
            (
                int(m[1])
                for file in folder.iterdir()
                if (m := re.fullmatch(re.escape(name) + r"_(\d+)_?\..*", file.name))
            ),
            default=0,
        )
        items = []
        for i, (data, suffix) in enumerate(files):
            tail = "" if suffix == ".flac" else "_"
            file = folder / f"{name}_{counter + i:05}{tail}{suffix}"
            file.write_bytes(data)
            subfolder = folder.relative_to(base.resolve()).as_posix()
            items.append({"filename": file.name, "subfolder": "" if subfolder == "." else subfolder, "type": kind})
        match call.class_type:
            case "VHS_VideoCombine":
                return {"gifs": items}
            case "SaveVideo" | "SaveWEBM":
                return {"images": items, "animated": [True]}
            case "SaveLatent":
                return {"latents": items}
            case name_ if "Audio" in name_:
                return {"audio": items}
            case _:
                return {"images": items}

    # ---------------------------------------------------------------------------------------- what is known

    def job_view(self, prompt_id: str, *, full: bool) -> Graph | None:
        """Return a job as `/api/jobs` shows it."""
        if self.running and self.running.id == prompt_id:
            return self._live(self.running, "in_progress", full)
        for job in self.pending:
            if job.id == prompt_id:
                return self._live(job, "pending", full)
        entry = self.history.get(prompt_id)
        if entry is None:
            return None
        number, id_, graph, extra, _ = entry["prompt"]
        times = {m[0]: m[1]["timestamp"] for m in entry["status"]["messages"]}
        ended = [t for name, t in times.items() if name not in ("execution_start", "execution_cached")]
        status = "completed" if entry["status"]["completed"] else "failed"
        if "execution_interrupted" in times:
            status = "cancelled"
        items = [
            {**item, "nodeId": node_id, "mediaType": kind}
            for node_id, ui in entry["outputs"].items()
            for kind, part in ui.items()
            for item in part
            if isinstance(item, dict)
        ]
        view: Graph = {
            "id": id_,
            "status": status,
            "priority": number,
            "create_time": extra.get("create_time"),
            "execution_start_time": times.get("execution_start"),
            "execution_end_time": ended[-1] if ended else None,
            "outputs_count": len(items),
            "preview_output": items[0] if items else None,
        }
        if self.version >= (0, 33):
            view["previewable_outputs_count"] = sum(item["mediaType"] != "latents" for item in items)
        failure = next((m[1] for m in entry["status"]["messages"] if m[0] == "execution_error"), None)
        if failure:
            view["execution_error"] = failure
        if full:
            view |= {
                "outputs": entry["outputs"],
                "execution_status": entry["status"],
                "workflow": {"prompt": graph, "extra_data": extra},
            }
        return {k: v for k, v in view.items() if v is not None}

    def _live(self, job: Job, status: str, full: bool) -> Graph:
        view: Graph = {
            "id": job.id,
            "status": status,
            "priority": job.number,
            "create_time": job.extra.get("create_time"),
            "outputs_count": 0,
        }
        if self.version >= (0, 33):
            view["previewable_outputs_count"] = 0
        if full:
            view |= {"outputs": {}, "workflow": {"prompt": job.graph, "extra_data": job.extra}}
        return view

    def job_ids(self) -> list[str]:
        live = [self.running.id] if self.running else []
        return list(dict.fromkeys([*live, *(j.id for j in sorted(self.pending)), *reversed(self.history)]))


def _wanted(graph: Graph, outputs: list[str], cached: set[str]) -> list[str]:
    """Return what must run for these outputs, sources first: nothing above a cached node."""
    done: list[str] = []

    def visit(node_id: str) -> None:
        if node_id in done or node_id in cached:
            return
        for _, source, _ in links(graph[node_id]):
            visit(source)
        done.append(node_id)

    for output in outputs:
        visit(output)
    return done


def _steps(call: Call) -> int:
    sigmas = call.get("sigmas")
    return sigmas.steps if isinstance(sigmas, Sigmas) else int(call.get("steps", 8))


def _seeds(graph: Graph) -> set[int]:
    given = (node["inputs"].get(name) for node in graph.values() for name in ("noise_seed", "seed"))
    return {seed for seed in given if isinstance(seed, int)}


def _weight(node: Graph, planned: tuple[Call, Any] | None) -> float:
    """How much of a prompt's time a node takes: samplers by steps, decoding a little, the rest nothing."""
    if node["class_type"] in SAMPLERS:
        return float(max(_steps(planned[0]), 1)) if planned else 8.0
    return 1.0 if node["class_type"] in DECODERS else 0.0


def _check_savable(call: Call) -> None:
    if call.class_type == "SaveVideo":
        film = simulate.need(call["video"], Film)
        if film.broken:
            raise NodeError("av.error.ArgumentError", "[Errno 22] Invalid argument: 'avcodec_send_frame()' returned 22")
        if film.frames.width % 2 or film.frames.height % 2:
            raise NodeError(
                "av.error.ExternalError", "[Errno 542398533] Generic error: 'avcodec_open2(\"libx264\", {})'"
            )
        simulate.form_of(call)
    if call.class_type in ("SaveImage", "PreviewImage", "SaveWEBM"):
        simulate.need(call["images"], media.Frames)


def _shown(node: Graph) -> Graph:
    return {k: [f"tensor([[[0.1, 0.2]]]) {v}"] for k, v in node["inputs"].items()}


def spoiled(film: Film, tags: dict[str, str], what: str) -> bytes:
    """Given a film, return it as mp4, bad in the way named (nothing: good)."""
    frames, fps, sound = film.frames, film.fps, film.sound
    match what:
        case "frames":
            frames = frames.cut(0, max(frames.count - 8, 1))
        case "size":
            frames = frames.sized(max(frames.width - 32, 2), max(frames.height - 32, 2))
        case "rate":
            fps = Fraction(fps + 5)
        case "no_audio":
            sound = None
        case "short_audio" if sound:
            sound = replace(sound, samples=sound.samples // 2)
        case "frozen" | "black":
            still = frames.runs[0]
            shown = replace(still, count=1) if what == "frozen" else media.Run(still.colour, -1, 1)
            frames = replace(frames, runs=(shown,) * frames.count)
        case "silent" | "clipped" if sound:
            sound = replace(sound, level=0.0 if what == "silent" else 4.0)
        case "empty":
            return b""
        case "not_video":
            return b"<html><body>502 Bad Gateway</body></html>\n"
    try:
        data = media.mp4(frames, fps, sound, tags)
    except av.error.FFmpegError as exc:
        raise NodeError(f"av.error.{type(exc).__name__}", str(exc)) from exc
    if what == "truncated":
        return data[: len(data) // 2]
    if what == "hole":
        return data[: len(data) // 3] + bytes(len(data) // 10) + data[len(data) // 3 + len(data) // 10 :]
    return data
