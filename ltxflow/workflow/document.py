"""Parse a workflow saved by ComfyUI's editor: nodes, links and subgraphs, each checked for its shape. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NoReturn

from ltxflow.core.errors import LtxflowError, Problem, Span, problem

MAX_DEPTH = 32  # subgraphs inside subgraphs

MUTED, BYPASSED = 2, 4
INPUTS, OUTPUTS = "-10", "-20"  # the ids of a subgraph's two ends

NOTES = frozenset({"Note", "MarkdownNote", "Label (rgthree)", "Bookmark (rgthree)"})
REROUTES = frozenset({"Reroute", "Reroute (rgthree)"})
PRIMITIVE = "PrimitiveNode"
SETS = frozenset({"SetNode", "easy setNode"})
GETS = frozenset({"GetNode", "easy getNode"})
SWITCHES = re.compile(r"(Fast .*|Mute / Bypass .*|Node Collector|Random Unmuter) \(rgthree\)")  # only in the editor

Locate = Callable[[str, str], Span | None]  # node id, class → place in the file


@dataclass(frozen=True)
class Slot:
    """An input of a node: the link that ends there, and the widget that it replaces, if any."""

    name: str
    type: str
    link: str | None
    widget: str


@dataclass(frozen=True)
class Link:
    origin: str
    slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, eq=False)
class EditorNode:
    id: str
    type: str
    mode: int
    title: str
    inputs: tuple[Slot, ...]
    outputs: tuple[str, ...]  # types
    values: Any  # list, mapping or None
    named: Mapping[str, Any]
    properties: Mapping[str, Any]

    @property
    def is_off(self) -> bool:
        return self.mode in (MUTED, BYPASSED)

    @property
    def is_virtual(self) -> bool:
        """Whether the node exists only in the editor, on no server."""
        names = NOTES | REROUTES | SETS | GETS | {PRIMITIVE}
        return self.type in names or bool(SWITCHES.fullmatch(self.type))

    @property
    def first_value(self) -> Any:
        if isinstance(self.values, list):
            return self.values[0] if self.values else None
        values = self.values if isinstance(self.values, Mapping) else self.named
        return next(iter(values.values()), None)


@dataclass(eq=False)
class Level:
    """The nodes and links of a workflow, or of a subgraph with its own inputs and outputs."""

    nodes: dict[str, EditorNode]
    links: dict[str, Link]
    name: str = ""
    inputs: tuple[str, ...] = ()  # names
    input_links: tuple[tuple[str, ...], ...] = ()
    output_links: tuple[tuple[str, ...], ...] = ()

    @cached_property
    def sets(self) -> dict[str, EditorNode]:
        """Name → the Set node that holds it."""
        found: dict[str, EditorNode] = {}
        for node in self.nodes.values():
            if node.type in SETS and isinstance(node.first_value, str):
                found.setdefault(node.first_value, node)
        return found


@dataclass
class WorkflowDocument:
    root: Level
    subgraphs: dict[str, Level]
    locate: Locate

    def refuse(self, found: Problem, node: EditorNode | None = None) -> NoReturn:
        """Raise LtxflowError with a problem, at the place of `node` in the file."""
        raise LtxflowError(replace(found, span=self.locate(node.id, node.type) if node else None))


def read_document(data: Mapping[str, Any], locate: Locate) -> WorkflowDocument:
    document = WorkflowDocument(Level({}, {}), {}, locate)
    todo: list[tuple[Any, int]] = [(data, 0)]
    is_root = True
    while todo:
        level, depth = todo.pop()
        if not isinstance(level, Mapping):
            document.refuse(problem("T025.subgraph"))
        if depth > MAX_DEPTH:
            document.refuse(problem("T025.too-deep", most=MAX_DEPTH))
        read = _read_level(document, level)
        if is_root:
            document.root, is_root = read, False
        else:
            id = level.get("id")
            if not isinstance(id, str):
                document.refuse(problem("T025.subgraph-id"))
            if id in document.subgraphs and document.subgraphs[id].nodes.keys() != read.nodes.keys():
                document.refuse(problem("T025.same-subgraph", subgraph=id[:60]))
            document.subgraphs[id] = read
        definitions = level.get("definitions")
        subgraphs = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
        todo += [(one, depth + 1) for one in subgraphs] if isinstance(subgraphs, list) else []
    return document


def _read_level(document: WorkflowDocument, level: Mapping[str, Any]) -> Level:
    nodes: dict[str, EditorNode] = {}
    written = level.get("nodes")
    if not isinstance(written, list):
        document.refuse(problem("T025.no-nodes"))
    for one in written:
        node = _read_node(document, one)
        if node.id in nodes:
            document.refuse(problem("T025.same-node", node=node.id), node)
        nodes[node.id] = node
    links: dict[str, Link] = {}
    stored = level.get("links")
    for one in stored if isinstance(stored, list) else stored.values() if isinstance(stored, Mapping) else ():
        read = _read_link(one)
        if read:
            links[read[0]] = read[1]
    ends = [level.get(name) or [] for name in ("inputs", "outputs")]
    inputs, outputs = (
        [one for one in end if isinstance(one, Mapping)] if isinstance(end, list) else [] for end in ends
    )
    return Level(
        nodes,
        links,
        str(level.get("name") or "")[:80],
        tuple(str(one.get("name", "")) for one in inputs),
        tuple(_link_ids(one) for one in inputs),
        tuple(_link_ids(one) for one in outputs),
    )


def _link_ids(end: Mapping[str, Any]) -> tuple[str, ...]:
    ids = end.get("linkIds")
    return tuple(id for one in ids if (id := as_id(one))) if isinstance(ids, list) else ()


def as_id(value: Any) -> str:
    """Return the id of a node or link as text, "" for any other value."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return ""
    return str(value)[:64]


