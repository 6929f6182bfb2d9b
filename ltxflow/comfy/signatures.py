"""Read the signatures of ComfyUI's node classes: inputs, outputs, and whether a class is core.

The recorded ones (`core_nodes.json`) come from servers of several versions: see `docs/reference/comfyui.md`. Inputs
are declared, and dynamic ones expanded, as in ComfyUI 0.27.0 and 0.33.0: `execution.py` (validate_inputs),
`comfy_api/latest/_io.py` (parse_class_inputs), `comfy_execution/validation.py` (validate_node_input).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

from ltxflow.core.workspace import read_json

Graph = Mapping[str, Any]

FOLDER = "signatures"  # in the project's `.ltxflow`: those of servers it has used
CORE_NODES = Path(__file__).with_name("core_nodes.json")

WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3", "*"})
MATCH, GROW, DYNAMIC, SLOT = "COMFY_MATCHTYPE_V3", "COMFY_AUTOGROW_V3", "COMFY_DYNAMICCOMBO_V3", "COMFY_DYNAMICSLOT_V3"

# The folder of the server that an input's files are in: by class and input, else by input alone (core loaders).
FOLDERS: Mapping[tuple[str, str], str] = {
    ("", "ckpt_name"): "checkpoints",
    ("", "lora_name"): "loras",
    ("", "text_encoder"): "text_encoders",
    ("", "vae_name"): "vae",
    ("", "unet_name"): "diffusion_models",
    ("", "clip_name"): "text_encoders",
    ("", "clip_name1"): "text_encoders",
    ("", "clip_name2"): "text_encoders",
    ("", "clip_name3"): "text_encoders",
    ("", "clip_name4"): "text_encoders",
    ("", "control_net_name"): "controlnet",
    ("", "style_model_name"): "style_models",
    ("", "gligen_name"): "gligen",
    ("", "hypernetwork_name"): "hypernetworks",
    ("", "photomaker_model_name"): "photomaker",
    ("", "audio_encoder_name"): "audio_encoders",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("FrameInterpolationModelLoader", "model_name"): "frame_interpolation",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("ModelPatchLoader", "name"): "model_patches",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
}
MODEL_SUFFIXES = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf")

# Inputs by which a core node opens a file on the server, of every recorded version (`get_annotated_filepath`,
# `get_input_subfolders` and the folders of data sets in `nodes.py` and `comfy_extras/`).
FILES: Mapping[str, tuple[str, ...]] = {
    "LoadImage": ("image",),
    "LoadImageMask": ("image",),
    "LoadImageOutput": ("image",),
    "LoadVideo": ("file",),
    "LoadAudio": ("audio",),
    "LoadLatent": ("latent",),
    "Load3D": ("model_file", "image"),
    "Load3DAdvanced": ("model_file",),
    "Load3DAnimation": ("model_file", "image"),
    "LoadImageDataSetFromFolder": ("folder",),
    "LoadImageTextDataSetFromFolder": ("folder",),
    "LoadVideoDataSetFromFolder": ("folder",),
    "LoadVideoTextDataSetFromFolder": ("folder",),
    "LoadTrainingDataset": ("folder_name",),
    "Painter": ("mask",),
    "RecordAudio": ("audio",),
    "WebcamCapture": ("image",),
}
UPLOADS = ("image_upload", "video_upload", "audio_upload", "animated_image_upload", "file_upload")

# Core inputs that their node checks itself: the server compares them with no list and no range (`VALIDATE_INPUTS`,
# `validate_inputs` with these parameters; "*" where it takes any).
SELF_CHECKED: Mapping[str, tuple[str, ...]] = {
    "CustomCombo": ("*",),
    "Load3D": ("*",),
    "Load3DAdvanced": ("*",),
    "LoadAudio": ("audio",),
    "LoadImage": ("image",),
    "LoadImageMask": ("image",),
    "LoadImageOutput": ("image",),
    "LoadLatent": ("latent",),
    "LoadVideo": ("file",),
    "ModelAttentionBackend": ("attention",),
    "SelectCLIPDevice": ("device",),
    "SelectModelDevice": ("device",),
    "SelectVAEDevice": ("device",),
    "WebcamCapture": ("image",),
}


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
        """Whether the node opens a file of this name on the server."""
        return any(self.options.get(name) for name in UPLOADS)

    @property
    def lists_models(self) -> bool:
        """Whether its list offers model files."""
        choices = self.choices if self.type == "COMBO" else None
        return any(isinstance(c, str) and c.lower().endswith(MODEL_SUFFIXES) for c in choices or ())

    @property
    def types(self) -> str:
        """The types that a link may carry, separated by commas."""
        if self.type != MATCH:
            return "COMBO" if self.type == DYNAMIC else self.type
        template = self.options.get("template")
        return str(template.get("allowed_types", "*")) if isinstance(template, Mapping) else "*"


@dataclass(frozen=True)
class Signature:
    """One node class: inputs in the server's order, output types by slot."""

    name: str
    inputs: tuple[Input, ...]
    outputs: tuple[str, ...]
    is_output: bool
    hidden: frozenset[str] = frozenset()
    module: str = ""  # Python module as the server reports it: "nodes", "comfy_extras.nodes_lt", "custom_nodes.…"

    def declared(self, given: Mapping[str, Any]) -> Mapping[str, Input]:
        """Return the inputs of a node of this class by name; they may depend on its values: see `expand`."""
        return self._fixed or {one.name: one for one in expand(self.inputs, given)}

    @cached_property
    def _fixed(self) -> Mapping[str, Input] | None:
        """The inputs of a class where they do not depend on values, as nearly always; else None."""
        if any(one.type in (GROW, DYNAMIC, SLOT) for one in self.inputs):
            return None
        return {one.name: one for one in self.inputs}

    @cached_property
    def is_core(self) -> bool:
        """Whether it comes with ComfyUI: the server reports it, or a recorded version has it."""
        return is_core_module(self.module) or self.name in core_classes()


