"""Reads a workflow in ComfyUI's API format, and says at which line it is none. Knows JSON and the form of a graph."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ltxflow.comfy.graph import Graph
from ltxflow.comfy.nodes import EXPORT, as_link
from ltxflow.core.digest import parse_json
from ltxflow.core.errors import LtxflowError, Problem, Span

MAX_CHARACTERS = 1 << 20  # of a template (script/template.py); the largest official workflow has 60,000

RULES = {
    "T020": "what is imported is JSON, and no larger than a template may be",
    "T021": "what is imported is a workflow in API format",
}


def read_workflow(text: str, name: str) -> Graph:
    """Given a file's text and its name, return the workflow: node id → {class_type, inputs, _meta?}.

    The body of a `POST /prompt` is taken for the workflow in it. Raise LtxflowError, at the line, for what is no
    JSON, too large, a workflow as the web interface saves it, or none at all.
    """
    data = _parsed(text, name)
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        _refuse(name, "this is a workflow as ComfyUI's editor saves it, not in API format", "T021", EXPORT)
    graph = unwrapped(data)
    if not isinstance(graph, dict) or not graph:
        _refuse(name, "this is no workflow: an object of nodes is expected", "T021", EXPORT)
    for id, node in graph.items():
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            _refuse(name, f'"{id[:40]}" is no node: it has no "class_type"', "T021", EXPORT, _line(text, id))
        if not isinstance(node.get("inputs"), dict):
            _refuse(name, f'node "{id[:40]}" has no "inputs"', "T021", EXPORT, _line(text, id))
        if not isinstance(node.get("_meta", {}), dict):
            _refuse(name, f'"_meta" of node "{id[:40]}" is no object', "T021", EXPORT, _line(text, id))
    for id, node in graph.items():
        for input, value in node["inputs"].items():
            link = as_link(value)
            if link and link[0] not in graph:
                message = f'node "{id[:40]}": "{input}" is linked to node "{link[0][:40]}", which is not in the file'
                _refuse(name, message, "T021", "export it again, whole", _line(text, id))
    return graph


def _parsed(text: str, name: str) -> Any:
    if len(text) > MAX_CHARACTERS:
        hint = "a workflow in API format has some 20,000; pictures in it are uploaded, not written into it"
        _refuse(name, f"the file has more than the {MAX_CHARACTERS:,} characters of a template", "T020", hint)
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        hint = "is it the file that ComfyUI exported?" if text.strip() else "the file is empty"
        _refuse(name, f"this is not JSON: {error.msg.lower()}", "T020", hint, error.lineno, error.colno)
    except ValueError as error:
        _refuse(name, str(error), "T020", "correct it in the file")
    except RecursionError:
        _refuse(name, "this is nested too deep", "T020", EXPORT)


def unwrapped(data: Any) -> Any:
    """Given what a file holds, return the workflow in it, which may be part of something larger."""
    for key in ("prompt", "output"):  # the body of POST /prompt; what the editor's graphToPrompt() returns
        inner = data.get(key) if isinstance(data, dict) else None
        if isinstance(inner, dict) and "class_type" not in inner:
            return inner
    return data


def _refuse(name: str, message: str, code: str, hint: str, line: int = 1, col: int = 1) -> NoReturn:
    raise LtxflowError(Problem(message, Span(name, line, col), hint, code))


def _line(text: str, id: str) -> int:
    return text.count("\n", 0, max(text.find(json.dumps(id)), 0)) + 1
