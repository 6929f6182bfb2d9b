from __future__ import annotations

import asyncio
import os
import re
import shutil
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.media.mix import read_voice, silences
from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, speak
from ltxflow.project.speech import Line, Speech, sentences, shown, spoken
from ltxflow.publish.captions import (
    COLUMNS,
    LINES,
    READ_PER_S,
    SHORTEST_S,
    CaptionPassage,
    Cue,
    Word,
    cues,
    is_right_to_left,
    moved,
    passages,
    remotion,
    srt,
    webvtt,
    width,
    words,
)

HOOK = (
    "Every coin you own is guarded by one secret: your private key. "
    "Lose it, and the money is gone. Share it, and it belongs to someone else."
)
CHINESE = "每个你拥有的硬币都由一个秘密守护：你的私钥。如果丢失，钱就没了；如果分享，它就属于别人。"
JAPANESE = "ウォレットはコインを持っていません。「鍵」を持っているのは、あなただけです。"
HEBREW = "כל מטבע שברשותך נשמר על ידי סוד אחד: המפתח הפרטי שלך!"
THAI = "เหรียญทุกเหรียญที่คุณเป็นเจ้าของได้รับการปกป้องโดยความลับเดียวคือกุญแจส่วนตัวของคุณ"
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft ist lang."
SENTENCE = "He lit the lamp, wiped the glass, and waited a long while for the ships that would not come home again."


def at_pace(text: str, columns_per_s: float = 13.0, start: float = 0.0) -> CaptionPassage:
    return CaptionPassage(shown(text), start, start + width(shown(text)) / columns_per_s)


def in_a_row(*texts: str, gap: float = 0.1) -> list[CaptionPassage]:
    found: list[CaptionPassage] = []
    for text in texts:
        found.append(at_pace(text, start=found[-1].end + gap if found else 0.0))
    return found


def squeezed(text: str) -> str:
    return re.sub(r"\s", "", text)


# Words


def test_words_that_the_engine_timed_are_exact() -> None:
    passage = CaptionPassage("One two three.", 1.0, 3.0, ((0, 1.0), (4, 1.5), (8, 2.25)))
    assert [(word.text, word.start) for word in words(passage)] == [("One", 1.0), (" two", 1.5), (" three.", 2.25)]
    assert [word.end for word in words(passage)][:2] == [1.5, 2.25]


def test_a_word_that_the_engine_left_out_shares_the_time_of_the_one_before() -> None:
    passage = CaptionPassage("One “two” three", 0.0, 3.0, ((0, 0.0), (10, 2.0)))
    one, two, three = words(passage)
    assert one.start == 0.0 < two.start < three.start == 2.0


def test_a_word_of_several_spoken_ones_begins_with_the_first() -> None:
    said = spoken("Buy BTC now", {"BTC": "bit coin"})
    places = [said.text.index(word) for word in ("Buy", "bit", "coin", "now")]
    passage = CaptionPassage(
        "Buy BTC now", 0, 2, tuple((said.origins[at], 0.5 * n) for n, at in enumerate(places)), (), said
    )
    assert [word.start for word in words(passage)] == [0.0, 0.5, 1.5]


def test_silence_at_the_ends_belongs_to_no_word() -> None:
    found = words(CaptionPassage("One two", 0.0, 3.0, silences=((0.0, 0.5), (2.5, 3.0))))
    assert (found[0].start, found[-1].end) == (0.5, 2.5)


def test_a_silence_goes_to_the_punctuation_that_explains_it() -> None:
    passage = CaptionPassage(
        "First this part is rather long, then. Now that", 0.0, 4.0, silences=((2.4, 2.6), (3.0, 3.5))
    )
    times = {word.text.strip(): (word.start, word.end) for word in words(passage)}
    assert times["long,"][1] == 2.4
    assert times["then."] == (2.6, 3.0)
    assert times["Now"][0] == 3.5


