"""Share traces and blobs with other machines through an HTTP cache of the Bazel protocol, or a folder.

The protocol is Bazel's remote cache over HTTP (bazel.build/remote/caching): `GET`, `PUT` and `HEAD` of `/ac/<key>`,
here a trace, and of `/cas/<sha256>`, here a blob. bazel-remote serves it (with `--disable_http_ac_validation`, since a
trace is not an ActionResult), and so do nginx with WebDAV and gateways to S3 or GCS. A folder on a network drive has
the same two folders; no index is kept there.

Nothing that arrives is trusted: blobs are hashed, traces checked against their key. A remote that fails once is left
alone until the process ends, with one warning.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

import httpx

from ltxflow import __version__
from ltxflow.core import files
from ltxflow.core.digest import Digest, Key
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.workspace import read_bytes
from ltxflow.store.store import Store
from ltxflow.store.traces import TRACE_BYTES, Trace, parse_trace, text_of

T = TypeVar("T")

CONNECTIONS = 8
CONNECT_S = 3.0
SILENT_S = 10.0  # without any byte
SLOWEST = 64 * 1024  # bytes a second, on average after SILENT_S
BLOCK = 1 << 20
LARGEST = 1 << 36  # bytes of a blob whose size no trace gives


@dataclass(frozen=True)
class RemoteAddress:
    """A shared store as the user's configuration has it: `http(s)://…` or `file:///…`, and the headers to send."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    is_read_only: bool = False

    @property
    def shown(self) -> str:
        """The address without login and query."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


class RemoteFailed(Exception):
    """A remote cannot be used now: the connection, its permission or its disk failed."""


class Poisoned(Exception):
    """A remote sent an object whose bytes are not what its name promises."""


class Wire(Protocol):
    """One way to reach a remote. Names are `ac/<key>` and `cas/<digest>`. Raises RemoteFailed."""

    def has(self, name: str) -> bool:
        """Return whether the remote has an object."""

    def read(self, name: str, most: int, start: int = 0) -> Iterator[bytes] | None:
        """Yield an object from byte `start` on, the first block empty if it starts there; None without it."""

    def write(self, name: str, data: Path | bytes) -> None:
        """Store an object under its name."""

    def close(self) -> None:
        """Close what is open."""


@dataclass
class Moved:
    """What a push or a pull did, in objects and bytes; `missing` are keys that the remote does not have."""

    traces: int = 0
    blobs: int = 0
    size: int = 0
    missing: list[Key] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Remote:
    """A shared store beside the local one. Any thread may use it, until `close`.

    `report` gets a warning when the remote fails, once, and for every poisoned object. `progress` gets the number of
    bytes that were moved, as they are.
    """

    def __init__(
        self,
        address: RemoteAddress,
        store: Store,
        report: Callable[[Problem], None] = lambda problem: None,
        progress: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.address, self.store = address, store
        self.is_down = False
        self._report, self._progress = report, progress
        self._wire = _wire(address)
        self._mutex = threading.Lock()

    def close(self) -> None:
        """Close all connections."""
        self._wire.close()

    def pull(self, keys: Iterable[Key], digests: Iterable[tuple[Digest, int]] = ()) -> Moved:
        """Fetch the traces of `keys` with their blobs, and the blobs `digests` (with sizes, 0 unknown), in parallel.

        A trace is recorded only once all its blobs are here.
        """
        moved = Moved()
        wanted = [key for key in dict.fromkeys(keys) if self.store.lookup(key) is None]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            found = dict(zip(wanted, pool.map(self._trace, wanted), strict=True))
            moved.missing = [key for key in wanted if found[key] is None]
            traces = [trace for trace in found.values() if trace is not None]
            sizes = {out.digest: out.size for trace in traces for out in trace.outputs.values()} | dict(digests)
            absent = {digest: size for digest, size in sizes.items() if not self.store.cas.has(digest, size)}
            for size in pool.map(lambda one: self._fetch(*one), absent.items()):
                moved.blobs += size is not None
                moved.size += size or 0
        for trace in traces:
            try:
                self.store.record(trace, in_group=True)
                moved.traces += 1
            except ValueError:  # a blob of it did not come
                moved.missing.append(trace.key)
        self.store.write_index()
        return moved

    def push(self, keys: Iterable[Key]) -> Moved:
        """Send traces and their blobs that the remote lacks, in parallel, each trace after its blobs."""
        moved = Moved()
        if self.address.is_read_only:
            return moved
        traces = [trace for key in dict.fromkeys(keys) if (trace := self.store.lookup(key)) is not None]
        digests = {out.digest: out.size for trace in traces for out in trace.outputs.values()}
        texts = {trace.key: text_of(trace).whole.encode() for trace in traces}  # read here: the index has one thread
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for size in pool.map(lambda digest: self._send(f"cas/{digest}", self.store.cas.path(digest)), digests):
                moved.blobs += size is not None and size > 0
                moved.size += size or 0
            if not self.is_down:
                for size in pool.map(lambda one: self._send(f"ac/{one[0]}", one[1]), texts.items()):
                    moved.traces += size is not None and size > 0
        return moved

    def lacks(self, digests: Collection[Digest]) -> list[Digest]:
        """Return the blobs that the remote does not have; none where it cannot be asked."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            has = list(pool.map(lambda digest: self._attempt(lambda: self._wire.has(f"cas/{digest}"), True), digests))
        return [] if self.is_down else [digest for digest, there in zip(digests, has, strict=True) if not there]

    # One object

    def _trace(self, key: Key) -> Trace | None:
        def fetch() -> Trace | None:
            blocks = self._wire.read(f"ac/{key}", TRACE_BYTES)
            if blocks is None:
                return None
            try:
                return parse_trace(b"".join(blocks), key)
            except ValueError as error:
                raise Poisoned(str(error)) from error

        return self._attempt(fetch, None, f"ac/{key}")

    def _fetch(self, digest: Digest, size: int) -> int | None:
        """Fetch a blob into the local store; return the bytes that came, None without it."""
        return self._attempt(lambda: self._download(digest, size), None, f"cas/{digest}")

    def _download(self, digest: Digest, size: int) -> int | None:
        part = self.store.root / "fetching" / f"{digest}.part"
        files.make_dir(part.parent, 0o700)
        fd = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with open(fd, "r+b") as file:
            known = hashlib.sha256()
            start = 0
            while block := file.read(BLOCK):  # an earlier process was stopped here: continue
                known.update(block)
                start += len(block)
            blocks = self._wire.read(f"cas/{digest}", size or LARGEST, start)
            if blocks is None:
                part.unlink(missing_ok=True)
                return None
            came = 0
            for block in blocks:
                if block == b"" and start:  # the server ignores ranges, and sends the whole
                    file.seek(0)
                    file.truncate()
                    known, start = hashlib.sha256(), 0
                file.write(block)
                known.update(block)
                came += len(block)
                self._progress(len(block))
        if known.hexdigest() != digest:
            part.unlink()
            raise Poisoned(f"its sha256 is {known.hexdigest()[:12]}…")
        self.store.cas.put(part, digest, move=True, is_checked=True)
        return came

    def _send(self, name: str, data: Path | bytes) -> int | None:
        """Send an object that the remote lacks; return the bytes that went, 0 if it has it, None if it failed."""

        def send() -> int:
            if self._wire.has(name):
                return 0
            self._wire.write(name, data)
            size = len(data) if isinstance(data, bytes) else data.stat().st_size
            self._progress(size)
            return size

        return self._attempt(send, None)

    def _attempt(self, act: Callable[[], T], otherwise: T, name: str = "") -> T:
        """Return the result of `act`, or `otherwise` where the remote is down, fails now or sends poison."""
        if self.is_down:
            return otherwise
        try:
            return act()
        except Poisoned as error:
            self._report(problem("D120.poisoned", remote=self.address.shown, name=name, reason=str(error)))
        except RemoteFailed as error:
            with self._mutex:
                is_first, self.is_down = not self.is_down, True
            if is_first:
                self._report(problem("D120.down", remote=self.address.shown, reason=str(error)))
        return otherwise


