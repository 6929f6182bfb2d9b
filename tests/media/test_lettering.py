from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ltxflow.media.lettering import Style, clipped, draw_text, fitted, plain, undrawable, width_of, wrapped

STYLE = Style(20)


def drawn(text):
    canvas = Image.new("RGB", (80, 40))
    draw_text(ImageDraw.Draw(canvas), 5, 28, text, STYLE, (255, 255, 255))
    return np.asarray(canvas)


@pytest.mark.parametrize("char", "éñß—→←↑↓…ЖΩł“")
def test_european_text_and_arrows_are_drawn(char):
    """A character that no font has is drawn as the box that stands for all of them."""
    assert not (drawn(char) == drawn("\U0010ffff")).all()
    assert drawn(char).max() > 150


def test_what_would_come_out_as_boxes_is_told():
    assert undrawable("Größe → ½ “Ω” Ж, x²\n…") == ""
    assert undrawable("a \U00013080 b \U00013080\U00013081") == "\U00013080\U00013081"


def test_lines_are_no_wider_than_asked_and_lose_nothing():
    text = plain("a fairly long sentence\nwith breaks, " * 5 + "w" * 200)
    lines = wrapped(text, 150, STYLE)
    assert all(width_of(line, STYLE) <= 150 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_ideographs_break_anywhere_but_before_their_stops():
    lines = wrapped("古い金庫の扉、石造りの地下室。" * 4, 70, STYLE)
    assert len(lines) > 3
    assert not any(line[0] in "、。" for line in lines)


def test_what_does_not_fit_ends_in_an_ellipsis():
    assert clipped("short", 500, STYLE) == "short"
    cut = clipped("much too long for this", 90, STYLE)
    assert cut.endswith("…")
    assert width_of(cut, STYLE) <= 90


def test_text_is_set_as_large_as_fits_and_cut_when_it_does_not():
    sizes = range(30, 11, -1)
    large, lines = fitted("few words", 400, 200, sizes, 1.4)
    assert (large.size, lines) == (30, ["few words"])
    small, lines = fitted("very many words " * 99, 400, 200, sizes, 1.4)
    assert small.size == 12
    assert lines[-1].endswith("…")
    assert fitted("words", 400, 5, sizes, 1.4)[1] == []


def test_invisible_characters_are_dropped():
    assert plain("a\u200b\tb\r\n\x07c\ufe0f") == "a b c"
