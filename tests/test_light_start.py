"""Start-up is a feature: what a verb does not need is not imported. Sets of modules, never times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"yaml", "jsonschema", "jinja2", "networkx", "httpx", "websockets", "diskcache", "av", "PIL", "numpy", "rich"}


def loaded(*argv: str, cwd: Path) -> set[str]:
    """Run the command line in a process of its own and return the top-level modules that it loaded."""
    code = (
        "import sys; from ltxflow.cli.main import main; code = main(sys.argv[1:]); sys.stdout.flush();"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_load_next_to_nothing(option: str, tmp_path: Path) -> None:
    assert not loaded(option, cwd=tmp_path) & (HEAVY | {"argparse", "asyncio", "importlib_metadata"})


@pytest.mark.parametrize("argv", [("init", "film"), ("schema",), ("schema", "timeline")])
def test_what_reads_no_film_loads_no_library(argv: tuple[str, ...], tmp_path: Path) -> None:
    assert not loaded(*argv, cwd=tmp_path) & HEAVY


def test_checking_a_film_opens_no_store_and_no_socket(tmp_path: Path) -> None:
    loaded("init", "film", cwd=tmp_path)
    assert not loaded("check", "-p", "film", cwd=tmp_path) & {"httpx", "websockets", "diskcache", "rich"}


def test_a_plan_looks_at_no_picture_and_asks_no_graph_library(tmp_path: Path) -> None:
    """What is planned from is read and compared; pictures are decoded, and wrong files explained, when there are."""
    loaded("init", "film", cwd=tmp_path)
    (tmp_path / "film/refs").mkdir(exist_ok=True)
    heavy = {"jsonschema", "networkx", "httpx", "websockets", "av", "PIL", "numpy", "rich"}
    assert not loaded("plan", "-p", "film", cwd=tmp_path) & heavy


def test_a_film_with_frames_of_other_clips_asks_no_graph_library(tmp_path: Path) -> None:
    """A frame is taken right after its clip is made: that is an order without a graph."""
    loaded("init", "film", cwd=tmp_path)
    clips = "\n".join(f"      - {{ id: {id}, length: 97f, prompt: A key turns{at} }}" for id, at in CHAIN.items())
    (tmp_path / "film/project.yaml").write_text(f"ltxflow: 1\nid: film\nscenes:\n  - id: one\n    clips:\n{clips}\n")
    assert "networkx" not in loaded("plan", "-p", "film", cwd=tmp_path)


CHAIN = {
    "a": "",
    "b": ", reference: { frame_of: a }",
    "c": ", extends: { clip: b }",
    "d": ", reference: { frame_of: { clip: a, at: 1s } }",
}
