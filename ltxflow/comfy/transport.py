"""Send requests to one server over HTTP and bound its answers in size and time.

Error messages quote the server's reason, shortened, without control characters and without our secrets. Redirects are
not followed. This is the only module of the package that imports httpx.
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
from ltxflow.comfy.replies import (
    NodeError,
    Refused,
    ServerError,
    clean,
    is_transient,
    load_json,
    parse_refusal,
    refused,
)
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem, problem

USER_AGENT = f"ltxflow/{__version__}"

MIB = 2**20
BODY_CAP = 16 * MIB  # a history entry of an error carries the whole prompt, several times
LIST_CAP = 64 * MIB  # /object_info, and /queue of a thousand waiting prompts (6 MB)
ERROR_CAP = 65_536
JSON_DEPTH = 12  # of the details of a refused input: declarations nest less deep

SLOWEST = 64 * 1024  # bytes a second that every answer and file must reach on average
ANSWER_S = 20.0  # added to that, from an answer's first byte to its last

_PROXY_VARIABLES = ("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY")

# Codes that callers compare. The texts are in ltxflow/messages/comfy.py.
REFUSED, NO_ROUTE, UNREACHED, SLOW = "C018", "C019", "C003", "C004"
BROKEN, SERVER_ERROR, TOO_LARGE, OUTPUT_GONE = "C005", "C006", "C012", "C013"
NEVER_SENT = frozenset([REFUSED, NO_ROUTE])
AWAY = frozenset([REFUSED, NO_ROUTE, UNREACHED, SLOW])


class HttpAnswer:
    """An answer whose headers have arrived. Every block of the body extends the time limit for the next."""

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
        """Yield the body in blocks, decoded unless `is_raw`."""
        blocks = self._response.aiter_raw(size) if is_raw else self._response.aiter_bytes(size)
        async for block in blocks:
            self.received += len(block)
            self._give_time()
            yield block


class Transport:
    """Connections to one server, with its headers and certificates.

    Every request raises LtxflowError and nothing else: transient for a connection that fails or breaks, a 5xx or a
    cut body; permanent for a refusal. `what` names the request in messages, such as "reading the queue".
    """

    def __init__(self, server: Server, timeout_s: float, connect_s: float) -> None:
        url, login = normalise(server.url)
        self.server = replace(server, url=url, headers={**login, **server.headers})
        self.timeout_s = timeout_s
        self.slow: set[str] = set()  # paths of GET requests whose answers timed out
        self.is_direct = is_loopback(url)  # no proxy of the environment is used for this machine
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

    # Requests

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
        """Open an answer with status 200 or one of `also`. Raise LtxflowError for any other outcome.

        Its headers must arrive within `patience_s`, its body at SLOWEST or faster plus `grace_s`: a server that sends
        a byte a second counts as silent.
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
            late = problem("C003.no-connection" if is_connect else "C003.no-answer", transient=True)
            raise self.error(what, late) from None
        except httpx.InvalidURL:
            raise self.error(what, problem("C014.url")) from None
        except (httpx.HTTPError, httpx.StreamError, OSError) as error:
            raise self.error(what, _connection_problem(error)) from None

    async def body(self, answer: HttpAnswer, what: str, cap: int) -> bytes:
        """Read an answer to its end. Raise LtxflowError when it is longer than `cap` bytes."""
        blocks, size = [], 0
        async for block in answer.blocks():
            size += len(block)
            if size > cap:
                raise self.error(what, too_large(cap))
            blocks.append(block)
        return b"".join(blocks)

    async def _refusal(self, answer: HttpAnswer, what: str) -> LtxflowError:
        """Return the error for an unexpected status, with the reasons that the body gives."""
        status = answer.status_code
        data = bytearray()
        with suppress(httpx.HTTPError):  # a reason that breaks off counts as none
            async for block in answer.blocks():
                data += block
                if len(data) > ERROR_CAP:
                    break
        if 300 <= status < 400:
            location = clean(redact_url(answer.headers.get("Location", "")), 120)
            return self.error(what, problem("C009.redirect", location=location))
        problems = _reasons(status, answer.reason_phrase, bytes(data[:ERROR_CAP]))
        return self.error(what, *problems)

    async def json(self, method: str, path: str, what: str, *, cap: int = BODY_CAP, **request: Any) -> Any:
        """Send a request, and return the JSON of the answer."""
        async with self.ask(method, path, what, **request) as response:
            data = await self.body(response, what, cap)
        with self.naming(what):
            return load_json(data)

    async def mapping(self, path: str, what: str, cap: int) -> dict[str, Any]:
        """Request a JSON object, and return it."""
        body = await self.json("GET", path, what, cap=cap)
        if not isinstance(body, dict):
            raise self.error(what, problem("C009.shape"))
        return body

    async def post(self, path: str, what: str, body: Mapping[str, Any]) -> None:
        """Send JSON; the answer is a status without a body."""
        async with self.ask("POST", path, what, json=body):
            pass

    # Errors

    def error(self, what: str, *problems: Problem) -> LtxflowError:
        """Return the error for problems of a request, with the server's name and without secrets.

        The request is named too, unless the server is away: then it does not matter.
        """
        shown = []
        for p in map(self._without_secrets, problems):
            parts = [str(self.server), "" if p.code in AWAY else what, p.message]
            message = self._redact(": ".join(part for part in parts if part))
            shown.append(replace(p, message=message, hint=self._redact(p.hint)))
        code = UNREACHABLE if all(p.code in AWAY for p in problems) else FAILED
        return LtxflowError(*shown, exit_code=code)

    @contextmanager
    def naming(self, what: str) -> Iterator[None]:
        """Add the server's name and the request to the errors that a parser raises in the body of the `with`."""
        try:
            yield
        except LtxflowError as error:
            raise self.error(what, *error.problems) from None

    def shown_error(self, error: ServerError) -> ServerError:
        """Return the error of a prompt, without our secrets."""
        return replace(error, kind=self._redact(error.kind), message=self._redact(error.message))

    def _without_secrets(self, found: Problem) -> Problem:
        if not isinstance(found, Refused):
            return found
        reason = found.reason
        texts = {name: self._redact(getattr(reason, name)) for name in ("type", "node", "class_type", "details")}
        return replace(found, reason=NodeError(**texts, extra=self._redact_json(dict(reason.extra), JSON_DEPTH)))

    def _redact_json(self, value: Any, depth: int) -> Any:
        """Return JSON without our secrets, and without values nested deeper than `depth`."""
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


