"""The journal: which prompt this project submitted to which server, written before it happens.

Append-only JSON lines. It knows servers by name only.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Key
from ltxflow.core.errors import LtxflowError, hint_for, problem
from ltxflow.core.workspace import is_damage, parse_json, read_bytes

JOURNAL = "journal.jsonl"  # in `.ltxflow/`

SUBMITTING, SUBMITTED, FINISHED = "submitting", "submitted", "finished"
OUTCOMES = ("done", "lost", "failed", "cancelled")


@dataclass(frozen=True)
class Journal:
    """The file `.ltxflow/journal.jsonl` of one project. Only the process that holds the project lock writes it."""

    path: Path

    def append(self, event: dict[str, Any]) -> None:
        """Append an event. A `submitting` is on the disk when this returns, with every event before it.

        A power cut (not a kill of this process) may lose a later event. The attempt is then still open: the next run
        asks its server for the prompt first, and the answer replaces what was lost.
        """
        files.make_dir(self.path.parent)
        files.append_line(self.path, _line(event), fsync=event.get("event") == SUBMITTING)

    def read(self) -> Iterator[dict[str, Any]]:
        """Yield all events, oldest first. Skip a line that is torn or not a JSON mapping."""
        try:
            data = read_bytes(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            reason = str(error.strerror) if is_damage(error) else (error.strerror or str(error)).lower()
            raise LtxflowError(problem("C033", path=self.path, reason=reason, hint=hint_for(error))) from error
        for line in data.split(b"\n"):
            try:
                event = parse_json(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event

    def compact(self) -> int:
        """Drop what no later run needs, at the start of a run; return how many events were dropped.

        Kept are the open submissions, and the last attempt of each key that never reached "done": its number must
        continue, since a server still knows the earlier ones by their prompt_id.
        """
        events = list(self.read())
        kept = {
            (key, attempt.attempt)
            for key, attempts in submissions(events).items()
            for attempt in attempts
            if attempt.is_open or (attempt is attempts[-1] and attempt.state != "done")
        }
        text = "".join(_line(event) + "\n" for event in events if _identity(event) in kept)
        old = read_bytes(self.path) if self.path.exists() else b""
        if text.encode() != old:
            files.write_atomic(self.path, text)
        return len(events) - text.count("\n")


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"), allow_nan=False)  # ASCII: it may be torn at any byte


@dataclass(frozen=True)
class Submission:
    """One attempt at a key on one server. `state` is "submitting", "submitted" or one of OUTCOMES.

    "submitting" may or may not have reached the server: ask it for `prompt_id` before anything else.
    """

    attempt: int
    server: str
    prompt_id: str
    state: str
    target: str = ""
    at: str = ""  # of the last event
    nonce: str = ""  # of a prompt that must run even if its server has the result

    @property
    def is_open(self) -> bool:
        return self.state in (SUBMITTING, SUBMITTED)


def submissions(journal: Journal | Iterable[dict[str, Any]]) -> dict[Key, list[Submission]]:
    """Return key → its submissions by attempt, from a journal or its events.

    Folds `submitting`, `submitted` and `finished` (with `outcome`). An attempt made at two servers counts once per
    server; a `finished` without a server ends it at all of them.
    """
    events = journal.read() if isinstance(journal, Journal) else journal
    found: dict[tuple[Key, int], dict[str, Submission]] = {}
    for event in events:
        identity = _identity(event)
        if identity is None:
            continue
        servers = found.setdefault(identity, {})
        server = str(event.get("server") or "")
        if event["event"] == FINISHED:
            outcome = event.get("outcome")
            state = outcome if outcome in OUTCOMES else "failed"
            names = [server] if server else list(servers)
        else:
            state, names = event["event"], [server]
        for name in names:
            servers[name] = _after(servers.get(name), event, identity[1], name, state)
    folded: dict[Key, list[Submission]] = {}
    for (key, _), servers in sorted(found.items()):
        folded.setdefault(key, []).extend(servers.values())
    return folded


def _after(before: Submission | None, event: dict[str, Any], attempt: int, server: str, state: str) -> Submission:
    before = before or Submission(attempt, server, "", state)
    return replace(
        before,
        state=state,
        prompt_id=str(event.get("prompt_id") or before.prompt_id),
        target=str(event.get("target") or before.target),
        at=str(event.get("at") or before.at),
        nonce=str(event.get("nonce") or before.nonce),
    )


def _identity(event: dict[str, Any]) -> tuple[Key, int] | None:
    key, attempt = event.get("key"), event.get("attempt")
    if event.get("event") not in (SUBMITTING, SUBMITTED, FINISHED):
        return None
    return (Key(key), attempt) if isinstance(key, str) and type(attempt) is int else None


def next_attempt(found: dict[Key, list[Submission]], key: Key) -> int:
    """Return the number of the next attempt at a key, from 1."""
    return max((submission.attempt for submission in found.get(key, ())), default=0) + 1


class Submissions:
    """The journal of a run, folded to the submissions of each key.

    An open submission in it is ours: the next run resumes it. A foreign prompt with the same id is never in it.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        events = list(journal.read())
        self._known = submissions(events)
        self._clients = {e["server"]: str(e["client_id"]) for e in events if e.get("server") and e.get("client_id")}
        self._causes = {
            str(e.get("key")): str(e["cause"]) for e in events if e.get("event") == FINISHED and e.get("cause")
        }

    def client_of(self, server: str) -> str | None:
        """Return the client id last used for submissions to a server: progress arrives under it."""
        return self._clients.get(server)

    def knows(self, key: Key) -> bool:
        return key in self._known

    def next_attempt(self, key: Key) -> int:
        return next_attempt(self._known, key)

    def open_of(self, key: Key) -> Submission | None:
        """Return the attempt at a key that is open as far as we know: an earlier run left it."""
        return next((s for s in reversed(self._known.get(key, [])) if s.is_open), None)

    def cause_of(self, key: Key) -> str:
        """Return why a key is started now: "first", or how its last attempt ended."""
        past = self._known.get(key)
        if not past:
            return "first"
        return ": ".join(part for part in (f"{past[-1].state} before", self._causes.get(key, "")) if part)

    def submitting(self, submission: Submission, key: Key, client_id: str, cause: str) -> None:
        """Record what will be submitted next, and why again if it is not the first time."""
        nonce = {"nonce": submission.nonce} if submission.nonce else {}
        self._write(key, submission, SUBMITTING, client_id=client_id, cause=cause, **nonce)

    def submitted(self, submission: Submission, key: Key) -> None:
        self._write(key, submission, SUBMITTED)

    def finished(self, submission: Submission, key: Key, outcome: str, cause: str = "") -> None:
        """Record how an attempt ended: "done", "lost", "failed" or "cancelled", and why."""
        self._causes[key] = cause
        self._write(key, submission, FINISHED, outcome=outcome, **({"cause": cause} if cause else {}))

    def recorded(self, key: Key) -> None:
        """End every open submission of a key whose trace is recorded."""
        for submission in list(self._known.get(key, [])):
            if submission.is_open:
                self.finished(submission, key, "done")

    def _write(self, key: Key, submission: Submission, event: str, **more: Any) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        named = {"server": submission.server, "prompt_id": submission.prompt_id, "target": submission.target}
        self.journal.append({"event": event, "key": key, "attempt": submission.attempt, **named, "at": at, **more})
        others = [
            s for s in self._known.get(key, []) if (s.attempt, s.server) != (submission.attempt, submission.server)
        ]
        self._known[key] = [*others, replace(submission, state=str(more.get("outcome", event)), at=at)]
