"""A build as it happens: a live line a running clip on a terminal, plain lines in a log. Reads events only."""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
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
from ltxflow.faces.terminal import Face, clean, count, duration


class Watcher(Protocol):
    """Something that sees every event of a build."""

    def __enter__(self) -> Watcher: ...
    def __exit__(self, *error: object) -> None: ...
    def __call__(self, event: Event) -> None: ...


def short(target: str) -> str:
    """`clip:hook/b@1` → `hook/b`, `clip:hook/b@2` → `hook/b@2`"""
    path, _, take = target.partition(":")[2].partition("@")
    return path if take in ("", "1") else f"{path}@{take}"


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
                mark = self.face.paint("✓", "green")
                self.say(f"  {mark} {short(event.target)}  {duration(event.seconds)}  [{self.done}/{self.total}]")
        elif event.outcome in ("failed", "skipped"):
            self.say(f"  {self.face.paint('✗', 'red')} {short(event.target)}  {event.outcome}: {clean(event.reason)}")
        elif event.outcome == "restored" and self.verbose:
            self.say(f"  {self.face.paint('<', 'cyan')} {short(event.target)}  restored from the store")

    def say(self, line: str) -> None:
        self.face.say(line)


class LiveWatcher(PlainWatcher):
    """A live line for each running clip and one for the whole, with the time that is left."""

    def __init__(self, face: Face, quiet: bool = False, verbose: bool = False) -> None:
        super().__init__(face, quiet, verbose)
        self.console = Console(file=face.out, highlight=False, markup=False, no_color=not face.has_color)
        self.clips = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TextColumn("{task.fields[text]}", style="dim", markup=False),
            TimeElapsedColumn(),
            console=self.console,
        )
        self.tasks: dict[str, TaskID] = {}
        self.where: dict[str, str] = {}
        self.fractions: dict[str, float] = {}
        self.started = time.monotonic()
        self.whole = self.clips.add_task("total", total=1.0, text="", visible=False)
        self.live = Live(self.clips, console=self.console, refresh_per_second=8, transient=True)

    def __enter__(self) -> LiveWatcher:
        self.live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, RunStarted):
            self.clips.update(self.whole, total=max(1, event.to_make), visible=event.to_make > 0)
        elif isinstance(event, ActionStarted):
            self.where[event.target] = "" if event.where == "local" else event.where
            name = f"{short(event.target):<18}"
            self.tasks[event.target] = self.clips.add_task(name, total=1.0, text=self.where[event.target])
        elif isinstance(event, ActionProgress) and event.target in self.tasks:
            self.fractions[event.target] = event.fraction
            text = " · ".join(part for part in (self.where[event.target], clean(event.text)) if part)
            self.clips.update(self.tasks[event.target], completed=event.fraction, text=text)
            self.tell_total()
        elif isinstance(event, ActionFinished) and event.target in self.tasks:
            self.fractions.pop(event.target, None)
            self.clips.remove_task(self.tasks.pop(event.target))
            self.tell_total()

    def tell_total(self) -> None:
        ready = self.done + sum(self.fractions.values())
        left = f"{self.done}/{self.total}"
        if ready > 0 and self.total > ready:
            seconds = (time.monotonic() - self.started) * (self.total - ready) / ready
            left += f"  eta {duration(seconds)}"
        self.clips.update(self.whole, completed=ready, text=left)

    def say(self, line: str) -> None:
        self.live.console.print(Text.from_ansi(line))


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
    face.say(
        f"{face.paint('Built' if event.planned else 'Nothing', style, 'bold')} {count(event.planned, 'clip')}: {told}  in {duration(event.seconds)}"
    )
    film = f"film {duration(event.film_seconds)}" + ("" if event.complete else face.paint(", incomplete", "yellow"))
    face.say(f"→ {event.output}  {film}, timeline.json")
