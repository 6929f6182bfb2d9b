"""Our fake answers as the real server does: each question is put to both. Where it lies, other tests prove nothing.

The fake is made as the version that the real server reports. Where that version is not recorded, the fake is the
nearest one that is, and a failure says so: it may be a change in ComfyUI rather than a fault of the fake.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from fakes.comfyui import FakeComfy, nearest
from fakes.record_nodes import PROSE
from harness.live import Live
from websockets.asyncio.client import connect

from ltxflow.comfy.signatures import versions

pytestmark = pytest.mark.live

COLOR = itertools.count(int(time.time() * 1000) % (1 << 23))  # that nobody rendered before
UPLOAD = f"u{uuid.uuid4().hex[:12]}"
PATIENCE_S = 60.0
NOBODYS = "00000000-0000-4000-8000-000000000000"
# What differs from server to server, and from run to run.
BETWEEN = (
    (r'"timestamp": \d+', '"timestamp": 0'),
    (r'"(create_time|execution_start_time|execution_end_time)": \d+', r'"\1": 0'),
    (r'"(number|priority)": -?[\d.]+', r'"\1": 0'),
    (r'\[-?\d+\.?\d*, "ID"', '[0, "ID"'),
    (r"_\d{5}_\.", "_00000_."),
    (r'"color": \d+', '"color": 0'),
    (r"(full_output_folder|output_dir|commonpath): [^\\]*", r"\1: …"),
)
UNTOLD = ("traceback", "current_inputs", "sid", *PROSE)
UNORDERED = ("current_outputs", "executed", "nodes")  # sets, there


def image(prefix: str = "ltxflow-live/fake", **inputs: Any) -> dict[str, Any]:
    size = {"width": 64, "height": 48, "batch_size": 1, "color": next(COLOR)}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, **inputs}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def changed(node: str, **values: Any) -> dict[str, Any]:
    """The prompt with something wrong in a node; an input that is None is not given."""
    graph = image()
    graph[node]["class_type"] = values.pop("class_type", graph[node]["class_type"])
    inputs = {**graph[node]["inputs"], **values}
    graph[node]["inputs"] = {name: value for name, value in inputs.items() if value is not None}
    return graph


def half_wrong() -> dict[str, Any]:
    return {**image(), "3": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}


class Server:
    """One of the two, asked without our client: what counts is every word."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=60, trust_env=False)

    def ask(self, method: str, path: str, **request: Any) -> Any:
        response = self.http.request(method, path, **request)
        try:
            return [response.status_code, response.json()]
        except ValueError:
            return [response.status_code, response.text]

    def post(self, graph: dict[str, Any], id: str | None = None, **more: Any) -> Any:
        body = {"prompt": graph, "prompt_id": id or str(uuid.uuid4()), "client_id": "c", **more}
        return self.ask("POST", "/prompt", json=body)

    def ended(self, graph: dict[str, Any]) -> str:
        id = str(uuid.uuid4())
        self.post(graph, id)
        until = time.monotonic() + PATIENCE_S
        while not self.ask("GET", f"/history/{id}")[1]:
            assert time.monotonic() < until
            time.sleep(0.02)
        return id

    def upload(self, name: str, data: bytes = b"one", **fields: str) -> Any:
        return self.ask("POST", "/upload/image", files={"image": (name, data)}, data=fields)


def same(told: Any, *ids: str) -> Any:
    """What was told, without what no two servers have in common."""
    text = json.dumps(_without(told), sort_keys=True)
    for id in ids:
        text = text.replace(id, "ID")
    for pattern, put in BETWEEN:
        text = re.sub(pattern, put, text)
    return json.loads(text)


def _without(told: Any, name: str = "") -> Any:
    if isinstance(told, dict):
        return {key: _without(value, key) for key, value in told.items() if key not in UNTOLD}
    if name == "details" and isinstance(told, str):
        return sorted(told.split("\n"))  # of a set of inputs, there
    if not isinstance(told, list):
        return told
    if name == "errors":
        return sorted((_without(value) for value in told), key=json.dumps)
    return sorted(told) if name in UNORDERED else [_without(value) for value in told]


class Pair(NamedTuple):
    """The real server, and the fake as its version."""

    real: Server
    fake: Server
    version: str

    def compare(self, real: Any, fake: Any) -> None:
        about = "" if self.version in versions() else f"; the fake is the nearest recorded one, {nearest(self.version)}"
        assert fake == real, f"the real server is ComfyUI {self.version}{about}"


@pytest.fixture(scope="module")
def both(live: Live) -> Iterator[Pair]:
    real = Server(live.url)
    version = real.ask("GET", "/system_stats")[1]["system"]["comfyui_version"]
    with FakeComfy(version=version) as fake:
        yield Pair(real, Server(fake.url), version)


