"""Show what a build would render, and why: + create, ~ change, < restore, = unchanged, - orphan."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ltxflow.build.approval import check_same_motion, find_answering, gpu_time, unwritten_due
from ltxflow.cli.options import (
    add_plan_options,
    check_servers,
    plan_options,
    plan_request,
    print_notes,
    session_of,
)
from ltxflow.core.errors import CHANGES, Problem, problem
from ltxflow.plan.plan import Plan
from ltxflow.plan.plan_diff import moves
from ltxflow.session.scene_memo import PlannedFilm, plan_film
from ltxflow.session.session import Session
from ltxflow.ui.plan_view import apply_line, plan_json, print_plan, print_what_if, seed_line
from ltxflow.ui.terminal import Console


def add_options(parser: argparse.ArgumentParser) -> None:
    add_plan_options(parser)
    parser.add_argument(
        "--what-if", action="append", default=[], metavar="FILE", help="show what an edit of this file would re-render"
    )
    parser.add_argument("--server", action="append", default=[], metavar="URL", help="a server to estimate for")
    parser.add_argument("--exit-code", action="store_true", help="exit 5 if there is something to do")


def run(args: argparse.Namespace, console: Console) -> int:
    check_servers(args)
    request = plan_request(args)
    planned = plan_film(request) if request and not args.what_if else None
    with planned.session if planned else session_of(args) as session:
        options = plan_options(args, session)
        plan = planned.plan if planned else session.plan(options)
        check_same_motion(plan)
        if args.what_if:
            return _what_if(args, console, session, plan)
        servers = find_answering(session, plan, args.server)
        kept = planned or PlannedFilm(session, plan)
        if not options.groups:  # these depend on git, too
            console.input_manifest = kept.keep_rows if servers else kept.keep  # servers come and go
        suggestions = list(moves(plan, session.trace_of))
        code = CHANGES if args.exit_code and not plan.is_all_done else 0
        gpu = gpu_time(session, plan, args.server, up=servers.up if servers else ())
        unwritten = [replace(each, level="warning") for each in unwritten_due(plan)]
        if args.json:
            notes = [*session.loaded.problems, *session.warnings, *plan.problems, *unwritten]
            return console.envelope("plan", plan_json(plan, suggestions, gpu, servers), code, notes)
        print_notes(args, console, session, plan)
        if not args.quiet:
            console.problems(unwritten if args.verbose or len(unwritten) < 2 else [_together(unwritten)])
        slates = "" if args.only else _build_command(args, animatic=True)
        apply = apply_line(console, servers, _build_command(args), slates, unwritten=len(unwritten))
        hints = [*_moved_lines(console, suggestions), *(seed_line(console, session) if not args.animatic else [])]
        print_plan(console, plan, quiet=args.quiet, verbose=args.verbose, apply=apply, gpu=gpu, hints=hints)
        return code


def _moved_lines(console: Console, suggestions: Sequence[tuple[str, str]]) -> list[str]:
    """Return how to keep the takes of clips that seem to have new ids."""
    if not suggestions:
        return []
    lines = [f"  {console.paint('·', 'cyan')} {new} looks like {old} with a new id" for old, new in suggestions]
    entries = ", ".join(f"{{ from: {old}, to: {new} }}" for old, new in suggestions)
    whose = "its" if len(suggestions) == 1 else "their"
    return [*lines, f"    keep {whose} takes with  moved: [{entries}]"]


def _together(unwritten: list[Problem]) -> Problem:
    """Return one warning for all prompts that are still to be written: `check` lists them."""
    first, *others = (each.of[0] for each in unwritten)
    names = f"{first} and {len(others)} more"
    return problem("L035.many", unwritten[0].span, level="warning", count=len(unwritten), names=names)


def _build_command(args: argparse.Namespace, *, animatic: bool = False) -> str:
    """Return the command that builds what was planned, or that draws it as slates."""
    words = ["ltxflow", "build", *args.selectors]
    words += ["--animatic"] if animatic or args.animatic else []
    words += [f"--{name}" for name in ("relength", "force") if getattr(args, name) and not animatic]
    for name in ("only", "quality", "takes"):
        words += [f"--{name}", str(getattr(args, name))] if getattr(args, name) else []
    for setting in args.set:
        words += ["--set", setting]
    for server in args.server if not animatic else ():
        words += ["--server", server]
    words += ["-p", args.project] if args.project else []
    words += ["--root", args.root] if args.root else []
    return shlex.join(words)


def _what_if(args: argparse.Namespace, console: Console, session: Session, plan: Plan) -> int:
    from ltxflow.session.revision import what_if  # takes longer to import than most plans take

    options = plan_options(args, session)
    found = [what_if(session, options, plan, file, Path.cwd()) for file in args.what_if]
    if args.json:
        return console.envelope("plan", {"what_if": [each.as_json() for each in found]}, 0)
    print_what_if(console, plan, found)
    return 0
