"""Text on pictures: which font, how wide, where lines break. Knows nothing of what the text says.

Noto Sans comes with us, so that a slate looks the same everywhere; it has Latin, Greek and Cyrillic. What it
lacks (Chinese, Japanese, Korean …) is taken from a font of the system where there is one, else it is boxes.
Letters are set one by one: scripts that join or reorder them (Arabic, Devanagari) come out readable at best.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import fontpkg_noto_sans
from PIL import Image, ImageDraw, ImageFont

OURS = fontpkg_noto_sans.ROOT / "files" / "NotoSans[wdth,wght].ttf"
# Found by name in the system's font folders, asked only for characters that ours lacks.
OTHERS = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "SourceHanSans-Regular.ttc",
    "PingFang.ttc",
    "Hiragino Sans GB.ttc",
    "AppleSDGothicNeo.ttc",
    "msyh.ttc",
    "YuGothM.ttc",
    "malgun.ttf",
    "wqy-microhei.ttc",
    "DroidSansFallbackFull.ttf",
    "Arial Unicode.ttf",
    "DejaVuSans.ttf",
)
ARROWS = {
    "→": (1, 0),
    "←": (-1, 0),
    "↑": (0, -1),
    "↓": (0, 1),
    "⟶": (1, 0),
    "⟵": (-1, 0),
}  # Noto Sans has none
ELLIPSIS = "…"
FINE = 4
VARIANTS = frozenset(map(chr, range(0xFE00, 0xFE10)))
CLOSING = frozenset("、。，．！？：；）」』】")  # never the first of a line

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """How text is set: size in px, weight from 100 to 900, `spacing` between letters in em."""

    size: int
    weight: int = 400
    spacing: float = 0.0


def plain(text: str) -> str:
    """Given any text, return it composed, on one line, without characters that draw nothing of their own."""
    composed = " ".join(unicodedata.normalize("NFC", text).split())
    return "".join(c for c in composed if unicodedata.category(c) not in ("Cc", "Cf", "Cs") and c not in VARIANTS)


def width_of(text: str, style: Style) -> float:
    """Given a line, return how far it reaches, in px."""
    return style.size * sum(_advance(char, style.weight) + style.spacing for char in text)


def draw_text(draw: ImageDraw.ImageDraw, x: float, baseline: float, text: str, style: Style, fill: Colour) -> float:
    """Given where a line starts, draw it and return where it ends.

    Drawn large and reduced: Pillow sets letters on whole px, which shows at small sizes.
    """
    size = style.size * FINE
    left, top = math.floor(x), math.floor(baseline) - style.size
    pen_x, pen_y = (x - left) * FINE, (baseline - top) * FINE
    wide = math.ceil(width_of(text, style)) + style.size
    mask = Image.new("L", (wide * FINE, style.size * FINE * 3 // 2))
    pen = ImageDraw.Draw(mask)
    for char in text:
        font = _font(_source(char), size, style.weight)
        if char in ARROWS:
            _draw_arrow(pen, pen_x, pen_y, char, size, style.weight)
        elif isinstance(font, ImageFont.FreeTypeFont):
            pen.text((round(pen_x), round(pen_y)), char, font=font, fill=255, anchor="ls")
        else:
            pen.text((round(pen_x), round(pen_y - size)), char, font=font, fill=255)
        pen_x += size * (_advance(char, style.weight) + style.spacing)
    draw.bitmap((left, top), mask.reduce(FINE), fill=fill)
    return x + width_of(text, style)


def undrawable(text: str) -> str:
    """Given a text, return the characters of it that no font here has, each once: they would come out as boxes."""
    return "".join(
        char
        for char in dict.fromkeys(plain(text))
        if not char.isspace() and char not in ARROWS and _source(char) == "" and not _has("", char)
    )


def clipped(text: str, width: float, style: Style) -> str:
    """Given a line, return as much of it as fits in `width` px, ending in … when that is not all."""
    if width_of(text, style) <= width:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if width_of(text[:middle].rstrip() + ELLIPSIS, style) <= width:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip(" ,.;:–—-") + ELLIPSIS


def wrapped(text: str, width: float, style: Style) -> list[str]:
    """Given a text, return its lines, broken at spaces, between ideographs, and inside overlong words."""
    lines: list[str] = []
    line = ""
    for word in _words(text):
        joined = line + word
        if width_of(joined.rstrip(), style) <= width:
            line = joined
            continue
        if line.strip():
            lines.append(line.rstrip())
        line = word.lstrip()
        while width_of(line.rstrip(), style) > width and len(line) > 1:
            fits = max(1, len(clipped(line, width, style)) - 1)
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line.rstrip()] if line.strip() else lines


def fitted(text: str, width: float, height: float, sizes: range, leading: float) -> tuple[Style, list[str]]:
    """Given a box and sizes from large to small, return the first style in which a text fits, and its lines.

    At the smallest size what does not fit is cut off with ….
    """
    for size in sizes:
        style = Style(size)
        lines = wrapped(text, width, style)
        room = int((height - size) // (size * leading)) + 1 if height >= size else 0
        if len(lines) <= room or size == sizes[-1]:
            break
    if len(lines) > room > 0:
        rest = "".join(lines[room - 1 : room]) + " " + "".join(lines[room : room + 1])
        last = clipped(rest, width, style)
        lines[room - 1] = last if last.endswith(ELLIPSIS) else clipped(last + "mmm", width, style)
    return style, lines[:room]


def _words(text: str) -> Iterator[str]:
    """Pieces between which a line may break; each keeps the space before it."""
    word = ""
    for char in text:
        after_wide = bool(word) and _is_wide(word[-1])
        if word and (char == " " or ((_is_wide(char) or after_wide) and char not in CLOSING)):
            yield word
            word = ""
        word += char
    if word:
        yield word


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in ("W", "F")


@lru_cache(maxsize=16384)
def _advance(char: str, weight: int) -> float:
    """How far a character reaches, in em."""
    return 0.95 if char in ARROWS else _font(_source(char), 500, weight).getlength(char) / 500


@lru_cache(maxsize=4096)
def _source(char: str) -> str:
    """The file whose font has `char`: ours where it does, and where nothing does."""
    for name in ("", *OTHERS):
        if (name == "" or _exists(name)) and (char.isspace() or _has(name, char)):
            return name
    return ""


@lru_cache
def _exists(name: str) -> bool:
    try:
        ImageFont.truetype(name, 16)
    except OSError:
        return False
    return True


def _has(name: str, char: str) -> bool:
    """Pillow does not show a font's character map; a character it lacks looks like one that nobody has."""
    font = _font(name, 24, 400)
    return bytes(font.getmask(char)) != bytes(font.getmask("\U0010ffff"))


@lru_cache(maxsize=256)
def _font(name: str, size: int, weight: int) -> Font:
    try:
        font = ImageFont.truetype(name or str(OURS), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return ImageFont.load_default(size)
    if not name:
        font.set_variation_by_axes([weight, 100])
    return font


def _draw_arrow(pen: ImageDraw.ImageDraw, x: float, y: float, arrow: str, size: int, weight: int) -> None:
    """An arrow at the height of small letters."""
    across, down = ARROWS[arrow]
    x, y = x + size * 0.475, y - size * 0.29
    reach, head, thick = size * 0.36, size * 0.2, max(1, round(size * (0.035 + weight / 9000)))
    tip = (x + across * reach, y + down * reach)
    pen.line([(x - across * reach, y - down * reach), tip], fill=255, width=thick)
    for side in (-1, 1):
        barb = (tip[0] - across * head + down * side * head, tip[1] - down * head + across * side * head)
        pen.line([barb, tip], fill=255, width=thick)
