"""A healthy server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes.comfyui import FakeComfy


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake
