"""What a verb works with: the project, what stands in the output folder, and who holds the project."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.film import Film, prompt

from ltxflow.core.errors import LtxflowError
from ltxflow.plan.plan import PlanOptions
from ltxflow.session.session import hold, open_session


def test_opening_a_session_writes_nothing(film: Film) -> None:
    film.session().plan(PlanOptions(mode="animatic"))
    assert [path.name for path in film.folder.iterdir()] == ["project.yaml"]
    assert not film.store.exists()


def test_an_answer_rests_on_fonts_only_where_letters_need_them(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {"/fonts", "/fonts/noto"}
    monkeypatch.setattr("ltxflow.session.session.font_places", lambda env: places)
    assert not places & set(map(str, film.session().input_paths()))
    film.edit(prompt("hook-a"), "مفتاح نحاسي")
    assert places <= set(map(str, film.session().input_paths()))


def test_what_stands_is_known_by_file_with_its_facts(film: Film) -> None:
    film.build()
    stands = film.session().published_clips()
    assert sorted(stands) == ["scene-0-a.mp4", "scene-0-b.mp4", "scene-1-a.mp4", "scene-2-a.mp4"]
    one = stands["scene-0-b.mp4"]
    assert (one.clip, one.source, one.rank, one.facts["frames"]) == ("hook/b", "animatic", 0, 97)


def test_what_was_edited_does_not_stand_any_more(film: Film) -> None:
    film.build()
    (film.scenes / "scene-0-a.mp4").write_bytes(b"mine")
    (film.scenes / "scene-1-a.mp4").unlink()
    assert sorted(film.session().published_clips()) == ["scene-0-b.mp4", "scene-2-a.mp4"]


def test_a_narration_and_the_timeline_are_no_clips(film: Film) -> None:
    film.build()
    session = film.session()
    assert "scenes/timeline.json" in session.published.entries
    assert session.plan(PlanOptions(mode="animatic")).orphans == ()


def test_a_clone_of_the_project_finds_all_in_the_shared_store(film: Film) -> None:
    film.build()
    clone = Film(film.folder.parent / "clone", film.store)
    clone.write()
    assert clone.run("build", "--animatic", "--json").totals["rendered"] == 0
    assert clone.timeline == film.timeline


def test_without_its_trace_the_lock_vouches_for_a_render(film: Film) -> None:
    film.render()
    film.run("build")
    for path in (film.store / "traces").rglob("*.json"):
        path.unlink()
    ran = film.run("build", "--json")
    assert (ran.code, ran.totals["hit"]) == (0, 4)


def test_the_project_is_held_by_one_at_a_time_and_says_by_whom(film: Film) -> None:
    session = film.session()
    with (
        hold(session, wait=False, on_wait=print),
        pytest.raises(LtxflowError) as held,
        hold(session, wait=False, on_wait=print),
    ):
        pass
    assert held.value.exit_code == 1
    assert "is held by process" in held.value.problems[0].message
    with hold(session, wait=False, on_wait=print):
        pass


def test_the_machines_own_folder_stays_out_of_git(film: Film) -> None:
    film.build()
    assert (film.folder / ".ltxflow" / ".gitignore").read_text() == "*\n"


def test_what_needs_trust_is_refused_until_it_is_given(film: Film, tmp_path: Path) -> None:
    folder = film.folder / "templates"
    folder.mkdir()
    source = Path(__file__).parents[2] / "templates" / "ltx2-19b"
    for name in ("t2v.json.j2", "_parts.j2"):
        (folder / name).write_text((source / name).read_text())
    with pytest.raises(LtxflowError) as refused:
        film.session()
    (problem,) = refused.value.problems
    assert problem.code == "L090"
    assert "template t2v" in problem.message
    assert "ltxflow trust" in problem.hint
    assert film.run("trust", "--show", "--json").data["trusted"] is False
    assert film.run("trust", "--json").data["trusted"] is True
    film.session()
    (folder / "t2v.json.j2").write_text((folder / "t2v.json.j2").read_text() + "\n")
    with pytest.raises(LtxflowError):
        film.session()  # trust was given to other content


def test_leftovers_of_killed_processes_are_taken_away_where_we_write(film: Film) -> None:
    film.build()
    name = ".ltxflow-00000000-1-deadbeef-1"
    from ltxflow.core import files

    ours = f".ltxflow-{files.host_token()}-1-deadbeef-1".replace("-1-", "-999999999-", 1)
    for folder in (film.folder, film.scenes, film.folder / ".ltxflow", film.store / "tmp"):
        (folder / ours).write_bytes(b"half")
        (folder / name).write_bytes(b"of another host, a moment ago")
    assert film.session().clean() == 4
    assert not list(film.folder.rglob(ours))
    assert (film.scenes / name).exists()


def test_a_session_is_the_same_from_wherever_it_is_opened(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    session = open_session(str(film.folder), cwd=Path("/"), env={"LTXFLOW_STORE": str(film.store)})
    keys = [status.key for status in session.plan(PlanOptions(mode="animatic")).statuses.values()]
    film_keys = [status.key for status in film.session().plan(PlanOptions(mode="animatic")).statuses.values()]
    assert keys == film_keys
