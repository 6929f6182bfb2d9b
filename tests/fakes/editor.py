"""Workflows as ComfyUI's editor saves them, drawn from workflows in API format: the same thing in its other form.

`drawn` lays a graph out flat; the other functions change what it looks like and not what it does: they put nodes into
a subgraph, a reroute into a link, a value into a primitive. So whatever is done to a drawing, it exports as the graph
that it was drawn from, `completed` by the defaults of all widgets.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ltxflow.comfy.signatures import Input, Signature, Signatures, as_link

Graph = dict[str, Any]
Sheet = dict[str, Any]  # a workflow, or a subgraph: nodes and links

VALUES = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3")
SEEDS = ("seed", "noise_seed")
PLACE = {"pos": [0, 0], "size": [200, 100], "flags": {}, "order": 0}
UUID = "5a7f1c2e-0000-4000-8000-00000000000"


def drawn(graph: Graph, *, objects: bool = False) -> Sheet:
    """Return a graph of core nodes as the editor saves it. Links are lists, or `objects` as in newer files."""
    ids = {id: number for number, id in enumerate(graph, 1)}
    sheet: Sheet = {"id": UUID + "0", "version": 0.4, "nodes": [], "links": [], "groups": [], "extra": {}, "config": {}}
    for id, node in graph.items():
        signature = Signatures.recorded().classes[node["class_type"]]
        sheet["nodes"].append(_node(ids[id], node, signature))
    for id, node in graph.items():
        for name, value in node["inputs"].items():
            link = as_link(value)
            if link:
                connect(sheet, ids[link[0]], link[1], ids[id], name, objects=objects)
    sheet |= {"last_node_id": 1_000, "last_link_id": 100_000}  # above all that the other functions add
    return sheet


def completed(graph: Graph) -> Graph:
    """Return the graph with every value that the editor exports: those that it had, else the defaults."""
    found = copy.deepcopy(graph)
    for node in found.values():
        inputs = Signatures.recorded().classes[node["class_type"]].inputs
        for name, one, is_control in list(_order(inputs, node["inputs"])):
            if not is_control:
                node["inputs"].setdefault(name, _default(one))
    return found


def _node(id: int, node: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    inputs = node["inputs"]
    linked = [name for name, value in inputs.items() if as_link(value)]
    declared = {one.name: one for one in signature.inputs}
    slots = [
        {"name": name, "type": _type(declared.get(name)), "link": None}
        | ({"widget": {"name": name}} if name in _widgets(signature.inputs, inputs) else {})
        for name in [*[one.name for one in signature.inputs if _kind_of(one) not in VALUES], *linked]
        if name in linked or (name in declared and "." not in name and not declared[name].type.startswith("COMFY_"))
    ]
    unique = list({slot["name"]: slot for slot in slots}.values())
    made = {
        "id": id,
        "type": node["class_type"],
        **PLACE,
        "mode": 0,
        "inputs": unique,
        "outputs": [{"name": type_, "type": type_, "links": []} for type_ in signature.outputs],
        "properties": {"Node name for S&R": node["class_type"]},
        "widgets_values": listed(signature.inputs, inputs),
    }
    title = node.get("_meta", {}).get("title")
    return made | ({"title": title} if title else {})


def _type(one: Input | None) -> str:
    return "*" if one is None or one.type.startswith("COMFY_") else one.type


def _widgets(inputs: Sequence[Input], given: Mapping[str, Any]) -> list[str]:
    return [name for name, _, is_control in _order(inputs, given) if not is_control]


def _order(inputs: Sequence[Input], given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Input, bool]]:
    """The widgets of a node, in their order: those that a choice brings after it, what becomes of a seed behind it."""
    for one in inputs:
        if _kind_of(one) not in VALUES or one.options.get("forceInput"):
            continue
        name = prefix + one.name
        yield name, one, False
        if one.options.get("control_after_generate") or (one.type == "INT" and one.name in SEEDS):
            yield name, one, True
        for option in one.options.get("options", []) if one.type.startswith("COMFY_DYNAMIC") else []:
            if option["key"] == given.get(name, _default(one)):
                below = [
                    Input(key, _kind(spec), section == "required", None, spec[1] if len(spec) > 1 else {})
                    for section in ("required", "optional")
                    for key, spec in option.get("inputs", {}).get(section, {}).items()
                ]
                yield from _order(below, given, f"{name}.")


def _kind_of(one: Input) -> str:
    return str(one.options.get("widgetType") or one.type)


def _kind(spec: Sequence[Any]) -> str:
    return spec[0] if isinstance(spec[0], str) else "COMBO"


def _default(one: Input) -> Any:
    if "default" in one.options:
        return one.options["default"]
    choices = [*(one.choices or ()), *(one.options.get("options") or ())]
    if choices:
        return choices[0]["key"] if isinstance(choices[0], dict) else choices[0]
    return {"INT": 0, "FLOAT": 0.0, "BOOLEAN": False}.get(_kind_of(one), "")


def listed(inputs: Sequence[Input], given: Mapping[str, Any]) -> list[Any]:
    """The values of a node's widgets as a file has them; of a linked one, the value that it had before."""
    values: list[Any] = []
    for name, one, is_control in _order(inputs, given):
        value = given.get(name)
        values.append("randomize" if is_control else _default(one) if value is None or as_link(value) else value)
    return values


