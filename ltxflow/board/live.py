"""Fold the events of the running build, from here or elsewhere, to the state of clips, servers and the run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ltxflow.core.target import Target

Json = dict[str, Any]
LINES = 200  # of the log that a page shows
STEADY = 0.05  # of a clip must be done before its end is estimated


@dataclass
class Running:
    """What a build does about one target now."""

    target: str
    state: str  # "queued" | "waiting" | "rendering" | "rendered" | "failed"
    where: str = ""
    text: str = ""
    fraction: float = 0.0
    since: float = 0.0
    reason: str = ""
    ahead: int = 0

    def left_s(self, now: float) -> float | None:
        """Return the seconds until it ends, as far as its progress shows."""
        if self.state != "rendering" or self.fraction < STEADY:
            return None
        return max(0.0, (now - self.since) * (1 - self.fraction) / self.fraction)

    def as_json(self, now: float) -> Json:
        left = self.left_s(now)
        return {
            "target": self.target,
            "path": Target(self.target).path,
            "take": Target(self.target).take,
            "state": self.state,
            "where": self.where if self.where != "local" else "",
            "text": self.text,
            "fraction": round(self.fraction, 3),
            "left_s": None if left is None else round(left),
            "reason": self.reason,
            "ahead": self.ahead,
        }


@dataclass
class ServerNow:
    """What a server of the run does, and how fast it was."""

    name: str
    done: int = 0
    seconds: float = 0.0

    @property
    def mean_s(self) -> float | None:
        return self.seconds / self.done if self.done else None


@dataclass
class Live:
    """The state of the run whose log is read, or of the last one."""

    run: Mapping[str, Any] = field(default_factory=dict)
    is_running: bool = False
    started: float = 0.0
    mode: str = ""
    total: int = 0
    done: int = 0
    targets: dict[str, Running] = field(default_factory=dict)
    servers: dict[str, ServerNow] = field(default_factory=dict)
    lines: deque[Json] = field(default_factory=lambda: deque(maxlen=LINES))
    outcome: Json = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether its log has its end."""
        return bool(self.outcome)

    def fold(self, event: Json) -> set[str]:
        """Take in an event; return the paths of the clips that it concerns."""
        name, target, at = event["event"], str(event.get("target", "")), float(event.get("at", 0.0))
        if name == "run-started":
            self.started, self.mode, self.total = at, event["mode"], event["to_make"]
            making = [str(each) for each in event.get("making", ())]
            self.targets |= {each: Running(each, "queued") for each in making if each not in self.targets}
            return {Target(each).path for each in making}
        if name == "action-started":
            where = str(event.get("where", ""))
            self.targets[target] = Running(target, "rendering", where, since=at)
            if where and where != "local":
                self.servers.setdefault(where, ServerNow(where))
        elif name == "action-waiting":
            known = self.targets.setdefault(target, Running(target, "queued"))
            if known.state in ("queued", "waiting"):
                known.state, known.where, known.ahead = "waiting", str(event["where"]), int(event["ahead"])
        elif name == "action-progress" and target in self.targets:
            known = self.targets[target]
            known.fraction, known.text = float(event["fraction"]), str(event.get("text", ""))
        elif name == "action-finished":
            self._finish(target, event, at)
        elif name == "notice":
            self._say(at, str(event["message"]), str(event.get("level", "info")), target)
        elif name in ("run-finished", "run-failed"):
            self.outcome = event
            if name == "run-failed":
                for each in event.get("problems", ()):
                    self._say(at, str(each["message"]), "error")
        return {Target(target).path} if target else set()

    def _finish(self, target: str, event: Json, at: float) -> None:
        outcome, seconds, where = event["outcome"], float(event.get("seconds", 0.0)), str(event.get("where", ""))
        if outcome in ("hit", "restored"):
            self.targets.pop(target, None)
            return
        known = self.targets.setdefault(target, Running(target, "queued"))
        before = known.state
        known.state = {"failed": "failed", "skipped": "skipped"}.get(outcome, "rendered")
        known.reason, known.fraction = str(event.get("reason", "")), 1.0
        self.done += 1
        if known.state == "rendered" and where and where != "local":
            server = self.servers.setdefault(where, ServerNow(where))
            server.done, server.seconds = server.done + 1, server.seconds + seconds
        if known.state != "rendered" or before == "rendering":
            level = "error" if outcome == "failed" else "info"
            self._say(at, f"{outcome}{f': {known.reason}' if known.reason else ''}", level, target)

    def _say(self, at: float, text: str, level: str, target: str = "") -> None:
        self.lines.append({"at": at, "text": text, "level": level, "target": Target(target).short if target else ""})

    def of(self, path: str) -> Running | None:
        """Return what is done about a clip now: its running take, else its queued or failed one."""
        found = [each for each in self.targets.values() if Target(each.target).path == path]
        order = ("rendering", "waiting", "queued", "failed", "skipped", "rendered")
        return min(found, key=lambda each: order.index(each.state), default=None)

    def by_path(self) -> dict[str, Running]:
        """Return the same for all clips at once."""
        found: dict[str, list[Running]] = {}
        for each in self.targets.values():
            if not Target(each.target).is_reference:
                found.setdefault(Target(each.target).path, []).append(each)
        order = ("rendering", "waiting", "queued", "failed", "skipped", "rendered")
        return {path: min(those, key=lambda each: order.index(each.state)) for path, those in found.items()}

    def left_s(self, now: float) -> float | None:
        """Return the seconds until the whole run ends, from how long it took so far."""
        ready = min(self.total, self.done + sum(t.fraction for t in self.targets.values() if t.state == "rendering"))
        if not self.is_running or not self.total or not 0 < ready < self.total or now - self.started < 1:
            return None
        return (now - self.started) * (self.total - ready) / ready

    def summary(self) -> Json:
        """Return what every page shows of the run."""
        now = time.time()
        rendering = [t for t in self.targets.values() if t.state == "rendering"]
        ready = min(self.total, self.done + sum(t.fraction for t in rendering))
        left = self.left_s(now)
        failed = sum(t.state == "failed" for t in self.targets.values())
        return {
            "run": self.run.get("run", ""),
            "is_running": self.is_running,
            "mode": self.mode,
            "total": self.total,
            "done": self.done,
            "failed": failed,
            "fraction": round(ready / self.total, 4) if self.total else 0.0,
            "left_s": None if left is None else round(left),
            "command": " ".join(map(str, self.run.get("command", ()))),
            "outcome": self.outcome.get("event", ""),
            "servers": [self._server(each, now) for each in self.servers.values()],
        }

    def _server(self, server: ServerNow, now: float) -> Json:
        here = [t.as_json(now) for t in self.targets.values() if t.where == server.name]
        return {
            "name": server.name,
            "done": server.done,
            "mean_s": None if server.mean_s is None else round(server.mean_s, 1),
            "running": [each for each in here if each["state"] == "rendering"],
            "waiting": [each for each in here if each["state"] == "waiting"],
        }
