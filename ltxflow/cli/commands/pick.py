"""Puts a take of a clip into the cut. The next build publishes it; that costs no GPU."""

from __future__ import annotations

import argparse

from ltxflow.cli.options import locked_session
from ltxflow.decisions.takes import TakeRef, name, pick
from ltxflow.project.model import Still
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="a clip, such as hook/b, or reference:hero")
    parser.add_argument("take", type=int, metavar="TAKE", help="the number of the take")


def run(args: argparse.Namespace, face: Console) -> int:
    with locked_session(args, face.warn) as session:
        named = TakeRef(name(session, args.clip).clip, args.take)
        changed = pick(session, named)
    if args.json:
        return print_envelope("pick", {"clip": named.clip.path, "take": args.take, "changed": changed}, 0)
    told = "is in the cut; publish it with: ltxflow build" if changed else "is in the cut already"
    if isinstance(named.clip, Still):
        told = "is picked; what it changes is in: ltxflow plan" if changed else "is picked already"
    face.say(f"{named.clip.path}: take {args.take} {told}")
    return 0
