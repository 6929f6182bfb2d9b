"""Resolve settings, thresholds and weights. Pure; contacts no server.

Clips' settings come in layers: profile < quality < defaults < scene < clip < command line. `checks:` becomes the
thresholds of the clip checks, with `ignore:` applied; they are here and not in `lint`, whose word lists a plan does not
load. Weights are the precision of each of the model's files, and the files that a project pins.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.documents.document import KeyPath
from ltxflow.media.findings import Thresholds
from ltxflow.models.profile import EMPTY, Profile, Quality
from ltxflow.project.model import Clip, Project, Value
from ltxflow.project.reader import Reader

SECONDS: Mapping[str, str] = {"frozen": "freeze_s", "black": "black_s", "silence": "silence_s", "sync": "sync_s"}
NUMBERS: Mapping[str, str] = {
    "motion": "motion",
    "silent": "silent_db",
    "clipped": "top_share",
    "duplicate": "duplicate",
}
SWITCHES: Mapping[str, str] = {
    "cut": "cuts",
    "sound": "wants_sound",
    "size": "size",
    "rate": "rate",
    "length": "length",
}


def thresholds(clip: Clip, profile: Profile) -> Thresholds | None:
    """Return the thresholds for checks of a clip; None where its checks are off."""
    if clip.get("checks.all") is False:
        return None
    values: dict[str, Any] = {}
    for fields, read in ((SECONDS, _seconds), (NUMBERS, float), (SWITCHES, bool)):
        for name, field in fields.items():
            value = clip.get(f"checks.{name}", True)
            value = profile.checks.get(name, True) if value is True else value
            if value is not True:
                values[field] = None if value is False and fields is not SWITCHES else read(value)
    return Thresholds(**values)


def _seconds(text: str) -> float:
    return float(str(text).removesuffix("s"))


def without_ignored(project: Project, problems: Iterable[Problem]) -> list[Problem]:
    """Return problems without the warnings and advice that the film, a scene or a clip ignores.

    A problem of several clips is left out where all of them ignore it, one of the film where all of its clips do.
    """
    of_film = project.settings.get("ignore")
    by_film = frozenset((of_film.value or ()) if of_film else ())
    by_name: dict[str, list[Clip]] = {}  # a clip by its path, those of a scene by its id
    for clip in project.clips:
        by_name.setdefault(clip.path, []).append(clip)
        by_name.setdefault(clip.scene, []).append(clip)

    def is_ignored(problem: Problem) -> bool:
        if problem.level == "error" or not problem.code:
            return False
        if problem.code in by_film:
            return True
        about = [clip for name in problem.of for clip in by_name.get(name, ())] if problem.of else project.clips
        return bool(about) and all(ignores(clip, problem.code) for clip in about)

    return [problem for problem in problems if not is_ignored(problem)]


def ignores(clip: Clip, code: str) -> bool:
    """Return whether a clip, its scene or its film ignores a rule."""
    return code in (clip.get("ignore") or ())


AUTO = "auto"


def weights_of(project: Project) -> dict[str, str]:
    """Return role → precision: the film's, else the result of `auto`, else the profile's first choice."""
    profile: Profile = project.profile
    chosen: Mapping[str, str] = project.choices.get("weights", {})
    weights = {}
    for role, model in profile.models.items():
        requested = requested_precision(project, role)
        recorded = chosen.get(role, "")
        precision = (
            model.precision(requested) if requested else recorded if recorded in model.weights else model.order[0]
        )
        if precision is None:
            span, known = project.settings["weights"].span, ", ".join(model.order)
            raise LtxflowError(problem("L082", span, precision=requested, role=role, profile=profile.name, known=known))
        weights[role] = precision
    return weights


def requested_precision(project: Project, role: str) -> str:
    """Return the precision that the film requests for a role; "" for `auto`.

    One precision for all applies to every role with a choice of precisions; to a role whose files differ otherwise (two
    LoRAs) only if it has that one.
    """
    written: Any = project.settings["weights"].value
    profile: Profile = project.profile
    if not isinstance(written, Mapping):
        is_choice = role in profile.default_weights or str(written) in profile.models[role].weights
        return "" if written == AUTO or not is_choice else str(written)
    entry = written.get(role, AUTO)
    precision = entry.get("precision", AUTO) if isinstance(entry, Mapping) else entry
    return "" if precision == AUTO else str(precision)


def pins_of(project: Project) -> dict[str, str]:
    """Return model role → sha256 of its file, where the film pins one."""
    written: Any = project.settings["weights"].value
    if not isinstance(written, Mapping):
        return {}
    pinned = {role: entry for role, entry in written.items() if isinstance(entry, Mapping) and "sha256" in entry}
    return {role: str(entry["sha256"]) for role, entry in pinned.items()}


def undecided(project: Project) -> dict[str, tuple[str, ...]]:
    """Return model role → its precisions in order, for the roles whose `auto` is not decided yet."""
    profile: Profile = project.profile
    chosen: Mapping[str, str] = project.choices.get("weights", {})
    return {
        role: model.order
        for role, model in profile.models.items()
        if len(model.weights) > 1 and not requested_precision(project, role) and chosen.get(role) not in model.weights
    }


class Layers:
    """The settings of a film's clips. Shared layers are resolved once; a clip's values override them.

    `film` are the layers of every clip, weakest first: the profile's, then the film's. The quality of a clip goes
    between. `choices` are the results of `auto`; `open` collects settings that are `auto` and not among them, for which
    the profile's first choice is used.
    """

    def __init__(
        self, reader: Reader, profile: Profile, command_line: Mapping[str, Any], choices: Mapping[str, Any] = EMPTY
    ) -> None:
        self._reader, self._profile, self._choices = reader, profile, choices
        self.open: set[str] = set()
        self._top = Layer("command line", command_line)
        self._below: dict[Any, dict[str, Value]] = {}
        self._alive: list[Layer] = []  # keeps layers alive: `_below` has their ids as keys
        self.film = self._of_film(reader.document.data)

    def _of_film(self, data: Mapping[str, Any]) -> list[Layer]:
        defaults = dict((data.get("defaults") or {}).get("clip") or {})
        film: list[Layer] = []
        shared = [name for name in ("quality", "look", "ignore") if name in data]
        if shared:
            spans = {name: self._reader.span((name,)) for name in shared}
            film.append(Layer("project", {name: data[name] for name in shared}, spans))
        film.append(self.of("defaults.clip", defaults, ("defaults", "clip")))
        return [Layer(f"profile {self._profile.name}", self._profile.clip_defaults), *film]

    def of(self, origin: str, written: Mapping[str, Any], path: KeyPath) -> Layer:
        """Return the settings written at `path` as a layer, each with its place."""
        flat = flatten(written)
        return Layer(
            origin,
            {name: value for name, (value, _) in flat.items()},
            {name: self._reader.span((*path, *where)) for name, (_, where) in flat.items()},
        )

    def settings(self, shared: Sequence[Layer], own: Layer, path: KeyPath) -> dict[str, Value]:
        """Resolve a clip's settings from shared layers and its `own`.

        The parts of its quality go between the profile and the film's settings.
        """
        profile, below = self._profile, self._resolved(shared, None)
        layers = (self._top, own)
        quality = next((each.value("quality") for each in layers if "quality" in each.values), below.get("quality"))
        assert quality is not None  # the profile has one
        quality = self._decided(quality)
        preset = profile.qualities.get(str(quality.value))
        if preset is None:
            self._reader.problems.append(self._unknown(quality, path))
            preset = profile.qualities[profile.default_quality]
        parts = {name: getattr(preset, name) for name in QUALITY_PARTS}
        named = Layer(f"quality {preset.name}", parts)
        if quality.origin == "command line":  # requested as a whole: it overrides as a whole
            resolved = resolve([own, named, self._top], below)
        else:
            resolved = resolve([own, self._top], self._resolved(shared, named))
        resolved["quality"] = quality
        if resolved["stages"].value == AUTO:
            resolved["stages"] = replace(resolved["stages"], value=self._stages(preset))
        return resolved

    def written(self, shared: Sequence[Layer], own: Layer) -> dict[str, Value]:
        """Return a clip's quality as the film has it, and the parts of a quality that the film writes itself."""
        below = self._resolved(shared, None)
        names = [name for name in ("quality", *QUALITY_PARTS) if name in own.values or name in below]
        found = {name: own.value(name) if name in own.values else below[name] for name in names}
        return {name: each for name, each in found.items() if name == "quality" or each.origin != self.film[0].origin}

    def _decided(self, quality: Value) -> Value:
        if quality.value != AUTO:
            return quality
        chosen = self._choices.get("quality")
        if chosen not in self._profile.qualities:
            self.open.add("quality")
            chosen = self._profile.default_quality
        return replace(quality, value=chosen)

    def _stages(self, preset: Quality) -> int:
        """Return the result of `stages: auto`: two where possible; for a stand-in those of its quality."""
        if preset.stand_in:
            return preset.stages
        if self._choices.get("stages") not in (1, 2):
            self.open.add("stages")
            return 2
        return int(self._choices["stages"])

    def _unknown(self, quality: Value, path: KeyPath) -> Problem:
        near = difflib.get_close_matches(str(quality.value), self._profile.qualities, n=1)
        hint = f'did you mean "{near[0]}"? ' if near else ""
        hint += f"choose one of {', '.join(self._profile.qualities)}"
        return problem("L042", quality.span or self._reader.span(path), hint=hint, quality=quality.value)

    def _resolved(self, layers: Sequence[Layer], named: Layer | None) -> dict[str, Value]:
        """Resolve the layers that clips share; that of a quality comes after the profile's."""
        written = [layer for layer in layers if layer.values]
        key = (*map(id, written), named.origin if named else "")
        if key not in self._below:
            self._below[key] = resolve([written[0], *([named] if named else []), *written[1:]])
            self._alive += written
        return self._below[key]


