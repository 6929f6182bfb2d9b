"""A film and a server to render it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.comfyui import FakeComfy
from fakes.studio import Studio


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    monkeypatch.setenv("LTXFLOW_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Studio(tmp_path).write("a", "b", "c")


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


@pytest.fixture
def other() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake
