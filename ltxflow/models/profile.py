"""A model as data: its grid, limits, presets, files and sizes. Knows no film and no server."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.core.files import data_dir
from ltxflow.core.timing import Limits, longest
from ltxflow.documents.document import Document
from ltxflow.documents.schema import check
from ltxflow.models import filenames
from ltxflow.models.inheritance import (
    Lineage,
    Stamp,
    known_profiles,
    profile_path,
    read_lineage,
    stamps_of,
    unknown_profile,
)

EMPTY: Mapping[str, Any] = MappingProxyType({})
EXTENDED_FRAMES = 25  # a second at 25 fps: sound is pinned in blocks of 93 ms, and k >= 25 is what was seen to work
Size = tuple[int, int]  # width, height in px


def nothing() -> Mapping[str, Any]:
    """Return the empty mapping, for the defaults of fields."""
    return EMPTY


@dataclass(frozen=True)
class Grid:
    """What the model samples: sides in multiples of `side` px, `side_two_stage` when doubled in stage 2."""

    side: int
    side_two_stage: int
    frame_step: int
    largest: Size  # no side is longer than its longer one, and no picture has more pixels
    smallest: int = 0  # px: no side of what stage 1 samples is shorter

    def multiple(self, stages: int) -> int:
        return self.side if stages == 1 else self.side_two_stage


@dataclass(frozen=True)
class Fps:
    """Frame rates, whole numbers: what is allowed, and what suits motion and still shots."""

    default: int
    minimum: int
    maximum: int
    motion: tuple[int, int]
    static: tuple[int, int]


@dataclass(frozen=True)
class Lengths:
    """Lengths in frames: of `auto`, of the best results; and the two ceilings, in seconds and in frames."""

    usual: tuple[int, int]
    preferred: tuple[int, int]
    ceiling_seconds: int
    ceiling_fps: int
    node_frames: int
    trim_max: int
    chain_max: int = 0  # clips in a row, each made from the one before; 0 for no limit known


@dataclass(frozen=True)
class Stage2:
    """How the doubled picture is sampled again.

    `seed` is that of its noise, None for 0. `is_distilled` says whether it runs through the distilled LoRA; None leaves
    that to the template. `etas` are as in Quality.
    """

    sigmas: str
    sampler: str
    cfg: float
    samplers: Mapping[str, str]
    etas: Mapping[str, float] = field(default_factory=nothing)
    seed: int | None = None
    is_distilled: bool | None = None

    def sampler_for(self, template: str) -> str:
        return self.samplers.get(template, self.sampler)


@dataclass(frozen=True)
class Quality:
    """A named preset. `half` delivers half the film's size; a `stand_in` only fills the place of the clip.

    `sigmas` is None where LTXVScheduler makes `steps` of them; else it lists one more than there are steps. `etas` are
    by template: how much noise euler_ancestral adds, where it is not ComfyUI's default. `audio_cfg` guides the sound
    where that is guided apart from the picture. `guidance` is {stg: {scale, blocks}, modality}, or empty.
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
    stages_for: Mapping[str, int] = field(
        default_factory=nothing
    )  # template → stages, where they are not those of the others

    def sampler_for(self, template: str) -> str:
        """Given a template's name, return the sampler of stage 1."""
        return self.samplers.get(template, self.sampler)


@dataclass(frozen=True)
class Model:
    """A file the model needs, by role: where ComfyUI keeps it, and precision → the names it may have."""

    role: str
    folder: str  # under ComfyUI's models/
    weights: Mapping[str, tuple[str, ...]]

    default: str = ""  # the precision that comes first; "" for the first of `weights`
    maps: str = ""  # the mode of a guide whose map it computes; such a file is not the model's

    @property
    def order(self) -> tuple[str, ...]:
        """Its precisions in the order in which `auto` tries them: the default, then the others as listed."""
        first = self.default if self.default in self.weights else next(iter(self.weights))
        return (first, *(precision for precision in self.weights if precision != first))

    def precision(self, wanted: str) -> str | None:
        """Given the precision the film asks for, return the one to use; None when there is none such.

        A role with a single file has no choice: it serves every wish.
        """
        if wanted in self.weights:
            return wanted
        return next(iter(self.weights)) if len(self.weights) == 1 else None

    def find(self, precision: str, available: Iterable[str]) -> str | None:
        """Given the names a server lists for `folder`, return that of this file, in a sub-folder or not."""
        found = filenames.find(self.weights[precision], available)
        return found[0] if found else None


