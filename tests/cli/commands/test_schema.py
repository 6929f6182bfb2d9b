"""`ltxflow schema`: what is published about our files, for editors and other programs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from harness.command import run

from ltxflow.cli.commands.schema import NAMES
from ltxflow.core.files import data_dir


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_is_printed_as_it_is_published(name: str) -> None:
    text = (data_dir() / "schemas" / f"{name}.schema.json").read_text()
    assert run("schema", name).out == text
    assert run("schema", name, "--json").data == json.loads(text)


def test_the_timeline_is_printed_as_typescript() -> None:
    text = (data_dir() / "schemas" / "timeline.ts").read_text()
    assert run("schema", "timeline", "--as", "typescript").out == text
    assert run("schema", "timeline", "--as", "typescript", "--json").data == text


def test_no_other_schema_is() -> None:
    ran = run("schema", "project", "--as", "typescript", "--json")
    assert ran.code == 2
    (problem,) = ran.envelope["problems"]
    assert problem["message"] == 'no TypeScript for the schema "project"'
    assert problem["hint"] == "write: ltxflow schema timeline --as typescript"


def test_the_script_writes_the_published_zod_schemas(tmp_path: Path) -> None:
    folder = data_dir() / "schemas"
    script = shutil.copy(folder / "make_zod.py", tmp_path)
    subprocess.run([sys.executable, script], check=True)
    assert (tmp_path / "timeline.zod.ts").read_bytes() == (folder / "timeline.zod.ts").read_bytes()
