"""From draft to final: what is published of a clip is the best that exists, and plan, build and status say which it is.

The order is final, draft, stale, slate; whichever way a stand-in is asked for, by option or in the film.
"""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from harness.film import Film, prompt

PREVIEW = ("--quality", "preview")


@pytest.fixture
def one(film: Film) -> Film:
    """A scene of three clips, rendered."""
    film.write({"hook": ["a", "b", "c"]}, "")
    assert film.make().rendered == {"hook/a@1", "hook/b@1", "hook/c@1"}
    return film


def clips(film: Film) -> dict[str, dict[str, Any]]:
    return {f"{scene['id']}/{clip['id']}": clip for scene in film.timeline["scenes"] for clip in scene["clips"]}


def shown(film: Film) -> str:
    """The states of the published clips in film order: `final draft stale`."""
    return " ".join(str(clip["state"]) for clip in clips(film).values())


def rewrite(film: Film, clip: str = "hook-a", words: str = "another") -> None:
    film.edit(f"for {clip};", f"for {clip} {words};")


def revert(film: Film, clip: str = "hook-a", words: str = "another") -> None:
    film.edit(f"for {clip} {words};", f"for {clip};")


def is_settled(film: Film, *argv: str) -> bool:
    """Plan finds nothing, and build makes nothing."""
    plan = film.run("plan", "--exit-code", *argv)
    before = film.files()
    made = film.make(*argv)
    assert made.rendered == set()
    assert made.done.totals["restored"] == 0
    return plan.code == 0 and film.files() == before


def changes(film: Film, *argv: str) -> dict[str, str]:
    data = film.run("plan", "--json", *argv).data
    return {c["target"].partition(":")[2].partition("@")[0]: c["kind"] for c in data["changes"]}


def lock(film: Film) -> bytes:
    return film.lock_file.read_bytes() if film.lock_file.exists() else b""


# --- by option


def test_a_preview_of_an_edited_clip_is_published_and_the_next_build_replaces_it(one: Film) -> None:
    before, locked = one.files(), lock(one)
    rewrite(one)
    assert changes(one, *PREVIEW) == {"hook/a": "change", "hook/b": "unchanged", "hook/c": "unchanged"}
    assert one.make(*PREVIEW).rendered == {"hook/a@1"}
    assert shown(one) == "draft final final"
    assert clips(one)["hook/a"]["isStandIn"]
    assert not clips(one)["hook/a"]["isStale"]
    assert one.files()["scene-0-a.mp4"] != before["scene-0-a.mp4"]
    assert lock(one) == locked
    assert is_settled(one, *PREVIEW)
    assert one.make().rendered == {"hook/a@1"}
    assert shown(one) == "final final final"
    assert is_settled(one)
    assert is_settled(one, *PREVIEW)
    revert(one)
    assert one.make().rendered == set()
    assert one.files() == before


def test_a_preview_is_not_made_where_the_final_render_exists(one: Film) -> None:
    before = one.published()
    assert is_settled(one, *PREVIEW)
    assert is_settled(one, *PREVIEW, "--force")
    assert one.published() == before


def test_going_back_shows_the_final_render_again_at_no_cost(one: Film) -> None:
    before, locked = one.files(), lock(one)
    rewrite(one)
    one.make(*PREVIEW)
    revert(one)
    assert changes(one, *PREVIEW)["hook/a"] == "restore"
    made = one.make(*PREVIEW)
    assert (made.rendered, made.done.totals["restored"]) == (set(), 1)
    assert (one.files(), lock(one)) == (before, locked)
    rewrite(one)
    assert one.make(*PREVIEW).rendered == set()
    assert shown(one) == "draft final final"


def test_a_new_clip_is_a_draft_and_the_others_stay_final(one: Film) -> None:
    one.edit("- id: c", f'- id: d\n        prompt: "{prompt("hook-d")}"\n      - id: c')
    assert one.make(*PREVIEW).rendered == {"hook/d@1"}
    assert shown(one) == "final final draft final"
    assert is_settled(one, *PREVIEW)


def test_a_build_that_fails_keeps_the_draft(one: Film) -> None:
    rewrite(one)
    one.make(*PREVIEW)
    revert(one)
    one.make()
    rewrite(one)
    assert one.run("build", "--server", "http://127.0.0.1:9", "--patience", "0s").code == 4
    assert shown(one) == "final final final"  # nothing was begun


# --- in the film


