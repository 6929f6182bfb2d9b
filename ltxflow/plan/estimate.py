"""Say what a plan will make, and how long that will take on the GPUs, from how long earlier clips took. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ltxflow.core.target import count
from ltxflow.plan.plan import Plan
from ltxflow.steps import Node, step
from ltxflow.store.published import Speed


@dataclass(frozen=True)
class Estimate:
    """GPU seconds of a plan: all servers together, and until the last one ends. `renders` is what it rests on.

    `servers` have something to do; 0 where it is not known which one will be there.
    """

    gpu_s: float
    wall_s: float
    servers: int
    renders: int
    spread: float  # how far single renders lay off, as a share

    @property
    def sureness(self) -> str:
        if self.renders >= 10 and self.spread < 0.25:
            return "±25 %"
        return f"rough, from {self.renders} earlier render{'s' if self.renders != 1 else ''}"


def rough(seconds: float) -> str:
    """Return seconds as an estimate: `45s`, `6m 10s`, `1h 05m`."""
    whole = max(1, round(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}m {rest:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


def work_of(node: Node) -> float:
    """Return what it asks of a GPU: pixels × frames × steps, summed over the stages."""
    return step(node.kind).work(node)


def estimate(
    nodes: Iterable[Node], speeds: Mapping[str, Speed], servers: Sequence[str], *, is_guess: bool = False
) -> Estimate | None:
    """Return the Estimate of what nodes will take on these servers; None when no speed of any server is known.

    A server without a measured speed counts as fast as those with one. With `is_guess` the one that answers
    first will be used: the first that is known. A clip is made on one server, so the longest are placed first, each
    where it ends soonest; that clips may wait for each other is left out.
    """
    if not speeds or not servers:
        return None
    measured = [name for name in servers if name in speeds]
    used = (measured or list(servers))[:1] if is_guess else servers
    known = [name for name in used if name in speeds] or list(speeds)
    mean = sum(speeds[name].rate for name in known) / len(known)
    rates = {name: speeds[name].rate if name in speeds else mean for name in used}
    busy = dict.fromkeys(rates, 0.0)
    for work in sorted(map(work_of, nodes), reverse=True):
        name = min(busy, key=lambda name: busy[name] + work * rates[name])
        busy[name] += work * rates[name]
    return Estimate(
        gpu_s=sum(busy.values()),
        wall_s=max(busy.values()),
        servers=0 if is_guess else sum(seconds > 0 for seconds in busy.values()),
        renders=sum(speeds[name].count for name in known),
        spread=max(speeds[name].spread for name in known),
    )


def next_build(plan: Plan, gpu: Estimate | None = None) -> str:
    """Return what a build would do, such as `renders 3 clips, about 4m 10s`; "" where that is nothing."""
    due, restored = plan.tally("create", "change", "maybe"), plan.tally("restore")
    parts = [f"speaks {count(len(plan.unsaid), 'line')}"] if plan.unsaid else []
    parts += [f"{'draws' if plan.mode == 'animatic' else 'renders'} {due}"] if due else []
    parts += [f"puts {restored} back from the store"] if restored else []
    *most, last = parts or [""]
    about = f", about {rough(gpu.wall_s)}" if gpu and due else ""
    return f"{', '.join(most)}{' and ' if most else ''}{last}{about}"
