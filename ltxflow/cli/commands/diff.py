"""What became of the film since a git revision: clips and why, seconds, GPU time. --markdown for a pull request."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ltxflow.build.approval import gpu_time
from ltxflow.cli.options import session_of
from ltxflow.plan.plan import PlanOptions
from ltxflow.session.revision import differs_from, left_to_render
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.plan_view import markdown, print_difference
from ltxflow.ui.terminal import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ref", metavar="REF", nargs="?", default="HEAD", help="a branch, tag or commit (default: HEAD)")
    parser.add_argument("--markdown", action="store_true", help="as Markdown, for a pull request")


def run(args: argparse.Namespace, face: Console) -> int:
    with session_of(args) as session:
        found = differs_from(session, args.ref)
        outlook = session.plan(PlanOptions())
        left = left_to_render(outlook, found.changed)
        gpu = gpu_time(session, outlook, targets=set(left.targets))
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
                "to_render": {"clips": left.clips, "more_takes": left.more_takes, "references": left.references},
                "estimate": None if gpu is None else {**asdict(gpu), "sureness": gpu.sureness},
            }
            return print_envelope("diff", data, 0)
        if args.markdown:
            face.say(markdown(session.project.title, found, args.ref, left, gpu))
        else:
            print_difference(face, found, args.ref, left, gpu)
        return 0
