"""Draw a caption as an overlay for frames: white letters on a dark, translucent plate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ltxflow.media.bidi import is_right_to_left, needs_shaping
from ltxflow.media.text_layout import Style, draw_text, plain, width_of

Plane = NDArray[np.uint8]

BLACK, WHITE, PLATE = 16, 235, 150  # luma of video, and the opacity of the plate, of 255
SMALLEST = 10  # px


def draw_caption(
    lines: Sequence[str], width: int, height: int, italics: Sequence[tuple[int, int, int]] = ()
) -> tuple[int, int, Plane, Plane]:
    """Return left, top, luma and opacity of a caption in a film of that size, in px.

    Places it in the middle of the lower edge, a twentieth of the height above it; letters shrink until they fit. All
    sides are even, since colours have half the resolution. `italics` are (line, first character, first after it);
    letters that need shaping stay upright.
    """
    texts = [_runs(line, [span[1:] for span in italics if span[0] == number]) for number, line in enumerate(lines)]
    size = max(SMALLEST, round(min(height / 19, width / 24)))
    while size > SMALLEST and max(_reach(runs, size) for runs in texts) > width * 0.9:
        size -= 1
    widths = [_reach(runs, size) for runs in texts]
    side, leading = round(size * 0.6), round(size * 1.3)
    across = min(width, _even(max(widths) + 2 * side))
    down = min(height, _even(leading * len(texts) + size * 0.5))
    from_right = is_right_to_left(" ".join(lines))
    letters = Image.new("RGB", (across, down))
    pen = ImageDraw.Draw(letters)
    for number, (runs, reach) in enumerate(zip(texts, widths, strict=True)):
        baseline = round(size * 0.25) + leading * number + size
        at = (across - reach) / 2
        for text, is_italic in runs:
            at = draw_text(pen, at, baseline, text, _style(size, is_italic), (255, 255, 255), from_right)
    plate = Image.new("L", (across, down))
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, across - 1, down - 1), size // 3, fill=PLATE)
    ink = np.asarray(letters)[:, :, 0].astype(np.float64) / 255
    ground = np.asarray(plate).astype(np.float64) * (1 - ink)
    density = ground + 255 * ink
    luma = (BLACK * ground + WHITE * 255 * ink) / np.maximum(density, 1)
    left, top = (width - across) // 4 * 2, (height - down - round(height / 20)) // 2 * 2
    return left, max(0, top), np.rint(luma).astype(np.uint8), np.rint(density).astype(np.uint8)


def _runs(line: str, italics: Iterable[tuple[int, ...]]) -> list[tuple[str, bool]]:
    """Return a line in pieces, each with whether it is italic."""
    if needs_shaping(line):
        return [(plain(line), False)]
    runs, at = [], 0
    for first, end in italics:
        runs += [(line[at:first], False), (line[first:end], True)]
        at = end
    runs.append((line[at:], False))
    return [(_kept(text), is_italic) for text, is_italic in runs if text] or [("", False)]


def _kept(text: str) -> str:
    """Return `plain` text with the blanks at its ends, which separate it from the next piece."""
    return " " * text.startswith(" ") + plain(text) + " " * (text.endswith(" ") and bool(text.strip()))


def _reach(runs: Iterable[tuple[str, bool]], size: int) -> float:
    return sum(width_of(text, _style(size, is_italic)) for text, is_italic in runs)


def _style(size: int, is_italic: bool) -> Style:
    return Style(size, 500, is_italic=is_italic)


def _even(length: float) -> int:
    return math.ceil(length / 2) * 2
