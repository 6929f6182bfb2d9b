"""Hit, miss or maybe, for every node of a plan. Pure: the store is a function handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ltxflow.core.digest import Action, Key, Output
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.plan.dag import Plan
from ltxflow.steps import Node, bound, step
from ltxflow.store.traces import Trace

State = Literal["hit", "miss", "maybe"]
Lookup = Callable[[Key], Trace | None]
Standing = Callable[["Status", Mapping[str, "Status"]], "Status"]  # with what it needs: what stands for it


@dataclass(frozen=True)
class Status:
    """What is known of a node before anything runs.

    `maybe` means that an input is still to be made: only then will its key be known (early cutoff).
    """

    node: Node
    state: State
    action: Action | None = None
    key: Key | None = None
    trace: Trace | None = None
    because: str = ""  # of a maybe: the target that is still to be made; of tries: what came of them
    tries: int = 0  # seeds that all came out badly, so that this one stays


def statuses(
    plan: Plan,
    lookup: Lookup,
    force: frozenset[str] = frozenset(),
    held: Callable[[Status], Trace | None] = lambda status: None,
    standing: Standing | None = None,
) -> dict[str, Status]:
    """Given a plan and a look-up of traces by key, return a Status for every target, in plan order.

    `held` may say that another result stands for a target, whatever its key is: a person's word. `standing` may put
    another try in a target's place; what is forced is made anew as it is.
    """
    found: dict[str, Status] = {}
    for target, node in plan.nodes.items():
        before = {need: found[need] for need in plan.needs(target)}
        found[target] = status_of(node, before, lookup, target in force)
        trace = held(found[target])
        if trace is not None:
            found[target] = replace(found[target], state="hit", trace=trace)
        elif standing is not None and target not in force:
            found[target] = standing(found[target], before)
    return found


def status_of(node: Node, before: Mapping[str, Status], lookup: Lookup, forced: bool = False) -> Status:
    """Given a node and the Status of all it needs, return its own."""
    inputs: dict[str, Output] = {}
    for name, need in node.needs.items():
        source, _, output = need.partition("#")
        trace = before[source].trace
        if trace is None:
            return Status(node, "maybe", because=source)
        inputs[name] = output_of(trace, output, node)
    node = bound(node, inputs)
    action = step(node.kind).action(node, inputs)
    key = action.key
    trace = None if forced else lookup(key)
    return Status(node, "hit" if trace else "miss", action, key, trace)


def output_of(trace: Trace, names: str, node: Node) -> Output:
    """Given a trace and what a node needs of it, return the first of these outputs that it has."""
    for name in (names or "video").split("|"):
        if name in trace.outputs:
            return trace.outputs[name]
    message = f'{node.target} needs "{names}" of {trace.target}, and that made only {", ".join(sorted(trace.outputs))}'
    hint = 'give a save node of its template that title in "_meta"'
    raise LtxflowError(Problem(message, node.span, hint, "L081"))
