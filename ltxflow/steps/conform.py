"""The conformed film: its parts joined, its sound mixed, chapters and captions added. Encodes no picture."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ltxflow.core.digest import Action, Digest, Output
from ltxflow.core.errors import FAILED, LtxflowError, Span, problem
from ltxflow.media.mix import Bed, MixedVoice, Sound, mix
from ltxflow.media.mux import Caption, Chapter, join_film
from ltxflow.media.probe import probe_mp4
from ltxflow.media.video import media_libraries
from ltxflow.project.model import Project
from ltxflow.steps import USUAL, ActionContext, Node, ResolvedInputs

KIND, VERSION, POOL, SOURCE = "conform", "1", "cpu", "conform"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL


@dataclass(frozen=True)
class SceneSound:
    """The sound of a scene of `count` samples; the digests are those of its files, in the same order."""

    count: int
    beds: tuple[Bed, ...]
    voice: MixedVoice | None
    digests: tuple[Digest, ...]

    def keyed(self) -> list[Any]:
        beds = [[b.first, b.at, b.count, b.fade_in, b.fade_out, b.volume] for b in self.beds]
        return [self.count, beds, [self.voice.at, self.voice.volume] if self.voice else None, list(self.digests)]


@dataclass(frozen=True)
class ConformSpec:
    """How a film is joined; its parts are the needs of its node, in order."""

    fps: int
    frames: int
    bit_rate: int  # of the sound
    scenes: tuple[SceneSound, ...]
    chapters: tuple[Chapter, ...]
    captions: tuple[Caption, ...]
    tags: Mapping[str, str] = field(default_factory=dict)


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield nothing: a conformed film follows from a timeline, not from the project (`export.conform`)."""
    yield from ()


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    film: ConformSpec = node.spec
    body: dict[str, Any] = {
        "fps": film.fps,
        "bit_rate": film.bit_rate,
        "encoder": media_libraries()["FFmpeg"],
        "sound": [scene.keyed() for scene in film.scenes],
        "chapters": [[chapter.title, chapter.start, chapter.end] for chapter in film.chapters],
        "captions": [[caption.start, caption.end, *caption.lines] for caption in film.captions],
        "tags": dict(film.tags),
    }
    if any(caption.italics for caption in film.captions):
        body["italics"] = [[list(span) for span in caption.italics] for caption in film.captions]
    return Action(KIND, VERSION, body, {name: output.digest for name, output in inputs.items()}, ("video",))


def fields(node: Node) -> dict[str, Any]:
    film: ConformSpec = node.spec
    return {"frames": film.frames, "chapters": [chapter.title for chapter in film.chapters]}


def where(node: Node, name: str) -> Span | None:
    return node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Join in a thread. Raise LtxflowError where the result has other frames than the timeline."""
    film: ConformSpec = node.spec
    file = job.folder / "film.mp4"

    def sounds() -> Iterator[Sound]:
        for scene in film.scenes:
            yield mix(scene.count, scene.beds, scene.voice)

    await asyncio.to_thread(
        join_film,
        [job.inputs[name] for name in node.needs],
        sounds(),
        film.fps,
        file,
        bit_rate=film.bit_rate,
        chapters=film.chapters,
        captions=film.captions,
        tags=film.tags,
        progress=lambda frames: job.progress(frames / film.frames, f"frame {frames}/{film.frames}"),
    )
    facts = probe_mp4(file)
    if facts.frames != film.frames:
        raise LtxflowError(problem("R100", found=facts.frames, wanted=film.frames), exit_code=FAILED)
    job.out["video"] = file
    job.facts["video"] = facts.as_json()
