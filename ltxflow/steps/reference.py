"""An image made for the clips that start from it, by a ComfyUI template or by an engine."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ltxflow.comfy.graph import canonical_graph, outputs_of
from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.target import Target
from ltxflow.media.speech import PictureRequest, draw
from ltxflow.models.geometry import geometry
from ltxflow.models.profile import Profile
from ltxflow.project.model import Project, Still
from ltxflow.project.settings import pins_of, weights_of
from ltxflow.steps import USUAL, ActionContext, Asset, Expected, Node, ResolvedInputs, model_named
from ltxflow.workflow.render import render
from ltxflow.workflow.template import Template

if TYPE_CHECKING:
    from ltxflow.comfy.signatures import Signatures

KIND, VERSION, POOL, SOURCE = "reference", "2", "gpu", "reference"
CHANGES = {"2": "now keys a still by its model"}
_none, bind_inputs, memo_key, is_sandboxed, prerender, _no_model, work = USUAL
MODELLESS = "1"  # the version of an action that names no file of the film's model
OUTPUT = "image"
VARIABLES = ("prompt", "negative", "seed", "width", "height", "prefix")  # of a template that makes images
FRAMES = 9  # the shortest clip on the grid: our template keeps its last frame


@dataclass(frozen=True)
class ReferenceSpec:
    """One take of a still with its seed decided, made by a template, or else by the still's engine.

    With a template it is a `RenderSpec`.
    """

    still: Still
    take: int
    seed: int
    profile: Profile
    made_with: Template | None = None
    precisions: Mapping[str, str] = field(default_factory=dict)  # of the film's model, where that draws it
    pins: Mapping[str, str] = field(default_factory=dict)  # model role → sha256 of its file, where the film pins one

    @property
    def path(self) -> str:
        return self.still.path

    @property
    def span(self) -> Span | None:
        return self.still.span

    @property
    def text(self) -> str:
        return self.still.prompt

    @property
    def template(self) -> Template:
        assert self.made_with is not None
        return self.made_with

    @property
    def weights(self) -> Mapping[str, str]:
        return self.precisions  # none for a template of the project, which names its models itself

    @property
    def loras(self) -> list[tuple[str, Span | None]]:
        return []

    @property
    def model_set(self) -> str:
        return f"template {self.template.name}"

    def roles(self, action: Action | None = None) -> list[str]:
        tokens = self.profile.tokens(self.weights)
        used = json.dumps(self.graph(tokens, {}, "ltxflow"))
        return [role for role, token in tokens.items() if json.dumps(token) in used]

    def assets(self) -> list[Asset]:
        return []

    def graph(self, models: Mapping[str, str], loras: Mapping[str, str], prefix: str) -> dict[str, Any]:
        """Return the workflow in API format. Raise LtxflowError when it does not render, or reads a server's file."""
        width, height = self.still.size
        variables = {
            "prompt": self.still.prompt,
            "negative": self.still.negative,
            "seed": self.seed,
            "width": width,
            "height": height,
            "prefix": prefix,
        }
        rendered = render(self.template, variables | (self._model(models) if self.template.trusted else {}))
        problems = self.unexpected_file_inputs(rendered)
        if problems:
            raise LtxflowError(*problems)
        return rendered

    def _model(self, models: Mapping[str, str]) -> dict[str, Any]:
        """Return the further variables of our template: the film's model in its default quality, in one stage.

        A film rendered in another quality keeps its stills.
        """
        preset = self.profile.qualities[self.profile.default_quality]
        size = geometry(self.profile, self.still.size, stages=1)
        return {
            "width": size.base[0],
            "height": size.base[1],
            "crop": dict(zip(("x", "y", "width", "height"), size.crop, strict=True)) if size.is_cropped else None,
            "negative": self.still.negative if preset.cfg > 1 else "",
            "frames": FRAMES,
            "fps": self.profile.fps.default,
            "stages": 1,
            "stage2": None,
            "steps": preset.steps,
            "cfg": preset.cfg,
            "audio_cfg": preset.cfg if preset.audio_cfg is None else preset.audio_cfg,
            "guidance": dict(preset.guidance) or None,
            "sampler": preset.sampler_for(self.template.name),
            "sampler_eta": preset.etas.get(self.template.name),
            "sigmas": preset.sigmas,
            "distilled": preset.distilled,
            "distilled_strength": preset.distilled_strength,
            "loras": [],
            "models": dict(models),
            "text_encoder_device": self.profile.text_encoder_device,
            "tiling": self.profile.tiled_decode.for_size(size.decoded),
        }

    def unexpected_file_inputs(
        self, graph: Mapping[str, Any], signatures: Signatures | None = None, also: Iterable[str] = ()
    ) -> list[Problem]:
        """Return a problem for every file input: an image starts from a prompt alone."""
        from ltxflow.comfy.signatures import file_inputs  # late: a plan needs no signatures

        return [
            problem(
                "L084.of-image",
                self.span,
                reference=self.path,
                node=found.node,
                class_type=found.class_type,
                template=self.template.name,
            )
            for found in file_inputs(dict(graph), signatures)
        ]

    def outputs(self, graph: Mapping[str, Any]) -> dict[str, str]:
        return outputs_of(graph, (OUTPUT,))

    def expected(self, output: str) -> Expected:
        return Expected(None, None, None)  # it is fitted to the frame of a clip like any picture


