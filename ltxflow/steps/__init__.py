"""One module per kind of step: what it needs, its action, how it runs. Siblings never import each other."""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ltxflow.core.digest import Action, Digest, Key, Output
from ltxflow.core.errors import Problem, Span
from ltxflow.project.model import Clip, FrameOf, Image, Media, Picture, Project, Scene, Still, Value
from ltxflow.project.prompt import PARTS

if TYPE_CHECKING:
    from ltxflow.comfy.signatures import Signatures
    from ltxflow.models.profile import Profile
    from ltxflow.workflow.template import Template

WEIGHT_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")
KINDS = ("reference", "frame", "clip", "slate", "line", "narration", "inspect")


@dataclass(frozen=True)
class Node:
    """A vertex of the plan: a target, the kind of step that makes it, and what it needs.

    `needs` maps an input's name to the target and output that fill it, as "clip:hook/a@1#last_frame"; the first of
    several outputs that is there: "clip:hook/a@1#uncropped|video". `pool` is where it runs, if not where its kind does.
    """

    target: str
    kind: str
    spec: Any
    frames: int
    needs: Mapping[str, str] = field(default_factory=dict)
    span: Span | None = None
    pool: str = ""

    @property
    def clip(self) -> str:
        """`clip:hook/b@1` → `hook/b`"""
        return self.target.partition(":")[2].partition("@")[0]

    @property
    def entry(self) -> str:
        """How the lock calls what it is a take of: `hook/b`, `reference:hero`."""
        return self.target.rpartition("@")[0] if self.kind == "reference" else self.clip

    @property
    def take(self) -> int:
        return int(self.target.rpartition("@")[2])


@dataclass(frozen=True)
class ResolvedInputs:
    """What a project leaves open and the lock or the solver decides.

    The frames each clip delivers, by its path; seeds; which take of a clip or of a reference is picked, for what is
    made from it; and which takes are asked for beside those of the film.
    """

    lengths: Mapping[str, int]
    seed: Callable[[Clip | Still, int], int]
    pick: Callable[[Clip | Still], int] = lambda clip: 1
    also: Callable[[Clip | Still], frozenset[int]] = lambda clip: frozenset()


@dataclass
class ActionContext:
    """The effects an action may have while it runs: where its inputs are, where it puts what it made, who to tell.

    `out` maps an output's name to a file in `folder`, with its facts in `facts`; both are the caller's to keep. What
    came over a network has in `digests` the digest of the bytes that came. Where `looks`, the video that is published
    will be inspected: who decodes it anyway leaves in `found` what was found.
    """

    target: str
    key: Key
    folder: Path
    inputs: Mapping[str, Path]
    progress: Callable[[float, str], None]
    started: Callable[[str], None] = lambda where: None  # told where it runs, once it really does
    waits: Callable[[str, int], None] = lambda where, ahead: None  # where it waits, behind how many jobs
    looks: bool = False
    found: dict[str, Any] | None = None
    out: dict[str, Path] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    digests: dict[str, Digest] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    server: str = ""
    is_resumed: bool = False  # an earlier run started what came


@dataclass(frozen=True)
class Asset:
    """A file that a server must have before a graph can run there: a picture, a video, or an input of the action.

    `role` is what the author calls it: reference, last_frame, control, extends.
    """

    name: str
    recipe: dict[str, Any]
    role: str
    image: Image | None = None
    video: Media | None = None
    input: str = ""  # of the action: where it is, only the job knows


@dataclass(frozen=True)
class Expected:
    """What a file that comes back must be; None where the workflow is not ours to predict.

    `sound_s` is the shortest sound that comes by design: mostly a little less than the picture.
    """

    frames: int | None
    fps: int | None
    size: tuple[int, int] | None
    sound_s: float | None = None


class RenderSpec(Protocol):
    """What the spec of a node is that a ComfyUI server makes: a graph, what it reads, and what must come back."""

    @property
    def path(self) -> str: ...  # as people call it: `hook/b`, `reference:hero`

    @property
    def span(self) -> Span | None: ...

    @property
    def text(self) -> str: ...  # the prompt: what a server has read, it need not read again

    @property
    def profile(self) -> Profile: ...

    @property
    def template(self) -> Template: ...

    @property
    def weights(self) -> Mapping[str, str]: ...  # model role → precision

    @property
    def loras(self) -> list[tuple[str, Span | None]]: ...

    @property
    def loads(self) -> str: ...  # what a server has in its memory for it: such follow each other without loading

    def roles(self, action: Action | None = None) -> list[str]: ...  # of models; an action made of it knows them

    def assets(self) -> list[Asset]: ...

    def graph(self, models: Mapping[str, str], loras: Mapping[str, str], prefix: str) -> dict[str, Any]: ...

    def strays(
        self, graph: Mapping[str, Any], signatures: Signatures | None = None, also: Iterable[str] = ()
    ) -> list[Problem]: ...

    def outputs(self, graph: Mapping[str, Any]) -> dict[str, str]: ...

    def expected(self, output: str) -> Expected: ...


