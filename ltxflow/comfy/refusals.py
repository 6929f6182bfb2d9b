"""Reword a server's refusal as our own check words it, with the node's title and the place in the film.

Pure. Facts come from our graph and the server's signatures; the server's own words are used where no rule applies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ltxflow.comfy import wording
from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.replies import NodeError, Refused
from ltxflow.comfy.signatures import Graph, Input, Signatures, as_link, by_number, fits, read_input
from ltxflow.comfy.untrusted import clean
from ltxflow.core.errors import Problem, Span

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
    for problem in problems:
        if not isinstance(problem, Refused) or not problem.reason.type:
            reworded.append(problem)
            continue
        for node, found in _Refusal(problem.reason, graph, signatures).problems():
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
