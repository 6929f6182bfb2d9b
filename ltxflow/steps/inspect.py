"""The inspection of a returned clip, keyed by its file alone: findings are judged later."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ltxflow.core.digest import Action, Digest, Output
from ltxflow.core.errors import Span
from ltxflow.core.target import Target
from ltxflow.media.findings import Findings
from ltxflow.project.model import Project
from ltxflow.steps import USUAL, ActionContext, Node, ResolvedInputs

KIND, VERSION, POOL, SOURCE = "inspect", "2", "cpu", "inspect"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL
OLDER = ("1",)  # versions with findings that can still be read, the newest first


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield nothing: an inspection follows from a clip that is made (`node_of`)."""
    return iter(())


def node_of(clip: Node) -> Node:
    """Return the node that inspects the published file of a clip."""
    target = Target.of(KIND, clip.clip, clip.take)
    return Node(target, KIND, None, clip.frames, {"video": f"{clip.target}#published"}, clip.span)


def action_of(video: Digest, version: str = VERSION) -> Action:
    """Return the action that inspects the file of this digest, the same for every film it is in."""
    return Action(KIND, version, {}, {"video": video}, ("findings",))


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    return action_of(inputs["video"].digest)


def fields(node: Node) -> dict[str, Any]:
    return {}


def where(node: Node, name: str) -> Span | None:
    return node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Inspect the video in a thread, unless `job.found` has the findings already."""
    import asyncio  # late: a plan runs nothing

    found = job.found
    if found is None:
        from ltxflow.media.inspection import inspect_video  # late: a plan needs actions, but no numpy

        findings: Findings = await asyncio.to_thread(inspect_video, job.inputs["video"])
        found = findings.as_json()
    put(found, job)


def put(findings: dict[str, Any], job: ActionContext) -> None:
    """Store findings as the output of a job: a file, and the facts of the trace."""
    file = job.folder / "findings.json"
    file.write_text(json.dumps(findings) + "\n", "utf-8")
    job.out["findings"], job.facts["findings"] = file, findings
