"""A model as data: its grid, limits, presets, files and sizes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltxflow.core.timing import Limits, longest

EMPTY: Mapping[str, Any] = MappingProxyType({})
EXTENDED_FRAMES = 25  # a second at 25 fps: sound is pinned in blocks of 93 ms, and k >= 25 was measured to work
Size = tuple[int, int]  # width, height in px
SUFFIX = ".safetensors"  # may be left out


def nothing() -> Mapping[str, Any]:
    """Return the empty mapping, for the defaults of fields."""
    return EMPTY


@dataclass(frozen=True)
class Grid:
    """The sizes a model samples: sides in multiples of `side` px, of `side_two_stage` when doubled in stage 2."""

    side: int
    side_two_stage: int
    frame_step: int
    largest: Size  # limits the longer side and the number of pixels
    smallest: int = 0  # px, of a side in stage 1

    def multiple(self, stages: int) -> int:
        """Return the grid of the final sides in px."""
        return self.side if stages == 1 else self.side_two_stage


@dataclass(frozen=True)
class Fps:
    """Whole frame rates: the allowed range, and the ranges for motion and for static shots."""

    default: int
    minimum: int
    maximum: int
    motion: tuple[int, int]
    static: tuple[int, int]


@dataclass(frozen=True)
class Lengths:
    """Lengths in frames, for `auto` and for the best results, and ceilings in seconds and frames."""

    usual: tuple[int, int]
    preferred: tuple[int, int]
    ceiling_seconds: int
    ceiling_fps: int
    node_frames: int
    trim_max: int
    chain_max: int = 0  # clips in a row, each made from the previous one; 0 for no known limit


@dataclass(frozen=True)
class Stage2:
    """Settings for sampling the doubled picture again.

    `seed` is that of its noise, None for 0. `is_distilled` selects the distilled LoRA; None leaves the choice to the
    template. `etas` are as in Quality.
    """

    sigmas: str
    sampler: str
    cfg: float
    samplers: Mapping[str, str]
    etas: Mapping[str, float] = field(default_factory=nothing)
    seed: int | None = None
    is_distilled: bool | None = None

    def sampler_for(self, template: str) -> str:
        """Return the sampler of stage 2 for a template."""
        return self.samplers.get(template, self.sampler)


@dataclass(frozen=True)
class Quality:
    """A named preset. `half` delivers half the film's size; a `stand_in` is a placeholder for the clip.

    `sigmas` is None where LTXVScheduler computes them from `steps`; else it lists one more than `steps`. `etas` are by
    template: the noise that euler_ancestral adds, where it is not ComfyUI's default. `audio_cfg` guides the sound where
    it is guided separately. `guidance` is {stg: {scale, blocks}, modality}, or empty.
    """

    name: str
    title: str
    stages: int
    steps: int
    cfg: float
    sampler: str
    samplers: Mapping[str, str]
    sigmas: str | None
    distilled: bool
    distilled_strength: float
    stage2: Stage2
    half: bool = False
    stand_in: bool = False
    note: str = ""
    etas: Mapping[str, float] = field(default_factory=nothing)
    audio_cfg: float | None = None
    guidance: Mapping[str, Any] = field(default_factory=nothing)
    stages_for: Mapping[str, int] = field(default_factory=nothing)  # template → stages, where they differ from `stages`

    def sampler_for(self, template: str) -> str:
        """Return the sampler of stage 1 for a template."""
        return self.samplers.get(template, self.sampler)


@dataclass(frozen=True)
class Model:
    """A file of the model, by role: its folder in ComfyUI, and precision → its possible names."""

    role: str
    folder: str  # under ComfyUI's models/
    weights: Mapping[str, tuple[str, ...]]

    default: str = ""  # the precision that comes first; "" for the first of `weights`
    maps: str = ""  # the control mode whose map this file computes; such a file is not part of the model

    @property
    def order(self) -> tuple[str, ...]:
        """Return its precisions in the order in which `auto` tries them: the default first."""
        first = self.default if self.default in self.weights else next(iter(self.weights))
        return (first, *(precision for precision in self.weights if precision != first))

    def precision(self, wanted: str) -> str | None:
        """Return the precision to use for a requested one, None when there is none.

        A role with a single file serves every request.
        """
        if wanted in self.weights:
            return wanted
        return next(iter(self.weights)) if len(self.weights) == 1 else None

    def find(self, precision: str, available: Iterable[str]) -> str | None:
        """Return the name of this file among those a server lists for `folder`, subfolders included."""
        found = matching_files(self.weights[precision], available)
        return found[0] if found else None


@dataclass(frozen=True)
class PictureRules:
    """Defaults for a picture in a clip: strength (0 to 1), compression (CRF), and how it is fitted.

    `strength_stage2` is None where both stages use the same strength.
    """

    strength: float
    compression: int
    fit: str
    focus: tuple[float, float]
    strength_stage2: float | None = None


@dataclass(frozen=True)
class SoundRules:
    """The sound of a model: latents per second of picture, seconds lost in decoding, and sample rate."""

    latents_per_second: int
    lost_s: float
    rate: int

    def seconds(self, frames: int, fps: int) -> float:
        """Return the shortest sound, in seconds, that the model makes for this many frames.

        Servers round the number of latents up (ComfyUI 0.27) or half to even (0.33). Both were measured to be at least
        this long, to the sample, from 9 to 121 frames at 8 to 50 fps.
        """
        return max(0.0, round(frames / fps * self.latents_per_second) / self.latents_per_second - self.lost_s)


@dataclass(frozen=True)
class Aspect:
    """Sizes of one aspect in px: stage 1, doubled, and delivered."""

    base: Size
    upscaled: Size
    delivered: Size


@dataclass(frozen=True)
class Tiling:
    """Tiles of the decoder, used for decoded pictures of at least `from_pixels` (width x height)."""

    from_pixels: int
    tile_size: int
    overlap: int
    temporal_size: int
    temporal_overlap: int

    def for_size(self, size: Size) -> dict[str, int] | None:
        """Return the template's `tiling` for a decoded size: None below `from_pixels`."""
        if size[0] * size[1] < self.from_pixels:
            return None
        return {
            "tile_size": self.tile_size,
            "overlap": self.overlap,
            "temporal_size": self.temporal_size,
            "temporal_overlap": self.temporal_overlap,
        }


