"""Show a build on a terminal: a live line for each running clip. The only user of rich."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rich.console import Console as RichConsole
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ltxflow.core.events import ActionFinished, ActionProgress, ActionStarted, ActionWaiting, Event, RunStarted
from ltxflow.core.target import Target
from ltxflow.ui.log import PlainWatcher, behind
from ltxflow.ui.terminal import WIDEST, Console, clean, rendered

ECHO = 3  # cells
NARROW = 44
GAP = 2


def clock(seconds: float) -> str:
    """Return whole seconds as `1:03`, from an hour on as `1:02:33`."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@dataclass
class _Row:
    """A clip that runs, or waits behind foreign jobs."""

    name: str
    where: str
    text: str = ""
    fraction: float = 0.0
    is_waiting: bool = False
    since: float = field(default_factory=time.monotonic)


class LiveWatcher(PlainWatcher):
    """Shows a live line for each running clip, and one for the build with the time left."""

    def __init__(self, console: Console, quiet: bool = False, verbose: bool = False) -> None:
        super().__init__(console, quiet, verbose)
        self.rich = RichConsole(
            file=console.out, highlight=False, markup=False, emoji=False, no_color=not console.has_color, soft_wrap=True
        )
        if not 0 < self.rich.width <= WIDEST:  # from $COLUMNS, which may be any number
            self.rich.width = console.width
        self.rows: dict[str, _Row] = {}
        self.since = time.monotonic()
        self.live = Live(get_renderable=self.picture, console=self.rich, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveWatcher:
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.since = time.monotonic()
        elif isinstance(event, ActionStarted):
            where = "" if event.where == "local" else clean(event.where)
            self.rows[event.target] = _Row(Target(event.target).short, where)
        elif isinstance(event, ActionWaiting):
            self._wait(event)
        elif isinstance(event, ActionProgress) and event.target in self.rows:
            row = self.rows[event.target]
            row.fraction, row.text = event.fraction, clean(event.text)
        elif isinstance(event, ActionFinished):
            self.rows.pop(event.target, None)
        super().__call__(event)

    def _wait(self, event: ActionWaiting) -> None:
        """Show a clip that waits behind foreign jobs; one that waits only for ours is hidden."""
        row = self.rows.get(event.target)
        if row is not None and not row.is_waiting:
            return  # it is running
        if not event.ahead:
            self.rows.pop(event.target, None)
            return
        if row is None:
            row = self.rows[event.target] = _Row(Target(event.target).short, "", is_waiting=True)
        row.where, row.text = clean(event.where), behind(event.ahead)

    def show_waiting(self, event: ActionWaiting) -> None:
        """Print nothing: the live line shows the queue."""

    def say(self, line: str) -> None:
        self.rich.print(Text.from_ansi(rendered(self.console.fitted(line), self.console.has_color)))

    def picture(self) -> Constrain:
        """Return the live lines: the running clips, as many as fit, and the build.

        They leave room for the `^C` that a terminal writes behind them: one that broke the line would leave it there.
        """
        now, rows = time.monotonic(), list(self.rows.values())
        room = max(1, self.rich.height - 4)
        width = max(1, self.rich.width - ECHO)
        is_narrow = width < NARROW  # then without a bar, and without what the server says
        longest = max((len(row.name) for row in rows[:room]), default=0) + 2
        names = max(4, width - 13) if is_narrow else max(12, min(longest, width // 3))
        bar = 0 if is_narrow else max(6, min(28, width // 6))
        table = Table.grid(padding=(0, 1 if is_narrow else GAP, 0, 0), pad_edge=False)
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=names)
        table.add_column(width=bar)
        table.add_column(justify="right", no_wrap=True, min_width=0 if is_narrow else 4)
        table.add_column(justify="right", no_wrap=True, min_width=0 if is_narrow else 5)
        rest = max(0, width - names - bar - 4 - 7 - 4 * GAP)
        table.add_column(no_wrap=True, overflow="ellipsis", style="dim", max_width=rest)
        for row in rows[:room]:
            text = " · ".join(part for part in (row.where, row.text) if part)
            self._add(table, f"  {row.name}", row.fraction, now - row.since, text)
        if self.total:
            ready = min(self.total, self.done + sum(row.fraction for row in rows))
            notes = [f"and {len(rows) - room} more"] if len(rows) > room else []
            if 0 < ready < self.total and now - self.since >= 1:
                notes.append(f"eta {clock((now - self.since) * (self.total - ready) / ready)}")
            name = f"  {self.done} of {self.total}"
            self._add(table, name, ready / self.total, now - self.since, " · ".join(notes))
        return Constrain(table, width)

    def _add(self, table: Table, name: str, fraction: float, seconds: float, text: str) -> None:
        if self.rich.width - ECHO < NARROW:
            table.add_row(name, "", f"{int(fraction * 100)}%", clock(seconds), "")
            return
        bar = ProgressBar(total=1.0, completed=fraction)
        table.add_row(name, bar, f"{int(fraction * 100)}%", clock(seconds), text)