@dataclass(frozen=True)
class PictureRules:
    """How a picture that stands in the clip is used: 0 … 1, CRF, and how it gets the clip's shape.

    `strength_stage2` is that of the second stage, None where it is the same in both.
    """

    strength: float
    compression: int
    fit: str
    focus: tuple[float, float]
    strength_stage2: float | None = None


@dataclass(frozen=True)
class SoundRules:
    """The sound that the model makes: latents per second of picture, seconds that its decoder loses, and its rate."""

    latents_per_second: int
    lost_s: float
    rate: int

    def seconds(self, frames: int, fps: int) -> float:
        """Return the shortest sound, in seconds, that comes by design with so many frames.

        Servers round the number of latents up (ComfyUI 0.27) or to the nearest, half to even (0.33): both were seen to
        be at least that, to the sample, from 9 to 121 frames at 8 to 50 fps.
        """
        return max(0.0, round(frames / fps * self.latents_per_second) / self.latents_per_second - self.lost_s)


@dataclass(frozen=True)
class Aspect:
    """Sizes of one shape in px: stage 1, doubled, and what is delivered of that."""

    base: Size
    upscaled: Size
    delivered: Size


@dataclass(frozen=True)
class Tiling:
    """The decoder's tiles, and from how many pixels (width x height) of decoded picture on they are used."""

    from_pixels: int
    tile_size: int
    overlap: int
    temporal_size: int
    temporal_overlap: int

    def for_size(self, size: Size) -> dict[str, int] | None:
        """Given the decoded size, return the template's `tiling`: None below `from_pixels`."""
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
    """What a server must be for this model: `comfyui` is ">0.27.0" or ">=0.28.0", "" for any version.

    Where nodes are named they decide, since a version says nothing of forks and of what is between two releases.
    """

    comfyui: str = ""
    nodes: tuple[str, ...] = ()

    def __str__(self) -> str:
        version = self.comfyui.replace(">=", "").replace(">", "").strip()
        words = [f"a ComfyUI {version} or newer" if "=" in self.comfyui else f"a ComfyUI newer than {version}"]
        words = words if version else ["a ComfyUI"]
        return " ".join([*words, *(["that has", ", ".join(self.nodes)] if self.nodes else [])])

    def is_met_by(self, version: str) -> bool:
        """Given a server's version, return whether it is new enough; one that cannot be read is believed to be."""
        wanted, found = (re.match(r"[>= v]*(\d+)\.(\d+)\.(\d+)", text) for text in (self.comfyui, version))
        if wanted is None or found is None:
            return True
        least, has = (tuple(map(int, match.groups())) for match in (wanted, found))
        return has >= least if "=" in self.comfyui else has > least


