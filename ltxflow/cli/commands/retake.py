"""Renders one more take of a clip, with a seed of its own, and nothing else. The cut stays as it is until a pick."""

from __future__ import annotations

import argparse

from ltxflow.build.pipeline import make_film
from ltxflow.cli.options import add_means, means_of, waited_session
from ltxflow.decisions.takes import name, next_take, refuse
from ltxflow.plan.plan import PlanOptions
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.progress import report, watcher
from ltxflow.ui.terminal import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="a clip, such as hook/b, or reference:hero")
    parser.add_argument("reason", nargs="?", default="", metavar="REASON", help="what is wrong with the one in the cut")
    add_means(parser)


def run(args: argparse.Namespace, face: Console) -> int:
    watch = watcher(face, args.json, args.quiet, args.verbose)
    with waited_session(args, watch, wait=True) as session:
        named = next_take(session, name(session, args.clip).clip)
        if args.reason:
            refuse(session, named.clip, args.reason)
        selector = f"{named.clip.path}@{named.take}"
        with watch:
            made = make_film(session, PlanOptions(selectors=(selector,), also=(selector,)), means_of(args), watch)
    verdict = made.verdicts.get(named.target)
    is_made = made.run.statuses[named.target].trace is not None
    if args.json:
        data = {
            "clip": named.clip.path,
            "take": named.take,
            "made": is_made,
            "totals": made.finished.as_json(),
            "checks": verdict.as_json() if verdict else None,
        }
        return print_envelope("retake", data, made.code, [*made.concerns, *made.problems, *session.warnings])
    report(face, made, session.warnings, args.quiet)
    if is_made:
        face.say(f"{named.clip.path}: take {named.take} is made; put it into the cut with:")
        face.say(f"  ltxflow pick {named.clip.path} {named.take}")
    return made.code
