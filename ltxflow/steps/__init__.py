"""One module per kind of step: what it needs, its action, how it runs. Siblings never import each other."""

from __future__ import annotations

import importlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from ltxflow.core.digest import Action, Key, Output
from ltxflow.core.errors import Span
from ltxflow.script.model import Clip, Project

KINDS = ("clip", "slate")


@dataclass(frozen=True)
class Node:
    """A vertex of the plan: a target, the kind of step that makes it, and what it needs.

    `needs` maps an input's name to the target and output that fill it, as "clip:hook/a@1#last_frame".
    """

    target: str
    kind: str
    spec: Any
    frames: int
    needs: Mapping[str, str] = field(default_factory=dict)
    span: Span | None = None

    @property
    def clip(self) -> str:
        """`clip:hook/b@1` → `hook/b`"""
        return self.target.partition(":")[2].partition("@")[0]

    @property
    def take(self) -> int:
        return int(self.target.rpartition("@")[2])


@dataclass(frozen=True)
class Wishes:
    """What a project leaves open and the lock or the solver decides: lengths (frames) by clip path, and seeds."""

    lengths: Mapping[str, int]
    seed: Callable[[Clip, int], int]


@dataclass
class Job:
    """The effects an action may have while it runs: where its inputs are, where it puts what it made, who to tell.

    `out` maps an output's name to a file in `folder`, with its facts in `facts`; both are the caller's to keep.
    """

    target: str
    key: Key
    folder: Path
    inputs: Mapping[str, Path]
    progress: Callable[[float, str], None]
    started: Callable[[str], None] = lambda where: None  # told where it runs, once it really does
    out: dict[str, Path] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    server: str = ""


class Step(Protocol):
    """What a module in steps/ provides."""

    KIND: str
    VERSION: str
    POOL: str  # "gpu" | "cpu"
    SOURCE: str  # what the timeline calls its work: "comfyui" | "animatic"

    def nodes(self, project: Project, wishes: Wishes) -> Iterator[Node]:
        """Given a film and its lengths and seeds, yield a node for everything of this kind. Pure."""

    def action(self, node: Node, inputs: Mapping[str, Output]) -> Action:
        """Given a node and the outputs it needs, return all that determines its result. Pure."""

    def fields(self, node: Node) -> dict[str, Any]:
        """Given a node, return the author's values that reach its action, by dotted name, for explain. Pure."""

    def where(self, node: Node, name: str) -> Span | None:
        """Given a node and the name of a field, return where its value is written."""

    def run(self, node: Node, action: Action, job: Job) -> Awaitable[None]:
        """Make it: fill job.out and job.facts."""


def step(kind: str) -> Step:
    """Given a kind, return its module, loaded on first use."""
    return cast(Step, importlib.import_module(f"ltxflow.steps.{kind}"))
