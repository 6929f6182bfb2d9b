"""One line of narration, spoken. Keyed by engine, voice and text: the same line is never spoken twice."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import LtxflowError, Span, problem
from ltxflow.media.speech import SpeechRequest, failure, one_line, speak
from ltxflow.project.model import Project
from ltxflow.project.speech import Line, Speech, keyed_line, spoken
from ltxflow.steps import ActionContext, Node, ResolvedInputs

KIND, VERSION, POOL, SOURCE = "line", "1", "cpu", "speech"


@dataclass(frozen=True)
class LineSpec:
    """A line and who speaks it."""

    speech: Speech
    line: Line


def nodes(project: Project, wishes: ResolvedInputs) -> Iterator[Node]:
    """Given a film, yield a node for every line that is to be spoken: `line:hook/intro`."""
    for scene in project.scenes:
        speech: Speech | None = getattr(scene.narration, "speech", None)
        for line in speech.lines if speech else ():
            assert speech is not None
            span = line.span or scene.narration.span
            yield Node(f"line:{scene.id}/{line.id}", KIND, LineSpec(speech, line), 0, span=span)


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    saying: LineSpec = node.spec
    return Action(KIND, VERSION, keyed_line(saying.speech, saying.line), outputs=("speech", "words"))


def fields(node: Node) -> dict[str, Any]:
    """The lexicon's entries are told where they change what is said."""
    saying: LineSpec = node.spec
    speech, text = saying.speech, saying.line.text
    told: dict[str, Any] = {"text": text, "engine": speech.engine.name, "speed": speech.speed}
    told["voice"] = speech.voice or None
    said = spoken(text, speech.lexicon).text
    for name in speech.lexicon:
        others = {other: form for other, form in speech.lexicon.items() if other != name}
        if spoken(text, others).text != said:
            told[f"lexicon.{name}"] = speech.lexicon[name]
    return told


def where(node: Node, name: str) -> Span | None:
    saying: LineSpec = node.spec
    return saying.speech.spans.get(name.partition(".")[0]) or node.span


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Speak the line of the action and keep it as a canonical wav, with its words where the engine tells them."""
    saying: LineSpec = node.spec
    body = action.body
    wanted = SpeechRequest(body["text"], body["voice"], body["speed"])
    said = await speak(saying.speech.engine, wanted, job.folder, os.environ)
    voice = importlib.import_module("ltxflow.media.voice")  # by name: a plan asks for actions, and needs no numpy
    file, words = job.folder / "speech.wav", job.folder / "words.json"
    try:
        facts = await asyncio.to_thread(voice.canonical, said.file, file)
    except LtxflowError as error:
        (found, *_) = error.problems
        engine, text = saying.speech.engine.name, one_line(wanted.text, 60)
        wrong = problem(
            "S201.broke-off" if found.code == "M020" else "S201.unusable",
            engine=engine,
            text=text,
            reason=found.message,
        )
        raise failure(wrong) from error
    starts = [
        {"at": word.at, "length": word.length, "start_sample": round(word.start * facts.sample_rate)}
        for word in said.words
    ]
    words.write_text(json.dumps(starts) + "\n", "utf-8")
    job.out |= {"speech": file, "words": words}
    job.facts["speech"] = {
        "samples": facts.samples,
        "sample_rate": facts.sample_rate,
        "seconds": str(facts.seconds),
        "lufs": facts.lufs,
    }
    if said.version:
        job.versions[saying.speech.engine.kind] = said.version
