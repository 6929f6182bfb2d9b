"""Every test has a home of its own: no store, configuration or environment of the person who runs it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.campaign import Campaign
from harness.command import close_sessions
from harness.film import Film
from harness.slates import canned_drawing

from ltxflow.comfy import discovery
from ltxflow.steps import slate as slate_step

CAMPAIGN = pytest.StashKey[Campaign]()
NOTHING_LISTENS = (9,)  # the port "discard": a ComfyUI on this machine is no part of a test
FOREIGN = ("LTXFLOW_STORE", "NO_COLOR", "FORCE_COLOR", "CI", "COMFY_URL", "COMFYUI_URL", "COMFY_LOCAL_URL")


@pytest.fixture(autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.getbasetemp() / "home"
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
    for name in [*FOREIGN, *(name for name in os.environ if name.startswith("LTXFLOW_"))]:
        if not name.startswith("LTXFLOW_TEST_"):
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(discovery, "LOOPBACK_PORTS", NOTHING_LISTENS)


@pytest.fixture(autouse=True)
def _sessions() -> Iterator[None]:
    """Verbs close what they open; a test leaves its own sessions to this."""
    yield
    close_sessions()


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """Three scenes, four clips, in a workspace of their own; slates are canned."""
    made = Film.at(tmp_path).move_in(monkeypatch)
    monkeypatch.setattr(slate_step, "draw_slate", canned_drawing(made.drawn))
    monkeypatch.chdir(tmp_path / "work")
    return made.write()


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> Campaign:
    """The one campaign of this run: its table is shown at the end."""
    return request.config.stash.setdefault(CAMPAIGN, Campaign())


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    campaign = config.stash.get(CAMPAIGN, None)
    if campaign is not None and campaign.tries:
        terminalreporter.section("attacks")
        for line in campaign.table():
            terminalreporter.write_line(line)
