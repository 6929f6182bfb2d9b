"""Promises of comfy/files.py: a file is sent once, and fetched whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from fakes.clients import (
    FAST,
    ID,
    MIB,
    fails,
    film,
    on,
)
from fakes.comfyui import FakeComfy

from ltxflow.comfy.client import Client
from ltxflow.comfy.progress import follow
from ltxflow.comfy.replies import OutputFile


def test_an_upload_is_sent_once_a_server_even_by_two_at_a_time(server: FakeComfy, tmp_path: Path) -> None:
    (tmp_path / "ref.png").write_bytes(b"picture")
    memory: dict[str, str] = {}

    @on(server, uploaded=memory)
    async def _(client: Client) -> None:
        names = await asyncio.gather(*(client.files.upload("ab12.png", tmp_path / "ref.png") for _ in range(3)))
        assert set(names) == {"ltxflow/ab12.png"}

    @on(server, uploaded=memory)
    async def _(client: Client) -> None:
        assert await client.files.upload("ab12.png", b"picture") == "ltxflow/ab12.png"

    assert server.stats()["uploads"] == {"ltxflow/ab12.png": 1}
    assert (server.folders["input"] / "ltxflow" / "ab12.png").read_bytes() == b"picture"


def test_the_name_that_the_server_gave_is_the_one_that_counts(server: FakeComfy) -> None:
    @on(server)
    async def _(client: Client) -> None:
        assert await client.files.upload("x.png", b"one", "refs") == "refs/x.png"
        assert await client.files.upload("x.png", b"two", "refs", again=True) == "refs/x (1).png"


def test_a_failed_upload_is_not_remembered(server: FakeComfy) -> None:
    server.misbehave.status(500, "^/upload")

    @on(server)
    async def _(client: Client) -> None:
        await fails(client.files.upload("x.png", b"one"), transient=True)
        assert await client.files.upload("x.png", b"one") == "ltxflow/x.png"


def test_an_upload_that_is_too_large_names_the_limit_to_raise() -> None:
    with FakeComfy(max_body=1000) as server:

        @on(server)
        async def _(client: Client) -> None:
            error = await fails(client.files.upload("x.png", bytes(5000)), transient=False)
            assert "--max-upload-size" in error.problems[0].hint


def test_a_file_of_ours_that_is_gone_is_named(server: FakeComfy, tmp_path: Path) -> None:
    @on(server)
    async def _(client: Client) -> None:
        error = await fails(client.files.upload("x.png", tmp_path / "gone.png"), transient=False)
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
        await fails(client.files.download(output, tmp_path / "b", MIB), transient=True)
        assert not (tmp_path / "b").exists()
        server.misbehave.clear()
        digest = await client.files.download(output, tmp_path / "b", MIB)
        assert digest == hashlib.sha256(b"x" * 100_000).hexdigest()


def test_a_download_longer_than_it_may_be_is_refused(server: FakeComfy, tmp_path: Path) -> None:
    output = in_output(server, b"x" * 100_000)

    @on(server)
    async def _(client: Client) -> None:
        await fails(client.files.download(output, tmp_path / "b", 99_999), transient=False)
        server.misbehave.endless()
        counts: list[int] = []
        await fails(
            client.files.download(output, tmp_path / "b", MIB, lambda done, total: counts.append(done)),
            transient=False,
        )
        assert max(counts) <= MIB
        assert not (tmp_path / "b").exists()


def test_a_download_shorter_than_announced_is_transient(server: FakeComfy, tmp_path: Path) -> None:
    output = in_output(server, b"x" * 100_000)
    server.misbehave.wrong_length(by=1000)

    @on(server)
    async def _(client: Client) -> None:
        await fails(client.files.download(output, tmp_path / "b", MIB), transient=True)
        assert not (tmp_path / "b").exists()


def test_a_missing_output_has_a_separate_code(server: FakeComfy, tmp_path: Path) -> None:
    server.misbehave.lose_file()

    @on(server)
    async def _(client: Client) -> None:
        await client.submit(film(), ID)
        state = await follow(client, ID, poll=FAST)
        error = await fails(client.files.download(state.outputs[0], tmp_path / "b", MIB), transient=False)
        assert error.problems[0].code == "C013"


def test_a_download_that_cannot_be_written_names_the_path(server: FakeComfy, tmp_path: Path) -> None:
    output = in_output(server, b"x")

    @on(server)
    async def _(client: Client) -> None:
        error = await fails(client.files.download(output, tmp_path / "no" / "b", MIB), transient=False)
        assert str(tmp_path / "no" / "b") in str(error)
