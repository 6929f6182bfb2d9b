"""Read the narration of a scene: a recording, a planned duration, or words to be spoken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType
from typing import Any

from ltxflow.core.digest import digest_file, digest_json
from ltxflow.core.errors import problem
from ltxflow.core.timing import parse_gain, parse_time
from ltxflow.documents.document import KeyPath
from ltxflow.media.speech import Engine
from ltxflow.project.model import Narration, Scene
from ltxflow.project.prompt import fill
from ltxflow.project.reader import FilmSettings, Reader
from ltxflow.project.speech import (
    ANY_OFFLINE,
    Speech,
    built_in,
    count_words,
    estimate,
    line_starts,
    needs_trust,
    read_engines,
    read_lines,
    read_speech,
    shown,
)

WORDS_PER_SECOND = 2.5  # a calm narrator; 150 words a minute


def read_narration(reader: Reader, film: FilmSettings, written: Mapping[str, Any], path: KeyPath) -> Narration:
    """Read the narration of a scene. Its length is measured, planned or estimated."""
    fps, variables = film.fps, film.variables
    spoken = written.get("narration")
    at: KeyPath = (*path, "narration")
    span = reader.span(at)
    if spoken is None:
        return Narration("none", Fraction(0), span=reader.span((*path, "id")))
    if isinstance(spoken, str):
        spoken = {"duration": spoken}
    text, problems = fill(str(spoken.get("text", "")), variables, reader.span((*at, "text")))
    reader.problems += problems
    gain = parse_gain(str(spoken.get("gain", "0dB")))
    if "lines" in spoken and any(name in spoken for name in ("text", "file", "duration")):
        reader.problems.append(problem("L067", reader.span((*at, "lines"))))
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
    whole = " ".join([text, *(fill(line, variables, span)[0] for line in lines)]).strip()
    words = count_words(shown(whole))
    if not whole.split():
        reader.problems.append(problem("L060", reader.span((*at, "text"))))
    seconds = max(words, Fraction(1)) / rate + sum(line.pause_s for line in unspoken)
    starts = line_starts(unspoken, rate)
    return Narration(
        "text", seconds, estimated=True, text=whole, gain_db=gain, starts=MappingProxyType(starts), span=span
    )


def _speech(reader: Reader, film: FilmSettings, spoken: Mapping[str, Any], at: KeyPath) -> Speech | None:
    """Return the speech of a scene, for the engine that it or the film names; None without one."""

    def filled(text: str, where: KeyPath) -> str:
        result, problems = fill(text, film.variables, reader.span((*at, *where)))
        reader.problems += problems
        return result

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
    """Return every engine by name: built-in, the user's, and the project's, which need trust."""
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


def check_covers(reader: Reader, scene: Scene, path: KeyPath) -> None:
    """Report lines that are not covered exactly once and in order, by all clips of the scene or by none."""
    lines = list(scene.narration.starts)
    left = list(lines)
    if not any(clip.covers for clip in scene.clips):
        return
    for clip in scene.clips:
        at: KeyPath = (*path, "clips", clip.index, "covers")
        if not clip.covers:
            reader.problems.append(problem("L107.none", reader.span(at), clip=clip.path))
            return
        for place, id in enumerate(clip.covers):
            if left[:1] == [id]:
                left.pop(0)
                continue
            near = f"write {left[0]}, the next line" if left else "remove it: all lines are covered already"
            hint = near if lines else "give the narration lines: [{id: …, text: …}]"
            reader.problems.append(
                problem(
                    "L107.order" if id in lines else "L107.unknown",
                    reader.span((*at, place)),
                    hint=hint,
                    clip=clip.path,
                    line=id,
                )
            )
            return
    if left:
        at = (*path, "clips", scene.clips[-1].index, "covers")
        reader.problems.append(problem("L107.rest", reader.span(at), line=left[0], lines=", ".join(left)))
