"""Resolve references: files, images to generate first, and frames of other clips. Pure; opens no file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ltxflow.core.errors import Problem, Span, problem
from ltxflow.core.timing import parse_time
from ltxflow.documents.document import KeyPath
from ltxflow.media.speech import DRAWS, Engine
from ltxflow.project.model import Clip, FrameOf, Image, Picture, Scene, Still, Value
from ltxflow.project.speech import MISSING_HINT

TEXT_TO_IMAGE = "t2i"  # the template that makes images where no template or engine is named


@dataclass(frozen=True)
class ReferenceLibrary:
    """A film's references, the engines and templates that can make them, and callbacks to read and report.

    `picture` reads a file named at a path, `fill` fills variables into a text, `span` finds places in the document,
    `report` collects problems. `absent` returns a substitute for an engine that is not configured here. `known` are
    those of the `defined` references that could be read: problems of the others are reported once.
    """

    engines: Mapping[str, Engine]
    templates: Collection[str]
    size: tuple[int, int]  # of the film, px
    picture: Callable[[str, KeyPath], Image | None]
    fill: Callable[[str, Span | None], str]
    span: Callable[[KeyPath], Span]
    report: Callable[[Problem], None]
    absent: Callable[[str], Engine | None] = lambda name: None
    defined: Collection[str] = ()
    known: Mapping[str, Image | Still] = field(default_factory=dict)


def with_references(written: Mapping[str, Any], library: ReferenceLibrary) -> ReferenceLibrary:
    """Return the library with the film's `references:` added."""
    found: dict[str, Image | Still] = {}
    for name, entry in written.items():
        path: KeyPath = ("references", name)
        one: Image | Still | None
        if isinstance(entry, str):
            one = library.picture(entry, path)
        elif "file" in entry:
            one = library.picture(str(entry["file"]), (*path, "file"))
        else:
            one = _still(name, entry["generate"], (*path, "generate"), library)
        if one is not None:
            found[name] = one
    return replace(library, defined=tuple(written), known=found)


def _still(name: str, written: Mapping[str, Any], path: KeyPath, library: ReferenceLibrary) -> Still | None:
    engine, template = written.get("engine"), written.get("template")
    if engine is None and template is None:
        template = TEXT_TO_IMAGE
    spans = {part: library.span((*path, part)) for part in written}
    spans["name"] = library.span(path)
    at = spans.get("engine") or spans.get("template") or spans["name"]
    drawn_by = library.engines.get(str(engine)) if engine else None
    if engine and drawn_by is None and (drawn_by := library.absent(str(engine))) is not None:
        library.report(problem("L122.missing", at, hint=MISSING_HINT, level="advice", name=name, engine=engine))
    elif (
        refusal := _refused_engine(name, str(engine), library, at)
        if engine
        else _refused_template(name, str(template), library, at)
    ):
        library.report(refusal)
        return None
    width, _, height = str(written.get("size") or "{}x{}".format(*library.size)).partition("x")
    return Still(
        name=name,
        prompt=library.fill(str(written["prompt"]), spans["prompt"]),
        size=(int(width), int(height)),
        negative=library.fill(str(written.get("negative", "")), spans.get("negative")),
        seed=written.get("seed"),
        engine=drawn_by,
        template=str(template or ""),
        takes=int(written.get("takes", 1)),
        spans=spans,
    )


def _refused_engine(name: str, engine: str, library: ReferenceLibrary, at: Span) -> Problem | None:
    able = [known for known, entry in library.engines.items() if entry.kind in DRAWS]
    if engine in able:
        return None
    near = difflib.get_close_matches(engine, able, n=1)
    hint = f'did you mean "{near[0]}"?' if near else "name a server under engines: in your configuration, with its url"
    return problem(
        "L122.images" if engine in library.engines else "L122.unknown", at, hint=hint, name=name, engine=engine
    )


def _refused_template(name: str, template: str, library: ReferenceLibrary, at: Span) -> Problem | None:
    if template in library.templates:
        return None
    near = difflib.get_close_matches(template, library.templates, n=1)
    file = f"templates/{template}.json.j2"
    hint = f'did you mean "{near[0]}"?' if near else f"add a workflow that makes an image as {file}"
    if template == TEXT_TO_IMAGE:
        hint += ", or name an engine or a template"
    return problem("L122.template", at, hint=hint, name=name, template=template)


