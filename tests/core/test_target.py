"""A target is its text, and its parts."""

from __future__ import annotations

import json

import pytest

from ltxflow.core.target import Target


@pytest.mark.parametrize(
    ("text", "kind", "path", "take", "scene", "entry", "short"),
    [
        ("clip:hook/b@2", "clip", "hook/b", 2, "hook", "hook/b", "hook/b@2"),
        ("clip:hook/b@1", "clip", "hook/b", 1, "hook", "hook/b", "hook/b"),
        ("reference:hero@3", "reference", "hero", 3, "hero", "reference:hero", "reference:hero@3"),
        ("narration:hook", "narration", "hook", 1, "hook", "hook", "hook"),
        ("frame:hook/b/last@1", "frame", "hook/b/last", 1, "hook", "hook/b/last", "hook/b/last"),
    ],
)
def test_parts(text: str, kind: str, path: str, take: int, scene: str, entry: str, short: str) -> None:
    target = Target(text)
    assert (target.kind, target.path, target.take, target.scene) == (kind, path, take, scene)
    assert (target.lock_entry, target.short) == (entry, short)
    assert target == text
    assert json.loads(json.dumps({target: target})) == {text: text}


def test_it_is_made_of_parts() -> None:
    assert Target.of("clip", "hook/b", 2) == "clip:hook/b@2"
