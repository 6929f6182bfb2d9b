"""The house style, as far as a program can check it: docstrings, banned words, class names, sizes of modules."""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ltxflow
from ltxflow import messages
from ltxflow.cli.main import help_text
from ltxflow.cli.parser import parser_of
from ltxflow.cli.table import COMMANDS
from ltxflow.core.files import data_dir

PACKAGE = Path(ltxflow.__file__).parent
EXCEPT = {  # modules that are not held to this page, and why
    "ltxflow.project.prompt_words": "lists words of prompts",
    "ltxflow.project.sentences": "lists words of prompts",
    "ltxflow.steps.slate": "its words are in keys",
}

# Correct English in the wrong register: STYLE.md says what to write.
BANNED = re.compile(
    r"\b(told|tells|said|says who|heard|asked about|looked at|by now|anew|meanwhile|nobody|somebody|whoever"
    r"|another one|goes on|(?<!there )is no(?! longer)|of (?:its|their|your|our) own|stands for|what became of)\b",
    re.IGNORECASE,
)
# First words of a function's docstring that do not begin an imperative sentence.
NOT_IMPERATIVE = re.compile(
    r"(Given|Whether|What|Where|When|Which|Who|How|Why|The|A|An|It|Its|If|Everything|All|Those|Yields|Returns|Gives"
    r"|Raises|Makes|Reads|Writes|Takes|Says|Puts|Called)\b|[^A-Z]"
)
SMALL = {  # modules, or packages with their modules, that may have fewer than 40 lines, and why
    "ltxflow.__main__": "what `python -m ltxflow` runs",
    "ltxflow.cli.commands": "a command costs one file",
    "ltxflow.media.speech": "an engine costs one file",
    "ltxflow.messages": "the rules of a package are one file",
}
LEAST, MOST = 40, 600  # lines of a module
WIDEST = 120  # columns of the first line of a docstring


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
HELD = [module for module in MODULES if module not in EXCEPT]


def docstrings(module: str) -> Iterator[tuple[ast.AST, str]]:
    """Yield everything in a module that has a docstring, with that."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text is not None:
                yield node, text


def is_property(node: ast.AST) -> bool:
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
    return any("property" in ast.unparse(each) for each in decorators)


def texts(module: str) -> Iterator[tuple[int, str]]:
    """Yield the strings of several words and the comments of a module, with their lines."""
    source = MODULES[module].read_text()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


@pytest.mark.parametrize("module", HELD)
def test_docstrings_begin_with_a_short_sentence(module: str) -> None:
    for node, text in docstrings(module):
        first = text.partition("\n")[0].rstrip()
        if re.match(r"`.*`$", first):
            continue  # an example says it all
        place = f"{module}:{getattr(node, 'lineno', 1)}: {first}"
        assert first.endswith((".", ":", "?", "…")), place
        assert len(first) + getattr(node, "col_offset", 0) <= WIDEST, place
        assert not first.startswith("Given"), place
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not is_property(node):
            assert not NOT_IMPERATIVE.match(first), place


@pytest.mark.parametrize("module", HELD)
def test_strings_and_comments_have_no_banned_word(module: str) -> None:
    found = [f"{module}:{line}: {text.strip()[:100]}" for line, text in texts(module) if BANNED.search(text)]
    assert found == []


def test_messages_and_hints_have_no_banned_word_and_no_final_period() -> None:
    for code, rule in messages.every():
        for part in (rule.title, rule.why, *(part for text in rule.texts.values() for part in text)):
            assert not BANNED.search(part), f"{code}: {part}"
        for text in rule.texts.values():
            assert not re.search(r"[^.…]\.$", text.message), f"{code}: {text.message}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_banned_word(command: str) -> None:
    parser = parser_of(command)
    options: list[argparse.Action] = parser._actions
    for text in (COMMANDS[command].help, parser.description or "", *(option.help or "" for option in options)):
        assert text, command
        assert not BANNED.search(text), text
    assert not NOT_IMPERATIVE.match(parser.description or ""), parser.description
    assert not BANNED.search(help_text())


def descriptions(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("description", "markdownDescription", "title") and isinstance(value, str):
                yield value
            else:
                yield from descriptions(value)
    elif isinstance(schema, list):
        for each in schema:
            yield from descriptions(each)


@pytest.mark.parametrize("path", sorted((data_dir() / "schemas").glob("*.json")), ids=lambda path: path.stem)
def test_schema_descriptions_have_no_banned_word(path: Path) -> None:
    assert [text for text in descriptions(json.loads(path.read_text("utf-8"))) if BANNED.search(text)] == []


def test_no_public_class_is_defined_twice() -> None:
    homes: dict[str, list[str]] = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


@pytest.mark.parametrize("module", MODULES)
def test_no_path_is_resolved_by_pathlib(module: str) -> None:
    """`Path.resolve()` raises RuntimeError for a circle of links before Python 3.13; `real_path` does not."""
    calls = [
        node.lineno
        for node in ast.walk(ast.parse(MODULES[module].read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "resolve"
        if not node.args and ast.unparse(node.func.value) not in ("Path(__file__)", "walk")
    ]
    assert calls == []


@pytest.mark.parametrize("module", HELD)
def test_a_module_is_neither_too_long_nor_too_short(module: str) -> None:
    lines = len(MODULES[module].read_text().splitlines())
    assert lines <= MOST
    is_package = MODULES[module].name == "__init__.py"
    if not is_package and not any(module == name or module.startswith(f"{name}.") for name in SMALL):
        assert lines >= LEAST


def private(name: str) -> bool:
    """Return whether a name begins with one underscore."""
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.rglob("*.py")), ids=lambda path: path.stem)
def test_no_test_reaches_a_private_name(path: Path) -> None:
    """A test that needs one is asking for a parameter, or for a public name."""
    tree = ast.parse(path.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").split(".")[0] == "ltxflow"]
    names = {alias.asname or alias.name for node in ours for alias in node.names}
    reached = [f"{alias.name}" for node in ours for alias in node.names if private(alias.name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in names:
            reached += [f"{node.value.id}.{node.attr}"] if private(node.attr) else []
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "setattr" and len(node.args) > 1:
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else ""
            reached += [str(name)] if private(str(name)) else []
    assert reached == []