# --- links


def is_object(sheet: Sheet) -> bool:
    return any(isinstance(link, dict) for link in sheet["links"]) or "inputNode" in sheet


def next_link(sheet: Sheet) -> int:
    return max((link["id"] if isinstance(link, dict) else link[0] for link in sheet["links"]), default=0) + 1


def node_of(sheet: Sheet, id: int) -> dict[str, Any]:
    return next(node for node in sheet["nodes"] if node["id"] == id)


def connect(
    sheet: Sheet, source: int, slot: int, target: int, name: str, *, objects: bool | None = None, type_: str = ""
) -> int:
    """Link an output to the input of that name, which is added if the node has none."""
    node = node_of(sheet, target)
    names = [one["name"] for one in node["inputs"]]
    if name not in names:
        node["inputs"].append({"name": name, "type": type_ or "*", "link": None})
        names.append(name)
    id, at = next_link(sheet), names.index(name)
    node["inputs"][at]["link"] = id
    _add_link(sheet, id, source, slot, target, at, type_, is_object(sheet) if objects is None else objects)
    for one in sheet["nodes"]:
        if one["id"] == source and slot < len(one["outputs"]):
            one["outputs"][slot]["links"].append(id)
    return id


def _add_link(sheet: Sheet, id: int, source: int, slot: int, target: int, at: int, type_: str, objects: bool) -> None:
    if objects:
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        sheet["links"].append(dict(zip(names, (id, source, slot, target, at, type_), strict=True)))
    else:
        sheet["links"].append([id, source, slot, target, at, type_])


def link_parts(link: Any) -> tuple[int, int, int, int, int]:
    if isinstance(link, dict):
        return link["id"], link["origin_id"], link["origin_slot"], link["target_id"], link["target_slot"]
    return link[0], link[1], link[2], link[3], link[4]


def real_links(sheet: Sheet) -> list[tuple[int, int, int, int, int]]:
    """The links between nodes of this sheet."""
    parts = [link_parts(link) for link in sheet["links"]]
    return [one for one in parts if one[1] > 0 and one[3] > 0]


def redirect(sheet: Sheet, id: int, source: int, slot: int) -> None:
    """Let a link start elsewhere."""
    for number, link in enumerate(sheet["links"]):
        if link_parts(link)[0] == id:
            if isinstance(link, dict):
                sheet["links"][number] = {**link, "origin_id": source, "origin_slot": slot}
            else:
                sheet["links"][number] = [id, source, slot, *link[3:]]


def next_id(sheet: Sheet, root: Sheet) -> int:
    """An id that no node has, in the workflow or in a subgraph of it."""
    levels = [root, *root.get("definitions", {}).get("subgraphs", [])]
    return max(node["id"] for level in levels for node in level["nodes"]) + 1


# --- changes that change nothing


def with_reroute(root: Sheet, sheet: Sheet, link: int) -> None:
    id, source, slot, _, _ = next(one for one in real_links(sheet) if one[0] == link)
    reroute = next_id(sheet, root)
    sheet["nodes"].append(_virtual(reroute, "Reroute", [""], [""]))
    connect(sheet, source, slot, reroute, "")
    redirect(sheet, id, reroute, 0)


def with_set_and_get(root: Sheet, sheet: Sheet, link: int, name: str) -> None:
    id, source, slot, _, _ = next(one for one in real_links(sheet) if one[0] == link)
    set_ = next_id(sheet, root)
    sheet["nodes"].append(_virtual(set_, "SetNode", ["value"], ["*"], [name]))
    connect(sheet, source, slot, set_, "value")
    get = next_id(sheet, root)
    sheet["nodes"].append(_virtual(get, "GetNode", [], ["value"], [name]))
    redirect(sheet, id, get, 0)


