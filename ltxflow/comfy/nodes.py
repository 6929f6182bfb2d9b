"""What ComfyUI's node classes take and return, and whether a graph fits. Knows no server and no template.

The server itself checks only what an output node reaches, only declared inputs, and nothing above a wrong
link (`execution.py`, `validate_prompt`); `check_graph` looks at every node and reports all that is wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ltxflow.core.errors import Level, Problem, Span

Graph = Mapping[str, Any]

RECORDED = Path(__file__).with_name("object_info-0.27.0.json")  # 97 core nodes, from a running server

RULES: dict[str, str] = {
    "N100": "a graph is a mapping of node id to node, and has at least one",
    "N101": "every node's class exists",
    "N102": "a class outside the core set needs the user's own allowance",
    "N103": "an allowed class can be checked only against the server that has it",
    "N104": "every node is a mapping with `class_type` and `inputs`",
    "N105": "every required input is given",
    "N106": "every input is one that the class has",
    "N107": "a link is [node id, output number]",
    "N108": "a link names a node of the graph",
    "N109": "a link names an output that the node has",
    "N110": "a link carries a type that the input takes",
    "N111": "an input that takes a link has no literal",
    "N112": "a literal has the input's type",
    "N113": "a number is in the input's range",
    "N114": "a choice is in the input's list",
    "N115": "links make no cycle",
    "N116": "a graph has an output node",
    "N117": "a model file is in the server's list",
}

EXPORT = "in ComfyUI, export the workflow in API format: File → Export (API)"
WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "*"})
MATCH, GROW, DYNAMIC = "COMFY_MATCHTYPE_V3", "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3"

# What the web interface leaves in an exported graph; the server ignores it, and so do we.
LEFTOVERS = frozenset(
    {"upload", "choose file to upload", "choose audio to upload", "choose video to upload", "audioUI"}
    | {"video-preview", "videopreview", "control_after_generate", "speak_and_recognation"}
)

# Which folder of the server an input's files are in: by class and input, else by input alone (core loaders).
FOLDERS: Mapping[tuple[str, str], str] = {
    ("", "ckpt_name"): "checkpoints",
    ("", "lora_name"): "loras",
    ("", "text_encoder"): "text_encoders",
    ("", "vae_name"): "vae",
    ("", "unet_name"): "diffusion_models",
    ("", "clip_name"): "text_encoders",
    ("", "clip_name1"): "text_encoders",
    ("", "clip_name2"): "text_encoders",
    ("", "control_net_name"): "controlnet",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("FrameInterpolationModelLoader", "model_name"): "frame_interpolation",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
}
MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")

# Inputs by which a node opens a file on the server. Its own list of them is not enforced by the server.
FILES: Mapping[str, tuple[str, ...]] = {
    "LoadImage": ("image",),
    "LoadImageMask": ("image",),
    "LoadImageOutput": ("image",),
    "LoadVideo": ("file",),
    "LoadAudio": ("audio",),
    "LoadLatent": ("latent",),
    "Load3D": ("model_file",),
    "Load3DAnimation": ("model_file",),
    "LoadImageDataSetFromFolder": ("folder",),
    "LoadImageTextDataSetFromFolder": ("folder",),
    "LoadTrainingDataset": ("folder_name",),
}
UPLOADS = ("image_upload", "video_upload", "audio_upload", "animated_image_upload", "file_upload")


@dataclass(frozen=True)
class Input:
    """One declared input. `type` is "COMBO" for both forms of list; `options` as the server gives them."""

    name: str
    type: str
    required: bool = True
    choices: tuple[Any, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_file(self) -> bool:
        return any(self.options.get(name) for name in UPLOADS)


@dataclass(frozen=True)
class Signature:
    """One node class: inputs in the server's order, output types by slot."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    is_output: bool
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Signatures:
    """The node classes of one server, or the recorded ones (`is_recorded`: core nodes, nobody's models)."""

    classes: Mapping[str, Signature]
    is_recorded: bool = False

    @classmethod
    def from_object_info(cls, info: Mapping[str, Any], *, is_recorded: bool = False) -> Signatures:
        """Given what `GET /object_info` answers, return the signatures; ill-shaped entries are left out."""
        return cls({name: sig for name, entry in info.items() if (sig := _signature(name, entry))}, is_recorded)

    @staticmethod
    def recorded() -> Signatures:
        """Return the recorded signatures: 97 core nodes of ComfyUI 0.27.0, all that LTX-2 templates need."""
        return _recorded()

    @cached_property
    def linked_types(self) -> frozenset[str]:
        """The types that only a link can carry: some node returns them, and no widget makes them."""
        returned = {part for sig in self.classes.values() for out in sig.outputs for part in _parts(out)}
        return frozenset(returned - WIDGETS - {MATCH, "COLOR"})


