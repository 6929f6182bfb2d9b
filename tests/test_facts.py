"""Facts kept beside a file, in its trace and in the lock, are those of the file even if a bit flips."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from harness.film import Film

from ltxflow.lock.file import read_lock

SCENES = {"hook": ["a", "b"]}


@pytest.fixture
def rendered(film: Film) -> Film:
    """Return a film of two clips, rendered, published and locked."""
    film.write(SCENES, "6s")
    film.render()
    assert film.run("build").code == 0
    return film


def trace_of(film: Film, target: str) -> Path:
    paths = (film.store / "traces").rglob("*.json")
    return next(path for path in paths if json.loads(path.read_text())["target"] == target)


@pytest.mark.parametrize(("old", "new"), [('"frames":97', '"frames":17'), ('"fps":"25"', '"fps":"24"')])
@pytest.mark.parametrize("has_index", [True, False])
def test_a_wrong_trace_costs_no_render_and_changes_no_timeline(
    rendered: Film, old: str, new: str, has_index: bool
) -> None:
    film, before = rendered, rendered.timeline
    path = trace_of(film, "clip:hook/a@1")
    path.write_text(path.read_text().replace(old, new))
    if not has_index:
        for name in ("index", "memory"):
            shutil.rmtree(film.store / name)
    (film.scenes / "timeline.json").unlink()
    ran = film.run("build", "--json")
    assert ran.code == 0, ran.out
    assert ran.totals["rendered"] == 0
    assert film.timeline == before


@pytest.mark.parametrize("name", ["frames", "fps", "width"])
def test_a_wrong_lock_is_corrected_from_the_files(rendered: Film, name: str) -> None:
    film, lock = rendered, rendered.folder / "ltxflow.lock"
    before, whole = film.timeline, lock.read_text()
    wrong = re.sub(rf'( {name}: "?\d*)(\d)', lambda found: f"{found[1]}{int(found[2]) ^ 1}", whole, count=1)
    assert wrong != whole
    lock.write_text(wrong)
    plan = film.run("plan", "--json")
    assert not [change for change in plan.data["changes"] if change["kind"] in ("change", "create")]
    (problem,) = [problem for problem in plan.envelope["problems"] if problem["code"] == "D004"]
    assert "hook/a@1 has" in problem["message"]
    assert "by its file" in problem["message"]
    (film.scenes / "timeline.json").unlink()
    assert film.run("build").code == 0
    assert film.timeline == before
    again = read_lock(lock).entries["hook/a"].takes[1]
    assert again.facts[name] == yaml.safe_load(whole)["hook/a"]["take 1"]["facts"][name]


def test_a_correct_lock_is_measured_once(rendered: Film) -> None:
    assert not [p for p in rendered.run("plan", "--json").envelope["problems"] if p["code"] == "D004"]
    session = rendered.session()
    assert session.memory.get(f"lock {session.lock_file.digest}") is True
