"""Show a clip: its values and where each is set, its prompt as the model reads it, its ComfyUI workflow."""

from __future__ import annotations

import argparse
import json
from fractions import Fraction
from typing import Any

from ltxflow.cli.options import add_settings, session_of, take_options
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.models.geometry import explain_geometry
from ltxflow.plan.explain import show
from ltxflow.plan.plan import Plan, length_in_words
from ltxflow.project.model import Clip, Project, Value
from ltxflow.project.settings import requested_precision, weights_of
from ltxflow.steps import Node, reference
from ltxflow.steps.clip.spec import ClipSpec
from ltxflow.ui.terminal import Console, columns, duration

VALUE = 60  # cells of a value
LAYER = 30  # cells of what set it, and the gaps


def add_options(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--resolved", action="store_true", help="print every value, and which layer it comes from")
    what.add_argument("--prompt", action="store_true", help="print only the prompt, as the model reads it")
    what.add_argument("--graph", action="store_true", help="print the ComfyUI workflow (API format)")
    add_settings(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        console.input_manifest = session.manifest
        plan = session.plan(take_options(session, args.take))
        nodes = [node for node in plan.plan.nodes.values() if node.target in plan.plan.wanted]
        if len({node.clip for node in nodes}) > 1 and not args.resolved:
            names = ", ".join(dict.fromkeys(node.clip for node in nodes))
            raise LtxflowError(problem("U012.several", selector=args.take, names=names))
        node = nodes[0]
        if node.kind == "reference":
            return _show_reference(args, console, plan, node)
        if args.json and (args.graph or args.prompt):
            return console.envelope("show", _graph(node) if args.graph else node.spec.clip.prompt.text, 0)
        if args.graph:
            console.say(json.dumps(_graph(node), indent=1, ensure_ascii=False))
            return 0
        if args.prompt:
            console.say(node.spec.clip.prompt.text)
            return 0
        if args.json:
            return console.envelope("show", [_data(plan, node) for node in nodes], 0)
        for each in nodes:
            _print(console, plan, each, args.resolved)
        return 0


def _show_reference(args: argparse.Namespace, console: Console, plan: Plan, node: Node) -> int:
    """Show a generated reference: its prompt, what makes it, its workflow."""
    spec: reference.ReferenceSpec = node.spec
    still, status = spec.still, plan.statuses[node.target]
    if args.graph and spec.made_with is None:
        raise LtxflowError(problem("U012.no-workflow", reference=still.path, engine=still.engine.name))
    graph = spec.graph(spec.profile.first_names(spec.weights), {}, "ltxflow") if args.graph else {}
    made_by = f"template {still.template}" if spec.made_with else f"engine {still.engine.name}"
    size = "{}x{}".format(*still.size)
    if args.json:
        fields = {"target": node.target, "key": status.key, "prompt": still.prompt, "seed": spec.seed, "size": size}
        data: Any = graph if args.graph else still.prompt if args.prompt else [{**fields, "made_by": made_by}]
        return console.envelope("show", data, 0)
    if args.graph or args.prompt:
        console.say(json.dumps(graph, indent=1, ensure_ascii=False) if args.graph else still.prompt)
        return 0
    state = "in the store" if status.state == "hit" else "not made yet"
    console.say(f"{console.paint(still.path, 'bold')}  take {node.take}  key {(status.key or '')[:12]}…  {state}")
    for line in columns([("made by", made_by), ("size", size), ("seed", str(spec.seed))]):
        console.say(f"  {line}")
    console.say()
    console.say(f"  {still.prompt}")
    return 0


def _graph(node: Node) -> dict[str, Any]:
    """Return the workflow with the first file name of the profile for each model; a server may have another."""
    spec: ClipSpec = node.spec
    return spec.graph(spec.first_names, {}, f"ltxflow/{node.clip}")


def _values(plan: Plan, clip: Clip) -> dict[str, Value]:
    project, scene = plan.project, plan.project.scene(clip.scene)
    return {**project.settings, **_weights(project), **scene.settings, **clip.settings}


def _weights(project: Project) -> dict[str, Value]:
    """Return the precision of every model, and what decided it."""
    setting, chosen = project.settings["weights"], project.choices.get("weights", {})
    first = f"profile {project.profile.name}"

    def origin(role: str) -> str:
        return setting.origin if requested_precision(project, role) else "lock" if role in chosen else first

    return {f"weights.{role}": Value(word, origin(role), setting.span) for role, word in weights_of(project).items()}


def _data(plan: Plan, node: Node) -> dict[str, Any]:
    spec: ClipSpec = node.spec
    values = _values(plan, spec.clip)
    return {
        "target": node.target,
        "key": plan.statuses[node.target].key,
        "template": spec.template.name,
        "seed": spec.seed,
        "frames": spec.frames,
        "geometry": {"base": spec.geometry.base, "decoded": spec.geometry.decoded, "crop": spec.geometry.crop},
        "prompt": dict(spec.clip.prompt.parts),
        "values": {
            name: {"value": _plain(value.value), "origin": value.origin, "where": str(value.span or "")}
            for name, value in values.items()
        },
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return float(value)
    return value if isinstance(value, (str, int, float, list, dict, type(None))) else str(value)


def _as_written(name: str, value: Any) -> str:
    """Return a value as the project file has it: seconds as `0.2s`, frames as `12f`."""
    if isinstance(value, Fraction):
        return f"{float(value):g}s"
    return f"{value}f" if name == "crossfade" else show(_plain(value))


def _print(console: Console, plan: Plan, node: Node, resolved: bool) -> None:
    spec: ClipSpec = node.spec
    status = plan.statuses[node.target]
    state = {"hit": "in the store", "miss": "not made yet", "maybe": status.waits}[status.state]
    console.say(f"{console.paint(node.clip, 'bold')}  take {node.take}  key {(status.key or '')[:12]}…  {state}")
    seconds, written = spec.frames / spec.fps, length_in_words(node, spec.fps)
    change = f"  ({written})" if written else ""
    rows = [
        ("template", f"{spec.template.name}  {spec.template.header.title}"),
        ("length", f"{spec.frames} frames = {duration(seconds)} at {spec.fps} fps{change}"),
        ("size", explain_geometry(spec.geometry, spec.profile.side_of(is_guided=spec.clip.control is not None))),
        ("seed", str(spec.seed)),
    ]
    for line in columns(rows):
        console.say(f"  {line}")
    console.say()
    for part, text in spec.clip.prompt.parts.items():
        console.say(f"  {console.paint(part, 'bold')}: {text}")
    if resolved:
        console.say()
        values = sorted(_values(plan, spec.clip).items())
        names = max(len(name) for name, _ in values)
        room = console.width - names - LAYER if console.out.isatty() else VALUE
        cut = max(VALUE // 3, min(VALUE, room))
        table = [(name, _cut(_as_written(name, value.value), cut), _layer(value)) for name, value in values]
        for line in columns([("setting", "value", "from"), *table]):
            console.say(f"  {line}")


def _layer(value: Value) -> str:
    """Return what set a value, and where: `defaults.scene at project.yaml:16:25`."""
    return f"{value.origin} at {value.span}" if value.span else value.origin


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"
