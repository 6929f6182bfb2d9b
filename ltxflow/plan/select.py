"""Selectors: what one types to name clips. `hook`, `hook/b@2`, globs, `tag:night`, and `!` to leave out. Pure.

The clips of `changed:REF` are passed in, since git knows them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.steps import Node

TAG, CHANGED = "tag:", "changed:"
Groups = Mapping[str, frozenset[str]]
NO_GROUPS: Groups = {}


def select(nodes: Sequence[Node], patterns: Sequence[str], groups: Groups = NO_GROUPS) -> list[str]:
    """Return the targets they name, in film order; all without selectors.

    Only exclusions (`!outro`) mean all clips but those. References are named as such (`reference:hero`); what a clip
    needs comes with it anyway. `groups` has the paths of clips for each `changed:REF`, which may be none. Raise
    LtxflowError for any other selector that names nothing.
    """
    nodes = [node for node in nodes if node.kind != "frame"]
    if not patterns:
        return [node.target for node in nodes]
    included = [p for p in patterns if not p.startswith("!")]
    excluded = [p[1:] for p in patterns if p.startswith("!")]
    problems = [
        _unknown(p, nodes)
        for p in (*included, *excluded)
        if p not in groups and not any(matches(node, p) for node in nodes)
    ]
    if problems:
        raise LtxflowError(*problems)

    def named(node: Node, pattern: str) -> bool:
        return node.clip in groups[pattern] if pattern in groups else matches(node, pattern)

    return [
        node.target
        for node in nodes
        if (not included or any(named(node, p) for p in included)) and not any(named(node, p) for p in excluded)
    ]


def revisions(patterns: Sequence[str]) -> dict[str, str]:
    """Return those that ask for what changed since a git revision, with that revision."""
    plain = [pattern.removeprefix("!") for pattern in patterns]
    return {pattern: pattern.removeprefix(CHANGED) for pattern in plain if pattern.startswith(CHANGED)}


def matches(node: Node, pattern: str) -> bool:
    """Return whether it names the node."""
    if pattern.startswith(TAG):
        return any(fnmatchcase(tag, pattern.removeprefix(TAG)) for tag in tags(node))
    kind, colon, rest = pattern.partition(":")
    is_reference = bool(colon) and kind == "reference"
    if is_reference != (node.kind == "reference"):
        return False
    pattern = rest if is_reference or (colon and kind in ("clip", "slate")) else pattern
    pattern, _, take = pattern.partition("@")
    if take and take != str(node.take):
        return False
    scene = node.clip.partition("/")[0]
    is_scene = not is_reference and "/" not in pattern and fnmatchcase(scene, pattern)
    return is_scene or fnmatchcase(node.clip, pattern)


def tags(node: Node) -> tuple[str, ...]:
    clip = getattr(node.spec, "clip", None)
    return clip.tags if clip is not None else ()


def _unknown(pattern: str, nodes: Sequence[Node]) -> Problem:
    if pattern.startswith(TAG):
        known = sorted({tag for node in nodes for tag in tags(node)})
        near = difflib.get_close_matches(pattern.removeprefix(TAG), known, n=1)
        hint = f'did you mean "{TAG}{near[0]}"?' if near else f"tags: {', '.join(known) or 'none; write tags: [night]'}"
        return problem("U010.tag", tag=pattern.removeprefix(TAG), hint=hint)
    names = [node.entry for node in nodes]
    scenes = [name.partition("/")[0] for name in names if ":" not in name]
    near = difflib.get_close_matches(pattern.partition("@")[0], [*dict.fromkeys(scenes), *names], n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"scenes: {', '.join(dict.fromkeys(scenes))}"
    return problem("U010.selector", selector=pattern, hint=hint)
