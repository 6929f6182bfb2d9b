"""Splitting into sentences: labelled texts, and properties of any text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.project.sentences import split

LABELLED = Path(__file__).parent / "labelled" / "sentences.txt"


def labelled() -> list[tuple[str, str]]:
    lines = LABELLED.read_text("utf-8").splitlines()
    pairs = [line.partition(" | ")[::2] for line in lines if line and not line.startswith("#")]
    return [(language.strip(), text) for language, text in pairs]


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


def ends(text: str, mark: str) -> set[int]:
    """Return the positions of a mark in a labelled text, counted without spaces and marks."""
    at, found = 0, set()
    for char in squeezed(text):
        if char == mark:
            found.add(at)
        elif char not in "|¦":
            at += 1
    return found - {at}


def plain(text: str) -> str:
    return " ".join(text.replace("|", "").replace("¦", "").split())


def cuts(text: str) -> set[int]:
    parts = split(text)
    return {len(squeezed("".join(parts[:count]))) for count in range(1, len(parts))}


@pytest.mark.parametrize(("language", "text"), labelled())
def test_a_text_is_split_where_its_sentences_end(language: str, text: str) -> None:
    found, may = cuts(plain(text)), ends(text, "¦")
    is_right = found - may == ends(text, "|")
    assert is_right != language.endswith("!"), split(plain(text))


def test_there_are_enough_labels() -> None:
    texts = labelled()
    assert len(texts) > 450
    assert len({language for language, _ in texts}) > 50
    assert sum(language.endswith("!") for language, _ in texts) < 5


MARKS = st.text(alphabet="aBé1 3.!?…。」「”“«»()Drいと한я;ा।", max_size=120)


@given(MARKS)
def test_nothing_is_lost(text: str) -> None:
    folded = " ".join(text.split())
    assert squeezed("".join(split(folded))) == squeezed(folded)


@given(MARKS)
def test_every_sentence_has_words(text: str) -> None:
    parts = split(" ".join(text.split()))
    assert all(any(map(str.isalnum, part)) for part in parts[:-1])


@pytest.mark.parametrize("part", ["Dr. ", "A. B. ", "“", "« Oui ! ", "（。", "3. ", "x", "… ", "《《"])
def test_a_long_text_is_split_in_time(part: str) -> None:
    """Searching back to the beginning at every mark would take a minute or more."""
    text = (part * (400_000 // len(part))).strip()
    assert squeezed("".join(split(text))) == squeezed(text)
