"""Reword what a server refuses: the sentences of our own check, with the node's title and the place in the film.

Pure. Facts are taken from our graph and the server's signatures; of the server's own words only what no rule covers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ltxflow.comfy import wording
from ltxflow.comfy.checks import check_graph
from ltxflow.comfy.replies import NodeError, Refused
from ltxflow.comfy.signatures import Graph, Input, Signatures, as_link, by_number, fits, read_input
from ltxflow.comfy.untrusted import clean
from ltxflow.comfy.wording import Finding
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
    """Return a server's refusal of `graph` as a check would report it; of the same reason one problem.

    `span` is the clip's place in the film. Problems that are no refusal of a graph are returned as they are.
    """
    reworded: list[Problem] = []
    for problem in problems:
        if not isinstance(problem, Refused) or not problem.reason.type:
            reworded.append(problem)
            continue
        for node, finding in _Refusal(problem.reason, graph, signatures).findings():
            text = wording.message(finding, graph, node, template)
            reworded.append(Problem(f"{server}: {text}", span, finding.hint, finding.code))
    return tuple(dict.fromkeys(reworded))


class _Refusal:
    """One reason, beside the node of our graph that it is about."""

    def __init__(self, reason: NodeError, graph: Graph, signatures: Signatures | None) -> None:
        self.reason, self.graph, self.signatures = reason, graph, signatures
        node = graph.get(reason.node)
        given = node.get("inputs") if isinstance(node, Mapping) else None
        self.inputs: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        sig = signatures.classes.get(reason.class_type) if signatures else None
        self.declared = sig.declared(self.inputs) if sig else {}

    def findings(self) -> list[tuple[str | None, Finding]]:
        """Return node (None: the whole graph) and finding."""
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

    def _of_input(self) -> Finding:
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
        """The input as the server declares it: its lists and bounds are newer than the signatures we may have kept."""
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

    def _mismatch(self, wanted: Input, source: str, slot: int) -> Finding:
        sig = None
        node = self.graph.get(source)
        if self.signatures and isinstance(node, Mapping):
            sig = self.signatures.classes.get(str(node.get("class_type")))
        received = clean(self.reason.extra.get("received_type") or "another type", 60)
        if sig and -len(sig.outputs) <= slot < 0:  # Python counts from the end
            slot += len(sig.outputs)
        good = [i for i, out in enumerate(sig.outputs) if fits(out, wanted.types) and out != "*"] if sig else []
        return wording.type_mismatch(wanted, source, slot, sig, received, good[0] if good else None)

    def _cycle(self) -> tuple[str, Finding]:
        """The server names a ring at each of its nodes; here it begins at the least one, and is one finding."""
        named = self.reason.extra.get("cycle_nodes")
        ring = (
            [each for each in named if isinstance(each, str) and each in self.graph] if isinstance(named, list) else []
        )
        ring = ring or [self.reason.node]
        first = ring.index(min(ring, key=by_number))
        return ring[first], wording.cycle([*ring[first:], *ring[:first], ring[first]])

    def _exception(self) -> list[tuple[str | None, Finding]]:
        """The server stumbles over links to nowhere, and over values that have no order; our check names them."""
        node = self.reason.node
        if self.signatures is not None:
            problems = check_graph(self.graph, self.signatures, only=[node])
            errors = [problem for problem in problems if problem.level == "error"]
            if errors:
                suffix = wording.message(Finding("", ""), self.graph, node)
                return [(node, Finding(e.code, e.message.removesuffix(suffix), e.hint)) for e in errors]
        return [(node, wording.refused_by_node(self.reason.details or self.reason.type))]


def _number(wanted: Input, value: Any) -> int | float | None:
    """The value as the server converts it."""
    try:
        return int(value) if wanted.type == "INT" else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
