"""A scene's narration: its spoken lines and pauses as one sound, measured to the sample. Speaks nothing itself."""

from __future__ import annotations

import asyncio
import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import FAILED, LtxflowError, Problem, Span
from ltxflow.core.regular import read_json
from ltxflow.project.model import Project
from ltxflow.project.speech import Speech, keyed_whole
from ltxflow.steps import ActionContext, Node, ResolvedInputs

if TYPE_CHECKING:
    from ltxflow.media.voice import Joined, PlacedVoice

KIND, VERSION, POOL, SOURCE = "narration", "1", "cpu", "speech"
TIMING_SCHEMA = "ltxflow.timing/1"


@dataclass(frozen=True)
class NarrationSpec:
    """What is spoken over one scene."""

    scene: str
    speech: Speech


def nodes(project: Project, wishes: ResolvedInputs) -> Iterator[Node]:
    """Given a film, yield a node for every scene that has speech to make; it needs the sound of each of its lines.

    line:hook/1 ─┐
    line:hook/2 ─┴─► narration:hook
    """
    for scene in project.scenes:
        speech: Speech | None = getattr(scene.narration, "speech", None)
        if speech is None:
            continue
        needs = {
            f"{output}.{index}": f"line:{scene.id}/{line.id}#{output}"
            for index, line in enumerate(speech.lines)
            for output in ("speech", "words")
        }
        yield Node(f"narration:{scene.id}", KIND, NarrationSpec(scene.id, speech), 0, needs, scene.narration.span)


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    """By the bytes of its lines: a line that is spoken anew and comes out equal changes nothing."""
    spoken: NarrationSpec = node.spec
    used = {name: output.digest for name, output in inputs.items()}
    return Action(KIND, VERSION, keyed_whole(spoken.speech), used, ("speech", "timing"))


def fields(node: Node) -> dict[str, Any]:
    speech: Speech = node.spec.speech
    told: dict[str, Any] = {"trim": speech.trim}
    pauses = {f"pause.{line.id}": f"{float(line.pause_s):g}s" if line.pause_s else None for line in speech.lines}
    return told | pauses


def where(node: Node, name: str) -> Span | None:
    speech: Speech = node.spec.speech
    field, _, id = name.partition(".")
    line = next((line for line in speech.lines if line.id == id), None)
    return speech.spans.get(field) or (line.span if line else None) or node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Join the lines in a thread; `timing` tells where each line, word and silence is."""
    speech: Speech = node.spec.speech
    file, timing = job.folder / "speech.wav", job.folder / "timing.json"
    voice = importlib.import_module("ltxflow.media.voice")  # by name: a plan asks for actions, and needs no numpy
    pieces = [voice.VoicePiece(job.inputs[f"speech.{index}"], line.pause_s) for index, line in enumerate(speech.lines)]
    joined = await asyncio.to_thread(voice.join, pieces, file, trim=speech.trim)
    words = [job.inputs[f"words.{index}"] for index in range(len(pieces))]
    timing.write_text(json.dumps(_timing(joined, words)) + "\n", "utf-8")
    job.out |= {"speech": file, "timing": timing}
    facts = joined.facts
    job.facts["speech"] = {
        "samples": facts.samples,
        "sample_rate": facts.sample_rate,
        "seconds": str(facts.seconds),
        "lufs": facts.lufs,
        "lines": [{"start_sample": place.start, "end_sample": place.end} for place in joined.places],
    }


def _timing(joined: Joined, words: list[Path]) -> dict[str, Any]:
    """In samples of the whole. Lines in order and without ids: those may change while the sound stays."""
    return {
        "schema": TIMING_SCHEMA,
        "samples": joined.facts.samples,
        "sample_rate": joined.facts.sample_rate,
        "lines": [
            {
                "start_sample": place.start,
                "end_sample": place.end,
                "words": _words(place, _starts(path), joined.facts.sample_rate),
            }
            for place, path in zip(joined.places, words, strict=True)
        ],
        "silences": [list(run) for run in joined.silences],
    }


def _starts(path: Path) -> list[dict[str, int]]:
    try:
        starts = read_json(path)
        if isinstance(starts, list) and all(isinstance(word, dict) and "start_sample" in word for word in starts):
            return starts
    except (OSError, ValueError):
        pass
    hint = "ltxflow cache verify --repair sets it aside; the next build makes it again"
    raise LtxflowError(Problem(f'"{path}" is damaged: when words are said is not in it', hint=hint), exit_code=FAILED)


def _words(place: PlacedVoice, starts: list[dict[str, int]], rate: int) -> list[dict[str, int]]:
    return [{**word, "start_sample": place.at(word["start_sample"], rate)} for word in starts]
