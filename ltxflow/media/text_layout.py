"""Lay out and draw text on pictures: fonts, widths, line breaks.

Noto Sans is installed with ltxflow, so that a slate looks the same everywhere; it has Latin, Greek, Cyrillic and
Devanagari. Other characters (Chinese, Japanese, Korean, Arabic, Hebrew …) come from a font of the system, or are drawn
as boxes. Letters are set one by one, except in scripts that join, stack or reverse them (Arabic, Hebrew, Devanagari,
Thai): there a line is cut into pieces of one font and one direction, and Pillow's Raqm sets each. Without Raqm, which
needs the system's FriBidi, they are set one by one as well, readable at best; `lacking` reports that.

In text without blanks between words (Chinese, Japanese, Thai), BudouX finds the words, with small models in pure
Python: 126 kB, and 10 ms to load on demand. Khmer, Lao and Burmese, which it does not support, break only where a word
is wider than a line.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from typing import Any

import fontpkg_noto_sans
from PIL import Image, ImageDraw, ImageFont, features

from ltxflow.core.errors import Problem, problem
from ltxflow.media.bidi import in_order, is_right_to_left, levels, needs_shaping

OURS = fontpkg_noto_sans.ROOT / "files" / "NotoSans[wdth,wght].ttf"
OURS_ITALIC = fontpkg_noto_sans.ROOT / "files" / "NotoSans-Italic[wdth,wght].ttf"
# Found by name in the system's font folders, used only for characters that ours lacks.
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
# The same for letters that need shaping, after Noto's font for their script and before those above.
SHAPED = ("NotoSans{script}-Regular.ttf", "NotoSans{script}[wdth,wght].ttf", "NotoSans{script}[wght].ttf")
SHAPED_OTHERS = (
    "segoeui.ttf",
    "Nirmala.ttc",
    "Nirmala.ttf",
    "LeelawUI.ttf",
    "GeezaPro.ttc",
    "ArialHB.ttc",
    "Kohinoor.ttc",
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
JOINERS = frozenset("\u061c\u200c\u200d\u200e\u200f")  # invisible: they decide on joining and direction

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """The style of text: size in px, weight from 100 to 900, `spacing` between letters in em.

    Only our own font has italics: letters of others stay upright.
    """

    size: int
    weight: int = 400
    spacing: float = 0.0
    is_italic: bool = False


def plain(text: str) -> str:
    """Return a text composed, on one line, without invisible characters."""
    composed = " ".join(unicodedata.normalize("NFC", text).split())
    kept = JOINERS if needs_shaping(text) else frozenset()
    return "".join(
        c for c in composed if c in kept or (unicodedata.category(c) not in ("Cc", "Cf", "Cs") and c not in VARIANTS)
    )


def can_shape() -> bool:
    """Return whether letters can be joined and reversed: Pillow has Raqm, which needs the system's FriBidi."""
    return features.check("raqm") is True


def width_of(text: str, style: Style) -> float:
    """Return the width of a line, in px."""
    if needs_shaping(text) and can_shape():
        return sum(piece.reach(style) for piece in _pieces(text, is_right_to_left(text)))
    return style.size * sum(_advance(char, style.weight, style.is_italic) + style.spacing for char in text)


