"""A frame of a clip for another clip to start from or end on: lossless, and exactly the requested one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.core.digest import Action, Digest, Output
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.target import Target
from ltxflow.project.model import Clip, FrameOf, Project
from ltxflow.steps import USUAL, ActionContext, Node, ResolvedInputs, input_ref

KIND, VERSION, POOL, SOURCE = "frame", "1", "cpu", "frame"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL


@dataclass(frozen=True)
class FrameSpec:
    """A frame, and the clip that uses it."""

    frame: FrameOf
    user: str


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield a node for every frame that a clip uses: `frame:hook/a/last@1`.

    The last frame is the lossless one that the clip saved; others are decoded from its uncropped video. Raise
    LtxflowError, with all problems, for moments after a clip's end.
    """
    clips = {clip.path: clip for clip in project.clips}
    found: dict[str, Node] = {}
    problems: list[Problem] = []
    for clip in filter(inputs.includes, project.clips):
        for frame in [picture for picture in clip.pictures.values() if isinstance(picture, FrameOf)]:
            if frame.frame is not None and frame.frame >= inputs.lengths[frame.clip]:
                problems.append(_after_its_end(clip, frame, inputs.lengths[frame.clip], project.fps))
                continue
            ref = input_ref(frame, lambda path: inputs.pick(clips[path]))
            target = Target(ref.partition("#")[0])
            clip_target = Target.of("clip", frame.clip, target.take)
            needs = {"clip": f"{clip_target}#{outputs_for(frame.frame)}"}
            found.setdefault(target, Node(target, KIND, FrameSpec(frame, clip.path), 0, needs, frame.span))
    if problems:
        raise LtxflowError(*problems)
    yield from found.values()


def _after_its_end(clip: Clip, frame: FrameOf, frames: int, fps: int) -> Problem:
    end = f"{frames / fps:.2f}".rstrip("0").rstrip(".")
    return problem("L124", frame.span, clip=clip.path, frame=frame.name, source=frame.clip, frames=frames, seconds=end)


def outputs_for(frame: int | None) -> str:
    """Return the outputs to take a frame from, the first that a clip has; `frame` is None for the last one."""
    return "last_frame|uncropped|video" if frame is None else "uncropped|video"


def action_of(frame: int | None, clip: Digest) -> Action:
    """Return the action that takes a frame from the file of this digest; `frame` is None for the last one."""
    return Action(KIND, VERSION, {"frame": "last" if frame is None else frame}, {"clip": clip}, ("image",))


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    spec: FrameSpec = node.spec
    return action_of(spec.frame.frame, inputs["clip"].digest)


def fields(node: Node) -> dict[str, Any]:
    spec: FrameSpec = node.spec
    return {"clip": spec.frame.clip, "at": spec.frame.at}


def where(node: Node, name: str) -> Span | None:
    return node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Decode the frame in a thread and save it as PNG."""
    import asyncio  # late: a plan runs nothing

    from ltxflow.media.image import save_frame  # late: a plan needs actions, but no PyAV

    spec: FrameSpec = node.spec
    file = job.folder / "image.png"
    facts = await asyncio.to_thread(save_frame, job.inputs["clip"], spec.frame.frame, file)
    job.out["image"] = file
    job.facts["image"] = {"pixels": facts.pixels, "width": facts.width, "height": facts.height}
