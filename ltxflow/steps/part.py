"""A part of a conformed film's picture: one clip between its dissolves, or one dissolve, encoded once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.core.digest import Action, Digest, Output
from ltxflow.core.errors import Span
from ltxflow.media.bidi import SHAPING, needs_shaping
from ltxflow.media.probe import probe_mp4
from ltxflow.media.slate import EncodeSettings, Overlay, Segment, cut_part
from ltxflow.media.subtitles import draw_caption
from ltxflow.project.model import Project
from ltxflow.steps import USUAL, ActionContext, Node, ResolvedInputs

KIND, VERSION, POOL, SOURCE = "part", "1", "cpu", "conform"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL


@dataclass(frozen=True)
class BurntCaption:
    """A caption drawn into the picture, from the frame `first` of the part up to `end`."""

    first: int
    end: int
    lines: tuple[str, ...]
    italics: tuple[tuple[int, int, int], ...] = ()  # line, first character, first after it


@dataclass(frozen=True)
class PartSpec:
    """Frames of a clip, or of two clips that dissolve, each with the digest of its file."""

    settings: EncodeSettings
    shown: Segment
    digest: Digest
    before: Segment | None = None
    digest_before: Digest | None = None
    captions: tuple[BurntCaption, ...] = ()


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield nothing: parts follow from a timeline, not from the project (`export.conform`)."""
    yield from ()


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    """Return the action, keyed by the frames in use, wherever in the film they are."""
    part: PartSpec = node.spec
    body: dict[str, Any] = {"look": part.settings.keyed(), "first": part.shown.first, "frames": part.shown.frames}
    used = {"video": part.digest}
    if part.before is not None and part.digest_before is not None:
        body["first_before"] = part.before.first
        used["before"] = part.digest_before
    if part.captions:
        body["captions"] = [[burnt.first, burnt.end, *burnt.lines] for burnt in part.captions]
        if any(needs_shaping(line) for burnt in part.captions for line in burnt.lines):
            body["shaping"] = SHAPING
        if any(burnt.italics for burnt in part.captions):
            body["italics"] = [[list(span) for span in burnt.italics] for burnt in part.captions]
    return Action(KIND, VERSION, body, used, ("video",))


def fields(node: Node) -> dict[str, Any]:
    part: PartSpec = node.spec
    return {"first": part.shown.first, "frames": part.shown.frames, "size": [part.settings.width, part.settings.height]}


def where(node: Node, name: str) -> Span | None:
    return node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Cut and encode in a thread: PyAV releases the interpreter while it works."""
    part: PartSpec = node.spec
    file = job.folder / "video.mp4"

    def encode() -> None:
        overlays = [_overlay(burnt, part.settings) for burnt in part.captions]
        cut_part(
            part.settings,
            part.shown,
            file,
            part.before,
            overlays,
            lambda done, total: job.progress(done / total, f"frame {done}/{total}"),
        )

    await asyncio.to_thread(encode)
    job.out["video"] = file
    job.facts["video"] = probe_mp4(file).as_json()


def _overlay(burnt: BurntCaption, settings: EncodeSettings) -> Overlay:
    return Overlay(burnt.first, burnt.end, *draw_caption(burnt.lines, settings.width, settings.height, burnt.italics))