# Problems


def too_large(cap: int) -> Problem:
    return problem("C012", bytes=cap)


def _too_slow(answer: HttpAnswer) -> Problem:
    seconds = asyncio.get_running_loop().time() - answer.since
    received = f"{answer.received:,} byte{'s' if answer.received != 1 else ''}"
    return problem("C004", received=received, seconds=seconds, transient=True)


def _connection_problem(error: Exception) -> Problem:
    """Return the problem for an exception of httpx. Its own text may quote a header."""
    causes = list(_causes(error))
    tls = next((c for c in causes if isinstance(c, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return problem("C016.untrusted", reason=clean(tls.verify_message, 100))
    if isinstance(tls, ssl.SSLError) and isinstance(error, httpx.ConnectError):
        return problem("C016.no-tls", reason=clean(tls.reason, 60))
    if isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol):
        return problem("C014.request")
    strerror = next((_strerror(c) for c in reversed(causes) if isinstance(c, OSError) and c.strerror), "")
    reason = clean(strerror, 80).lower()
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return _unreachable(causes, reason or "no connection")
    if reason:
        return problem("C005.closed-by", reason=reason, transient=True)
    return problem("C005.closed", transient=True)


def _unreachable(causes: Sequence[BaseException], reason: str) -> Problem:
    """Return the problem of a failed connection: refused, without a route, or only silent."""
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return problem("C018", reason=reason, transient=True)
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return problem("C019.name", reason=reason, transient=True)
    if any(isinstance(cause, OSError) and cause.errno in _NO_WAY for cause in causes):
        return problem("C019.route", reason=reason, transient=True)
    return problem("C003.reason", reason=reason, transient=True)


_NO_WAY = frozenset([errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN])


def _strerror(error: OSError) -> str:
    """Return the system's text: asyncio replaces it by "Connect call failed ('127.0.0.1', 8188)"."""
    return os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else str(error.strerror)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else None
        error = inner or error.__cause__ or error.__context__


def _reasons(status: int, phrase: str, data: bytes) -> tuple[Problem, ...]:
    """Return the problems of a refusal, with the reasons that a ComfyUI or a proxy gives."""
    shown = f"{status} {clean(phrase, 60)}".strip()
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if isinstance(body, dict) and (body.get("error") or body.get("node_errors")):
        reasons = parse_refusal(body)
    else:
        text = data.decode("utf-8", "replace").lstrip().removeprefix(shown).lstrip()  # aiohttp begins with it
        reasons = (refused("" if text.startswith("<") else clean(text, 200)),)
    if status == 400 and reasons[0].message:
        return reasons
    return tuple(_with_status(reason, status, shown) for reason in reasons)


def _with_status(refusal: Problem, status: int, shown: str) -> Problem:
    """Return a refusal with the status in its message, and the code and hint of that status."""
    reason = f": {refusal.message}" if refusal.message else ""
    if is_transient(status):
        found = problem("C006", status=shown, reason=reason, transient=True)
    elif status in (401, 403, 407):
        found = problem("C008", status=shown, reason=reason)
    elif status == 404:
        found = problem("C009.not-found", status=shown, reason=reason)
    else:
        found = problem("C007.too-large" if status == 413 else "C007.status", status=shown, reason=reason)
    hint = refusal.hint or found.hint
    return replace(refusal, message=found.message, hint=hint, code=found.code, transient=found.transient)


# Secrets and TLS


def _secrets_of(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return every form in which a server might repeat the values of our headers, longest first."""
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
            raise LtxflowError(problem("C014.header", server=server, header=clean(name, 60)))


@contextmanager
def _proxied(server: Server) -> Iterator[None]:
    """Reword the errors that httpx raises for a proxy of the environment: they may quote its login."""
    try:
        yield
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        variables = ", ".join(_PROXY_VARIABLES)
        raise LtxflowError(problem("C014.proxy", server=server, variables=variables)) from error


def _tls(server: Server) -> ssl.SSLContext | None:
    if not server.url.startswith("https://"):
        return None
    context = httpx.create_ssl_context()
    if server.ca_file is not None:
        try:
            context.load_verify_locations(server.ca_file)
        except (OSError, ssl.SSLError) as error:
            reason = clean(error.strerror or "not PEM", 80).lower()
            raise LtxflowError(problem("C016.ca-file", server=server, file=server.ca_file, reason=reason)) from error
    return context
