"""Whatever a project brings: nothing is written outside of its workspace, nothing hangs, nothing is a bug of ours.

The places are those that verbs really wrote (stage.py); a few ways to attack each are tried at every run, all of them
in the campaigns (test_campaigns.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import odd
from harness.command import run
from harness.film import Film
from harness.stage import Stage, replaced, staged, tried

from ltxflow.core.digest import digest_file
from ltxflow.core.files import TEMP_PREFIX

BUILD = ("build", "--animatic")
WRITERS = (BUILD, ("build", "--server", "SERVER"), ("verify", "--repair"))
FILES = 4  # the places are tried in turns, so that several processes share the work


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("stage")) as made:
        yield made


def test_every_file_that_a_verb_leaves_was_announced(stage: Stage) -> None:
    """So no write passes `core/files.py` by, and the places that are attacked are all there are."""
    brought = {"work/film/project.yaml", "work/film/mine_api.json"}
    there = {
        path.relative_to(stage.saved).as_posix()
        for path in (stage.saved / "work").rglob("*")
        if path.is_file() and ".git" not in path.parts
    }
    assert there - brought - stage.written == set()
    assert len(there) > 40


def is_folder(stage: Stage, path: str) -> bool:
    return (stage.saved / path).is_dir()


@pytest.mark.parametrize("part", range(FILES))
def test_a_link_where_a_folder_was_leads_no_write_out(stage: Stage, part: int) -> None:
    verbs = [
        *WRITERS,
        ("report",),
        ("conform", "--proxy"),
        ("export", "remotion", "starter/remotion"),
        ("lock", "setup"),
    ]
    verbs += [
        ("export", "edl", "cuts/film.edl"),
        ("template", "import", "mine_api.json", "--force"),
        ("init", "other/x"),
    ]
    folders = [path for path in stage.places("work") if is_folder(stage, path)]
    assert len(folders) > 10
    assert not [said for path in folders[part::FILES] for said in tried(stage, path, odd.link_to_folder, verbs)]


@pytest.mark.parametrize("part", range(FILES))
def test_a_link_where_a_file_was_leads_no_write_out(stage: Stage, part: int) -> None:
    places = [path for path in stage.places("work") if not is_folder(stage, path)]
    assert len(places) > 20
    assert not [said for path in places[part::FILES] for said in tried(stage, path, odd.link_to_file, WRITERS)]


# what reads each of these; where verbs can go wrong with it
READERS = {
    "work/film/.ltxflow/published.json": [BUILD, ("verify", "--repair"), ("cache", "stats")],
    "work/film/.ltxflow/journal.jsonl": [("build", "--server", "SERVER")],
    "work/film/.ltxflow/lock": [BUILD],
    "work/film/ltxflow.lock": [("plan",), ("cache", "gc"), ("lock", "merge")],
    "work/film/public/scenes/timeline.json": [
        ("conform",),
        ("export", "otio"),
        ("report",),
        ("verify", "--repair"),
        BUILD,
    ],
    "work/film/public/captions/film.srt": [("conform", "--proxy", "--burn-captions"), ("verify", "--repair"), BUILD],
}


@pytest.mark.parametrize("path", READERS)
def test_what_is_no_file_is_neither_waited_for_nor_a_bug(stage: Stage, path: str) -> None:
    kinds = (odd.fifo, odd.folder, odd.huge, odd.deep_json, odd.link_to_itself)
    assert not [said for put in kinds for said in tried(stage, path, put, READERS[path])]


def in_store(stage: Stage, kind: str) -> str:
    return next(path for path in stage.places("store") if kind in path and not is_folder(stage, path))


@pytest.mark.parametrize(
    "kind", ["cas/", "traces/", "films/", "index/cache.db", "index/format", "speeds.json", "memory/"]
)
def test_a_store_with_odd_things_in_it_answers(stage: Stage, kind: str) -> None:
    verbs = [("cache", "gc"), ("cache", "verify", "--repair"), ("build", "--server", "SERVER")]
    kinds = (odd.fifo, odd.folder, odd.deep_json, odd.huge, odd.link_to_itself, odd.link_to_zeros)
    assert not [said for put in kinds for said in tried(stage, in_store(stage, kind), put, verbs)]


@pytest.mark.parametrize("put", [odd.fifo, odd.folder, odd.link_to_itself, odd.link_to_zeros, odd.no_text])
@pytest.mark.parametrize("name", ["scenes/scene-0-a.mp4", "posters/scene-0-a.jpg", "scenes/timeline.json"])
def test_a_repair_puts_back_what_something_else_took_the_place_of(stage: Stage, name: str, put: odd.Put) -> None:
    stage.restore()
    before = digest_file(stage.folder / "public" / name)
    replaced(stage, f"work/film/public/{name}", put)
    repaired = stage.run("verify", "--repair")
    assert repaired.code == 0, repaired.out + repaired.err
    assert stage.run("build", "--server", "SERVER").code == 0
    assert digest_file(stage.folder / "public" / name) == before
    aside = [path for path in (stage.folder / ".ltxflow" / "aside").iterdir() if path.name.startswith(Path(name).stem)]
    assert aside, "what was there is kept"
    assert stage.run("verify").code == 0


@pytest.mark.parametrize("folder", ["posters", "captions", "narration"])
def test_a_repair_makes_room_where_a_file_took_a_folders_place(stage: Stage, folder: str) -> None:
    stage.restore()
    replaced(stage, f"work/film/public/{folder}", odd.no_text)
    repaired = stage.run("verify", "--repair")
    assert repaired.code == 0, repaired.out + repaired.err
    assert stage.run("build", "--server", "SERVER").code == 0
    assert stage.run("verify").code == 0


# --- one by one


@pytest.fixture
def secret(film: Film) -> Path:
    """A file outside of the workspace, which nothing may change."""
    path = film.folder.parents[1] / "secret.txt"
    path.write_text("a secret")
    return path


@pytest.mark.parametrize(
    "argv", [BUILD, ("plan",), ("status",), ("clean", "--yes"), ("verify",), ("report",), ("approve", "hook/a")]
)
def test_a_lock_that_is_a_link_empties_no_file(film: Film, secret: Path, argv: tuple[str, ...]) -> None:
    film.edit("fps: 25", "fps: 500")  # a film that does not even check
    (film.folder / ".ltxflow").mkdir()
    (film.folder / ".ltxflow" / "lock").symlink_to("../../../secret.txt")
    ran = film.run(*argv)
    assert ran.code == 2
    assert f'"{film.folder}/.ltxflow/lock" is a symbolic link to "../../../secret.txt"' in ran.err
    assert "→ remove the link" in ran.err
    assert secret.read_text() == "a secret"


@pytest.mark.parametrize("name", ["lock", "journal.jsonl", "published.json"])
def test_a_second_name_of_a_file_outside_is_not_written_through(film: Film, secret: Path, name: str) -> None:
    film.write({"hook": ["a"]}, "3s")
    (film.folder / ".ltxflow").mkdir()
    os.link(secret, film.folder / ".ltxflow" / name)
    film.build()
    assert secret.read_text() == "a secret"


def test_a_link_that_stays_in_the_workspace_is_followed(film: Film) -> None:
    site = film.folder.parent / "site" / "public"
    site.mkdir(parents=True)
    (film.folder / "public").symlink_to("../site/public")
    assert film.build().code == 0
    assert len(list((site / "scenes").glob("*.mp4"))) == 4
    assert film.build().totals["hit"] == 4
    assert (film.folder / "public").is_symlink()
    assert film.run("verify", "--repair").code == 0


def test_a_link_that_leaves_the_checkout_may_stay_in_a_wider_root(film: Film) -> None:
    site = film.folder.parents[1] / "site"
    site.mkdir()
    (film.folder / "public").symlink_to(site)
    refused = film.run("build", "--animatic")
    assert refused.code == 2
    assert "name a wider one with --root" in refused.err or "name a wider workspace with --root" in refused.err
    assert film.run("build", "--animatic", "--root", str(film.folder.parents[1])).code == 0
    assert (site / "scenes" / "timeline.json").exists()


@pytest.mark.parametrize("output", [".git/hooks", "../.git/hooks", ".GIT/x", "../x/../.git/hooks", ".ltxflow/scenes"])
def test_an_output_below_git_is_refused_where_it_is_written(film: Film, output: str) -> None:
    film.write(output=output)
    ran = film.run("build", "--animatic")
    assert ran.code == 2
    assert "project.yaml:7:9: error: output " in ran.err
    assert "[L013]" in ran.err
    assert not list((film.folder.parent / ".git").rglob("*.mp4"))


def test_a_link_to_hooks_is_refused(film: Film) -> None:
    (film.folder.parent / ".git" / "hooks").mkdir()
    (film.folder / "public").symlink_to("../.git")
    ran = film.run("build", "--animatic")
    assert ran.code == 2
    assert [path.name for path in (film.folder.parent / ".git").rglob("*")] == ["hooks"]


def test_the_store_and_the_config_may_be_links(film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside of the workspace, too: people keep their home in git."""
    for name in ("disk", "dotfiles"):
        (tmp_path / name).mkdir()
        (film.folder.parent / name).symlink_to(tmp_path / name)
    monkeypatch.setenv("LTXFLOW_STORE", str(film.folder.parent / "disk"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(film.folder.parent / "dotfiles"))
    assert film.build().code == 0
    assert (tmp_path / "disk" / "cas").is_dir()
    film.edit("- id: a\n", '- id: a\n        reference: "/dev/null"\n')
    film.run("trust")
    assert not list(tmp_path.rglob(f"{TEMP_PREFIX}*"))


def test_new_films_and_exports_go_nowhere_through_a_link(film: Film, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    film.build()
    for name in ("new", "out", "templates"):
        (film.folder / name).symlink_to(tmp_path / "elsewhere")
    os.chdir(film.folder)
    for argv in (("init", "new"), ("init", "new/x"), ("export", "remotion", "out"), ("export", "edl", "out/film.edl")):
        ran = run(*argv)
        assert ran.code == 2, argv
        assert f'"{film.folder}/' in ran.err
        assert "outside the workspace" in ran.err
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("folder", ["loop", "loop/x"])
@pytest.mark.parametrize("argv", [("init", "FOLDER"), ("export", "remotion", "FOLDER"), ("export", "edl", "FOLDER/x")])
def test_a_circle_of_links_is_told_as_such(film: Film, argv: tuple[str, ...], folder: str) -> None:
    assert film.build().code == 0
    (film.folder / "loop").symlink_to("loop")
    os.chdir(film.folder)
    ran = run(*(word.replace("FOLDER", folder) for word in argv))
    assert ran.code == 2
    assert 'is a symbolic link that leads to itself: "loop" [L014]' in ran.err


@pytest.mark.parametrize("name", ["loop", "loop/picture.png"])
def test_a_picture_in_a_circle_of_links_is_told_at_its_line(film: Film, name: str) -> None:
    film.write({"hook": ["a"]})
    (film.folder / "loop").symlink_to("loop")
    film.edit("- id: a\n", f"- id: a\n        reference: {name}\n")
    ran = film.run("check")
    assert ran.code == 2
    assert f'"{name}"' in ran.out + ran.err
    assert "[L010]" in ran.out + ran.err
