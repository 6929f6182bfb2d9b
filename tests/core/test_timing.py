"""Timing: exact frames, lengths on the grid that cover, and as few changes as possible."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from ltxflow.core import timing
from ltxflow.core.timing import Cut, LengthConflict, LengthRequest, Limits, solve

LTX2 = Limits(auto_min=97, auto_max=257, preferred_min=121, preferred_max=161, max_frames=497, trim_max=48)
SMALL = replace(LTX2, auto_min=17, auto_max=49, preferred_min=25, preferred_max=41, trim_max=8)

lengths = st.integers(12, 32).map(lambda k: 8 * k + 1)
small_lengths = st.integers(2, 6).map(lambda k: 8 * k + 1)
rates = st.sampled_from([24, 25, 30, 48, 50])
crossfades = st.integers(0, 24)


def autos(count: int) -> list[LengthRequest]:
    return [LengthRequest(chr(ord("a") + i)) for i in range(count)]


def kept(lengths: tuple[int, ...] | list[int]) -> list[LengthRequest]:
    return [LengthRequest(chr(ord("a") + i), sticky=length) for i, length in enumerate(lengths)]


def assert_holds(cut: Cut, asks: list[LengthRequest], crossfade: int, limits: Limits) -> None:
    """What is true of every cut."""
    n = len(asks)
    used = [f - t - a.new_frames_less for f, t, a in zip(cut.frames, cut.trims, asks, strict=True)]
    assert cut.covered == sum(used) - (n - 1) * crossfade >= cut.need
    assert cut.picture == cut.covered + sum(cut.trims)
    assert cut.covered == cut.need or cut.need == 0 or cut.notes
    for i, (ask, frames, trim) in enumerate(zip(asks, cut.frames, cut.trims, strict=True)):
        assert used[i] >= max(1, crossfade * ((i > 0) + (i < n - 1)))
        assert 0 <= trim <= limits.trim_max
        if ask.fixed and ask.sticky:
            assert frames == ask.sticky
        elif ask.explicit:
            assert frames == ask.explicit
        elif frames != ask.sticky:
            assert timing.is_on_grid(frames)
            assert limits.auto_min <= frames <= limits.auto_max


# Times


@pytest.mark.parametrize(
    ("text", "seconds", "frames"),
    [
        ("12f", Fraction(12, 25), 12),
        ("0.4s", Fraction(2, 5), 10),
        ("4.84s", Fraction(121, 25), 121),
        ("0s", Fraction(0), 0),
        (" 2s ", Fraction(2), 50),
        ("0.02s", Fraction(1, 50), 1),  # half a frame: up
        ("0.019s", Fraction(19, 1000), 0),
    ],
)
def test_times_are_exact(text: str, seconds: Fraction, frames: int) -> None:
    assert timing.parse_time(text, 25) == seconds
    assert timing.parse_frames(text, 25) == frames


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("12", '"12" has no unit', "write 12f for frames or 12s for seconds"),
        ("4.84", '"4.84" has no unit', "write 4.84s"),
        ("12ms", '"12ms" has the unknown unit "ms"', "write 12f for frames or 12s for seconds"),
        ("1.5f", '"1.5f" is not a whole number of frames', "write 1.5s if you mean seconds"),
        ("-1s", '"-1s" is not a time', "write frames as 12f or seconds as 0.4s"),
        ("1:30", '"1:30" is not a time', "write frames as 12f or seconds as 0.4s"),
        ("", '"" is not a time', "write frames as 12f or seconds as 0.4s"),
        ("١s", '"١s" is not a time', "write frames as 12f or seconds as 0.4s"),
    ],
)
def test_a_time_without_its_unit_has_a_hint(text: str, message: str, hint: str) -> None:
    with pytest.raises(timing.TimingError) as caught:
        timing.parse_time(text, 25)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_frames_of_seconds_do_not_suffer_from_floats() -> None:
    assert timing.seconds_to_frames_up(Fraction("0.28"), 25) == 7  # math.ceil(0.28 * 25) == 8


@given(st.integers(0, 10**6), rates)
def test_whole_frames_stay_whole(frames: int, fps: int) -> None:
    assert timing.seconds_to_frames_up(Fraction(frames, fps), fps) == frames


@given(st.fractions(0, 60), st.fractions(0, 2), st.fractions(0, 2), rates)
def test_a_narration_with_its_pads_fits_into_what_is_needed(
    narration: Fraction, head: Fraction, tail: Fraction, fps: int
) -> None:
    need = timing.needed_frames(narration, head, tail, fps)
    assert (narration + head + tail) * fps <= need < (narration + head + tail) * fps + 1
    assert timing.narration_start(head, fps) + timing.seconds_to_frames_up(narration, fps) <= need


# The grid


@given(st.integers(-5, 2000))
def test_snapping_goes_to_the_nearest_length_on_the_grid(frames: int) -> None:
    up, down = timing.snap_up(frames), timing.snap_down(frames)
    assert timing.is_on_grid(up)
    assert timing.is_on_grid(down)
    assert up == 9 if frames <= 9 else frames <= up < frames + 8
    assert down == 9 if frames <= 9 else frames - 8 < down <= frames


def test_the_longest_clip_respects_seconds_and_frames() -> None:
    assert timing.longest(Fraction(20), 25, 993) == 497
    assert timing.longest(Fraction(20), 50, 993) == 993
    assert timing.longest(Fraction(20), 24, 993) == 473


@given(st.fractions(0, 60), st.integers(1, 120), st.integers(17, 1000), st.sampled_from([8, 16]))
def test_a_time_becomes_the_nearest_lengths_there_are(seconds: Fraction, fps: int, most: int, step: int) -> None:
    grid = [step * n + 1 for n in range(1, 900) if step * n + 1 <= most]
    near = timing.lengths_near(seconds, fps, most, step)
    assert len(near) <= 2
    for frames in near:
        assert frames in grid
        assert abs(frames - seconds * fps) < step or frames == grid[0]
    if near:
        assert near[0] == min(grid, key=lambda frames: (abs(frames - seconds * fps), -frames))
    else:
        assert seconds * fps > timing.snap_down(most, step)


def test_a_written_time_is_as_long_as_it_must_be_and_no_longer() -> None:
    four_seconds = LengthRequest("a", explicit=97, around=(97, 105))
    assert solve(97, [four_seconds], 12, LTX2).frames == (97,)
    assert solve(100, [four_seconds], 12, LTX2).frames == (105,)
    assert solve(200, [four_seconds, LengthRequest("b")], 12, LTX2).frames == (97, 121)  # what is open takes it
    with pytest.raises(LengthConflict, match="the lengths as written cover 105 of the 120 frames"):
        solve(120, [four_seconds], 12, LTX2)
    assert timing.solve_parts([100, 97], [four_seconds, LengthRequest("b")], 0, LTX2).frames == (105, 97)


def test_a_written_time_that_is_rendered_stays_on_its_side() -> None:
    rendered = LengthRequest("a", explicit=97, around=(97, 105), sticky=105)
    assert solve(0, [rendered], 12, LTX2).frames == (105,)
    assert solve(0, [rendered], 12, LTX2, relength=True).frames == (97,)
    assert solve(0, [replace(rendered, sticky=113)], 12, LTX2).frames == (97,)  # it was another time


# Covering


@pytest.mark.parametrize(
    ("need", "frames"),
    [
        # pads of 8 and 13 frames; 8, 12, 15 and 20 seconds at 25 fps
        (221, (121, 113)),
        (321, (121, 113, 113)),
        (396, (145, 145, 137)),
        (521, (145, 145, 137, 137)),
        # pads of 0.2 and 0.4 seconds; 11.6, 12, 14.3, 6.4, 7.2 and 8.6 seconds
        (305, (161, 161)),
        (315, (113, 113, 113)),
        (373, (137, 137, 129)),
        (175, (97, 97)),
        (195, (105, 105)),
        (230, (121, 121)),
        (121, (121,)),
        (122, (129,)),
    ],
)
def test_worked_examples(need: int, frames: tuple[int, ...]) -> None:
    cut = solve(need, autos(len(frames)), 12, LTX2)
    assert cut.frames == frames
    assert cut.covered == need
    assert cut.overshoot <= 7


@given(st.integers(1, 3000), st.integers(1, 12), crossfades)
@example(need=315, count=3, crossfade=12)
def test_fresh_lengths_cover_near_equal_and_with_the_least_overshoot(need: int, count: int, crossfade: int) -> None:
    asks = autos(count)
    most = 257 * count - (count - 1) * crossfade
    least = 97 * count - (count - 1) * crossfade
    if need > most:
        with pytest.raises(LengthConflict):
            solve(need, asks, crossfade, LTX2)
        return
    cut = solve(need, asks, crossfade, LTX2)
    assert_holds(cut, asks, crossfade, LTX2)
    assert max(cut.frames) - min(cut.frames) <= 8
    assert list(cut.frames) == sorted(cut.frames, reverse=True)
    assert cut.overshoot <= 7 if need >= least else set(cut.frames) == {97}


@given(st.integers(1, 1500), st.lists(lengths | st.none(), min_size=1, max_size=6), crossfades)
def test_a_result_that_is_kept_stays(need: int, before: list[int | None], crossfade: int) -> None:
    asks = [LengthRequest(str(i), sticky=length) for i, length in enumerate(before)]
    try:
        first = solve(need, asks, crossfade, LTX2)
    except LengthConflict:
        assume(False)
    assert_holds(first, asks, crossfade, LTX2)
    again = solve(need, kept(first.frames), crossfade, LTX2)
    assert (again.frames, again.trims) == (first.frames, first.trims)


@given(st.lists(lengths, min_size=1, max_size=6), crossfades, st.data())
def test_a_shorter_narration_changes_no_length(before: list[int], crossfade: int, data: st.DataObject) -> None:
    need = data.draw(st.integers(1, sum(before) - (len(before) - 1) * crossfade))
    cut = solve(need, kept(before), crossfade, LTX2)
    assert cut.frames == tuple(before)
    assert_holds(cut, kept(before), crossfade, LTX2)


@given(st.integers(1, 160), st.lists(small_lengths | st.none(), min_size=1, max_size=3), st.integers(0, 8))
def test_a_longer_narration_changes_the_fewest_lengths(need: int, before: list[int | None], crossfade: int) -> None:
    """Against all that could be: the fewest rendered lengths change, and then the least is rendered."""
    asks = [LengthRequest(str(i), sticky=length) for i, length in enumerate(before)]
    grid = range(17, 50, 8)
    goal = need + (len(before) - 1) * crossfade

    def cost(frames: tuple[int, ...]) -> tuple[int, int]:
        changed = sum(b is not None and b != f for b, f in zip(before, frames, strict=True))
        return changed, sum(frames)

    possible = [
        frames
        for frames in product(*(grid if b is None else [b, *(f for f in grid if f > b)] for b in before))
        if sum(frames) >= goal
    ]
    if not possible:
        with pytest.raises(LengthConflict):
            solve(need, asks, crossfade, SMALL)
        return
    cut = solve(need, asks, crossfade, SMALL)
    assert_holds(cut, asks, crossfade, SMALL)
    assert cost(cut.frames) == min(cost(frames) for frames in possible)


any_request = st.builds(
    LengthRequest,
    name=st.just("a"),
    explicit=st.none() | st.none() | lengths,
    sticky=st.none() | lengths,
    fixed=st.booleans(),
    new_frames_less=st.sampled_from([0, 0, 1, 9]),
)


@given(st.integers(0, 1500), st.lists(any_request, min_size=1, max_size=6), st.integers(0, 60), st.booleans())
def test_every_cut_keeps_its_promises(need: int, asks: list[LengthRequest], crossfade: int, relength: bool) -> None:
    try:
        cut = solve(need, asks, crossfade, LTX2, relength)
    except LengthConflict as refused:
        refusal = (refused.message, refused.hint)
        assert all(refusal)
        return
    assert_holds(cut, asks, crossfade, LTX2)


def test_trimming_takes_from_the_last_clip_first() -> None:
    cut = solve(250, kept([161, 161]), 12, LTX2)
    assert (cut.trims, cut.covered, cut.notes) == ((12, 48), 250, ())


def test_trimming_leaves_room_for_both_crossfades() -> None:
    asks = [LengthRequest("a", explicit=121), LengthRequest("b", explicit=41), LengthRequest("c", explicit=121)]
    assert solve(233, asks, 20, LTX2).trims == (0, 0, 10)
    assert solve(190, asks, 20, LTX2).trims == (4, 1, 48)


def test_a_much_shorter_narration_leaves_a_longer_tail_and_names_relength() -> None:
    cut = solve(130, kept([161, 161]), 12, LTX2)
    assert cut.frames == (161, 161)
    assert cut.trims == (48, 48)
    assert cut.covered == 214
    assert cut.notes == (
        "the picture stays 84 frames longer than needed: rendered lengths are kept; `--relength` solves them again",
    )
    assert solve(130, kept([161, 161]), 12, LTX2, relength=True).frames == (97, 97)


def test_a_longer_narration_lengthens_the_shortest_clip_only() -> None:
    assert solve(330, kept([121, 113, 113]), 12, LTX2).frames == (121, 113, 121)


def test_clips_that_are_not_rendered_yet_take_what_they_can() -> None:
    asks = [LengthRequest("a", sticky=121), LengthRequest("b", sticky=121), LengthRequest("c")]
    assert solve(400, asks, 12, LTX2).frames == (121, 121, 185)
    assert solve(480, asks, 12, LTX2).frames == (121, 193, 193)


def test_a_kept_length_that_makes_another_too_long_names_relength() -> None:
    cut = solve(400, [LengthRequest("a", sticky=121), LengthRequest("b", sticky=121), LengthRequest("c")], 12, LTX2)
    assert cut.notes == (
        "185 frames is outside 121–161, where clips look best: `--relength` would make them 145f, 145f, 137f",
    )


def test_too_few_clips_say_how_many_would_be_within() -> None:
    cut = solve(400, autos(2), 12, LTX2)
    assert cut.frames == (209, 209)
    assert cut.notes == (
        "209 frames is outside 121–161, where clips look best: 3 clips would be within (145f, 145f, 137f)",
    )


def test_no_note_where_no_number_of_clips_is_better() -> None:
    assert solve(175, autos(2), 12, LTX2).notes == ()


def test_too_many_clips_say_how_many_are_enough() -> None:
    cut = solve(100, autos(3), 12, LTX2)
    assert cut.frames == (97, 97, 97)
    assert cut.trims == (48, 48, 48)
    assert cut.notes == ("the picture stays 23 frames longer than needed: 1 clip would be enough (105f)",)


def test_approved_lengths_do_not_change() -> None:
    asks = [LengthRequest("a", sticky=121, fixed=True), LengthRequest("b", sticky=121)]
    assert solve(240, asks, 12, LTX2).frames == (121, 137)
    assert solve(240, asks, 12, LTX2, relength=True).frames == (121, 137)
    assert solve(
        150, [LengthRequest("a", explicit=97, sticky=121, fixed=True), LengthRequest("b")], 12, LTX2
    ).frames == (121, 97)


def test_no_narration_gives_clips_their_usual_length() -> None:
    asks = [LengthRequest("a"), LengthRequest("b", explicit=97), LengthRequest("c", sticky=161)]
    cut = solve(0, asks, 12, LTX2)
    assert (cut.frames, cut.trims, cut.notes) == ((121, 97, 161), (0, 0, 0), ())


def test_a_scene_that_cannot_be_covered_names_a_sufficient_number_of_clips() -> None:
    with pytest.raises(LengthConflict) as caught:
        solve(700, autos(2), 12, LTX2)
    error = caught.value
    assert error.message == "502 of the 700 frames needed are covered by 2 clips of at most 257 frames"
    assert error.hint == ("write 5 clips (153f, 153f, 153f, 145f, 145f), or shorten the narration by 198 frames")
    assert (error.need, error.have, error.clips_needed) == (700, 502, 5)


def test_written_lengths_that_are_too_short_say_what_would_do() -> None:
    with pytest.raises(LengthConflict) as caught:
        solve(230, [LengthRequest("a", explicit=97), LengthRequest("b", explicit=97)], 12, LTX2)
    error = caught.value
    assert error.message == "the lengths as written cover 182 of the 230 frames needed"
    assert error.hint == "48 more frames are needed: make them longer, or add 1 clip"
    assert error.clips_needed == 3


def test_written_lengths_that_are_too_long_are_trimmed_or_refused() -> None:
    asks = [LengthRequest("a", explicit=161), LengthRequest("b", explicit=161)]
    assert solve(220, asks, 12, LTX2).trims == (42, 48)
    with pytest.raises(LengthConflict) as caught:
        solve(200, asks, 12, LTX2)
    assert caught.value.message == "the lengths as written cover 310 frames; 200 are needed"
    assert caught.value.hint == ("take 14 frames off them, or write `auto`; trimming the tails removes 96 at most")


def test_a_length_above_the_model_is_refused() -> None:
    with pytest.raises(LengthConflict, match='"b" asks for 505 frames; the model makes 497 at most'):
        solve(600, [LengthRequest("a"), LengthRequest("b", explicit=505)], 12, LTX2)


def test_a_clip_shorter_than_its_crossfades_is_refused() -> None:
    asks = [LengthRequest("a", explicit=121), LengthRequest("b", explicit=17), LengthRequest("c", explicit=121)]
    with pytest.raises(LengthConflict, match='"b" has 17 frames, and its crossfades take 24'):
        solve(200, asks, 12, LTX2)


def test_a_rendered_clip_shorter_than_its_new_crossfades_is_made_longer() -> None:
    assert solve(300, kept([161, 97, 161]), 60, LTX2).frames == (161, 121, 161)


def test_a_continuation_counts_only_its_new_frames() -> None:
    cut = solve(230, [LengthRequest("a"), LengthRequest("b", new_frames_less=9)], 12, LTX2)
    assert cut.frames == (129, 129)
    assert cut.covered == sum(cut.frames) - sum(cut.trims) - 9 - 12 == 230


def test_a_scene_without_clips_is_refused() -> None:
    with pytest.raises(LengthConflict, match="no clips"):
        solve(100, [], 12, LTX2)


@given(st.integers(1, 1500), st.integers(1, 8), crossfades)
def test_the_schedule_ends_where_the_picture_does(need: int, count: int, crossfade: int) -> None:
    try:
        cut = solve(need, autos(count), crossfade, LTX2)
    except LengthConflict:
        assume(False)
    placed = timing.schedule(cut.frames, cut.trims, crossfade)
    assert placed[0][0] == 0
    assert sum(placed[-1]) == cut.covered
    for (start, duration), (following, _) in pairwise(placed):
        assert start + duration - following == crossfade


# Seeds and names


def test_seeds_are_frozen() -> None:
    """Golden: a change here changes every film's pictures."""
    assert timing.seed_for(0, "hook", "a", 1) == 6347040230075891
    assert timing.seed_for(20260111, "hook", "a", 1, 2) == 1863754857513450