@dataclass(frozen=True)
class Signatures:
    """The node classes of one server, or the recorded ones (`is_recorded`: core nodes, without names of files)."""

    classes: Mapping[str, Signature]
    is_recorded: bool = False
    version: str = ""  # of the recorded ones

    @classmethod
    def from_object_info(cls, info: Mapping[str, Any], *, is_recorded: bool = False, version: str = "") -> Signatures:
        """Read the answer of `GET /object_info`; ill-shaped entries are left out."""
        found = {name: sig for name, entry in info.items() if (sig := _signature(name, entry))}
        return cls(found, is_recorded, version)

    @staticmethod
    def recorded(version: str = "") -> Signatures:
        """Return the core nodes of a recorded version of ComfyUI, by default the newest."""
        return _recorded(version or versions()[0])

    @cached_property
    def older(self) -> tuple[Signatures, ...]:
        """The other recorded versions, newest first, if this is the newest one; none for a server's."""
        newest, *others = versions() if self.is_recorded else ("",)
        return tuple(Signatures.recorded(version) for version in others) if self.version == newest else ()

    @cached_property
    def linked_types(self) -> frozenset[str]:
        """The types that only a link can carry: a node returns them, and no widget does."""
        returned = {part for sig in self.classes.values() for out in sig.outputs for part in parts(out)}
        return frozenset(returned - WIDGETS - {MATCH, "COLOR"})


# ------------------------------------------------------------------------------------------------ recorded


@cache
def _file() -> Mapping[str, Mapping[str, Any]]:
    return dict(json.loads(CORE_NODES.read_text("utf-8"))["versions"])


def versions() -> tuple[str, ...]:
    """Return the recorded versions of ComfyUI, newest first."""
    return tuple(_file())


def recorded_info(version: str = "") -> dict[str, Any]:
    """Return the core nodes of a recorded version in the format of `GET /object_info`. Raise KeyError for another."""
    wanted = version or versions()[0]
    found: dict[str, Any] = {}
    for each, changes in _file().items():  # the file has the newest whole, and the differences of older ones
        found |= changes
        if each == wanted:
            return {name: entry for name, entry in sorted(found.items()) if entry is not None}
    raise KeyError(wanted)


