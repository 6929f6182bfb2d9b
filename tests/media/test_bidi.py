"""Levels of letters, compared with FriBidi, which Pillow's Raqm uses for whole lines."""

from __future__ import annotations

import random
from itertools import groupby

import pytest
from PIL import Image, ImageChops, ImageDraw, ImageFont, features

from ltxflow.media.bidi import in_order, is_right_to_left, levels, needs_shaping

FONT = "DejaVuSans.ttf"  # Latin, Arabic and Hebrew in one: a whole line in one call
KERNLESS = ["-kern"]  # Raqm kerns a sign with what is before it, a piece by itself does not
WORDS = ["אבג", "שָׁלוֹם", "سلام", "مرحبًا", "abc", "Wave", "24", "1,024.50", "3-4", "50%", "$7", "١٢٣", "۱۴۰۳", "+5", "#9"]
SIGNS = [" ", " ", " ", ", ", ". ", "! ", " - ", "-", "/", " (", ") ", "[", "] ", "«", "» ", ": ", "،", " & ", '"', ""]


@pytest.fixture(scope="module")
def whole() -> ImageFont.FreeTypeFont:
    if not features.check("raqm"):
        pytest.skip("Pillow has no Raqm here: apt install libfribidi0")
    try:
        return ImageFont.truetype(FONT, 64, layout_engine=ImageFont.Layout.RAQM)
    except OSError:
        pytest.skip(f"no {FONT} here: apt install fonts-dejavu-core")


def by_levels(text: str, base: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Draw a line by its levels, each piece separately."""
    numbered = zip(text, levels(text, base), strict=True)
    pieces = [(level, "".join(c for c, _ in group)) for level, group in groupby(numbered, lambda of: of[1])]
    canvas = Image.new("L", (3000, 120))
    x = 20.0
    for number in in_order([level for level, _ in pieces]):
        level, part = pieces[number]
        way = "rtl" if level % 2 else "ltr"
        ImageDraw.Draw(canvas).text((x, 90), part, font=font, fill=255, anchor="ls", direction=way, features=KERNLESS)
        x += font.getlength(part, direction=way, features=KERNLESS)
    return canvas


def by_raqm(text: str, base: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    canvas = Image.new("L", (3000, 120))
    way = "rtl" if base else "ltr"
    ImageDraw.Draw(canvas).text((20, 90), text, font=font, fill=255, anchor="ls", direction=way, features=KERNLESS)
    return canvas


def differs(one: Image.Image, other: Image.Image) -> float:
    """The share of ink that is elsewhere."""
    ink = sum(value * count for value, count in enumerate(other.histogram()))
    off = sum(value * count for value, count in enumerate(ImageChops.difference(one, other).histogram()))
    return off / max(ink, 1)


@pytest.mark.parametrize("base", [0, 1])
def test_mixed_lines_are_set_as_by_fribidi(base: int, whole: ImageFont.FreeTypeFont) -> None:
    chance = random.Random(base)
    for _ in range(150):
        text = "".join(chance.choice(WORDS) + chance.choice(SIGNS) for _ in range(chance.randint(1, 7))).strip()
        assert differs(by_levels(text, base, whole), by_raqm(text, base, whole)) < 0.02, repr(text)


def test_another_order_would_be_seen(whole: ImageFont.FreeTypeFont) -> None:
    assert differs(by_raqm("abc (אבג) 24", 0, whole), by_raqm("abc (אבג) 24", 1, whole)) > 0.2


@pytest.mark.parametrize(
    ("text", "base", "expected"),
    [
        ("abc", 0, "000"),
        ("abc", 1, "222"),
        ("אב 12", 1, "11122"),
        ("אב 12", 0, "11122"),
        ("a אב.", 0, "00110"),
        ("אב.", 1, "111"),
        ("س 5%", 1, "1121"),  # after Arabic, a percent sign is none of the number's
        ("א 5%", 1, "1122"),
        ("א (b) ג", 1, "1112111"),
        ("א ", 0, "10"),
        ("", 1, ""),
    ],
)
def test_levels(text: str, base: int, expected: str) -> None:
    assert "".join(map(str, levels(text, base))) == expected


def test_pieces_are_turned_from_the_highest_level_down() -> None:
    assert in_order([0, 1, 2, 1, 0]) == [0, 3, 2, 1, 4]
    assert in_order([1, 2, 1]) == [2, 1, 0]
    assert in_order([]) == []


@pytest.mark.parametrize("text", ["Größe → ½ “Ω” Ж, x²…", "古い金庫の扉、", "한국어", "ქართული", "e\u0301", "😀", ""])
def test_most_scripts_are_set_letter_by_letter(text: str) -> None:
    assert not needs_shaping(text)


@pytest.mark.parametrize("text", ["a שלום", "سلام", "کے", "हिन्दी", "ไทย", "ខ្មែរ", "မြန်မာ", "\ufefb"])
def test_scripts_that_join_or_turn_are_known(text: str) -> None:
    assert needs_shaping(text)


def test_the_direction_of_a_text_is_that_of_most_of_its_letters() -> None:
    assert is_right_to_left("Bitcoin הוא שם טוב")
    assert not is_right_to_left("The word שלום means peace")
    assert not is_right_to_left("24 %")
