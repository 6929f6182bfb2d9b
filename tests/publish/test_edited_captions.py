"""Captions that a person edited: how they are read, and the errors, with lines, for those that cannot be."""

from __future__ import annotations

import os
import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.media.mux import Caption
from ltxflow.project.speech import shown
from ltxflow.publish.caption_files import AT_ONCE, parse, read_captions, styled
from ltxflow.publish.captions import CaptionPassage, Cue, cues, srt


def captions(text: str) -> list[tuple[int, int, tuple[str, ...]]]:
    return [(caption.start, caption.end, caption.lines) for caption in parse(text, "film.srt").captions]


def wrong(text: str) -> list[Problem]:
    with pytest.raises(LtxflowError) as caught:
        parse(text, "film.srt")
    return list(caught.value.problems)


def one(*lines: str) -> str:
    return "\n".join(["1", "00:00:01,000 --> 00:00:02,500", *lines, ""])


# What is read

ONE = [(1000, 2500, ("One", "Two"))]


@pytest.mark.parametrize(
    "text",
    [
        "1\n00:00:01,000 --> 00:00:02,500\nOne\nTwo\n",
        "\ufeff1\r\n00:00:01.000 --> 00:00:02,500\r\nOne\r\nTwo\r\n\r\n\r\n",
        "1\r00:00:01,000 --> 00:00:02,500\rOne\rTwo\r",
        "00:00:01,000 --> 00:00:02,500\nOne\nTwo",
        "\n\n  \n7\n0:0:1,0-->0:0:2,5\n  One  \n\tTwo\n",
        "1\n00:01,000 --> 00:02.5 X1:100 X2:200\nOne\nTwo\n",
        "1\n00:00:01,000 -> 00:00:02,500\nOne\nTwo\n",
        "1\n00:00:01,000 – 00:00:02,500\nOne\nTwo\n",
        "1\n00:00:01,000 --> 00:00:02,500 align:start position:0%\nOne<br/>Two\n",
    ],
)
def test_a_caption_is_read_however_editors_write_it(text: str) -> None:
    assert captions(text) == ONE


def test_a_caption_begins_where_its_times_are_with_or_without_number_and_blank_line() -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\nOne\n2\n00:00:02,000 --> 00:00:03,000\nTwo\n"
        "00:00:03,000 --> 00:00:04,000\n2026\n\n\n9\n00:00:04,000 --> 00:00:05,000\nFour\n"
    )
    assert [lines for _, _, lines in captions(text)] == [("One",), ("Two",), ("2026",), ("Four",)]


def test_they_are_in_the_order_of_their_times() -> None:
    text = "1\n00:00:05,000 --> 00:00:06,000\nLate\n\n2\n00:00:01,000 --> 00:00:02,000\nEarly\n"
    assert [lines for _, _, lines in captions(text)] == [("Early",), ("Late",)]


def test_a_caption_without_text_was_taken_away() -> None:
    assert captions("1\n00:00:01,000 --> 00:00:02,000\n\n2\n00:00:02,000 --> 00:00:03,000\nTwo\n") == [
        (2000, 3000, ("Two",))
    ]
    assert captions("") == []
    assert captions("1\n00:00:01,000 --> 00:00:02,000\n<i> </i>\n") == []


TEXT = st.text(alphabet="aéXYZ 12 .,!?…–-“” <>&→\n你好。、ウーa אב กเ", max_size=120)


@given(st.lists(TEXT.filter(lambda text: bool(shown(text))), min_size=1, max_size=5))
def test_what_is_written_as_srt_is_read_back(texts: list[str]) -> None:
    given_: list[CaptionPassage] = []
    for text in texts:
        start = given_[-1].end if given_ else 0.0
        given_.append(CaptionPassage(shown(text), start, start + 0.5 + len(text) / 13))
    written = cues(given_)
    told = parse(srt(written), "film.srt")
    assert told.warnings == ()

    def squeezed(cue: Cue | Caption) -> str:
        return re.sub(r"\s", "", "".join(cue.lines)).replace("-->", "→")

    assert [squeezed(caption) for caption in told.captions] == [squeezed(cue) for cue in written]
    for caption, cue in zip(told.captions, written, strict=True):
        assert abs(caption.start - cue.start * 1000) <= 1
        assert abs(caption.end - max(cue.end, cue.start + 0.001) * 1000) <= 1


