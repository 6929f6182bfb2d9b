"""Files as clumsy and hostile hands write them: told in a sentence with a place, never a bug."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.film import FILM, Film, film_text


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    (tmp_path / ".git").mkdir()
    return Film(tmp_path / "film", tmp_path / "store", tmp_path / "config").move_in(monkeypatch).write()


@pytest.mark.parametrize("time", ["999999999999999999s", "999999999s", "99999999f"])
def test_a_time_longer_than_any_film_is_told_where_it_is_written(film: Film, time: str) -> None:
    film.edit("narration: 6s", f'narration: "{time}"')
    done = film.run("plan")
    assert done.code == 2
    assert f'project.yaml:9:16: error: narration: "{time}" is too long for a film' in done.err
    assert "write at most 99999s (a day) or 9999999f" in done.err


@pytest.mark.parametrize("time", ["٣s", "1.0000000000001s"])
def test_a_time_that_is_none_is_told_where_it_is_written(film: Film, time: str) -> None:
    film.edit("narration: 6s", f'narration: "{time}"')
    done = film.run("plan")
    assert done.code == 2
    assert "project.yaml:9:16" in done.err
    assert "write 12f (frames) or 0.4s (seconds)" in done.err


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "ü" * 130 + ".png", "a/" * 600 + "b.png"])
def test_a_path_that_no_file_can_have_is_told_where_it_is_written(film: Film, name: str) -> None:
    film.edit("- id: a\n", f'- id: a\n        reference: "{name}"\n')
    done = film.run("plan", "--json")
    assert done.code == 2
    (problem,) = done.envelope["problems"]
    assert problem["code"] == "L010"
    assert "too long for a path" in problem["message"]
    assert problem["hint"] == "give the file a shorter name"
    assert (problem["where"]["line"], problem["where"]["col"]) == (12, 20)


@pytest.mark.parametrize("as_written", ["crlf", "bom"])
def test_line_ends_and_marks_of_other_systems_change_nothing(film: Film, as_written: str) -> None:
    film.build()
    text = film_text(FILM, {"hook": "6s", "middle": "3.5s", "end": "3s"})
    film.file.write_bytes(
        text.replace("\n", "\r\n").encode() if as_written == "crlf" else b"\xef\xbb\xbf" + text.encode()
    )
    again = film.run("build", "--animatic", "--json")
    assert again.totals["hit"] == again.totals["planned"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("servers: 5", '"5" is not a server address'),
        ("servers: [http://bench:8188, 5]", '"5" is not a server address'),
        ("store: [1]", "store must be a path"),
        ("allowed_nodes: 5", "allowed_nodes must be a list of names"),
        ("allowed_nodes: RIFE VFI", "allowed_nodes must be a list of names"),
    ],
)
def test_a_setting_of_another_kind_is_told_where_it_is_written(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, said: str
) -> None:
    monkeypatch.delenv("LTXFLOW_STORE")
    (tmp_path / "config/ltxflow").mkdir(parents=True)
    (tmp_path / "config/ltxflow/config.yaml").write_text(line + "\n")
    done = film.run("plan")
    assert done.code == 2
    assert f"config.yaml:1:{line.index(':') + 3}: error: {said}" in done.err
    assert "write " in done.err


@pytest.mark.parametrize(
    ("folder", "file", "hint"),
    [
        ("ltxflow.lock", "", "move away the folder that is in the file's place"),
        ("", ".ltxflow", "move away the file in the middle of that path"),
    ],
)
def test_a_folder_where_a_file_belongs_is_told_and_the_other_way_round(
    film: Film, folder: str, file: str, hint: str
) -> None:
    if folder:
        (film.folder / folder).mkdir(parents=True)
    if file:
        (film.folder / file).touch()
    done = film.run("plan")
    assert done.code == 2
    assert f'{folder or f"{file}/published.json"}": ' in done.err
    assert f"→ {hint}\n" in done.err
