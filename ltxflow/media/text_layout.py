"""Text on pictures: which font, how wide, where lines break. Knows nothing of what the text says.

Noto Sans comes with us, so that a slate looks the same everywhere; it has Latin, Greek, Cyrillic and Devanagari.
What it lacks (Chinese, Japanese, Korean, Arabic, Hebrew …) is taken from a font of the system where there is one, else
it is boxes. Letters are set one by one, except in scripts that join, stack or turn them (Arabic, Hebrew, Devanagari,
Thai): there a line is cut into pieces of one font and one direction, and Pillow's Raqm sets each. Without Raqm, which
needs the system's FriBidi, they are set one by one as well, readable at best: `lacking` tells.

Where a line may break in a text without blanks between words: Chinese, Japanese, Thai. Knows no width and no font.

Words are found by BudouX, small models in pure Python: 126 kB, and 10 ms to load when such a text comes. Khmer, Lao and
Burmese, which it does not know, break only where a word is wider than a line.
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

from ltxflow.media.bidi import in_order, is_right_to_left, levels, needs_shaping

OURS = fontpkg_noto_sans.ROOT / "files" / "NotoSans[wdth,wght].ttf"
OURS_ITALIC = fontpkg_noto_sans.ROOT / "files" / "NotoSans-Italic[wdth,wght].ttf"
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
# The same for letters that need shaping, after Noto's font of their script and before those above.
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
JOINERS = frozenset("\u061c\u200c\u200d\u200e\u200f")  # drawn as nothing: whether letters join, which way they run

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Style:
    """How text is set: size in px, weight from 100 to 900, `spacing` between letters in em.

    Only our own font has italics: letters of others stay upright.
    """

    size: int
    weight: int = 400
    spacing: float = 0.0
    is_italic: bool = False


def plain(text: str) -> str:
    """Given any text, return it composed, on one line, without characters that draw nothing of their own."""
    composed = " ".join(unicodedata.normalize("NFC", text).split())
    kept = JOINERS if needs_shaping(text) else frozenset()
    return "".join(
        c for c in composed if c in kept or (unicodedata.category(c) not in ("Cc", "Cf", "Cs") and c not in VARIANTS)
    )


def can_shape() -> bool:
    """Whether letters can be joined and turned here: Pillow brings Raqm, which finds FriBidi in the system or not."""
    return features.check("raqm") is True


def width_of(text: str, style: Style) -> float:
    """Given a line, return how far it reaches, in px."""
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
    """Given where a line starts on the left, draw it and return where it ends.

    `from_right` is which way it runs, where it is part of a text that tells better than the line.
    Drawn large and reduced: Pillow sets letters on whole px, which shows at small sizes.
    """
    if needs_shaping(text) and can_shape():
        pieces = _pieces(text, is_right_to_left(text) if from_right is None else from_right)
        more = style.size  # marks stand higher than our letters, tails hang lower, and both reach beyond the ends
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
    """Given a text, return the characters of it that no font here has, each once: they would come out as boxes."""
    return "".join(
        char
        for char in dict.fromkeys(plain(text))
        if not char.isspace() and char not in ARROWS and char not in JOINERS and not _is_drawable(char)
    )


def shapes(text: str) -> bool:
    """Given a text, tell whether it has letters that need shaping, and they come out right here."""
    return needs_shaping(text) and can_shape() and not undrawable("".join(filter(needs_shaping, text)))


@dataclass(frozen=True)
class MissingGlyphs:
    """Why a text cannot be drawn here as it should be, and what would help."""

    message: str
    remedy: str


def lacking(text: str) -> MissingGlyphs | None:
    """Given a text, return what this machine lacks to draw it, or None. Packages are named as Debian does."""
    if needs_shaping(text) and not can_shape():
        return MissingGlyphs(
            "letters that join or run from right to left cannot be set here", "apt install libfribidi0"
        )
    if missing := undrawable(text):
        package = "fonts-noto-core" if needs_shaping(missing) else "fonts-noto-cjk"
        return MissingGlyphs(f'no font here has "{missing[:12]}"', f"apt install {package}")
    return None


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


def wrapped(text: str, width: float, style: Style, most: int = 0) -> list[str]:
    """Return the lines of a text, each of at most `width` px: broken at spaces, between words that have none between
    them, and inside words that are wider than a line.

    With `most`, so many of them at the most: a text may be far longer than its box.
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
    """Return a start of a line that is wider than `width` px, or all of it: no more of a long one is measured."""
    count = 16
    while count < len(line) and width_of(line[:count].rstrip(), style) <= width:
        count *= 2
    return line[:count]


