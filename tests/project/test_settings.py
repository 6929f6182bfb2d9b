"""Layers of settings and their order."""

from __future__ import annotations

from ltxflow.core.errors import Span
from ltxflow.project.settings import GROUPS, NAMES, Layer, flatten, resolve

SPAN = Span("project.yaml", 4, 9)


def test_settings_have_dotted_names() -> None:
    written = {"id": "a", "prompt": "x", "seed": 1, "reference": {"image": "a.png", "focus": [0.5, 0.4]}, "takes": 2}
    assert flatten(written) == {
        "seed": (1, ("seed",)),
        "reference.image": ("a.png", ("reference", "image")),
        "reference.focus": ([0.5, 0.4], ("reference", "focus")),
        "takes": (2, ("takes",)),
    }


def test_a_bare_value_is_the_first_of_its_group() -> None:
    assert flatten({"reference": "a.png"}) == {"reference.image": ("a.png", ("reference",))}
    assert flatten({"last_frame": None}) == {"last_frame.image": (None, ("last_frame",))}
    for group, leaves in GROUPS.items():
        assert list(flatten({group: "x"})) == [f"{group}.{leaves[0]}"]


def test_every_name_is_plain_or_in_a_group() -> None:
    assert {"seed", "loras", "reference.strength", "control.video"} <= NAMES
    assert not {"reference", "prompt", "id"} & NAMES


def test_the_strongest_layer_wins_leaf_by_leaf() -> None:
    layers = [
        Layer("profile", {"steps": 8, "reference.strength": 1.0, "reference.image": None}),
        Layer("defaults.clip", {"reference.strength": 0.9}, {"reference.strength": SPAN}),
        Layer("clip hook/b", {"reference.image": "a.png"}),
        Layer("command line", {}),
    ]
    found = resolve(layers)
    assert {name: (value.value, value.origin) for name, value in found.items()} == {
        "steps": (8, "profile"),
        "reference.strength": (0.9, "defaults.clip"),
        "reference.image": ("a.png", "clip hook/b"),
    }
    assert found["reference.strength"].span == SPAN
    assert found["steps"].span is None


def test_null_removes_the_value_of_a_weaker_layer() -> None:
    layers = [Layer("defaults.clip", {"reference.image": "a.png"}), Layer("clip hook/b", {"reference.image": None})]
    value = resolve(layers)["reference.image"]
    assert (value.value, value.origin) == (None, "clip hook/b")


def test_falsy_values_count() -> None:
    layers = [
        Layer("profile", {"loras": ["x"], "temporal_upscale": True, "seed": 7, "negative": "blur"}),
        Layer("clip hook/b", {"loras": [], "temporal_upscale": False, "seed": 0, "negative": ""}),
    ]
    assert {name: value.value for name, value in resolve(layers).items()} == {
        "loras": [],
        "temporal_upscale": False,
        "seed": 0,
        "negative": "",
    }
