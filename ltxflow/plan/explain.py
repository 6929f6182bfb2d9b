"""Why a key is not the one before: a diff of two actions, told in the author's own words. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.comfy.graph import GraphChange, diff_graphs
from ltxflow.core.digest import Action
from ltxflow.core.errors import Span
from ltxflow.steps import Node, step
from ltxflow.store.traces import Trace

# Fields whose change may add, remove or rewire nodes, so that any change of the graph may be theirs.
STRUCTURAL = frozenset(
    "quality steps cfg stages sampler loras size base reference.image last_frame.image control.video control.lora "
    "temporal_upscale extends".split()
)
# Fields that are named only when nothing else explains what changed in the graph.
BACKGROUND = frozenset(["template", "profile"])


@dataclass(frozen=True)
class Reason:
    """One value that changed: the field, what it was and is (JSON values), and where it is written now."""

    field: str
    old: Any
    new: Any
    span: Span | None = None
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        place = {"file": self.span.file, "line": self.span.line, "col": self.span.col} if self.span else None
        return {"field": self.field, "old": self.old, "new": self.new, "where": place, "detail": self.detail}


def reasons(node: Node, now: Action | None, before: Trace | None) -> list[Reason]:
    """Given a node, its action and the trace of what it was, return every field that changed, and only those.

    Empty when there was nothing before, or the two actions are the same.
    """
    if before is None or now is None or before.key == now.key:
        return []
    new_fields = step(node.kind).fields(node)
    changed = [name for name in _ordered(before.fields, new_fields) if _differs(name, before.fields, new_fields)]
    graph = _graph_changes(before.action, now)
    named = [name for name in changed if name not in BACKGROUND]
    background = [name for name in changed if name in BACKGROUND]
    unexplained = [change for change in graph if not _explained(change, named, before.fields, new_fields)]
    if not unexplained and named:
        background = []
    told = [_reason(node, name, before.fields.get(name), new_fields.get(name)) for name in [*named, *background]]
    for name, (old, new) in _inputs(before.action, now).items():
        told.append(Reason(name, old, new, node.span, f"from {node.needs.get(name, '').partition('#')[0]}"))
    if not told:
        told = [_of_graph(change, node) for change in unexplained] or [
            Reason(
                "version", before.action.get("version"), now.version, None, "ltxflow makes this kind differently now"
            )
        ]
    return told


def _ordered(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys([*new, *old]))


def _differs(name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    return bool(_essence(old.get(name)) != _essence(new.get(name)))


def _essence(value: Any) -> Any:
    """A field may be a mapping with what it is called under "is": the name tells the reader, but is not compared."""
    if isinstance(value, Mapping) and "is" in value and len(value) > 1:
        return {key: part for key, part in value.items() if key != "is"}
    return value


def _graph_changes(old: Mapping[str, Any], now: Action) -> list[GraphChange]:
    before, after = old.get("body", {}).get("graph"), now.body.get("graph")
    return diff_graphs(before, after) if before and after else []


def _explained(change: GraphChange, fields: list[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if any(name in STRUCTURAL for name in fields):
        return True
    if any(name.startswith("prompt.") for name in fields) and isinstance(change.new, str):
        return True
    return (
        any(_same(change.new, new.get(name)) and _same(change.old, old.get(name)) for name in fields)
        or (any(name in ("frames", "fps", "seed") for name in fields) and isinstance(change.new, (int, float)))
        or (any("reference" in name or "last_frame" in name for name in fields) and isinstance(change.new, str))
    )


def _same(graph_value: Any, field_value: Any) -> bool:
    return bool(graph_value == field_value)


def _inputs(old: Mapping[str, Any], now: Action) -> dict[str, tuple[Any, Any]]:
    before = old.get("inputs", {})
    return {
        name: (before.get(name), now.inputs.get(name))
        for name in _ordered(before, now.inputs)
        if before.get(name) != now.inputs.get(name)
    }


def _reason(node: Node, name: str, old: Any, new: Any) -> Reason:
    return Reason(name, old, new, step(node.kind).where(node, name))


def _of_graph(change: GraphChange, node: Node) -> Reason:
    where = f"{change.class_}.{change.input}" if change.input else change.class_
    return Reason("template", change.old, change.new, node.span, f"in the workflow: {where}")


def word_diff(old: str, new: str) -> list[tuple[str, str]]:
    """Given two texts, return runs of words as ("=" | "-" | "+", text), in reading order."""
    before, after = old.split(), new.split()
    runs: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            runs.append(("=", " ".join(before[a:b])))
        else:
            if b > a:
                runs.append(("-", " ".join(before[a:b])))
            if d > c:
                runs.append(("+", " ".join(after[c:d])))
    return runs


def show(value: Any) -> str:
    """Given the value of a field, return it as a person would write it."""
    if value is None:
        return "none"
    if isinstance(value, Mapping) and "is" in value:
        extra = [f"{key} {str(part)[:8]}…" for key, part in value.items() if key != "is" and isinstance(part, str)]
        return f"{value['is']} ({', '.join(extra)})" if extra else str(value["is"])
    if isinstance(value, list):
        return ", ".join(map(show, value)) or "none"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
