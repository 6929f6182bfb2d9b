"""How a change is printed: old → new, texts as a word diff with a little context."""

from __future__ import annotations

import io
import re

import pytest

from ltxflow.plan.explain import Reason
from ltxflow.ui.plan_view import difference
from ltxflow.ui.terminal import Console

LONG = "one two three four five six seven eight nine ten eleven twelve"


def printed(old: object, new: object, **env: str) -> str:
    console = Console(io.StringIO(), io.StringIO(), env)
    console.say(difference(console, Reason("field", old, new)))
    assert isinstance(console.out, io.StringIO)
    return console.out.getvalue().rstrip("\n")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        (8, 6, "8 → 6"),
        (1.0, 4.5, "1 → 4.5"),
        (None, "refs/a.png", "none → refs/a.png"),
        (["a", "b"], [], "a, b → none"),
        ({"is": "refs/a.png", "pixels": "ab" * 32}, None, "refs/a.png (pixels abababab…) → none"),
        (True, False, "true → false"),
    ],
)
def test_values_are_shown_as_one_would_write_them(old: object, new: object, text: str) -> None:
    assert printed(old, new) == text


def test_words_that_changed_are_marked() -> None:
    assert printed("the camera orbits the key", "the camera rises above the key") == (
        "the camera [-orbits-] {+rises above+} the key"
    )


def test_of_what_stayed_only_the_neighbours_are_shown() -> None:
    assert printed(f"{LONG} old {LONG}", f"{LONG} new {LONG}") == (
        "… nine ten eleven twelve [-old-] {+new+} one two three four …"
    )
    assert printed(f"red {LONG} red", f"blue {LONG} blue") == (
        "[-red-] {+blue+} one two three four … nine ten eleven twelve [-red-] {+blue+}"
    )


def test_on_a_terminal_the_marks_are_colours() -> None:
    coloured = printed("one old word", "one new word", FORCE_COLOR="1")
    assert coloured == "one \x1b[9;31mold\x1b[0m \x1b[32mnew\x1b[0m word"
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == "one old new word"
