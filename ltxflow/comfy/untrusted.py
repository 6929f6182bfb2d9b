"""Read text and JSON that a server sent. Nothing in it is trusted."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

TEXT_LIMIT = 500  # characters of a server's own words that are repeated
_READ_LIMIT = 65_536  # characters read before shortening: a traceback may carry megabytes

# CSI, OSC, DCS and the two-byte escapes; the 8-bit CSI as well
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x9b[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?|\x1b[ -/]*[0-~]?"
)


def clean(text: object, limit: int = TEXT_LIMIT) -> str:
    """Return anything a server sent as one printable line of at most `limit` characters.

    Escape sequences, control, format (bidi) and surrogate characters are removed, white space is folded.
    """
    raw = str(text)[:_READ_LIMIT]
    if not (raw.isascii() and raw.isprintable()):  # nearly all is, and a frame has dozens of names
        raw = "".join(_printable(_ESCAPES.sub("", raw)))
    line = " ".join(raw.split())
    return line if len(line) <= limit else line[: max(limit - 1, 0)].rstrip() + "…"


def _printable(text: str) -> Iterator[str]:
    for char in text:
        category = unicodedata.category(char)
        if char in "\n\r\t\v\f\x85" or category in ("Zl", "Zp"):
            yield " "
        elif category not in ("Cc", "Cf", "Cs"):
            yield char


def mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def names(value: object) -> tuple[str, ...]:
    return tuple(clean(v, 40) for v in items(value) if isinstance(v, (str, int)))


def as_number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_ms(value: object) -> int | None:
    number = as_number(value)
    return None if number is None else int(number)