def test_a_number_takes_longer_than_its_letters() -> None:
    number, word = words(CaptionPassage("2026 four", 0.0, 2.0))
    assert number.end - number.start > 2 * (word.end - word.start)


TEXT = st.text(alphabet="abcé XYZ 12 .,!?…–-“” \n你好。、ウーabc אב กเ", max_size=200)
TIMES = st.floats(0, 20, allow_nan=False)


@given(TEXT, st.lists(st.tuples(TIMES, TIMES), max_size=8), st.lists(st.tuples(st.integers(0, 250), TIMES), max_size=8))
def test_words_are_the_text_in_order_inside_their_passage(
    text: str, gaps: list[tuple[float, float]], starts: list[tuple[int, float]]
) -> None:
    ordered = sorted(time for gap in gaps for time in gap)
    passage = CaptionPassage(
        shown(text), 1.0, 15.0, tuple(starts), tuple(zip(ordered[::2], ordered[1::2], strict=True))
    )
    found = words(passage)
    assert squeezed("".join(word.text for word in found)) == squeezed(passage.text)
    times = [time for word in found for time in (word.start, word.end)]
    assert all(left <= right + 1e-9 for left, right in pairwise(times))
    assert all(1.0 - 1e-9 <= time <= 15.0 + 1e-9 for time in times)


def test_passages_follow_from_a_made_narration() -> None:
    lines = (Line("a", "Buy  BTC.", Fraction(1, 2)), Line("b", "Now."))
    told = Speech(Engine("espeak", "espeak"), "", 1.0, lines, lexicon={"BTC": "bitcoin"})
    timing = {
        "samples": 300,
        "sample_rate": 100,
        "lines": [
            {"start_sample": 0, "end_sample": 150, "words": [{"at": 4, "length": 7, "start_sample": 40}]},
            {"start_sample": 200, "end_sample": 300, "words": []},
        ],
        "silences": [[150, 200]],
    }
    one, two = passages(told, timing, Fraction(10))
    assert (one.text, one.start, one.end, one.starts) == ("Buy BTC.", 10.0, 11.5, ((4, 10.4),))
    assert (two.start, two.end, two.silences) == (12.0, 13.0, ((11.5, 12.0),))
    assert moved(one, 1.0).starts == ((4, 11.4),)


# Cues


def check(found: tuple[Cue, ...], given: list[CaptionPassage]) -> None:
    """What holds for all cues: all the text once, lines that fit, no overlap."""
    assert squeezed("".join("".join(cue.lines) for cue in found)) == squeezed("".join(p.text for p in given))
    for cue in found:
        assert 1 <= len(cue.lines) <= LINES
        assert all(width(line) <= COLUMNS for line in cue.lines), cue.lines
        assert all(line == line.strip() and line for line in cue.lines)
    assert all(left.end <= right.start + 1e-9 for left, right in pairwise(found))


@pytest.mark.parametrize("text", [HOOK, CHINESE, JAPANESE, HEBREW, THAI, LONG, SENTENCE, "Hi.", f"{HOOK} {SENTENCE}"])
@pytest.mark.parametrize("by_sentence", [True, False])
def test_cues_fit_and_can_be_read(text: str, by_sentence: bool) -> None:
    given = in_a_row(*sentences(text)) if by_sentence else [at_pace(text)]
    found = cues(given)
    check(found, given)
    for cue in found:
        assert width("".join(cue.lines)) / (cue.end - cue.start) <= READ_PER_S + 0.5
        assert cue.end - cue.start >= SHORTEST_S - 1e-9


@given(st.lists(TEXT.filter(lambda text: bool(shown(text))), max_size=5), st.floats(3, 60))
def test_whatever_the_words_nothing_is_lost_and_nothing_overlaps(texts: list[str], pace: float) -> None:
    given: list[CaptionPassage] = []
    for text in texts:
        given.append(at_pace(text, pace, given[-1].end if given else 0.0))
    check(cues(given), given)


