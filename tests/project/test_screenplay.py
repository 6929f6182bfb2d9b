"""A script becomes scenes: what is spoken, what is seen, and nothing of what only guides the reader."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.core.errors import LtxflowError
from ltxflow.project.screenplay import MOST_SCENES, Script, SpokenPart, read_script


def read(text: str, name: str = "script.md") -> Script:
    return read_script(textwrap.dedent(text).encode(), name)


def codes(data: bytes, name: str) -> set[str]:
    """Return the codes of what is wrong with a script."""
    try:
        read_script(data, name)
    except LtxflowError as error:
        return {problem.code for problem in error.problems}
    return set()


def spoken(script: Script) -> list[str]:
    return [scene.text for scene in script.scenes]


def test_markdown_headings_are_scenes_and_the_first_is_the_title() -> None:
    script = read("""\
        # The well

        ## Opening
        Every village has a *well*,
        and every well has a [story](https://example.org).

        ## The stone
        It fell.

        ### Below
        Nobody heard it.
        """)
    assert (script.form, script.title) == ("markdown", "The well")
    assert [scene.title for scene in script.scenes] == ["Opening", "The stone", "Below"]
    assert spoken(script) == ["Every village has a well, and every well has a story.", "It fell.", "Nobody heard it."]
    assert [scene.line for scene in script.scenes] == [3, 7, 10]


def test_what_is_seen_is_not_spoken() -> None:
    (scene,) = read("""\
        ## One
        [Visual: a dry field at dawn]
        ![a boy with a bucket](boy.png)
        Narrator: Every village has a well. [slow push in]
        Visual: a stone falls

        Visual:
        dust in the light

        - Nobody spoke.
        > Not a word.
        <!-- not this
        nor this -->
        """).scenes
    assert scene.text == "Every village has a well. Nobody spoke. Not a word."
    assert scene.seen == (
        "a dry field at dawn",
        "a boy with a bucket",
        "slow push in",
        "a stone falls",
        "dust in the light",
    )


def test_names_in_capitals_speak_and_prose_with_a_colon_does_not() -> None:
    (scene,) = read("## One\nMAYA: Who is there?\nTOM (off): Nobody.\nHe knew one thing: it was true.\n").scenes
    assert scene.spoken[:1] == (SpokenPart("Maya", "Who is there?"),)
    assert scene.spoken[1] == SpokenPart("Tom", "Nobody. He knew one thing: it was true.")


def test_a_table_of_two_columns_is_read_by_its_heads() -> None:
    (scene,) = read("""\
        ## One
        | Video | Audio |
        |-------|:-----:|
        | A key turns | Every coin is guarded. |
        | A door opens | Lose the key, and it is gone. |
        """).scenes
    assert scene.text == "Every coin is guarded. Lose the key, and it is gone."
    assert scene.seen == ("A key turns", "A door opens")


def test_underlined_headings_and_a_front_matter_are_markdown_too() -> None:
    script = read("---\ntitle: 'My film'\n---\nOne\n===\nFirst words.\n\nTwo\n---\nSecond words.\n", "a.txt")
    assert (script.title, [scene.title for scene in script.scenes]) == ("My film", ["One", "Two"])
    assert spoken(script) == ["First words.", "Second words."]


def test_only_headings_are_silent_scenes() -> None:
    script = read("## One\n## Two\n## Three\n")
    assert [scene.title for scene in script.scenes] == ["One", "Two", "Three"]
    assert spoken(script) == ["", "", ""]


FOUNTAIN = """\
Title:
    _**The Well**_
Author: Someone

FADE IN:

EXT. FIELD - DAWN #1#

A boy walks with a bucket.
Mist over the grass.

NARRATOR (V.O.)
Every village has a well.
(beat)
And every well has a story.

.THE KITCHEN

[[a note that
runs on]]
MAYA
Who is there?

@McTom ^
Nobody. /* cut this */

CUT TO:

> THE END <
"""


def test_fountain_has_headings_action_and_dialogue() -> None:
    script = read(FOUNTAIN, "b.fountain")
    assert (script.form, script.title) == ("fountain", "The Well")
    field, kitchen = script.scenes
    assert (field.title, field.seen) == ("EXT. FIELD - DAWN", ("A boy walks with a bucket. Mist over the grass.",))
    assert field.spoken == (SpokenPart("", "Every village has a well. And every well has a story."),)
    assert kitchen.spoken == (SpokenPart("Maya", "Who is there?"), SpokenPart("Mctom", "Nobody."))


def test_a_slugline_makes_any_text_a_screenplay() -> None:
    assert read("INT. ROOM - DAY\n\nMAYA\nHello.\n", "c.txt").form == "fountain"


def test_blocks_of_plain_text_are_scenes() -> None:
    script = read("How keys work\n\nEvery coin is guarded\nby one secret.\n\n\nLose it, and it is gone.\n", "c.txt")
    assert (script.form, script.title) == ("text", "How keys work")
    assert spoken(script) == ["Every coin is guarded by one secret.", "Lose it, and it is gone."]
    assert [scene.line for scene in script.scenes] == [3, 7]


def test_numbered_scenes_of_plain_text_keep_their_blocks_together() -> None:
    script = read("Scene 1: The hook\nFirst.\n\nStill the first.\n\nScene 2\n\nSecond.\n", "c.txt")
    assert [scene.title for scene in script.scenes] == ["The hook", "Scene 2"]
    assert spoken(script) == ["First. Still the first.", "Second."]


@pytest.mark.parametrize(
    ("coding", "mark"),
    [("utf-8", ""), ("utf-8", "\ufeff"), ("utf-16-le", "\ufeff"), ("utf-16-be", "\ufeff"), ("utf-16-le", "")],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_make_no_difference(coding: str, mark: str, end: str) -> None:
    text = f"{mark}## One{end}Every coin is guarded.{end}{end}## Two{end}And gone – für immer.{end}"
    script = read_script(text.encode(coding), "script.md")
    assert spoken(script) == ["Every coin is guarded.", "And gone – für immer."]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("## مشهد\nفي كل قرية بئر.\n", "في كل قرية بئر."),
        ("## 場面\n村には井戸がある。\n", "村には井戸がある。"),
        ("## One\nHidden \u202egniht\u202c and \x00bell\x07.\n".replace("\x00", ""), "Hidden gniht and bell."),
    ],
)
def test_other_scripts_stay_and_invisible_signs_go(text: str, words: str) -> None:
    assert spoken(read(text)) == [words]


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        (b"", "U016", 1),
        (b" \n\t\r\n", "U016", 1),
        (b"## One\nfine\ncaf\xe9\n", "U015", 3),
        (b"PK\x03\x04 a docx", "U015", 1),
        (b"%PDF-1.7", "U015", 1),
        (b"abc\x00\x00\x00\x01def" * 9, "U015", 1),
        (b"a" * ((8 << 20) + 1), "U015", 1),
        (b"a\n\n" * (MOST_SCENES + 2), "U016", 2 * MOST_SCENES + 3),
    ],
)
def test_what_is_no_script_is_refused_with_its_place(data: bytes, code: str, line: int) -> None:
    with pytest.raises(LtxflowError) as caught:
        read_script(data, "odd.txt")
    (problem,) = caught.value.problems
    assert (problem.code, problem.span and problem.span.file, problem.span and problem.span.line) == (
        code,
        "odd.txt",
        line,
    )


@pytest.mark.parametrize(
    "part", ["/*", "[[", "<!--", "[", "(", "*", "_", "# ", "- ", "A:", " ", "{{", "|", "INT. A\n", "~", "@A\n", "\\"]
)
@pytest.mark.parametrize("name", ["a.md", "a.fountain", "a.txt"])
def test_much_of_one_mark_is_read(part: str, name: str) -> None:
    """A search that grew with the square of its text would take hours."""
    assert codes((part * (300_000 // len(part))).encode(), name) <= {"U016"}


LINES = st.sampled_from(
    [
        "",
        "# A",
        "## B",
        "INT. C - DAY",
        "MAYA",
        "MAYA: hm",
        "(beat)",
        "Words here.",
        "[shot]",
        "Visual:",
        "---",
        "| a | b |",
    ]
)


@given(st.lists(LINES, max_size=25), st.sampled_from(["a.md", "a.fountain", "a.txt"]))
def test_every_scene_lies_in_the_script_in_order(lines: list[str], name: str) -> None:
    data = "\n".join(lines).encode()
    if found := codes(data, name):
        assert found == {"U016"}
        return
    places = [scene.line for scene in read_script(data, name).scenes]
    assert places == sorted(places)
    assert all(1 <= place <= len(lines) for place in places)
