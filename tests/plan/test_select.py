"""Selectors: what one types to name clips."""

from __future__ import annotations

import pytest
from fakes.kind import node

from ltxflow.core.errors import LtxflowError
from ltxflow.plan.graph import select

NODES = [node(name) for name in ("hook/a", "hook/b", "hook/b@2", "hook/long-shot", "outro/a", "b/a")]


def chosen(*patterns: str) -> str:
    return " ".join(target.removeprefix("clip:").removesuffix("@1") for target in select(NODES, patterns))


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ("", "hook/a hook/b hook/b@2 hook/long-shot outro/a b/a"),
        ("hook", "hook/a hook/b hook/b@2 hook/long-shot"),
        ("hook/b", "hook/b hook/b@2"),
        ("hook/b@2", "hook/b@2"),
        ("hook/b@1", "hook/b"),
        ("clip:hook/b@2", "hook/b@2"),
        ("b", "b/a"),  # a scene, not the clips of that name
        ("*/a", "hook/a outro/a b/a"),
        ("h*", "hook/a hook/b hook/b@2 hook/long-shot"),
        ("hook/*", "hook/a hook/b hook/b@2 hook/long-shot"),
        ("*@2", "hook/b@2"),
        ("*/?", "hook/a hook/b hook/b@2 outro/a b/a"),
        ("[bo]*", "outro/a b/a"),
        ("outro hook/a", "hook/a outro/a"),  # in the order of the film
        ("hook hook/a", "hook/a hook/b hook/b@2 hook/long-shot"),
        ("!hook", "outro/a b/a"),
        ("hook !hook/b", "hook/a hook/long-shot"),
        ("!hook/b@2", "hook/a hook/b hook/long-shot outro/a b/a"),
        ("hook !*/a !*@2", "hook/b hook/long-shot"),
        ("outro !outro", ""),
    ],
)
def test_a_selector_names_clips(patterns: str, names: str) -> None:
    assert chosen(*patterns.split()) == names


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("hok", 'did you mean "hook"?'),
        ("hook/lng-shot", 'did you mean "hook/long-shot"?'),
        ("outro/a@2", 'did you mean "outro/a"?'),
        ("!outr", 'did you mean "outro"?'),
        ("HOOK", "scenes: hook, outro, b"),
        ("zzz*", "scenes: hook, outro, b"),
    ],
)
def test_a_selector_that_names_nothing_is_refused(pattern: str, hint: str) -> None:
    with pytest.raises(LtxflowError) as caught:
        select(NODES, [pattern])
    (problem,) = caught.value.problems
    assert problem.message == f'"{pattern.removeprefix("!")}" matches no clip'
    assert (problem.hint, problem.code) == (hint, "U010")


def test_all_selectors_that_name_nothing_are_told_at_once() -> None:
    with pytest.raises(LtxflowError) as caught:
        select(NODES, ["hok", "hook", "!outr"])
    assert [problem.message.split('"')[1] for problem in caught.value.problems] == ["hok", "outr"]
