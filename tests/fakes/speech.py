"""A speech server on loopback: `POST /v1/audio/speech` as OpenAI has it, in a thread of the test. No model.

    with FakeSpeech() as server: … server.url, server.asked, server.answer(503), server.answer(200, b"no sound")

A line becomes a tone of 0.1 s a letter with 0.2 s of silence after it, as wav, unless answers are queued.
"""

from __future__ import annotations

import io
import json
import math
import struct
import threading
import wave
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

RATE = 24000
LETTER_S, SILENCE_S = 0.1, 0.2


def tone(seconds: float, rate: int = RATE, silence_s: float = SILENCE_S, hertz: float = 220.0) -> bytes:
    """Given a length, return a mono wav: so much tone, then silence."""
    samples = [int(9000 * math.sin(2 * math.pi * hertz * n / rate)) for n in range(round(seconds * rate))]
    samples += [0] * round(silence_s * rate)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, 0, "NONE", ""))
        out.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return file.getvalue()


@dataclass(frozen=True)
class Asked:
    """One request: its path, the bearer it brought, and its JSON."""

    path: str
    key: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class FakeSpeech:
    """The server; `asked` has every request in order."""

    def __init__(self, key: str = "") -> None:
        self.key = key
        self.asked: list[Asked] = []
        self.silent = threading.Event()  # set: requests are taken and not answered
        self.answers: deque[Answer] = deque()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def answer(self, status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> None:
        """Queue what the next request gets, whatever it asks."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        self.answers.append(Answer(status, data, {name.replace("_", "-"): text for name, text in headers.items()}))

    def __enter__(self) -> FakeSpeech:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._server.shutdown()
        self._server.server_close()

    def reply(self, asked: Asked) -> Answer:
        if self.answers:
            return self.answers.popleft()
        if self.key and asked.key != self.key:
            return error(401, f"Incorrect API key provided: {asked.key}.")
        if asked.path != "/v1/audio/speech":
            return error(404, f"Invalid URL (POST {asked.path})")
        missing = [name for name in ("model", "input", "voice") if not asked.body.get(name)]
        if missing:
            return error(400, f"Missing required parameter: '{missing[0]}'.")
        letters = sum(char.isalnum() for char in asked.body["input"])
        return Answer(200, tone(LETTER_S * letters / asked.body.get("speed", 1)), {"Content-Type": "audio/wav"})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = Asked(self.path, self.headers.get("Authorization", "").removeprefix("Bearer "), body)
                fake.asked.append(asked)
                if fake.silent.is_set():
                    fake._over.wait()
                    return
                answer = fake.reply(asked)
                self.send_response(answer.status)
                for name, text in answer.headers.items():
                    self.send_header(name, text)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def error(status: int, message: str) -> Answer:
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}}
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})
