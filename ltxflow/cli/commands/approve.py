"""Approves the take that is in the cut: later edits warn, and change nothing until it is rejected or forgotten."""

from __future__ import annotations

import argparse

from ltxflow.cli.options import locked_session
from ltxflow.decisions.takes import judge, name
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="a clip, such as hook/b, or a take of it: hook/b@2")
    parser.add_argument("reason", nargs="?", default="", metavar="REASON", help="a note, kept in the lock")


def run(args: argparse.Namespace, face: Console) -> int:
    with locked_session(args, face.warn) as session:
        named = name(session, args.clip)
        judge(session, named, "approved", args.reason)
    if args.json:
        return print_envelope("approve", {"clip": named.clip.path, "take": named.take, "reason": args.reason}, 0)
    face.say(f"{named.clip.path}: take {named.take} is approved")
    return 0