@cache
def _recorded() -> Signatures:
    return Signatures.from_object_info(json.loads(RECORDED.read_text("utf-8")), is_recorded=True)


# Core classes that workflows for single images need, and that are not recorded: a server checks how they are used.
# ComfyUI `nodes.py`, and in `comfy_extras/`: nodes_flux.py, nodes_sd3.py, nodes_model_advanced.py, nodes_clip_sdxl.py.
OF_IMAGES = frozenset(
    {
        "BasicScheduler",
        "CLIPSetLastLayer",
        "CLIPTextEncodeFlux",
        "CLIPTextEncodeSDXL",
        "ConditioningZeroOut",
        "DualCLIPLoader",
        "EmptyFlux2LatentImage",
        "EmptyLatentImage",
        "EmptySD3LatentImage",
        "Flux2Scheduler",
        "FluxGuidance",
        "KSampler",
        "KSamplerAdvanced",
        "LoraLoader",
        "ModelSamplingAuraFlow",
        "ModelSamplingFlux",
        "ModelSamplingSD3",
        "TripleCLIPLoader",
    }
)


@cache
def core_classes() -> frozenset[str]:
    """Return the classes that any project may use without an allowance."""
    return frozenset(_recorded().classes) | OF_IMAGES


def _signature(name: str, entry: Any) -> Signature | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("input"), Mapping):
        return None
    declared = entry["input"]
    order = entry.get("input_order") or {}
    inputs: list[Input] = []
    for section in ("required", "optional"):
        specs = declared.get(section) or {}
        names = [n for n in order.get(section) or [] if n in specs]
        names += [n for n in specs if n not in names]
        inputs += [read_input(n, specs[n], section == "required") for n in names]
    outputs = tuple("COMBO" if isinstance(t, list) else str(t) for t in entry.get("output") or ())
    hidden = frozenset(declared.get("hidden") or ())
    return Signature(name, tuple(inputs), outputs, bool(entry.get("output_node")), hidden)


def read_input(name: str, spec: Any, required: bool) -> Input:
    """Read `["INT", {…}]`, `["IMAGE"]`, `[["a", "b"], {…}]` and `["COMBO", {"options": ["a"]}]`."""
    parts = spec if isinstance(spec, (list, tuple)) and spec else [str(spec)]
    options = parts[1] if len(parts) > 1 and isinstance(parts[1], Mapping) else {}
    if isinstance(parts[0], (list, tuple)):
        return Input(name, "COMBO", required, tuple(parts[0]), options)
    if parts[0] == "COMBO" and isinstance(options.get("options"), (list, tuple)):
        return Input(name, "COMBO", required, tuple(options["options"]), options)
    if parts[0] == DYNAMIC:
        return Input(name, DYNAMIC, required, tuple(o["key"] for o in options.get("options", [])), options)
    return Input(name, str(parts[0]), required, None, options)


def _parts(type_: str) -> set[str]:
    return {part.strip() for part in type_.split(",")}


# ------------------------------------------------------------------------------------------------ helpers


class ModelInput(NamedTuple):
    """A model file a graph names. `folder` is the server's (`/models/{folder}`), "" if it cannot be told."""

    node: str
    class_type: str
    input: str
    value: str
    folder: str


class FileInput(NamedTuple):
    """A file that a node would open on the server."""

    node: str
    class_type: str
    input: str
    value: Any


def folder_of(class_type: str, name: str) -> str:
    """Given a class and an input, return the model folder its files are in, or "" if we know none."""
    return FOLDERS.get((class_type, name)) or FOLDERS.get(("", name), "")


