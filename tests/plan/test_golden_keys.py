"""The format of keys, frozen: what is asserted here was paid for with GPU hours by somebody.

A clip template's keys are NOT frozen yet: they are once that template has run on a real server. If a value
here changes, raise the VERSION of the step, and tell the changelog why.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.film import Film

from ltxflow.core.digest import Action, Digest, canonical, digest_json
from ltxflow.core.target import Target
from ltxflow.core.timing import seed_for
from ltxflow.media import text_layout
from ltxflow.media.slate import EncodeSettings, Segment, SlateSpec
from ltxflow.plan.plan import PlanOptions
from ltxflow.project.model import Image
from ltxflow.steps import Node, part
from ltxflow.steps.clip.files import asset_name
from ltxflow.steps.part import BurntCaption, PartSpec


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1, 2.0, 2.5]}, '{"a":[1,2,2.5],"b":1}'),
        ({"ü": 'é\n"\\\u2028'}, '{"ü":"é\\n\\"\\\\\u2028"}'),
        ((None, True, False, "", {}, []), '[null,true,false,"",{},[]]'),
        ([-0.0, 1e16, 1e-7, 0.1, 9007199254740991, -3.0], "[0,1e+16,1e-07,0.1,9007199254740991,-3]"),
        ({"10": 1, "9": 2}, '{"10":1,"9":2}'),
    ],
)
def test_canonical_json(value: object, text: str) -> None:
    assert canonical(value) == text.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"x": -float("inf")}])
def test_what_is_no_number_has_no_canonical_form(value: object) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(value)


ACTION = Action(
    "clip", "1", {"graph": {"nodes": [], "outputs": {}}}, {"start": Digest("0" * 64)}, ("video", "published")
)


def test_an_action_as_json() -> None:
    assert ACTION.as_json() == {
        "format": "action/1",
        "kind": "clip",
        "version": "1",
        "body": {"graph": {"nodes": [], "outputs": {}}},
        "inputs": {"start": "0" * 64},
        "outputs": ["video", "published"],
    }


def test_the_key_of_an_action() -> None:
    assert ACTION.key == "71d42911e1a66b89af03a354026f10f604811afbdac6aa8b0c3f722a364f55ba"
    assert Action("slate", "1", {}).key == "3b6406793a53137a690ed1b267b97acbb7ddbdc0250f4893ca2e662d189675c5"
    assert digest_json([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"


@pytest.mark.parametrize(
    ("film", "scene", "clip", "take", "try_", "seed"),
    [
        (0, "hook", "a", 1, 0, 6347040230075891),
        (0, "hook", "a", 1, 1, 6233623678878534),
        (0, "hook", "a", 2, 0, 8053495180622448),
        (20260111, "hook", "b", 1, 0, 3340025583343312),
        (2**53 - 1, "split-key", "zz", 9, 0, 8875511107286180),
    ],
)
def test_derived_seeds(film: int, scene: str, clip: str, take: int, try_: int, seed: int) -> None:
    assert seed_for(film, scene, clip, take, try_) == seed


PICTURE = Image(Path("refs/vault.png"), "refs/vault.png", Digest("ab" * 32), 1600, 900)


@pytest.mark.parametrize(
    ("fit", "focus", "name"),
    [
        ("cover", [0.5, 0.5], "8676dd08070d56955e36aae120f5369a"),
        ("cover", [0.5, 0.4], "d090abcbdc1f5014f88014b035019699"),
        ("contain", [0.5, 0.5], "fb2990ea44804575dd86eabac41e00f3"),
        ("stretch", [0.1, 0.9], "1f5a224e7af28f71d163933996b0a5b6"),
    ],
)
def test_names_of_prepared_pictures(fit: str, focus: list[float], name: str) -> None:
    assert asset_name(PICTURE, fit, focus, (1536, 896))[0] == f"ltxflow/{name}.png"


def test_what_a_prepared_picture_is_named_after() -> None:
    _, recipe = asset_name(PICTURE, "cover", (0.5, 0.4), (1536, 896))
    assert recipe == {
        "pixels": "ab" * 32,
        "fit": "cover",
        "focus": [0.5, 0.4],
        "size": [1536, 896],
        "prepare": "1",
    }
    assert asset_name(PICTURE, "contain", (0.5, 0.4), (1536, 896))[1]["focus"] is None  # it has none there


def test_the_key_of_a_slate(film: Film) -> None:
    text = "A brass key turns in a lock."
    film.write({"hook": ["a"]}, {"hook": "4s"})
    film.edit(film.file.read_text().split('prompt: "')[1].split('"')[0], text)
    (status,) = film.session().plan(PlanOptions("animatic")).statuses.values()
    assert status.action is not None
    assert status.action.as_json() == {
        "format": "action/1",
        "kind": "slate",
        "version": "1",
        "body": {
            "width": 128,
            "height": 128,
            "fps": 25,
            "frames": 105,
            "scene": "hook",
            "clip": "a",
            "take": 1,
            "prompt": text,
            "camera": "",
        },
        "inputs": {},
        "outputs": ["video"],
    }
    assert set(status.action.body) == set(SlateSpec.__dataclass_fields__) - {"starts"}  # only where there is something
    assert status.key == "7eb07a03c4f5ba66f5e86d49ebca80334fa8eb1845d464dd5d56a7e8ac493762"


@pytest.mark.parametrize("can_shape", [True, False])
@pytest.mark.parametrize("text", ["A brass key. → Ж 古い", "पीतल की चाबी", "A key named पीतल."])
def test_a_slate_is_drawn_anew_for_shaping_only_where_it_has_such_letters_and_the_machine_can(
    film: Film, text: str, can_shape: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_layout, "can_shape", lambda: can_shape)
    film.write({"hook": ["a"]}, {"hook": "4s"})
    film.edit(film.file.read_text().split('prompt: "')[1].split('"')[0], text)
    (status,) = film.session().plan(PlanOptions("animatic")).statuses.values()
    assert status.action is not None
    assert status.action.body.get("shaping") == ("1" if can_shape and "पीतल" in text else None)


@pytest.mark.parametrize(("lines", "expected"), [(("Every coin", "→ 古い"), None), (("Every coin", "שלום"), "1")])
def test_a_part_is_encoded_anew_for_shaping_only_where_its_captions_have_such_letters(
    lines: tuple[str, ...], expected: str | None
) -> None:
    captions = (BurntCaption(0, 20, lines),)
    spec = PartSpec(
        EncodeSettings(640, 360, 25, "fast", 18), Segment(Path("a.mp4"), 0, 25), Digest("a" * 64), captions=captions
    )
    assert part.action(Node(Target("part:a"), "part", spec, 25), {}).body.get("shaping") == expected
