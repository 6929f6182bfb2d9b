"""Describe what an imported workflow leaves to a clip, and write the template of it.

A template has a header, then one block per node; each value that a clip decides is written as its variable.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ltxflow.comfy.graph import OUTPUTS, Graph
from ltxflow.core.errors import Problem
from ltxflow.workflow.api_format import WrittenFloat, WrittenInt
from ltxflow.workflow.wiring import Place

TITLE = "video"  # of the node that saves the clip
_KEYS = ("class_type", "inputs", "_meta")


@dataclass(frozen=True)
class Binding:
    """A value that becomes a variable: its place, its value in the workflow, and its text in the template."""

    variable: str
    node: str
    class_type: str
    input: str
    was: Any
    text: str


@dataclass(frozen=True)
class SizeCut:
    """The place of a new node that crops the picture to the film's size: between `source` and an input."""

    place: Place
    source: tuple[str, int]
    node: str


@dataclass(frozen=True)
class ImportedWorkflow:
    """The findings in a workflow. `stages` is 2 if it doubles the picture in a second stage.

    `graph` is the changed workflow, without nodes that are not needed. A sentence each: `changed` lists the changes,
    `dropped` the nodes left out, `left` the values that are kept although a clip has a setting for them. `problems` are
    warnings. `saves` are the nodes whose files are fetched, with their titles; the first is the clip. `makes` is the
    size of its picture if the film cannot set it.
    """

    found: tuple[Binding, ...]
    saves: Mapping[str, str]
    stages: int
    has_crop: bool
    left: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    foreign: tuple[str, ...] = ()
    graph: Graph = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    cut: SizeCut | None = None
    makes: tuple[float, float] | None = None

    @property
    def variables(self) -> tuple[str, ...]:
        used = {name for one in self.found for name in re.findall(r"(?<![.\w])[a-z_]+", one.text)}
        if self.cut:
            used.add("crop")
        return tuple(name for name in ORDER if name in used)

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(name for name in ("reference", "last_frame", "sound", "control") if name in self.variables)

    def was(self, variable: str) -> Any:
        """Return the value that a variable had in the workflow, None if the variable is not used."""
        return next((one.was for one in self.found if one.variable == variable), None)


ORDER = (
    *("prompt", "negative", "seed", "width", "height", "decoded_width", "decoded_height", "crop", "frames", "fps"),
    *("reference", "last_frame", "sound", "control", "prefix"),
)


def template_text(recognised: ImportedWorkflow, title: str, way: str) -> str:
    """Return the template of a recognised workflow: a header, then one block per node."""
    written = {(one.node, one.input): one.text for one in recognised.found}
    before = ""
    if recognised.cut:
        cut = recognised.cut
        written[cut.place] = f"{{{{ [{_literal(cut.node)}, 0] if crop else {_source(cut)} }}}}"
        before = _cut(cut)
    blocks = [_node(id, node, written, recognised.saves) for id, node in recognised.graph.items()]
    return f"{_header(recognised, title, way)}{{\n{before}" + ",\n".join(blocks) + "\n}\n"


def _cut(cut: SizeCut) -> str:
    """Return the node that crops the picture to the film's size, used only where the model samples another."""
    sides = ", ".join(f'"{name}": {{{{ crop.{name} }}}}' for name in ("width", "height", "x", "y"))
    node = f'"class_type": "ImageCrop", "inputs": {{"image": {_json([*cut.source])}, {sides}}}'
    return f"{{% if crop %}}\n  {_json(cut.node)}: {{{node}}},\n{{% endif %}}\n"


def _source(cut: SizeCut) -> str:
    return f"[{_literal(cut.source[0])}, {cut.source[1]}]"


def _literal(text: str) -> str:
    """Return a text as a Jinja literal: its escapes are those of JSON, except for halves of a character."""
    return json.dumps(text, ensure_ascii=False)


def _header(recognised: ImportedWorkflow, title: str, way: str) -> str:
    lines = [f"title: {_yaml(title)}", f"way: {_yaml(way)}"]
    if recognised.needs:
        lines.append(f"needs: [{', '.join(recognised.needs)}]")
    lines.append(f"variables: [{', '.join(recognised.variables)}]")
    return "{# ltxflow-template: 1\n" + "\n".join(lines) + "\n#}\n"


def _yaml(text: str) -> str:
    """Return a text on one line that ends neither the comment nor YAML's text."""
    shown = "".join(char for char in " ".join(text.split()) if char.isprintable())[:200]
    return json.dumps(shown, ensure_ascii=False).replace("#}", "# }")


def _node(id: str, node: Mapping[str, Any], written: Mapping[Place, str], saves: Mapping[str, str]) -> str:
    inputs = [
        f"      {_json(name)}: {written.get((id, name)) or _json(value)}" for name, value in node["inputs"].items()
    ]
    lines = [f'    "class_type": {_json(node["class_type"])}']
    lines.append('    "inputs": {\n' + ",\n".join(inputs) + "\n    }" if inputs else '    "inputs": {}')
    lines += [f"    {_json(key)}: {_json(value)}" for key, value in node.items() if key not in _KEYS]
    meta = _meta(id, node.get("_meta", {}), saves)
    if meta:
        lines.append(f'    "_meta": {_json(meta)}')
    return f"  {_json(id)}: {{\n" + ",\n".join(lines) + "\n  }"


def _meta(id: str, meta: Mapping[str, Any], saves: Mapping[str, str]) -> dict[str, Any]:
    """Return a node's `_meta`. Titles mark the files that are fetched, so other nodes with one are renamed."""
    if id in saves:
        return {**meta, "title": saves[id]}
    if meta.get("title") in OUTPUTS:
        return {**meta, "title": f"{meta['title']} (node {id})"}
    return dict(meta)


def _json(value: Any) -> str:
    if isinstance(value, WrittenInt | WrittenFloat):
        return value.text
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_json(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_json, value)) + "]"
    return json.dumps(value)


def _text(text: str) -> str:
    """Return a text as JSON without Jinja syntax: some nodes write a choice as `{{a|b}|c}`."""
    is_plain = all(char.isprintable() or char in "\n\t" for char in text)
    written = json.dumps(text, ensure_ascii=not is_plain)
    for opening, code in (("{{", "{\\u007b"), ("{%", "{\\u0025"), ("{#", "{\\u0023")):
        written = written.replace(opening, code)
    return written
