"""A film of tiny clips, and builds of it on fake servers through the real command. What must always hold is checked
after each: nothing completes twice, every further start has its cause in the journal, nothing is written elsewhere.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.comfyui import FakeComfy, FakeProcess

from harness.command import Ran, command, run
from harness.film import OnDisk, prompt
from ltxflow.farm.journal import Journal
from ltxflow.media.probe import probe_mp4

Fake = FakeComfy | FakeProcess
PATIENCE_S = 20.0  # of tests, for what takes a moment
LIMIT_S = 40.0  # of a build

# In the process that builds: it dies without a word when this is called for the n-th time.
DIES = """
import os, signal
from ltxflow.comfy import client
from ltxflow.farm import executor as comfy
from ltxflow.farm import journal as submissions
from ltxflow.farm import transfer as fetch
from ltxflow.store import store

def dies(owner, name, after=False):
    was = getattr(owner, name)
    def now(*args, **options):
        if after:
            was(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, now)
"""


@dataclass
class Studio(OnDisk):
    """A project in `root/work/film`, its store beside it, and all that its journal ever said."""

    journal: list[dict[str, Any]] = field(default_factory=list)
    past: Counter[str] = field(default_factory=Counter)  # starts by server, of a life that is forgotten

    def write(self, *clips: str, scene: str = "crossfade: 0f", **top: Any) -> Studio:
        """A film of one scene with these clips (`id` or `id: settings`), each of 9 frames; `top` are its other keys."""
        self.folder.mkdir(exist_ok=True)
        keys = {"ltxflow": 1, "id": "tiny", "title": "Tiny", "size": "128x128", "seed": 3, **top}
        lines = [*(f"{key}: {json.dumps(value)}" for key, value in keys.items()), "scenes:", "  - id: s"]
        lines += [f"    {line}" for line in scene.splitlines()] + ["    clips:"]
        for clip in clips:
            id, _, settings = clip.partition(":")
            own = [] if "length:" in settings else ["length: 9f"]
            own += [f"prompt: {json.dumps(prompt(f's-{id}'))}"] + ([settings.strip()] if settings else [])
            lines.append(f"      - {{id: {id}, {', '.join(own)}}}")
        self.file.write_text("\n".join(lines) + "\n")
        return self

    def build(
        self,
        *servers: Fake | str,
        args: Sequence[str] = (),
        meanwhile: Callable[[], object] | None = None,
    ) -> Ran:
        """Build the film in this process; `meanwhile` runs beside it, and its failure is the test's."""
        with ThreadPoolExecutor(1) as beside, limited():
            other = beside.submit(_released, meanwhile, servers) if meanwhile else None
            ran = run("build", "--json", "-p", str(self.folder), *_server_args(servers), *args)
            if other is not None:
                other.result()
        self.note()
        self.check(*(server for server in servers if not isinstance(server, str)))
        return ran

    def start(self, *servers: Fake | str, args: Sequence[str] = (), setup: str = "") -> subprocess.Popen[str]:
        """Begin a build in a process of its own; `setup` is Python that runs there first."""
        argv = command("build", "--json", "-p", str(self.folder), *_server_args(servers), *args, setup=setup)
        return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ)

    def ended(self, process: subprocess.Popen[str], *servers: Fake) -> Ran:
        """Wait for a build that was begun, and check what it left."""
        out, err = process.communicate(timeout=LIMIT_S)
        self.note()
        self.check(*servers)
        return Ran(process.returncode, out, err)

    def forget(self, *servers: Fake) -> None:
        """Lose all that was made and known; the servers keep what they have."""
        for folder in (self.folder / ".ltxflow", self.public, self.store):
            shutil.rmtree(folder)
        self.journal.clear()
        self.past.update({server.url: len(server.stats()["runs"]) for server in servers})

    def events(self, *names: str) -> list[dict[str, Any]]:
        """What the journal said, in order, whatever later runs dropped from it."""
        return [event for event in self.journal if event["event"] in names]

    @property
    def causes(self) -> list[str]:
        """Why there were submissions, one for each: "first", or what went wrong before."""
        return [event["cause"] for event in self.events("submitting")]

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(event["outcome"] for event in self.events("finished"))

    @property
    def films(self) -> dict[str, Path]:
        """The published clips: `a` → its file."""
        return {path.stem.split("-")[-1]: path for path in sorted(self.scenes.glob("*.mp4"))}

    @property
    def traces(self) -> dict[str, dict[str, Any]]:
        """What is known of how things were made, by target: the newest trace of each, as its file says."""
        files = sorted(self.store.glob("traces/??/*.json"), key=lambda file: file.stat().st_mtime_ns)
        return {trace["target"]: trace for trace in (json.loads(file.read_text()) for file in files)}

    def note(self) -> None:
        known = {json.dumps(event) for event in self.journal}
        for event in Journal(self.folder / ".ltxflow" / "journal.jsonl").read():
            if json.dumps(event) not in known:
                self.journal.append(event)

    def check(self, *servers: Fake) -> None:
        """What holds whatever went wrong."""
        told = [server.stats() for server in servers]
        assert not [bug for stats in told for bug in stats["bugs"]]
        assert not [name for stats in told for name in stats["escapes"]]
        submitted = {event["prompt_id"]: event for event in self.events("submitting")}
        runs = [
            run for server, stats in zip(servers, told, strict=True) for run in stats["runs"][self.past[server.url] :]
        ]
        ours = [run for run in runs if not run["foreign"] and run["prompt_id"] in submitted]
        starts = Counter(run["prompt_id"] for run in ours)
        renders = Counter(run["key"] for run in ours if run["outcome"] == "success" and run["rendered"])
        assert all(count == 1 for count in starts.values()), f"started twice under one id: {starts}"
        firsts = Counter(event["key"] for event in submitted.values() if event["cause"] == "first")
        assert all(count == 1 for count in firsts.values()), "a second start without a cause"
        again = {event["key"] for event in submitted.values() if event["cause"] != "first"}
        extra = {key for key, count in renders.items() if count > 1}
        assert len(extra) <= len(again), f"rendered twice without a cause: {extra}"
        assert {path.name for path in self.root.iterdir()} <= {"work", "store", "config"}
        assert {path.name for path in (self.root / "work").iterdir()} <= {".git", "film"}
        allowed = {"project.yaml", "ltxflow.lock", "public", ".ltxflow", "refs", "prompts", "templates"}
        assert {path.name for path in self.folder.iterdir()} <= allowed
        for file in self.public.rglob("*"):
            if file.is_file():
                assert file.suffix in (".mp4", ".json", ".txt", ".jpg", ".srt", ".vtt", ".wav"), (
                    f"a partial file: {file}"
                )
                assert file.suffix != ".mp4" or probe_mp4(file).frames > 0


