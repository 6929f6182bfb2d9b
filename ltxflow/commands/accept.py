"""Lets existing results stand for what the clips are now: nothing is rendered, and the lock says who accepted it."""

from __future__ import annotations

import argparse

from ltxflow.faces.jsonlines import print_envelope
from ltxflow.faces.terminal import Face
from ltxflow.run.options import locked_session
from ltxflow.run.takes import accept, name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="clips, such as hook/b, or takes: hook/b@2")
    parser.add_argument("--dry-run", action="store_true", help="only say which")


def run(args: argparse.Namespace, face: Face) -> int:
    with locked_session(args, face.warn) as session:
        named = [name(session, clip) for clip in args.clips]
        accepted = [each for each in named if not args.dry_run and accept(session, each)]
    if args.json:
        return print_envelope("accept", {"accepted": [each.target for each in accepted]}, 0)
    for each in named:
        told = "would be looked at" if args.dry_run else "stands for what it is now" if each in accepted else "matches"
        face.say(f"{each.clip.path}: take {each.take} {told}")
    return 0
