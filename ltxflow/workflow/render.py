"""Render a template to a ComfyUI graph, and check that no text changes its structure.

Run as a program (`python -m ltxflow.workflow.render`) it is the child process that renders untrusted templates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ltxflow.core.digest import canonical, parse_json
from ltxflow.core.errors import LtxflowError, Span, problem
from ltxflow.workflow.template import Structure, Template

Graph = dict[str, Any]

# Values that a template may branch on. Every other text is replaced by a dummy for the structure check, so that a text
# that adds a node, a link or an input is detected.
STRUCTURAL = frozenset(
    {
        ("sigmas",),
        ("sampler",),
        ("stage2", "sigmas"),
        ("stage2", "sampler"),
        ("text_encoder_device",),
        ("control", "mode"),
        ("extend", "audio"),
    }
)
SEEDS = frozenset({("seed",), ("stage2", "seed")})  # numbers that a template may branch on no more than on a text
DUMMY = "dummy"


def render(template: Template, context: Mapping[str, Any]) -> Graph:
    """Return the graph of a template and its variables: node id → {class_type, inputs, _meta?}.

    Raise LtxflowError, with the template's line, if a variable is missing, if the result is not JSON or not a graph, or
    if a text changes the graph's structure. An untrusted template renders in a bounded child process.
    """
    return render_many(template, [context])[0]


def render_many(template: Template, contexts: Sequence[Mapping[str, Any]]) -> list[Graph]:
    """Return the graphs of several contexts. One child process renders all. Raise as `render`."""
    from ltxflow.workflow.sandbox import render_in_child  # on first use: most plans render nothing

    if template.trusted:
        return [_render(template, context) for context in contexts]
    graphs: list[Graph] = render_in_child(template, contexts) if contexts else []
    for graph in graphs:
        _check_graph(graph, Span(template.shown, 1, 1))
    return graphs


def _render(template: Template, context: Mapping[str, Any]) -> Graph:
    plain = _with_dummies(context)
    known = canonical(plain)
    is_known = known in template.structures  # then no text repeats a name: the structure would differ
    graph = _graph(template, context, is_known)
    if not is_known:
        template.structures[known] = _structure(_graph(template, plain))
    if _structure(graph) != template.structures[known]:
        raise LtxflowError(problem("T010", Span(template.shown, 1, 1)))
    return graph


def _graph(template: Template, context: Mapping[str, Any], is_known: bool = False) -> Graph:
    from ltxflow.workflow import jinja  # on first use: most plans render nothing

    text = jinja.render_text(template.compiled, context, template.shown, template.parts)
    try:
        data = parse_json(text, is_known=is_known)
    except (ValueError, RecursionError) as error:
        before = text[: error.pos] if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg.lower() if isinstance(error, json.JSONDecodeError) else str(error)
        raise LtxflowError(problem("T005", _origin(template, context, before), reason=reason)) from None
    _check_graph(data, Span(template.shown, 1, 1))
    graph: Graph = data
    return graph


def _check_graph(data: object, span: Span) -> None:
    """Raise LtxflowError unless `data` is a mapping of nodes, each with a class and a mapping of inputs."""
    problems = []
    if not isinstance(data, dict) or not data:
        raise LtxflowError(problem("T008.empty", span))
    for id, node in data.items():
        if (
            not isinstance(node, dict)
            or not isinstance(node.get("class_type"), str)
            or not isinstance(node.get("inputs"), dict)
            or not isinstance(node.get("_meta", {}), dict)
        ):
            problems.append(problem("T008.not-node", span, node=id))
    if problems:
        raise LtxflowError(*problems[:5])


def _with_dummies(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return the context with a dummy for every text except those a template may branch on. "" is kept."""
    if path in SEEDS:
        return 0
    if isinstance(value, str):
        return DUMMY if value and path not in STRUCTURAL else value
    if isinstance(value, Mapping):
        return {key: _with_dummies(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_dummies(item, path) for item in value]
    return value


def _is_link(value: object) -> bool:  # broader than `comfy.graph.is_link`: the number may be written as a text
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _structure(graph: Graph) -> Structure:
    """Return the parts of a graph that a text must not change: ids, classes, names of inputs, links."""
    return {
        id: (
            node["class_type"],
            {name: value if _is_link(value) else None for name, value in node["inputs"].items()},
        )
        for id, node in graph.items()
    }


def _origin(template: Template, context: Mapping[str, Any], before: str) -> Span:
    """Return the line of the template that wrote the end of `before`, the output up to where it stops being JSON.

    The template is rendered again with a mark in every line, only for an error. White space is not counted, as the
    marks prevent Jinja from trimming it.
    """
    from ltxflow.workflow import jinja

    compiled = jinja.compile_text(template.shown, template.text, template.parts, jinja.mark_lines)
    marked = jinja.render_text(compiled, context, template.shown, template.parts)
    wanted = len("".join(before.split()))
    span, written, end = Span(template.shown, 1, 1), 0, 0
    for mark in jinja.MARK.finditer(marked):
        written += len("".join(marked[end : mark.start()].split()))
        end = mark.end()
        if written > wanted:
            break
        span = Span(mark[1], int(mark[2]), 1)
    return span


if __name__ == "__main__":
    from ltxflow.workflow.sandbox import serve

    serve(render_many)
