"""The MCP server, driven by the client of its own library: what an agent can do, and what it cannot."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fakes.comfyui import FakeComfy
from harness.command import command
from harness.studio import LIMIT_S, Studio, freeze, let_go, slow_but
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from PIL import Image

from ltxflow.farm.ledger import LEDGER, Ledger

Act = Callable[[Client], Awaitable[Any]]


@pytest.fixture
def server() -> Iterator[FakeComfy]:
    with FakeComfy() as fake:
        yield fake


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    studio = Studio.at(tmp_path).move_in(monkeypatch)
    monkeypatch.chdir(tmp_path / "work")
    return studio


@asynccontextmanager
async def session(*options: str) -> AsyncIterator[Client]:
    argv = ["-m", "ltxflow", "mcp", *options]
    parameters = StdioServerParameters(command=sys.executable, args=argv, cwd=os.getcwd(), env=dict(os.environ))
    async with Client(stdio_client(parameters)) as client:
        yield client


def drive(act: Act, *options: str) -> Any:
    """Do something as an agent, in a session of its own."""

    async def whole() -> Any:
        async with asyncio.timeout(3 * LIMIT_S), session(*options) as client:
            return await act(client)

    return asyncio.run(whole())


async def call(client: Client, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """Return what a tool answers, which must be no error."""
    found = await client.call_tool(tool, arguments)
    assert not found.is_error, found.content
    return dict(json.loads(found.content[-1].text))


async def refused(client: Client, tool: str, /, **arguments: Any) -> str:
    """Return what a tool says that refuses a call."""
    found = await client.call_tool(tool, arguments)
    assert found.is_error, found.content
    return str(found.content[0].text)


def starts(server: FakeComfy) -> list[str]:
    return [run["outcome"] for run in server.stats()["runs"]]


def test_an_agent_makes_a_film_from_nothing_to_a_picture(studio: Studio, server: FakeComfy) -> None:
    told: list[tuple[float, float | None]] = []

    async def heard(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total))

    async def act(client: Client) -> None:
        made = await call(client, "init", folder="film", title="Coins", script="# Hook\n\nEvery coin has a guard.\n")
        assert made["data"]["script"]["scenes"] == 1
        todo = await call(client, "check")
        assert "L035" in {each["code"] for each in todo["problems"]}  # prompts are still to be written
        studio.write("a: takes: 2", "b")  # as an agent does, with its own tools
        assert (await call(client, "check"))["ok"]
        plan = await call(client, "plan", clips=["s/a"])
        assert {each["target"] for each in plan["data"]["changes"]} == {"clip:s/a@1", "clip:s/a@2"}
        found = await client.call_tool("build", {}, progress_callback=heard)
        assert not found.is_error, found.content
        built = json.loads(found.content[-1].text)
        assert built["data"]["totals"]["rendered"] == 3
        assert built["budget"]["spent_s"] == pytest.approx(spent(studio), abs=0.01)
        assert [row["take"] for row in (await call(client, "takes", clip="s/a"))["data"]] == [1, 2]
        assert (await call(client, "pick", take="s/a@2"))["ok"]
        assert (await call(client, "build"))["data"]["totals"]["rendered"] == 0
        states = (await call(client, "status"))["data"]["clips"]
        assert {each["clip"]: each["state"] for each in states} == {"s/a": "final", "s/b": "final"}
        assert (await call(client, "explain", clips=["s/b"]))["ok"]
        seen = await client.call_tool("frame", {"take": "s/a", "at": "last", "size": 64})
        picture = Image.open(BytesIO(base64.b64decode(seen.content[0].data)))
        assert (picture.format, picture.size) == ("JPEG", (64, 64))
        assert json.loads(seen.content[1].text)["shows"] == "published"

    drive(act, "--server", server.url)
    assert len(starts(server)) == 3
    assert [progress for progress, _ in told] == sorted(progress for progress, _ in told)
    assert told[-1] == (3.0, 3.0)
    assert not list((studio.folder / ".ltxflow/frames").iterdir())


def spent(studio: Studio) -> float:
    return Ledger(studio.folder / ".ltxflow" / LEDGER).read().gpu_s


def test_the_gpu_budget_of_a_session_stops_its_builds(studio: Studio, server: FakeComfy) -> None:
    studio.write("a", "b")

    async def act(client: Client) -> None:
        drawn = await call(client, "build", project="film", animatic=True)  # costs nothing
        assert drawn["data"]["totals"]["rendered"] == 2
        built = await call(client, "build", project="film", max_gpu_s=3600)
        assert not built["ok"]
        assert {each["code"] for each in built["problems"]} == {"C030"}
        assert built["budget"] == {"max_gpu_s": 0.0, "spent_s": 0.0, "left_s": 0.0}

    drive(act, "--server", server.url, "--max-gpu", "0s")
    assert not starts(server)


def test_what_one_build_cost_is_missing_from_the_budget_of_the_next(studio: Studio) -> None:
    studio.write("a", "b")
    with FakeComfy(seconds=lambda graph: 10.0, speed=50) as server:

        async def act(client: Client) -> None:
            first = await call(client, "build", project="film", clips=["s/a"])
            left = first["budget"]["left_s"]
            assert left == pytest.approx(3600 - spent(studio), abs=0.01)
            assert left < 3600
            second = await call(client, "build", project="film", clips=["s/b"], max_gpu_s=0.001)
            assert {each["code"] for each in second["problems"]} == {"C030"}
            assert second["budget"]["left_s"] == left

        drive(act, "--server", server.url, "--max-gpu", "1h")
        assert len(starts(server)) == 1


HOSTILE = [
    ("takes", {"clip": "--force"}),
    ("takes", {"clip": "-p/etc"}),
    ("takes", {"clip": "../x"}),
    ("takes", {"clip": "s/../../x"}),
    ("takes", {"clip": "s/a --yes"}),
    ("takes", {"clip": ""}),
    ("takes", {"clip": "s/a\n--yes"}),
    ("takes", {"clip": "s/a\x1b[2J"}),
    ("takes", {"clip": "s/a\x00"}),
    ("takes", {"clip": "a" * 10_000_000}),
    ("takes", {"clip": ["s/a"]}),
    ("pick", {"take": "s/a@2", "number": 2}),
    ("pick", {"take": "--help"}),
    ("pick", {"take": "s/a@99999999999999999999"}),
    ("plan", {"clips": ["--server=http://127.0.0.1:9"]}),
    ("plan", {"clips": ["@2"]}),
    ("plan", {"clips": ["changed:--upload-pack=touch"]}),
    ("plan", {"clips": ["a" * 201]}),
    ("plan", {"clips": ["a"] * 101}),
    ("plan", {"clips": "s/a"}),
    ("plan", {"quality": "--force"}),
    ("plan", {"server": "http://127.0.0.1:9"}),
    ("build", {"force": True}),
    ("build", {"yes": True}),
    ("build", {"max_gpu_s": -1}),
    ("build", {"max_gpu_s": "nan"}),
    ("build", {"clips": ["--yes"]}),
    ("check", {"project": "/etc"}),
    ("check", {"project": "~"}),
    ("check", {"project": "../outside"}),
    ("check", {"project": "link"}),
    ("check", {"project": "--root=/"}),
    ("check", {"project": "film\n"}),
    ("init", {"folder": "/tmp/elsewhere"}),
    ("init", {"folder": "../elsewhere"}),
    ("init", {"folder": "link/inside"}),
    ("init", {"folder": "film"}),
    ("init", {"folder": "other", "title": "two\nlines"}),
    ("init", {"folder": "other", "script": "x" * 1_000_001}),
    ("init", {"folder": "other", "script": "\x00\x01"}),
    ("init", {"folder": "other", "from": "/etc/passwd"}),
    ("frame", {"take": "s/a", "at": "--out=/tmp/x"}),
    ("frame", {"take": "s/a", "at": "1e999s"}),
    ("frame", {"take": "s/a", "size": 100_000}),
    ("frame", {"take": "s/a", "out": "/tmp/x.png"}),
    ("trust", {}),
    ("forget", {"take": "s/a"}),
]


def test_hostile_arguments_are_refused_and_change_nothing(studio: Studio, server: FakeComfy) -> None:
    studio.write("a")
    outside = studio.folder.parents[1] / "outside"
    outside.mkdir()
    (outside / "project.yaml").write_text(studio.file.read_text())
    (studio.folder.parent / "link").symlink_to(outside)

    def tree() -> dict[str, bytes]:
        files = [path for path in studio.folder.parents[1].rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files if ".ltxflow" not in path.parts}

    async def act(client: Client) -> None:
        for tool, arguments in HOSTILE:
            with_film = {"project": "film"} if tool not in ("init", "trust") and "project" not in arguments else {}
            said = await refused(client, tool, **arguments, **with_film)
            assert len(said) < 2000
            assert not set(said) & set(map(chr, range(32))) - {"\n"}
        assert (await call(client, "check", project="film"))["ok"]  # it serves as before

    before = tree()
    drive(act, "--server", server.url)
    assert tree() == before
    assert not starts(server)
    assert not server.stats()["requests"]


def test_a_film_that_needs_trust_gets_none_from_an_agent(studio: Studio, server: FakeComfy) -> None:
    mine = {"command": ["touch", "{out}", "{text}"]}
    studio.write("a", engines={"mine": mine}, speech={"engine": "mine"}, scene="narration: {text: Hello there.}")

    async def act(client: Client) -> str:
        assert "trust" not in {tool.name for tool in (await client.list_tools()).tools}
        return await refused(client, "build", project="film")

    assert "ltxflow trust" in drive(act, "--server", server.url)
    assert not starts(server)


def test_modules_of_the_workspace_are_not_imported(studio: Studio) -> None:
    studio.write("a")
    for name in ("yaml", "ltxflow", "json"):
        (studio.folder.parent / f"{name}.py").write_text(f"open({str(studio.folder / 'ran')!r}, 'w')\n")
    argv = [sys.executable, "-P", "-m", "ltxflow", "mcp"]  # as the script `ltxflow` starts it

    async def whole() -> None:
        parameters = StdioServerParameters(command=argv[0], args=argv[1:], cwd=os.getcwd(), env=dict(os.environ))
        async with asyncio.timeout(LIMIT_S), Client(stdio_client(parameters)) as client:
            await call(client, "check", project="film")

    asyncio.run(whole())
    assert not (studio.folder / "ran").exists()


def test_a_call_that_is_cancelled_stops_its_build_and_counts(studio: Studio) -> None:
    studio.write("a", "b")
    with FakeComfy(seconds=slow_but("s-z;")) as server:

        async def act(client: Client) -> None:
            build = asyncio.create_task(client.call_tool("build", {"project": "film"}))
            await asyncio.to_thread(freeze, server, 1, 1)
            busy = await call(client, "status", project="film")
            assert busy["building"] == "film"
            build.cancel()
            await asyncio.to_thread(server.wait, lambda stats: "interrupted" in {r["outcome"] for r in stats["runs"]})
            let_go(server)
            again = await call(client, "build", project="film")
            assert again["data"]["totals"]["rendered"] == 2
            assert again["budget"]["spent_s"] == pytest.approx(spent(studio), abs=0.01)

        drive(act, "--server", server.url)
        assert starts(server) == ["interrupted", "success", "success"]


CLIENT = """
import asyncio, os, sys
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

