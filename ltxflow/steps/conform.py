"""The finished film: its parts joined, its sound mixed, chapters and captions in it. Encodes no picture."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ltxflow.core.digest import Action, Digest, Output
from ltxflow.core.errors import FAILED, LtxflowError, Problem, Span
from ltxflow.media.codecs import media_libraries
from ltxflow.media.mix import Bed, MixedVoice, Sound, mix
from ltxflow.media.mux import Caption, Chapter, join_film
from ltxflow.media.probe import probe_mp4
from ltxflow.project.model import Project
from ltxflow.steps import ActionContext, Node, ResolvedInputs

KIND, VERSION, POOL, SOURCE = "conform", "1", "cpu", "conform"


@dataclass(frozen=True)
class SceneSound:
    """What is heard in a scene of `count` samples; the digests are those of the files, in the same order."""

    count: int
    beds: tuple[Bed, ...]
    voice: MixedVoice | None
    digests: tuple[Digest, ...]

    def keyed(self) -> list[Any]:
        beds = [[b.first, b.at, b.count, b.fade_in, b.fade_out, b.volume] for b in self.beds]
        return [self.count, beds, [self.voice.at, self.voice.volume] if self.voice else None, list(self.digests)]


@dataclass(frozen=True)
class ConformSpec:
    """How a film is put together; its parts are the needs of its node, in order."""

    fps: int
    frames: int
    bit_rate: int  # of the sound
    scenes: tuple[SceneSound, ...]
    chapters: tuple[Chapter, ...]
    captions: tuple[Caption, ...]
    tags: Mapping[str, str] = field(default_factory=dict)


def nodes(project: Project, wishes: ResolvedInputs) -> Iterator[Node]:
    """None by the film alone: how it is cut is known from its timeline (`deliver.conform`)."""
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
    """Join in a thread; what comes out has the frames of the timeline, or it is an error."""
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
        message = f"the film came out with {facts.frames} frames, its timeline has {film.frames}"
        raise LtxflowError(Problem(message, code="conform"), exit_code=FAILED)
    job.out["video"] = file
    job.facts["video"] = facts.as_json()
