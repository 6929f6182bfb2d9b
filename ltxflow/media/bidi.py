"""Which way text runs, and whether its letters depend on their neighbours. Pure: knows no font and no picture.

Unicode's bidirectional algorithm (UAX #9) for one line without embeddings: text to be drawn has none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TypeVar

SHAPING = "1"  # part of the keys of pictures that show such text: raise it when they come out differently

# Scripts that join, stack or reorder their letters, or run from right to left: Hebrew and Arabic to Myanmar, Khmer …
_SHAPED = re.compile(
    "[\u0590-\u109f\u1700-\u18af\u1900-\u1aaf\u1b00-\u1c7f\ua800-\ua95f\ua980-\uaaff\uabc0-\uabff"
    "\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00011fff\U0001e800-\U0001efff]"
)
Kind = TypeVar("Kind")

_RTL = ("R", "AL")
_NUMBERS = ("EN", "AN")
_PAIRS = {
    "(": ")",
    "[": "]",
    "{": "}",
    "⟨": "⟩",
    "〈": "〉",
    "《": "》",
    "「": "」",
    "『": "』",
    "【": "】",
    "（": "）",
}
_CLOSERS = {closer: opener for opener, closer in _PAIRS.items()}


def needs_shaping(text: str) -> bool:
    """Given a text, tell whether it has letters that cannot be set one by one from the left."""
    return not text.isascii() and _SHAPED.search(text) is not None


def is_right_to_left(text: str) -> bool:
    """Given a line, or all of a text, tell whether most of its letters are read from right to left."""
    kinds = [unicodedata.bidirectional(char) for char in text]
    return sum(kind in _RTL for kind in kinds) > sum(kind == "L" for kind in kinds)


def levels(text: str, base: int) -> list[int]:
    """Given a line and its direction (0: from the left, 1: from the right), return the level of each character.

    Odd ones run from right to left.
    """
    start = "R" if base else "L"
    kinds = _weak([unicodedata.bidirectional(char) or "L" for char in text], start)
    _set_brackets(text, kinds, start)
    _set_neutrals(kinds, start)
    rises = {"R": 0, "L": 1} if base else {"L": 0, "R": 1}
    found = [base + rises.get(kind, 2 - base) for kind in kinds]  # I1, I2; numbers are always on level 2
    ends = len(text.rstrip())
    return [*found[:ends], *[base] * (len(text) - ends)]  # L1


def in_order(given: Sequence[int]) -> list[int]:
    """Given the levels of pieces as they are written, return their numbers as they stand, from the left (L2)."""
    numbers = list(range(len(given)))
    for level in range(max(given, default=0), 0, -1):
        for first, end, is_turned in list(_stretches([given[number] >= level for number in numbers])):
            if is_turned:
                numbers[first:end] = reversed(numbers[first:end])
    return numbers


def _weak(given: Sequence[str], start: str) -> list[str]:
    """W1 to W7: marks take the kind of their letter, signs that of their numbers; AL becomes R, the rest ON."""
    kinds: list[str] = []
    strong = start
    for kind in given:
        if kind in ("NSM", "BN"):
            kind = kinds[-1] if kinds else start
        elif kind == "EN" and strong == "AL":
            kind = "AN"
        strong = kind if kind in ("L", *_RTL) else strong
        kinds.append(kind)
    kinds = ["R" if kind == "AL" else kind for kind in kinds]
    for at in range(1, len(kinds) - 1):
        before, kind, after = kinds[at - 1 : at + 2]
        if before == after and ((kind == "CS" and before in _NUMBERS) or (kind == "ES" and before == "EN")):
            kinds[at] = before
    for first, end, kind in list(_stretches(kinds)):
        if kind == "ET" and "EN" in (*kinds[max(0, first - 1) : first], *kinds[end : end + 1]):
            kinds[first:end] = ["EN"] * (end - first)
    strong = start
    for at, kind in enumerate(kinds):
        strong = kind if kind in ("L", "R") else strong
        if kind == "EN" and strong == "L":
            kinds[at] = "L"
        elif kind not in ("L", "R", *_NUMBERS):
            kinds[at] = "ON"
    return kinds


def _stretches(kinds: Sequence[Kind]) -> Iterator[tuple[int, int, Kind]]:
    """Where kinds that are the same begin and end."""
    first = 0
    for kind, group in groupby(kinds):
        end = first + len(list(group))
        yield first, end, kind
        first = end


def _side(kind: str) -> str:
    return "R" if kind in _NUMBERS else kind


def _set_brackets(text: str, kinds: list[str], start: str) -> None:
    """N0: a pair of brackets goes the way of the line if anything in it does, else the way of what is around it."""
    for opener, closer in _pairs(text, kinds):
        inside = {_side(kind) for kind in kinds[opener + 1 : closer]} - {"ON"}
        if not inside:
            continue
        way = start
        if start not in inside:
            way = next((_side(kind) for kind in reversed(kinds[:opener]) if kind != "ON"), start)
        kinds[opener] = kinds[closer] = way


def _pairs(text: str, kinds: Sequence[str]) -> list[tuple[int, int]]:
    found = []
    waiting: list[int] = []
    for at, char in enumerate(text):
        if kinds[at] != "ON":
            continue
        if char in _PAIRS:
            waiting.append(at)
        elif (opener := _CLOSERS.get(char)) and any(text[place] == opener for place in waiting):
            while text[waiting[-1]] != opener:
                waiting.pop()
            found.append((waiting.pop(), at))
    return sorted(found)


def _set_neutrals(kinds: list[str], start: str) -> None:
    """N1, N2: what has no direction takes that of both sides if they agree, else that of the line."""
    for first, end, kind in list(_stretches(kinds)):
        if kind == "ON":
            before = _side(kinds[first - 1]) if first else start
            after = _side(kinds[end]) if end < len(kinds) else start
            kinds[first:end] = [before if before == after else start] * (end - first)