def model_inputs(graph: Graph, signatures: Signatures | None = None) -> list[ModelInput]:
    """Given a graph, return the model files it names, in the order of node ids.

    With signatures, inputs of unknown loaders are found, too: a list that offers model files.
    """
    found = []
    for node_id, class_type, inputs in _nodes(graph):
        sig = signatures.classes.get(class_type) if signatures else None
        declared = {i.name: i for i in sig.inputs} if sig else {}
        for name, value in inputs.items():
            if not isinstance(value, str):
                continue
            folder = folder_of(class_type, name)
            if folder or _lists_models(declared.get(name)) or _names_model(name, value):
                found.append(ModelInput(node_id, class_type, name, value, folder))
    return found


def _names_model(name: str, value: str) -> bool:
    return name.endswith("_name") and value.lower().endswith(MODEL_SUFFIXES)


def _lists_models(declared: Input | None) -> bool:
    choices = declared.choices if declared and declared.type == "COMBO" else None
    return bool(choices) and any(isinstance(c, str) and c.lower().endswith(MODEL_SUFFIXES) for c in choices or ())


def file_inputs(graph: Graph, signatures: Signatures | None = None) -> list[FileInput]:
    """Given a graph, return the inputs by which its nodes open files on the server, linked or not.

    With signatures, also those of foreign classes that are declared as uploads.
    """
    found = []
    for node_id, class_type, inputs in _nodes(graph):
        sig = signatures.classes.get(class_type) if signatures else None
        uploads = {i.name for i in sig.inputs if i.is_file} if sig else set()
        for name, value in inputs.items():
            if name in FILES.get(class_type, ()) or name in uploads:
                found.append(FileInput(node_id, class_type, name, value))
    return found


def _nodes(graph: Graph) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (id, class, inputs) of the nodes that are in order, in the order of ids (numbers first)."""
    for node_id in sorted(graph, key=_by_number):
        node = graph[node_id]
        if isinstance(node, Mapping) and isinstance(node.get("class_type"), str):
            inputs = node.get("inputs")
            yield node_id, node["class_type"], inputs if isinstance(inputs, Mapping) else {}


def _by_number(node_id: str) -> tuple[int, int, str]:
    return (0, int(node_id), "") if node_id.isdecimal() else (1, 0, str(node_id))


def as_link(value: Any) -> tuple[str, int] | None:
    """Given an input's value, return (node id, slot) if it is a well-formed link."""
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not isinstance(value[0], str):
        return None
    slot = value[1]
    return (value[0], slot) if isinstance(slot, int) and not isinstance(slot, bool) else None


# ------------------------------------------------------------------------------------------------ the check


def check_graph(
    graph: Graph,
    signatures: Signatures,
    *,
    template: str = "",
    where: Callable[[str], Span | None] | None = None,
    models: bool = True,
    allowed: frozenset[str] | None = None,
    only: Collection[str] | None = None,
) -> list[Problem]:
    """Given an API-format graph, return all that is wrong with it, by node id, then in the order of inputs.

    `where` finds a node's place in a file. With `models=False` lists of model files are not compared: they
    differ by server. `allowed` are the classes outside the core set that the user allows; None allows every
    class. `only` are the nodes to look at, where nothing else may be wrong: see `other_values`.
    """
    check = _Check(graph, signatures, template, where, models, allowed)
    if only is None:
        check.all()
    else:
        for node_id in sorted(only, key=_by_number):
            check.one(node_id)
    return check.problems


def other_values(graph: Graph, like: Graph) -> list[str] | None:
    """Given a graph and one in which a check found no error, return the nodes that have other values.

    Nothing else can be wrong then. None where a node, an input or a link is another.
    """
    if graph.keys() != like.keys():
        return None
    others = []
    for node_id, node in graph.items():
        if not _is_same(node, like[node_id]):
            if not _has_same_links(node, like[node_id]):
                return None
            others.append(node_id)
    return others


def _is_same(node: Any, like: Any) -> bool:
    """Equal, and not only as True is equal to 1."""
    if node != like:
        return False
    other = like["inputs"]
    for name, value in node["inputs"].items():
        if type(value) is not type(other[name]) or (isinstance(value, list) and repr(value) != repr(other[name])):
            return False
    return True


def _has_same_links(node: Any, like: Any) -> bool:
    if not isinstance(node, Mapping) or not isinstance(node.get("inputs"), Mapping):
        return False
    if node.get("class_type") != like["class_type"] or node["inputs"].keys() != like["inputs"].keys():
        return False
    pairs = [(value, like["inputs"][name]) for name, value in node["inputs"].items()]
    return all(repr(a) == repr(b) for a, b in pairs if isinstance(a, list | tuple) or isinstance(b, list | tuple))


