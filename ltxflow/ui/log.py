"""Show the events of a build as lines of a log, or as JSON lines."""

from __future__ import annotations

from typing import Protocol

from ltxflow.core.events import INTERRUPTED, ActionFinished, ActionStarted, ActionWaiting, Event, Notice, RunStarted
from ltxflow.core.target import Target
from ltxflow.ui.terminal import Console, clean, count, duration, print_event


class EventWatcher(Protocol):
    """Receives every event of a build."""

    def __enter__(self) -> EventWatcher: ...
    def __exit__(self, *error: object) -> None: ...
    def __call__(self, event: Event) -> None: ...


def behind(ahead: int) -> str:
    """Return `waiting behind 1 job`."""
    return f"waiting behind {count(ahead, 'job')}"


class PlainWatcher:
    """Prints a line when a clip is finished, and notices in between."""

    def __init__(self, console: Console, quiet: bool = False, verbose: bool = False) -> None:
        self.console, self.quiet, self.verbose = console, quiet, verbose
        self.total = self.done = 0
        self.waiting: set[tuple[str, str]] = set()  # (target, server) of the waits that were printed
        self.lost: dict[str, str] = {}  # reason of a failure or a skip → the first clip that has it

    def __enter__(self) -> PlainWatcher:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.total = event.to_make
        elif isinstance(event, ActionStarted) and self.verbose:
            self.say(f"  {Target(event.target).short}  started on {event.where}")
        elif isinstance(event, ActionWaiting):
            self.show_waiting(event)
        elif isinstance(event, Notice) and (event.level == "warning" or not self.quiet):
            mark = self.console.paint("!", "yellow") if event.level == "warning" else "·"
            name = f"{Target(event.target).short}  " if event.target else ""
            self.say(f"  {mark} {name}{clean(event.message)}")
        elif isinstance(event, ActionFinished):
            self.show_finished(event)

    def show_finished(self, event: ActionFinished) -> None:
        """Print the outcome of a clip, and count the rendered ones."""
        name = Target(event.target).short
        if event.outcome in ("rendered", "resumed"):
            self.done += 1
            if not self.quiet:
                number = f"{self.done:>{len(str(self.total))}}/{self.total}"
                where = "" if event.where in ("", "local") else f"  on {event.where}"
                mark = self.console.paint("✓", "green")
                took = "resumed" if event.outcome == "resumed" else duration(event.seconds)
                self.say(f"  {mark} [{number}] {name}  {took}{where}")
        elif event.outcome in ("failed", "skipped") and event.reason != INTERRUPTED:
            self.show_lost(name, event)
        elif event.outcome == "restored" and self.verbose:
            self.say(f"  {self.console.paint('<', 'cyan')} {name}  restored from the store")

    def show_lost(self, name: str, event: ActionFinished) -> None:
        """Print why a clip was not made; a reason that others had before is named once. The summary counts all."""
        first = self.lost.setdefault(f"{event.outcome} {event.reason}", name)
        if first != name and event.outcome == "skipped" and not self.verbose:
            return
        why = f"{event.outcome}: {clean(event.reason)}" if first == name else f"{event.outcome}, as {first}"
        self.say(f"  {self.console.paint('✗', 'red')} {name}  {why}")

    def show_waiting(self, event: ActionWaiting) -> None:
        """Print once that a clip waits behind foreign jobs: the numbers of a long queue would fill a log."""
        place = (event.target, event.where)
        if event.ahead and not self.quiet and place not in self.waiting:
            self.waiting.add(place)
            self.say(f"  · {Target(event.target).short}  {behind(event.ahead)} on {clean(event.where)}")

    def say(self, line: str) -> None:
        self.console.say(line)


class JsonWatcher:
    """Prints every event as a JSON line."""

    def __enter__(self) -> JsonWatcher:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        print_event(event)