async def main():
    argv = ["-m", "ltxflow", "mcp", "--server", sys.argv[1]]
    parameters = StdioServerParameters(command=sys.executable, args=argv, cwd=os.getcwd(), env=dict(os.environ))
    async with Client(stdio_client(parameters)) as client:
        await client.call_tool("build", {"project": "film"})

asyncio.run(main())
"""


def pid_of_server() -> int:
    """Return the process id of the MCP server that serves this folder."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words, at = (folder / "cmdline").read_bytes().split(b"\0"), os.readlink(folder / "cwd")
        except OSError:
            continue
        if b"mcp" in words and b"-m" in words and at == os.getcwd():
            return int(folder.name)
    raise AssertionError("no server runs")


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("who", ["client", "server"])
def test_no_build_outlives_an_agent_or_server_that_is_killed(studio: Studio, who: str) -> None:
    studio.write("a", "b")
    with FakeComfy(seconds=slow_but("s-z;")) as server:
        client = subprocess.Popen([sys.executable, "-c", CLIENT, server.url], stderr=subprocess.DEVNULL)
        try:
            freeze(server, 1, 1)
            os.kill(client.pid if who == "client" else pid_of_server(), signal.SIGKILL)
            server.wait(lambda stats: "interrupted" in {run["outcome"] for run in stats["runs"]})
        finally:
            client.kill()
            client.wait()
        let_go(server)
        ran = studio.build(server)  # waits for the build that is ending
        assert ran.code == 0
        assert starts(server) == ["interrupted", "success", "success"]