def test_a_sentence_is_a_cue_and_lines_are_even() -> None:
    found = cues(in_a_row(*sentences(HOOK)))
    assert [cue.lines for cue in found] == [
        ("Every coin you own is guarded", "by one secret: your private key."),
        ("Lose it, and the money is gone.",),
        ("Share it, and it belongs to someone else.",),
    ]


def test_no_word_is_left_alone() -> None:
    for count in range(12, 40, 3):
        text = " ".join(["window", "of", "light"][n % 3] for n in range(count)) + "."
        found = cues([at_pace(text)])
        assert all(len(cue.words) > 2 for cue in found)
        assert max(width("".join(c.lines)) for c in found) < 2.1 * min(width("".join(c.lines)) for c in found)


def test_a_break_is_where_the_sentence_has_one() -> None:
    text = "Below him, the sea was grey and restless; above, a single star had found a gap in the clouds."
    assert [cue.lines[-1][-1] for cue in cues([at_pace(text)])] == [";", "."]


def test_cues_too_short_by_themselves_are_joined() -> None:
    found = cues(in_a_row("No.", "Yes!", "Why?", "Because it has always been so."))
    assert found[0].lines == ("No. Yes! Why?",)
    assert found[0].words[1].text == " Yes!"


def test_cues_are_not_joined_over_a_long_pause() -> None:
    found = cues([CaptionPassage("No.", 0.0, 0.3), CaptionPassage("Yes.", 2.0, 2.3)])
    assert [(cue.lines, cue.start) for cue in found] == [(("No.",), 0.0), (("Yes.",), 2.0)]
    assert found[0].end == pytest.approx(SHORTEST_S)


def test_a_cue_does_not_stand_through_a_long_silence() -> None:
    found = cues([CaptionPassage("One moment please. It is done.", 0.0, 8.0, silences=((1.5, 6.5),))])
    assert [cue.lines for cue in found] == [("One moment please.",), ("It is done.",)]
    assert found[0].end < 3


def test_the_last_cue_ends_when_it_must() -> None:
    assert cues([CaptionPassage("One two three.", 0.0, 1.0)], until=1.1)[-1].end == 1.1


def test_no_words_is_not_cue() -> None:
    assert cues([]) == cues([CaptionPassage("", 0.0, 1.0)]) == ()


def test_widths_are_columns() -> None:
    assert [width(text) for text in ("abc", "你好", "e\u0301", "👍", "שלום")] == [3, 4, 1, 2, 4]


# Files


TWO = (
    Cue(0.0, 1.9996, ("Every coin you own is guarded", "by one <secret> & more."), (Word("Every", 0.0, 0.5),)),
    Cue(3661.5, 3662.0, ("a --> b",), (Word("a", 3661.5, 3661.6), Word(" -->", 3661.6, 3661.6))),
)


def test_srt_is_numbered_blocks_with_commas() -> None:
    assert srt(TWO) == (
        "1\n00:00:00,000 --> 00:00:02,000\nEvery coin you own is guarded\nby one <secret> & more.\n\n"
        "2\n01:01:01,500 --> 01:01:02,000\na → b\n"
    )


def test_webvtt_escapes_markup() -> None:
    assert webvtt(TWO) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.000\nEvery coin you own is guarded\nby one &lt;secret&gt; &amp; more.\n\n"
        "01:01:01.500 --> 01:01:02.000\na → b\n"
    )


def test_no_captions_are_still_files() -> None:
    assert (srt(()), webvtt(()), remotion(())) == ("", "WEBVTT\n", [])


