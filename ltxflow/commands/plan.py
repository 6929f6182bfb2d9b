"""What a build would render, and why: + create, ~ change, < restore, = unchanged, - orphan. Writes nothing."""

from __future__ import annotations

import argparse

from ltxflow.core.errors import CHANGES
from ltxflow.faces.jsonlines import print_envelope
from ltxflow.faces.planview import plan_json, print_plan
from ltxflow.faces.terminal import Face
from ltxflow.plan.outlook import moves
from ltxflow.run.options import add_question, question_of, session_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    parser.add_argument("--exit-code", action="store_true", help="exit 5 when there is something to do")


def run(args: argparse.Namespace, face: Face) -> int:
    session = session_of(args)
    outlook = session.look(question_of(args))
    suggestions = list(moves(outlook, session.trace_of))
    changed = len(outlook.changes) > len(outlook.of_kind("unchanged"))
    code = CHANGES if args.exit_code and changed else 0
    notes = [*session.loaded.problems, *session.warnings, *outlook.problems]
    if args.json:
        return print_envelope("plan", plan_json(outlook, suggestions), code, notes)
    if not args.quiet:
        face.problems([note for note in notes if note.level == "warning" or args.verbose])
    verb = "ltxflow build --animatic" if args.animatic else "ltxflow build"
    print_plan(face, outlook, verbose=args.verbose, apply=verb)
    for old, new in suggestions:
        face.say(f"  {old} looks like {new} under another id; keep its takes with  moved: [{{from: {old}, to: {new}}}]")
    return code
