"""Render what changed, then publish the film and timeline.json."""

from __future__ import annotations

import argparse
import os
import signal
import threading
from contextlib import suppress
from functools import partial

from ltxflow.build.approval import ApprovalRequired, approve_all, require_approval
from ltxflow.build.pipeline import COMFYUI, make_film
from ltxflow.cli.options import (
    add_build_options,
    add_plan_options,
    build_options,
    plan_options,
    print_notes,
    waited_session,
)
from ltxflow.core.errors import USAGE
from ltxflow.plan.renditions import counts
from ltxflow.session.scene_memo import PlannedFilm
from ltxflow.ui.plan_view import seed_line
from ltxflow.ui.progress import print_result, watcher
from ltxflow.ui.terminal import Console, print_envelope


def add_options(parser: argparse.ArgumentParser) -> None:
    add_plan_options(parser)
    add_build_options(parser)
    parser.add_argument("--yes", action="store_true", help="re-render finished clips without asking")
    parser.add_argument("--attached", action="store_true", help="stop when standard input ends, for programs")
    parser.add_argument("--no-wait", action="store_true", help="exit instead of waiting for another build")


def stop_with_stdin() -> None:
    """Interrupt this process, as Ctrl-C does, when its standard input ends: the program that started it is gone."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def run(args: argparse.Namespace, console: Console) -> int:
    if args.attached:
        stop_with_stdin()
    watch = watcher(console, args.json, args.quiet, args.verbose)
    with waited_session(args, watch, wait=not args.no_wait) as session:
        if not args.json:
            print_notes(args, console, session)
        options = plan_options(args, session)
        approve = approve_all if args.yes or args.force else partial(require_approval, servers=args.server)
        executors = getattr(args, "executors", COMFYUI)
        try:
            with watch:
                result = make_film(session, options, build_options(args), watch, approve, executors)
        except ApprovalRequired as required:
            if args.json or not console.can_ask:
                raise
            if not console.confirm(f"{required.question}. Continue?"):
                console.say("nothing was rendered; see each reason with: ltxflow plan")
                return USAGE
            with watcher(console, args.json, args.quiet, args.verbose) as watch:
                result = make_film(session, options, build_options(args), watch, executors=executors)
        if args.json:
            data = {
                "totals": result.finished.as_json(),
                "output": result.finished.output,
                "states": counts(result.states.values()),
                "clips": result.states,
                "orphans": [orphan.file for orphan in result.plan.orphans],
                "unspoken": sorted(result.speech_failures),
                "checks": {target: verdict.as_json() for target, verdict in result.verdicts.items()},
            }
            return print_envelope("build", data, result.code, [*result.concerns, *result.problems, *session.warnings])
        print_result(console, result, session.warnings, args.quiet)
        if not (args.quiet or args.animatic or result.finished.rendered):
            for line in seed_line(console, session):
                console.say(line)
        if result.is_nothing_new and not session.warnings and not options.groups:
            console.input_manifest = PlannedFilm(session, result.plan).keep
        return result.code
