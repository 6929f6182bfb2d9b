"""`check --locked`: film and lock agree, or each clip that does not is named; with no store and no server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from harness.command import Ran, run
from harness.film import Film

FILM = """\
ltxflow: 1
id: film
size: 128x128
scenes:
  - id: hook
    narration: 9s
    clips:
      - {id: a, prompt: A brass key turns in a lock while the camera moves in and metal clicks.}
      - {id: b, prompt: A paper boat drifts while the camera follows it and water laps.}
"""


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """A film that was rendered, cloned to where there is no store."""
    made = Film(tmp_path / "made", tmp_path / "store", tmp_path / "config").write_data(FILM)
    assert made.make().rendered == {"hook/a@1", "hook/b@1"}
    clone = made.clone(tmp_path / "clone", store=tmp_path / "empty")
    return clone.move_in(monkeypatch)


def check(film: Film, *argv: str) -> Ran:
    return run("check", "--locked", "-p", str(film.folder), *argv)


def printed(film: Film) -> list[str]:
    """`code message` of each disagreement; other words on the film are not of interest."""
    done = check(film, "--json")
    problems = [problem for problem in done.envelope["problems"] if problem["code"] == "K001"]
    assert done.code == (1 if problems else 0), done.out + done.err
    return [problem["message"] for problem in problems]


def test_a_clone_without_a_store_agrees(film: Film) -> None:
    assert printed(film) == []
    assert not film.store.exists()


def test_what_costs_no_render_is_not_disagreement(film: Film) -> None:
    film.set("title", "Another").set("scenes/hook/narration", "8.5s")
    assert printed(film) == []


def test_an_edited_clip_is_named_and_where_the_store_knows_why_so_is_the_value(film: Film, tmp_path: Path) -> None:
    film.write_data(FILM.replace("brass key", "copper key"))
    (message,) = printed(film)
    assert message.startswith("hook/a differs from ltxflow.lock: key ")
    shutil.copytree(tmp_path / "store", film.store)
    assert printed(film) == ["hook/a differs from ltxflow.lock: prompt.text"]


def test_the_message_shows_where_and_what_to_do(film: Film) -> None:
    film.write_data(FILM.replace("{id: b,", "{id: c,"))
    done = check(film)
    assert done.code == 1
    assert "project.yaml:9:14: error: hook/c is not in ltxflow.lock [K001]" in done.err
    assert "→ render it, and commit ltxflow.lock: ltxflow build hook/c" in done.err


def test_an_approved_clip_stands_whatever_its_text_says(film: Film, tmp_path: Path) -> None:
    made = Film(tmp_path / "made", tmp_path / "store", tmp_path / "config")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTXFLOW_STORE", str(made.store))
        assert run("approve", "hook/a", "-p", str(made.folder)).code == 0
    shutil.copy(made.lock_file, film.lock_file)
    film.write_data(FILM.replace("brass key", "copper key"))
    assert printed(film) == []


def test_without_the_flag_the_lock_has_no_say(film: Film) -> None:
    film.lock_file.unlink()
    assert run("check", "-p", str(film.folder)).code == 0


def test_a_film_that_was_never_rendered_is_one_problem(film: Film) -> None:
    film.lock_file.unlink()
    assert printed(film) == ["no clip of this film is in ltxflow.lock"]
    assert "→ render it, and commit ltxflow.lock: ltxflow build\n" in check(film).err
