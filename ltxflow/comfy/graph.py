"""Convert a ComfyUI graph to the canonical form that is hashed, and explain how two of them differ. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ltxflow.core.digest import Digest, canonical, digest_json
from ltxflow.core.errors import LtxflowError, problem

Graph = dict[str, Any]  # ComfyUI's API format: node id → {"class_type", "inputs", "_meta"?}

OUTPUTS = ("video", "last_frame", "uncropped")  # the titles of the save nodes that ltxflow collects

LINK = "@"
# Inputs that decide where and in which pieces something is computed, not the picture.
# ComfyUI `nodes_lt_audio.py` LTXAVTextEncoderLoader, `nodes.py` CLIPLoader and VAEDecodeTiled.
PLACEMENT = frozenset(
    {
        ("LTXAVTextEncoderLoader", "device"),
        ("CLIPLoader", "device"),
        ("VAEDecodeTiled", "tile_size"),
        ("VAEDecodeTiled", "overlap"),
        ("VAEDecodeTiled", "temporal_size"),
        ("VAEDecodeTiled", "temporal_overlap"),
    }
)
PREFIX = "filename_prefix"


def reached_from(starts: Iterable[str], sources: Callable[[str], Iterable[str]]) -> set[str]:
    """Return the nodes at `starts` and all that they need. `sources` returns the nodes that one reads from."""
    found = set(starts)
    todo = list(found)
    while todo:
        new = set(sources(todo.pop())) - found
        found |= new
        todo += new
    return found


def is_link(value: object) -> bool:
    """Return whether ComfyUI's `graph_utils.py` reads an input's value as a link: [text, number]."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and isinstance(value[1], int | float)
        and not isinstance(value[1], bool)
    )


def outputs_of(graph: Mapping[str, Any], titles: tuple[str, ...] = OUTPUTS) -> dict[str, str]:
    """Return title → node id of the save nodes with these titles, whose files are fetched.

    No other node reads from a save node. Raise LtxflowError if two have the same title.
    """
    read = {value[0] for node in graph.values() for value in node["inputs"].values() if is_link(value)}
    found: dict[str, str] = {}
    for id, node in graph.items():
        title = node.get("_meta", {}).get("title")
        if title not in titles or id in read:
            continue
        if title in found:
            wanted = ", ".join(titles)
            raise LtxflowError(problem("T030", title=title, first=found[title], second=id, titles=wanted))
        found[title] = id
    return {title: found[title] for title in titles if title in found}


