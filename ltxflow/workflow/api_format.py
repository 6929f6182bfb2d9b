"""Writes a template of a workflow: header, then a node a block, each value that a clip decides as its variable.

Read a workflow as people have them: exported for the API, saved by the editor, or wrapped in something larger.

Says at which line a file is none. Knows JSON and the form of a graph; the editor's form is read by `editor`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from ltxflow.comfy.checks import EXPORT
from ltxflow.comfy.graph import Graph
from ltxflow.comfy.signatures import Signatures, as_link
from ltxflow.core.digest import parse_json
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.workflow.document import line_finder
from ltxflow.workflow.editor import ConvertedWorkflow, export, is_editor

MAX_CHARACTERS = 8 << 20  # the largest official workflow has 600,000

RULES = {
    "T020": "what is imported is JSON, and no larger than a workflow may be",
    "T021": "what is imported is a workflow",
}

# Where a workflow is in something larger: the body of POST /prompt and of services that run ComfyUI, what the editor's
# graphToPrompt() returns, an entry of the history.
WRAPPERS = ("prompt", "output", "workflow", "workflow_api", "workflow_json", "api", "input", "graph")
MAX_WRAPPED = 6

HINT = "save it in ComfyUI, or export it: File → Export (API)"


SURROGATE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)  # half of a character, as JSON escapes it


class WrittenInt(int):
    """A whole number that keeps how it was written."""

    text: str


class WrittenFloat(float):
    """A number that keeps how it was written: 1.0 stays 1.0, and 1e-3 stays 1e-3."""

    text: str


def written_number(text: str) -> WrittenInt | WrittenFloat:
    """Return a number of JSON that keeps its text. Raise ValueError for one with more than 4,000 digits."""
    number = WrittenFloat(text) if any(char in text for char in ".eE") else WrittenInt(text)
    number.text = text
    return number


@dataclass(frozen=True)
class Workflow:
    """A workflow that was read: in API format, or the document of the editor. `notes` say what was left out."""

    name: str
    graph: Graph = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    text: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()

    def span_of(self, node: str, class_: str) -> Span:
        """Return where a node of it is written: the first line, where that is not found."""
        if self.document is not None:
            return line_finder(self.text, self.name)(node.rpartition(":")[2], class_) or Span(self.name, 1, 1)
        return Span(self.name, _line(self.text, node), 1)

    def exported(self, *signatures: Signatures) -> ConvertedWorkflow:
        """Return it in API format; the editor's is converted by these signatures, the first that fit.

        Raise LtxflowError for a document that does not hold together.
        """
        if self.document is None:
            return ConvertedWorkflow(self.graph, {}, self.notes)
        found = export(self.document, signatures, line_finder(self.text, self.name))
        return ConvertedWorkflow(found.graph, found.unread, (*self.notes, *found.notes))


def read_workflow(text: str, name: str) -> Workflow:
    """Return the workflow that a file's text holds.

    Raise LtxflowError, at the line, for what is not JSON, too large, or not a workflow.
    """
    data = unwrapped(_parsed(text, name))
    if SURROGATE.search(text):
        data = _whole(data)
    if is_editor(data):
        return Workflow(name, document=data, text=text)
    if not isinstance(data, dict) or not data:
        _refuse(name, "this is no workflow: an object of nodes is expected", "T021", HINT)
    nodes, others = _sorted_out(data)
    if not nodes:
        first = next(iter(data))
        _refuse(name, f'"{first[:40]}" is no node: it has no "class_type"', "T021", EXPORT, _line(text, first))
    for id, node in nodes.items():
        if not isinstance(node.get("inputs"), dict):
            _refuse(name, f'node "{id[:40]}" has no "inputs"', "T021", EXPORT, _line(text, id))
        if not isinstance(node.get("_meta", {}), dict):
            _refuse(name, f'"_meta" of node "{id[:40]}" is no object', "T021", EXPORT, _line(text, id))
    for id, node in nodes.items():
        node.pop("is_changed", None)  # the server's own, in what it saves with a picture
        for input, value in node["inputs"].items():
            link = as_link(value)
            if link and link[0] not in nodes:
                message = f'node "{id[:40]}": "{input}" is linked to node "{link[0][:40]}", which is not in the file'
                _refuse(name, message, "T021", "export it again, whole", _line(text, id))
    notes = (f"left out, as no nodes: {', '.join(json.dumps(key[:40]) for key in others[:6])}",) if others else ()
    return Workflow(name, nodes, None, text, notes)


def _parsed(text: str, name: str) -> Any:
    if len(text) > MAX_CHARACTERS:
        hint = "pictures in a workflow are uploaded, not written into it"
        _refuse(name, f"the file has more than the {MAX_CHARACTERS:,} characters of a workflow", "T020", hint)
    try:
        return parse_json(text, number=written_number)
    except json.JSONDecodeError as error:
        hint = "is it the file that ComfyUI exported?" if text.strip() else "the file is empty"
        _refuse(name, f"this is not JSON: {error.msg.lower()}", "T020", hint, error.lineno, error.colno)
    except ValueError as error:
        _refuse(name, str(error), "T020", "correct it in the file")
    except RecursionError:
        _refuse(name, "this is nested too deep", "T020", EXPORT)


def unwrapped(data: Any) -> Any:
    """Return the workflow in what a file holds, which may be part of something larger."""
    for _ in range(MAX_WRAPPED):
        if not isinstance(data, dict) or is_editor(data) or _sorted_out(data)[0]:
            return data
        inner = next((found for key in WRAPPERS if (found := _inside(data.get(key))) is not None), None)
        if inner is None and len(data) == 1:
            inner = _inside(next(iter(data.values())))
        if inner is None:
            return data
        data = inner
    return data


def _inside(value: Any) -> dict[str, Any] | None:
    """Return the object that a wrapper holds: itself, as text, or in a list as the history has it."""
    if isinstance(value, str) and value.lstrip()[:1] == "{" and len(value) <= MAX_CHARACTERS:
        try:
            value = parse_json(value, number=written_number)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, list) and len(value) > 2:
        value = value[2]
    return value if isinstance(value, dict) and value else None


def _sorted_out(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the nodes of a graph, and the names of what else is in it: comments, the state of an editor."""
    nodes = {
        id: node for id, node in data.items() if isinstance(node, dict) and isinstance(node.get("class_type"), str)
    }
    return nodes, [id for id in data if id not in nodes]


def _whole(value: Any) -> Any:
    """Return JSON data in which no text has half a character: such a text cannot be sent."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(key): _whole(inner) for key, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value


def _refuse(name: str, message: str, code: str, hint: str, line: int = 1, col: int = 1) -> NoReturn:
    raise LtxflowError(Problem(message, Span(name, line, col), hint, code))


def _line(text: str, id: str) -> int:
    return text.count("\n", 0, max(text.find(json.dumps(id)), 0)) + 1
