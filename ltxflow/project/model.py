"""The film as frozen data. Knows how a film is made of scenes and clips; not where it was read from or is kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Digest, digest_json
from ltxflow.core.errors import Span
from ltxflow.models.profile import nothing


@dataclass(frozen=True)
class Value:
    """One resolved setting: what it is, which layer said so ("quality distilled", "clip hook/b") and where."""

    value: Any
    origin: str
    span: Span | None = None


@dataclass(frozen=True)
class Prompt:
    """A prompt as written: `parts` in the order they are spoken, variables filled in.

    A prompt written as one text has the single part "text"; one written as a mapping has those of
    setup, subject, camera, action, mood, audio that were given.
    """

    parts: Mapping[str, str]
    spans: Mapping[str, Span] = field(default_factory=dict, compare=False)

    @property
    def text(self) -> str:
        return " ".join(part for part in self.parts.values() if part)

    @property
    def camera(self) -> str:
        return self.parts.get("camera", "")


@dataclass(frozen=True)
class Image:
    """A picture the project names: where it is, its size as displayed (px), the digest of its decoded pixels.

    `made_as` is empty for a file; else what the project says where this picture was made for it.
    """

    path: Path
    name: str  # as written in the project
    pixels: Digest
    width: int
    height: int
    span: Span | None = field(default=None, compare=False)
    made_as: str = ""


@dataclass(frozen=True)
class FrameOf:
    """A moment of another clip. `frame` is its number from 0, None for the last one; `at` as written."""

    clip: str  # its path
    at: str = "last"
    frame: int | None = None
    span: Span | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"{self.clip}, {self.at} frame" if self.at in ("last", "first") else f"{self.clip} at {self.at}"

    @property
    def moment(self) -> str:
        """Its name in a target: `last`, or `37f`."""
        return "last" if self.frame is None else f"{self.frame}f"


@dataclass(frozen=True)
class Still:
    """An image that is made first, by an engine (media.engines.Engine) or the template of that name.

    `prompt` is what it shows, `angle`, if any, included. `size` is in px.
    """

    name: str
    prompt: str
    size: tuple[int, int]
    angle: str = ""
    negative: str = ""
    seed: int | None = None
    engine: Any = None
    template: str = ""
    takes: int = 1
    spans: Mapping[str, Span] = field(default_factory=nothing, compare=False)

    @property
    def path(self) -> str:
        """`reference:hero`, `reference:hero/seen-from-the-left`: how the lock and people call it."""
        return f"reference:{self.name}/{slug(self.angle)}" if self.angle else f"reference:{self.name}"

    def explicit_seed(self, take: int) -> int | None:
        """Given a take, return the seed that the author wrote for it, None where there is none."""
        return self.seed if take == 1 else None

    @property
    def span(self) -> Span | None:
        return self.spans.get("angle") or self.spans.get("name")


def slug(text: str) -> str:
    """Given a text, return it as an id: small letters, digits and hyphens, at most 64."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if found and len(found) <= 64 and all(char.isascii() for char in text):
        return found
    return f"{found[:48].strip('-') or 'angle'}-{digest_json(text)[:8]}"  # what was left out tells texts apart


Picture = Image | FrameOf | Still


@dataclass(frozen=True)
class Keyframe:
    """A picture that a clip passes through. `frame` counts from 0 in what is delivered, None for the last one.

    `strength` is None where it is the profile's.
    """

    at: str  # as written
    frame: int | None
    image: Image
    strength: float | None = None
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Media:
    """A sound or video file the project names, by the digest of its bytes."""

    path: Path
    name: str
    digest: Digest
    facts: Mapping[str, Any] = field(
        default_factory=nothing
    )  # seconds, samples, sample_rate | of a video, what media.video.probe_video tells
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Lora:
    """A LoRA as the project names it; `sha256` is the user's pin, empty when not pinned."""

    name: str
    strength: float
    sha256: str = ""
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Extends:
    """What a clip continues: another clip, by its path, or a file. `frames` (8m+1) of its last ones are sampled again.

    `audio` is "pinned" where the sound goes on from the last one, "fresh" where it is made anew.
    """

    clip: str = ""
    file: Media | None = None
    frames: int = 25
    audio: str = "pinned"
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Narration:
    """What is spoken over a scene. `seconds` is exact for a file, as written for a duration, estimated for text."""

    kind: str  # "file" | "duration" | "text" | "none"
    seconds: Fraction
    estimated: bool = False
    text: str = ""
    gain_db: Fraction = Fraction(0)
    file: Media | None = None
    speech: Any = None  # script.speech.Speech, where an engine is to speak it
    starts: Mapping[str, Fraction] = field(default_factory=nothing)  # line id → when it is said, as sure as `seconds`
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Length:
    """How long the author wants a clip: `frames` is None for `auto`, else on the 8n+1 grid; `asked` as written.

    `around` are the lengths that are as good for a time: one on either side of it. `seconds` is exact.
    """

    frames: int | None = None
    asked: str = "auto"
    span: Span | None = field(default=None, compare=False)
    around: tuple[int, ...] = ()
    seconds: Fraction = Fraction(0)