def canonical_graph(
    graph: Mapping[str, Any], outputs: Mapping[str, str], known: dict[Digest, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Return the part of a graph that its outputs (name → node id) need, in canonical form.

    `{"nodes": [{"class", "inputs"}], "outputs": {name: n}}`; a link is `["@", n, slot]`. Sources come first, in the
    order of a walk from the outputs; equal nodes are merged. Ids, order, `_meta`, `filename_prefix` and PLACEMENT are
    left out. Raise LtxflowError for a cycle and for a link to a missing node.

    `known` has the nodes of other graphs: equal ones are shared, as the clips of a film differ in few nodes.
    """
    numbers: dict[Digest, int] = {}  # by digest of the node below, whose links are numbers: a Merkle walk
    nodes: list[dict[str, Any]] = []
    number_of: dict[str, int] = {}
    for id in _sources_first(graph, [outputs[name] for name in sorted(outputs)]):
        node = _plain_node(graph[id], number_of)
        digest = digest_json(node)
        if digest not in numbers:
            numbers[digest] = len(nodes)
            nodes.append(node if known is None else known.setdefault(digest, node))
        number_of[id] = numbers[digest]
    return {"nodes": nodes, "outputs": {name: number_of[outputs[name]] for name in sorted(outputs)}}


def _plain_node(node: Mapping[str, Any], number_of: Mapping[str, int]) -> dict[str, Any]:
    inputs: dict[str, Any] = {}
    for name in _kept(node):
        value = node["inputs"][name]
        if is_link(value):
            inputs[name] = [LINK, number_of[value[0]], int(value[1])]
        elif isinstance(value, list) and value and value[0] in (LINK, "literal"):
            inputs[name] = ["literal", value]  # a list that would be read as a link, or as this escape
        else:
            inputs[name] = value
    return {"class": node["class_type"], "inputs": inputs}


def _kept(node: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in node["inputs"] if name != PREFIX and (node["class_type"], name) not in PLACEMENT)


def _sources_first(graph: Mapping[str, Any], roots: list[str]) -> Iterator[str]:
    """Yield the ids reachable from `roots`, each after its sources. No recursion: depth is not bounded."""
    done: set[str] = set()
    for root in roots:
        way: dict[str, None] = {} if root in done else {root: None}  # from the root down, in order
        while way:
            id = next(reversed(way))
            source = next((source for source in _read_by(graph, id) if source not in done), None)
            if source is None:
                way.pop(id)
                done.add(id)
                yield id
            elif source in way:
                loop = [*way][[*way].index(source) :]
                classes = " -> ".join(f"{n} ({graph[n]['class_type']})" for n in [*loop, source])
                raise LtxflowError(problem("T031", nodes=classes))
            else:
                way[source] = None


def _read_by(graph: Mapping[str, Any], id: str) -> Iterator[str]:
    """Yield the sources of node `id`, by input name. Raise LtxflowError if a node is missing."""
    node = graph.get(id)
    if node is None:
        raise LtxflowError(problem("T032.node", node=id))
    for name in _kept(node):
        value = node["inputs"][name]
        if is_link(value):
            if value[0] not in graph:
                class_ = node["class_type"]
                raise LtxflowError(problem("T032.link", node=id, class_=class_, input=name, source=value[0]))
            yield value[0]


Change = Literal["changed", "added", "removed", "replaced"]


@dataclass(frozen=True)
class GraphChange:
    """One difference of two canonical graphs.

    `changed`: the input `input` of a node changed from `old` to `new` (None: no such input). `added`, `removed`: a
    whole node; `new` or `old` holds its literal inputs. `replaced`: a node of another class; `old` and `new` are the
    classes. `via` is the input that leads to the node ("positive", "noise"), `index` its place among the nodes of its
    class, from 1, in walk order: in the new graph, or in the old one for a removed node.
    """

    kind: Change
    class_: str
    index: int
    via: str
    input: str
    old: Any
    new: Any

    @property
    def where(self) -> str:
        """Class, way and input of the change: `CLIPTextEncode (positive).text`."""
        node = f"{self.class_} ({self.via})" if self.via else self.class_
        return f"{node}.{self.input}" if self.input else node


class _Side:
    """One canonical graph prepared for alignment: literals and links separated, each node's index and via."""

    def __init__(self, form: Mapping[str, Any]) -> None:
        nodes: list[dict[str, Any]] = form["nodes"]
        self.outputs: dict[str, int] = form["outputs"]
        self.classes = [str(node["class"]) for node in nodes]
        self.links = [{k: v for k, v in node["inputs"].items() if _is_reference(v)} for node in nodes]
        self.literals = [{k: v for k, v in node["inputs"].items() if not _is_reference(v)} for node in nodes]
        self.index = [self.classes[: n + 1].count(class_) for n, class_ in enumerate(self.classes)]
        self.via: dict[int, str] = dict.fromkeys(self.outputs.values(), "")
        for n in reversed(range(len(nodes))):  # sources come first, so the readers of a node come after it
            for name, (_, source, _slot) in self.links[n].items():
                self.via.setdefault(source, name)

    def chain(self, start: int) -> Iterator[int]:
        """Yield the nodes below `start` along one input name: a LoRA's `model` leads to the next one's `model`.

        Other inputs are not followed: a decoder somewhere below did not take a sampler's place.
        """
        for name in sorted(self.links[start]):
            n = start
            while name in self.links[n]:
                n = self.links[n][name][1]
                yield n

    def is_of_class(self, i: int, other: _Side, j: int) -> bool:
        return self.classes[i] == other.classes[j]

    def is_like(self, i: int, other: _Side, j: int) -> bool:
        return self.is_of_class(i, other, j) and canonical(self.literals[i]) == canonical(other.literals[j])

    def change(self, n: int, kind: Change, input: str, old: Any, new: Any) -> GraphChange:
        return GraphChange(kind, self.classes[n], self.index[n], self.via[n], input, old, new)


def _is_reference(value: object) -> bool:
    return isinstance(value, list) and len(value) == 3 and value[0] == LINK


def diff_graphs(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[GraphChange]:
    """Return the differences of two canonical graphs: changes in walk order, then added and removed nodes.

    Nodes are paired by one walk down both graphs from the outputs of the same name. Where the classes differ, a node
    of the same class further down the chain means that nodes were inserted (a LoRA) or removed; otherwise one was
    replaced, and the walk continues below it.
    """
    a, b = _Side(old), _Side(new)
    paired = _pairs(a, b)
    changes = [change for i, j in paired for change in _changes(a, i, b, j)]
    added = set(range(len(b.classes))) - {j for _, j in paired}
    removed = set(range(len(a.classes))) - {i for i, _ in paired}
    changes += [b.change(n, "added", "", None, b.literals[n]) for n in sorted(added)]
    changes += [a.change(n, "removed", "", a.literals[n], None) for n in sorted(removed)]
    return changes


def _pairs(a: _Side, b: _Side) -> list[tuple[int, int]]:
    """Return the pairs (old node, new node) in the same place, in walk order."""
    pairs: dict[tuple[int, int], None] = {}
    stack = [(a.outputs[name], b.outputs[name]) for name in sorted({*a.outputs} & {*b.outputs}, reverse=True)]
    while stack:
        i, j = _align(a, b, *stack.pop())
        if (i, j) in pairs:
            continue
        pairs[i, j] = None
        for name in sorted({*a.links[i]} & {*b.links[j]}, reverse=True):
            stack.append((a.links[i][name][1], b.links[j][name][1]))
    # A node may be reached in two ways, such as the prompt that is zeroed for the negative one: the direct way counts
    plain = {j for i, j in pairs if a.via[i] == b.via[j]}
    return [(i, j) for i, j in pairs if j not in plain or a.via[i] == b.via[j]]


def _align(a: _Side, b: _Side, i: int, j: int) -> tuple[int, int]:
    """Return the pair for two nodes reached in the same way, skipping nodes inserted or removed before one.

    An equal node down the chain is preferred, then one of the same class.
    """
    if a.is_like(i, b, j):
        return i, j
    for same in (_Side.is_like, _Side.is_of_class) if a.classes[i] != b.classes[j] else (_Side.is_like,):
        for n in b.chain(j):
            if same(a, i, b, n):
                return i, n
        for n in a.chain(i):
            if same(a, n, b, j):
                return n, j
    return i, j


def _changes(a: _Side, i: int, b: _Side, j: int) -> Iterator[GraphChange]:
    if a.classes[i] != b.classes[j]:
        yield b.change(j, "replaced", "", a.classes[i], b.classes[j])
    before, after = a.literals[i], b.literals[j]
    for name in sorted({*before, *after}):
        if canonical(before.get(name)) != canonical(after.get(name)):
            yield b.change(j, "changed", name, before.get(name), after.get(name))
    for name in sorted({*a.links[i]} & {*b.links[j]}):
        (_, source, was), (_, target, now) = a.links[i][name], b.links[j][name]
        if was != now and a.classes[source] == b.classes[target]:
            yield b.change(j, "changed", name, f"output {was}", f"output {now}")
