"""The kinds of steps, one module or package each: what a step needs, its action, how it runs.

Siblings never import each other. A kind provides everything `Step` names; `USUAL` has the defaults.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ltxflow.core.digest import Action, Digest, Key, Output
from ltxflow.core.errors import Problem, Span
from ltxflow.core.target import Target
from ltxflow.project.model import Clip, FrameOf, Image, Media, Picture, Project, Scene, Still, Value
from ltxflow.project.prompt import PARTS

if TYPE_CHECKING:
    from ltxflow.comfy.signatures import Signatures
    from ltxflow.models.profile import Profile
    from ltxflow.workflow.template import Template

WEIGHT_FILES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")


@dataclass(frozen=True)
class Node:
    """A vertex of the build graph: a target, the kind of step that makes it, and what it needs.

    `needs` maps the name of an input to the target and output that fill it, such as "clip:hook/a@1#last_frame", or to
    the first of several outputs that exists: "clip:hook/a@1#uncropped|video". `pool` overrides the pool of the kind.
    """

    target: Target
    kind: str
    spec: Any
    frames: int
    needs: Mapping[str, str] = field(default_factory=dict)
    span: Span | None = None
    pool: str = ""

    @property
    def clip(self) -> str:
        """`clip:hook/b@1` → `hook/b`"""
        return self.target.path

    @property
    def entry(self) -> str:
        """The lock's name of what this is a take of: `hook/b`, `reference:hero`."""
        return self.target.lock_entry

    @property
    def take(self) -> int:
        return self.target.take


@dataclass(frozen=True)
class ResolvedInputs:
    """The values that a project leaves open, as the lock or the solver decides them.

    `lengths` are the frames that each clip delivers, by path. `seed` gives the seed of a take, `pick` the take in the
    cut, and `also` the takes requested besides those of the film. `only` are the paths of the clips to make, None for
    all.
    """

    lengths: Mapping[str, int]
    seed: Callable[[Clip | Still, int], int]
    pick: Callable[[Clip | Still], int] = lambda clip: 1
    also: Callable[[Clip | Still], frozenset[int]] = lambda clip: frozenset()
    only: Container[str] | None = None

    def includes(self, clip: Clip) -> bool:
        """Return whether a clip is to be made."""
        return self.only is None or clip.path in self.only

    def takes(self, of: Clip | Still) -> list[int]:
        """Return the takes to make: all that are written and the pick; of one with a single take, the pick alone."""
        pick = self.pick(of)
        wanted = {*range(1, of.takes + 1), pick} if of.takes > 1 else {pick}
        return sorted(wanted | self.also(of))


@dataclass
class ActionContext:
    """The effects an action may have while it runs: its inputs, its output folder, its progress.

    `out` maps the name of an output to a file in `folder`, with its facts in `facts`; the caller keeps both. `digests`
    holds the digests of bytes as they came over a network. Where `inspects` is set, code that decodes the published
    video anyway stores its findings in `found`.
    """

    target: Target
    key: Key
    folder: Path
    inputs: Mapping[str, Path]
    progress: Callable[[float, str], None]
    started: Callable[[str], None] = lambda where: None  # called with where it runs, once it really does
    waits: Callable[[str, int], None] = lambda where, ahead: None  # where it waits, behind how many jobs
    inspects: bool = False
    found: dict[str, Any] | None = None
    out: dict[str, Path] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    digests: dict[str, Digest] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    server: str = ""
    is_resumed: bool = False  # an earlier run started it


@dataclass(frozen=True)
class Asset:
    """A file that a server must have before a graph can run: a picture, a video, or an input of the action.

    `role` is the author's word for it: reference, last_frame, control, extends.
    """

    name: str
    recipe: dict[str, Any]
    role: str
    image: Image | None = None
    video: Media | None = None
    input: str = ""  # of the action: only the job knows where it is


@dataclass(frozen=True)
class Expected:
    """The properties that a returned file must have; None where the workflow does not let us predict them.

    `sound_s` is the shortest sound that comes by design, usually a little less than the picture.
    """

    frames: int | None
    fps: int | None
    size: tuple[int, int] | None
    sound_s: float | None = None


class RenderSpec(Protocol):
    """The spec of a node that a ComfyUI server makes: a graph, the files it reads, and what must come back."""

    @property
    def path(self) -> str: ...  # as people call it: `hook/b`, `reference:hero`

    @property
    def span(self) -> Span | None: ...

    @property
    def text(self) -> str: ...  # the prompt: a server that has encoded it need not do so again

    @property
    def profile(self) -> Profile: ...

    @property
    def template(self) -> Template: ...

    @property
    def weights(self) -> Mapping[str, str]: ...  # model role → precision

    @property
    def loras(self) -> list[tuple[str, Span | None]]: ...

    @property
    def model_set(self) -> str: ...  # equal for specs that a server can run in sequence without loading models

    def roles(self, action: Action | None = None) -> list[str]: ...  # of models, known from its action if given

    def assets(self) -> list[Asset]: ...

    def graph(self, models: Mapping[str, str], loras: Mapping[str, str], prefix: str) -> dict[str, Any]: ...

    def unexpected_file_inputs(
        self, graph: Mapping[str, Any], signatures: Signatures | None = None, also: Iterable[str] = ()
    ) -> list[Problem]: ...

    def outputs(self, graph: Mapping[str, Any]) -> dict[str, str]: ...

    def expected(self, output: str) -> Expected: ...


