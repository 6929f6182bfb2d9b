"""The floors of the house: a module imports only from its own floor or one above it, and cycles cannot be written."""

from __future__ import annotations

import ast
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ltxflow"
FLOORS = [
    "messages",
    "core",
    "media",
    "documents",
    "models",
    "store",
    "lock",
    "comfy",
    "workflow",
    "project",
    "steps",
    "plan",
    "session",
    "publish",
    "decisions",
    "farm",
    "build",
    "export",
    "ui",
    "board",
    "cli",
]
NO_SIBLINGS = ("ltxflow.steps", "ltxflow.cli.commands")

# Each library stands behind one module, or one floor: what can be swapped, and what costs start-up, is known.
BEHIND = {
    "yaml": ["ltxflow.documents.yaml"],
    "jinja2": ["ltxflow.workflow.jinja", "ltxflow.board.pages"],  # workflows as JSON, pages as HTML
    "markupsafe": ["ltxflow.workflow.jinja"],
    "jsonschema": ["ltxflow.documents.schema"],
    "networkx": ["ltxflow.plan.graph"],
    "httpx": ["ltxflow.comfy.transport", "ltxflow.media.speech.openai", "ltxflow.store.remote"],  # kinds of server
    "websockets": ["ltxflow.comfy.websocket"],
    "diskcache": ["ltxflow.store.index"],
    "av": ["ltxflow.media"],
    "PIL": ["ltxflow.media"],
    "numpy": ["ltxflow.media"],
    "fontpkg_noto_sans": ["ltxflow.media"],
    "budoux": ["ltxflow.media.text_layout"],
    "bidi": ["ltxflow.media.bidi"],
    "rich": ["ltxflow.ui"],
    "starlette": ["ltxflow.board"],  # the extra `board`, as the next two
    "uvicorn": ["ltxflow.board"],
    "watchfiles": ["ltxflow.board"],
    "mcp": ["ltxflow.cli.agent_server"],  # the extra `mcp`; the next comes with it
    "pydantic": ["ltxflow.cli.agent_server"],
}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str) -> set[str]:
    """Given a module, return the names of all modules it imports, wherever in it, ours by their full names."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            assert node.module is not None
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in whole}
    return found


def floor(module: str) -> str:
    """Return the package of a module: `ltxflow.build.loop` → `build`; "" of ltxflow itself, "cli" of `__main__`."""
    name = [*module.split("."), ""][1]
    return "cli" if name == "__main__" else name


def test_every_module_stands_on_a_floor() -> None:
    assert {floor(module) for module in MODULES} == {"", *FLOORS}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_own_floor_or_one_above(module: str) -> None:
    own = FLOORS.index(floor(module)) if floor(module) else -1
    for other in imports(module) & MODULES.keys() - {"ltxflow"}:
        assert FLOORS.index(floor(other)) <= own, f"{module} imports {other}, which is below it"


def test_no_module_imports_itself_through_others() -> None:
    # with TYPE_CHECKING too: names of types are a dependency for the reader
    graph = {module: imports(module) & MODULES.keys() for module in MODULES}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, naming the cycle
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith(tuple(f"{n}." for n in NO_SIBLINGS))])
def test_siblings_do_not_know_each_other(module: str) -> None:
    """A sibling is a module or a whole package: modules of one package know each other."""
    home = next(f"{name}." for name in NO_SIBLINGS if module.startswith(f"{name}."))
    own = home + module.removeprefix(home).partition(".")[0]
    assert not [other for other in imports(module) if other.startswith(home) and not f"{other}.".startswith(f"{own}.")]


@pytest.mark.parametrize("library", BEHIND)
def test_a_library_has_one_home(library: str) -> None:
    users = [m for m in MODULES if any(name.split(".")[0] == library for name in imports(m))]
    homes = tuple(BEHIND[library])
    assert users
    assert not [user for user in users if not any(user == home or user.startswith(f"{home}.") for home in homes)]


def test_no_other_library_is_imported() -> None:
    foreign = {name.split(".")[0] for module in MODULES for name in imports(module)}
    assert foreign - set(sys.stdlib_module_names) - {"ltxflow"} <= set(BEHIND)


def test_every_module_opens_with_a_line_that_says_what_it_knows() -> None:
    for module, path in MODULES.items():
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        first = text.partition("\n")[0]
        assert first, f"{module} has no docstring"
        assert first.rstrip().endswith((".", ":")), f"{module}: its first line is not a sentence"
