"""Captions: the times of words, cues that people can read, and the files that players need. Pure.

A passage is the text between two times, mostly one line of narration. Its words get their times from the engine where
it gives them, otherwise from their length and the silences of the sound. Then they become cues.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

from ltxflow.media.bidi import is_right_to_left
from ltxflow.media.text_layout import has_unspaced, may_break, word_breaks
from ltxflow.project.speech import Speech, SpokenText, has_words, shown, spoken

LINES, COLUMNS = 2, 42  # of a cue; a wide sign takes two columns
READ_PER_S = 17  # columns a second that people read at ease
SHORTEST_S = 0.8
LINGER_S = 0.3  # a cue stays after its last word, if the next one leaves the time
LONGER_S = 1.5  # at most, where it is too fast to read otherwise

Seconds = float
Silence = tuple[Seconds, Seconds]


@dataclass(frozen=True)
class CaptionPassage:
    """The text from `start` to `end`, in seconds of the film or of the sound.

    `starts` are (place in the text, seconds) for words whose time is known. `spoken` is its spoken form, a better
    measure of how long words take. `silences` may reach beyond the passage.
    """

    text: str
    start: Seconds
    end: Seconds
    starts: tuple[tuple[int, Seconds], ...] = ()
    silences: tuple[Silence, ...] = ()
    spoken: SpokenText | None = None


@dataclass(frozen=True)
class Word:
    """A word as captions show it, with the blank before it if there is one, and its times in seconds."""

    text: str
    start: Seconds
    end: Seconds
    is_italic: bool = False


@dataclass(frozen=True)
class Cue:
    """One or two lines shown at once, from `start` to `end` in seconds, and their words."""

    start: Seconds
    end: Seconds
    lines: tuple[str, ...]
    words: tuple[Word, ...]
    italics: tuple[tuple[int, int, int], ...] = ()  # line, first character, first after it


def passages(speech: Speech, timing: Mapping[str, Any], offset: Fraction = Fraction(0)) -> tuple[CaptionPassage, ...]:
    """Return a passage for each line of a scene's speech, from the `timing` of its narration.

    `offset` is added to all times: where the narration begins, in seconds.
    """
    rate = timing["sample_rate"]

    def seconds(sample: int) -> Seconds:
        return float(Fraction(sample, rate) + offset)

    silences = tuple((seconds(first), seconds(end)) for first, end in timing["silences"])
    found = []
    for line, entry in zip(speech.lines, timing["lines"], strict=True):
        form = spoken(line.text, speech.lexicon)
        starts = [
            (form.origins[word["at"]], seconds(word["start_sample"]))
            for word in entry["words"]
            if 0 <= word["at"] < len(form.origins)
        ]
        span = seconds(entry["start_sample"]), seconds(entry["end_sample"])
        found.append(CaptionPassage(shown(line.text), *span, tuple(starts), silences, form))
    return tuple(found)


def moved(passage: CaptionPassage, by: Seconds) -> CaptionPassage:
    """Return a passage with `by` seconds added to all its times."""
    return replace(
        passage,
        start=passage.start + by,
        end=passage.end + by,
        starts=tuple((at, start + by) for at, start in passage.starts),
        silences=tuple((first + by, end + by) for first, end in passage.silences),
    )


def within(passage: CaptionPassage, end: Seconds) -> CaptionPassage:
    """Return a passage with all its times before `end`."""
    if passage.end <= end:
        return passage
    start = max(0.0, min(passage.start, end - 0.01))
    starts = tuple((at, max(start, min(known, end - 0.01))) for at, known in passage.starts)
    return replace(passage, start=start, end=max(start, end), starts=starts)


# Words

_SIGNS = re.compile(  # Chinese and Japanese: a sign takes as long to speak as two or three letters
    "[\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
_CLOSERS = "\"'”’»›)]}」』）】》〉"
_SENTENCE_END, _CLAUSE_END = ".!?…。！？؟۔।॥", ",;:–—、，；：،؛・"
SENTENCE_WEIGHT, CLAUSE_WEIGHT = 8.0, 4.0  # of the pause after it, in letters; measured


@dataclass(frozen=True)
class _Token:
    """A piece of text that no line break divides: its place, itself with the blank before it, and its weights."""

    at: int
    end: int
    text: str
    weight: float
    pause: float


def _tokens(passage: CaptionPassage) -> list[_Token]:
    """Split a passage into words, by blanks or by the rules of its script. Lone punctuation stays with the word before.

    A word wider than a line is cut up.
    """
    pieces: list[tuple[int, int]] = []
    breaks = sorted(word_breaks(passage.text))
    for match in re.finditer(r"\S+", passage.text):
        inside = breaks[bisect_right(breaks, match.start()) : bisect_left(breaks, match.end())]
        for first, end in pairwise([match.start(), *inside, match.end()]):
            closes = not has_words(passage.text[first:end]) and not _opens(passage.text[first:end])
            if pieces and (closes or not has_words(passage.text[slice(*pieces[-1])])):
                pieces[-1] = (pieces[-1][0], end)
            else:
                pieces.append((first, end))
    weights = _weights(passage)
    tokens = []
    for first, end in [cut for piece in pieces for cut in _narrowed(passage.text, *piece)]:
        text = passage.text[first:end]
        blank = " " if first and passage.text[first - 1] == " " else ""
        tokens.append(_Token(first, end, blank + text, sum(weights[first:end]), _pause(text)))
    return tokens


def _narrowed(text: str, first: int, end: int) -> list[tuple[int, int]]:
    """Return a piece of a text in parts of nearly equal width that each fit a line."""
    columns = width(text[first:end])
    if columns <= COLUMNS:
        return [(first, end)]
    widest = columns / -(-columns // (COLUMNS - 4)) + 1
    cuts = [first]
    for at in range(first + 1, end):
        so_far = width(text[cuts[-1] : at + 1])
        is_mark = unicodedata.category(text[at])[0] == "M" or "\u200d" in text[at - 1 : at + 1]
        if so_far > widest and (may_break(text, at) or (so_far > COLUMNS and not is_mark)):
            cuts.append(at)
    return list(zip(cuts, [*cuts[1:], end], strict=True))


def _opens(text: str) -> bool:
    return all(unicodedata.category(char) in ("Ps", "Pi") or char in "¿¡$€£#@" for char in text)


def _weights(passage: CaptionPassage) -> list[float]:
    """Return the time that each character takes to speak, a letter being 1."""
    weights = [0.0] * len(passage.text)
    if passage.spoken is None:
        return [_weight(char) for char in passage.text]
    for char, at in zip(passage.spoken.text, passage.spoken.origins, strict=True):
        weights[at] += _weight(char)
    return weights


@lru_cache(4096)
def _weight(char: str) -> float:
    if char.isdigit():
        return 3.0
    if not has_words(char):
        return 3.0 if char in "%&+=@$€£" else 0.0
    if unicodedata.category(char)[0] == "M":
        return 0.0
    if _SIGNS.match(char):
        return 2.0 if "\u3041" <= char <= "\u30ff" else 3.0
    return 2.5 if "\uac00" <= char <= "\ud7a3" else 1.0


def _pause(text: str) -> float:
    bare = text.rstrip(_CLOSERS + " ")
    if bare.endswith(tuple(_SENTENCE_END)):
        return SENTENCE_WEIGHT
    return CLAUSE_WEIGHT if bare.endswith(tuple(_CLAUSE_END)) else 0.0


def words(passage: CaptionPassage) -> tuple[Word, ...]:
    """Return the words of a passage with their times, in order and without overlaps.

    Words that the engine timed are exact. Others are laid out by their length between known times: the ends of the
    passage, timed words, and silences, each of which is matched to the punctuation that explains it best.
    """
    tokens = _tokens(passage)
    if not tokens:
        return ()
    first, end = _sounding(passage)
    known = _known(tokens, passage.starts, first, end)
    gaps = [(a, b) for a, b in passage.silences if a > first and b < end]
    spans = _between_known(tokens, known, end) if known else _laid_out(tokens, first, end, gaps)
    return tuple(Word(token.text, start, stop) for token, (start, stop) in zip(tokens, spans, strict=True))


def _sounding(passage: CaptionPassage) -> Silence:
    """Return the times of its first and last sound."""
    first, end = passage.start, passage.end
    for a, b in passage.silences:
        if a <= first + 0.02 and first < b < end:
            first = b
        if b >= end - 0.02 and first < a < end:
            end = a
    return first, end


def _known(
    tokens: Sequence[_Token], starts: Iterable[tuple[int, Seconds]], first: Seconds, end: Seconds
) -> dict[int, Seconds]:
    """Return the start of each token with a known time: by its number, rising."""
    known: dict[int, Seconds] = {}
    for at, start in sorted(starts):
        number = next((n for n, token in enumerate(tokens) if token.at <= at < token.end), None)
        if number is not None and number not in known:
            known[number] = min(max(start, first, *known.values()), end)
    return known


def _between_known(tokens: Sequence[_Token], known: Mapping[int, Seconds], end: Seconds) -> list[Silence]:
    """Let each word last until the next, less a proportional share for the pause after it."""
    numbers = sorted(known)
    spans: list[Silence] = []
    if numbers[0] > 0:  # the engine gave no time for the first words: they get none
        spans += [(known[numbers[0]], known[numbers[0]])] * numbers[0]
    for number, following in zip(numbers, [*numbers[1:], len(tokens)], strict=True):
        until = known.get(following, end)
        spans += _shared(tokens[number:following], known[number], until)
    return spans


def _shared(tokens: Sequence[_Token], start: Seconds, end: Seconds, *, last_pauses: bool = True) -> list[Silence]:
    """Share a time among tokens by their weights."""
    pauses = [token.pause for token in tokens]
    if pauses and not last_pauses:
        pauses[-1] = 0.0
    total = sum(token.weight for token in tokens) + sum(pauses)
    scale = (end - start) / total if total else 0.0
    spans = []
    for token, pause in zip(tokens, pauses, strict=True):
        stop = start + token.weight * scale
        spans.append((start, stop))
        start = stop + pause * scale
    return spans


ROUNDS = 3  # each places words better, which matches silences better
_FORGOTTEN_CLAUSE, _FORGOTTEN_SENTENCE = 0.15, 0.8  # cost in s of misplacement of a mark without a silence
_UNEXPLAINED = 2.0  # cost of a silence without a mark, for each second of it


def _laid_out(tokens: Sequence[_Token], start: Seconds, end: Seconds, gaps: Sequence[Silence]) -> list[Silence]:
    spans = _shared(tokens, start, end, last_pauses=False)
    pairs: dict[int, Silence] = {}
    for _ in range(ROUNDS if gaps else 0):
        before, pairs = pairs, _paired(tokens, spans, gaps)
        if pairs == before:
            break
        spans = []
        first, at = 0, start
        for number in sorted(pairs):
            gap = pairs[number]
            spans += _shared(tokens[first : number + 1], at, gap[0], last_pauses=False)
            first, at = number + 1, gap[1]
        spans += _shared(tokens[first:], at, end, last_pauses=False)
    return spans


def _paired(tokens: Sequence[_Token], spans: Sequence[Silence], gaps: Sequence[Silence]) -> dict[int, Silence]:
    """Match silences to the tokens before them, both in order, so that the least is misplaced."""
    marks = [n for n, token in enumerate(tokens[:-1]) if token.pause]
    expected = [(spans[n][1] + spans[n + 1][0]) / 2 for n in marks]
    costs = [[0.0] * (len(gaps) + 1) for _ in range(len(marks) + 1)]
    moves = [[""] * (len(gaps) + 1) for _ in range(len(marks) + 1)]
    for m in range(len(marks) + 1):
        for g in range(len(gaps) + 1):
            ways: list[tuple[float, str]] = [(0.0, "")] if m == g == 0 else []
            if m:
                is_end = tokens[marks[m - 1]].pause >= SENTENCE_WEIGHT
                ways.append((costs[m - 1][g] + (_FORGOTTEN_SENTENCE if is_end else _FORGOTTEN_CLAUSE), "mark"))
            if g:
                a, b = gaps[g - 1]
                ways.append((costs[m][g - 1] + _UNEXPLAINED * (b - a), "gap"))
            if m and g:
                a, b = gaps[g - 1]
                ways.append((costs[m - 1][g - 1] + abs((a + b) / 2 - expected[m - 1]), "both"))
            costs[m][g], moves[m][g] = min(ways)
    pairs: dict[int, Silence] = {}
    m, g = len(marks), len(gaps)
    while m or g:
        move = moves[m][g]
        if move == "both":
            pairs[marks[m - 1]] = gaps[g - 1]
        m, g = m - (move != "gap"), g - (move != "mark")
    return pairs


# Cues

# The costs of a break, in one measure: another cue, an uneven cue, one too fast to read.
_CUE, _UNEVEN, _FAST, _SHORT, _ORPHAN, _SILENT = 30.0, 40.0, 20.0, 20.0, 40.0, 60.0
_AFTER_CLAUSE, _AFTER_COMMA, _INSIDE, _AFTER_SMALL_WORD = 2.0, 4.0, 12.0, 6.0
_PAUSE_S = 0.35  # a break is good where the voice makes one
_LONG_PAUSE_S = 1.2  # a cue should not stand through such a one
_MERGED_GAP_S = 0.6


def cues(given: Sequence[CaptionPassage], until: Seconds | None = None) -> tuple[Cue, ...]:
    """Return passages, in order, as cues: at most two lines of 42 columns, even, and long enough to be read.

    A cue holds words of one passage; two are joined only where one is too short alone and both fit. `until` is when
    the last cue must end.
    """
    parts = [list(words(passage)) for passage in given]
    groups = [group for part in parts for group in _grouped(part)]
    groups = _merged(groups)
    found: list[Cue] = []
    for number, group in enumerate(groups):
        limit = groups[number + 1][0].start if number + 1 < len(groups) else until
        found.append(Cue(group[0].start, _end(group, limit), _lines(group), tuple(group)))
    return tuple(found)


def _end(group: Sequence[Word], limit: Seconds | None) -> Seconds:
    start, last = group[0].start, group[-1].end
    readable = min(start + width(_text(group)) / READ_PER_S, last + LONGER_S)
    end = max(last + LINGER_S, start + SHORTEST_S, readable)
    return max(end if limit is None else min(end, limit), start)


def _text(group: Sequence[Word]) -> str:
    return "".join(word.text for word in group).strip()


def width(text: str) -> int:
    """Return the columns that a text takes: two for a wide sign, none for a combining mark."""
    return sum(_columns(char) for char in text)


@lru_cache(4096)
def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _grouped(given: Sequence[Word]) -> list[list[Word]]:
    """Divide a passage where it costs least, considering all ways."""
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(given) + 1):
        ways = []
        for first in range(end - 1, -1, -1):
            group = given[first:end]
            if first < end - 1 and not _fits(group):
                break
            ways.append((best[first][0] + _cost(given, first, end), first))
        best.append(min(ways))
    groups: list[list[Word]] = []
    end = len(given)
    while end:
        first = best[end][1]
        groups.insert(0, list(given[first:end]))
        end = first
    return groups


def _cost(given: Sequence[Word], first: int, end: int) -> float:
    group = given[first:end]
    columns = width(_text(group))
    cost = _CUE + _UNEVEN * (columns / (LINES * COLUMNS)) ** 2
    following = given[end].start if end < len(given) else group[-1].end + LINGER_S
    time = max(following - group[0].start, 0.001)
    cost += _FAST * max(0.0, columns / time / READ_PER_S - 1)
    cost += _SHORT if time < SHORTEST_S else 0.0
    if end - first == 1 and len(given) > 1 and columns < COLUMNS // 2:
        cost += _ORPHAN
    long = (right.start - left.end for left, right in pairwise(group))
    cost += _SILENT * sum(gap > _LONG_PAUSE_S for gap in long)
    return cost + (_break(group[-1], given[end]) if end < len(given) else 0.0)


def _break(last: Word, following: Word) -> float:
    pause = _pause(last.text)
    if pause >= SENTENCE_WEIGHT or following.start - last.end >= _PAUSE_S:
        return 0.0
    if pause:
        return _AFTER_COMMA if last.text.rstrip(_CLOSERS).endswith(tuple(",、，،")) else _AFTER_CLAUSE
    return _INSIDE + (_AFTER_SMALL_WORD if len(last.text.strip()) <= 3 and following.text.startswith(" ") else 0.0)


def _fits(group: Sequence[Word]) -> bool:
    return width(_text(group)) <= LINES * COLUMNS and all(width(line) <= COLUMNS for line in _lines(group))


def _lines(group: Sequence[Word]) -> tuple[str, ...]:
    """Return one line if it fits, otherwise the two most even ones, after punctuation if they nearly are."""
    whole = _text(group)
    if width(whole) <= COLUMNS or len(group) == 1:
        return (whole,)

    def cost(at: int) -> tuple[bool, float]:
        upper, lower = width(_text(group[:at])), width(_text(group[at:]))
        uneven = abs(upper - lower) + (2 if upper > lower else 0)
        return max(upper, lower) > COLUMNS, uneven + _break(group[at - 1], group[at])

    at = min(range(1, len(group)), key=cost)
    return _text(group[:at]), _text(group[at:])


def _merged(groups: list[list[Word]]) -> list[list[Word]]:
    """Join cues that would end too soon with a neighbour, if the two fit and nearly touch."""
    merged: list[list[Word]] = []
    for number, group in enumerate(groups):
        following = groups[number + 1][0].start if number + 1 < len(groups) else None
        is_short = following is not None and following - group[0].start < SHORTEST_S
        if merged and (is_short or _is_short(merged[-1], group)) and _joins(merged[-1], group):
            merged[-1] = [*merged[-1], *_spaced(group)]
        else:
            merged.append(group)
    return merged


def _is_short(group: Sequence[Word], following: Sequence[Word]) -> bool:
    return following[0].start - group[0].start < SHORTEST_S


def _joins(one: Sequence[Word], other: Sequence[Word]) -> bool:
    return other[0].start - one[-1].end <= _MERGED_GAP_S and _fits([*one, *_spaced(other)])


def _spaced(group: Sequence[Word]) -> list[Word]:
    """Add a blank before the first word, unless its script has none."""
    first = group[0]
    if first.text.startswith(" ") or _SIGNS.match(first.text):
        return list(group)
    return [replace(first, text=f" {first.text}"), *group[1:]]


def edited_cue(start: Seconds, end: Seconds, lines: Sequence[str], italics: Sequence[tuple[int, int, int]]) -> Cue:
    """Return a caption that a person wrote as a cue: its lines stay, its words share its time."""
    text, places = "", list[int]()
    for line in lines:
        text += _glue(text, line)
        places.append(len(text))
        text += line
    passage = CaptionPassage(text, start, end)
    ranges = [(places[line] + first, places[line] + last) for line, first, last in italics]
    made = []
    for token, word in zip(_tokens(passage), words(passage), strict=True):
        is_italic = any(first < token.end and token.at < last for first, last in ranges)
        made.append(replace(word, is_italic=is_italic))
    return Cue(start, end, tuple(lines), tuple(made), tuple(italics))


def _glue(before: str, line: str) -> str:
    """Return what joins a line to the text before it: nothing in Chinese and Japanese."""
    return " " if before and not (_SIGNS.match(line) and has_unspaced(before[-1:] + line)) else ""


# Files

_RTL = ("R", "AL")


def srt(given: Sequence[Cue]) -> str:
    """Return cues as a SubRip file.

    The format has no direction: right-to-left lines are embedded as such, or their punctuation would jump.
    """
    blocks = []
    for number, cue in enumerate(given, start=1):
        lines = [f"\u202b{line}\u202c" if is_right_to_left(line) else line for line in map(_unarrowed, cue.lines)]
        blocks.append("\n".join([str(number), f"{_clock(cue.start, ',')} --> {_clock(_after(cue), ',')}", *lines, ""]))
    return "\n".join(blocks)


def webvtt(given: Sequence[Cue]) -> str:
    """Return cues as a WebVTT file. Players take a line's direction from its first letter: a mark ensures it."""
    blocks = ["WEBVTT\n"]
    for cue in given:
        lines = [_marked_up(cue, number) for number in range(len(cue.lines))]
        blocks.append("\n".join([f"{_clock(cue.start, '.')} --> {_clock(_after(cue), '.')}", *lines, ""]))
    return "\n".join(blocks)


