"""cache: gc is dry, keeps what anybody needs and whatever was paid for; verify and rebuild find and mend damage."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from harness.command import run
from harness.film import Film

from ltxflow.core.digest import Digest
from ltxflow.lock.file import read_lock, write_lock
from ltxflow.lock.model import without
from ltxflow.store.blobs import BlobStore


@pytest.fixture
def film(film: Film) -> Film:
    film.write({"hook": ["a", "b"]}, "6s")
    return film


def rendered(film: Film) -> Film:
    film.render()
    assert film.run("build").code == 0
    return film


def content(film: Film) -> set[Path]:
    return {path for part in ("cas", "traces") for path in (film.store / part).rglob("*") if path.is_file()}


def gc(film: Film, *options: str) -> list[str]:
    """The targets whose traces `cache gc` would remove, or removed with --yes; looks at clips go with their clips."""
    ran = film.run("cache", "gc", "--json", *options)
    assert ran.code == 0, ran.out
    return sorted(row["target"] for row in ran.data["traces"] if not row["target"].startswith("inspect:"))


def git(film: Film, *argv: str) -> None:
    subprocess.run(["git", "-C", film.folder, *argv], check=True, capture_output=True)


def test_gc_is_dry_and_removes_slates_that_nothing_shows_any_more(film: Film) -> None:
    film.build()
    film.edit("hook-a", "hook a").build()
    before = content(film)
    assert gc(film) == ["slate:hook/a@1"]
    assert content(film) == before
    assert gc(film, "--yes") == ["slate:hook/a@1"]
    assert len(content(film)) < len(before)
    assert gc(film) == []
    assert film.build().totals["hit"] == 2


def test_a_render_that_nothing_names_goes_only_when_it_is_asked_for(film: Film) -> None:
    rendered(film).edit("hook-a", "hook a")
    rendered(film)
    ran = film.run("cache", "gc", "--yes")
    assert "kept: 1 render that no film needs" in ran.out
    assert "--renders" in ran.out
    assert gc(film, "--renders", "--yes") == ["clip:hook/a@1"]
    assert film.run("plan", "--exit-code").code == 0
    assert film.run("verify").code == 0


def test_what_another_branch_or_tag_names_stays(film: Film) -> None:
    shutil.rmtree(film.folder.parent / ".git")
    git(film, "init", "-q", "-b", "main", "..")
    git(film, "config", "user.email", "a@b.c")
    git(film, "config", "user.name", "a")
    rendered(film)
    git(film, "add", "project.yaml", "ltxflow.lock")
    git(film, "commit", "-qm", "first")
    git(film, "checkout", "-qb", "other")
    rendered(film.edit("hook-a", "hook a"))
    git(film, "commit", "-qam", "second")
    assert gc(film, "--renders") == []
    assert gc(film, "--renders", "--no-git") == ["clip:hook/a@1"]
    git(film, "checkout", "-q", "main")
    assert film.run("build", "--json").totals["rendered"] == 0
    git(film, "branch", "-D", "other")
    rendered(film)
    assert gc(film, "--renders", "--yes") == ["clip:hook/a@1"]


def test_what_another_film_of_the_same_store_needs_stays(film: Film) -> None:
    rendered(film)
    other = Film(film.folder.parent / "other", film.store)
    shutil.copytree(film.folder, other.folder, ignore=shutil.ignore_patterns("public", ".ltxflow"))
    assert other.run("build").code == 0
    rendered(film.edit("hook-a", "hook a"))
    assert gc(film, "--renders") == []
    shutil.rmtree(other.folder)  # it may be on a disk that is away: what it needed last stays
    assert gc(film, "--renders") == []
    assert f"--give-up {other.folder}" in film.run("cache", "gc").out
    refused = film.run("cache", "gc", "--give-up", str(film.folder))
    assert (refused.code, "still exists" in refused.err) == (2, True)
    assert gc(film, "--renders", "--yes", "--give-up", str(other.folder)) == ["clip:hook/a@1"]
    assert str(other.folder) not in film.run("cache", "stats").out


def test_a_lock_in_conflict_still_keeps_what_both_sides_name(film: Film) -> None:
    rendered(film)
    ours = (film.folder / "ltxflow.lock").read_text()
    rendered(film.edit("hook-a", "hook a"))
    theirs = (film.folder / "ltxflow.lock").read_text()
    (film.folder / "ltxflow.lock").write_text(f"<<<<<<< ours\n{ours}=======\n{theirs}>>>>>>> theirs\n")
    assert gc(film, "--renders") == []


def test_what_a_kept_render_was_made_from_stays(film: Film) -> None:
    """The digest of its first frame stands in the action: without that trace its key could not be computed."""
    film.write({"hook": ["a", "b"]}, "6s")
    film.file.write_text(film.file.read_text().replace("      - id: b\n", "      - id: b\n        extends: a\n"))
    film.render("hook/a")
    rendered(film)
    lock = film.folder / "ltxflow.lock"
    write_lock(lock, without(read_lock(lock), "hook/a"))
    shutil.rmtree(film.folder / ".ltxflow")
    shutil.rmtree(film.store / "films")
    assert gc(film, "--renders") == []


def test_only_as_much_goes_as_the_cap_asks_for_the_oldest_first(film: Film) -> None:
    film.build()
    film.edit("hook-a", "hook 1").build()
    film.edit("hook 1", "hook 2").build()
    total = film.run("cache", "stats", "--json").data["bytes"]
    first = film.run("cache", "gc", "--json", "--max-size", str(total - 1)).data
    assert len(first["traces"]) == 1
    assert (first["over"], len(film.run("cache", "gc", "--json").data["traces"])) == (0, 2)
    assert film.run("cache", "gc", "--json", "--max-size", "1k").data["over"] > 0
    assert gc(film, "--max-size", str(total)) == []
    assert gc(film, "--older-than", "1d") == []
    assert film.run("cache", "gc", "--max-size", "lots").code == 2


def test_renders_of_a_store_that_knows_no_film_are_never_removed(film: Film, tmp_path: Path) -> None:
    rendered(film)
    shutil.rmtree(film.store / "films")
    ran = run("cache", "gc", "--renders", "--yes", "-p", str(tmp_path))
    assert ran.code == 2
    assert "knows no films" in ran.err


def test_ls_and_stats_show_what_there_is(film: Film) -> None:
    rendered(film)
    film.build()
    listed = film.run("cache", "ls", "hook/a", "--json").data["traces"]
    assert {(row["target"], row["needed"]) for row in listed} == {("clip:hook/a@1", True), ("inspect:hook/a@1", True)}
    output = film.run("cache", "stats", "--json").data
    assert output["sources"]["comfyui"]["traces"] == 2
    assert output["films"][0]["folder"] == str(film.folder)
    assert output["bytes"] == sum(path.stat().st_size for path in (film.store / "cas").rglob("*") if path.is_file())


@pytest.mark.parametrize(("data", "kind"), [(b"", "empty"), (b"rot", "rotted"), (None, "missing")])
def test_verify_reads_every_blob_and_repair_makes_the_next_build_right(
    film: Film, data: bytes | None, kind: str
) -> None:
    rendered(film)
    digest = read_lock(film.folder / "ltxflow.lock").entries["hook/a"].takes[1].outputs["published"]
    path = BlobStore(film.store / "cas").path(Digest(digest))
    whole = path.read_bytes()
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    ran = film.run("cache", "verify", "--json")
    assert ran.code == 1
    assert [(each["kind"], each["digest"], each["targets"]) for each in ran.data["faults"]] == [
        (kind, digest, ["clip:hook/a@1"])
    ]
    assert film.run("cache", "verify", "--repair").code == 0
    assert path.read_bytes() == whole
    assert film.run("cache", "verify").code == 0


def test_the_index_is_made_again_from_the_traces(film: Film) -> None:
    rendered(film)
    database = film.store / "index" / "cache.db"
    database.write_bytes(database.read_bytes()[:100])
    ran = film.run("cache", "rebuild", "--json")
    assert (ran.code, ran.data["indexed"]) == (0, ran.data["traces"])
    assert ran.data["traces"] >= 2
    assert film.run("plan", "--exit-code").code == 0


def test_what_is_about_the_store_takes_no_clips(film: Film) -> None:
    ran = film.run("cache", "gc", "hook/a")
    assert ran.code == 2
    assert "applies to the whole store" in ran.err
