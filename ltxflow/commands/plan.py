"""What a build would render, and why: + create, ~ change, < restore, = unchanged, - orphan. Writes nothing."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress

from ltxflow.comfy.places import find_servers
from ltxflow.core.errors import CHANGES, LtxflowError
from ltxflow.faces.jsonlines import print_envelope
from ltxflow.faces.planview import plan_json, print_plan
from ltxflow.faces.terminal import Face
from ltxflow.plan.estimate import Estimate, estimate
from ltxflow.plan.outlook import Outlook, moves
from ltxflow.run.options import add_question, question_of, session_of
from ltxflow.run.session import Session
from ltxflow.steps import pool_of
from ltxflow.store.speeds import read_speeds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    parser.add_argument("--exit-code", action="store_true", help="exit 5 when there is something to do")


def run(args: argparse.Namespace, face: Face) -> int:
    session = session_of(args)
    outlook = session.look(question_of(args))
    face.rests_on = frozenset(session.rests_on())
    suggestions = list(moves(outlook, session.trace_of))
    changed = len(outlook.changes) > len(outlook.of_kind("unchanged"))
    code = CHANGES if args.exit_code and changed else 0
    notes = [*session.loaded.problems, *session.warnings, *outlook.problems]
    if args.json:
        return print_envelope("plan", plan_json(outlook, suggestions, _gpu_time(session, outlook)), code, notes)
    if not args.quiet:
        face.problems([note for note in notes if note.level == "warning" or args.verbose])
    verb = "ltxflow build --animatic" if args.animatic else "ltxflow build"
    verb += f" --only {args.only}" if args.only else ""
    print_plan(face, outlook, quiet=args.quiet, verbose=args.verbose, apply=verb, gpu=_gpu_time(session, outlook))
    for old, new in suggestions:
        face.say(f"  {old} looks like {new} under another id; keep its takes with  moved: [{{from: {old}, to: {new}}}]")
    return code


def _gpu_time(session: Session, outlook: Outlook) -> Estimate | None:
    """What is to be rendered will take, by what earlier renders took on the servers that a build would use."""
    missing = [s.node for s in outlook.statuses.values() if s.state != "hit" and pool_of(s.node) == "gpu"]
    speeds = read_speeds(session.store.root) if missing else {}
    if not speeds:
        return None
    servers: list[str] = []
    with suppress(LtxflowError):  # a server that is named wrongly is for the build to tell
        config = {"servers": list(session.config.servers)} if session.config.servers else {}
        servers = [place.url for place in find_servers([], os.environ, config, session.project.server or None)]
    return estimate(missing, speeds, servers)