@contextmanager
def limited() -> Iterator[None]:
    """A build that hangs fails its test, and not the whole run."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"the build did not end in {LIMIT_S:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _released(meanwhile: Callable[[], object], servers: Sequence[Fake | str]) -> None:
    """Run it; when it fails, let the servers go: the build must end."""
    try:
        meanwhile()
    except BaseException:
        for server in servers:
            if isinstance(server, FakeComfy):
                server.misbehave.clear()
                server.go()
        raise


def _server_args(servers: Sequence[Fake | str]) -> list[str]:
    urls = [server if isinstance(server, str) else server.url for server in servers]
    return [part for url in urls for part in ("--server", url)]


def notices(ran: Ran) -> str:
    """All that a build told a person by the way, one line each."""
    return "\n".join(event["message"] for event in ran.events("notice"))


def problems(ran: Ran) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ran.envelope["problems"]
    return found


def started(count: int) -> Callable[[dict[str, Any]], bool]:
    """A condition on a server's stats: so many prompts began."""
    return lambda stats: len(stats["runs"]) >= count


def accepted(count: int) -> Callable[[dict[str, Any]], bool]:
    """A condition on a server's stats: so many prompts were queued."""
    return lambda stats: sum(stats["accepted"].values()) >= count


def asked(request: str, count: int = 1) -> Callable[[dict[str, Any]], bool]:
    """A condition on a server's stats: somebody asked this so often, such as "GET /api/jobs/{id}"."""
    return lambda stats: stats["requests"].get(request, 0) >= count


class Gate:
    """Lets a thread wait for another without a clock."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def open(self) -> None:
        self._event.set()

    def wait(self) -> None:
        assert self._event.wait(PATIENCE_S)


def slow_but(text: str) -> Any:
    """Renders take a while, but for the clip whose prompt has this in it."""
    return lambda graph: 0.0 if text in json.dumps(graph) else 4.0


def freeze(server: FakeComfy, running: int, waiting: int = 0) -> None:
    """Wait until the n-th prompt runs and others wait, and leave it so."""
    server.wait(started(running))
    server.hold()
    server.wait(accepted(running + waiting))


def let_go(server: FakeComfy) -> None:
    server.set_speed(1e9)
    server.go()


def until(process: subprocess.Popen[str], event: str, word: str = "") -> None:
    """Read what a build tells until this event, with that word in it."""
    assert process.stdout is not None
    told: list[str] = vars(process).setdefault("told", [])  # b may start before a is fetched: look back, too

    def is_it(line: str) -> bool:
        return json.loads(line).get("event") == event and word in line

    if any(map(is_it, told)):
        return
    with limited():
        for line in process.stdout:
            told.append(line)
            if is_it(line):
                return
    raise AssertionError(f"it ended without {event}: {process.stderr.read() if process.stderr else ''}")
