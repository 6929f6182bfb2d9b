"""`ltxflow init`: a film that checks, plans and builds as it stands."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.comfyui import MODELS_LTX2, MODELS_LTX23, FakeComfy
from harness.command import run
from harness.film import Film

from ltxflow.cli.commands.init import slug, titled


def test_a_new_film_has_nothing_wrong_with_it(film: Film) -> None:
    new = Film(film.folder.parent / "my film", film.store)
    ran = run("init", "my film", "--title", 'The "best"\\film')
    assert ran.code == 0
    assert "ltxflow build --animatic -p" in ran.out
    checked = new.run("check", "--strict")
    assert checked.code == 0, checked.err
    assert "0 error" not in checked.out
    assert new.run("plan", "--json").data["project"] == "my-film"
    assert 'The "best"\\film' in new.run("plan").out
    drawn = new.run("build", "--animatic", "--json")
    assert (drawn.code, drawn.totals["rendered"]) == (0, 3)
    assert new.timeline["complete"]


def test_the_first_line_shows_editors_where_the_schema_is(film: Film) -> None:
    work = film.folder.parent
    run("init", "one")
    head = (work / "one" / "project.yaml").read_text().splitlines()[0]
    assert head.startswith("# yaml-language-server: $schema=")
    named = work / "one" / head.partition("=")[2]
    assert named.is_file()
    (work / "schemas").mkdir()
    (work / "schemas" / "project.schema.json").write_text("{}")
    run("init", "films/two")
    head = (work / "films" / "two" / "project.yaml").read_text().splitlines()[0]
    assert head.endswith("$schema=../../schemas/project.schema.json")
    assert not (work / "films" / "two" / "project.schema.json").exists()


def test_what_is_there_is_never_overwritten(film: Film) -> None:
    before = film.file.read_text()
    ran = run("init", "film")
    assert ran.code == 2
    assert "already exists" in ran.err
    assert film.file.read_text() == before


def test_a_git_ignore_of_ones_own_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".gitignore").write_text("mine\n")
    assert run("init").code == 0
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def profile_of(folder: Path) -> str:
    (line,) = [line for line in (folder / "project.yaml").read_text().splitlines() if line.startswith("profile:")]
    return line.split()[1]


@pytest.mark.parametrize(
    ("models", "profile"),
    [
        (MODELS_LTX2, "ltx2-19b"),
        ({**MODELS_LTX2, **MODELS_LTX23}, "ltx2.3-22b"),
        ({**MODELS_LTX2, "checkpoints": []}, "ltx2-19b"),
    ],
)
def test_its_model_is_the_newest_that_a_server_can_run(
    film: Film, monkeypatch: pytest.MonkeyPatch, models: dict[str, list[str]], profile: str
) -> None:
    with FakeComfy(models=models) as server:
        monkeypatch.setenv("COMFY_URL", server.url)
        ran = run("init", "new", "--json")
        assert (ran.code, ran.data["profile"]) == (0, profile)
        assert server.url.removeprefix("http://") in ran.data["why"]
    new = Film(film.folder.parent / "new", film.store)
    assert profile_of(new.folder) == profile
    assert new.run("check", "--strict").code == 0


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_a_server_that_is_silent_dead_or_wrong_keeps_no_one_waiting(
    film: Film, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    for number, address in enumerate((silent, "http://127.0.0.1:9", "ftp://nowhere")):
        monkeypatch.setenv("COMFY_URL", address)
        ran = run("init", f"new{number}")
        assert ran.code == 0, ran.err
        assert profile_of(film.folder.parent / f"new{number}") == "ltx2-19b"
    assert "ftp" in ran.err


@pytest.mark.parametrize(
    ("name", "id"),
    [
        ("My Film!", "my-film"),
        ("Über uns", "uber-uns"),
        ("---", "film"),
        ("CON", "con-1"),
        ("a" * 80, "a" * 64),
        ("水", "film"),
    ],
)
def test_a_folders_name_becomes_an_id(name: str, id: str) -> None:
    assert slug(name) == id


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("my-film", "My film"),
        ("Über Film (2)", "Über Film (2)"),
        ("NASA_moon", "NASA moon"),
        ("水", "水"),
        ("---", "Film"),
    ],
)
def test_a_folders_name_becomes_a_title(name: str, title: str) -> None:
    assert titled(name) == title


def test_the_next_command_can_be_pasted(film: Film) -> None:
    assert "next: ltxflow check -p 'a film (2)' " in run("init", "a film (2)").out
