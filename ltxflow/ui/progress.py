"""Choose how a build is shown, and print its result."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ltxflow.core.errors import Problem
from ltxflow.core.events import RunFinished
from ltxflow.core.target import Tally, Target, count
from ltxflow.documents.document import shown
from ltxflow.project.settings import film_quality
from ltxflow.ui.log import EventWatcher, JsonWatcher, PlainWatcher
from ltxflow.ui.plan_view import reached, states_in_words
from ltxflow.ui.terminal import Console, duration

if TYPE_CHECKING:
    from ltxflow.build.pipeline import BuildResult

NOTHING = Tally()
EDITED = "changed during this build, which made the film as it was before; build again for the edit"


def watcher(console: Console, is_json: bool, is_quiet: bool = False, is_verbose: bool = False) -> EventWatcher:
    """Return what shows the events of a build: JSON lines, a log, or live lines on a terminal."""
    if is_json:
        return JsonWatcher()
    if is_quiet or not console.is_live:
        return PlainWatcher(console, is_quiet, is_verbose)
    from ltxflow.ui.live import LiveWatcher  # loads rich, which is needed only where lines move

    return LiveWatcher(console, is_quiet, is_verbose)


def summary(console: Console, event: RunFinished, mode: str, failed: Tally = NOTHING, skipped: Tally = NOTHING) -> None:
    """Print the last lines of a build: what was made, what was not, and where it is."""
    made = Tally(event.clips, event.more_takes, event.references) - failed - skipped
    rendered = f"{event.rendered} {'drawn' if mode == 'animatic' else 'rendered'}"
    tries = event.renders - event.rendered - event.resumed
    if tries > 0:
        rendered += f" ({event.renders} renders, {tries} of them with another seed)"
    numbers = [(event.resumed, "resumed"), (event.restored, "restored"), (event.hit, "up to date")]
    totals = ", ".join([rendered, *(f"{number} {what}" for number, what in numbers if number)])
    left = "not made" if event.interrupted else "skipped"
    lost = ", ".join(f"{tally} {what}" for tally, what in ((failed, "failed"), (skipped, left)) if tally)
    if event.interrupted:
        head, after = f"{console.paint('Interrupted', 'red', 'bold')}: {totals}", "after"
    elif made or not lost:
        head, after = (
            f"{console.paint('Built', 'red' if lost else 'green', 'bold')} {made or '0 clips'}: {totals}",
            "in",
        )
    else:
        head, after = console.paint("Built nothing", "red", "bold"), "after"
    took = f"  {after} {duration(event.seconds)}" if event.hit < event.planned else ""
    console.say(f"{head}{f'; {lost}' if lost else ''}{took}")
    if mode == "references":
        console.say(f"→ {event.output}  to review; render another take with: ltxflow retake reference:NAME")
        return
    film = f"film {duration(event.film_seconds)}" + ("" if event.complete else console.paint(", incomplete", "yellow"))
    console.say(f"→ {event.output}  {film}, timeline.json")


def _standing(result: BuildResult) -> str:
    """Return what the clips are now, and what makes the rest of them final."""
    states, project, entries = result.states, result.plan.project, result.lock.entries
    rejected = [path for path in states if path in entries and entries[path].status == "rejected"]
    line = states_in_words(states, rejected)
    left = [clip for clip in project.clips if states.get(clip.path) != "final"]
    if not left:
        return line
    is_draft_film = any(project.profile.qualities[film_quality(project, clip)].stand_in for clip in left)
    option = f" --quality {project.profile.default_quality}" if is_draft_film else ""
    return f"{line}: `ltxflow build{option}` renders {count(len(left), 'clip')}"


def print_result(
    console: Console, result: BuildResult, warnings: Sequence[Problem] = (), is_quiet: bool = False
) -> None:
    """Print the problems of a build, the files that are no longer in the film, and the totals."""
    console.problems([*result.concerns, *result.problems, *warnings], of=result.failed_by)
    if result.plan.orphans and not is_quiet:
        names = ", ".join(orphan.file for orphan in result.plan.orphans)
        console.say(f"  - {names}: no longer in the film; remove with: ltxflow clean --yes")
    if not is_quiet or result.code:
        mode = result.plan.mode if result.published.timeline else "references"
        summary(console, result.finished, mode, result.tally(result.run.failed), result.tally(result.run.skipped))
    if result.states and not is_quiet:
        console.say(f"  {_standing(result)}")
    if result.run.interrupted:
        _print_interrupted(console, result)
    if result.edited:
        console.warn(f"{console.paint('!', 'yellow')} {', '.join(map(shown, result.edited))} {EDITED}")
    if result.speech_failures and result.plan.mode == "render":
        scenes = [scene for scene in result.plan.project.scenes if scene.id in result.speech_failures]
        clips = sum(len(scene.clips) for scene in scenes)
        wait = "1 clip waits" if clips == 1 else f"{clips} clips wait"
        names = ", ".join(scene.id for scene in scenes)
        console.warn(f"narration failed: {names}; {wait} for it, since its length is only an estimate")
    if is_quiet or not result.previews:
        return
    if not result.published.timeline:
        for still in result.previews:
            console.say(f"  {os.path.relpath(still)}")
    elif any(Target(target).is_reference for target in result.run.rendered):
        folder = os.path.relpath(result.previews[0].parent)
        console.say(f"→ {folder}  {count(len(result.previews), 'reference preview')} to review")


def _print_interrupted(console: Console, result: BuildResult) -> None:
    """Print what an interrupted build left on servers, and how it continues."""
    on: dict[str, list[str]] = {}
    for target, url in result.left_on.items():
        on.setdefault(url.partition("://")[2], []).append(target)
    for server, targets in on.items():
        names = reached(targets, result.plan.heads)
        console.warn(f"{console.paint('!', 'yellow')} not cancelled on {server}: {names}; the next build resumes it")
    console.warn("what is finished is kept; run the command again to continue")
