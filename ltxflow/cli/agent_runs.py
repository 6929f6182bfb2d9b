"""Run commands for an agent: each in a separate process, with checked arguments, builds within a GPU budget.

So a crash or a disconnect harms nothing, and what an agent gets is what the command answers with --json. An argument is
never an option: it has the form of a name, or it is refused.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.workspace import OWN, real_path
from ltxflow.documents.document import find_project
from ltxflow.farm.ledger import LEDGER, Ledger

Answer = dict[str, Any]  # the envelope of a command
OnEvent = Callable[[Mapping[str, Any]], Awaitable[None]]

LONGEST, MOST_SELECTORS, SCRIPT = 200, 100, 1_000_000  # characters of an argument, selectors, characters of a script
PICTURE_BYTES = 4_000_000
ENDS_S = 20.0  # for a build that is stopped to cancel what runs on its servers
LINE_BYTES = 256 << 20  # of an answer
TAIL = 400  # characters of the standard error of a command, where it gave no answer
FORMS: Mapping[str, tuple[re.Pattern[str], str, str]] = {  # what an argument may be: form, its name, an example
    "take": (re.compile(r"(reference:)?[A-Za-z0-9][\w./-]*(@\d{1,9})?"), "a clip or take", "hook/b or hook/b@2"),
    "clips": (
        re.compile(r"!?(tag:|changed:|reference:|clip:)?[A-Za-z0-9*?\[][\w.*?\[\]!/~^-]*(@\d{1,9})?"),
        "a selector",
        "hook, hook/b or tag:night",
    ),
    "at": (re.compile(r"first|middle|last|\d{1,9}f|\d{1,6}(\.\d{1,6})?s"), "a time in a clip", "2s, 50f or middle"),
    "project": (re.compile(r"[\w.][^\x00-\x1f\x7f-\x9f\u2028\u2029]*"), "a folder in the workspace", "films/coins"),
    "folder": (re.compile(r"[\w.][^\x00-\x1f\x7f-\x9f\u2028\u2029]*"), "a folder in the workspace", "films/coins"),
    "title": (re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]+"), "a title of one line", "The Key"),
}


def checked(name: str, value: str, kind: str = "") -> str:
    """Return an argument that has the form of its kind. Raise LtxflowError for any other."""
    form, wanted, example = FORMS[kind or name]
    if len(value) > LONGEST:
        raise LtxflowError(problem("U019.long", name=name, most=LONGEST))
    if not form.fullmatch(value) or ".." in value.replace("\\", "/").split("/"):
        shown = value.encode("unicode_escape").decode()
        raise LtxflowError(problem("U019.form", name=name, value=shown, wanted=wanted, example=example))
    return value


def selected(clips: Sequence[str]) -> list[str]:
    """Return the selectors of a call, checked."""
    if len(clips) > MOST_SELECTORS:
        raise LtxflowError(problem("U019.many", name="clips", most=MOST_SELECTORS))
    return [checked("clips", each) for each in clips]


@dataclass(eq=False)
class BuildRun:
    """One build: what it builds, its limit, its events until None, and what it cost, as it says at its end."""

    file: Path
    name: str
    words: tuple[str, ...]
    max_gpu_s: float | None
    events: asyncio.Queue[Mapping[str, Any] | None] = field(default_factory=asyncio.Queue)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    gpu_s: float | None = None


@dataclass
class Runs:
    """The commands of one session: where they run, for which film, and what its builds have cost.

    `folder` is where the server was started, `project` the value of -p; nothing outside `workspace` is named.
    """

    folder: Path
    workspace: Path
    project: str | None
    max_gpu_s: float
    servers: tuple[str, ...] = ()
    spent_s: float = 0.0
    building: str = ""  # the project that is being built, as an agent named it
    _builds: dict[asyncio.Task[Answer], BuildRun] = field(default_factory=dict)
    _one_build: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def budget(self) -> dict[str, Any]:
        """What is left of the GPU time of this session."""
        left = max(0.0, self.max_gpu_s - self.spent_s)
        return {"max_gpu_s": self.max_gpu_s, "spent_s": round(self.spent_s, 3), "left_s": round(left, 3)}

    def place(self, name: str, value: str) -> Path:
        """Return a folder of the workspace. Raise LtxflowError for one that leads out of it, by a link too."""
        path = real_path(self.workspace / checked(name, value))
        if not path.is_relative_to(self.workspace):
            raise LtxflowError(problem("U019.outside", name=name, value=value, workspace=self.workspace))
        return path

    def file(self, project: str) -> Path:
        """Return the project.yaml of a call: that of a folder in the workspace, else the one of this session."""
        if project:
            named = checked("project", project)
            here = self.place("project", project)
            file = find_project(str(here) if here.exists() else named, self.workspace)
        else:
            file = find_project(self.project, self.folder)
        if not real_path(file).is_relative_to(self.workspace):
            where = project or str(file.parent)
            raise LtxflowError(problem("U019.outside", name="project", value=where, workspace=self.workspace))
        return file

    async def ask(self, verb: str, project: str, *words: str) -> Answer:
        """Run a command about a film, and return its answer."""
        return await self.run(verb, *self._options(self.file(project)), *words)

    def _options(self, file: Path) -> list[str]:
        return [f"--project={file.parent}", f"--root={self.workspace}"]

    async def run(self, *words: str, text: str = "") -> Answer:
        """Run a command that takes moments, with `text` as its standard input; a call that is withdrawn ends it."""
        process = await self._start(*words)
        try:
            out, err = await process.communicate(text.encode())
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.terminate()
            raise
        return _answer(words[0], out, err, process.returncode)

    async def picture(self, project: str, take: str, at: str, size: int) -> tuple[Answer, bytes]:
        """Return a frame of a clip as a JPEG, with the answer of the command that made it."""
        words = [f"--at={checked('at', at)}", f"--size={size}", checked("take", take)]
        file = self.file(project).parent / OWN / "frames" / f"{uuid4().hex}.jpg"
        try:
            answer = await self.ask("frame", project, *words, f"--out={file}")
            if not answer["ok"]:
                return answer, b""
            if file.stat().st_size > PICTURE_BYTES:
                raise LtxflowError(problem("U019.large", most=PICTURE_BYTES // 1_000_000))
            return answer, file.read_bytes()
        finally:
            file.unlink(missing_ok=True)

    async def build(self, project: str, words: Sequence[str], max_gpu_s: float | None, tell: OnEvent) -> Answer:
        """Build a film within what is left of the budget, one at a time, and `tell` of its events.

        A call that is withdrawn stops the build as Ctrl-C does, and its cost counts all the same.
        """
        run = BuildRun(self.file(project), project or "the film of this session", tuple(words), max_gpu_s)
        task = asyncio.create_task(self._build(run))
        self._builds[task] = run
        task.add_done_callback(lambda ended: self._builds.pop(task))
        try:
            while (event := await run.events.get()) is not None:
                await tell(event)
            return await task
        except asyncio.CancelledError:
            run.stop.set()
            raise

    async def _build(self, run: BuildRun) -> Answer:
        try:
            async with self._one_build:
                if run.stop.is_set():
                    return {}
                left = max(0.0, self.max_gpu_s - self.spent_s)
                limit = left if run.max_gpu_s is None else min(left, run.max_gpu_s)
                ledger = Ledger(run.file.parent / OWN / LEDGER)
                before = ledger.read().gpu_s
                options = [f"--max-gpu={limit:.3f}s", *(f"--server={url}" for url in self.servers)]
                process = await self._start("build", "--attached", *self._options(run.file), *options, *run.words)
                self.building = run.name
                try:
                    out, err = await _ended(process, run)
                finally:
                    self.building = ""
                    told = run.gpu_s if run.gpu_s is not None else ledger.read().gpu_s - before
                    self.spent_s += max(0.0, told)
                return _answer("build", out, err, process.returncode)
        finally:
            run.events.put_nowait(None)

    async def close(self) -> None:
        """Stop the builds of a session that ends, and wait until what they run on servers is cancelled."""
        for run in self._builds.values():
            run.stop.set()
        if self._builds:
            await asyncio.wait([*self._builds])

    async def _start(self, verb: str, *words: str) -> asyncio.subprocess.Process:
        """Start a command in a separate process group, so that a signal to that of the server does not reach it."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-P", "-m", "ltxflow", verb, "--json", *words),  # -P: no module of the workspace is imported
            cwd=self.folder,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES,
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1"},
        )


