from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from ltxflow.media import text_layout
from ltxflow.media.text_layout import (
    FINE,
    Style,
    can_shape,
    clipped,
    draw_text,
    fitted,
    lacking,
    plain,
    undrawable,
    width_of,
    wrapped,
)

STYLE = Style(20)


def drawn(text):
    canvas = Image.new("RGB", (80, 40))
    draw_text(ImageDraw.Draw(canvas), 5, 28, text, STYLE, (255, 255, 255))
    return np.asarray(canvas)


@pytest.mark.parametrize("char", "éñß—→←↑↓…ЖΩł“")
def test_european_text_and_arrows_are_drawn(char):
    """A character that no font has is drawn as a box."""
    assert not (drawn(char) == drawn("\U0010ffff")).all()
    assert drawn(char).max() > 150


def test_characters_without_a_font_are_reported():
    assert undrawable("Größe → ½ “Ω” Ж, x²\n…") == ""
    assert undrawable("a \U00013080 b \U00013080\U00013081") == "\U00013080\U00013081"


def test_wrapped_lines_fit_and_lose_nothing():
    text = plain("a fairly long sentence\nwith breaks, " * 5 + "w" * 200)
    lines = wrapped(text, 150, STYLE)
    assert all(width_of(line, STYLE) <= 150 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_ideographs_break_anywhere_but_before_their_stops():
    lines = wrapped("古い金庫の扉、石造りの地下室。" * 4, 70, STYLE)
    assert len(lines) > 3
    assert not any(line[0] in "、。" for line in lines)


def test_text_that_does_not_fit_ends_in_an_ellipsis():
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


# --- scripts that join or turn

SALAM, SHALOM, HINDI = "سلام عليكم، يا عالم!", "שלום לכולם, עולם!", "क्षत्रिय हिन्दी"
shaping = pytest.mark.skipif(not can_shape(), reason="Pillow has no Raqm here: apt install libfribidi0")


def needs(text):
    if missing := undrawable(text):
        pytest.skip(f"no font on this machine has {missing}: apt install fonts-dejavu-core fonts-noto-core")


def ink(text, from_right=None, style=STYLE):
    canvas = Image.new("RGB", (400, 60))
    draw_text(ImageDraw.Draw(canvas), 10, 40, text, style, (255, 255, 255), from_right)
    return np.asarray(canvas)[:, :, 0].astype(int)


def by_raqm(text, direction):
    """A line in one call, drawn large and reduced as ours are."""
    font = text_layout.shaped_source(text[0]) or str(text_layout.OURS)
    mask = Image.new("L", (400 * FINE, 60 * FINE))
    face = ImageFont.truetype(font, 20 * FINE, layout_engine=ImageFont.Layout.RAQM)
    if font == str(text_layout.OURS):
        face.set_variation_by_axes([400, 100])
    where = (10 * FINE, 40 * FINE)
    ImageDraw.Draw(mask).text(where, text, font=face, fill=255, anchor="ls", direction=direction)
    return np.asarray(mask.reduce(FINE)).astype(int)


@shaping
@pytest.mark.parametrize(("text", "direction"), [("سلام عليكم", "rtl"), ("שלום לכולם", "rtl"), (HINDI, "ltr")])
def test_a_line_of_one_script_is_what_raqm_makes_of_it(text, direction):
    needs(text)
    assert (ink(text) == by_raqm(text, direction)).all()
    assert width_of(text, STYLE) == pytest.approx(
        ImageFont.truetype(
            text_layout.shaped_source(text[0]) or str(text_layout.OURS), 500, layout_engine=ImageFont.Layout.RAQM
        ).getlength(text, direction=direction)
        / 25,
        rel=0.02,
    )


@shaping
def test_letters_join_and_turn(monkeypatch):
    needs(SALAM)
    right = ink(SALAM)
    monkeypatch.setattr(text_layout, "can_shape", lambda: False)
    assert abs(ink(SALAM) - right).sum() > right.sum() / 2


@shaping
def test_words_of_two_directions_are_in_reading_order():
    """abc, then Hebrew: the first word is on the left in a Latin line, and on the right in a Hebrew one."""
    needs(SHALOM)
    word, hebrew = "abc", "שלום"
    from_left, from_right = ink(f"{word} {hebrew}", False), ink(f"{word} {hebrew}", True)
    wide = round(width_of(word, STYLE))
    assert (from_left[:, : 10 + wide] == ink(word)[:, : 10 + wide]).all()
    turned = round(width_of(hebrew, STYLE))
    assert (from_right[:, : 8 + turned] == ink(hebrew)[:, : 8 + turned]).all()


@shaping
def test_latin_words_and_numbers_in_such_a_line_are_set_as_ever():
    needs(SHALOM)
    line = ink("Bitcoin 24 שלום", False)
    wide = 10 + int(width_of("Bitcoin 24", STYLE))
    assert (line[:, :wide] == ink("Bitcoin 24")[:, :wide]).all()


@shaping
def test_nothing_of_a_line_is_cut_off():
    """Marks stand higher and tails hang lower than Latin letters do."""
    needs("ที่กี้ لا")
    for text in ("ที่กี้", "ججج لّٰ"):
        around = ink(text, style=Style(24))
        assert around.max() > 150
        assert not around[0].any()
        assert not around[-1].any()


@pytest.mark.parametrize("text", [SALAM, SHALOM, HINDI, f"Bitcoin (24) → {SHALOM} " * 9, "ทดสอบข้อความ" * 20])
def test_wrapped_lines_of_any_script_fit_and_lose_nothing(text):
    lines = wrapped(plain(text), 150, STYLE)
    assert all(width_of(line, STYLE) <= 150 for line in lines)
    assert "".join("".join(lines).split()) == "".join(plain(text).split())


def test_a_word_is_not_divided_between_a_letter_and_its_marks():
    lines = wrapped("ที่นี่เป็นน้ำใจไทยแท้" * 9, 100, STYLE)
    assert len(lines) > 3
    assert not any(line[0] in "ะาำ่้๊๋ีิื็" for line in lines)
    assert not any(line[-1] in "เแโใไ" for line in lines[:-1])


def test_joiners_stay_where_letters_join_and_nowhere_else():
    assert plain("می\u200cرود") == "می\u200cرود"
    assert plain("a\u200cb\u200d\u200f") == "ab"
    assert "\u200c" not in undrawable("می\u200cرود")


@pytest.mark.parametrize("text", ["Bitcoin → 24 “Ω” Ж", "古い金庫の扉、"])
def test_other_scripts_need_no_shaping(text, monkeypatch):
    before = ink(text)
    monkeypatch.setattr(text_layout, "can_shape", lambda: not can_shape())
    assert (ink(text) == before).all()


def test_a_lack_of_fonts_is_reported_with_the_package(monkeypatch):
    assert lacking("Größe") is None
    assert lacking("\U00013080").hint == "apt install fonts-noto-cjk"
    monkeypatch.setattr(text_layout, "can_shape", lambda: True)
    monkeypatch.setattr(text_layout, "shaped_source", lambda char: "")
    assert lacking("سلام").message == 'no font on this machine has "سلام"'
    assert lacking("سلام").hint == "apt install fonts-noto-core"
    monkeypatch.setattr(text_layout, "can_shape", lambda: False)
    assert lacking("سلام").hint == "apt install libfribidi0"
    assert lacking("Größe") is None