def _read_node(document: WorkflowDocument, written: Any) -> EditorNode:
    if not isinstance(written, Mapping):
        document.refuse(problem("T025.node"))
    id, type_ = as_id(written.get("id")), written.get("type")
    if not id or not isinstance(type_, str) or not type_:
        document.refuse(problem("T025.node-id", node=id or str(written.get("id"))[:60]))
    mode = written.get("mode", 0)
    inputs = written.get("inputs")
    outputs = written.get("outputs")
    values = written.get("widgets_values")
    named = written.get("widgets_values_named")
    properties = written.get("properties")
    title = written.get("title")
    return EditorNode(
        id,
        type_,
        mode if isinstance(mode, int) else 0,
        title if isinstance(title, str) else "",
        tuple(_read_slot(one) for one in inputs if isinstance(one, Mapping)) if isinstance(inputs, list) else (),
        tuple(_type(one.get("type")) for one in outputs if isinstance(one, Mapping))
        if isinstance(outputs, list)
        else (),
        values if isinstance(values, list | Mapping) else None,
        named if isinstance(named, Mapping) else {},
        properties if isinstance(properties, Mapping) else {},
    )


def _read_slot(written: Mapping[str, Any]) -> Slot:
    widget = written.get("widget")
    name = widget.get("name") if isinstance(widget, Mapping) else None
    link = written.get("link")
    return Slot(
        str(written.get("name", "")),
        _type(written.get("type")),
        None if link is None else as_id(link) or None,
        name if isinstance(name, str) else "",
    )


def _type(value: Any) -> str:
    return value if isinstance(value, str) else "COMBO" if isinstance(value, list) else "*"


def _read_link(written: Any) -> tuple[str, Link] | None:
    """Read `[id, from, slot, to, slot, type]`, or the same as an object."""
    if isinstance(written, Mapping):
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        parts = [written.get(name) for name in names]
    elif isinstance(written, list) and len(written) >= 5:
        parts = written[:5]
    else:
        return None
    id, origin, slot, target, target_slot = parts
    slots = [one for one in (slot, target_slot) if isinstance(one, int) and not isinstance(one, bool)]
    if not as_id(id) or not as_id(origin) or not as_id(target) or len(slots) != 2:
        return None
    return as_id(id), Link(as_id(origin), slots[0], as_id(target), slots[1])


def line_finder(text: str, name: str) -> Locate:
    """Return a function that finds a node in the text of an editor's file, by its id near its class."""

    def locate(id: str, class_: str) -> Span | None:
        quoted = rf"(?:{re.escape(id)}|{re.escape(json.dumps(id))})"
        for match in re.finditer(rf'"id"\s*:\s*{quoted}(?=\s*[,}}\n])', text):
            around = text[max(match.start() - 400, 0) : match.end() + 400]
            if f'"{class_}"' in around:
                line = text.count("\n", 0, match.start()) + 1
                return Span(name, line, match.start() - text.rfind("\n", 0, match.start()))
        return Span(name, 1, 1)

    return locate
