"""Promises of comfy/transport.py: errors are in our words, bounded, and without secrets."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import pytest
from fakes.clients import (
    ID,
    MIB,
    NEVER,
    TOKEN,
    fails,
    film,
    free_port,
    on,
    reply,
    run,
    speaking,
)
from fakes.comfyui import FakeComfy

from ltxflow import __version__
from ltxflow.comfy.client import Client
from ltxflow.comfy.discovery import Server
from ltxflow.comfy.progress import follow
from ltxflow.comfy.replies import OutputFile
from ltxflow.comfy.websocket import Finished, Progress
from ltxflow.core.errors import UNREACHABLE, LtxflowError

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
            client.files.upload("x.png", b"data"),
            client.files.download(output, tmp_path / "b.mp4", MIB),
            client.models("loras"),
            client.object_info(),
            client.object_info_class("SaveVideo"),
            client.system_stats(),
            client.queue_remaining(),
            client.queue(),
            client.free(),
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


def test_a_server_is_healthy_once_it_answers_the_request_that_timed_out(server: FakeComfy) -> None:
    server.misbehave.dribble("^/object_info$", times=2)

    @on(server, timeout_s=0.3)
    async def _(client: Client) -> None:
        for asking in (client.object_info(), client.health()):
            error = await fails(asking, transient=True)
            assert error.problems[0].code == "C004"
            assert "the answer is too slow: " in str(error)
            assert error.exit_code == UNREACHABLE
        assert (await client.health()).version == "0.27.0"
        asked = server.stats()["requests"]["GET /object_info"]
        await client.health()
        assert server.stats()["requests"]["GET /object_info"] == asked == 3


def test_a_slow_answer_that_keeps_coming_is_read_to_its_end(server: FakeComfy) -> None:
    server.misbehave.dribble("^/object_info$", size=20_000, pause=0.05)  # 400 kB a second, for some seconds

    @on(server, timeout_s=2.0)
    async def _(client: Client) -> None:
        assert "SaveVideo" in await client.object_info()


def test_refused_connections_differ_from_silence() -> None:
    async def test() -> None:
        async with Client(Server(f"http://127.0.0.1:{free_port()}")) as client:
            error = await fails(client.system_stats(), transient=True)
            assert error.problems[0].code == "C018"
        async with Client(Server("http://nowhere.invalid:8188")) as client:
            error = await fails(client.system_stats(), transient=True)
            assert error.problems[0].code == "C019"
            assert error.exit_code == UNREACHABLE

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
                speaking(lambda _: moved) as (url, heads),
                Client(Server(url, {"X-Token": TOKEN})) as client,
            ):
                error = await fails(client.system_stats(), transient=False)
                assert "redirects to" in str(error)
                assert TOKEN not in str(error)
                await client.socket.open()
                assert any(b"GET /ws?clientId=" in head for head in heads)
            assert not asked

    run(test)


# Secrets


def test_behind_a_prefix_and_a_token_everything_works(tmp_path: Path) -> None:
    with FakeComfy(prefix="/comfy", token=("X-Token", TOKEN)) as server:

        async def test() -> None:
            async with Client(Server(server.url + "/", {"X-Token": TOKEN})) as client:
                events: list[Progress] = []
                await client.socket.open()
                await client.files.upload("x.png", b"data")
                await client.submit(film(), ID)
                state = await follow(client, ID, events.append, poll=NEVER)
                await client.files.download(state.outputs[0], tmp_path / "b.mp4", MIB)
                assert Finished(ID) in events

        run(test)


def test_without_the_token_access_is_denied_for_good() -> None:
    with FakeComfy(token=("X-Token", TOKEN)) as server:

        @on(server)
        async def _(client: Client) -> None:
            error = await fails(client.system_stats(), transient=False)
            assert error.problems[0].code == "C008"
            assert "headers_from_env" in error.problems[0].hint
            assert "401" in str(error)
            assert [e async for e in client.socket.watch()] == []  # the socket is given up


def echoes(head: bytes) -> list[bytes]:
    """Replies that repeat the secrets of the request: whole, cut, decoded, spread out."""
    sent = [h.split(b": ", 1)[1] for h in head.split(b"\r\n") if h.lower().startswith((b"authorization", b"x-"))]
    words = b" ".join(sent).decode()
    node = {"3": {"class_type": words, "errors": [{"type": words, "message": words, "details": words}]}}
    error = {"exception_type": words, "exception_message": words, "node_id": "1"}
    errors: list[Any] = [
        {"error": words},
        {"error": {"message": words, "details": "x" * 470 + words, "type": "t"}},
        {"error": {"message": "\x00".join(words)}},
        {"error": f"ann:{TOKEN} or {TOKEN}"},
        {"node_errors": node, "prompt_id": words},
        {"id": ID, "status": "failed", "execution_error": error},
        {"id": words, "status": words},
    ]
    bodies = [json.dumps(t).encode() for t in errors]
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
                        client.files.upload("x.png", b""),
                        client.files.download(OutputFile("3", "b", "", "output", "images"), tmp_path / "b", MIB),
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
        async with speaking(lambda _: reply(b"{}")) as (url, heads), Client(Server(url)) as client:
            await client.object_info()
            await client.socket.open()
            for head in (h.lower() for h in heads):
                assert f"user-agent: ltxflow/{__version__}".encode() in head
                assert b"\r\norigin:" not in head
            assert any(b"upgrade: websocket" in h.lower() for h in heads)

    run(test)


def test_no_proxy_of_the_environment_is_used_for_loopback(server: FakeComfy, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    @on(server)
    async def _(client: Client) -> None:
        await client.socket.open()
        await client.submit(film(), ID)
        assert (await follow(client, ID, poll=NEVER)).kind == "done"


@pytest.mark.parametrize("proxy", [f"socks5://ann:{TOKEN}@x:1", f"gopher://ann:{TOKEN}@x", "http://x:bad"])
def test_a_proxy_that_cannot_be_used_is_reported_without_its_login(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(LtxflowError, match="the proxy in the environment") as caught:
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


def test_https_to_a_plain_server_is_reported(server: FakeComfy) -> None:
    async def test() -> None:
        async with Client(Server(server.url.replace("http:", "https:"))) as client:
            error = await fails(client.system_stats(), transient=False)
            assert "try http://" in error.problems[0].hint

    run(test)
