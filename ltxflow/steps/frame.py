"""A frame of a clip, for another clip to start from or end on: lossless, and exactly the one that is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.core.digest import Action, Digest, Output
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.project.model import Clip, FrameOf, Project
from ltxflow.steps import ActionContext, Node, ResolvedInputs, needed

KIND, VERSION, POOL, SOURCE = "frame", "1", "cpu", "frame"


@dataclass(frozen=True)
class FrameSpec:
    """A frame, and the clip that asks for it."""

    frame: FrameOf
    user: str


def nodes(project: Project, wishes: ResolvedInputs) -> Iterator[Node]:
    """Given a film, yield a node for every frame that a clip asks for: `frame:hook/a/last@1`.

    The last one is what the clip saved without loss; of others the uncropped video is decoded. Raise LtxflowError,
    with all problems, for moments after a clip's end.
    """
    clips = {clip.path: clip for clip in project.clips}
    found: dict[str, Node] = {}
    problems: list[Problem] = []
    for clip in project.clips:
        for frame in [picture for picture in clip.pictures.values() if isinstance(picture, FrameOf)]:
            if frame.frame is not None and frame.frame >= wishes.lengths[frame.clip]:
                problems.append(_after_its_end(clip, frame, wishes.lengths[frame.clip], project.fps))
                continue
            need = needed(frame, lambda path: wishes.pick(clips[path]))
            target = need.partition("#")[0]
            take = target.rpartition("@")[2]
            needs = {"clip": f"clip:{frame.clip}@{take}#{outputs_for(frame.frame)}"}
            found.setdefault(target, Node(target, KIND, FrameSpec(frame, clip.path), 0, needs, frame.span))
    if problems:
        raise LtxflowError(*problems)
    yield from found.values()


def _after_its_end(clip: Clip, frame: FrameOf, frames: int, fps: int) -> Problem:
    end = f"{frames / fps:.2f}".rstrip("0").rstrip(".")
    message = f"{clip.path} asks for {frame.name}, and {frame.clip} ends after {frames} frames, {end}s"
    return Problem(message, frame.span, f"write at: last, or a time before {end}s", "L124")


def outputs_for(frame: int | None) -> str:
    """Given a frame's number, None for the last, return what it is taken from: the first of these that a clip has."""
    return "last_frame|uncropped|video" if frame is None else "uncropped|video"


def action_of(frame: int | None, clip: Digest) -> Action:
    """Given a frame's number and the digest of what it is taken from, return the action that takes it."""
    return Action(KIND, VERSION, {"frame": "last" if frame is None else frame}, {"clip": clip}, ("image",))


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    moment: FrameSpec = node.spec
    return action_of(moment.frame.frame, inputs["clip"].digest)


def fields(node: Node) -> dict[str, Any]:
    moment: FrameSpec = node.spec
    return {"clip": moment.frame.clip, "at": moment.frame.at}


def where(node: Node, name: str) -> Span | None:
    return node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    import asyncio  # by need: a plan runs nothing

    moment: FrameSpec = node.spec
    file = job.folder / "image.png"
    media = importlib.import_module("ltxflow.media.frames")  # by name: a plan asks for actions, and needs no PyAV
    facts = await asyncio.to_thread(media.save_frame, job.inputs["clip"], moment.frame.frame, file)
    job.out["image"] = file
    job.facts["image"] = {"pixels": facts.pixels, "width": facts.width, "height": facts.height}