def _marked_up(cue: Cue, number: int) -> str:
    """Return a line of a cue as WebVTT: markup signs escaped, italics in tags."""
    line = cue.lines[number]
    parts, at = ["\u200f" if _needs_mark(line) else ""], 0
    for first, end in (span[1:] for span in cue.italics if span[0] == number):
        parts += [_escaped(line[at:first]), "<i>", _escaped(line[first:end]), "</i>"]
        at = end
    return "".join([*parts, _escaped(line[at:])])


def _escaped(text: str) -> str:
    return _unarrowed(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def remotion(given: Sequence[Cue]) -> list[dict[str, Any]]:
    """Return cues as Remotion's captions (`Caption` of @remotion/captions): one per word, with the blank before it.

    A page ends where a cue does. `italic` is an addition: the starter shows it, others ignore it.
    """
    entries: list[dict[str, Any]] = []
    for cue in given:
        for number, word in enumerate(cue.words):
            blank = " " if number == 0 and not word.text.startswith(" ") else ""
            start = _ms(word.start)
            entry = {
                "text": blank + word.text,
                "startMs": start,
                "endMs": max(_ms(word.end), start + 1),
                "timestampMs": start,
                "confidence": None,
            }
            entry |= {"italic": True} if word.is_italic else {}
            entries.append(entry | ({"pageBreakAfter": True} if number == len(cue.words) - 1 else {}))
    return entries


def _needs_mark(line: str) -> bool:
    first = next((kind for kind in map(unicodedata.bidirectional, line) if kind in ("L", *_RTL)), "L")
    return is_right_to_left(line) and first == "L"


def _unarrowed(line: str) -> str:
    return line.replace("-->", "→")  # it would read as a time


def _after(cue: Cue) -> Seconds:
    return max(cue.end, cue.start + 0.001)


def _ms(seconds: Seconds) -> int:
    return max(0, int(seconds * 1000 + 0.5))


def _clock(seconds: Seconds, point: str) -> str:
    ms = _ms(seconds)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}{point}{ms % 1000:03}"
