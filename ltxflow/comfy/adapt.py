"""Adapt a graph to the signatures of the server that will run it. Pure; no key depends on it.

ComfyUI moves inputs between versions: `SaveVideo` takes `format` and `codec` in 0.27, and `format.codec` later. Newer
versions add required inputs. A template's meaning stays the same, so the graph that is sent follows the signatures of
the server. A graph that fits already is left unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ltxflow.comfy.signatures import DYNAMIC, FILES, Input, Signature, Signatures, folder_of, versions
from ltxflow.comfy.wording import closest, quote, show

DEPTH = 12  # rounds until a node's inputs are all spelled and filled: a dynamic choice brings others


@dataclass(frozen=True)
class Adaptation:
    """One input that was renamed (`was` is its earlier name) or filled with its default (`was` is "").

    `is_omission` marks a default that no version of ComfyUI added: the template left the input out.
    """

    node: str
    class_type: str
    input: str
    value: Any
    was: str = ""
    is_omission: bool = False

    def __str__(self) -> str:
        how = f"written for {self.was}" if self.was else f"= {show(self.value)}, its default"
        return f"{self.class_type} {quote(self.node)}: {self.input} {how}"


def adapt_graph(graph: Mapping[str, Any], signatures: Signatures) -> tuple[dict[str, Any], tuple[Adaptation, ...]]:
    """Return the graph in the form that `signatures` declare, and the changes made.

    A flat input becomes the nested one that is declared (`codec` → `format.codec`), and the reverse; a required input
    without a value gets the default that the signature gives. Adapting twice changes nothing.
    """
    adapted: dict[str, Any] = dict(graph)
    changes: list[Adaptation] = []
    for node_id, node in graph.items():
        if not isinstance(node, Mapping) or not isinstance(node.get("inputs"), Mapping):
            continue
        sig = signatures.classes.get(node["class_type"]) if isinstance(node.get("class_type"), str) else None
        if sig is None or _fits(sig, node["inputs"]):
            continue
        inputs, own_changes = _adapt(sig, node_id, node["inputs"])
        if own_changes:
            adapted[node_id] = {**node, "inputs": inputs}
            changes += own_changes
    return adapted, tuple(changes)


def _fits(sig: Signature, inputs: Mapping[str, Any]) -> bool:
    """Return whether nothing needs adapting: given inputs are declared and visible, required ones are given."""
    declared = sig.declared(inputs)
    return all(name in declared and not declared[name].options.get("hidden") for name in inputs) and all(
        name in inputs for name, one in declared.items() if one.required
    )


def _adapt(sig: Signature, node_id: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], list[Adaptation]]:
    inputs, changes = dict(given), []
    for _ in range(DEPTH):
        declared = sig.declared(inputs)
        renamed = next(_respelled(declared, inputs), None)
        if renamed is not None:
            old, new = renamed
            inputs = {new if name == old else name: value for name, value in inputs.items()}
            changes.append(Adaptation(node_id, sig.name, new, inputs[new], old))
            continue
        filled = next(_filled(sig, declared, inputs, given), None)
        if filled is None:
            break
        one, value = filled
        inputs[one.name] = value
        changes.append(Adaptation(node_id, sig.name, one.name, value, is_omission=_is_old(sig, one, given)))
    return inputs, changes


def _respelled(declared: Mapping[str, Input], inputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (name in the graph, name that is declared) for inputs that the class has under another spelling."""
    for name in inputs:
        one = declared.get(name)
        if one is not None and not one.options.get("hidden"):  # a hidden one is kept for graphs of older versions
            continue
        free = [other for other in declared if other not in inputs]
        nested = [other for other in free if other.endswith(f".{name}") and (one is None or declared[other].required)]
        if len(nested) == 1:
            yield name, nested[0]
        elif one is None:
            ends = (name.split(".", cut)[-1] for cut in range(1, name.count(".") + 1))
            flat = next((end for end in ends if end in free), None)
            if flat is not None:
                yield name, flat


def _filled(
    sig: Signature, declared: Mapping[str, Input], inputs: Mapping[str, Any], given: Mapping[str, Any]
) -> Iterator[tuple[Input, Any]]:
    spare = [name for name in inputs if name not in declared and name not in sig.hidden]
    for one in declared.values():
        if one.required and one.name not in inputs and not closest(one.name, spare):
            value = _default(sig, one, given)
            if value is not None:
                yield one, value


def _default(sig: Signature, one: Input, given: Mapping[str, Any]) -> Any:
    """Return the declared default; the first choice, as in the web interface, of an input added without one."""
    value = one.options.get("default")
    if isinstance(value, list):
        return {"__value__": value}  # how a graph writes a list that is not a link
    if value is not None:
        return value if one.choices is None or value in one.choices else None
    is_file = folder_of(sig.name, one.name) or one.lists_models or one.is_file or one.name in FILES.get(sig.name, ())
    if one.choices and (one.type == DYNAMIC or not is_file) and _is_added(sig, one, given):
        return one.choices[0]
    return None


def _oldest(sig: Signature, given: Mapping[str, Any]) -> Mapping[str, Input] | None:
    known = Signatures.recorded(versions()[-1]).classes.get(sig.name)
    return None if known is None else known.declared(given)


def _is_added(sig: Signature, one: Input, given: Mapping[str, Any]) -> bool:
    """Return whether a core class got this input after the oldest recorded version."""
    oldest = _oldest(sig, given)
    return oldest is not None and one.name not in oldest


def _is_old(sig: Signature, one: Input, given: Mapping[str, Any]) -> bool:
    oldest = _oldest(sig, given)
    return oldest is not None and one.name in oldest and oldest[one.name].required