def with_bypassed(root: Sheet, sheet: Sheet, link: int) -> bool:
    """Put a LoRA loader that is bypassed into a link that carries a model."""
    id, source, slot, _, _ = next(one for one in real_links(sheet) if one[0] == link)
    outputs = node_of(sheet, source)["outputs"]
    if slot >= len(outputs) or outputs[slot]["type"] != "MODEL":
        return False
    lora = next_id(sheet, root)
    made = _virtual(lora, "LoraLoaderModelOnly", [], ["MODEL"], ["some.safetensors", 1.0])
    sheet["nodes"].append({**made, "mode": 4, "outputs": [{"name": "MODEL", "type": "MODEL", "links": []}]})
    connect(sheet, source, slot, lora, "model", type_="MODEL")
    redirect(sheet, id, lora, 0)
    return True


def with_primitive(root: Sheet, sheet: Sheet, node: int, widget: str) -> bool:
    """Give a widget's value to a primitive, and leave another one in its place."""
    found = node_of(sheet, node)
    signature = Signatures.recorded().classes.get(found["type"])
    if signature is None or any(slot["name"] == widget for slot in found["inputs"]):
        return False
    for at, (name, one, is_control) in enumerate(_order(signature.inputs, _by_name(found, signature))):
        if name == widget and not is_control and _kind_of(one) in ("INT", "FLOAT", "STRING"):
            primitive = next_id(sheet, root)
            values = [found["widgets_values"][at], "fixed"]
            sheet["nodes"].append(_virtual(primitive, "PrimitiveNode", [], [one.type], values))
            found["widgets_values"][at] = {"INT": 17, "FLOAT": 17.5, "STRING": "not this"}[_kind_of(one)]
            found["inputs"].append({"name": widget, "type": one.type, "link": None, "widget": {"name": widget}})
            connect(sheet, primitive, 0, node, widget)
            return True
    return False


