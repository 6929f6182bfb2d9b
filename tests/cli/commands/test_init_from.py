"""`ltxflow init --from`: a script becomes a film whose prompts are TODO: listed, never rendered, drawn as slates."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.comfyui import FakeComfy
from harness.command import run, run_alone
from harness.film import Film

SCRIPT = """\
# The well

## Opening
Every village has a well, and every well has a story.

## The stone
[Visual: a stone falls into the dark]
It fell, and nobody heard it land, and so they all came to look with lanterns and ropes and a great many opinions.
"""


@pytest.fixture
def well(film: Film) -> Film:
    """A film made from a script, beside the one of the fixture."""
    script = film.folder.parent / "well.md"
    script.write_text(SCRIPT)
    ran = run("init", "well", "--from", str(script), "--json")
    assert ran.code == 0, ran.err
    assert ran.data["script"] == {"form": "markdown", "scenes": 2, "clips": 3, "spoken_s": 13.6}
    return Film(film.folder.parent / "well", film.store, film.config)


def test_check_lists_each_prompt_with_its_place(well: Film) -> None:
    ran = well.run("check", "--json")
    assert ran.code == 1
    found = [each for each in ran.envelope["problems"] if each["level"] == "error"]
    assert [each["code"] for each in found] == ["L035"] * 3
    lines = well.file.read_text().splitlines()
    for each in found:
        where = each["where"]
        assert lines[where["line"] - 1][where["col"] - 1 :].startswith(('"TODO', ">-"))
    assert {each["level"] for each in ran.envelope["problems"]} <= {"error", "advice"}


def test_check_groups_them_by_their_cause(well: Film) -> None:
    ran = well.run("check")
    assert ran.err.count("L035") == 1
    assert "3 prompts are still TODO" in ran.err
    assert ran.err.count(f"{well.file.name}:") == 3
    assert "2 scenes, 3 clips" in ran.out
    well.edit("TODO: what is seen", "What is seen")
    assert "2 prompts are still TODO" in well.run("check").err


def test_the_animatic_draws_them(well: Film) -> None:
    drawn = well.run("build", "--animatic", "--json")
    assert (drawn.code, drawn.totals["rendered"]) == (0, 3)
    assert well.timeline["complete"]


def test_no_prompt_that_is_not_written_reaches_a_server(well: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeComfy() as server:
        monkeypatch.setenv("COMFY_URL", server.url)
        ran = well.run("build", "--json")
        assert (ran.code, {each["code"] for each in ran.envelope["problems"]}) == (2, {"L035"})
        assert well.run("retake", "opening/a").code == 2
        assert server.stats()["runs"] == []
        assert sum(server.requests.values()) == 0
        assert not (well.folder / "public/narration").exists()


def test_plan_warns_once_and_counts(well: Film) -> None:
    ran = well.run("plan")
    assert ran.code == 0
    assert ran.err.count("L035") == 1
    assert "opening/a" in ran.out
    assert [each["level"] for each in well.run("plan", "--json").envelope["problems"]] == ["warning"] * 3


def test_clips_that_are_written_can_be_built_without_the_others(well: Film) -> None:
    well.set("scenes/opening/clips/a/prompt", "A bucket swings on a rope while the camera tilts down; water drips.")
    made = well.make("opening", "--yes")
    assert made.rendered == {"opening/a@1"}


@pytest.mark.parametrize("text", ["TODO", "TODO: a door", "TODO describe it", "- TODO:", "TODO (later)", "TODO: "])
def test_what_counts_as_not_written(film: Film, text: str) -> None:
    film.set("scenes/hook/clips/a/prompt", text)
    assert film.run("build").code == 2
    film.set("scenes/hook/clips/a/prompt", {"camera": "It pans.", "action": text})
    assert film.run("build").code == 2


@pytest.mark.parametrize("text", ["TODO ESTÁ EN CALMA", "Todo: a list on a wall", "A note that reads TODO: milk"])
def test_what_does_not(film: Film, text: str) -> None:
    film.set("scenes/hook/clips/a/prompt", text)
    assert "L035" not in {each["code"] for each in film.run("check", "--json").envelope["problems"]}


def test_a_script_can_come_from_standard_input(film: Film) -> None:
    ran = run_alone("init", "piped", "--from", "-", "--json", input=SCRIPT, cwd=film.folder.parent)
    assert (ran.code, ran.data["script"]["scenes"]) == (0, 2)


def test_a_title_on_the_command_line_is_stronger_than_that_of_the_script(film: Film, tmp_path: Path) -> None:
    (film.folder.parent / "s.md").write_text(SCRIPT)
    run("init", "one", "--from", str(film.folder.parent / "s.md"))
    run("init", "two", "--from", str(film.folder.parent / "s.md"), "--title", "Mine")
    assert 'title: "The well"' in (film.folder.parent / "one/project.yaml").read_text()
    assert 'title: "Mine"' in (film.folder.parent / "two/project.yaml").read_text()


@pytest.mark.parametrize(("data", "code"), [(b"\xff", "U015"), (b"%PDF-1.7", "U015"), (b"", "U016"), (None, "U015")])
def test_a_script_that_cannot_be_read_leaves_nothing_behind(film: Film, data: bytes | None, code: str) -> None:
    script = film.folder.parent / "odd.md"
    if data is not None:
        script.write_bytes(data)
    ran = run("init", "odd", "--from", str(script), "--json")
    assert (ran.code, [each["code"] for each in ran.envelope["problems"]]) == (2, [code])
    assert not (film.folder.parent / "odd").exists()


def test_a_folder_or_a_pipe_in_its_place_is_refused(film: Film) -> None:
    import os

    os.mkfifo(film.folder.parent / "pipe")
    for name in ("film", "pipe"):
        ran = run("init", "odd", "--from", str(film.folder.parent / name), "--json")
        assert (ran.code, ran.envelope["problems"][0]["code"]) == (2, "U025")