def test_a_film_of_previews_settles_and_goes_back(one: Film) -> None:
    before, locked = one.files(), lock(one)
    one.edit("fps: 25", "fps: 25\nquality: preview")
    assert is_settled(one)
    assert shown(one) == "final final final"
    rewrite(one)
    assert one.make().rendered == {"hook/a@1"}
    assert shown(one) == "draft final final"
    assert is_settled(one)
    assert lock(one) == locked
    revert(one)
    assert one.make().rendered == set()
    assert shown(one) == "final final final"
    one.edit("quality: preview", "quality: distilled")
    assert is_settled(one)
    assert one.files() == before


def test_a_film_of_previews_that_was_never_rendered(film: Film) -> None:
    film.write({"hook": ["a", "b"]}, "", quality="preview")
    assert film.make().rendered == {"hook/a@1", "hook/b@1"}
    assert shown(film) == "draft draft"
    assert lock(film) == b""
    assert is_settled(film)
    film.edit('quality: "preview"', "quality: distilled")
    assert film.make("hook/a").rendered == {"hook/a@1"}
    assert shown(film) == "final draft"
    film.edit("quality: distilled", "quality: preview")
    assert is_settled(film)
    assert shown(film) == "final draft"


def test_a_take_in_another_quality_is_no_draft_but_worth_more_than_one(one: Film) -> None:
    one.make("--quality", "full")
    assert shown(one) == "final final final"
    full = one.files()
    assert set(changes(one, *PREVIEW).values()) == set(changes(one).values()) == {"restore"}
    one.edit("fps: 25", "fps: 25\nquality: preview")
    assert is_settled(one)
    one.edit("quality: preview", "quality: full")
    assert is_settled(one)
    assert one.files() == full


def test_a_full_film_shows_the_distilled_take_of_the_same_text_as_stale(one: Film) -> None:
    one.edit("fps: 25", "fps: 25\nquality: full")
    assert set(changes(one).values()) == {"change"}
    assert is_settled(one, *PREVIEW)
    assert shown(one) == "stale stale stale"
    rewrite(one)
    assert one.make(*PREVIEW).rendered == {"hook/a@1"}
    assert shown(one) == "draft stale stale"


@pytest.mark.parametrize("steps", ["", "steps: 3\n"])
def test_what_the_film_writes_itself_is_part_of_either(film: Film, steps: str) -> None:
    """A quality of the command line overrides as a whole, one of the film does not."""
    film.write({"hook": ["a"]}, "")
    film.edit("scenes:", f"defaults:\n  clip:\n    length: 49f\n{'    ' + steps if steps else ''}scenes:")
    film.make()
    for argv in ((), PREVIEW, ("--animatic",)):
        assert is_settled(film, *argv)
        assert shown(film) == "final"
    film.edit("fps: 25", "fps: 25\nquality: preview")
    assert is_settled(film)
    assert shown(film) == "final"


# --- slates


def test_an_animatic_shows_the_best_that_exists(one: Film) -> None:
    rewrite(one)
    assert is_settled(one, "--animatic")
    assert shown(one) == "stale final final"
    one.make(*PREVIEW)
    assert is_settled(one, "--animatic")
    assert shown(one) == "draft final final"
    one.edit("another", "another thing")
    made = one.make("--animatic")
    assert (made.rendered, made.done.totals["restored"]) == (set(), 1)
    assert shown(one) == "stale final final"
    assert is_settled(one, "--animatic")


def test_a_slate_is_drawn_where_only_the_draft_of_an_earlier_text_exists(film: Film) -> None:
    film.write({"hook": ["a", "b"]}, "", quality="preview").make()
    rewrite(film)
    assert film.make("--animatic").rendered == {"hook/a@1"}
    assert shown(film) == "slate draft"
    assert is_settled(film, "--animatic")
    revert(film)
    assert film.make("--animatic").rendered == set()
    assert shown(film) == "draft draft"


def test_a_lost_folder_is_filled_with_the_best_that_exists(one: Film) -> None:
    rewrite(one)
    one.make(*PREVIEW)
    rewrite(one, "hook-b")
    one.make("--animatic")
    before = one.files()
    assert shown(one) == "draft stale final"
    shutil.rmtree(one.public)
    made = one.make("--animatic")
    assert (made.rendered, made.done.totals["restored"]) == (set(), 3)
    assert (one.files(), shown(one)) == (before, "draft stale final")


# --- chains: a clip that continues another continues the best of it


