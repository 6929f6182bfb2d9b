"""`ltxflow guide` and AGENTS.md: short, and true to the program."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from harness.command import run
from harness.film import Film

from ltxflow.cli.guide import guide_text, prompt_rules
from ltxflow.cli.parser import parser_of
from ltxflow.cli.table import COMMANDS
from ltxflow.messages.project import RULES


def test_init_writes_what_guide_prints(film: Film) -> None:
    run("init", "new")
    text = (film.folder.parent / "new/AGENTS.md").read_text("utf-8")
    assert text == guide_text()
    assert run("guide").out == text
    assert run("guide", "--json").data == text


def test_a_guide_of_ones_own_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "AGENTS.md").write_text("mine\n")
    assert run("init").code == 0
    assert (tmp_path / "AGENTS.md").read_text() == "mine\n"


def test_it_is_short() -> None:
    assert len(guide_text().split()) < 1300


def test_every_rule_of_prompts_is_in_it_with_its_reason() -> None:
    rules = [code for code in RULES if code.startswith("P")]
    assert len(prompt_rules()) == len(rules)
    for code, line in zip(rules, prompt_rules(), strict=True):
        assert line.endswith(f"[{code}]")
        assert RULES[code].why in line
        assert not re.search(r"\{\w+\}", line)


def commands() -> list[list[str]]:
    quoted = re.findall(r"`ltxflow ([^`]+)`", guide_text())
    indented = re.findall(r"^    ltxflow (\w+)", guide_text(), re.M)
    return [shlex.split(each) for each in (*quoted, *indented) if "COMMAND" not in each]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_in_it_exists_with_its_options(words: list[str]) -> None:
    name, *rest = words
    assert name in COMMANDS
    options = {option for action in parser_of(name)._actions for option in action.option_strings}
    assert {word for word in rest if word.startswith("--")} <= options


def test_what_costs_gpu_time_is_all_that_does() -> None:
    line = next(line for line in guide_text().splitlines() if line.startswith("- GPU time"))
    named = set(re.findall(r"`ltxflow (\w+)`", line))
    limited = {name for name in COMMANDS if any("--max-gpu" in a.option_strings for a in parser_of(name)._actions)}
    assert named == limited | {"board"}  # its pages start the others


def test_the_scene_in_it_is_valid(film: Film) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", guide_text(), re.S)
    (scene,) = yaml.safe_load(text)
    del scene["clips"][0]["reference"]
    film.write_data({"ltxflow": 1, "id": "a", "scenes": [scene]})
    ran = film.run("check", "--json")
    assert {each["level"] for each in ran.envelope["problems"]} <= {"advice"}
