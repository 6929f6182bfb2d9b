"""`ltxflow watch`: at a terminal of its own, with real saves and real keys."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from film import Film

PATIENCE_S = 60.0


class Terminal:
    """A `watch` at a pseudo-terminal: what it shows, in order, and keys for it."""

    def __init__(self, film: Film, *options: str) -> None:
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ |= {"COLUMNS": "110", "TERM": "xterm", "NO_COLOR": "1"}
            os.execv(sys.executable, [sys.executable, "-m", "ltxflow.cli", "watch", "-p", str(film.folder), *options])
        self.shown = ""
        self.at = 0

    def until(self, text: str) -> str:
        """Wait until this is shown, and return all since the last time up to it."""
        end = time.monotonic() + PATIENCE_S
        while (found := self.shown.find(text, self.at)) < 0:
            assert time.monotonic() < end, f'no "{text}" in:\n{self.shown[self.at :]}'
            if select.select([self.fd], [], [], 1)[0]:
                self.shown += re.sub(r"\x1b\[[?0-9;]*[A-Za-z]|\r", "", os.read(self.fd, 65536).decode())
        told = self.shown[self.at : found]
        self.at = found + len(text)
        return told

    def press(self, key: str) -> None:
        os.write(self.fd, key.encode())

    def leave(self) -> int:
        """Wait for its end and return its exit code."""
        while True:
            try:
                if not os.read(self.fd, 65536):
                    break
            except OSError:  # Linux: the other side is closed
                break
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def save(film: Film, old: str, new: str) -> None:
    """Save as careful editors do: a new file in the place of the old one."""
    text = film.file.read_text()
    assert old in text
    beside = film.file.with_suffix(".new")
    beside.write_text(text.replace(old, new, 1))
    beside.replace(film.file)


def test_a_save_tells_what_it_changed_and_a_key_draws_it(film: Film, terminals: list[Terminal]) -> None:
    film.build()
    terminal = Terminal(film, "--animatic")
    terminals.append(terminal)
    assert "= 4 clips unchanged" in terminal.until("watching · r render · a animatic")
    save(film, "pushes slowly", "glides quickly")
    told = terminal.until("watching")
    assert re.search(r"~ hook/a +97f +prompt.text .*\[-pushes slowly-\] \{\+glides quickly\+\}", told)
    assert "middle" not in told
    assert "Plan: 1 to change, 3 unchanged." in told
    terminal.press("a")
    told = terminal.until("watching")
    assert "[1/1] hook/a" in told
    assert "4 unchanged." in told
    save(film, "title: ", "# a word\ntitle: ")
    terminal.until("nothing that is rendered changed")
    terminal.press("q")
    assert terminal.leave() == 0


def test_a_project_with_errors_is_told_and_waited_for(film: Film, terminals: list[Terminal]) -> None:
    terminal = Terminal(film, "--animatic")
    terminals.append(terminal)
    terminal.until("watching")
    save(film, "fps: 25", "fsp: 25")
    told = terminal.until("waiting for it to be mended")
    assert 'unknown key "fsp"' in told
    assert "project.yaml:5:1" in told
    save(film, "    clips:\n", "    clips:\n      - id: new\n        prompt: A lamp.\n")
    terminal.until("the same as before")
    save(film, "fsp: 25", "fps: 25")
    told = terminal.until("watching")
    assert "+ hook/new" in told
    assert "+ middle/a" not in told  # nothing new about it
    terminal.press("q")
    assert terminal.leave() == 0


def test_a_film_that_starts_with_a_missing_file_goes_on_when_it_is_there(film: Film, terminals: list[Terminal]) -> None:
    film.edit("scenes:\n", "scenes:\n  - scenes/*.yaml\n")
    terminal = Terminal(film, "--animatic")
    terminals.append(terminal)
    assert 'no file fits "scenes/*.yaml"' in terminal.until("waiting for it to be mended")
    (film.folder / "scenes").mkdir()
    (film.folder / "scenes" / "one.yaml").write_text('id: one\nclips: [{id: a, prompt: "A lamp."}]\n')
    assert "+ one/a" in terminal.until("watching")
    terminal.press("q")
    assert terminal.leave() == 0


def test_a_render_without_a_server_fails_and_the_watch_goes_on(film: Film, terminals: list[Terminal]) -> None:
    terminal = Terminal(film, "--server", "http://127.0.0.1:9")
    terminals.append(terminal)
    terminal.until("watching")
    terminal.press("r")
    assert "error" in terminal.until("watching")
    os.kill(terminal.pid, signal.SIGINT)
    assert terminal.leave() == 130


def test_auto_builds_what_a_save_changes_once(film: Film) -> None:
    film.build()
    argv = [sys.executable, "-m", "ltxflow.cli", "watch", "-p", str(film.folder), "--animatic", "--auto", "--json"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        lines = (json.loads(line) for line in process.stdout)
        assert next(lines)["data"]["totals"]["unchanged"] == 4
        save(film, "pushes slowly", "glides quickly")
        events = []
        for line in lines:
            events.append(line)
            if line.get("event") == "run-finished":
                break
        rendered = [line["target"] for line in events if line.get("outcome") == "rendered"]
        after = next(lines)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    assert rendered == ["slate:hook/a@1"]
    assert after["data"]["totals"]["unchanged"] == 4
    assert Path(film.scenes / "scene-0-a.mp4").exists()
