"""Make files that people give fit the film: a video that is pinned, a narration that browsers do not play.

The same file is converted once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from ltxflow.build.loop import LocalExecutor, RunContext, RunResult, build, interruptible
from ltxflow.core.digest import Digest, Output, digest_file
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.core.events import Event, Notice, RunStarted
from ltxflow.core.target import Target
from ltxflow.media.convert import fits, fitted_frames
from ltxflow.media.fit import ImageFacts, fit_warnings
from ltxflow.media.video import PLAYED_PIXELS, probe_video
from ltxflow.plan.evaluate import evaluate
from ltxflow.plan.graph import build_graph
from ltxflow.project.model import Media, Project
from ltxflow.session.session import Session
from ltxflow.steps import Node
from ltxflow.steps.fitted import FittedSpec

CODECS = {
    "h264": "H.264",
    "hevc": "HEVC",
    "prores": "ProRes",
    "vp8": "VP8",
    "vp9": "VP9",
    "av1": "AV1",
    "mjpeg": "Motion JPEG",
    "dnxhd": "DNxHD",
    "mpeg4": "MPEG-4",
    "mpeg2video": "MPEG-2",
    "opus": "Opus",
    "vorbis": "Vorbis",
    "ac3": "AC-3",
}


@dataclass(frozen=True)
class FittedFile:
    """A file in the form of the film's clips: the given one, or in the store what was made of it.

    `change` says what had to be changed, "" for a file that fits. `notes` are losses that its owner should know.
    """

    path: Path
    change: str = ""
    notes: tuple[Problem, ...] = ()


def fit_to_film(session: Session, file: Path, clip: str, emit: Callable[[Event], None]) -> FittedFile:
    """Return a video file in the form of the film's clips, converted if it has another.

    Raise LtxflowError for a file that is not a video, is damaged, or cannot be converted.
    """
    size, fps = session.project.size, session.project.fps
    facts = probe_video(file)
    notes = tuple(problem("U039", name=file.name, note=note) for note in _notes(facts, size))
    if fits(facts, size, fps):
        return FittedFile(file, notes=notes)
    spec = FittedSpec(file, digest_file(file), facts, size, fps)
    node = Node(Target(f"fitted:{clip}"), "fitted", spec, fitted_frames(facts, fps))
    run = _made(session, [node], emit)
    if run.failed:
        raise LtxflowError(*(each for failed in run.failed.values() for each in failed), exit_code=FAILED)
    output = _output(run, node, "video")
    change = ", ".join(_changes(file, facts, size, fps)) or "written as one plain mp4"
    return FittedFile(session.store.cas.path(output.digest), change, notes)


def played_sounds(session: Session, project: Project, emit: Callable[[Event], None]) -> dict[str, Media]:
    """Return, by scene, a wav of each narration that browsers may not play: AIFF, ALAC, the sound of a video, …

    A narration that cannot be converted is left out, with a notice: it is published as it is.
    """
    given = {scene.id: scene.narration.file for scene in project.scenes if scene.narration.file}
    files = {id: file for id, file in given.items() if not file.facts.get("is_played", True)}
    if not files:
        return {}
    nodes = [
        Node(Target(f"fitted:{id}"), "fitted", FittedSpec(file.path, file.digest), 0, span=file.span)
        for id, file in files.items()
    ]
    run = _made(session, nodes, lambda event: None)
    for target, failed in run.failed.items():
        emit(Notice(f"not converted, so browsers may not play it: {failed[0].message}", "warning", target))
    sounds = {}
    for node in nodes:
        if node.target not in run.failed:
            output, id = _output(run, node, "sound"), node.target.path
            sounds[id] = Media(session.store.cas.path(output.digest), f"{id}.wav", output.digest, output.facts)
    return sounds


def _made(session: Session, nodes: Sequence[Node], emit: Callable[[Event], None]) -> RunResult:
    """Make what the store does not have. Raise KeyboardInterrupt where that is interrupted."""
    graph = build_graph(nodes, [node.target for node in nodes])
    statuses = evaluate(graph, session.lookup)
    missing = [status for status in statuses.values() if status.state != "hit"]
    if not missing:
        return RunResult(dict(statuses))
    emit(RunStarted(session.project.id, "fit", len(nodes), len(missing)))
    executors = {"cpu": LocalExecutor(1)}
    context = RunContext(session.store, session.lookup, executors, emit, lambda node, trace: None)
    run = asyncio.run(interruptible(build(graph, statuses, context)))
    if run.interrupted:
        raise KeyboardInterrupt
    return run


def _output(run: RunResult, node: Node, name: str) -> Output:
    trace = run.statuses[node.target].trace
    assert trace is not None
    return trace.outputs[name]


def _notes(facts: Mapping[str, Any], size: tuple[int, int]) -> Iterator[str]:
    """Yield what a file loses, and what its owner may not expect of it."""
    yield from fit_warnings(ImageFacts(Digest(""), facts["width"], facts["height"]), size, "cover")
    if facts["is_hdr"]:
        yield "it is HDR: it becomes standard range, with its highlights compressed"
    if facts["is_transparent"]:
        yield "its transparent parts become black"
    sounds = facts["format"]["sounds"]
    if len(sounds) > 1:
        yield f"it has {len(sounds)} sound tracks, and only the first is used"
    if not facts["audio_rate"]:
        yield "its sound has an unknown codec, and is left out" if sounds else "it has no sound"


def _changes(file: Path, facts: Mapping[str, Any], size: tuple[int, int], fps: int) -> Iterator[str]:
    """Yield in words what is changed about a file."""
    form, sounds = facts["format"], facts["format"]["sounds"]
    if facts["rotation"] or facts["is_mirrored"]:
        yield "turned upright"
    if (facts["width"], facts["height"]) != size:
        yield f"{facts['width']}x{facts['height']} to {size[0]}x{size[1]}"
    elif facts["pixel"] != "1":
        yield "to square pixels"
    if not facts["is_even"]:
        yield f"varying rate to {fps} fps"
    elif facts["rate"] != str(fps):
        yield f"{float(Fraction(facts['rate'])):.5g} to {fps} fps"
    if facts["is_interlaced"]:
        yield "deinterlaced"
    if form["pictures"] != "h264":
        yield f"{_named(form['pictures'])} to H.264"
    elif not facts["is_hdr"] and form["pixels"] not in PLAYED_PIXELS:
        yield f"H.264 of {form['pixels']} to {PLAYED_PIXELS[0]}"
    if facts["is_hdr"]:
        yield "HDR to standard range"
    if facts["audio_rate"] and sounds[0] != "aac":
        yield f"{_named(sounds[0])} to AAC"
    if form["container"] != "mp4":
        yield f"{file.suffix.lower().removeprefix('.') or form['container']} to mp4"


def _named(codec: str) -> str:
    return CODECS.get(codec, "PCM" if codec.startswith("pcm_") else codec.upper())
