from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.comfyui import FakeComfy
from fakes.misbehave import HOSTILE_NAMES

from ltxflow import __version__
from ltxflow.comfy.client import Client, follow, probe, prompt_id_for
from ltxflow.comfy.messages import (
    Failed,
    Finished,
    JobState,
    NodeDone,
    NodeRunning,
    OutputFile,
    Progress,
    QueueChanged,
    Started,
    is_oom,
)
from ltxflow.comfy.places import Place, Server
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError

FAST = (0.01, 0.02, 0.05)  # polling, where a test waits for no socket
NEVER = (60.0,)  # polling that would make the test hang, where the socket must do it
MIB = 2**20
TOKEN = "s3same-0pen"


# EmptyImage ─→ CreateVideo ─→ SaveVideo
def film(color: int = 0, prefix: str = "ltxflow/hook/b") -> dict[str, Any]:
    size = {"width": 64, "height": 64, "batch_size": 9, "color": color}
    save = {"video": ["2", 0], "filename_prefix": prefix, "format": "mp4", "codec": "h264"}
    return {
        "1": {"class_type": "EmptyImage", "inputs": size},
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 25.0}},
        "3": {"class_type": "SaveVideo", "inputs": save},
    }


def half_wrong() -> dict[str, Any]:
    """The film is good, a second save has no video: ComfyUI takes the prompt without it."""
    save = {"filename_prefix": "x", "format": "mp4", "codec": "h264"}
    return {**film(), "9": {"class_type": "SaveVideo", "inputs": save}}


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


def client_of(fake: FakeComfy, **options: Any) -> Client:
    return Client(Server(fake.url, name="bench"), **options)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


def on(fake: FakeComfy, **options: Any) -> Callable[[Callable[[Client], Coroutine[Any, Any, None]]], None]:
    """Run a test's body with an open client, as a decorator that is the test."""

    def decorate(body: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        async def test() -> None:
            async with client_of(fake, **options) as client:
                await body(client)

        run(test)

    return decorate


async def fails(asking: Coroutine[Any, Any, Any], *, transient: bool) -> LtxflowError:
    with pytest.raises(LtxflowError) as caught:
        await asking
    assert caught.value.transient is transient
    return caught.value


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def speaking(answer: Callable[[bytes], bytes]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says anything at all: each request's head and body → raw bytes."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")),
                0,
            )
            heard.append(head + await reader.readexactly(length))
            writer.write(answer(heard[-1]))
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, limit=MIB)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", heard


