"""The MCP server: what an agent sees of ltxflow as tools and resources. Only `ltxflow mcp` imports its library.

A tool checks its arguments, runs the command of its name, and answers with what the command prints with --json.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, Image, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import Field

from ltxflow import __version__
from ltxflow.cli.agent_runs import SCRIPT, Answer, Runs, checked, selected
from ltxflow.cli.guide import guide_text, prompting_text
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.files import data_dir
from ltxflow.core.target import Target

LISTED = 200  # entries of a list in an answer: more would fill a model's memory with a long film
STRIDE = 0.05  # of a clip, between two reports of its progress
SIDE = 1024  # of a picture, the longer one in pixels
INSTRUCTIONS = """\
ltxflow renders films from project.yaml with ComfyUI, and renders only what changed. Read ltxflow://guide first; write
project.yaml with your own tools, then: check, plan, build with animatic=true (free), build (costs GPU time), frame to
look at a clip, takes and pick to choose. Rendering stops at the GPU budget of the session. What needs trust, deletes or
freezes is left to a person at the command line."""

Project = Annotated[
    str, Field(description="The film's folder in the workspace; empty for the film of this session", max_length=200)
]
Clips = Annotated[
    list[str] | None, Field(description="Scenes, clips, globs or tags: hook, hook/b, tag:night, !outro; none for all")
]
Take = Annotated[str, Field(description="A clip or take, such as hook/b or hook/b@2")]
Animatic = Annotated[bool, Field(description="Slates in place of renders: free, needs no server")]
Quality = Annotated[Literal["preview", "distilled", "full"] | None, Field(description="In place of what the film says")]


async def serve(runs: Runs) -> None:
    """Serve until standard input ends; then stop the build that runs, and wait until its prompts are cancelled."""
    try:
        await server_of(runs).run_stdio_async()
    finally:
        await runs.close()


def server_of(runs: Runs) -> MCPServer:
    """Return the server of a session, with its tools and resources."""
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    writes = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
    renders = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)
    agent = Agent(runs)
    tools = [
        *(_tool(each, reads) for each in (agent.check, agent.plan, agent.status, agent.explain, agent.takes)),
        _tool(agent.frame, reads),
        *(_tool(each, writes) for each in (agent.init, agent.pick)),
        _tool(agent.build, renders),
    ]
    server = MCPServer("ltxflow", version=__version__, instructions=INSTRUCTIONS, tools=tools, log_level="WARNING")

    @server.resource("ltxflow://guide", mime_type="text/markdown")
    def guide() -> str:
        """Return how to write a good film: structure, the loop of commands, what costs money."""
        return guide_text()

    @server.resource("ltxflow://prompting", mime_type="text/markdown")
    def prompting() -> str:
        """Return how to write prompts for each model, with the rules of check."""
        return prompting_text()

    @server.resource("ltxflow://schema/project", mime_type="application/schema+json")
    def schema() -> str:
        """Return the JSON Schema of project.yaml."""
        return (data_dir() / "schemas" / "project.schema.json").read_text("utf-8")

    @server.resource("ltxflow://rules", mime_type="application/json")
    async def rules() -> str:
        """Return every rule and message by code: level, reason, source."""
        return json.dumps((await runs.run("rules"))["data"])

    return server


def _tool(function: Callable[..., Any], annotations: ToolAnnotations) -> Tool:
    """Return a tool that refuses arguments it does not know: a model that sends one means something by it."""
    tool = Tool.from_function(function, annotations=annotations)
    model = tool.fn_metadata.arg_model
    model.model_config["extra"] = "forbid"
    model.model_rebuild(force=True)
    tool.parameters["additionalProperties"] = False
    return tool


def _refusing(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return a tool whose problems are errors of its call, each with a remedy."""

    @wraps(function)
    async def tool(*args: Any, **arguments: Any) -> Any:
        try:
            return await function(*args, **arguments)
        except LtxflowError as error:
            raise ToolError("\n".join(map(_told, error.problems))) from None

    return tool


def _told(each: Problem) -> str:
    code = f" [{each.code}]" if each.code else ""
    return f"{each.message}{code}" + (f"; {each.hint}" if each.hint else "")


def _result(answer: Answer, **more: Any) -> dict[str, Any]:
    """Return an answer as the result of a tool. Raise ToolError for a command that could not begin."""
    if answer["data"] is None and not answer["ok"]:
        raise ToolError(json.dumps({"exit_code": answer["exit_code"], "problems": answer["problems"]}))
    left_off: dict[str, int] = {}
    shown = {name: _shortened(answer[name], name, left_off) for name in ("ok", "exit_code", "data", "problems")}
    return {**shown, **more, **({"left_off": left_off} if left_off else {})}


def _shortened(value: Any, place: str, left_off: dict[str, int]) -> Any:
    """Return a value whose lists have at most LISTED entries; `left_off` gets how many each had more."""
    if isinstance(value, dict):
        return {name: _shortened(each, f"{place}.{name}", left_off) for name, each in value.items()}
    if isinstance(value, list):
        if len(value) > LISTED:
            left_off[place] = len(value) - LISTED
        return [_shortened(each, f"{place}[]", left_off) for each in value[:LISTED]]
    return value