class _Check:
    """One run over one graph: what the rules share is the graph, the signatures and how a problem is told."""

    def __init__(
        self,
        graph: Graph,
        signatures: Signatures,
        template: str,
        where: Callable[[str], Span | None] | None,
        models: bool,
        allowed: frozenset[str] | None,
    ) -> None:
        self.graph, self.signatures, self.template = graph, signatures, template
        self.where, self.models, self.allowed = where, models, allowed
        self.problems: list[Problem] = []

    # ---- telling

    def tell(self, code: str, node_id: str | None, what: str, hint: str = "", level: Level = "error") -> None:
        place = f" in node {_quote(node_id)}{self._about(node_id)}" if node_id is not None else ""
        source = f" of template {_quote(self.template)}" if self.template else ""
        if node_id is None and self.template:
            source = f" in template {_quote(self.template)}"
        span = self.where(node_id) if self.where and node_id is not None else None
        self.problems.append(Problem(f"{what}{place}{source}", span, hint, code, level))

    def _about(self, node_id: str) -> str:
        node = self.graph[node_id]
        if not isinstance(node, Mapping):
            return ""
        meta = node.get("_meta")
        title = meta.get("title") if isinstance(meta, Mapping) else None
        told = [str(node["class_type"])] if node.get("class_type") else []
        if title and title != node.get("class_type"):
            told.append(_quote(title))
        return f" ({', '.join(told)})" if told else ""

    # ---- rules

    def all(self) -> None:
        if not isinstance(self.graph, Mapping) or not self.graph:
            self.graph = {}
            self.tell("N100", None, "there is no node", EXPORT)
            return
        if isinstance(self.graph.get("nodes"), list):
            self.graph = {}
            self.tell("N100", None, "this is a saved workflow, not one in API format", EXPORT)
            return
        for node_id in sorted(self.graph, key=_by_number):
            self.one(node_id)
        self.cycles()
        if not any(
            sig.is_output for _, class_, _ in _nodes(self.graph) if (sig := self.signatures.classes.get(class_))
        ) and not any(p.code in ("N101", "N102", "N103") for p in self.problems):
            self.tell("N116", None, "there is no output node", "add a SaveVideo or SaveImage node")

    def one(self, node_id: str) -> None:
        if sig := self.shape(node_id):
            self.node(node_id, self.graph[node_id]["inputs"], sig)

    def shape(self, node_id: str) -> Signature | None:
        """Check what makes a node a node; return its signature if its inputs can be checked."""
        node = self.graph[node_id]
        if not isinstance(node, Mapping):
            self.tell("N104", node_id, "neither class nor inputs", EXPORT)
            return None
        if not isinstance(node.get("class_type"), str):
            self.tell("N104", node_id, '"class_type" is missing', "name the node's class")
            return None
        sig = self.known(node_id, node["class_type"])
        if not isinstance(node.get("inputs"), Mapping):
            self.tell("N104", node_id, '"inputs" is missing', 'write "inputs": {} if it has none')
            return None
        return sig

    def known(self, node_id: str, class_: str) -> Signature | None:
        sig = self.signatures.classes.get(class_)
        is_foreign = self.allowed is not None and class_ not in core_classes()
        close = None if sig else _closest(class_, [*self.signatures.classes, *(self.allowed or ())])
        if is_foreign and class_ not in (self.allowed or ()) and not close:
            self.tell(
                "N102",
                node_id,
                f"class {_quote(class_)} is not a known core node of ComfyUI, and needs your own allowance",
                f"if you trust it, add it to `allowed_nodes` in your user config: allowed_nodes: [{class_}]",
            )
            return None
        if sig:
            return sig
        is_unknown = class_ in OF_IMAGES or (is_foreign and class_ in (self.allowed or ()))
        if is_unknown and self.signatures.is_recorded:
            self.tell(
                "N103",
                node_id,
                f"class {_quote(class_)} cannot be checked without a server",
                "check again with --server",
                "advice",
            )
            return None
        hint = f"did you mean {_quote(close)}?" if close else "install the custom node on the server"
        self.tell("N101", node_id, f"unknown class {_quote(class_)}", hint)
        return None

    def node(self, node_id: str, inputs: Mapping[str, Any], sig: Signature) -> None:
        declared = list(_spelled_out(sig.inputs, inputs))
        names = [i.name for i in declared]
        spare = [n for n in inputs if n not in names and n not in sig.hidden and n not in LEFTOVERS]
        for declared_input in declared:
            if declared_input.name in inputs:
                self.value(node_id, sig, declared_input, inputs[declared_input.name])
            elif declared_input.required:
                close = _closest(declared_input.name, spare)
                takes = _takes(declared_input)
                self.tell(
                    "N105",
                    node_id,
                    f"required input {_quote(declared_input.name)} is missing",
                    f"rename {_quote(close)} to {_quote(declared_input.name)}" if close else f"it takes {takes}",
                )
        for name in spare:
            close = _closest(name, [n for n in names if n not in inputs]) or _closest(name, names)
            hint = f"did you mean {_quote(close)}?" if close else _has(names)
            self.tell("N106", node_id, f"unknown input {_quote(name)}", hint)

    def value(self, node_id: str, sig: Signature, wanted: Input, value: Any) -> None:
        if isinstance(value, (list, tuple)):
            self.link(node_id, wanted, value)
            return
        if isinstance(value, Mapping) and "__value__" in value:  # how the server is told a literal list
            value = value["__value__"]
        if wanted.type == GROW:
            return
        parts = _parts(_allowed_types(wanted))
        if parts <= self.signatures.linked_types:
            self.tell(
                "N111",
                node_id,
                f"input {_quote(wanted.name)} is {_show(value)}, but takes a link to {_or(parts)}",
                'write ["node id", output number]',
            )
        elif wanted.choices is not None:
            self.choice(node_id, sig, wanted, value)
        elif wanted.type in ("INT", "FLOAT"):
            self.number(node_id, wanted, value)
        elif wanted.type == "BOOLEAN" and not isinstance(value, bool):
            self.wrong(node_id, wanted, value, "true or false", is_coerced=value in (0, 1))
        elif wanted.type == "STRING" and not isinstance(value, str):
            self.wrong(node_id, wanted, value, "text", is_coerced=isinstance(value, (int, float)))
        elif wanted.type == "BOUNDING_BOX" and not (
            isinstance(value, Mapping) and {"x", "y", "width", "height"} <= value.keys()
        ):
            self.wrong(node_id, wanted, value, "a mapping of x, y, width and height")

    def wrong(self, node_id: str, wanted: Input, value: Any, takes: str, *, is_coerced: bool = False) -> None:
        """Tell of a literal of another type. What the server would quietly convert is only a warning."""
        self.tell(
            "N112",
            node_id,
            f"input {_quote(wanted.name)} is {_show(value)}, but takes {takes}",
            "the server would convert it; write it as it is meant" if is_coerced else f"write {takes}",
            "warning" if is_coerced else "error",
        )

    def number(self, node_id: str, wanted: Input, value: Any) -> None:
        takes = "a whole number" if wanted.type == "INT" else "a number"
        if isinstance(value, str) and _is_number(value, wanted.type):
            self.wrong(node_id, wanted, value, takes, is_coerced=True)
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self.wrong(node_id, wanted, value, takes)
            return
        if wanted.type == "INT" and value != int(value):  # the server cuts off the fraction without a word
            self.wrong(node_id, wanted, value, takes)
            return
        low, high = wanted.options.get("min"), wanted.options.get("max")
        for bound, is_wrong, word in (
            (low, low is not None and value < low, "smaller than the least allowed,"),
            (high, high is not None and value > high, "bigger than the most allowed,"),
        ):
            if is_wrong:
                within = f"from {_plain(low)} to {_plain(high)}" if None not in (low, high) else _plain(bound)
                self.tell(
                    "N113",
                    node_id,
                    f"input {_quote(wanted.name)} is {_plain(value)}, {word} {_plain(bound)}",
                    f"write a number {within}",
                )

    def choice(self, node_id: str, sig: Signature, wanted: Input, value: Any) -> None:
        assert wanted.choices is not None
        if wanted.is_file or wanted.name in FILES.get(sig.name, ()):
            if not isinstance(value, str) or not value:
                self.wrong(node_id, wanted, value, "a file name")
            return
        is_model = bool(folder_of(sig.name, wanted.name)) or _lists_models(wanted)
        if is_model and not self.models:
            if not isinstance(value, str) or not value:
                self.wrong(node_id, wanted, value, "a file name")
            return
        picked = value if isinstance(value, (list, tuple)) and wanted.options.get("multiselect") else [value]
        for one in picked:
            if any(one == c and isinstance(one, bool) == isinstance(c, bool) for c in wanted.choices):
                continue
            close = _closest(str(one), [str(c) for c in wanted.choices])
            hint = f"did you mean {_quote(close)}?" if close else _has([str(c) for c in wanted.choices])
            folder = folder_of(sig.name, wanted.name)
            if is_model:
                place = f" in the server's folder {_quote(folder)}" if folder else ""
                self.tell(
                    "N117",
                    node_id,
                    f"file {_show(one)} for {_quote(wanted.name)} is not{place or ' in the list'}",
                    hint,
                )
            else:
                self.tell(
                    "N114",
                    node_id,
                    f"input {_quote(wanted.name)} is {_show(one)}, which is not in its list",
                    hint,
                )

    # ---- links

    def link(self, node_id: str, wanted: Input, value: Any) -> None:
        link = as_link(value)
        if link is None:
            self.tell(
                "N107",
                node_id,
                f"input {_quote(wanted.name)} is {_show(value)}, not a link",
                'a link is ["node id", output number]; the node id is text',
            )
            return
        source, slot = link
        if source not in self.graph:
            close = _closest(source, list(self.graph))
            hint = f"did you mean {_quote(close)}?" if close else "remove the link, or add the node"
            self.tell("N108", node_id, f"input {_quote(wanted.name)} links to unknown node {_quote(source)}", hint)
            return
        sig = self.signature_of(source)
        if not sig:
            return
        if not 0 <= slot < len(sig.outputs):
            self.tell(
                "N109",
                node_id,
                f"input {_quote(wanted.name)} links to output {slot} of node {_quote(source)} ({sig.name}), "
                f"which has {len(sig.outputs) or 'none'}",
                _slots(sig),
            )
            return
        received = self.returned(source, slot, frozenset())
        takes = _allowed_types(wanted)
        if not fits(received, takes):
            good = [i for i, out in enumerate(sig.outputs) if fits(out, takes) and out not in ("*", MATCH)]
            hint = f"output {good[0]} of node {_quote(source)} is {takes}" if good else _slots(sig)
            self.tell(
                "N110",
                node_id,
                f"input {_quote(wanted.name)} takes {_or(_parts(takes))}, but output {slot} of node "
                f"{_quote(source)} ({sig.name}) is {received}",
                hint,
            )

    def signature_of(self, node_id: str) -> Signature | None:
        node = self.graph[node_id]
        class_ = node.get("class_type") if isinstance(node, Mapping) else None
        return self.signatures.classes.get(class_) if isinstance(class_, str) else None

    def returned(self, node_id: str, slot: int, seen: frozenset[str]) -> str:
        """Return the type at an output. One that matches an input has the type of what is linked there."""
        sig = self.signature_of(node_id)
        if not sig or node_id in seen or not 0 <= slot < len(sig.outputs):
            return "*"
        if sig.outputs[slot] != MATCH:
            return sig.outputs[slot]
        inputs = self.graph[node_id].get("inputs")
        matched = [i for i in sig.inputs if i.type == MATCH]
        linked = [as_link(inputs.get(i.name)) if isinstance(inputs, Mapping) else None for i in matched]
        types = [
            type_
            for one, link in zip(matched, linked, strict=True)
            if link and link[0] in self.graph
            # a wrong type is told where it enters, not again wherever it would come out
            if fits(type_ := self.returned(*link, seen | {node_id}), _allowed_types(one))
        ]
        if not types or "*" in types:
            return ",".join(sorted({p for i in matched for p in _parts(_allowed_types(i))})) or "*"
        return ",".join(sorted({part for t in types for part in _parts(t)}))

    def cycles(self) -> None:
        """Report each ring of links once, from the least node id on."""
        sources: dict[str, list[str]] = {}
        for node_id, _, inputs in _nodes(self.graph):
            links = [as_link(v) for v in inputs.values()]
            sources[node_id] = [link[0] for link in links if link and link[0] in self.graph]
        done: set[str] = set()
        for start in sources:
            path: list[str] = []
            stack: list[tuple[str, Iterator[str]]] = []
            if start not in done:
                stack, path = [(start, iter(sources.get(start, [])))], [start]
            while stack:
                node_id, rest = stack[-1]
                source = next(rest, None)
                if source is None:
                    stack.pop()
                    path.pop()
                    done.add(node_id)
                elif source in path:
                    self.ring(path[path.index(source) :])
                elif source not in done:
                    stack.append((source, iter(sources.get(source, []))))
                    path.append(source)

    def ring(self, ring: list[str]) -> None:
        first = ring.index(min(ring, key=_by_number))
        told = [*ring[first:], *ring[:first], ring[first]]
        text = " ← ".join(f"{n}" for n in told)
        self.tell("N115", told[0], f"the links make a cycle, {text},", "remove one of its links")


