"""Speak and draw with any server that has `POST {base}/audio/speech` or `POST {base}/images/generations`.

Many local engines have this interface. The only user of httpx in media.

Source: OpenAI's API reference, "Create speech" and "Create image"; errors are JSON, {"error": {"message": …}}.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.media.speech import (
    MAX_BYTES,
    MAX_IMAGE,
    Engine,
    PictureRequest,
    SpeechRequest,
    SpokenSound,
    failure,
    one_line,
)
from ltxflow.messages.media import UNAVAILABLE

ATTEMPTS = 3
WAITS_S = (1.0, 4.0)  # before the second and third attempt, unless the server sends a time
LONGEST_WAIT_S = 30.0
MAX_ANSWER = 64 * 2**10  # bytes read of an error
Wait = Callable[[float], Awaitable[None]]


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether the engine has a url and its key, and the reason if not."""
    if not engine.url:
        return False, UNAVAILABLE["url"]
    if engine.key_from_env and not env.get(engine.key_from_env, "").strip():
        return False, UNAVAILABLE["key"].format(variable=engine.key_from_env)
    return True, ""


async def speak(
    engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str], wait: Wait = asyncio.sleep
) -> SpokenSound:
    """Have the server speak a line, in up to three attempts if it is busy, failing or unreachable.

    A server that accepted the line and does not answer gets one attempt: its result may have been paid for.
    """
    body: dict[str, Any] = {
        "model": engine.model,
        "input": wanted.text,
        "voice": wanted.voice,
        "response_format": "wav",
    }
    if wanted.speed != 1:
        body["speed"] = wanted.speed
    data = await _post(engine, "audio/speech", body, (MAX_BYTES, "line"), env, wait)
    if data[:1] == b"{":
        reason = _hidden(_message(data), _key(engine, env))
        raise failure(problem("S204.no-sound", engine=engine.name, server=_origin(engine), reason=reason))
    out = folder / "spoken.wav"
    out.write_bytes(data)
    return SpokenSound(out)


async def draw(
    engine: Engine, wanted: PictureRequest, folder: Path, env: Mapping[str, str], wait: Wait = asyncio.sleep
) -> Path:
    """Have the server make an image, and return the file, in the server's format.

    OpenAI's own models have no seed, and some send only base64: a request that is declined for either is repeated
    without it. An address in place of the picture is not followed: it may lead anywhere.
    """
    width, height = wanted.size
    body: dict[str, Any] = {"model": engine.model, "prompt": wanted.prompt, "n": 1, "size": f"{width}x{height}"}
    extra: dict[str, Any] = {"response_format": "b64_json", "seed": wanted.seed}
    while True:
        try:
            data = await _post(engine, "images/generations", body | extra, (MAX_IMAGE, "image"), env, wait)
            break
        except _Declined as declined:
            unknown = next((name for name in extra if name in declined.reason), None)
            if unknown is None:
                raise
            del extra[unknown]
    out = folder / "drawn"
    out.write_bytes(_picture(engine, data, _key(engine, env)))
    return out


def _picture(engine: Engine, answer: bytes, key: str) -> bytes:
    try:
        (first, *_) = json.loads(answer)["data"]
        return base64.b64decode(first["b64_json"], validate=True)
    except (ValueError, RecursionError, KeyError, TypeError):
        text = answer.decode("utf-8", "replace")
        if '"url"' in text:
            raise failure(problem("S204.address", engine=engine.name, server=_origin(engine))) from None
        reason = _hidden(_message(answer), key)
        found = problem("S204.no-image", engine=engine.name, server=_origin(engine), reason=reason)
        raise failure(found) from None


class _Declined(LtxflowError):
    """A request that the server declined, with its `reason`."""

    def __init__(self, error: LtxflowError, reason: str) -> None:
        super().__init__(*error.problems, exit_code=error.exit_code)
        self.reason = reason


class _Busy(Exception):
    """An error that may pass; `wait_s` if the server sends a time."""

    def __init__(self, error: LtxflowError, wait_s: float | None = None) -> None:
        self.error, self.wait_s = error, wait_s
        super().__init__(str(error))


