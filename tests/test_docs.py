"""The documentation: generated pages agree with the program, links lead somewhere, the README stays short."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import wave
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

from ltxflow.cli.table import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OUTSIDE = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")]
PAGES = sorted(path for path in DOCS.rglob("*.md") if not path.name.startswith("_"))
PROMPT = (
    "Sparks drift through the dark hall as the rings of the door slow down and stop. The camera pulls back along the "
    "floor and rises. Dust falls through a beam of golden light. Metal creaks, then a soft chime rings out and fades."
)
BANNED = (
    "told",
    "anew",
    "meanwhile",
    "nobody",
    "somebody",
    "whoever",
    "by now",
    "of its own",
    "of their own",
    "(?<!there )is no",
)


@cache
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def generated() -> dict[str, str]:
    pages: dict[str, str] = generate().pages()
    return pages


def ltxflow(*args: str) -> str:
    env = {**os.environ, "COLUMNS": "96", "NO_COLOR": "1"}
    program = Path(sys.executable).parent / "ltxflow"
    return subprocess.run([program, *args], env=env, capture_output=True, check=True, text=True).stdout


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.S)


def anchors(text: str) -> set[str]:
    """The ids of the headings of a page, as Python-Markdown and GitHub write them."""
    headings = re.findall(r"^#+ +(.+)$", re.sub(r"```.*?```", "", text, flags=re.S), re.M)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_the_command_reference_holds_the_help_of_every_command() -> None:
    page = generated()["reference/commands.md"]
    for name in COMMANDS:
        assert f"## ltxflow {name}\n\n```text\n{ltxflow(name, '--help').rstrip()}\n```" in page


def test_the_reference_has_every_rule() -> None:
    page = generated()["reference/rules.md"]
    rules = json.loads(ltxflow("rules", "--json"))["data"]
    assert len(rules) > 100
    assert [rule["code"] for rule in rules if f"| `{rule['code']}` | {rule['level']} |" not in page] == []


@pytest.mark.parametrize("name", ["project", "profile", "timeline"])
def test_the_reference_has_every_key_of_a_schema(name: str) -> None:
    page = generated()[f"reference/{name}.md"]
    missing = [key for key in names_of(generate().schema(name)) if not re.search(rf"[`.]{re.escape(key)}`", page)]
    assert missing == []


def names_of(part: object) -> set[str]:
    """Every name of a key in a schema, at any depth."""
    if isinstance(part, list):
        return {name for each in part for name in names_of(each)}
    if not isinstance(part, dict):
        return set()
    named = part.get("properties", {})
    return {*named, *(name for key, each in part.items() if key != "examples" for name in names_of(each))}


def test_the_reference_has_every_event() -> None:
    events = [each["properties"]["event"]["const"] for each in generate().schema("event")["oneOf"]]
    assert [event for event in events if f"### `{event}`" not in generated()["reference/json.md"]] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) <= 700


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.S)):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = Path(os.path.normpath(page.parent / path)) if path else page
        inside = file.relative_to(DOCS).as_posix() if file.is_relative_to(DOCS) else ""
        text_there = generated().get(inside) or (file.read_text("utf-8") if anchor and file.is_file() else "")
        if not (file.exists() or inside in generated()) or (anchor and anchor not in anchors(text_there)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_are_written_in_plain_english(page: Path) -> None:
    text = re.sub(r"\s+", " ", without_code(page.read_text("utf-8")))
    assert [word for word in BANNED if re.search(rf"\b{word}\b", text, re.I)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/write.md"])
def test_the_example_is_a_film_without_a_warning(page: str, tmp_path: Path) -> None:
    example = re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.S)[0]
    head = "" if "ltxflow: 1" in example else 'ltxflow: 1\nid: example\naspect: "16:9"\n'
    for folder in ("refs", "prompts", "narration", "scenes"):
        (tmp_path / folder).mkdir()
    (tmp_path / "project.yaml").write_text(head + example, "utf-8")
    shutil.copy(ROOT / "projects/wallet-explainer/refs/vault.png", tmp_path / "refs")
    (tmp_path / "prompts/hook-b.txt").write_text(PROMPT, "utf-8")
    (tmp_path / "scenes/outro.yaml").write_text(f"id: outro\nnarration: 4s\nclips: [{{id: a, prompt: '{PROMPT}'}}]\n")
    with wave.open(str(tmp_path / "narration/hook.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(2 * 8000 * 6))
    problems = json.loads(ltxflow("check", "--json", "--root", str(tmp_path), "-p", str(tmp_path)))["problems"]
    assert [problem for problem in problems if problem["level"] != "advice"] == []


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ((?:[\w-]+/)?[\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.M))
    assert listed == {page.relative_to(DOCS).as_posix() for page in PAGES} | set(generated())


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("material", reason="the theme: make docs installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "ltxflow plan" in (tmp_path / "reference" / "commands" / "index.html").read_text("utf-8")