class Agent:
    """The tools: the docstring and the signature of each are what a model reads of it."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs

    @_refusing
    async def init(
        self,
        folder: Annotated[str, Field(description="The folder to create the film in, in the workspace")],
        title: Annotated[str, Field(description="Its title; empty: from the script, or the folder")] = "",
        script: Annotated[str, Field(description="A screenplay: Fountain, Markdown or plain text")] = "",
    ) -> dict[str, Any]:
        """Create a film: a working example, or the scenes and narration of a script, with prompts left as TODO.

        Overwrites nothing.
        """
        if len(script) > SCRIPT:
            raise LtxflowError(problem("U019.long", name="script", most=SCRIPT))
        words = [str(self.runs.place("folder", folder)), f"--root={self.runs.workspace}"]
        words += [f"--title={checked('title', title)}"] if title else []
        words += ["--from=-"] if script else []
        found = _result(await self.runs.run("init", *words, text=script))
        if found["ok"] and self.runs.project is None:
            self.runs.project = str(self.runs.place("folder", folder))  # what this session is about from now on
        return found

    @_refusing
    async def check(self, project: Project = "") -> dict[str, Any]:
        """Check the film: errors, prompts still to be written, advice on prompts, timing. Needs no server."""
        return _result(await self.runs.ask("check", project))

    @_refusing
    async def plan(
        self, project: Project = "", clips: Clips = None, animatic: Animatic = False, quality: Quality = None
    ) -> dict[str, Any]:
        """Show what a build would render, why, and its GPU time. Renders nothing."""
        found = await self.runs.ask("plan", project, *_plan_words(clips, animatic, quality))
        if isinstance(found["data"], dict):
            changes = [each for each in found["data"].get("changes", ()) if each["kind"] != "unchanged"]
            found["data"]["changes"] = changes  # of what stays, the counts say enough
        return _result(found, budget=self.runs.budget)

    @_refusing
    async def build(
        self,
        ctx: Context,
        project: Project = "",
        clips: Clips = None,
        animatic: Animatic = False,
        quality: Quality = None,
        max_gpu_s: Annotated[float | None, Field(description="Render no more GPU seconds than this", ge=0)] = None,
    ) -> dict[str, Any]:
        """Render what changed and publish the film. Costs GPU time, unless animatic is true: then it draws slates.

        Starts no clip beyond the GPU budget of the session. Cancelling the call stops it; what is finished is kept.
        """
        words = _plan_words(clips, animatic, quality)
        answer = await self.runs.build(project, words, max_gpu_s, Progress(ctx))
        return _result(answer, budget=self.runs.budget)

    @_refusing
    async def status(self, project: Project = "") -> dict[str, Any]:
        """Show the state of every clip: made, stale, in the store, preview, slate or missing; and what is building."""
        found = await self.runs.ask("status", project)
        return _result(found, budget=self.runs.budget, building=self.runs.building or None)

    @_refusing
    async def explain(self, project: Project = "", clips: Clips = None) -> dict[str, Any]:
        """Show why clips are, or are not, rendered again: every value that changed, old and new."""
        return _result(await self.runs.ask("explain", project, *selected(clips or [])))

    @_refusing
    async def takes(self, clip: Take, project: Project = "") -> dict[str, Any]:
        """List the takes of a clip: which is in the cut, what checks found in each."""
        return _result(await self.runs.ask("takes", project, checked("clip", clip, "take")))

    @_refusing
    async def pick(self, take: Take, project: Project = "") -> dict[str, Any]:
        """Put a take such as hook/b@2 into the cut. The next build publishes it, without rendering."""
        return _result(await self.runs.ask("pick", project, checked("take", take)))

    @_refusing
    async def frame(
        self,
        take: Take,
        at: Annotated[str, Field(description="2s, 50f, first, middle or last")] = "middle",
        size: Annotated[int, Field(description="Its longer side in pixels, at most", ge=64, le=2048)] = SIDE,
        project: Project = "",
    ) -> list[Image | str]:
        """Show a frame of a clip as a picture: of what is published of it, or of the take that is named."""
        answer, picture = await self.runs.picture(project, take, at, size)
        found = _result(answer)
        found["data"].pop("file", None)  # it is gone
        return [Image(data=picture, format="jpeg"), json.dumps(found["data"])]


def _plan_words(clips: list[str] | None, animatic: bool, quality: str | None) -> list[str]:
    words = ["--animatic"] if animatic else []
    words += [f"--quality={quality}"] if quality else []
    return [*words, *selected(clips or [])]


class Progress:
    """The progress of a build in clips, for an agent; it never decreases, as the protocol wants it."""

    def __init__(self, ctx: Context) -> None:
        self.ctx = ctx
        self.total, self.told = 0, 0.0
        self.done: set[str] = set()
        self.running: dict[str, float] = {}  # as it was reported last

    async def __call__(self, event: Mapping[str, Any]) -> None:
        message = self._follow(event)
        self.told = max(self.told, len(self.done) + sum(self.running.values()))
        if message:
            await self.ctx.report_progress(self.told, self.total or None, message)

    def _follow(self, event: Mapping[str, Any]) -> str:
        name = Target(str(event.get("target", ""))).short if event.get("target") else ""
        match event["event"]:
            case "run-started":
                self.total = event["to_make"]
                return f"{event['to_make']} to make"
            case "action-progress" if event["fraction"] >= self.running.get(event["target"], 0.0) + STRIDE:
                self.running[event["target"]] = event["fraction"]
                return f"{name} {event['fraction']:.0%}"
            case "action-finished" if event["outcome"] not in ("hit", "restored", "skipped"):
                self.running.pop(event["target"], None)
                self.done.add(event["target"])
                return f"{name} {event['outcome']}"
            case "notice":
                return str(event["message"])
        return ""
