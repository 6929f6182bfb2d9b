"""A clip that came back, looked at and listened to. Keyed by the file alone: what is worth a word is judged later."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ltxflow.core.digest import Action, Digest, Output
from ltxflow.core.errors import Span
from ltxflow.media.findings import Findings
from ltxflow.project.model import Project
from ltxflow.steps import ActionContext, Node, ResolvedInputs

KIND, VERSION, POOL, SOURCE = "inspect", "2", "cpu", "inspect"
OLDER = ("1",)  # versions whose findings can still be read, the newest first


def nodes(project: Project, wishes: ResolvedInputs) -> Iterator[Node]:
    """No node before a clip is there: `node_of` gives the one for what came back."""
    return iter(())


def node_of(clip: Node) -> Node:
    """Given a clip's node, return the one that inspects the file which is published of it."""
    target = f"{KIND}:{clip.target.partition(':')[2]}"
    return Node(target, KIND, None, clip.frames, {"video": f"{clip.target}#published"}, clip.span)


def action_of(video: Digest, version: str = VERSION) -> Action:
    """Given a file's digest, return the action that inspects it: the same for every film it is in."""
    return Action(KIND, version, {}, {"video": video}, ("findings",))


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    return action_of(inputs["video"].digest)


def fields(node: Node) -> dict[str, Any]:
    return {}


def where(node: Node, name: str) -> Span | None:
    return node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Look and listen in a thread, if nobody has; the findings are a file, and the facts of the trace."""
    import asyncio  # by need: a plan runs nothing

    told = job.found
    if told is None:
        media = importlib.import_module(
            "ltxflow.media.inspection"
        )  # by name: a plan asks for actions, and needs no numpy
        found: Findings = await asyncio.to_thread(media.inspect_video, job.inputs["video"])
        told = found.as_json()
    put(told, job)


def put(told: dict[str, Any], job: ActionContext) -> None:
    """Given what was found, make it what the job came to."""
    file = job.folder / "findings.json"
    file.write_text(json.dumps(told) + "\n", "utf-8")
    job.out["findings"], job.facts["findings"] = file, told