def chain(film: Film, starts: str) -> Film:
    film.write({"hook": ["a", "b", "c"]}, "", defaults={"clip": {"length": "97f"}})
    for before, id in (("a", "b"), ("b", "c")):
        film.edit(f"- id: {id}\n", f"- id: {id}\n        {starts.format(before)}\n")
    film.edit("scenes:", "scenes:").edit("  - id: hook\n", "  - id: hook\n    crossfade: 0f\n")
    assert film.make().rendered == {"hook/a@1", "hook/b@1", "hook/c@1"}
    return film


CHAINS = ["extends: {}", "reference: {{ frame_of: {} }}"]


@pytest.mark.parametrize("starts", CHAINS)
def test_a_draft_at_the_end_of_a_chain_costs_one_render(film: Film, starts: str) -> None:
    chain(film, starts)
    locked = lock(film)
    rewrite(film, "hook-c")
    assert film.make(*PREVIEW).rendered == {"hook/c@1"}
    assert shown(film) == "final final draft"
    assert is_settled(film, *PREVIEW)
    assert is_settled(film, "--animatic")
    assert lock(film) == locked
    assert film.make().rendered == {"hook/c@1"}
    assert shown(film) == "final final final"
    assert is_settled(film)


@pytest.mark.parametrize("starts", CHAINS)
def test_a_draft_at_the_head_of_a_chain_makes_drafts_of_all_that_follows(film: Film, starts: str) -> None:
    chain(film, starts)
    before, locked = film.files(), lock(film)
    rewrite(film, "hook-a")
    assert film.make(*PREVIEW).rendered == {"hook/a@1", "hook/b@1", "hook/c@1"}
    assert shown(film) == "draft draft draft"
    assert is_settled(film, *PREVIEW)
    assert is_settled(film, "--animatic")
    assert film.make("hook/a").rendered == {"hook/a@1"}
    assert shown(film) == "final draft draft"
    assert is_settled(film, *PREVIEW)  # the drafts made of the draft are of this very text
    assert film.make().rendered == {"hook/b@1", "hook/c@1"}
    assert is_settled(film)
    revert(film, "hook-a")
    assert film.make(*PREVIEW).rendered == set()
    assert film.files() == before
    assert lock(film) != locked  # of the text that is final now; a stand-in writes nothing
    assert film.make().rendered == set()
    assert lock(film) == locked


@pytest.mark.parametrize("starts", CHAINS)
def test_a_chain_in_a_film_of_previews(film: Film, starts: str) -> None:
    chain(film, starts)
    film.edit("fps: 25", "fps: 25\nquality: preview")
    assert is_settled(film)
    rewrite(film, "hook-b")
    assert film.make().rendered == {"hook/b@1", "hook/c@1"}
    assert shown(film) == "final draft draft"
    assert is_settled(film)


# --- decisions


def test_an_approved_take_is_final_whatever_is_asked_for(one: Film) -> None:
    one.run("approve", "hook/a")
    before, locked = one.files(), lock(one)
    rewrite(one)
    for argv in (PREVIEW, ("--animatic",), ()):
        assert is_settled(one, *argv)
        assert shown(one) == "final final final"
        assert not clips(one)["hook/a"]["isStandIn"]
    assert (one.files(), lock(one)) == (before, locked)


def test_the_draft_of_a_pick_is_of_its_seed(film: Film) -> None:
    film.write({"hook": ["a"]}, "", defaults={"clip": {"takes": 2, "length": "49f"}}).make()
    film.run("pick", "hook/a@2")
    film.make()
    second = film.files()
    rewrite(film)
    assert film.make(*PREVIEW).rendered == {"hook/a@1", "hook/a@2"}
    assert (shown(film), clips(film)["hook/a"]["take"]) == ("draft", 2)
    film.run("pick", "hook/a@1")
    assert film.make(*PREVIEW).rendered == set()
    assert (shown(film), clips(film)["hook/a"]["take"]) == ("draft", 1)
    film.run("pick", "hook/a@2")
    revert(film)
    film.make(*PREVIEW)
    assert film.files() == second


def test_a_pinned_file_is_final(one: Film, tmp_path: Any) -> None:
    from harness.media import canned

    mine = tmp_path / "mine.mp4"
    mine.write_bytes(canned(97, (128, 128), 25, "mine"))
    assert one.run("pin", "hook/a", str(mine)).code == 0
    assert one.make().rendered == set()
    rewrite(one)
    for argv in (PREVIEW, ("--animatic",), ()):
        assert is_settled(one, *argv)
        assert shown(one) == "final final final"