def film(**inputs: Any) -> dict[str, Any]:
    """A prompt that saves a video; an input that is None is not given."""
    save = {"video": ["2", 0], "filename_prefix": "ltxflow-live/film", "format": "mp4", "codec": "h264", **inputs}
    size = {"width": 64, "height": 48, "batch_size": 2, "color": next(COLOR)}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 25.0}},
        "3": {
            "class_type": "SaveVideo",
            "inputs": {name: value for name, value in save.items() if value is not None},
        },
    }


def via(class_type: str, **inputs: Any) -> dict[str, Any]:
    """The prompt with a node between the picture and its file, whose names may be nested: `resize_type__width`."""
    graph = image()
    named = {name.replace("__", "."): value for name, value in inputs.items()}
    graph["5"] = {"class_type": class_type, "inputs": named}
    graph["2"]["inputs"]["images"] = ["5", 0]
    return graph


def math(**inputs: Any) -> dict[str, Any]:
    """The prompt with a computed width."""
    graph = changed("1", width=["5", 1])
    named = {name.replace("__", "."): value for name, value in inputs.items()}
    graph["5"] = {"class_type": "ComfyMathExpression", "inputs": {"expression": "a * 2", **named}}
    return graph


REFUSED: dict[str, Callable[[], dict[str, Any]]] = {
    "a node that it lacks": lambda: changed("1", class_type="NoSuchNode"),
    "an input that lacks": lambda: changed("1", width=None),
    "a number that is too small": lambda: changed("1", width=0),
    "a text for a number": lambda: changed("1", width="abc"),
    "a link to nothing": lambda: changed("2", images=["9", 0]),
    "a slot that is not there": lambda: changed("2", images=["1", 5]),
    "a link of another kind": lambda: {
        **image(),
        "1": {"class_type": "EmptyAudio", "inputs": {"duration": 1.0, "sample_rate": 44100, "channels": 2}},
    },
    "no output": lambda: {"1": image()["1"]},
    "nothing": dict,
    "a number that is too large": lambda: changed("1", width=1 << 20),
    "a number as a text that is too small": lambda: changed("1", width="0"),
    "a mapping for a number": lambda: changed("1", width={"a": 1}),
    "a link that is a number": lambda: changed("2", images=[1, 0]),
    "a link of one part": lambda: changed("2", images=["1"]),
    "a slot that is a text": lambda: changed("2", images=["1", "0"]),
    "a nested input that lacks": lambda: via(
        "ResizeImageMaskNode", input=["1", 0], resize_type="scale longer dimension", scale_method="area"
    ),
    "a nested number that is too small": lambda: via(
        "ResizeImageMaskNode",
        input=["1", 0],
        resize_type="scale longer dimension",
        resize_type__longer_size=-1,
        scale_method="area",
    ),
    "a growing input that lacks": math,
    "a growing input of another type": lambda: math(values__a=["1", 0]),
    "a ring": lambda: via("ImageInvert", image=["5", 0]),
    "a file that is not there": lambda: {
        **image(),
        "1": {"class_type": "LoadImage", "inputs": {"image": "no-such-file.png"}},
    },
}

