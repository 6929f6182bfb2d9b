"""Pictures that are no files: images that are made first, and frames of other clips. Pure; reads and makes nothing."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from ltxflow.core.errors import Problem, Span
from ltxflow.core.timing import parse_time
from ltxflow.media.speech import DRAWS, Engine
from ltxflow.project.model import Clip, FrameOf, Image, Picture, Scene, Still, Value
from ltxflow.project.speech import MISSING_HINT

RULES = {
    "L120": "a reference is a file, or one that the film defines under references:",
    "L121": "an angle is of a reference that is generated",
    "L122": "an image is made by a server with an images API, or by a template of the project",
    "L123": "frame_of: names a clip that is in the film",
    "L124": "frame_of: names a moment that the clip has",
    "L125": "clips are not made from each other in a circle",
    "L126": "a chain of clips that are made from one another is short: colours and faces drift",
}

TEXT_TO_IMAGE = "t2i"  # the template that makes images where neither it nor an engine is named

Path_ = tuple[str | int, ...]


@dataclass(frozen=True)
class ReferenceLibrary:
    """A film's references, what they may be made with, and how to tell what is wrong.

    `picture` reads a file named at a path, `fill` puts variables into a text, `span` knows places in the document.
    `absent` gives what stands in for an engine that is not configured here. `known` are those that could be read, of
    those that are `defined`: what is wrong with the others is reported once.
    """

    engines: Mapping[str, Engine]
    templates: Collection[str]
    size: tuple[int, int]  # of the film, px
    picture: Callable[[str, Path_], Image | None]
    fill: Callable[[str, Span | None], str]
    span: Callable[[Path_], Span]
    wrong: Callable[[Problem], None]
    absent: Callable[[str], Engine | None] = lambda name: None
    defined: Collection[str] = ()
    known: Mapping[str, Image | Still] = field(default_factory=dict)


def with_references(written: Mapping[str, Any], library: ReferenceLibrary) -> ReferenceLibrary:
    """Given the film's `references:`, return the library that knows them."""
    found: dict[str, Image | Still] = {}
    for name, entry in written.items():
        path: Path_ = ("references", name)
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


def _still(name: str, written: Mapping[str, Any], path: Path_, library: ReferenceLibrary) -> Still | None:
    engine, template = written.get("engine"), written.get("template")
    if engine is None and template is None:
        template = TEXT_TO_IMAGE
    spans = {part: library.span((*path, part)) for part in written}
    spans["name"] = library.span(path)
    at = spans.get("engine") or spans.get("template") or spans["name"]
    drawn_by = library.engines.get(str(engine)) if engine else None
    if engine and drawn_by is None and (drawn_by := library.absent(str(engine))) is not None:
        message = f'references.{name}: engine "{engine}" is not among yours'
        library.wrong(Problem(message, at, MISSING_HINT, "L122", "advice"))
    elif (
        problem := _wrong_engine(name, str(engine), library)
        if engine
        else _wrong_template(name, str(template), library)
    ):
        library.wrong(replace(problem, span=at))
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


def _wrong_engine(name: str, engine: str, library: ReferenceLibrary) -> Problem | None:
    able = [known for known, entry in library.engines.items() if entry.kind in DRAWS]
    if engine in able:
        return None
    what = "makes no images" if engine in library.engines else "is not known"
    near = difflib.get_close_matches(engine, able, n=1)
    hint = f'did you mean "{near[0]}"?' if near else "name a server under engines: in your configuration, with its url"
    return Problem(f'references.{name}: engine "{engine}" {what}', None, hint, "L122")


def _wrong_template(name: str, template: str, library: ReferenceLibrary) -> Problem | None:
    if template in library.templates:
        return None
    near = difflib.get_close_matches(template, library.templates, n=1)
    hint = (
        f'did you mean "{near[0]}"?' if near else f"put a workflow that makes an image at templates/{template}.json.j2"
    )
    if template == TEXT_TO_IMAGE:
        hint += ", or name an engine: or a template:"
    return Problem(f'references.{name}: no template "{template}" to make it with', None, hint, "L122")


def picture_of(
    settings: Mapping[str, Value],
    group: str,
    scene: str,
    file: Callable[[Value], Image | None],
    library: ReferenceLibrary,
    fps: int,
) -> Picture | None:
    """Given a clip's settings, return what its `reference` or `last_frame` is: a file, an image to be made, a frame."""
    frame, base, angle, image = (settings.get(f"{group}.{way}") for way in ("frame_of", "base", "angle", "image"))
    if frame is not None and frame.value:
        return frame_of(frame, scene, fps)
    named = next((one for one in (base, image) if one is not None and one.value), None)
    if named is None:
        if angle is not None and angle.value:
            hint = f"write {group}: {{base: …, angle: …}}"
            library.wrong(Problem("an angle of nothing: no base is named", angle.span, hint, "L121"))
        return None
    name = str(named.value)
    if named is base and name not in library.defined:
        library.wrong(Problem(f'no reference "{name}"', named.span, _near(name, library.defined), "L120"))
        return None
    if name not in library.defined:
        return file(named)
    one = library.known.get(name)
    if one is None or angle is None or not angle.value:
        return one
    if isinstance(one, Image):
        hint = "leave the angle out, or have the reference made: generate: {prompt: …}"
        library.wrong(Problem(f'"{name}" is a file, and has no other angle', angle.span, hint, "L121"))
        return None
    return _from_angle(one, library.fill(str(angle.value), angle.span), angle.span)