class Step(Protocol):
    """What a module in steps/ provides."""

    KIND: str
    VERSION: str
    POOL: str  # "gpu" | "cpu"
    SOURCE: str  # what the timeline calls its work: "comfyui" | "animatic"

    def nodes(self, project: Project, wishes: ResolvedInputs) -> Iterator[Node]:
        """Given a film and its lengths and seeds, yield a node for everything of this kind. Pure."""

    def action(self, node: Node, inputs: Mapping[str, Output]) -> Action:
        """Given a node and the outputs it needs, return all that determines its result. Pure."""

    def fields(self, node: Node) -> dict[str, Any]:
        """Given a node, return the author's values that reach its action, by dotted name, for explain. Pure.

        Exact: a value that has no effect is not there. What may be absent, such as a reference, is None then;
        what only matters beside it, such as its strength, is left out. A mapping has under "is" what the value
        is called, and parts that tell what it comes to; "follows" holds what a derived value was made from.
        """

    def where(self, node: Node, name: str) -> Span | None:
        """Given a node and the name of a field, return where its value is written."""

    def run(self, node: Node, action: Action, job: ActionContext) -> Awaitable[None]:
        """Make it: fill job.out and job.facts."""


@functools.cache
def step(kind: str) -> Step:
    """Given a kind, return its module, loaded on first use."""
    return cast(Step, importlib.import_module(f"ltxflow.steps.{kind}"))


def made_by(node: Node, action: Action) -> str:
    """Return the title of the model that makes this, "" of no model."""
    module = step(node.kind)
    return str(module.made_by(node, action)) if hasattr(module, "made_by") else ""


def model_named(profile: Profile, action: Action, version: str) -> str:
    """Return the title of the model of an action whose `version` says that its graph names files of it.

    Of any other graph, which names its files itself, return those.
    """
    if action.version == version:
        return profile.title
    nodes = action.body.get("graph", {}).get("nodes", ())
    inputs = (value for node in nodes if "Lora" not in node["class"] for value in node["inputs"].values())
    files = {re.split(r"[/\\]", value)[-1] for value in inputs if isinstance(value, str)}
    return ", ".join(sorted(file for file in files if file.lower().endswith(WEIGHT_FILES)))


def pool_of(node: Node) -> str:
    """Given a node, return the pool that it runs in."""
    return node.pool or step(node.kind).POOL


def bound(node: Node, inputs: Mapping[str, Output]) -> Node:
    """Given a node and the outputs it needs, return the node that knows them, for kinds that tell more by that."""
    module = step(node.kind)
    return cast(Node, module.bound(node, inputs)) if hasattr(module, "bound") else node


def needed(picture: Picture, pick: Callable[[str], int]) -> str:
    """Given what a clip starts from or ends on, and the picked takes by path, return what it needs for that."""
    if isinstance(picture, FrameOf):
        return f"frame:{picture.clip}/{picture.moment}@{pick(picture.clip)}#image"
    return f"{picture.path}@{pick(picture.path)}#image" if isinstance(picture, Still) else ""


def label(picture: Picture) -> str:
    """Given a picture, return what the project calls it."""
    return picture.path if isinstance(picture, Still) else picture.name


def told_prompt(clip: Clip) -> dict[str, str | None]:
    """Given a clip, return its prompt as fields: every part, None where it has none; and the look it shares."""
    told = {f"prompt.{part}": clip.prompt.parts.get(part) for part in ("text", *PARTS)}
    return {**told, "look": clip.prompt.parts.get("look")}


def told_frames(frames: int, clip: Clip, scene: Scene) -> dict[str, Any]:
    """Given a clip's frames, return them as a field, with what they follow from in the author's words."""
    follows: dict[str, Any] = {"length": clip.length.written}
    if clip.length.frames is None:
        follows |= {
            "narration": f"{float(scene.narration.seconds):g}s",
            "pad.head": f"{float(scene.pad_head):g}s",
            "pad.tail": f"{float(scene.pad_tail):g}s",
            "crossfade": f"{scene.crossfade}f",
            "clips": len(scene.clips),
        }
        if clip.covers:
            follows["covers"] = ", ".join(clip.covers)
    return {"is": frames, "follows": follows}


def told_size(asked: str, size: tuple[int, int]) -> dict[str, Any]:
    """Given a size as it is written, an aspect perhaps, and what that is in px, return it as a field."""
    width, height = size
    return {"is": f"{asked} ({width}x{height})" if ":" in asked else asked, "pixels": [width, height]}


def written(name: str, clip: Clip, scene: Scene, film: Mapping[str, Value]) -> Span | None:
    """Given the name of a field, return where its value is written: at the clip, its scene or the film.

    A value that nobody wrote, or that was taken away, is at the clip's id.
    """
    if name.startswith("prompt"):
        spans = clip.prompt.spans
        return spans.get(name.removeprefix("prompt.")) or next(iter(spans.values()), clip.span)
    if name == "frames":
        name = "narration" if clip.length.frames is None else "length"
    if name == "seed" and clip.get("seeds"):
        name = "seeds"
    if name == "narration":
        return scene.narration.span
    if name == "clips":
        return scene.span
    if name == "length":
        return clip.length.span
    found = (values.get(name) for values in (clip.settings, scene.settings, film))
    return next((value.span for value in found if value and value.span), clip.span)
