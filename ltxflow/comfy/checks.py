"""Check a graph against ComfyUI's node classes before it is queued, and reword the server's refusals alike. Pure.

The check saves a round trip and names the place; it is never stricter than the server (`execution.py`: validate_prompt,
validate_inputs, as in 0.27.0 and 0.33.0). The server refuses an unknown class anywhere; it validates only declared
inputs, of nodes that an output reaches through them. A graph that it accepts and cannot run is a warning here, and so
is a value that a class outside the core may check itself. The exception: a graph that ends the server's worker for
good is an error.

A refusal gets the node's title and the place in the film; the server's own words are used where no rule applies.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from ltxflow.comfy import wording
from ltxflow.comfy.adapt import Adaptation, adapt_graph
from ltxflow.comfy.graph import is_link, reached_from
from ltxflow.comfy.replies import NodeError, Refused, clean
from ltxflow.comfy.signatures import (
    DYNAMIC,
    FILES,
    MATCH,
    SELF_CHECKED,
    Graph,
    Input,
    Signature,
    Signatures,
    as_link,
    by_number,
    core_classes,
    fits,
    folder_of,
    nodes_of,
    parts,
    read_input,
)
from ltxflow.comfy.wording import FAILS, in_place
from ltxflow.core.errors import Level, Problem, Span, problem

_LENGTH = re.compile(r"\(list of length (\d+)\)")


def reword(
    problems: Iterable[Problem],
    graph: Graph,
    signatures: Signatures | None,
    *,
    template: str,
    span: Span | None,
    server: str,
) -> tuple[Problem, ...]:
    """Return a server's refusal of `graph` as a check would report it, each reason once.

    `span` is the clip's place in the film. Problems that do not refuse a graph are returned unchanged.
    """
    reworded: list[Problem] = []
    for each in problems:
        if not isinstance(each, Refused) or not each.reason.type:
            reworded.append(each)
            continue
        for node, found in _Refusal(each.reason, graph, signatures).problems():
            placed = wording.in_place(found, graph, node, template)
            reworded.append(replace(placed, message=f"{server}: {placed.message}", span=span, level="error"))
    return tuple(dict.fromkeys(reworded))


class _Refusal:
    """One reason, with the node of our graph that it names."""

    def __init__(self, reason: NodeError, graph: Graph, signatures: Signatures | None) -> None:
        self.reason, self.graph, self.signatures = reason, graph, signatures
        node = graph.get(reason.node)
        given = node.get("inputs") if isinstance(node, Mapping) else None
        self.inputs: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        sig = signatures.classes.get(reason.class_type) if signatures else None
        self.declared = sig.declared(self.inputs) if sig else {}

    def problems(self) -> list[tuple[str | None, Problem]]:
        """Return each problem with its node (None: the whole graph)."""
        reason = self.reason
        if reason.type == "missing_node_type":
            known = self.signatures.classes if self.signatures else {}
            return [
                (reason.node if reason.node in self.graph else None, wording.unknown_class(reason.class_type, known))
            ]
        if reason.type == "prompt_no_outputs":
            return [(None, wording.no_output())]
        if reason.node not in self.graph:
            return [(None, wording.refused_by_node(reason.details or reason.type))]
        if reason.type == "dependency_cycle":
            return [self._cycle()]
        if reason.type.startswith("exception_during_"):
            return self._exception()
        return [(reason.node, self._of_input())]

    def _of_input(self) -> Problem:
        wanted, value = self._wanted(), self.inputs.get(self._name)
        value = value["__value__"] if isinstance(value, Mapping) and "__value__" in value else value
        match self.reason.type:
            case "required_input_missing":
                return wording.missing(wanted, [name for name in self.inputs if name not in self.declared])
            case "bad_linked_input":
                return wording.not_a_link(wanted, value)
            case "invalid_input_type":
                return wording.wrong_type(wanted, value)
            case "value_smaller_than_min" | "value_bigger_than_max" if (number := _number(wanted, value)) is not None:
                return wording.out_of_range(wanted, number)
            case "value_not_in_list":
                length = _LENGTH.search(self.reason.details)
                listed = (
                    [one for one in value if one not in (wanted.choices or ())] if isinstance(value, list) else [value]
                )
                shown = listed[0] if listed else value
                return wording.not_in_list(wanted, shown, self.reason.class_type, int(length[1]) if length else None)
            case "return_type_mismatch" if link := as_link(value):
                return self._mismatch(wanted, *link)
        return wording.refused_by_node(self.reason.details or self.reason.type)

    @property
    def _name(self) -> str:
        return clean(self.reason.extra.get("input_name") or "", 80)

    def _wanted(self) -> Input:
        """Return the input as the refusal declares it: its lists and bounds are newer than cached signatures."""
        config = self.reason.extra.get("input_config")
        known = self.declared.get(self._name, Input(self._name, "*"))
        if isinstance(config, (list, tuple)) and config and isinstance(config[0], (str, list)):
            read = read_input(self._name, config, known.required)
            bounds = {name: read.options.get(name) for name in ("min", "max")}
            if all(bound is None or isinstance(bound, (int, float)) for bound in bounds.values()):
                return read
        if self.reason.type == "value_not_in_list" and _LENGTH.search(self.reason.details):
            return known if known.choices else Input(known.name, "COMBO", known.required, (), known.options)
        return known

    def _mismatch(self, wanted: Input, source: str, slot: int) -> Problem:
        sig = None
        node = self.graph.get(source)
        if self.signatures and isinstance(node, Mapping):
            sig = self.signatures.classes.get(str(node.get("class_type")))
        received = clean(self.reason.extra.get("received_type") or "another type", 60)
        if sig and -len(sig.outputs) <= slot < 0:  # Python counts from the end
            slot += len(sig.outputs)
        good = [i for i, out in enumerate(sig.outputs) if fits(out, wanted.types) and out != "*"] if sig else []
        return wording.type_mismatch(wanted, source, slot, sig, received, good[0] if good else None)

    def _cycle(self) -> tuple[str, Problem]:
        """Return a cycle once, from its least node. The server reports it at each of its nodes."""
        named = self.reason.extra.get("cycle_nodes")
        ring = (
            [each for each in named if isinstance(each, str) and each in self.graph] if isinstance(named, list) else []
        )
        ring = ring or [self.reason.node]
        first = ring.index(min(ring, key=by_number))
        return ring[first], wording.cycle([*ring[first:], *ring[:first], ring[first]])

    def _exception(self) -> list[tuple[str | None, Problem]]:
        """Check the node ourselves: the server fails on links to missing nodes and on values without an order."""
        node = self.reason.node
        if self.signatures is not None:
            problems = check_graph(self.graph, self.signatures, only=[node])
            errors = [problem for problem in problems if problem.level == "error"]
            if errors:
                suffix = wording.place_of(self.graph, node)
                return [(node, replace(error, message=error.message.removesuffix(suffix))) for error in errors]
        return [(node, wording.refused_by_node(self.reason.details or self.reason.type))]


def _number(wanted: Input, value: Any) -> int | float | None:
    """Return the value as the server converts it, None if it cannot."""
    try:
        return int(value) if wanted.type == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


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
    """Return the problems of an API-format graph, by node id, then in the order of inputs.

    The graph is adapted to the signatures first. A problem is an error if the server would refuse the graph for it,
    else a warning or advice. With the recorded signatures, the version with the fewest problems counts.

    `where` finds a node's place in a file. With `models=False` lists of model files are not compared: they differ by
    server. `allowed` are the classes outside the core that the user allows; None allows every class. `only` restricts
    the check to these nodes: see `other_values`.
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
    """Return the nodes whose values differ from those in `like`, a graph in which a check found no error.

    Only these need another check. None if a node, an input or a link differs.
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
    """Return whether two nodes are equal, types of values included: True is not 1."""
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
    """One run over one graph: the rules share the graph, the signatures and the list of problems."""

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

    def report(self, node_id: str | None, found: Problem, level: Level = "error") -> None:
        span = self.where(node_id) if self.where and node_id is not None else None
        placed = in_place(found, self.graph, node_id, self.template)
        self.problems.append(replace(placed, span=span, level=level))

    def warn(self, node_id: str, sig: Signature, found: Problem) -> None:
        """Report a value that the server accepts and cannot run. For a class outside the core that is unknown."""
        if sig.is_core:
            self.report(node_id, replace(found, hint=f"{FAILS}; {found.hint}"), "warning")

    def refuse(self, node_id: str, sig: Signature, found: Problem) -> None:
        """Report a value that the server refuses. A class outside the core may check it itself: then a warning."""
        self.report(node_id, found, "error" if sig.is_core else "warning")

    # ---- rules

    def all(self, only: Collection[str] | None) -> None:
        if not isinstance(self.graph, Mapping) or not self.graph:
            self.graph = {}
            self.report(None, problem("N100.empty"))
            return
        if isinstance(self.graph.get("nodes"), list):
            self.graph = {}
            self.report(None, problem("N100.saved"))
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
        """Return the nodes that outputs reach by declared inputs. An unknown class may be an output."""
        read = {link[0] for _, _, inputs in nodes_of(self.graph) for link in map(as_link, inputs.values()) if link}
        outputs = [
            node_id
            for node_id, class_, _ in nodes_of(self.graph)
            if (sig.is_output if (sig := self.signatures.classes.get(class_)) else node_id not in read)
        ]
        return reached_from(outputs, self.sources)

    def dead_links(self, reached: set[str]) -> None:
        """Report links to missing nodes that the server overlooks: those in undeclared inputs of nodes that run.

        It accepts such a graph, and then runs nothing more: its only worker ends (0.27.0 and 0.33.0:
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
        """Return the nodes that a node reads from by declared inputs."""
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
        """Check a node's class, as the server does for every node; return its signature if it has one."""
        node = self.graph[node_id]
        if not isinstance(node, Mapping):
            self.report(node_id, problem("N104.neither"))
            return None
        class_ = node.get("class_type")
        if not isinstance(class_, str):
            self.report(node_id, problem("N104.no-class"))
            return None
        sig = self.signatures.classes.get(class_)
        found = self.of_class(class_, sig)
        if found is None:
            return sig
        if (found.code, class_) not in self.classes:  # at the first of several nodes of a class
            self.classes.add((found.code, class_))
            self.report(node_id, found, found.level)
        return None

    def of_class(self, class_: str, sig: Signature | None) -> Problem | None:
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
        """Check that a node has inputs: the server accepts one without, and then runs nothing more.

        (0.27.0 and 0.33.0: its only worker ends in `comfy_execution/caching.py`, get_ordered_ancestry_internal.)
        """
        if isinstance(self.graph[node_id].get("inputs"), Mapping):
            return True
        self.report(node_id, problem("N104.no-inputs"))
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
            elif one.required:  # the server ignores a dynamic choice that is missing
                self.warn(node_id, sig, wording.missing(one, spare))
        if sig.is_core:
            free = [name for name in declared if name not in inputs]
            for name in spare:
                close = wording.closest(name, free)
                if close and declared[close].required:  # the missing input names it
                    continue
                if close or as_link(inputs[name]):  # a linked value reaches the node, which does not expect it
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
        """Check a number as the server does: convert it (Python's `int`, `float`), then compare with the range."""
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
        """Check the range. The server compares any value: one without an order is refused as well."""
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
        mismatch = wording.type_mismatch(wanted, source, slot, maker, received, good[0] if good else None)
        if is_refused:
            self.refuse(node_id, sig, mismatch)
        else:
            self.warn(node_id, sig, mismatch)

    def signature_of(self, node_id: str) -> Signature | None:
        node = self.graph[node_id]
        class_ = node.get("class_type") if isinstance(node, Mapping) else None
        return self.signatures.classes.get(class_) if isinstance(class_, str) else None

    def returned(self, node_id: str, slot: int, seen: frozenset[str]) -> str:
        """Return the type at an output. An output that matches an input has the type linked there."""
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
            # a wrong type is reported where it enters, not again at each output
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
