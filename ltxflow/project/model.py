"""The project as frozen data: scenes, clips, prompts, pictures, narration."""

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
    """One resolved setting: its value, the layer it comes from ("quality distilled", "clip hook/b") and its place."""

    value: Any
    origin: str
    span: Span | None = None


@dataclass(frozen=True)
class Prompt:
    """A prompt: `parts` in the order the model gets them, variables filled in.

    A prompt of one text has the single part "text"; a mapping has those of setup, subject, camera, action, mood and
    audio that were given.
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
    """An image file of the project: its path, displayed size (px) and the digest of its decoded pixels.

    `made_as` is empty for a file; for a generated image it is its name in the project.
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
    """A frame of another clip. `frame` is its number from 0, None for the last one; `at` as written."""

    clip: str  # its path
    at: str = "last"
    frame: int | None = None
    span: Span | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        return f"{self.clip}, {self.at} frame" if self.at in ("last", "first") else f"{self.clip} at {self.at}"

    @property
    def moment(self) -> str:
        """Return its name in a target: `last`, or `37f`."""
        return "last" if self.frame is None else f"{self.frame}f"


@dataclass(frozen=True)
class Still:
    """An image to generate first, by an engine (media.speech.Engine) or by the template of that name.

    `prompt` includes the `angle`, if any. `size` is in px.
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
        """Return its name in the lock: `reference:hero`, `reference:hero/seen-from-the-left`."""
        return f"reference:{self.name}/{slug(self.angle)}" if self.angle else f"reference:{self.name}"

    def explicit_seed(self, take: int) -> int | None:
        """Return the seed written for a take, None without one."""
        return self.seed if take == 1 else None

    @property
    def span(self) -> Span | None:
        return self.spans.get("angle") or self.spans.get("name")


def slug(text: str) -> str:
    """Return a text as an id: at most 64 small letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    found = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    if found and len(found) <= 64 and all(char.isascii() for char in text):
        return found
    return f"{found[:48].strip('-') or 'angle'}-{digest_json(text)[:8]}"  # for texts equal but for other letters


Picture = Image | FrameOf | Still


@dataclass(frozen=True)
class Keyframe:
    """A picture that a clip passes through. `frame` counts delivered frames from 0, None for the last one.

    `strength` is None for the profile's.
    """

    at: str  # as written
    frame: int | None
    image: Image
    strength: float | None = None
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Media:
    """A sound or video file of the project, with the digest of its bytes."""

    path: Path
    name: str
    digest: Digest
    # samples and sample_rate of a sound; of a video the result of media.video.probe_video
    facts: Mapping[str, Any] = field(default_factory=nothing)
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
    """The clip (by path) or file that a clip continues. Its last `frames` (8m+1) are sampled again.

    `audio` is "pinned" to continue its sound, "fresh" to generate new sound.
    """

    clip: str = ""
    file: Media | None = None
    frames: int = 25
    audio: str = "pinned"
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Narration:
    """The narration of a scene. `seconds` is exact for a file, as written for a duration, estimated for text."""

    kind: str  # "file" | "duration" | "text" | "none"
    seconds: Fraction
    estimated: bool = False
    text: str = ""
    gain_db: Fraction = Fraction(0)
    file: Media | None = None
    speech: Any = None  # project.speech.Speech, where an engine speaks it
    starts: Mapping[str, Fraction] = field(
        default_factory=nothing
    )  # line id → start in seconds, exact or estimated like `seconds`
    span: Span | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Length:
    """The requested length of a clip: `frames` is None for `auto`, else on the 8n+1 grid; `written` is the text.

    `around` are the two grid lengths on either side of a time, which fit it equally well. `seconds` is exact.
    """

    frames: int | None = None
    written: str = "auto"
    span: Span | None = field(default=None, compare=False)
    around: tuple[int, ...] = ()
    seconds: Fraction = Fraction(0)


