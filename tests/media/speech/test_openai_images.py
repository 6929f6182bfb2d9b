"""Images from a server with `POST /v1/images/generations`: its requests, and the use of its answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.images import FakeImages, png

from ltxflow.core.errors import LtxflowError
from ltxflow.media.speech import Engine, PictureRequest, draw, openai

KEY = "sk-s3same-0pen"
ENV = {"PAID_KEY": KEY}
WANTED = PictureRequest("A door", (64, 32), 7)


@pytest.fixture
def server() -> Iterator[FakeImages]:
    with FakeImages(KEY) as made:
        yield made


def engine_of(server: FakeImages) -> Engine:
    return Engine("paid", "openai", url=server.url, model="flux", key_from_env="PAID_KEY", timeout_s=10)


async def no_wait(seconds: float) -> None:
    pass


def made(server: FakeImages, folder: Path) -> bytes:
    return asyncio.run(openai.draw(engine_of(server), WANTED, folder, ENV, no_wait)).read_bytes()


def problem(server: FakeImages, folder: Path) -> str:
    with pytest.raises(LtxflowError) as error:
        made(server, folder)
    found = error.value.problems[0]
    assert KEY not in found.message + found.hint
    return f"{found.message} | {found.hint}"


def test_an_image_is_requested_with_its_seed_and_the_key(server: FakeImages, tmp_path: Path) -> None:
    assert made(server, tmp_path) == png("A door 7", (64, 32))
    (asked,) = server.asked
    assert (asked.path, asked.key) == ("/v1/images/generations", KEY)
    assert asked.body == {
        "model": "flux",
        "prompt": "A door",
        "n": 1,
        "size": "64x32",
        "response_format": "b64_json",
        "seed": 7,
    }


@pytest.mark.parametrize("declines", [("seed",), ("response_format",), ("seed", "response_format")])
def test_a_server_without_seeds_gets_a_request_without(
    server: FakeImages, tmp_path: Path, declines: tuple[str, ...]
) -> None:
    server.declines = declines
    seed = None if "seed" in declines else 7
    assert made(server, tmp_path) == png(f"A door {seed}", (64, 32))
    assert len(server.asked) == 1 + len(declines)
    assert not set(declines) & set(server.asked[-1].body)


def test_another_no_is_final(server: FakeImages, tmp_path: Path) -> None:
    server.answer(400, {"error": {"message": f"The size is not allowed, {KEY}."}})
    assert "answers 400: The size is not allowed, …." in problem(server, tmp_path)
    assert len(server.asked) == 1


def test_a_busy_server_gets_the_request_again(server: FakeImages, tmp_path: Path) -> None:
    server.answer(503)
    server.answer(429, b"", Retry_After="0")
    assert made(server, tmp_path) == png("A door 7", (64, 32))


def test_an_address_is_not_followed(server: FakeImages, tmp_path: Path) -> None:
    server.sends_url = True
    found = problem(server, tmp_path)
    assert "sends an address in place of an image" in found
    assert "response_format b64_json" in found


@pytest.mark.parametrize("body", [b"{}", b'{"data": []}', b'{"data": [{"b64_json": "*"}]}', b"[", b"<html>"])
def test_an_answer_without_an_image_is_reported(server: FakeImages, tmp_path: Path, body: bytes) -> None:
    server.answer(200, body)
    assert "sends no image" in problem(server, tmp_path)


def test_an_answer_without_end_is_cut(server: FakeImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai, "MAX_IMAGE", 1 << 20)
    server.answer(200, b"x" * (2 << 20))
    assert "sends more than 1 MiB for one image" in problem(server, tmp_path)


def test_without_its_key_no_request_is_sent(server: FakeImages, tmp_path: Path) -> None:
    with pytest.raises(LtxflowError, match='the variable "PAID_KEY" for its key is not set'):
        asyncio.run(draw(engine_of(server), WANTED, tmp_path, {}))
    assert not server.asked


def test_a_server_that_is_not_there(server: FakeImages, tmp_path: Path) -> None:
    unreachable = replace(engine_of(server), url="http://127.0.0.1:9/v1")
    with pytest.raises(LtxflowError, match=r"paid: http://127\.0\.0\.1:9/v1") as error:
        asyncio.run(openai.draw(unreachable, WANTED, tmp_path, ENV, no_wait))
    assert error.value.problems[0].transient
