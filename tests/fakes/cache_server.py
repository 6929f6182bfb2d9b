"""A shared store: an HTTP server of Bazel's cache protocol, that can misbehave in the ways that such servers do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class CacheServer:
    """What it holds, by `ac/…` and `cas/…`; what it was asked; and how it misbehaves.

    `poison` changes a byte of each object whose name contains it, `cut` stops after so many bytes (once an object),
    `dribble_s` waits so long before each byte, `status` answers everything with it, `token` is asked for.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    poison: str = ""
    cut: int = 0
    dribble_s: float = 0.0
    status: int = 0
    token: str = ""
    has_ranges: bool = True
    url: str = ""
    was_cut: set[str] = field(default_factory=set)

    def names(self, kind: str) -> list[str]:
        return sorted(name for name in self.objects if name.startswith(f"{kind}/"))


@contextmanager
def cache_server() -> Iterator[CacheServer]:
    """Run one while the context lasts."""
    cache = CacheServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.serve(is_head=True)

        def do_GET(self) -> None:
            self.serve()

        def refuses(self) -> bool:
            name = self.path.lstrip("/")
            cache.asked.append((self.command, name))
            wrong = cache.token and self.headers.get("Authorization") != cache.token
            status = cache.status or (401 if wrong else 0)
            if status:
                self.answer(status)
            return bool(status)

        def answer(self, status: int, body: bytes = b"") -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def serve(self, *, is_head: bool = False) -> None:
            if self.refuses():
                return
            name = self.path.lstrip("/")
            body = cache.objects.get(name)
            if body is None:
                self.answer(404)
                return
            if cache.poison and cache.poison in name:
                body = body[:-1] + bytes([body[-1] ^ 1])
            start, wanted = 0, self.headers.get("Range")
            if wanted and cache.has_ranges:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                if start >= len(body):
                    self.answer(416)
                    return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if is_head:
                return
            with suppress(OSError):
                if cache.dribble_s:
                    for number in range(start, len(body)):
                        self.wfile.write(body[number : number + 1])
                        time.sleep(cache.dribble_s)
                elif cache.cut and name not in cache.was_cut and start + cache.cut < len(body):
                    cache.was_cut.add(name)
                    self.wfile.write(body[start : start + cache.cut])
                    self.close_connection = True
                else:
                    self.wfile.write(body[start:])

        def do_PUT(self) -> None:
            data = self.rfile.read(int(self.headers["Content-Length"]))
            if not self.refuses():
                cache.objects[self.path.lstrip("/")] = data
                self.answer(201)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    cache.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield cache
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
