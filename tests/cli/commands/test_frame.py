"""`ltxflow frame`: a picture of what is published of a clip, or of one take."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.film import SIZE, Film
from PIL import Image


def test_a_frame_of_the_published_clip(film: Film) -> None:
    film.build()
    ran = film.run("frame", "hook/a", "--at", "1s", "--json")
    assert ran.code == 0, ran.err
    assert (ran.data["shows"], ran.data["frame"], ran.data["take"]) == ("slate", 25, 1)
    assert (ran.data["width"], ran.data["height"]) == SIZE
    file = Path(ran.data["file"])
    assert file.parent == film.folder / ".ltxflow/frames"
    assert Image.open(file).size == SIZE
    film.render()
    film.run("build")
    assert film.run("frame", "hook/a", "--json").data["shows"] == "published"


def test_a_frame_of_a_take(film: Film) -> None:
    film.set("scenes/hook/clips/a/takes", 2).render()
    film.run("build")
    ran = film.run("frame", "hook/a@2", "--at", "last", "--json")
    assert (ran.code, ran.data["shows"], ran.data["take"]) == (0, "take 2", 2)
    assert ran.data["frame"] == ran.data["frames"] - 1


def test_a_smaller_jpeg_where_it_is_asked_for(film: Film, tmp_path: Path) -> None:
    film.build()
    out = tmp_path / "new/x.jpg"
    ran = film.run("frame", "hook/a", "--size", "64", "--out", str(out))
    assert ran.code == 0, ran.err
    picture = Image.open(out)
    assert (picture.format, max(picture.size)) == ("JPEG", 64)
    assert "64x64" in ran.out


@pytest.mark.parametrize(
    ("argv", "code", "exit_code"),
    [
        (("hook/a", "--at", "999s"), "U017", 2),
        (("hook/a", "--at", "soon"), "U017", 2),
        (("hook/a", "--at", "12"), "U017", 2),
        (("hook/a@7",), "U017", 1),
        (("hook/x",), "U010", 2),
        (("hook/a", "--out", "x.exe"), "U017", 2),
        (("hook/a", "--size", "0"), "U002", 2),
    ],
)
def test_what_cannot_be_shown_is_explained(film: Film, argv: tuple[str, ...], code: str, exit_code: int) -> None:
    film.build()
    ran = film.run("frame", *argv, "--json")
    assert (ran.code, ran.envelope["problems"][0]["code"]) == (exit_code, code)
    assert ran.envelope["problems"][0]["hint"]


def test_before_anything_is_made_it_names_the_ways(film: Film) -> None:
    ran = film.run("frame", "hook/a")
    assert ran.code == 1
    assert "ltxflow build hook/a --animatic" in ran.err
