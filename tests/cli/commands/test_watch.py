"""`ltxflow watch`: at a terminal of its own, with real saves and real keys."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.terminal import PATIENCE_S, Terminal
from harness.film import Film

LTXFLOW = [sys.executable, "-m", "ltxflow.cli.main"]


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def watch(film: Film, *options: str) -> Terminal:
    return Terminal(*LTXFLOW, "watch", "-p", str(film.folder), *options)


def save(film: Film, old: str, new: str) -> None:
    """Save as careful editors do: a new file in the place of the old one."""
    text = film.file.read_text()
    assert old in text
    beside = film.file.with_suffix(".new")
    beside.write_text(text.replace(old, new, 1))
    beside.replace(film.file)


def test_a_save_tells_what_it_changed_and_a_key_draws_it(film: Film, terminals: list[Terminal]) -> None:
    film.build()
    terminal = watch(film, "--animatic")
    terminals.append(terminal)
    assert "= 4 clips unchanged" in terminal.until("watching · r render · a animatic")
    save(film, "pushes slowly", "glides quickly")
    told = terminal.until("watching")
    assert re.search(r"~ hook/a +97f +prompt.text .*\[-pushes slowly-\] \{\+glides quickly\+\}", told)
    assert "middle" not in told
    assert "Plan: 1 clip to change, 3 clips unchanged." in told
    terminal.press("a")
    told = terminal.until("watching")
    assert "[1/1] hook/a" in told
    assert "4 clips unchanged." in told
    save(film, "title: ", "# a word\ntitle: ")
    terminal.until("no rendered clip is affected")
    terminal.press("q")
    assert terminal.leave() == 0


def test_a_line_that_will_be_spoken_is_told_at_every_save(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminals: list[Terminal]
) -> None:
    config = tmp_path / "config/ltxflow"
    config.mkdir(parents=True)
    (config / "config.yaml").write_text("engines: {say: {command: [false, '{text}', '{out}']}}\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    film.edit("narration: 6s", 'narration: { text: "A door opens. It closes.", engine: say }')
    terminal = watch(film, "--animatic")
    terminals.append(terminal)
    assert "narration:hook  2 lines will be spoken by say" in terminal.until("watching")
    save(film, "It closes.", "It shuts.")
    told = terminal.until("watching")
    assert re.search(r'narration:hook +1 of 2 lines will be spoken by say\s+"It shuts."', told)
    save(film, "fps: 25", "# one\nfps: 25")
    assert "spoken" not in terminal.until("no rendered clip is affected")
    terminal.press("q")
    assert terminal.leave() == 0


def test_a_project_with_errors_is_told_and_waited_for(film: Film, terminals: list[Terminal]) -> None:
    terminal = watch(film, "--animatic")
    terminals.append(terminal)
    terminal.until("watching")
    save(film, "fps: 25", "fsp: 25")
    told = terminal.until("waiting for you to fix it")
    assert 'unknown key "fsp"' in told
    assert "project.yaml:5:1" in told
    save(film, "    clips:\n", "    clips:\n      - id: new\n        prompt: A lamp.\n")
    terminal.until("same problems")
    save(film, "fsp: 25", "fps: 25")
    told = terminal.until("watching")
    assert "+ hook/new" in told
    assert "+ middle/a" not in told  # nothing new about it
    terminal.press("q")
    assert terminal.leave() == 0


def test_a_film_that_starts_with_a_missing_file_goes_on_when_it_is_there(film: Film, terminals: list[Terminal]) -> None:
    film.edit("scenes:\n", "scenes:\n  - scenes/*.yaml\n")
    terminal = watch(film, "--animatic")
    terminals.append(terminal)
    assert 'no file matches "scenes/*.yaml"' in terminal.until("waiting for you to fix it")
    (film.folder / "scenes").mkdir()
    (film.folder / "scenes" / "one.yaml").write_text('id: one\nclips: [{id: a, prompt: "A lamp."}]\n')
    assert "+ one/a" in terminal.until("watching")
    terminal.press("q")
    assert terminal.leave() == 0


def test_a_render_without_a_server_fails_and_the_watch_goes_on(film: Film, terminals: list[Terminal]) -> None:
    terminal = watch(film, "--server", "http://127.0.0.1:9")
    terminals.append(terminal)
    terminal.until("watching")
    terminal.press("r")
    assert "error" in terminal.until("watching")
    os.kill(terminal.pid, signal.SIGINT)
    assert terminal.leave() == 130


def test_auto_builds_what_a_save_changes_once(film: Film) -> None:
    film.build()
    argv = [*LTXFLOW, "watch", "-p", str(film.folder), "--animatic", "--auto", "--json"]
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
        assert list(lines) == []  # an end like any other
    assert rendered == ["slate:hook/a@1"]
    assert after["data"]["totals"]["unchanged"] == 4
    assert Path(film.scenes / "scene-0-a.mp4").exists()
