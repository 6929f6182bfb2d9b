"""What the lock learns: every final render, no stand-in, and after a revert the older key again."""

from __future__ import annotations

from harness.film import Film

from ltxflow.core.timing import seed_for
from ltxflow.lock.file import read_lock, write_lock
from ltxflow.lock.model import Lock, without


def lock_of(film: Film) -> Lock:
    return read_lock(film.folder / "ltxflow.lock")


def test_a_render_is_recorded_with_its_seed_digest_and_frames(film: Film) -> None:
    film.render()
    film.run("build")
    lock = lock_of(film)
    assert sorted(lock.entries) == ["end/a", "hook/a", "hook/b", "middle/a"]
    take = lock.take("hook/b", 1)
    assert take is not None
    assert (take.frames, take.source) == (97, "comfyui")
    assert take.facts["width"] == 128
    assert {"published"} <= take.outputs.keys()


def test_a_derived_seed_is_the_same_on_every_machine(film: Film) -> None:
    film.render()
    film.run("build")
    take = lock_of(film).take("hook/a", 1)
    assert take is not None
    assert take.seed in (None, seed_for(3, "hook", "a", 1))


def test_a_preview_teaches_the_lock_nothing(film: Film) -> None:
    film.edit("fps: 25", "fps: 25\nquality: preview")
    film.render(text="preview")
    assert film.run("build").code == 0
    assert lock_of(film).entries == {}


def test_a_revert_brings_the_older_key_back(film: Film) -> None:
    film.render()
    film.run("build")
    first = lock_of(film)
    film.edit("hook-a", "hook a")
    film.render("hook/a", text="second")
    film.run("build")
    second = lock_of(film)
    assert second.take("hook/a", 1) != first.take("hook/a", 1)
    film.edit("hook a", "hook-a")
    ran = film.run("build", "--json")
    assert (ran.totals["rendered"], ran.totals["restored"]) == (0, 1)
    assert lock_of(film) == first


def test_lines_that_were_not_written_before_a_kill_follow_from_the_store(film: Film) -> None:
    """They are written in groups: whoever is killed between a trace and its line loses nothing."""
    film.render()
    film.run("build")
    lock = film.folder / "ltxflow.lock"
    text = lock.read_text()
    write_lock(lock, without(without(lock_of(film), "end/a"), "hook/b"))
    assert lock.read_text() != text
    assert film.run("build", "--json").totals["rendered"] == 0
    assert lock.read_text() == text


def test_moved_entries_are_carried_out_once(film: Film) -> None:
    film.render()
    film.run("build")
    before = lock_of(film).take("middle/a", 1)
    text = film.file.read_text().replace("- id: middle", "- id: centre")
    film.file.write_text(text.replace("scenes:", "moved: [{ from: middle, to: centre }]\nscenes:", 1))
    ran = film.run("build", "--json")
    assert (ran.code, ran.totals["rendered"]) == (0, 0)
    assert lock_of(film).take("centre/a", 1) == before
    assert "middle/a" not in lock_of(film).entries
    film.edit("moved: [{ from: middle, to: centre }]\n", "")
    assert film.run("plan", "--exit-code").code == 0
