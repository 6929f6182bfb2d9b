"""Puts a file made by hand into a clip's place, checked as a render is. It stays there until it is forgotten."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ltxflow.cli.options import locked_session
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.decisions.takes import name, pin
from ltxflow.media.probe import VideoFacts
from ltxflow.plan.lengths import cut_film
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="a clip, such as hook/b, or reference:hero")
    parser.add_argument("file", metavar="FILE", help="an mp4 of the film's size and rate; or a picture")
    parser.add_argument("reason", nargs="?", default="", metavar="REASON", help="a note, kept in the lock")


def run(args: argparse.Namespace, face: Console) -> int:
    file = Path(args.file)
    if not file.is_file():
        raise LtxflowError(Problem(f'no file "{args.file}"', hint="give the path of an mp4"))
    with locked_session(args, face.warn) as session:
        named = name(session, args.clip)
        facts = pin(session, named, file, args.reason)
        _, lengths = cut_film(session.speech().project, session.lock)
    scene = f"{named.clip.path.partition('/')[0]}: "
    uncovered = [replace(p, level="warning") for p in lengths if p.level == "error" and p.message.startswith(scene)]
    is_video = isinstance(facts, VideoFacts)
    if args.json:
        told = facts.as_json() if isinstance(facts, VideoFacts) else {"width": facts.width, "height": facts.height}
        return print_envelope("pin", {"clip": named.clip.path, "take": named.take, **told}, 0, uncovered)
    what = f"{facts.frames} frames" if isinstance(facts, VideoFacts) else f"{facts.width}x{facts.height}"
    then = "publish it with: ltxflow build" if is_video else "what it changes is in: ltxflow plan"
    face.say(f"{named.clip.path}: {file.name} ({what}) takes its place; {then}")
    face.problems(uncovered)
    return 0
