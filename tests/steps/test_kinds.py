"""Every kind provides the whole of `Step`: callers ask for nothing that may be missing."""

from __future__ import annotations

import inspect
import pkgutil
from typing import get_type_hints

import pytest

import ltxflow.steps
from ltxflow.steps import Step, step

KINDS = sorted(each.name for each in pkgutil.iter_modules(ltxflow.steps.__path__))
METHODS = [name for name, _ in inspect.getmembers(Step, inspect.isfunction) if not name.startswith("_")]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_a_step(kind: str) -> None:
    module = step(kind)
    assert kind == module.KIND
    assert [name for name in get_type_hints(Step) if not hasattr(module, name)] == []
    for name in METHODS:
        assert list(inspect.signature(getattr(module, name)).parameters) == [
            each for each in inspect.signature(getattr(Step, name)).parameters if each != "self"
        ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_runs_here_or_on_a_server(kind: str) -> None:
    module = step(kind)
    assert (module.run is None) == (kind == "clip")
    if module.run is not None:
        assert list(inspect.signature(module.run).parameters) == ["node", "action", "job"]
