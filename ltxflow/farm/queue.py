"""The clips of a build that are not made yet, waiting or failed, and the tasks working on them. Calls no server."""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Callable, Coroutine
from typing import Any

from ltxflow.core.events import Event, Notice
from ltxflow.farm.journal import Submissions
from ltxflow.farm.workers import Attempt, QueuedClip


class ClipQueue:
    """Clips that wait, in film order, and what happens to each. `wake` is set when one may be placed."""

    def __init__(self, submissions: Submissions, emit: Callable[[Event], None]) -> None:
        self.submissions = submissions
        self.pending: list[QueuedClip] = []  # in film order; any server may take them
        self.pinned: list[QueuedClip] = []  # only one server may take them: see `ComfyExecutor._start_pinned`
        self.open: set[QueuedClip] = set()
        self.wake = asyncio.Event()
        self.has_exclusions = False  # whether a server ever refused a clip
        self.bug: BaseException | None = None
        self._emit = emit
        self._tasks: set[asyncio.Task[None]] = set()

    # Our tasks: none fails silently

    def spawn(self, work: Coroutine[Any, Any, None], clip: QueuedClip | None = None) -> asyncio.Task[None]:
        """Begin a task. When it fails, its clip fails, or without one all of them do."""
        task = asyncio.create_task(work)
        self._tasks.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:  # a bug: the build stops on it
                self.bug = self.bug or (None if clip else error)
                for each in [clip] if clip else list(self.open):
                    self.fail(each, error)

        task.add_done_callback(ended)
        return task

    async def end_tasks(self) -> None:
        """Cancel all tasks and wait for them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Waiting

    def put(self, clip: QueuedClip) -> None:
        """Make a clip wait, for the one server that may take it, or for any."""
        if not clip.done.done():
            self.has_exclusions = self.has_exclusions or bool(clip.excluded)
            queue = self.pinned if clip.adopt or clip.pinned else self.pending
            insort(queue, clip, key=lambda each: each.place)
            self.wake.set()

    def remove(self, clip: QueuedClip) -> None:
        """Remove a clip that no longer waits."""
        for queue in (self.pinned, self.pending):
            if clip in queue:
                queue.remove(clip)

    def unpin(self, clip: QueuedClip) -> None:
        """Let any server take a pinned clip."""
        self.pinned.remove(clip)
        self.put(clip)

    def leave(self, attempt: Attempt) -> None:
        """Free the slot of an attempt on its server, if it still has it."""
        if attempt.worker.leave(attempt):
            self.wake.set()

    def requeue(self, attempt: Attempt) -> None:
        """Make the clip of an attempt wait again."""
        self.leave(attempt)
        attempt.is_over = True
        self.put(attempt.clip)

    # How one ends

    def restart(self, attempt: Attempt, outcome: str, cause: str) -> None:
        """End this attempt in the journal and queue its clip again, with the reason."""
        self.finish(attempt, outcome, cause)
        attempt.clip.adopt = None
        self.notify(attempt.clip, f"starts again: {cause}", "info" if attempt.is_withdrawn else "warning")
        attempt.clip.cause = cause
        self.requeue(attempt)

    def finish(self, attempt: Attempt, outcome: str, cause: str) -> None:
        """End this attempt in the journal."""
        assert attempt.submission is not None
        attempt.is_over = True
        self.submissions.finished(attempt.submission, attempt.clip.key, outcome, cause)

    def fail(self, clip: QueuedClip, error: BaseException) -> None:
        """Fail a clip with the error that its caller gets."""
        self.remove(clip)
        if not clip.done.done():
            clip.done.set_exception(error)

    def notify(self, clip: QueuedClip | None, message: str, level: str = "info") -> None:
        """Show a message to the user, about a clip or in general."""
        self._emit(Notice(message, level, clip.job.target if clip else ""))