def nodes(project: Project, inputs: ResolvedInputs) -> Iterator[Node]:
    """Yield a node for every take of every image to be made; of one with a single take, for the picked one."""
    for still in project.stills:
        template: Template | None = project.templates.get(still.template) if still.engine is None else None
        if template and template.problems:
            raise LtxflowError(*template.problems)
        is_models = template is not None and template.trusted
        weights, pins = (weights_of(project), pins_of(project)) if is_models else ({}, {})
        for take in inputs.takes(still):
            spec = ReferenceSpec(still, take, inputs.seed(still, take), project.profile, template, weights, pins)
            pool = "gpu" if template else "cpu"
            yield Node(Target(f"{still.path}@{take}"), KIND, spec, 0, span=still.span, pool=pool)


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    """Return the action: the graph as a Merkle walk, or the engine and its request. Names do not count."""
    spec: ReferenceSpec = node.spec
    if spec.made_with is None:
        return Action(KIND, MODELLESS, {"engine": spec.still.engine.keyed(), **_request(spec)}, outputs=(OUTPUT,))
    tokens = spec.profile.tokens(spec.weights)
    graph = spec.graph(tokens, {}, "ltxflow")
    outputs = spec.outputs(graph)
    if not outputs:
        raise LtxflowError(
            problem(
                "L081.no-save-node",
                Span(spec.template.shown, 1, 1),
                template=spec.template.name,
                output=OUTPUT,
                node="SaveImage",
            )
        )
    body: dict[str, Any] = {"graph": canonical_graph(graph, outputs)}
    used = json.dumps(body)
    if pins := {tokens[role]: pin for role, pin in spec.pins.items() if json.dumps(tokens[role]) in used}:
        body["pins"] = pins
    has_model = any(json.dumps(token) in used for token in tokens.values())
    return Action(KIND, VERSION if has_model else MODELLESS, body, outputs=(OUTPUT,))


def made_by(node: Node, action: Action) -> str:
    return "" if node.spec.made_with is None else model_named(node.spec.profile, action, VERSION)


def check(stills: Iterable[Node], allowed: frozenset[str]) -> list[Problem]:
    """Return what is wrong with the graphs of references by the recorded signatures of ComfyUI's nodes.

    The problems of one template are reported once. `allowed` are the classes that may be used.
    """
    from ltxflow.comfy.checks import check_graph  # late: a plan needs no signatures
    from ltxflow.comfy.signatures import Signatures

    by_template: dict[str, list[Problem]] = {}
    for node in stills:
        spec: ReferenceSpec = node.spec
        if spec.made_with is not None and spec.template.name not in by_template:
            name = spec.template.name
            by_template[name] = check_graph(
                spec.graph({role: role for role in spec.weights}, {}, "ltxflow"),
                Signatures.recorded(),
                template=name,
                where=lambda id, span=node.span: span,  # type: ignore[misc]  # bound now: the span is this node's
                models=False,
                allowed=allowed,
            )
    return [each for problems in by_template.values() for each in problems]


def _request(spec: ReferenceSpec) -> dict[str, Any]:
    return {"prompt": spec.still.prompt, "seed": spec.seed, "size": list(spec.still.size)}


def fields(node: Node) -> dict[str, Any]:
    spec: ReferenceSpec = node.spec
    still, template = spec.still, spec.made_with
    found: dict[str, Any] = {"prompt": still.prompt, "seed": spec.seed, "size": "{}x{}".format(*still.size)}
    if template is None:
        return {**found, "engine": {"is": still.engine.name, "keyed": still.engine.keyed()}, "template": None}
    if spec.weights:
        maps = {role for role, model in spec.profile.models.items() if model.maps}  # of guides, which it does not have
        found["weights"] = ", ".join(
            f"{role} {precision}" for role, precision in spec.weights.items() if role not in maps
        )
        found["profile"] = spec.profile.name
    found["pins"] = " ".join(f"{role}:{sha256}" for role, sha256 in sorted(spec.pins.items())) or None
    if "negative" in template.header.variables and not template.trusted:
        found["negative"] = still.negative
    return {**found, "engine": None, "template": {"is": template.name, "text": template.digest}}


def where(node: Node, name: str) -> Span | None:
    spec: ReferenceSpec = node.spec
    spans = spec.still.spans
    return (spans.get("angle") if name == "prompt" else None) or spans.get(name) or spans.get("name")


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Draw it with the engine, and save it as PNG without tags. A server runs those with a template."""
    import asyncio  # late: a plan runs nothing

    from ltxflow.media.image import open_image, read_image, save_png  # late: a plan needs actions, but no numpy

    spec: ReferenceSpec = node.spec
    still, file = spec.still, job.folder / "image.png"
    request = PictureRequest(still.prompt, still.size, spec.seed)
    job.server = still.engine.name
    drawn = await draw(still.engine, request, job.folder, os.environ)
    await asyncio.to_thread(lambda: save_png(open_image(drawn), file))
    facts = await asyncio.to_thread(read_image, file)
    job.out[OUTPUT] = file
    by = {"name": still.engine.name, "keyed": still.engine.keyed()}  # for the lock: a clone may not have the engine
    job.facts[OUTPUT] = {"pixels": facts.pixels, "width": facts.width, "height": facts.height, "engine": by}