@dataclass(frozen=True)
class Profile:
    """A model as data. Its limits and its lint enter no key; what a template is given of it does.

    `model` is its family and version, as `ltx-2/19b`; with a role and a precision it names a file in keys (`token`).
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
    advice: Mapping[str, tuple[str, ...]]  # of what went wrong ("out_of_memory") → what to try, in order
    checks: Mapping[str, Any]  # name → threshold as written: "1s", 0.02, false
    files: tuple[Path, ...]  # its own first, then those it extends, then those it was compared with
    sets: tuple[str, ...]  # the names of the profiles whose templates it uses, the nearest first
    needs: ProfileRequirements = ProfileRequirements()
    sound: SoundRules | None = None
    first_frame_guides: bool = False  # with a last frame: the first one is a guide, too, and not put into the latent
    temporal_refined: bool = False  # what the temporal upscaler makes is sampled again
    control_side: int = 0  # sides that are sampled with a guide are multiples of it; 0 for the grid's
    own_files: Mapping[tuple[str, str], str] = field(
        default_factory=dict
    )  # role, precision → a file that no profile of ours has for it

    @property
    def file(self) -> Path:
        return self.files[0]

    def token(self, role: str, precision: str) -> str:
        """Return what keys call the file of a role: `ltx-2/19b:checkpoint@fp8`.

        A file that our profiles of this model do not list is named, too: it is another one under the same precision.
        """
        own = self.own_files.get((role, precision))
        return f"{self.model}:{role}@{precision}" + (f":{own}" if own else "")

    def tokens(self, weights: Mapping[str, str]) -> dict[str, str]:
        """Given role → precision, return role → the file's name in keys."""
        return {role: self.token(role, precision) for role, precision in weights.items()}

    def first_names(self, weights: Mapping[str, str]) -> dict[str, str]:
        """Given role → precision, return role → the first name of the file: a server may know it by another."""
        return {role: self.models[role].weights[precision][0] for role, precision in weights.items()}

    def side_of(self, *, is_guided: bool) -> int:
        """Return what sides of a sampled picture are multiples of, in px."""
        return (is_guided and self.control_side) or self.grid.side

    def limits(self, fps: int) -> Limits:
        """Given the film's frame rate, return what clips may be long, in frames on the 8n+1 grid."""
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
        """The weakest layer of a clip's settings, by dotted name; a quality adds steps, cfg and stages."""
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
            "reseed": 0,  # GPU time is the dearest there is: nobody spends more of it unasked
            "ignore": [],
            "control.strength": 1.0,
            "control.mode": "raw",
            "extends.frames": EXTENDED_FRAMES,
            "extends.audio": "pinned",
            "checks.all": True,
            **{f"checks.{name}": value for name, value in self.checks.items()},
            **pictures,
        }


# --- reading --------------------------------------------------------------------------------------


def templates_folder() -> Path:
    """Return the folder of our own profiles, in a wheel or in a checkout."""
    return data_dir() / "templates"


def load_profile(name: str, folders: Sequence[Path] = ()) -> Profile:
    """Given a profile's name, return it: from `<folder>/<name>/profile.yaml` of the first folder that has it.

    `folders` come before ours, so a project's own `templates/` shadows it. What it does not state is that of the
    profile it extends. Raise LtxflowError, with "did you mean", when none has it, and with every problem of the files.
    """
    places = (*folders, templates_folder())
    path = profile_path(name, places)
    if path is None:
        raise LtxflowError(unknown_profile(name, places))
    profile = _read_profile(stamps_of(path, places))
    return profile if path.parents[1] == templates_folder() else _with_own_files(profile)


def shipped_profiles() -> Iterator[Profile]:
    """Yield our own profiles, the newest model first; of one model, the plain one before its variants."""
    found = [load_profile(name) for name in known_profiles([templates_folder()])]
    yield from sorted(found, key=lambda profile: (model_version(profile.model), -len(profile.model)), reverse=True)


def model_version(model: str) -> tuple[int, ...]:
    """Return the version in a model's name as numbers: (2,) of `ltx-2/19b`."""
    found = re.search(r"\d+(?:\.\d+)*", model.partition("/")[0])
    return tuple(map(int, found[0].split("."))) if found else ()


def _with_own_files(profile: Profile) -> Profile:
    """Note which files a project's profile has that ours of the same model do not list for that role and precision."""
    ours = [each for each in shipped_profiles() if each.model == profile.model]

    def is_ours(role: str, precision: str, name: str) -> bool:
        models = [each.models[role] for each in ours if role in each.models]
        return any(name in map(_bare, model.weights.get(precision, ())) for model in models)

    own = {
        (role, precision): _bare(names[0])
        for role, model in profile.models.items()
        for precision, names in model.weights.items()
        if not is_ours(role, precision, _bare(names[0]))
    }
    compared = tuple(path for each in ours for path in each.files if path not in profile.files)
    return replace(profile, own_files=MappingProxyType(own), files=(*profile.files, *dict.fromkeys(compared)))