def _by_name(node: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    """The values of a node that is drawn, by name: what a choice brings is known once it is read."""
    given: dict[str, Any] = {}
    for _ in range(3):
        names = [name for name, _, is_control in _order(signature.inputs, given) if not is_control]
        controls = [is_control for _, _, is_control in _order(signature.inputs, given)]
        plain = [value for value, is_control in zip(node["widgets_values"], controls, strict=False) if not is_control]
        given = dict(zip(names, plain, strict=False))
    return given


def _virtual(
    id: int, type_: str, inputs: Sequence[str], outputs: Sequence[str], values: Sequence[Any] | None = None
) -> dict[str, Any]:
    return {
        "id": id,
        "type": type_,
        **PLACE,
        "mode": 0,
        "inputs": [{"name": name, "type": "*", "link": None} for name in inputs],
        "outputs": [{"name": name, "type": "*", "links": []} for name in outputs],
        "properties": {},
        **({"widgets_values": list(values)} if values is not None else {}),
    }


def with_side_shows(root: Sheet) -> None:
    """Notes, a group, a muted node and a preview: what a server never gets, or nothing needs."""
    sheet = root
    sheet["groups"].append({"id": 1, "title": "look here", "bounding": [0, 0, 10, 10]})
    for type_ in ("Note", "MarkdownNote"):
        sheet["nodes"].append(_virtual(next_id(sheet, root), type_, [], [], ["# read me"]))
    muted = _virtual(next_id(sheet, root), "LoadImage", [], ["IMAGE"], ["not there.png", "image"])
    sheet["nodes"].append({**muted, "mode": 2})


def into_subgraph(
    root: Sheet, sheet: Sheet, ids: set[int], *, promote: Sequence[tuple[int, str]] = (), proxies: bool = False
) -> int:
    """Move nodes of a sheet into a subgraph, and return the id of the node that shows it.

    `promote` are widgets (node, name) whose values are moved to its face: to inputs of the subgraph, or by `proxies`,
    as files of 2025 have them.
    """
    subgraphs = root.setdefault("definitions", {}).setdefault("subgraphs", [])
    inside = [node for node in sheet["nodes"] if node["id"] in ids]
    host = next_id(sheet, root)
    definition: Sheet = {
        "id": UUID + str(len(subgraphs) + 1),
        "name": f"part {len(subgraphs) + 1}",
        "inputNode": {"id": -10, "bounding": [0, 0, 120, 60]},
        "outputNode": {"id": -20, "bounding": [900, 0, 120, 60]},
        "inputs": [],
        "outputs": [],
        "widgets": [],
        "nodes": inside,
        "links": [],
        "groups": [],
    }
    subgraphs.append(definition)
    face: dict[str, Any] = {
        "id": host,
        "type": definition["id"],
        **PLACE,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [],
    }
    sheet["nodes"] = [node for node in sheet["nodes"] if node["id"] not in ids] + [face]
    links, sheet["links"] = [(link_parts(link), link) for link in sheet["links"]], []
    number = itertools.count(1)
    ends: dict[tuple[int, int], int] = {}  # (source, slot) outside → input of the subgraph
    outs: dict[tuple[int, int], int] = {}  # (source, slot) inside → output of the subgraph
    for (id, source, slot, target, at), link in links:
        is_from, is_to = source in ids, target in ids
        if is_from and is_to:
            _add_link(definition, id, source, slot, target, at, "", True)
        elif is_to:
            if (source, slot) not in ends:
                ends[source, slot] = _add_end(definition, "inputs", f"in{next(number)}")
                face["inputs"].append({"name": definition["inputs"][-1]["name"], "type": "*", "link": None})
                outer = max((link_parts(one)[0] for _, one in links), default=0) + 1000 + len(ends)
                face["inputs"][-1]["link"] = outer
                _add_link(sheet, outer, source, slot, host, ends[source, slot], "", isinstance(link, dict))
                if source == -10:  # of the subgraph around this one
                    sheet["inputs"][slot]["linkIds"].insert(0, outer)
            if source == -10:
                sheet["inputs"][slot]["linkIds"].remove(id)
            _add_link(definition, id, -10, ends[source, slot], target, at, "", True)
            definition["inputs"][ends[source, slot]]["linkIds"].append(id)
        elif is_from:
            if (source, slot) not in outs:
                outs[source, slot] = _add_end(definition, "outputs", f"out{next(number)}")
                face["outputs"].append({"name": definition["outputs"][-1]["name"], "type": "*", "links": []})
                inner = max((link_parts(one)[0] for _, one in links), default=0) + 2000 + len(outs)
                _add_link(definition, inner, source, slot, -20, outs[source, slot], "", True)
                definition["outputs"][outs[source, slot]]["linkIds"].append(inner)
            changed = copy.deepcopy(link)
            if isinstance(changed, dict):
                changed |= {"origin_id": host, "origin_slot": outs[source, slot]}
            else:
                changed[1], changed[2] = host, outs[source, slot]
            sheet["links"].append(changed)
        else:
            sheet["links"].append(link)
    if not proxies:  # an editor saves a value for a widget on the face even where a link decides it
        face["widgets_values"] += [0 for end in range(len(definition["inputs"])) if _is_widget(definition, end)]
    for node, widget in promote:
        _promote(definition, face, node, widget, proxies)
    return host


def _add_end(definition: Sheet, side: str, name: str) -> int:
    definition[side].append({"id": f"{side}-{name}", "name": name, "type": "*", "linkIds": []})
    return len(definition[side]) - 1


def _is_widget(definition: Sheet, end: int) -> bool:
    targets = [link_parts(link) for link in definition["links"] if link_parts(link)[1:3] == (-10, end)]
    slots = [node_of(definition, target)["inputs"][at] for _, _, _, target, at in targets]
    return any("widget" in slot for slot in slots)


def _promote(definition: Sheet, face: dict[str, Any], id: int, widget: str, proxies: bool) -> None:
    node = node_of(definition, id)
    signature = Signatures.recorded().classes.get(node["type"])
    if signature is None or any(slot["name"] == widget for slot in node["inputs"]):
        return
    for at, (name, one, is_control) in enumerate(_order(signature.inputs, _by_name(node, signature))):
        if name != widget or is_control or _kind_of(one) not in ("INT", "FLOAT", "STRING"):
            continue
        face["widgets_values"].append(node["widgets_values"][at])
        node["widgets_values"][at] = {"INT": 18, "FLOAT": 18.5, "STRING": "nor this"}[_kind_of(one)]
        if proxies:
            face["properties"].setdefault("proxyWidgets", []).append([str(id), widget])
            return
        end = _add_end(definition, "inputs", f"{widget}_{id}")
        node["inputs"].append({"name": widget, "type": one.type, "link": None, "widget": {"name": widget}})
        inner = next_link(definition)
        _add_link(definition, inner, -10, end, id, len(node["inputs"]) - 1, one.type, True)
        node["inputs"][-1]["link"] = inner
        definition["inputs"][end]["linkIds"].append(inner)
        return
