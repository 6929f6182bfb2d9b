"""Selectors: what one types to name clips. `hook`, `hook/b`, `hook/b@2`, globs, and `!` to leave out. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from fnmatch import fnmatchcase

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.steps import Node


def select(nodes: Sequence[Node], patterns: Sequence[str]) -> list[str]:
    """Given the nodes of a film and selectors, return the targets they name, in film order; all without selectors.

    Only exclusions (`!outro`) mean all clips but those. References are named as such (`reference:hero`); what a clip
    needs comes with it anyway. Raise LtxflowError for a selector that names nothing.
    """
    nodes = [node for node in nodes if node.kind != "frame"]
    if not patterns:
        return [node.target for node in nodes]
    included = [p for p in patterns if not p.startswith("!")]
    excluded = [p[1:] for p in patterns if p.startswith("!")]
    problems = [_unknown(p, nodes) for p in (*included, *excluded) if not any(matches(node, p) for node in nodes)]
    if problems:
        raise LtxflowError(*problems)
    return [
        node.target
        for node in nodes
        if (not included or any(matches(node, p) for p in included)) and not any(matches(node, p) for p in excluded)
    ]


def matches(node: Node, pattern: str) -> bool:
    """Given a node and one selector without `!`, return whether it names the node."""
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


def _unknown(pattern: str, nodes: Sequence[Node]) -> Problem:
    names = [node.entry for node in nodes]
    scenes = [name.partition("/")[0] for name in names if ":" not in name]
    near = difflib.get_close_matches(pattern.partition("@")[0], [*dict.fromkeys(scenes), *names], n=1)
    hint = f'did you mean "{near[0]}"?' if near else f"scenes: {', '.join(dict.fromkeys(scenes))}"
    return Problem(f'"{pattern}" names no clip of this film', hint=hint, code="U010")