def _wire(address: RemoteAddress) -> Wire:
    parts = urlsplit(address.url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/"):
        return FolderWire(Path(unquote(parts.path)))
    if parts.scheme in ("http", "https") and parts.hostname:
        return HttpWire(address)
    raise LtxflowError(problem("D121", url=address.shown))


class HttpWire:
    """A remote behind HTTP. Redirects are not followed, so that credentials stay with their origin."""

    def __init__(self, address: RemoteAddress) -> None:
        self._http = httpx.Client(
            base_url=address.url.rstrip("/") + "/",
            headers={"User-Agent": f"ltxflow/{__version__}", "Accept-Encoding": "identity", **address.headers},
            timeout=httpx.Timeout(SILENT_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS),
            follow_redirects=False,
        )

    def has(self, name: str) -> bool:
        with _failing():
            answer = self._http.head(name)
        if answer.status_code in (200, 204):
            return True
        if answer.status_code == 404:
            return False
        raise _refused(answer)

    def read(self, name: str, most: int, start: int = 0) -> Iterator[bytes] | None:
        with _failing():
            request = self._http.build_request("GET", name, headers={"Range": f"bytes={start}-"} if start else {})
            answer = self._http.send(request, stream=True)
        if start and answer.status_code == 416:  # it was complete already
            answer.close()
            return iter(())
        if answer.status_code in (200, 206):
            return self._blocks(answer, most - (start if answer.status_code == 206 else 0))
        answer.close()
        if answer.status_code in (404, 410):
            return None
        raise _refused(answer)

    def _blocks(self, answer: httpx.Response, most: int) -> Iterator[bytes]:
        started, came = time.monotonic(), 0
        try:
            with _failing():
                if answer.status_code == 200:
                    yield b""
                for block in answer.iter_raw():  # as they come: a block of fixed size would wait for a slow sender
                    came += len(block)
                    if came > most:
                        raise Poisoned(f"it is larger than {most} bytes")
                    if time.monotonic() - started > SILENT_S + came / SLOWEST:
                        raise RemoteFailed(f"it sends less than {SLOWEST // 1024} kB a second")
                    yield block
        finally:
            answer.close()

    def write(self, name: str, data: Path | bytes) -> None:
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        content = iter([data]) if isinstance(data, bytes) else _blocks_of(data)
        with _failing():
            answer = self._http.put(name, content=content, headers={"Content-Length": str(size)})
        if answer.status_code not in (200, 201, 202, 204):
            raise _refused(answer)

    def close(self) -> None:
        self._http.close()


class FolderWire:
    """A remote that is a folder, for a network drive: files appear whole, by renaming."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, name: str) -> bool:
        return self._path(name).is_file()

    def read(self, name: str, most: int, start: int = 0) -> Iterator[bytes] | None:
        self._check()
        path = self._path(name)
        try:
            if name.startswith("ac/"):
                return iter([read_bytes(path, most)])
            if path.stat().st_size > most:
                raise Poisoned(f"it is larger than {most} bytes")
            return _blocks_of(path, start)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RemoteFailed((error.strerror or str(error)).lower()) from error

    def write(self, name: str, data: Path | bytes) -> None:
        self._check()
        path = self._path(name)
        temp = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(data, bytes):
                temp.write_bytes(data)
            else:
                shutil.copyfile(data, temp)
            with open(temp, "rb") as file:
                os.fsync(file.fileno())
            temp.replace(path)
        except OSError as error:
            with suppress(OSError):
                temp.unlink()
            raise RemoteFailed((error.strerror or str(error)).lower()) from error

    def close(self) -> None:
        """Nothing is open."""

    def _path(self, name: str) -> Path:
        kind, _, id = name.partition("/")
        return self._root / kind / id[:2] / id

    def _check(self) -> None:
        """Raise RemoteFailed where the drive is not mounted: an empty folder would be filled in its place."""
        if not self._root.is_dir():
            raise RemoteFailed("no such folder")


def _blocks_of(path: Path, start: int = 0) -> Iterator[bytes]:
    with open(path, "rb") as file:
        file.seek(start)
        while block := file.read(BLOCK):
            yield block


@contextmanager
def _failing() -> Iterator[None]:
    """Turn the errors of a connection into RemoteFailed."""
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise RemoteFailed(str(error).lower() or type(error).__name__) from error


def _refused(answer: httpx.Response) -> RemoteFailed:
    return RemoteFailed(f"HTTP {answer.status_code} {answer.reason_phrase}".strip())
