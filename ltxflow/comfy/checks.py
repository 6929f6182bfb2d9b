"""Whether a graph fits ComfyUI's node classes. Knows no server and no template.

A check saves a round trip and names the place; it is never stricter than the server (`execution.py`: validate_prompt,
validate_inputs, as in 0.27.0 and 0.33.0). The server refuses a class it does not have, wherever it is; of inputs it
looks at those that are declared, of nodes that an output reaches by them. What it takes and cannot run is a warning
here, and so is what nodes outside the core may check otherwise. The only exception are graphs that end the server's
worker for good: those are errors.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from ltxflow.comfy import wording
from ltxflow.comfy.adapt import Adaptation, adapt_graph
from ltxflow.comfy.graph import is_link
from ltxflow.comfy.signatures import (
    CORE_NODES,
    DYNAMIC,
    FILES,
    MATCH,
    SELF_CHECKED,
    FileInput,
    Graph,
    Input,
    ModelInput,
    Signature,
    Signatures,
    as_link,
    by_number,
    core_classes,
    file_inputs,
    fits,
    folder_of,
    model_inputs,
    nodes_of,
    parts,
)
from ltxflow.comfy.wording import EXPORT, RULES, Finding
from ltxflow.core.errors import Level, Problem, Span

__all__ = [
    "CORE_NODES",
    "EXPORT",
    "FILES",
    "RULES",
    "FileInput",
    "Graph",
    "Input",
    "ModelInput",
    "Signature",
    "Signatures",
    "as_link",
    "check_graph",
    "core_classes",
    "file_inputs",
    "fits",
    "folder_of",
    "model_inputs",
    "other_values",
]

FAILS = "the server takes it, and fails when it runs"


def check_graph(
    graph: Graph,
    signatures: Signatures,
    *,
    template: str = "",
    where: Callable[[str], Span | None] | None = None,
    models: bool = True,
    allowed: frozenset[str] | None = None,
    only: Collection[str] | None = None,
) -> list[Problem]:
    """Return what is wrong with an API-format graph, by node id, then in the order of inputs.

    The graph is adapted to the signatures first. Errors are what the server would refuse; all else is at most a
    warning. Against the recorded signatures that is what every recorded version would refuse: of the versions, the one
    that likes the graph best counts.

    `where` finds a node's place in a file. With `models=False` lists of model files are not compared: they differ by
    server. `allowed` are the classes outside the core that the user allows; None allows every class. `only` are the
    nodes to look at, where nothing else may be wrong: see `other_values`.
    """
    found: list[list[Problem]] = []
    for version in (signatures, *signatures.older):
        check = _Check(graph, version, template, where, models, allowed)
        check.all(only)
        found.append(check.problems)
        if all(problem.level == "advice" for problem in check.problems):
            break
    return min(found, key=_weight)


def _weight(problems: list[Problem]) -> tuple[int, int]:
    levels = [problem.level for problem in problems]
    return levels.count("error"), levels.count("warning")


def other_values(graph: Graph, like: Graph) -> list[str] | None:
    """Return the nodes that have other values than in `like`, a graph in which a check found no error.

    Nothing else can be wrong then. None where a node, an input or a link is another.
    """
    if graph.keys() != like.keys():
        return None
    others = []
    for node_id, node in graph.items():
        if not _is_same(node, like[node_id]):
            if not _has_same_links(node, like[node_id]):
                return None
            others.append(node_id)
    return others


def _is_same(node: Any, like: Any) -> bool:
    """Equal, and not only as True is equal to 1."""
    if node != like:
        return False
    other = like["inputs"]
    for name, value in node["inputs"].items():
        if type(value) is not type(other[name]) or (isinstance(value, list) and repr(value) != repr(other[name])):
            return False
    return True


def _has_same_links(node: Any, like: Any) -> bool:
    if not isinstance(node, Mapping) or not isinstance(node.get("inputs"), Mapping):
        return False
    if node.get("class_type") != like["class_type"] or node["inputs"].keys() != like["inputs"].keys():
        return False
    pairs = [(value, like["inputs"][name]) for name, value in node["inputs"].items()]
    return all(repr(a) == repr(b) for a, b in pairs if isinstance(a, list | tuple) or isinstance(b, list | tuple))


class _Check:
    """One run over one graph: what the rules share is the graph, the signatures and how a problem is reported."""

    def __init__(
        self,
        graph: Graph,
        signatures: Signatures,
        template: str,
        where: Callable[[str], Span | None] | None,
        models: bool,
        allowed: frozenset[str] | None,
    ) -> None:
        self.graph, self.signatures, self.template = graph, signatures, template
        self.where, self.models, self.allowed = where, models, allowed
        self.problems: list[Problem] = []
        self.classes: set[tuple[str, str]] = set()  # code and class of what was reported

    def report(self, node_id: str | None, finding: Finding, level: Level = "error") -> None:
        span = self.where(node_id) if self.where and node_id is not None else None
        text = wording.message(finding, self.graph, node_id, self.template)
        self.problems.append(Problem(text, span, finding.hint, finding.code, level))

    def warn(self, node_id: str, sig: Signature, finding: Finding) -> None:
        """Report what the server takes and cannot run. Of nodes outside the core that is not known."""
        if sig.is_core:
            self.report(node_id, finding._replace(hint=f"{FAILS}; {finding.hint}"), "warning")

    def refuse(self, node_id: str, sig: Signature, finding: Finding) -> None:
        """Report what the server refuses, unless the node checks that value itself, as those outside the core may."""
        self.report(node_id, finding, "error" if sig.is_core else "warning")

    # ---- rules

    def all(self, only: Collection[str] | None) -> None:
        if not isinstance(self.graph, Mapping) or not self.graph:
            self.graph = {}
            self.report(None, Finding("N100", "there is no node", EXPORT))
            return
        if isinstance(self.graph.get("nodes"), list):
            self.graph = {}
            self.report(None, Finding("N100", "this is a saved workflow, not one in API format", EXPORT))
            return
        self.graph, changes = adapt_graph(self.graph, self.signatures)
        reached = self.reached()
        for node_id in sorted(self.graph if only is None else only, key=by_number):
            sig = self.class_of(node_id)
            has_inputs = not isinstance(self.graph[node_id], Mapping) or self.has_inputs(node_id)
            if sig and has_inputs and node_id in reached:
                self.node(node_id, self.graph[node_id]["inputs"], sig, changes)
        if only is None:
            self.dead_links(reached)
            self.cycles(reached)
            if not reached and not any(p.code in ("N101", "N102", "N103", "N104") for p in self.problems):
                self.report(None, wording.no_output())

    def reached(self) -> set[str]:
        """The nodes that outputs reach by inputs that their classes declare; a class that is not known may be one."""
        read = {link[0] for _, _, inputs in nodes_of(self.graph) for link in map(as_link, inputs.values()) if link}
        todo = [
            node_id
            for node_id, class_, _ in nodes_of(self.graph)
            if (sig.is_output if (sig := self.signatures.classes.get(class_)) else node_id not in read)
        ]
        found: set[str] = set(todo)
        while todo:
            for source in self.sources(todo.pop()):
                if source not in found:
                    found.add(source)
                    todo.append(source)
        return found

    def dead_links(self, reached: set[str]) -> None:
        """Report links to nowhere that the server overlooks, in inputs that no class declares, of all nodes that run.

        It takes such a graph, and then runs nothing any more: its only worker ends (0.27.0 and 0.33.0:
        `comfy_execution/graph.py`, TopologicalSort.add_node).
        """
        todo, seen = sorted(reached, key=by_number, reverse=True), set(reached)
        while todo:
            node_id = todo.pop()
            node, sig = self.graph[node_id], self.signature_of(node_id)
            inputs = node.get("inputs") if isinstance(node, Mapping) else None
            if not isinstance(inputs, Mapping):
                continue
            declared = sig.declared(inputs) if sig else {}
            for name, value in inputs.items():
                source = value[0] if is_link(value) else None
                if source is None:
                    continue
                if source not in self.graph:
                    is_checked = name in declared and declared[name].type != DYNAMIC and node_id in reached
                    if not is_checked:
                        self.report(node_id, wording.link_to_nowhere(Input(name, "*"), source, self.graph))
                elif source not in seen:
                    seen.add(source)
                    todo.append(source)

    def sources(self, node_id: str) -> list[str]:
        """The nodes that a node reads from by inputs that its class declares."""
        node, sig = self.graph[node_id], self.signature_of(node_id)
        inputs = node.get("inputs") if isinstance(node, Mapping) else None
        if not isinstance(inputs, Mapping):
            return []
        declared = sig.declared(inputs) if sig else None
        return [
            link[0]
            for name, value in inputs.items()
            if (link := as_link(value))
            and link[0] in self.graph
            and (declared is None or (name in declared and declared[name].type != DYNAMIC))
        ]

    def class_of(self, node_id: str) -> Signature | None:
        """Check a node's class, which the server does wherever the node is; return its signature if there is one."""
        node = self.graph[node_id]
        if not isinstance(node, Mapping):
            self.report(node_id, Finding("N104", "neither class nor inputs", EXPORT))
            return None
        class_ = node.get("class_type")
        if not isinstance(class_, str):
            self.report(node_id, Finding("N104", '"class_type" is missing', "name the node's class"))
            return None
        sig = self.signatures.classes.get(class_)
        finding = self.of_class(class_, sig)
        if finding is None:
            return sig
        if (finding.code, class_) not in self.classes:  # of several nodes of that class, at the first
            self.classes.add((finding.code, class_))
            self.report(node_id, finding, "advice" if finding.code == "N103" else "error")
        return None

    def of_class(self, class_: str, sig: Signature | None) -> Finding | None:
        is_core = sig.is_core if sig else class_ in core_classes()
        is_allowed = self.allowed is None or is_core or class_ in self.allowed
        if sig is not None:
            return None if is_allowed else wording.not_allowed(class_)
        known = [*self.signatures.classes, *(self.allowed or ())]
        if not is_allowed and not wording.closest(class_, known):
            return wording.not_allowed(class_)
        if self.signatures.is_recorded and self.allowed is not None and is_allowed and not is_core:
            return wording.unchecked(class_)
        return wording.unknown_class(class_, known, is_allowed and self.allowed is not None)

    def has_inputs(self, node_id: str) -> bool:
        """Check that a node has inputs, wherever it is: the server takes one without, and then runs nothing any more.

        (0.27.0 and 0.33.0: its only worker ends in `comfy_execution/caching.py`, get_ordered_ancestry_internal.)
        """
        if isinstance(self.graph[node_id].get("inputs"), Mapping):
            return True
        self.report(node_id, Finding("N104", '"inputs" is missing', 'write "inputs": {} if it has none'))
        return False

    def node(self, node_id: str, inputs: Mapping[str, Any], sig: Signature, changes: tuple[Adaptation, ...]) -> None:
        declared = sig.declared(inputs)
        spare = [name for name in inputs if name not in declared and name not in sig.hidden]
        filled = {change.input for change in changes if change.node == node_id and change.is_omission}
        for one in declared.values():
            if one.name in filled:
                self.report(node_id, wording.filled(one, inputs[one.name]), "warning")
            elif one.name in inputs:
                self.value(node_id, sig, one, inputs[one.name])
            elif one.required and one.type != DYNAMIC:
                self.report(node_id, wording.missing(one, spare))
            elif one.required:  # for the server a dynamic choice that is missing does not exist
                self.warn(node_id, sig, wording.missing(one, spare))
        if sig.is_core:
            free = [name for name in declared if name not in inputs]
            for name in spare:
                close = wording.closest(name, free)
                if close and declared[close].required:  # the missing input names it
                    continue
                if close or as_link(inputs[name]):  # what a link brings reaches the node, which does not expect it
                    self.report(node_id, wording.undeclared(name, close, bool(as_link(inputs[name]))), "warning")

    # ---- literals

    def value(self, node_id: str, sig: Signature, wanted: Input, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            if wanted.type != DYNAMIC:
                self.link(node_id, sig, wanted, value)
            return
        if isinstance(value, Mapping) and "__value__" in value:  # how a graph writes a literal list
            value = value["__value__"]
        is_free = bool({wanted.name, "*"} & set(SELF_CHECKED.get(sig.name, ())))
        if wanted.type == DYNAMIC:
            if value not in (wanted.choices or ()):
                self.warn(node_id, sig, wording.not_in_list(wanted, value))
        elif wanted.type == "COMBO":
            self.choice(node_id, sig, wanted, value, is_free)
        elif wanted.type in ("INT", "FLOAT"):
            self.number(node_id, sig, wanted, value, is_free)
        elif wanted.type == "BOOLEAN":
            if not isinstance(value, bool) and value not in (0, 1):
                self.report(node_id, wording.converted(wanted, value, bool(value)), "warning")
        elif wanted.type == "STRING":
            if not isinstance(value, (str, int, float)) or isinstance(value, bool):
                self.report(node_id, wording.converted(wanted, value, str(value)), "warning")
        elif not is_free and {"min", "max"} & wanted.options.keys():
            self.bounds(node_id, sig, wanted, value)
        elif wanted.type == "BOUNDING_BOX":
            if not (isinstance(value, Mapping) and {"x", "y", "width", "height"} <= value.keys()):
                self.warn(node_id, sig, wording.wrong_type(wanted, value, "a mapping of x, y, width and height"))
        elif (
            self.takes_only_links(wanted) and not isinstance(value, Mapping) and (value is not None or wanted.required)
        ):
            self.warn(node_id, sig, wording.literal_for_link(wanted, value))

    def takes_only_links(self, wanted: Input) -> bool:
        return parts(wanted.types) <= self.signatures.linked_types and "default" not in wanted.options

    def number(self, node_id: str, sig: Signature, wanted: Input, value: Any, is_free: bool) -> None:
        """The server converts first (`int`, `float` of Python), then looks at the range; never at the step."""
        try:
            number = int(value) if wanted.type == "INT" else float(value)
        except (TypeError, ValueError, OverflowError):
            self.report(node_id, wording.wrong_type(wanted, value))
            return
        if isinstance(value, bool) or (isinstance(value, float) and number != value):
            self.report(node_id, wording.converted(wanted, value, number), "warning")
        if not is_free:
            self.bounds(node_id, sig, wanted, number)

    def bounds(self, node_id: str, sig: Signature, wanted: Input, value: Any) -> None:
        """The server compares whatever it is given: what has no order is refused as well."""
        if not isinstance(value, (int, float)):
            self.refuse(node_id, sig, wording.wrong_type(wanted, value))
            return
        low, high = wanted.options.get("min"), wanted.options.get("max")
        if (low is not None and value < low) or (high is not None and value > high):
            self.refuse(node_id, sig, wording.out_of_range(wanted, value))

    def choice(self, node_id: str, sig: Signature, wanted: Input, value: Any, is_free: bool) -> None:
        is_model = bool(folder_of(sig.name, wanted.name)) or wanted.lists_models
        is_file = wanted.is_file or wanted.name in FILES.get(sig.name, ())
        if is_file or (is_model and not self.models):
            if not isinstance(value, str) or (not value and not is_file):
                self.refuse(node_id, sig, wording.wrong_type(wanted, value, "a file name"))
            elif not value:  # the server finds its folder under that name
                self.warn(node_id, sig, wording.wrong_type(wanted, value, "a file name"))
            return
        if is_free or (self.signatures.is_recorded and not wanted.choices):  # a list of files, and not recorded
            return
        choices = wanted.choices or ()
        picked = value if isinstance(value, (list, tuple)) and wanted.options.get("multiselect") else [value]
        for one in picked:
            if one not in choices:
                self.refuse(node_id, sig, wording.not_in_list(wanted, one, sig.name))

    # ---- links

    def link(self, node_id: str, sig: Signature, wanted: Input, value: Any) -> None:
        if len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
            source, slot = value[0], int(value[1])
        else:
            self.report(node_id, wording.not_a_link(wanted, value))
            return
        if source not in self.graph:
            self.report(node_id, wording.link_to_nowhere(wanted, source, self.graph))
            return
        maker = self.signature_of(source)
        if not maker:
            return
        if not -len(maker.outputs) <= slot < len(maker.outputs):
            self.report(node_id, wording.no_such_output(wanted, source, slot, maker))
            return
        if slot < 0:  # Python counts from the end
            self.warn(node_id, sig, wording.no_such_output(wanted, source, slot, maker))
            slot += len(maker.outputs)
        received, takes = maker.outputs[slot], wanted.types
        is_refused = not fits(received, "COMBO" if wanted.type == DYNAMIC else wanted.type)
        if not is_refused:
            received = self.returned(source, slot, frozenset())
        if fits(received, takes):
            return
        good = [i for i, out in enumerate(maker.outputs) if fits(out, takes) and out not in ("*", MATCH)]
        finding = wording.type_mismatch(wanted, source, slot, maker, received, good[0] if good else None)
        if is_refused:
            self.refuse(node_id, sig, finding)
        else:
            self.warn(node_id, sig, finding)

    def signature_of(self, node_id: str) -> Signature | None:
        node = self.graph[node_id]
        class_ = node.get("class_type") if isinstance(node, Mapping) else None
        return self.signatures.classes.get(class_) if isinstance(class_, str) else None

    def returned(self, node_id: str, slot: int, seen: frozenset[str]) -> str:
        """Return the type at an output. One that matches an input has the type of what is linked there."""
        sig = self.signature_of(node_id)
        if not sig or node_id in seen or not 0 <= slot < len(sig.outputs):
            return "*"
        if sig.outputs[slot] != MATCH:
            return sig.outputs[slot]
        inputs = self.graph[node_id].get("inputs")
        matched = [i for i in sig.inputs if i.type == MATCH]
        linked = [as_link(inputs.get(i.name)) if isinstance(inputs, Mapping) else None for i in matched]
        types = [
            type_
            for one, link in zip(matched, linked, strict=True)
            if link and link[0] in self.graph
            # a wrong type is reported where it enters, not again wherever it would come out
            if fits(type_ := self.returned(*link, seen | {node_id}), one.types)
        ]
        if not types or "*" in types:
            return ",".join(sorted({p for i in matched for p in parts(i.types)})) or "*"
        return ",".join(sorted({part for t in types for part in parts(t)}))

    def cycles(self, reached: set[str]) -> None:
        """Report each ring of declared links once, from the least node id on."""
        sources = {node_id: self.sources(node_id) for node_id, _, _ in nodes_of(self.graph) if node_id in reached}
        done: set[str] = set()
        for start in sources:
            path: list[str] = []
            stack: list[tuple[str, Iterator[str]]] = []
            if start not in done:
                stack, path = [(start, iter(sources[start]))], [start]
            while stack:
                node_id, rest = stack[-1]
                source = next(rest, None)
                if source is None:
                    stack.pop()
                    path.pop()
                    done.add(node_id)
                elif source in path:
                    ring = path[path.index(source) :]
                    first = ring.index(min(ring, key=by_number))
                    self.report(ring[first], wording.cycle([*ring[first:], *ring[:first], ring[first]]))
                elif source not in done:
                    stack.append((source, iter(sources.get(source, []))))
                    path.append(source)
