"""Find the addresses of servers, each with its source; and find out cheaply which of them answer.

Finding sends no request, and reads no file but the route table.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from ltxflow.core.errors import LtxflowError, Span, problem

PORT = 8188  # of ComfyUI, unless started with another
GATEWAY_PORTS = (8001, 8000, PORT)
LOOPBACK_PORTS = (PORT, 8000)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, a header's name
_OURS = frozenset({"host", "origin", "connection", "upgrade", "content-length", "transfer-encoding"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"(?!\d+$)\w[\w-]{0,62}(\.\w[\w-]{0,62})*\.?")  # labels as RFC 1035 bounds them; not a bare number
_EXAMPLE = "write it as gpu, 127.0.0.1:8188 or https://example.org/comfy"


@dataclass(frozen=True, repr=False)
class Server:
    """How to reach a server. Headers go to this origin only; neither they nor a login appear in text."""

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
    """A server and the source of its address. Use a guess only if it answers."""

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
    """An entry of `servers:` in the user config, before its secrets are read."""

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
    """Return the servers of the strongest source, in order, each once.

    Sources, strongest first: `--server`, `LTXFLOW_SERVERS`, `servers:` of the user config, `COMFY_URL`, `COMFYUI_URL`,
    the project's default (pass it only if the user trusts it), and last guesses for the caller to probe: WSL's gateway
    and loopback. `config` has `servers:` of the user config, and `spans`, the place of each entry, if known. Headers
    and CA file that the user config has for an origin apply to every address of it, and a configured name may be used
    instead of an address. Raise LtxflowError for an invalid address, or a header whose variable is not set.
    """
    configured = _configured(config)
    for reason, texts in _named(args, env, configured, project_default):
        if texts:
            return _once(ServerAddress(_server(text, configured, env, reason), reason) for text in texts)
    return _once(ServerAddress(_server(u, configured, env, why), why, is_guess=True) for u, why in _guesses(gateway()))


def check_addresses(args: Sequence[str], env: Mapping[str, str], config: Mapping[str, Any]) -> None:
    """Raise LtxflowError for an invalid address of any source, as `find_servers` does for those of the strongest.

    For commands that may not need a server. Secrets are not read.
    """
    configured = _configured(config)
    names = {entry.name for entry in configured}
    for reason, texts in _named(args, env, configured, None):
        for text in texts:
            if text not in names:
                normalise(text, reason)


def _named(
    args: Sequence[str], env: Mapping[str, str], configured: Sequence[_Configured], project_default: str | None
) -> Iterator[tuple[str, Sequence[str]]]:
    """Yield the sources in which people name servers, strongest first, each with its addresses and names."""
    yield "--server", args
    yield "LTXFLOW_SERVERS", [s for s in re.split(r"[,\s]+", env.get("LTXFLOW_SERVERS", "")) if s]
    yield "user config", [entry.name for entry in configured]
    for name in ("COMFY_URL", "COMFYUI_URL"):
        yield name, [env[name].strip()] if env.get(name, "").strip() else []
    yield "the project's default, trusted", [project_default] if project_default else []


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
            raise LtxflowError(problem("C015.unset", server=entry.name, variable=variable, header=header))
        if not (value.isascii() and value.isprintable()):
            raise LtxflowError(problem("C015.characters", server=entry.name, variable=variable))
        headers[header] = value
    return headers


def _configured(config: Mapping[str, Any]) -> list[_Configured]:
    entries = config.get("servers") or []
    if not isinstance(entries, list):
        raise LtxflowError(problem("C017.not-list"))
    spans: Sequence[Span | None] = config.get("spans") or [None] * len(entries)
    found = [_entry_at(entry, span) for entry, span in zip(entries, spans, strict=True)]
    names = [c.name for c in found]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise LtxflowError(problem("C017.same-name", name=twice))
    return found


def _entry_at(entry: object, span: Span | None) -> _Configured:
    try:
        return _entry(entry)
    except LtxflowError as error:
        raise LtxflowError(*(replace(each, span=span) for each in error.problems)) from None


def _entry(entry: object) -> _Configured:
    if isinstance(entry, str):
        entry = {"url": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("url"), str):
        raise LtxflowError(problem("C017.no-url"))
    unknown = set(entry) - {"name", "url", "headers_from_env", "ca_file"}
    if unknown:
        raise LtxflowError(problem("C017.unknown-key", key=min(map(str, unknown))))
    url, login = normalise(entry["url"], "user config")
    name, ca_file, headers = entry.get("name"), entry.get("ca_file"), entry.get("headers_from_env") or {}
    if not isinstance(name, str | None) or not isinstance(ca_file, str | None):
        raise LtxflowError(problem("C017.not-text", url=url))
    if not isinstance(headers, dict) or not all(isinstance(x, str) for pair in headers.items() for x in pair):
        raise LtxflowError(problem("C017.headers", url=url))
    for header in headers:
        if not _TOKEN.fullmatch(header) or header.lower() in _OURS:
            raise LtxflowError(problem("C017.header", url=url, header=header))
    path = Path(os.path.expanduser(ca_file)) if ca_file else None
    return _Configured(name or _name_of(url), url, login, dict(headers), path)


# Addresses


def normalise(text: str, reason: str = "") -> tuple[str, dict[str, str]]:
    """Return the bare URL of an address as people write it, and its login as a header.

    Without a scheme it is http, at ComfyUI's own port unless one is written: `gpu` is `http://gpu:8188`. With a scheme
    it is a URL, so `http://gpu` is at port 80. A path prefix is kept. Raise LtxflowError, quoting no login, for an
    invalid address.
    """
    written = text.strip()
    has_scheme = "://" in written
    if re.match(r"https?[:/]", written) and not has_scheme:
        raise _bad_address(text, reason, '"://" is missing after the scheme')
    try:
        url = urlsplit(written if has_scheme else f"http://{written}")
        port = url.port
    except ValueError as error:
        raise _bad_address(text, reason, "not a URL") from error
    if url.scheme not in _DEFAULT_PORTS:
        raise _bad_address(text, reason, f'"{url.scheme}" is neither http nor https')
    if not url.hostname or re.search(r"[\s\x00-\x1f\x7f\\<>\"]", written):
        raise _bad_address(text, reason, "no host" if not url.hostname else "characters a URL cannot have")
    if url.query or url.fragment:
        raise _bad_address(text, reason, "it has a query", "give a token by headers_from_env in the user config")
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    if ":" in url.hostname and not _is_ip(url.hostname):
        raise _bad_address(text, reason, "not a URL")
    if not (_is_ip(url.hostname) or _HOST.fullmatch(url.hostname)):
        raise _bad_address(text, reason, f'"{url.hostname[:80]}" is not the name of a host')
    if port == 0:
        raise _bad_address(text, reason, "no server listens at port 0")
    port = PORT if port is None and not has_scheme else port
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
    return LtxflowError(problem("C014.not-one", source=source, address=shown, reason=why, hint=hint))


def redact_url(text: str) -> str:
    """Return an address, valid or not, without its query and its login (the part before `@`)."""
    text = re.sub(r"^([a-zA-Z][\w+.-]*://)?.*@", r"\1…@", text, flags=re.DOTALL)
    return re.sub(r"[?#].*", "?…", text, flags=re.DOTALL)


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a normalised URL."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)


def is_loopback(url: str) -> bool:
    """Return whether a normalised URL means this machine, by its name alone."""
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
    """Return the address without its scheme; `http://gpu` as `gpu:80`, since ComfyUI rarely listens there."""
    parts = urlsplit(url)
    port = ":80" if parts.scheme == "http" and parts.port is None else ""
    return f"{parts.netloc}{port}{parts.path}"


# Which of them answer


def answering(addresses: Sequence[ServerAddress], env: Mapping[str, str], deadline_s: float) -> list[ServerAddress]:
    """Return the addresses at which something answers, in order; all are tried at once.

    One that accepts a connection and stays silent counts: ComfyUI is silent while it loads a model. So does one that
    only a proxy of the environment may reach, since that is not tried.
    """
    found: dict[str, bool] = {}
    threads = [
        threading.Thread(target=lambda url=url: found.update({url: _answers(url, deadline_s)}), daemon=True)
        for url in (address.url for address in addresses)
        if not _is_proxied(url, env)
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + deadline_s
    for thread in threads:  # a name server that does not answer would hold one for longer
        thread.join(max(0.0, end - time.monotonic()))
    return [address for address in addresses if _is_proxied(address.url, env) or found.get(address.url)]


def _answers(url: str, deadline_s: float) -> bool:
    scheme, host, port = origin(url)
    path = urlsplit(url).path
    try:
        with socket.create_connection((host, port), deadline_s) as connection:
            if scheme == "https":
                return True
            connection.sendall(f"GET {path}/system_stats HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n".encode())
            try:
                begun = connection.recv(5)
                return begun != b"" and b"HTTP/".startswith(begun)
            except TimeoutError:
                return True
    except (OSError, ValueError):  # ValueError: a name that DNS cannot carry
        return False


def _is_proxied(url: str, env: Mapping[str, str]) -> bool:
    """Return whether the environment may have requests to it go through a proxy."""
    scheme = urlsplit(url).scheme
    names = (f"{scheme}_proxy", "all_proxy")
    return not is_loopback(url) and any(env.get(name) or env.get(name.upper()) for name in names)


# WSL


def wsl_gateway(version: str, route: str) -> str | None:
    """Return the Windows host's address if the texts of `/proc/version` and `/proc/net/route` are those of WSL."""
    return default_gateway(route) if "microsoft" in version.lower() else None


def default_gateway(route: str) -> str | None:
    """Return the gateway of the default route with the lowest metric in `/proc/net/route`, None without one.

    Addresses are the hex of a native 32-bit word (Linux `net/ipv4/fib_trie.c`), little-endian on all machines WSL runs
    on. Flag 2 is RTF_GATEWAY.
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