@dataclass(frozen=True)
class Clip:
    """The intent of a clip. `settings` has every resolved leaf by dotted name (`reference.strength`, `cfg`).

    `written` has its quality without the command line's, and of what a quality sets only what the film writes itself.
    """

    id: str
    scene: str
    index: int  # position in its scene, from 0; used in file names only
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
    covers: tuple[str, ...] = ()  # ids of the lines spoken while it plays; for all clips of a scene or none
    tags: tuple[str, ...] = ()  # its scene's and its own, for selectors; in no key
    span: Span | None = field(default=None, compare=False)
    written: Mapping[str, Value] = field(default_factory=nothing)

    @property
    def path(self) -> str:
        """Return its path: `hook/b`."""
        return f"{self.scene}/{self.id}"

    @property
    def way(self) -> str:
        """Return the name of the template to use unless one is named, chosen by what the clip has."""
        ways = {"extend": self.extends, "control": self.control, "keyframes": self.keyframes, "flf2v": self.last_frame}
        return next((way for way, has in ways.items() if has), "i2v" if self.reference else "t2v")

    @property
    def frames_again(self) -> int:
        """Return how many sampled frames repeat the clip it extends, and are not delivered."""
        return self.extends.frames if self.extends else 0

    @property
    def pictures(self) -> dict[str, Picture]:
        """Return the pictures it starts from and ends on, by setting."""
        both = {"reference": self.reference, "last_frame": self.last_frame}
        return {group: picture for group, picture in both.items() if picture is not None}

    @property
    def upstream(self) -> dict[str, Span | None]:
        """Return the paths of the clips it is made from, each with the place that names it."""
        frames = [picture for picture in self.pictures.values() if isinstance(picture, FrameOf)]
        found = {frame.clip: frame.span for frame in frames}
        return {self.extends.clip: self.extends.span, **found} if self.extends and self.extends.clip else found

    @property
    def is_map_computed(self) -> bool:
        """Return whether its map is computed from the guide video, which is used as it is otherwise."""
        setting = self.get("control.preprocess")
        return self.control is not None and (self.get("control.mode") == "canny" if setting is None else bool(setting))

    @property
    def is_doubled(self) -> bool:
        """Return whether it is sampled at half the frame rate and doubled by the temporal upscaler."""
        return bool(self.get("temporal_upscale", False))

    def explicit_seed(self, take: int) -> int | None:
        """Return the seed written for a take, None without one."""
        seeds = self.get("seeds", [])
        if take <= len(seeds):
            return int(seeds[take - 1])
        seed = self.get("seed")
        return int(seed) if seed is not None and take == 1 else None

    def get(self, name: str, default: Any = None) -> Any:
        """Return the value of a setting, `default` where it is missing or null."""
        found = self.settings.get(name)
        return default if found is None or found.value is None else found.value


@dataclass(frozen=True)
class Scene:
    """An ordered run of clips under one narration. `crossfade` is in frames; pads in seconds."""

    id: str
    index: int  # position in the film, from 0; used in file names only
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
    workspace: Path  # every path of the project resolves inside it
    output: Path
    fps: int
    size: tuple[int, int]  # delivered, px
    seed: int
    profile: Any  # models.profile.Profile
    scenes: tuple[Scene, ...]
    settings: Mapping[str, Value] = field(default_factory=nothing)  # film-level values with their origins
    moved: tuple[tuple[str, str], ...] = ()
    vars: Mapping[str, str] = field(default_factory=nothing)
    references: Mapping[str, Image | Still] = field(default_factory=nothing)  # by name, as defined
    server: str = ""  # the project's default; used only from a trusted project
    choices: Mapping[str, Any] = field(default_factory=nothing)  # results of `auto`: weights, quality, stages
    open_choices: frozenset[str] = frozenset()  # settings that are `auto` and undecided: "weights", "quality", "stages"
    templates: Mapping[str, Any] = field(default_factory=nothing)  # name → workflow.template.Template
    # the parts that need trust: "template x" → digest of its content
    foreign: Mapping[str, str] = field(default_factory=nothing)

    @cached_property
    def clips(self) -> tuple[Clip, ...]:
        """Return the clips of all scenes in film order."""
        return tuple(clip for scene in self.scenes for clip in scene.clips)

    @property
    def stills(self) -> tuple[Still, ...]:
        """Return the images to generate first: those that clips use, then references unused in any angle."""
        used = [p for clip in self.clips for p in clip.pictures.values() if isinstance(p, Still)]
        names = {still.name for still in used}
        unused = [r for r in self.references.values() if isinstance(r, Still) and r.name not in names]
        return tuple({still.path: still for still in (*used, *unused)}.values())

    def scene(self, id: str) -> Scene:
        """Return the scene with this id. Raise KeyError when there is none."""
        return self._by_id[id]

    @cached_property
    def _by_id(self) -> Mapping[str, Scene]:
        return {scene.id: scene for scene in reversed(self.scenes)}
