"""`covers:` – a clip begins with its first line, and its length follows from its lines."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from harness.command import run
from harness.film import Film
from hypothesis import given
from hypothesis import strategies as st

from ltxflow.core.errors import LtxflowError
from ltxflow.core.timing import LengthConflict, LengthRequest, Limits, schedule, solve_parts
from ltxflow.plan.plan import PlanOptions

LIMITS = Limits(97, 257, 121, 161, 497, 48)

FILM = """\
ltxflow: 1
id: film
size: 128x128
words_per_second: 2
defaults: {scene: {pad: {head: 0.2s, tail: 0.4s}, crossfade: 12f}}
scenes:
  - id: hook
    narration:
      lines:
        - {id: one, text: one two three four five six seven eight nine ten}
        - {id: two, text: one two three four, pause: 0.5s}
        - {id: three, text: one two three four five six seven eight}
    clips:
      - {id: a, covers: [one], prompt: A brass key turns in a lock while the camera moves in and metal clicks.}
      - {id: b, covers: [two, three], prompt: A paper boat drifts while the camera follows it and water laps.}
"""


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    return Film.at(tmp_path).move_in(monkeypatch).write_data(FILM)


def starts(film: Film) -> dict[str, int]:
    """Where each clip of the published film begins, in frames."""
    done = run("build", "--animatic", "--json", "-p", str(film.folder))
    assert done.code == 0, done.err
    return {clip["id"]: clip["from"] for clip in timeline(film)["scenes"][0]["clips"]}


def timeline(film: Film) -> Any:
    return json.loads((film.folder / "public/scenes/timeline.json").read_text())


def test_a_clip_begins_with_its_first_line(film: Film) -> None:
    # 10 words at 2 a second: line two is said 5 s after the pad of 0.2 s, at frame 130 of 25 a second
    assert starts(film) == {"a": 0, "b": 130}
    scene = timeline(film)["scenes"][0]
    need = -(-(Fraction("0.2") + 5 + 2 + Fraction("0.5") + 4 + Fraction("0.4")) * 25 // 1)
    assert scene["durationInFrames"] == scene["coverage"]["neededFrames"] == need


def test_a_longer_line_lengthens_its_own_clip_and_no_other(film: Film) -> None:
    before = film.session().plan(PlanOptions()).plan.nodes
    film.make()
    film.write_data(FILM.replace("nine ten", "nine ten eleven twelve thirteen"))
    changed = film.session().plan(PlanOptions()).of_kind("change")
    assert [change.clip for change in changed] == ["hook/a"]
    (reason,) = changed[0].reasons
    assert reason.field == "frames"
    assert reason.new > before["clip:hook/a@1"].frames
    assert film.make().rendered == {"hook/a@1"}


def test_a_shorter_line_costs_nothing(film: Film) -> None:
    film.make()
    film.write_data(FILM.replace(" nine ten", ""))
    assert film.make().rendered == set()
    assert [clip["from"] for clip in timeline(film)["scenes"][0]["clips"]] == [0, 105]


@pytest.mark.parametrize(
    ("old", "new", "message", "hint"),
    [
        ("[two, three]", "[three]", 'hook/b covers "three", which is not the next line', "write two, the next line"),
        ("[two, three]", "[two]", 'no clip covers line "three"', "write covers: [three]"),
        ("[one]", "[one, won]", 'hook/a covers "won", which is not a line of this scene', "write two, the next line"),
        ("[two, three]", "[one, two]", 'hook/b covers "one", which is not the next line', "write two, the next line"),
        (
            "covers: [two, three], ",
            "",
            "hook/b covers no line, but other clips of its scene do",
            "name the lines spoken while it plays, or remove covers from the other clips",
        ),
    ],
)
def test_lines_are_covered_once_and_in_order(film: Film, old: str, new: str, message: str, hint: str) -> None:
    film.write_data(FILM.replace(old, new))
    with pytest.raises(LtxflowError) as caught:
        film.session()
    (problem,) = caught.value.problems
    assert (problem.message, problem.hint, problem.code) == (message, hint, "L107")
    assert problem.span is not None
    assert problem.span.line in (14, 15)


def test_lines_of_a_text_have_numbers_and_other_narrations_have_none(film: Film) -> None:
    text = FILM[: FILM.index("      lines:")] + "      text: One two three four. Five six seven eight nine ten.\n"
    clips = FILM[FILM.index("    clips:") :].replace("[one]", "[1]").replace("[two, three]", "[2]")
    film.write_data(text + clips)
    assert starts(film) == {"a": 0, "b": 55}
    film.write_data(FILM[: FILM.index("      lines:")] + "      duration: 9s\n" + clips)
    with pytest.raises(LtxflowError, match='covers "1", which is not a line of this scene') as caught:
        film.session()
    assert caught.value.problems[0].hint == "give the narration lines: [{id: …, text: …}]"


@given(
    st.lists(st.integers(60, 400), min_size=1, max_size=6),
    st.integers(0, 24),
    st.lists(st.one_of(st.none(), st.integers(12, 40)), min_size=6, max_size=6),
)
def test_each_clip_begins_where_it_should_and_the_whole_is_covered(
    parts: list[int], crossfade: int, rendered: list[int | None]
) -> None:
    asks = [LengthRequest(str(n), sticky=s and 8 * s + 1) for n, s in zip(range(len(parts)), rendered, strict=False)]
    try:
        cut = solve_parts(parts, asks, crossfade, LIMITS)
    except LengthConflict:
        assert max(parts) + crossfade > LIMITS.auto_max
        return
    begins = [start for start, _ in schedule(cut.frames, cut.trims, crossfade)]
    wanted = [sum(parts[:n]) for n in range(len(parts))]
    assert all(begin >= want for begin, want in zip(begins, wanted, strict=True))
    if not cut.notes:
        assert begins == wanted
        assert cut.covered == cut.need == sum(parts)
    assert cut.covered >= sum(parts)
    assert all(now < after for now, after in pairwise(begins))
    for ask, frames in zip(asks, cut.frames, strict=True):
        assert frames % 8 == 1
        assert ask.sticky is None or frames >= ask.sticky