@dataclass(frozen=True)
class Clip:
    """The intent of a clip. `settings` holds every resolved leaf by dotted name (`reference.strength`, `cfg`)."""

    id: str
    scene: str
    index: int  # position in its scene, from 0: only names files
    prompt: Prompt
    length: Length
    settings: Mapping[str, Value]
    reference: Picture | None = None
    last_frame: Picture | None = None
    loras: tuple[Lora, ...] = ()
    control: Media | None = None
    sound: Media | None = None
    extends: Extends | None = None
    keyframes: tuple[Keyframe, ...] = ()
    takes: int = 1
    covers: tuple[str, ...] = ()  # the ids of the lines that are said while it plays; all of its scene's clips, or none
    tags: tuple[str, ...] = ()  # its scene's and its own: for selectors, in no key
    span: Span | None = field(default=None, compare=False)

    @property
    def path(self) -> str:
        """`hook/b`"""
        return f"{self.scene}/{self.id}"

    @property
    def way(self) -> str:
        """How it is made, from what it has: the name of the template that is used unless another one is named."""
        ways = {"extend": self.extends, "control": self.control, "keyframes": self.keyframes, "flf2v": self.last_frame}
        return next((way for way, has in ways.items() if has), "i2v" if self.reference else "t2v")

    @property
    def frames_again(self) -> int:
        """How many of the frames that are sampled repeat what the clip continues: they are not delivered."""
        return self.extends.frames if self.extends else 0

    @property
    def pictures(self) -> dict[str, Picture]:
        """What it starts from and ends on, by the setting's name."""
        both = {"reference": self.reference, "last_frame": self.last_frame}
        return {group: picture for group, picture in both.items() if picture is not None}

    @property
    def upstream(self) -> dict[str, Span | None]:
        """The paths of the clips it is made from, each with where that is written."""
        frames = [picture for picture in self.pictures.values() if isinstance(picture, FrameOf)]
        found = {frame.clip: frame.span for frame in frames}
        return {self.extends.clip: self.extends.span, **found} if self.extends and self.extends.clip else found

    @property
    def is_map_computed(self) -> bool:
        """Whether the map that guides it is computed from the guide video, which else is used as it is."""
        wanted = self.get("control.preprocess")
        return self.control is not None and (self.get("control.mode") == "canny" if wanted is None else bool(wanted))

    @property
    def is_doubled(self) -> bool:
        """Whether it is sampled at half the film's frame rate, and doubled by the temporal upscaler."""
        return bool(self.get("temporal_upscale", False))

    def explicit_seed(self, take: int) -> int | None:
        """Given a take, return the seed that the author wrote for it, None where there is none."""
        seeds = self.get("seeds", [])
        if take <= len(seeds):
            return int(seeds[take - 1])
        seed = self.get("seed")
        return int(seed) if seed is not None and take == 1 else None

    def get(self, name: str, default: Any = None) -> Any:
        found = self.settings.get(name)
        return default if found is None or found.value is None else found.value


@dataclass(frozen=True)
class Scene:
    """An ordered run of clips under one narration. `crossfade` is in frames; pads in seconds."""

    id: str
    index: int  # position in the film, from 0: only names files
    clips: tuple[Clip, ...]
    narration: Narration
    title: str = ""
    pad_head: Fraction = Fraction(0)
    pad_tail: Fraction = Fraction(0)
    crossfade: int = 12
    settings: Mapping[str, Value] = field(default_factory=nothing)  # crossfade, pad.head, pad.tail with their origins
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Project:
    """Everything read from disk, checked and frozen."""

    id: str
    title: str
    folder: Path  # of project.yaml
    file: Path
    workspace: Path  # everything a project names resolves inside it
    output: Path
    fps: int
    size: tuple[int, int]  # delivered, px
    seed: int
    profile: Any  # script.profile.Profile
    scenes: tuple[Scene, ...]
    settings: Mapping[str, Value] = field(default_factory=nothing)  # project-level values with their origins
    moved: tuple[tuple[str, str], ...] = ()
    vars: Mapping[str, str] = field(default_factory=nothing)
    references: Mapping[str, Image | Still] = field(default_factory=nothing)  # by name, as defined
    server: str = ""  # the project's default; used only from a trusted project
    choices: Mapping[str, Any] = field(default_factory=nothing)  # what `auto` came to: weights, quality, stages
    open_choices: frozenset[str] = frozenset()  # what says `auto` and is not in them: "weights", "quality", "stages"
    templates: Mapping[str, Any] = field(default_factory=nothing)  # name → script.template.Template
    foreign: Mapping[str, str] = field(
        default_factory=nothing
    )  # what needs trust: "template x" → digest of its content

    @cached_property
    def clips(self) -> tuple[Clip, ...]:
        return tuple(clip for scene in self.scenes for clip in scene.clips)

    @property
    def stills(self) -> tuple[Still, ...]:
        """The images to make first: those that clips use, then those that nothing uses yet in any angle."""
        used = [p for clip in self.clips for p in clip.pictures.values() if isinstance(p, Still)]
        names = {still.name for still in used}
        idle = [r for r in self.references.values() if isinstance(r, Still) and r.name not in names]
        return tuple({still.path: still for still in (*used, *idle)}.values())

    def scene(self, id: str) -> Scene:
        return self._by_id[id]

    @cached_property
    def _by_id(self) -> Mapping[str, Scene]:
        return {scene.id: scene for scene in reversed(self.scenes)}
