"""Carries HTTP/1.1 to one server over a few connections that are kept, as a transport of httpx. Knows no ComfyUI.

httpx's own transport costs five times as much a request, and a build asks hundreds of times. This one does less: no
proxy, no HTTP/2, no other server than one. h11 does the protocol. The only importer of h11.
"""

from __future__ import annotations

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping

import h11
import httpx

MOST, KEPT_S = 8, 5.0  # connections at a time; seconds that one is kept without a request
_HEAD_CAP = 100 * 1024  # bytes of a head; a proxy may add cookies
_BACKLOG = 1 << 20  # bytes that came and were not read yet, after which the server has to wait
_AT_ONCE = 64 * 1024  # bytes of a request that are put together before they are sent: most go in one packet
_ERRNO = re.compile(r"\[Errno (\d+)\]")


class Direct(httpx.AsyncBaseTransport):
    """Connections to one origin. Timeouts are those in the request's extensions, as httpx puts them there.

    Raises what httpx's own transport raises, each with what was the cause of it. `ask` is the same without an
    httpx.Request, whose making costs as much as the question.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._host, self._port = _origin(httpx.URL(url))
        self._idle: list[tuple[_Line, float]] = []  # with since when; the last one is used next
        self._open: set[_Line] = set()
        self._places = asyncio.Semaphore(MOST)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        head = head_of(request.method, request.url.raw_path, request.headers.raw)
        return await self.ask(head, request.stream, request.extensions["timeout"])

    async def ask(
        self, asked: h11.Request, body: AsyncIterable[bytes] | bytes, timeout: Mapping[str, float]
    ) -> httpx.Response:
        """Given the head and the body of a request, return the answer, with its body still to come."""
        await self._enter(timeout["pool"])
        line = None
        try:
            line = self._kept() or await self._connected(timeout["connect"])
            await line.send(asked, body, timeout["write"])
            head = await line.head(timeout["read"])
        except BaseException:
            self._leave(line)
            raise
        line_left = line
        body = _Body(line, timeout["read"], lambda: self._leave(line_left))
        extensions = {"http_version": b"HTTP/" + head.http_version, "reason_phrase": bytes(head.reason)}
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=body, extensions=extensions)

    async def aclose(self) -> None:
        for line in self._open:
            line.abort()
        self._open.clear()
        self._idle.clear()

    async def _enter(self, wait_s: float) -> None:
        if not self._places.locked():
            await self._places.acquire()
            return
        try:
            async with asyncio.timeout(wait_s):
                await self._places.acquire()
        except TimeoutError as error:
            raise httpx.PoolTimeout("all connections are in use") from error

    def _kept(self) -> _Line | None:
        """A connection that is open and idle, the one that was used last; those that are too old are closed."""
        oldest = asyncio.get_running_loop().time() - KEPT_S
        while self._idle:
            line, since = self._idle.pop()
            if line.is_open and since >= oldest:
                return line
            self._drop(line)
        return None

    async def _connected(self, wait_s: float) -> _Line:
        loop, delay_s = asyncio.get_running_loop(), None if _is_address(self._host) else 0.25
        try:
            async with asyncio.timeout(wait_s):
                _, line = await loop.create_connection(
                    _Line, self._host, self._port, ssl=self._tls, happy_eyeballs_delay=delay_s
                )
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except OSError as error:
            raise httpx.ConnectError(str(error)) from _named(error)
        self._open.add(line)
        return line

    def _leave(self, line: _Line | None) -> None:
        """Give the place of a request to the next one, and keep its connection if that is through with it."""
        self._places.release()
        if line is None:
            return
        if line.is_ready_again():
            self._idle.append((line, asyncio.get_running_loop().time()))
        else:
            self._drop(line)

    def _drop(self, line: _Line) -> None:
        line.abort()
        self._open.discard(line)


def head_of(method: str, target: bytes, headers: list[tuple[bytes, bytes]]) -> h11.Request:
    """Given a request's first line and its headers, return its head. Raise httpx.LocalProtocolError for a wrong one."""
    try:
        return h11.Request(method=method, target=target, headers=headers)
    except h11.LocalProtocolError as error:
        raise httpx.LocalProtocolError(str(error)) from error


