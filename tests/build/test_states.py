"""The life of an action: every transition that is allowed, and no other."""

from __future__ import annotations

from itertools import product

import pytest

from ltxflow.build.loop import MOVES, SETTLED, State, States


def test_what_is_settled_stays_so() -> None:
    assert {state for state, moves in MOVES.items() if not moves} == SETTLED


@pytest.mark.parametrize(("now", "then"), list(product(MOVES, MOVES)))
def test_only_the_moves_in_the_table_are_made(now: State, then: State) -> None:
    states = States()
    states.set("clip:hook/a@1", now)
    if then in MOVES[now]:
        states.set("clip:hook/a@1", then)
        assert states.of["clip:hook/a@1"] == then
    else:
        with pytest.raises(AssertionError, match=f"{now} → {then}"):
            states.set("clip:hook/a@1", then)


def test_a_run_is_settled_when_all_its_targets_are() -> None:
    states = States()
    states.set("a", "made")
    states.set("b", "running")
    assert not states.is_settled
    states.set("b", "failed")
    assert states.is_settled
    assert states.in_state("failed", "skipped") == ["b"]
