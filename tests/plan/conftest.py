"""Plans of nodes of a made-up kind."""

from __future__ import annotations

import sys

import pytest
from fakes.kind import FakeStep


@pytest.fixture(autouse=True)
def fake_step(monkeypatch: pytest.MonkeyPatch) -> FakeStep:
    module = FakeStep("ltxflow.steps.fake")
    monkeypatch.setitem(sys.modules, "ltxflow.steps.fake", module)
    return module
