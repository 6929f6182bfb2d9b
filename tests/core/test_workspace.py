"""Writes stay in the workspace: through no link, not below `.git`, and `.ltxflow` holds no link."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ltxflow.core import files, process_lock, workspace
from ltxflow.core.digest import digest_bytes
from ltxflow.core.errors import USAGE, LtxflowError

WAYS = pytest.mark.parametrize("by_descriptor", [True, False], ids=["openat", "by path"])


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A workspace, and a folder outside of it with a secret."""
    root = tmp_path / "work"
    (root / "film").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    workspace.confine_writes(root)
    return root


def link(place: Path, target: str | Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)
    return place


def opens(path: Path, by_descriptor: bool = True, make: workspace.Make | None = None) -> str:
    """Where a folder that is opened for writing really is."""
    with workspace.opened(path, make, by_descriptor=by_descriptor) as folder:
        if folder.fd is not None:
            assert os.path.samestat(os.fstat(folder.fd), os.stat(folder.real))
        return folder.real


def refusal(act: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(LtxflowError) as caught:
        act()
    assert caught.value.exit_code == USAGE
    (problem,) = caught.value.problems
    assert problem.hint
    return problem.message, problem.code


@WAYS
def test_a_link_that_leads_out_is_refused_with_where_it_leads(work: Path, tmp_path: Path, by_descriptor: bool) -> None:
    place = link(work / "film" / "public", tmp_path / "outside")
    for path in (place, place / "scenes"):
        message, code = refusal(lambda path=path: opens(path, by_descriptor))
        assert message == f'"{place}" leads to "{tmp_path}/outside", outside the workspace "{work}"'
        assert code == workspace.LINK


@WAYS
@pytest.mark.parametrize("target", ["../../outside/not-there", "/", "../..", "../../work-2"])
def test_where_a_link_leads_out_to_does_not_matter(work: Path, by_descriptor: bool, target: str) -> None:
    (work.parent / "work-2").mkdir()
    place = link(work / "film" / "public", target)
    assert refusal(lambda: opens(place, by_descriptor))[1] == workspace.LINK


@WAYS
def test_a_link_over_a_link_is_followed_to_its_end(work: Path, tmp_path: Path, by_descriptor: bool) -> None:
    link(work / "site", "shared")
    (work / "shared" / "public").mkdir(parents=True)
    assert opens(link(work / "film" / "public", "../site/public"), by_descriptor) == f"{work}/shared/public"
    link(work / "shared" / "public" / "scenes", tmp_path / "outside")
    assert refusal(lambda: opens(work / "film" / "public" / "scenes", by_descriptor))[1] == workspace.LINK


@WAYS
@pytest.mark.parametrize("target", ["public", "../film/public"])
def test_a_link_to_itself_is_refused(work: Path, by_descriptor: bool, target: str) -> None:
    place = link(work / "film" / "public", target)
    assert "leads to itself" in refusal(lambda: opens(place, by_descriptor))[0]


@WAYS
def test_a_link_to_nothing_inside_is_as_if_nothing_were_there(work: Path, by_descriptor: bool) -> None:
    link(work / "film" / "public", "../site")
    with pytest.raises(FileNotFoundError):
        opens(work / "film" / "public", by_descriptor)


@WAYS
@pytest.mark.parametrize("place", [".ltxflow", ".ltxflow/snapshots", ".ltxflow/references/old"])
def test_no_link_is_followed_in_the_machine_owned_folder(work: Path, by_descriptor: bool, place: str) -> None:
    (work / "inside").mkdir()
    link(work / "film" / place, work / "inside")
    message, code = refusal(lambda: opens(work / "film" / place, by_descriptor))
    assert f'"{work}/film/{place}" is a symbolic link to "{work}/inside"' in message
    assert code == workspace.LINK
    assert refusal(lambda: workspace.check_own(work / "film" / ".ltxflow"))[1] == workspace.LINK


@WAYS
def test_no_link_leads_into_the_machine_owned_folder(work: Path, by_descriptor: bool) -> None:
    (work / "film" / ".ltxflow" / "aside").mkdir(parents=True)
    link(work / "film" / "public", ".ltxflow/aside")
    assert refusal(lambda: opens(work / "film" / "public", by_descriptor))[1] == workspace.LINK


@WAYS
@pytest.mark.parametrize("name", [".git", ".GIT", ".Git", "git~1", ".g\u200cit", ".git."])
def test_nothing_is_written_below_git_however_it_is_spelled(work: Path, by_descriptor: bool, name: str) -> None:
    (work / name / "hooks").mkdir(parents=True)
    link(work / "film" / "public", f"../{name}/hooks")
    for path in (work / name, work / name / "hooks", work / "film" / "public"):
        assert refusal(lambda path=path: opens(path, by_descriptor))[1] == workspace.GIT
    assert refusal(lambda: files.write_atomic(work / name / "hooks" / "pre-commit", "x"))[1] == workspace.GIT
    assert refusal(lambda: files.make_dir(work / name / "other"))[1] == workspace.GIT


def test_no_file_is_called_git(work: Path) -> None:
    assert refusal(lambda: files.write_atomic(work / ".git", "gitdir: /elsewhere"))[1] == workspace.GIT


@pytest.mark.parametrize("name", [".github", "git", ".gitignore", ".gitattributes", "my.git", "git~x", "digit~1"])
def test_names_that_only_look_like_it_are_written(work: Path, name: str) -> None:
    files.write_atomic(work / name, "x")
    files.make_dir(work / f"{name}-d" / name)


def test_the_workspace_itself_may_be_reached_over_links(tmp_path: Path) -> None:
    real = tmp_path / "disk" / "work"
    (real / "film").mkdir(parents=True)
    home = link(tmp_path / "home", "disk")
    workspace.confine_writes(home / "work", home / "work" / "film")
    files.write_atomic(home / "work" / "film" / "a", "x")
    files.write_atomic(real / "film" / "b", "x")
    link(real / "film" / "out", tmp_path)
    for film in (home / "work" / "film", real / "film"):
        assert refusal(lambda film=film: files.write_atomic(film / "out" / "c", "x"))[1] == workspace.LINK
    assert sorted(path.name for path in (real / "film").iterdir()) == ["a", "b", "out"]


def test_another_spelling_of_the_workspace_is_the_same_workspace(work: Path, tmp_path: Path) -> None:
    other = link(tmp_path / "other", "work")
    link(work / "out", tmp_path / "outside")
    files.write_atomic(other / "a", "x")
    assert refusal(lambda: files.write_atomic(other / "out" / "b", "x"))[1] == workspace.LINK


@WAYS
def test_dots_are_about_where_a_folder_really_is(work: Path, tmp_path: Path, by_descriptor: bool) -> None:
    (work / "films" / "a").mkdir(parents=True)
    assert opens(work / "films" / "a" / ".." / ".." / "film", by_descriptor) == f"{work}/film"
    link(work / "out", tmp_path / "outside")
    assert refusal(lambda: opens(work / "out" / ".." / "elsewhere", by_descriptor))[1] == workspace.LINK
    assert refusal(lambda: opens(work / ".." / "outside", by_descriptor))[1] == workspace.LINK


def test_a_folder_chosen_by_the_user_may_be_anywhere(work: Path, tmp_path: Path) -> None:
    store = link(work / "store", tmp_path / "outside")
    workspace.exempt_writes(store)
    files.write_atomic(store / "blob", "x")
    files.make_dir(store / "cas" / "ab")
    assert (tmp_path / "outside" / "cas" / "ab").is_dir()


def test_outside_of_every_workspace_all_is_as_ever(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    files.write_atomic(link(tmp_path / "b", "a") / "file", "x")
    assert (tmp_path / "a" / "file").read_text() == "x"


def acts(place: Path) -> dict[str, Callable[[], object]]:
    """Every way to write a file at a place."""
    source = place.parents[2] / "source"

    def held() -> None:
        with process_lock.acquire(place):
            pass

    def shared() -> None:
        with process_lock.share(place):
            pass

    return {
        "write": lambda: files.write_atomic(place, b"new"),
        "copy": lambda: files.copy_into(source, place, expect=digest_bytes(b"new")),
        "move": lambda: files.move_into(source, place),
        "rename": lambda: files.move(source, place),
        "append a line": lambda: files.append_line(place, "new"),
        "append": lambda: files.append(place, b"new"),
        "lock": held,
        "share": shared,
        "hold": lambda: os.close(process_lock.hold_file(place)),
        "remove": lambda: files.remove(place),
        "remove all": lambda: files.remove_tree(place),
        "set aside": lambda: files.set_aside(place),
        "make": lambda: files.make_dir(place),
    }


@pytest.mark.parametrize("act", acts(Path("/a/b/c/d")))
@pytest.mark.parametrize("kind", ["a link above", "a link", "a second name"])
def test_no_way_to_write_changes_anything_outside(work: Path, tmp_path: Path, act: str, kind: str) -> None:
    secret = tmp_path / "outside" / "secret"
    place = work / "film" / "own" / "secret"
    (work / "source").write_bytes(b"new")
    if kind == "a link above":
        link(work / "film" / "own", tmp_path / "outside")
    elif kind == "a link":
        link(place, secret)
    else:
        place.parent.mkdir()
        os.link(secret, place)
    is_refused = kind == "a link above" or (act == "make")
    with pytest.raises(LtxflowError) if is_refused else suppress(LtxflowError):
        acts(place)[act]()
    assert secret.read_text() == "secret"
    assert [path.name for path in (tmp_path / "outside").iterdir()] == ["secret"]


@pytest.mark.parametrize("act", ["append a line", "append", "lock", "share", "hold"])
def test_a_fifo_in_a_files_place_blocks_no_write(work: Path, act: str) -> None:
    place = work / "film" / "own" / "file"
    place.parent.mkdir()
    os.mkfifo(place)
    with pytest.raises(LtxflowError, match="a FIFO, not a file") as caught:
        acts(place)[act]()
    assert "move away" in caught.value.problems[0].hint


def test_two_that_lock_a_file_with_a_second_name_lock_the_same(work: Path, tmp_path: Path) -> None:
    place = work / "film" / "lock"
    os.link(tmp_path / "outside" / "secret", place)
    with (
        process_lock.acquire(place),
        pytest.raises(LtxflowError, match="is held by"),
        process_lock.acquire(place, wait=False),
    ):
        pass
    assert (tmp_path / "outside" / "secret").read_text() == "secret"


def test_a_folder_that_may_be_entered_and_not_listed_can_be_written_below(work: Path) -> None:
    (work / "closed" / "open").mkdir(parents=True)
    (work / "closed").chmod(0o311)
    try:
        files.write_atomic(work / "closed" / "open" / "file", "x")
    finally:
        (work / "closed").chmod(0o755)


@WAYS
def test_missing_folders_are_made_on_the_way(work: Path, by_descriptor: bool) -> None:
    made: list[str] = []

    def make(folder: workspace.Folder, name: str) -> None:
        os.mkdir(folder.name(name), dir_fd=folder.fd)
        made.append(name)

    assert opens(work / "film" / "a" / "b", by_descriptor, make) == f"{work}/film/a/b"
    assert made == ["a", "b"]


def test_no_descriptor_stays_open(work: Path, tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    link(work / "out", tmp_path / "outside")
    for path in (work / "film", work / "out", work / "not" / "there", work / ".git" / "x"):
        try:
            opens(path)
        except (LtxflowError, OSError):
            continue
    assert not before or set(os.listdir("/proc/self/fd")) == before
