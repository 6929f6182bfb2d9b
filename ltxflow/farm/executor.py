"""The pool "gpu": decides which clip goes to which ComfyUI server next. Nothing is paid for twice.

A clip waits (`queue`) until the schedule, below, gives it a place on a worker, a server (`workers`); that is an attempt
(`attempts`). What its graph reads is uploaded (`transfer`), its prompt id is journalled before it is submitted, HTTP
reports how it ended, and `completion` decides what follows: its files are fetched and verified, or it starts again.
After a crash the next run finds the id in the journal, and asks the server for it before submitting anything.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from ltxflow.comfy.client import probe
from ltxflow.comfy.discovery import Server, ServerAddress, find_servers
from ltxflow.comfy.signatures import FOLDER, core_classes
from ltxflow.core.digest import Key
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, problem
from ltxflow.core.events import Event
from ltxflow.farm.attempts import AttemptRunner
from ltxflow.farm.completion import Completion
from ltxflow.farm.journal import JOURNAL, Journal, Submission, Submissions
from ltxflow.farm.ledger import LEDGER, Ledger
from ltxflow.farm.options import FarmLimits, Servers
from ltxflow.farm.queue import ClipQueue
from ltxflow.farm.schedule import FEW, Task, assign, next_start, steal
from ltxflow.farm.transfer import upload
from ltxflow.farm.workers import Attempt, QueuedClip, Worker, Workers
from ltxflow.plan.estimate import work_of
from ltxflow.plan.evaluate import Status
from ltxflow.plan.plan import Plan
from ltxflow.session.session import Session, make_own_folder
from ltxflow.steps import ActionContext, RenderSpec
from ltxflow.store.published import Speed, read_speeds, write_speeds

FORCED = "requested again with --force"  # the cause of a render whose result exists
CHECK_S = (0.1, 2.0)  # between checks of a schedule that time alone may change: a running clip may take longer


class ComfyExecutor:
    """The pool "gpu": drives one or many servers. Used as `async with ComfyExecutor(…) as executor`."""

    def __init__(
        self,
        servers: Sequence[Server],
        journal: Journal,
        limits: FarmLimits,
        emit: Callable[[Event], None],
        speeds: Mapping[str, Speed],
        signatures: Path,
        ledger: Ledger,
        record_speeds: Callable[[Mapping[str, Speed]], None] = lambda speeds: None,
    ) -> None:
        self.servers = servers
        self.limits = limits
        self.speeds = speeds
        self.queue = ClipQueue(Submissions(journal), emit)
        self.workers = Workers(
            limits.patience_s,
            limits.dead_after_s,
            lambda text, level: self.queue.notify(None, text, level),
            self.queue.wake.set,
            self.queue.spawn,
        )
        self.completion = Completion(self.queue, self.workers, record_speeds, ledger)
        self.attempts = AttemptRunner(self.queue, self.workers, self.completion, limits.allowed, signatures)
        self._places = count()
        self._nonce = uuid4().hex  # of all clips that this build renders again: models are reloaded once
        self._stolen: Counter[str] = Counter()
        self._sent_ahead: set[tuple[str, str]] = set()  # server and clip: its files were uploaded in advance

    async def __aenter__(self) -> ComfyExecutor:
        try:
            await self.workers.open(self.servers, self.queue.submissions.client_of, self.speeds)
        except BaseException:
            await self._close()
            raise
        self.queue.spawn(self._schedule())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        await self.queue.end_tasks()
        if self.completion.measured:
            self.completion.report_speeds()
        await self.workers.close()

    # Called by the build loop

    async def run(self, status: Status, job: ActionContext) -> None:
        """Make one clip: return when its files are in the job. When cancelled, cancel its prompt, if it is ours."""
        assert status.action is not None
        if self.queue.bug is not None:
            raise self.queue.bug
        spec: RenderSpec = status.node.spec
        task = Task(job.target, work_of(status.node), spec.model_set, text=spec.text)
        done, cause = asyncio.get_running_loop().create_future(), self.queue.submissions.cause_of(job.key)
        clip = QueuedClip(next(self._places), spec, job, status.action, task, done, cause)
        if status.is_forced:
            clip.cause, clip.nonce = FORCED, self._nonce
        for worker in self.workers:
            if worker.unwritable is not None:
                clip.exclude(worker, worker.unwritable)
        self.queue.open.add(clip)
        clip.adopt = self._left_open(clip)
        self.queue.put(clip)
        try:
            await clip.done
        except asyncio.CancelledError:
            await asyncio.shield(self.completion.cancel(clip))
            raise
        finally:
            self.queue.open.discard(clip)

    def is_submitted(self, key: Key) -> bool:
        """Return whether an earlier run left `key` on a server: such a clip comes first, it may be rendered."""
        return self.queue.submissions.open_of(key) is not None

    def recorded(self, key: Key) -> None:
        """Close the submission of a key whose trace is recorded."""
        self.queue.submissions.recorded(key)

    def _left_open(self, clip: QueuedClip) -> Submission | None:
        """Return the attempt that an earlier run left open; give up one whose server is not named any more."""
        submission = self.queue.submissions.open_of(clip.key)
        if submission is None:
            return None
        holder = self.workers.named(submission.server)
        if holder is None:
            self.queue.notify(
                clip, f"was submitted to {submission.server}, which is not among the servers now", "warning"
            )
            clip.cause = "its server is no longer configured"
            self.queue.submissions.finished(submission, clip.key, "lost", clip.cause)
            return None
        clip.nonce = submission.nonce or clip.nonce
        if not holder.is_up:
            self.queue.notify(clip, f"waits for {holder.label}, which has it from an earlier run", "warning")
        return submission

    # The schedule

    async def _schedule(self) -> None:
        """Give waiting clips to servers whenever something changes, without a request that would delay others."""
        while True:
            self.queue.wake.clear()
            self._give_up_hopeless()
            self._start_pinned()
            while (choice := self._choose()) is not None:
                self._start(*choice)
            self._steal()
            self._send_ahead()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._next_check_s()):
                    await self.queue.wake.wait()

    def _next_check_s(self) -> float | None:
        is_waiting = bool(self.queue.pending or self.queue.pinned)
        checks = [self.workers.next_end_of_patience_s()] if is_waiting else []
        if len(self.workers.all) > 1 and (is_waiting or any(len(m.queue) > 1 for m in self.workers)):
            least, most = CHECK_S
            usual = [m.queue[0].clip.task.work * self.workers.rate(m) for m in self.workers if m.queue]
            checks.append(max(least, min(most, 0.05 * min(usual, default=most))))
        return min((check for check in checks if check is not None), default=None)

    def _give_up_hopeless(self) -> None:
        """Fail the clips that no server can make, or whose servers have not answered within our patience."""
        is_any_given_up = any(self.workers.is_given_up(worker) for worker in self.workers)
        doubtful = (
            self.queue.pending if is_any_given_up or self.queue.has_exclusions else []
        )  # otherwise there is hope for all of them
        for clip in [*self.queue.pinned, *doubtful]:
            open_to = [m for m in self.workers if m.name not in clip.excluded and not self.workers.is_given_up(m)]
            if clip.adopt is None:
                if not open_to:
                    self.queue.fail(clip, self._hopeless(clip))
                continue
            holder = self.workers.named(clip.adopt.server)
            assert holder is not None
            is_dead = self.workers.has_stopped(holder) and any(worker.has_room for worker in open_to)
            if not self.workers.is_given_up(holder) and not is_dead:
                continue
            if not any(worker.is_up for worker in open_to):
                self.queue.fail(clip, LtxflowError(self.workers.not_answered(holder), exit_code=UNREACHABLE))
                continue
            clip.cause = self.workers.describe_silence(holder)
            self.queue.notify(clip, f"starts elsewhere: {clip.cause}", "warning")
            self.queue.submissions.finished(clip.adopt, clip.key, "lost", clip.cause)
            holder.abandoned.append(clip.adopt.prompt_id)
            clip.adopt = None
            self.queue.unpin(clip)

    def _hopeless(self, clip: QueuedClip) -> LtxflowError:
        problems = [problem for found in clip.excluded.values() for problem in found]
        problems += [self.workers.not_answered(m) for m in self.workers if m.name not in clip.excluded]
        return LtxflowError(*dict.fromkeys(problems), exit_code=FAILED if clip.excluded else UNREACHABLE)

    def _start_pinned(self) -> None:
        """Start clips that only one server may take: those an earlier run left there, and those tried there again."""
        for clip in list(self.queue.pinned):
            holder = self.workers.named(clip.adopt.server if clip.adopt else clip.pinned)
            if holder is not None and holder.is_up:
                self._start(clip, holder)
            elif not clip.adopt:
                clip.pinned = ""
                self.queue.unpin(clip)

    def _choose(self) -> tuple[QueuedClip, Worker] | None:
        """Return the next clip and its server; None when no server has room for one that should run there."""
        room = {worker.name: worker for worker in self.workers if worker.has_room}
        if not room or not self.queue.pending:
            return None
        free = self._next()
        choice = next_start([clip.task for clip in free.values()], self.workers.slots(), room)
        return (free[choice[0]], room[choice[1]]) if choice else None

    def _next(self) -> dict[str, QueuedClip]:
        """Return the clips that may be placed next, by the ids of their tasks. More would not improve the plan."""
        most = 4 * FEW if len(self.workers.all) > 1 else FEW
        return {clip.task.id: clip for clip in self.queue.pending[:most]}

    def _steal(self) -> None:
        """Take a waiting prompt off a slow server when another would finish it sooner."""
        if len(self.workers.all) < 2 or len(self.queue.pending) > FEW:
            return  # there is nothing to gain
        name = steal([clip.task for clip in self.queue.pending], self.workers.slots(), self._stolen)
        worker = self.workers.named(name or "")
        if worker is not None:
            attempt = worker.queue[1]
            self._stolen[attempt.clip.task.id] += 1
            self.completion.withdraw(attempt, "withdrawn for a server that finishes it sooner")

    def _send_ahead(self) -> None:
        """Upload the files of the clip after the next to each server, so that it can follow at once."""
        if not self.queue.pending or not any(worker.queue for worker in self.workers):
            return
        free = self._next()
        for name, ids in assign([clip.task for clip in free.values()], self.workers.slots()).items():
            worker = self.workers.named(name)
            if ids and worker is not None and worker.queue and (name, ids[0]) not in self._sent_ahead:
                self._sent_ahead.add((name, ids[0]))
                self.queue.spawn(self._upload_all(worker, free[ids[0]]))

    async def _upload_all(self, worker: Worker, clip: QueuedClip) -> None:
        with suppress(LtxflowError):  # tried again, and reported, when its turn comes
            async with worker.entry:
                pass  # a clip that enters now comes first
            for asset in clip.spec.assets():
                await upload(worker, asset, clip.job)

    def _start(self, clip: QueuedClip, worker: Worker) -> None:
        if self._is_over_budget(clip, worker):
            self.queue.fail(clip, _over_budget(self.limits.max_gpu_s or 0.0))
            return
        self.queue.remove(clip)
        clip.pinned = ""
        if not worker.queue:
            worker.since = time.monotonic()
        attempt = clip.attempt = Attempt(clip, worker)
        worker.queue.append(attempt)
        attempt.runner = self.queue.spawn(self.attempts.run(attempt), clip)

    def _is_over_budget(self, clip: QueuedClip, worker: Worker) -> bool:
        if self.limits.max_gpu_s is None or clip.adopt:
            return False
        running = sum(a.clip.task.work * self.workers.rate(m) for m in self.workers for a in m.queue)
        return self.completion.spent_s + running + clip.task.work * self.workers.rate(worker) > self.limits.max_gpu_s


def _over_budget(seconds: float) -> LtxflowError:
    shown = f"{seconds:g}s" if seconds < 60 else f"{seconds / 60:g}m"
    return LtxflowError(problem("C030", budget=shown), exit_code=FAILED)


# --- the servers of a build


def addresses_of(servers: Servers, session: Session) -> list[ServerAddress]:
    """Return the servers of the strongest source; those of the last one are only guesses."""
    config = session.config.as_servers
    return find_servers(list(servers.named), os.environ, config, session.project.server or None)


async def reachable(addresses: list[ServerAddress]) -> list[ServerAddress]:
    """Return the addresses to use: all that are configured, or the first guess that answers."""
    if not addresses or not addresses[0].is_guess:
        return addresses
    found = await probe(addresses)
    if found is None:
        tried = ", ".join(address.url for address in addresses)
        raise LtxflowError(problem("C001.tried", tried=tried), exit_code=UNREACHABLE)
    return [found]


async def comfy_executor(
    servers: Servers, session: Session, plan: Plan, emit: Callable[[Event], None]
) -> ComfyExecutor:
    """Return the executor for a session's servers, not yet entered. Raise LtxflowError (4) without any."""
    addresses = await reachable(addresses_of(servers, session))
    own = make_own_folder(session)
    journal = Journal(own / JOURNAL)
    journal.compact()
    speeds = read_speeds(session.store.root)

    def record_speeds(measured: Mapping[str, Speed]) -> None:
        write_speeds(session.store.root, {**speeds, **measured})

    allowed = core_classes() | session.config.allowed_nodes
    limits = FarmLimits(servers.patience_s, servers.dead_after_s, allowed, servers.max_gpu_s)
    return ComfyExecutor(
        [address.server for address in addresses],
        journal,
        limits,
        emit,
        speeds,
        own / FOLDER,
        Ledger(own / LEDGER),
        record_speeds,
    )
