"""A slate: the animatic's stand-in for a clip, of its exact size and length. Needs no GPU and no server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import Span
from ltxflow.core.target import Target
from ltxflow.media.bidi import SHAPING
from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import SlateSpec, draw_slate
from ltxflow.media.text_layout import BREAKS, has_unspaced, shapes
from ltxflow.project.model import Clip, FrameOf, Image, Picture, Project, Scene, Value
from ltxflow.steps import (
    USUAL,
    ActionContext,
    Node,
    ResolvedInputs,
    explain_frames,
    explain_prompt,
    explain_size,
    span_of,
)

KIND, VERSION, POOL, SOURCE = "slate", "1", "cpu", "animatic"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL


@dataclass(frozen=True)
class Slate:
    """The content of a slate. The drawing and the reference reach its key; clip, scene and film do not."""

    clip: Clip
    scene: Scene
    film: Mapping[str, Value]
    drawing: SlateSpec
    reference: Image | None


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield one slate a clip."""
    width, height = project.size
    for clip in filter(inputs.includes, project.clips):
        drawing = SlateSpec(
            width=width,
            height=height,
            fps=project.fps,
            frames=inputs.lengths[clip.path],
            scene=clip.scene,
            clip=clip.id,
            take=1,
            prompt=clip.prompt.text,
            camera=clip.prompt.camera,
            starts=_starts(clip),
        )
        yield Node(
            target=Target.of("slate", clip.path),
            kind=KIND,
            spec=Slate(clip, project.scene(clip.scene), project.settings, drawing, _shown(clip.reference)),
            frames=drawing.frames,
            span=clip.span,
        )


def _starts(clip: Clip) -> str:
    """Return the words on a slate for where its clip starts, where no picture can show it."""
    if clip.extends:
        return f"goes on from {clip.extends.clip or (clip.extends.file and clip.extends.file.name)}"
    if clip.reference is None or isinstance(clip.reference, Image):
        return ""
    if isinstance(clip.reference, FrameOf):
        return f"from {clip.reference.name}"
    return f"from {', '.join(filter(None, [clip.reference.name, clip.reference.angle]))}"


def _shown(picture: Picture | None) -> Image | None:
    """Return the picture to show; None for one that is still to be made, which the slate names instead."""
    return picture if isinstance(picture, Image) else None


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    slate: Slate = node.spec
    drawing = slate.drawing
    body: dict[str, Any] = {name: getattr(drawing, name) for name in drawing.__dataclass_fields__}
    if not drawing.starts:
        del body["starts"]  # older slates do not have it
    if _is_shaped(drawing):
        body["shaping"] = SHAPING  # other texts are drawn as before and keep their keys
    if _is_unspaced(drawing):
        body["breaks"] = BREAKS  # texts with a blank after every word keep theirs
    if slate.reference:
        body["reference"] = slate.reference.pixels
    return Action(KIND, VERSION, body, outputs=("video",))


def fields(node: Node) -> dict[str, Any]:
    slate: Slate = node.spec
    drawing = slate.drawing
    return {
        **explain_prompt(slate.clip),
        "frames": explain_frames(drawing.frames, slate.clip, slate.scene),
        "fps": drawing.fps,
        "size": explain_size(f"{slate.film['size'].value}", (drawing.width, drawing.height)),
        "clip": f"{drawing.scene}/{drawing.clip}",
        "reference.image": slate.reference and {"is": slate.reference.name, "pixels": slate.reference.pixels},
        "starts": drawing.starts or None,
        "shaping": SHAPING if _is_shaped(drawing) else None,
        "breaks": BREAKS if _is_unspaced(drawing) else None,
    }


def _is_shaped(drawing: SlateSpec) -> bool:
    return shapes(_texts(drawing))


def _is_unspaced(drawing: SlateSpec) -> bool:
    return has_unspaced(_texts(drawing))


def _texts(drawing: SlateSpec) -> str:
    return " ".join((drawing.scene, drawing.clip, drawing.prompt, drawing.camera, drawing.starts))


def where(node: Node, name: str) -> Span | None:
    slate: Slate = node.spec
    return span_of(name, slate.clip, slate.scene, slate.film)


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Draw and encode the slate in a thread: PyAV releases the interpreter while it encodes."""
    slate: Slate = node.spec
    file = job.folder / "video.mp4"
    reference: Path | None = slate.reference.path if slate.reference else None
    await asyncio.to_thread(
        draw_slate,
        slate.drawing,
        file,
        reference,
        lambda done, total: job.progress(done / total, f"frame {done}/{total}"),
    )
    facts = probe_mp4(file)  # of the file, not what the encoder counted
    job.out["video"] = file
    job.facts["video"] = facts.as_json()
