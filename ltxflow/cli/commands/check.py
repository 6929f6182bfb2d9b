"""Check the project, its prompts and its timing, without a server."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from ltxflow.cli.options import add_settings, session_of
from ltxflow.comfy.signatures import FOLDER, core_classes, reported_core
from ltxflow.core import files
from ltxflow.core.digest import digest_json
from ltxflow.core.errors import FAILED, Problem
from ltxflow.decisions.lock_update import disagreements
from ltxflow.lock.model import moved
from ltxflow.plan.lengths import cut_film
from ltxflow.plan.plan import PlanOptions
from ltxflow.project.lint import lint
from ltxflow.project.settings import without_ignored
from ltxflow.session.session import Session
from ltxflow.steps import Node, reference
from ltxflow.steps import clip as clip_step
from ltxflow.ui.plan_view import header
from ltxflow.ui.terminal import Console, columns, count, duration

UNWRITTEN = "L035"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strict", action="store_true", help="exit 1 for warnings, too")
    parser.add_argument("--locked", action="store_true", help="exit 1 where film and lock disagree, for CI")
    add_settings(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        signatures = session.own / FOLDER
        console.input_manifest = lambda since_ns: session.manifest(since_ns, [signatures, *signatures.glob("*")])
        project = session.speech().project
        _, lengths = cut_film(project, moved(session.lock, project.moved))
        problems = [*session.loaded.problems, *session.warnings, *lengths, *lint(project, session.memory)]
        plan = None
        if not any(problem.level == "error" and problem.code != UNWRITTEN for problem in problems):
            plan = session.plan_from_lock(PlanOptions())  # templates, sizes and keys: all that needs no server
            problems += disagreements(session) if args.locked else []
            problems += _graph_problems(session, plan.plan.nodes.values())
        problems = sorted(without_ignored(project, problems), key=_place)
        counts = {level: sum(p.level == level for p in problems) for level in ("error", "warning", "advice")}
        failed = counts["error"] or (args.strict and counts["warning"])
        code = FAILED if failed else 0
        if args.json:
            return console.envelope("check", {"counts": counts, "strict": args.strict}, code, problems)
        unwritten = [p for p in problems if p.code == UNWRITTEN and len(problems) > 1 and not args.verbose]
        console.problems([p for p in problems if p not in unwritten and (p.level != "advice" or not args.quiet)])
        _print_unwritten(console, unwritten)
        if plan and not args.quiet:
            if problems:
                console.say()
            seconds = plan.film_frames / project.fps
            console.say(console.paint(header(plan), "bold"))
            numbers = f"{count(len(project.scenes), 'scene')}, {count(len(project.clips), 'clip')}"
            console.say(f"{numbers}, film {duration(seconds)}; every scene covers its narration.")
        totals = ", ".join(
            count(number, level) if level != "advice" else f"{count(number, 'piece')} of advice"
            for level, number in counts.items()
            if number
        )
        mark = console.paint("✗", "red", "bold") if failed else console.paint("✓", "green", "bold")
        console.say(f"{mark} {totals or 'no problems'}")
        return code


def _print_unwritten(console: Console, problems: Sequence[Problem]) -> None:
    """List the prompts that are still to be written: one cause, each with its place."""
    if not problems:
        return
    number = "1 prompt is" if len(problems) == 1 else f"{len(problems)} prompts are"
    console.warn(
        f"{console.paint('error', 'red', 'bold')}: {number} still TODO {console.paint(f'[{UNWRITTEN}]', 'dim')}"
    )
    for line in columns((str(p.span or ""), *p.of, _quoted(p.message)) for p in problems):
        console.warn(f"  {line}")
    console.warn(f"  {console.paint('→', 'red')} {problems[0].hint}")


def _quoted(message: str) -> str:
    return message.partition('"')[2].removesuffix('"')


def _graph_problems(session: Session, nodes: Iterable[Node]) -> list[Problem]:
    """Check the workflows of clips and references against the recorded nodes and those of known servers.

    What was found right is not rendered again; the recorded nodes are part of the code that remembers it.
    """
    kinds = [*nodes]
    profile = [files.signature(path) for path in session.project.profile.files]
    shared = digest_json([sorted(session.config.allowed_nodes), profile])
    clips = [node for node in kinds if node.kind == "clip"]
    names = {node.target: f"right {shared} {clip_step.memo_key(node, {})}" for node in clips if not node.needs}
    left = [node for node in clips if node.target not in names or session.memory.get(names[node.target]) is None]
    references = [node for node in kinds if node.kind == "reference"]
    if not left and not references:
        return []

    def check(allowed: frozenset[str]) -> list[Problem]:
        found = clip_step.check(left, allowed)
        if not found:
            for name in names.values():
                session.memory.put(name, True)
            session.memory.save(is_whole=False)
        return found + reference.check(references, allowed)

    allowed = core_classes() | session.config.allowed_nodes
    problems = check(allowed)
    if any(
        problem.code == "N102" for problem in problems
    ):  # it may be core in a newer ComfyUI; finding out reads files
        problems = check(allowed | reported_core(session.own / FOLDER))
    return problems


def _place(problem: Problem) -> tuple[str, int, int]:
    return (problem.span.file, problem.span.line, problem.span.col) if problem.span else ("", 0, 0)
