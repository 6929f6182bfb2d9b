"""A browser for each test that looks at pages, and films for it to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.browser import browser
from harness.film import Film, film_text
from playwright.sync_api import Browser


@pytest.fixture
def chromium() -> Iterator[Browser]:
    """Ask for it after the film: a build needs an event loop, which the browser's driver occupies from then on."""
    with browser() as found:
        yield found


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """hook/a with two takes, hook/b and end/a with one; all rendered and published."""
    made = Film.at(tmp_path).move_in(monkeypatch)
    made.write_data(film_text({"hook": ["a", "b"], "end": ["a"]}, {"hook": "6s", "end": "3s"}))
    made.set("scenes/hook/clips/a/takes", 2)
    made.render()
    assert made.run("build").code == 0
    return made
