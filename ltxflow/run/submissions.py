"""What this project submitted to which server, written down before it happens. Knows no server, only their names."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ltxflow.core.digest import Key
from ltxflow.store.journal import FINISHED, SUBMITTED, SUBMITTING, Journal, Submission, next_attempt, submissions


class Submissions:
    """The journal of a run, with what it comes to: the submissions of each key.

    What is open in it is ours: the next run takes it up. A same-id prompt of somebody else never stands in it.
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
        """Given a server, return the client id that was last submitted with: its progress is then heard again."""
        return self._clients.get(server)

    def knows(self, key: Key) -> bool:
        return key in self._known

    def next_attempt(self, key: Key) -> int:
        return next_attempt(self._known, key)

    def open_of(self, key: Key) -> Submission | None:
        """Given a key, return the attempt that is under way, as far as we know: an earlier run left it."""
        return next((s for s in reversed(self._known.get(key, [])) if s.is_open), None)

    def cause_of(self, key: Key) -> str:
        """Given a key, return why it is started now: "first", or how its last attempt ended."""
        past = self._known.get(key)
        if not past:
            return "first"
        return ": ".join(part for part in (f"{past[-1].state} before", self._causes.get(key, "")) if part)

    def submitting(self, submission: Submission, key: Key, client_id: str, cause: str) -> None:
        """Write down what will be submitted next, and why again if it is not the first time."""
        nonce = {"nonce": submission.nonce} if submission.nonce else {}
        self._write(key, submission, SUBMITTING, client_id=client_id, cause=cause, **nonce)

    def submitted(self, submission: Submission, key: Key) -> None:
        self._write(key, submission, SUBMITTED)

    def finished(self, submission: Submission, key: Key, outcome: str, cause: str = "") -> None:
        """Write down how an attempt ended: "done", "lost", "failed" or "cancelled", and why."""
        self._causes[key] = cause
        self._write(key, submission, FINISHED, outcome=outcome, **({"cause": cause} if cause else {}))

    def kept(self, key: Key) -> None:
        """The trace of `key` is recorded: whatever was open for it is done."""
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
