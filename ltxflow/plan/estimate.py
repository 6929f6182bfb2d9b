"""How long a plan will take on the GPUs, from how long earlier clips took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ltxflow.steps import Node, step
from ltxflow.store.speeds import Speed


@dataclass(frozen=True)
class Estimate:
    """GPU seconds of a plan: all servers together, and until the last one ends. `renders` is what it rests on."""

    gpu_s: float
    wall_s: float
    servers: int
    renders: int
    spread: float  # how far single renders lay off, as a share

    @property
    def sureness(self) -> str:
        if self.renders >= 10 and self.spread < 0.25:
            return "sure to a quarter"
        return f"rough, from {self.renders} earlier render{'s' if self.renders != 1 else ''}"


def work_of(node: Node) -> float:
    """Given a node, return what it asks of a GPU: pixels × frames × steps, summed over the stages."""
    module = step(node.kind)
    return float(module.work(node)) if hasattr(module, "work") else 0.0


def estimate(nodes: Iterable[Node], speeds: Mapping[str, Speed], servers: Iterable[str] = ()) -> Estimate | None:
    """Given nodes to make and what is known of servers, return the Estimate; None when nothing is known.

    `servers` are those that will be used; without any, all that are known.
    """
    names = [name for name in servers if name in speeds] or list(speeds)
    if not names:
        return None
    work = sum(work_of(node) for node in nodes)
    throughput = sum(1 / speeds[name].rate for name in names)
    wall = work / throughput
    return Estimate(
        gpu_s=wall * len(names),
        wall_s=wall,
        servers=len(names),
        renders=sum(speeds[name].count for name in names),
        spread=max(speeds[name].spread for name in names),
    )
