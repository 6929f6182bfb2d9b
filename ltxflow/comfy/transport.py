"""One server over HTTP: a question goes out, an answer within bounds comes back. What goes wrong is told in our words.

Messages quote the server's reason, shortened, without control characters and without any secret of ours. No redirect
is followed. Knows no route of ComfyUI. The only importer of httpx in this room.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import errno
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx

from ltxflow import __version__
from ltxflow.comfy.discovery import Server, is_loopback, normalise, redact_url
from ltxflow.comfy.replies import NodeError, Refused, ServerError, is_transient, load_json, parse_refusal
from ltxflow.comfy.untrusted import clean
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem

USER_AGENT = f"ltxflow/{__version__}"

MIB = 2**20
BODY_CAP = 16 * MIB  # a history entry of an error carries the whole prompt, several times
LIST_CAP = 64 * MIB  # /object_info, and /queue of a thousand waiting prompts (6 MB)
ERROR_CAP = 65_536
JSON_DEPTH = 12  # of what a server says of a refused input: declarations nest less deep

SLOWEST = 64 * 1024  # bytes a second that any answer and any file must reach in the long run
ANSWER_S = 20.0  # on top of that, from an answer's first byte to its last

_PROXY_VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")


# Codes of what keeps a question from being asked at all.
REFUSED, NO_ROUTE, UNREACHED, SLOW = "connection-refused", "no-route", "unreachable", "slow"
NEVER_SENT = frozenset([REFUSED, NO_ROUTE])
AWAY = frozenset([REFUSED, NO_ROUTE, UNREACHED, SLOW])


class HttpAnswer:
    """An answer whose headers are there: its body comes in blocks, each of which gives the next one time."""

    def __init__(self, response: httpx.Response, clock: asyncio.Timeout, grace_s: float) -> None:
        self.status_code, self.headers = response.status_code, response.headers
        self.reason_phrase = response.reason_phrase
        self.received = 0  # bytes
        self.since = asyncio.get_running_loop().time()
        self.grace_s = grace_s
        self._response, self._clock = response, clock
        self._give_time()

    def _give_time(self) -> None:
        self._clock.reschedule(self.since + self.grace_s + self.received / SLOWEST)

    async def blocks(self, size: int | None = None, *, is_raw: bool = False) -> AsyncIterator[bytes]:
        """Yield the body as it comes, decoded unless `is_raw`."""
        blocks = self._response.aiter_raw(size) if is_raw else self._response.aiter_bytes(size)
        async for block in blocks:
            self.received += len(block)
            self._give_time()
            yield block


class Transport:
    """Connections to one server, with its headers and certificates.

    Every question raises LtxflowError and nothing else: transient for a connection that fails or breaks, a 5xx or a
    cut body; permanent for what the server refuses. `what` says what is being done, for the message.
    """

    def __init__(self, server: Server, timeout_s: float, connect_s: float) -> None:
        url, login = normalise(server.url)
        self.server = replace(server, url=url, headers={**login, **server.headers})
        self.timeout_s = timeout_s
        self.slow: set[str] = set()  # paths of GET questions whose answers did not come to an end
        self.is_direct = is_loopback(url)  # no proxy of the environment stands before this machine
        _check_headers(self.server)
        self._secrets = _secrets_of(self.server.headers)
        self.tls = _tls(self.server)
        with _proxied(self.server):
            self._http = httpx.AsyncClient(
                headers={"User-Agent": USER_AGENT, **self.server.headers},
                verify=self.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                trust_env=not self.is_direct,
                follow_redirects=False,
                timeout=httpx.Timeout(timeout_s, connect=connect_s),
                limits=httpx.Limits(max_connections=8, max_keepalive_connections=4),
            )

    async def close(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    # Questions

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        path: str,
        what: str,
        *,
        also: Collection[int] = (),
        patience_s: float | None = None,
        grace_s: float = ANSWER_S,
        **request: Any,
    ) -> AsyncIterator[HttpAnswer]:
        """Open an answer with status 200 or one of `also`. Raise LtxflowError for others and for none.

        Its headers must come within `patience_s`, its body at SLOWEST or faster, and `grace_s` on top: a server that
        sends a byte a second is as good as silent.
        """
        answer: HttpAnswer | None = None
        try:
            async with (
                asyncio.timeout(patience_s or self.timeout_s) as clock,
                self._http.stream(method, self.server.url + path, **request) as response,
            ):
                answer = HttpAnswer(response, clock, min(grace_s, self.timeout_s))
                if response.status_code != 200 and response.status_code not in also:
                    raise await self._refusal(answer, what)
                yield answer
                self.slow.discard(path)
        except (TimeoutError, httpx.TimeoutException) as error:
            if answer is not None:
                if method == "GET" and "params" not in request:
                    self.slow.add(path)
                raise self.error(what, _too_slow(answer)) from None
            is_connect = isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout)
            reason = "no connection in time" if is_connect else "no answer in time"
            raise self.error(what, _unreachable(reason)) from None
        except httpx.InvalidURL:
            raise self.error(what, Problem("its address is not valid", code="server-url")) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise self.error(what, _connection_problem(error)) from None

    async def body(self, answer: HttpAnswer, what: str, cap: int) -> bytes:
        """Read an answer to its end. Raise LtxflowError when it is longer than `cap` bytes."""
        blocks, size = [], 0
        async for block in answer.blocks():
            size += len(block)
            if size > cap:
                raise self.error(what, too_big(cap))
            blocks.append(block)
        return b"".join(blocks)

    async def _refusal(self, answer: HttpAnswer, what: str) -> LtxflowError:
        """Return the error for a status that was not hoped for, with the reasons the body gives."""
        status = answer.status_code
        data = bytearray()
        with suppress(httpx.HTTPError):  # a reason that breaks off is as good as none
            async for block in answer.blocks():
                data += block
                if len(data) > ERROR_CAP:
                    break
        if 300 <= status < 400:
            to = clean(redact_url(answer.headers.get("Location", "")), 120)
            hint = "redirects are not followed: give the final address, or sign in at the proxy"
            problem = Problem(f'it redirects to "{to}"', hint=hint, code="server-answer")
            return self.error(what, problem)
        problems = _reasons(status, answer.reason_phrase, bytes(data[:ERROR_CAP]))
        return self.error(what, *problems)

    async def json(self, method: str, path: str, what: str, *, cap: int = BODY_CAP, **request: Any) -> Any:
        """Ask, and return what the JSON of the answer says."""
        async with self.ask(method, path, what, **request) as response:
            data = await self.body(response, what, cap)
        with self.saying(what):
            return load_json(data)

    async def mapping(self, path: str, what: str, cap: int) -> dict[str, Any]:
        """Ask for a JSON object, and return it."""
        body = await self.json("GET", path, what, cap=cap)
        if not isinstance(body, dict):
            raise self.error(what, Problem("the answer has another form than ComfyUI's", code="server-answer"))
        return body

    async def post(self, path: str, what: str, body: Mapping[str, Any]) -> None:
        """Tell something that is answered without a word."""
        async with self.ask("POST", path, what, json=body):
            pass  # 200 with an empty body, whatever was asked

    # Words

    def _head(self, what: str) -> str:
        return self._redact(f"{self.server}: {what}")

    def error(self, what: str, *problems: Problem) -> LtxflowError:
        """Return the error for problems: who said it and to which question, then what."""
        told = [
            replace(p, message=f"{self._head(what)}: {self._redact(p.message)}", hint=self._redact(p.hint))
            for p in map(self._without_secrets, problems)
        ]
        code = UNREACHABLE if all(p.code in AWAY for p in problems) else FAILED
        return LtxflowError(*told, exit_code=code)

    @contextmanager
    def saying(self, what: str) -> Iterator[None]:
        """Put the server's name and the question before what a parser complains of."""
        try:
            yield
        except LtxflowError as error:
            raise self.error(what, *error.problems) from None

    def shown_error(self, error: ServerError) -> ServerError:
        """Return why a prompt died, without our secrets."""
        return replace(error, kind=self._redact(error.kind), message=self._redact(error.message))

    def _without_secrets(self, problem: Problem) -> Problem:
        if not isinstance(problem, Refused):
            return problem
        reason = problem.reason
        texts = {name: self._redact(getattr(reason, name)) for name in ("type", "node", "class_type", "details")}
        return replace(problem, reason=NodeError(**texts, extra=self._redact_json(dict(reason.extra), JSON_DEPTH)))

    def _redact_json(self, value: Any, depth: int) -> Any:
        """Return JSON without our secrets, and without what is nested deeper than `depth`."""
        if isinstance(value, str):
            return self._redact(value)
        if not isinstance(value, (dict, list)):
            return value
        if isinstance(value, list):
            return [self._redact_json(part, depth - 1) for part in value] if depth else []
        return {self._redact(name): self._redact_json(part, depth - 1) for name, part in value.items()} if depth else {}

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
            for length in range(len(secret) - 1, 3, -1):  # cut in the middle by shortening
                text = text.replace(secret[:length] + "…", "…")
        return text


