"""A board in a process of its own, a real browser that looks at it, and requests that a browser would not send."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from harness.command import CANNED_SLATES, command
from harness.film import OnDisk

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
IS_WANTED = "LTXFLOW_TEST_BROWSER"  # set in CI: a test without a browser then fails
ENDS_S = 20
PATIENCE_MS = 20_000  # of a page on a busy machine


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Debian's Chromium, else the one that playwright has downloaded; skip the test where there is none.

    The browser's driver runs an event loop in this thread: nothing else may run one here until it is closed.
    """
    expect.set_options(timeout=PATIENCE_MS)
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    with sync_playwright() as playwright:
        if path is None and not os.path.exists(playwright.chromium.executable_path):
            message = "no browser here: `make browser` gets one"
            pytest.fail(message) if os.environ.get(IS_WANTED) else pytest.skip(message)
        options = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"]
        found = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield found
        finally:
            found.close()


@dataclass
class Answer:
    """What the board answered to a request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class BoardProcess:
    """`ltxflow board` on a film, as a separate process."""

    process: subprocess.Popen[str]
    url: str
    errors: list[str] = field(default_factory=list)
    is_killed: bool = False  # by the test

    @property
    def origin(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def page(self, browser: Browser, path: str = "/", **options: Any) -> Page:
        """Open a page in a fresh browser profile; what goes wrong in it is an error of the test."""
        page = browser.new_context(**options).new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda line: self.errors.append(line.text) if _is_bad(line) else None)
        page.goto(self.url)
        self.show(page, path)
        return page

    def show(self, page: Page, path: str) -> Page:
        """Go to a path, and wait until the page follows the board's events."""
        page.goto(self.origin + path)
        page.wait_for_selector("html[data-js-live]")
        return page

    def cookie(self) -> str:
        """Return the cookie that the first address gives."""
        jar = CookieJar()
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar), urllib.request.ProxyHandler({}))
        opener.open(self.url, timeout=ENDS_S).close()
        return "; ".join(f"{each.name}={each.value}" for each in jar)

    def ask(self, path: str, method: str = "GET", body: Any = None, signed: bool = True, **headers: str) -> Answer:
        """Send a request as a program would: `signed` with the cookie, and, to change something, as our page does."""
        jar = urllib.request.HTTPCookieProcessor(CookieJar())
        opener = urllib.request.build_opener(jar, urllib.request.ProxyHandler({}))
        own: dict[str, str] = {}
        if signed:
            with opener.open(self.url, timeout=ENDS_S) as reply:
                page = reply.read().decode()
            own = {"Origin": self.origin, "X-CSRF-Token": page.partition('name="csrf" content="')[2].partition('"')[0]}
        data = json.dumps(body).encode() if body is not None else None
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.origin + path, data, {**own, **sent}, method=method)
        try:
            with opener.open(request, timeout=ENDS_S) as reply:
                return Answer(reply.status, dict(reply.headers), reply.read())
        except urllib.error.HTTPError as error:
            return Answer(error.code, dict(error.headers), error.read())


def _is_bad(line: Any) -> bool:
    return line.type == "error" and "404" not in line.text and "409" not in line.text


@contextmanager
def board(film: OnDisk, *args: str, setup: str = CANNED_SLATES) -> Iterator[BoardProcess]:
    """Serve a film until the context ends; then nothing went wrong in the process, nor on its pages."""
    argv = command("board", "--json", "-p", str(film.folder), *args, setup=setup)
    env = {**os.environ, **film.home}
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    assert process.stdout
    assert process.stderr
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(process.communicate()[1])
    printed: list[str] = []
    reader = threading.Thread(target=lambda: printed.extend(process.stderr or ()), daemon=True)
    reader.start()
    found = BoardProcess(process, json.loads(line)["data"]["url"])
    try:
        yield found
    finally:
        process.send_signal(signal.SIGKILL if found.is_killed else signal.SIGINT)
        process.wait(ENDS_S)
        reader.join(ENDS_S)
        print("".join(printed))  # shown with the failure of a test
        process.stdout.close()
        process.stderr.close()
    assert process.returncode == 0 or found.is_killed
    assert not [text for text in printed if "Traceback" in text], "".join(printed)
    assert not found.errors


def until(page: Page, holds: Callable[[], bool], what: str = "") -> None:
    """Wait until something outside of the page holds, while the page lives on."""
    for _ in range(400):
        if holds():
            return
        page.wait_for_timeout(50)
    raise AssertionError(what or "it never came to hold")
