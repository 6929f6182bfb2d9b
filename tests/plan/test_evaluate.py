"""Hit, miss or maybe: what is known before anything runs, and what is known once an input is there."""

from __future__ import annotations

from dataclasses import replace

from fakes.kind import Shelf, node

from ltxflow.core.digest import Output, digest_json
from ltxflow.plan.evaluate import Status, evaluate, evaluate_node
from ltxflow.plan.graph import build_graph

A, B, C = "clip:s/a@1", "clip:s/b@1", "clip:s/c@1"

"""
s/a ──► s/b ──► s/c
"""
CHAIN = [node("s/a"), node("s/b", {"start": "s/a"}), node("s/c", {"start": "s/b"})]
PLAN = build_graph(CHAIN, [C])


def states(found: dict[str, Status]) -> list[str]:
    return [found[target].state for target in (A, B, C)]


def make(shelf: Shelf, target: str, text: str = "") -> None:
    """Make a target whose inputs are there."""
    status = evaluate(PLAN, shelf.lookup)[target]
    assert status.action is not None
    shelf.make(status.node, status.action, text)


def test_of_a_chain_only_the_first_link_is_known_to_be_missing() -> None:
    found = evaluate(PLAN, Shelf().lookup)
    assert states(found) == ["miss", "maybe", "maybe"]
    assert [found[target].because for target in (A, B, C)] == ["", A, B]
    assert found[A].key is not None
    assert found[B].key is None


def test_what_was_made_is_a_hit_and_lets_the_next_be_known() -> None:
    shelf = Shelf()
    make(shelf, A)
    assert states(evaluate(PLAN, shelf.lookup)) == ["hit", "miss", "maybe"]
    make(shelf, B)
    make(shelf, C)
    assert states(evaluate(PLAN, shelf.lookup)) == ["hit", "hit", "hit"]


def test_an_input_that_comes_out_the_same_makes_nothing_after_it_again() -> None:
    shelf = Shelf()
    for target in (A, B, C):
        make(shelf, target, text=target)
    edited = node("s/a", **{"prompt.text": "other words, the same picture"})
    plan = build_graph([edited, *CHAIN[1:]], [C])
    assert states(evaluate(plan, shelf.lookup)) == ["miss", "maybe", "maybe"]
    first = evaluate(plan, shelf.lookup)[A]
    assert first.action is not None
    shelf.make(edited, first.action, text=A)  # early cutoff: the same bytes
    assert states(evaluate(plan, shelf.lookup)) == ["hit", "hit", "hit"]


def test_an_input_that_comes_out_otherwise_makes_what_follows_again() -> None:
    shelf = Shelf()
    for target in (A, B, C):
        make(shelf, target)
    edited = node("s/a", **{"prompt.text": "other words, another picture"})
    plan = build_graph([edited, *CHAIN[1:]], [C])
    first = evaluate(plan, shelf.lookup)[A]
    assert first.action is not None
    shelf.make(edited, first.action)
    assert states(evaluate(plan, shelf.lookup)) == ["hit", "miss", "maybe"]


def test_what_is_forced_is_missing_though_it_is_there() -> None:
    shelf = Shelf()
    for target in (A, B, C):
        make(shelf, target)
    assert states(evaluate(PLAN, shelf.lookup, frozenset([C]))) == ["hit", "hit", "miss"]
    assert states(evaluate(PLAN, shelf.lookup, frozenset([B]))) == ["hit", "miss", "maybe"]


def test_the_output_that_is_named_is_the_one_that_is_keyed() -> None:
    shelf = Shelf()
    first = node("s/a")
    action = evaluate(build_graph([first], [A]), shelf.lookup)[A].action
    assert action is not None
    trace = shelf.make(first, action)
    video, last = trace.outputs["video"], Output(digest_json("the last frame"))
    trace = replace(trace, outputs={"video": video, "last_frame": last})
    before = {A: Status(first, "hit", action, action.key, trace)}
    whole = evaluate_node(node("s/b", {"start": "s/a"}), before, shelf.lookup)
    frame = evaluate_node(node("s/b", {"start": "s/a@1#last_frame"}), before, shelf.lookup)
    assert whole.action is not None
    assert frame.action is not None
    assert whole.action.inputs == {"start": video.digest}
    assert frame.action.inputs == {"start": last.digest}