# What at least one version takes: none of it may be an error of ours there.
ODD: dict[str, Callable[[], dict[str, Any]]] = {
    "inputs that no class declares": lambda: changed("2", more="x", lora_1={"on": True}),
    "a link that no class declares": lambda: changed("2", other=["1", 0]),  # taken, and then it fails
    "a number as a text": lambda: changed("1", width="64"),
    "a number with a fraction": lambda: changed("1", width=64.7),
    "a node that no output reaches": lambda: {
        **image(),
        "7": {"class_type": "EmptyImage", "inputs": {"width": 0, "color": ["99", 0]}},
        "8": {"class_type": "ImageInvert", "inputs": {}},
    },
    "a slot counted from the end": lambda: changed("2", images=["1", -1]),
    "both spellings": lambda: film(format__codec="h264"),
    "a nested codec": lambda: film(codec=None, **{"format.codec": "h264"}),
    "no codec": lambda: film(codec=None),
    "another container": lambda: film(format="mkv"),
    "a wrapped list": lambda: changed("1", more={"__value__": [1, 2, 3]}),
    "a nested choice": lambda: via(
        "ResizeImageMaskNode",
        input=["1", 0],
        resize_type="scale longer dimension",
        resize_type__longer_size=32,
        scale_method="area",
    ),
    "a growing input": lambda: math(values__a=32),
    "a choice that is not offered": lambda: film(codec="h265"),
    "a rate that is a text": lambda: {
        **image(),
        "7": {"class_type": "PreviewAny", "inputs": {"source": ["8", 0]}},
        "8": {
            "class_type": "LTXVEmptyLatentAudio",
            "inputs": {"frames_number": 9, "frame_rate": "x", "batch_size": 1, "audio_vae": ["1", 0]},
        },
    },
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_wrong_prompt(both: Pair, what: str) -> None:
    graph = REFUSED[what]()
    real, fake = (same(server.post(graph)) for server in both[:2])
    assert real[0] == 400
    both.compare(real, fake)


@pytest.mark.parametrize("what", ODD)
def test_an_odd_prompt(both: Pair, what: str) -> None:
    """It is taken or refused by both, and both list the same files.

    (Not tried: a node without `inputs`. The server takes it, and its worker ends for good.)
    """
    graph, told = ODD[what](), []
    for server in both[:2]:
        id = str(uuid.uuid4())
        answer = server.post(graph, id)
        if answer[0] == 200:
            until = time.monotonic() + PATIENCE_S
            while not (entry := server.ask("GET", f"/history/{id}")[1]):
                assert time.monotonic() < until
                time.sleep(0.02)
            answer.append([entry[id]["status"]["status_str"], entry[id]["outputs"]])
        told.append(same(answer, id))
    both.compare(*told)


@pytest.mark.parametrize(
    "body", [b"{", b"{}", json.dumps({"prompt": image(), "prompt_id": "X"}).encode()], ids=["cut", "empty", "id"]
)
def test_a_wrong_body(both: Pair, body: bytes) -> None:
    real, fake = (server.ask("POST", "/prompt", content=body) for server in both[:2])
    both.compare(real, fake)


def test_a_prompt_that_is_wrong_in_part(both: Pair) -> None:
    id = str(uuid.uuid4())
    real, fake = (same(server.post(half_wrong(), id), id) for server in both[:2])
    both.compare(real, fake)


@pytest.mark.parametrize("prefix", ["ltxflow-live/fake", "../outside"], ids=["made", "failed"])
@pytest.mark.parametrize("path", ["/history/{id}", "/api/jobs/{id}"])
def test_how_a_prompt_ended(both: Pair, path: str, prefix: str) -> None:
    told = []
    for server in both[:2]:
        id = server.ended(image(prefix))
        told.append(same(server.ask("GET", path.format(id=id)), id))
        assert server.ask("POST", f"/api/jobs/{id}/cancel") == [200, {"cancelled": False}]
    both.compare(told[0], told[1])


QUESTIONS = (
    *("/history/" + NOBODYS, "/api/jobs/" + NOBODYS, "/api/jobs/x", "/jobs", "/models/no-such", "/object_info/NoSuch"),
    *("/api/jobs?status=bogus", "/api/jobs?limit=x", "/api/jobs?limit=0", "/features"),
    *("/view", "/view?filename=none.png", "/view?filename=../x", "/view?filename=x&type=bogus"),
)


@pytest.mark.parametrize("path", QUESTIONS)
def test_a_question(both: Pair, path: str) -> None:
    real, fake = (server.ask("GET", path) for server in both[:2])
    both.compare(real, fake)


ORDERS = (
    ("/queue", {"delete": [NOBODYS]}),
    ("/interrupt", {"prompt_id": NOBODYS}),
    ("/free", {"unload_models": False}),
    (f"/api/jobs/{NOBODYS}/cancel", {}),
    ("/api/jobs/cancel", {"job_ids": [NOBODYS]}),
    ("/api/jobs/cancel", {"job_ids": ["x"]}),
)


@pytest.mark.parametrize(("path", "body"), ORDERS, ids=[path for path, _ in ORDERS])
def test_an_order(both: Pair, path: str, body: dict[str, Any]) -> None:
    real, fake = (server.ask("POST", path, json=body) for server in both[:2])
    both.compare(real, fake)


def test_uploads(both: Pair) -> None:
    def told(server: Server) -> list[Any]:
        into = {"subfolder": "ltxflow-live", "type": "input"}
        return [
            server.upload(f"{UPLOAD}.png", **into),
            server.upload(f"{UPLOAD}.png", **into),
            server.upload(f"{UPLOAD}.png", b"two", **into),
            server.upload(UPLOAD, **into),
            server.upload(f"../{UPLOAD}.png", **into),
            server.upload(f"{UPLOAD}.png", subfolder="../.."),
            server.upload(f"{UPLOAD}.png", type="bogus"),
        ]

    real, fake = (told(server) for server in both[:2])
    both.compare(real, fake)


async def frames(server: Server, graphs: list[dict[str, Any]]) -> list[Any]:
    """All that the socket tells of prompts that are submitted one after the other."""
    client, heard = str(uuid.uuid4()), []
    ids = [str(uuid.uuid4()) for _ in graphs]
    async with connect(f"ws{server.url[4:]}/ws?clientId={client}", max_size=None, proxy=None) as socket:
        for id, graph in zip(ids, graphs, strict=True):
            await asyncio.to_thread(server.post, graph, id, client_id=client)
            while not heard or heard[-1] != {"type": "executing", "data": {"node": None, "prompt_id": id}}:
                async with asyncio.timeout(PATIENCE_S):
                    heard.append(json.loads(await socket.recv()))
    return [same(frame, *ids) for frame in heard if frame["type"] != "status"]


@pytest.mark.parametrize("what", ["made", "cached", "failed"])
def test_what_the_socket_tells(both: Pair, what: str) -> None:
    graph = image("../outside" if what == "failed" else "ltxflow-live/fake")
    real, fake = (asyncio.run(frames(server, [graph, graph] if what == "cached" else [graph])) for server in both[:2])
    both.compare(real, fake)
