"""Parse a workflow saved by ComfyUI's editor: nodes, links and subgraphs, each checked for its shape. Pure.

Assign the values that ComfyUI's editor saved for a node, a list in the order of its widgets, to inputs. Pure.

The order depends on the signature of the node's class, and on the versions of the editor and of the class at the time;
so a list may be read in several ways, and the one that fits best is used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NoReturn

from ltxflow.comfy.signatures import DYNAMIC, GROW, Input, Signature, read_input
from ltxflow.core.errors import LtxflowError, Problem, Span, problem

MAX_SUBGRAPH_DEPTH = 32  # subgraphs inside subgraphs

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
        if depth > MAX_SUBGRAPH_DEPTH:
            document.refuse(problem("T025.too-deep", most=MAX_SUBGRAPH_DEPTH))
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


MAX_CHOICE_DEPTH = 32  # dynamic choices inside dynamic choices
CONTROLS = ("fixed", "increment", "decrement", "randomize", "increment-wrap")
SEEDS = ("seed", "noise_seed")
# Types whose inputs are widgets: the node holds the value. ComfyUI's editor, `scripts/widgets.ts`.
WIDGETS = frozenset(
    {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", DYNAMIC, "COLOR", "MARKDOWN", "TEXTAREA", "CURVE", "RANGE"}
    | {"BOUNDING_BOX", "BOUNDING_BOXES", "COLORS", "CHART", "GALLERIA", "PAINTER", "COMPOSITOR", "VIDEO_EDIT"}
    | {"LOAD_3D", "LOAD3D_CAMERA", "WEBCAM", "AUDIO_RECORD", "IMAGECOMPARE"}
)
# Values that the editor only shows, and does not export.
SHOWN_ONLY = frozenset(
    {"upload", "choose file to upload", "choose audio to upload", "choose video to upload", "audioUI"}
    | {"video-preview", "videopreview", "control_after_generate", "speak_and_recognation"}
)


@dataclass(frozen=True)
class Assigned:
    """Values by the names of their inputs.

    `misfits` are values of another type, replaced by the default; `spare` are values without a name.
    """

    values: dict[str, Any]
    misfits: Mapping[str, Any] = field(default_factory=dict)
    spare: tuple[Any, ...] = ()


def assign(
    signatures: Sequence[Signature], values: Any, named: Mapping[str, Any], slots: Sequence[tuple[str, str]]
) -> Assigned | None:
    """Return the values of a node by name; None if neither a signature nor the file has the names.

    `signatures` are those of its class, in order of preference. `values` is a list, or a mapping as some custom nodes
    save it; `named` the mapping that newer editors add; `slots` the node's inputs, each with the widget that it
    replaces, "" without one.
    """
    if isinstance(values, Mapping):  # all its names count, declared or not
        given = without_shown(values)
        return Assigned({**given, **_Reading(by_name=given).read(signatures[0]).found} if signatures else given)
    listed = list(values) if isinstance(values, list) else []
    if loras := [value for value in listed if isinstance(value, Mapping) and isinstance(value.get("lora"), str)]:
        return Assigned({f"lora_{number}": value for number, value in enumerate(loras, 1)})  # rgthree's loader
    if not signatures:
        found = without_shown(named) if named else _by_slots(slots, listed)
        return None if found is None else Assigned(found)
    grown = [name for name, widget in slots if "." in name and widget]
    readings = [
        _Reading(listed, None, forced, controls, grown).read(signature)
        for signature in signatures
        for forced, controls in _VARIANTS
    ]
    best = min(readings, key=lambda reading: reading.misfit)  # of equals the first: min is stable
    if best.misfit > 2 and named:  # the editor reads the list; the names may be stale
        best = _Reading(by_name=named).read(signatures[0])
    spare = listed[best.at :] if best.by_name is None else []
    return Assigned(best.found, best.misfits, tuple(value for value in spare if not isinstance(value, str | None)))


def without_shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return named values without those that only the editor shows."""
    return {str(name): value for name, value in values.items() if name and name not in SHOWN_ONLY}


def _by_slots(slots: Sequence[tuple[str, str]], values: list[Any]) -> dict[str, Any] | None:
    """Return values by the widget names in the file if it names each, else None."""
    if not values:
        return {}
    found: dict[str, Any] = {}
    at = 0
    for widget in [widget for _, widget in slots if widget]:
        if at >= len(values):
            return None
        found[widget] = values[at]
        at += 1
        if widget in SEEDS and at < len(values) and values[at] in CONTROLS:
            at += 1
    return found if found and at == len(values) else None


def is_widget(one: Input) -> bool:
    return (one.options.get("widgetType") or one.type) in WIDGETS and not one.options.get("forceInput")


# How values were saved: as today; with an entry for inputs that take only a link, as editors before 1.16 did; without
# an entry for the control of a seed, as older versions of a class did.
_VARIANTS = ((False, True), (True, True), (False, False))  # forced, controls


