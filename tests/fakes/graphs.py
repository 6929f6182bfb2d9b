"""What ComfyUI does with a graph before running it: its own validation, and its cache's digests.

Written after the behaviour of 0.27.0 and 0.33.0, which agree (`execution.py`: `validate_prompt`, `validate_inputs`),
with their omissions: only what an output node reaches, only declared inputs, and nothing above a wrong link. Shares no
code with ltxflow.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Graph = dict[str, Any]

FILE_INPUTS = {
    ("LoadImage", "image"): "image",
    ("LoadVideo", "file"): "video",
    ("LoadAudio", "audio"): "audio",
    ("LoadLatent", "latent"): "latent",
}
MODEL_INPUTS = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("LTXAVTextEncoderLoader", "ckpt_name"): "checkpoints",
    ("LTXAVTextEncoderLoader", "text_encoder"): "text_encoders",
    ("LTXVAudioVAELoader", "ckpt_name"): "checkpoints",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("FrameInterpolationModelLoader", "model_name"): "frame_interpolation",
    ("LoraLoader", "lora_name"): "loras",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("VAELoader", "vae_name"): "vae",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("CLIPLoader", "clip_name"): "text_encoders",
}


def with_models(info: Graph, models: dict[str, list[str]], files: dict[str, list[str]]) -> Graph:
    """Given object_info, return it with this server's model files and input files in the lists."""
    made = dict(info)
    lists = {key: models.get(folder, []) for key, folder in MODEL_INPUTS.items()}
    lists |= {key: files.get(kind, []) for key, kind in FILE_INPUTS.items()}
    for (class_, name), options in lists.items():
        spec = made.get(class_, {}).get("input", {}).get("required", {}).get(name)
        if spec is None:
            continue
        filled = [spec[0], {**spec[1], "options": options}] if spec[0] == "COMBO" else [options, *spec[1:]]
        inputs = made[class_]["input"]
        made[class_] = made[class_] | {"input": inputs | {"required": inputs["required"] | {name: filled}}}
    return made


def is_v1(info: Graph) -> bool:
    return "deprecated" not in info


def error(type_: str, message: str, details: str, **extra: Any) -> Graph:
    return {"type": type_, "message": message, "details": details, "extra_info": extra}


