"""A build takes hours, and git waits for nobody: what others write to the lock meanwhile stays, and is told."""

from __future__ import annotations

from pathlib import Path

from harness.film import Film

from ltxflow.decisions.lock_update import LockUpdater
from ltxflow.lock.file import read_lock, write_lock
from ltxflow.lock.model import Decision, with_decision
from ltxflow.plan.plan import PlanOptions


def approved(path: Path) -> None:
    write_lock(path, with_decision(read_lock(path), "hook/b", 1, Decision("approved")))


def conflicted(path: Path) -> None:
    path.write_text(path.read_text().replace("hook/b:", "<<<<<<< HEAD\nhook/b:", 1))


def edited(film: Film) -> str:
    """All is built, and then one prompt is another; return the key of before."""
    film.render()
    assert film.run("build").code == 0
    key = read_lock(film.folder / "ltxflow.lock").entries["hook/a"].takes[1].key
    film.edit("for hook-a", "for good")
    return key


def test_a_word_that_was_said_meanwhile_stays(film: Film) -> None:
    before = edited(film)
    ran = film.make(meanwhile=lambda: approved(film.folder / "ltxflow.lock")).done
    assert ran.code == 0
    assert "ltxflow.lock changed on disk during the run; both sets of changes were merged" in str(ran.envelope)
    there = read_lock(film.folder / "ltxflow.lock").entries
    assert there["hook/b"].status == "approved"
    assert there["hook/a"].takes[1].key != before
    assert "unchanged" in film.run("plan").out


def test_a_conflict_that_came_meanwhile_is_left_for_a_person(film: Film) -> None:
    edited(film)
    ran = film.make(meanwhile=lambda: conflicted(film.folder / "ltxflow.lock")).done
    path = film.folder / "ltxflow.lock"
    assert ran.code == 0
    assert "is unreadable: unresolved merge conflict" in str(ran.envelope)
    assert "the next build records what is in the store" in str(ran.envelope)
    assert "<<<<<<< HEAD" in path.read_text()
    assert film.timeline["complete"]
    path.write_text(path.read_text().replace("<<<<<<< HEAD\n", ""))
    assert film.run("build").code == 0
    assert "1 to" not in film.run("plan").out
    assert film.run("check", "--locked").code == 0


def test_lines_of_clips_as_they_are_made_are_put_beside_what_others_write(film: Film) -> None:
    edited(film)
    film.render("hook/a")
    with film.session() as session:
        outlook = session.plan(PlanOptions())
        keeper = LockUpdater(session, outlook)
        status = outlook.statuses["clip:hook/a@1"]
        assert status.trace is not None
        path = film.folder / "ltxflow.lock"
        good = path.read_text()
        conflicted(path)
        keeper(status.node, status.trace)
        keeper.write()
        assert "<<<<<<< HEAD" in path.read_text()
        path.write_text(good)
        approved(path)
        keeper(status.node, status.trace)
        keeper.write()
    there = read_lock(path).entries
    assert there["hook/b"].status == "approved"
    assert there["hook/a"].takes[1].key == status.key
