"""Layers of settings: profile < quality < defaults < scene < clip < command line. Pure; knows no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from ltxflow.core.errors import Span
from ltxflow.script.model import Value

# Settings that are mappings in the file and resolve leaf by leaf, so that `defaults.clip.reference.strength`
# holds for a clip that names only an image. The first leaf is what a bare value means.
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
# Ways to say the same: a stronger layer's one puts away what weaker layers said in another way.
_WAYS: Mapping[str, tuple[str, ...]] = {
    f"{group}.{way}": tuple(f"{group}.{other}" for other in ("image", "base", "angle", "frame_of") if other != way)
    for group in ("reference", "last_frame")
    for way in ("image", "base", "frame_of")
}
QUALITY_PARTS = ("steps", "cfg", "stages")
NAMES = frozenset(PLAIN) | {f"{group}.{leaf}" for group, leaves in GROUPS.items() for leaf in leaves}


@dataclass(frozen=True)
class Layer:
    """One source of settings: dotted name → value, who said so, and where each was written."""

    origin: str
    values: Mapping[str, Any]
    spans: Mapping[str, Span] | None = None

    def value(self, name: str) -> Value:
        return Value(self.values[name], self.origin, (self.spans or {}).get(name))


def flatten(written: Mapping[str, Any]) -> dict[str, tuple[Any, tuple[str, ...]]]:
    """Given a mapping as written, return dotted name → (value, path in the mapping). Other keys are left out."""
    flat: dict[str, tuple[Any, tuple[str, ...]]] = {}
    for name, value in written.items():
        if name in PLAIN:
            flat[name] = (value, (name,))
        elif name in GROUPS:
            first = GROUPS[name][0]
            if isinstance(value, Mapping):
                for leaf, leaf_value in value.items():
                    flat[f"{name}.{leaf}"] = (leaf_value, (name, leaf))
            else:  # a bare name, or null to take away what a default gave
                flat[f"{name}.{first}"] = (value, (name,))
    return flat


def resolve(layers: Iterable[Layer], below: Mapping[str, Value] = MappingProxyType({})) -> dict[str, Value]:
    """Given layers from the weakest to the strongest, return every name with the last one's word on it.

    `below` is what still weaker ones come to. What they `ignore` adds up. `seed` and `seeds` are two ways to say one
    thing: whichever a stronger layer has is all that counts.
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
    """What layers silence adds up; an empty list takes away what weaker ones gave."""
    if below is None or not below.value or not above.value:
        return above
    return replace(above, value=[*dict.fromkeys([*below.value, *above.value])])
