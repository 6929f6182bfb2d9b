"""Rules of the decisions about takes, and of the comparison of a film with its lock."""

from __future__ import annotations

from collections.abc import Mapping

from ltxflow.messages import Rule, Text, rule

_RENDER = "render it, and commit ltxflow.lock: ltxflow build"

RULES: Mapping[str, Rule] = {
    "K001": rule(
        "ltxflow.lock has the current take of every clip (check --locked)",
        empty=Text("no clip of this film is in ltxflow.lock", _RENDER),
        missing=Text("{clip} is not in ltxflow.lock", f"{_RENDER} {{clip}}"),
        blocked=Text("{clip} differs from ltxflow.lock: it {cause}", f"{_RENDER} {{clip}}"),
        differs=Text("{clip} differs from ltxflow.lock: {what}", f"{_RENDER} {{clip}}"),
    ),
    "K101": rule(
        "ltxflow.lock can be read when a build saves it",
        "{file} changed on disk during the build and is unreadable: {cause}",
        "{fix}; the next build records what is in the store",
        level="warning",
    ),
    "U030": rule(
        "a decision is about a take in ltxflow.lock",
        "{clip} has no take {take} yet",
        "render it: ltxflow {command}",
    ),
    "U031": rule(
        "the files of an accepted take are in the store",
        accept=Text(
            "the files of {clip}@{take} ({digest}…) are not in this store",
            "copy them from the store where it was rendered (LTXFLOW_STORE), or pin a file in its place",
        ),
    ),
    "U033": rule(
        "a retake with a reason does not end an approval",
        "take {take} of {clip} is {status}; a reason would reject it",
        'leave the reason out, or reject it first: ltxflow reject {clip} "{reason}"',
    ),
    "U037": rule(
        "an accepted clip has a key",
        "{clip} {cause}",
        "build that first",
    ),
    "U038": rule(
        "a pinned file has the size and frame rate of the film",
        '"{file}" has {wrong}',
        "convert it, then pin it again",
    ),
    "U039": rule(
        "a pinned file fits the film without a loss",
        "{name}: {note}",
        "no action needed: it was fitted; pin a file of the film's size and rate to avoid it",
        level="advice",
    ),
}
