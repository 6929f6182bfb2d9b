"""The graph of what would be made. The only importer of networkx."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.steps import Node


@dataclass(frozen=True)
class BuildGraph:
    """The frozen graph: every node by target, in an order in which each comes after what it needs."""

    nodes: Mapping[str, Node]
    wanted: tuple[str, ...]  # targets asked for, in film order

    def needs(self, target: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(need.partition("#")[0] for need in self.nodes[target].needs.values()))


def build_graph(nodes: Iterable[Node], wanted: Iterable[str]) -> BuildGraph:
    """Return the plan of those and all they need.

    The order is film order as far as needs allow, and the same each time. Raise LtxflowError for a cycle,
    naming it, or for a need that no node fills.
    """
    by_target: dict[str, Node] = {node.target: node for node in nodes}
    wanted = tuple(dict.fromkeys(wanted))
    if not any(node.needs for node in by_target.values()):  # most films: nothing to sort
        chosen = set(wanted)
        return BuildGraph({target: node for target, node in by_target.items() if target in chosen}, wanted)
    order = _as_given(by_target, wanted)
    return BuildGraph(_sorted(by_target, wanted) if order is None else order, wanted)


def _as_given(by_target: Mapping[str, Node], wanted: Iterable[str]) -> dict[str, Node] | None:
    """Return the nodes wanted and all they need, in the given order; a node that waits for one later node follows it.

    Frames wait so for their clip. None where that is not enough.
    """
    order: dict[str, Node] = {}
    followers: dict[str, list[str]] = {}
    waiting: set[str] = set()
    for target, node in by_target.items():
        left = {need.partition("#")[0] for need in node.needs.values()} - order.keys()
        if left:
            source = left.pop()
            if left or source in waiting:
                return None
            followers.setdefault(source, []).append(target)
            waiting.add(target)
            continue
        order[target] = node
        for follower in followers.pop(target, ()):
            order[follower] = by_target[follower]
    if followers:
        return None
    chosen = set(wanted)
    for target in reversed([*order]):
        if target in chosen:
            chosen.update(need.partition("#")[0] for need in order[target].needs.values())
    return {target: node for target, node in order.items() if target in chosen}


def _sorted(by_target: Mapping[str, Node], wanted: Iterable[str]) -> dict[str, Node]:
    import networkx as nx  # by need: it takes longer to be imported than a thousand clips to be planned

    graph: nx.DiGraph[str] = nx.DiGraph()
    position = {target: index for index, target in enumerate(by_target)}
    for target, node in by_target.items():
        graph.add_node(target)
        for name, need in node.needs.items():
            source = need.partition("#")[0]
            if source not in by_target:
                raise LtxflowError(problem("L201", node.span, target=target, source=source, input=name))
            graph.add_edge(source, target)
    chosen = set(wanted).union(*(nx.ancestors(graph, target) for target in wanted))
    part = graph.subgraph(chosen)
    try:
        order = list(nx.lexicographical_topological_sort(part, key=position.__getitem__))
    except nx.NetworkXUnfeasible:
        cycle = [edge[0] for edge in nx.find_cycle(part)]
        circle = " → ".join([*cycle, cycle[0]])
        raise LtxflowError(problem("L202", by_target[cycle[0]].span, circle=circle)) from None
    return {target: by_target[target] for target in order}


def edges(plan: BuildGraph) -> list[tuple[str, str, str]]:
    """Return (source, target, input name) for every need, in plan order."""
    return [
        (need.partition("#")[0], node.target, name) for node in plan.nodes.values() for name, need in node.needs.items()
    ]
