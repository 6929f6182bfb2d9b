"""Forgets a take: the next build makes it anew. Its files stay in the store."""

from __future__ import annotations

import argparse

from ltxflow.cli.options import locked_session
from ltxflow.decisions.takes import forget, name
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="a clip, such as hook/b, or a take of it: hook/b@2")


def run(args: argparse.Namespace, face: Console) -> int:
    with locked_session(args, face.warn) as session:
        named = name(session, args.clip)
        forget(session, named)
    if args.json:
        return print_envelope("forget", {"clip": named.clip.path, "take": named.take}, 0)
    face.say(f"{named.clip.path}: take {named.take} is forgotten")
    return 0
