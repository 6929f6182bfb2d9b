"""A clip, rendered by a ComfyUI workflow: from its settings to its graph and its key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any

from ltxflow.comfy.graph import canonical_graph, outputs_of
from ltxflow.core.digest import ACTION_FORMAT, Action, Output
from ltxflow.core.errors import LtxflowError, Span, problem
from ltxflow.steps import Node, model_named
from ltxflow.steps.clip.explain import fields as fields
from ltxflow.steps.clip.explain import where as where
from ltxflow.steps.clip.nodes import check as check
from ltxflow.steps.clip.nodes import nodes as nodes
from ltxflow.steps.clip.nodes import templates_used as templates_used
from ltxflow.steps.clip.spec import ClipSpec as ClipSpec
from ltxflow.steps.clip.spec import prerender as prerender
from ltxflow.steps.clip.spec import texts

KIND, VERSION, POOL, SOURCE = "clip", "2", "gpu", "comfyui"
CHANGES = {"2": "now keys a clip by its model"}
MODELLESS = "1"  # the version of an action whose graph names no file of the film's model: version 2 did not change it
run = None  # a server makes it: the executor of the pool "gpu"

_ENCODER = json.JSONEncoder(default=dict, allow_nan=False)


def bind_inputs(node: Node, inputs: Mapping[str, Output]) -> Node:
    return replace(node, spec=node.spec.with_inputs(inputs))


def action(node: Node, inputs: Mapping[str, Output]) -> Action:
    """Return the action of a node: the graph as a Merkle walk, models by name, role and precision, pins, recipes."""
    spec: ClipSpec = node.spec.with_inputs(inputs)
    digests = {name: output.digest for name, output in inputs.items() if name == "extends"}  # pictures: by pixels
    tokens, assets = spec.tokens, spec.assets()
    graph = spec.graph(tokens, {}, "ltxflow", assets)
    outputs = outputs_of(graph)
    if "video" not in outputs:
        span, name = Span(spec.template.shown, 1, 1), spec.template.name
        raise LtxflowError(problem("L081.no-save-node", span, template=name, output="video", node="SaveVideo"))
    body: dict[str, Any] = {"graph": canonical_graph(graph, outputs, spec.template.nodes)}
    used = set(texts(body["graph"]))
    if recipes := {asset.name: asset.recipe for asset in assets if asset.name in used}:
        body["assets"] = recipes
    if pins := _pins(spec, tokens, used):
        body["pins"] = pins
    version = VERSION if used.intersection(tokens.values()) else MODELLESS
    return Action(KIND, version, body, digests, (*outputs, "published"))


def memo_key(node: Node, inputs: Mapping[str, Output]) -> str:
    """Return a digest of all that the action is made from, without rendering the workflow."""
    spec: ClipSpec = node.spec.with_inputs(inputs)
    tokens, assets = spec.tokens, spec.assets()
    parts = {
        "format": [ACTION_FORMAT, KIND, VERSION],
        "template": [spec.template.name, spec.template.digest, spec.template.trusted],
        "context": spec.context(tokens, {}, "ltxflow", assets),
        "assets": {asset.name: asset.recipe for asset in assets},
        "pins": _pins(spec, tokens),
        "inputs": {name: output.digest for name, output in inputs.items() if name == "extends"},
    }
    return hashlib.sha256(_ENCODER.encode(parts).encode()).hexdigest()


def _pins(spec: ClipSpec, tokens: Mapping[str, str], used: Container[str] | None = None) -> dict[str, str]:
    """Return the pinned sha256s: of LoRAs by name, of the model's files (those `used`) by their names in keys."""
    pins = {lora.name: lora.sha256 for lora in spec.clip.loras if lora.sha256}
    named = {token: spec.pins[role] for role, token in tokens.items() if role in spec.pins}
    return pins | {token: sha256 for token, sha256 in named.items() if used is None or token in used}


def is_sandboxed(node: Node) -> bool:
    """Return whether the workflow is rendered in a child process: the template belongs to the project."""
    return not node.spec.template.trusted


def made_by(node: Node, action: Action) -> str:
    return model_named(node.spec.profile, action, VERSION)


def work(node: Node) -> float:
    """Return the GPU work of a clip: pixels × frames × steps, summed over its stages."""
    spec: ClipSpec = node.spec
    width, height = spec.geometry.base
    total = width * height * spec.sampled_frames * int(spec.clip.get("steps"))
    if int(spec.clip.get("stages", 2)) == 2:
        width, height = spec.geometry.decoded
        total += width * height * spec.sampled_frames * spec.preset.stage2.sigmas.count(",")
    return float(total)
