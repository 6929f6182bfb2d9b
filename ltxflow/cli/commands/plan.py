"""What a build would render, and why: + create, ~ change, < restore, = unchanged, - orphan. Writes nothing."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ltxflow.build.approval import check_twins, gpu_time
from ltxflow.cli.options import add_question, plan_request, question_of, session_of
from ltxflow.core.errors import CHANGES
from ltxflow.plan.plan import Plan, moves
from ltxflow.session.scene_memo import PlannedFilm, plan_film
from ltxflow.session.session import Session
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.plan_view import plan_json, print_plan
from ltxflow.ui.terminal import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    parser.add_argument(
        "--what-if", action="append", default=[], metavar="FILE", help="what an edit of this file would render again"
    )
    parser.add_argument(
        "--server", action="append", default=[], metavar="URL", help="a server the build would use, for the estimate"
    )
    parser.add_argument("--exit-code", action="store_true", help="exit 5 when there is something to do")


def run(args: argparse.Namespace, face: Console) -> int:
    request = plan_request(args)
    planned = plan_film(request) if request and not args.what_if else None
    with planned.session if planned else session_of(args) as session:
        question = question_of(args, session)
        outlook = planned.plan if planned else session.plan(question)
        check_twins(outlook)
        if not question.groups:  # these depend on git, too
            face.footing = (planned or PlannedFilm(session, outlook)).keep
        suggestions = list(moves(outlook, session.trace_of))
        code = CHANGES if args.exit_code and not outlook.is_all_done else 0
        notes = [*session.loaded.problems, *session.warnings, *outlook.problems]
        if args.what_if:
            return _what_if(args, face, session, outlook)
        if args.json:
            gpu = gpu_time(session, outlook, args.server)
            return print_envelope("plan", plan_json(outlook, suggestions, gpu), code, notes)
        if not args.quiet:
            face.problems([note for note in notes if note.level == "warning" or args.verbose])
        gpu = gpu_time(session, outlook, args.server)
        print_plan(face, outlook, quiet=args.quiet, verbose=args.verbose, apply=_build(args), gpu=gpu)
        for old, new in suggestions:
            face.say(f"  {face.paint('·', 'cyan')} {new} looks like {old} under another id")
        if suggestions:
            entries = ", ".join(f"{{ from: {old}, to: {new} }}" for old, new in suggestions)
            them = "its" if len(suggestions) == 1 else "their"
            face.say(f"    keep {them} takes with  moved: [{entries}]")
        return code


def _build(args: argparse.Namespace) -> str:
    """The command that builds what was asked about, from here: the same clips, in the same mode and settings."""
    words = ["ltxflow", "build", *args.selectors]
    words += [f"--{name}" for name in ("animatic", "relength", "force") if getattr(args, name)]
    for name in ("only", "quality", "takes"):
        words += [f"--{name}", str(getattr(args, name))] if getattr(args, name) else []
    for setting in args.set:
        words += ["--set", setting]
    for server in args.server:
        words += ["--server", server]
    words += ["-p", args.project] if args.project else []
    words += ["--root", args.root] if args.root else []
    return shlex.join(words)


def _what_if(args: argparse.Namespace, face: Console, session: Session, outlook: Plan) -> int:
    from ltxflow.session.what_if import what_if  # to be made
    from ltxflow.ui.plan_view import print_what_if  # by need: they take longer to be imported than most plans

    question = question_of(args, session)
    found = [what_if(session, question, outlook, file, Path.cwd()) for file in args.what_if]
    if args.json:
        return print_envelope("plan", {"what_if": [each.as_json() for each in found]}, 0)
    print_what_if(face, outlook, found)
    return 0
