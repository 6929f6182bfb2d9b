"""Promises of comfy/client.py: prompts are submitted, found and cancelled; a server describes itself."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from fakes.clients import (
    FAST,
    ID,
    MIB,
    NEVER,
    client_of,
    fails,
    film,
    free_port,
    half_wrong,
    on,
    reply,
    run,
    speaking,
)
from fakes.comfyui import FakeComfy
from fakes.misbehave import HOSTILE_NAMES

from ltxflow.comfy.client import Client, probe, prompt_id_for
from ltxflow.comfy.discovery import Server, ServerAddress
from ltxflow.comfy.progress import follow
from ltxflow.comfy.replies import JobState, is_oom
from ltxflow.comfy.websocket import Failed, Finished, NodeDone, NodeRunning, Progress, Started
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError

# Ids


def test_a_prompts_id_is_that_of_its_key_and_attempt_for_ever() -> None:
    assert prompt_id_for("a" * 64, 1) == "d814800a-64c9-50e9-bad2-dd1b7fa0557e"
    assert len({prompt_id_for(key, attempt) for key in ("a", "b") for attempt in (1, 2)}) == 4


# Prompts


def test_a_film_is_submitted_followed_and_fetched(server: FakeComfy, tmp_path: Path) -> None:
    @on(server)
    async def _(client: Client) -> None:
        events: list[Progress] = []
        await client.socket.open()
        server.hold()
        submitted = await client.submit(film(), ID)
        assert (submitted.prompt_id, submitted.client_id) == (ID, client.socket.client_id)
        following = asyncio.create_task(follow(client, ID, events.append, poll=NEVER))
        await asyncio.to_thread(server.wait, lambda s: s["requests"].get("GET /api/jobs/{id}", 0) == 1)
        server.go()
        state = await following
        assert state.kind == "done"
        (output,) = state.outputs
        assert (output.node, output.subfolder, output.media) == ("3", "ltxflow/hook", "images")
        counts: list[tuple[int, int | None]] = []
        digest = await client.files.download(output, tmp_path / "b.mp4", 10 * MIB, lambda *n: counts.append(n))
        data = (tmp_path / "b.mp4").read_bytes()
        assert digest == hashlib.sha256(data).hexdigest()
        assert data == (server.folders["output"] / output.subfolder / output.filename).read_bytes()
        assert counts[-1] == (len(data), len(data))
        assert Started(ID) in events
        assert NodeRunning(ID, "1") in events
        assert NodeDone(ID, "3") in events
        assert state.timings.ran_s is not None


def test_a_refused_graph_is_permanent_and_names_the_servers_reasons(server: FakeComfy) -> None:
    graph = film()
    del graph["3"]["inputs"]["video"]

    @on(server)
    async def _(client: Client) -> None:
        error = await fails(client.submit(graph, ID), transient=False)
        assert [p.message for p in error.problems] == [
            'bench: submitting the prompt: SaveVideo "3": required input is missing: video'
        ]
        assert error.exit_code == FAILED

    assert not server.stats()["accepted"]


@pytest.mark.parametrize("version", ["0.27.0", "0.14.1", "0.3.64"])
def test_a_graph_taken_without_a_part_of_it_is_cancelled_and_an_error(version: str) -> None:
    with FakeComfy(version=version) as server:
        server.hold()

        @on(server)
        async def _(client: Client) -> None:
            error = await fails(client.submit(half_wrong(), ID), transient=False)
            assert 'SaveVideo "9": required input is missing: video' in str(error)
            assert (await client.state(ID)).kind in ("unknown", "cancelled")
            server.go()

        stats = server.wait(lambda s: not s["pending"] and s["running"] is None)
        assert stats["accepted"] == {ID: 1}
        assert not any(p["completions"] for p in stats["prompts"].values())


def test_a_missing_node_class_is_named(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        graph = {**film(), "7": {"class_type": "Nope", "inputs": {}}}
        error = await fails(client.submit(graph, ID), transient=False)
        assert "not found" in str(error)
        assert "install the node" in error.problems[0].hint


def test_after_a_lost_reply_the_prompt_is_found_by_its_id(server: FakeComfy) -> None:
    server.misbehave.lose_reply()

    @on(server)
    async def _(client: Client) -> None:
        error = await fails(client.submit(film(), ID), transient=True)
        assert "broke off" in str(error)
        assert (await client.state(ID)).kind != "unknown"
        assert (await follow(client, ID, poll=FAST)).kind == "done"

    assert server.stats()["accepted"] == {ID: 1}


def test_a_new_client_takes_up_what_an_earlier_one_submitted(server: FakeComfy) -> None:
    server.hold()

    async def test() -> None:
        async with client_of(server) as first:
            used = await first.socket.open()
            await first.submit(film(), ID)
        await asyncio.to_thread(server.wait, lambda s: s["sockets"]["open"] == 0)
        events: list[Progress] = []
        async with client_of(server, client_id=used) as second:
            assert await second.socket.open() == used
            assert (await second.state(ID)).kind in ("queued", "running")
            following = asyncio.create_task(follow(second, ID, events.append, poll=NEVER))
            await asyncio.to_thread(server.wait, lambda s: s["requests"].get("GET /api/jobs/{id}", 0) == 2)
            server.go()
            assert (await following).kind == "done"
        assert Finished(ID) in events

    run(test)
    assert server.stats()["accepted"] == {ID: 1}


def test_a_cached_film_is_listed_again(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        again = prompt_id_for("a" * 64, 2)
        await client.submit(film(), ID)
        first = await follow(client, ID, poll=FAST)
        await client.submit(film(), again)
        second = await follow(client, again, poll=FAST)
        assert second.outputs == first.outputs
        assert set(second.cached_nodes) == {"1", "2", "3"}


@pytest.mark.parametrize("version", ["0.27.0", "0.21.0", "0.3.64"])
def test_an_id_that_the_server_does_not_know_is_unknown(version: str) -> None:
    with FakeComfy(version=version) as server:

        @on(server)
        async def _(client: Client) -> None:
            assert await client.state(ID) == JobState("unknown")
            assert await follow(client, ID) == JobState("unknown")
            server.hold()
            await client.submit(film(), ID)
            assert (await client.state(ID)).kind in ("queued", "running")
            await asyncio.to_thread(server.restart)
            assert (await follow(client, ID)).kind == "unknown"
            assert client.has_jobs is (version != "0.3.64")


def test_a_server_that_is_away_is_unreachable_not_ignorant(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        await client.state(ID)
        await asyncio.to_thread(server.stop_listening)
        for asking in (client.state(ID), follow(client, ID), client.submit(film(), ID), client.cancel(ID)):
            error = await fails(asking, transient=True)
            assert error.exit_code == UNREACHABLE
            assert error.problems[0].code == "C018"
            assert "start ComfyUI" in error.problems[0].hint


@pytest.mark.parametrize("version", ["0.27.0", "0.3.64"])
def test_a_proxys_404_does_not_decide_about_the_job(version: str) -> None:
    with FakeComfy(version=version) as server:

        @on(server)
        async def _(client: Client) -> None:
            await client.submit(film(), ID)
            await follow(client, ID, poll=FAST)
            server.misbehave.status(404, times=None)
            with pytest.raises(LtxflowError):
                await client.state(ID)


def test_a_fresh_clients_first_404_from_a_proxy_does_not_decide_about_the_job(server: FakeComfy) -> None:
    server.misbehave.status(404, times=None)

    @on(server)
    async def _(client: Client) -> None:
        await fails(client.state(ID), transient=False)
        server.misbehave.clear()
        await client.state(ID)
        assert client.has_jobs


def test_out_of_memory_is_a_failed_job_with_its_reason(server: FakeComfy) -> None:
    server.misbehave.oom()

    @on(server)
    async def _(client: Client) -> None:
        await client.socket.open()
        with client.socket.watching((ID,)) as watcher:
            await client.submit(film(), ID)
            state = await follow(client, ID)
            assert state.kind == "failed"
            assert state.error is not None
            assert is_oom(state.error)
            assert len(state.error.message) < 600
            while not isinstance(await watcher.queue.get(), Failed):  # HTTP may be faster than the socket
                pass


def test_hostile_names_are_never_outputs(server: FakeComfy) -> None:
    server.misbehave.hostile_names()

    @on(server)
    async def _(client: Client) -> None:
        await client.submit(film(), ID)
        state = await follow(client, ID, poll=FAST)
        assert state.outputs == ()
        assert len(state.refused) == len(HOSTILE_NAMES)


@pytest.mark.parametrize("version", ["0.27.0", "0.21.0", "0.3.64"])
def test_cancelling_stops_ours_waiting_or_running_and_no_others(version: str) -> None:
    with FakeComfy(version=version) as server:
        server.misbehave.stuck()

        @on(server)
        async def _(client: Client) -> None:
            running, waiting = (prompt_id_for("c", n) for n in range(2))
            await client.submit(film(1), running)
            await asyncio.to_thread(server.wait, lambda s: s["running"] == running)
            (foreign,) = await asyncio.to_thread(server.add_foreign)
            await client.submit(film(2), waiting)
            assert await client.cancel(waiting)
            assert await client.cancel(running)
            assert (await follow(client, running, poll=FAST)).kind == "cancelled"
            assert (await follow(client, waiting, poll=FAST)).kind in ("cancelled", "unknown")
            assert (await follow(client, foreign, poll=FAST)).kind == "done"
            assert await client.cancel(running) is False

        outcomes = [(r["foreign"], r["outcome"]) for r in server.stats()["runs"]]
        assert outcomes == [(False, "interrupted"), (True, "success")]


def test_cancelling_an_unknown_prompt_does_nothing(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        assert await client.cancel(ID) is False


def test_a_prompt_that_a_proxy_queued_twice_is_cancelled_whole(server: FakeComfy) -> None:
    server.hold()
    server.misbehave.post_twice()

    @on(server)
    async def _(client: Client) -> None:
        await client.submit(film(), ID)
        await client.cancel(ID)
        server.go()

    stats = server.wait(lambda s: not s["pending"] and s["running"] is None)
    assert stats["accepted"] == {ID: 2}
    assert not any(p["completions"] for p in stats["prompts"].values())


# The server


def test_a_server_describes_itself(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        stats = await client.system_stats()
        assert (stats.version, stats.devices[0].vram_total) == ("0.27.0", 32 << 30)
        assert await client.models("latent_upscale_models") == (
            "ltx-2-spatial-upscaler-x2-1.0.safetensors",
            "ltx-2-temporal-upscaler-x2-1.0.safetensors",
        )
        assert await client.models("no such/folder") == ()
        info = await client.object_info()
        assert await client.object_info_class("SaveVideo") == info["SaveVideo"]
        assert await client.object_info_class("Nope") is None
        await client.free()


@pytest.mark.parametrize("version", ["0.27.0", "0.3.64"])
def test_the_queue_shows_whose_prompts_are_whose(version: str) -> None:
    with FakeComfy(version=version) as server:
        server.hold()

        @on(server)
        async def _(client: Client) -> None:
            assert await client.queue() == ()
            (foreign,) = await asyncio.to_thread(server.add_foreign)
            await client.submit(film(), ID)
            entries = await client.queue(ours={ID})
            assert [(e.prompt_id, e.is_foreign) for e in entries] == [(foreign, True), (ID, False)]
            assert await client.queue_remaining() == 2


# Where


def test_probing_finds_the_first_place_where_comfyui_answers(server: FakeComfy) -> None:
    async def test() -> None:
        async with speaking(lambda _: reply(b'{"status": "ok"}')) as (web_app, _heard):
            dead = ServerAddress(Server(f"http://127.0.0.1:{free_port()}"), "dead")
            other = ServerAddress(Server(web_app), "something else")
            right, late = (ServerAddress(Server(server.url), reason) for reason in ("right", "late"))
            assert await probe([dead, other, right, late]) is right
            assert await probe([dead, other]) is None
            assert await probe([]) is None

    run(test)