def _origin(url: httpx.URL) -> tuple[str, int]:
    return url.host, url.port or (443 if url.scheme == "https" else 80)


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def _named(error: OSError) -> OSError:
    """Of several addresses that were tried in vain asyncio tells only a text: the first reason in it counts."""
    told = None if error.errno else _ERRNO.search(str(error))
    return OSError(int(told[1]), os.strerror(int(told[1]))) if told else error


class _Line(asyncio.Protocol):
    """One connection: it sends a request, then reads the answer, one after the other."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD_CAP)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._ended = False
        self._cause: Exception | None = None  # of an end that was none of the server's intentions
        self._unread = 0  # bytes since all that came was read
        self._is_held = False  # the server has to wait until something is read
        self._news: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None  # while what was written has not gone out

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._http.receive_data(data)
        self._unread += len(data)
        if self._unread > _BACKLOG and not self._is_held and self._transport is not None:
            self._is_held = True
            self._transport.pause_reading()
        _wake(self._news)

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        _wake(room)

    def _end(self, cause: Exception | None) -> None:
        if not self._ended:
            self._ended, self._cause = True, cause
            if cause is None:
                self._http.receive_data(b"")
        _wake(self._news)
        self.resume_writing()

    # What the transport asks for

    @property
    def is_open(self) -> bool:
        """Whether an idle connection may be used: the server has not closed it, nor sent what nobody asked for."""
        return not self._ended and not self._unread

    def is_ready_again(self) -> bool:
        """Whether the request is sent and its answer read, to the last byte; if so, the next one may come."""
        if self._ended or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._unread = len(self._http.trailing_data[0])
        self._http.start_next_cycle()
        return True

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    async def send(self, asked: h11.Request, body: AsyncIterable[bytes] | bytes, wait_s: float) -> None:
        """Send a request. A server that hangs up meanwhile may have said why: that is no error, its answer counts."""
        assert self._transport is not None
        try:
            waiting = self._http.send(asked) or b""
            async for part in _parts(body):
                waiting += self._http.send(h11.Data(data=part)) or b""
                if len(waiting) > _AT_ONCE:
                    self._transport.write(waiting)
                    waiting = b""
                    if not await self._has_room(wait_s):
                        return
            waiting += self._http.send(h11.EndOfMessage()) or b""
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from error
        self._transport.write(waiting)
        await self._has_room(wait_s)

    async def _has_room(self, wait_s: float) -> bool:
        """Wait until what was written has gone out; tell whether the connection still stands."""
        if self._room is not None:
            await self._wait(self._room, wait_s, httpx.WriteTimeout)
        return not self._ended

    async def head(self, wait_s: float) -> h11.Response:
        while True:
            event = await self.event(wait_s)
            if isinstance(event, h11.Response):
                return event
            if not isinstance(event, h11.InformationalResponse):
                raise httpx.RemoteProtocolError("no answer came")

    async def event(self, wait_s: float) -> h11.Event | type[h11.PAUSED]:
        """Return the next part of the answer."""
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                raise httpx.RemoteProtocolError(str(error)) from error
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # mypy does not narrow by `is not`
            if self._ended:
                raise httpx.ReadError("the connection was lost") from self._cause
            self._unread = 0
            self._news = self._loop.create_future()
            if self._is_held and self._transport is not None:
                self._is_held = False
                self._transport.resume_reading()
            await self._wait(self._news, wait_s, httpx.ReadTimeout)

    async def _wait(self, news: asyncio.Future[None], wait_s: float, late: type[httpx.TimeoutException]) -> None:
        def expire() -> None:
            if not news.done():
                news.set_exception(late("no word in time"))

        timer = self._loop.call_later(wait_s, expire)
        try:
            await news
        finally:
            timer.cancel()


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as it comes. Closed, it gives the connection back."""

    def __init__(self, line: _Line, wait_s: float, leave: Callable[[], None]) -> None:
        self._line, self._wait_s, self._leave = line, wait_s, leave
        self._is_closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(event := await self._line.event(self._wait_s), h11.Data):
            yield event.data

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._leave()


async def _parts(body: AsyncIterable[bytes] | bytes) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        if body:
            yield body
        return
    async for part in body:
        yield part


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