def fits(received: str, wanted: str) -> bool:
    """Given an output's and an input's type, return whether they link: ComfyUI `validate_node_input`."""
    if {"*", MATCH} & {received, wanted}:
        return True
    ours, theirs = _parts(received), _parts(wanted)
    return "*" in ours | theirs or bool(ours & theirs)


def _allowed_types(wanted: Input) -> str:
    if wanted.type != MATCH:
        return "COMBO" if wanted.type == DYNAMIC else wanted.type
    template = wanted.options.get("template")
    return str(template.get("allowed_types", "*")) if isinstance(template, Mapping) else "*"


def _spelled_out(inputs: tuple[Input, ...], given: Mapping[str, Any], prefix: str = "") -> Iterator[Input]:
    """Yield the inputs a node has, given its values: a dynamic choice brings its own, a growing one many."""
    for one in inputs:
        name = f"{prefix}{one.name}"
        renamed = Input(name, one.type, one.required, one.choices, one.options)
        if one.type == GROW:
            yield from _grown(renamed, given)
            continue
        yield renamed
        if one.type != DYNAMIC:
            continue
        value = given.get(name)
        is_open = isinstance(value, (list, tuple))  # linked: any of its inputs may be there, none must
        for option in one.options.get("options", []):
            if is_open or option["key"] == value:
                below = tuple(
                    read_input(n, spec, section == "required" and not is_open)
                    for section in ("required", "optional")
                    for n, spec in (option.get("inputs", {}).get(section) or {}).items()
                )
                yield from _spelled_out(below, given, f"{name}.")