# What went wrong


def too_big(cap: int) -> Problem:
    return Problem(f"more than {cap:,} bytes came", hint="is this the right server?", code="too-big")


def broken(how: str) -> Problem:
    return Problem(how, code="connection", transient=True)


def _unreachable(why: str, code: str = UNREACHED) -> Problem:
    hint = "is ComfyUI running there, and does it listen on that address?"
    return Problem(why, hint=hint, code=code, transient=True)


def _too_slow(answer: HttpAnswer) -> Problem:
    seconds = asyncio.get_running_loop().time() - answer.since
    came = f"{answer.received:,} byte{'s' if answer.received != 1 else ''}"
    hint = "is the server overloaded, or the way to it?"
    return Problem(f"its answer comes too slowly: {came} in {seconds:.0f} s", hint=hint, code=SLOW, transient=True)


def _connection_problem(error: Exception) -> Problem:
    """Given what httpx raised, return it in our words: its own may quote a header."""
    causes = list(_causes(error))
    tls = next((c for c in causes if isinstance(c, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        hint = "name the CA that signed it by ca_file in the user config"
        return Problem(f"its certificate is not trusted: {clean(tls.verify_message, 100)}", hint=hint, code="tls")
    if isinstance(tls, ssl.SSLError) and isinstance(error, httpx.ConnectError):
        return Problem(f"no TLS there: {clean(tls.reason, 60)}", hint="try http:// instead", code="tls")
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return Problem("the request cannot be sent", hint="check the address and its headers", code="server-url")
    reason = next((_strerror(c) for c in reversed(causes) if isinstance(c, OSError) and c.strerror), None)
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return _unreachable(clean(reason, 80).lower() if reason else "no connection", _code_of(causes))
    return broken(f"the connection broke off{f' ({clean(reason, 80).lower()})' if reason else ''}")


def _code_of(causes: Sequence[BaseException]) -> str:
    """Return the code of a connection that failed: refused, without a route, or only silent."""
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return REFUSED
    is_lost = any(isinstance(c, socket.gaierror) or (isinstance(c, OSError) and c.errno in _NO_WAY) for c in causes)
    return NO_ROUTE if is_lost else UNREACHED


_NO_WAY = frozenset([errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN])


def _strerror(error: OSError) -> str:
    """What the system calls it: asyncio says "Connect call failed ('127.0.0.1', 8188)" instead."""
    return os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else str(error.strerror)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = inner or error.__cause__ or error.__context__


def _reasons(status: int, phrase: str, data: bytes) -> tuple[Problem, ...]:
    """Given a refusal, return its problems, with the reasons that a ComfyUI or a proxy gives."""
    shown = f"{status} {clean(phrase, 60)}".strip()
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        told = None
    if isinstance(told, dict) and (told.get("error") or told.get("node_errors")):
        reasons = parse_refusal(told)
    else:
        text = data.decode("utf-8", "replace").lstrip().removeprefix(shown).lstrip()  # aiohttp begins with it
        reasons = (Problem("" if text.startswith("<") else clean(text, 200), code="refused"),)
    if is_transient(status):
        return tuple(
            replace(r, message=_joined(f"it answered {shown}", r.message), code="server-error", transient=True)
            for r in reasons
        )
    if status == 400 and reasons[0].message:
        return reasons
    code, hint = _HINTS.get(status, ("refused", ""))
    return tuple(
        replace(r, message=_joined(f"it answered {shown}", r.message), hint=r.hint or hint, code=code) for r in reasons
    )


_ACCESS = "give what its proxy asks for by headers_from_env in the user config"
_HINTS = {
    401: ("denied", _ACCESS),
    403: ("denied", _ACCESS),
    404: ("server-answer", "is this a ComfyUI server? check the address and its path"),
    407: ("denied", _ACCESS),
    413: ("refused", "start ComfyUI with a larger --max-upload-size, or raise the limit of its proxy"),
}


def _joined(*parts: str) -> str:
    return ": ".join(part for part in parts if part)


# Secrets and TLS


def _secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return every form in which a server might repeat what our headers hold, the longest first."""
    found: set[str] = set()
    for value in headers.values():
        scheme, _, token = value.partition(" ")
        forms = [value, token.strip()]
        if scheme.lower() == "basic":
            with suppress(binascii.Error, ValueError):
                login = base64.b64decode(token, validate=True).decode("utf-8", "replace")
                forms += [login, login.partition(":")[2]]
        found |= {shape for form in forms for shape in (form, clean(form, len(form)), quote(form, safe=""))}
    return tuple(sorted((s for s in found if len(s) >= 3), key=len, reverse=True))


def _check_headers(server: Server) -> None:
    for name, value in server.headers.items():
        if not (name.isascii() and name.isprintable() and value.isascii() and value.isprintable()):
            shown = clean(name, 60)
            problem = Problem(f'{server}: the header "{shown}" holds characters that cannot be sent', code="server-url")
            raise LtxflowError(problem)


@contextmanager
def _proxied(server: Server) -> Iterator[None]:
    """Put in our words what httpx says of a proxy that the environment names: it may quote its login."""
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        raise LtxflowError(
            Problem(
                f"{server}: the proxy that the environment names for it cannot be used",
                hint=f"add its host to NO_PROXY, or correct {', '.join(_PROXY_VARIABLES)}; SOCKS is not supported",
                code="server-url",
            )
        ) from error


def _tls(server: Server) -> ssl.SSLContext | None:
    if not server.url.startswith("https://"):
        return None
    context = httpx.create_ssl_context()
    if server.ca_file is not None:
        try:
            context.load_verify_locations(server.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = clean(error.strerror or "not PEM", 80).lower()
            problem = Problem(
                f'{server}: the CA file "{server.ca_file}" cannot be used: {reason}',
                hint="give a file of PEM certificates",
                code="tls",
            )
            raise LtxflowError(problem) from error
    return context
