"""Which server makes which clip, so that the whole is done soonest. Pure: estimates in, decisions out.

Each server runs one prompt and has one waiting. What is pending beyond that is placed late, when more is known of how
fast everybody is; what waits on a slow server is pulled back when a fast one would end sooner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

GUESS = 5e-8  # seconds per unit of work of a server nobody knows: a minute for a usual clip
LOAD = 0.1  # of a usual task's time: the price of weights that a server has not loaded
TEXT = 0.1  # of a task's time: saved where the server has just read the same prompt
FEW = 24  # tasks: with more, longest first is within a few percent of the best already
LOOKS = 500  # steps of the exact search: 5 ms, and enough for a dozen tasks
NEAR = 0.005  # of the end: a plan that is so near the best possible is not searched for a better one
WORTH = 0.02  # of a task's time: what pulling it back must gain
EXCHANGE = 0.25  # the same, when another task is to wait there instead: estimates are not that good
PULLS = 2  # how often one task is pulled back at most: estimates that waver must not keep it on the way
SLOWER = 1.25  # a server of unknown speed that has worked for t will likely work for as much as this of t


@dataclass(frozen=True)
class Task:
    """Work to place: `work` in pixels × frames × steps, `group` the weights it needs, `text` its prompt, `barred`
    the servers that cannot make it."""

    id: str
    work: float
    group: str = ""
    barred: frozenset[str] = frozenset()
    text: str = ""


@dataclass(frozen=True)
class WorkerSlot:
    """A server as the schedule sees it: seconds until what runs there ends, seconds per unit of work, the weights and
    the prompt it will have then, and the task that waits there."""

    name: str
    free_in_s: float
    rate: float
    group: str = ""
    text: str = ""
    waiting: Task | None = None


def rate_of(measured: float | None, others: Iterable[float], elapsed_s: float = 0.0, work: float = 0.0) -> float:
    """Given what was measured of a server and of others, return its seconds per unit of work.

    One that nobody has measured is taken to be as the others are. What runs there (`work`, since `elapsed_s`) shows
    at least how slow it is.
    """
    known = list(others)
    guess = measured if measured is not None else sum(known) / len(known) if known else GUESS
    shown = elapsed_s / work * (1.0 if measured is not None else SLOWER) if work else 0.0
    return max(guess, shown)


def assign(tasks: Sequence[Task], lanes: Sequence[WorkerSlot]) -> dict[str, list[str]]:
    """Given tasks in film order and the lanes, return task ids by lane, in the order they should run.

    The plan ends soonest, as far as a short search finds; on a lane, tasks with the weights it has come first, and
    those of one group in film order. A task that every lane is barred to is left out.
    """
    rows = _plan(tasks, lanes) if len(lanes) > 1 else [_all_there(tasks, lane) for lane in lanes]
    order = {task.id: index for index, task in enumerate(tasks)}
    return {row.lane.name: _in_order(row, order) for row in rows}


def next_start(tasks: Sequence[Task], lanes: Sequence[WorkerSlot], room: Collection[str]) -> tuple[str, str] | None:
    """Given pending tasks and the names of lanes with room, return (task id, lane) to start now, or None.

    None although there is room means that what is left ends sooner elsewhere.
    """
    if not tasks or not room:
        return None
    plan = assign(tasks, lanes)
    for lane in sorted(lanes, key=lambda lane: lane.free_in_s):  # one that has nothing to do comes first
        if lane.name in room and plan[lane.name]:
            return plan[lane.name][0], lane.name
    return None


def pull_back(tasks: Sequence[Task], lanes: Sequence[WorkerSlot], pulled: Mapping[str, int]) -> str | None:
    """Given pending tasks and the lanes, return the lane whose waiting task would better be elsewhere, or None.

    `pulled` says how often each task was pulled back already. With much pending there is nothing to gain.
    """
    if len(lanes) < 2 or len(tasks) > FEW:
        return None
    for lane in sorted(lanes, key=lambda lane: -_end(lane)):
        task = lane.waiting
        if task is None or pulled.get(task.id, 0) >= PULLS:
            continue
        without = [replace(each, waiting=None) if each is lane else each for each in lanes]
        rows = _plan([task, *tasks], without)
        left = next(row.tasks for row in rows if row.lane.name == lane.name)
        if task in left:
            continue
        stays = _last(_plan(tasks, lanes))
        worth = (EXCHANGE if left else WORTH) * task.work * lane.rate
        if stays - _last(rows) > max(worth, 2 * NEAR * stays):  # more than plans are off by
            return lane.name
    return None


def end_of(tasks: Iterable[Task], lane: WorkerSlot) -> float:
    """Given what a lane is to do, return in how many seconds it is through with it."""
    row = _Row(lane, 0.0)
    for task in tasks:
        row.add(task)
    return row.end


# --- a plan in the making


@dataclass
class _Row:
    """A lane with what a plan gives it. `price` is what other weights cost there, in seconds."""

    lane: WorkerSlot
    price: float
    tasks: list[Task] = field(default_factory=list)
    end: float = 0.0
    groups: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.end = self.lane.free_in_s
        self.groups[self.lane.group] += 1
        self.texts[self.lane.text] += 1
        if self.lane.waiting is not None:
            self._count(self.lane.waiting, 1)

    def cost(self, task: Task, leaves: Task | None = None) -> float:
        """Seconds that a task adds here, once `leaves` is gone. The first weights cost nothing: every server loads."""
        gone_group, gone_text = (leaves.group, leaves.text) if leaves else ("", "")
        seconds = task.work * self.lane.rate
        if task.text and self.texts[task.text] > (gone_text == task.text):
            seconds *= 1 - TEXT
        if not task.group or self.groups[task.group] > (gone_group == task.group):
            return seconds
        others = any(count > (gone_group == name) for name, count in self.groups.items() if name)
        return seconds + (self.price if others else 0.0)

    def saved(self, task: Task) -> float:
        """Seconds that are gone with a task."""
        return self.cost(task, leaves=task)

    def add(self, task: Task) -> None:
        self._count(task, 1)
        self.tasks.append(task)

    def drop(self, task: Task) -> None:
        self.tasks.remove(task)
        self._count(task, -1)

    def _count(self, task: Task, sign: int) -> None:
        self.end += self.cost(task) if sign > 0 else -self.saved(task)
        self.groups[task.group] += sign
        self.texts[task.text] += sign

    def takes(self, task: Task) -> bool:
        return self.lane.name not in task.barred


def _end(lane: WorkerSlot) -> float:
    return _Row(lane, 0.0).end


def _last(rows: Iterable[_Row]) -> float:
    return max((row.end for row in rows), default=0.0)


def _plan(tasks: Sequence[Task], lanes: Sequence[WorkerSlot]) -> list[_Row]:
    """Longest first to where each ends soonest; then moved, swapped and searched while the last end comes sooner."""
    usual = sum(task.work for task in tasks) / len(tasks) if tasks else 0.0
    rows = [_Row(lane, LOAD * usual * lane.rate) for lane in lanes]
    for task in sorted(tasks, key=lambda task: -task.work):
        if able := [row for row in rows if row.takes(task)]:
            min(able, key=lambda row: row.end + row.cost(task)).add(task)
    if len(tasks) <= FEW:
        while _last(rows) > (1 + NEAR) * _bound(rows) and _step(rows):
            pass
        if _last(rows) > (1 + NEAR) * _bound(rows):
            _search(rows)
    return rows


def _all_there(tasks: Sequence[Task], lane: WorkerSlot) -> _Row:
    row = _Row(lane, 0.0)
    row.tasks = [task for task in tasks if row.takes(task)]
    return row


def _bound(rows: Sequence[_Row]) -> float:
    """No plan ends sooner: as if the work could be divided freely over the lanes that are free by then."""
    work = sum(task.work for row in rows for task in row.tasks) * (1 - TEXT * _shares_texts(rows))
    best, speed, done = 0.0, 0.0, 0.0
    for end, rate in sorted((_end(row.lane), row.lane.rate) for row in rows):
        if speed and (work + done) / speed <= end:
            break
        speed += 1 / rate
        done += end / rate
        best = (work + done) / speed
    return best


def _shares_texts(rows: Sequence[_Row]) -> bool:
    texts = Counter(task.text for row in rows for task in row.tasks if task.text)
    return any(count > 1 for count in texts.values()) or any(row.lane.text in texts for row in rows)


def _step(rows: list[_Row]) -> bool:
    """Move the task off the lane that ends last, or swap it with one elsewhere, that helps most; tell if any does."""
    last = max(rows, key=lambda row: row.end)
    best: tuple[float, _Row, Task, Task | None] | None = None
    for task, other, back in _steps(last, rows):
        mine = last.end - last.saved(task) + (last.cost(back, task) if back else 0.0)
        theirs = other.end - (other.saved(back) if back else 0.0) + other.cost(task, back)
        end = max(mine, theirs)
        if end < last.end - 1e-9 and (best is None or end < best[0]):
            best = (end, other, task, back)
    if best is None:
        return False
    end, other, task, back = best
    before = _last(rows)
    last.drop(task)
    if back is not None:
        other.drop(back)
        last.add(back)
    other.add(task)
    return _last(rows) < before + 1e-9


def _steps(last: _Row, rows: Sequence[_Row]) -> Iterator[tuple[Task, _Row, Task | None]]:
    for task in last.tasks:
        for other in rows:
            if other is last or not other.takes(task):
                continue
            yield task, other, None
            for back in other.tasks:
                if last.takes(back):
                    yield task, other, back


def _search(rows: list[_Row]) -> None:
    """Look for the best plan by branch and bound, within LOOKS, and leave the best found in the rows."""
    found = [list(row.tasks) for row in rows]
    least = _last(rows)
    todo = sorted((task for tasks in found for task in tasks), key=lambda task: -task.work)
    enough, least_share = (1 + NEAR) * _bound(rows), 1 - TEXT * _shares_texts(rows)
    left = [least_share * work for work in accumulate((task.work for task in reversed(todo)), initial=0.0)][::-1]
    for row in rows:
        for task in list(row.tasks):
            row.drop(task)
    looks = 0

    def place(index: int) -> None:
        nonlocal looks, least, found
        if index == len(todo):
            least, found = _last(rows), [list(row.tasks) for row in rows]
            return
        task = todo[index]
        able = [(row.end + row.cost(task), number) for number, row in enumerate(rows) if row.takes(task)]
        for end, number in sorted(able):
            looks += 1
            if looks > LOOKS or end >= least - 1e-9 or least <= enough:
                return
            row = rows[number]
            row.add(task)
            if _rest(rows, left[index + 1]) < least - 1e-9:
                place(index + 1)
            row.drop(task)

    place(0)
    for row, tasks in zip(rows, found, strict=True):
        for task in tasks:
            row.add(task)


def _rest(rows: Sequence[_Row], work: float) -> float:
    """No way to place that much more work ends sooner than this."""
    speed = sum(1 / row.lane.rate for row in rows)
    return max(_last(rows), (work + sum(row.end / row.lane.rate for row in rows)) / speed)


def _in_order(row: _Row, order: Mapping[str, int]) -> list[str]:
    """What has the weights that are loaded first; then group by group, as the film has them."""
    first: dict[str, int] = {}
    for task in row.tasks:
        first[task.group] = min(first.get(task.group, len(order)), order[task.id])
    loaded = row.lane.waiting.group if row.lane.waiting else row.lane.group
    tasks = sorted(row.tasks, key=lambda task: (task.group != loaded, first[task.group], order[task.id]))
    return [task.id for task in tasks]
