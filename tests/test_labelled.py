"""The checks on clips of known kinds: misses and false alarms, as in docs/explanation/checks.md."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from labelled.catalogue import HELD_OUT_SEEDS, KINDS, PREVIEW, Clip, Pair, heard, pairs, pictures
from labelled.encode import write
from labelled.moving import Set, camera
from labelled.score import NOISES, best_noise, freezes, likeness, look, look_at, tally, total

from ltxflow.media.findings import RULES, Thresholds

CODES = ("Q101", "Q102", "Q103", "Q104")


def first_of_each(clips: list[Clip]) -> list[Clip]:
    """One of each kind, of those that are small."""
    kinds: dict[str, Clip] = {}
    for clip in clips:
        if clip.at.width < PREVIEW[0]:
            kinds.setdefault(clip.kind, clip)
    return list(kinds.values())


def test_there_are_clips_of_every_kind_and_none_is_in_both_halves() -> None:
    clips = [*pictures("train"), *pictures("held-out"), *heard("train"), *heard("held-out")]
    assert len(pictures("held-out")) >= 150
    assert {clip.kind for clip in pictures("held-out")} == {kind.name for kind in KINDS}
    assert max(Counter((clip.split, clip.name) for clip in clips).values()) == 1
    assert all((clip.at.seed >= HELD_OUT_SEEDS) == (clip.split == "held-out") for clip in clips)
    faults = Counter(code for clip in clips for code in clip.faults)
    assert set(faults) == set(RULES) - {"Q103", "Q110", "Q111", "Q112", "Q113"}  # those need a wish, or another take


def test_a_clip_is_made_alike_every_time(tmp_path: Path) -> None:
    (clip,) = [clip for clip in pictures("held-out") if clip.name == "rain 1"]
    files = [tmp_path / "1.mp4", tmp_path / "2.mp4"]
    for file in files:
        # mbtree reads memory that x264 never wrote, so that one encoding in five differs
        replace(clip, options={"x264-params": "mbtree=0"}).write(file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_one_of_each_kind_is_judged_right_and_better_than_freezedetect_does() -> None:
    """One may be wrong in each respect, for another encoder or scaler can tip what is close.

    In one test, since the clips are made once for all of it.
    """
    seen = look_at(first_of_each(pictures("held-out")), freezedetect=True, noises=(0.0003, 0.001, 0.003))
    for code in CODES:
        made = total(tally(seen, code))
        assert made.n > 40
        assert made.misses + made.alarms <= 1, (code, made.wrong)

    freezes = [each for each in seen if each.clip.from_s is not None and "Q101" in each.codes]
    assert len(freezes) > 8
    away = {each.clip.name: each.findings.frozen.start - (each.clip.from_s or 0.0) for each in freezes}
    assert all(abs(seconds) <= 0.5 for seconds in away.values()), away

    ours, place = total(tally(seen, "Q101")), best_noise(seen)
    theirs = total(tally(seen, "Q101", lambda each: each.by_noise[place]))
    assert ours.misses < theirs.misses
    assert ours.alarms <= theirs.alarms


def test_freezedetect_is_asked_rightly(tmp_path: Path) -> None:
    at = Set(160, 96, 61, 25, 1, "room")
    write(tmp_path / "still.mp4", [at.still] * 61, 25)
    write(tmp_path / "pan.mp4", camera(at, 0.2), 25)
    assert freezes(tmp_path / "still.mp4", 0.001, 2.0)
    assert not freezes(tmp_path / "still.mp4", 0.001, 3.0)
    assert not freezes(tmp_path / "pan.mp4", 0.001, 1.0)


@pytest.mark.parametrize("clip", heard("held-out"), ids=lambda clip: clip.name)
def test_sound_is_judged_right(clip: Clip) -> None:
    if clip.name == "clipped music 16":
        pytest.xfail("peaks of music that are cut off by little are few: docs/explanation/checks.md")
    found = look(clip)
    assert found.codes == clip.faults


@pytest.mark.parametrize("pair", pairs("held-out"), ids=lambda pair: pair.kind)
def test_takes_are_alike_that_are_the_same(pair: Pair) -> None:
    if pair.kind == "leaves, another seed":
        pytest.xfail("what moves by little in a picture that stays is close to the same: docs/explanation/checks.md")
    assert (likeness(pair) >= (Thresholds().duplicate or 0)) == pair.is_same


@pytest.mark.slow
def test_the_held_out_clips_are_judged_as_published() -> None:
    seen = look_at(pictures("held-out"), 2, freezedetect=True)
    wrong = {code: total(tally(seen, code)) for code in CODES}
    assert wrong["Q101"].misses + wrong["Q101"].alarms <= 2, wrong["Q101"].wrong
    for code in ("Q102", "Q104"):
        assert wrong[code].misses + wrong[code].alarms <= 2, wrong[code].wrong
    for place in range(len(NOISES)):
        theirs = total(tally(seen, "Q101", lambda each, place=place: each.by_noise[place]))
        assert wrong["Q101"].misses < theirs.misses or wrong["Q101"].alarms < theirs.alarms
        assert wrong["Q101"].misses + wrong["Q101"].alarms < theirs.misses + theirs.alarms
