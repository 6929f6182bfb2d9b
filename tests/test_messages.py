"""The catalogue of messages: one place, one scheme of codes, and every call fits the text that it names."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import ltxflow
from ltxflow import messages

PACKAGE = Path(ltxflow.__file__).parent
GIVEN = {"hint", "level", "transient", "of"}  # keywords of `problem` itself


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Yield every call of `problem(…)` in the package, with its place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "problem":
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def ids(call: ast.Call) -> list[str]:
    """Return the ids that a call may name: a literal, or either side of `a if … else b`."""
    first = call.args[0]
    options = [first.body, first.orelse] if isinstance(first, ast.IfExp) else [first]
    return [each.value for each in options if isinstance(each, ast.Constant)]


def fields(text: messages.Text, *, with_hint: bool) -> set[str]:
    parts = text.message + (text.hint if with_hint else "")
    return {re.split(r"[.\[]", name)[0] for _, name, _, _ in Formatter().parse(parts) if name}


def test_each_call_gives_what_its_text_needs() -> None:
    for place, call in calls():
        assert ids(call), f"{place}: the id is not written there"
        for id in ids(call):
            _, text = messages.find(id)
            given = {keyword.arg for keyword in call.keywords}
            needs = fields(text, with_hint="hint" not in given)
            assert None in given or needs == {name for name in given - GIVEN if name}, f"{place}: {id}"


def test_every_rule_is_found_by_its_code() -> None:
    for path in sorted((PACKAGE / "messages").glob("[!_]*.py")):
        for code, rule in importlib.import_module(f"ltxflow.messages.{path.stem}").RULES.items():
            assert path.stem in messages.AREAS[code[0]][1].split(), f"{path.stem}: {code}"
            for name, text in rule.texts.items():
                assert messages.find(f"{code}.{name}" if name else code)[1] == text


def test_codes_are_of_one_scheme() -> None:
    for code, rule in messages.every():
        assert re.fullmatch(r"[A-Z][0-9]{3}", code), code
        assert code[0] in messages.AREAS, code
        assert rule.title, code
        assert rule.texts or rule.why, code


def test_no_problem_is_worded_elsewhere() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem"
    ]
    # the factory, problems that a child process reports, and problems that a memo has
    rebuilt = ("core/errors.py", "workflow/sandbox.py", "project/lint.py")
    assert [place for place in found if not place.startswith(rebuilt)] == []


def test_each_text_is_used() -> None:
    sources = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.parent.name != "messages")
    named = set(re.findall(r'"([A-Z][0-9]{3}(?:\.[a-z0-9-]+)?)"', sources))
    ids = {f"{code}.{name}" if name else code for code, rule in messages.every() for name in rule.texts}
    assert ids - named == set()


TELLS_ITSELF = {  # the message says what to do, or follows one that does
    "C003.not-yet",
    "C007.reason",  # the words of a server; a hint follows from the status
    "C007.rest",
    "S200",
    "T102",
}


def test_no_problem_is_without_a_way_out() -> None:
    lacking = {
        f"{place}: {id}"
        for place, call in calls()
        for id in ids(call)
        if not messages.find(id)[1].hint and "hint" not in {keyword.arg for keyword in call.keywords}
        if id not in TELLS_ITSELF
    }
    assert lacking == set()


def test_a_hint_about_seeds_ends_with_them() -> None:
    """`plan/review.py` goes on from there with the command, and adds the advice to hints that lack it."""
    hints = [text.hint for _, rule in messages.every() if rule.check for text in rule.texts.values()]
    assert [hint for hint in hints if "try another seed" in hint and not hint.endswith("another seed")] == []
