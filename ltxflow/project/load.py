"""Load a project: read its files, check them, and freeze it as a Project."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem, Span, problem, raise_errors
from ltxflow.core.timing import parse_frames, parse_time
from ltxflow.core.workspace import OWN, is_git_name, real_path
from ltxflow.documents import yaml
from ltxflow.documents.document import KeyPath, contained, workspace_of
from ltxflow.documents.schema import check
from ltxflow.media.speech import Engine
from ltxflow.models.geometry import geometry
from ltxflow.models.load import load_profile
from ltxflow.models.profile import EMPTY, Profile
from ltxflow.project.clips import check_continuations, read_clips
from ltxflow.project.model import Image, Project, Scene, Value
from ltxflow.project.narration import check_covers, engines_of, read_narration
from ltxflow.project.prompt import fill, sheets
from ltxflow.project.reader import FilmSettings, ProbeCache, Reader, picture_warnings
from ltxflow.project.references import TEXT_TO_IMAGE, ReferenceLibrary, check_frames, with_references
from ltxflow.project.settings import AUTO, Layers, undecided, without_ignored
from ltxflow.project.sources import ProjectRoots, Sources, WrittenScene, read_sources, written_scenes
from ltxflow.store.memo import Memory
from ltxflow.workflow.template import Template, read_templates

OUTPUT = "public/scenes"
DEFAULT_ASPECT = "3:2"


@dataclass(frozen=True)
class LoadedProject:
    """A project with its warnings and advice, and what it was read from."""

    project: Project
    problems: tuple[Problem, ...]
    files: tuple[Path, ...]  # every file read, and every folder searched
    sources: tuple[Path, ...]  # the YAML and text files among them
    head: str  # digest of all but the scenes (Sources.head)
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
    """Read, check and freeze a project. Raise LtxflowError with every error of its files.

    `command_line` has settings by dotted name, the strongest layer. `is_trusted` permits what needs trust: absolute
    paths, templates, engines. `engines` are the user's; `offline` finds the engine for `engine: offline`; `remembered`
    finds one missing from the configuration by what it made. `memory` caches probes of files. `sources` have been read
    already; with part of the film, the result is that part. `choices` are the results of `auto` by model, as the lock
    has them.
    """
    folder = file.parent
    roots = ProjectRoots(folder, workspace_of(folder, root), is_trusted)
    sources = sources or read_sources(file, roots)
    problems = [*sources.problems, *_check_command_line(command_line or {})]
    if problems:
        raise LtxflowError(*problems)
    reader = Reader(sources.document, folder, roots.workspace, is_trusted, files=[*sources.files])
    reader.numbers, reader.characters = sources.numbers, sources.characters
    reader.foreign |= sources.foreign
    data: Mapping[str, Any] = sources.document.data
    reader.engines = engines_of(reader, engines)
    reader.offline, reader.remembered = offline, remembered
    reader.probes = ProbeCache(memory)
    profile = _profile(reader, data)
    project = _project(reader, data, file, profile, dict(command_line or {}), choices.get(profile.model, EMPTY))
    found = sorted(dict.fromkeys(reader.problems), key=lambda p: p.span or Span("", 0, 0))
    raise_errors(found)
    files = tuple(dict.fromkeys(reader.files))
    problems = without_ignored(project, found)
    scenes = written_scenes(sources)
    return LoadedProject(project, tuple(problems), files, tuple(sources.files), sources.head, scenes)


def _check_command_line(settings: Mapping[str, Any]) -> list[Problem]:
    """Return problems of settings from the command line, checked by the schema as those of a clip."""
    if not settings:
        return []
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
        problems = (*reader.problems, *error.problems)
        raise LtxflowError(*(replace(p, span=p.span or reader.span(("profile",))) for p in problems)) from None


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
        rates, at = profile.fps, reader.span(("fps",))
        reader.problems.append(
            problem(
                "L040",
                at,
                fps=fps,
                low=rates.minimum,
                high=rates.maximum,
                default=rates.default,
                model=profile.title,
            )
        )
    wanted = str(data.get("size") or data.get("aspect") or DEFAULT_ASPECT)
    size = _size(reader, profile, wanted, ("size",) if "size" in data else ("aspect",))
    variables = sheets(data.get("vars") or {})
    for key, value in variables.items():
        if "{{" in value:
            reader.problems.append(problem("L032", reader.span(("vars", *key.split("."))), name=key))
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
    """Return an empty library: of the profile's templates only one makes an image, the others make videos."""

    def picture(name: str, path: KeyPath) -> Image | None:
        span = reader.span(path)
        return reader.image(Value(name, "references", span), span, film.profile.reference.fit, film.size)

    def filled(text: str, span: Span | None) -> str:
        result, problems = fill(text, film.variables, span)
        reader.problems += problems
        return result

    able = [name for name, template in templates.items() if not template.trusted or name == TEXT_TO_IMAGE]
    return ReferenceLibrary(
        reader.engines, able, film.size, picture, filled, reader.span, reader.problems.append, reader.absent
    )