def film_quality(project: Project, clip: Clip) -> str:
    """Return the quality that the film asks for, whatever the command line does."""
    profile: Profile = project.profile
    name = str(clip.written["quality"].value) if "quality" in clip.written else profile.default_quality
    if name == AUTO:
        name = str(project.choices.get("quality", ""))
    return name if name in profile.qualities else profile.default_quality


def in_quality(project: Project, clip: Clip, name: str) -> tuple[Clip, ...]:
    """Return a clip as it is in a quality: where the film asks for that, and where the command line does.

    The two differ where the film itself writes what a quality sets: a quality of the command line overrides as a whole.
    """
    profile: Profile = project.profile
    preset = profile.qualities[name]
    parts = {part: Value(getattr(preset, part), f"quality {name}") for part in QUALITY_PARTS}
    given = {part: each for part in QUALITY_PARTS if (each := clip.settings[part]).origin == "command line"}
    film = {part: each for part, each in clip.written.items() if part != "quality"}
    ways = [{**parts, **film, **given}, {**parts, **given}]
    found: dict[tuple[Any, ...], Clip] = {}
    for way in ways:
        way["stages"] = _stages(project, preset, clip, way["stages"])
        settings = {**clip.settings, **way, "quality": Value(name, f"quality {name}", clip.settings["quality"].span)}
        values = tuple(way[part].value for part in QUALITY_PARTS)
        found.setdefault(values, replace(clip, settings=MappingProxyType(settings)))
    return tuple(found.values())


