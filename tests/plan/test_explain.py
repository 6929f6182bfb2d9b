"""Why a key is another one: every field that changed, and none that only came with it."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.kind import FakeStep, Shelf, node
from harness.film import Film

from ltxflow.core.errors import Span
from ltxflow.plan.explain import Reason, differs, reasons, show, word_diff
from ltxflow.steps import Node
from ltxflow.store.traces import Trace

FULL = {"is": "full", "sampler": "euler", "steps": 20, "cfg": 4.0}
FAST = {"is": "fast", "sampler": "euler", "steps": 8, "cfg": 1.0}


def made(fields: dict[str, Any]) -> Trace:
    before = node("hook/a", **fields)
    return Shelf().make(before, FakeStep("fake").action(before, {}))


def told(old: dict[str, Any], new: dict[str, Any]) -> list[Reason]:
    """What is said of a clip whose fields were these and are those now."""
    now = node("hook/a", **new)
    return reasons(now, FakeStep("fake").action(now, {}), made(old))


def said(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(reason.field, reason.old, reason.new) for reason in told(old, new)]


def test_nothing_is_said_of_what_is_new_or_the_same() -> None:
    now = node("hook/a", seed=1)
    action = FakeStep("fake").action(now, {})
    assert reasons(now, action, None) == []
    assert reasons(now, None, made({"seed": 2})) == []  # its inputs are still to be made
    assert told({"seed": 1}, {"seed": 1}) == []


def test_a_reason_has_the_old_value_the_new_one_and_where_it_is_written() -> None:
    (reason,) = told({"seed": 1, "fps": 25}, {"seed": 2, "fps": 25})
    assert reason == Reason("seed", 1, 2, Span("project.yaml", 11, 5))
    assert reason.as_json() == {
        "field": "seed",
        "old": 1,
        "new": 2,
        "where": {"file": "project.yaml", "line": 11, "col": 5},
        "detail": "",
    }


def test_a_template_that_was_edited_says_so_beside_another_change() -> None:
    was, is_ = ({"is": "mine", "instead": "mine", "makes": {"this shape": graph}} for graph in ("b", "c"))
    for now, detail in ((is_, "edited"), ({**is_, "is": "other", "instead": "other"}, "")):
        details = {each.field: each.detail for each in told({"template": was, "seed": 1}, {"template": now, "seed": 2})}
        assert details == {"template": detail, "seed": ""}


def test_what_may_be_there_or_not_is_told_and_what_comes_with_it_is_not() -> None:
    without = {"reference.image": None, "seed": 1}
    image = {"is": "a.png", "pixels": "x"}
    with_one = {"reference.image": image, "reference.strength": 0.9, "seed": 1}
    assert said(without, with_one) == [("reference.image", None, image)]
    assert said(with_one, without) == [("reference.image", image, None)]


def test_a_value_is_compared_by_what_it_comes_to_not_by_its_name() -> None:
    old, renamed = {"is": "a.png", "pixels": "x"}, {"is": "b.png", "pixels": "x"}
    assert said({"image": old, "seed": 1}, {"image": renamed, "seed": 2}) == [("seed", 1, 2)]
    repainted = {"is": "a.png", "pixels": "y"}
    assert said({"image": old}, {"image": repainted}) == [("image", old, repainted)]
    assert said({"image": renamed}, {"image": repainted}) == [("image", "b.png", "a.png")]


def test_what_the_quality_brings_is_the_quality() -> None:
    old = {"quality": FULL, "steps": 20, "cfg": 4.0, "negative": "blur"}
    assert said(old, {"quality": FAST, "steps": 8, "cfg": 1.0}) == [("quality", "full", "fast")]


def test_what_the_author_wrote_is_told_beside_the_quality() -> None:
    own = {"is": "fast", "sampler": "euler", "cfg": 1.0}  # the quality has no say in its steps
    old, new = {"quality": FULL, "steps": 20, "cfg": 4.0}, {"quality": own, "steps": 6, "cfg": 1.0}
    assert said(old, new) == [("quality", "full", "fast"), ("steps", 20, 6)]
    assert said({"quality": own, "steps": 6}, {"quality": FAST, "steps": 8}) == [("steps", 6, 8)]


def test_of_a_quality_that_means_something_else_now_the_parts_are_told() -> None:
    (reason,) = told({"quality": FAST, "steps": 8}, {"quality": {**FAST, "sampler": "heun"}, "steps": 8})
    assert (show(reason.old), show(reason.new)) == ("fast (sampler euler)", "fast (sampler heun)")


def test_a_length_is_told_with_what_it_follows_from(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def where(self: FakeStep, node: Node, name: str) -> None:
        asked.append(name)

    monkeypatch.setattr(FakeStep, "where", where)
    old = {"frames": {"is": 121, "follows": {"length": "auto", "narration": "9s", "crossfade": "12f"}}}
    new = {"frames": {"is": 129, "follows": {"length": "auto", "narration": "10s", "crossfade": "24f"}}}
    assert told(old, new) == [Reason("frames", 121, 129, None, "narration 9s → 10s, crossfade 12f → 24f")]
    assert asked == ["narration"]
    afresh = {"frames": {"is": 97, "follows": {"length": "auto", "narration": "9s", "crossfade": "12f"}}}
    assert told(old, afresh) == [Reason("frames", 121, 97, None, "")]
    assert asked == ["narration", "frames"]
    kept = {"frames": {"is": 121, "follows": {"length": "auto", "narration": "1s", "crossfade": "12f"}}, "seed": 1}
    assert said({**old, "seed": 2}, kept) == [("seed", 2, 1)]


def prompt(**parts: str) -> dict[str, Any]:
    return {f"prompt.{part}": parts.get(part) for part in ("text", "setup", "camera", "action")}


def test_the_part_of_a_prompt_is_told() -> None:
    old, new = prompt(setup="A vault.", camera="It pans."), prompt(setup="A vault.", camera="It tilts.")
    assert said(old, new) == [("prompt.camera", "It pans.", "It tilts.")]
    assert said(prompt(setup="A."), prompt(setup="A.", action="B.")) == [("prompt.action", None, "B.")]


def test_a_text_that_became_parts_is_one_change() -> None:
    old, new = prompt(text="A vault. It pans."), prompt(setup="A vault.", camera="It tilts.")
    assert said(old, new) == [("prompt", "A vault. It pans.", "A vault. It tilts.")]
    assert said(new, old) == [("prompt", "A vault. It tilts.", "A vault. It pans.")]


def test_words_that_only_moved_from_part_to_part_are_no_change() -> None:
    old, new = prompt(setup="A vault. It pans."), prompt(setup="A vault.", camera="It pans.")
    assert said({**old, "seed": 1}, {**new, "seed": 2}) == [("seed", 1, 2)]
    assert {field for field, _, _ in said(old, new)} == {"prompt.setup", "prompt.camera"}  # a slate shows them


def test_an_input_that_came_out_otherwise_is_told() -> None:
    before, after = node("a/a"), node("a/b", {"start": "a/a"}, seed=1)
    shelf, step = Shelf(), FakeStep("fake")
    first, second = (shelf.make(before, step.action(before, {}), text) for text in ("one picture", "another"))
    old = shelf.make(after, step.action(after, {"start": first.outputs["video"]}))
    (reason,) = reasons(after, step.action(after, {"start": second.outputs["video"]}), old)
    assert (reason.field, reason.span) == ("start", after.span)
    assert reason.old != reason.new
    assert "clip:a/a@1" in str(reason)


def test_a_kind_that_is_made_anew_says_so(fake_step: FakeStep) -> None:
    before = made({"seed": 1})
    fake_step.VERSION = "2"  # type: ignore[misc]
    now = node("hook/a", seed=1)
    (reason,) = reasons(now, fake_step.action(now, {}), before)
    assert (reason.field, reason.old, reason.new) == ("version", "1", "2")


@pytest.mark.parametrize(
    ("old", "new", "is_other"),
    [
        (1, 1.0, False),  # 1 comes back from JSON as it was written
        (1, 2, True),
        (None, {"is": "a"}, True),
        ({"is": "a", "x": 1}, {"is": "b", "x": 1}, False),
        ({"is": "a", "x": 1}, {"is": "a", "x": 2}, True),
        ({"is": "a", "x": 1}, {"is": "b", "y": 2}, False),  # nothing in common to compare
        ({"is": "a", "x": {"p": 1}}, {"is": "a", "x": {"q": 2}}, False),
        ({"is": "a", "x": {"p": 1}}, {"is": "a", "x": {"p": 2}}, True),
        ([{"is": "a at 1"}], [{"is": "a at 1", "sha256": "5c"}], True),
        ([{"is": "a at 1"}, {"is": "b at 1"}], [{"is": "b at 1"}, {"is": "a at 1"}], True),
        ({"is": 121, "follows": {"x": 1}}, {"is": 121, "follows": {"x": 2}}, False),
        ({"is": 121, "follows": {"x": 1}}, {"is": 129, "follows": {"x": 1}}, True),
    ],
)
def test_what_counts_as_another_value(old: Any, new: Any, is_other: bool) -> None:
    assert differs(old, new) == is_other


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (True, "true"),
        (4.0, "4"),
        (0.8, "0.8"),
        ([], "none"),
        ([0.5, 1.0], "0.5, 1"),
        ("a text", "a text"),
        ({"is": "a.png", "pixels": "0123456789abcdef" * 4}, "a.png (pixels 01234567…)"),
        ({"is": "fast", "steps": 8}, "fast (steps 8)"),
        ([{"is": "a at 1"}, {"is": "b at 0.5", "sha256": "f" * 64}], "a at 1, b at 0.5 (sha256 ffffffff…)"),
    ],
)
def test_a_value_is_shown_as_one_would_write_it(value: Any, text: str) -> None:
    assert show(value) == text


def test_words_are_compared_in_runs() -> None:
    assert word_diff("the camera pans left over rain", "the camera tilts over heavy rain") == [
        ("=", "the camera"),
        ("-", "pans left"),
        ("+", "tilts"),
        ("=", "over"),
        ("+", "heavy"),
        ("=", "rain"),
    ]
    assert word_diff("", "a b") == [("+", "a b")]
    assert word_diff("a  b\nc", "a b c") == [("=", "a b c")]


def test_a_switch_of_profile_is_one_reason(film: Film) -> None:
    """What the profile brings (the steps of a quality, weights, a template's content) needs no line each."""
    film.write().make()
    film.set("profile", "ltx2.3-22b").set("scenes/hook/clips/a/steps", 6)
    hook_a, hook_b, *_ = (change.reasons for change in film.look().changes)
    assert [reason.field for reason in hook_b] == ["profile"]
    assert {reason.field for reason in hook_a} == {"profile", "steps"}  # what the author wrote is one of its own
