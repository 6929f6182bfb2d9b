"""Clients of servers, with a time limit, a small prompt for them, and a server that says anything at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fakes.comfyui import FakeComfy
from ltxflow.comfy.client import Client, prompt_id_for
from ltxflow.comfy.discovery import Server
from ltxflow.core.errors import LtxflowError

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
