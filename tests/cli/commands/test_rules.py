"""`ltxflow rules` and `ltxflow schema`: what can be looked up."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections import Counter

import pytest
from harness.command import run

from ltxflow import messages
from ltxflow.core.files import data_dir


def test_every_rule_has_a_code_a_level_and_a_title() -> None:
    rules = run("rules", "--json").data
    assert len({rule["code"] for rule in rules}) == len(rules) > 40
    assert [rule["code"] for rule in rules] == sorted(rule["code"] for rule in rules)
    for rule in rules:
        assert rule["level"] in ("error", "warning", "advice")
        assert rule["title"]


def test_every_code_of_the_catalogue_is_listed() -> None:
    assert [rule["code"] for rule in run("rules", "--json").data] == [code for code, _ in messages.every()]


def test_no_two_texts_have_one_id() -> None:
    names = [f"ltxflow.messages.{each.name}" for each in pkgutil.iter_modules(messages.__path__)]
    rules = [pair for name in names for pair in importlib.import_module(name).RULES.items()]
    ids = [f"{code}.{text}" for code, rule in rules for text in rule.texts]
    assert [id for id, number in Counter(ids).items() if number > 1] == []
    assert "covers" in run("rules", "L107").out


def test_one_rule_by_its_code_in_any_case() -> None:
    assert run("rules", "p109").out.startswith("P109  advice  ")
    assert run("rules", "l106").out.startswith("L106  warning  ")


def test_a_check_is_shown_with_what_switches_it_off_and_what_another_seed_does() -> None:
    assert run("rules", "Q101").out.rstrip().endswith("[checks: {frozen: false}; another seed: tried]")
    (rule,) = run("rules", "Q111", "--json").data
    assert (rule["check"], rule["seed"]) == ("size", "no help")


def test_an_unknown_code_is_an_error() -> None:
    ran = run("rules", "X999")
    assert ran.code == 2
    assert 'no rule "X999" [U013]' in ran.err


@pytest.mark.parametrize("name", ["project", "timeline", "event", "lock", "profile"])
def test_a_schema_is_printed_as_it_is_published(name: str) -> None:
    published = json.loads((data_dir() / "schemas" / f"{name}.schema.json").read_text())
    assert json.loads(run("schema", name).out) == published
    assert run("schema", name, "--json").data == published


def test_the_projects_schema_is_the_one_without_a_name() -> None:
    assert run("schema").out == run("schema", "project").out
