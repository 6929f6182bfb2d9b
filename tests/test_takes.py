"""Decisions about takes: how they are named, what they change, what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.comfyui import FakeComfy
from harness.command import run
from harness.data import get
from harness.film import Film, film_text, stale
from harness.media import canned


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """hook/a with three takes, hook/b and end/a with one; all rendered."""
    made = Film(tmp_path / "film", tmp_path / "store", tmp_path / "config").move_in(monkeypatch)
    made.write_data(film_text({"hook": ["a", "b"], "end": ["a"]}, {"hook": "6s", "end": "3s"}))
    made.set("scenes/hook/clips/a/takes", 3)
    assert made.make().rendered == {"hook/a@1", "hook/a@2", "hook/a@3", "hook/b@1", "end/a@1"}
    return made


def say(film: Film, *argv: str) -> str:
    done = run(*argv, "-p", str(film.folder))
    assert done.code == 0, done.err
    return done.out


def edit(film: Film, clip: str = "scenes/hook/clips/a") -> None:
    film.set(f"{clip}/prompt", get(film.data, f"{clip}/prompt").replace("turns", "spins"))


def test_a_pick_is_published_by_the_next_build_and_costs_nothing(film: Film) -> None:
    before = film.files()
    say(film, "pick", "hook/a", "2")
    assert film.make().rendered == set()
    after = film.files()
    assert after["scene-0-a.mp4"] != before["scene-0-a.mp4"]
    assert after["scene-0-b.mp4"] == before["scene-0-b.mp4"]
    say(film, "pick", "hook/a", "1")
    assert film.make().rendered == set()
    assert film.files() == before


def test_a_take_that_was_never_rendered_cannot_be_picked(film: Film) -> None:
    done = run("pick", "hook/b", "2", "-p", str(film.folder))
    assert done.code == 2
    assert "hook/b has no take 2 yet" in done.err
    assert "ltxflow build hook/b@2 --takes 2" in done.err


def test_an_unknown_clip_is_an_error(film: Film) -> None:
    done = run("approve", "hook/z", "-p", str(film.folder))
    assert done.code == 2
    assert 'no clip "hook/z"' in done.err


def test_takes_lists_them_with_the_pick_and_what_still_matches(film: Film) -> None:
    say(film, "pick", "hook/a", "3")
    edit(film)
    rows = run("takes", "hook/a", "--json", "-p", str(film.folder)).data
    assert [row["take"] for row in rows] == [1, 2, 3]
    assert [row["picked"] for row in rows] == [False, False, True]
    assert not any(row["matches"] for row in rows)
    assert "no longer matches its text" in say(film, "takes", "hook/a")


def test_an_approved_take_is_frozen_and_an_edit_only_warns(film: Film) -> None:
    say(film, "pick", "hook/a", "2")
    say(film, "approve", "hook/a", "nice push")
    before = film.make() and film.files()
    edit(film)
    plan = say(film, "plan")
    assert "hook/a@2" in plan
    assert "no longer matches its text" in plan
    assert film.make().rendered == set()
    assert film.files() == before
    assert film.lock.entries["hook/a"].status == "approved"
    assert film.lock.entries["hook/a"].reason == "nice push"


def test_rejecting_an_approved_take_lets_the_edit_through(film: Film) -> None:
    say(film, "approve", "hook/b")
    edit(film, "scenes/hook/clips/b")
    assert stale(film.look()) == set()
    say(film, "reject", "hook/b", "too dark")
    assert film.lock.entries["hook/b"].reason == "too dark"
    assert stale(film.look()) == {"hook/b@1"}


def test_accept_keeps_the_result_for_the_edited_text(film: Film) -> None:
    before = film.files()
    edit(film, "scenes/hook/clips/b")
    say(film, "accept", "hook/b")
    assert film.make().rendered == set()
    assert film.files() == before
    assert film.lock.entries["hook/b"].status == "accepted"
    assert "matches" in say(film, "accept", "hook/b")


def test_an_approved_take_whose_files_are_gone_is_an_error_not_a_render(film: Film) -> None:
    say(film, "approve", "hook/b")
    take = film.lock.entries["hook/b"].takes[1]
    film.session().store.cas.remove(take.digest)
    done = run("plan", "-p", str(film.folder))
    assert done.code == 1
    assert "the approved take 1 of hook/b is not in this store" in done.err
    assert "ltxflow forget hook/b" in done.err


def test_a_pinned_file_takes_the_place_and_stays_there(film: Film, canned_mp4: Path) -> None:
    say(film, "pin", "end/a", str(canned_mp4), "by hand")
    assert film.make().rendered == set()
    assert film.lock.entries["end/a"].status == "pinned"
    assert "a pinned file stands here" in say(film, "plan")
    edit(film, "scenes/end/clips/a")
    assert film.make().rendered == set()
    say(film, "forget", "end/a")
    assert stale(film.look()) == {"end/a@1"}


def test_pin_warns_of_a_file_that_does_not_cover_its_scene(film: Film, tmp_path: Path) -> None:
    short = tmp_path / "short.mp4"
    short.write_bytes(canned(41, (128, 128), 25, "mine"))
    done = run("pin", "end/a", str(short), "-p", str(film.folder))
    assert done.code == 0
    for output in (done.err, run("plan", "-p", str(film.folder)).err):
        assert "end: the approved lengths cover 41 of the 75 frames needed [T101]" in output
        assert ', or let go of end/a: ltxflow reject end/a "too short"' in output
    say(film, "reject", "end/a", "too short")
    assert film.make().rendered == set()  # the render of before is in the store


def test_a_forgotten_take_is_rendered_again(film: Film) -> None:
    say(film, "forget", "hook/a@3")
    assert stale(film.look()) == {"hook/a@3"}
    assert sorted(film.lock.entries["hook/a"].takes) == [1, 2]


def test_a_single_take_that_is_picked_is_the_only_one_kept_up_to_date(film: Film) -> None:
    say(film, "pick", "hook/a", "2")
    film.drop("scenes/hook/clips/a/takes")
    edit(film)
    assert stale(film.look()) == {"hook/a@2"}


@pytest.mark.parametrize("spelling", [("hook/a@2",), ("clip:hook/a@2",), ("hook/a", "2")])
def test_a_take_is_picked_by_any_spelling(film: Film, spelling: tuple[str, ...]) -> None:
    assert run("pick", *spelling, "--json", "-p", str(film.folder)).data == {
        "clip": "hook/a",
        "take": 2,
        "changed": True,
    }
    assert film.lock.entries["hook/a"].pick == 2


@pytest.mark.parametrize("name", ["hook/a@2", "clip:hook/a@2"])
def test_every_command_that_takes_a_take_knows_it_by_that_name(film: Film, name: str, canned_mp4: Path) -> None:
    def data(*argv: str) -> Any:
        done = run(*argv, "--json", "-p", str(film.folder))
        assert done.code == 0, done.err
        return done.data

    assert [row["target"] for row in data("show", name)] == ["clip:hook/a@2"]
    assert [row["take"] for row in data("takes", name)] == [2]
    assert [row["target"] for row in data("explain", name)] == ["clip:hook/a@2"]
    assert [row["target"] for row in data("plan", name)["changes"]] == ["clip:hook/a@2"]
    assert data("build", name)["totals"]["planned"] == 1
    assert data("approve", name, "good")["take"] == 2
    assert data("reject", name, "or not")["take"] == 2
    assert data("accept", name)["named"] == ["clip:hook/a@2"]
    assert data("pin", name, str(canned_mp4))["take"] == 2
    assert data("forget", name)["take"] == 2


def test_takes_of_a_take_that_was_never_rendered_is_an_error(film: Film) -> None:
    done = run("takes", "hook/b@4", "-p", str(film.folder))
    assert (done.code, "hook/b has no take 4 yet" in done.err) == (2, True)


def test_a_retake_with_a_reason_rejects_the_take_that_it_names(film: Film) -> None:
    with FakeComfy() as server:
        say(film, "retake", "hook/a@2", "too dark", "--server", server.url)
    entry = film.lock.entries["hook/a"]
    assert (entry.pick, {n: entry.decision(n).status for n in entry.takes}) == (1, {1: "", 2: "rejected", 3: "", 4: ""})


@pytest.fixture
def canned_mp4(tmp_path: Path) -> Path:
    path = tmp_path / "mine.mp4"
    path.write_bytes(canned(97, (128, 128), 25, "mine"))
    return path
