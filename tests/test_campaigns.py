"""The long campaigns: every odd thing at every place, damage in every file, every odd machine, servers that misbehave.

`make test-slow` prints how often each kind was tried, and what failed. The seed is in the environment as ATTACK_SEED;
the same one tries the same things again.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import odd
from fakes.comfyui import FakeComfy, FakeProcess
from fakes.misbehave import HOSTILE_NAMES, LUCKLESS, SPOILS
from harness.campaign import Campaign
from harness.command import command
from harness.machines import MACHINES, VERBS, Machine, clock_library, film_in, run_on, wrong
from harness.stage import Hung, Stage, staged, tried
from harness.stage import wrong as wrong_word
from harness.studio import Studio

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("ATTACK_SEED", "1"))
WRITERS = (
    *(("build", "--animatic"), ("plan",), ("build", "--server", "SERVER"), ("status",), ("report",), ("narrate",)),
    *(("export", "otio"), ("export", "remotion", "starter/remotion"), ("export", "edl", "cuts/film.edl")),
    *(("conform", "--proxy"), ("conform", "--proxy", "--output", "cuts/film.mp4"), ("pick", "hook/b", "1")),
    *(("approve", "hook/a"), ("retake", "end/a", "--server", "SERVER"), ("lock", "setup"), ("clean", "--yes")),
    *(("template", "import", "mine_api.json", "--force"), ("verify", "--repair"), ("init", "other/x")),
    *(("cache", "ls"), ("cache", "stats"), ("cache", "verify", "--repair"), ("cache", "gc", "--yes")),
    ("cache", "rebuild"),
)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("campaign")) as made:
        yield made


@pytest.mark.parametrize("put", odd.LINKS)
def test_links_at_every_place(stage: Stage, campaign: Campaign, put: odd.Put) -> None:
    for path in stage.places("work"):
        campaign.add(f"{put.__name__} in the workspace", len(WRITERS), tried(stage, path, put, WRITERS))
    campaign.check()


@pytest.mark.parametrize("put", [*odd.ODD, odd.link_to_itself, odd.link_to_zeros])
@pytest.mark.parametrize("top", ["work", "store"])
def test_odd_things_at_every_place(stage: Stage, campaign: Campaign, top: str, put: odd.Put) -> None:
    where = "workspace" if top == "work" else "store"
    for path in stage.places(top):
        campaign.add(f"{put.__name__} in the {where}", len(WRITERS), tried(stage, path, put, WRITERS))
    campaign.check()


# --- damage


def flipped(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "a flipped bit": flipped,
    "a torn end": lambda data, chance: data[: chance.randrange(len(data))],
    "a block of zeros": lambda data, chance: data[: len(data) // 2] + bytes(min(512, len(data) // 2)),
    "another file's end": lambda data, chance: data + data[: chance.randrange(len(data))],
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("top", ["work", "store"])
def test_damage_in_every_file(stage: Stage, campaign: Campaign, top: str, kind: str) -> None:
    """Told or mended; what is published in the end is right, and paid for once unless its bytes are gone."""
    chance, verbs = random.Random(SEED), [("plan",), ("build", "--server", "SERVER"), ("verify", "--repair")]
    verbs += [("cache", "verify", "--repair"), ("build", "--server", "SERVER"), ("conform", "--proxy")]
    for path in stage.places(top):
        data = (stage.saved / path).read_bytes() if (stage.saved / path).is_file() else b""
        if not data or "/starter/" in path:
            continue
        stage.restore()
        (stage.root / path).chmod(0o644)
        (stage.root / path).write_bytes(DAMAGE[kind](data, chance))
        found = []
        for argv in verbs:
            try:
                if said := wrong_word(stage.run(*argv)):
                    found.append(f"{kind} in {path}: `{' '.join(argv)}`: {said}")
            except Hung as error:
                found.append(f"{kind} in {path}: {error}")
        campaign.add(f"{kind} in the {'workspace' if top == 'work' else 'store'}", len(verbs), found)
    campaign.check()


# --- machines


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_every_machine(tmp_path: Path, campaign: Campaign, machine: Machine) -> None:
    if machine.clock is not None and clock_library() is None:
        pytest.skip("no compiler for a library that moves the clock")
    folder = film_in(tmp_path / "root", machine)
    for argv in VERBS:
        said = wrong(run_on(machine, tmp_path / "root", folder, argv))
        campaign.add("odd machines", 1, [f"{machine.name}: `{' '.join(argv)}` {said}"] if said else [])
    campaign.check()


def test_little_memory_pays_for_nothing_twice(
    tmp_path: Path, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(SEED)
    for number in range(40):
        root = tmp_path / str(number)
        most = chance.randrange(250, 800, 5) << 20
        with FakeProcess("--seconds", "0.05") as server:
            studio = Studio.at(root).move_in(monkeypatch).write(*"abcdef")
            argv = command("build", "--json", "-p", str(studio.folder), "--server", server.url, setup="")
            found = []
            for limit in (most, resource.RLIM_INFINITY):
                done = subprocess.run(
                    argv,
                    capture_output=True,
                    preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
                    timeout=300,
                    check=False,
                )
                try:
                    studio.note()
                    studio.check(server)
                except AssertionError as error:
                    found.append(f"{most >> 20} MB: {error}")
            runs = Counter(run["key"] for run in server.stats()["runs"] if run["outcome"] == "success")
            found += [f"{most >> 20} MB: rendered twice"] if max(runs.values(), default=0) > 1 else []
            found += [f"{most >> 20} MB: then {done.returncode}"] if done.returncode else []
        campaign.add("little memory, then enough", 2, found)
    campaign.check()


# --- servers


def misbehave(server: FakeComfy, chance: random.Random) -> str:
    """Have a server do one thing wrong, a few times; return what."""
    often = chance.choice([1, 1, 2, 4])
    path = chance.choice(["", "^/prompt$", "^/view$", "history", "object_info", "system_stats", "upload", "/api/jobs"])
    faults: dict[str, Callable[[], None]] = {
        "status": lambda: server.misbehave.status(chance.choice([400, 404, 500, 502, 503]), path, times=often),
        "reset": lambda: server.misbehave.reset(path, times=often),
        "lose_reply": lambda: server.misbehave.lose_reply(times=often),
        "post_twice": lambda: server.misbehave.post_twice(times=often),
        "truncate": lambda: server.misbehave.truncate(times=often, part=chance.random()),
        "wrong_length": lambda: server.misbehave.wrong_length(times=often, by=chance.choice([-1000, -1, 1, 1000])),
        "endless": lambda: server.misbehave.endless(times=1),
        "silent_socket": server.misbehave.silent_socket,
        "no_websocket": server.misbehave.no_websocket,
        "history_late": lambda: server.misbehave.history_late(chance.random()),
        "oom": lambda: server.misbehave.oom(times=often),
        "crash": lambda: server.misbehave.crash(times=often),
        "lose_job": lambda: server.misbehave.lose_job(times=often),
        "lose_file": lambda: server.misbehave.lose_file(times=often),
        "hostile_names": lambda: server.misbehave.hostile_names(chance.sample(HOSTILE_NAMES, 3), times=often),
        "spoil": lambda: server.misbehave.spoil(chance.choice([*SPOILS, *LUCKLESS]), times=often),
    }
    name = chance.choice(sorted(faults))
    faults[name]()
    return name


def test_servers_that_misbehave(tmp_path: Path, campaign: Campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two faults at once, then a build with a server that is well: all is made, and nothing outside was touched."""
    chance = random.Random(SEED)
    for number in range(60):
        root = tmp_path / str(number)
        studio, found = Studio.at(root).move_in(monkeypatch).write(*"abc"), []
        # where a render takes no time, a copy that a proxy queued has run before it can be taken back
        with FakeComfy(seconds=0.3) as server:
            names = [misbehave(server, chance) for _ in range(2)]
            for step in ("ill", "well"):
                if step == "well":
                    server.misbehave.clear()
                try:
                    ran = studio.build(server, args=["--patience", "5s"])
                except (AssertionError, TimeoutError) as error:
                    found.append(f"{' and '.join(names)}: {error}")
                    continue
                if said := wrong(ran, lambda code: code in (0, 1, 2, 4)):
                    found.append(f"{' and '.join(names)}: {said}")
                if step == "well" and ran.code:
                    found.append(f"{' and '.join(names)}: the next build ends with {ran.code}: {ran.out[-500:]}")
        campaign.add("two faults of a server, then none", 2, found)
        assert json.loads((studio.public / "scenes" / "timeline.json").read_text())["complete"] or found
    campaign.check()
