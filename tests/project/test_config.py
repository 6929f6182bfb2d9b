"""The user's configuration: anything unreadable in its place is reported, never ignored."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.film import Film

from ltxflow.core.errors import LtxflowError
from ltxflow.project.config import read_config

Wrong = Callable[[Path], object]
WRONG: dict[str, tuple[Wrong, str, str]] = {
    "a folder": (Path.mkdir, "is a folder", "write the configuration as one file, and move the folder away"),
    "a link to nothing": (
        lambda path: path.symlink_to("gone.yaml"),
        "is a dangling symbolic link",
        'restore "gone.yaml", or remove the link',
    ),
    "a pipe": (os.mkfifo, "is not a file", "name a text file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_something_other_than_a_file_is_an_error_with_a_hint(name: str, tmp_path: Path) -> None:
    make, message, hint = WRONG[name]
    file = tmp_path / "config/ltxflow/config.yaml"
    file.parent.mkdir(parents=True)
    make(file)
    with pytest.raises(LtxflowError) as caught:
        read_config({"XDG_CONFIG_HOME": str(tmp_path / "config")})
    (problem,) = caught.value.problems
    assert problem.message == f'"{file}" {message}'
    assert hint in problem.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_configuration_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "config/ltxflow/config.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("servers: [http://bench:8188]\n")
    file.chmod(0)
    with pytest.raises(LtxflowError, match="cannot be read: permission denied"):
        read_config({"XDG_CONFIG_HOME": str(tmp_path / "config")})


def test_a_cached_plan_is_not_shown_once_the_configuration_is_a_folder(
    film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert film.build().code == 0
    assert film.run("plan").code == 0
    (tmp_path / "config/ltxflow/config.yaml").mkdir(parents=True)
    ran = film.run("plan")
    assert ran.code == 2
    assert 'config.yaml" is a folder' in ran.err


@pytest.mark.parametrize("home", ["/dev/null", "nowhere"])
def test_without_a_configuration_everything_has_its_default(home: str) -> None:
    config = read_config({"XDG_CONFIG_HOME": home})
    assert (config.store, config.servers, dict(config.trust)) == (None, (), {})
