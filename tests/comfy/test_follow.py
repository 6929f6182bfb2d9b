"""Promises of comfy/progress.py: HTTP decides how a prompt ended, and the socket only speeds it up."""

from __future__ import annotations

import asyncio

import pytest
from fakes.clients import (
    FAST,
    ID,
    NEVER,
    film,
    on,
)
from fakes.comfyui import FakeComfy

from ltxflow.comfy.client import Client
from ltxflow.comfy.progress import follow
from ltxflow.comfy.websocket import Finished, Progress


def test_a_finish_on_the_socket_is_enough_to_look_at_once(server: FakeComfy) -> None:
    server.hold()

    @on(server)
    async def _(client: Client) -> None:
        await client.socket.open()
        await client.submit(film(), ID)
        following = asyncio.create_task(follow(client, ID, poll=NEVER))
        await asyncio.to_thread(server.wait, lambda s: s["requests"].get("GET /api/jobs/{id}", 0) == 1)
        server.go()
        assert (await following).kind == "done"


def test_following_asks_for_the_one_job_and_nothing_else(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        await client.socket.open()
        await client.submit(film(), ID)
        await follow(client, ID, poll=FAST)

    asked = {name.split(" ")[1] for name in server.stats()["requests"]}
    assert asked == {"/prompt", "/api/jobs/{id}", "/ws"}


def test_an_old_servers_whole_queue_is_read_only_now_and_then() -> None:
    with FakeComfy(version="0.3.64") as server:
        server.hold()

        @on(server)
        async def _(client: Client) -> None:
            await client.submit(film(), ID)
            following = asyncio.create_task(follow(client, ID, poll=(0.001,)))
            await asyncio.to_thread(server.wait, lambda s: s["requests"].get("GET /history/{id}", 0) > 30)
            server.go()
            state = await following
            assert state.kind == "done"
            assert len(state.outputs) == 1

        requests = server.stats()["requests"]
        assert requests["GET /api/jobs/{id}"] == 1
        assert requests["GET /queue"] * 4 < requests["GET /history/{id}"]
        assert "GET /history" not in requests


@pytest.mark.parametrize("version", ["0.27.0", "0.3.64"])
def test_a_late_history_is_waited_for(version: str) -> None:
    with FakeComfy(version=version) as server:
        server.misbehave.history_late(0.3)

        @on(server)
        async def _(client: Client) -> None:
            await client.socket.open()
            await client.submit(film(), ID)
            state = await follow(client, ID, poll=FAST)
            assert state.kind == "done"
            assert state.outputs


@pytest.mark.parametrize("fault", ["silent_socket", "no_websocket"])
def test_without_a_word_from_the_socket_polling_still_ends_it(server: FakeComfy, fault: str) -> None:
    server.misbehave.apply(fault)

    @on(server)
    async def _(client: Client) -> None:
        await client.socket.open()
        await client.submit(film(), ID)
        assert (await follow(client, ID, poll=FAST)).kind == "done"


def test_a_new_prompt_is_watched_before_it_is_requested(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        await client.socket.open()
        server.hold()
        await client.submit(film(), ID)
        following = asyncio.create_task(follow(client, ID, poll=NEVER, is_new=True))
        await asyncio.sleep(0)
        server.go()
        assert (await following).kind == "done"
        assert server.stats()["requests"]["GET /api/jobs/{id}"] == 1  # once the socket reported its end


def test_an_end_that_came_before_anybody_followed_is_not_waited_for(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        await client.socket.open()
        watching = aiter(client.socket.watch(ID))
        await client.submit(film(), ID)
        while not isinstance(await anext(watching), Finished):
            pass
        assert (await follow(client, ID, poll=NEVER, is_new=True)).kind == "done"


def test_an_error_of_the_callback_is_not_swallowed(server: FakeComfy) -> None:
    def broken(event: Progress) -> None:
        raise ZeroDivisionError

    @on(server)
    async def _(client: Client) -> None:
        await client.socket.open()
        await client.submit(film(), ID)
        with pytest.raises(ZeroDivisionError):
            await follow(client, ID, broken, poll=NEVER)
