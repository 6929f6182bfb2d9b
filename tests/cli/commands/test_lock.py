"""The lock and git: real branches of a real repository are merged by ltxflow, and nothing is rendered again."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from harness.film import Film

from ltxflow.lock.file import read_lock


@pytest.fixture
def repository(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Film:
    """A rendered film in a repository of its own; `ltxflow` is on the PATH as it would be."""
    program = tmp_path / "bin" / "ltxflow"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ltxflow.cli.main "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "a")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "a@b.c")
    film.write({"hook": ["a", "b"], "end": ["a"]}, "")
    text = film.file.read_text()
    film.file.write_text(text.replace("      - id: ", "      - length: 49f\n        id: "))
    shutil.rmtree(film.folder.parent / ".git")
    git(film, "init", "-q", "-b", "main")
    made(film)
    (film.folder / ".gitignore").write_text(".ltxflow\npublic\n")
    return film


def git(film: Film, *argv: str, code: int = 0) -> str:
    done = subprocess.run(["git", "-C", film.folder, *argv], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def commit(film: Film, text: str) -> None:
    git(film, "add", "-A")
    git(film, "commit", "-qm", text)


def made(film: Film, *options: str) -> None:
    """Render what is missing, and build: the lock learns of it."""
    film.render()
    assert film.run("build", *options).code == 0


def apart(film: Film) -> None:
    """Two branches that each changed another clip, and rendered it: `other`, and main, where we are."""
    commit(film, "first")
    git(film, "checkout", "-qb", "other")
    made(film.edit("end-a", "end A"))
    commit(film, "theirs")
    git(film, "checkout", "-q", "main")
    made(film.edit("hook-a", "hook A"))
    commit(film, "ours")


def test_two_branches_are_merged_by_git_and_nothing_is_rendered(repository: Film) -> None:
    film = repository
    assert film.run("lock", "setup").code == 0
    assert (film.folder / ".gitattributes").read_text() == "ltxflow.lock merge=ltxflow-lock\n"
    assert film.run("lock", "setup").code == 0, "twice is as good as once"
    assert (film.folder / ".gitattributes").read_text().count("ltxflow.lock") == 1
    apart(film)
    git(film, "merge", "-q", "--no-edit", "other")
    assert git(film, "status", "--porcelain") == ""
    built = film.run("build", "--json")
    assert (built.code, built.totals["rendered"]) == (0, 0)
    assert git(film, "status", "--porcelain") == "", "the merged lock is what a build would write"


def test_retakes_on_two_branches_that_touch_the_same_line_are_united(repository: Film) -> None:
    film = repository
    film.run("lock", "setup")
    commit(film, "first")
    git(film, "checkout", "-qb", "other")
    film.run("approve", "hook/b", "lovely")
    film.run("reject", "end/a", "too dark")
    commit(film, "theirs")
    git(film, "checkout", "-q", "main")
    film.run("reject", "hook/b", "hm")
    commit(film, "ours")
    git(film, "merge", "-q", "--no-edit", "other")
    entries = read_lock(film.folder / "ltxflow.lock").entries
    assert (entries["hook/b"].status, entries["hook/b"].reason) == ("approved", "lovely")
    assert entries["end/a"].status == "rejected"


def test_two_who_decided_differently_are_asked(repository: Film) -> None:
    film = repository
    film.run("lock", "setup")
    commit(film, "first")
    git(film, "checkout", "-qb", "other")
    film.run("reject", "hook/b", "too dark")
    film.run("approve", "end/a")
    commit(film, "theirs")
    git(film, "checkout", "-q", "main")
    film.run("pin", "end/a", str(film.scenes / "scene-1-a.mp4"))
    commit(film, "ours")
    output = git(film, "merge", "--no-edit", "other", code=1)
    assert "end/a: here take 1 (pinned), there take 1 (approved)" in output
    assert "git add ltxflow.lock" in output
    entries = read_lock(film.folder / "ltxflow.lock").entries  # no conflict markers: every verb goes on working
    assert entries["end/a"].status == "pinned"
    assert entries["hook/b"].status == "rejected"
    git(film, "add", "ltxflow.lock")
    git(film, "commit", "-qm", "merged")


def test_a_lock_that_git_left_in_conflict_is_merged_afterwards(repository: Film) -> None:
    """Without the driver: `ltxflow lock merge` takes the three versions from git."""
    film = repository
    commit(film, "first")
    git(film, "checkout", "-qb", "other")
    film.run("approve", "hook/b")
    commit(film, "theirs")
    git(film, "checkout", "-q", "main")
    film.run("reject", "hook/b", "hm")
    commit(film, "ours")
    git(film, "merge", "--no-edit", "other", code=1)
    refused = film.run("plan")
    assert refused.code == 2
    assert "ltxflow lock merge" in refused.err
    ran = film.run("lock", "merge")
    assert ran.code == 0, ran.err
    assert read_lock(film.folder / "ltxflow.lock").entries["hook/b"].status == "approved"
    git(film, "add", "ltxflow.lock")
    git(film, "commit", "-qm", "merged")
    again = film.run("lock", "merge")
    assert (again.code, "no conflict" in again.err) == (2, True)


@pytest.mark.parametrize("style", ["merge", "diff3"])
def test_marks_of_a_conflict_that_git_has_forgotten_are_resolved_too(repository: Film, style: str) -> None:
    """`git add` of a lock with its marks in it, as it happens in a rebase."""
    film = repository
    git(film, "config", "merge.conflictStyle", style)
    clips = set(read_lock(film.folder / "ltxflow.lock").entries)
    commit(film, "first")
    git(film, "checkout", "-qb", "other")
    film.run("approve", "hook/b")
    commit(film, "theirs")
    git(film, "checkout", "-q", "main")
    film.run("reject", "hook/b", "hm")
    commit(film, "ours")
    git(film, "merge", "--no-edit", "other", code=1)
    git(film, "add", "ltxflow.lock")
    ran = film.run("lock", "merge")
    assert ran.code == 0, ran.err
    entries = read_lock(film.folder / "ltxflow.lock").entries
    assert entries["hook/b"].status == "approved"
    assert set(entries) == clips
    assert film.run("plan").code == 0


def test_another_revision_and_back_renders_nothing(repository: Film) -> None:
    film = repository
    apart(film)
    for revision in ("main~1", "other", "main"):
        git(film, "checkout", "-q", revision)
        built = film.run("build", "--json")
        assert (built.code, built.totals["rendered"]) == (0, 0)
        assert git(film, "status", "--porcelain") == ""


def test_what_is_not_lock_is_refused_and_left_alone(film: Film, tmp_path: Path) -> None:
    base, ours, theirs = (tmp_path / name for name in ("base", "ours", "theirs"))
    base.write_text("")
    ours.write_text("ltxflow-lock: 1\n")
    theirs.write_text("what?\n")
    ran = film.run("lock", "merge", str(base), str(ours), str(theirs))
    assert ran.code == 2
    assert "ltxflow.lock:1:1" in ran.err
    assert ours.read_text() == "ltxflow-lock: 1\n"
    assert film.run("lock", "merge", str(base)).code == 2
    assert film.run("lock", "merge", str(base), str(ours), str(tmp_path / "none")).code == 2
