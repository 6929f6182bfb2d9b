"""The clips of a build that are not made yet: which wait, which failed, the tasks at work on them. Asks no server."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable, Coroutine
from typing import Any

from ltxflow.core.events import Event, Notice
from ltxflow.farm.journal import Submissions
from ltxflow.farm.workers import Attempt, QueuedClip


class Tickets:
    """Where clips wait, in the film's order, and what becomes of each. `wake` is set when there may be one to place."""

    def __init__(self, submissions: Submissions, emit: Callable[[Event], None]) -> None:
        self.submissions = submissions
        self.pending: list[QueuedClip] = []  # in the film's order; any server may take them
        self.homing: list[QueuedClip] = []  # those that only one server may take: see `ComfyExecutor._go_home`
        self.open: set[QueuedClip] = set()
        self.wake = asyncio.Event()
        self.has_barred = False  # whether any clip was ever refused by a server
        self.bug: BaseException | None = None
        self._emit = emit
        self._tasks: set[asyncio.Task[None]] = set()

    # Tasks of our own: none fails unheard

    def spawn(self, work: Coroutine[Any, Any, None], ticket: QueuedClip | None = None) -> asyncio.Task[None]:
        """Begin a task; where it fails, its ticket fails, or without one all of them do."""
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:  # a bug of ours: the build stops on it
                self.bug = self.bug or (None if ticket else error)
                for each in [ticket] if ticket else list(self.open):
                    self.fail(each, error)

        task.add_done_callback(ended)
        return task

    async def end_tasks(self) -> None:
        """Cancel all that is at work, and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Waiting

    def put(self, ticket: QueuedClip) -> None:
        """Have a clip wait: for the one server that may take it, or for any."""
        if not ticket.done.done():
            self.has_barred = self.has_barred or bool(ticket.barred)
            queue = self.homing if ticket.adopt or ticket.pinned else self.pending
            insort(queue, ticket, key=lambda each: each.place)
            self.wake.set()

    def remove(self, ticket: QueuedClip) -> None:
        """It waits no longer."""
        for queue in (self.homing, self.pending):
            if ticket in queue:
                queue.remove(ticket)

    def set_free(self, ticket: QueuedClip) -> None:
        """Any server may take it from now on."""
        self.homing.remove(ticket)
        self.put(ticket)

    def leave(self, attempt: Attempt) -> None:
        """Free the place that an attempt has on its server, if it still has it."""
        if attempt.machine.leave(attempt):
            self.wake.set()

    def back(self, attempt: Attempt) -> None:
        """Have its clip wait once more."""
        self.leave(attempt)
        attempt.is_over = True
        self.put(attempt.ticket)

    # What becomes of one

    def again(self, attempt: Attempt, outcome: str, cause: str) -> None:
        """End this attempt in the journal, and queue the clip once more, saying why."""
        self.finish(attempt, outcome, cause)
        attempt.ticket.adopt = None
        self.tell(attempt.ticket, f"starts again: {cause}", "info" if attempt.is_withdrawn else "warning")
        attempt.ticket.cause = cause
        self.back(attempt)

    def finish(self, attempt: Attempt, outcome: str, cause: str) -> None:
        """End this attempt in the journal."""
        assert attempt.submission is not None
        attempt.is_over = True
        self.submissions.finished(attempt.submission, attempt.ticket.key, outcome, cause)

    def fail(self, ticket: QueuedClip, error: BaseException) -> None:
        """Give a clip up: who waits for it hears why."""
        self.remove(ticket)
        if not ticket.done.done():
            ticket.done.set_exception(error)

    def tell(self, ticket: QueuedClip | None, message: str, level: str = "info") -> None:
        """Say something to the person, of a clip or of all."""
        self._emit(Notice(message, level, ticket.job.target if ticket else ""))
