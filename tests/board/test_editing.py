"""A text is replaced where it is written, and nothing else in its file changes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltxflow.board.editing import changed_text, place_of
from ltxflow.core.errors import LtxflowError, Span
from ltxflow.documents.yaml import parse

NEW = 'A door: it\'s "ajar" & wide – #1, {yes}'
FORMS = {
    "plain": "prompt: A door opens   # keep me",
    "single": "prompt: 'A door opens'   # keep me",
    "double": 'prompt: "A door opens"   # keep me',
    "folded": "prompt: >-   # keep me\n  A door\n  opens\n\nafter: 1",
    "literal": "prompt: |\n  A door\n  opens\nafter: 1  # keep me",
    "kept": "prompt: >+\n    A door opens\n\n\nafter: 1  # keep me",
    "long plain": "prompt: A door\n  opens\n# keep me\nafter: 1",
    "long double": 'prompt: "A door\n  opens"  # keep me\nafter: 1',
    "anchor": "prompt: &door A door opens  # keep me\nafter: *door",
    "flow": "{ prompt: A door opens, after: 1 }  # keep me",
    "list": "- x\n- A door opens # keep me\n",
    "last": "# keep me\nprompt: >-\n  A door opens",
    "windows": "prompt: A door opens # keep me\r\nafter: 1\r\n",
    "mark": "\ufeffprompt: A door opens # keep me\n",
}


def edited(text: str, new: str) -> str:
    document = parse(text.removeprefix("\ufeff"), "f.yaml")
    key = 1 if isinstance(document.data, list) else "prompt"
    place = place_of(text, document.span((key,)), Path("f.yaml"))
    assert place is not None
    return changed_text(text, place, new).text


@pytest.mark.parametrize("form", FORMS)
def test_the_text_is_replaced_and_comments_stay(form: str) -> None:
    text = FORMS[form]
    result = edited(text, NEW)
    data = parse(result, "f.yaml").data
    key = 1 if isinstance(data, list) else "prompt"
    assert " ".join(data[key].split()) == NEW
    assert "# keep me" in result
    assert result.count("\r\n") == text.count("\r\n")
    assert isinstance(data, list) or data.get("after") in (None, 1, data[key])
    assert edited(result, "A door opens").count("keep me") == 1


def test_the_way_it_is_written_stays_where_it_can() -> None:
    assert edited(FORMS["single"], "It's shut") == "prompt: 'It''s shut'   # keep me"
    assert edited(FORMS["plain"], "A gate opens") == "prompt: A gate opens   # keep me"
    long = edited(FORMS["folded"], "word " * 40)
    assert long.startswith("prompt: >-   # keep me\n  word word")
    assert max(map(len, long.splitlines())) <= 62
    assert long.endswith("\n\nafter: 1")


def test_the_same_text_changes_nothing() -> None:
    for text in FORMS.values():
        assert edited(text, " A door \n opens ") == text


def test_what_looks_like_a_number_stays_a_text() -> None:
    for new in (
        "12",
        "true",
        "null",
        "1e3",
        "on",
        "0x10",
        "~",
        "- x",
        "? x",
        "@x",
        "%x",
        "*x",
        "&x",
        "!x",
        "| x",
        "a: b",
    ):
        assert parse(edited(FORMS["plain"], new), "f.yaml").data["prompt"] == new


def test_an_alias_is_not_a_place() -> None:
    text = "a: &x words\nprompt: *x\n"
    assert place_of(text, parse(text, "f.yaml").span(("prompt",)), None) is None


def test_a_whole_text_file_is_replaced() -> None:
    place = place_of("A door\nopens\n", Span("p.txt", 1, 1), Path("p.txt"))
    assert place is not None
    assert changed_text("A door\nopens\n", place, "A gate\n\nshuts").text == "A gate\n\nshuts\n"


def test_nothing_is_no_prompt() -> None:
    with pytest.raises(LtxflowError, match="cannot be empty"):
        edited(FORMS["plain"], "  \n")


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(FORMS)),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn", "Zl", "Zp", "Cf"]), min_size=1),
)
def test_any_text_is_written_or_refused(form: str, new: str) -> None:
    try:
        result = edited(FORMS[form], new)
    except LtxflowError:
        assert not new.strip() or form in ("folded", "literal", "kept", "last")
        return
    data = parse(result, "f.yaml").data
    assert data[1 if isinstance(data, list) else "prompt"].split() == new.split()
