"""Renders what changed, and nothing else; then writes the film's files and timeline.json."""

from __future__ import annotations

import argparse
from functools import partial

from ltxflow.build.approval import ApprovalRequired, consent, unasked
from ltxflow.build.pipeline import make_film
from ltxflow.cli.options import add_means, add_question, means_of, question_of, waited_session
from ltxflow.session.scene_memo import PlannedFilm
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.progress import report, watcher
from ltxflow.ui.terminal import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    add_means(parser)
    parser.add_argument("--yes", action="store_true", help="render paid-for clips again, however many they are")
    parser.add_argument("--no-wait", action="store_true", help="leave when another build holds the project")


def run(args: argparse.Namespace, face: Console) -> int:
    watch = watcher(face, args.json, args.quiet, args.verbose)
    with waited_session(args, watch, wait=not args.no_wait) as session:
        if not args.json and not args.quiet:
            face.problems([p for p in session.loaded.problems if p.level == "warning"])
        question = question_of(args, session)
        asks = unasked if args.yes or args.force else partial(consent, servers=args.server)
        try:
            with watch:
                made = make_film(session, question, means_of(args), watch, asks)
        except ApprovalRequired as unsure:
            if args.json or not face.confirm(f"{unsure.question}. Go on?"):
                raise
            with watcher(face, args.json, args.quiet, args.verbose) as watch:
                made = make_film(session, question, means_of(args), watch)
        if args.json:
            data = {
                "totals": made.finished.as_json(),
                "output": made.finished.output,
                "orphans": [orphan.file for orphan in made.outlook.orphans],
                "unspoken": sorted(made.unspoken),
                "checks": {target: verdict.as_json() for target, verdict in made.verdicts.items()},
            }
            return print_envelope("build", data, made.code, [*made.concerns, *made.problems, *session.warnings])
        report(face, made, session.warnings, args.quiet)
        if made.is_nothing_new and not session.warnings and not question.groups:
            face.footing = PlannedFilm(session, made.outlook).keep
        return made.code
