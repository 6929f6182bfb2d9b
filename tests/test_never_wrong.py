"""Random films, random edits, random misfortunes: the program and a naive oracle agree about what is stale, every time.

`world.py` holds what may happen and what must hold after it; what these programs found is written down below them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from fakes.comfyui import FakeProcess
from harness.templates import templates_read_once
from harness.world import EDITS, World
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

SMALL = st.integers(0, 3)
VERBS = ["approve", "reject", "accept", "forget", "pick", "pin"]
LOSSES = ["index", "clone", "published", "blob", "trace", "store"]


class Machine(RuleBasedStateMachine):
    """Any program of edits, words, losses and builds; the invariant is that plan and oracle agree."""

    server: ClassVar[FakeProcess]

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="world-"))
        self.world = World.at(self.root, server=self.server)

    def teardown(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    @initialize()
    def begin(self) -> None:
        self.world.build()

    @rule(what=st.sampled_from(list(EDITS)), at=SMALL, value=SMALL)
    def edit(self, what: str, at: int, value: int) -> None:
        self.world.edit(what, at, value)

    @rule(what=st.sampled_from(["prompt", "reference", "frame", "extends", "takes", "seed"]), at=SMALL, value=SMALL)
    def edit_what_renders(self, what: str, at: int, value: int) -> None:
        self.world.edit(what, at, value)

    @rule(name=st.sampled_from(["one", "two"]), value=SMALL)
    def paint(self, name: str, value: int) -> None:
        self.world.picture(name, value)

    @rule()
    def build(self) -> None:
        self.world.build()

    @rule()
    def build_and_commit(self) -> None:
        self.world.build()
        self.world.commit()

    @rule(at=SMALL)
    def checkout(self, at: int) -> None:
        self.world.checkout(at)

    @rule(verb=st.sampled_from(VERBS), at=SMALL, take=st.integers(1, 2))
    def say(self, verb: str, at: int, take: int) -> None:
        self.world.say(verb, at, take)

    @rule(what=st.sampled_from(LOSSES), at=SMALL)
    def lose(self, what: str, at: int) -> None:
        self.world.lose(what, at)

    @rule(kind=st.sampled_from(["clip", "reference", "frame", "slate"]))
    def revise(self, kind: str) -> None:
        self.world.revise(kind)

    @rule()
    def animatic(self) -> None:
        self.world.animatic()

    @rule()
    def unreachable(self) -> None:
        self.world.unreachable()

    @rule(how=st.sampled_from(["kill", "stop"]), after=st.integers(0, 60))
    def interrupt(self, how: str, after: int) -> None:
        self.world.interrupted(how, after)

    @invariant()
    def plan_and_oracle_agree(self) -> None:
        self.world.agree()


@pytest.fixture(scope="module")
def server() -> Iterator[FakeProcess]:
    with FakeProcess("--seconds", "0") as one, templates_read_once():
        yield one


def play(server: FakeProcess, **how: Any) -> None:
    Machine.server = server
    usual = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}
    run_state_machine_as_test(Machine, settings=settings(**{**usual, **how}))  # type: ignore[arg-type]


def test_plan_build_and_oracle_agree_whatever_happens(server: FakeProcess) -> None:
    play(server, derandomize=True, max_examples=8, stateful_step_count=8, phases=[Phase.generate])


@pytest.mark.slow
def test_plan_build_and_oracle_agree_in_a_long_campaign(server: FakeProcess) -> None:
    play(server, max_examples=int(os.environ.get("WORLDS", "150")), stateful_step_count=15, print_blob=True)


# --- what was found, as short as it goes


@pytest.fixture
def world(server: FakeProcess, tmp_path: Path) -> World:
    return World.at(tmp_path, server=server)


@pytest.mark.parametrize("after", range(8, 28, 3))
def test_a_poster_is_of_its_clip_though_publishing_was_killed_half_way(world: World, after: int) -> None:
    world.build()
    world.edit("drop scene", 0)  # another clip, and its poster, move to the first place
    world.interrupted("kill", after)
    world.build()


@pytest.mark.parametrize("after", [4, 63, 64, 66, 69])
def test_ctrl_c_while_servers_are_opened_or_closed_is_an_interruption_like_any(world: World, after: int) -> None:
    world.build()
    world.edit("prompt", 0, 1)
    world.interrupted("stop", after)  # 130, and no traceback
    world.build()


def test_an_accepted_clip_that_gets_another_picture_is_rendered_though_that_picture_is_still_to_be_made(
    world: World,
) -> None:
    world.build()
    world.edit("seed", 0, 1)
    world.say("accept", 0)
    world.edit("frame", 0, 0)  # a frame of another clip, in place of a file: it waits for that frame
    verdict = world.agree()
    assert verdict is not None
    assert verdict.unsure == {"clip:hook/a@1"}
    world.build()