def _bare(name: str) -> str:
    return re.split(r"[/\\]", name)[-1]


@lru_cache(maxsize=16)
def _read_profile(stamps: tuple[Stamp, ...]) -> Profile:
    lineage = read_lineage(stamps)
    document = lineage.document
    problems = check(document, "profile")
    if problems:
        raise LtxflowError(*problems)
    data = document.data
    problems = list(_inconsistencies(document))
    if data["name"] != lineage.files[0].parent.name:
        problems.append(
            Problem(
                f'the profile is named "{data["name"]}" but its folder "{lineage.files[0].parent.name}"',
                document.span(("name",)),
                "name both the same",
                "F002",
            )
        )
    if problems:
        raise LtxflowError(*problems)
    return _profile(data, lineage)


def _inconsistencies(document: Document) -> Iterable[Problem]:
    """What the schema cannot say: that the numbers agree with each other."""
    data = document.data
    side: int = data["grid"]["one_stage"]["side"]

    def wrong(message: str, *path: str | int) -> Problem:
        span = document.span(path)
        inherited = span.file != document.file
        return Problem(message, span, f"write it in {document.file}, too" if inherited else "", "F002")

    for role, precision in data["default_weights"].items():
        if role not in data["models"]:
            yield wrong(f'no model "{role}"', "default_weights", role)
        elif precision not in data["models"][role]["weights"]:
            yield wrong(f'no "{precision}" weights of the {role}', "default_weights", role)
    if data["default_quality"] not in data["qualities"]:
        yield wrong(f'no quality "{data["default_quality"]}"', "default_quality")
    for name, quality in data["qualities"].items():
        if "sigmas" in quality and len(quality["sigmas"].split(",")) != quality["steps"] + 1:
            yield wrong(f"{quality['steps']} steps need {quality['steps'] + 1} sigmas", "qualities", name, "sigmas")
    for name, entry in data["aspects"].items():
        if name == "source":
            continue
        base, upscaled, crop = entry["base"], entry["upscaled"], entry.get("crop", entry["upscaled"])
        if base[0] % side or base[1] % side:
            yield wrong(f"{base[0]}x{base[1]} is not on the grid of {side}", "aspects", name, "base")
        if upscaled != [2 * base[0], 2 * base[1]]:
            yield wrong(f"{upscaled[0]}x{upscaled[1]} is not twice the base", "aspects", name, "upscaled")
        if crop[0] > upscaled[0] or crop[1] > upscaled[1]:
            yield wrong(f"{crop[0]}x{crop[1]} is more than there is", "aspects", name, "crop")


