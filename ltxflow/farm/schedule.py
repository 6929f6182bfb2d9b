"""Which server makes which clip, so that all are finished soonest. Pure: estimates in, decisions out.

Each server runs one prompt and has one waiting. Further clips are placed late, when more is known about the speed of
each server; a clip that waits on a slow server is withdrawn when a fast one would finish it sooner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate

GUESS = 5e-8  # seconds per unit of work of an unmeasured server: a minute for a typical clip
LOAD = 0.1  # of a typical task's time: the price of weights that a server has not loaded
TEXT = 0.1  # of a task's time: saved where the server has just encoded the same prompt
FEW = 24  # tasks: with more, longest first is within a few percent of the best already
SEARCH_STEPS = 500  # of the exact search: 5 ms, and enough for a dozen tasks
NEAR = 0.005  # of the end: a plan this near the best possible is not improved
WORTH = 0.02  # of a task's time: the least gain for which it is stolen
EXCHANGE = 0.25  # the same, when another task would wait there instead: estimates are not that exact
STEALS = 2  # how often one task is stolen at most: wavering estimates must not keep it moving
SLOWER = 1.25  # a server of unknown speed that has worked for t will likely need this multiple of t


@dataclass(frozen=True)
class Task:
    """Work to place.

    `work` is in pixels × frames × steps, `group` the weights it needs, `text` its prompt, `excluded` the servers that
    cannot make it.
    """

    id: str
    work: float
    group: str = ""
    excluded: frozenset[str] = frozenset()
    text: str = ""


@dataclass(frozen=True)
class WorkerSlot:
    """A server as the schedule sees it.

    It has the seconds until its running work ends, its seconds per unit of work, the weights and the prompt it will
    have then, and the task that waits there.
    """

    name: str
    free_in_s: float
    rate: float
    group: str = ""
    text: str = ""
    waiting: Task | None = None


def rate_of(measured: float | None, others: Iterable[float], elapsed_s: float = 0.0, work: float = 0.0) -> float:
    """Return a server's seconds per unit of work, from its measurement and those of others.

    An unmeasured one is assumed to be like the others. Its running work (`work`, since `elapsed_s`) shows at least how
    slow it is.
    """
    known = list(others)
    guess = measured if measured is not None else sum(known) / len(known) if known else GUESS
    shown = elapsed_s / work * (1.0 if measured is not None else SLOWER) if work else 0.0
    return max(guess, shown)


def assign(tasks: Sequence[Task], slots: Sequence[WorkerSlot]) -> dict[str, list[str]]:
    """Return task ids by slot, in the order they should run. `tasks` are in film order.

    The plan ends soonest, as far as a short search finds. On a slot, tasks with its weights come first, and those of
    one group in film order. A task that every slot is excluded from is left out.
    """
    rows = _plan(tasks, slots) if len(slots) > 1 else [_all_on(tasks, slot) for slot in slots]
    order = {task.id: index for index, task in enumerate(tasks)}
    return {row.slot.name: _in_order(row, order) for row in rows}


def next_start(tasks: Sequence[Task], slots: Sequence[WorkerSlot], room: Collection[str]) -> tuple[str, str] | None:
    """Return (task id, slot) to start now; `room` has the names of slots with room.

    None although there is room means that the remaining tasks end sooner elsewhere.
    """
    if not tasks or not room:
        return None
    plan = assign(tasks, slots)
    for slot in sorted(slots, key=lambda slot: slot.free_in_s):  # an idle one comes first
        if slot.name in room and plan[slot.name]:
            return plan[slot.name][0], slot.name
    return None


def steal(tasks: Sequence[Task], slots: Sequence[WorkerSlot], stolen: Mapping[str, int]) -> str | None:
    """Return the slot whose waiting task would end sooner elsewhere, or None.

    `stolen` counts how often each task was stolen. With many pending tasks there is nothing to gain.
    """
    if len(slots) < 2 or len(tasks) > FEW:
        return None
    for slot in sorted(slots, key=lambda slot: -_end(slot)):
        task = slot.waiting
        if task is None or stolen.get(task.id, 0) >= STEALS:
            continue
        without = [replace(each, waiting=None) if each is slot else each for each in slots]
        rows = _plan([task, *tasks], without)
        left = next(row.tasks for row in rows if row.slot.name == slot.name)
        if task in left:
            continue
        stays = _last(_plan(tasks, slots))
        worth = (EXCHANGE if left else WORTH) * task.work * slot.rate
        if stays - _last(rows) > max(worth, 2 * NEAR * stays):  # more than plans are off by
            return slot.name
    return None


def end_of(tasks: Iterable[Task], slot: WorkerSlot) -> float:
    """Return in how many seconds a slot finishes these tasks."""
    row = _Row(slot, 0.0)
    for task in tasks:
        row.add(task)
    return row.end


# --- a plan under construction


@dataclass
class _Row:
    """A slot with the tasks a plan gives it. `price` is the cost of other weights there, in seconds."""

    slot: WorkerSlot
    price: float
    tasks: list[Task] = field(default_factory=list)
    end: float = 0.0
    groups: Counter[str] = field(default_factory=Counter)
    texts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.end = self.slot.free_in_s
        self.groups[self.slot.group] += 1
        self.texts[self.slot.text] += 1
        if self.slot.waiting is not None:
            self._count(self.slot.waiting, 1)

    def cost(self, task: Task, leaves: Task | None = None) -> float:
        """Return the seconds that a task adds here, without `leaves`. The first weights are free: all servers load."""
        left_group, left_text = (leaves.group, leaves.text) if leaves else ("", "")
        seconds = task.work * self.slot.rate
        if task.text and self.texts[task.text] > (left_text == task.text):
            seconds *= 1 - TEXT
        if not task.group or self.groups[task.group] > (left_group == task.group):
            return seconds
        others = any(count > (left_group == name) for name, count in self.groups.items() if name)
        return seconds + (self.price if others else 0.0)

    def saved(self, task: Task) -> float:
        """Return the seconds saved by removing a task."""
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
        return self.slot.name not in task.excluded


def _end(slot: WorkerSlot) -> float:
    return _Row(slot, 0.0).end


def _last(rows: Iterable[_Row]) -> float:
    return max((row.end for row in rows), default=0.0)


def _plan(tasks: Sequence[Task], slots: Sequence[WorkerSlot]) -> list[_Row]:
    """Place the longest first where each ends soonest; then move, swap and search while the last end improves."""
    usual = sum(task.work for task in tasks) / len(tasks) if tasks else 0.0
    rows = [_Row(slot, LOAD * usual * slot.rate) for slot in slots]
    for task in sorted(tasks, key=lambda task: -task.work):
        if able := [row for row in rows if row.takes(task)]:
            min(able, key=lambda row: row.end + row.cost(task)).add(task)
    if len(tasks) <= FEW:
        while _last(rows) > (1 + NEAR) * _bound(rows) and _step(rows):
            pass
        if _last(rows) > (1 + NEAR) * _bound(rows):
            _search(rows)
    return rows


def _all_on(tasks: Sequence[Task], slot: WorkerSlot) -> _Row:
    row = _Row(slot, 0.0)
    row.tasks = [task for task in tasks if row.takes(task)]
    return row


def _bound(rows: Sequence[_Row]) -> float:
    """Return a lower bound for the end: as if the work could be divided freely over the slots that are free then."""
    work = sum(task.work for row in rows for task in row.tasks) * (1 - TEXT * _shares_texts(rows))
    best, speed, done = 0.0, 0.0, 0.0
    for end, rate in sorted((_end(row.slot), row.slot.rate) for row in rows):
        if speed and (work + done) / speed <= end:
            break
        speed += 1 / rate
        done += end / rate
        best = (work + done) / speed
    return best


def _shares_texts(rows: Sequence[_Row]) -> bool:
    texts = Counter(task.text for row in rows for task in row.tasks if task.text)
    return any(count > 1 for count in texts.values()) or any(row.slot.text in texts for row in rows)


def _step(rows: list[_Row]) -> bool:
    """Move a task off the slot that ends last, or swap it, whichever helps most; return whether any does."""
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
    """Search for the best plan by branch and bound, within SEARCH_STEPS, and leave the best one in the rows."""
    found = [list(row.tasks) for row in rows]
    least = _last(rows)
    todo = sorted((task for tasks in found for task in tasks), key=lambda task: -task.work)
    enough, least_share = (1 + NEAR) * _bound(rows), 1 - TEXT * _shares_texts(rows)
    left = [least_share * work for work in accumulate((task.work for task in reversed(todo)), initial=0.0)][::-1]
    for row in rows:
        for task in list(row.tasks):
            row.drop(task)
    steps = 0

    def place(index: int) -> None:
        nonlocal steps, least, found
        if index == len(todo):
            least, found = _last(rows), [list(row.tasks) for row in rows]
            return
        task = todo[index]
        able = [(row.end + row.cost(task), number) for number, row in enumerate(rows) if row.takes(task)]
        for end, number in sorted(able):
            steps += 1
            if steps > SEARCH_STEPS or end >= least - 1e-9 or least <= enough:
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
    """Return a lower bound for the end once that much more work is placed."""
    speed = sum(1 / row.slot.rate for row in rows)
    return max(_last(rows), (work + sum(row.end / row.slot.rate for row in rows)) / speed)


def _in_order(row: _Row, order: Mapping[str, int]) -> list[str]:
    """Return task ids: those with the loaded weights first, then group by group, in film order."""
    first: dict[str, int] = {}
    for task in row.tasks:
        first[task.group] = min(first.get(task.group, len(order)), order[task.id])
    loaded = row.slot.waiting.group if row.slot.waiting else row.slot.group
    tasks = sorted(row.tasks, key=lambda task: (task.group != loaded, first[task.group], order[task.id]))
    return [task.id for task in tasks]
