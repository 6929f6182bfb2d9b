"""A target is its text, and its parts."""

from __future__ import annotations

import json

import pytest

from ltxflow.core.target import Tally, Target, heads_of


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


TAKES = ["clip:a/a@1", "clip:a/b@1", "clip:a/b@2", "clip:a/b@3", "reference:hero@1", "reference:hero@2"]


def test_a_clip_counts_once_with_the_take_in_the_cut() -> None:
    heads = heads_of(TAKES, lambda entry: 3 if entry == "a/b" else 1)
    assert heads == {"clip:a/a@1", "clip:a/b@3", "reference:hero@1"}
    whole = Tally.of(TAKES, heads)
    assert whole == Tally(clips=2, more_takes=3, references=1)
    assert str(whole) == "2 clips, 3 more takes and 1 reference"
    assert str(Tally.of(["clip:a/b@1"], heads)) == "1 more take"  # its clip counts with take 3


def test_a_clip_of_which_the_take_in_the_cut_is_not_asked_for_counts_with_the_first() -> None:
    assert heads_of(["clip:a/b@4", "clip:a/b@3"], lambda entry: 1) == {"clip:a/b@3"}


def test_parts_of_a_count_add_up_to_the_whole() -> None:
    heads = heads_of(TAKES, lambda entry: 2)
    parts = [Tally.of(TAKES[:start], heads) + Tally.of(TAKES[start:], heads) for start in range(len(TAKES))]
    assert set(parts) == {Tally.of(TAKES, heads)}
    assert not Tally.of(TAKES, heads) - parts[0]
    assert str(Tally()) == ""
