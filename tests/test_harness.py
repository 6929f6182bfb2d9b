"""How tests are laid out: directories mirror the packages, and a test takes nothing from another test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "ltxflow"
SHARED = {"harness", "fakes"}
OTHERS = {"labelled", "live"}  # clips of known kinds, for benchmarks too; the suite for a real server


def test_directories_of_tests_are_packages_of_ltxflow() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")} - {Path()}
    strange = {str(folder) for folder in folders if not (PACKAGE / folder).is_dir()}
    assert strange <= OTHERS


def test_a_test_imports_no_other_test() -> None:
    ours = {path.stem if path.is_file() else path.name for path in TESTS.iterdir()}
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not re.search(r"(^|\.)(test_\w+|conftest)$", name), f"{path}: {name}"
                first = name.partition(".")[0]
                assert first not in ours - SHARED - OTHERS - {"oracle"}, f"{path}: {name}"
