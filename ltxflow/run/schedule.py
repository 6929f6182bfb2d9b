"""Which server makes which clip, so that the whole is done soonest. Pure: estimates in, an assignment out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SWITCH = 0.1  # of a task's time: the price of other weights than those a server has loaded
FEW = 24  # tasks: with more, longest first is within a few percent of the best already


@dataclass(frozen=True)
class Task:
    """Work to place: `work` in pixels × frames × steps, `group` the weights it needs, `barred` servers that cannot."""

    id: str
    work: float
    group: str = ""
    barred: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Lane:
    """A server as the schedule sees it: seconds until it is free, seconds per unit of work, the weights it has."""

    name: str
    free_in_s: float
    rate: float
    group: str = ""


def assign(tasks: Sequence[Task], lanes: Sequence[Lane]) -> dict[str, list[str]]:
    """Given tasks in film order and the lanes, return task ids by lane, in the order they should run.

    Longest first to where each ends soonest, then improved by moving and swapping while the last end comes
    sooner. A task that every lane is barred to is left out.
    """
    by_id = {task.id: task for task in tasks}
    plan: dict[str, list[str]] = {lane.name: [] for lane in lanes}
    ends = {lane.name: lane.free_in_s for lane in lanes}
    for task in sorted(tasks, key=lambda task: -task.work):
        open_to = [lane for lane in lanes if lane.name not in task.barred]
        if not open_to:
            continue
        best = min(open_to, key=lambda lane: ends[lane.name] + _seconds(task, lane))
        plan[best.name].append(task.id)
        ends[best.name] += _seconds(task, best)
    if len(by_id) <= FEW:
        _improve(plan, by_id, {lane.name: lane for lane in lanes})
    order = {task.id: index for index, task in enumerate(tasks)}
    return {
        name: sorted(ids, key=lambda id: (by_id[id].group != _lane(lanes, name).group, by_id[id].group, order[id]))
        for name, ids in plan.items()
    }


def end_of(ids: Sequence[str], tasks: Mapping[str, Task], lane: Lane) -> float:
    """Given what a lane is to do, return in how many seconds it is through with it."""
    return lane.free_in_s + sum(_seconds(tasks[id], lane) for id in ids)


def _seconds(task: Task, lane: Lane) -> float:
    return task.work * lane.rate * (1 + SWITCH * (lane.group not in ("", task.group)))


def _lane(lanes: Sequence[Lane], name: str) -> Lane:
    return next(lane for lane in lanes if lane.name == name)


def _improve(plan: dict[str, list[str]], tasks: Mapping[str, Task], lanes: Mapping[str, Lane]) -> None:
    """Move a task off the lane that ends last, or swap it with a shorter one elsewhere, while that helps."""
    while True:
        ends = {name: end_of(ids, tasks, lanes[name]) for name, ids in plan.items() if ids}
        if not ends:
            return
        last = max(ends, key=lambda name: ends[name])
        step = None
        for id in plan[last]:
            for other in plan:
                if other == last or other in tasks[id].barred:
                    continue
                for back in (None, *plan[other]):
                    if back is not None and last in tasks[back].barred:
                        continue
                    mine = [each for each in plan[last] if each != id] + ([back] if back else [])
                    theirs = [each for each in plan[other] if each != back] + [id]
                    end = max(end_of(mine, tasks, lanes[last]), end_of(theirs, tasks, lanes[other]))
                    if end < ends[last] - 1e-9 and (step is None or end < step[0]):
                        step = (end, other, mine, theirs)
        if step is None:
            return
        _, other, plan[last], plan[other] = step
