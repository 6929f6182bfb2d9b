"""docs/reference/keys.md names the format of keys, and every step kind with its version."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest

import ltxflow.steps
from ltxflow.core.digest import ACTION_FORMAT
from ltxflow.steps import step

DOC = (Path(__file__).parents[1] / "docs" / "reference" / "keys.md").read_text()
KINDS = sorted(each.name for each in pkgutil.iter_modules(ltxflow.steps.__path__))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_told_with_its_version(kind: str) -> None:
    version = step(kind).VERSION
    assert re.search(rf"`{kind}` {version}\b", DOC), f"docs/reference/keys.md says nothing of {kind} {version}"


def test_the_format_of_keys_is_told() -> None:
    assert f'"format": "{ACTION_FORMAT}"' in DOC