def picture_of(
    settings: Mapping[str, Value],
    group: str,
    scene: str,
    file: Callable[[Value], Image | None],
    library: ReferenceLibrary,
    fps: int,
) -> Picture | None:
    """Return the picture of a clip's `reference` or `last_frame`: a file, an image to generate, or a frame."""
    frame, base, angle, image = (settings.get(f"{group}.{way}") for way in ("frame_of", "base", "angle", "image"))
    if frame is not None and frame.value:
        return frame_of(frame, scene, fps)
    named = next((one for one in (base, image) if one is not None and one.value), None)
    if named is None:
        if angle is not None and angle.value:
            library.report(problem("L121.base", angle.span, group=group))
        return None
    name = str(named.value)
    if named is base and name not in library.defined:
        library.report(problem("L120", named.span, hint=_near(name, library.defined), name=name))
        return None
    if name not in library.defined:
        return file(named)
    one = library.known.get(name)
    if one is None or angle is None or not angle.value:
        return one
    if isinstance(one, Image):
        library.report(problem("L121.file", angle.span, name=name))
        return None
    return _from_angle(one, library.fill(str(angle.value), angle.span), angle.span)


def _near(name: str, defined: Collection[str]) -> str:
    near = difflib.get_close_matches(name, defined, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"choose one of {', '.join(sorted(defined)[:8])}" if defined else "define it under references"


def _from_angle(still: Still, angle: str, span: Span | None) -> Still:
    between = " " if still.prompt.endswith((".", "!", "?")) else ", "
    spans = {**still.spans, "angle": span} if span else still.spans
    return replace(still, angle=angle, prompt=f"{still.prompt}{between}{angle}", spans=spans)


def frame_of(value: Value, scene: str, fps: int) -> FrameOf:
    """Return the moment that `frame_of:` names in a clip of this scene."""
    written = value.value if isinstance(value.value, Mapping) else {"clip": value.value}
    clip, at = str(written["clip"]), str(written.get("at", "last"))
    path = clip if "/" in clip else f"{scene}/{clip}"
    if at in ("last", "first"):
        return FrameOf(path, at, None if at == "last" else 0, value.span)
    return FrameOf(path, at, int(parse_time(at, fps) * Fraction(fps)), value.span)


# Chains


def check_frames(scenes: Sequence[Scene], limit: int) -> Iterator[Problem]:
    """Yield problems of the clips that clips are made from: unknown clips, cycles, long chains.

    `limit` is how many clips in a row may each be made from the previous one, 0 for no limit.
    """
    clips = {clip.path: clip for scene in scenes for clip in scene.clips}
    angles: dict[str, str] = {}
    reported: set[str] = set()
    for clip in clips.values():
        for group, picture in clip.pictures.items():
            if isinstance(picture, FrameOf) and picture.clip not in clips:
                near = difflib.get_close_matches(picture.clip, clips, n=1)
                hint = f'did you mean "{near[0]}"?' if near else f"choose one of {', '.join([*clips][:8])}"
                yield problem("L123", picture.span, hint=hint, clip=clip.path, setting=group, other=picture.clip)
            if not isinstance(picture, Still) or picture.path in reported:
                continue
            if angles.setdefault(picture.path, picture.angle) != picture.angle:
                reported.add(picture.path)
                yield problem("L121.alike", picture.span, first=angles[picture.path], second=picture.angle)
    cycles = list(_cycles(clips))
    yield from cycles
    if not cycles and limit:
        yield from _long_chains(clips, limit)


def _cycles(clips: Mapping[str, Clip]) -> Iterator[Problem]:
    visited: set[str] = set()
    for path in clips:
        if cycle := _cycle(path, clips, [], visited):
            clip = clips[cycle[0]]
            yield problem("L125", clip.upstream[cycle[1]], clip=clip.path, cycle=" ← ".join(cycle))


def _cycle(path: str, clips: Mapping[str, Clip], walk: list[str], visited: set[str]) -> list[str]:
    """Walk up from a clip and return the first cycle, from a clip to the same clip. Each is found once."""
    if path in walk:
        return [*walk[walk.index(path) :], path]
    if path in visited or path not in clips:
        return []
    walk.append(path)
    found: list[str] = []
    for source in clips[path].upstream:
        found = found or _cycle(source, clips, walk, visited)
    walk.pop()
    visited.add(path)
    return found


def _long_chains(clips: Mapping[str, Clip], limit: int) -> Iterator[Problem]:
    """Yield a warning for each chain, at the first clip that is too far from its start."""
    chains: dict[str, tuple[str, ...]] = {}
    for path in clips:
        chain = _chain(path, clips, chains)
        if len(chain) == limit + 2:
            clip = clips[path]
            span = clip.upstream[chain[1]]
            yield problem("L126", span, of=(path,), clip=path, count=limit + 1, chain=" ← ".join(chain))


def _chain(path: str, clips: Mapping[str, Clip], known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the longest walk up from a clip, the clip itself first."""
    if path not in known:
        ways = [_chain(source, clips, known) for source in clips[path].upstream if source in clips]
        known[path] = (path, *max(ways, key=len, default=()))
    return known[path]
