"""Read a workflow file: exported for the API, saved by the editor (see `editor`), or wrapped in larger JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ltxflow.comfy.graph import Graph
from ltxflow.comfy.signatures import Signatures, as_link
from ltxflow.core.digest import parse_json
from ltxflow.core.errors import LtxflowError, Span, problem
from ltxflow.workflow.editor import ConvertedWorkflow, export, is_editor
from ltxflow.workflow.widgets import line_finder

MAX_CHARACTERS = 8 << 20  # the largest official workflow has 600,000

# Keys of larger JSON that hold a workflow: the body of POST /prompt and of services that run ComfyUI, the result of the
# editor's graphToPrompt(), an entry of the history.
WRAPPERS = ("prompt", "output", "workflow", "workflow_api", "workflow_json", "api", "input", "graph")
MAX_WRAPPED = 6


SURROGATE = re.compile(r"\\ud[89a-f]", re.IGNORECASE)  # half of a character, as JSON escapes it


class WrittenInt(int):
    """A whole number with the text that wrote it."""

    text: str


class WrittenFloat(float):
    """A number with the text that wrote it: 1.0 stays 1.0, and 1e-3 stays 1e-3."""

    text: str


def written_number(text: str) -> WrittenInt | WrittenFloat:
    """Return a JSON number that keeps its text. Raise ValueError for one with more than 4,000 digits."""
    number = WrittenFloat(text) if any(char in text for char in ".eE") else WrittenInt(text)
    number.text = text
    return number


@dataclass(frozen=True)
class Workflow:
    """A workflow as read: in API format, or the document of the editor. `notes` list the parts left out."""

    name: str
    graph: Graph = field(default_factory=dict)
    document: Mapping[str, Any] | None = None
    text: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()

    def span_of(self, node: str, class_: str) -> Span:
        """Return the place of a node in the file, the first line if it is not found."""
        if self.document is not None:
            return line_finder(self.text, self.name)(node.rpartition(":")[2], class_) or Span(self.name, 1, 1)
        return Span(self.name, _line(self.text, node), 1)

    def exported(self, *signatures: Signatures) -> ConvertedWorkflow:
        """Return it in API format; an editor's document is converted with the first signatures that fit.

        Raise LtxflowError for an inconsistent document.
        """
        if self.document is None:
            return ConvertedWorkflow(self.graph, {}, self.notes)
        found = export(self.document, signatures, line_finder(self.text, self.name))
        return ConvertedWorkflow(found.graph, found.unread, (*self.notes, *found.notes))


def read_workflow(text: str, name: str) -> Workflow:
    """Return the workflow in a file's text.

    Raise LtxflowError, at the line, for a text that is not JSON, too large, or not a workflow.
    """
    data = unwrap(_parsed(text, name))
    if SURROGATE.search(text):
        data = _whole(data)
    if is_editor(data):
        return Workflow(name, document=data, text=text)
    if not isinstance(data, dict) or not data:
        raise LtxflowError(problem("T021.not-object", Span(name, 1, 1)))
    nodes, others = _split_nodes(data)
    if not nodes:
        first = next(iter(data))
        raise LtxflowError(problem("T021.not-node", Span(name, _line(text, first), 1), node=first[:40]))
    for id, node in nodes.items():
        span = Span(name, _line(text, id), 1)
        if not isinstance(node.get("inputs"), dict):
            raise LtxflowError(problem("T021.no-inputs", span, node=id[:40]))
        if not isinstance(node.get("_meta", {}), dict):
            raise LtxflowError(problem("T021.meta", span, node=id[:40]))
    for id, node in nodes.items():
        node.pop("is_changed", None)  # the server adds it to the workflow that it saves with a picture
        for input, value in node["inputs"].items():
            link = as_link(value)
            if link and link[0] not in nodes:
                span = Span(name, _line(text, id), 1)
                raise LtxflowError(problem("T021.link", span, node=id[:40], input=input, source=link[0][:40]))
    keys = ", ".join(json.dumps(key[:40]) for key in others[:6])
    notes = (f"left out entries that are not nodes: {keys}",) if others else ()
    return Workflow(name, nodes, None, text, notes)


def _parsed(text: str, name: str) -> Any:
    start = Span(name, 1, 1)
    if len(text) > MAX_CHARACTERS:
        raise LtxflowError(problem("T020.characters", start, most=MAX_CHARACTERS))
    try:
        return parse_json(text, number=written_number)
    except json.JSONDecodeError as error:
        span, reason = Span(name, error.lineno, error.colno), error.msg.lower()
        found = problem("T020.not-json" if text.strip() else "T020.empty", span, reason=reason)
    except ValueError as error:
        found = problem("T020.value", start, reason=error)
    except RecursionError:
        found = problem("T020.too-deep", start)
    raise LtxflowError(found)


def unwrap(data: Any) -> Any:
    """Return the workflow in the JSON of a file, which may be a part of it."""
    for _ in range(MAX_WRAPPED):
        if not isinstance(data, dict) or is_editor(data) or _split_nodes(data)[0]:
            return data
        inner = next((found for key in WRAPPERS if (found := _inside(data.get(key))) is not None), None)
        if inner is None and len(data) == 1:
            inner = _inside(next(iter(data.values())))
        if inner is None:
            return data
        data = inner
    return data


def _inside(value: Any) -> dict[str, Any] | None:
    """Return the object in a wrapper: as such, as text, or in a list as in the history."""
    if isinstance(value, str) and value.lstrip()[:1] == "{" and len(value) <= MAX_CHARACTERS:
        try:
            value = parse_json(value, number=written_number)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, list) and len(value) > 2:
        value = value[2]
    return value if isinstance(value, dict) and value else None


def _split_nodes(data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the nodes of a graph, and the names of its other entries: comments, the state of an editor."""
    nodes = {
        id: node for id, node in data.items() if isinstance(node, dict) and isinstance(node.get("class_type"), str)
    }
    return nodes, [id for id in data if id not in nodes]


def _whole(value: Any) -> Any:
    """Return JSON data without halves of characters, which cannot be sent."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_whole(key): _whole(inner) for key, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value


def _line(text: str, id: str) -> int:
    return text.count("\n", 0, max(text.find(json.dumps(id)), 0)) + 1
