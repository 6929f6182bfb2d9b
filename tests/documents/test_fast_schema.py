"""Data that fits by the fast check is valid for jsonschema, and every valid film fits."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltxflow.core.files import data_dir
from ltxflow.documents import fast_schema, schema, yaml

DEMO = (data_dir() / "projects/wallet-explainer/project.yaml").read_text()
PROJECT = DEMO.replace("!include ", "")  # the name of a prompt file is as good a prompt
PROFILE = (data_dir() / "templates/ltx2-19b/profile.yaml").read_text()
EVERYTHING = """
ltxflow: 1
id: all
size: 1536x864
fps: 25
vars: {look: blue, count: 3}
loras: {push: {name: push.safetensors, strength: 0.5}, grain: grain.safetensors}
weights: {checkpoint: fp8}
defaults: {scene: {pad: 0.2s, crossfade: 12f}, clip: {negative: [a, b], reference: {strength: 0.9, focus: [0.5, 0.4]}}}
moved: [{from: a, to: b}]
scenes:
  - id: b
    narration: {text: some words}
    clips:
      - {id: x, prompt: A door opens., reference: refs/a.png, cfg: 1.5, steps: 4, ignore: [P104], takes: 2}
      - {id: y, prompt: {setup: a, camera: b}, length: 49f, loras: [push, {name: z.safetensors, strength: 1}], seed: 5}
"""

TEXTS = ["", "a", "hook", "con", "12f", "0.4s", "12", "1536x864", "x/y.png", "auto", "P104", "A long text."]
KEYS = ["id", "text", "file", "from", "a", "clip", "strength", "Look"]
PLAIN = (
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(-2, 3000, allow_nan=False) | st.sampled_from(TEXTS)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=5,
)


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [path, *(place for key, value in items for place in places(value, (*path, key)))]


def changed(data: Any, draw: Any) -> Any:
    """Return data with at most one mistake: a value replaced or removed, or a key added."""
    data = copy.deepcopy(data)
    path = draw(st.sampled_from([place for place in places(data) if place]))
    parent = data
    for step in path[:-1]:
        parent = parent[step]
    what = draw(st.sampled_from(["replace", "remove", "add"]))
    if what == "replace":
        parent[path[-1]] = draw(VALUES)
    elif what == "remove":
        del parent[path[-1]]
    elif isinstance(parent, dict):
        parent[draw(st.sampled_from(["prompt", "fps", "crossfade", "nonsense", "aspect", "file"]))] = draw(VALUES)
    else:
        parent.append(draw(VALUES))
    return data


@pytest.mark.parametrize(("name", "text"), [("project", PROJECT), ("profile", PROFILE), ("project", EVERYTHING)])
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_data_that_fits_is_valid_for_jsonschema(name: str, text: str, data: st.DataObject) -> None:
    document = yaml.parse(text, "p.yaml")
    asked = changed(document.data, data.draw)
    if data.draw(st.booleans()):
        asked = changed(asked, data.draw)
    if fast_schema.fits(asked, name):
        assert not schema.explain(replace(document, data=asked), name)


@pytest.mark.parametrize(("name", "text"), [("project", PROJECT), ("profile", PROFILE), ("project", EVERYTHING)])
def test_a_valid_document_needs_no_jsonschema(name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "explain", None)
    assert schema.check(yaml.parse(text, "p.yaml"), name) == []


def test_an_invalid_document_is_explained_with_its_place() -> None:
    document = yaml.parse(EVERYTHING.replace("fps: 25", "fps: many"), "p.yaml")
    (problem,) = schema.check(document)
    assert (problem.code, str(problem.span)) == ("S103", "p.yaml:5:6")


def test_an_unknown_keyword_does_not_fit() -> None:
    def nowhere(pointer: str) -> fast_schema.Fits:
        raise AssertionError(pointer)

    assert not fast_schema.fitting({"type": "string", "format": "email"}, nowhere)("a@b.c")
    assert not fast_schema.fitting({"not": {"type": "string"}}, nowhere)(3)


@pytest.mark.parametrize(
    ("part", "right", "wrong"),
    [
        ({"type": "integer"}, 3, True),
        ({"type": "integer"}, 3, 3.0),
        ({"type": ["number", "null"]}, None, "3"),
        ({"enum": [1, "a"]}, 1, True),
        ({"const": 1}, 1, 1.0),
        ({"pattern": "^a$"}, "a", "a\n"),
        ({"exclusiveMinimum": 0}, 0.1, 0),
        ({"multipleOf": 8}, 16, 12),
        ({"uniqueItems": True}, ["a", "b"], ["a", "a"]),
        ({"propertyNames": {"pattern": "^[a-z]+$"}}, {"a": 1}, {"A": 1}),
        ({"properties": {"a": {"type": "string"}}, "additionalProperties": False}, {"a": "x"}, {"b": "x"}),
        ({"patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False}, {"xy": None}, {"xy": 1}),
        ({"additionalProperties": {"type": "string"}}, {"a": "x"}, {"a": 1}),
        ({"anyOf": [{"type": "string"}, {"type": "object", "required": ["a"]}]}, {"a": 1}, {}),
        ({"not": {"required": ["a", "b"]}}, {"a": 1}, {"a": 1, "b": 2}),
    ],
)
def test_keywords(part: dict[str, Any], right: Any, wrong: Any, tmp_path: Path) -> None:
    test = fast_schema.fitting(part, lambda pointer: lambda value: False)
    assert test(right)
    assert not test(wrong)