Run = Callable[[Node, Action, ActionContext], Awaitable[None]]


class Step(Protocol):
    """The interface of a kind: what each module or package in steps/ provides. All but `run` and `prerender` is pure.

    A kind takes what it does not define from `USUAL`.
    """

    KIND: str
    VERSION: str
    POOL: str  # "gpu" | "cpu"
    SOURCE: str  # the timeline's word for its work: "comfyui" | "animatic"
    CHANGES: Mapping[str, str]  # version → what it changed, for people whom it costs renders

    def nodes(self, project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
        """Yield a node for everything of this kind in a film."""

    def bind_inputs(self, node: Node, inputs: Mapping[str, Output]) -> Node:
        """Return the node with its made inputs filled in, for kinds that say more once they know them."""

    def action(self, node: Node, inputs: Mapping[str, Output]) -> Action:
        """Return all that determines the result of a node."""

    def memo_key(self, node: Node, inputs: Mapping[str, Output]) -> str:
        """Return a digest of everything the action is made from, cheaper than the action; "" if there is none.

        A change that does not affect the action may change it, such as a comment in a template.
        """

    def is_sandboxed(self, node: Node) -> bool:
        """Return whether making this node's action costs a process."""

    def prerender(self, nodes: Iterable[Node]) -> None:
        """Do the expensive part of the actions of sandboxed nodes in as few processes as possible."""

    def made_by(self, node: Node, action: Action) -> str:
        """Return the title of the model that makes this; "" without a model."""

    def work(self, node: Node) -> float:
        """Return the GPU work of a node in pixels × frames × steps."""

    def fields(self, node: Node) -> dict[str, Any]:
        """Return the author's values that reach the action, by dotted name, for explain.

        Exact: a value that has no effect is left out. An optional thing that is missing, such as a reference, is None,
        and what only matters beside it, such as its strength, is left out. In a mapping, "is" holds the value's name,
        "follows" the values a derived one was made from, and other parts its content.
        """

    def where(self, node: Node, name: str) -> Span | None:
        """Return where the value of a field is written."""

    @property
    def run(self) -> Run | None:
        """The function that makes a node on this machine, filling `job.out` and `job.facts`; None: a server does."""


def _same_node(node: Node, inputs: Mapping[str, Output]) -> Node:
    return node


def _no_memo_key(node: Node, inputs: Mapping[str, Output]) -> str:
    return ""


def _not_sandboxed(node: Node) -> bool:
    return False


def _no_prerender(nodes: Iterable[Node]) -> None:
    """Do nothing: the actions of this kind are cheap."""


def _no_model(node: Node, action: Action) -> str:
    return ""


def _no_work(node: Node) -> float:
    return 0.0


_NO_CHANGES: Mapping[str, str] = {}
# The defaults of a step: CHANGES, bind_inputs, memo_key, is_sandboxed, prerender, made_by, work.
USUAL = (_NO_CHANGES, _same_node, _no_memo_key, _not_sandboxed, _no_prerender, _no_model, _no_work)


@functools.cache
def step(kind: str) -> Step:
    """Return the module of a kind, loaded on first use."""
    return cast(Step, importlib.import_module(f"ltxflow.steps.{kind}"))


def pool_of(node: Node) -> str:
    """Return the pool that a node runs in."""
    return node.pool or step(node.kind).POOL


def model_named(profile: Profile, action: Action, version: str) -> str:
    """Return the title of the model of an action; its `version` states that its graph names files of the profile.

    For any other graph, which names its files itself, return those names.
    """
    if action.version == version:
        return profile.title
    nodes = action.body.get("graph", {}).get("nodes", ())
    inputs = (value for node in nodes if "Lora" not in node["class"] for value in node["inputs"].values())
    files = {re.split(r"[/\\]", value)[-1] for value in inputs if isinstance(value, str)}
    return ", ".join(sorted(file for file in files if file.lower().endswith(WEIGHT_FILES)))


def input_ref(picture: Picture, pick: Callable[[str], int]) -> str:
    """Return the target and output that a picture of a clip comes from; "" for a file. `pick` gives takes by path."""
    if isinstance(picture, FrameOf):
        return f"{Target.of('frame', f'{picture.clip}/{picture.moment}', pick(picture.clip))}#image"
    return f"{picture.path}@{pick(picture.path)}#image" if isinstance(picture, Still) else ""


def display_name(picture: Picture) -> str:
    """Return the project's name of a picture."""
    return picture.path if isinstance(picture, Still) else picture.name


def explain_prompt(clip: Clip) -> dict[str, str | None]:
    """Return a clip's prompt as fields: every part, None where it is missing, and the shared look."""
    parts = {f"prompt.{part}": clip.prompt.parts.get(part) for part in ("text", *PARTS)}
    return {**parts, "look": clip.prompt.parts.get("look")}


def explain_frames(frames: int, clip: Clip, scene: Scene) -> dict[str, Any]:
    """Return a clip's frames as a field, with the author's values that they follow from."""
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


def explain_size(written: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return a size in px as a field; `written` is the author's value, possibly an aspect."""
    width, height = size
    return {"is": f"{written} ({width}x{height})" if ":" in written else written, "pixels": [width, height]}


def span_of(name: str, clip: Clip, scene: Scene, film: Mapping[str, Value]) -> Span | None:
    """Return where the value of a field is written: at the clip, its scene or the film.

    A default, or a value that was removed, is at the clip's id.
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