def _profile(data: Mapping[str, Any], lineage: Lineage) -> Profile:
    grid, lengths, fps, needs = data["grid"], data["lengths"], data["fps"], data.get("needs", {})
    sound = data.get("sound")
    return Profile(
        name=data["name"],
        title=data["title"],
        model=data.get("model", data["name"]),
        version=data["version"],
        grid=Grid(
            grid["one_stage"]["side"],
            grid["two_stage"]["side"],
            grid["frames"]["step"],
            _pair(grid["largest"]["size"]),
            grid.get("smallest", {}).get("side", 0),
        ),
        lengths=Lengths(
            usual=_pair(lengths["usual"]["frames"]),
            preferred=_pair(lengths["preferred"]["frames"]),
            ceiling_seconds=lengths["ceiling"]["seconds"],
            ceiling_fps=lengths["ceiling"]["at_fps"],
            node_frames=lengths["node"]["frames"],
            trim_max=lengths["trim_max"]["frames"],
            chain_max=lengths.get("chain_max", {}).get("clips", 0),
        ),
        fps=Fps(
            fps["default"]["value"],
            *_pair(fps["allowed"]["range"]),
            motion=_pair(fps["motion"]["range"]),
            static=_pair(fps["static"]["range"]),
        ),
        default_quality=data["default_quality"],
        qualities=MappingProxyType({name: _quality(name, q) for name, q in data["qualities"].items()}),
        default_weights=MappingProxyType(dict(data["default_weights"])),
        models=MappingProxyType(
            {
                role: Model(
                    role,
                    m["folder"],
                    MappingProxyType({precision: tuple(names) for precision, names in m["weights"].items()}),
                    data["default_weights"].get(role, ""),
                    m.get("maps", ""),
                )
                for role, m in data["models"].items()
            }
        ),
        camera_loras=tuple(data.get("camera_loras", {}).get("names", ())),
        control_loras=MappingProxyType(dict(data.get("control_loras", {}).get("names", {}))),
        negative=data["negative"]["text"],
        prompt_words_max=data["prompt"]["words_max"],
        reference=_picture(data["reference"]),
        last_frame=_picture(data["last_frame"]),
        aspects=MappingProxyType(
            {
                name: Aspect(_pair(a["base"]), _pair(a["upscaled"]), _pair(a.get("crop", a["upscaled"])))
                for name, a in data["aspects"].items()
                if name != "source"
            }
        ),
        text_encoder_device=data["text_encoder_device"]["value"],
        tiled_decode=Tiling(**{name: n for name, n in data["tiled_decode"].items() if name != "source"}),
        advice=MappingProxyType(
            {name: tuple(lines) for name, lines in data.get("advice", {}).items() if name != "source"}
        ),
        checks=MappingProxyType({name: check["value"] for name, check in data.get("checks", {}).items()}),
        files=lineage.files,
        sets=lineage.sets,
        needs=ProfileRequirements(needs.get("comfyui", ""), tuple(needs.get("nodes", ()))),
        control_side=data.get("control_loras", {}).get("side", 0),
        sound=SoundRules(sound["latents_per_second"], sound["lost"], sound["rate"]) if sound else None,
        first_frame_guides=data.get("first_frame", {}).get("as") == "guide",
        temporal_refined=data.get("temporal_upscale", {}).get("refined", False),
    )


def _pair(written: Sequence[int]) -> tuple[int, int]:
    return written[0], written[1]


def _quality(name: str, q: Mapping[str, Any]) -> Quality:
    second = q["stage2"]
    return Quality(
        name=name,
        title=q["title"],
        stages=q["stages"],
        steps=q["steps"],
        cfg=float(q["cfg"]),
        sampler=q["sampler"],
        samplers=MappingProxyType(dict(q.get("samplers", {}))),
        sigmas=q.get("sigmas"),
        distilled=q["distilled"],
        distilled_strength=float(q["distilled_strength"]),
        stage2=Stage2(
            second["sigmas"],
            second["sampler"],
            float(second["cfg"]),
            MappingProxyType(dict(second.get("samplers", {}))),
            _etas(second),
            second.get("seed"),
            second.get("distilled"),
        ),
        half=q.get("half", False),
        stand_in=q.get("stand_in", False),
        note=q.get("note", ""),
        etas=_etas(q),
        audio_cfg=float(q["audio_cfg"]) if "audio_cfg" in q else None,
        guidance=MappingProxyType({name: value for name, value in q.get("guidance", {}).items() if name != "source"}),
        stages_for=MappingProxyType(dict(q.get("stages_for", {}))),
    )


def _etas(data: Mapping[str, Any]) -> Mapping[str, float]:
    return MappingProxyType({template: float(eta) for template, eta in data.get("etas", {}).items()})


def _picture(p: Mapping[str, Any]) -> PictureRules:
    again = float(p["strength_stage2"]) if "strength_stage2" in p else None
    focus = float(p["focus"][0]), float(p["focus"][1])
    return PictureRules(float(p["strength"]), p["compression"], p["fit"], focus, again)


# --- sizes ----------------------------------------------------------------------------------------
