"""Upload files to a server and download its outputs: each whole and within bounds, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from ltxflow.comfy.replies import OutputFile, clean, load_json, parse_upload
from ltxflow.comfy.transport import BODY_CAP, MIB, SLOWEST, HttpAnswer, Transport, too_large
from ltxflow.core.digest import Digest
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.files import crash_point, remove, reported


class Transfers:
    """Uploads to and downloads from one server. `uploaded` maps the names it has to their references."""

    def __init__(self, transport: Transport, uploaded: MutableMapping[str, str]) -> None:
        self._transport = transport
        self._uploaded = uploaded
        self._uploading: dict[str, asyncio.Lock] = {}

    async def upload(self, name: str, data: bytes | Path, subfolder: str = "ltxflow", *, again: bool = False) -> str:
        """Upload content under a name that holds its hash, and return the name that a loader node takes.

        The server's name counts: it renames collisions. Nothing is sent for a name that the server has, unless
        `again` (its input folder was emptied).
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
        with self._transport.naming(what):
            return parse_upload(load_json(body))

    async def download(
        self,
        output: OutputFile,
        to: Path,
        max_bytes: int,
        on_bytes: Callable[[int, int | None], None] = lambda done, total: None,
    ) -> Digest:
        """Download an output to `to` and return the digest of its bytes.

        `on_bytes` receives the bytes so far and in all (None without a length). At most `max_bytes` are written. A cut
        body is transient; an output that the server no longer has is permanent, with code C013. Either leaves no file.
        Only the length is checked; the caller verifies the content.
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
                total = self._announced_length(answer, what, max_bytes)
                return await self._stream_to(answer, what, to, total, max_bytes, on_bytes)
        except BaseException:
            with suppress(LtxflowError):
                remove(to)
            raise

    def _announced_length(self, answer: HttpAnswer, what: str, max_bytes: int) -> int | None:
        """Return the length in a download's headers. Raise LtxflowError for one that must not be read."""
        if answer.status_code == 404:
            raise self._transport.error(what, problem("C013"))
        if answer.status_code != 200 or answer.headers.get("Content-Encoding", "identity") != "identity":
            raise self._transport.error(what, problem("C009.encoding"))
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isascii() and length.isdigit() else None
        if total is not None and total > max_bytes:
            raise self._transport.error(what, too_large(max_bytes))
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
        crash_point("write", to)
        with reported("write", to), to.open("wb") as file:
            async for block in answer.blocks(MIB // 4, is_raw=True):
                done += len(block)
                if done > max_bytes:
                    raise self._transport.error(what, too_large(max_bytes))
                sha.update(block)
                file.write(block)
                on_bytes(done, total)
        if total is not None and done != total:
            raise self._transport.error(what, problem("C005.cut", received=done, total=total, transient=True))
        return Digest(sha.hexdigest())


# Local files


@contextmanager
def _opened(data: bytes | Path) -> Iterator[bytes | IO[bytes]]:
    if isinstance(data, bytes):
        yield data
        return
    with reported("read", data):
        file = data.open("rb")
    with file:
        yield file


def _size_of(data: bytes | Path) -> int:
    if isinstance(data, bytes):
        return len(data)
    with reported("read", data):
        return data.stat().st_size