@cache
def _recorded(version: str) -> Signatures:
    return Signatures.from_object_info(recorded_info(version), is_recorded=True, version=version)


@cache
def core_classes() -> frozenset[str]:
    """Return the core classes of all recorded versions, which any project may use without an allowance.

    A server may report more of them: `Signature.is_core`.
    """
    return frozenset(name for classes in _file().values() for name in classes)


def reported_core(cache: Path) -> frozenset[str]:
    """Return the core classes in the signatures of servers that `cache` holds; they may be newer than the recorded."""
    found: set[str] = set()
    for path in sorted(cache.glob("*.json")):
        try:
            signatures = Signatures.from_object_info(read_json(path))
        except (OSError, ValueError, AttributeError):  # it is requested again when needed
            continue
        found |= {name for name, signature in signatures.classes.items() if signature.is_core}
    return frozenset(found)


def is_core_module(module: str) -> bool:
    """Return whether classes of a Python module come with ComfyUI. Partner nodes (`comfy_api_nodes`) cost money: no."""
    return module == "nodes" or module == "comfy_extras" or module.startswith("comfy_extras.")


# ------------------------------------------------------------------------------------------------ reading


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
    module = str(entry.get("python_module") or "")
    return Signature(name, tuple(inputs), outputs, bool(entry.get("output_node")), hidden, module)


def read_input(name: str, spec: Any, required: bool = True) -> Input:
    """Read `["INT", {…}]`, `["IMAGE"]`, `[["a", "b"], {…}]` and `["COMBO", {"options": ["a"]}]`."""
    found = spec if isinstance(spec, (list, tuple)) and spec else [str(spec)]
    options = found[1] if len(found) > 1 and isinstance(found[1], Mapping) else {}
    if isinstance(found[0], (list, tuple)):
        return Input(name, "COMBO", required, tuple(found[0]), options)
    if found[0] == "COMBO" and isinstance(options.get("options"), (list, tuple)):
        return Input(name, "COMBO", required, tuple(options["options"]), options)
    if found[0] == DYNAMIC:
        return Input(name, DYNAMIC, required, tuple(option["key"] for option in _options(options)), options)
    return Input(name, str(found[0]), required, None, options)


