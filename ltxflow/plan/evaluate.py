"""Hit, miss or maybe, for every node of a plan. Pure: the store is a function handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol

from ltxflow.core.digest import Action, Key, Output
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.plan.graph import BuildGraph
from ltxflow.steps import Node, step
from ltxflow.store.traces import Trace

State = Literal["hit", "miss", "maybe"]
Lookup = Callable[[Key], Trace | None]
Enter = Callable[[Node], None]
Standing = Callable[["Status", Mapping[str, "Status"]], "Status"]


class Memo(Protocol):
    """What was computed before, by name. It may know nothing; what it knows is of this very ltxflow."""

    def get(self, name: str) -> Any: ...

    def put(self, name: str, value: Any) -> None: ...


@dataclass(frozen=True)
class Status:
    """What is known of a node before anything runs.

    `maybe` means that an input is still to be made: only then will its key be known (early cutoff).
    """

    node: Node
    state: State
    made: Action | None = None  # what `action` gives without making it once more
    key: Key | None = None
    trace: Trace | None = None
    because: str = ""  # of a maybe: the target that is still to be made; of tries: what came of them
    tries: int = 0  # seeds that all came out badly, so that this one stays
    is_forced: bool = False  # to be made again, though its result is there; a hit where a person's word forbids it
    inputs: Mapping[str, Output] = field(default_factory=dict)

    @cached_property
    def action(self) -> Action | None:
        """The node's action; None for a maybe. Made on first use where the key was remembered."""
        if self.made is not None or self.key is None:
            return self.made
        return step(self.node.kind).action(self.node, self.inputs)

    @property
    def waits(self) -> str:
        """`waits for hook/a`: what a maybe needs first, as people call it."""
        kind, _, named = self.because.removesuffix("@1").partition(":")
        if kind == "frame":
            return f"waits for a frame of {named.rpartition('/')[0]}"
        return f"waits for {named if kind == 'clip' else self.because.removesuffix('@1')}"


def evaluate(
    plan: BuildGraph,
    lookup: Lookup,
    force: frozenset[str] = frozenset(),
    held: Callable[[Status], Trace | None] = lambda status: None,
    standing: Standing | None = None,
    known: Memo | None = None,
    enter: Enter = lambda node: None,
) -> dict[str, Status]:
    """Return the Status of every target of a graph, in its order, with `lookup` to find traces by key.

    `held` may return another result for a target, whatever its key is: a person's decision. `standing` may choose
    another try for a target, unless that is forced. `known` has keys of earlier plans. `enter` is called before a
    node is evaluated: what is looked up from then on is looked up for it.
    """
    render_ahead(plan, lookup, known, enter)
    found: dict[str, Status] = {}
    for target, node in plan.nodes.items():
        enter(node)
        before = {need: found[need] for need in plan.needs(target)}
        found[target] = evaluate_node(node, before, lookup, target in force, known)
        trace = held(found[target])
        if trace is not None:
            found[target] = replace(found[target], state="hit", trace=trace)
        elif standing is not None and target not in force:
            found[target] = standing(found[target], before)
    return found


def render_ahead(
    plan: BuildGraph, lookup: Lookup, known: Memo | None, enter: Enter, *, is_to_make: bool = True
) -> None:
    """Render in one process all workflows that will be needed and would each take a process."""
    kinds: dict[str, list[Node]] = {}
    for node in plan.nodes.values():
        module = step(node.kind)
        if not node.needs and module.is_sandboxed(node):
            enter(node)
            _, key = _remembered(node, {}, known)
            if key is None or (is_to_make and lookup(key) is None):
                kinds.setdefault(node.kind, []).append(node)
    for kind, nodes in kinds.items():
        step(kind).prerender(nodes)


def evaluate_node(
    node: Node,
    before: Mapping[str, Status],
    lookup: Lookup,
    forced: bool = False,
    known: Memo | None = None,
    *,
    is_to_make: bool = True,
) -> Status:
    """Return the Status of a node, given those of what it needs.

    Without `is_to_make` a remembered key is enough, also where nothing is found: the node will not be made.
    """
    inputs: dict[str, Output] = {}
    for name, need in node.needs.items():
        source, _, output = need.partition("#")
        trace = before[source].trace
        if trace is None:
            return Status(node, "maybe", because=source, is_forced=forced)
        inputs[name] = output_of(trace, output, node)
    node = step(node.kind).bind_inputs(node, inputs) if inputs else node
    action, key = _key(node, inputs, known)
    trace = None if forced else lookup(key)
    if trace is None and action is None and is_to_make:  # made by what is asked for, not by what is remembered
        action = step(node.kind).action(node, inputs)
        key = action.key
        trace = None if forced else lookup(key)
    made = None if trace else action  # not kept for hits: workflows are large
    return Status(node, "hit" if trace else "miss", made, key, trace, inputs=inputs, is_forced=forced)


def _key(node: Node, inputs: Mapping[str, Output], known: Memo | None) -> tuple[Action | None, Key]:
    """Return the node's action and key; the key is remembered under a cheaper one that renders nothing."""
    name, told = _remembered(node, inputs, known)
    if told is not None:
        return None, told
    action = step(node.kind).action(node, inputs)
    key = action.key
    if known is not None and name:
        known.put(name, key)
    return action, key


def _remembered(node: Node, inputs: Mapping[str, Output], known: Memo | None) -> tuple[str, Key | None]:
    """Return the name under which a node's key is remembered, "" where it is not; and that key, if any."""
    memo_key = step(node.kind).memo_key(node, inputs) if known is not None else ""
    if known is None or not memo_key:
        return "", None
    name = f"key {memo_key}"
    told = known.get(name)
    return name, Key(told) if isinstance(told, str) else None


def output_of(trace: Trace, names: str, node: Node) -> Output:
    """Return the first of these outputs that it has."""
    for name in (names or "video").split("|"):
        if name in trace.outputs:
            return trace.outputs[name]
    made = ", ".join(sorted(trace.outputs))
    raise LtxflowError(
        problem("L081.output", node.span, target=node.target, output=names, source=trace.target, names=made)
    )
