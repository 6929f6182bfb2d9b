"""A slate: the animatic's stand-in for a clip, of its exact size and length. Needs no GPU and no server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import Span
from ltxflow.media.bidi import SHAPING
from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import SlateSpec, draw_slate
from ltxflow.media.text_layout import BREAKS, has_unspaced, shapes
from ltxflow.project.model import Clip, FrameOf, Image, Picture, Project, Scene, Value
from ltxflow.steps import ActionContext, Node, ResolvedInputs, told_frames, told_prompt, told_size, written

KIND, VERSION, POOL, SOURCE = "slate", "1", "cpu", "animatic"


@dataclass(frozen=True)
class Slate:
    """What a slate shows: its drawing and the reference reach its key, nothing else of clip, scene and film."""

    clip: Clip
    scene: Scene
    film: Mapping[str, Value]
    drawing: SlateSpec
    reference: Image | None


def nodes(project: Project, wishes: ResolvedInputs) -> Iterator[Node]:
    """Given a film, yield one slate a clip: take 1, or the take that is in the cut."""
    width, height = project.size
    for clip in project.clips:
        drawing = SlateSpec(
            width=width,
            height=height,
            fps=project.fps,
            frames=wishes.lengths[clip.path],
            scene=clip.scene,
            clip=clip.id,
            take=1,
            prompt=clip.prompt.text,
            camera=clip.prompt.camera,
            starts=_starts(clip),
        )
        yield Node(
            target=f"slate:{clip.path}@1",
            kind=KIND,
            spec=Slate(clip, project.scene(clip.scene), project.settings, drawing, _shown(clip.reference)),
            frames=drawing.frames,
            span=clip.span,
        )


def _starts(clip: Clip) -> str:
    """What a slate says of where its clip starts, where there is no picture of that to show."""
    if clip.extends:
        return f"goes on from {clip.extends.clip or (clip.extends.file and clip.extends.file.name)}"
    if clip.reference is None or isinstance(clip.reference, Image):
        return ""
    if isinstance(clip.reference, FrameOf):
        return f"from {clip.reference.name}"
    return f"from {', '.join(filter(None, [clip.reference.name, clip.reference.angle]))}"


def _shown(picture: Picture | None) -> Image | None:
    """What is made first is not there yet: its slate says what it starts from."""
    return picture if isinstance(picture, Image) else None


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    slate: Slate = node.spec
    drawing = slate.drawing
    body: dict[str, Any] = {name: getattr(drawing, name) for name in drawing.__dataclass_fields__}
    if not drawing.starts:
        del body["starts"]  # slates were there before it
    if _is_shaped(drawing):
        body["shaping"] = SHAPING  # without such letters, or fonts for them, it is drawn as before and keeps its key
    if _is_unspaced(drawing):
        body["breaks"] = BREAKS  # so does a text in which every word is followed by a blank
    if slate.reference:
        body["reference"] = slate.reference.pixels
    return Action(KIND, VERSION, body, outputs=("video",))


def fields(node: Node) -> dict[str, Any]:
    slate: Slate = node.spec
    drawing = slate.drawing
    return {
        **told_prompt(slate.clip),
        "frames": told_frames(drawing.frames, slate.clip, slate.scene),
        "fps": drawing.fps,
        "size": told_size(f"{slate.film['size'].value}", (drawing.width, drawing.height)),
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
    return written(name, slate.clip, slate.scene, slate.film)


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Draw and encode the slate in a thread: PyAV lets go of the interpreter while it encodes."""
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
    facts = probe_mp4(file)  # not the encoder's own bookkeeping
    job.out["video"] = file
    job.facts["video"] = facts.as_json()