def test_an_agent_can_read_the_guide_the_schema_and_the_rules(studio: Studio) -> None:
    async def act(client: Client) -> dict[str, str]:
        names = [str(each.uri) for each in (await client.list_resources()).resources]
        return {name: (await client.read_resource(name)).contents[0].text for name in names}

    found = drive(act)
    assert "# Write this film" in found["ltxflow://guide"]
    assert "[P104]" in found["ltxflow://prompting"]
    assert "`profile: ltx2.5`" in found["ltxflow://prompting"]
    assert json.loads(found["ltxflow://schema/project"])["properties"]["scenes"]
    assert {"P104", "C030"} <= {each["code"] for each in json.loads(found["ltxflow://rules"])}


def test_a_long_film_is_told_in_short(studio: Studio) -> None:
    studio.write(*(f"c{number}" for number in range(210)))

    async def act(client: Client) -> dict[str, Any]:
        return await call(client, "status", project="film")

    found = drive(act)
    assert len(found["data"]["clips"]) == 200
    assert found["left_off"] == {"data.clips": 10}


def test_without_its_library_it_says_how_to_get_it() -> None:
    hidden = "import importlib.util as u; found = u.find_spec; "
    hidden += "u.find_spec = lambda name, *more: None if name == 'mcp' else found(name, *more)"
    done = subprocess.run(command("mcp", setup=hidden), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 2
    assert "`ltxflow mcp` needs mcp" in done.stderr
    assert re.search(r"install .*\[mcp\]", done.stderr)
