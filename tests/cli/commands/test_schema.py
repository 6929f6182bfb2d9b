"""`ltxflow schema`: what is published about our files, for editors and other programs."""

from __future__ import annotations

import json

import pytest
from harness.command import run

from ltxflow.cli.commands.schema import NAMES
from ltxflow.core.files import data_dir


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_printed_as_it_is_published(name: str) -> None:
    text = (data_dir() / "schemas" / f"{name}.schema.json").read_text()
    assert run("schema", name).out == text
    assert run("schema", name, "--json").data == json.loads(text)


@pytest.mark.parametrize(("form", "file"), [("typescript", "timeline.ts"), ("zod", "timeline.zod.ts")])
def test_the_timeline_is_there_for_typescript(form: str, file: str) -> None:
    text = (data_dir() / "schemas" / file).read_text()
    assert run("schema", "timeline", "--as", form).out == text
    assert run("schema", "timeline", "--as", form, "--json").data == text


def test_only_the_timeline_is() -> None:
    ran = run("schema", "project", "--as", "zod", "--json")
    assert ran.code == 2
    (problem,) = ran.envelope["problems"]
    assert problem["message"] == 'there is no zod of "project"'
    assert problem["hint"] == "ltxflow schema timeline --as zod"
