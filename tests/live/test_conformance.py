"""What our client relies on, asked of a real ComfyUI. Needs no model and a few seconds."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fakes import media
from fakes.contexts import context
from harness.live import Live, new_id
from harness.media import canned

from ltxflow.comfy.client import Client
from ltxflow.comfy.progress import follow
from ltxflow.comfy.replies import JobState
from ltxflow.comfy.signatures import Signatures
from ltxflow.comfy.websocket import Finished, NodeRunning, Progress, Started
from ltxflow.core.errors import LtxflowError
from ltxflow.farm.transfer import with_nonce
from ltxflow.media.audio import measure_sound
from ltxflow.media.video import VideoPart, prepare_video, probe_video
from ltxflow.workflow.render import render
from ltxflow.workflow.template import read_templates

pytestmark = pytest.mark.live

POLL_S = (0.05, 0.1, 0.2)
COUNTER = itertools.count(int(time.time() * 1000) % (1 << 23))  # colours that nobody rendered before


def small(prefix: str = "ltxflow-live/one", color: int | None = None) -> dict[str, Any]:
    """A prompt of two nodes that takes no time."""
    color = next(COUNTER) if color is None else color
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 48, "batch_size": 1, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def slow(steps: int = 12) -> dict[str, Any]:
    """A prompt that takes seconds on any processor: one large picture after the other, resampled."""
    graph = small()
    graph["1"]["inputs"]["batch_size"] = 4
    source = "1"
    for step in range(steps):
        side = 1600 + 16 * step
        inputs = {"image": [source, 0], "upscale_method": "lanczos", "width": side, "height": side, "crop": "disabled"}
        source = str(10 + step)
        graph[source] = {"class_type": "ImageScale", "inputs": inputs}
    graph["3"] = {"class_type": "ImageScale", "inputs": {**inputs, "image": [source, 0], "width": 64, "height": 64}}
    graph["2"]["inputs"]["images"] = ["3", 0]
    return graph


async def made(client: Client, graph: dict[str, Any]) -> JobState:
    submitted = await client.submit(graph, new_id())
    return await follow(client, submitted.prompt_id, poll=POLL_S)


async def until(client: Client, prompt_id: str, *kinds: str, seconds: float = 60) -> JobState:
    """Wait until a prompt stands like this."""
    async with asyncio.timeout(seconds):
        while (state := await client.state(prompt_id)).kind not in kinds:
            await asyncio.sleep(0.05)
    return state


def refused(live: Live, question: Callable[[Client], Awaitable[Any]]) -> str:
    with pytest.raises(LtxflowError) as caught:
        live.ask(question)
    assert not caught.value.transient
    return str(caught.value)


# --- the server


def test_it_tells_what_it_is(live: Live) -> None:
    stats = live.ask(lambda client: client.system_stats())
    assert stats.version
    assert stats.devices


def test_it_has_every_node_that_our_templates_use(live: Live) -> None:
    signatures = Signatures.from_object_info(live.ask(lambda client: client.object_info()))
    templates, qualities = read_templates("ltx2-19b", None), ("distilled", "full")
    told = [
        (t, context(name, quality, temporal_upscale=True)) for name, t in templates.items() for quality in qualities
    ]
    used = {node["class_type"] for template, each in told for node in render(template, each).values()}
    assert len(used) > 30
    assert sorted(name for name in used if name not in signatures.classes) == []


def test_a_node_is_asked_for_by_its_class(live: Live) -> None:
    assert live.ask(lambda client: client.object_info_class("SaveVideo"))
    assert live.ask(lambda client: client.object_info_class("NoSuchNode")) is None


def test_models_are_listed_by_folder(live: Live) -> None:
    assert isinstance(live.ask(lambda client: client.models("checkpoints")), tuple)
    assert live.ask(lambda client: client.models("no-such-folder")) == ()


# --- prompts


def test_a_prompt_runs_to_its_files(live: Live, into: Path) -> None:
    async def work(client: Client) -> None:
        state = await made(client, small())
        assert state.kind == "done"
        (file,) = state.outputs
        assert (file.node, file.type, file.subfolder, file.media) == ("2", "output", "ltxflow-live", "images")
        digest = await client.files.download(file, into, 1 << 20)
        assert hashlib.sha256(into.read_bytes()).hexdigest() == digest
        assert into.read_bytes().startswith(b"\x89PNG")
        assert state.timings.ran_s is not None

    live.ask(work)


def test_a_prompt_that_is_cached_as_a_whole_still_lists_its_files(live: Live) -> None:
    async def work(client: Client) -> None:
        for _ in range(5):
            graph = small()
            ids = [(await client.submit(graph, new_id())).prompt_id for _ in range(2)]
            first, again = [await follow(client, id, poll=POLL_S) for id in ids]
            assert first.kind == again.kind == "done"
            assert again.outputs != ()
            if set(again.cached_nodes) == set(graph):  # else another prompt came between: the cache is of the last one
                assert first.outputs == again.outputs
                return
        pytest.skip("others use the server, and its cache is of the last prompt")

    live.ask(work)


def test_with_a_nonce_every_node_runs_again(live: Live) -> None:
    """What `build --force` rests on: an input that no node declares is dropped, and is part of the cache's key."""

    async def work(client: Client) -> None:
        graph = small()
        first = await made(client, graph)
        again = await made(client, with_nonce(graph, uuid.uuid4().hex))
        assert first.kind == again.kind == "done"
        assert again.cached_nodes == ()
        assert again.outputs != ()

    live.ask(work)


def test_a_video_that_we_made_to_fit_is_read_frame_by_frame_with_its_sound(live: Live, tmp_path: Path) -> None:
    source, part = tmp_path / "source.mp4", tmp_path / "part.mov"
    source.write_bytes(canned(60, (96, 64), 30, "a camera's"))
    wanted = VideoPart("last", 9, 24, (128, 64), (16, 0, 96, 64), has_sound=True)
    prepare_video(source, part, wanted, probe_video(source))
    name = f"{hashlib.sha256(part.read_bytes()).hexdigest()[:32]}.mov"

    async def work(client: Client) -> None:
        graph = {
            "1": {"class_type": "LoadVideo", "inputs": {"file": await client.files.upload(name, part)}},
            "2": {"class_type": "GetVideoComponents", "inputs": {"video": ["1", 0]}},
            "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "ltxflow-live/part"}},
            "4": {"class_type": "SaveAudio", "inputs": {"audio": ["2", 1], "filename_prefix": "ltxflow-live/part"}},
        }
        state = await made(client, with_nonce(graph, uuid.uuid4().hex))
        assert state.kind == "done", state.error
        assert sum(file.node == "3" for file in state.outputs) == 9
        (sound,) = [file for file in state.outputs if file.node == "4"]
        await client.files.download(sound, tmp_path / "part.flac", 1 << 20)
        assert measure_sound(tmp_path / "part.flac").seconds == Fraction(9, 24)

    live.ask(work)


def test_progress_is_told_over_the_socket(live: Live) -> None:
    async def work(client: Client) -> list[Progress]:
        await client.socket.open()
        heard: list[Progress] = []
        submitted = await client.submit(slow(2), new_id())
        state = await follow(client, submitted.prompt_id, heard.append, poll=(60.0,))  # else a look may come first
        assert state.kind == "done"
        return heard

    heard = live.ask(work)
    assert any(isinstance(event, Started) for event in heard)
    assert {event.node for event in heard if isinstance(event, NodeRunning)} >= {"2", "3"}  # the first may be over
    assert isinstance(heard[-1], Finished)


def test_an_id_that_nobody_submitted_is_unknown(live: Live) -> None:
    assert live.ask(lambda client: client.state(new_id())).kind == "unknown"


def test_a_wrong_prompt_is_refused_with_its_reason(live: Live) -> None:
    graph = small()
    graph["1"]["class_type"] = "NoSuchNode"
    assert "NoSuchNode" in refused(live, lambda client: client.submit(graph, new_id()))
    graph = small()
    del graph["1"]["inputs"]["width"]
    assert "width" in refused(live, lambda client: client.submit(graph, new_id()))


def test_of_a_prompt_that_is_wrong_in_part_nothing_stays(live: Live) -> None:
    graph = small() | {"5": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ltxflow-live/none"}}}
    id = new_id()
    assert "images" in refused(live, lambda client: client.submit(graph, id))
    assert live.ask(lambda client: until(client, id, "unknown", "cancelled", "done")).kind != "running"


def test_a_prompt_that_fails_says_where(live: Live) -> None:
    graph = small("../outside")
    state = live.ask(lambda client: made(client, graph))
    assert state.kind == "failed"
    assert state.error is not None
    assert (state.error.node, state.error.node_type) == ("2", "SaveImage")


def test_running_prompts_are_cancelled_and_waiting_ones_withdrawn(live: Live) -> None:
    async def work(client: Client) -> None:
        running, waiting, other = new_id(), new_id(), new_id()
        await client.submit(slow(), running)
        await client.submit(slow(), waiting)
        await client.submit(small(), other)
        assert await client.queue_remaining() >= 2
        entries = {entry.prompt_id: entry for entry in await client.queue([running, waiting])}
        assert not entries[running].is_foreign
        assert entries[other].is_foreign
        assert await client.withdraw(waiting)
        await until(client, running, "running", seconds=600)
        assert not await client.withdraw(running)
        assert await client.cancel(running)
        assert (await until(client, running, "cancelled")).is_over
        assert (await client.state(waiting)).kind == "unknown"
        assert (await until(client, other, "done", seconds=600)).outputs
        assert not await client.cancel(running)

    live.ask(work)


# --- files


def test_what_is_uploaded_can_be_read_under_the_name_that_comes_back(live: Live) -> None:
    data = media.png(media.one_colour((next(COUNTER) % 250, 99), 64, 48, 1), {"live": uuid.uuid4().hex})
    name = f"{hashlib.sha256(data).hexdigest()[:32]}.png"

    async def work(client: Client) -> None:
        first = await client.files.upload(name, data)
        assert first == f"ltxflow/{name}"
        assert await client.files.upload(name, data, again=True) == first
        graph = small()
        graph["1"] = {"class_type": "LoadImage", "inputs": {"image": first}}
        assert (await made(client, graph)).kind == "done"

    live.ask(work)


def test_another_file_of_the_same_name_replaces_none(live: Live) -> None:
    name = f"{uuid.uuid4().hex}.txt"

    async def work(client: Client) -> None:
        assert await client.files.upload(name, b"one") == f"ltxflow/{name}"
        assert await client.files.upload(name, b"two", again=True) != f"ltxflow/{name}"

    live.ask(work)


def test_a_file_that_is_gone_is_told_apart(live: Live, into: Path) -> None:
    async def work(client: Client) -> None:
        (file,) = (await made(client, small())).outputs
        lost = file.__class__(file.node, f"no-{file.filename}", file.subfolder, file.type, file.media)
        await client.files.download(lost, into, 1 << 20)

    with pytest.raises(LtxflowError) as caught:
        live.ask(work)
    assert caught.value.problems[0].code == "C013"
    assert not into.exists()
