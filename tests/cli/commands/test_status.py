"""`ltxflow status`: how far each clip is."""

from __future__ import annotations

from harness.film import Film


def states(film: Film) -> dict[str, str]:
    return {clip["clip"]: clip["state"] for clip in film.run("status", "--json").data["clips"]}


def test_a_clip_goes_from_missing_over_slate_and_ready_to_made(film: Film) -> None:
    assert set(states(film).values()) == {"missing"}
    film.build()
    assert set(states(film).values()) == {"slate"}
    film.render("hook/a")
    assert states(film)["hook/a"] == "ready"
    film.run("build", "hook/a")
    assert states(film) == {"hook/a": "made", "hook/b": "slate", "middle/a": "slate", "end/a": "slate"}


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
    assert output[-1].startswith("0 of 4 clips made, film 12.5s.")


def test_a_scene_without_narration_has_only_its_picture(film: Film) -> None:
    film.write({"hook": ["a"]}, {})
    assert "none" in film.run("status").out
    assert film.run("status", "--json").data["film_frames"] == 121
