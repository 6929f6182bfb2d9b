"""Captions as pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ltxflow.media import subtitles
from ltxflow.media.subtitles import draw_caption
from ltxflow.media.text_layout import draw_text


@pytest.mark.parametrize("size", [(1536, 864), (640, 360), (864, 1536), (128, 128)])
@pytest.mark.parametrize("lines", [("Yes.",), ("Every coin you own is guarded by", "one secret: your private key.")])
def test_a_caption_lies_on_even_lines_in_the_lower_middle(lines: tuple[str, ...], size: tuple[int, int]) -> None:
    width, height = size
    left, top, luma, density = draw_caption(lines, width, height)
    down, across = density.shape
    assert luma.shape == density.shape
    assert not any(number % 2 for number in (left, top, across, down))
    assert left >= 0
    assert left + across <= width
    assert abs(left + across / 2 - width / 2) <= 2
    assert top >= height / 2
    assert top + down <= height


def test_letters_are_white_and_dense_on_a_plate_one_can_look_through() -> None:
    _, _, luma, density = draw_caption(("Every coin",), 640, 360)
    middle = density.shape[0] // 2
    assert set(np.unique(density[middle])) & {150}
    assert luma[density == 255].min() >= 230
    assert luma[density == 150].max() <= 17


def test_a_long_line_is_set_smaller() -> None:
    long = draw_caption(("W" * 42,), 640, 360)[3]
    assert long.shape[1] <= 640
    assert long.shape[0] < draw_caption(("W",), 640, 360)[3].shape[0]


@pytest.mark.parametrize(
    ("lines", "from_right"), [(("שלום לכולם וגם", "abc שלום"), True), (("The word", "שלום means peace"), False)]
)
def test_all_lines_go_the_way_of_their_caption(
    lines: tuple[str, ...], from_right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways = []

    def draw(*arguments: Any) -> float:
        ways.append(arguments[-1])
        return draw_text(*arguments)

    monkeypatch.setattr(subtitles, "draw_text", draw)
    draw_caption(lines, 640, 360)
    assert ways == [from_right, from_right]