def _size(reader: Reader, profile: Profile, wanted: str, path: KeyPath) -> tuple[int, int]:
    try:
        return geometry(profile, wanted, stages=2, half=False).delivered
    except LtxflowError as error:
        reader.problems += [replace(each, span=reader.span(path)) for each in error.problems]
        return (1536, 1024)


def _output(reader: Reader, name: str) -> Path:
    if Path(name).is_absolute():
        reader.foreign[f"absolute path {name}"] = name
    span = reader.span(("output",))
    found, refusal = contained(name, reader.folder, reader.workspace, span, reader.is_trusted)
    if refusal:
        reader.problems.append(refusal)
    real, workspace = real_path(found or reader.folder), real_path(reader.workspace)
    below = real.relative_to(workspace).parts if real.is_relative_to(workspace) else ()
    own = next((part for part in below if part == OWN or is_git_name(part)), "")
    if own:
        reader.problems.append(problem("L013.inside", span, name=name, folder=own, example=OUTPUT))
    elif found is not None and real == real_path(reader.folder):
        reader.problems.append(problem("L013.project", span, example=OUTPUT))
    elif found is not None and found.exists() and not found.is_dir():
        reader.problems.append(problem("L013.file", span, name=name, example=OUTPUT))
    return found or reader.folder / OUTPUT


def _templates(reader: Reader, profile: Profile) -> dict[str, Template]:
    templates = dict(read_templates(profile.name, reader.folder, reader.probes.memory))
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
    ids: dict[str, KeyPath] = {}
    scenes = []
    for index, written in enumerate(data.get("scenes") or []):
        path: KeyPath = ("scenes", index)
        reader.unique(written["id"], (*path, "id"), ids, "scene")
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
    reader: Reader, written: Mapping[str, Any], path: KeyPath, defaults: Mapping[str, Any], fps: int
) -> dict[str, Value]:
    """Return pads in seconds and the crossfade in frames, each with its origin."""
    values: dict[str, Value] = {
        "pad.head": Value(Fraction(0), "default"),
        "pad.tail": Value(Fraction(0), "default"),
        "crossfade": Value(12, "default"),
    }
    layers: list[tuple[str, Mapping[str, Any], KeyPath]] = [
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
    """Return the entries of `moved:`, pairs of clip paths or of scene ids, in the order in which they were made.

    A new name must exist, or lead to one that does by later entries; an old one must not exist. At no time may two
    names have one place, nor one name two.
    """
    names = {scene.id for scene in scenes} | {clip.path for scene in scenes for clip in scene.clips}
    moves = [(str(entry["from"]), str(entry["to"])) for entry in data.get("moved") or []]

    def span(index: int, *end: str) -> Span | None:
        return reader.span(("moved", index, *end))

    found: list[Problem] = []
    # Follow the moves one after the other: for each scene, "" and its clips → the entries that led there, in order.
    places: dict[str, dict[str, list[int]]] = {}
    left: dict[str, set[str]] = {}  # names that were moved from, and to which nothing was moved since
    for index, (old, new) in enumerate(moves):
        (old_scene, _, old_clip), (scene, _, clip) = old.partition("/"), new.partition("/")
        if ("/" in old) != ("/" in new):
            found.append(problem("L072", span(index), old=old, new=new))
            continue
        if old_clip in left.get(old_scene, ()):
            found.append(problem("L074.old", span(index, "from"), name=old))
        if clip:
            coming = {clip: places.get(old_scene, {}).pop(old_clip, [])}
            left.get(scene, set()).discard(clip)
        else:
            coming = places.pop(old_scene, {})
            left.pop(scene, None)
        coming.setdefault(clip, []).append(index)
        there = places.setdefault(scene, coming)
        if there is not coming:
            for name in there.keys() & coming:
                first, second = moves[there[name][0]][0], moves[coming[name][0]][0]
                place = f"{scene}/{name}" if name else scene
                found.append(problem("L074.new", span(index, "to"), name=place, first=first, second=second))
            there.update(coming)
        left.setdefault(old_scene, set()).add(old_clip)

    ends = {f"{scene}/{clip}" if clip else scene: led for scene, clips in places.items() for clip, led in clips.items()}
    for place, led in ends.items():
        if place in names:
            continue
        if place in [moves[index][0] for index in led]:
            found.append(problem("L073", span(led[0]), name=place))
        else:
            hint = _where_to(place, moves[: led[-1]], names)
            found.append(problem("L070", span(led[-1], "to"), hint=hint, name=place))
    for index, (old, _) in enumerate(moves):
        if old in names:
            others = ends.get(old, [index])
            free = None if index in others else f'give "{moves[others[0]][0]}" a name that is not used yet'
            found.append(problem("L071", span(index, "from"), hint=free, name=old))
    reader.problems += found
    return tuple(moves)


def _where_to(place: str, earlier: Sequence[tuple[str, str]], names: Collection[str]) -> str:
    """Return what to do about a move to a place that is not in the film."""
    for old, new in earlier:
        if place.startswith(f"{old}/") and new + place[len(old) :] in names:
            return f'write it before the entry from "{old}"'
    near = difflib.get_close_matches(place, names, n=1)
    return f'did you mean "{near[0]}"?' if near else "remove this entry, or name a clip of this film"
