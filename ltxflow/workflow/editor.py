"""Convert a workflow saved by ComfyUI's editor to API format, as the editor does on export. Pure.

The editor's form has subgraphs, nodes that exist only in the editor (reroutes, primitives, pairs of Set and Get,
notes), nodes that are switched off, and values as a bare list in the order of a node's widgets. So it can be read only
with the signatures of its node classes: which inputs are widgets, and in which order.

    subgraph   replaced by its nodes, with ids such as "12:5"; the values on its face reach the inputs behind them
    bypassed   a link through the node continues at an input of the same type
    muted      the node and its outgoing links are left out
    reroute, Set and Get, primitive   replaced by the link or value they lead to

Derived from files of the editor, version 1.49.6, and its exports of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ltxflow.comfy.graph import Graph
from ltxflow.comfy.signatures import MATCH, Input, Signature, Signatures
from ltxflow.core.errors import problem
from ltxflow.workflow.widgets import (
    BYPASSED,
    GETS,
    INPUTS,
    MAX_SUBGRAPH_DEPTH,
    MUTED,
    PRIMITIVE,
    EditorNode,
    Level,
    Locate,
    Slot,
    WorkflowDocument,
    as_id,
    assign,
    is_widget,
    read_document,
)

MAX_NODES = 20_000  # after subgraphs are replaced by their nodes; the largest official workflow has 400
BROADCAST = re.compile(r"(Anything|Seed|Prompts) Everywhere.*")  # their links are drawn at export, not saved
GROUP = re.compile(r"workflow[/>]")  # before there were subgraphs


@dataclass(frozen=True)
class ConvertedWorkflow:
    """A workflow in API format, with notes on its conversion.

    `unread` are the nodes, id → class, whose values could not be assigned: their class has no signature.
    """

    graph: Graph
    unread: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def is_editor(data: Any) -> bool:
    """Return whether parsed JSON is a workflow saved by the editor."""
    return isinstance(data, Mapping) and isinstance(data.get("nodes"), list) and "class_type" not in data


def export(
    data: Mapping[str, Any], signatures: Sequence[Signatures], locate: Locate | None = None
) -> ConvertedWorkflow:
    """Return the workflow in API format.

    `signatures` are in order of preference; the next one is tried where one does not fit the saved values: the editor
    saves them in the order of its version. `locate` finds a node in the file. Raise LtxflowError for an inconsistent
    document.
    """
    return _Export(read_document(data, locate or (lambda id, class_: None)), signatures).all()


# ------------------------------------------------------------------------------------------------ the conversion


@dataclass(eq=False)
class _Place:
    """A level at one place in the workflow: the root, or a subgraph at the node that hosts it."""

    level: Level
    path: tuple[str, ...] = ()
    within: _Place | None = None
    host: EditorNode | None = None
    set_from_outside: dict[tuple[str, str], Any] = field(default_factory=dict)  # node id, widget → value
    promoted: dict[int, Any] = field(default_factory=dict)  # input of the subgraph → the value on its face
    children: dict[str, _Place] = field(default_factory=dict)

    def id_of(self, node: EditorNode) -> str:
        return ":".join((*self.path, node.id))


@dataclass(frozen=True)
class _Value:
    """The value of an input whose link leads to a value, not to a node."""

    value: Any


_Source = tuple[str, int] | _Value | None


class _Export:
    def __init__(self, document: WorkflowDocument, signatures: Sequence[Signatures]) -> None:
        self.document, self.signatures = document, signatures
        self.notes: dict[str, None] = {}
        self.unread: dict[str, str] = {}
        self.count = 0
        self.values: dict[tuple[_Place, EditorNode], dict[str, Any] | None] = {}

    def all(self) -> ConvertedWorkflow:
        root = _Place(self.document.root)
        real = self.flatten(root)
        graph: Graph = {}
        for place, node in real:
            id = place.id_of(node)
            graph[id] = {"class_type": node.type, "inputs": self.inputs(place, node)}
            if node.title and node.title != node.type:
                graph[id]["_meta"] = {"title": node.title}
        for node in graph.values():
            for name, value in list(node["inputs"].items()):
                if isinstance(value, list) and value[0] not in graph:
                    del node["inputs"][name]
        return ConvertedWorkflow(graph, dict(self.unread), tuple(self.notes))

    def flatten(self, root: _Place) -> list[tuple[_Place, EditorNode]]:
        """Return the nodes that a server runs, each with its place; subgraphs are replaced by their nodes."""
        found: list[tuple[_Place, EditorNode]] = []
        stack = [(root, iter(root.level.nodes.values()))]
        off = {MUTED: 0, BYPASSED: 0}
        while stack:
            place, nodes = stack[-1]
            node = next(nodes, None)
            if node is None:
                stack.pop()
                continue
            self.count += 1
            if self.count > MAX_NODES:
                self.document.refuse(problem("T025.nodes", most=MAX_NODES))
            if node.is_off:
                off[node.mode] += not node.is_virtual
            elif node.type in self.document.subgraphs:
                child = self.enter(place, node)
                stack.append((child, iter(child.level.nodes.values())))
            elif BROADCAST.fullmatch(node.type):
                self.document.refuse(problem("T025.broadcast", node=place.id_of(node), class_=node.type), node)
            elif GROUP.match(node.type):
                self.document.refuse(problem("T025.group", node=place.id_of(node), class_=node.type[:60]), node)
            elif not node.is_virtual:
                found.append((place, node))
        for mode, word in ((MUTED, "muted"), (BYPASSED, "bypassed")):
            if off[mode]:
                self.notes[f"{off[mode]} {word} node{'s' if off[mode] > 1 else ''}: left out"] = None
        return found

    def enter(self, place: _Place, node: EditorNode) -> _Place:
        """Return the place inside the subgraph that `node` hosts."""
        level = self.document.subgraphs[node.type]
        above: _Place | None = place
        while above:
            if above.level is level:
                self.document.refuse(problem("T025.recursive", name=level.name or node.type), node)
            above = above.within
        if len(place.path) >= MAX_SUBGRAPH_DEPTH:
            self.document.refuse(problem("T025.too-deep", most=MAX_SUBGRAPH_DEPTH), node)
        child = _Place(level, (*place.path, node.id), place, node)
        place.children[node.id] = child
        self.face(child)
        return child

    # ---- the face of a subgraph

    def face(self, place: _Place) -> None:
        """Pass the values on a subgraph's face to the inputs, or the inner widgets, that they set."""
        node, level = place.host, place.level
        assert node is not None
        for (id, name), value in (place.within.set_from_outside if place.within else {}).items():
            if id == node.id and name in level.inputs:
                place.promoted[level.inputs.index(name)] = value
        entries = node.properties.get("proxyWidgets")
        values = node.values if isinstance(node.values, list) else []
        if isinstance(entries, list) and entries:
            for entry, value in zip(entries, values, strict=False):
                if isinstance(entry, list) and len(entry) >= 2 and value is not None:
                    self.promote(place, as_id(entry[0]) or str(entry[0])[:64], str(entry[1]), value)
            return
        promoted = [index for index in range(len(level.inputs)) if self.target_widget(place, index)]
        kept = _quarantined(node.properties.get("proxyWidgetErrorQuarantine"))
        is_listed = len(values) >= len(promoted) or not node.named  # the editor reads the list; names may be stale
        for position, index in enumerate(promoted):
            name = level.inputs[index]
            if name in kept:
                value = kept[name]
            elif is_listed:
                value = values[position] if position < len(values) else None
            else:
                value = node.named.get(name)
            if value is not None:
                place.promoted.setdefault(index, value)

    def promote(self, place: _Place, id: str, name: str, value: Any) -> None:
        """Set the value of an entry of `proxyWidgets`: an input of the subgraph, or a widget inside."""
        level = place.level
        if id == "-1":
            if name in level.inputs:
                place.promoted[level.inputs.index(name)] = value
            return
        while match := re.match(r"\s*\d+\s*:\s*(.+)", name):  # an older form: the inner node's id before the name
            name = match[1]
        for index in range(len(level.inputs)):
            if self.target_widget(place, index) == (id, name):
                place.promoted[index] = value
                return
        place.set_from_outside[id, name] = value

    def target_widget(self, place: _Place, index: int) -> tuple[str, str] | None:
        """Return the first (node, widget) that input `index` of a subgraph leads to; None without one."""
        level = place.level
        for id in level.input_links[index]:
            link = level.links.get(id)
            node = level.nodes.get(link.target) if link else None
            if link is None or node is None:
                continue
            slot = next((one for one in node.inputs if one.link == id), None)
            if slot is None:
                continue
            inner = self.document.subgraphs.get(node.type)
            if inner is not None:
                if self.leads_to_widget(inner, slot.name, MAX_SUBGRAPH_DEPTH):
                    return node.id, slot.name
            elif slot.widget or self.names_widget(node, slot.name):
                return node.id, slot.widget or slot.name
        return None

    def leads_to_widget(self, level: Level, name: str, depth: int) -> bool:
        if name not in level.inputs or depth <= 0:
            return False
        for id in level.input_links[level.inputs.index(name)]:
            link = level.links.get(id)
            node = level.nodes.get(link.target) if link else None
            slot = next((one for one in node.inputs if one.link == id), None) if node else None
            if node is None or slot is None:
                continue
            inner = self.document.subgraphs.get(node.type)
            if self.leads_to_widget(inner, slot.name, depth - 1) if inner else bool(slot.widget):
                return True
        return False

    def names_widget(self, node: EditorNode, name: str) -> bool:
        return any(
            one.name == name and is_widget(one)
            for signature in self.signatures_of(node.type)
            for one in signature.inputs
        )

    def face_value(self, place: _Place, index: int) -> Any:
        """Return the value on a subgraph's face: the one set there, else that of the widget behind it."""
        while True:
            if index in place.promoted:
                return place.promoted[index]
            target = self.target_widget(place, index)
            if target is None:
                return None
            node = place.level.nodes[target[0]]
            child = place.children.get(node.id)
            if child is None:
                values = self.values_of(place, node) or {}
                return values.get(target[1])
            place, index = child, child.level.inputs.index(target[1])

    # ---- links

    def inputs(self, place: _Place, node: EditorNode) -> dict[str, Any]:
        """Return a node's inputs in API format: the values of its widgets, then its links."""
        values = self.values_of(place, node)
        if values is None:
            self.unread[place.id_of(node)] = node.type
        found = {name: _escaped(value) for name, value in (values or {}).items()}
        for slot in node.inputs:
            if slot.link is None:
                continue
            source = self.resolve(place, node, slot)
            if isinstance(source, _Value):
                found[slot.name] = _escaped(source.value)
            elif source is not None:
                found[slot.name] = [source[0], source[1]]
        return found

    def resolve(self, place: _Place, node: EditorNode, slot: Slot) -> _Source:
        """Follow a link from its end to the node that feeds it. No recursion: chains may be long."""
        start = place.id_of(node)
        type_: str | None = self.type_of(node, slot)
        seen: set[tuple[int, str, str, int]] = set()
        while True:
            if slot.link is None:
                return None
            link = place.level.links.get(slot.link)
            if link is None:
                self.notes[f'input "{slot.name}" of node "{start}" is linked to nothing: left open'] = None
                return None
            origin, out = link.origin, link.slot
            type_ = type_ or self.type_of(node, slot)
            entered = True
            while entered:  # at an output, until it leads to a node or to an input
                entered = False
                step = (id(place), origin, "out", out)
                if step in seen:
                    self.document.refuse(problem("T025.cycle", input=slot.name, node=start), node)
                seen.add(step)
                if origin == INPUTS and place.host is not None and place.within is not None:
                    outer = self.outer_slot(place, out)
                    if outer is None or outer.link is None:
                        value = self.face_value(place, out) if out < len(place.level.inputs) else None
                        return None if value is None else _Value(value)
                    node, place, slot, type_ = place.host, place.within, outer, None
                    break
                found = place.level.nodes.get(origin)
                if found is None:
                    self.notes[f'input "{slot.name}" of node "{start}" is linked to nothing: left open'] = None
                    return None
                if found.mode == MUTED:
                    return None
                if found.mode == BYPASSED:
                    onward = self.through(found, out, type_ or "*")
                    if onward is None:
                        return None
                    node, slot, type_ = found, onward, None
                    break
                if found.type in self.document.subgraphs:
                    inner = place.children[found.id].level
                    ids = inner.output_links[out] if 0 <= out < len(inner.output_links) else ()
                    behind = next((inner.links[one] for one in ids if one in inner.links), None)
                    if behind is None:
                        return None
                    place, origin, out, entered = place.children[found.id], behind.origin, behind.slot, True
                    continue
                if found.type == PRIMITIVE:
                    value = place.set_from_outside.get((found.id, "value"), found.first_value)
                    return None if value is None else _Value(value)
                if found.type in GETS:
                    place_, held = self.held(place, found)
                    if held is None:
                        self.notes[f'"{found.first_value}" is read by a Get node, and no Set node has it'] = None
                        return None
                    if not held.inputs:
                        return None
                    node, place, slot = held, place_, held.inputs[0]
                    break
                if found.is_virtual:
                    onward = found.inputs[out] if out < len(found.inputs) else next(iter(found.inputs), None)
                    if onward is None:
                        return None
                    node, slot = found, onward
                    break
                return place.id_of(found), out

    def outer_slot(self, place: _Place, index: int) -> Slot | None:
        """Return the input of a subgraph's host that feeds inner input `index`, None without one."""
        names = place.level.inputs
        host = place.host
        if host is None or not 0 <= index < len(names):
            return None
        same = [one for one in host.inputs if one.name == names[index]]
        nth = names[:index].count(names[index])
        return same[nth] if nth < len(same) else None

    def held(self, place: _Place, get: EditorNode) -> tuple[_Place, EditorNode | None]:
        """Return the Set node that a Get node reads, in its level or one around it."""
        at: _Place | None = place
        while at:
            node = at.level.sets.get(str(get.first_value))
            if node is not None and not node.is_off:
                return at, node
            at = at.within
        return place, None

    def through(self, node: EditorNode, out: int, wanted: str) -> Slot | None:
        """Return the input at which a link through a bypassed node continues: of the same index or the first to fit."""
        slots = self.live_slots(node)
        if not slots:
            return None
        if wanted in ("*", ""):
            return slots[out][1] if out < len(slots) else slots[0][1]
        given = self.output_type(node, out)
        if out < len(slots) and _connects(slots[out][0], given) and _connects(slots[out][0], wanted):
            return slots[out][1]
        for type_, slot in slots:
            if type_ == wanted:
                return slot
        for type_, slot in slots:
            if _connects(type_, given) and _connects(type_, wanted):
                return slot
        return None

    def live_slots(self, node: EditorNode) -> list[tuple[str, Slot]]:
        """Return the inputs of a node as the editor has them: sockets first, then widgets; a file may omit some."""
        signature = next(iter(self.signatures_of(node.type)), None)
        written = {slot.name: slot for slot in node.inputs}
        if signature is None:
            return [(slot.type, slot) for slot in node.inputs]
        declared = [one for one in signature.inputs if not is_widget(one)]
        declared += [one for one in signature.inputs if is_widget(one)]
        known = {one.name for one in declared}
        slots = [(_socket(one), written.get(one.name) or Slot(one.name, one.type, None, "")) for one in declared]
        return slots + [(slot.type, slot) for slot in node.inputs if slot.name not in known]

    def type_of(self, node: EditorNode, slot: Slot) -> str:
        for signature in self.signatures_of(node.type)[:1]:
            for one in signature.inputs:
                if one.name == slot.name:
                    return _socket(one)
        return slot.type

    def output_type(self, node: EditorNode, out: int) -> str:
        for signature in self.signatures_of(node.type)[:1]:
            if out < len(signature.outputs):
                return "*" if signature.outputs[out] == MATCH else signature.outputs[out]
        return node.outputs[out] if out < len(node.outputs) else "*"

    # ---- values

    def signatures_of(self, class_: str) -> list[Signature]:
        return [found for one in self.signatures if (found := one.classes.get(class_))]

    def values_of(self, place: _Place, node: EditorNode) -> dict[str, Any] | None:
        """Return the values of a node's widgets by name; None if its class is unknown and they have no names."""
        key = (place, node)
        if key not in self.values:
            assigned = assign(
                self.signatures_of(node.type),
                node.values,
                node.named,
                [(slot.name, slot.widget) for slot in node.inputs],
            )
            values = None
            if assigned is not None:
                values = dict(assigned.values)
                outside = {name: v for (id, name), v in place.set_from_outside.items() if id == node.id}
                values |= {name: value for name, value in outside.items() if name in values}
                values = {name: self.chosen(node, name, value) for name, value in values.items()}
                self.note_misfits(place, node, assigned.misfits, values)
                if assigned.spare:
                    self.notes[
                        f'node "{place.id_of(node)}" ({node.type}): left out values that its class does not name: '
                        f"{json.dumps(list(assigned.spare), default=str)[:60]}"
                    ] = None
            self.values[key] = values
        return self.values[key]

    def note_misfits(
        self, place: _Place, node: EditorNode, misfits: Mapping[str, Any], values: Mapping[str, Any]
    ) -> None:
        linked = {slot.name for slot in node.inputs if slot.link is not None}
        for name, value in misfits.items():
            if name not in linked:
                shown = json.dumps(value, ensure_ascii=False, default=str)[:40]
                self.notes[
                    f'{name} of node "{place.id_of(node)}" ({node.type}): {shown} is not valid in this version of the '
                    f"class; {json.dumps(values.get(name))[:40]} is used"
                ] = None

    def chosen(self, node: EditorNode, name: str, value: Any) -> Any:
        """Return a text as the editor would send it: of a choice, {a|b}, the first."""
        if not isinstance(value, str) or "|" not in value or "{" not in value:
            return value
        declared = {one.name: one for signature in self.signatures_of(node.type) for one in signature.inputs}
        is_prompt = node.type.startswith("CLIPTextEncode")  # recorded signatures leave the option out
        if name not in declared or not declared[name].options.get("dynamicPrompts", is_prompt):
            return value
        picked = re.sub(r"(?<!\\)\{([^{}|]*)\|[^{}]*\}", r"\1", value)
        if picked != value:
            self.notes[f'the text of node "{node.id}" offers choices, {{a|b}}: the first is used'] = None
        return picked


def _quarantined(entries: Any) -> dict[str, Any]:
    """Return the values that an editor could not place when it converted an older form, by input."""
    found: dict[str, Any] = {}
    for entry in entries if isinstance(entries, list) else ():
        original = entry.get("originalEntry") if isinstance(entry, Mapping) else None
        value = entry.get("hostValue") if isinstance(entry, Mapping) else None
        if isinstance(original, list) and len(original) >= 2 and str(original[0]) == "-1" and value is not None:
            found.setdefault(str(original[1]), value)
    return found


def _escaped(value: Any) -> Any:
    """Return a value in API format, where a bare list is a link."""
    return {"__value__": value} if isinstance(value, list) else value


def _connects(a: str, b: str) -> bool:
    """Return whether the editor links an output and an input of these types."""
    if a in ("*", "") or b in ("*", ""):
        return True
    return bool({part.strip().lower() for part in a.split(",")} & {part.strip().lower() for part in b.split(",")})


def _socket(one: Input) -> str:
    """Return the type of an input in the editor."""
    if one.type != MATCH:
        return one.type
    template = one.options.get("template")
    return str(template.get("allowed_types", "*")) if isinstance(template, Mapping) else "*"
