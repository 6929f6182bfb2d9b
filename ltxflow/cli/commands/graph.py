"""Print the build graph: Mermaid for a README or a pull request, DOT for Graphviz."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping

from ltxflow.cli.options import add_plan_options, plan_options, session_of
from ltxflow.core.timing import clip_file_name
from ltxflow.plan.graph import edges
from ltxflow.plan.plan import Plan
from ltxflow.project.model import Image
from ltxflow.steps import Node
from ltxflow.ui.terminal import Console

COLOURS = {"hit": "#bfe5bf", "miss": "#f6d9a8", "maybe": "#f3efb5"}


def add_options(parser: argparse.ArgumentParser) -> None:
    add_plan_options(parser)
    parser.add_argument("--format", choices=["mermaid", "dot"], default="mermaid", help="the format (default: mermaid)")


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        options = plan_options(args, session)
        plan = session.plan(options)
        if not options.groups:  # these depend on git, too
            console.input_manifest = session.manifest
        nodes, links = _picture(plan)
        if args.json:
            data = {
                "nodes": [{"id": id, "label": label, "state": state} for id, label, state in nodes],
                "edges": [list(link) for link in links],
            }
            return console.envelope("graph", data, 0)
        console.say(_mermaid(nodes, links) if args.format == "mermaid" else _dot(nodes, links))
        return 0


def _picture(plan: Plan) -> tuple[list[tuple[str, str, str]], list[tuple[str, str, str]]]:
    """Return nodes as (id, label, state) and edges as (from, to, label): sources, outputs, the timeline."""
    nodes: dict[str, tuple[str, str]] = {}
    links: list[tuple[str, str, str]] = []
    takes = Counter(node.entry for node in plan.plan.nodes.values())
    for scene in plan.project.scenes:
        if scene.narration.kind != "none":
            kind = scene.narration.file.name if scene.narration.file else scene.narration.kind
            nodes[f"narration:{scene.id}"] = (f"{kind} {float(scene.narration.seconds):.1f}s", "hit")
        for clip in scene.clips:
            target = plan.picked(clip)
            if target not in plan.plan.nodes:
                continue
            file = clip_file_name(scene.index, clip.index)
            frames = plan.plan.nodes[target].frames
            nodes[target] = (
                f"{name_of(plan.plan.nodes[target], takes)}\\n{frames} frames",
                plan.statuses[target].state,
            )
            nodes["timeline"] = ("timeline.json", "hit")
            links.append((target, "timeline", file))
            for image in [p for p in clip.pictures.values() if isinstance(p, Image)]:
                nodes[f"image:{image.name}"] = (image.name, "hit")
                links.append((f"image:{image.name}", target, ""))
            if scene.narration.kind != "none":
                links.append((f"narration:{scene.id}", target, "frames"))
    for target, node in plan.plan.nodes.items():  # frames, made images, and takes that are not in the cut
        nodes.setdefault(target, (name_of(node, takes), plan.statuses[target].state))
    links += [(source, target, name) for source, target, name in edges(plan.plan)]
    return [(id, label, state) for id, (label, state) in nodes.items()], links


def name_of(node: Node, takes: Mapping[str, int]) -> str:
    """Return `reference:hero` or `hook/a/last`, with the take if it is not the first or not the only one."""
    return node.entry if node.take == takes[node.entry] == 1 else f"{node.entry}@{node.take}"


def _mermaid(nodes: list[tuple[str, str, str]], links: list[tuple[str, str, str]]) -> str:
    number = {id: f"n{index}" for index, (id, _, _) in enumerate(nodes)}
    lines = ["flowchart LR"]
    lines += [
        f'  {number[id]}["{_plain(label).replace(chr(92) + "n", "<br/>")}"]:::{state}' for id, label, state in nodes
    ]
    lines += [f"  {number[a]} -->{f'|{_plain(label)}|' if label else ''} {number[b]}" for a, b, label in links]
    lines += [f"  classDef {state} fill:{colour},stroke:#666,color:#111" for state, colour in COLOURS.items()]
    return "\n".join(lines)


def _plain(text: str) -> str:
    return text.replace('"', "'").replace("|", "/").replace("<", "‹").replace(">", "›")


def _dot(nodes: list[tuple[str, str, str]], links: list[tuple[str, str, str]]) -> str:
    lines = ["digraph film {", "  rankdir=LR;", '  node [shape=box, style="rounded,filled", fontname="sans-serif"];']
    lines += [
        f'  "{_quoted(id)}" [label="{_quoted(label)}", fillcolor="{COLOURS[state]}"];' for id, label, state in nodes
    ]
    lines += [
        f'  "{_quoted(a)}" -> "{_quoted(b)}"{f" [label={chr(34)}{_quoted(label)}{chr(34)}]" if label else ""};'
        for a, b, label in links
    ]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    return text.replace('"', '\\"')
