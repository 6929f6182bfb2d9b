"""The graph of what would be made. The only importer of networkx.

Selectors: what one types to name clips. `hook`, `hook/b@2`, globs, `tag:night`, and `!` to leave out. Pure.

The clips of `changed:REF` are passed in, since git knows them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from ltxflow.core.errors import LtxflowError, Problem, problem
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


TAG, CHANGED = "tag:", "changed:"
Groups = Mapping[str, frozenset[str]]
NO_GROUPS: Groups = {}


def select(nodes: Sequence[Node], patterns: Sequence[str], groups: Groups = NO_GROUPS) -> list[str]:
    """Return the targets they name, in film order; all without selectors.

    Only exclusions (`!outro`) mean all clips but those. References are named as such (`reference:hero`); what a clip
    needs comes with it anyway. `groups` has the paths of clips for each `changed:REF`, which may be none. Raise
    LtxflowError for any other selector that names nothing.
    """
    nodes = [node for node in nodes if node.kind != "frame"]
    if not patterns:
        return [node.target for node in nodes]
    included = [p for p in patterns if not p.startswith("!")]
    excluded = [p[1:] for p in patterns if p.startswith("!")]
    problems = [
        _unknown(p, nodes)
        for p in (*included, *excluded)
        if p not in groups and not any(matches(node, p) for node in nodes)
    ]
    if problems:
        raise LtxflowError(*problems)

    def named(node: Node, pattern: str) -> bool:
        return node.clip in groups[pattern] if pattern in groups else matches(node, pattern)

    return [
        node.target
        for node in nodes
        if (not included or any(named(node, p) for p in included)) and not any(named(node, p) for p in excluded)
    ]


def revisions(patterns: Sequence[str]) -> dict[str, str]:
    """Return those that ask for what changed since a git revision, with that revision."""
    plain = [pattern.removeprefix("!") for pattern in patterns]
    return {pattern: pattern.removeprefix(CHANGED) for pattern in plain if pattern.startswith(CHANGED)}


def matches(node: Node, pattern: str) -> bool:
    """Return whether it names the node."""
    if pattern.startswith(TAG):
        return any(fnmatchcase(tag, pattern.removeprefix(TAG)) for tag in tags(node))
    kind, colon, rest = pattern.partition(":")
    is_reference = bool(colon) and kind == "reference"
    if is_reference != (node.kind == "reference"):
        return False
    pattern = rest if is_reference or (colon and kind in ("clip", "slate")) else pattern
    pattern, _, take = pattern.partition("@")
    if take and take != str(node.take):
        return False
    scene = node.clip.partition("/")[0]
    is_scene = not is_reference and "/" not in pattern and fnmatchcase(scene, pattern)
    return is_scene or fnmatchcase(node.clip, pattern)


def tags(node: Node) -> tuple[str, ...]:
    clip = getattr(node.spec, "clip", None)
    return clip.tags if clip is not None else ()


def _unknown(pattern: str, nodes: Sequence[Node]) -> Problem:
    if pattern.startswith(TAG):
        known = sorted({tag for node in nodes for tag in tags(node)})
        near = difflib.get_close_matches(pattern.removeprefix(TAG), known, n=1)
        hint = f'did you mean "{TAG}{near[0]}"?' if near else f"tags: {', '.join(known) or 'none; write tags: [night]'}"
        return problem("U010.tag", tag=pattern.removeprefix(TAG), hint=hint)
    names = [node.entry for node in nodes]
    scenes = [name.partition("/")[0] for name in names if ":" not in name]
    near = difflib.get_close_matches(pattern.partition("@")[0], [*dict.fromkeys(scenes), *names], n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"scenes: {', '.join(dict.fromkeys(scenes))}"
    return problem("U010.selector", selector=pattern, hint=hint)