class Validator:
    """One validation of one graph. `exists` tells whether the server finds a file of that annotated name."""

    def __init__(self, graph: Graph, info: Graph, exists: Callable[[str], bool], *, knows_cycles: bool = True) -> None:
        self.graph, self.info, self.exists, self.knows_cycles = graph, info, exists, knows_cycles
        self.done: dict[str, tuple[bool, list[Graph]]] = {}

    def run(self, targets: list[str] | None) -> tuple[Graph | None, list[str], Graph]:
        """Return (whole-prompt error or None, good output ids, node_errors)."""
        outputs = []
        for node_id, node in self.graph.items():
            if "class_type" not in node:
                return self._missing("a node is missing the class_type property", node_id, node), [], {}
            if node["class_type"] not in self.info:
                return self._missing("", node_id, node), [], {}
            wanted = targets is None or node_id in targets
            if self.info[node["class_type"]].get("output_node") and wanted:
                outputs.append(node_id)
        if not outputs:
            return error("prompt_no_outputs", "Prompt has no outputs", ""), [], {}
        good: list[str] = []
        reasons_of: list[Graph] = []
        node_errors: Graph = {}
        for output in outputs:
            try:
                valid, reasons = self.node(output, ())
            except Exception as exc:
                valid = False
                reasons = [
                    error(
                        "exception_during_validation",
                        "Exception when validating node",
                        str(exc),
                        **_trace(exc),
                    )
                ]
                self.done[output] = (False, reasons)
            if valid:
                good.append(output)
                continue
            reasons_of += reasons
            for node_id, (fine, found) in self.done.items():
                if not fine and found:
                    entry = node_errors.setdefault(
                        node_id,
                        {
                            "errors": found,
                            "dependent_outputs": [],
                            "class_type": self.graph[node_id]["class_type"],
                        },
                    )
                    entry["dependent_outputs"].append(output)
        if good:
            return None, good, node_errors
        details = "\n".join(f"{reason['message']}: {reason['details']}" for reason in reasons_of)
        whole = error("prompt_outputs_failed_validation", "Prompt outputs failed validation", details)
        return whole, [], node_errors

    def _missing(self, why: str, node_id: str, node: Graph) -> Graph:
        class_ = node.get("class_type")
        title = (node.get("_meta") or {}).get("title", class_)
        message = (
            f"Cannot execute because {why}."
            if why
            else f"Node '{title}' not found. The custom node may not be installed."
        )
        return error(
            "missing_node_type",
            message,
            f"Node ID '#{node_id}'",
            node_id=node_id,
            class_type=class_,
            node_title=title,
        )

    def node(self, node_id: str, above: tuple[str, ...]) -> tuple[bool, list[Graph]]:
        if node_id in self.done:
            return self.done[node_id]
        if node_id in above:
            if not self.knows_cycles:
                raise RecursionError("maximum recursion depth exceeded")
            ring = [*above[above.index(node_id) :], node_id]
            text = " -> ".join(f"{n} ({self.graph[n]['class_type']})" for n in ring)
            nodes = list(dict.fromkeys(ring))
            for each in nodes:
                told = error("dependency_cycle", "Dependency cycle detected", text, node_id=each, cycle_nodes=nodes)
                self.done[each] = (False, [told])
            return self.done[node_id]
        node = self.graph[node_id]
        inputs, class_ = node["inputs"], node["class_type"]
        errors: list[Graph] = []
        valid = True
        for name, spec, required in declared(self.info[class_], inputs):
            type_, options = spec[0], spec[1] if len(spec) > 1 else {}
            config = [type_, options]
            if name not in inputs:
                if required:
                    short = name.rpartition(".")[2]
                    errors.append(error("required_input_missing", "Required input is missing", short, input_name=name))
                continue
            value = inputs[name]
            if isinstance(value, list):
                if len(value) != 2:
                    errors.append(
                        error(
                            "bad_linked_input",
                            "Bad linked input, must be a length-2 list of [node_id, slot_index]",
                            name,
                            input_name=name,
                            input_config=config,
                            received_value=value,
                        )
                    )
                    continue
                source = self.info[self.graph[value[0]]["class_type"]]
                returned = source["output"]
                received = (tuple(returned) if is_v1(source) else returned)[value[1]]
                if not fits(received, type_):
                    errors.append(
                        error(
                            "return_type_mismatch",
                            "Return type mismatch between linked nodes",
                            f"{name}, received_type({received}) mismatch input_type({type_})",
                            input_name=name,
                            input_config=config,
                            received_type=received,
                            linked_node=value,
                        )
                    )
                    continue
                try:
                    if not self.node(value[0], (*above, node_id))[0]:
                        valid = False
                except Exception as exc:
                    valid = False
                    inner = error(
                        "exception_during_inner_validation",
                        "Exception when validating inner node",
                        str(exc),
                        input_name=name,
                        input_config=config,
                        exception_message=str(exc),
                        linked_node=value,
                        **_trace(exc),
                    )
                    self.done[value[0]] = (False, [inner])
            else:
                found_ = self.literal(class_, name, type_, options, inputs)
                if found_:
                    errors.append(found_)
        before, told = self.done.get(node_id, (True, []))  # a cycle that was found meanwhile is told here, too
        self.done[node_id] = (before and valid and not errors, told + [each for each in errors if each not in told])
        return self.done[node_id]

    def literal(self, class_: str, name: str, type_: Any, options: Graph, inputs: Graph) -> Graph | None:
        value = inputs[name]
        config = [type_, options]
        try:
            if isinstance(value, dict) and "__value__" in value:
                value = inputs[name] = value["__value__"]
            convert = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}.get(str(type_))
            if convert:
                value = inputs[name] = convert(value)
        except Exception as exc:
            return error(
                "invalid_input_type",
                f"Failed to convert an input value to a {type_} value",
                f"{name}, {value}, {exc}",
                input_name=name,
                input_config=config,
                received_value=value,
                exception_message=str(exc),
            )
        if (class_, name) in FILE_INPUTS:
            if not isinstance(value, str):
                raise AttributeError(f"'{type(value).__name__}' object has no attribute 'endswith'")
            if not self.exists(value):
                text = f"{name} - Invalid {FILE_INPUTS[class_, name]} file: {value}"
                return error("custom_validation_failed", "Custom validation failed for node", text, input_name=name)
            return None
        for bound, type_name, word in (
            ("min", "value_smaller_than_min", "smaller than min"),
            ("max", "value_bigger_than_max", "bigger than max"),
        ):
            if bound in options and (value < options[bound] if bound == "min" else value > options[bound]):
                return error(
                    type_name,
                    f"Value {value} {word} of {options[bound]}",
                    name,
                    input_name=name,
                    input_config=config,
                    received_value=value,
                )
        if isinstance(type_, list) or type_ == "COMBO":
            choices = type_ if isinstance(type_, list) else options.get("options", [])
            picked = value if options.get("multiselect") and isinstance(value, list) else [value]
            wrong = [one for one in picked if one not in choices]
            if wrong:
                long = len(choices) > 20
                shown = f"(list of length {len(choices)})" if long else str(choices)
                return error(
                    "value_not_in_list",
                    "Value not in list",
                    f"{name}: {', '.join(map(repr, wrong))} not in {shown}",
                    input_name=name,
                    input_config=None if long else config,
                    received_value=value,
                )
        return None


