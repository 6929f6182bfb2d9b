"""Show what changed since a git revision: clips with reasons, film length, GPU time."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ltxflow.build.approval import gpu_time
from ltxflow.cli.options import session_of
from ltxflow.plan.plan import PlanOptions
from ltxflow.session.revision import differs_from, left_to_render
from ltxflow.ui.plan_view import markdown, print_difference
from ltxflow.ui.terminal import Console


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--markdown", action="store_true", help="print Markdown, for a pull request")


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        console.input_manifest = session.manifest
        found = differs_from(session, args.ref)
        plan = session.plan(PlanOptions())
        left = left_to_render(plan, found.changed)
        gpu = gpu_time(session, plan, targets=set(left.targets))
        if args.json:
            data = {
                "ref": args.ref,
                "clips": [each.as_json() for each in found.clips],
                "shown": list(found.shown),
                "film": {
                    "before": {"clips": found.clips_before, "frames": found.frames_before},
                    "now": {"clips": found.clips_now, "frames": found.frames},
                    "fps": found.fps,
                },
                "to_render": asdict(left.tally),
                "estimate": None if gpu is None else {**asdict(gpu), "sureness": gpu.sureness},
            }
            return console.envelope("diff", data, 0)
        if args.markdown:
            console.say(markdown(session.project.title, found, args.ref, left, gpu))
        else:
            print_difference(console, found, args.ref, left, gpu)
        return 0