def draw_text(
    draw: ImageDraw.ImageDraw,
    x: float,
    baseline: float,
    text: str,
    style: Style,
    fill: Colour,
    from_right: bool | None = None,
) -> float:
    """Draw a line that starts at `x` on the left, and return its right end.

    `from_right` is the direction of the whole text, if the line is a part of it. Drawn large and reduced, since Pillow
    sets letters on whole px, which is visible at small sizes.
    """
    if needs_shaping(text) and can_shape():
        pieces = _pieces(text, is_right_to_left(text) if from_right is None else from_right)
        more = style.size  # marks are higher than our letters, tails are lower, and both extend beyond the ends
    else:
        pieces = [_Piece(text)]
        more = 0
    size = style.size * FINE
    left, top = math.floor(x) - more, math.floor(baseline) - style.size - more
    pen_x, pen_y = (x - left) * FINE, (baseline - top) * FINE
    wide = math.ceil(width_of(text, style)) + style.size + 2 * more
    mask = Image.new("L", (wide * FINE, style.size * FINE * 3 // 2 + 2 * more * FINE))
    pen = ImageDraw.Draw(mask)
    for piece in pieces:
        if piece.is_shaped:
            font = _shaper(piece.font, size, style.weight)
            where, way = (round(pen_x), round(pen_y)), piece.direction
            pen.text(where, piece.text, font=font, fill=255, anchor="ls", direction=way)
            pen_x += FINE * piece.reach(style)
        else:
            pen_x = _draw_letters(pen, pen_x, pen_y, piece.text, style)
    draw.bitmap((left, top), mask.reduce(FINE), fill=fill)
    return x + width_of(text, style)


def undrawable(text: str) -> str:
    """Return the characters of a text that no installed font has, each once: they would be drawn as boxes."""
    return "".join(
        char
        for char in dict.fromkeys(plain(text))
        if not char.isspace() and char not in ARROWS and char not in JOINERS and not _is_drawable(char)
    )


def shapes(text: str) -> bool:
    """Return whether a text has letters that need shaping, and this machine draws them correctly."""
    return needs_shaping(text) and can_shape() and not undrawable("".join(filter(needs_shaping, text)))


def lacking(text: str) -> Problem | None:
    """Return what this machine lacks to draw a text, or None. The hint names packages of Debian."""
    if needs_shaping(text) and not can_shape():
        return problem("M027.shaping")
    if missing := undrawable(text):
        package = "fonts-noto-core" if needs_shaping(missing) else "fonts-noto-cjk"
        return problem("M027.font", letters=missing[:12], package=package)
    return None


def clipped(text: str, width: float, style: Style) -> str:
    """Return as much of a line as fits in `width` px, ending in … when that is not all."""
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


def wrapped(text: str, width: float, style: Style, most: int = 0) -> list[str]:
    """Return the lines of a text, each of at most `width` px, and at most `most` lines.

    Breaks at spaces, between words without spaces, and inside words that are wider than a line. A text may be far
    longer than its box.
    """
    lines: list[str] = []
    line = ""
    for word in _words(text):
        if 0 < most <= len(lines):
            return lines[:most]
        joined = line + word
        if width_of(joined.rstrip(), style) <= width:
            line = joined
            continue
        if line.strip():
            lines.append(line.rstrip())
        line = word.lstrip()
        while len(line) > 1 and not 0 < most <= len(lines):
            start = _longer_than(line, width, style)
            if width_of(start.rstrip(), style) <= width:
                break
            fits = _divisible(line, max(1, len(clipped(start, width, style)) - 1))
            lines.append(line[:fits])
            line = line[fits:]
    return [*lines, line.rstrip()] if line.strip() else lines


def _longer_than(line: str, width: float, style: Style) -> str:
    """Return a start of a line that is wider than `width` px, or all of it, to avoid measuring long lines."""
    count = 16
    while count < len(line) and width_of(line[:count].rstrip(), style) <= width:
        count *= 2
    return line[:count]


def fitted(text: str, width: float, height: float, sizes: range, leading: float) -> tuple[Style, list[str]]:
    """Return the first style, by sizes from large to small, in which a text fits a box, and its lines.

    At the smallest size the text is cut off with … if it does not fit.
    """
    for size in sizes:
        style = Style(size)
        room = int((height - size) // (size * leading)) + 1 if height >= size else 0
        lines = wrapped(text, width, style, room + 1)
        if len(lines) <= room or size == sizes[-1]:
            break
    if len(lines) > room > 0:
        rest = "".join(lines[room - 1 : room]) + " " + "".join(lines[room : room + 1])
        last = clipped(rest, width, style)
        lines[room - 1] = last if last.endswith(ELLIPSIS) else clipped(last + "mmm", width, style)
    return style, lines[:room]


def _words(text: str) -> Iterator[str]:
    """Yield pieces between which a line may break; each keeps the space before it."""
    breaks = word_breaks(text)
    word = ""
    for at, char in enumerate(text):
        if word and (char == " " or at in breaks):
            yield word
            word = ""
        word += char
    if word:
        yield word


def _divisible(line: str, at: int) -> int:
    """Return where an overlong word may be cut, at `at` or before, but not before a mark that begins no line."""
    cut = at
    while cut > 0 and (needs_shaping(line[cut - 1 : cut + 1]) or has_unspaced(line[cut - 1 : cut + 1])):
        if cut < len(line) and may_break(line, cut):
            break
        cut -= 1
    return cut or at


@dataclass(frozen=True)
class _Piece:
    """Characters of a line of one font and one direction, which are set at once, or letter by letter if unshaped."""

    text: str
    font: str = ""
    is_shaped: bool = False
    level: int = 0

    @property
    def direction(self) -> str:
        return "rtl" if self.level % 2 else "ltr"

    def reach(self, style: Style) -> float:
        if self.is_shaped:
            return style.size * _reach(self.text, self.font, style.weight, self.direction)
        return style.size * sum(_advance(char, style.weight, style.is_italic) + style.spacing for char in self.text)


def _pieces(text: str, from_right: bool) -> list[_Piece]:
    """Return the pieces of a line in display order, from the left."""
    pieces = []
    named = zip(text, _fonts(text), levels(text, int(from_right)), strict=True)
    kinds = (
        (char, font, (is_shaped or level % 2 == 1) and char not in ARROWS, level)
        for char, (font, is_shaped), level in named
    )
    for (font, is_shaped, level), group in groupby(kinds, lambda kind: kind[1:]):
        part = "".join(char for char, *_ in group)
        pieces.append(_Piece(part if is_shaped or level % 2 == 0 else part[::-1], font, is_shaped, level))
    return [pieces[number] for number in in_order([piece.level for piece in pieces])]


def _fonts(text: str) -> list[tuple[str, bool]]:
    """Return for each character its font and whether it is shaped; signs after a shaped letter are set with it."""
    found: list[tuple[str, bool]] = []
    for char in text:
        font, is_shaped = found[-1] if found else ("", False)
        if needs_shaping(char):
            found.append((shaped_source(char), True))
        elif is_shaped and (char in JOINERS or (_is_sign(char) and _has(font, char))):
            found.append((font, True))
        else:
            found.append((_source(char), False))
    return found


def _is_sign(char: str) -> bool:
    return not char.isalnum() and char not in ARROWS


@lru_cache(maxsize=16384)
def _advance(char: str, weight: int, is_italic: bool = False) -> float:
    """Return the width of a character, in em."""
    return 0.95 if char in ARROWS else _font(_source(char), 500, weight, is_italic).getlength(char) / 500


@lru_cache(maxsize=4096)
def _source(char: str) -> str:
    """Return the file of a font that has `char`: ours if it does, or if none does."""
    for name in ("", *OTHERS):
        if (name == "" or _exists(name)) and (char.isspace() or _has(name, char)):
            return name
    return ""


@lru_cache(maxsize=4096)
def shaped_source(char: str) -> str:
    """Return the same for a letter that needs shaping. Its Unicode name begins with its script, as Noto's do."""
    script = unicodedata.name(char, "").partition(" ")[0].partition("-")[0].title()
    names = ("", *(name.format(script=script) for name in SHAPED), *SHAPED_OTHERS, *OTHERS)
    return next((name for name in names if (name == "" or _exists(name)) and _has(name, char)), "")


def _is_drawable(char: str) -> bool:
    font = shaped_source(char) if needs_shaping(char) and can_shape() else _source(char)
    return font != "" or _has("", char)


@lru_cache
def _exists(name: str) -> bool:
    try:
        ImageFont.truetype(name, 16)
    except OSError:
        return False
    return True


@lru_cache(maxsize=4096)
def _has(name: str, char: str) -> bool:
    """Return whether a font has a character: Pillow hides the map, but a missing one looks like U+10FFFF."""
    font = _font(name, 24, 400)
    return bytes(font.getmask(char)) != bytes(font.getmask("\U0010ffff"))


@lru_cache(maxsize=4096)
def _reach(text: str, name: str, weight: int, direction: str) -> float:
    """Return the width of shaped letters, in em."""
    return _shaper(name, 500, weight).getlength(text, direction=direction) / 500


@lru_cache(maxsize=64)
def _shaper(name: str, size: int, weight: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(name or str(OURS), size, layout_engine=ImageFont.Layout.RAQM)
    if not name:
        font.set_variation_by_axes([weight, 100])
    return font


@lru_cache(maxsize=256)
def _font(name: str, size: int, weight: int, is_italic: bool = False) -> Font:
    ours = OURS_ITALIC if is_italic else OURS
    try:
        font = ImageFont.truetype(name or str(ours), size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return ImageFont.load_default(size)
    if not name:
        font.set_variation_by_axes([weight, 100])
    return font


def _draw_letters(pen: ImageDraw.ImageDraw, x: float, y: float, text: str, style: Style) -> float:
    """Draw letters one by one, on a mask that is FINE times as large. Return their right end."""
    size = style.size * FINE
    for char in text:
        font = _font(_source(char), size, style.weight, style.is_italic)
        if char in ARROWS:
            _draw_arrow(pen, x, y, char, size, style.weight)
        elif isinstance(font, ImageFont.FreeTypeFont):
            pen.text((round(x), round(y)), char, font=font, fill=255, anchor="ls")
        else:
            pen.text((round(x), round(y - size)), char, font=font, fill=255)
        x += size * (_advance(char, style.weight, style.is_italic) + style.spacing)
    return x


def _draw_arrow(pen: ImageDraw.ImageDraw, x: float, y: float, arrow: str, size: int, weight: int) -> None:
    """Draw an arrow at the height of small letters."""
    across, down = ARROWS[arrow]
    x, y = x + size * 0.475, y - size * 0.29
    reach, head, thick = size * 0.36, size * 0.2, max(1, round(size * (0.035 + weight / 9000)))
    tip = (x + across * reach, y + down * reach)
    pen.line([(x - across * reach, y - down * reach), tip], fill=255, width=thick)
    for side in (-1, 1):
        barb = (tip[0] - across * head + down * side * head, tip[1] - down * head + across * side * head)
        pen.line([barb, tip], fill=255, width=thick)


BREAKS = "1"  # part of the keys of pictures that show such text: raise it when lines break elsewhere

_SIGN = re.compile(
    "[\u3005-\u3007\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_KANA = re.compile("[\u3041-\u30fa\u31f0-\u31ff\uff66-\uff9f]")
_THAI = re.compile("[\u0e01-\u0e5b]+")
# Kinsoku (JIS X 4051, W3C "Requirements for Japanese Text Layout"): signs that begin no line, or end none.
_NEVER_FIRST = frozenset(
    "、。，．：；？！・…‥ー゛゜ヽヾゝゞ々〻）」』】〉》〕］｝〟’”»›)]}!?,.:;%％‰℃°"
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿะาำๆฯ"
)
_NEVER_LAST = frozenset("（「『【〈《〔［｛〝‘“«‹([{¥￥$＄£￡€#＃№เแโใไ")
_TRADITIONAL = frozenset("這個們來為說國時會對過還沒點開實學問與從電長門東車書見現話經發後愛種讓給應麼樣兩無關係總統")
_SIMPLIFIED = frozenset("这个们来为说国时会对过还没点开实学问与从电长门东车书见现话经发后爱种让给应么样两无关系总统")


def has_unspaced(text: str) -> bool:
    """Return whether a text has words without blanks, between which lines can be broken."""
    return not text.isascii() and bool(_SIGN.search(text) or _THAI.search(text))


@lru_cache(1024)
def word_breaks(text: str) -> frozenset[int]:
    """Return the positions inside runs without blanks before which a line may break.

    None is inside a word, before a mark that begins no line, or after one that ends none.
    """
    if not has_unspaced(text):
        return frozenset()
    found: set[int] = set()
    language = _language(text)
    for run in re.finditer(r"\S+", text):
        ends = {match.start() for match in _THAI.finditer(run[0])} | {match.end() for match in _THAI.finditer(run[0])}
        for match in _THAI.finditer(run[0]):
            ends |= _ends(_parser("thai"), match[0], match.start())
        if _SIGN.search(run[0]):
            made = _ends(_parser(language), run[0], 0)
            ends |= {at for at in made if _SIGN.search(run[0][at - 1 : at + 1])}  # else inside a Latin word
        found |= {run.start() + at for at in ends if 0 < at < len(run[0]) and may_break(run[0], at)}
    return frozenset(found)


def may_break(text: str, at: int) -> bool:
    """Return whether a line may begin at a position in a run: kinsoku, and marks stay with their letters."""
    left, right = text[at - 1], text[at]
    if right in _NEVER_FIRST or left in _NEVER_LAST or right in "\u200c\u200d" or left == "\u200d":
        return False
    return unicodedata.category(right)[0] != "M"


def _ends(parser: Any, run: str, start: int) -> set[int]:
    ends, at = set(), start
    for word in parser.parse(run):
        at += len(word)
        ends.add(at)
    return ends


def _language(text: str) -> str:
    if _KANA.search(text):
        return "japanese"
    traditional = sum(char in _TRADITIONAL - _SIMPLIFIED for char in text)
    simplified = sum(char in _SIMPLIFIED - _TRADITIONAL for char in text)
    return "traditional_chinese" if traditional > simplified else "simplified_chinese"


@cache
def _parser(language: str) -> Any:
    import budoux  # on demand: most films have no such text

    return getattr(budoux, f"load_default_{language}_parser")()
