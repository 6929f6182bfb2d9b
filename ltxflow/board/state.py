"""What the pages of a board show, when they get it, and what they start."""

from __future__ import annotations

import asyncio
import os
import shlex
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from watchfiles import Change, awatch

from ltxflow.board.film import Film
from ltxflow.board.hub import Hub
from ltxflow.board.jobs import Job, Jobs
from ltxflow.board.live import Live
from ltxflow.board.pages import render
from ltxflow.board.security import Keys
from ltxflow.build.event_log import LogReader

Json = dict[str, Any]
T = TypeVar("T")
FOLLOW_S = 0.2  # between looks at the events of a build
HEAD_S = 1.0
CALM_S = 2.0  # between readings of the film while a build writes to it
TRIES = 5  # to read a film that fails to be read where nothing is wrong with it
NOTES = 60  # of what happened that a page lists
STATE_WORDS = {"waiting": "queued"}


@dataclass
class Board:
    """A film, its running build and the pages that look at them."""

    film: Film
    keys: Keys
    log: LogReader
    jobs: Jobs
    shown_options: Sequence[str] = ()  # of commands as pages show them
    hub: Hub = field(default_factory=Hub)
    live: Live = field(default_factory=Live)
    notes: deque[Json] = field(default_factory=lambda: deque(maxlen=NOTES))
    thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "film"))
    states: dict[str, tuple[Any, ...]] = field(default_factory=dict)  # of clips, as pages last got them
    cards: dict[str, tuple[Any, str]] = field(default_factory=dict)
    strips: dict[str, tuple[Any, str]] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    is_head_old: bool = False
    head_sent: float = 0.0
    is_ended: bool = False

    async def in_thread(self, function: Callable[..., T], *args: Any) -> T:
        """Run something on the film's own thread."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function, *args)

    # --- what pages get

    async def refresh(self, by: str = "") -> None:
        """Read the film again, and tell pages what changed; `by` is the page that caused it."""
        before = self.film.problems
        news = await self.in_thread(self.film.refresh)
        if self.film.problems != before:
            self.hub.send("problem", {"html": render("problems.html", {"problems": self.film.problems})})
        for each in news:
            if each["kind"] == "clip" and each["path"] in self.film.data["clips"]:
                self.send_card(each["path"], by)
            else:
                self.hub.send(each["kind"], {"path": each["path"], "by": by})
            if each["text"]:
                self.note(each["text"], path=each["path"], by=by)
        if news:
            self.is_head_old, self.head_sent = True, 0.0
            self.send_head()

    def note(self, text: str, *, path: str = "", by: str = "", level: str = "info") -> None:
        entry = {"text": text, "path": path, "at": time.time(), "level": level}
        self.notes.appendleft(entry)
        self.hub.send("note", {**entry, "by": by})

    def send_head(self) -> None:
        """Tell pages now and then that what is above the scenes changed: it counts states."""
        if self.is_head_old and time.monotonic() - self.head_sent >= HEAD_S:
            self.is_head_old, self.head_sent = False, time.monotonic()
            self.hub.send("head", {})

    def send_card(self, path: str, by: str = "") -> None:
        row = self.row(path)
        self.states[path] = _state_of(row)
        self.hub.send("clip", {"path": path, "html": self.card(path), "by": by, "state": row["state"]})

    def row(self, path: str) -> Json:
        """Return a clip as pages show it: as it stands, and what the running build does about it."""
        row = self.film.data["clips"][path]
        running = self.live.by_path().get(path) if self.live.targets else None
        return _with_running(row, running.as_json(time.time()) if running else None, self.live.is_running)

    def rows(self) -> dict[str, Json]:
        now, running = time.time(), self.live.by_path()
        return {
            path: _with_running(row, running[path].as_json(now) if path in running else None, self.live.is_running)
            for path, row in self.film.data["clips"].items()
        }

    def card(self, path: str, row: Json | None = None) -> str:
        """Return the card of a clip; drawn again only where something in it changed."""
        row = row or self.row(path)
        known = self.cards.get(path)
        if known is None or known[0] != row:
            known = self.cards[path] = (row, render("card.html", {"clip": row, "fps": self.film.data["film"]["fps"]}))
        return known[1]

    def part(self, name: str, **values: Any) -> str:
        return render(name, {**self.common(), **values})

    def common(self) -> Json:
        """Return what every page shows."""
        data = self.film.data
        rows = self.rows() if data else {}
        states: dict[str, int] = {}
        for row in rows.values():
            states[row["state"]] = states.get(row["state"], 0) + 1
        return {
            **(data or {"film": None, "scenes": [], "clips": {}, "price": {}}),
            "rows": rows,
            "states": states,
            "needs_look": sum(row["needs_look"] for row in rows.values()),
            "run": self.live.summary(),
            "csrf": self.keys.csrf,
            "is_read_only": self.keys.is_read_only,
            "event_id": self.hub.last_id,
            "problems_now": self.film.problems,
            "jobs": [job.as_json() for job in reversed(self.jobs.all[-8:])],
            "stale": [path for path, row in rows.items() if row["base"] == "stale"],
            "command": self.command,
        }

    def command(self, *words: str) -> str:
        """Return the command of an action, as a person would type it."""
        return shlex.join(("ltxflow", *words, *self.shown_options))

    # --- the running build

    async def follow(self) -> None:
        """Follow the log of whichever build runs, until the board ends."""
        while not self.is_ended:
            try:
                self.look_at_log()
            except Exception:  # an event of another version, or a bug of ours: later ones are read
                traceback.print_exc()
            await asyncio.sleep(FOLLOW_S)

    def look_at_log(self) -> None:
        """Fold what the log says since the last look, and tell pages."""
        is_new, events = self.log.news()
        was_running = self.live.is_running
        if is_new:
            self.live = Live(self.log.run)
        touched = set().union(*(self.live.fold(event) for event in events)) if events else set()
        if events or was_running or is_new:
            self.live.is_running = self.log.is_running and not self.live.is_over
        if not self.film.data:
            return
        if is_new:
            touched |= {path for path, state in self.states.items() if state[1]}
        if is_new or was_running != self.live.is_running:
            touched |= {*self.live.by_path()}
        moved: list[Json] = []
        for path in touched:
            if path not in self.film.data["clips"]:
                continue
            row = self.row(path)
            if self.states.get(path) != _state_of(row):
                self.send_card(path)
                self.is_head_old = True
            elif row["running"]:
                moved.append(row["running"])
        self.send_head()
        if moved or touched or is_new or was_running != self.live.is_running:
            self.hub.send("run", {**self.live.summary(), "running": moved})
        if events or is_new:
            self.hub.send("live", {})
        if was_running and not self.live.is_running:
            self.hub.send("finished", self._end())
            self.wake.set()

    def _end(self) -> Json:
        out = self.live.outcome
        if out.get("event") == "run-finished":
            failed = out["failed"] + out["skipped"]
            text = f"the build ended: {out['rendered']} made" + (f", {failed} not" if failed else "")
            return {"text": text, "ok": not failed}
        problems = [str(each["message"]) for each in out.get("problems", ())]
        return {"text": f"the build stopped{': ' + problems[0] if problems else ''}", "ok": False}

    async def watch(self) -> None:
        """Read the film again whenever a file that it depends on changes."""
        last, failures = 0.0, 0
        while not self.is_ended:
            await self.wake.wait()
            if self.live.is_running:
                await asyncio.sleep(max(0.0, last + CALM_S - time.monotonic()))
            self.wake.clear()
            last = time.monotonic()
            try:
                await self.refresh()
                failures = 0
            except Exception:  # a bug, or a passing fault: the board shows the film as it was before
                traceback.print_exc()
                failures += 1
                if failures < TRIES:
                    await asyncio.sleep(CALM_S)
                    self.wake.set()

    async def notice_changes(self, folder: Path) -> None:
        """Wake `watch` when a file of the film changes."""
        stop = asyncio.Event()
        places = {folder, *(p.parent for p in self.film.input_paths() if _is_source(p, folder))}
        for is_polling in (False, True):  # where the system has no watches left, files are polled
            try:
                options: Any = {"watch_filter": _is_of_film, "debounce": 150, "step": 30, "force_polling": is_polling}
                async for _ in awatch(*places, stop_event=stop, **options):
                    self.wake.set()
            except OSError:
                traceback.print_exc()

    # --- actions

    def start(self, words: Sequence[str]) -> Job:
        job = self.jobs.start(words)
        self.send_jobs()
        return job

    def send_jobs(self) -> None:
        self.hub.send("jobs", {"html": self.part("jobs.html")})


def _is_source(path: Path, folder: Path) -> bool:
    return path.suffix in (".yaml", ".txt", ".md", ".j2") and folder not in path.parents and path.parent.is_dir()


def _is_of_film(_change: Change, path: str) -> bool:
    name, parts = os.path.basename(path), Path(path).parts
    if name.startswith(".ltxflow-") or name.endswith("~") or ".git" in parts:
        return False
    return ".ltxflow" not in parts or name == "published.json"


def _state_of(row: Json) -> tuple[Any, ...]:
    running = row["running"] or {}
    return row["state"], running.get("state"), running.get("where"), running.get("ahead")


def _with_running(row: Json, running: Json | None, is_building: bool) -> Json:
    """Return a clip with its state now: what the build does about it, else how it stands."""
    state, word = row["state"], row["word"]
    if running is not None and (is_building or running["state"] == "failed"):
        state = running["state"]
        word = STATE_WORDS.get(state, state)
    elif running is not None:
        running = None
    return {**row, "base": row["state"], "state": state, "word": word, "running": running}
