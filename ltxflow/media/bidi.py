"""Decide in which direction text runs, and whether its letters depend on their neighbours.

Levels are those of Unicode's bidirectional algorithm (UAX #9), computed by the library python-bidi. A separate module,
since a plan needs `needs_shaping` and must not import Pillow.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

SHAPING = "1"  # part of the keys of pictures that show such text: raise it when they come out differently

# Scripts that join, stack or reorder their letters, or run from right to left: Hebrew and Arabic to Myanmar, Khmer …
_SHAPED = re.compile(
    "[\u0590-\u109f\u1700-\u18af\u1900-\u1aaf\u1b00-\u1c7f\ua800-\ua95f\ua980-\uaaff\uabc0-\uabff"
    "\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00011fff\U0001e800-\U0001efff]"
)
# python-bidi returns levels only in a dump of its Rust structure, one for each byte of the text in UTF-8. Line feeds
# in the text are escaped there, so that none can imitate this field.
_LEVELS = re.compile(r"\n    levels: \[\n(.*?)\n    \],\n", re.DOTALL)


def needs_shaping(text: str) -> bool:
    """Return whether a text has letters that cannot be set one by one from the left."""
    return not text.isascii() and _SHAPED.search(text) is not None


def is_right_to_left(text: str) -> bool:
    """Return whether most letters of a text are read from right to left."""
    kinds = [unicodedata.bidirectional(char) for char in text]
    return sum(kind in ("R", "AL") for kind in kinds) > sum(kind == "L" for kind in kinds)


def levels(text: str, base: int) -> list[int]:
    """Return the level of each character of a line, odd from right to left.

    `base` is the direction of the line (0: from the left, 1: from the right).
    """
    import bidi  # on demand: most films have no such text

    if not text:
        return []
    found = _LEVELS.search(str(bidi.get_display(text, base_dir="LR"[base], debug=True)))
    if found is None:
        raise RuntimeError("python-bidi returns its levels in another form")
    by_byte = [int(number) for number in re.findall(r"\d+", found[1])]
    by_char, at = [], 0
    for char in text:
        by_char.append(by_byte[at])
        at += len(char.encode())
    end = len(text.rstrip())
    return [*by_char[:end], *[base] * (len(text) - end)]  # rule L1


def in_order(given: Sequence[int]) -> list[int]:
    """Return the numbers of pieces with these levels in display order, from the left (rule L2)."""
    numbers = list(range(len(given)))
    for level in range(max(given, default=0), 0, -1):
        first = 0
        for is_reversed, group in groupby([given[number] >= level for number in numbers]):
            end = first + len(list(group))
            if is_reversed:
                numbers[first:end] = reversed(numbers[first:end])
            first = end
    return numbers
