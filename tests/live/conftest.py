"""A real server: the one that LTXFLOW_TEST_SERVER names. See docs/reference/comfyui.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.live import FPS, FRAMES, SIZE, URL, Live


@pytest.fixture(scope="session")
def live() -> Live:
    if not URL:
        pytest.skip("no server: make test-live SERVER=http://127.0.0.1:8188")
    width, _, height = SIZE.partition("x")
    return Live(URL, (int(width), int(height)), FRAMES, FPS)


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "file"
