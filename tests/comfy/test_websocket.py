"""Promises of comfy/websocket.py: one socket, and each watcher receives the events of its prompts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fakes.clients import (
    ID,
    NEVER,
    client_of,
    film,
    on,
    run,
)
from fakes.comfyui import FakeComfy

from ltxflow.comfy.client import Client, prompt_id_for
from ltxflow.comfy.discovery import Server
from ltxflow.comfy.progress import follow
from ltxflow.comfy.websocket import NodeDone, NodeRunning, Progress, QueueChanged


def test_one_socket_serves_all_and_a_new_one_has_a_new_id(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        events = client.socket.watch()
        assert isinstance(await anext(events), QueueChanged)
        first = client.socket.client_id
        assert await client.socket.open() == first
        await asyncio.to_thread(server.restart)
        assert isinstance(await anext(events), QueueChanged)  # the new socket's greeting
        assert client.socket.client_id != first
        await client.submit(film(), ID)
        assert (await follow(client, ID, poll=NEVER)).kind == "done"
        await events.aclose()

    sockets = server.stats()["sockets"]
    assert (sockets["opened"], sockets["most"]) == (2, 1)


def test_each_watcher_receives_the_events_of_its_prompts(server: FakeComfy) -> None:
    server.hold()

    @on(server)
    async def _(client: Client) -> None:
        other = prompt_id_for("b", 1)
        await client.socket.open()
        received: dict[str, list[Progress]] = {ID: [], other: []}
        for n, prompt_id in enumerate(received):
            await client.submit(film(n), prompt_id)
        following = [
            asyncio.create_task(follow(client, prompt_id, events.append, poll=NEVER))
            for prompt_id, events in received.items()
        ]
        await asyncio.to_thread(server.wait, lambda s: s["requests"].get("GET /api/jobs/{id}", 0) == 2)
        server.go()
        assert [(await f).kind for f in following] == ["done", "done"]
        for prompt_id, events in received.items():
            assert events
            assert {e.prompt_id for e in events} == {prompt_id}


def test_frames_that_repeat_the_whole_state_are_read_now_and_then() -> None:
    node = {"1": {"value": 1.0, "max": 1.0, "state": "finished"}}
    again = json.dumps({"type": "progress_state", "data": {"prompt_id": ID, "nodes": node}})
    other = json.dumps({"type": "executing", "data": {"prompt_id": ID, "node": "2"}})

    async def test() -> None:
        async with Client(Server("http://127.0.0.1:1")) as client:
            with client.socket.watching(()) as watcher:
                for frame in (again, again, other, again, other):
                    client.socket.receive(frame)
                events = [watcher.queue.get_nowait() for _ in range(watcher.queue.qsize())]
        assert events == [NodeDone(ID, "1"), NodeRunning(ID, "2"), NodeRunning(ID, "2")]

    run(test)


def test_watching_ends_when_the_client_closes(server: FakeComfy) -> None:
    async def test() -> None:
        async with client_of(server) as client:
            watching = asyncio.create_task(_all(client.socket.watch(ID)))
            await client.socket.open()
        assert await watching == []

    async def _all(events: AsyncIterator[Progress]) -> list[Progress]:
        return [e async for e in events]

    run(test)
