"""Who may ask the board, and from where: a secret in the first URL, then a cookie; Host, Origin and method are checked.

A page of another site can send requests to a server on this machine. It cannot read the secret, and a browser sends
neither the cookie (SameSite=Strict) nor our header with them. The Host is checked since a name of another site may be
made to point to this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADERS: Mapping[str, str] = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
TOKEN, CSRF = "token", "x-csrf-token"
READING, WRITING = ("GET", "HEAD"), ("POST",)


@dataclass(frozen=True)
class Keys:
    """The secrets of one run of the board, and the address that it is served at."""

    host: str  # the address it listens on
    port: int
    is_read_only: bool = False
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    cookie: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)

    @property
    def cookie_name(self) -> str:
        return f"ltxflow-board-{self.port}"  # cookies are shared by all ports of a host

    @property
    def is_local(self) -> bool:
        return is_loopback(self.host)

    @property
    def url(self) -> str:
        """The first URL, which has the secret."""
        anywhere = self.host in ("0.0.0.0", "::")
        host = "127.0.0.1" if anywhere else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/?{TOKEN}={self.token}"

    def is_own_host(self, host: str) -> bool:
        """Return whether a Host header names this server: by an address, or as localhost; never by another name."""
        name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if not port.isdecimal() or int(port) != self.port:
            return False
        name = name.strip("[]").lower()
        if name in ("localhost", self.host.lower()):
            return True
        if self.is_local:
            return is_loopback(name)
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def is_loopback(name: str) -> bool:
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


@dataclass
class Guard:
    """Answers what may not pass, and gives every answer the headers that confine a page."""

    app: App
    keys: Keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))

        async def send_confined(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await (refusal or self.app)(scope, receive, send_confined)

    def _refusal(self, scope: Scope, headers: Headers) -> App | None:
        keys, method = self.keys, scope["method"]
        if headers.getlist("host") != [host := headers.get("host", "")] or not keys.is_own_host(host):
            return PlainTextResponse("this board is not served under that name\n", 421)
        if method not in (*READING, *WRITING):
            return PlainTextResponse("the board knows GET, HEAD and POST\n", 405, {"allow": "GET, HEAD, POST"})
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return PlainTextResponse("a page of another site asked\n", 403)
        if method in READING and (entry := self._entry(scope)) is not None:
            return entry
        cookie = cookie_parser(headers.get("cookie", "")).get(keys.cookie_name, "")
        if not _same(cookie, keys.cookie):
            return PlainTextResponse(
                "This is the board of a film. Open it with the address that `ltxflow board` printed.\n", 403
            )
        if method in READING:
            return None
        if keys.is_read_only:
            return PlainTextResponse("this board is read-only\n", 403)
        if origin is None or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return PlainTextResponse("a page of another site asked\n", 403)
        if not _same(headers.get(CSRF, ""), keys.csrf):
            return PlainTextResponse("the page is older than this board; load it again\n", 403)
        return None

    def _entry(self, scope: Scope) -> App | None:
        """Return the answer to a URL with the secret: the cookie, and the same page without the secret."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == TOKEN]
        if not given:
            return None
        if not _same(given[0], self.keys.token):
            return PlainTextResponse("that address is of an earlier board; look for the new one\n", 403)
        rest = urlencode([(name, value) for name, value in query if name != TOKEN])
        path = "/" + str(scope["path"]).lstrip("/\\")  # never another host
        answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
        answer.set_cookie(self.keys.cookie_name, self.keys.cookie, httponly=True, samesite="strict", path="/")
        return answer


def _same(given: str, wanted: str) -> bool:
    return secrets.compare_digest(given.encode(), wanted.encode())
