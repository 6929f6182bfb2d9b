"""A project's template renders in a child process: one for a film, not one for a clip."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from harness.film import Film

from ltxflow.core.files import data_dir
from ltxflow.plan.plan import PlanOptions
from ltxflow.steps.clip import explain, spec
from ltxflow.workflow import sandbox


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test as the first look of a process."""
    monkeypatch.setattr(spec, "PRERENDERED", {})
    monkeypatch.setattr(explain, "SHAPE_DIGESTS", {})


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The command lines of the processes that are started to render."""
    started: list[Any] = []
    run = sandbox.subprocess.run  # type: ignore[attr-defined]  # the module's own name for it

    def counted(argv: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        started.append(argv)
        done: subprocess.CompletedProcess[bytes] = run(argv, **options)
        return done

    monkeypatch.setattr(sandbox.subprocess, "run", counted)  # type: ignore[attr-defined]
    return started


def with_own_template(film: Film) -> Film:
    """Write our text under another name into the project: a template that is not ours."""
    theirs, ours = film.folder / "templates/ltx2-19b", data_dir() / "templates/ltx2-19b"
    theirs.mkdir(parents=True)
    for source, name in (("_parts.j2", "_parts.j2"), ("t2v.json.j2", "mine.json.j2")):
        (theirs / name).write_text((ours / source).read_text())
    film.edit("fps: 25", "fps: 25\ndefaults: {clip: {template: mine}}")
    assert film.run("trust").code == 0
    return film


def test_a_film_of_four_clips_starts_one_process_for_its_keys(film: Film, children: list[Any]) -> None:
    outlook = with_own_template(film).session().plan(PlanOptions())
    statuses = list(outlook.statuses.values())
    assert len({status.key for status in statuses}) == 4
    assert len(children) == 1
    assert all(status.node.spec.roles() for status in statuses)
    assert len(children) == 1  # what was rendered for the key names the models


def test_the_action_names_the_models_as_the_workflow_does(film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    statuses = list(film.session().plan(PlanOptions()).statuses.values())
    roles = [status.node.spec.roles() for status in statuses]
    assert all(roles)
    monkeypatch.setattr(spec, "render", None)  # ours need no rendering for it
    assert [status.node.spec.roles(status.action) for status in statuses] == roles
