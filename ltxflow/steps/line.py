"""One spoken line of narration, keyed by engine, voice and text: the same line is never spoken twice."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import LtxflowError, Span, problem
from ltxflow.core.target import Target
from ltxflow.media.speech import SpeechRequest, failure, one_line, speak
from ltxflow.project.model import Project
from ltxflow.project.speech import Line, Speech, keyed_line, spoken
from ltxflow.steps import USUAL, ActionContext, Node, ResolvedInputs

KIND, VERSION, POOL, SOURCE = "line", "1", "cpu", "speech"
CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work = USUAL


@dataclass(frozen=True)
class LineSpec:
    """A line and the voice that speaks it."""

    speech: Speech
    line: Line


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield a node for every line that an engine speaks: `line:hook/intro`."""
    for scene in project.scenes:
        speech: Speech | None = getattr(scene.narration, "speech", None)
        for line in speech.lines if speech else ():
            assert speech is not None
            span = line.span or scene.narration.span
            yield Node(Target(f"line:{scene.id}/{line.id}"), KIND, LineSpec(speech, line), 0, span=span)


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    spec: LineSpec = node.spec
    return Action(KIND, VERSION, keyed_line(spec.speech, spec.line), outputs=("speech", "words"))


def fields(node: Node) -> dict[str, Any]:
    """Return its values; of the lexicon, the entries that change the spoken form of this line."""
    spec: LineSpec = node.spec
    speech, text = spec.speech, spec.line.text
    found: dict[str, Any] = {"text": text, "engine": speech.engine.name, "speed": speech.speed}
    found["voice"] = speech.voice or None
    form = spoken(text, speech.lexicon).text
    for name in speech.lexicon:
        others = {other: word for other, word in speech.lexicon.items() if other != name}
        if spoken(text, others).text != form:
            found[f"lexicon.{name}"] = speech.lexicon[name]
    return found


def where(node: Node, name: str) -> Span | None:
    spec: LineSpec = node.spec
    return spec.speech.spans.get(name.partition(".")[0]) or node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Speak the line as a canonical wav, with the times of its words where the engine gives them."""
    from ltxflow.media import mix  # late: a plan needs actions, but no numpy

    spec: LineSpec = node.spec
    body = action.body
    wanted = SpeechRequest(body["text"], body["voice"], body["speed"])
    recording = await speak(spec.speech.engine, wanted, job.folder, os.environ)
    file, words = job.folder / "speech.wav", job.folder / "words.json"
    try:
        facts = await asyncio.to_thread(mix.canonical, recording.file, file)
    except LtxflowError as error:
        (found, *_) = error.problems
        engine, text = spec.speech.engine.name, one_line(wanted.text, 60)
        wrong = problem(
            "S201.broke-off" if found.code == "M020" else "S201.unusable",
            engine=engine,
            text=text,
            reason=found.message,
        )
        raise failure(wrong) from error
    starts = [
        {"at": word.at, "length": word.length, "start_sample": round(word.start * facts.sample_rate)}
        for word in recording.words
    ]
    words.write_text(json.dumps(starts) + "\n", "utf-8")
    job.out |= {"speech": file, "words": words}
    job.facts["speech"] = {
        "samples": facts.samples,
        "sample_rate": facts.sample_rate,
        "seconds": str(facts.seconds),
        "lufs": facts.lufs,
    }
    if recording.version:
        job.versions[spec.speech.engine.kind] = recording.version
