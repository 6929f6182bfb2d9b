"""What a film, its defaults, a scene and a clip say of a clip's settings, laid over each other. Reads no file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from ltxflow.core.errors import Problem
from ltxflow.script.model import Value
from ltxflow.script.profile import Profile
from ltxflow.script.reader import Path_, Reader
from ltxflow.script.settings import QUALITY_PARTS, Layer, flatten, resolve

RULES = {"L042": "a quality is one of the profile's"}


def layer_of(reader: Reader, origin: str, written: Mapping[str, Any], path: Path_) -> Layer:
    """Given what is written at `path`, return it as a layer: every setting in it, with its place."""
    flat = flatten(written)
    return Layer(
        origin,
        {name: value for name, (value, _) in flat.items()},
        {name: reader.span((*path, *where)) for name, (_, where) in flat.items()},
    )


def film_layers(reader: Reader, data: Mapping[str, Any], profile: Profile) -> list[Layer]:
    """Given the film, return the layers that every clip shares, weakest first: the profile's, then the film's.

    Quality goes between, by clip.
    """
    defaults = dict((data.get("defaults") or {}).get("clip") or {})
    film: list[Layer] = []
    shared = [name for name in ("quality", "look") if name in data]
    if shared:
        film.append(
            Layer("project", {name: data[name] for name in shared}, {name: reader.span((name,)) for name in shared})
        )
    film.append(layer_of(reader, "defaults.clip", defaults, ("defaults", "clip")))
    return [Layer(f"profile {profile.name}", profile.clip_defaults), *film]


def settings_of(
    reader: Reader, profile: Profile, layers: Sequence[Layer], command_line: Mapping[str, Any], path: Path_
) -> dict[str, Value]:
    """Given the layers of a clip, its own last, return its settings: the quality's parts stand between the profile and
    what the film says."""
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


def _below(reader: Reader, layers: Sequence[Layer], named: Layer | None) -> dict[str, Value]:
    """The layers that clips share, resolved; those of a quality come after the profile's. One scene after the other."""
    written = [layer for layer in layers if layer.values]
    key = (*map(id, written), named.origin if named else "")
    if key not in reader.below:
        reader.below[key] = resolve([written[0], *([named] if named else []), *written[1:]])
        reader.shared += written  # alive, so that no other layer gets its id
    return reader.below[key]
