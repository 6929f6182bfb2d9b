"""A scene's narration: its spoken lines and pauses joined to one sound, measured to the sample."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import FAILED, LtxflowError, Span, problem
from ltxflow.core.target import Target
from ltxflow.core.workspace import read_json
from ltxflow.project.model import Project
from ltxflow.project.speech import Speech, keyed_whole
from ltxflow.steps import USUAL, ActionContext, Node, ResolvedInputs

if TYPE_CHECKING:
    from ltxflow.media.mix import Joined, PlacedVoice

KIND, VERSION, POOL, SOURCE = "narration", "1", "cpu", "speech"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL
TIMING_SCHEMA = "ltxflow.timing/1"


@dataclass(frozen=True)
class NarrationSpec:
    """The speech of one scene."""

    scene: str
    speech: Speech


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield a node for every scene with speech; it needs the sound of each of its lines.

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
        yield Node(
            Target(f"narration:{scene.id}"), KIND, NarrationSpec(scene.id, speech), 0, needs, scene.narration.span
        )


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    """Return the action, keyed by the bytes of the lines: a line spoken again with equal bytes changes nothing."""
    spec: NarrationSpec = node.spec
    used = {name: output.digest for name, output in inputs.items()}
    return Action(KIND, VERSION, keyed_whole(spec.speech), used, ("speech", "timing"))


def fields(node: Node) -> dict[str, Any]:
    speech: Speech = node.spec.speech
    pauses = {f"pause.{line.id}": f"{float(line.pause_s):g}s" if line.pause_s else None for line in speech.lines}
    return {"trim": speech.trim, **pauses}


def where(node: Node, name: str) -> Span | None:
    speech: Speech = node.spec.speech
    field, _, id = name.partition(".")
    line = next((line for line in speech.lines if line.id == id), None)
    return speech.spans.get(field) or (line.span if line else None) or node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Join the lines in a thread; the output `timing` has the place of each line, word and silence."""
    from ltxflow.media import mix  # late: a plan needs actions, but no numpy

    speech: Speech = node.spec.speech
    file, timing = job.folder / "speech.wav", job.folder / "timing.json"
    pieces = [mix.VoicePiece(job.inputs[f"speech.{index}"], line.pause_s) for index, line in enumerate(speech.lines)]
    joined = await asyncio.to_thread(mix.join, pieces, file, trim=speech.trim)
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
    """Return all places in samples of the whole. Lines have no ids: those may change while the sound stays."""
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
    raise LtxflowError(problem("R101", path=path), exit_code=FAILED)


def _words(place: PlacedVoice, starts: list[dict[str, int]], rate: int) -> list[dict[str, int]]:
    return [{**word, "start_sample": place.at(word["start_sample"], rate)} for word in starts]