def _near(name: str, defined: Collection[str]) -> str:
    near = difflib.get_close_matches(name, defined, n=1)
    if near:
        return f'did you mean "{near[0]}"?'
    return f"there are: {', '.join(sorted(defined)[:8])}" if defined else "define it under references: at the top"


def _from_angle(still: Still, angle: str, span: Span | None) -> Still:
    between = " " if still.prompt.endswith((".", "!", "?")) else ", "
    spans = {**still.spans, "angle": span} if span else still.spans
    return replace(still, angle=angle, prompt=f"{still.prompt}{between}{angle}", spans=spans)


def frame_of(value: Value, scene: str, fps: int) -> FrameOf:
    """Given what `frame_of:` says in a clip of this scene, return the moment."""
    written = value.value if isinstance(value.value, Mapping) else {"clip": value.value}
    clip, at = str(written["clip"]), str(written.get("at", "last"))
    path = clip if "/" in clip else f"{scene}/{clip}"
    if at in ("last", "first"):
        return FrameOf(path, at, None if at == "last" else 0, value.span)
    return FrameOf(path, at, int(parse_time(at, fps) * Fraction(fps)), value.span)


# Chains


def check_frames(scenes: Sequence[Scene], limit: int) -> Iterator[Problem]:
    """Given a film, yield what is wrong with what its clips are made from: clips that are not there, circles, chains.

    `limit` is how many clips in a row may each be made from the one before, 0 for no limit.
    """
    clips = {clip.path: clip for scene in scenes for clip in scene.clips}
    angles: dict[str, str] = {}
    told: set[str] = set()
    for clip in clips.values():
        for group, picture in clip.pictures.items():
            if isinstance(picture, FrameOf) and picture.clip not in clips:
                near = difflib.get_close_matches(picture.clip, clips, n=1)
                hint = f'did you mean "{near[0]}"?' if near else f"there are: {', '.join([*clips][:8])}"
                message = f'{clip.path}: {group} is a frame of "{picture.clip}", which is not in the film'
                yield Problem(message, picture.span, hint, "L123")
            if not isinstance(picture, Still) or picture.path in told:
                continue
            if angles.setdefault(picture.path, picture.angle) != picture.angle:
                told.add(picture.path)
                message = f'the angles "{angles[picture.path]}" and "{picture.angle}" differ in little but their signs'
                yield Problem(message, picture.span, "write both alike, or say more", "L121")
    circles = list(_circles(clips))
    yield from circles
    if not circles and limit:
        yield from _long_chains(clips, limit)


def _circles(clips: Mapping[str, Clip]) -> Iterator[Problem]:
    settled: set[str] = set()
    for path in clips:
        way: list[str] = []
        circle = _circle(path, clips, way, settled)
        if circle:
            clip = clips[circle[0]]
            span = clip.upstream[circle[1]]
            told = " ← ".join(circle)
            hint = "let one of them start from a picture of its own, or from nothing"
            yield Problem(f"{clip.path} would be made from itself: {told}", span, hint, "L125")


def _circle(path: str, clips: Mapping[str, Clip], way: list[str], settled: set[str]) -> list[str]:
    """Walk up from a clip; return the circle it runs into, from a clip to the same clip. Each is told once."""
    if path in way:
        return [*way[way.index(path) :], path]
    if path in settled or path not in clips:
        return []
    way.append(path)
    found: list[str] = []
    for source in clips[path].upstream:
        found = found or _circle(source, clips, way, settled)
    way.pop()
    settled.add(path)
    return found


def _long_chains(clips: Mapping[str, Clip], limit: int) -> Iterator[Problem]:
    """A chain is told at the first clip that is too far down."""
    chains: dict[str, tuple[str, ...]] = {}
    for path in clips:
        chain = _chain(path, clips, chains)
        if len(chain) == limit + 2:
            clip = clips[path]
            message = (
                f"{path} is {limit + 1} clips away from a start of its own ({' ← '.join(chain)}): "
                "colours and faces drift a little with each"
            )
            hint = "start one of them from a picture of its own, such as a reference"
            yield Problem(message, clip.upstream[chain[1]], hint, "L126", "warning", of=(path,))


def _chain(path: str, clips: Mapping[str, Clip], known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The longest way up from a clip, itself first."""
    if path not in known:
        ways = [_chain(source, clips, known) for source in clips[path].upstream if source in clips]
        known[path] = (path, *max(ways, key=len, default=()))
    return known[path]
