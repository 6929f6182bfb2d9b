"""Promises of comfy/progress.py: events in any order, from any moment on, become progress."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ltxflow.comfy.progress import LOAD, SAMPLING, Tracker
from ltxflow.comfy.websocket import NodeDone, NodeProgress, NodeRunning, Progress, Started

P = "a prompt"
# 1 loads ─→ 2 text ─→ 3 stage 1 ─→ 4 twice the size ─→ 5 stage 2 ─→ 6 decode ─→ 7 save
CLASSES = {
    "1": "CheckpointLoaderSimple",
    "2": "CLIPTextEncode",
    "3": "SamplerCustomAdvanced",
    "4": "LTXVLatentUpsampler",
    "5": "SamplerCustomAdvanced",
    "6": "VAEDecodeTiled",
    "7": "SaveVideo",
}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def graph(**classes: str) -> dict[str, Any]:
    return {id: {"class_type": name, "inputs": {}} for id, name in (classes or CLASSES).items()}


def tracker(clock: Clock | None = None) -> Tracker:
    return Tracker(graph(), clock or Clock())


def shown(follower: Tracker, *events: Progress) -> list[str]:
    return [change[1] for event in events if (change := follower.update(event))]


def run(node: str) -> NodeRunning:
    return NodeRunning(P, node)


def step(node: str, value: float, most: float) -> NodeProgress:
    return NodeProgress(P, node, value, most)


def test_a_clip_in_two_stages_is_shown_from_beginning_to_end() -> None:
    events = [Started(P), run("1"), run("2"), run("3"), step("3", 4, 8), run("4"), run("5"), step("5", 3, 3)]
    words = shown(tracker(), *events, run("6"), run("7"))
    assert words == [
        "loads",
        "reads the prompt",
        "stage 1",
        "stage 1 step 4/8",
        "upscales",
        "stage 2",
        "stage 2 step 3/3",
        "decodes",
        "saves",
    ]


def test_one_stage_is_not_numbered() -> None:
    one = Tracker(graph(a="KSampler", b="VAEDecode"), Clock())
    assert shown(one, run("a"), step("a", 1, 2), run("b")) == ["sampling", "step 1/2", "decodes"]


def test_nothing_is_shown_twice() -> None:
    follower = tracker()
    assert shown(follower, run("1"), run("1"), run("1"), step("3", 1, 8), step("3", 1, 8)) == [
        "loads",
        "stage 1 step 1/8",
    ]


def test_a_late_watcher_is_shown_the_right_stage() -> None:
    follower = tracker()
    assert shown(follower, NodeDone(P, "1"), NodeDone(P, "3"), step("5", 1, 3)) == ["stage 2 step 1/3"]
    assert follower.has_started


def test_a_stage_from_the_cache_counts_as_done() -> None:
    assert shown(tracker(), Started(P), NodeDone(P, "3", is_cached=True), run("5")) == ["stage 2"]


def test_where_the_time_went() -> None:
    clock = Clock()
    follower = tracker(clock)
    clock.now = 100  # it waited
    for seconds, event in [(5, Started(P)), (10, run("3")), (2, run("4")), (4, run("5")), (3, run("6"))]:
        follower.update(event)
        clock.now += seconds
    follower.end()
    assert follower.seconds == {"load": 5, "sampling": 16, "decode": 3}


def test_a_start_may_be_reported_twice() -> None:
    clock = Clock()
    follower = tracker(clock)
    for event in (Started(P), Started(P), run("3")):
        follower.update(event)
        clock.now += 4
    follower.end()
    assert follower.seconds == {"load": 8, "sampling": 4}


def test_without_a_word_from_the_socket_no_times_are_claimed() -> None:
    clock = Clock()
    follower = tracker(clock)
    clock.now = 50
    follower.end()
    assert follower.seconds == {}
    follower.update(Started(P))  # HTTP says so much, and no more
    clock.now = 90
    follower.end()
    assert follower.seconds == {}


EVENTS = st.one_of(
    st.just(Started(P)),
    st.builds(NodeRunning, st.just(P), st.sampled_from([*CLASSES, "nowhere"])),
    st.builds(NodeDone, st.just(P), st.sampled_from([*CLASSES, "nowhere"]), st.booleans()),
    st.builds(NodeProgress, st.just(P), st.sampled_from([*CLASSES, "nowhere"]), st.floats(0, 9), st.floats(0, 9)),
)


@given(st.lists(EVENTS, max_size=30))
def test_whatever_it_hears_the_bar_stays_a_bar(events: list[Progress]) -> None:
    ticks = itertools.count()
    follower = Tracker(graph(), lambda: float(next(ticks)))
    for event in events:
        if change := follower.update(event):
            assert 0 <= change[0] <= LOAD + SAMPLING + 1e-9
            assert change[1].isprintable()
    follower.end()
    assert all(seconds >= 0 for seconds in follower.seconds.values())