def _stages(project: Project, preset: Quality, clip: Clip, stages: Value) -> Value:
    """Return the stages of a clip in a quality: `auto` decided, and what the quality has for clips made this way."""
    if stages.value == AUTO:
        chosen = project.choices.get("stages")
        stages = replace(stages, value=preset.stages if preset.stand_in else chosen if chosen in (1, 2) else 2)
    count = preset.stages_for.get(str(clip.get("template", clip.way)))
    return replace(stages, value=count) if count is not None and stages.origin.startswith("quality ") else stages


# Settings that are mappings in the file and resolve leaf by leaf, so that `defaults.clip.reference.strength`
# applies to a clip that names only an image. A bare value sets the first leaf.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "reference": ("image", "base", "angle", "frame_of", "strength", "compression", "fit", "focus"),
    "last_frame": ("image", "base", "angle", "frame_of", "strength", "compression", "fit", "focus"),
    "control": ("lora", "video", "strength", "mode", "preprocess"),
    "extends": ("clip", "file", "frames", "audio"),
    "checks": (
        *("all", "frozen", "black", "motion", "cut", "sound", "silent", "silence", "clipped", "sync"),
        *("duplicate", "size", "rate", "length"),
    ),
}
PLAIN = (
    "quality",
    "look",
    "negative",
    "seed",
    "length",
    "steps",
    "cfg",
    "stages",
    "loras",
    "temporal_upscale",
    "keyframes",
    "takes",
    "seeds",
    "reseed",
    "template",
    "sound",
    "gain",
    "ignore",
)
# Alternatives: one of them in a stronger layer removes the others of weaker layers.
_WAYS: Mapping[str, tuple[str, ...]] = {
    f"{group}.{way}": tuple(f"{group}.{other}" for other in ("image", "base", "angle", "frame_of") if other != way)
    for group in ("reference", "last_frame")
    for way in ("image", "base", "frame_of")
}
QUALITY_PARTS = ("steps", "cfg", "stages")
NAMES = frozenset(PLAIN) | {f"{group}.{leaf}" for group, leaves in GROUPS.items() for leaf in leaves}


