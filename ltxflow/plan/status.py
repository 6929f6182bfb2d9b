"""Hit, miss or maybe, for every node of a plan. Pure: the store is a function handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ltxflow.core.digest import Action, Key, Output
from ltxflow.plan.dag import Plan
from ltxflow.steps import Node, step
from ltxflow.store.traces import Trace

State = Literal["hit", "miss", "maybe"]
Lookup = Callable[[Key], Trace | None]


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
    because: str = ""  # of a maybe: the target that is still to be made


def statuses(plan: Plan, lookup: Lookup, force: frozenset[str] = frozenset()) -> dict[str, Status]:
    """Given a plan and a look-up of traces by key, return a Status for every target, in plan order."""
    found: dict[str, Status] = {}
    for target, node in plan.nodes.items():
        found[target] = status_of(node, {need: found[need] for need in plan.needs(target)}, lookup, target in force)
    return found


def status_of(node: Node, before: Mapping[str, Status], lookup: Lookup, forced: bool = False) -> Status:
    """Given a node and the Status of all it needs, return its own."""
    inputs: dict[str, Output] = {}
    for name, need in node.needs.items():
        source, _, output = need.partition("#")
        trace = before[source].trace
        if trace is None:
            return Status(node, "maybe", because=source)
        inputs[name] = trace.outputs[output or "video"]
    action = step(node.kind).action(node, inputs)
    key = action.key
    trace = None if forced else lookup(key)
    return Status(node, "hit" if trace else "miss", action, key, trace)