# What cannot be read


@pytest.mark.parametrize(
    ("text", "line", "says", "hint"),
    [
        (one("One") + "\nTwo\n", 5, "a caption has no times", "00:00:01,000 --> 00:00:02,500"),
        ("3\nHello\n", 1, "a caption has no times", "write them as"),
        ("1\n00:00:01,000 --> 00:00:0x\nOne\n", 2, 'no times in "00:00:01,000 --> 00:00:0x"', "write them as"),
        ("1\n00:00:01 -->\nOne\n", 2, 'no times in "00:00:01 -->"', "write them as"),
        ("1\n-00:00:01,000 --> 00:00:02,000\nOne\n", 2, "begins before the film", "none begins before 00:00:00,000"),
        ("1\n00:00:01,000 --> 00:00:61,000\nOne\n", 2, "more than 59", "write them as"),
        ("1\n00:00:03,000 --> 00:00:02,000\nOne\n", 2, "ends before it begins", "end it after it begins"),
        ("1\n00:00:03,000 --> 00:00:03,000\nOne\n", 2, "ends before it begins", "remove its text"),
    ],
)
def test_what_cannot_be_is_reported_with_its_line(text: str, line: int, says: str, hint: str) -> None:
    (problem,) = wrong(text)
    assert problem.span is not None
    assert (problem.span.file, problem.span.line, problem.code) == ("film.srt", line, "D012")
    assert says in problem.message
    assert hint in problem.hint


def test_all_that_is_wrong_is_reported_at_once() -> None:
    text = "1\n00:00:03,000 --> 00:00:02,000\nOne\n\nno times\n\n2\n00:00:0,1,2 --> 5\nTwo\n"
    assert [problem.span.line for problem in wrong(text) if problem.span] == [2, 5, 8]