async def _ended(process: asyncio.subprocess.Process, run: BuildRun) -> tuple[bytes, bytes]:
    """Wait for a build. Where it is to stop, end its standard input; kill it where that does not help."""
    assert process.stdin is not None
    reading, stopping = asyncio.create_task(_follow(process, run)), asyncio.create_task(run.stop.wait())
    await asyncio.wait([reading, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    process.stdin.close()
    if not (await asyncio.wait([reading], timeout=ENDS_S if run.stop.is_set() else None))[0]:
        with suppress(ProcessLookupError):
            process.kill()
    out, err = await reading
    await process.wait()
    return out, err


async def _follow(process: asyncio.subprocess.Process, run: BuildRun) -> tuple[bytes, bytes]:
    """Hand on the events of a build; return its last line, and its standard error."""
    assert process.stdout is not None
    assert process.stderr is not None
    err, last = asyncio.create_task(process.stderr.read()), b""
    while line := await process.stdout.readline():
        last = line
        event = _parsed(line)
        if "event" in event:
            run.events.put_nowait(event)
        if event.get("event") == "run-finished":
            run.gpu_s = float(event["gpu_s"])
    return last, await err


def _answer(verb: str, out: bytes, err: bytes, code: int | None) -> Answer:
    """Return the envelope that a command printed last. Raise LtxflowError where there is none."""
    last = out.rstrip().rpartition(b"\n")[2]
    answer = _parsed(last)
    if "exit_code" not in answer:
        shown = err.decode(errors="replace").strip()[-TAIL:]
        raise LtxflowError(problem("U019.crashed", verb=verb, code=code, detail=f": {shown}" if shown else ""))
    return answer


def _parsed(line: bytes) -> Answer:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
