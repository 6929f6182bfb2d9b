from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

import ltxflow.comfy.direct as direct
from ltxflow.comfy.direct import MOST, Direct

MIB = 2**20
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
PATIENT = httpx.Timeout(5).as_dict()
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[tuple[str, Direct]]:
    """A server that treats each connection as the test says, and connections to it."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with Direct(url) as line:
            yield url, line


async def ask(line: Direct, url: str, timeout: dict[str, Any] = PATIENT, **request: Any) -> httpx.Response:
    """One question and its whole answer."""
    method = "POST" if "content" in request else "GET"
    answer = await line.handle_async_request(httpx.Request(method, url, extensions={"timeout": timeout}, **request))
    try:
        await answer.aread()
    finally:
        await answer.aclose()
    return answer


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    asyncio.run(limited())


class Polite:
    """Answers every request of a connection, one after the other, and counts both."""

    def __init__(self, answer: bytes = OK, hold: asyncio.Event | None = None) -> None:
        self.answer, self.hold = answer, hold
        self.connections = self.asked = self.now = self.most = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            self.now += 1
            self.most = max(self.most, self.now)
            if self.hold is not None:
                await self.hold.wait()
            self.now -= 1
            writer.write(self.answer)
            await writer.drain()


def test_one_connection_serves_one_question_after_the_other() -> None:
    async def test() -> None:
        server = Polite()
        async with serving(server) as (url, line):
            for _ in range(5):
                assert (await ask(line, url)).json() == {}
            assert (server.connections, server.asked) == (1, 5)

    run(test)


def test_not_more_connections_than_are_allowed_are_open_at_a_time() -> None:
    async def test() -> None:
        hold = asyncio.Event()
        server = Polite(hold=hold)
        async with serving(server) as (url, line):
            asking = [asyncio.create_task(ask(line, url)) for _ in range(3 * MOST)]
            while server.now < MOST:
                await asyncio.sleep(0)
            hold.set()
            await asyncio.gather(*asking)
            assert (server.connections, server.asked, server.most) == (MOST, 3 * MOST, MOST)

    run(test)


def test_who_waits_too_long_for_a_connection_is_told_so() -> None:
    async def test() -> None:
        hold = asyncio.Event()
        server = Polite(hold=hold)
        async with serving(server) as (url, line):
            asking = [asyncio.create_task(ask(line, url)) for _ in range(MOST)]
            while server.now < MOST:
                await asyncio.sleep(0)
            with pytest.raises(httpx.PoolTimeout):
                await ask(line, url, PATIENT | {"pool": 0.01})
            hold.set()
            await asyncio.gather(*asking)
            assert (await ask(line, url)).status_code == 200  # the place is not lost

    run(test)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n",  # more than was asked for
    ],
)
def test_a_connection_that_cannot_be_used_again_is_not(answer: bytes) -> None:
    async def test() -> None:
        connections = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal connections
            connections += 1
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()

        async with serving(serve) as (url, line):
            for _ in range(3):
                assert (await ask(line, url)).json() == {}
            assert connections == 3

    run(test)


def test_a_connection_that_was_idle_for_long_is_opened_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        server = Polite()
        async with serving(server) as (url, line):
            await ask(line, url)
            monkeypatch.setattr(direct, "KEPT_S", -1.0)
            await ask(line, url)
            assert server.connections == 2

    run(test)


def test_an_answer_that_was_not_read_to_its_end_takes_its_connection_with_it() -> None:
    async def test() -> None:
        server = Polite(b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000)
        async with serving(server) as (url, line):
            request = httpx.Request("GET", url, extensions={"timeout": PATIENT})
            answer = await line.handle_async_request(request)
            async for _ in answer.aiter_raw():
                break
            await answer.aclose()
            assert len((await ask(line, url)).content) == 300_000
            assert server.connections == 2

    run(test)


def test_what_a_server_says_before_it_has_heard_all_counts() -> None:
    async def test() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
            while await reader.read(MIB):
                pass

        async with serving(serve) as (url, line):
            assert (await ask(line, url, content=b"x" * (8 * MIB))).status_code == 413

    run(test)


def test_a_server_that_hangs_up_is_an_error_with_its_cause() -> None:
    async def test() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()

        async with serving(serve) as (url, line):
            with pytest.raises(httpx.TransportError):
                await ask(line, url, content=b"x" * MIB)
            with pytest.raises(httpx.TransportError):
                await ask(line, url)

    run(test)


def test_a_server_that_sends_faster_than_is_read_has_to_wait() -> None:
    async def test() -> None:
        sent = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (128 * MIB))
            for _ in range(128):
                writer.write(bytes(MIB))
                await writer.drain()
                sent += 1

        async with serving(serve) as (url, line):
            request = httpx.Request("GET", url, extensions={"timeout": PATIENT})
            answer = await line.handle_async_request(request)
            before = -1
            while sent != before:  # until the server is not let go on
                before = sent
                await asyncio.sleep(0.05)
            assert sent < 64
            size = 0
            async for block in answer.aiter_raw():
                size += len(block)
            assert size == 128 * MIB
            await answer.aclose()

    run(test)


def test_a_closed_transport_closes_what_is_under_way() -> None:
    async def test() -> None:
        hold = asyncio.Event()
        server = Polite(hold=hold)
        async with serving(server) as (url, line):
            asking = asyncio.create_task(ask(line, url))
            while not server.now:
                await asyncio.sleep(0)
            await line.aclose()
            with pytest.raises(httpx.TransportError):
                await asking
            hold.set()

    run(test)


def test_of_several_addresses_that_refuse_the_reason_is_told() -> None:
    error = direct._named(OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] Connect"))
    assert error.errno == 111
    assert direct._named(ConnectionRefusedError(111, "refused")).errno == 111
    assert direct._named(OSError("nothing known")).errno is None
