"""kill -9 of a build that renders on two servers, at random moments: the next run takes up what is there, nothing
completes twice, nothing is lost, and whoever looks at the published tree meanwhile sees whole files only.

The seed is printed; the same one, in the environment as KILL_SEED, gives the same moments again (as far as two servers
and a clock allow).
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest
from fakes.comfyui import FakeComfy, FakeProcess
from harness.command import command
from harness.crashing import at_each_write
from harness.studio import Studio
from PIL import Image

from ltxflow.cli.main import main
from ltxflow.core.digest import Key, digest_file
from ltxflow.core.files import TEMP_PREFIX
from ltxflow.core.timing import seed_for
from ltxflow.farm.journal import Journal
from ltxflow.lock.file import read_lock
from ltxflow.media.probe import probe_mp4
from ltxflow.session.session import open_session
from ltxflow.store.store import Store

DEMO = Path(__file__).resolve().parents[1] / "projects" / "wallet-explainer"
LIMIT_S = 120.0  # of one build
Json = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """When a build dies: after so many lines of its output, in place of its n-th write, or after so many seconds."""

    kind: Literal["line", "write", "second"]
    at: float


@dataclass
class Campaign:
    """The demo film, tiny, with two servers that outlive every build; and all that its journal ever said."""

    root: Path
    servers: list[FakeProcess]
    journal: dict[str, Json] = field(default_factory=dict)
    films: int = 0
    lines: int = 0  # of the last build
    seconds: float = 0.0
    runs: dict[str, int] = field(default_factory=dict)  # server → runs that an earlier film had there
    kills: Counter[str] = field(default_factory=Counter)
    wanted: int = 0
    luckless: tuple[str, ...] = ()  # clips whose first seed comes back frozen: these are tried again by themselves
    adopted: int = 0
    extra: int = 0

    @property
    def folder(self) -> Path:
        return self.root / "work" / "film"

    @property
    def public(self) -> Path:
        return self.folder / "public"

    def write(self) -> Campaign:
        """The demo film at 128x64, with pictures as small."""
        (self.root / "work" / ".git").mkdir(parents=True)
        shutil.copytree(DEMO, self.folder, ignore=shutil.ignore_patterns(".ltxflow", "public", "*.lock"))
        for picture in (self.folder / "refs").iterdir():
            with Image.open(picture) as image:
                image.resize((128, 72)).save(picture)
        self._edit(r"(?m)^aspect: .*$", "size: 128x64")
        self._edit(r"(?m)^speech: .*$", "")  # lengths are to be the same whatever voice is installed
        self._edit(r"(?m)^        seed: 88.*\n", "")  # set by hand: this clip would be the same in every film
        open_session(str(self.folder), cwd=self.root, env=os.environ)  # what reading it caches, all forks have
        return self

    def next_film(self) -> None:
        """Change the film's seed, so that every clip is to be rendered, and none that a server has seen before."""
        self.films += 1
        self._edit(r"(?m)^seed: \d+", f"seed: {self.films}")
        for server in self.servers if self.luckless else ():
            server.control("misbehave", kind="clear")
            seeds = [seed_for(self.films, *clip.split("/"), 1) for clip in self.luckless]
            server.control("misbehave", kind="spoil", what="frozen", seeds=seeds)
        (self.folder / "ltxflow.lock").unlink(missing_ok=True)  # it keeps the seeds of the film before
        self.runs = {server.url: len(server.stats()["runs"]) for server in self.servers}

    def reseed(self, *clips: str) -> None:
        """From now on these clips come back frozen at first, and the film asks for further seeds."""
        self.luckless = clips
        # the fake draws a bar that wraps, and all seeds alike
        self._edit(r"(?m)^  clip:$", "  clip:\n    reseed: 2\n    checks: { cut: false, duplicate: false }")

    def _edit(self, pattern: str, text: str) -> None:
        file = self.folder / "project.yaml"
        changed, found = re.subn(pattern, text, file.read_text(), count=1)
        assert found == 1
        file.write_text(changed)

    # Builds

    def build(self, moment: Moment | None = None, *, is_forked: bool = True) -> int | None:
        """Build the film, and kill -9 the build at that moment; return its exit code, None when it was killed.

        A fork of this process has everything imported, which is most of the time of a short build; otherwise it is
        the command as anybody runs it. Either is killed by the kernel, in the middle of whatever it does.
        """
        arguments = ["build", "--json", "-p", str(self.folder)]
        for server in self.servers:
            arguments += ["--server", server.url]
        out, into = os.pipe()
        began = time.monotonic()
        if is_forked:
            process = os.fork()
            if process == 0:
                _be_the_build(arguments, into, self.root / "writes", moment)
        else:
            process = os.posix_spawn(
                sys.executable,
                command(*arguments, setup=""),
                dict(os.environ),
                file_actions=[(os.POSIX_SPAWN_DUP2, into, 1), (os.POSIX_SPAWN_CLOSE, out)],
            )
        os.close(into)
        lines = _read_until(out, process, moment, began)
        _, status = os.waitpid(process, 0)
        os.close(out)
        self._note()
        self.lines = len(lines)
        self.seconds = time.monotonic() - began
        self.adopted += sum("resumed" in line and json.loads(line).get("event") == "notice" for line in lines)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, (os.WTERMSIG(status), lines[-3:])
            return None
        code = os.waitstatus_to_exitcode(status)
        assert code == 0, lines[-1][:3000]
        return code

    def _note(self) -> None:
        for event in Journal(self.folder / ".ltxflow" / "journal.jsonl").read():
            self.journal[json.dumps(event)] = event

    def measure(self) -> tuple[int, int, float]:
        """One film without a kill: how many lines, writes and seconds there are to die at."""
        self.next_film()
        self.build(Moment("write", float("inf")))
        self.check(self.look())
        return self.lines, int((self.root / "writes").read_text()), self.seconds

    def moment(self, rng: random.Random, lines: int, writes: int, seconds: float) -> Moment:
        kind = rng.choice(("line", "line", "write", "second"))
        if kind == "line":
            return Moment("line", rng.randint(1, lines))
        return Moment("write", rng.randrange(writes)) if kind == "write" else Moment("second", seconds * rng.random())

    def kill(self, rng: random.Random, usual: tuple[int, int, float], *, is_forked: bool, again: float) -> None:
        """A new film, its build killed once, again with that chance each time, and then made to the end."""
        self.next_film()
        whole = self.look()
        seen: set[tuple[str, str]] = set()
        while True:
            moment = self.moment(rng, *usual)
            if moment.kind == "write" and not is_forked:
                continue  # nobody counts the writes of a process that is not ours
            was_killed = self.build(moment, is_forked=is_forked) is None
            self.kills[moment.kind] += was_killed
            seen |= set(self.look().items())
            if not was_killed or self.kills.total() >= self.wanted or rng.random() >= again:
                break
        self.build()
        now = self.look()
        for path, digest in seen:
            assert digest in (whole.get(path), now[path]), f"{path} was not whole when the build was killed"
        self.check(now)

    # What must hold

    def look(self) -> dict[str, str]:
        """What a player sees at any moment: whole files; and whatever a complete timeline says is there."""
        found = {
            str(path.relative_to(self.public)): digest_file(path)
            for path in self.public.rglob("*")
            if path.is_file() and not path.name.startswith(TEMP_PREFIX)
        }
        for path in found:
            if path.endswith(".mp4"):
                probe_mp4(self.public / path)
        if "scenes/timeline.json" in found:
            told = json.loads((self.public / "scenes/timeline.json").read_text())
            for clip in (clip for scene in told["scenes"] for clip in scene["clips"] if told["complete"]):
                assert found[clip["src"]] == clip["sha256"], f"{clip['src']} is not what a whole timeline says"
        return {path: digest for path, digest in found.items() if path.endswith(".mp4")}

    def check(self, found: dict[str, str]) -> None:
        """What holds once a film is made: in the tree, in the store, in the journal, and on the servers."""
        told = json.loads((self.public / "scenes/timeline.json").read_text())
        clips = [clip for scene in told["scenes"] for clip in scene["clips"]]
        assert told["complete"]
        assert {clip["src"] for clip in clips} == set(found)
        assert len(clips) == 15
        for clip in clips:
            assert probe_mp4(self.public / clip["src"]).frames == clip["frames"]
        assert not list(self.root.rglob(f"{TEMP_PREFIX}*")), "something half-written is left"
        lock = read_lock(self.folder / "ltxflow.lock", "ltxflow.lock")
        store = Store(self.root / "store")
        takes = {(name, take): it for name, entry in lock.entries.items() for take, it in entry.takes.items()}
        assert len(takes) == 15 + 2 + 3  # the clips, two further takes of hook/b, three angles of the device
        for (name, take), rendered in takes.items():
            trace = store.lookup(rendered.key)
            assert trace is not None
            assert all(store.cas.verify(output.digest) for output in trace.outputs.values())
            if take == 1 and "published" in trace.outputs:
                assert trace.outputs["published"].digest in found.values(), name
        self.check_servers({Key(rendered.key) for rendered in takes.values()})

    def check_servers(self, keys: set[Key]) -> None:
        told = {server.url: server.stats() for server in self.servers}
        assert not [bug for stats in told.values() for bug in stats["bugs"]]
        assert all(stats["running"] is None and not stats["pending"] for stats in told.values()), "something runs on"
        accepted = Counter[str]()
        for stats in told.values():
            accepted.update(stats["accepted"])
        assert max(accepted.values()) == 1, "a prompt was queued twice"
        known = {event["prompt_id"] for event in self.journal.values() if event["event"] == "submitting"}
        assert set(accepted) <= known, "a prompt was sent before it was written down"
        runs = [run for url, stats in told.items() for run in stats["runs"][self.runs[url] :]]
        made = Counter(run["key"] for run in runs if run["outcome"] == "success")
        assert set(made.values()) == {1}, "a key completed twice"
        assert len(made) == len(keys) + len(self.luckless)
        causes = Counter(
            event["key"][:16] for event in self.journal.values() if event["event"] == "finished" and event.get("cause")
        )
        starts = Counter(_key_of(run) for run in runs)
        assert set(starts) >= {key[:16] for key in keys}
        assert len(starts) == len(keys) + len(self.luckless)
        for key, started in starts.items():
            assert started <= 1 + causes[key], (
                f"{key} started {started} times, with {causes[key]} causes in the journal"
            )
            self.extra += started - 1


