"""What a hint says to install is what this installation can have."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from ltxflow.core.errors import install_command, install_requirement

NEEDS = ["opentimelineio>=0.18.1", "otio-fcp-adapter>=1.0.0"]


def asked(**origin: object) -> list[str]:
    return install_requirement("editors", json.dumps(origin), NEEDS)


def test_an_extra_is_named_as_the_installation_came(tmp_path: Path) -> None:
    wheel = tmp_path / "ltxflow-0.1.0-py3-none-any.whl"
    wheel.touch()
    git = {"vcs": "git", "commit_id": "abc123"}
    assert asked(url=tmp_path.as_uri(), dir_info={"editable": True}) == ["-e", f"{tmp_path}[editors]"]
    assert asked(url=tmp_path.as_uri(), dir_info={}) == [f"{tmp_path}[editors]"]
    assert asked(url=wheel.as_uri(), archive_info={}) == [f"ltxflow[editors] @ {wheel.as_uri()}"]
    assert asked(url="https://x.org/l.whl", archive_info={}) == ["ltxflow[editors] @ https://x.org/l.whl"]
    assert asked(url="https://x.org/l", vcs_info=git) == ["ltxflow[editors] @ git+https://x.org/l@abc123"]
    assert asked(url="https://x.org/l", vcs_info={**git, "requested_revision": "v1"}, subdirectory="py") == [
        "ltxflow[editors] @ git+https://x.org/l@v1#subdirectory=py"
    ]


@pytest.mark.parametrize("text", ["", "{}", "[]", "no JSON", '{"url": null}'])
def test_without_an_origin_it_is_named_as_an_index_has_it(text: str) -> None:
    assert install_requirement("editors", text, NEEDS)[0].startswith("ltxflow[editors]")


def test_where_its_folder_or_file_is_gone_its_packages_are_named(tmp_path: Path) -> None:
    gone = (tmp_path / "gone").as_uri()
    assert asked(url=gone, dir_info={"editable": True}) == NEEDS
    assert asked(url=gone, archive_info={}) == NEEDS


def test_the_command_installs_where_ltxflow_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIRTUAL_ENV", sys.prefix)
    assert shlex.split(install_command("editors"))[:2] == ["pip", "install"]
    monkeypatch.delenv("VIRTUAL_ENV")
    assert shlex.split(install_command("editors"))[:4] == [sys.executable, "-m", "pip", "install"]
