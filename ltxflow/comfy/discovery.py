"""Where the servers are, and why there. Reads no file but the route table, and asks no server."""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from ltxflow.core.errors import LtxflowError, Problem, Span

GATEWAY_PORTS = (8001, 8000, 8188)
LOOPBACK_PORTS = (8188, 8000)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, a header's name
_OURS = frozenset({"host", "origin", "connection", "upgrade", "content-length", "transfer-encoding"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_EXAMPLE = "write it as http://127.0.0.1:8188 or https://example.org/comfy"


@dataclass(frozen=True, repr=False)
class Server:
    """How to reach a server. Headers go to this origin only; neither they nor a login show in text."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    ca_file: Path | None = None
    name: str = ""

    def __str__(self) -> str:
        return self.name or redact_url(self.url)

    def __repr__(self) -> str:
        return f"Server({redact_url(self.url)!r}, name={self.name!r}, headers={sorted(self.headers)})"


@dataclass(frozen=True)
class ServerAddress:
    """A server and who named it. A guess is only worth using if it answers."""

    server: Server
    reason: str
    is_guess: bool = False

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def headers(self) -> Mapping[str, str]:
        return self.server.headers


@dataclass(frozen=True)
class _Configured:
    """An entry of `servers:` in the user config, its secrets not looked up yet."""

    name: str
    url: str
    login: Mapping[str, str] = field(repr=False)
    headers_from_env: Mapping[str, str]
    ca_file: Path | None


def read_gateway() -> str | None:
    """Return the address of the Windows host when this is WSL, else None."""
    try:
        version = Path("/proc/version").read_text(encoding="utf-8", errors="replace")
        route = Path("/proc/net/route").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return wsl_gateway(version, route)


def find_servers(
    args: Sequence[str],
    env: Mapping[str, str],
    config: Mapping[str, Any],
    project_default: str | None = None,
    gateway: Callable[[], str | None] = read_gateway,
) -> list[ServerAddress]:
    """Given what names servers, return those of the strongest source, in order, each once.

    `config` has `servers:` of the user config, and `spans`, where each of them is written, if that is known.
    Strongest first: `--server`, `LTXFLOW_SERVERS`, `servers:` of the user config, `COMFY_URL`, `COMFYUI_URL`,
    the project's default (give it only when the user trusts it), and at last guesses for the caller to probe:
    WSL's gateway and loopback. Wherever an address comes from, what the user config has for its origin
    (headers, CA file) goes with it, and a configured name stands for its address. Raise LtxflowError for an
    address that is none, or a header whose variable is not set.
    """
    configured = _configured(config)
    listed = [s for s in re.split(r"[,\s]+", env.get("LTXFLOW_SERVERS", "")) if s]
    named: tuple[tuple[str, Sequence[str]], ...] = (
        ("--server", args),
        ("LTXFLOW_SERVERS", listed),
        ("user config", [c.name for c in configured]),
        *((name, [env[name].strip()]) for name in ("COMFY_URL", "COMFYUI_URL") if env.get(name, "").strip()),
        ("the project's default, trusted", [project_default] if project_default else []),
    )
    for reason, texts in named:
        if texts:
            return _once(ServerAddress(_server(text, configured, env, reason), reason) for text in texts)
    return _once(ServerAddress(_server(u, configured, env, why), why, is_guess=True) for u, why in _guesses(gateway()))


def _guesses(gateway: str | None) -> Iterator[tuple[str, str]]:
    if gateway:
        yield from ((f"http://{gateway}:{port}", "the Windows host, seen from WSL") for port in GATEWAY_PORTS)
    yield from ((f"http://127.0.0.1:{port}", "ComfyUI's usual port here") for port in LOOPBACK_PORTS)


def _once(places: Iterator[ServerAddress]) -> list[ServerAddress]:
    kept: dict[str, ServerAddress] = {}
    for place in places:
        kept.setdefault(place.url, place)
    return list(kept.values())


def _server(text: str, configured: Sequence[_Configured], env: Mapping[str, str], reason: str) -> Server:
    entry = next((c for c in configured if c.name == text), None)
    url, login = (entry.url, entry.login) if entry else normalise(text, reason)
    entry = entry or next((c for c in configured if c.url == url), None)
    match = entry or next((c for c in configured if origin(c.url) == origin(url)), None)
    if match is None:
        return Server(url, MappingProxyType(dict(login)), None, _name_of(url))
    headers = {**match.login, **login, **_secrets(match, env)}
    return Server(url, MappingProxyType(headers), match.ca_file, entry.name if entry else _name_of(url))


def _secrets(entry: _Configured, env: Mapping[str, str]) -> dict[str, str]:
    headers = {}
    for header, variable in entry.headers_from_env.items():
        value = env.get(variable, "").strip()
        if not value:
            raise LtxflowError(
                Problem(
                    f'server "{entry.name}": the variable "{variable}" for its header "{header}" is not set',
                    hint=f"set {variable} to the header's whole value, such as: Bearer abc",
                    code="server-secret",
                )
            )
        if not (value.isascii() and value.isprintable()):
            raise LtxflowError(
                Problem(
                    f'server "{entry.name}": the variable "{variable}" holds what no header can carry',
                    hint="only printable ASCII is possible there",
                    code="server-secret",
                )
            )
        headers[header] = value
    return headers


def _configured(config: Mapping[str, Any]) -> list[_Configured]:
    entries = config.get("servers") or []
    if not isinstance(entries, list):
        raise _bad_config('"servers" is not a list', "write a list of addresses, or of name and url")
    spans: Sequence[Span | None] = config.get("spans") or [None] * len(entries)
    found = [_entry_at(entry, span) for entry, span in zip(entries, spans, strict=True)]
    names = [c.name for c in found]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise _bad_config(f'two servers are named "{twice}"', "give one of them another name")
    return found


def _entry_at(entry: object, span: Span | None) -> _Configured:
    try:
        return _entry(entry)
    except LtxflowError as error:
        raise LtxflowError(*(replace(problem, span=span) for problem in error.problems)) from None


def _entry(entry: object) -> _Configured:
    if isinstance(entry, str):
        entry = {"url": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
        raise _bad_config("a server has no url", "each entry is an address, or has at least a url")
    unknown = set(entry) - {"name", "url", "headers_from_env", "ca_file"}
    if unknown:
        raise _bad_config(
            f'a server has an unknown key "{min(map(str, unknown))}"',
            "known are name, url, headers_from_env and ca_file",
        )
    url, login = normalise(entry["url"], "user config")
    name, ca_file, headers = entry.get("name"), entry.get("ca_file"), entry.get("headers_from_env") or {}
    if not isinstance(name, str | None) or not isinstance(ca_file, str | None):
        raise _bad_config(f'server "{url}": name and ca_file are text', "put quotes around them")
    if not isinstance(headers, dict) or not all(isinstance(x, str) for pair in headers.items() for x in pair):
        raise _bad_config(
            f'server "{url}": headers_from_env is not a mapping of header to variable',
            "write  headers_from_env: { Authorization: COMFY_TOKEN }",
        )
    for header in headers:
        if not _TOKEN.fullmatch(header) or header.lower() in _OURS:
            raise _bad_config(f'server "{url}": the header "{header}" cannot be set', "leave it out")
    path = Path(os.path.expanduser(ca_file)) if ca_file else None
    return _Configured(name or _name_of(url), url, login, dict(headers), path)


def _bad_config(message: str, hint: str) -> LtxflowError:
    return LtxflowError(Problem(f"user config: {message}", hint=hint, code="user-config"))


# Addresses


def normalise(text: str, reason: str = "") -> tuple[str, dict[str, str]]:
    """Given an address as people write it, return its bare URL, and its login as a header.

    `host:port` is taken as http; a path prefix stays. Raise LtxflowError, quoting no login, for what is none.
    """
    written = text.strip()
    try:
        url = urlsplit(written if "://" in written else f"http://{written}")
        port = url.port
    except ValueError as error:
        raise _bad_address(text, reason, "it does not read as one") from error
    if url.scheme not in _DEFAULT_PORTS:
        raise _bad_address(text, reason, f'"{url.scheme}" is neither http nor https')
    if not url.hostname or re.search(r"[\s\x00-\x1f\x7f\\<>\"]", written):
        raise _bad_address(text, reason, "it names no host" if not url.hostname else "it has odd characters")
    if url.query or url.fragment:
        raise _bad_address(text, reason, "it has a query", "give a token by headers_from_env in the user config")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    if ":" in url.hostname and not _is_ip(url.hostname):
        raise _bad_address(text, reason, "it does not read as one")
    shown = host if port in (None, _DEFAULT_PORTS[url.scheme]) else f"{host}:{port}"
    return f"{url.scheme}://{shown}{url.path.rstrip('/')}", _login(url)


def _login(url: SplitResult) -> dict[str, str]:
    if url.username is None and url.password is None:
        return {}
    login = f"{unquote(url.username or '')}:{unquote(url.password or '')}".encode()
    return {"Authorization": "Basic " + base64.b64encode(login).decode()}


def _bad_address(text: str, reason: str, why: str, hint: str = _EXAMPLE) -> LtxflowError:
    shown = "".join(c for c in redact_url(text.strip()) if c.isprintable())[:120]
    source = f"{reason}: " if reason else ""
    return LtxflowError(Problem(f'{source}"{shown}" is no address of a server: {why}', hint=hint, code="server-url"))


def redact_url(text: str) -> str:
    """Given an address, good or bad, return it without its query and what stands before the host's `@`."""
    text = re.sub(r"^([a-zA-Z][\w+.-]*://)?.*@", r"\1…@", text, flags=re.DOTALL)
    return re.sub(r"[?#].*", "?…", text, flags=re.DOTALL)


def origin(url: str) -> tuple[str, str, int]:
    """Given a normalised URL, return its scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def is_loopback(url: str) -> bool:
    """Given a normalised URL, return whether it means this machine, by its name alone."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return _is_ip(host) and ipaddress.ip_address(host).is_loopback


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _name_of(url: str) -> str:
    return url.split("://", 1)[1]


# WSL


def wsl_gateway(version: str, route: str) -> str | None:
    """Given `/proc/version` and `/proc/net/route`, return the Windows host's address when this is WSL."""
    return default_gateway(route) if "microsoft" in version.lower() else None


def default_gateway(route: str) -> str | None:
    """Given `/proc/net/route`, return the default route's gateway of the lowest metric, None without one.

    Addresses stand there as the hex of a native 32-bit word (Linux `net/ipv4/fib_trie.c`), little-endian on
    all machines WSL runs on. Flag 2 is RTF_GATEWAY.
    """
    found: list[tuple[int, str]] = []
    for line in route.splitlines()[1:]:
        cells = line.split()
        try:
            target, hop, flags = int(cells[1], 16), int(cells[2], 16), int(cells[3], 16)
            metric, mask = int(cells[6]), int(cells[7], 16)
        except (IndexError, ValueError):
            continue
        if target == 0 and mask == 0 and flags & 2 and 0 < hop < 2**32:
            found.append((metric, socket.inet_ntoa(hop.to_bytes(4, "little"))))
    return min(found)[1] if found else None