@pytest.mark.parametrize(
    ("data", "line", "column", "says"),
    [
        ("1\n00:00:01,000 --> 00:00:02,000\nUn café\n".encode("cp1252"), 3, 7, "the byte 0xe9 is not UTF-8"),
        ("1\r\n00:00:01,000 --> 00:00:02,000\r\n“Ja”\r\n".encode("cp1252"), 3, 1, "the byte 0x93 is not UTF-8"),
        ("1\n00:00:01,000 --> 00:00:02,000\nOne\n".encode("utf-16"), 1, 1, "the file is UTF-16"),
        ("1\n00:00:01,000 --> 00:00:02,000\nOne\n".encode("utf-16-be"), 1, 1, "the file is UTF-16"),
        ("1\n00:00:01,000 --> 00:00:02,000\n鍵\n".encode("shift-jis"), 3, 1, "is not UTF-8"),
    ],
)
def test_a_file_that_is_not_utf_8_is_reported_with_its_line(
    data: bytes, line: int, column: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("film.srt").write_bytes(data)
    with pytest.raises(LtxflowError) as caught:
        read_captions(Path("film.srt"))
    (problem,) = caught.value.problems
    assert problem.span is not None
    assert (problem.span.file, problem.span.line, problem.span.col) == ("film.srt", line, column)
    assert says in problem.message
    assert problem.hint == "save it as UTF-8"


def test_a_file_with_a_byte_order_mark_is_utf_8(tmp_path: Path) -> None:
    (tmp_path / "film.srt").write_bytes(one("Größe").encode("utf-8-sig"))
    assert read_captions(tmp_path / "film.srt").captions == (Caption(1000, 2500, ("Größe",)),)


# Over each other


def test_captions_that_are_shown_at_once_are_one_for_as_long_as_they_are() -> None:
    text = "1\n00:00:01,000 --> 00:00:04,000\nOne\n\n2\n00:00:02,000 --> 00:00:03,000\n<i>Two</i>\n"
    told = parse(text, "film.srt")
    assert told.captions == (
        Caption(1000, 2000, ("One",)),
        Caption(2000, 3000, ("One", "Two"), ((1, 0, 3),)),
        Caption(3000, 4000, ("One",)),
    )
    (warning,) = told.warnings
    assert warning.span is not None
    assert (warning.level, warning.span.line) == ("warning", 6)
    assert "the one at line 2 ends" in warning.message


def test_a_rounded_end_is_not_overlap() -> None:
    text = "1\n00:00:01,000 --> 00:00:02,040\nOne\n\n2\n00:00:02,000 --> 00:00:03,000\nTwo\n"
    told = parse(text, "film.srt")
    assert [(caption.start, caption.end) for caption in told.captions] == [(1000, 2000), (2000, 3000)]
    assert told.warnings == ()


def test_a_crowd_of_captions_is_a_mistake() -> None:
    text = "\n".join(f"00:00:0{n},000 --> 00:00:20,000\nOne\n" for n in range(AT_ONCE + 1))
    (problem,) = wrong(text)
    assert problem.message == f"more than {AT_ONCE} captions are shown at once"
    assert problem.span is not None
    assert problem.span.line == 3 * AT_ONCE + 1


CLOCKS = st.integers(0, 9000)


@given(st.lists(st.tuples(CLOCKS, CLOCKS).filter(lambda pair: pair[0] < pair[1]), max_size=AT_ONCE))
def test_no_caption_is_over_another_and_all_are_shown_when_they_should(spans: list[tuple[int, int]]) -> None:
    def clock(ms: int) -> str:
        return f"00:00:{ms // 1000:02},{ms % 1000:03}"

    text = "\n".join(f"{clock(start)} --> {clock(end)}\nText {n}\n" for n, (start, end) in enumerate(spans))
    found = parse(text, "film.srt").captions
    assert all(left.end <= right.start for left, right in pairwise(found))
    for number, (start, end) in enumerate(spans):
        shown_ms = sum(one.end - one.start for one in found if f"Text {number}" in one.lines)
        assert end - start - 100 * len(spans) <= shown_ms <= end - start


# Markup


@pytest.mark.parametrize(
    ("written", "lines", "italics"),
    [
        (["<i>She</i> left."], ("She left.",), ((0, 0, 3),)),
        (["She <I>never</I> left."], ("She never left.",), ((0, 4, 9),)),
        (["<i>She", "never</i> left."], ("She", "never left."), ((0, 0, 3), (1, 0, 5))),
        (["<i>She left."], ("She left.",), ((0, 0, 9),)),
        (["<em>She</em> <b>left</b> <u>now</u>"], ("She left now",), ((0, 0, 3),)),
        (['<font color="#ff0000"><i>Red</i></font>'], ("Red",), ((0, 0, 3),)),
        ([r"{\an8}Up {\i1}there{\i0} now"], ("Up there now",), ((0, 3, 8),)),
        ([r"{\an8\i1}Up"], ("Up",), ((0, 0, 2),)),
        (["{y:i}Up"], ("Up",), ((0, 0, 2),)),
        (["<v Ann><c.yellow>Hi</c></v>"], ("Hi",), ()),
        ([r"One\NTwo\hmore"], ("One", "Two more"), ()),
        (["a <secret> & <3, 1 < 2 > 0"], ("a <secret> & <3, 1 < 2 > 0",), ()),
        (["AT&amp;T &lt;3 &nbsp;x"], ("AT&T <3 x",), ()),
        (["&copy 2020 R&D"], ("&copy 2020 R&D",), ()),
        (["\u202bשלום\u202c"], ("שלום",), ()),
        (["<i></i>", "  ", "a"], ("a",), ()),
        ([r"C:\new"], (r"C:\new",), ()),
    ],
)
def test_markup_is_italics_or_nothing(
    written: list[str], lines: tuple[str, ...], italics: tuple[tuple[int, int, int], ...]
) -> None:
    assert styled(written) == (lines, italics)


@given(st.lists(st.text(alphabet='ab<>/i{}\\an8 ="&;', max_size=30), max_size=3))
def test_italics_are_inside_their_lines(written: list[str]) -> None:
    lines, italics = styled(written)
    assert all(line and line == line.strip() for line in lines)
    for number, first, end in italics:
        assert 0 <= first < end <= len(lines[number])


def test_a_file_of_no_end_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "film.srt"
    path.write_bytes(b"")
    os.truncate(path, 1 << 40)
    with pytest.raises(LtxflowError, match="is larger than 8 MiB"):
        read_captions(path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "film.srt")
    with pytest.raises(LtxflowError, match="a fifo, not a file"):
        read_captions(tmp_path / "film.srt")