def reply(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


ID = prompt_id_for("a" * 64, 1)


# Ids


def test_a_prompts_id_is_that_of_its_key_and_attempt_for_ever() -> None:
    assert prompt_id_for("a" * 64, 1) == "d814800a-64c9-50e9-bad2-dd1b7fa0557e"
    assert len({prompt_id_for(key, attempt) for key in ("a", "b") for attempt in (1, 2)}) == 4


# Prompts


def test_a_film_is_submitted_followed_and_fetched(server: FakeComfy, tmp_path: Path) -> None:
    @on(server)
    async def _(client: Client) -> None:
        events: list[Progress] = []
        await client.listen()
        server.hold()
        submitted = await client.submit(film(), ID)
        assert (submitted.prompt_id, submitted.client_id) == (ID, client.client_id)
        following = asyncio.create_task(follow(client, ID, events.append, poll=NEVER))
        await asyncio.to_thread(server.wait, lambda s: s["requests"].get("GET /api/jobs/{id}", 0) == 1)
        server.go()
        state = await following
        assert state.kind == "done"
        (output,) = state.outputs
        assert (output.node, output.subfolder, output.media) == ("3", "ltxflow/hook", "images")
        heard: list[tuple[int, int | None]] = []
        digest = await client.download(output, tmp_path / "b.mp4", 10 * MIB, lambda *n: heard.append(n))
        data = (tmp_path / "b.mp4").read_bytes()
        assert digest == hashlib.sha256(data).hexdigest()
        assert data == (server.folders["output"] / output.subfolder / output.filename).read_bytes()
        assert heard[-1] == (len(data), len(data))
        assert Started(ID) in events
        assert NodeRunning(ID, "1") in events
        assert NodeDone(ID, "3") in events
        assert state.timings.ran_s is not None


def test_a_finish_on_the_socket_is_enough_to_look_at_once(server: FakeComfy) -> None:
    server.hold()

    @on(server)
    async def _(client: Client) -> None:
        await client.listen()
        await client.submit(film(), ID)
        following = asyncio.create_task(follow(client, ID, poll=NEVER))
        await asyncio.to_thread(server.wait, lambda s: s["requests"].get("GET /api/jobs/{id}", 0) == 1)
        server.go()
        assert (await following).kind == "done"


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
            used = await first.listen()
            await first.submit(film(), ID)
        await asyncio.to_thread(server.wait, lambda s: s["sockets"]["open"] == 0)
        events: list[Progress] = []
        async with client_of(server, client_id=used) as second:
            assert await second.listen() == used
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
            assert error.problems[0].code == "unreachable"
            assert "ComfyUI running" in error.problems[0].hint


@pytest.mark.parametrize("version", ["0.27.0", "0.3.64"])
def test_a_proxys_404_is_no_word_about_the_job(version: str) -> None:
    with FakeComfy(version=version) as server:

        @on(server)
        async def _(client: Client) -> None:
            await client.submit(film(), ID)
            await follow(client, ID, poll=FAST)
            server.misbehave.status(404, times=None)
            with pytest.raises(LtxflowError):
                await client.state(ID)


def test_a_fresh_clients_first_404_from_a_proxy_is_no_word_about_the_job(server: FakeComfy) -> None:
    server.misbehave.status(404, times=None)

    @on(server)
    async def _(client: Client) -> None:
        await fails(client.state(ID), transient=False)
        server.misbehave.clear()
        await client.state(ID)
        assert client.has_jobs


def test_following_asks_for_the_one_job_and_nothing_else(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        await client.submit(film(), ID)
        await follow(client, ID, poll=FAST)

    asked = {name.split(" ")[1] for name in server.stats()["requests"]}
    assert asked == {"/prompt", "/api/jobs/{id}", "/ws"}


def test_an_old_server_is_asked_for_its_whole_queue_only_now_and_then() -> None:
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
            await client.listen()
            await client.submit(film(), ID)
            state = await follow(client, ID, poll=FAST)
            assert state.kind == "done"
            assert state.outputs


@pytest.mark.parametrize("fault", ["silent_socket", "no_websocket"])
def test_without_a_word_from_the_socket_polling_still_ends_it(server: FakeComfy, fault: str) -> None:
    server.misbehave.apply(fault)

    @on(server)
    async def _(client: Client) -> None:
        await client.listen()
        await client.submit(film(), ID)
        assert (await follow(client, ID, poll=FAST)).kind == "done"


def test_out_of_memory_is_a_failed_job_that_says_so(server: FakeComfy) -> None:
    server.misbehave.oom()

    @on(server)
    async def _(client: Client) -> None:
        events: list[Progress] = []
        await client.listen()
        await client.submit(film(), ID)
        state = await follow(client, ID, events.append, poll=FAST)
        assert state.kind == "failed"
        assert state.error is not None
        assert is_oom(state.error)
        assert len(state.error.message) < 600
        assert any(isinstance(e, Failed) for e in events)


def test_hostile_names_are_never_outputs(server: FakeComfy) -> None:
    server.misbehave.hostile_names()

    @on(server)
    async def _(client: Client) -> None:
        await client.submit(film(), ID)
        state = await follow(client, ID, poll=FAST)
        assert state.outputs == ()
        assert len(state.refused) == len(HOSTILE_NAMES)


@pytest.mark.parametrize("version", ["0.27.0", "0.21.0", "0.3.64"])
def test_cancelling_stops_ours_waiting_or_running_and_nobody_elses(version: str) -> None:
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


def test_cancelling_what_is_unknown_does_nothing(server: FakeComfy) -> None:
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


# Faults of HTTP


@pytest.mark.parametrize(
    "fault", [{"kind": "status", "status": 500}, {"kind": "status", "status": 503}, {"kind": "reset"}]
)
def test_errors_and_resets_are_transient_wherever_they_come(
    server: FakeComfy, fault: dict[str, Any], tmp_path: Path
) -> None:
    @on(server)
    async def _(client: Client) -> None:
        output = OutputFile("3", "b.mp4", "", "output", "images")
        server.misbehave.apply(**fault, times=None)
        for asking in (
            client.submit(film(), ID),
            client.state(ID),
            client.ending(ID),
            client.cancel(ID),
            client.upload("x.png", b"data"),
            client.download(output, tmp_path / "b.mp4", MIB),
            client.models("loras"),
            client.object_info(),
            client.object_info_class("SaveVideo"),
            client.system_stats(),
            client.queue_remaining(),
            client.queue(),
            client.free(),
            client.features(),
        ):
            error = await fails(asking, transient=True)
            assert str(error).startswith("bench: ")
        server.misbehave.clear()
        assert (await client.system_stats()).version == "0.27.0"

    assert not (tmp_path / "b.mp4").exists()


def test_a_server_that_never_answers_is_given_up(server: FakeComfy) -> None:
    server.misbehave.hang("^/system_stats$")

    @on(server, timeout_s=0.1)
    async def _(client: Client) -> None:
        error = await fails(client.system_stats(), transient=True)
        assert "no answer in time" in str(error)
        server.misbehave.clear()


def test_a_dripping_answer_is_given_up(server: FakeComfy) -> None:
    async def test() -> None:
        async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while not writer.is_closing():
                writer.write(b" ")
                await asyncio.sleep(0.02)

        listening = await asyncio.start_server(drip, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with listening, Client(Server(url), timeout_s=0.2) as client:
            await fails(client.system_stats(), transient=True)

    run(test)


def test_a_body_without_end_is_cut_off() -> None:
    async def test() -> None:
        async with (
            speaking(lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (17 * MIB)) as (url, _heard),
            Client(Server(url)) as client,
        ):
            error = await fails(client.system_stats(), transient=False)
            assert "more than" in str(error)

    run(test)


@pytest.mark.parametrize(
    ("answer", "transient"),
    [
        (reply(b'{"system": {'), True),
        (reply(b"<html>welcome</html>"), False),
        (reply(b"[]"), False),
        (reply(b"null"), False),
        (reply(b"[" * 100_000), True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"SSH-2.0-OpenSSH_9.6\r\n", True),
        (b"", True),
    ],
)
def test_whatever_comes_back_is_our_error(answer: bytes, transient: bool) -> None:
    async def test() -> None:
        async with speaking(lambda _: answer) as (url, _heard), Client(Server(url)) as client:
            await fails(client.system_stats(), transient=transient)
            for asking in (client.state(ID), client.submit(film(), ID), client.cancel(ID), client.queue()):
                with pytest.raises(LtxflowError):
                    await asking

    run(test)


def test_no_redirect_is_followed() -> None:
    async def test() -> None:
        async with speaking(lambda _: reply(b"{}")) as (other, asked):
            location = other.replace("http://", f"http://ann:{TOKEN}@") + f"/?t={TOKEN}"
            moved = reply(b"", "302 Found", Location=location)
            async with (
                speaking(lambda _: moved) as (url, heard),
                Client(Server(url, {"X-Token": TOKEN})) as client,
            ):
                error = await fails(client.system_stats(), transient=False)
                assert "redirects to" in str(error)
                assert TOKEN not in str(error)
                await client.listen()
                assert any(b"GET /ws?clientId=" in head for head in heard)
            assert not asked

    run(test)


# Secrets


def test_behind_a_prefix_and_a_token_everything_works(tmp_path: Path) -> None:
    with FakeComfy(prefix="/comfy", token=("X-Token", TOKEN)) as server:

        async def test() -> None:
            async with Client(Server(server.url + "/", {"X-Token": TOKEN})) as client:
                events: list[Progress] = []
                await client.listen()
                await client.upload("x.png", b"data")
                await client.submit(film(), ID)
                state = await follow(client, ID, events.append, poll=NEVER)
                await client.download(state.outputs[0], tmp_path / "b.mp4", MIB)
                assert Finished(ID) in events

        run(test)


def test_without_the_token_access_is_denied_for_good() -> None:
    with FakeComfy(token=("X-Token", TOKEN)) as server:

        @on(server)
        async def _(client: Client) -> None:
            error = await fails(client.system_stats(), transient=False)
            assert error.problems[0].code == "denied"
            assert "headers_from_env" in error.problems[0].hint
            assert "401" in str(error)
            assert [e async for e in client.watch()] == []  # the socket is given up


def echoes(head: bytes) -> list[bytes]:
    """What a chatty server says with the secrets it was sent: as they are, cut, decoded, spread out."""
    sent = [h.split(b": ", 1)[1] for h in head.split(b"\r\n") if h.lower().startswith((b"authorization", b"x-"))]
    words = b" ".join(sent).decode()
    node = {"3": {"class_type": words, "errors": [{"type": words, "message": words, "details": words}]}}
    error = {"exception_type": words, "exception_message": words, "node_id": "1"}
    told: list[Any] = [
        {"error": words},
        {"error": {"message": words, "details": "x" * 470 + words, "type": "t"}},
        {"error": {"message": "\x00".join(words)}},
        {"error": f"ann:{TOKEN} or {TOKEN}"},
        {"node_errors": node, "prompt_id": words},
        {"id": ID, "status": "failed", "execution_error": error},
        {"id": words, "status": words},
    ]
    bodies = [json.dumps(t).encode() for t in told]
    bodies += [words.encode(), b"<html>" + words.encode(), b"{" + words.encode()]
    statuses = [(n, status) for n in range(len(bodies)) for status in (200, (400, 401, 404, 500)[n % 4])]
    answers = [reply(bodies[n], f"{status} {words}") for n, status in statuses]
    return [*answers, reply(b"", "302 Found", Location=f"http://ann:{TOKEN}@x/{words}"), words.encode()]


@pytest.mark.parametrize("login", [False, True])
def test_no_secret_is_in_any_error_whatever_the_server_repeats(login: bool, tmp_path: Path) -> None:
    async def test() -> None:
        now = 0
        shown: list[str] = []

        def answer(head: bytes) -> bytes:
            return echoes(head)[now]

        async with speaking(answer) as (url, _heard):
            if login:
                url = url.replace("http://", f"http://ann:{TOKEN}@")
            server = Server(url, {} if login else {"Authorization": f"Bearer {TOKEN}", "X-Key": TOKEN + "-more"})
            count = len(echoes(b"Authorization: x\r\n"))
            while now < count:
                async with Client(server, timeout_s=5) as client:
                    shown.append(f"{server} {server!r} {client.server!r}")
                    for asking in (
                        client.state(ID),
                        client.submit(film(), ID),
                        client.cancel(ID),
                        client.upload("x.png", b""),
                        client.download(OutputFile("3", "b", "", "output", "images"), tmp_path / "b", MIB),
                        client.system_stats(),
                        client.queue(),
                    ):
                        try:
                            shown.append(repr(await asking))
                        except LtxflowError as error:
                            shown += [str(error), repr(error.problems)]
                now += 1
        text = "\n".join(shown)
        assert "…" in text
        for secret in (TOKEN, TOKEN[:-2], base64.b64encode(f"ann:{TOKEN}".encode()).decode()):
            assert secret not in text

    run(test)


def test_a_header_that_cannot_be_sent_is_refused_unseen() -> None:
    with pytest.raises(LtxflowError, match="cannot be sent") as caught:
        Client(Server("http://x", {"X-Token": TOKEN + "\r\nHost: evil"}))
    assert TOKEN not in str(caught.value)


def test_requests_name_us_and_no_origin() -> None:
    async def test() -> None:
        async with speaking(lambda _: reply(b"{}")) as (url, heard), Client(Server(url)) as client:
            await client.features()
            await client.listen()
            for head in (h.lower() for h in heard):
                assert f"user-agent: ltxflow/{__version__}".encode() in head
                assert b"\r\norigin:" not in head
            assert any(b"upgrade: websocket" in h.lower() for h in heard)

    run(test)


def test_no_proxy_of_the_environment_stands_before_loopback(server: FakeComfy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    @on(server)
    async def _(client: Client) -> None:
        await client.listen()
        await client.submit(film(), ID)
        assert (await follow(client, ID, poll=NEVER)).kind == "done"


@pytest.mark.parametrize("proxy", [f"socks5://ann:{TOKEN}@x:1", f"gopher://ann:{TOKEN}@x", "http://x:bad"])
def test_a_proxy_that_cannot_be_used_is_told_without_its_login(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(LtxflowError, match="proxy that the environment names") as caught:
        Client(Server("http://192.0.2.1:8188"))
    assert "NO_PROXY" in caught.value.problems[0].hint
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("content", [None, "not PEM"])
def test_a_bad_ca_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LtxflowError, match=r"ca\.pem") as caught:
        Client(Server("https://127.0.0.1:1", ca_file=path))
    assert "PEM" in caught.value.problems[0].hint


def test_https_to_a_plain_server_says_so(server: FakeComfy) -> None:
    async def test() -> None:
        async with Client(Server(server.url.replace("http:", "https:"))) as client:
            error = await fails(client.system_stats(), transient=False)
            assert "try http://" in error.problems[0].hint

    run(test)


# Files


def test_an_upload_is_sent_once_a_server_even_by_two_at_a_time(server: FakeComfy, tmp_path: Path) -> None:
    (tmp_path / "ref.png").write_bytes(b"picture")
    memory: dict[str, str] = {}

    @on(server, uploaded=memory)
    async def _(client: Client) -> None:
        names = await asyncio.gather(*(client.upload("ab12.png", tmp_path / "ref.png") for _ in range(3)))
        assert set(names) == {"ltxflow/ab12.png"}

    @on(server, uploaded=memory)
    async def _(client: Client) -> None:
        assert await client.upload("ab12.png", b"picture") == "ltxflow/ab12.png"

    assert server.stats()["uploads"] == {"ltxflow/ab12.png": 1}
    assert (server.folders["input"] / "ltxflow" / "ab12.png").read_bytes() == b"picture"


def test_the_name_that_the_server_gave_is_the_one_that_counts(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        assert await client.upload("x.png", b"one", "refs") == "refs/x.png"
        assert await client.upload("x.png", b"two", "refs", again=True) == "refs/x (1).png"


def test_a_failed_upload_is_not_remembered(server: FakeComfy) -> None:
    server.misbehave.status(500, "^/upload")

    @on(server)
    async def _(client: Client) -> None:
        await fails(client.upload("x.png", b"one"), transient=True)
        assert await client.upload("x.png", b"one") == "ltxflow/x.png"


def test_an_upload_that_is_too_large_says_what_to_raise() -> None:
    with FakeComfy(max_body=1000) as server:

        @on(server)
        async def _(client: Client) -> None:
            error = await fails(client.upload("x.png", bytes(5000)), transient=False)
            assert "--max-upload-size" in error.problems[0].hint


def test_a_file_of_ours_that_is_gone_is_named(server: FakeComfy, tmp_path: Path) -> None:
    @on(server)
    async def _(client: Client) -> None:
        error = await fails(client.upload("x.png", tmp_path / "gone.png"), transient=False)
        assert "gone.png" in str(error)


def in_output(server: FakeComfy, data: bytes) -> OutputFile:
    (server.folders["output"] / "b.mp4").write_bytes(data)
    return OutputFile("3", "b.mp4", "", "output", "images")


@pytest.mark.parametrize("fault", ["truncate", "reset", "hang"])
def test_a_broken_download_is_transient_and_leaves_no_file(server: FakeComfy, fault: str, tmp_path: Path) -> None:
    output = in_output(server, b"x" * 100_000)
    server.misbehave.apply(fault, path="^/view$")

    @on(server, timeout_s=0.3)
    async def _(client: Client) -> None:
        await fails(client.download(output, tmp_path / "b", MIB), transient=True)
        assert not (tmp_path / "b").exists()
        server.misbehave.clear()
        digest = await client.download(output, tmp_path / "b", MIB)
        assert digest == hashlib.sha256(b"x" * 100_000).hexdigest()


def test_a_download_longer_than_it_may_be_is_refused(server: FakeComfy, tmp_path: Path) -> None:
    output = in_output(server, b"x" * 100_000)

    @on(server)
    async def _(client: Client) -> None:
        await fails(client.download(output, tmp_path / "b", 99_999), transient=False)
        server.misbehave.endless()
        heard: list[int] = []
        await fails(
            client.download(output, tmp_path / "b", MIB, lambda done, total: heard.append(done)),
            transient=False,
        )
        assert max(heard) <= MIB
        assert not (tmp_path / "b").exists()


def test_a_download_that_claims_more_than_comes_is_transient(server: FakeComfy, tmp_path: Path) -> None:
    output = in_output(server, b"x" * 100_000)
    server.misbehave.wrong_length(by=1000)

    @on(server)
    async def _(client: Client) -> None:
        await fails(client.download(output, tmp_path / "b", MIB), transient=True)
        assert not (tmp_path / "b").exists()


def test_an_output_that_is_gone_is_told_apart(server: FakeComfy, tmp_path: Path) -> None:
    server.misbehave.lose_file()

    @on(server)
    async def _(client: Client) -> None:
        await client.submit(film(), ID)
        state = await follow(client, ID, poll=FAST)
        error = await fails(client.download(state.outputs[0], tmp_path / "b", MIB), transient=False)
        assert error.problems[0].code == "output-gone"


def test_a_download_that_cannot_be_written_says_where(server: FakeComfy, tmp_path: Path) -> None:
    output = in_output(server, b"x")

    @on(server)
    async def _(client: Client) -> None:
        error = await fails(client.download(output, tmp_path / "no" / "b", MIB), transient=False)
        assert str(tmp_path / "no" / "b") in str(error)


# The server


def test_a_server_tells_of_itself(server: FakeComfy) -> None:
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
        assert (await client.features())["max_upload_size"] == 100 * MIB
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


# The socket


def test_one_socket_serves_all_and_a_new_one_has_a_new_id(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        events = client.watch()
        assert isinstance(await anext(events), QueueChanged)
        first = client.client_id
        assert await client.listen() == first
        await asyncio.to_thread(server.restart)
        assert isinstance(await anext(events), QueueChanged)  # the new socket's greeting
        assert client.client_id != first
        await client.submit(film(), ID)
        assert (await follow(client, ID, poll=NEVER)).kind == "done"
        await events.aclose()

    sockets = server.stats()["sockets"]
    assert (sockets["opened"], sockets["most"]) == (2, 1)


def test_each_watcher_hears_of_its_own_prompts(server: FakeComfy) -> None:
    server.hold()

    @on(server)
    async def _(client: Client) -> None:
        other = prompt_id_for("b", 1)
        await client.listen()
        heard: dict[str, list[Progress]] = {ID: [], other: []}
        for n, prompt_id in enumerate(heard):
            await client.submit(film(n), prompt_id)
        following = [
            asyncio.create_task(follow(client, prompt_id, events.append, poll=NEVER))
            for prompt_id, events in heard.items()
        ]
        await asyncio.to_thread(server.wait, lambda s: s["requests"].get("GET /api/jobs/{id}", 0) == 2)
        server.go()
        assert [(await f).kind for f in following] == ["done", "done"]
        for prompt_id, events in heard.items():
            assert events
            assert {e.prompt_id for e in events} == {prompt_id}


def test_what_is_new_is_listened_to_before_it_is_asked_for(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        await client.listen()
        server.hold()
        await client.submit(film(), ID)
        following = asyncio.create_task(follow(client, ID, poll=NEVER, is_new=True))
        await asyncio.sleep(0)
        server.go()
        assert (await following).kind == "done"
        assert server.stats()["requests"]["GET /api/jobs/{id}"] == 1  # once it was said to be over


def test_an_end_that_came_before_anybody_followed_is_not_waited_for(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        await client.listen()
        watching = aiter(client.watch(ID))
        await client.submit(film(), ID)
        while not isinstance(await anext(watching), Finished):
            pass
        assert (await follow(client, ID, poll=NEVER, is_new=True)).kind == "done"


def test_frames_that_tell_everything_again_are_read_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    client, heard = Client(Server("http://127.0.0.1:1")), []
    monkeypatch.setattr(client, "_tell", heard.append)
    node = {"1": {"value": 1.0, "max": 1.0, "state": "finished"}}
    again = json.dumps({"type": "progress_state", "data": {"prompt_id": ID, "nodes": node}})
    other = json.dumps({"type": "executing", "data": {"prompt_id": ID, "node": "2"}})
    for frame in (again, again, other, again, other):
        client._hear(frame)
    assert heard == [(NodeDone(ID, "1"),), (NodeRunning(ID, "2"),), (NodeRunning(ID, "2"),)]


def test_watching_ends_when_the_client_closes(server: FakeComfy) -> None:
    async def test() -> None:
        async with client_of(server) as client:
            watching = asyncio.create_task(_all(client.watch(ID)))
            await client.listen()
        assert await watching == []

    async def _all(events: AsyncIterator[Progress]) -> list[Progress]:
        return [e async for e in events]

    run(test)


def test_an_error_of_the_listeners_own_is_not_swallowed(server: FakeComfy) -> None:
    def broken(event: Progress) -> None:
        raise ZeroDivisionError

    @on(server)
    async def _(client: Client) -> None:
        await client.listen()
        await client.submit(film(), ID)
        with pytest.raises(ZeroDivisionError):
            await follow(client, ID, broken, poll=NEVER)


# Where


def test_probing_finds_the_first_place_where_comfyui_answers(server: FakeComfy) -> None:
    async def test() -> None:
        async with speaking(lambda _: reply(b'{"status": "ok"}')) as (web_app, _heard):
            dead = Place(Server(f"http://127.0.0.1:{free_port()}"), "dead")
            other = Place(Server(web_app), "something else")
            right, late = (Place(Server(server.url), reason) for reason in ("right", "late"))
            assert await probe([dead, other, right, late]) is right
            assert await probe([dead, other]) is None
            assert await probe([]) is None

    run(test)
