"""`ltxflow status`: what each clip is, and what the next build would do."""

from __future__ import annotations

from harness.film import Film


def states(film: Film) -> dict[str, str]:
    return {clip["clip"]: clip["state"] for clip in film.run("status", "--json").data["clips"]}


def said(film: Film) -> str:
    """The line that says what the clips are, and what is next."""
    return next(line for line in film.run("status").out.splitlines() if " current" in line)


def test_a_clip_goes_from_missing_over_slate_and_draft_to_final(film: Film) -> None:
    assert set(states(film).values()) == {"missing"}
    assert said(film) == "0 of 4 clips current, 4 not made: `ltxflow build` renders 4 clips"
    film.build()
    assert set(states(film).values()) == {"slate"}
    assert said(film) == "0 of 4 clips current, 4 slates: `ltxflow build` renders 4 clips"
    film.make("hook", "--quality", "preview")
    assert states(film) == {"hook/a": "draft", "hook/b": "draft", "middle/a": "slate", "end/a": "slate"}
    assert said(film) == "0 of 4 clips current, 2 drafts, 2 slates: `ltxflow build` renders 4 clips"
    film.make("hook/a")
    assert states(film) == {"hook/a": "final", "hook/b": "draft", "middle/a": "slate", "end/a": "slate"}
    film.make()
    assert said(film) == "4 of 4 clips current: nothing to build"
    data = film.run("status", "--json").data
    assert (data["states"], data["next"]) == ({"final": 4}, None)


def test_what_is_in_the_store_is_put_back_and_not_rendered(film: Film) -> None:
    film.make()
    film.edit("hook-a", "hook a")
    film.make()
    film.edit("hook a", "hook-a")
    assert "a< b✓" in film.run("status").out
    assert said(film) == "3 of 4 clips current, 1 stale: `ltxflow build` puts 1 clip back from the store"
    (row, *_) = film.run("status", "--json").data["clips"]
    assert (row["state"], row["change"]) == ("stale", "restore")


def test_all_that_was_edited_is_stale_and_not_unmade(film: Film) -> None:
    film.make()
    film.edit("seed: 3", "seed: 4").lock_file.unlink()
    assert said(film) == "0 of 4 clips current, 4 stale: `ltxflow build` renders 4 clips"


def test_a_rejected_take_is_counted(film: Film) -> None:
    film.make()
    film.run("reject", "hook/a", "too dark")
    assert said(film) == "4 of 4 clips current, 1 rejected: nothing to build"
    assert film.run("status", "--json").data["clips"][0]["status"] == "rejected"


def test_a_render_of_an_earlier_text_is_stale(film: Film) -> None:
    film.render()
    film.run("build")
    film.edit("hook-a", "hook a")
    assert states(film)["hook/a"] == "stale"


def test_the_table_shows_each_scene_with_its_narration_and_its_picture(film: Film) -> None:
    film.build()
    output = film.run("status").out.splitlines()
    assert output[2].split() == ["scene", "clips", "narration", "picture"]
    assert output[3] == "  0 hook    a▭ b▭  6.0s planned  150f of 150f needed (97+97, 32 trimmed)"
    assert output[-1].startswith("Film 12.5s, 4 clips.")


def test_a_scene_without_narration_has_only_its_picture(film: Film) -> None:
    film.write({"hook": ["a"]}, {})
    assert "none" in film.run("status").out
    assert film.run("status", "--json").data["film_frames"] == 121
