"""`ltxflow explain`: why a clip is, or is not, made again."""

from __future__ import annotations

from harness.film import Film


def test_each_kind_is_reported_in_words(film: Film) -> None:
    assert "+ hook/a will be rendered for the first time" in film.run("explain", "--animatic").out
    film.build()
    assert "= hook/a is up to date" in film.run("explain", "hook/a", "--animatic").out
    film.edit("hook-a", "hook a")
    assert "~ hook/a is STALE: 1 of " in film.run("explain", "hook/a", "--animatic").out
    film.build()
    film.edit("hook a", "hook-a")
    assert "< hook/a will be restored from the store" in film.run("explain", "hook/a", "--animatic").out


def test_a_take_that_the_film_asks_for_no_more_can_be_asked_about(film: Film) -> None:
    film.edit("- id: b\n", "- id: b\n        takes: 2\n")
    film.render()
    film.run("build")
    film.edit("        takes: 2\n", "")
    assert "= hook/b@2 is up to date" in film.run("explain", "hook/b@2").out
    never = film.run("explain", "hook/b@3")
    assert (never.code, never.err.splitlines()[1]) == (2, '  → did you mean "hook/b"?')


def test_a_stale_clip_names_the_value_old_and_new_its_place_and_what_stayed(film: Film) -> None:
    film.render()
    film.run("build")
    film.edit("fps: 25", "fps: 25\ndefaults: { clip: { steps: 6 } }")
    output = film.run("explain", "hook/b").out.splitlines()
    assert output[0].startswith("~ hook/b is STALE: 1 of ")
    assert output[2] == "    steps  film/project.yaml:6:28"
    assert output[3] == "      8 → 6"
    assert output[4].startswith("    unchanged: ")
    assert "prompt.text" in output[4]


def test_reasons_are_data_too(film: Film) -> None:
    film.build()
    film.edit("hook-a", "hook a")
    (change,) = film.run("explain", "hook/a", "--animatic", "--json").data
    (reason,) = change["reasons"]
    assert reason["field"] == "prompt.text"
    assert "hook-a" in reason["old"]
    assert "hook a" in reason["new"]
    assert reason["where"]["file"] == "film/project.yaml"


def test_an_aspect_is_reported_with_the_size_it_means(film: Film) -> None:
    film.render()
    film.run("build", "hook/a")
    film.edit('size: "128x128"', 'aspect: "9:16"')
    output = film.run("explain", "hook/a").out
    assert "      128x128 → 9:16 (864x1536)" in output.splitlines()
