"""How long renders will take, on the servers that will make them, as far as their speeds are known."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest

from ltxflow.core.target import Target
from ltxflow.plan.estimate import Estimate, estimate
from ltxflow.steps import Node
from ltxflow.store.published import Speed

SPEEDS = {"fast": Speed(1.0, 12, 0.1), "slow": Speed(3.0, 4, 0.2), "gone": Speed(9.0, 1, 0.5)}


def clips(*works: float) -> list[Node]:
    return [Node(Target(f"weight:s/{place}@1"), "weight", work, 9) for place, work in enumerate(works)]


def work(node: Node) -> float:
    """The spec of a node is its work."""
    return float(node.spec)


@pytest.fixture(autouse=True)
def _kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module is the step kind "weight"."""
    monkeypatch.setitem(sys.modules, "ltxflow.steps.weight", sys.modules[__name__])


def test_only_the_servers_that_will_be_used_count() -> None:
    assert estimate(clips(10, 10), SPEEDS, ["fast"]) == Estimate(20, 20, 1, 12, 0.1)
    assert estimate(clips(10, 10), SPEEDS, ["slow"]) == Estimate(60, 60, 1, 4, 0.2)


def test_a_clip_is_made_on_one_server() -> None:
    assert estimate(clips(10), SPEEDS, ["fast", "slow"]) == Estimate(10, 10, 1, 16, 0.2)
    found = estimate(clips(10, 10, 10, 10), SPEEDS, ["fast", "slow"])
    assert found is not None
    assert (found.wall_s, found.gpu_s, found.servers) == (30, 60, 2)  # three on the fast one, one on the slow one


def test_a_server_that_nobody_measured_is_taken_to_be_as_the_others() -> None:
    found = estimate(clips(10, 10), SPEEDS, ["fast", "new"])
    assert found == Estimate(20, 10, 2, 12, 0.1)
    unknown = estimate(clips(13), SPEEDS, ["new"])  # none of them is known: as all that are
    assert unknown is not None
    assert unknown.wall_s == pytest.approx(13 * 13 / 3)


def test_of_servers_that_are_only_guessed_one_will_be_used() -> None:
    found = estimate(clips(10, 10), SPEEDS, ["here", "fast", "slow"], is_guess=True)
    assert found == Estimate(20, 20, 0, 12, 0.1)
    other = estimate(clips(3), SPEEDS, ["here", "there"], is_guess=True)
    assert other is not None
    assert (other.servers, other.wall_s) == (0, pytest.approx(13))


def test_without_a_speed_or_a_server_nothing_is_estimated() -> None:
    assert estimate(clips(10), {}, ["fast"]) is None
    assert estimate(clips(10), SPEEDS, []) is None


def test_few_renders_or_a_wide_spread_make_it_rough() -> None:
    sure = Estimate(1, 1, 1, 12, 0.1)
    assert sure.sureness == "±25 %"
    assert replace(sure, renders=1).sureness == "rough, from 1 earlier render"
    assert replace(sure, spread=0.3).sureness.startswith("rough")
