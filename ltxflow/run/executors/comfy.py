"""Runs clips on ComfyUI servers: places, submits, follows, fetches and verifies them. Nothing is paid for twice.

The life of a clip here: a Ticket waits until the schedule gives it a place on a Machine (a server); its prompt id is
journalled before it is submitted; HTTP says how it ended; its files are fetched, verified and stripped. Whatever
crashes, the next run finds the id in the journal and asks the server for it before submitting anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ltxflow.comfy.client import Client, follow, prompt_id_for
from ltxflow.comfy.graph import outputs_of
from ltxflow.comfy.messages import JobState, OutputFile, is_oom, is_transient
from ltxflow.comfy.places import Server
from ltxflow.comfy.progress import Tracker
from ltxflow.comfy.servers import Inventory, Names, check_live, resolve_names
from ltxflow.core.digest import Key
from ltxflow.core.errors import FAILED, UNREACHABLE, LtxflowError, Problem
from ltxflow.core.events import Event, Notice
from ltxflow.media.image import prepare_image, read_image
from ltxflow.media.probe import probe_mp4
from ltxflow.media.strip import strip_mp4
from ltxflow.plan.estimate import work_of
from ltxflow.plan.status import Status
from ltxflow.run.schedule import FEW, Lane, Task, assign, end_of
from ltxflow.steps import Job
from ltxflow.steps import clip as clip_step
from ltxflow.store.journal import Journal, Submission, submissions
from ltxflow.store.speeds import Speed

T = TypeVar("T")

GUESS = 5e-8  # seconds per unit of work of a server nobody knows: a minute for a usual clip
ATTEMPTS = 6  # starts of one clip in one run, whatever their causes
TRIPS = 3  # failures in a row after which a server rests
REST_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
MAX_FILE = 4 << 30  # bytes of one output: 20 s of 4K are far below
AUDIO_SLACK_S = 0.25  # LTX audio ends up to 30 ms early (4T-3 of 4T); half a frame of AAC on top
EXTENSIONS = {"video": ".mp4", "uncropped": ".mp4", "last_frame": ".png"}


@dataclass(frozen=True)
class Terms:
    """What a build allows: how long an unreachable server is waited for, which foreign nodes, how much GPU time."""

    patience_s: float = 300.0
    allowed: frozenset[str] = frozenset()
    max_gpu_s: float | None = None


@dataclass(eq=False)
class Ticket:
    """One clip on its way: what is to be made, and where it may not go."""

    status: Status
    job: Job
    task: Task
    done: asyncio.Future[None]
    barred: dict[str, tuple[Problem, ...]] = field(default_factory=dict)
    starts: int = 0
    memory_errors: dict[str, int] = field(default_factory=dict)
    pinned: str = ""  # the one server that may take it: it runs there already, or is tried there again
    adopt: Submission | None = None
    prompt_id: str = ""
    attempt: int = 0
    is_ours: bool = False  # submitted by this project's journal: only such prompts are ever cancelled
    is_withdrawn: bool = False
    has_ended: bool = False  # the server is through with it: only files are still to come
    cause: str = ""  # of the next start, when it is not the first

    @property
    def shot(self) -> clip_step.Shot:
        shot: clip_step.Shot = self.status.node.spec
        return shot

    @property
    def key(self) -> Key:
        return self.job.key


@dataclass(eq=False)
class Machine:
    """One server: what runs and waits on it, how fast it is, whether it answers."""

    client: Client
    inventory: Inventory
    speed: Speed | None
    queue: list[Ticket] = field(default_factory=list)  # first runs, second waits
    entry: asyncio.Lock = field(default_factory=asyncio.Lock)
    since: float = 0.0  # when the first of the queue began
    group: str = ""
    trips: int = 0
    resting_until: float = 0.0
    is_shared: bool = False  # other people's prompts are there: we keep one, not two

    @property
    def name(self) -> str:
        return self.client.server.url

    @property
    def label(self) -> str:
        return str(self.client.server)


class ComfyExecutor:
    """The pool "gpu": drives one or many servers. Used as `async with ComfyExecutor(…) as executor`."""

    def __init__(
        self,
        servers: Sequence[Server],
        journal: Journal,
        terms: Terms,
        emit: Callable[[Event], None],
        speeds: Mapping[str, Speed],
        signatures: Path,
        learned: Callable[[str, float, float], None] = lambda server, seconds, work: None,
    ) -> None:
        self.servers = servers
        self.journal = journal
        self.terms = terms
        self.emit = emit
        self.speeds = speeds
        self.signatures = signatures
        self.learned = learned
        self.machines: list[Machine] = []
        self.pending: list[Ticket] = []
        self.known = submissions(journal)
        self.spent_s = 0.0
        self._stack = AsyncExitStack()
        self._wake = asyncio.Event()
        self._attempts: dict[asyncio.Task[None], Ticket] = {}
        self._loop: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ComfyExecutor:
        for server in self.servers:
            client = await self._stack.enter_async_context(Client(server, client_id=self._client_of(server)))
            self.machines.append(Machine(client, Inventory(client), self.speeds.get(client.server.url)))
        await asyncio.gather(*(self._greet(machine) for machine in self.machines))
        if all(machine.inventory.stats is None for machine in self.machines):
            await self._stack.aclose()
            raise _nobody(self.machines)
        self._loop = asyncio.create_task(self._schedule())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = [*self._attempts, *([self._loop] if self._loop else [])]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._stack.aclose()

    def _client_of(self, server: Server) -> str | None:
        """The client id that an interrupted run submitted with: progress of its prompts is then heard again."""
        ids = [
            str(event.get("client_id"))
            for event in self.journal.read()
            if event.get("server") == server.url and event.get("client_id")
        ]
        return ids[-1] if ids else None

    async def _greet(self, machine: Machine) -> None:
        try:
            machine.inventory.stats = await machine.client.system_stats()
        except LtxflowError as error:
            self._trip(machine, error)

    # What the build loop calls

    async def run(self, status: Status, job: Job) -> None:
        """Make one clip: return when its files are in the job. Cancelled, cancel its prompt, if it is ours."""
        assert status.key is not None
        task = Task(job.target, work_of(status.node), _group(status))
        ticket = Ticket(status, job, task, asyncio.get_running_loop().create_future())
        ticket.adopt = self._open_submission(ticket)
        self.pending.append(ticket)
        self._wake.set()
        try:
            await ticket.done
        except asyncio.CancelledError:
            await asyncio.shield(self._cancel(ticket))
            raise

    def kept(self, key: Key) -> None:
        """The trace of `key` is recorded: its submission is over."""
        for submission in self.known.get(key, []):
            if submission.is_open:
                self._note("finished", key, submission.attempt, submission.server, outcome="done")

    def _open_submission(self, ticket: Ticket) -> Submission | None:
        """The attempt that an earlier run left open; one whose server is not named any more is given up, aloud."""
        for submission in reversed(self.known.get(ticket.key, [])):
            if not submission.is_open:
                continue
            if any(machine.name == submission.server for machine in self.machines):
                return submission
            self._tell(ticket, f"was submitted to {submission.server}, which is not among the servers now", "warning")
            self._finish(ticket, submission.attempt, submission.server, "lost", "its server is no longer named")
            ticket.cause = "its server is no longer named"
        return None

    # The schedule

    async def _schedule(self) -> None:
        """Give waiting clips to servers whenever something changes, and at the latest when a server has rested."""
        while True:
            self._wake.clear()
            try:
                await self._place()
            except LtxflowError as error:  # a question to a server failed: it has tripped, others go on
                self._tell(None, str(error), "warning")
            with suppress(TimeoutError):
                async with asyncio.timeout(self._until_next_rest()):
                    await self._wake.wait()

    def _until_next_rest(self) -> float | None:
        now = time.monotonic()
        rests = [machine.resting_until - now for machine in self.machines if machine.resting_until > now]
        return max(0.01, min(rests)) if rests else None

    async def _place(self) -> None:
        now = time.monotonic()
        for machine in [m for m in self.machines if m.trips and m.resting_until <= now]:
            await self._greet_again(machine)
        self._give_up_hopeless()
        for ticket in [t for t in self.pending if t.adopt or t.pinned]:
            wanted = ticket.adopt.server if ticket.adopt else ticket.pinned
            home = next((m for m in self.machines if m.name == wanted), None)
            if home and not home.trips:
                self._start(ticket, home)
        if not self.pending:
            await self._pull_back()
            return
        while True:
            choice = self._choose()
            if choice is None:
                break
            ticket, machine = choice
            if machine.queue and await self._is_shared(machine):
                machine.is_shared = True
                continue
            self._start(ticket, machine)
        await self._pull_back()

    def _choose(self) -> tuple[Ticket, Machine] | None:
        """The next clip and its server, or None when no server has room for one it should have."""
        free = [t for t in self.pending if not t.adopt and not t.pinned]
        room = [m for m in self._up() if len(m.queue) < (1 if m.is_shared else 2)]
        if not free or not room:
            return None
        tickets = {ticket.task.id: ticket for ticket in free}
        plan = assign([t.task for t in free[: 4 * FEW]], self._lanes())
        for machine in sorted(room, key=lambda m: len(m.queue)):
            for id in plan.get(machine.name, []):
                if machine.name not in tickets[id].barred:
                    return tickets[id], machine
        return None

    async def _pull_back(self) -> None:
        """Take a waiting prompt off a slow server when another would end it sooner."""
        if len(self.pending) > FEW:
            return
        for machine in self._up():
            if len(machine.queue) < 2 or not machine.queue[1].is_ours or machine.queue[1].adopt:
                continue
            waiting = machine.queue[1]
            tasks = [waiting.task, *(t.task for t in self.pending if not t.adopt and not t.pinned)]
            lanes = self._lanes(without=waiting)
            by_id = {task.id: task for task in tasks}
            plan = assign(tasks, lanes)
            if waiting.task.id in plan.get(machine.name, []):
                continue
            names = frozenset(lane.name for lane in lanes if lane.name != machine.name)
            stays = [Task(t.id, t.work, t.group, names if t is waiting.task else t.barred) for t in tasks]
            gain = _makespan(assign(stays, lanes), {t.id: t for t in stays}, lanes) - _makespan(plan, by_id, lanes)
            if gain > 0.05 * waiting.task.work * self._rate(machine):
                await self._withdraw(machine, waiting)

    async def _withdraw(self, machine: Machine, ticket: Ticket) -> None:
        ticket.is_withdrawn = True  # before the question: its follower may hear the answer first
        ticket.is_withdrawn = await machine.client.withdraw(ticket.prompt_id)

    def _up(self) -> list[Machine]:
        return [machine for machine in self.machines if not machine.trips]

    def _lanes(self, without: Ticket | None = None) -> list[Lane]:
        now = time.monotonic()
        lanes = []
        for machine in self._up():
            rate = self._rate(machine)
            left = 0.0
            for index, ticket in enumerate(machine.queue):
                if ticket is without:
                    continue
                seconds = ticket.task.work * rate
                left += max(0.0, seconds - (now - machine.since)) if index == 0 else seconds
            lanes.append(Lane(machine.name, left, rate, machine.group))
        return lanes

    def _rate(self, machine: Machine) -> float:
        """Seconds per unit of work: measured, or as the others are, but never below what the running clip shows."""
        if machine.speed is not None:
            rate = machine.speed.rate
        else:
            others = [m.speed.rate for m in self.machines if m.speed is not None]
            rate = sum(others) / len(others) if others else GUESS
        if machine.queue and machine.since:
            rate = max(rate, (time.monotonic() - machine.since) / max(machine.queue[0].task.work, 1.0))
        return rate

    async def _is_shared(self, machine: Machine) -> bool:
        """Whether other people's prompts are on this server: then ours do not wait there in advance."""
        try:
            return await machine.client.queue_remaining() > len(machine.queue)
        except LtxflowError as error:
            self._trip(machine, error)
            return True

    def _give_up_hopeless(self) -> None:
        """Fail the clips that no server can make, or that no server has answered for longer than is patient."""
        names = {machine.name for machine in self.machines}
        for ticket in list(self.pending):
            if names <= set(ticket.barred):
                problems = tuple(p for told in ticket.barred.values() for p in told)
                self._fail(ticket, LtxflowError(*dict.fromkeys(problems), exit_code=FAILED))
            elif self._is_over_budget(ticket):
                self._fail(ticket, _over_budget(self.terms.max_gpu_s or 0.0))

    def _is_over_budget(self, ticket: Ticket) -> bool:
        if self.terms.max_gpu_s is None or ticket.adopt:
            return False
        running = sum(t.task.work * self._rate(m) for m in self.machines for t in m.queue)
        rates = [self._rate(machine) for machine in self._up()]
        return self.spent_s + running + ticket.task.work * min(rates, default=0.0) > self.terms.max_gpu_s

    def _start(self, ticket: Ticket, machine: Machine) -> None:
        self.pending.remove(ticket)
        ticket.pinned = ""
        if not machine.queue:
            machine.since = time.monotonic()
        machine.queue.append(ticket)
        task = asyncio.create_task(self._attempt(ticket, machine))
        self._attempts[task] = ticket
        task.add_done_callback(self._attempted)

    def _attempted(self, task: asyncio.Task[None]) -> None:
        ticket = self._attempts.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None and not ticket.done.done():
            ticket.done.set_exception(error)  # a bug of ours: the build stops on it

    # Health

    def _trip(self, machine: Machine, error: LtxflowError) -> None:
        machine.trips += 1
        rest = REST_S[min(machine.trips, len(REST_S)) - 1]
        machine.resting_until = time.monotonic() + rest
        if machine.trips == 1:
            self._tell(None, f"{machine.label} does not answer: {error.problems[0].message}", "warning")

    async def _greet_again(self, machine: Machine) -> None:
        try:
            machine.inventory.stats = await machine.client.system_stats()
        except LtxflowError as error:
            self._trip(machine, error)
            return
        machine.trips, machine.resting_until = 0, 0.0
        machine.inventory.folders.clear()
        self._tell(None, f"{machine.label} answers again")

    # One attempt

    async def _attempt(self, ticket: Ticket, machine: Machine) -> None:
        """From an empty place on a server to verified files, or to a decision what comes next."""
        try:
            async with machine.entry:  # one at a time, so that clips queue there in the order they were placed
                graph = await self._patiently(machine, ticket, lambda: self._prepare(ticket, machine))
                is_on = await self._submit(ticket, machine, graph)
            if not is_on:
                return
            tracker = Tracker(graph, time.monotonic)
            state = await self._follow(ticket, machine, tracker)
            self._leave(ticket, machine)
            await self._settle(ticket, machine, graph, tracker, state)
        except _Unreachable as error:
            self._leave(ticket, machine)
            self._lost_server(ticket, machine, error)
        except LtxflowError as error:
            self._leave(ticket, machine)
            self._refused(ticket, machine, error)

    def _leave(self, ticket: Ticket, machine: Machine) -> None:
        """The server is through with this clip: the next one runs there already."""
        if ticket in machine.queue:
            was_first = machine.queue[0] is ticket
            machine.queue.remove(ticket)
            if was_first:
                machine.since = time.monotonic()
            machine.is_shared = False
            self._wake.set()

    async def _prepare(self, ticket: Ticket, machine: Machine) -> dict[str, Any]:
        """Resolve names, send what the graph reads, and check every node against this server's signatures."""
        shot = ticket.shot
        names = await self._names(ticket, machine)
        for asset in clip_step.assets(shot):
            folder, _, name = asset.name.partition("/")
            await machine.client.upload(name, await asyncio.to_thread(_content, asset, shot), folder)
        attempt = ticket.adopt.attempt if ticket.adopt else self._next_attempt(ticket.key)
        graph = clip_step.graph(shot, names.models, names.loras, f"ltxflow/{ticket.key[:16]}-{attempt}")
        await check_live(
            machine.inventory,
            graph,
            template=shot.template.name,
            span=shot.clip.span,
            allowed=self.terms.allowed,
            cache=self.signatures,
        )
        ticket.job.versions["comfyui"] = machine.inventory.stats.version if machine.inventory.stats else ""
        ticket.job.versions |= {f"model.{role}": name for role, name in names.models.items()}
        return graph

    async def _names(self, ticket: Ticket, machine: Machine) -> Names:
        shot = ticket.shot
        used = clip_step.roles(shot)
        loras = [(lora.name, lora.span) for lora in shot.clip.loras]
        control = shot.clip.get("control.lora")
        if control:
            loras.append((str(control), shot.clip.settings["control.lora"].span))
        return await resolve_names(machine.inventory, shot.profile, shot.weights, used, loras, shot.clip.path)

    async def _submit(self, ticket: Ticket, machine: Machine, graph: dict[str, Any]) -> bool:
        """Queue the graph under an id that is written down first, unless the server knows that id already."""
        if ticket.adopt:
            return await self._take_up(ticket, machine)
        while True:
            ticket.attempt = self._next_attempt(ticket.key)
            ticket.prompt_id = prompt_id_for(ticket.key, ticket.attempt)
            state = await self._patiently(machine, ticket, lambda: machine.client.state(ticket.prompt_id))
            if state.kind in ("queued", "running", "done"):
                self._note("submitted", ticket.key, ticket.attempt, machine.name, prompt_id=ticket.prompt_id)
                self._tell(ticket, f"taken up: {machine.label} has it already ({state.kind})")
                return True
            if state.kind == "unknown":
                break
            self._finish(ticket, ticket.attempt, machine.name, "failed", f"found {state.kind} on the server")
        ticket.starts += 1
        if ticket.starts > ATTEMPTS:
            raise LtxflowError(Problem(f"given up after {ATTEMPTS} starts; the last: {ticket.cause}"), exit_code=FAILED)
        client_id = await machine.client.listen()
        self._note(
            "submitting",
            ticket.key,
            ticket.attempt,
            machine.name,
            prompt_id=ticket.prompt_id,
            client_id=client_id,
            target=ticket.job.target,
            cause=ticket.cause or "first",
        )
        ticket.is_ours = True
        await self._post(ticket, machine, graph, client_id)
        self._note("submitted", ticket.key, ticket.attempt, machine.name, prompt_id=ticket.prompt_id)
        return True

    async def _post(self, ticket: Ticket, machine: Machine, graph: dict[str, Any], client_id: str) -> None:
        extra = {"extra_pnginfo": {"ltxflow": {"key": ticket.key, "attempt": ticket.attempt}}}

        async def post_once() -> None:
            try:
                await machine.client.submit(graph, ticket.prompt_id, client_id, extra)
            except LtxflowError as error:
                if not error.transient:
                    raise
                # The answer was lost, perhaps not the prompt: only a server that does not know it gets it again.
                if (await machine.client.state(ticket.prompt_id)).kind == "unknown":
                    raise

        await self._patiently(machine, ticket, post_once)

    async def _take_up(self, ticket: Ticket, machine: Machine) -> bool:
        """Adopt the prompt that an earlier run submitted; a server that does not know it has lost it."""
        submission = ticket.adopt
        assert submission is not None
        ticket.attempt, ticket.prompt_id, ticket.is_ours = submission.attempt, submission.prompt_id, True
        state = await self._patiently(machine, ticket, lambda: machine.client.state(ticket.prompt_id))
        ticket.adopt = None
        if state.kind == "unknown":
            self._leave(ticket, machine)
            self._again(ticket, machine, "lost", "the server does not know it: its queue is gone")
            return False
        self._tell(ticket, f"taken up where an earlier run left it: {state.kind} on {machine.label}")
        await machine.client.listen()
        return True

    async def _follow(self, ticket: Ticket, machine: Machine, tracker: Tracker) -> JobState:
        ticket.job.server = machine.label
        told = False

        def hear(event: Any) -> None:
            nonlocal told
            news = tracker.hear(event)
            if tracker.has_started and not told:
                told = True
                if machine.queue and machine.queue[0] is ticket:
                    machine.since = time.monotonic()
                ticket.job.started(machine.label)
            if news is not None:
                ticket.job.progress(*news)

        state = await self._patiently(machine, ticket, lambda: follow(machine.client, ticket.prompt_id, hear))
        tracker.end()
        if not told and state.kind == "done":
            ticket.job.started(machine.label)
        return state

    async def _settle(
        self, ticket: Ticket, machine: Machine, graph: dict[str, Any], tracker: Tracker, state: JobState
    ) -> None:
        """Given how the prompt ended, fetch its files, start it again, or give it up."""
        if state.kind == "unknown":
            cause = (
                "pulled back for a server that ends it sooner" if ticket.is_withdrawn else "the server lost its queue"
            )
            self._again(ticket, machine, "cancelled" if ticket.is_withdrawn else "lost", cause)
        elif state.kind == "cancelled":
            self._finish(ticket, ticket.attempt, machine.name, "cancelled", "cancelled on the server")
            raise LtxflowError(
                Problem("somebody cancelled it on the server", hint="build again to have it made"), exit_code=FAILED
            )
        elif state.kind == "failed":
            await self._failed(ticket, machine, state)
        else:
            ticket.has_ended = True
            machine.group = ticket.task.group
            self._learn(ticket, machine, state)
            await self._fetch(ticket, machine, graph, tracker, state)

    def _learn(self, ticket: Ticket, machine: Machine, state: JobState) -> None:
        seconds = state.timings.ran_s
        if not seconds or state.cached_nodes:  # a cached run says nothing of its speed
            return
        self.spent_s += seconds
        fresh = machine.speed or Speed(seconds / ticket.task.work, 0)
        machine.speed = fresh.after(seconds, ticket.task.work)
        self.learned(machine.name, seconds, ticket.task.work)

    async def _failed(self, ticket: Ticket, machine: Machine, state: JobState) -> None:
        error = state.error
        reason = str(error) if error else "it failed without a word"
        if error is not None and is_oom(error):
            await self._out_of_memory(ticket, machine, reason)
        elif error is not None and is_transient(error):
            self._again(ticket, machine, "failed", f"a passing fault: {reason}")
        else:
            self._finish(ticket, ticket.attempt, machine.name, "failed", reason)
            raise LtxflowError(
                Problem(f"{machine.label}: {reason}", ticket.shot.clip.span, "the server's log tells more", "C020"),
                exit_code=FAILED,
            )

    async def _out_of_memory(self, ticket: Ticket, machine: Machine, reason: str) -> None:
        """Free the server and try once more there; then elsewhere; then say what the profile advises."""
        ticket.memory_errors[machine.name] = ticket.memory_errors.get(machine.name, 0) + 1
        with suppress(LtxflowError):
            await machine.client.free()
        if ticket.memory_errors[machine.name] == 1:
            ticket.pinned = machine.name
            self._again(ticket, machine, "failed", "out of memory: freed, and tried once more there")
            return
        advice = "; ".join(ticket.shot.profile.advice.get("out_of_memory", ()))
        problem = Problem(f"{machine.label}: out of memory: {reason}", ticket.shot.clip.span, advice, "C021")
        self._bar(ticket, machine, problem)
        self._again(ticket, machine, "failed", f"out of memory on {machine.label}")

    # Files

    async def _fetch(
        self, ticket: Ticket, machine: Machine, graph: dict[str, Any], tracker: Tracker, state: JobState
    ) -> None:
        """Download and verify every output; one that is bad is fetched again, then saved again, then made again."""
        started = time.monotonic()
        wanted = outputs_of(graph)
        try:
            for name, node in wanted.items():
                output = _output_of(state, node, EXTENSIONS.get(name, ""))
                await self._fetch_one(ticket, machine, name, output)
        except _BadFile as bad:
            if bad.problem.code == "disk":
                raise LtxflowError(bad.problem, exit_code=FAILED) from None
            if ticket.starts >= 2:  # saving again did not help: have every node run again
                with suppress(LtxflowError):
                    await machine.client.free(unload_models=False, free_memory=True)
            self._again(ticket, machine, "failed", f"a refused file: {bad.problem.message}")
            return
        job = ticket.job
        published = job.folder / "published.mp4"
        await asyncio.to_thread(strip_mp4, job.out["video"], published)
        job.out["published"] = published
        job.facts["published"] = dict(job.facts["video"])
        job.seconds |= tracker.seconds
        if state.timings.queued_s is not None:
            job.seconds["queued"] = round(state.timings.queued_s, 3)
        if state.timings.ran_s is not None:
            job.seconds["ran"] = round(state.timings.ran_s, 3)
        job.seconds["download"] = round(time.monotonic() - started, 3)
        if not ticket.done.done():
            ticket.done.set_result(None)

    async def _fetch_one(self, ticket: Ticket, machine: Machine, name: str, output: OutputFile | None) -> None:
        if output is None:
            raise _BadFile(Problem(f'the server lists no file for "{name}"'))
        path = ticket.job.folder / f"{name}{EXTENSIONS[name]}"
        for is_last in (False, True):
            try:
                await self._patiently(machine, ticket, lambda: machine.client.download(output, path, MAX_FILE, _ignore))
                facts = await asyncio.to_thread(_verify, name, path, ticket.shot)
            except LtxflowError as error:
                if isinstance(error, _Unreachable):
                    raise
                if is_last or error.problems[0].code in ("output-gone", "disk"):
                    raise _BadFile(error.problems[0]) from None
                continue
            ticket.job.out[name], ticket.job.facts[name] = path, facts
            return

    # What comes next

    def _again(self, ticket: Ticket, machine: Machine, outcome: str, cause: str) -> None:
        """End this attempt in the journal, and queue the clip once more, saying why."""
        self._finish(ticket, ticket.attempt, machine.name, outcome, cause)
        if not ticket.is_withdrawn:
            self._tell(ticket, f"starts again: {cause}", "warning")
        ticket.is_withdrawn, ticket.has_ended, ticket.prompt_id, ticket.is_ours = False, False, "", False
        ticket.cause = cause
        if outcome == "cancelled":
            ticket.starts -= 1  # it never ran
        if ticket.done.done():
            return
        self.pending.append(ticket)
        self._wake.set()

    def _bar(self, ticket: Ticket, machine: Machine, *problems: Problem) -> None:
        ticket.barred[machine.name] = problems
        ticket.task = Task(ticket.task.id, ticket.task.work, ticket.task.group, frozenset(ticket.barred))

    def _refused(self, ticket: Ticket, machine: Machine, error: LtxflowError) -> None:
        """A permanent no: from the server for good, or only from this one, which lacks a model."""
        if all(problem.code == "C010" for problem in error.problems):
            self._bar(ticket, machine, *error.problems)
            ticket.cause = f"{machine.label} lacks a model"
            self.pending.append(ticket)
            self._wake.set()
            return
        if ticket.prompt_id:
            self._finish(ticket, ticket.attempt, machine.name, "failed", str(error))
        self._fail(ticket, error)

    def _lost_server(self, ticket: Ticket, machine: Machine, error: _Unreachable) -> None:
        """Patience with a server is over. Elsewhere the clip starts anew; without another it stays in the journal."""
        others = [m for m in self.machines if m is not machine and not m.trips and m.name not in ticket.barred]
        if not others:
            self._fail(ticket, LtxflowError(*error.problems, exit_code=UNREACHABLE))
            return
        cause = f"{machine.label} did not answer for {self.terms.patience_s:.0f} s"
        if ticket.prompt_id:
            self._again(ticket, machine, "lost", cause)
        else:
            self.pending.append(ticket)
            self._wake.set()

    def _fail(self, ticket: Ticket, error: LtxflowError) -> None:
        if ticket in self.pending:
            self.pending.remove(ticket)
        if not ticket.done.done():
            ticket.done.set_exception(error)

    async def _cancel(self, ticket: Ticket) -> None:
        """Ctrl-C: cancel exactly this prompt, if it is ours and still runs or waits. A finished one is fetched later."""
        if ticket in self.pending:
            self.pending.remove(ticket)
        machine = next((m for m in self.machines if ticket in m.queue), None)
        for task in [task for task, each in self._attempts.items() if each is ticket]:
            task.cancel()
        if machine is None or not ticket.prompt_id or not ticket.is_ours or ticket.has_ended:
            return
        with suppress(LtxflowError, TimeoutError):
            async with asyncio.timeout(5.0):
                if await machine.client.cancel(ticket.prompt_id):
                    self._finish(ticket, ticket.attempt, machine.name, "cancelled", "interrupted")

    async def _patiently(self, machine: Machine, ticket: Ticket, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask a server until it answers. Raise what is permanent, and _Unreachable when patience is over."""
        began: float | None = None
        pause = 0.1
        while True:
            try:
                answer = await ask()
            except LtxflowError as error:
                if not error.transient:
                    raise
                began = began or time.monotonic()
                machine.trips += 1
                if machine.trips == TRIPS:
                    self._trip(machine, error)
                if time.monotonic() - began > self.terms.patience_s:
                    raise _Unreachable(*error.problems) from None
                await asyncio.sleep(pause)
                pause = min(pause * 1.7, 5.0)
                continue
            if machine.trips:
                machine.trips, machine.resting_until = 0, 0.0
                self._wake.set()
            return answer

    # The journal

    def _next_attempt(self, key: Key) -> int:
        return max((submission.attempt for submission in self.known.get(key, ())), default=0) + 1

    def _note(self, event: str, key: Key, attempt: int, server: str, **more: Any) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        record = {"event": event, "key": key, "attempt": attempt, "server": server, "at": at, **more}
        self.journal.append(record)
        state = str(more["outcome"]) if event == "finished" else event
        kept = [s for s in self.known.get(key, []) if (s.attempt, s.server) != (attempt, server)]
        target, prompt_id = str(more.get("target", "")), str(more.get("prompt_id") or prompt_id_for(key, attempt))
        self.known[key] = [*kept, Submission(attempt, server, prompt_id, state, target, at)]

    def _finish(self, ticket: Ticket, attempt: int, server: str, outcome: str, cause: str) -> None:
        self._note("finished", ticket.key, attempt, server, outcome=outcome, cause=cause, target=ticket.job.target)

    def _tell(self, ticket: Ticket | None, message: str, level: str = "info") -> None:
        self.emit(Notice(message, level, ticket.job.target if ticket else ""))


class _Unreachable(LtxflowError):
    """A server did not answer for as long as we are patient."""


class _BadFile(Exception):
    """A file that came back is not what was asked for."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.message)


def _ignore(done: int, total: int | None) -> None:
    pass


def _group(status: Status) -> str:
    """What a server loads for a clip: its weights and its LoRAs."""
    shot: clip_step.Shot = status.node.spec
    loras = [f"{lora.name}@{lora.strength:g}" for lora in shot.clip.loras]
    return " ".join([*(f"{role}:{weight}" for role, weight in sorted(shot.weights.items())), *loras])


def _makespan(plan: Mapping[str, Sequence[str]], tasks: Mapping[str, Task], lanes: Sequence[Lane]) -> float:
    return max((end_of(plan.get(lane.name, ()), tasks, lane) for lane in lanes), default=0.0)


def _output_of(state: JobState, node: str, extension: str) -> OutputFile | None:
    files = [file for file in state.outputs if file.node == node and file.filename.lower().endswith(extension)]
    return files[-1] if files else None


def _content(asset: clip_step.Asset, shot: clip_step.Shot) -> bytes | Path:
    """What is sent for an asset: a picture prepared for this clip, or a video as it is."""
    if asset.video is not None:
        return asset.video.path
    assert asset.image is not None
    fit = asset.recipe["fit"]
    focus = asset.recipe["focus"] or (0.5, 0.5)
    width, height = asset.recipe["size"]
    return prepare_image(asset.image.path, (width, height), fit, tuple(focus), asset.image.pixels)


def _verify(name: str, path: Path, shot: clip_step.Shot) -> dict[str, Any]:
    """Given a file that came back, return its facts. Raise LtxflowError when it is not what was asked for."""
    expected = clip_step.expected(shot, name)
    if name == "last_frame":
        picture = read_image(path)
        _expect(name, "size", (picture.width, picture.height), expected.size)
        return {"width": picture.width, "height": picture.height, "pixels": picture.pixels}
    facts = probe_mp4(path)
    _expect(name, "size", (facts.width, facts.height), expected.size)
    _expect(name, "frames", facts.frames, expected.frames)
    _expect(name, "frame rate", facts.fps, expected.fps)
    if not facts.has_audio:
        raise LtxflowError(Problem(f"the {name} has no sound track"), exit_code=FAILED)
    if facts.audio_seconds < facts.seconds - AUDIO_SLACK_S:
        short = f"{float(facts.audio_seconds):.2f} s of sound for {float(facts.seconds):.2f} s of picture"
        raise LtxflowError(Problem(f"the {name} has {short}"), exit_code=FAILED)
    return facts.as_json()


def _expect(name: str, what: str, found: object, wanted: object) -> None:
    if wanted is not None and found != wanted:
        raise LtxflowError(Problem(f"the {name} has {what} {found}, not {wanted}"), exit_code=FAILED)


def _nobody(machines: Sequence[Machine]) -> LtxflowError:
    names = ", ".join(machine.label for machine in machines)
    return LtxflowError(
        Problem(
            f"no ComfyUI server is reachable (tried {names})",
            hint="start one, name it with --server, or draw slates: ltxflow build --animatic",
            code="C001",
        ),
        exit_code=UNREACHABLE,
    )


def _over_budget(seconds: float) -> LtxflowError:
    return LtxflowError(
        Problem(
            f"not started: it would pass --max-gpu {seconds / 60:.0f}m",
            hint="build again with more, or choose clips by selectors",
            code="C030",
        ),
        exit_code=FAILED,
    )
