"""Published files validate against the schemas in `schemas/`."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any, get_args

import jsonschema
import pytest
import yaml
from harness.film import Film

from ltxflow.core import events
from ltxflow.core.files import data_dir
from ltxflow.lock.file import read_lock, write_lock

FOLDER = data_dir() / "schemas"
NAMES = sorted(path.name.removesuffix(".schema.json") for path in FOLDER.glob("*.schema.json"))


def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text()))


def without_description(schema: Any, place: str = "") -> list[str]:
    """Return the properties of a schema without a description."""
    if not isinstance(schema, dict):
        return []
    found = []
    for name, part in {**schema.get("properties", {}), **schema.get("$defs", {})}.items():
        if (
            "properties" in schema
            and name in schema["properties"]
            and not {"description", "const", "$ref"} & part.keys()
        ):
            found.append(f"{place}/{name}")
        found += without_description(part, f"{place}/{name}")
    return found + without_description(schema.get("items"), f"{place}[]")


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_valid(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(validator(name).schema)


@pytest.mark.parametrize("name", ["project", "timeline", "lock"])
def test_every_property_is_described_for_editors(name: str) -> None:
    assert not without_description(validator(name).schema)


def test_the_timeline_of_a_build_validates(film: Film) -> None:
    film.build()
    validator("timeline").validate(film.timeline)


def test_the_timeline_of_a_film_with_a_missing_clip_validates(film: Film) -> None:
    film.build("hook")
    assert not film.timeline["complete"]
    validator("timeline").validate(film.timeline)


def test_every_line_of_a_build_validates(film: Film) -> None:
    ran = film.build()
    for event in ran.events():
        validator("event").validate(event)
    names = {event["event"] for event in ran.events()}
    assert names >= {
        "run-started",
        "action-started",
        "action-progress",
        "action-finished",
        "file-published",
        "run-finished",
    }


def test_a_line_of_another_form_does_not_validate(film: Film) -> None:
    (event, *_) = film.build().events("action-finished")
    assert not validator("event").is_valid({**event, "outcome": "perhaps"})
    assert not validator("event").is_valid({k: v for k, v in event.items() if k != "target"})


def test_the_lock_after_a_render_validates(film: Film) -> None:
    film.render()
    film.run("build")
    text = (film.folder / "ltxflow.lock").read_text()
    data = yaml.safe_load(text)
    assert set(data) == {"ltxflow-lock", "hook/a", "hook/b", "middle/a", "end/a", "model:ltx-2/19b"}
    validator("lock").validate(data)
    assert list(data)[1:] == sorted(list(data)[1:])


def test_a_lock_with_every_decision_validates(film: Film) -> None:
    film.render()
    film.run("build")
    mine = str(film.scenes / "scene-0-a.mp4")
    for argv in (
        ["approve", "hook/a", "fine"],
        ["reject", "hook/b", "too dark"],
        ["pin", "middle/a", mine],
        ["pin", "hook/a", mine, "mine"],
    ):
        assert film.run(*argv).code == 0, argv
    film.edit("end-a", "end A")
    assert film.run("accept", "end/a").code == 0
    text = (film.folder / "ltxflow.lock").read_text()
    assert all(word in text for word in ("status: approved", "status: pinned", "covered 1:", "accepted: "))
    validator("lock").validate(yaml.safe_load(text))


def test_an_unchanged_lock_is_not_written(film: Film) -> None:
    film.render()
    film.run("build")
    path = film.folder / "ltxflow.lock"
    before = path.stat().st_mtime_ns
    assert not write_lock(path, read_lock(path))
    film.run("build")
    assert path.stat().st_mtime_ns == before


def test_the_schema_has_every_event_with_its_fields_and_outcomes() -> None:
    kinds = [part["properties"] for part in validator("event").schema["oneOf"]]
    described = {kind["event"]["const"]: set(kind) - {"event"} for kind in kinds}
    assert described == {
        object.__new__(each).name: {field.name for field in fields(each)} for each in events.Event.__subclasses__()
    }
    (finished,) = [kind for kind in kinds if kind["event"]["const"] == "action-finished"]
    assert set(finished["outcome"]["enum"]) == set(get_args(events.Outcome))
