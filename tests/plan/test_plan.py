"""What a build would do to every clip: create, change, restore, leave; and what no longer belongs to the film."""

from __future__ import annotations

import pytest
from harness.film import Film

from ltxflow.core.errors import LtxflowError
from ltxflow.plan.plan import Change, Plan, PlanOptions


def look(film: Film, *selectors: str, mode: str = "animatic") -> Plan:
    return film.session().plan(PlanOptions(mode, selectors))  # type: ignore[arg-type]


def kinds(outlook: Plan) -> dict[str, str]:
    return {change.clip: change.kind for change in outlook.changes}


def of(outlook: Plan, clip: str) -> Change:
    return next(change for change in outlook.changes if change.clip == clip)


def test_everything_of_a_new_film_is_created_in_its_place(film: Film) -> None:
    outlook = look(film)
    assert [(change.target, change.kind, change.file) for change in outlook.changes] == [
        ("slate:hook/a@1", "create", "scene-0-a.mp4"),
        ("slate:hook/b@1", "create", "scene-0-b.mp4"),
        ("slate:middle/a@1", "create", "scene-1-a.mp4"),
        ("slate:end/a@1", "create", "scene-2-a.mp4"),
    ]
    assert outlook.orphans == ()
    assert outlook.film_frames == sum(cut.covered for cut in outlook.cuts.values())


def test_what_was_made_and_stands_is_unchanged(film: Film) -> None:
    film.build()
    assert set(kinds(look(film)).values()) == {"unchanged"}


def test_an_edit_is_a_change_and_its_revert_a_restore(film: Film) -> None:
    film.build()
    film.edit("for middle-a", "for good")
    outlook = look(film)
    assert kinds(outlook) == {"hook/a": "unchanged", "hook/b": "unchanged", "middle/a": "change", "end/a": "unchanged"}
    assert [reason.field for reason in of(outlook, "middle/a").reasons] == ["prompt.text"]
    film.build()
    film.edit("for good", "for middle-a")
    back = of(look(film), "middle/a")
    assert (back.kind, back.note[:12]) == ("restore", "in the store")


def test_a_published_file_that_is_gone_is_restored(film: Film) -> None:
    film.build()
    (film.scenes / "scene-2-a.mp4").unlink()
    assert kinds(look(film))["end/a"] == "restore"


def test_a_scene_that_is_gone_leaves_orphans(film: Film) -> None:
    film.build()
    film.write({"hook": ["a"], "end": ["a"]})
    outlook = look(film)
    assert [(stand.file, stand.target) for stand in outlook.orphans] == [
        ("scene-0-b.mp4", "slate:hook/b@1"),
        ("scene-2-a.mp4", "slate:end/a@1"),  # its clip stands in scene-1-a.mp4 from now on
    ]
    assert kinds(outlook) == {"hook/a": "change", "end/a": "restore"}  # hook/a alone has more to cover


def test_what_is_not_selected_is_no_orphan(film: Film) -> None:
    film.build()
    outlook = look(film, "hook")
    assert list(kinds(outlook)) == ["hook/a", "hook/b"]
    assert outlook.orphans == ()


def test_what_somebody_else_put_there_is_no_orphan(film: Film) -> None:
    film.build()
    (film.scenes / "scene-9-a.mp4").write_bytes(b"mine")
    (film.scenes / "scene-0-b.mp4").write_bytes(b"edited by hand")
    film.write({"hook": ["a"], "middle": ["a"], "end": ["a"]})
    assert look(film).orphans == ()


def test_takes_beside_the_pick_have_no_place_in_the_cut(film: Film) -> None:
    film.render()
    film.edit("- id: middle\n", "- id: middle\n    takes: 2\n")
    outlook = look(film, "middle", mode="render")
    assert [(change.target, change.kind, change.file) for change in outlook.changes] == [
        ("clip:middle/a@1", "restore", "scene-1-a.mp4"),
        ("clip:middle/a@2", "create", ""),
    ]


def test_where_a_render_stands_an_animatic_has_nothing_to_do(film: Film) -> None:
    film.render("hook/a")
    film.run("build", "hook/a", "--json")
    assert kinds(look(film)) == {"hook/a": "unchanged", "hook/b": "create", "middle/a": "create", "end/a": "create"}
    assert of(look(film), "hook/a").note == "its final render is shown"


def test_a_scene_that_cannot_be_covered_is_told_at_its_narration(film: Film) -> None:
    film.edit("narration: 3.5s", "narration: 40s")
    with pytest.raises(LtxflowError) as caught:
        look(film)
    (problem,) = caught.value.problems
    assert problem.code == "T101"
    assert problem.message == "middle: 257 of the 1000 frames needed are covered by 1 clip of at most 257 frames"
    assert problem.hint.startswith("write 7 clips (")
    assert problem.span is not None
    assert film.file.read_text().splitlines()[problem.span.line - 1] == "    narration: 40s"