@dataclass(frozen=True)
class Layer:
    """One source of settings: dotted name → value, with the origin and the place of each."""

    origin: str
    values: Mapping[str, Any]
    spans: Mapping[str, Span] | None = None

    def value(self, name: str) -> Value:
        return Value(self.values[name], self.origin, (self.spans or {}).get(name))


def flatten(written: Mapping[str, Any]) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Flatten a mapping to dotted name → (value, path in the mapping), leaving out keys that are not settings."""
    flat: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for name, value in written.items():
        if name in PLAIN:
            flat[name] = (value, (name,))
        elif name in GROUPS:
            first = GROUPS[name][0]
            if isinstance(value, Mapping):
                for leaf, leaf_value in value.items():
                    flat[f"{name}.{leaf}"] = (leaf_value, (name, leaf))
            else:  # a bare name, or null to remove a default
                flat[f"{name}.{first}"] = (value, (name,))
    return flat


def resolve(layers: Iterable[Layer], below: Mapping[str, Value] = MappingProxyType({})) -> dict[str, Value]:
    """Resolve layers, given from the weakest to the strongest, to one value a name.

    `below` is the result of weaker layers. Lists of `ignore` add up. `seed` and `seeds` are alternatives: either in a
    stronger layer overrides both of weaker ones.
    """
    resolved = dict(below)
    for layer in layers:
        if "seed" in layer.values or "seeds" in layer.values:
            resolved = {name: value for name, value in resolved.items() if name not in ("seed", "seeds")}
        for name in layer.values:
            for other in _WAYS.get(name, ()):
                resolved.pop(other, None)
        for name in layer.values:
            resolved[name] = _joined(resolved.get(name), layer.value(name)) if name == "ignore" else layer.value(name)
    return resolved


def _joined(below: Value | None, above: Value) -> Value:
    """Add up `ignore` of two layers; an empty list removes that of weaker layers."""
    if below is None or not below.value or not above.value:
        return above
    return replace(above, value=[*dict.fromkeys([*below.value, *above.value])])
