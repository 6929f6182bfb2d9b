"""Any server with `POST {base}/audio/speech` or `POST {base}/images/generations`, which many local engines speak.
The only user of httpx in media.

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

from ltxflow.core.errors import LtxflowError
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

ATTEMPTS = 3
WAITS_S = (1.0, 4.0)  # before the second and third attempt, unless the server says how long
LONGEST_WAIT_S = 30.0
MAX_ANSWER = 64 * 2**10  # bytes of an error that are read
Wait = Callable[[float], Awaitable[None]]


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    if not engine.url:
        return False, "its entry has no url"
    if engine.key_from_env and not env.get(engine.key_from_env, "").strip():
        return False, f'the variable "{engine.key_from_env}" for its key is not set'
    return True, ""


async def speak(
    engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str], wait: Wait = asyncio.sleep
) -> SpokenSound:
    """Given a line, have the server speak it. A server that is busy, failing or not there is asked three times.

    One that took the line and says nothing is not: what it may have spoken is paid for.
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
        raise failure(engine, f"{_origin(engine)} sends no sound: {_hidden(_message(data), _key(engine, env))}")
    out = folder / "said.wav"
    out.write_bytes(data)
    return SpokenSound(out)


async def draw(
    engine: Engine, wanted: PictureRequest, folder: Path, env: Mapping[str, str], wait: Wait = asyncio.sleep
) -> Path:
    """Given an image to be made, have the server make it, and return the file, of whatever kind it is.

    OpenAI's own models know no seed, and some of them send only base64: a server that declines either is asked
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
            unknown = next((name for name in extra if name in declined.said), None)
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
            hint = "it must be able to send the picture itself: response_format b64_json"
            raise failure(engine, f"{_origin(engine)} sends an address in place of an image", hint) from None
        raise failure(engine, f"{_origin(engine)} sends no image: {_hidden(_message(answer), key)}") from None


class _Declined(LtxflowError):
    """A server's no to what it was asked; `said` is its reason."""

    def __init__(self, error: LtxflowError, said: str) -> None:
        super().__init__(*error.problems, exit_code=error.exit_code)
        self.said = said


class _Busy(Exception):
    """An error that may pass; `wait_s` where the server says when."""

    def __init__(self, error: LtxflowError, wait_s: float | None = None) -> None:
        self.error, self.wait_s = error, wait_s
        super().__init__(str(error))


async def _post(
    engine: Engine, path: str, body: Mapping[str, Any], limit: tuple[int, str], env: Mapping[str, str], wait: Wait
) -> bytes:
    """Ask the server, up to three times, and return its answer; `limit` is its most bytes, and for one of what."""
    for attempt in range(ATTEMPTS):
        try:
            return await _ask(engine, path, body, limit, _key(engine, env))
        except _Busy as busy:
            if attempt == ATTEMPTS - 1:
                raise busy.error from None
            await wait(WAITS_S[attempt] if busy.wait_s is None else busy.wait_s)
    raise AssertionError("unreachable")


def _key(engine: Engine, env: Mapping[str, str]) -> str:
    return env.get(engine.key_from_env, "").strip() if engine.key_from_env else ""


async def _ask(engine: Engine, path: str, body: Mapping[str, Any], limit: tuple[int, str], key: str) -> bytes:
    if not (key.isascii() and key.isprintable()):
        raise failure(engine, f'the variable "{engine.key_from_env}" holds what no header can carry')
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
        hint = "give it more time, such as timeout: 5m in its entry"
        what = f"{_origin(engine)} does not answer within {engine.timeout_s:g} s"
        raise failure(engine, what, hint, transient=True) from None
    except httpx.ConnectError as error:
        what = f"{_origin(engine)}: {_hidden(one_line(str(error)), key)}"
        raise _Busy(failure(engine, what, "is the server running?", transient=True)) from error
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        what = f"{_origin(engine)}: {_hidden(one_line(str(error) or type(error).__name__), key)}"
        raise failure(engine, what, "check the url in its entry", transient=True) from error


async def _read(engine: Engine, response: httpx.Response, limit: tuple[int, str], *, cut: bool = False) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > limit[0]:
            if cut:
                break
            raise failure(engine, f"{_origin(engine)} sends more than {limit[0] // 2**20} MiB for one {limit[1]}")
    return bytes(data)


def _refused(engine: Engine, response: httpx.Response, body: bytes, key: str) -> Exception:
    status = response.status_code
    if response.is_redirect:
        to = one_line(_bare(response.headers.get("Location", "")), 120)
        hint = "write that address in its entry, if it is right"
        return failure(engine, f"{_origin(engine)} sends us on to {to}", hint)
    said = _hidden(_message(body), key)
    what = f"{_origin(engine)} answers {status}" + (f": {said}" if said else "")
    hint = ""
    if status in (401, 403):
        hint = f"check the key in {engine.key_from_env}" if key else "name the variable with its key: key_from_env"
    elif status in (404, 405):
        hint = "is the url right? it mostly ends in /v1"
    if status == 429 or status >= 500:
        return _Busy(failure(engine, what, hint, transient=True), _asked_wait(response))
    refused = failure(engine, what, hint)
    return _Declined(refused, said) if status in (400, 422) else refused


def _asked_wait(response: httpx.Response) -> float | None:
    try:
        return min(max(float(response.headers.get("Retry-After", "")), 0.0), LONGEST_WAIT_S)
    except ValueError:
        return None


def _message(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return "" if text.lstrip().startswith("<") else one_line(text)
    if isinstance(told, dict):
        error = told.get("error", told.get("detail", told))
        told = error.get("message", error) if isinstance(error, dict) else error
    return one_line(told if isinstance(told, str) else json.dumps(told))


def _hidden(text: str, key: str) -> str:
    """Given a text for people, return it without the key: a server may quote what it was sent."""
    return text.replace(key, "…") if key else text


def _origin(engine: Engine) -> str:
    return one_line(_bare(engine.url), 120)


def _bare(url: str) -> str:
    """An address without login and query, for showing."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "its url"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.scheme else parts.path


def _is_loopback(url: str) -> bool:
    """No proxy stands between us and this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