def _grown(one: Input, given: Mapping[str, Any]) -> Iterator[Input]:
    template = one.options.get("template") or {}
    specs = [s for section in ("required", "optional") for s in (template.get("input", {}).get(section) or {}).values()]
    if not specs:
        return
    least = template.get("min", 0) if one.required else 0
    names = template.get("names") or [f"{template.get('prefix', '')}{i}" for i in range(template.get("max", 0))]
    for i, part in enumerate(names):
        name = f"{one.name}.{part}"
        if i < least or name in given:
            yield read_input(name, specs[0], i < least)


# ------------------------------------------------------------------------------------------------ words


def _closest(word: str, known: list[str]) -> str | None:
    """Given a word, return the known one nearest to it, whatever the case; of equals the first."""
    folded: dict[str, str] = {}
    for name in known:
        folded.setdefault(name.casefold(), name)
    found = get_close_matches(word.casefold(), list(folded), 1, 0.7)
    return folded[found[0]] if found else None


def _quote(word: object) -> str:
    return json.dumps(str(word), ensure_ascii=False)


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _plain(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _or(types: set[str]) -> str:
    return " or ".join(sorted(types))


def _has(names: list[str]) -> str:
    if not names:
        return "it has none"
    return f"it has {', '.join(names[:8])}{' …' if len(names) > 8 else ''}"


def _slots(sig: Signature) -> str:
    told = ", ".join(f"{i} {out}" for i, out in enumerate(sig.outputs))
    return f"the outputs of {sig.name} are {told}" if told else f"{sig.name} has no outputs"


def _takes(wanted: Input) -> str:
    if wanted.choices:
        return f"one of {', '.join(str(c) for c in wanted.choices[:5])}{' …' if len(wanted.choices) > 5 else ''}"
    default = wanted.options.get("default")
    return f"{_allowed_types(wanted)}{f', usually {_show(default)}' if default not in (None, '') else ''}"


def _is_number(text: str, type_: str) -> bool:
    try:
        int(text) if type_ == "INT" else float(text)
    except ValueError:
        return False
    return True
