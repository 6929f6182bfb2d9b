"""What is said over a scene: a recording, a planned duration, or words, spoken by an engine or estimated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from ltxflow.core.digest import digest_file, digest_json
from ltxflow.core.timing import parse_gain, parse_time
from ltxflow.media.speech import Engine
from ltxflow.project.model import Narration, Scene
from ltxflow.project.prompt import fill
from ltxflow.project.reader import FilmSettings, Path_, Reader
from ltxflow.project.speech import (
    ANY_OFFLINE,
    Speech,
    built_in,
    estimate,
    line_starts,
    needs_trust,
    read_engines,
    read_lines,
    read_speech,
)

RULES = {
    "L060": "a narration has words, a duration or a file",
    "L067": "a narration is given in one way",
    "L107": "covers: names the lines of the narration, each once and in order, for all clips of a scene",
}

WORDS_PER_SECOND = 2.5  # a calm narrator; 150 words a minute


def read_narration(reader: Reader, film: FilmSettings, written: Mapping[str, Any], path: Path_) -> Narration:
    """Given a scene as it is written, return what is said over it: as long as it is, was planned, or is estimated."""
    fps, variables = film.fps, film.variables
    spoken = written.get("narration")
    at: Path_ = (*path, "narration")
    span = reader.span(at)
    if spoken is None:
        return Narration("none", Fraction(0), span=reader.span((*path, "id")))
    if isinstance(spoken, str):
        spoken = {"duration": spoken}
    text, problems = fill(str(spoken.get("text", "")), variables, reader.span((*at, "text")))
    reader.problems += problems
    gain = parse_gain(str(spoken.get("gain", "0dB")))
    if "lines" in spoken and any(name in spoken for name in ("text", "file", "duration")):
        reader.wrong(
            "a narration has lines, or a text, a file or a duration", (*at, "lines"), "keep one of them", "L067"
        )
    if "file" in spoken:
        sound = reader.sound(str(spoken["file"]), (*at, "file"))
        seconds = Fraction(sound.facts["samples"], sound.facts["sample_rate"]) if sound else Fraction(1)
        return Narration("file", seconds, text=text, gain_db=gain, file=sound, span=span)
    if "duration" in spoken:
        return Narration("duration", parse_time(str(spoken["duration"]), fps), text=text, gain_db=gain, span=span)
    rate = Fraction(str(reader.document.data.get("words_per_second") or WORDS_PER_SECOND))
    speech = _speech(reader, film, spoken, at)
    if speech is not None:
        starts = line_starts(speech.lines, rate, speech.speed, speech.lexicon)
        return Narration(
            "text",
            estimate(speech, rate),
            estimated=True,
            text=speech.text,
            gain_db=gain,
            speech=speech,
            starts=MappingProxyType(starts),
            span=span,
        )
    unspoken = read_lines(
        spoken, lambda text, where: fill(text, variables, None)[0], lambda where: reader.span((*at, *where)), fps
    )
    lines = [line if isinstance(line, str) else str(line.get("text", "")) for line in spoken.get("lines") or ()]
    told = " ".join([text, *(fill(line, variables, span)[0] for line in lines)]).strip()
    words = len(told.split())
    if not words:
        reader.wrong("the narration has no words", (*at, "text"), "write what is said, or a duration", "L060")
    seconds = max(words, 1) / rate + sum(line.pause_s for line in unspoken)
    starts = line_starts(unspoken, rate)
    return Narration(
        "text", seconds, estimated=True, text=told, gain_db=gain, starts=MappingProxyType(starts), span=span
    )


def _speech(reader: Reader, film: FilmSettings, spoken: Mapping[str, Any], at: Path_) -> Speech | None:
    """What is to be spoken over a scene, by the engine it or the film names; None without one."""

    def filled(text: str, where: Path_) -> str:
        told, problems = fill(text, film.variables, reader.span((*at, *where)))
        reader.problems += problems
        return told

    shared = reader.document.data.get("speech") or {}
    speech, problems = read_speech(
        spoken,
        shared,
        reader.engines,
        offline=reader.offline() if spoken.get("engine", shared.get("engine")) == ANY_OFFLINE else None,
        fps=film.fps,
        fill=filled,
        span=lambda where: reader.span((*at, *where)),
        film_span=lambda where: reader.span(("speech", *where)),
        absent=reader.absent,
    )
    reader.problems += [p for p in problems if p not in reader.problems]
    return speech


def engines_of(reader: Reader, of_user: Mapping[str, Engine]) -> dict[str, Engine]:
    """Given the film, return every engine by name: built in, the user's, and those it brings, which need trust."""
    written = reader.document.data.get("engines") or {}
    words = [str(word) for entry in written.values() for word in entry.get("command", ())]
    brought = {word: digest_file(reader.folder / word) for word in words if (reader.folder / word).is_file()}
    engines, problems = read_engines(
        written, lambda where: reader.span(("engines", *where)), of_project=True, files=brought
    )
    reader.problems += problems
    for name, engine in engines.items():
        reader.foreign[f"engine {name}"] = digest_json(needs_trust(engine))
    own = {name: replace(engine, folder=reader.folder) for name, engine in engines.items()}
    return {**built_in(), **of_user, **own}


def check_covers(reader: Reader, scene: Scene, path: Path_) -> None:
    """Note where not every line is covered once, in the order in which they are said; by each clip of the scene, or by
    none."""
    said = list(scene.narration.starts)
    left = list(said)
    if not any(clip.covers for clip in scene.clips):
        return
    for clip in scene.clips:
        at: Path_ = (*path, "clips", clip.index, "covers")
        if not clip.covers:
            hint = "name the lines that are said while it plays, or take covers: from the other clips"
            reader.wrong(f"{clip.path} covers no line, and others of its scene do", at, hint, "L107")
            return
        for place, id in enumerate(clip.covers):
            if left[:1] == [id]:
                left.pop(0)
                continue
            near = f"the next line is {left[0]}" if left else "all lines are covered before"
            hint = near if said else "give the narration lines: [{id: …, text: …}]"
            known = "is not the next line" if id in said else "is no line of this scene"
            reader.wrong(f'{clip.path} covers "{id}", which {known}', (*at, place), hint, "L107")
            return
    if left:
        at = (*path, "clips", scene.clips[-1].index, "covers")
        reader.wrong(f"no clip covers the line {left[0]}", at, f"write  covers: [{', '.join(left)}]", "L107")
