"""Labelled prompts: the rules match the labels, and docs/explanation/checks.md has the figures."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from ltxflow.core.digest import Digest
from ltxflow.project.lint import RULES, lint
from ltxflow.project.model import Clip, Image, Length, Narration, Project, Prompt, Scene

LABELLED = Path(__file__).parent / "labelled" / "prompts.txt"
CHECKS = Path(__file__).parents[2] / "docs" / "explanation" / "checks.md"
OF_PROMPTS = ("P101", "P103", "P104", "P105", "P106", "P107", "P112", "P113", "P114", "P116")
VAULT = Image(Path("vault.png"), "vault.png", Digest("0" * 64), 1536, 864)


def labelled() -> list[tuple[str, str]]:
    lines = [line for line in LABELLED.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    return [(marks, text) for marks, _, text in (line.partition(" | ") for line in lines)]


def codes(marks: str, signs: str) -> set[str]:
    """Return the codes of a label with one of the signs: "" plain, "!" a false alarm, "?" missed."""
    return {mark[-4:] for mark in marks.split() if mark != "-" and mark[:-4] in signs.split(",")}


def codes_of(text: str) -> set[str]:
    """Return the codes for a prompt in a film without other problems."""
    clip = Clip("a", "hook", 0, Prompt({"text": text}), Length(), {}, reference=VAULT)
    scene = Scene("hook", 0, (clip,), Narration("none", Fraction(0)))
    here = Path()
    film = Project(
        id="film", title="", folder=here, file=here, workspace=here, output=here, fps=24, size=(1536, 864), seed=0,
        profile=None, scenes=(scene,),
    )  # fmt: skip
    return {problem.code for problem in lint(film)}


@pytest.mark.parametrize(("marks", "text"), labelled())
def test_a_prompt_is_linted_as_labelled(marks: str, text: str) -> None:
    assert codes_of(text) == codes(marks, ",!")


def test_there_are_enough_labels_and_few_errors() -> None:
    good = [marks for marks, _ in labelled() if not codes(marks, ",?")]
    assert len(good) > 150
    assert sum(marks != "-" for marks in good) <= len(good) / 20
    for code in OF_PROMPTS:
        assert sum(code in codes(marks, ",?") for marks, _ in labelled()) >= 5, code


def figures() -> dict[str, tuple[int, int, int, int]]:
    """Return by rule: its prompts and missed ones, other prompts and false alarms."""
    found = {}
    for code in OF_PROMPTS:
        about = [marks for marks, _ in labelled() if code in codes(marks, ",?")]
        others = [marks for marks, _ in labelled() if code not in codes(marks, ",?")]
        missed = sum(code in codes(marks, "?") for marks in about)
        found[code] = (len(about), missed, len(others), sum(code in codes(marks, "!") for marks in others))
    return found


def test_the_figures_are_published() -> None:
    rows = re.findall(r"^\| `(P\d{3})` [^|]*\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", CHECKS.read_text("utf-8"), re.M)
    assert {code: tuple(map(int, numbers)) for code, *numbers in rows} == figures()
    assert set(OF_PROMPTS) < set(RULES)


@pytest.mark.parametrize("part", ["camera ", "“", '"', "he slowly ", "a, ", "waves crash ", "x"])
def test_an_endless_prompt_is_linted_in_time(part: str) -> None:
    """Patterns that look ahead from every word would take a minute or more."""
    assert codes_of(part * (300_000 // len(part))) & {"P101", "P102"}