def test_seeds_differ_by_each_of_their_parts_and_fit_in_53_bits() -> None:
    parts = [
        (0, "a", "b", 1, 0),
        (1, "a", "b", 1, 0),
        (0, "ab", "", 1, 0),
        (0, "a", "b", 2, 0),
        (0, "a", "b", 1, 1),
    ]
    seeds = [timing.seed_for(*part) for part in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**53 for seed in seeds)


def test_letters_go_on_after_z() -> None:
    assert [timing.letters(i) for i in (0, 1, 25, 26, 27, 51, 52, 701, 702)] == [
        "a", "b", "z", "aa", "ab", "az", "ba", "zz", "aaa",
    ]  # fmt: skip
    assert timing.clip_file_name(0, 0) == "scene-0-a.mp4"
    assert timing.clip_file_name(12, 26) == "scene-12-aa.mp4"


# A grid of 16: clips whose frame rate is doubled after sampling


def test_doubled_clips_stay_on_their_grid() -> None:
    cut = solve(500, [LengthRequest("a", step=16), LengthRequest("b"), LengthRequest("c", step=16)], 12, LTX2)
    assert all(frames % 16 == 1 for frames in (cut.frames[0], cut.frames[2]))
    assert timing.is_on_grid(cut.frames[1])
    assert cut.covered == 500


