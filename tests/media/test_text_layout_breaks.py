"""Lines break in Chinese, Japanese and Thai at the ends of words, and never before a closing mark."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.media.text_layout import Style, has_unspaced, may_break, width_of, word_breaks, wrapped

# Texts with "|" at the end of every word, by hand; marks belong to the word before them, openers to the one after.
WORDS = (
    "总统|批准|了|这|项|新|的|法律，|人民|感到|高兴。",
    "科学家|们|发现|了|一|种|新|的|材料，|可以|用|来|制造|更|轻|的|飞机。",
    "他|在|图书馆|里|学习|了|三|个|小时，|然后|回家|吃|晚饭。",
    "我们|必须|保护|环境，|减少|塑料|垃圾|的|使用。",
    "總統|批准|了|這|項|新|的|法律，|人民|感到|高興。",
    "暗い|部屋|の|奥|で|古い|時計|が|静かに|動いて|いる。",
    "「鍵」|を|持って|いる|の|は、|あなた|だけ|です。",
    "先生|は|生徒|たち|に|明日|試験|が|ある|と|伝えた。",
    "คน|ไทย|รัก|ความ|สงบ|แต่|ถึง|รบ|ไม่|ขลาด",
    "ครู|บอก|นัก|เรียน|ว่า|จะ|มี|การ|สอบ",
    "หมอ|แนะนำ|ให้|เขา|ออก|กำลัง|กาย|ทุก|วัน",
)


def ends(labelled: str) -> set[int]:
    parts = labelled.split("|")
    return {len("".join(parts[:count])) for count in range(1, len(parts))}


@pytest.mark.parametrize("labelled", WORDS)
def test_lines_break_at_the_ends_of_words(labelled: str) -> None:
    found = word_breaks(labelled.replace("|", ""))
    assert found <= ends(labelled)
    assert len(found) >= len(ends(labelled)) / 5


@pytest.mark.parametrize("labelled", WORDS)
@pytest.mark.parametrize("columns", [6, 9, 13])
def test_so_they_do_on_a_slate(labelled: str, columns: int) -> None:
    text, style = labelled.replace("|", ""), Style(20)
    lines = wrapped(text, columns * 20, style)
    assert "".join(lines) == text
    assert all(width_of(line, style) <= columns * 20 for line in lines)
    assert {len("".join(lines[:count])) for count in range(1, len(lines))} <= ends(labelled)


@pytest.mark.parametrize(
    "text",
    [
        "これは（たぶん）本当だ。ええっ！？「はい」と、彼は言った。",
        "价格是3.5元（很便宜）！他说：“好。”《红楼梦》",
        "スーパーマーケット、々々。",
    ],
)
def test_no_line_begins_with_a_mark_that_closes_or_ends_with_one_that_opens(text: str) -> None:
    for columns in range(6, 14):
        lines = wrapped(text, columns * 20, Style(20))
        assert "".join(lines) == text
        assert all(line[0] not in "、。，！？：”》」）々っー" for line in lines[1:]), lines
        assert all(line[-1] not in "（「“《" for line in lines), lines


def test_a_latin_word_or_a_number_among_them_is_whole() -> None:
    text = "使用Bitcoin钱包，价格是3.5元。"
    assert not any(at in word_breaks(text) for at in range(3, 9))
    assert text.index("3.5") + 1 not in word_breaks(text)
    assert text.index("3.5") + 2 not in word_breaks(text)


def test_a_text_with_blanks_has_none() -> None:
    assert word_breaks("Every coin you own, größer") == frozenset()
    assert not has_unspaced("저는 학교에 갑니다")
    assert has_unspaced("a 好")


@given(st.text(alphabet="a1 。、「」（）你好世界こんにちはゃーเกิดขึ้น", max_size=60))
def test_a_break_is_between_two_signs_that_may_be_parted(text: str) -> None:
    for at in word_breaks(text):
        assert 0 < at < len(text)
        assert " " not in text[at - 1 : at + 1]
        assert may_break(text, at)
