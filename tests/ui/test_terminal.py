"""How problems and lines look: places, carets, colours where they are wanted, nothing that moves the cursor."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest

from ltxflow.core.errors import Problem, Span
from ltxflow.ui.terminal import Console, clean, columns, count, counted, duration, let_go, put


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(out: io.StringIO | None = None, err: io.StringIO | None = None, **env: str) -> Console:
    return Console(out or io.StringIO(), err or io.StringIO(), {"TERM": "xterm", **env})


def printed(console: Console) -> str:
    assert isinstance(console.out, io.StringIO)
    return console.out.getvalue()


def lines_at(width: int, text: str, **env: str) -> list[str]:
    one = console(Terminal(), Terminal(), **env)
    one.width = width
    one.say(text)
    return printed(one).splitlines()


# --- lines that are wider than the terminal


def test_a_line_too_wide_is_broken_between_words_and_continues_under_its_column() -> None:
    line = "  ~ hook/b  121f  prompt.camera  pushes slowly in  project.yaml:35"
    assert lines_at(64, line, NO_COLOR="1") == [
        "  ~ hook/b  121f  prompt.camera  pushes slowly in",
        f"{' ' * 18}project.yaml:35",  # the last gap in the left half is before `prompt.camera`
    ]
    assert lines_at(len(line), line, NO_COLOR="1") == [line]


def test_a_line_without_columns_continues_two_cells_in() -> None:
    assert lines_at(24, "  → start one, or draw slates", NO_COLOR="1") == ["  → start one, or draw", "    slates"]


def test_a_style_stops_at_the_end_of_a_line_and_continues_in_the_next() -> None:
    one = console(Terminal())
    one.width = 20
    one.say(f"was {one.paint('one two three four', 'struck')} now")
    assert printed(one) == "was \x1b[9;31mone two three\x1b[0m\n  \x1b[9;31mfour\x1b[0m now\n"


def test_wide_letters_count_twice_and_a_word_too_long_is_left_whole() -> None:
    assert lines_at(12, "鍵の写真 鍵の写真", NO_COLOR="1") == ["鍵の写真", "  鍵の写真"]
    assert lines_at(12, "see https://example.org/a/long/address now", NO_COLOR="1")[1:] == [
        "  https://example.org/a/long/address",
        "  now",
    ]


def test_logs_and_texts_of_several_lines_stay_as_they_are() -> None:
    text = "graph LR\n" + "a label that is longer than the terminal is wide " * 2
    assert lines_at(20, text) == text.splitlines()
    log = console(io.StringIO())
    log.width = 20
    log.say("a line that a tool may want to look for")
    assert printed(log) == "a line that a tool may want to look for\n"


@pytest.mark.parametrize("width", [20, 30, 60])
def test_a_problem_fits_the_terminal_and_its_caret_stays_under_its_word(width: int, tmp_path: Path) -> None:
    file = tmp_path / "f.yaml"
    file.write_text(f"{'before ' * 9}promt: {'after ' * 9}\n", encoding="utf-8")
    one = console(err=Terminal(), NO_COLOR="1")
    one.width = width
    one.problems([Problem("there is no such key as this one", Span(str(file), 1, 64), "did you mean prompt?", "S001")])
    output = one.err.getvalue().splitlines()  # type: ignore[attr-defined]
    assert all(len(line) <= width for line in output if str(file) not in line)
    line, caret = (line for line in output if "│" in line)
    assert line[caret.index("^") :].startswith("promt:"[: width - caret.index("^")])


# --- colour


@pytest.mark.parametrize(
    ("is_terminal", "env", "has_color"),
    [
        (False, {}, False),
        (True, {}, True),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),  # no-color.org: when present and not empty
        (True, {"TERM": "dumb"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": ""}, False),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_colour_is_for_terminals_unless_a_user_shows_otherwise(
    is_terminal: bool, env: dict[str, str], has_color: bool
) -> None:
    one = console(Terminal() if is_terminal else io.StringIO(), **env)
    one.say(f"a {one.paint('red', 'red', 'bold')} word")
    assert one.has_color == has_color
    assert printed(one) == ("a \x1b[31;1mred\x1b[0m word\n" if has_color else "a red word\n")


def test_each_stream_decides_for_itself() -> None:
    one = console(Terminal(), io.StringIO())
    one.say(one.paint("x", "red"))
    one.problems([Problem("wrong")])
    assert "\x1b" in printed(one)
    assert "\x1b" not in one.err.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("env", "is_live"), [({}, True), ({"CI": "true"}, False), ({"TERM": "dumb"}, False)])
def test_live_lines_are_for_terminals_that_people_look_at(env: dict[str, str], is_live: bool) -> None:
    assert console(Terminal(), **env).is_live == is_live
    assert not console(io.StringIO(), **env).is_live


# --- what never passes


EVIL = [
    "\x1b[2J",
    "\x1b[31m",
    "\x1b[?25l",
    "\x1b]0;title\x07",
    "\x1b]8;;http://evil\x1b\\",
    "\x9b31m"[:1],
    "\r",
    "\x08",
    "\x00",
    "\x7f",
    "\u202e",
    "\u2066",
]


@pytest.mark.parametrize("evil", EVIL)
@pytest.mark.parametrize("has_color", [False, True])
def test_no_control_sequence_of_others_passes(evil: str, has_color: bool) -> None:
    one = console(Terminal() if has_color else None)
    one.say(f"a{evil}b {one.paint(f'c{evil}d', 'red')}")
    one.warn(f"a{evil}b")
    one.problems([Problem(f"a{evil}b", Span(f"a{evil}b", 1, 1), f"a{evil}b", f"a{evil}b")])
    output = (printed(one) + one.err.getvalue()).replace("\x1b[31mc", "c").replace("\x1b[0m", "")  # type: ignore[attr-defined]
    assert output.startswith("ab cd\nab\nab:1:1: error: ab [ab]\n  → ab\n")


def test_clean_keeps_what_is_text() -> None:
    assert clean("水 – „quoted“ é\n\ttab 👩‍🚀") == "水 – „quoted“ é\n\ttab 👩‍🚀"


# --- problems


def test_a_problem_shows_its_line_and_a_caret() -> None:
    problem = Problem('unknown key "promt"', Span("film.yaml", 3, 7), 'did you mean "prompt"?', "S001")
    one = console()
    one.problems([problem], lambda name: ["one", "two", "    - promt: x"])
    assert one.err.getvalue() == (  # type: ignore[attr-defined]
        'film.yaml:3:7: error: unknown key "promt" [S001]\n'
        "    3 │     - promt: x\n"
        "      │       ^\n"
        '  → did you mean "prompt"?\n'
    )


def test_a_tab_does_not_shift_the_caret() -> None:
    one = console()
    one.problems([Problem("a tab", Span("f", 1, 2))], lambda name: ["a\tb"])
    line, caret = one.err.getvalue().splitlines()[1:]  # type: ignore[attr-defined]
    assert (line, caret.index("^") - caret.index("│")) == ("    1 │ a b", 3)


def test_a_line_of_a_utf16_file_is_quoted_as_it_reads(tmp_path: Path) -> None:
    path = tmp_path / "project.yaml"
    path.write_text("id: été\n", encoding="utf-16")
    one = console()
    one.problems([Problem("the file is UTF-16, not UTF-8", Span(str(path), 1, 1))])
    assert one.err.getvalue().splitlines()[1] == "    1 │ id: été"  # type: ignore[attr-defined]


def test_a_file_that_ends_too_early_is_quoted_where_it_ends() -> None:
    one = console()
    one.problems([Problem("the file ends", Span("f", 4, 1))], lambda name: ["a: 1", "b: [1,", ""])
    assert one.err.getvalue() == "f:4:1: error: the file ends\n    2 │ b: [1,\n      │       ^\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("before", "cells"), [("abc", 3), ("山谷", 4), ("한글", 4), ("e\u0301te\u0301", 3)])
def test_the_caret_stands_below_its_place_in_any_script(before: str, cells: int) -> None:
    one = console()
    one.problems([Problem("here", Span("f", 1, len(before) + 1))], lambda name: [f"{before}HERE"])
    caret = one.err.getvalue().splitlines()[2]  # type: ignore[attr-defined]
    assert caret == "      │ " + " " * cells + "^"


def test_a_long_line_is_cut_so_that_the_caret_stays_in_view(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    one = console()
    one.problems([Problem("here", Span("f", 1, 301))], lambda name: ["x" * 300 + "HERE" + "y" * 300])
    line, caret = one.err.getvalue().splitlines()[1:]  # type: ignore[attr-defined]
    assert len(line) <= 60
    assert line[caret.index("^") :].startswith("HERE")


# --- the same problem of many


def still(clip: str, line: int, message: str = "{} has no starting image", **more: Any) -> Problem:
    return Problem(message.format(clip), Span("p.yaml", line, 13), "add an image", "P109", of=(clip,), **more)


def shown(problems: list[Problem], *, verbose: bool = False, **of: Any) -> list[str]:
    one = console()
    one.is_verbose = verbose
    one.problems(problems, lambda file: [], **of)
    assert isinstance(one.err, io.StringIO)
    return one.err.getvalue().splitlines()


def test_the_same_problem_of_several_clips_is_printed_once_with_their_number_and_places() -> None:
    assert shown([still("a/a", 3), still("a/b", 7), still("b/a", 12)]) == [
        "p.yaml:3:13: error: a/a has no starting image [P109]",
        "  → add an image",
        "  2 more: a/b p.yaml:7:13, b/a p.yaml:12:13",
    ]


def test_of_many_the_first_places_are_named() -> None:
    many = [still(f"s{n}/a", n) for n in range(1, 26)]
    assert shown(many)[2:] == [
        "  24 more: s2/a p.yaml:2:13, s3/a p.yaml:3:13, s4/a p.yaml:4:13 and 21 more (-v prints all)"
    ]
    assert len(shown(many, verbose=True)) == 50


def test_a_problem_that_one_line_causes_in_many_scenes_names_them_alone() -> None:
    at = [Problem(f"{s}: a crossfade", Span("p.yaml", 4, 1), "write 12f", "P111", of=(s,)) for s in ("one", "two")]
    assert shown(at)[-1] == "  1 more: two"


def test_problems_that_differ_in_words_stay_apart() -> None:
    words = [Problem(f'unknown key "{key}"', Span("p.yaml", 3, 1), "", "S101") for key in ("look", "lokk")]
    assert [line for line in shown(words) if "more" in line] == []
    assert len(shown(words)) == 2


def test_numbers_may_differ_where_there_are_many() -> None:
    few = [still(f"s{n}/a", n, f"{{}} covers {n} of 90 frames") for n in range(1, 4)]
    assert sum("covers" in line for line in shown(few)) == 3
    many = [still(f"s{n}/a", n, f"{{}} covers {n} of 90 frames") for n in range(1, 10)]
    assert [line for line in shown(many) if "covers" in line] == [
        "p.yaml:1:13: error: s1/a covers 1 of 90 frames [P109]"
    ]


def test_of_many_with_one_hint_the_first_are_printed_in_full() -> None:
    files = [Problem(f'no file "refs/{name}.png"', Span("p.yaml", 3, 1), "check the path", "L020") for name in "abcde"]
    printed = shown(files)
    assert sum("no file" in line for line in printed) == 5
    assert sum("check the path" in line for line in printed) == 3


def test_a_failure_names_the_clips_that_it_failed() -> None:
    gone = Problem("bench did not answer", None, "build again", "C002")
    of = {gone: ["clip:a/a@1", "clip:a/b@2"]}
    assert shown([gone], of=of)[-1] == "  it failed a/a, a/b@2"
    assert shown([gone], of={gone: ["clip:a/a@1"]})[-1] == "  it failed a/a"
    named = Problem("no checkpoint, which a/a needs", None, "put it there", "C010")
    assert shown([named], of={named: ["clip:a/a@1"]})[-1] == "  → put it there"


def test_a_problem_without_a_readable_file_is_reported_all_the_same() -> None:
    one = console()
    one.problems([Problem("gone", Span("/nowhere/film.yaml", 9, 1)), Problem("no place", level="warning")])
    assert one.err.getvalue() == "/nowhere/film.yaml:9:1: error: gone\nwarning: no place\n"  # type: ignore[attr-defined]


# --- pipes


def test_a_reader_that_has_left_is_not_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        put("nobody reads this", stream)
        put("nor this", stream)


def test_a_stream_without_a_descriptor_cannot_be_let_go_and_that_is_fine() -> None:
    let_go(io.StringIO())


# --- small words


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0s"), (9.94, "9.9s"), (63.7, "1m 03.7s"), (600, "10m 00.0s"), (7322, "2h 02m")]
)
def test_durations_read_as_people_show_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_counts_have_their_plural() -> None:
    assert (count(1, "clip"), count(0, "clip"), count(2, "clip")) == ("1 clip", "0 clips", "2 clips")


def test_columns_are_aligned_and_the_last_one_runs_free() -> None:
    assert columns([("a", "bb", "c"), ("aaa", "b", "a long tail")]) == ["a    bb  c", "aaa  b   a long tail"]
    assert columns([]) == []


@pytest.mark.parametrize(
    ("numbers", "output"),
    [
        ((2, 1, 3), "2 clips, 1 more take and 3 references"),
        ((1, 0, 1), "1 clip and 1 reference"),
        ((0, 2, 0), "2 more takes"),
        ((0, 0, 0), ""),
    ],
)
def test_things_are_counted_by_name(numbers: tuple[int, int, int], output: str) -> None:
    assert counted(*zip(numbers, ("clip", "more take", "reference"), strict=True)) == output