def _options(options: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the options of a dynamic combo that have a key."""
    listed = options.get("options")
    for option in listed if isinstance(listed, (list, tuple)) else ():
        if isinstance(option, Mapping) and "key" in option:
            yield option


def parts(types: str) -> set[str]:
    """Split a union of types: `"IMAGE,MASK"`."""
    return {part.strip() for part in types.split(",")}


def fits(received: str, wanted: str) -> bool:
    """Return whether an output's type may be linked to an input's, by the server's rule (`validate_node_input`)."""
    if {"*", MATCH} & {received, wanted}:
        return True
    ours, theirs = parts(received), parts(wanted)
    return "*" in ours | theirs or bool(ours & theirs)


def expand(inputs: tuple[Input, ...], given: Mapping[str, Any], prefix: str = "") -> Iterator[Input]:
    """Yield the inputs of a node, which depend on its values: a dynamic choice adds inputs, a growing one many.

    Names are as in a graph: `format.codec`. A dynamic choice that is linked, or has a value that it does not offer,
    adds none, as on the server.
    """
    for one in inputs:
        name = f"{prefix}{one.name}"
        if one.type == GROW:
            yield from _grown(name, one, given)
            continue
        yield Input(name, one.type, one.required, one.choices, one.options) if prefix else one
        if one.type == DYNAMIC and isinstance(given.get(name), (str, int, float)):
            chosen = next((o for o in _options(one.options) if o["key"] == given[name]), {})
            yield from expand(_declared(chosen.get("inputs")), given, f"{name}.")
        elif one.type == SLOT and name in given:
            yield from expand(_declared(one.options.get("inputs")), given, f"{name}.")


def _declared(sections: Any) -> tuple[Input, ...]:
    if not isinstance(sections, Mapping):
        return ()
    return tuple(
        read_input(name, spec, section == "required")
        for section in ("required", "optional")
        for name, spec in (sections.get(section) or {}).items()
    )


def _grown(name: str, one: Input, given: Mapping[str, Any]) -> Iterator[Input]:
    """Yield the inputs of a growing one. The first are required if the template's input is, even if it is optional."""
    template = one.options.get("template")
    if not isinstance(template, Mapping) or not (declared := _declared(template.get("input"))):
        return
    least = template["min"] if declared[0].required and isinstance(template.get("min"), int) else 0
    most = template["max"] if isinstance(template.get("max"), int) else 0
    names = template.get("names") or [f"{template.get('prefix', '')}{i}" for i in range(most)]
    for i, part in enumerate(names):
        if i < least or f"{name}.{part}" in given:
            yield Input(f"{name}.{part}", declared[0].type, i < least, declared[0].choices, declared[0].options)


# ------------------------------------------------------------------------------------------------ files of a graph


class ModelInput(NamedTuple):
    """A model file a graph names. `folder` is the server's (`/models/{folder}`), "" where it is unknown."""

    node: str
    class_type: str
    input: str
    value: str
    folder: str


class FileInput(NamedTuple):
    """A file that a node opens on the server."""

    node: str
    class_type: str
    input: str
    value: Any


def folder_of(class_type: str, name: str) -> str:
    """Return the model folder of an input's files, "" if unknown. Of a nested name the last part counts."""
    last = name.rpartition(".")[2]
    return FOLDERS.get((class_type, last)) or FOLDERS.get(("", last), "")


def model_inputs(graph: Graph, signatures: Signatures | None = None) -> list[ModelInput]:
    """Return the model files that a graph names, in the order of node ids.

    With signatures, inputs of unknown loaders are found too: lists that offer model files.
    """
    found = []
    for node_id, class_type, inputs in nodes_of(graph):
        sig = signatures.classes.get(class_type) if signatures else None
        declared = sig.declared(inputs) if sig else {}
        for name, value in inputs.items():
            if not isinstance(value, str):
                continue
            folder = folder_of(class_type, name)
            is_listed = name in declared and declared[name].lists_models
            if folder or is_listed or (name.endswith("_name") and value.lower().endswith(MODEL_SUFFIXES)):
                found.append(ModelInput(node_id, class_type, name, value, folder))
    return found


def file_inputs(graph: Graph, signatures: Signatures | None = None) -> list[FileInput]:
    """Return the inputs by which a graph's nodes open files on the server, linked or not.

    With signatures, the uploads that custom classes declare are found too.
    """
    found = []
    for node_id, class_type, inputs in nodes_of(graph):
        sig = signatures.classes.get(class_type) if signatures else None
        uploads = {name for name, one in sig.declared(inputs).items() if one.is_file} if sig else set()
        for name, value in inputs.items():
            if value == "" and class_type in ("Painter", "Load3D", "Load3DAdvanced"):
                continue  # these open nothing then
            if name in FILES.get(class_type, ()) or name in uploads:
                found.append(FileInput(node_id, class_type, name, value))
    return found


def nodes_of(graph: Graph) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (id, class, inputs) of the well-formed nodes, in the order of ids (numbers first)."""
    for node_id in sorted(graph, key=by_number):
        node = graph[node_id]
        if isinstance(node, Mapping) and isinstance(node.get("class_type"), str):
            inputs = node.get("inputs")
            yield node_id, node["class_type"], inputs if isinstance(inputs, Mapping) else {}


def by_number(node_id: str) -> tuple[int, int, str]:
    return (0, int(node_id), "") if node_id.isdecimal() else (1, 0, str(node_id))


def as_link(value: Any) -> tuple[str, int] | None:
    """Return (node id, slot) of an input's value if it is a well-formed link, else None."""
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not isinstance(value[0], str):
        return None
    slot = value[1]
    return (value[0], slot) if isinstance(slot, int) and not isinstance(slot, bool) else None
