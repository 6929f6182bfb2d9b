"""A build as it is seen: plain lines in a log, a picture of what runs on a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterable

import pytest
from rich.console import Console as RichConsole

from ltxflow.core.events import (
    ActionFinished,
    ActionProgress,
    ActionStarted,
    ActionWaiting,
    Event,
    Notice,
    Outcome,
    RunFinished,
    RunStarted,
)
from ltxflow.core.target import Tally
from ltxflow.ui.live import LiveWatcher, clock
from ltxflow.ui.log import PlainWatcher
from ltxflow.ui.progress import NOTHING, summary
from ltxflow.ui.terminal import Console

KEY = "k" * 64
BUILD: list[Event] = [
    RunStarted("film", "render", 12, 10),
    ActionStarted("clip:hook/a@1", KEY, 121, "bench"),
    ActionStarted("clip:hook/b@2", KEY, 121, "local"),
    ActionProgress("clip:hook/a@1", 0.5, "step 4 of 8"),
    Notice("waits for a place", "info", "clip:end/a@1"),
    Notice("bench does not answer", "warning"),
    ActionFinished("clip:hook/a@1", "rendered", KEY, 63.7, "bench"),
    ActionFinished("clip:hook/b@2", "failed", reason="out of memory"),
    ActionFinished("clip:end/a@1", "skipped", reason="another failed"),
    ActionFinished("clip:mid/a@1", "restored", KEY),
    ActionFinished("clip:mid/b@1", "hit", KEY),
]


def lines(events: Iterable[Event], quiet: bool = False, verbose: bool = False) -> list[str]:
    console = Console(io.StringIO(), io.StringIO(), {})
    with PlainWatcher(console, quiet, verbose) as watcher:
        for event in events:
            watcher(event)
    assert isinstance(console.out, io.StringIO)
    return console.out.getvalue().splitlines()


def test_a_log_has_a_line_when_a_clip_is_settled_and_what_is_worth_knowing() -> None:
    assert lines(BUILD) == [
        "  · end/a  waits for a place",
        "  ! bench does not answer",
        "  ✓ [ 1/10] hook/a  1m 03.7s  on bench",
        "  ✗ hook/b@2  failed: out of memory",
        "  ✗ end/a  skipped: another failed",
    ]


def test_a_clip_that_waits_behind_others_has_one_line() -> None:
    waits = [ActionWaiting("clip:hook/a@1", "bench", ahead) for ahead in (3, 2, 1, 0, 1)]
    assert lines([RunStarted("film", "render", 1, 1), *waits]) == ["  · hook/a  waiting behind 3 jobs on bench"]
    assert lines([RunStarted("film", "render", 1, 1), *waits], quiet=True) == []


def test_what_an_earlier_run_started_is_resumed_and_not_rendered() -> None:
    assert lines(
        [RunStarted("film", "render", 1, 1), ActionFinished("clip:hook/a@1", "resumed", KEY, 3.0, "bench")]
    ) == ["  ✓ [1/1] hook/a  resumed  on bench"]


def lost(*ends: tuple[str, Outcome, str]) -> list[Event]:
    return [ActionFinished(f"clip:{clip}@1", outcome, reason=reason) for clip, outcome, reason in ends]


def test_a_reason_that_several_clips_have_is_printed_once() -> None:
    gone = "bench did not answer for 5 s"
    ends = lost(
        ("a/a", "failed", gone),
        ("a/b", "failed", gone),
        ("a/c", "skipped", "another failed"),
        ("a/d", "skipped", "another failed"),
        ("a/e", "skipped", "needs a/b"),
    )
    assert lines(ends) == [
        f"  ✗ a/a  failed: {gone}",
        "  ✗ a/b  failed, as a/a",
        "  ✗ a/c  skipped: another failed",
        "  ✗ a/e  skipped: needs a/b",
    ]
    assert "  ✗ a/d  skipped, as a/c" in lines(ends, verbose=True)


def test_what_an_interruption_skips_has_no_lines() -> None:
    assert lines(lost(("a/a", "skipped", "interrupted"), ("a/b", "skipped", "interrupted"))) == []


def test_quiet_leaves_what_went_wrong() -> None:
    assert lines(BUILD, quiet=True) == [
        "  ! bench does not answer",
        "  ✗ hook/b@2  failed: out of memory",
        "  ✗ end/a  skipped: another failed",
    ]


def test_verbose_adds_beginnings_and_what_was_restored() -> None:
    printed = lines(BUILD, verbose=True)
    assert printed[0] == "  hook/a  started on bench"
    assert "  < mid/a  restored from the store" in printed


# --- the terminal


def live(events: Iterable[Event], width: int = 80, height: int = 24) -> LiveWatcher:
    console = Console(io.StringIO(), io.StringIO(), {})
    watcher = LiveWatcher(console)
    watcher.rich = RichConsole(file=io.StringIO(), width=width, height=height, force_terminal=True, no_color=True)
    for event in events:
        watcher(event)
    return watcher


def screen(watcher: LiveWatcher) -> list[str]:
    console = RichConsole(width=watcher.rich.width, file=io.StringIO(), no_color=True, force_terminal=False)
    console.print(watcher.picture())
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


RUNNING: list[Event] = [
    RunStarted("film", "render", 4, 4),
    *[ActionStarted(f"clip:{name}@1", KEY, 121, "bench") for name in ("hook/a", "a-long-scene-id/b", "c/c")],
    ActionProgress("clip:hook/a@1", 0.5, "step 4 of 8"),
    ActionFinished("clip:c/c@1", "rendered", KEY, 1.0, "bench"),
]


def test_there_is_a_line_for_each_running_clip_and_one_for_the_whole() -> None:
    first, second, whole = screen(live(RUNNING))
    assert first.split()[0] == "hook/a"
    assert first.endswith("bench · step 4 of 8")
    assert " 50% " in first
    assert second.split()[0] == "a-long-scene-id/b"
    assert whole.startswith("  1 of 4 ")
    assert " 37% " in whole  # one made, a half of another


def test_the_columns_stand_below_each_other() -> None:
    printed = screen(live(RUNNING))
    assert len({line.index("%") for line in printed}) == 1
    assert len({line.index("0:00") for line in printed}) == 1


def test_a_clip_that_waits_behind_others_has_a_line_until_it_runs_or_goes_elsewhere() -> None:
    def printed(*events: Event) -> list[str]:
        return screen(live([RunStarted("film", "render", 2, 2), *events]))

    waits = [ActionWaiting("clip:hook/a@1", "bench", ahead) for ahead in (2, 1)]
    assert printed(*waits)[0].endswith("bench · waiting behind 1 job")
    assert printed(*waits, ActionStarted("clip:hook/a@1", KEY, 9, "bench"), waits[0])[0].endswith("bench")
    assert len(printed(*waits, ActionWaiting("clip:hook/a@1", "bench", 0))) == 1
    assert len(printed(*waits, ActionFinished("clip:hook/a@1", "resumed", KEY, 1.0, "bench"))) == 1


@pytest.mark.parametrize("width", [1, 5, 20, 30, 46, 47, 60, 80, 200])
def test_no_line_reaches_the_edge_of_the_terminal(width: int) -> None:
    """A terminal writes `^C` behind the last line: one that breaks the line leaves it on the screen."""
    printed = screen(live(RUNNING, width))
    assert len(printed) == 3
    assert all(len(line) <= max(0, width - 2) for line in printed)


@pytest.mark.parametrize("width", [30, 46])
def test_a_narrow_terminal_shows_names_and_numbers(width: int) -> None:
    first, _, whole = screen(live(RUNNING, width))
    assert first.split() == ["hook/a", "50%", "0:00"]
    assert whole.split() == ["1", "of", "4", "37%", "0:00"]


def test_more_clips_than_there_is_room_for_are_counted() -> None:
    many = [ActionStarted(f"clip:hook/{n}@1", KEY, 9, "local") for n in range(20)]
    printed = screen(live([RunStarted("film", "render", 20, 20), *many], height=10))
    assert len(printed) == 7
    assert "and 14 more" in printed[-1]


def test_what_a_server_shows_cannot_move_the_cursor() -> None:
    evil = [ActionStarted("clip:hook/a@1", KEY, 9, "ben\x1b[2Jch"), ActionProgress("clip:hook/a@1", 0.1, "st\rep")]
    assert screen(live([RunStarted("film", "render", 1, 1), *evil]))[0].endswith("bench · step")


def test_a_live_build_ends_with_its_lines_and_leaves_nothing_behind() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with LiveWatcher(Console(out, io.StringIO(), {"TERM": "xterm", "NO_COLOR": "1"})) as watcher:
        for event in BUILD:
            watcher(event)
    printed = out.getvalue()
    assert "✓ [ 1/10] hook/a  1m 03.7s  on bench\n" in printed
    assert printed.count("✗") == 2
    assert printed.endswith(("\x1b[2K", "\x1b[?25h", "\n"))


# --- words


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (63.7, "1:03"), (3753, "1:02:33"), (-1, "0:00")])
def test_a_clock_has_whole_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def printed(failed: Tally = NOTHING, skipped: Tally = NOTHING, mode: str = "render", **changes: object) -> list[str]:
    """Return the last lines of a build with these figures."""
    console = Console(io.StringIO(), io.StringIO(), {})
    figures = {"planned": 14, "hit": 8, "rendered": 5, "restored": 1, "failed": 0, "skipped": 0, "clips": 14}
    rest: dict[str, object] = {"seconds": 391.0, "output": "public/scenes", "complete": True, "film_seconds": 63.7}
    rest["renders"] = changes.get("rendered", 5)
    event = RunFinished(**{**figures, **rest, **changes})  # type: ignore[arg-type]
    summary(console, event, mode, failed, skipped)
    assert isinstance(console.out, io.StringIO)
    return console.out.getvalue().splitlines()


def test_the_summary_shows_what_was_made_and_where() -> None:
    assert printed() == [
        "Built 14 clips: 5 rendered, 1 restored, 8 up to date  in 6m 31.0s",
        "→ public/scenes  film 1m 03.7s, timeline.json",
    ]
    assert printed(rendered=0, hit=14, restored=0)[0] == "Built 14 clips: 0 rendered, 14 up to date"
    assert "incomplete" in printed(complete=False)[1]
    assert printed(clips=11, references=3)[0].startswith("Built 11 clips and 3 references: 5 rendered")
    assert printed(clips=9, references=3, more_takes=2)[0].startswith(
        "Built 9 clips, 2 more takes and 3 references: 5 rendered"
    )


def test_the_summary_does_not_count_what_was_not_made_as_built() -> None:
    failed, skipped = Tally(clips=1, references=1), Tally(clips=2, more_takes=1)
    assert printed(failed, skipped, clips=12, more_takes=1, references=1, rendered=0)[0] == (
        "Built 9 clips: 0 rendered, 1 restored, 8 up to date; "
        "1 clip and 1 reference failed, 2 clips and 1 more take skipped  in 6m 31.0s"
    )
    assert (
        printed(Tally(clips=14), rendered=0, hit=0, restored=0)[0] == "Built nothing; 14 clips failed  after 6m 31.0s"
    )


def test_an_interrupted_build_is_not_called_built() -> None:
    left = Tally(clips=3, more_takes=1)
    assert printed(skipped=left, interrupted=True)[0] == (
        "Interrupted: 5 rendered, 1 restored, 8 up to date; 3 clips and 1 more take not made  after 6m 31.0s"
    )
    assert printed(skipped=left, interrupted=True, mode="animatic", rendered=0, restored=0, hit=0, renders=0)[0] == (
        "Interrupted: 0 drawn; 3 clips and 1 more take not made  after 6m 31.0s"
    )


def test_tries_with_other_seeds_are_counted_as_renders() -> None:
    assert printed(renders=13)[0].startswith("Built 14 clips: 5 rendered (13 renders, 8 of them with another seed), ")
    assert printed(renders=6, resumed=1)[0].startswith("Built 14 clips: 5 rendered, 1 resumed, ")
