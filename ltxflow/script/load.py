"""Reads a project from disk, checks it and freezes it. The last place that touches the disk before a build."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from ltxflow.core.digest import digest_file, digest_json
from ltxflow.core.errors import Level, LtxflowError, Problem, Span, raise_errors
from ltxflow.core.timing import STEP, parse_frames, parse_gain, parse_time, seconds_to_frames_up, snap_up
from ltxflow.media.engines import Engine
from ltxflow.media.fit import Fit, fit_warnings
from ltxflow.script import yaml
from ltxflow.script.facts import Facts
from ltxflow.script.fits import check
from ltxflow.script.model import (
    EMPTY,
    Clip,
    Extends,
    FrameOf,
    Image,
    Length,
    Lora,
    Media,
    Narration,
    Picture,
    Project,
    Prompt,
    Scene,
    Value,
)
from ltxflow.script.paths import WINDOWS_RESERVED, contained, nearby, workspace_of
from ltxflow.script.profile import Profile, geometry, load_profile
from ltxflow.script.prompt import fill, read_prompt, sheets
from ltxflow.script.references import TEXT_TO_IMAGE, Library, check_frames, picture_of, with_references
from ltxflow.script.settings import QUALITY_PARTS, Layer, flatten, resolve
from ltxflow.script.sources import Place, Sources, Written, how_written, read_sources
from ltxflow.script.speech import (
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
from ltxflow.script.template import Template, read_templates
from ltxflow.store.memory import Memory

RULES = {
    "L010": "a path can be resolved",
    "L011": "a path is relative to the project's folder, unless the project is trusted",
    "L012": "a path stays in the workspace",
    "L013": "the output is a folder of its own",
    "L020": "a file that is named exists",
    "L021": "an image can be read",
    "L022": "an image fits: not much of it is cut off or enlarged",
    "L023": "a video can be read",
    "L024": "a sound can be read",
    "L030": "a variable in a prompt is defined under vars:",
    "L031": "prompts take names of vars, not code",
    "L032": "vars do not use other vars",
    "L033": "a prompt is not empty",
    "L040": "the frame rate is one that the model was made for",
    "L041": "the model is one that servers of today can make",
    "L042": "a quality is one of the profile's",
    "L043": "a clip is not longer than the model can make",
    "L044": "a clip has no more steps than its quality's schedule",
    "L045": "a LoRA is a file, or a name that the film defines under loras:",
    "L046": "a guide video has the IC-LoRA that reads it",
    "L050": "an id is used once",
    "L051": "an id is no reserved name on Windows",
    "L060": "a narration has words, a duration or a file",
    "L067": "a narration is given in one way",
    "L070": "moved: names a clip that is in the film",
    "L071": "moved: names an earlier clip that is no longer in the film",
    "L072": "moved: pairs two clips or two scenes",
    "L080": "a template is one of the profile's or of the project's",
    "L081": 'a template saves a video, by a node titled "video"',
    "L082": "weights are a precision that the profile names",
    "L083": "a clip has what its template needs: a reference, a last frame, a guide video, what it extends",
    "L084": "a template reads only files that ltxflow uploads for the clip",
    "L090": "what a project brings that could do harm is trusted first",
    "L100": "extends: names a clip that is in the film, or a file",
    "L101": "extends: takes 8n+1 frames, and the clip is longer than that",
    "L102": "what a clip continues has its frame rate and shape, and enough frames",
    "L103": "sound goes on only where there is some, up to the last frame",
    "L104": "a clip that continues another one is neither guided nor doubled, and starts from no image",
    "L105": "the frame rate is doubled by an upscaler that there is, from a whole one",
    "L106": "a clip and the one that continues it meet without a crossfade",
    "L120": "covers: names the lines of the narration, each once and in order, for all clips of a scene",
    "T101": "the clips of a scene cover its narration",
    "T102": "lengths lie where the model is at its best",
}

WORDS_PER_SECOND = 2.5  # a calm narrator; 150 words a minute
SOUND_SHORTER_S = Fraction(4, 100)  # LTX-2's sound ends up to 30 ms before its picture (4T-3 of 4T steps of 10 ms)
OUTPUT = "public/scenes"
DEFAULT_ASPECT = "3:2"

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class Loaded:
    """A project, and what is worth saying about it that did not stop it: warnings and advice."""

    project: Project
    problems: tuple[Problem, ...]
    files: tuple[Path, ...]  # every file that was read, and every folder that was searched
    sources: tuple[Path, ...]  # those of them that the film is written in
    head: str  # how it is written: all but the scenes (Sources.head), and the scenes
    written: tuple[Written, ...]


@dataclass
class _Reader:
    """What one load gathers on its way: the document, its problems, the files it read."""

    document: yaml.Document
    folder: Path
    workspace: Path
    is_trusted: bool
    problems: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    images: dict[Path, Image | None] = field(default_factory=dict)
    engines: dict[str, Engine] = field(default_factory=dict)
    numbers: Sequence[int] | None = None  # of the scenes, in the film, where only some of them are read
    library: Library | None = None
    offline: Callable[[], str | None] = lambda: None
    facts: Facts = field(default_factory=Facts)
    real: dict[str, str] = field(default_factory=dict)  # folder → where it really is
    below: dict[Any, dict[str, Value]] = field(default_factory=dict)  # see _below
    shared: list[Layer] = field(default_factory=list)

    def span(self, path: Path_) -> Span:
        return self.document.span(path)

    def wrong(self, message: str, path: Path_, hint: str = "", code: str = "") -> None:
        self.problems.append(Problem(message, self.span(path), hint, code))

    def file(self, name: str, path: Path_) -> Path | None:
        """Return where the file named at `path` is, or None after noting what is wrong with it."""
        if Path(name).is_absolute() or name.startswith("~"):
            self.foreign[f"absolute path {name}"] = name
        found, problem = contained(name, self.folder, self.workspace, self.span(path), self.is_trusted, self.real)
        if problem:
            self.problems.append(problem)
        if found is None:
            return None
        if not found.is_file():
            self.wrong(f'no file "{name}"', path, nearby(found, name, self.span(path)), "L020")
            return None
        self.files.append(found)
        return found


def load(
    file: Path,
    *,
    root: str | None = None,
    command_line: Mapping[str, Any] | None = None,
    is_trusted: bool = False,
    engines: Mapping[str, Engine] = EMPTY,
    offline: Callable[[], str | None] = lambda: None,
    memory: Memory | None = None,
    sources: Sources | None = None,
) -> Loaded:
    """Given the path of project.yaml, return the film, frozen, with warnings.

    `command_line` holds settings by dotted name, the strongest layer. `is_trusted` says that the user allowed
    what this project brings (absolute paths, templates, engines). `engines` are the user's own, and `offline`
    finds the engine that `engine: offline` means here. `memory` knows files that are unchanged. `sources` are those
    that were read already; where they have a part of the film, what is returned is that part.

    Raise LtxflowError with every problem of the file.
    """
    folder = file.parent
    place = Place(folder, workspace_of(folder, root), is_trusted)
    sources = sources or read_sources(file, place)
    problems = [*sources.problems, *_check_command_line(command_line or {})]
    if problems:
        raise LtxflowError(*problems)
    reader = _Reader(sources.document, folder, place.workspace, is_trusted, files=[*sources.files])
    reader.numbers = sources.numbers
    reader.foreign |= sources.foreign
    data: Mapping[str, Any] = sources.document.data
    reader.engines = _engines(reader, data, engines)
    reader.offline = offline
    reader.facts = Facts(memory)
    profile = _profile(reader, data)
    if profile.needs.comfyui or profile.needs.nodes:
        hint = "a build stops at servers that are not; until then: --animatic"
        message = f"{profile.title} needs {profile.needs}"
        reader.problems.append(Problem(message, reader.span(("profile",)), hint, "L041", "warning"))
    project = _project(reader, data, file, profile, dict(command_line or {}))
    found = sorted(dict.fromkeys(reader.problems), key=lambda p: p.span or Span("", 0, 0))
    raise_errors(found)
    files = tuple(dict.fromkeys(reader.files))
    return Loaded(project, tuple(found), files, tuple(sources.files), sources.head, how_written(sources))


def _check_command_line(settings: Mapping[str, Any]) -> list[Problem]:
    """What is set for one run is a clip's: the same schema has its say."""
    clip: dict[str, Any] = {"id": "a", "prompt": "…"}
    for name, value in settings.items():
        plain = int(value) if isinstance(value, float) and value.is_integer() else value
        group, dot, leaf = name.partition(".")
        if dot and value is not None:
            clip.setdefault(group, {})[leaf] = plain
        elif value is not None:
            clip[name] = plain
    scenes = [{"id": "a", "clips": [clip]}]
    document = yaml.parse(json.dumps({"ltxflow": 1, "id": "a", "scenes": scenes}), "the command line")
    return [replace(p, message=f"on the command line: {p.message}", span=None) for p in check(document)]


def _profile(reader: _Reader, data: Mapping[str, Any]) -> Profile:
    name = data.get("profile", "ltx2-19b")
    try:
        return load_profile(name, [reader.folder / "templates"])
    except LtxflowError as error:
        raise LtxflowError(
            *(
                Problem(p.message, p.span or reader.span(("profile",)), p.hint, p.code)
                for p in (*reader.problems, *error.problems)
            )
        ) from None


def _project(
    reader: _Reader, data: Mapping[str, Any], file: Path, profile: Profile, command_line: dict[str, Any]
) -> Project:
    fps = int(data.get("fps", profile.fps.default))
    if not profile.fps.minimum <= fps <= profile.fps.maximum:
        reader.wrong(
            f"fps {fps} is outside {profile.fps.minimum}–{profile.fps.maximum}",
            ("fps",),
            f"{profile.title} was made for {profile.fps.default}",
            "L040",
        )
    wanted = str(data.get("size") or data.get("aspect") or DEFAULT_ASPECT)
    size = _size(reader, profile, wanted, ("size",) if "size" in data else ("aspect",))
    variables = sheets(data.get("vars") or {})
    for key, value in variables.items():
        if "{{" in value:
            at = ("vars", *key.split("."))
            reader.wrong(f'var "{key}" uses another variable', at, "vars use no vars: write it out", "L032")
    output = _output(reader, str(data.get("output", OUTPUT)))
    templates = _templates(reader, profile)
    if "server" in data:
        reader.foreign[f"server {data['server']}"] = str(data["server"])
    library = _library(reader, profile, variables, templates, size)
    reader.library = with_references(data.get("references") or {}, library)
    base = _film_layers(reader, data, profile)
    scenes = _scenes(reader, data, profile, fps, variables, base, command_line, size)
    return Project(
        id=data["id"],
        title=str(data.get("title", data["id"])),
        folder=reader.folder,
        file=file,
        workspace=reader.workspace,
        output=output,
        fps=fps,
        size=size,
        seed=int(data.get("seed", 0)),
        profile=profile,
        scenes=scenes,
        settings=MappingProxyType(_film_values(reader, data, profile, fps, wanted)),
        moved=_moved(reader, data, scenes),
        vars=MappingProxyType(variables),
        references=MappingProxyType(dict(reader.library.known)),
        server=str(data.get("server", "")),
        templates=MappingProxyType(templates),
        foreign=MappingProxyType(dict(reader.foreign)),
    )


def _library(
    reader: _Reader,
    profile: Profile,
    variables: Mapping[str, str],
    templates: Mapping[str, Template],
    size: tuple[int, int],
) -> Library:
    """What `references:` are read and made with: of our templates one makes an image, the others videos."""

    def picture(name: str, path: Path_) -> Image | None:
        span = reader.span(path)
        return _image(reader, Value(name, "references", span), span, profile.reference.fit, size)

    def filled(text: str, span: Span | None) -> str:
        told, problems = fill(text, variables, span)
        reader.problems += problems
        return told

    able = [name for name, template in templates.items() if not template.trusted or name == TEXT_TO_IMAGE]
    return Library(reader.engines, able, size, picture, filled, reader.span, reader.problems.append)


def _size(reader: _Reader, profile: Profile, wanted: str, path: Path_) -> tuple[int, int]:
    try:
        return geometry(profile, wanted, stages=2, half=False).delivered
    except LtxflowError as error:
        for problem in error.problems:
            reader.wrong(problem.message, path, problem.hint, problem.code)
        return (1536, 1024)


def _output(reader: _Reader, name: str) -> Path:
    if Path(name).is_absolute():
        reader.foreign[f"absolute path {name}"] = name
    found, problem = contained(name, reader.folder, reader.workspace, reader.span(("output",)), reader.is_trusted)
    if problem:
        reader.problems.append(problem)
    if found is not None and found.resolve() == reader.folder.resolve():
        reader.wrong("output is the project's own folder", ("output",), f"choose a folder, such as {OUTPUT}", "L013")
    elif found is not None and found.exists() and not found.is_dir():
        reader.wrong(f'output "{name}" is a file', ("output",), f"choose a folder, such as {OUTPUT}", "L013")
    return found or reader.folder / OUTPUT


def _templates(reader: _Reader, profile: Profile) -> dict[str, Template]:
    templates = dict(read_templates(profile.name, reader.folder, reader.facts.memory))
    for name, template in templates.items():
        if not template.trusted:
            reader.foreign[f"template {name}"] = str(template.digest)
            reader.files.append(template.path)
    return templates


def _film_values(reader: _Reader, data: Mapping[str, Any], profile: Profile, fps: int, wanted: str) -> dict[str, Value]:
    def value(name: str, default: Any) -> Value:
        if name in data:
            return Value(data[name], "project", reader.span((name,)))
        return Value(default, f"profile {profile.name}" if name in ("fps", "quality", "weights") else "default")

    return {
        "profile": value("profile", profile.name),
        "fps": value("fps", fps),
        "size": value("size" if "size" in data else "aspect", wanted),
        "seed": value("seed", 0),
        "output": value("output", OUTPUT),
        "weights": value("weights", dict(profile.default_weights)),
    }


def _layer(reader: _Reader, origin: str, written: Mapping[str, Any], path: Path_) -> Layer:
    flat = flatten(written)
    return Layer(
        origin,
        {name: value for name, (value, _) in flat.items()},
        {name: reader.span((*path, *where)) for name, (_, where) in flat.items()},
    )


def _film_layers(reader: _Reader, data: Mapping[str, Any], profile: Profile) -> list[Layer]:
    """The layers every clip shares, weakest first: the profile's, then the film's. Quality goes between, by clip."""
    defaults = dict((data.get("defaults") or {}).get("clip") or {})
    film: list[Layer] = []
    shared = [name for name in ("quality", "look") if name in data]
    if shared:
        film.append(
            Layer("project", {name: data[name] for name in shared}, {name: reader.span((name,)) for name in shared})
        )
    film.append(_layer(reader, "defaults.clip", defaults, ("defaults", "clip")))
    return [Layer(f"profile {profile.name}", profile.clip_defaults), *film]


def _settings(
    reader: _Reader, profile: Profile, layers: Sequence[Layer], command_line: Mapping[str, Any], path: Path_
) -> dict[str, Value]:
    """Resolve one clip's settings: the quality's parts stand between the profile and what the film says."""
    top, own, shared = Layer("command line", command_line), layers[-1], layers[:-1]
    below = _below(reader, shared, None)  # what clips share is resolved once, and a clip's own values laid over it
    quality = next((layer.value("quality") for layer in (top, own) if "quality" in layer.values), below.get("quality"))
    assert quality is not None  # the profile has one
    preset = profile.qualities.get(str(quality.value))
    if preset is None:
        near = difflib.get_close_matches(str(quality.value), profile.qualities, n=1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        reader.problems.append(
            Problem(
                f'unknown quality "{quality.value}"',
                quality.span or reader.span(path),
                f"{hint}{profile.name} has: {', '.join(profile.qualities)}",
                "L042",
            )
        )
        preset = profile.qualities[profile.default_quality]
    parts = {name: getattr(preset, name) for name in QUALITY_PARTS}
    named = Layer(f"quality {preset.name}", parts)
    if quality.origin == "command line":  # asked for as a whole: it wins as a whole
        return resolve([own, named, top], below)
    return resolve([own, top], _below(reader, shared, named))


def _below(reader: _Reader, layers: Sequence[Layer], named: Layer | None) -> dict[str, Value]:
    """The layers that clips share, resolved; those of a quality come after the profile's. One scene after the other."""
    written = [layer for layer in layers if layer.values]
    key = (*map(id, written), named.origin if named else "")
    if key not in reader.below:
        reader.below[key] = resolve([written[0], *([named] if named else []), *written[1:]])
        reader.shared += written  # alive, so that no other layer gets its id
    return reader.below[key]


def _scenes(
    reader: _Reader,
    data: Mapping[str, Any],
    profile: Profile,
    fps: int,
    variables: Mapping[str, str],
    base: list[Layer],
    command_line: Mapping[str, Any],
    size: tuple[int, int],
) -> tuple[Scene, ...]:
    defaults = (data.get("defaults") or {}).get("scene") or {}
    seen: dict[str, Path_] = {}
    scenes = []
    for index, written in enumerate(data.get("scenes") or []):
        path: Path_ = ("scenes", index)
        _unique(reader, written["id"], (*path, "id"), seen, "scene")
        settings = _scene_settings(reader, written, path, defaults, fps)
        scene_layer = _layer(reader, f"scene {written['id']}", written, path)
        clips = _clips(reader, written, path, profile, fps, variables, [*base, scene_layer], command_line, size)
        scenes.append(
            Scene(
                id=written["id"],
                index=reader.numbers[index] if reader.numbers else index,
                clips=clips,
                narration=_narration(reader, written, path, data, fps, variables),
                title=str(written.get("title", "")),
                pad_head=settings["pad.head"].value,
                pad_tail=settings["pad.tail"].value,
                crossfade=settings["crossfade"].value,
                settings=MappingProxyType(settings),
                span=reader.span((*path, "id")),
            )
        )
        _check_covers(reader, scenes[-1], path)
    _check_continuations(reader, scenes)
    reader.problems += check_frames(scenes, profile.lengths.chain_max)
    return tuple(scenes)


def _unique(reader: _Reader, id: str, path: Path_, seen: dict[str, Path_], what: str) -> None:
    if id in seen:
        first = reader.span(seen[id])
        elsewhere = f" of {first.file}" if first.file != reader.span(path).file else ""
        hint = f"the first is at line {first.line}{elsewhere}"
        reader.wrong(f'{what} id "{id}" is used twice', path, hint, "L050")
    seen.setdefault(id, path)
    if id in WINDOWS_RESERVED:
        reader.wrong(f'"{id}" is a reserved name on Windows', path, f'use another id, such as "{id}-1"', "L051")


def _scene_settings(
    reader: _Reader, written: Mapping[str, Any], path: Path_, defaults: Mapping[str, Any], fps: int
) -> dict[str, Value]:
    """Pads in seconds and the crossfade in frames, each with its origin."""
    values: dict[str, Value] = {
        "pad.head": Value(Fraction(0), "default"),
        "pad.tail": Value(Fraction(0), "default"),
        "crossfade": Value(12, "default"),
    }
    layers: list[tuple[str, Mapping[str, Any], Path_]] = [
        ("defaults.scene", defaults, ("defaults", "scene")),
        (f"scene {written['id']}", written, path),
    ]
    for origin, layer, at in layers:
        pad = layer.get("pad")
        for side in ("head", "tail"):
            text = pad.get(side) if isinstance(pad, Mapping) else pad
            if text is not None:
                where = (*at, "pad", side) if isinstance(pad, Mapping) else (*at, "pad")
                values[f"pad.{side}"] = Value(parse_time(str(text), fps), origin, reader.span(where))
        if layer.get("crossfade") is not None:
            frames = parse_frames(str(layer["crossfade"]), fps)
            values["crossfade"] = Value(frames, origin, reader.span((*at, "crossfade")))
    return values


def _narration(
    reader: _Reader,
    written: Mapping[str, Any],
    path: Path_,
    data: Mapping[str, Any],
    fps: int,
    variables: Mapping[str, str],
) -> Narration:
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
        sound = _sound(reader, str(spoken["file"]), (*at, "file"))
        seconds = Fraction(sound.facts["samples"], sound.facts["sample_rate"]) if sound else Fraction(1)
        return Narration("file", seconds, text=text, gain_db=gain, file=sound, span=span)
    if "duration" in spoken:
        return Narration("duration", parse_time(str(spoken["duration"]), fps), text=text, gain_db=gain, span=span)
    rate = Fraction(str(data.get("words_per_second") or WORDS_PER_SECOND))
    speech = _speech(reader, spoken, at, data, fps, variables)
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


def _speech(
    reader: _Reader,
    spoken: Mapping[str, Any],
    at: Path_,
    data: Mapping[str, Any],
    fps: int,
    variables: Mapping[str, str],
) -> Speech | None:
    """What is to be spoken over a scene, by the engine it or the film names; None without one."""

    def filled(text: str, where: Path_) -> str:
        told, problems = fill(text, variables, reader.span((*at, *where)))
        reader.problems += problems
        return told

    film = data.get("speech") or {}
    speech, problems = read_speech(
        spoken,
        film,
        reader.engines,
        offline=reader.offline() if spoken.get("engine", film.get("engine")) == ANY_OFFLINE else None,
        fps=fps,
        fill=filled,
        span=lambda where: reader.span((*at, *where)),
        film_span=lambda where: reader.span(("speech", *where)),
    )
    reader.problems += [p for p in problems if p not in reader.problems]
    return speech


def _engines(reader: _Reader, data: Mapping[str, Any], of_user: Mapping[str, Engine]) -> dict[str, Engine]:
    """Every engine by name: built in, the user's, and what the film brings, which needs trust."""
    written = data.get("engines") or {}
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


def _sound(reader: _Reader, name: str, path: Path_) -> Media | None:
    file = reader.file(name, path)
    if file is None:
        return None
    try:
        samples, rate, digest = reader.facts.sound(file)
    except LtxflowError as error:
        for problem in error.problems:
            reader.wrong(problem.message, path, problem.hint, "L024")
        return None
    return Media(file, name, digest, {"samples": samples, "sample_rate": rate}, reader.span(path))


def _clips(
    reader: _Reader,
    scene: Mapping[str, Any],
    scene_path: Path_,
    profile: Profile,
    fps: int,
    variables: Mapping[str, str],
    layers: list[Layer],
    command_line: Mapping[str, Any],
    size: tuple[int, int],
) -> tuple[Clip, ...]:
    seen: dict[str, Path_] = {}
    clips = []
    for index, written in enumerate(scene.get("clips") or []):
        path: Path_ = (*scene_path, "clips", index)
        _unique(reader, written["id"], (*path, "id"), seen, "clip")
        own = _layer(reader, f"clip {scene['id']}/{written['id']}", written, path)
        settings = _settings(reader, profile, [*layers, own], command_line, path)
        clip = _clip(reader, scene["id"], index, written, path, settings, profile, fps, variables, size)
        if scene.get("tags"):
            clip = replace(clip, tags=tuple(dict.fromkeys([*scene["tags"], *clip.tags])))
        clips.append(clip)
    return tuple(clips)


def _clip(
    reader: _Reader,
    scene: str,
    index: int,
    written: Mapping[str, Any],
    path: Path_,
    settings: dict[str, Value],
    profile: Profile,
    fps: int,
    variables: Mapping[str, str],
    size: tuple[int, int],
) -> Clip:
    def at(name: str) -> Span:
        return settings[name].span or reader.span(path)

    def picture(group: str) -> Picture | None:
        def file(named: Value) -> Image | None:
            return _image(reader, named, named.span or reader.span(path), settings[f"{group}.fit"].value, size)

        assert reader.library is not None
        return picture_of(settings, group, scene, file, reader.library, fps)

    negative = settings.get("negative")
    if negative is not None and isinstance(negative.value, list):
        negative = Value(", ".join(map(str, negative.value)), negative.origin, negative.span)
    if negative is not None:
        text, wrong = fill(str(negative.value or ""), variables, negative.span)
        reader.problems += wrong
        settings["negative"] = Value(text, negative.origin, negative.span)
    control, seeds = settings.get("control.video"), settings.get("seeds")
    _check_control(reader, settings, profile, path)
    _check_doubled(reader, settings["temporal_upscale"], profile, fps, path)
    return Clip(
        id=written["id"],
        scene=scene,
        index=index,
        prompt=_prompt(reader, written["prompt"], (*path, "prompt"), variables, settings.get("look")),
        length=_length(reader, settings, at("length"), profile, fps),
        settings=MappingProxyType(settings),
        reference=picture("reference"),
        last_frame=picture("last_frame"),
        loras=tuple(_loras(reader, profile, settings.get("loras"))),
        control=_video(reader, control) if control and control.value else None,
        extends=_extends(reader, scene, settings, path, fps),
        takes=max(int(settings["takes"].value), len(seeds.value or ()) if seeds else 1),
        covers=tuple(map(str, written.get("covers") or ())),
        tags=tuple(written.get("tags") or ()),
        span=reader.span((*path, "id")),
    )


def _prompt(
    reader: _Reader, written: str | Mapping[str, str], path: Path_, variables: Mapping[str, str], look: Value | None
) -> Prompt:
    spans = (
        {"text": reader.span(path)}
        if isinstance(written, str)
        else {part: reader.span((*path, part)) for part in written}
    )
    shared = str(look.value) if look and look.value else ""
    if look and shared:
        spans["look"] = look.span or reader.span(path)
    prompt, problems = read_prompt(written, variables, spans, shared)
    reader.problems += [problem for problem in problems if problem not in reader.problems]
    if not "".join(text for part, text in prompt.parts.items() if part != "look"):
        reader.wrong("the prompt is empty", path, "say what is seen, how it moves and how it sounds", "L033")
    return prompt


def _length(reader: _Reader, settings: Mapping[str, Value], span: Span, profile: Profile, fps: int) -> Length:
    asked = str(settings["length"].value)
    if asked == "auto":
        return Length(None, asked, span)
    step = 2 * STEP if settings["temporal_upscale"].value else STEP
    frames = snap_up(seconds_to_frames_up(parse_time(asked, fps), fps), step)  # never shorter than asked
    limit = profile.limits(fps).max_frames
    if frames > limit:
        reader.problems.append(
            Problem(
                f"length {asked} is {frames} frames: {profile.title} ends at {limit} at {fps} fps",
                span,
                f"split it into several clips of at most {limit}f",
                "L043",
            )
        )
    return Length(frames, asked, span)


def _check_control(reader: _Reader, settings: Mapping[str, Value], profile: Profile, path: Path_) -> None:
    video, lora = settings.get("control.video"), settings.get("control.lora")
    if not video or not video.value or (lora and lora.value):
        return
    mode = str(settings["control.mode"].value)
    hint = f"add its file to control:, such as lora: {profile.control_loras.get(mode, 'my-control.safetensors')}"
    reader.problems.append(Problem("a guide video needs an IC-LoRA", video.span or reader.span(path), hint, "L046"))


def _check_doubled(reader: _Reader, doubled: Value, profile: Profile, fps: int, path: Path_) -> None:
    if doubled.value and "temporal_upscaler" not in profile.models:
        message = f"{profile.title} has no temporal upscaler"
        span = doubled.span or reader.span(path)
        reader.problems.append(Problem(message, span, "write temporal_upscale: false", "L105"))
    elif doubled.value and fps % 2:
        reader.problems.append(
            Problem(
                f"temporal_upscale doubles a whole frame rate, and fps is {fps}",
                doubled.span or reader.span(path),
                f"write fps: {fps - 1} or {fps + 1}, or temporal_upscale: false",
                "L105",
            )
        )


def _extends(reader: _Reader, scene: str, settings: Mapping[str, Value], path: Path_, fps: int) -> Extends | None:
    """What the clip continues; that a clip named here exists is checked when all are read."""
    clip, file = settings.get("extends.clip"), settings.get("extends.file")
    named = file if file and file.value else clip
    if named is None or not named.value:
        return None
    span = named.span or reader.span(path)
    if file and file.value and clip and clip.value:
        reader.problems.append(
            Problem(
                f'extends names the clip "{clip.value}" ({clip.origin}) and the file "{file.value}" ({file.origin})',
                span,
                "keep one of them",
                "L100",
            )
        )
        return None
    frames, audio = settings["extends.frames"], str(settings["extends.audio"].value)
    if int(frames.value) % STEP != 1:
        nearest = snap_up(int(frames.value))
        reader.problems.append(
            Problem(
                f"extends takes {frames.value} frames, which is not 8n+1: the rest of them would be lost",
                frames.span or span,
                f"write {nearest}" + (f" or {nearest - STEP}" if nearest > STEP + 1 else ""),
                "L101",
            )
        )
    if named is clip:
        name = str(named.value)
        return Extends(name if "/" in name else f"{scene}/{name}", None, int(frames.value), audio, span)
    video = _video(reader, named)
    if video is None:
        return None
    made = Extends("", video, int(frames.value), audio, span)
    _check_extended_file(reader, made, fps, span)
    return made


def _check_extended_file(reader: _Reader, extends: Extends, fps: int, span: Span) -> None:
    """Rate, frames and sound. Its size is compared where the clip's own is known."""
    assert extends.file is not None
    name, facts = extends.file.name, extends.file.facts

    def wrong(message: str, hint: str, code: str) -> None:
        reader.problems.append(Problem(f"{name} {message}", span, hint, code))

    if facts["fps"] != str(fps):
        wrong(f"has {facts['fps']} frames a second, the film {fps}", f"convert it: ffmpeg -i … -r {fps}", "L102")
    if facts["frames"] < extends.frames:
        wrong(f"has {facts['frames']} frames, and extends takes {extends.frames}", "take fewer, 9 at least", "L102")
    seconds, sound = Fraction(facts["seconds"]), Fraction(facts["audio_seconds"])
    if extends.audio == "pinned" and sound < seconds - SOUND_SHORTER_S:
        has = "no sound" if not sound else f"{float(sound):.2f} s of sound for {float(seconds):.2f} s of picture"
        wrong(f"has {has}", "write audio: fresh, and the clip makes its own sound", "L103")


def _check_covers(reader: _Reader, scene: Scene, path: Path_) -> None:
    """Every line is covered once, in the order in which they are said; by each clip of the scene, or by none."""
    said = list(scene.narration.starts)
    left = list(said)
    if not any(clip.covers for clip in scene.clips):
        return
    for clip in scene.clips:
        at: Path_ = (*path, "clips", clip.index, "covers")
        if not clip.covers:
            hint = "name the lines that are said while it plays, or take covers: from the other clips"
            reader.wrong(f"{clip.path} covers no line, and others of its scene do", at, hint, "L120")
            return
        for place, id in enumerate(clip.covers):
            if left[:1] == [id]:
                left.pop(0)
                continue
            near = f"the next line is {left[0]}" if left else "all lines are covered before"
            hint = near if said else "give the narration lines: [{id: …, text: …}]"
            known = "is not the next line" if id in said else "is no line of this scene"
            reader.wrong(f'{clip.path} covers "{id}", which {known}', (*at, place), hint, "L120")
            return
    if left:
        at = (*path, "clips", scene.clips[-1].index, "covers")
        reader.wrong(f"no clip covers the line {left[0]}", at, f"write  covers: [{', '.join(left)}]", "L120")


def _check_continuations(reader: _Reader, scenes: Sequence[Scene]) -> None:
    """What can be said of `extends` only when every clip is read."""
    names = [clip.path for scene in scenes for clip in scene.clips]
    for scene in scenes:
        for clip in scene.clips:
            if clip.extends is not None:
                span = clip.extends.span
                for message, hint, code in _about_continuation(scene, clip, clip.extends, names):
                    level: Level = "warning" if code == "L106" else "error"
                    reader.problems.append(Problem(message, span, hint, code, level))
            first = clip.reference
            goes_on = isinstance(first, FrameOf) and first.frame is None and first.clip == _before(scene, clip)
            if scene.crossfade and goes_on and clip.extends is None:
                message, hint = _meeting(scene, clip, _before(scene, clip))
                reader.problems.append(Problem(message, first.span if first else None, hint, "L106", "warning"))


def _about_continuation(
    scene: Scene, clip: Clip, extends: Extends, names: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield message, hint and code of what is wrong with what a clip continues."""
    if extends.clip and extends.clip not in names:
        near = difflib.get_close_matches(extends.clip, names, n=1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join(names[:8])}"
        yield f'{clip.path} extends "{extends.clip}", which is not in the film', hint, "L100"
    length = clip.length.frames
    if length is not None and length <= extends.frames:
        message = f"{clip.path} has {length} frames, and {extends.frames} of them repeat what it extends"
        yield message, f"make it longer than {extends.frames}f, or take fewer frames, 9 at least", "L101"
    used = {"reference": clip.reference, "last_frame": clip.last_frame, "control": clip.control}
    also = {name: "null" for name, value in used.items() if value}
    if clip.is_doubled:
        also["temporal_upscale"] = "false"
    if also:
        message = f"{clip.path} extends {extends.clip or 'a file'} and has {' and '.join(also)}"
        hint = f"write {', '.join(f'{name}: {nothing}' for name, nothing in also.items())}, or extends: null"
        yield message, hint, "L104"
    if scene.crossfade and (before := _before(scene, clip)) and before == extends.clip:
        yield *_meeting(scene, clip, before), "L106"


def _before(scene: Scene, clip: Clip) -> str:
    return scene.clips[clip.index - 1].path if clip.index else ""


def _meeting(scene: Scene, clip: Clip, before: str) -> tuple[str, str]:
    message = f"{clip.path} goes on where {before} ends, and {scene.crossfade} frames of both are crossfaded"
    return message, f"write crossfade: 0f in scene {scene.id}"


def _image(reader: _Reader, named: Value, span: Span, fit: str, size: tuple[int, int]) -> Image | None:
    if not named.value:
        return None
    name = str(named.value)
    file, problem = contained(name, reader.folder, reader.workspace, span, reader.is_trusted, reader.real)
    if os.path.isabs(name):
        reader.foreign[f"absolute path {name}"] = name
    if problem or file is None:
        reader.problems += [problem] if problem else []
        return None
    known = reader.images.get(file)
    if known is None:  # one that cannot be read is told wherever it is named
        known = reader.images[file] = _read_image(reader, file, name, span, fit, size)
    return known


def _read_image(reader: _Reader, file: Path, name: str, span: Span, fit: str, size: tuple[int, int]) -> Image | None:
    if not file.is_file():
        near = difflib.get_close_matches(name, reader.library.defined if reader.library else (), n=1)
        hint = f'did you mean the reference "{near[0]}"?' if near else nearby(file, name, span)
        reader.problems.append(Problem(f'no file "{name}"', span, hint, "L020"))
        return None
    reader.files.append(file)
    try:
        facts = reader.facts.image(file)
    except LtxflowError as error:
        reader.problems += [Problem(p.message, span, p.hint, "L021") for p in error.problems]
        return None
    for warning in (*facts.warnings, *fit_warnings(facts, size, cast(Fit, fit))):
        reader.problems.append(Problem(f"{name}: {warning}", span, code="L022", level="warning"))
    return Image(file, name, facts.pixels, facts.width, facts.height, span)


WEIGHT_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin")


def _loras(reader: _Reader, profile: Profile, value: Value | None) -> Iterable[Lora]:
    """Each entry is a file, or a name from the film's `loras:`; its own strength wins over the one given there."""
    aliases: Mapping[str, Any] = reader.document.data.get("loras") or {}
    for written in (value.value if value else None) or ():
        span = value.span if value else None
        entry = {"name": written} if isinstance(written, str) else dict(written)
        if entry["name"] in aliases:
            known = aliases[entry["name"]]
            entry = {**({"name": known} if isinstance(known, str) else known), **entry, "name": _file_of(known)}
        elif not entry["name"].lower().endswith(WEIGHT_FILES):
            near = difflib.get_close_matches(entry["name"], [*aliases, *profile.camera_loras], n=1, cutoff=0.4)
            hint = (
                f'did you mean "{near[0]}"?' if near else "write the file's name, or define it under loras: at the top"
            )
            reader.problems.append(Problem(f'unknown LoRA "{entry["name"]}"', span, hint, "L045"))
            continue
        yield Lora(entry["name"], float(entry.get("strength", 1.0)), entry.get("sha256", ""), span)


def _file_of(known: str | Mapping[str, Any]) -> str:
    return known if isinstance(known, str) else str(known["name"])


def _video(reader: _Reader, value: Value) -> Media | None:
    name, span = str(value.value), value.span
    file, problem = contained(name, reader.folder, reader.workspace, span, reader.is_trusted, reader.real)
    if problem or file is None:
        reader.problems += [problem] if problem else []
        return None
    if not file.is_file():
        reader.problems.append(Problem(f'no file "{name}"', span, nearby(file, name, span), "L020"))
        return None
    reader.files.append(file)
    try:
        facts, digest = reader.facts.video(file)
    except LtxflowError as error:
        reader.problems += [Problem(p.message, span, p.hint, "L023") for p in error.problems]
        return None
    return Media(file, name, digest, facts, span)


def _moved(reader: _Reader, data: Mapping[str, Any], scenes: tuple[Scene, ...]) -> tuple[tuple[str, str], ...]:
    """`moved:` entries, clip paths or scene ids; the new name must exist, or move on later, the old one must not."""
    names = {scene.id for scene in scenes} | {clip.path for scene in scenes for clip in scene.clips}
    entries = []
    written = data.get("moved") or []
    for index, entry in enumerate(written):
        old, new = str(entry["from"]), str(entry["to"])
        if new not in names and new not in [later["from"] for later in written[index + 1 :]]:
            near = difflib.get_close_matches(new, names, n=1)
            hint = f'did you mean "{near[0]}"?' if near else "name a clip of this film, such as hook/b"
            reader.wrong(f'moved to "{new}", which is not in the film', ("moved", index, "to"), hint, "L070")
        if old in names:
            reader.wrong(
                f'moved from "{old}", which is still in the film', ("moved", index, "from"), "remove this entry", "L071"
            )
        if ("/" in old) != ("/" in new):
            reader.wrong(
                "moved takes two clips or two scenes", ("moved", index), "such as {from: hook/b, to: intro/b}", "L072"
            )
        entries.append((old, new))
    return tuple(entries)
