"""One clip: its values with where each comes from, its prompt as the model reads it, its ComfyUI workflow."""

from __future__ import annotations

import argparse
import json
from typing import Any

from ltxflow.cli.options import add_settings, session_of
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.models.geometry import explain_geometry
from ltxflow.plan.explain import show
from ltxflow.plan.plan import Plan, PlanOptions, length_in_words
from ltxflow.project.model import Clip, Project, Value
from ltxflow.project.weights import requested_precision, weights_of
from ltxflow.steps import Node, reference
from ltxflow.steps import clip as clip_step
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, columns, duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("selector", metavar="CLIP", help="a clip, such as hook/b or hook/b@2")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--resolved", action="store_true", help="every value, and which layer it comes from")
    what.add_argument("--prompt", action="store_true", help="only the prompt, as the model reads it")
    what.add_argument("--graph", action="store_true", help="the ComfyUI workflow (API format) as it would be sent")
    add_settings(parser)


def run(args: argparse.Namespace, face: Console) -> int:
    with session_of(args) as session:
        outlook = session.plan(PlanOptions(selectors=(args.selector,)))
        nodes = [node for node in outlook.plan.nodes.values() if node.target in outlook.plan.wanted]
        if len({node.clip for node in nodes}) > 1 and not args.resolved:
            names = ", ".join(dict.fromkeys(node.clip for node in nodes))
            raise LtxflowError(
                Problem(f'"{args.selector}" is more than one clip', hint=f"choose one: {names}", code="U012")
            )
        node = nodes[0]
        if node.kind == "reference":
            return _show_reference(args, face, outlook, node)
        if args.json and (args.graph or args.prompt):
            return print_envelope("show", _graph(node) if args.graph else node.spec.clip.prompt.text, 0)
        if args.graph:
            face.say(json.dumps(_graph(node), indent=1, ensure_ascii=False))
            return 0
        if args.prompt:
            face.say(node.spec.clip.prompt.text)
            return 0
        if args.json:
            return print_envelope("show", [_data(outlook, node) for node in nodes], 0)
        for each in nodes:
            _print(face, outlook, each, args.resolved)
        return 0


def _show_reference(args: argparse.Namespace, face: Console, outlook: Plan, node: Node) -> int:
    """An image that is made first: what it is asked for as, by whom, and where it can be looked at."""
    sitting: reference.ReferenceSpec = node.spec
    still, status = sitting.still, outlook.statuses[node.target]
    if args.graph and sitting.made_by is None:
        raise LtxflowError(Problem(f"{still.path} is made by the engine {still.engine.name}: it has no graph"))
    graph = sitting.graph(sitting.profile.first_names(sitting.weights), {}, "ltxflow") if args.graph else {}
    made_by = f"template {still.template}" if sitting.made_by else f"engine {still.engine.name}"
    size = "{}x{}".format(*still.size)
    if args.json:
        told = {"target": node.target, "key": status.key, "prompt": still.prompt, "seed": sitting.seed, "size": size}
        data: Any = graph if args.graph else still.prompt if args.prompt else [{**told, "made_by": made_by}]
        return print_envelope("show", data, 0)
    if args.graph or args.prompt:
        face.say(json.dumps(graph, indent=1, ensure_ascii=False) if args.graph else still.prompt)
        return 0
    state = "in the store" if status.state == "hit" else "not made yet"
    face.say(f"{face.paint(still.path, 'bold')}  take {node.take}  key {(status.key or '')[:12]}…  {state}")
    for line in columns([("made by", made_by), ("size", size), ("seed", str(sitting.seed))]):
        face.say(f"  {line}")
    face.say()
    face.say(f"  {still.prompt}")
    return 0


def _graph(node: Node) -> dict[str, Any]:
    """The workflow with the profile's first file name for each model: a server may know them by another."""
    shot: clip_step.ClipSpec = node.spec
    return clip_step.graph(shot, clip_step.first_names(shot), {}, f"ltxflow/{node.clip}")


def _values(outlook: Plan, clip: Clip) -> dict[str, Value]:
    project, scene = outlook.project, outlook.project.scene(clip.scene)
    return {**project.settings, **_weights(project), **scene.settings, **clip.settings}


def _weights(project: Project) -> dict[str, Value]:
    """Every precision, and what decided it."""
    asked, chosen = project.settings["weights"], project.choices.get("weights", {})
    first = f"profile {project.profile.name}"

    def origin(role: str) -> str:
        return asked.origin if requested_precision(project, role) else "lock" if role in chosen else first

    return {f"weights.{role}": Value(word, origin(role), asked.span) for role, word in weights_of(project).items()}


def _data(outlook: Plan, node: Node) -> dict[str, Any]:
    shot: clip_step.ClipSpec = node.spec
    values = _values(outlook, shot.clip)
    return {
        "target": node.target,
        "key": outlook.statuses[node.target].key,
        "template": shot.template.name,
        "seed": shot.seed,
        "frames": shot.frames,
        "geometry": {"base": shot.geometry.base, "decoded": shot.geometry.decoded, "crop": shot.geometry.crop},
        "prompt": dict(shot.clip.prompt.parts),
        "values": {
            name: {"value": _plain(value.value), "origin": value.origin, "where": str(value.span or "")}
            for name, value in values.items()
        },
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, list, dict, type(None))) else str(value)


def _print(face: Console, outlook: Plan, node: Node, resolved: bool) -> None:
    shot: clip_step.ClipSpec = node.spec
    status = outlook.statuses[node.target]
    state = {"hit": "in the store", "miss": "not made yet", "maybe": status.waits}[status.state]
    face.say(f"{face.paint(node.clip, 'bold')}  take {node.take}  key {(status.key or '')[:12]}…  {state}")
    seconds, written = shot.frames / shot.fps, length_in_words(node, shot.fps)
    became = f"  ({written})" if written else ""
    rows = [
        ("template", f"{shot.template.name}  {shot.template.header.title}"),
        ("length", f"{shot.frames} frames = {duration(seconds)} at {shot.fps} fps{became}"),
        ("size", explain_geometry(shot.geometry, shot.profile.side_of(is_guided=shot.clip.control is not None))),
        ("seed", str(shot.seed)),
    ]
    for line in columns(rows):
        face.say(f"  {line}")
    face.say()
    for part, text in shot.clip.prompt.parts.items():
        face.say(f"  {face.paint(part, 'bold')}: {text}")
    if resolved:
        face.say()
        table = [
            (name, show(_plain(value.value)), value.origin, str(value.span or ""))
            for name, value in sorted(_values(outlook, shot.clip).items())
        ]
        for line in columns([("setting", "value", "from", "at"), *[(n, _cut(v), o, w) for n, v, o, w in table]]):
            face.say(f"  {line}")


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