@dataclass
class _Reading:
    """A way to read a list of values: one by one, in the order of the widgets of a signature."""

    values: Sequence[Any] = ()
    by_name: Mapping[str, Any] | None = None
    forced: bool = False
    controls: bool = True
    grown: Sequence[str] = ()
    found: dict[str, Any] = field(default_factory=dict)
    at: int = 0
    odd: int = 0
    misplaced: int = 0
    misfits: dict[str, Any] = field(default_factory=dict)

    @property
    def misfit(self) -> int:
        """Badness of the fit: first the types of values, then their number; an editor may append some."""
        missing, spare = max(self.at - len(self.values), 0), max(len(self.values) - self.at, 0)
        return 10 * (len(self.misfits) + self.misplaced) + 3 * self.odd + 3 * missing + min(spare, 2)

    def read(self, signature: Signature) -> _Reading:
        for one in signature.inputs:
            if one.type == GROW:
                self.grow(one)
        self.walk(signature.inputs, "", MAX_CHOICE_DEPTH)
        return self

    def grow(self, one: Input) -> None:
        """Take the values of a growing input: they come before all others, and the file names those it has."""
        template = one.options.get("template")
        specs = template.get("input") if isinstance(template, Mapping) else None
        parts = [
            (name, spec)
            for section in ("required", "optional")
            for name, spec in ((specs.get(section) if isinstance(specs, Mapping) else None) or {}).items()
        ]
        if len(parts) != 1 or not is_widget(read_input(*parts[0], True)):
            return
        for name in self.grown:
            if name.startswith(f"{one.name}."):
                self.take(read_input(name, parts[0][1], True), name)

    def walk(self, inputs: Sequence[Input], prefix: str, depth: int) -> None:
        for one in inputs:
            if not is_widget(one):
                if self.forced and one.options.get("forceInput") and one.type in WIDGETS:
                    self.at += 1
                continue
            name = f"{prefix}{one.name}"
            if name in self.found:
                continue
            value = self.take(one, name)
            if one.type == DYNAMIC and depth > 0:
                self.walk(_below(one, value), f"{name}.", depth - 1)

    def take(self, one: Input, name: str) -> Any:
        """Take the next value for an input, or its default; skip the values that the editor adds after it."""
        if self.by_name is not None:
            return self.put(one, name, self.by_name.get(name))
        is_given = self.at < len(self.values)
        value = self.values[self.at] if is_given else None
        self.at += 1
        if is_given and one.type == "COMBO" and one.choices and value not in one.choices:
            self.odd += 1  # perhaps a file of another machine, or the value of another widget
        self.put(one, name, value)
        if self.controls:
            for number in range(_controls(one)):
                if number == 0 and self.at < len(self.values) and self.values[self.at] not in CONTROLS:
                    self.misplaced += 1
                self.at += 1
        return self.found[name]

    def put(self, one: Input, name: str, value: Any) -> Any:
        """Store a value. One of another type belongs to another version of the class, or to another input."""
        if not _fits(one, value):
            self.misfits[name], value = value, None
        self.found[name] = _default(one) if value is None else value
        return self.found[name]


def _controls(one: Input) -> int:
    """Return the number of widgets that the editor adds after an input: the control of its value, and a filter."""
    wanted = one.options.get("control_after_generate")
    if wanted is None:
        wanted = one.type == "INT" and one.name.rpartition(".")[2] in SEEDS
    kind = one.options.get("widgetType") or one.type
    if not wanted or kind not in ("INT", "FLOAT", "COMBO"):
        return 0
    return 2 if kind == "COMBO" else 1


def _below(one: Input, value: Any) -> list[Input]:
    """Return the inputs that the chosen option of a dynamic choice adds."""
    for option in one.options.get("options") or ():
        if isinstance(option, Mapping) and option.get("key") == value:
            specs = option.get("inputs")
            return [
                read_input(name, spec, section == "required")
                for section in ("required", "optional")
                for name, spec in ((specs.get(section) if isinstance(specs, Mapping) else None) or {}).items()
            ]
    return []


def _default(one: Input) -> Any:
    """Return the value that the editor gives a new widget."""
    if "default" in one.options:
        return one.options["default"]
    if one.choices:
        return one.choices[0]
    kind = str(one.options.get("widgetType") or one.type)
    return {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}.get(kind)


def _fits(one: Input, value: Any) -> bool:
    kind = one.options.get("widgetType") or one.type
    if value is None:
        return True
    if kind in ("INT", "FLOAT"):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "BOOLEAN":
        return isinstance(value, bool)
    if kind == "STRING":
        return isinstance(value, str)
    if kind == DYNAMIC:
        return value in (one.choices or ())
    if kind == "COMBO" and one.choices and all(isinstance(choice, str) for choice in one.choices):
        return isinstance(value, str | list) and (value not in CONTROLS or value in one.choices)
    return True