def fitted(text: str, width: float, height: float, sizes: range, leading: float) -> tuple[Style, list[str]]:
    """Given a box and sizes from large to small, return the first style in which a text fits, and its lines.

    At the smallest size what does not fit is cut off with ….
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
    """Pieces between which a line may break; each keeps the space before it."""
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
    """Where an overlong word may be cut, at `at` or before: not before a mark or a sign that begins no line."""
    cut = at
    while cut > 0 and (needs_shaping(line[cut - 1 : cut + 1]) or has_unspaced(line[cut - 1 : cut + 1])):
        if cut < len(line) and may_break(line, cut):
            break
        cut -= 1
    return cut or at


@dataclass(frozen=True)
class _Piece:
    """Characters of a line that are set at once: of one font and one direction. Unshaped ones are set by letters."""

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
    """A line in pieces as they stand, from the left."""
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
    """For each character its font and whether that is one for shaping: signs after such a letter are set with it."""
    found: list[tuple[str, bool]] = []
    for char in text:
        font, is_shaped = found[-1] if found else ("", False)
        if needs_shaping(char):
            found.append((_shaped_source(char), True))
        elif is_shaped and (char in JOINERS or (_is_sign(char) and _has(font, char))):
            found.append((font, True))
        else:
            found.append((_source(char), False))
    return found


def _is_sign(char: str) -> bool:
    return not char.isalnum() and char not in ARROWS


@lru_cache(maxsize=16384)
def _advance(char: str, weight: int, is_italic: bool = False) -> float:
    """How far a character reaches, in em."""
    return 0.95 if char in ARROWS else _font(_source(char), 500, weight, is_italic).getlength(char) / 500


@lru_cache(maxsize=4096)
def _source(char: str) -> str:
    """The file whose font has `char`: ours where it does, and where nothing does."""
    for name in ("", *OTHERS):
        if (name == "" or _exists(name)) and (char.isspace() or _has(name, char)):
            return name
    return ""


@lru_cache(maxsize=4096)
def _shaped_source(char: str) -> str:
    """The same for a letter that needs shaping. Its name begins with its script, as Noto's fonts are named by."""
    script = unicodedata.name(char, "").partition(" ")[0].partition("-")[0].title()
    names = ("", *(name.format(script=script) for name in SHAPED), *SHAPED_OTHERS, *OTHERS)
    return next((name for name in names if (name == "" or _exists(name)) and _has(name, char)), "")


def _is_drawable(char: str) -> bool:
    font = _shaped_source(char) if needs_shaping(char) and can_shape() else _source(char)
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
    """Pillow does not show a font's character map; a character it lacks looks like one that nobody has."""
    font = _font(name, 24, 400)
    return bytes(font.getmask(char)) != bytes(font.getmask("\U0010ffff"))


@lru_cache(maxsize=4096)
def _reach(text: str, name: str, weight: int, direction: str) -> float:
    """How far shaped letters reach, in em."""
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
    """Letters one by one, on a mask that is FINE times as large. Return where they end."""
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
    """An arrow at the height of small letters."""
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
# Kinsoku (JIS X 4051, W3C "Requirements for Japanese Text Layout"): what begins no line, and what ends none.
_NEVER_FIRST = frozenset(
    "、。，．：；？！・…‥ー゛゜ヽヾゝゞ々〻）」』】〉》〕］｝〟’”»›)]}!?,.:;%％‰℃°"
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶㇰㇱㇲㇳㇴㇵㇶㇷㇸㇹㇺㇻㇼㇽㇾㇿะาำๆฯ"
)
_NEVER_LAST = frozenset("（「『【〈《〔［｛〝‘“«‹([{¥￥$＄£￡€#＃№เแโใไ")
_TRADITIONAL = frozenset("這個們來為說國時會對過還沒點開實學問與從電長門東車書見現話經發後愛種讓給應麼樣兩無關係總統")
_SIMPLIFIED = frozenset("这个们来为说国时会对过还没点开实学问与从电长门东车书见现话经发后爱种让给应么样两无关系总统")


def has_unspaced(text: str) -> bool:
    """Return whether a text has words without blanks between them that lines can be broken between."""
    return not text.isascii() and bool(_SIGN.search(text) or _THAI.search(text))


@lru_cache(1024)
def word_breaks(text: str) -> frozenset[int]:
    """Return the places inside runs without blanks before which a line may break.

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
    """Return whether a line may begin at a place in a run: kinsoku, and marks stay with their letters."""
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
    import budoux  # by need: most films have no such text

    return getattr(budoux, f"load_default_{language}_parser")()
