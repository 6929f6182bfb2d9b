"""A build as it happens: a live line a running clip on a terminal, plain lines in a log. Reads events only."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ltxflow.core.events import (
    ActionFinished,
    ActionProgress,
    ActionStarted,
    Event,
    Notice,
    RunFinished,
    RunStarted,
)
from ltxflow.faces.jsonlines import print_event
from ltxflow.faces.terminal import Face, clean, count, duration, rendered


class Watcher(Protocol):
    """Something that sees every event of a build."""

    def __enter__(self) -> Watcher: ...
    def __exit__(self, *error: object) -> None: ...
    def __call__(self, event: Event) -> None: ...


def short(target: str) -> str:
    """`clip:hook/b@1` → `hook/b`, `clip:hook/b@2` → `hook/b@2`"""
    path, _, take = (target if target.startswith("reference:") else target.partition(":")[2]).partition("@")
    return path if take in ("", "1") else f"{path}@{take}"


def clock(seconds: float) -> str:
    """`63.7` → `1:03`, from an hour on `1:02:33`: whole seconds, since it changes while one looks at it."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class PlainWatcher:
    """Lines for a log: one when a clip is settled, and what is worth knowing in between."""

    def __init__(self, face: Face, quiet: bool = False, verbose: bool = False) -> None:
        self.face, self.quiet, self.verbose = face, quiet, verbose
        self.total = self.done = 0

    def __enter__(self) -> PlainWatcher:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.total = event.to_make
        elif isinstance(event, ActionStarted) and self.verbose:
            self.say(f"  {short(event.target)}  started on {event.where}")
        elif isinstance(event, Notice) and (event.level == "warning" or not self.quiet):
            mark = self.face.paint("!", "yellow") if event.level == "warning" else "·"
            self.say(f"  {mark} {short(event.target) + '  ' if event.target else ''}{clean(event.message)}")
        elif isinstance(event, ActionFinished):
            self.finished(event)

    def finished(self, event: ActionFinished) -> None:
        if event.outcome == "rendered":
            self.done += 1
            if not self.quiet:
                number = f"{self.done:>{len(str(self.total))}}/{self.total}"
                where = "" if event.where in ("", "local") else f"  on {event.where}"
                mark = self.face.paint("✓", "green")
                self.say(f"  {mark} [{number}] {short(event.target)}  {duration(event.seconds)}{where}")
        elif event.outcome in ("failed", "skipped"):
            self.say(f"  {self.face.paint('✗', 'red')} {short(event.target)}  {event.outcome}: {clean(event.reason)}")
        elif event.outcome == "restored" and self.verbose:
            self.say(f"  {self.face.paint('<', 'cyan')} {short(event.target)}  restored from the store")

    def say(self, line: str) -> None:
        self.face.say(line)


@dataclass
class _Row:
    """A running clip as it is shown."""

    name: str
    where: str
    text: str = ""
    fraction: float = 0.0
    since: float = field(default_factory=time.monotonic)


class LiveWatcher(PlainWatcher):
    """A live line for each running clip and one for the whole, with the time that is left."""

    def __init__(self, face: Face, quiet: bool = False, verbose: bool = False) -> None:
        super().__init__(face, quiet, verbose)
        self.console = Console(
            file=face.out, highlight=False, markup=False, emoji=False, no_color=not face.has_color, soft_wrap=True
        )
        self.rows: dict[str, _Row] = {}
        self.since = time.monotonic()
        self.live = Live(get_renderable=self.picture, console=self.console, refresh_per_second=8, transient=True)

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
            self.rows[event.target] = _Row(short(event.target), where)
        elif isinstance(event, ActionProgress) and event.target in self.rows:
            row = self.rows[event.target]
            row.fraction, row.text = event.fraction, clean(event.text)
        elif isinstance(event, ActionFinished):
            self.rows.pop(event.target, None)
        super().__call__(event)

    def say(self, line: str) -> None:
        self.console.print(Text.from_ansi(rendered(line, self.face.has_color)))

    def picture(self) -> Table:
        """The screen's last lines as they are now: the running clips, as many as there is room for, and the whole."""
        now, rows = time.monotonic(), list(self.rows.values())
        room = max(1, self.console.height - 4)
        width = self.console.width
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(8, width // 3))
        table.add_column(width=max(6, min(28, width // 4)))
        table.add_column(justify="right", no_wrap=True, min_width=4)
        table.add_column(justify="right", no_wrap=True, min_width=5)
        table.add_column(no_wrap=True, overflow="ellipsis", style="dim")
        for row in rows[:room]:
            text = " · ".join(part for part in (row.where, row.text) if part)
            self._add(table, f"  {row.name}", row.fraction, now - row.since, text)
        if self.total:
            ready = min(self.total, self.done + sum(row.fraction for row in rows))
            told = [f"and {len(rows) - room} more"] if len(rows) > room else []
            if 0 < ready < self.total and now - self.since >= 1:
                told.append(f"eta {clock((now - self.since) * (self.total - ready) / ready)}")
            name = f"  {self.done} of {self.total}"
            self._add(table, name, ready / self.total, now - self.since, " · ".join(told))
        return table

    def _add(self, table: Table, name: str, fraction: float, seconds: float, text: str) -> None:
        bar = ProgressBar(total=1.0, completed=fraction)
        table.add_row(name, bar, f"{int(fraction * 100)}%", clock(seconds), text)


class JsonWatcher:
    """Events as JSON lines."""

    def __enter__(self) -> JsonWatcher:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        print_event(event)


def watcher(face: Face, is_json: bool, is_quiet: bool = False, is_verbose: bool = False) -> Watcher:
    """Given where a verb writes, return what shows its build there."""
    if is_json:
        return JsonWatcher()
    lines = LiveWatcher if face.is_live and not is_quiet else PlainWatcher
    return lines(face, is_quiet, is_verbose)


def summary(face: Face, event: RunFinished, mode: str) -> None:
    """The last lines of a build: what was made, and where it is."""
    numbers = [
        (event.rendered, "drawn" if mode == "animatic" else "rendered"),
        (event.restored, "restored"),
        (event.hit, "up to date"),
        (event.failed, "failed"),
        (event.skipped, "skipped"),
    ]
    told = ", ".join(f"{number} {what}" for number, what in numbers if number or what in ("rendered", "drawn"))
    style = "red" if event.failed or event.skipped else "green"
    built = face.paint("Built", style, "bold")
    took = f"  in {duration(event.seconds)}" if event.hit < event.planned else ""
    stills = count(event.references, "reference")
    if mode == "references":
        face.say(f"{built} {stills}: {told}{took}")
        face.say(f"→ {event.output}  to look at; one more take of one: ltxflow retake reference:NAME")
        return
    clips = event.planned - event.references
    both = [count(clips, "clip")] if clips or not event.references else []
    both += [stills] if event.references else []
    face.say(f"{built} {' and '.join(both)}: {told}{took}")
    film = f"film {duration(event.film_seconds)}" + ("" if event.complete else face.paint(", incomplete", "yellow"))
    face.say(f"→ {event.output}  {film}, timeline.json")