def test_remotion_has_a_blank_before_each_word_and_a_page_for_each_cue() -> None:
    told = remotion(cues(in_a_row("Every coin.", "Yours and mine.", gap=1.0)))
    assert [entry["text"] for entry in told] == [" Every", " coin.", " Yours", " and", " mine."]
    assert [entry.get("pageBreakAfter", False) for entry in told] == [False, True, False, False, True]
    assert all(isinstance(entry["startMs"], int) and entry["startMs"] < entry["endMs"] for entry in told)
    assert {frozenset(entry) - {"pageBreakAfter"} for entry in told} == {
        frozenset(["text", "startMs", "endMs", "timestampMs", "confidence"])
    }


def test_remotion_puts_no_blanks_into_japanese() -> None:
    told = remotion(cues([at_pace(JAPANESE)]))
    assert squeezed("".join(entry["text"] for entry in told)) == JAPANESE
    assert [entry["text"][0] for entry in told].count(" ") == sum("pageBreakAfter" in entry for entry in told)
    assert "ウォレット" in told[0]["text"]


@pytest.mark.parametrize(
    ("text", "words"),
    [("总统批准了这项新的法律，人民感到高兴。" * 3, "批准"), (THAI * 2, "ได้รับ"), (JAPANESE * 2, "コイン")],
)
def test_lines_break_at_the_ends_of_words(text: str, words: str) -> None:
    found = cues([at_pace(text)])
    lines = [line for cue in found for line in cue.lines]
    assert len(lines) > 2
    assert "".join(lines).count(words) == sum(line.count(words) for line in lines) > 0
    assert all(line[0] not in "、。，ーっ" for line in lines)


def test_remotion_puts_no_blanks_into_thai() -> None:
    told = remotion(cues([at_pace(THAI)]))
    assert squeezed("".join(entry["text"] for entry in told)) == THAI
    assert "".join(entry["text"] for entry in told).count(" ") == sum("pageBreakAfter" in entry for entry in told)
    assert "เหรียญ" in [entry["text"].strip() for entry in told]


def test_a_run_that_has_no_words_is_still_cut_to_lines() -> None:
    given = [at_pace("!" * 200 + "a" + "？" * 90)]
    check(cues(given), given)


def test_right_to_left_lines_keep_their_punctuation_at_their_end() -> None:
    assert is_right_to_left("Bitcoin הוא שם טוב")
    assert not is_right_to_left("The word שלום means peace")
    (cue,) = cues([at_pace("Bitcoin הוא שם טוב!")])
    assert "\u202bBitcoin הוא שם טוב!\u202c\n" in srt([cue])
    assert "\u200fBitcoin הוא שם טוב!\n" in webvtt([cue])
    assert "\u200f" not in webvtt(cues([at_pace("שלום!")]))


# Against the truth


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize("voice", ["en", "en-us"])
def test_words_are_on_time_without_the_engines_help(voice: str, tmp_path: Path) -> None:
    text = f"{HOOK} {SENTENCE} In 2009 there were 50 coins in every block – and it keeps falling. Nobody voted for it!"
    said: SpokenSound = asyncio.run(speak(Engine("espeak", "espeak"), SpeechRequest(text, voice), tmp_path, os.environ))
    truth = {word.at: float(word.start) for word in said.words}
    if not truth:
        pytest.skip("its library is not installed")
    sound = read_voice(said.file)
    gaps = tuple((first / sound.rate, end / sound.rate) for first, end in silences(sound))
    at, errors = 0, []
    for word in words(CaptionPassage(text, 0.0, float(sound.seconds), (), gaps)):
        at = text.index(word.text.strip(), at)
        if at in truth:
            errors.append(abs(word.start - truth[at]))
        at += 1
    assert len(errors) > 50
    assert sum(errors) / len(errors) < 0.1
    assert max(errors) < 0.6


@pytest.mark.parametrize("part", ["好 ", "你好世界", "a", "a ", "เกิด"])
def test_a_passage_without_end_has_its_words(part: str) -> None:
    text = (part * (40_000 // len(part))).strip()
    assert squeezed("".join(word.text for word in words(CaptionPassage(text, 0.0, 100.0)))) == squeezed(text)