def test_limits_of_doubled_clips_are_those_of_what_is_sampled() -> None:
    assert solve(0, [LengthRequest("a", step=16)], 0, LTX2).frames == (2 * (121 - 1) + 1,)
    (frames,) = solve(480, [LengthRequest("a", step=16)], 0, LTX2).frames
    assert frames == 481
    assert (frames - 1) // 2 + 1 <= LTX2.auto_max
    with pytest.raises(LengthConflict):
        solve(480, [LengthRequest("a")], 0, LTX2)


@given(st.integers(1, 1200), st.lists(st.sampled_from([8, 16]), min_size=1, max_size=4), crossfades)
def test_any_mix_of_grids_covers_and_is_stable(need: int, steps: list[int], crossfade: int) -> None:
    asks = [LengthRequest(str(i), step=step) for i, step in enumerate(steps)]
    try:
        cut = solve(need, asks, crossfade, LTX2)
    except LengthConflict:
        return
    assert all(frames % step == 1 for frames, step in zip(cut.frames, steps, strict=True))
    assert cut.covered >= need
    held = [replace(ask, sticky=frames) for ask, frames in zip(asks, cut.frames, strict=True)]
    assert solve(need, held, crossfade, LTX2).frames == cut.frames


def test_a_tail_that_another_clip_goes_on_from_is_kept() -> None:
    asks = [
        LengthRequest("a", explicit=121),
        LengthRequest("b", explicit=121, keeps_tail=True),
        LengthRequest("c", explicit=121),
    ]
    assert solve(300, asks, 12, LTX2).trims == (0, 0, 39)
    assert solve(250, asks, 12, LTX2).trims == (41, 0, 48)


def test_only_a_step_of_its_grid_is_the_shortest_length() -> None:
    assert (timing.snap_up(2), timing.snap_up(2, 16), timing.snap_down(3, 16)) == (9, 17, 17)
    assert (timing.snap_up(18, 16), timing.snap_down(32, 16)) == (33, 17)
