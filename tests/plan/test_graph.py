"""The graph: an order in which each comes after what it needs, and clear words where there is none."""

from __future__ import annotations

import random
from itertools import pairwise

import networkx as nx
import pytest
from fakes.kind import SPAN, node

from ltxflow.core.errors import LtxflowError
from ltxflow.plan.graph import build_graph, edges


def test_a_plan_has_what_is_wanted_and_all_it_needs() -> None:
    """
    a/a ──► a/b ──► b/a     c/a
    """
    nodes = [node("a/a"), node("a/b", {"start": "a/a"}), node("b/a", {"start": "a/b"}), node("c/a")]
    plan = build_graph(nodes, ["clip:b/a@1"])
    assert list(plan.nodes) == ["clip:a/a@1", "clip:a/b@1", "clip:b/a@1"]
    assert plan.wanted == ("clip:b/a@1",)
    assert plan.needs("clip:b/a@1") == ("clip:a/b@1",)
    assert edges(plan) == [("clip:a/a@1", "clip:a/b@1", "start"), ("clip:a/b@1", "clip:b/a@1", "start")]


def test_the_order_is_that_of_the_film_as_far_as_needs_allow() -> None:
    nodes = [node("a/a", {"start": "b/b"}), node("a/b"), node("b/a"), node("b/b")]
    plan = build_graph(nodes, [n.target for n in nodes])
    assert list(plan.nodes) == ["clip:a/b@1", "clip:b/a@1", "clip:b/b@1", "clip:a/a@1"]
    assert plan.wanted == tuple(n.target for n in nodes)


def test_a_frame_follows_the_clip_that_it_is_taken_of() -> None:
    frames = [node("b/a/last", {"clip": "b/a"}), node("a/a/last", {"clip": "a/a"})]
    clips = [node("a/a"), node("a/b", {"start": "a/a/last"}), node("b/a"), node("b/b", {"start": "b/a/last"})]
    plan = build_graph([*frames, *clips], [n.target for n in clips])
    names = ["a/a", "a/a/last", "a/b", "b/a", "b/a/last", "b/b"]
    assert list(plan.nodes) == [f"clip:{name}@1" for name in names]


@pytest.mark.parametrize("seed", range(200))
def test_the_order_is_the_same_with_and_without_sorting(seed: int) -> None:
    """What is ordered without a graph is ordered as the graph would have it, for any film and any wish."""
    dice = random.Random(seed)
    size = dice.randint(2, 8)
    nodes = [
        node(f"a/{at}", {f"input {number}": f"a/{dice.randrange(size)}" for number in range(dice.choice([0, 0, 1, 2]))})
        for at in range(size)
    ]
    graph = nx.DiGraph([(need, made.target) for made in nodes for need in made.needs.values()])
    graph.add_nodes_from(made.target for made in nodes)
    wanted = [made.target for made in nodes if dice.random() < 0.6]
    part = graph.subgraph(set(wanted).union(*(nx.ancestors(graph, target) for target in wanted)))
    if not nx.is_directed_acyclic_graph(part):
        with pytest.raises(LtxflowError, match="need each other"):
            build_graph(nodes, wanted)
        return
    position = {made.target: at for at, made in enumerate(nodes)}
    order = nx.lexicographical_topological_sort(part, key=position.__getitem__)
    assert list(build_graph(nodes, wanted).nodes) == list(order)


def test_what_is_wanted_twice_is_wanted_once() -> None:
    plan = build_graph([node("a/a")], ["clip:a/a@1", "clip:a/a@1"])
    assert plan.wanted == ("clip:a/a@1",)


def test_two_inputs_from_one_clip_are_one_need() -> None:
    nodes = [node("a/a"), node("a/b", {"picture": "a/a@1#last_frame", "sound": "a/a@1#video"})]
    assert build_graph(nodes, ["clip:a/b@1"]).needs("clip:a/b@1") == ("clip:a/a@1",)


def test_a_cycle_is_named_with_a_place_and_a_way_out() -> None:
    nodes = [node("x/x"), node("a/a", {"start": "a/c"}), node("a/b", {"start": "a/a"}), node("a/c", {"start": "a/b"})]
    with pytest.raises(LtxflowError) as caught:
        build_graph(nodes, [n.target for n in nodes])
    (problem,) = caught.value.problems
    names = problem.message.removeprefix("these clips need each other: ").split(" → ")
    assert len(names) == 4
    assert names[0] == names[-1]
    assert set(names) == {"clip:a/a@1", "clip:a/b@1", "clip:a/c@1"}
    followed = {("clip:a/a@1", "clip:a/b@1"), ("clip:a/b@1", "clip:a/c@1"), ("clip:a/c@1", "clip:a/a@1")}
    assert set(pairwise(names)) == followed  # each is needed by the next
    assert problem.span == SPAN
    assert problem.hint == "let one of them start from a file, or from nothing"


def test_a_clip_that_needs_itself_is_a_cycle() -> None:
    with pytest.raises(LtxflowError, match="these clips need each other: clip:a/a@1 → clip:a/a@1"):
        build_graph([node("a/a", {"start": "a/a"})], ["clip:a/a@1"])


def test_a_cycle_elsewhere_does_not_stand_in_the_way() -> None:
    nodes = [node("a/a", {"start": "a/b"}), node("a/b", {"start": "a/a"}), node("b/a")]
    assert list(build_graph(nodes, ["clip:b/a@1"]).nodes) == ["clip:b/a@1"]


def test_a_need_that_nothing_fills_is_named() -> None:
    with pytest.raises(LtxflowError) as caught:
        build_graph([node("a/a", {"start": "a/z"})], ["clip:a/a@1"])
    (problem,) = caught.value.problems
    assert problem.message == 'clip:a/a@1 needs "clip:a/z@1" (start), which is not in the film'
    assert problem.span == SPAN
