"""A caption as a picture to lay over frames: white letters on a dark, half clear plate. Knows no time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ltxflow.media.bidi import is_right_to_left
from ltxflow.media.lettering import Style, draw_text, plain, width_of

Plane = NDArray[np.uint8]

BLACK, WHITE, PLATE = 16, 235, 150  # luma as video has it, and how dense the plate is, of 255
SMALLEST = 10  # px


def draw_caption(lines: Sequence[str], width: int, height: int) -> tuple[int, int, Plane, Plane]:
    """Given the lines of a caption and the size of the film, return left, top, luma and density of its picture.

    It stands in the middle of the lower edge, a twentieth of the height above it; letters shrink until they fit.
    All four are even, since colours have half the resolution.
    """
    texts = [plain(line) for line in lines]
    size = max(SMALLEST, round(min(height / 19, width / 24)))
    while size > SMALLEST and max(width_of(text, Style(size, 500)) for text in texts) > width * 0.9:
        size -= 1
    style = Style(size, 500)
    widths = [width_of(text, style) for text in texts]
    side, leading = round(size * 0.6), round(size * 1.3)
    across = min(width, _even(max(widths) + 2 * side))
    down = min(height, _even(leading * len(texts) + size * 0.5))
    from_right = is_right_to_left(" ".join(texts))
    letters = Image.new("RGB", (across, down))
    pen = ImageDraw.Draw(letters)
    for number, (text, reach) in enumerate(zip(texts, widths, strict=True)):
        baseline = round(size * 0.25) + leading * number + size
        draw_text(pen, (across - reach) / 2, baseline, text, style, (255, 255, 255), from_right)
    plate = Image.new("L", (across, down))
    ImageDraw.Draw(plate).rounded_rectangle((0, 0, across - 1, down - 1), size // 3, fill=PLATE)
    ink = np.asarray(letters)[:, :, 0].astype(np.float64) / 255
    ground = np.asarray(plate).astype(np.float64) * (1 - ink)
    density = ground + 255 * ink
    luma = (BLACK * ground + WHITE * 255 * ink) / np.maximum(density, 1)
    left, top = (width - across) // 4 * 2, (height - down - round(height / 20)) // 2 * 2
    return left, max(0, top), np.rint(luma).astype(np.uint8), np.rint(density).astype(np.uint8)


def _even(length: float) -> int:
    return math.ceil(length / 2) * 2
