"""An image that is made before the clips that start from it: by a ComfyUI template of the project, or by an engine."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ltxflow.comfy.graph import canonical_graph, outputs_of
from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.media.speech import PictureRequest, draw
from ltxflow.models.geometry import geometry
from ltxflow.models.profile import Profile
from ltxflow.project.model import Project, Still
from ltxflow.project.weights import pins_of, weights_of
from ltxflow.steps import ActionContext, Asset, Expected, Node, ResolvedInputs, model_named
from ltxflow.workflow.render import render
from ltxflow.workflow.template import Template

if TYPE_CHECKING:
    from ltxflow.comfy.signatures import Signatures

KIND, VERSION, POOL, SOURCE = "reference", "2", "gpu", "reference"
CHANGES = {"2": "now keys a still by its model"}  # as steps/clip.py has it, and so is MODELLESS
MODELLESS = "1"
OUTPUT = "image"
VARIABLES = ("prompt", "negative", "seed", "width", "height", "prefix")  # what a template of images may use
FRAMES = 9  # the shortest clip on the grid: what our own template makes for the sake of its last frame


@dataclass(frozen=True)
class ReferenceSpec:
    """One take of a still with its seed decided, and how it is made: by a template, or else by the still's engine."""

    still: Still
    take: int
    seed: int
    profile: Profile
    made_by: Template | None = None
    precisions: Mapping[str, str] = field(default_factory=dict)  # of the film's model, where it is what draws
    pins: Mapping[str, str] = field(default_factory=dict)  # model role → sha256 of its file, where the film pins one

    # What a server is told: steps.Order

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
        assert self.made_by is not None
        return self.made_by

    @property
    def weights(self) -> Mapping[str, str]:
        return self.precisions  # none for a template of the film's, which names its models itself

    @property
    def loras(self) -> list[tuple[str, Span | None]]:
        return []

    @property
    def loads(self) -> str:
        return f"template {self.template.name}"

    def roles(self, action: Action | None = None) -> list[str]:
        tokens = self.profile.tokens(self.weights)
        used = json.dumps(self.graph(tokens, {}, "ltxflow"))
        return [role for role, token in tokens.items() if json.dumps(token) in used]

    def assets(self) -> list[Asset]:
        return []

    def graph(self, models: Mapping[str, str], loras: Mapping[str, str], prefix: str) -> dict[str, Any]:
        """The workflow in API format. Raise LtxflowError when it cannot be rendered, or reads a file of the server."""
        width, height = self.still.size
        told = {
            "prompt": self.still.prompt,
            "negative": self.still.negative,
            "seed": self.seed,
            "width": width,
            "height": height,
            "prefix": prefix,
        }
        rendered = render(self.template, told | (self._model(models) if self.template.trusted else {}))
        strays = self.strays(rendered)
        if strays:
            raise LtxflowError(*strays)
        return rendered

    def _model(self, models: Mapping[str, str]) -> dict[str, Any]:
        """What our own template is told besides: how the film's model draws, in its default quality, in one stage.

        A film that is rendered in another quality keeps its stills.
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

    def strays(
        self, graph: Mapping[str, Any], signatures: Signatures | None = None, also: Iterable[str] = ()
    ) -> list[Problem]:
        from ltxflow.comfy.signatures import file_inputs  # by need: a plan knows no signatures

        return [
            Problem(
                f'{self.path}: node "{found.node}" ({found.class_type}) of template "{self.template.name}" would read '
                "a file on the server",
                self.span,
                "a template that makes an image reads no files: it starts from a prompt",
                "L084",
            )
            for found in file_inputs(dict(graph), signatures)
        ]

    def outputs(self, graph: Mapping[str, Any]) -> dict[str, str]:
        return outputs_of(graph, (OUTPUT,))

    def expected(self, output: str) -> Expected:
        return Expected(None, None, None)  # it is fitted to the clip's frame like any picture


def nodes(project: Project, wishes: ResolvedInputs) -> Iterator[Node]:
    """Given a film, yield a node for every take of every image to be made; of one with one take, for the picked one."""
    for still in project.stills:
        pick = wishes.pick(still)
        template: Template | None = project.templates.get(still.template) if still.engine is None else None
        if template and template.problems:
            raise LtxflowError(*template.problems)
        asked = {*range(1, still.takes + 1), pick} if still.takes > 1 else {pick}
        for take in sorted(asked | wishes.also(still)):
            is_models = template is not None and template.trusted
            weights, pins = (weights_of(project), pins_of(project)) if is_models else ({}, {})
            sitting = ReferenceSpec(still, take, wishes.seed(still, take), project.profile, template, weights, pins)
            pool = "gpu" if template else "cpu"
            yield Node(f"{still.path}@{take}", KIND, sitting, 0, span=still.span, pool=pool)


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    """By the graph as a Merkle walk; of an engine, by what it is and what it is asked for. Names do not count."""
    sitting: ReferenceSpec = node.spec
    if sitting.made_by is None:
        return Action(KIND, MODELLESS, {"engine": sitting.still.engine.keyed(), **_asked(sitting)}, outputs=(OUTPUT,))
    tokens = sitting.profile.tokens(sitting.weights)
    graph = sitting.graph(tokens, {}, "ltxflow")
    outputs = sitting.outputs(graph)
    if not outputs:
        raise LtxflowError(
            Problem(
                f'template "{sitting.template.name}" has no save node titled "image"',
                Span(sitting.template.shown, 1, 1),
                'give its SaveImage node "_meta": {"title": "image"}',
                "L081",
            )
        )
    body: dict[str, Any] = {"graph": canonical_graph(graph, outputs)}
    used = json.dumps(body)
    if pins := {tokens[role]: pin for role, pin in sitting.pins.items() if json.dumps(tokens[role]) in used}:
        body["pins"] = pins
    has_model = any(json.dumps(token) in used for token in tokens.values())
    return Action(KIND, VERSION if has_model else MODELLESS, body, outputs=(OUTPUT,))


def made_by(node: Node, action: Action) -> str:
    return "" if node.spec.made_by is None else model_named(node.spec.profile, action, VERSION)


def check(stills: Iterable[Node], allowed: frozenset[str]) -> list[Problem]:
    """Given nodes of references, return what is wrong with their graphs by the recorded signatures of ComfyUI's nodes.

    Of one template it is told once. `allowed` are the classes that may be used.
    """
    from ltxflow.comfy.checks import check_graph  # by need: a plan knows no signatures
    from ltxflow.comfy.signatures import Signatures  # by need: a plan knows no signatures

    told: dict[str, list[Problem]] = {}
    for node in stills:
        sitting: ReferenceSpec = node.spec
        if sitting.made_by is not None and sitting.template.name not in told:
            name = sitting.template.name
            told[name] = check_graph(
                sitting.graph({role: role for role in sitting.weights}, {}, "ltxflow"),
                Signatures.recorded(),
                template=name,
                where=lambda id, span=node.span: span,  # type: ignore[misc]  # bound now: the span is this node's
                models=False,
                allowed=allowed,
            )
    return [problem for problems in told.values() for problem in problems]


def _asked(sitting: ReferenceSpec) -> dict[str, Any]:
    return {"prompt": sitting.still.prompt, "seed": sitting.seed, "size": list(sitting.still.size)}


def fields(node: Node) -> dict[str, Any]:
    sitting: ReferenceSpec = node.spec
    still, template = sitting.still, sitting.made_by
    told: dict[str, Any] = {"prompt": still.prompt, "seed": sitting.seed, "size": "{}x{}".format(*still.size)}
    if template is None:
        return {**told, "engine": {"is": still.engine.name, "keyed": still.engine.keyed()}, "template": None}
    if sitting.weights:
        maps = {role for role, model in sitting.profile.models.items() if model.maps}  # of guides, which it has not
        told["weights"] = ", ".join(
            f"{role} {precision}" for role, precision in sitting.weights.items() if role not in maps
        )
        told["profile"] = sitting.profile.name
    told["pins"] = " ".join(f"{role}:{sha256}" for role, sha256 in sorted(sitting.pins.items())) or None
    if "negative" in template.header.variables and not template.trusted:
        told["negative"] = still.negative
    return {**told, "engine": None, "template": {"is": template.name, "text": template.digest}}


def where(node: Node, name: str) -> Span | None:
    sitting: ReferenceSpec = node.spec
    spans = sitting.still.spans
    return (spans.get("angle") if name == "prompt" else None) or spans.get(name) or spans.get("name")


async def run(node: Node, action: Action, job: ActionContext) -> None:
    """Have the engine make it, and keep it as PNG without tags. What a template makes runs on a ComfyUI server."""
    import asyncio  # by need: a plan runs nothing

    sitting: ReferenceSpec = node.spec
    still, file = sitting.still, job.folder / "image.png"
    wanted = PictureRequest(still.prompt, still.size, sitting.seed)
    job.server = still.engine.name
    made = await draw(still.engine, wanted, job.folder, os.environ)
    media = importlib.import_module("ltxflow.media.image")  # by name: a plan asks for actions, and needs no numpy
    await asyncio.to_thread(lambda: media.save_png(media.open_image(made), file))
    facts = await asyncio.to_thread(media.read_image, file)
    job.out[OUTPUT] = file
    by = {"name": still.engine.name, "keyed": still.engine.keyed()}  # for the lock: a clone may not have the engine
    job.facts[OUTPUT] = {"pixels": facts.pixels, "width": facts.width, "height": facts.height, "engine": by}
