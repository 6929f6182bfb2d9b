"""Where sentences end, in any language. Knows words and marks; no scene and no engine.

Sentences are spoken one by one, so a cut in the wrong place is audible, and one that is missing is not: in doubt a dot
ends nothing. A text does not say its language; its small words do, where it matters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from ltxflow.script.short_forms import WITH_ORDINALS, languages, lists

_WIDE = "。｡．！？।॥។៕။።፧።։"  # no blank need follow: Chinese, Japanese, Indic, Khmer, Burmese, Ethiopic, Armenian
_MARKS = frozenset(f".!?…‼⁇⁈⁉‽؟۔᙮᠃᱿{_WIDE}")
_CLOSERS = "\"'”’»›)]}｝」』）】》〉〕］"
_BRACKETS = {"）": "（", ")": "(", "】": "【", "〕": "〔", "］": "［", "]": "[", "}": "{", "｝": "｛"}
_TWO_SIDED = {"“": "„", "‘": "‚", "«": "»", "‹": "›"}  # they close in German, after the opener that is named
_OPENERS = "\"'“‘«‹([{¿¡„‚»›「『（【《〈〔［｛—–―-•· "
_NEVER_FIRST = re.compile(r"[,;:%](?:\s|$)|[)\]}”、，；：）」』】》〉]")
_BEHIND = 80  # characters before a mark that are looked at: no word is longer
_AHEAD = 60  # the same after it


class _Mark(NamedTuple):
    """A run of marks with the closers that belong to them: `?!”`, `…)。`, `。」`, in French `! »`."""

    start: int
    end: int
    marks: str
    closers: str
    is_closed: bool  # whether a closer is the last of it


class _Place(NamedTuple):
    """What decides whether a sentence ends: the text around a mark, and the languages that the text may be in."""

    before: str  # of the sentence
    mark: _Mark
    after: str
    following: str  # the next word
    is_whole: bool  # whether `before` is all of the sentence
    languages: frozenset[str]


def split(text: str) -> tuple[str, ...]:
    """Return the sentences of a text in order; they are the whole text, but for blanks between them.

    `text` has single blanks and no line breaks. Takes time in proportion to its length.
    """
    spoken = languages(text)
    found = []
    first = looked = 0
    has_words = False  # in the sentence that has begun
    for mark in _marks(text):
        has_words = has_words or any(map(str.isalnum, text[looked : mark.start]))
        looked = mark.end
        if has_words and _ends(_place(text, first, mark, spoken)):
            found.append(text[first : mark.end].strip())
            first = mark.end
            has_words = False
    return tuple(part for part in (*found, text[first:].strip()) if part)


def _place(text: str, first: int, mark: _Mark, languages: frozenset[str]) -> _Place:
    begin = max(first, mark.start - _BEHIND)
    after = text[mark.end : mark.end + _AHEAD]
    word = re.match(r"[^\s.,;:!?…。、！？)\"”»]+", after.lstrip(_OPENERS))
    return _Place(text[begin : mark.start].lstrip(), mark, after, word[0] if word else "", begin == first, languages)


def _marks(text: str) -> Iterator[_Mark]:
    end = 0
    for match in re.finditer(f"[{re.escape(''.join(sorted(_MARKS)))};]", text):
        start = match.start()
        if start < end or (match[0] == ";" and not _is_greek(text[start - 1 : start])):
            continue
        end, marks, closers = start + 1, match[0], ""
        while end < len(text):
            char = text[end]
            if char in _MARKS:
                marks += char
            elif char in _CLOSERS or (char in _TWO_SIDED and _is_open(text, start, _TWO_SIDED[char], char)):
                closers += char
            elif text[end : end + 2] == " »" and _is_open(text, start, "« ", "»"):  # as French has it
                closers += "»"
                end += 1
            elif re.match(r" \.(?![\w.]*\w)", text[end : end + 3]):  # ". . ."
                marks += "."
                end += 1
            else:
                break
            end += 1
        yield _Mark(start, end, marks, closers, end - start > 1 and text[end - 1] not in _MARKS)


def _is_open(text: str, at: int, opener: str, closer: str) -> bool:
    """Whether a quotation is open at a place."""
    before = text[max(0, at - 1000) : at]
    return before.rfind(opener) > before.rfind(closer)


def _is_greek(char: str) -> bool:
    return "\u0370" <= char <= "\u03ff" or "\u1f00" <= char <= "\u1fff"


def _ends(place: _Place) -> bool:
    mark, after = place.mark, place.after.lstrip()
    is_wide = any(char in _WIDE for char in mark.marks)
    if not after or _NEVER_FIRST.match(after) or (not is_wide and not place.after.startswith(" ")):
        return False
    if is_wide and place.before[-1:].isdigit() and after[0].isdigit():
        return False  # "３．５"
    if _is_open(place.before, len(place.before), "《", "》"):
        return False  # a title
    begins = after.lstrip(_OPENERS)[:1]
    if _has_cases(begins) and begins.islower() and not place.following[1:2].isupper():  # but for "iPhones"
        return False
    if mark.is_closed and not _has_cases(begins) and _goes_on(place, after):
        return False
    kind = unicodedata.normalize("NFKC", mark.marks)
    if kind == ".":
        return not _is_short(place)
    if set(kind) == {"."} and place.before.endswith(" "):  # a pause: "Well … I think"
        return _starts(place) and place.following != "I"
    return True


def _has_cases(char: str) -> bool:
    """Whether sentences of its script begin with a capital; Georgian has capitals, and they do not."""
    return char.lower() != char.upper() and not "\u10d0" <= char <= "\u10ff"


def _goes_on(place: _Place, after: str) -> bool:
    """Whether a quotation or an aside is followed by the rest of its sentence, in a script without capitals."""
    opener = _BRACKETS.get(place.mark.closers[-1])
    if _PARTICLES.match(after):
        return True
    if opener:
        outside, is_found, _ = place.before.rpartition(opener)
        return bool(is_found) and any(map(str.isalnum, outside)) and place.mark.marks[-1] not in ".．"
    return bool(_SPEAKS.match(after))


# What follows a quotation and belongs to its sentence: particles of Japanese, Korean and Chinese, and who says it.
_NO_PARTICLES = (  # words that begin sentences, and begin as a particle does
    "ところ|とて|とに|とう|とつ|とも|とり|とき|はい|はじ|はや|はる|はは|でも|では|でき|だから|だが|だって|だけど|だめ|だれ|もう|もし"
    "|もち|もっ|もと|のち|のん|にわ|にっ|にや|かれ|かの|かつ|かな|やが|やっ|やは|やあ|へえ|へん|からす|からだ|がっ|がん"
)
_PARTICLES = re.compile(
    f"(?!{_NO_PARTICLES})(?:[とはがをにもでのへかやだ]|って|です|など|から|まで|より|なんて|みたい|くらい|ぐらい|ばかり)"
    "|하고|이?라고|이?라는|이?라며|이?라면서|하며|[的地得之]"
)
_SPEAKS = re.compile(
    "[^。！？，,.!?…：:]{0,8}[说說道喊問问叫答嚷吼](?![：:])"
    "|[^。！？、,.!?…]{0,12}(?:[言云](?:った|う|って)|叫んだ|聞いた|尋ねた|答えた|つぶやいた|呟いた|囁いた|怒鳴った)"
    "|[^.!?…]{0,16}(?:말했|말하|물었|외쳤|외치|대답했|소리쳤|속삭였)"
    r"|[فو]?(?:قال|صاح|سأل|أجاب|همس|هتف|صرخ|رد)(?:ت|وا|ا)?(?!\w)"
    r"|(?:[^\s.!?।؟۔]+ ){0,3}(?:گفت|پرسید|فریاد|پاسخ|کہا|پوچھا|कहा|पूछा|बोला|बोली|चिल्लाया)(?!\w)"
    r"|(?:אמר|שאל|צעק|ענ|לחש)(?:ה|ו|תה)?(?!\w)"
)


# Short forms

_ELISION = re.compile(r"(?:[ldnsmtcj]|qu|un|dell|all|dall|nell|sull|quell|quest)['’](?=\w)", re.IGNORECASE)
_COUNTED = re.compile(r"[#(]?\d{1,2}(?:\.(?:0?[1-9]|1[0-2])|(?:st|nd|rd|th)?)|[IVXL]{2,}")  # "3", "24.12", "XIV"
_ENDINGS = frozenset(
    ("com", "org", "net", "edu", "gov", "info", "io", "ai", "py", "js", "ts", "md", "txt", "html", "pdf")
)
_VOWELS = frozenset("aeiouyøæœıαεηιουωаеёиоуыэюяіїє")


def _is_short(place: _Place) -> bool:
    """Whether a single dot belongs to the word before it, so that the sentence goes on."""
    words = place.before.split()
    token = words[-1] if words else ""
    token = _ELISION.sub("", token.lstrip(_OPENERS))
    word = unicodedata.normalize("NFKC", re.split(r"[-–/(\"]", token)[-1])
    is_first = place.is_whole and not place.before.lstrip(_OPENERS).removesuffix(word)
    if re.fullmatch(r"\d{1,3}|[A-Za-z]|[IVX]+|[ivx]+", word) and (is_first or place.mark.closers == ")"):
        return True  # "1. Open the box.", "a.) Close it."
    if _COUNTED.fullmatch(word):
        return _is_ordinal(place, words)
    if re.fullmatch(r"\d{4}", word):  # "1848. Március 15-én", "2020. 3. 5."
        return bool(re.match(r" \d{1,2}\.", place.after)) or place.following in lists().months
    dotted = _dotted(word, words)
    if dotted:
        starts = _starts_after_name(place) if dotted.isupper() and "." not in word else _starts(place)
        return dotted.casefold() in lists().never or not starts
    letters = [char for char in word if not unicodedata.combining(char) and unicodedata.category(char) != "Mc"]
    if len(letters) == 1 and letters[0].isalpha():
        return _is_initial(place, letters[0], words)
    if len(word) == 2 and word[0] == word[1] and word.isupper():
        return not _starts(place)  # the plural in Spanish: "EE. UU.", "FF. AA."
    return bool(word) and _is_listed(place, word)


def _dotted(word: str, words: list[str]) -> str:
    """A word as `U.S`, `z.B`, `Ph.D`, or the letters that stand like "z. B", else ""."""
    parts = word.split(".")
    if len(parts) > 1:
        is_short = all(0 < len(part) <= 3 and part[0].isalpha() for part in parts) and len(parts[0]) <= 2
        is_name = parts[-1] in _ENDINGS  # of a file or a place in the net
        return word if is_short and not is_name else ""
    chain = [word] if len(word) == 1 and word.isalpha() else []
    for before in reversed(words[:-1]):
        letter = before.lstrip(_OPENERS)
        if not chain or not (len(letter) == 2 and letter[0].isalpha() and letter[1] == "."):
            break
        chain.insert(0, letter[0])
    return ".".join(chain) if len(chain) > 1 else ""


def _is_ordinal(place: _Place, words: list[str]) -> bool:
    """Whether a number with a dot counts what follows: "am 3. Oktober", "Karel IV. byl", "5. 3. 2020"."""
    if re.match(r"\d+\b", place.following):
        return True
    named = words[-2].strip(_OPENERS + ".").casefold() if len(words) > 1 else ""
    begins = place.after.lstrip(_OPENERS)[:1]
    if named in lists().numbered or (len(words) > 1 and words[-2].isdigit()) or _starts(place):
        return False
    if not _has_cases(begins) and not "\u3040" <= begins <= "\ud7af":
        return False  # of the scripts without capitals, Chinese, Japanese and Korean date like this
    return bool(place.languages & WITH_ORDINALS) or not place.languages


def _is_initial(place: _Place, letter: str, words: list[str]) -> bool:
    if letter.islower() and _is_listed(place, letter):
        return True
    if letter.isupper():
        if letter == "I" and not (len(words) > 1 and words[-2][:1].isupper()):
            return False  # "It was I. He knew."
        return not _starts_after_name(place)
    if not letter.islower():
        return not "\u3040" <= letter <= "\ud7af"  # Arabic, Hebrew, Thai …, but no Chinese, Japanese, Korean
    if _starts(place):
        return False
    is_vowel = unicodedata.normalize("NFD", letter)[0] in _VOWELS  # a word in many languages
    return not is_vowel or bool(re.match(r"\w\.|\d", place.after.lstrip()))


def _is_listed(place: _Place, word: str) -> bool:
    known, small = lists(), word.casefold()
    is_number = bool(re.match(r"\d|[IVXLC]+\b", place.following))
    if is_number and small in known.numbered:
        return True
    for table, may_end in ((known.never, False), (known.maybe, True)):
        for form in (word, small, word.title() if word.isupper() else small):
            languages = table.get(form)
            if languages is None or (may_end and _starts(place)):
                continue
            is_alone = place.is_whole and " " not in place.before and not may_end and not place.mark.closers
            if form not in known.words or is_alone or is_number or place.languages & languages:
                return True
    is_street = (len(small) > 4 and small.endswith("str")) or (is_number and re.fullmatch("[A-ZÆØÅ].+gt", word))
    return bool(is_street) and not _starts(place)  # "Hauptstr.", "Storgt. 5"


def _starts(place: _Place) -> bool:
    """Whether the next word mostly begins a sentence."""
    return place.following in lists().starters and not _is_abbreviated(place)


def _starts_after_name(place: _Place) -> bool:
    """The same after an initial, where "Le" and "Das" may be names."""
    return place.following in lists().english_starters and not _is_abbreviated(place)


def _is_abbreviated(place: _Place) -> bool:
    """Whether the next word has a dot, too: "I. Newton", "No. 5"."""
    return bool(re.match(r"\w\.|\w+\. ?\d", place.after.lstrip(_OPENERS)))
