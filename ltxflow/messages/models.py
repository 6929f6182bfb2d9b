"""Messages of ltxflow/models: profiles and sizes."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

RULES: Mapping[str, Rule] = {
    "F001": rule("a profile exists", 'unknown profile "{name}"'),
    "F002": rule(
        "the values of a profile agree with each other",
        name=Text('the profile is named "{name}" but its folder "{folder}"', "give both the same name"),
        model=Text('no model "{role}"'),
        weights=Text('no "{precision}" weights of the {role}'),
        quality=Text('no quality "{quality}"'),
        sigmas=Text("{steps} steps need {count} sigmas"),
        grid=Text("{size} is not on the grid of {side}"),
        twice=Text("{size} is not twice the base"),
        crop=Text("{size} is larger than the upscaled picture"),
    ),
    "F003": rule(
        "a profile extends one that exists, and none extends itself",
        missing=Text('profile "{name}" extends "{base}", which does not exist'),
        cycle=Text("profiles extend each other in a cycle: {cycle}", "remove extends from one of them"),
    ),
    "F010": rule(
        "an aspect is one of the profile's",
        unknown=Text('unknown aspect "{text}"'),
        neither=Text('"{text}" is neither an aspect nor a size'),
    ),
    "F011": rule(
        "a size is one the model makes",
        odd=Text("size {size} has an odd side, and h264 needs even ones", "write {nearest}, the nearest size"),
        small=Text("size {size} is smaller than {least} px", "write {nearest}, the nearest size"),
        large=Text("size {size} is larger than {most}, the most {model} makes", "write {nearest}, the nearest size"),
    ),
}
