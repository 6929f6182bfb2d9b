"""A film and a server to render it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.comfyui import FakeComfy
from harness.studio import Studio


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return Studio.at(tmp_path).move_in(monkeypatch).write("a", "b", "c")


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


@pytest.fixture
def other() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake
