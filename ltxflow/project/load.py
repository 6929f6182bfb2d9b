"""Reads a project from disk, checks it and freezes it. The last place that touches the disk before a build."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem, Span, raise_errors
from ltxflow.core.timing import parse_frames, parse_time
from ltxflow.core.workspace import OWN, is_git_name
from ltxflow.documents import yaml
from ltxflow.documents.fast_schema import check
from ltxflow.documents.paths import contained, workspace_of
from ltxflow.media.speech import Engine
from ltxflow.models.geometry import geometry
from ltxflow.models.profile import EMPTY, Profile, load_profile
from ltxflow.project.clips import check_continuations, read_clips
from ltxflow.project.model import Image, Project, Scene, Value
from ltxflow.project.narration import check_covers, engines_of, read_narration
from ltxflow.project.prompt import fill, sheets
from ltxflow.project.reader import Facts, FilmSettings, Path_, Reader, picture_warnings
from ltxflow.project.references import TEXT_TO_IMAGE, ReferenceLibrary, check_frames, with_references
from ltxflow.project.settings import Layers
from ltxflow.project.sources import PlaceInFile, Sources, WrittenScene, how_written, read_sources
from ltxflow.project.thresholds import silenced
from ltxflow.project.weights import AUTO, undecided
from ltxflow.store.memo import Memory
from ltxflow.workflow.template import Template, read_templates

RULES = {
    "L013": "the output is a folder of its own",
    "L030": "a variable in a prompt is defined under vars:",
    "L031": "prompts take names of vars, not code",
    "L032": "vars do not use other vars",
    "L034": "texts are not endless once their variables are filled in",
    "L040": "the frame rate is one that the model was made for",
    "L044": "a clip has as many steps as its quality's schedule can have",
    "L070": "moved: names a clip that is in the film",
    "L071": "moved: names an earlier clip that is no longer in the film",
    "L072": "moved: pairs two clips or two scenes",
    "L080": "a template is one of the profile's or of the project's",
    "L081": 'a template saves a video, by a node titled "video"',
    "L082": "weights are a precision that the profile names",
    "L083": "a clip has what its template needs: a reference, a last frame, a guide video, a sound, what it extends",
    "L084": "a template reads only files that ltxflow uploads for the clip",
    "L086": "a sound is given to a clip whose template reads one",
    "L090": "what a project brings that could do harm is trusted first",
    "T101": "the clips of a scene cover its narration",
    "T102": "lengths lie where the model is at its best",
}

OUTPUT = "public/scenes"
DEFAULT_ASPECT = "3:2"


@dataclass(frozen=True)
class LoadedProject:
    """A project, and what is worth saying about it that did not stop it: warnings and advice."""

    project: Project
    problems: tuple[Problem, ...]
    files: tuple[Path, ...]  # every file that was read, and every folder that was searched
    sources: tuple[Path, ...]  # those of them that the film is written in
    head: str  # how it is written: all but the scenes (Sources.head), and the scenes
    written: tuple[WrittenScene, ...]


def load(
    file: Path,
    *,
    root: str | None = None,
    command_line: Mapping[str, Any] | None = None,
    is_trusted: bool = False,
    engines: Mapping[str, Engine] = EMPTY,
    offline: Callable[[], str | None] = lambda: None,
    remembered: Callable[[str], Engine | None] = lambda name: None,
    memory: Memory | None = None,
    sources: Sources | None = None,
    choices: Mapping[str, Mapping[str, Any]] = EMPTY,
) -> LoadedProject:
    """Given the path of project.yaml, return the film, frozen, with warnings.

    `command_line` holds settings by dotted name, the strongest layer. `is_trusted` says that the user allowed
    what this project brings (absolute paths, templates, engines). `engines` are the user's own, and `offline`
    finds the engine that `engine: offline` means here; `remembered` knows one that is not configured any more, or not
    here, by what it made. `memory` knows files that are unchanged. `sources` are those
    that were read already; where they have a part of the film, what is returned is that part. `choices` are what
    `auto` came to, by the model's name, as the lock has them.

    Raise LtxflowError with every problem of the file.
    """
    folder = file.parent
    place = PlaceInFile(folder, workspace_of(folder, root), is_trusted)
    sources = sources or read_sources(file, place)
    problems = [*sources.problems, *_check_command_line(command_line or {})]
    if problems:
        raise LtxflowError(*problems)
    reader = Reader(sources.document, folder, place.workspace, is_trusted, files=[*sources.files])
    reader.numbers, reader.characters = sources.numbers, sources.characters
    reader.foreign |= sources.foreign
    data: Mapping[str, Any] = sources.document.data
    reader.engines = engines_of(reader, engines)
    reader.offline, reader.remembered = offline, remembered
    reader.facts = Facts(memory)
    profile = _profile(reader, data)
    project = _project(reader, data, file, profile, dict(command_line or {}), choices.get(profile.model, EMPTY))
    found = sorted(dict.fromkeys(reader.problems), key=lambda p: p.span or Span("", 0, 0))
    raise_errors(found)
    files = tuple(dict.fromkeys(reader.files))
    told = tuple(silenced(project, found))
    return LoadedProject(project, told, files, tuple(sources.files), sources.head, how_written(sources))


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


def _profile(reader: Reader, data: Mapping[str, Any]) -> Profile:
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
    reader: Reader,
    data: Mapping[str, Any],
    file: Path,
    profile: Profile,
    command_line: dict[str, Any],
    choices: Mapping[str, Any],
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
    film = FilmSettings(profile, fps, size, variables)
    reader.library = with_references(data.get("references") or {}, _library(reader, film, templates))
    layers = Layers(reader, profile, command_line, choices)
    scenes = _scenes(reader, film, layers)
    project = Project(
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
        choices=choices,
        open_choices=frozenset(layers.open),
    )
    return replace(project, open_choices=project.open_choices | {"weights"}) if undecided(project) else project


def _library(reader: Reader, film: FilmSettings, templates: Mapping[str, Template]) -> ReferenceLibrary:
    """What `references:` are read and made with: of our templates one makes an image, the others videos."""

    def picture(name: str, path: Path_) -> Image | None:
        span = reader.span(path)
        return reader.image(Value(name, "references", span), span, film.profile.reference.fit, film.size)

    def filled(text: str, span: Span | None) -> str:
        told, problems = fill(text, film.variables, span)
        reader.problems += problems
        return told

    able = [name for name, template in templates.items() if not template.trusted or name == TEXT_TO_IMAGE]
    return ReferenceLibrary(
        reader.engines, able, film.size, picture, filled, reader.span, reader.problems.append, reader.absent
    )


def _size(reader: Reader, profile: Profile, wanted: str, path: Path_) -> tuple[int, int]:
    try:
        return geometry(profile, wanted, stages=2, half=False).delivered
    except LtxflowError as error:
        for problem in error.problems:
            reader.wrong(problem.message, path, problem.hint, problem.code)
        return (1536, 1024)


def _output(reader: Reader, name: str) -> Path:
    if Path(name).is_absolute():
        reader.foreign[f"absolute path {name}"] = name
    found, problem = contained(name, reader.folder, reader.workspace, reader.span(("output",)), reader.is_trusted)
    if problem:
        reader.problems.append(problem)
    real, workspace = (found or reader.folder).resolve(), reader.workspace.resolve()
    below = real.relative_to(workspace).parts if real.is_relative_to(workspace) else ()
    own = next((part for part in below if part == OWN or is_git_name(part)), "")
    if own:
        reader.wrong(f'output "{name}" is inside "{own}"', ("output",), f"choose a folder, such as {OUTPUT}", "L013")
    elif found is not None and real == reader.folder.resolve():
        reader.wrong("output is the project's own folder", ("output",), f"choose a folder, such as {OUTPUT}", "L013")
    elif found is not None and found.exists() and not found.is_dir():
        reader.wrong(f'output "{name}" is a file', ("output",), f"choose a folder, such as {OUTPUT}", "L013")
    return found or reader.folder / OUTPUT


def _templates(reader: Reader, profile: Profile) -> dict[str, Template]:
    templates = dict(read_templates(profile.name, reader.folder, reader.facts.memory))
    for name, template in templates.items():
        if not template.trusted:
            reader.foreign[f"template {name}"] = str(template.digest)
            reader.files.append(template.path)
    return templates


def _film_values(reader: Reader, data: Mapping[str, Any], profile: Profile, fps: int, wanted: str) -> dict[str, Value]:
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
        "weights": value("weights", AUTO),
        "ignore": value("ignore", []),
    }


def _scenes(reader: Reader, film: FilmSettings, layers: Layers) -> tuple[Scene, ...]:
    data = reader.document.data
    defaults = (data.get("defaults") or {}).get("scene") or {}
    seen: dict[str, Path_] = {}
    scenes = []
    for index, written in enumerate(data.get("scenes") or []):
        path: Path_ = ("scenes", index)
        reader.unique(written["id"], (*path, "id"), seen, "scene")
        settings = _scene_settings(reader, written, path, defaults, film.fps)
        clips = read_clips(reader, film, layers, written, path)
        scenes.append(
            Scene(
                id=written["id"],
                index=reader.numbers[index] if reader.numbers else index,
                clips=clips,
                narration=read_narration(reader, film, written, path),
                title=str(written.get("title", "")),
                pad_head=settings["pad.head"].value,
                pad_tail=settings["pad.tail"].value,
                crossfade=settings["crossfade"].value,
                settings=MappingProxyType(settings),
                span=reader.span((*path, "id")),
            )
        )
        check_covers(reader, scenes[-1], path)
    reader.problems += picture_warnings(reader, scenes)
    check_continuations(reader, scenes)
    reader.problems += check_frames(scenes, film.profile.lengths.chain_max)
    return tuple(scenes)


def _scene_settings(
    reader: Reader, written: Mapping[str, Any], path: Path_, defaults: Mapping[str, Any], fps: int
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


def _moved(reader: Reader, data: Mapping[str, Any], scenes: tuple[Scene, ...]) -> tuple[tuple[str, str], ...]:
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