def _key_of(run: Json) -> str:
    """The key that a prompt's files are named by, its first 16 digits."""
    return re.match(r"ltxflow/([0-9a-f]{16})-", run["prefixes"][0])[1]  # type: ignore[index]


def _be_the_build(arguments: list[str], into: int, counter: Path, moment: Moment | None) -> None:
    """In the forked process: be `ltxflow` with these arguments, and never return."""
    code = 3
    try:
        os.dup2(into, 1)
        sys.stdout = os.fdopen(1, "w")
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115  # this process ends without closing anything
        numbers = count()

        def before(op: str, path: Path) -> None:
            if moment is None or moment.kind != "write":
                return
            number = next(numbers)
            if number >= moment.at:
                os.kill(os.getpid(), signal.SIGKILL)
            counter.write_text(str(number))

        with at_each_write(before):
            code = main(arguments)
        sys.stdout.flush()
    finally:
        os._exit(code)


def _read_until(out: int, process: int, moment: Moment | None, began: float) -> list[str]:
    """Read what a build prints; kill it when the moment has come."""
    data = b""
    end = began + (moment.at if moment and moment.kind == "second" else LIMIT_S)
    last = moment.at if moment and moment.kind == "line" else float("inf")
    while True:
        ready, _, _ = select.select([out], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            os.kill(process, signal.SIGKILL)
            assert moment is not None, "the build hangs"
            break
        block = os.read(out, 1 << 16)
        data += block
        if not block or data.count(b"\n") >= last:
            if block:
                os.kill(process, signal.SIGKILL)
            break
    return data.decode().splitlines()


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Campaign]:
    monkeypatch.setenv("LTXFLOW_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with ExitStack() as stack:
        speeds = ("1", "0.45")
        options = ("--seconds", "0.0006/frame")
        servers = [stack.enter_context(FakeProcess(*options, "--speed", speed)) for speed in speeds]
        yield Campaign(tmp_path, servers).write()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize(
    ("kills", "is_forked", "again"),
    [
        pytest.param(6, True, 1.0, id="6 kills with further seeds", marks=pytest.mark.slow),
        pytest.param(4, True, 1.0, id="4 kills"),
        pytest.param(42, True, 0.2, id="42 kills", marks=pytest.mark.slow),
        pytest.param(8, False, 0.2, id="8 kills of the real command", marks=pytest.mark.slow),
    ],
)
def test_however_often_a_build_is_killed_nothing_completes_twice_and_the_tree_is_right(
    campaign: Campaign, kills: int, is_forked: bool, again: float
) -> None:
    seed = int(os.environ.get("KILL_SEED") or random.randrange(10**6))
    print(f"KILL_SEED={seed}")
    rng = random.Random(seed)
    if kills == 6:
        campaign.reseed("hook/a", "hook/b", "phishing/a")
    usual = campaign.measure() if kills > 4 else (150, 120, 2.0)  # rather the first half of a film
    campaign.wanted = kills
    while campaign.kills.total() < campaign.wanted:
        campaign.kill(rng, usual, is_forked=is_forked, again=again)
    kinds = ", ".join(f"{count} by {kind}" for kind, count in campaign.kills.items())
    print(f"{campaign.films} films, {kinds}: {campaign.adopted} prompts taken up, {campaign.extra} extra starts")
    assert campaign.adopted, "no kill left a prompt behind: the moments are badly chosen"


def test_a_prompt_that_is_pulled_back_from_a_slow_server_never_starts_there(studio: Studio) -> None:
    """The slow server stands still until the others are made, so that no clock decides."""
    studio.write("a", "b", "c", "d", "e")
    with FakeComfy() as fast, FakeComfy() as slow:
        slow.hold()

        def meanwhile() -> None:
            fast.wait(lambda stats: sum(run["outcome"] == "success" for run in stats["runs"]) == 4)
            slow.go()

        ran = studio.build(fast, slow, meanwhile=meanwhile)
        assert ran.code == 0
        sent = {id for server in (fast, slow) for id in server.stats()["accepted"]}
        assert len(slow.stats()["accepted"]) == 2
        assert [run["outcome"] for run in slow.stats()["runs"]] == ["success"]
        assert len(fast.stats()["runs"]) == 4
    pulled = [event for event in studio.events("finished") if event["outcome"] == "cancelled"]
    assert [event["cause"] for event in pulled] == ["withdrawn for a server that finishes it sooner"]
    assert len(sent) == 6
    assert len(studio.films) == 5


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    return Studio.at(tmp_path).move_in(monkeypatch)