async def _post(
    engine: Engine, path: str, body: Mapping[str, Any], limit: tuple[int, str], env: Mapping[str, str], wait: Wait
) -> bytes:
    """Send a request, up to three times, and return the answer; `limit` is its most bytes, and its kind."""
    for attempt in range(ATTEMPTS):
        try:
            return await _send(engine, path, body, limit, _key(engine, env))
        except _Busy as busy:
            if attempt == ATTEMPTS - 1:
                raise busy.error from None
            await wait(WAITS_S[attempt] if busy.wait_s is None else busy.wait_s)
    raise AssertionError("unreachable")


def _key(engine: Engine, env: Mapping[str, str]) -> str:
    return env.get(engine.key_from_env, "").strip() if engine.key_from_env else ""


async def _send(engine: Engine, path: str, body: Mapping[str, Any], limit: tuple[int, str], key: str) -> bytes:
    name, server = engine.name, _origin(engine)
    if not (key.isascii() and key.isprintable()):
        raise failure(problem("S204.key", engine=name, variable=engine.key_from_env))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    timeout = httpx.Timeout(engine.timeout_s, connect=min(10.0, engine.timeout_s))
    try:
        async with (
            asyncio.timeout(engine.timeout_s),
            httpx.AsyncClient(timeout=timeout, trust_env=not _is_loopback(engine.url)) as client,
            client.stream("POST", f"{engine.url.rstrip('/')}/{path}", json=body, headers=headers) as response,
        ):
            if response.status_code != 200:
                raise _refused(engine, response, await _read(engine, response, (MAX_ANSWER, ""), cut=True), key)
            return await _read(engine, response, limit)
    except (TimeoutError, httpx.TimeoutException):
        found = problem("S204.timeout", engine=name, server=server, seconds=engine.timeout_s, transient=True)
        raise failure(found) from None
    except httpx.ConnectError as error:
        reason = _hidden(one_line(str(error)), key)
        found = problem("S204.connection", engine=name, server=server, reason=reason, transient=True)
        raise _Busy(failure(found)) from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        reason = _hidden(one_line(str(error) or type(error).__name__), key)
        found = problem("S204.request", engine=name, server=server, reason=reason, transient=True)
        raise failure(found) from error


async def _read(engine: Engine, response: httpx.Response, limit: tuple[int, str], *, cut: bool = False) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > limit[0]:
            if cut:
                break
            size, kind = limit[0] // 2**20, limit[1]
            raise failure(problem("S204.too-large", engine=engine.name, server=_origin(engine), size=size, kind=kind))
    return bytes(data)


def _refused(engine: Engine, response: httpx.Response, body: bytes, key: str) -> Exception:
    status, server = response.status_code, _origin(engine)
    if response.is_redirect:
        target = one_line(_bare(response.headers.get("Location", "")), 120)
        return failure(problem("S204.redirect", engine=engine.name, server=server, target=target))
    message = _hidden(_message(body), key)
    hint = ""
    if status in (401, 403):
        hint = f"check the key in {engine.key_from_env}" if key else "name the variable with its key: key_from_env"
    elif status in (404, 405):
        hint = "check the url: it mostly ends in /v1"
    is_busy = status == 429 or status >= 500
    reason = f": {message}" if message else ""
    found = failure(
        problem(
            "S204.status",
            hint=hint,
            transient=is_busy,
            engine=engine.name,
            server=server,
            status=status,
            reason=reason,
        )
    )
    if is_busy:
        return _Busy(found, _retry_after(response))
    return _Declined(found, message) if status in (400, 422) else found


def _retry_after(response: httpx.Response) -> float | None:
    try:
        return min(max(float(response.headers.get("Retry-After", "")), 0.0), LONGEST_WAIT_S)
    except ValueError:
        return None


def _message(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.lstrip().startswith("<") else one_line(text)
    if isinstance(data, dict):
        error = data.get("error", data.get("detail", data))
        data = error.get("message", error) if isinstance(error, dict) else error
    return one_line(data if isinstance(data, str) else json.dumps(data))


def _hidden(text: str, key: str) -> str:
    """Return a text for display without the key, since a server may quote its request."""
    return text.replace(key, "…") if key else text


def _origin(engine: Engine) -> str:
    return one_line(_bare(engine.url), 120)


def _bare(url: str) -> str:
    """Return an address without login and query, for display."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "its url"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else parts.path


def _is_loopback(url: str) -> bool:
    """Return whether an address is on this machine, which no proxy serves."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
