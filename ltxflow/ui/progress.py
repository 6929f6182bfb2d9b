"""A build as it happens: a live line a running clip on a terminal, plain lines in a log. Reads events only."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ltxflow.core.errors import Problem
from ltxflow.core.events import ActionFinished, ActionStarted, ActionWaiting, Event, Notice, RunFinished, RunStarted
from ltxflow.ui.json_lines import print_event
from ltxflow.ui.terminal import Console, clean, count, counted, duration

if TYPE_CHECKING:
    from ltxflow.build.pipeline import BuildResult


class EventWatcher(Protocol):
    """Something that sees every event of a build."""

    def __enter__(self) -> EventWatcher: ...
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


def behind(ahead: int) -> str:
    """`waits behind 1 job`"""
    return f"waits behind {count(ahead, 'job')}"


class PlainWatcher:
    """Lines for a log: one when a clip is settled, and what is worth knowing in between."""

    def __init__(self, face: Console, quiet: bool = False, verbose: bool = False) -> None:
        self.face, self.quiet, self.verbose = face, quiet, verbose
        self.total = self.done = 0
        self.waiting: set[tuple[str, str]] = set()  # (target, server) of the waits that have their line

    def __enter__(self) -> PlainWatcher:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.total = event.to_make
        elif isinstance(event, ActionStarted) and self.verbose:
            self.say(f"  {short(event.target)}  started on {event.where}")
        elif isinstance(event, ActionWaiting):
            self.waits(event)
        elif isinstance(event, Notice) and (event.level == "warning" or not self.quiet):
            mark = self.face.paint("!", "yellow") if event.level == "warning" else "·"
            self.say(f"  {mark} {short(event.target) + '  ' if event.target else ''}{clean(event.message)}")
        elif isinstance(event, ActionFinished):
            self.finished(event)

    def finished(self, event: ActionFinished) -> None:
        if event.outcome in ("rendered", "resumed"):
            self.done += 1
            if not self.quiet:
                number = f"{self.done:>{len(str(self.total))}}/{self.total}"
                where = "" if event.where in ("", "local") else f"  on {event.where}"
                mark = self.face.paint("✓", "green")
                took = "resumed" if event.outcome == "resumed" else duration(event.seconds)
                self.say(f"  {mark} [{number}] {short(event.target)}  {took}{where}")
        elif event.outcome in ("failed", "skipped"):
            self.say(f"  {self.face.paint('✗', 'red')} {short(event.target)}  {event.outcome}: {clean(event.reason)}")
        elif event.outcome == "restored" and self.verbose:
            self.say(f"  {self.face.paint('<', 'cyan')} {short(event.target)}  restored from the store")

    def waits(self, event: ActionWaiting) -> None:
        """Say once that a clip waits behind others: a long queue would fill a log with its numbers."""
        place = (event.target, event.where)
        if event.ahead and not self.quiet and place not in self.waiting:
            self.waiting.add(place)
            self.say(f"  · {short(event.target)}  {behind(event.ahead)} on {clean(event.where)}")

    def say(self, line: str) -> None:
        self.face.say(line)


class JsonWatcher:
    """Events as JSON lines."""

    def __enter__(self) -> JsonWatcher:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def __call__(self, event: Event) -> None:
        print_event(event)


def watcher(face: Console, is_json: bool, is_quiet: bool = False, is_verbose: bool = False) -> EventWatcher:
    """Given where a verb writes, return what shows its build there."""
    if is_json:
        return JsonWatcher()
    if is_quiet or not face.is_live:
        return PlainWatcher(face, is_quiet, is_verbose)
    live = importlib.import_module("ltxflow.ui.live")  # by name: rich is needed only where lines move
    shown: EventWatcher = live.LiveWatcher(face, is_quiet, is_verbose)
    return shown


def summary(face: Console, event: RunFinished, mode: str) -> None:
    """The last lines of a build: what was made, and where it is."""
    numbers = [
        (event.rendered, "drawn" if mode == "animatic" else "rendered"),
        (event.resumed, "resumed"),
        (event.restored, "restored"),
        (event.hit, "up to date"),
        (event.failed, "failed"),
        (event.skipped, "skipped"),
    ]
    told = ", ".join(f"{number} {what}" for number, what in numbers if number or what in ("rendered", "drawn"))
    style = "red" if event.failed or event.skipped else "green"
    built = face.paint("Built", style, "bold")
    took = f"  in {duration(event.seconds)}" if event.hit < event.planned else ""
    if mode == "references":
        face.say(f"{built} {count(event.references, 'reference')}: {told}{took}")
        face.say(f"→ {event.output}  to look at; one more take of one: ltxflow retake reference:NAME")
        return
    clips = event.planned - event.references - event.more_takes
    named = counted((clips, "clip"), (event.more_takes, "more take"), (event.references, "reference"))
    face.say(f"{built} {named or '0 clips'}: {told}{took}")
    film = f"film {duration(event.film_seconds)}" + ("" if event.complete else face.paint(", incomplete", "yellow"))
    face.say(f"→ {event.output}  {film}, timeline.json")


def report(face: Console, made: BuildResult, warnings: Sequence[Problem] = (), is_quiet: bool = False) -> None:
    """Given what became of a film, tell its problems, files that no longer belong to it, and the totals."""
    face.problems([*made.concerns, *made.problems, *warnings])
    if made.plan.orphans and not is_quiet:
        names = ", ".join(orphan.file for orphan in made.plan.orphans)
        face.say(f"  - {names}: no longer in the film; remove with: ltxflow clean --yes")
    if made.run.interrupted:
        face.warn("interrupted: what is finished is kept; run it again to go on")
    if not is_quiet or made.code:
        summary(face, made.finished, made.plan.mode if made.published.timeline else "references")
    if made.speech_failures and made.plan.mode == "render":
        scenes = [scene for scene in made.plan.project.scenes if scene.id in made.speech_failures]
        clips = sum(len(scene.clips) for scene in scenes)
        wait = "1 clip waits" if clips == 1 else f"{clips} clips wait"
        face.warn(f"{', '.join(scene.id for scene in scenes)} could not be spoken: {wait}, since its length is a guess")
    if is_quiet or not made.previews:
        return
    if not made.published.timeline:
        for still in made.previews:
            face.say(f"  {os.path.relpath(still)}")
    elif any(target.startswith("reference:") for target in made.run.rendered):
        face.say(f"→ {os.path.relpath(made.previews[0].parent)}  {count(len(made.previews), 'still')} to look at")