def declared(info: Graph, inputs: Graph) -> Iterator[tuple[str, list[Any], bool]]:
    """Given a class and the inputs of a node, yield (name, spec, required), dynamic inputs spelled out."""
    yield from _spelled(info["input"], inputs, "")


def _spelled(sections: Graph, inputs: Graph, prefix: str) -> Iterator[tuple[str, list[Any], bool]]:
    for section in ("required", "optional"):
        for short, spec in (sections.get(section) or {}).items():
            name = prefix + short
            match spec[0]:
                case "COMFY_AUTOGROW_V3":
                    yield from _grown(name, spec[1]["template"], inputs)
                case "COMFY_DYNAMICCOMBO_V3":
                    chosen = [option for option in spec[1]["options"] if option["key"] == inputs.get(name)]
                    for option in chosen[:1]:  # else it is no input at all, even where it is required
                        yield from _spelled(option["inputs"], inputs, f"{name}.")
                        yield name, spec, section == "required"
                case _:
                    yield name, spec, section == "required"


def _grown(name: str, template: Graph, inputs: Graph) -> Iterator[tuple[str, list[Any], bool]]:
    section = next(section for section, specs in template["input"].items() if specs)
    inner = next(iter(template["input"][section].values()))
    names = template.get("names") or [f"{template['prefix']}{i}" for i in range(template["max"])]
    for i, part in enumerate(names):
        needed = i < template["min"] and section == "required"
        if needed or f"{name}.{part}" in inputs:
            yield f"{name}.{part}", inner, needed


def fits(received: Any, wanted: Any) -> bool:
    """ComfyUI `validate_node_input`: equal, a shared member of comma unions, or a wildcard on either side."""
    if isinstance(wanted, list):
        wanted = "COMBO"
    if "*" in (received, wanted) or "COMFY_MATCHTYPE_V3" in (received, wanted):
        return True
    return bool(set(str(received).split(",")) & set(str(wanted).split(",")))


def _trace(exc: Exception) -> Graph:
    return {
        "exception_type": type(exc).__name__,
        "traceback": ['  File "/opt/ComfyUI/execution.py", line 1070, in validate_prompt\n', f"{exc}\n"],
    }


# ------------------------------------------------------------------------------------------------ digests


def links(node: Graph) -> Iterator[tuple[str, str, int]]:
    for name, value in node.get("inputs", {}).items():
        if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str):
            yield name, value[0], value[1]


def order(graph: Graph, outputs: list[str]) -> list[str]:
    """Given output ids, return what they need, sources first."""
    done: list[str] = []

    def visit(node_id: str) -> None:
        if node_id not in done:
            for _, source, _ in links(graph[node_id]):
                visit(source)
            done.append(node_id)

    for output in outputs:
        visit(output)
    return done


def digests(
    graph: Graph, nodes: list[str], file_digest: Callable[[str], str], *, naming: bool = True
) -> dict[str, str]:
    """Given node ids in order, return what the cache knows each by: class, inputs (even unknown), upstream.

    A file-reading input counts by its content. With `naming=False` a `filename_prefix` does not count: two
    graphs that differ in nothing else would render the same.
    """
    made: dict[str, str] = {}
    for node_id in nodes:
        node = graph[node_id]
        body: list[Any] = [node["class_type"]]
        for name, value in sorted(node["inputs"].items()):
            if name == "filename_prefix" and not naming:
                continue
            if isinstance(value, list) and len(value) == 2 and value[0] in made:
                body.append([name, made[value[0]], value[1]])
            elif (node["class_type"], name) in FILE_INPUTS:
                body.append([name, file_digest(str(value))])
            else:
                body.append([name, value])
        made[node_id] = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return made


# ------------------------------------------------------------------------------------------------ input files

ANNOTATED = re.compile(r"^(?P<name>.*?)(?: \[(?P<kind>input|output|temp)\])?$", re.DOTALL)


def annotated(name: str, folders: dict[str, Path]) -> Path:
    """Given `"sub/x.png [output]"`, return the path the server would open. It may lie outside its folders."""
    found = ANNOTATED.match(name)
    assert found
    return folders[found["kind"] or "input"] / found["name"]