@dataclass(frozen=True)
class ProfileRequirements:
    """Requirements on a server: `comfyui` is ">0.27.0" or ">=0.28.0", "" for any version.

    Where nodes are named they decide: a version does not identify forks and development snapshots.
    """

    comfyui: str = ""
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        version = self.comfyui.replace(">=", "").replace(">", "").strip()
        words = [f"a ComfyUI {version} or newer" if "=" in self.comfyui else f"a ComfyUI newer than {version}"]
        words = words if version else ["a ComfyUI"]
        return " ".join([*words, *(["that has", ", ".join(self.nodes)] if self.nodes else [])])

    def is_met_by(self, version: str) -> bool:
        """Return whether a version of a server is new enough. An unreadable version counts as new enough."""
        wanted, found = (re.match(r"[>= v]*(\d+)\.(\d+)\.(\d+)", text) for text in (self.comfyui, version))
        if wanted is None or found is None:
            return True
        least, has = (tuple(map(int, match.groups())) for match in (wanted, found))
        return has >= least if "=" in self.comfyui else has > least


@dataclass(frozen=True)
class Profile:
    """A model as data. Its limits and lint enter no key; the values that templates use do.

    `model` is family and version, such as `ltx-2/19b`; with role and precision it names a file in keys (`token`).
    """

    name: str
    title: str
    model: str
    version: int
    grid: Grid
    lengths: Lengths
    fps: Fps
    default_quality: str
    qualities: Mapping[str, Quality]
    default_weights: Mapping[str, str]  # role → precision; a role with one file needs none
    models: Mapping[str, Model]
    camera_loras: tuple[str, ...]
    control_loras: Mapping[str, str]  # mode → file
    negative: str
    prompt_words_max: int
    reference: PictureRules
    last_frame: PictureRules
    aspects: Mapping[str, Aspect]
    text_encoder_device: str
    tiled_decode: Tiling
    advice: Mapping[str, tuple[str, ...]]  # kind of failure ("out_of_memory") → remedies, in order
    checks: Mapping[str, Any]  # name → threshold as written: "1s", 0.02, false
    files: tuple[Path, ...]  # its file, then those it extends, then those compared with
    sets: tuple[str, ...]  # the names of the profiles whose templates it uses, the nearest first
    needs: ProfileRequirements = ProfileRequirements()
    sound: SoundRules | None = None
    first_frame_guides: bool = False  # with a last frame, the first is a guide instead of part of the latent
    temporal_refined: bool = False  # the result of the temporal upscaler is sampled again
    control_side: int = 0  # grid for clips with a guide, in px; 0 for the grid of the others
    # role, precision → a file that no shipped profile lists for them
    own_files: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.files[0]

    def token(self, role: str, precision: str) -> str:
        """Return the name of a role's file in keys: `ltx-2/19b:checkpoint@fp8`.

        A file that no shipped profile of this model lists is named, too: the same precision may be another file.
        """
        own = self.own_files.get((role, precision))
        return f"{self.model}:{role}@{precision}" + (f":{own}" if own else "")

    def tokens(self, weights: Mapping[str, str]) -> dict[str, str]:
        """Return role → the file's name in keys, for role → precision."""
        return {role: self.token(role, precision) for role, precision in weights.items()}

    def first_names(self, weights: Mapping[str, str]) -> dict[str, str]:
        """Return role → the first name of the file, for role → precision. A server may use another of its names."""
        return {role: self.models[role].weights[precision][0] for role, precision in weights.items()}

    def side_of(self, *, is_guided: bool) -> int:
        """Return the grid of sampled sides in px."""
        return (is_guided and self.control_side) or self.grid.side

    def limits(self, fps: int) -> Limits:
        """Return the limits of clip lengths at a frame rate, in frames on the 8n+1 grid."""
        ceiling = longest(Fraction(self.lengths.ceiling_seconds), fps, self.lengths.node_frames)
        return Limits(
            auto_min=min(self.lengths.usual[0], ceiling),
            auto_max=min(self.lengths.usual[1], ceiling),
            preferred_min=min(self.lengths.preferred[0], ceiling),
            preferred_max=min(self.lengths.preferred[1], ceiling),
            max_frames=ceiling,
            trim_max=self.lengths.trim_max,
        )

    @property
    def clip_defaults(self) -> dict[str, Any]:
        """Return the weakest layer of clip settings by dotted name; a quality adds steps, cfg and stages."""
        pictures = {
            f"{group}.{name}": value
            for group, picture in (("reference", self.reference), ("last_frame", self.last_frame))
            for name, value in (
                ("strength", picture.strength),
                ("compression", picture.compression),
                ("fit", picture.fit),
                ("focus", list(picture.focus)),
            )
        }
        return {
            "quality": self.default_quality,
            "negative": self.negative,
            "length": "auto",
            "loras": [],
            "temporal_upscale": False,
            "takes": 1,
            "gain": "0dB",
            "reseed": 0,  # GPU time is expensive: reseeding is opt-in
            "ignore": [],
            "control.strength": 1.0,
            "control.mode": "raw",
            "extends.frames": EXTENDED_FRAMES,
            "extends.audio": "pinned",
            "checks.all": True,
            **{f"checks.{name}": value for name, value in self.checks.items()},
            **pictures,
        }


def matching_files(names: Sequence[str], listed: Iterable[str]) -> list[str]:
    """Return the listed files that match the first of `names` with any match; several for an ambiguous name.

    A name is a file's path, or the end of one (`style` for `looks/style.safetensors`), with or without its suffix.
    Slashes and backslashes are equal: servers on Windows list `looks\\style.safetensors`. An exact path is preferred.
    """
    available = list(listed)
    exact = next((name for name in names if name in available), None)
    if exact is not None:
        return [exact]
    paths = {entry: entry.replace("\\", "/") for entry in available}
    for name in names:
        wanted = name.replace("\\", "/")
        for end in (wanted, wanted + SUFFIX) if wanted else ():
            found = [entry for entry, path in paths.items() if path == end]
            if not found:
                found = [entry for entry, path in paths.items() if path.endswith(f"/{end}")]
            if found:
                return found
    return []
