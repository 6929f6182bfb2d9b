"""Sends files to a server and fetches what it made: each whole, within bounds, or not at all. Verifies no content."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ltxflow.comfy.messages import OutputFile, clean, load_json, parse_upload
from ltxflow.comfy.transport import BODY_CAP, MIB, SLOWEST, HttpAnswer, Transport, broken, too_big
from ltxflow.core import files as local_files
from ltxflow.core.digest import Digest
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.core.files import remove


class Transfers:
    """Files on their way to and from one server. `uploaded` remembers what it has: name → reference."""

    def __init__(self, transport: Transport, uploaded: MutableMapping[str, str]) -> None:
        self._transport = transport
        self._uploaded = uploaded
        self._uploading: dict[str, asyncio.Lock] = {}

    async def upload(self, name: str, data: bytes | Path, subfolder: str = "ltxflow", *, again: bool = False) -> str:
        """Given a name that holds the content's hash, and the content, return what a loader node calls it.

        The server's own name for it counts: it renames what collides. Nothing is sent for a name this server
        has, unless `again` (its input folder was emptied).
        """
        memory = f"{subfolder}/{name}"
        async with self._uploading.setdefault(memory, asyncio.Lock()):
            if again or memory not in self._uploaded:
                self._uploaded[memory] = await self._upload(name, data, subfolder)
            self._uploading.pop(memory, None)
            return self._uploaded[memory]

    async def _upload(self, name: str, data: bytes | Path, subfolder: str) -> str:
        what = f'uploading "{clean(name, 80)}"'
        fields = {
            "subfolder": subfolder,
            "type": "input",
        }  # no overwrite: it would race with a running prompt
        patience_s = self._transport.timeout_s + _size_of(data) / SLOWEST
        with _opened(data) as content:
            files = {"image": (name, content, "application/octet-stream")}
            async with self._transport.ask(
                "POST", "/upload/image", what, patience_s=patience_s, data=fields, files=files
            ) as answer:
                body = await self._transport.body(answer, what, BODY_CAP)
        with self._transport.saying(what):
            return parse_upload(load_json(body))

    async def download(
        self,
        output: OutputFile,
        to: Path,
        max_bytes: int,
        on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> Digest:
        """Given an output and a path of the caller's own, write its bytes there and return their digest.

        `on_bytes` hears bytes so far and in all (None when the server does not say). At most `max_bytes` are
        written. A cut body is transient; an output that is gone is permanent, with the code "output-gone".
        Either leaves no file. Only the length is checked: what is inside is for the caller to verify.
        """
        what = f'fetching "{clean(output.filename, 80)}"'
        params = {"filename": output.filename, "subfolder": output.subfolder, "type": output.type}
        try:
            async with self._transport.ask(
                "GET",
                "/view",
                what,
                also=(404,),
                grace_s=self._transport.timeout_s,
                params=params,
                headers={"Accept-Encoding": "identity"},
            ) as answer:
                total = self._promised(answer, what, max_bytes)
                return await self._stream_to(answer, what, to, total, max_bytes, on_bytes)
        except BaseException:
            with suppress(LtxflowError):
                remove(to)
            raise

    def _promised(self, answer: HttpAnswer, what: str, max_bytes: int) -> int | None:
        """Return the length a download says it has. Raise LtxflowError for one that we will not read."""
        if answer.status_code == 404:
            hint = "its save node must run again"
            problem = Problem("the server no longer has the file", hint=hint, code="output-gone")
            raise self._transport.error(what, problem)
        if answer.status_code != 200 or answer.headers.get("Content-Encoding", "identity") != "identity":
            raise self._transport.error(
                what, Problem("the file comes in a form that was not asked for", code="server-answer")
            )
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isascii() and length.isdigit() else None
        if total is not None and total > max_bytes:
            raise self._transport.error(what, too_big(max_bytes))
        return total

    async def _stream_to(
        self,
        answer: HttpAnswer,
        what: str,
        to: Path,
        total: int | None,
        max_bytes: int,
        on_bytes: Callable[[int, int | None], None],
    ) -> Digest:
        sha, done = hashlib.sha256(), 0
        local_files.crash_point("write", to)
        with _disk(to), to.open("wb") as file:
            async for block in answer.blocks(MIB // 4, is_raw=True):
                done += len(block)
                if done > max_bytes:
                    raise self._transport.error(what, too_big(max_bytes))
                sha.update(block)
                file.write(block)
                on_bytes(done, total)
        if total is not None and done != total:
            raise self._transport.error(what, broken(f"{done} of {total} bytes came"))
        return Digest(sha.hexdigest())


# Files of ours


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "free some space" if error.errno == errno.ENOSPC else ""
        why = (error.strerror or "failed").lower()
        problem = Problem(f'cannot use "{path}": {why}', hint=hint, code=local_files.DISK)
        raise LtxflowError(problem, exit_code=FAILED) from error


@contextmanager
def _opened(data: bytes | Path) -> Iterator[bytes | IO[bytes]]:
    if isinstance(data, bytes):
        yield data
        return
    with _disk(data):
        file = data.open("rb")
    with file:
        yield file


def _size_of(data: bytes | Path) -> int:
    if isinstance(data, bytes):
        return len(data)
    with _disk(data):
        return data.stat().st_size
