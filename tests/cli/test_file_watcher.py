"""What an eye on files notices."""

from __future__ import annotations

import os
from pathlib import Path

from ltxflow.cli.file_watcher import PAUSE_S, FileWatcher, around


def test_an_edit_that_keeps_size_and_mtime_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("one")
    facts = file.stat()
    eye = FileWatcher({file})
    eye.open()
    assert eye.changed() == []
    file.write_text("two")
    os.utime(file, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert eye.changed() == [file]


def test_an_edit_while_the_film_is_read_is_noticed_after_it(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("one")
    eye = FileWatcher({file})
    eye.open()
    file.write_text("while it is read")
    eye.watch({file, tmp_path / "b.yaml"})
    assert eye.changed() == [file]


def test_a_file_that_comes_and_one_that_goes_are_noticed(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.write_text("one")
    eye = FileWatcher({here, there})
    eye.open()
    here.unlink()
    there.write_text("one")
    assert eye.changed() == [here, there]
    assert eye.pause_s >= PAUSE_S


def test_around_a_project_is_all_that_may_mend_it(tmp_path: Path) -> None:
    for name in ("project.yaml", "refs/a.png", ".git/HEAD", "node_modules/x/y.js"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    found = {str(path.relative_to(tmp_path)) for path in around(tmp_path / "project.yaml")}
    assert found == {".", "project.yaml", "refs", "refs/a.png"}
