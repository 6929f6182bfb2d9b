"""Where a line may break in a text without blanks between words: Chinese, Japanese, Thai. Knows no width and no font.

Words are found by BudouX, small models in pure Python: 126 kB, and 10 ms to load when such a text comes. Khmer, Lao and
Burmese, which it does not know, break only where a word is wider than a line.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from typing import Any

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
