"""Renders a template to a ComfyUI graph, and holds it to be one that no text can change. Knows no clip.

Run as a program (`python -m ltxflow.workflow.render`) it is the child in which templates that are not ours render.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ltxflow.core.digest import canonical, parse_json
from ltxflow.core.errors import LtxflowError, Problem, Span
from ltxflow.workflow.template import Structure, Template

Graph = dict[str, Any]

# Values a template may branch on. Every other text is replaced by a dummy for the structure check, so that a
# text which adds a node, a link or an input is caught.
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
SEEDS = frozenset({("seed",), ("stage2", "seed")})  # numbers that decide no more than a text may
DUMMY = "dummy"


def render(template: Template, context: Mapping[str, Any]) -> Graph:
    """Given a template and its variables, return the graph: node id → {class_type, inputs, _meta?}.

    Raise LtxflowError, with the template's line, when a variable is missing, when the result is not JSON or
    not a graph, or when a text would change the graph's structure. One that is not ours renders in a child
    with bounds.
    """
    return render_many(template, [context])[0]


def render_many(template: Template, contexts: Sequence[Mapping[str, Any]]) -> list[Graph]:
    """Given a template and several contexts, return their graphs. One child serves all. Raise as `render`."""
    from ltxflow.workflow.sandbox import rendered_apart  # on first use: a plan of what is made renders nothing

    if template.trusted:
        return [_render(template, context) for context in contexts]
    graphs: list[Graph] = rendered_apart(template, contexts) if contexts else []
    for graph in graphs:
        _check_graph(graph, Span(template.shown, 1, 1))
    return graphs


def _render(template: Template, context: Mapping[str, Any]) -> Graph:
    plain = _with_dummies(context)
    known = canonical(plain)
    is_known = known in template.structures  # then no text makes a name twice that the dummy did not: it would differ
    graph = _graph(template, context, is_known)
    if not is_known:
        template.structures[known] = _structure(_graph(template, plain))
    if _structure(graph) != template.structures[known]:
        raise LtxflowError(
            Problem(
                "a text in the template changes its nodes",
                Span(template.shown, 1, 1),
                'write values as "text": {{ prompt }}, and let no text decide which nodes there are',
                "T010",
            )
        )
    return graph


def _graph(template: Template, context: Mapping[str, Any], is_known: bool = False) -> Graph:
    from ltxflow.workflow import jinja

    text = jinja.written(template.compiled, context, template.shown, template.parts)
    try:
        data = parse_json(text, is_known=is_known)
    except (ValueError, RecursionError) as error:
        before = text[: error.pos] if isinstance(error, json.JSONDecodeError) else ""
        reason = error.msg.lower() if isinstance(error, json.JSONDecodeError) else str(error)
        raise LtxflowError(
            Problem(
                f"the template does not render to JSON: {reason}",
                _origin(template, context, before),
                "a comma too many, or one missing?",
                "T005",
            )
        ) from None
    _check_graph(data, Span(template.shown, 1, 1))
    graph: Graph = data
    return graph


def _check_graph(data: object, span: Span) -> None:
    """Raise LtxflowError unless `data` is a mapping of nodes, each with a class and a mapping of inputs."""
    problems = []
    if not isinstance(data, dict) or not data:
        raise LtxflowError(
            Problem(
                "the template renders to no object of nodes",
                span,
                'export the workflow with "Export (API)", not with "Save"',
                "T008",
            )
        )
    for id, node in data.items():
        if (
            not isinstance(node, dict)
            or not isinstance(node.get("class_type"), str)
            or not isinstance(node.get("inputs"), dict)
            or not isinstance(node.get("_meta", {}), dict)
        ):
            problems.append(
                Problem(
                    f'"{id}" is not a node: it needs "class_type" and "inputs"',
                    span,
                    'export the workflow with "Export (API)", not with "Save"',
                    "T008",
                )
            )
    if problems:
        raise LtxflowError(*problems[:5])


def _with_dummies(value: Any, path: tuple[str, ...] = ()) -> Any:
    """Return the context with a dummy for every text but those a template may branch on. "" stays."""
    if path in SEEDS:
        return 0
    if isinstance(value, str):
        return DUMMY if value and path not in STRUCTURAL else value
    if isinstance(value, Mapping):
        return {key: _with_dummies(item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_dummies(item, path) for item in value]
    return value


def _is_link(value: object) -> bool:  # as `comfy.graph.is_link`, which is on a floor below
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)


def _structure(graph: Graph) -> Structure:
    """What a text must not change: ids, classes, the names of inputs, and links."""
    return {
        id: (
            node["class_type"],
            {name: value if _is_link(value) else None for name, value in node["inputs"].items()},
        )
        for id, node in graph.items()
    }


def _origin(template: Template, context: Mapping[str, Any], before: str) -> Span:
    """Given the rendered text up to where it stops being JSON, return the line of the template that wrote its
    end.

    The template is rendered once more with a mark in every line of its own text; only on the way to an error.
    White space is not counted: the marks keep Jinja from trimming it.
    """
    from ltxflow.workflow import jinja

    compiled = jinja.compiled(template.shown, template.text, template.parts, jinja.with_marks)
    marked = jinja.written(compiled, context, template.shown, template.parts)
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
