"""The build loop, with nodes that write a word: what runs, in which order, and what a failure or Ctrl-C leaves."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ltxflow.build import loop as build_module
from ltxflow.build.loop import RunContext, RunResult, build, interruptible
from ltxflow.core import files
from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.core.events import ActionFinished, ActionProgress, ActionStarted, Event, Notice
from ltxflow.core.target import Target
from ltxflow.plan.evaluate import Status, evaluate, evaluate_node
from ltxflow.plan.graph import build_graph
from ltxflow.steps import USUAL, ActionContext, Node
from ltxflow.store.store import Store
from ltxflow.store.traces import Trace

KIND, VERSION, POOL, SOURCE = "word", "1", "cpu", "test"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL


def nodes(project: object, wishes: object) -> Iterator[Node]:
    yield from ()


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    return Action(KIND, VERSION, {"word": node.spec}, {name: out.digest for name, out in inputs.items()}, ("video",))


def fields(node: Node) -> dict[str, Any]:
    return {"word": node.spec}


@pytest.fixture(autouse=True)
def _kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """This module is the step kind "word"."""
    monkeypatch.setitem(sys.modules, "ltxflow.steps.word", sys.modules[__name__])


def word(name: str, text: str = "", *needs: str) -> Node:
    """A node `word:film/NAME@1` that writes its text; `needs` are names of others."""
    return Node(
        Target(f"word:film/{name}@1"),
        KIND,
        text or name,
        1,
        {f"in{i}": f"word:film/{need}@1" for i, need in enumerate(needs)},
    )


Make = Callable[[Node, ActionContext], Awaitable[str]]


async def write(node: Node, job: ActionContext) -> str:
    return str(node.spec)


@dataclass
class Places:
    """An executor with a number of places; `make` says what an action writes, or fails."""

    places: int = 9
    make: Make = write
    ran: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.free = asyncio.Semaphore(self.places)

    async def run(self, status: Status, job: ActionContext) -> None:
        async with self.free:
            job.started("local")
            self.ran.append(short(status.node.target))
            text = await self.make(status.node, job)
            job.out["video"] = job.folder / "video"
            job.out["video"].write_text(text)


def short(target: str) -> str:
    return target.removeprefix("word:film/").removesuffix("@1")


@dataclass
class House:
    """A store, and the events of a run."""

    store: Store
    events: list[Event] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    recorded: list[str] = field(default_factory=list)  # keys
    review: Callable[[], Any] | None = None
    written: list[list[str]] = field(default_factory=list)  # what was kept when it was written
    first: str = ""  # the word of what is to be started before all else

    def write_down(self) -> None:
        self.written.append(list(self.kept))

    def is_first(self, key: str) -> bool:
        return bool(self.first) and key == action(word(self.first), {}).key

    def build(
        self, *made: Node, places: int = 9, make: Make = write, keep_going: bool = True, force: tuple[str, ...] = ()
    ) -> tuple[RunResult, list[str]]:
        """Build these nodes; return how they ended and which ran, in order."""
        self.events.clear()
        plan = build_graph(made, [node.target for node in made])
        found = evaluate(plan, self.store.lookup, frozenset(word(name).target for name in force))

        async def work() -> tuple[RunResult, list[str]]:
            executor = Places(places, make)
            builder = RunContext(
                self.store,
                self.store.lookup,
                {"cpu": executor, "gpu": executor},
                self.events.append,
                lambda node, trace: self.kept.append(short(node.target)),
                keep_going,
                self.recorded.append,
                self.review,
                write=self.write_down,
                is_first=self.is_first,
            )
            return await interruptible(build(plan, found, builder)), executor.ran  # type: ignore[arg-type]

        async def both() -> tuple[RunResult, list[str]]:
            return await work()

        return asyncio.run(both())

    def told(self) -> dict[str, str]:
        """Outcome by name, as the events tell it: each settled once."""
        finished = [event for event in self.events if isinstance(event, ActionFinished)]
        assert len({event.target for event in finished}) == len(finished)
        return {short(event.target): event.outcome for event in finished}

    def reasons(self) -> dict[str, str]:
        return {short(e.target): e.reason for e in self.events if isinstance(e, ActionFinished) and e.reason}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(Store(tmp_path / "store"))


def fails(*names: str) -> Make:
    async def make(node: Node, job: ActionContext) -> str:
        if short(node.target) in names:
            raise LtxflowError(Problem(f"no {node.spec} today"))
        return str(node.spec)

    return make


@dataclass
class Picky:
    """Stands for a review: a word that begins with ! is bad, and its next try has one of them less."""

    store: Store

    def inspection(self, node: Node, trace: Trace) -> Status | None:
        return None

    def standing(self, status: Status, before: Mapping[str, Status]) -> Status:
        if status.trace is None or not status.node.spec.startswith("!"):
            return status
        node = replace(status.node, spec=status.node.spec[1:])
        return replace(evaluate_node(node, before, self.store.lookup), because="bad; tries another")


# --- what runs


def test_everything_missing_is_made_once_and_nothing_the_second_time(house: House) -> None:
    film = word("a"), word("b")
    built, ran = house.build(*film)
    assert sorted(ran) == ["a", "b"]
    assert built.rendered == {node.target for node in film}
    built, ran = house.build(*film)
    assert (ran, built.rendered) == ([], set())
    assert all(status.state == "hit" for status in built.statuses.values())


def test_what_is_needed_comes_first(house: House) -> None:
    #  a → b → c
    _, ran = house.build(word("c", "", "b"), word("b", "", "a"), word("a"))
    assert ran == ["a", "b", "c"]


def test_what_an_action_needs_is_there_when_it_runs(house: House) -> None:
    async def make(node: Node, job: ActionContext) -> str:
        return str(node.spec) + "".join(path.read_text() for path in job.inputs.values())

    built, _ = house.build(word("a", "x"), word("b", "y", "a"), make=make)
    trace = built.statuses[word("b").target].trace
    assert trace is not None
    assert house.store.cas.path(trace.outputs["video"].digest).read_text() == "yx"


def test_an_input_that_comes_out_the_same_ends_the_work_there(house: House) -> None:
    # early cutoff:  a (forced, same bytes) → b: b's key is as it was
    film = word("a"), word("b", "", "a")
    house.build(*film)
    built, ran = house.build(*film, force=("a",))
    assert ran == ["a"]
    assert built.statuses[film[1].target].state == "hit"


def test_what_is_forced_is_made_though_its_input_comes_out_the_same(house: House) -> None:
    film = word("a"), word("b", "", "a")
    house.build(*film)
    built, ran = house.build(*film, force=("a", "b"))
    assert ran == ["a", "b"]
    assert len(built.rendered) == 2


def test_an_input_that_comes_out_otherwise_is_followed(house: House) -> None:
    house.build(word("a"), word("b", "", "a"))
    _, ran = house.build(word("a", "another"), word("b", "", "a"))
    assert ran == ["a", "b"]


def test_no_key_is_made_twice_though_two_clips_want_it(house: House) -> None:
    #  a and b are the same action; c needs b
    built, ran = house.build(word("a", "same"), word("b", "same"), word("c", "", "b"))
    assert ran == ["a", "c"]
    assert built.statuses[word("b").target].state == "hit"
    assert sorted(house.kept) == ["a", "b", "c"]
    assert house.told() == {"a": "rendered", "c": "rendered"}


def test_when_the_first_of_two_that_want_the_same_fails_the_other_is_tried(house: House) -> None:
    built, ran = house.build(word("a", "same"), word("b", "same"), make=fails("a"))
    assert ran == ["a", "b"]
    assert built.rendered == {word("b").target}


def test_time_in_a_queue_is_not_an_actions_time(house: House) -> None:
    loop_turns: list[str] = []

    async def make(node: Node, job: ActionContext) -> str:
        for _ in range(3):
            await asyncio.sleep(0)
        loop_turns.append(short(node.target))
        return str(node.spec)

    house.build(word("a"), word("b"), places=1, make=make)
    started = [short(e.target) for e in house.events if isinstance(e, ActionStarted)]
    assert started == ["a", "b"]
    first, second = (i for i, e in enumerate(house.events) if isinstance(e, ActionStarted))
    assert first < second
    assert loop_turns == ["a", "b"]


def test_progress_from_a_thread_is_reported_in_the_loops_thread_and_in_order(house: House) -> None:
    async def make(node: Node, job: ActionContext) -> str:
        await asyncio.to_thread(lambda: [job.progress(done / 4, f"{done} of 4") for done in range(1, 5)])
        return str(node.spec)

    house.build(word("a"), make=make)
    kinds = [type(event) for event in house.events]
    assert kinds == [ActionStarted, *[ActionProgress] * 4, ActionFinished]


# --- failures


def test_a_failure_skips_what_needs_it_and_nothing_else(house: House) -> None:
    #  a ✗ → b → c     d
    built, ran = house.build(word("a"), word("b", "", "a"), word("c", "", "b"), word("d"), make=fails("a"))
    assert sorted(ran) == ["a", "d"]
    assert house.told() == {"a": "failed", "b": "skipped", "c": "skipped", "d": "rendered"}
    assert house.reasons() == {"a": "no a today", "b": "needs film/a", "c": "needs film/b"}
    assert [problem.message for problem in built.failed[word("a").target]] == ["no a today"]


def test_what_failed_is_tried_again_by_the_next_build(house: House) -> None:
    house.build(word("a"), word("b"), make=fails("a"))
    _, ran = house.build(word("a"), word("b"))
    assert ran == ["a"]


def test_fail_fast_starts_nothing_more_not_even_what_waits_in_the_queue(house: House) -> None:
    film = [word(name) for name in "abcde"]
    built, ran = house.build(*film, places=1, make=fails("b"), keep_going=False)
    assert ran == ["a", "b"]
    assert house.told() == {"a": "rendered", "b": "failed", "c": "skipped", "d": "skipped", "e": "skipped"}
    assert set(house.reasons().values()) == {"no b today", "another failed"}
    assert not built.interrupted


def test_fail_fast_lets_what_runs_come_to_its_end(house: House) -> None:
    has_failed = asyncio.Event()

    async def make(node: Node, job: ActionContext) -> str:
        if short(node.target) == "b":
            has_failed.set()
            raise LtxflowError(Problem("no"))
        await has_failed.wait()
        return str(node.spec)

    house.build(word("a"), word("b"), word("c"), places=2, make=make, keep_going=False)
    assert house.told() == {"a": "rendered", "b": "failed", "c": "skipped"}


def full(path: Path) -> LtxflowError:
    return files.refused("write", path, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def test_a_disk_that_is_full_starts_nothing_more_whatever_may_go_on(house: House) -> None:
    """GPU time for what cannot be kept is lost."""

    async def make(node: Node, job: ActionContext) -> str:
        if short(node.target) == "b":
            raise full(job.folder)
        return str(node.spec)

    _, ran = house.build(*[word(name) for name in "abcde"], places=1, make=make)
    assert ran == ["a", "b"]
    assert house.told() == {"a": "rendered", "b": "failed", "c": "skipped", "d": "skipped", "e": "skipped"}
    assert {house.reasons()[name] for name in "cde"} == {"its result could not be kept"}
    _, ran = house.build(*[word(name) for name in "abcde"], places=1)
    assert ran == ["b", "c", "d", "e"]


def test_what_came_out_badly_is_tried_again_before_anything_rests_on_it(house: House) -> None:
    house.review = lambda: Picky(house.store)
    built, ran = house.build(word("a", "!!fine"), word("b", "", "a"))
    assert ran == ["a", "a", "a", "b"]
    assert len(set(house.recorded)) == 4
    assert house.kept == ["a", "b"]
    assert house.told() == {"a": "rendered", "b": "rendered"}
    (first, second) = [event.message for event in house.events if isinstance(event, Notice)]
    assert first == second == "bad; tries another"
    stands = built.statuses[word("a").target].trace
    assert stands is not None
    assert house.store.cas.path(stands.outputs["video"].digest).read_text() == "fine"


def test_fail_fast_tries_nothing_again(house: House) -> None:
    has_failed = asyncio.Event()

    async def make(node: Node, job: ActionContext) -> str:
        if short(node.target) == "b":
            has_failed.set()
            raise LtxflowError(Problem("no"))
        await has_failed.wait()
        return str(node.spec)

    house.review = lambda: Picky(house.store)
    built, ran = house.build(word("a", "!fine"), word("b"), make=make, keep_going=False)
    assert sorted(ran) == ["a", "b"]
    assert house.told() == {"a": "skipped", "b": "failed"}
    assert built.rendered == set()
    assert len(house.recorded) == 1  # it was made, and stays in the store


def test_an_action_that_brings_not_all_its_outputs_has_failed(house: House) -> None:
    class Forgetful(Places):
        async def run(self, status: Status, job: ActionContext) -> None:
            job.started("local")

    plan = build_graph([word("a")], [word("a").target])
    builder = RunContext(house.store, house.store.lookup, {"cpu": Forgetful()}, house.events.append, lambda *made: None)
    built = asyncio.run(build(plan, evaluate(plan, house.store.lookup), builder))
    assert 'came back without "video"' in built.failed[word("a").target][0].message
    assert house.store.lookup(built.statuses[word("a").target].key) is None  # type: ignore[arg-type]


def test_a_bug_in_a_step_is_not_hidden_and_is_reported_once(house: House, caplog: pytest.LogCaptureFixture) -> None:
    async def make(node: Node, job: ActionContext) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        house.build(word("a"), word("b"), make=make)
    assert caplog.records == []  # asyncio logs errors that are never retrieved, as a traceback on the terminal


# --- how much at once


def test_only_so_many_are_under_way_however_many_there_are(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "AHEAD", 3)
    seen = []

    async def make(node: Node, job: ActionContext) -> str:
        await asyncio.sleep(0)
        seen.append(len(list(job.folder.parent.iterdir())))
        return str(node.spec)

    names = [f"n{i}" for i in range(10)]
    _, ran = house.build(*map(word, names), make=make)
    assert ran == names
    assert max(seen) == 3, "each that is under way has a folder"


def test_what_is_under_way_on_a_server_comes_before_all_else(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "AHEAD", 1)
    house.first = "c"
    _, ran = house.build(*map(word, "abcd"), places=1)
    assert ran == ["c", "a", "b", "d"]


def test_a_pool_that_is_full_keeps_no_other_waiting(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """a is rendered until b, which needs no server, is made; c has to wait for a."""
    monkeypatch.setattr(build_module, "AHEAD", 1)
    is_made = asyncio.Event()

    async def make(node: Node, job: ActionContext) -> str:
        if short(node.target) == "a":
            await is_made.wait()
        elif short(node.target) == "b":
            is_made.set()
        return str(node.spec)

    a, c = (replace(word(name), pool="gpu") for name in "ac")
    _, ran = house.build(a, c, word("b"), make=make)
    assert ran == ["a", "b", "c"]


def test_what_another_clip_made_is_not_reason_to_stop_early(house: House) -> None:
    """
    a ──► d
    b ──► e      b is the same as a, and waits for it; d and e are of another pool
    """
    a, b = (replace(word(name, "same"), pool="gpu") for name in "ab")
    built, ran = house.build(a, b, word("d", "", "a"), word("e", "", "b"))
    assert set(ran) == {"a", "d", "e"}
    assert all(status.trace is not None for status in built.statuses.values())


def test_a_wide_and_deep_film_is_settled(house: House) -> None:
    """
    a0 ─► b0 ─► c0
    a1 ─► b1 ─► c1  …, more of them than are started at once, and half of what they need is there
    """
    count = build_module.AHEAD + 20
    before = [word(f"a{i}") for i in range(0, count, 2)]
    house.build(*before)
    chains = [(word(f"a{i}"), word(f"b{i}", "", f"a{i}"), word(f"c{i}", "", f"b{i}")) for i in range(count)]
    built, ran = house.build(*(node for chain in chains for node in chain))
    assert len(ran) == len(set(ran)) == 3 * count - len(before)
    assert all(status.trace is not None for status in built.statuses.values())
    assert all(ran.index(f"b{i}") < ran.index(f"c{i}") for i in range(count))


def test_what_is_made_holds_on_to_no_workflow(house: House) -> None:
    """Actions are large: they are in the traces, for those who explain, and not in memory for each finished clip."""
    built, _ = house.build(word("a"), word("b", "", "a"))
    for status in built.statuses.values():
        assert status.trace is not None
        assert status.made is None
        assert not isinstance(status.trace.action, dict)
        assert status.trace.action["body"] == {"word": status.node.spec}, "read when somebody looks"


# --- what is written in groups


def test_what_was_gathered_is_written_at_the_end(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_module, "GROUP_S", 60.0)
    house.build(word("a"), word("b", "", "a"))
    assert house.written == [["a", "b"]], "once, not for each"
    assert len(house.store.index.keys()) == 2


def test_what_was_gathered_is_written_while_others_go_on(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """b ends only once a is written, which does not wait for the end of the film."""
    monkeypatch.setattr(build_module, "GROUP_S", 0.001)

    async def make(node: Node, job: ActionContext) -> str:
        while short(node.target) == "b" and ["a"] not in house.written:
            await asyncio.sleep(0.001)
        return str(node.spec)

    house.build(word("a"), word("b"), make=make)
    assert house.kept == ["a", "b"]


@pytest.mark.parametrize("ending", ["failure", "bug", "ctrl-c"])
def test_what_was_gathered_is_written_however_a_run_ends(house: House, ending: str) -> None:
    async def make(node: Node, job: ActionContext) -> str:
        if short(node.target) != "b":
            return str(node.spec)
        if ending == "failure":
            raise LtxflowError(Problem("no b today"))
        if ending == "bug":
            raise ZeroDivisionError
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.Event().wait()
        return ""

    with suppress(ZeroDivisionError):
        house.build(word("a"), word("b", "", "a"), make=make)
    assert house.written[-1] == ["a"]


# --- Ctrl-C


def test_ctrl_c_keeps_what_is_finished_and_skips_the_rest(house: House) -> None:
    async def make(node: Node, job: ActionContext) -> str:
        if short(node.target) == "b":
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.Event().wait()
        return str(node.spec)

    built, _ = house.build(word("a"), word("b"), word("c"), word("d", "", "c"), places=1, make=make)
    assert built.interrupted
    assert house.told() == {"a": "rendered", "b": "skipped", "c": "skipped", "d": "skipped"}
    assert set(house.reasons().values()) == {"interrupted"}
    assert house.kept == ["a"]
    _, ran = house.build(word("a"), word("b"), word("c"), word("d", "", "c"))
    assert ran == ["b", "c", "d"]


def test_a_thread_that_no_one_waits_for_is_stopped_at_its_next_word(house: House) -> None:
    told: list[BaseException] = []
    is_over = threading.Event()

    def work(job: ActionContext) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        is_over.wait()
        try:
            job.progress(0.5, "on and on")
        except BaseException as error:
            told.append(error)

    async def make(node: Node, job: ActionContext) -> str:
        try:
            await asyncio.to_thread(work, job)
        finally:
            asyncio.get_running_loop().call_soon(is_over.set)  # once the loop knows that it was cancelled
        return str(node.spec)

    built, _ = house.build(word("a"), make=make)
    assert built.interrupted
    assert [type(error) for error in told] == [asyncio.CancelledError]


def test_nothing_half_made_stays_behind(house: House) -> None:
    house.build(word("a"), word("b"), make=fails("a"))
    assert list((house.store.root / "tmp").iterdir()) == []
