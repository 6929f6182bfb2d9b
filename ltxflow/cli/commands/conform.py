"""Makes the finished film: one mp4 from what is published, with narration, crossfades, chapters and captions."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ltxflow.cli.options import count_of, waited_session
from ltxflow.export.conform import Conformed, Finish, conform
from ltxflow.store.leases import gc_shared
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.progress import watcher
from ltxflow.ui.terminal import Console, count, duration


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--proxy", action="store_true", help="small and quick to make: for a look")
    parser.add_argument("--burn-captions", action="store_true", help="captions in the picture, not beside it")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="where (default: public/film.mp4)")
    parser.add_argument("--jobs", type=count_of, metavar="N", help="parts encoded at once (default: one a processor)")


def run(args: argparse.Namespace, face: Console) -> int:
    watch = watcher(face, args.json, args.quiet, args.verbose)
    finish = Finish(args.proxy, args.burn_captions)
    with waited_session(args, watch, wait=True) as session, gc_shared(session.store.root):
        with watch:
            made = conform(session, finish, args.output and args.output.absolute(), args.jobs or 0, watch)
        problems = [*made.problems, *session.warnings]
    if args.json:
        return print_envelope("conform", _data(made), made.code, problems)
    face.problems(problems)
    if made.is_interrupted:
        face.warn("interrupted: the parts that are finished are kept; run it again to go on")
    elif made.code == 0 and not args.quiet:
        _say(face, made, args.proxy)
    return made.code


def _say(face: Console, made: Conformed, is_proxy: bool) -> None:
    facts = made.facts
    told = f"{made.encoded} of {count(made.parts, 'part')} encoded" if made.encoded else "nothing to encode"
    speed = f", {made.film_seconds / made.seconds:.1f}× real time" if made.encoded == made.parts else ""
    face.say(f"{face.paint('Conformed', 'green', 'bold')} the film: {told}  in {duration(made.seconds)}{speed}")
    size = f"{facts['width']}×{facts['height']}{' (proxy)' if is_proxy else ''}"
    stands = f", {count(made.stand_ins, 'stand-in')} in it" if made.stand_ins else ""
    stands += face.paint(f", {count(made.stale, 'stale clip')}", "yellow") if made.stale else ""
    face.say(f"→ {os.path.relpath(made.path)}  {duration(made.film_seconds)}, {size}{stands}")


def _data(made: Conformed) -> dict[str, object]:
    return {
        "output": str(made.path),
        "parts": made.parts,
        "encoded": made.encoded,
        "standIns": made.stand_ins,
        "stale": made.stale,
        "filmSeconds": made.film_seconds,
        "seconds": made.seconds,
        **{name: made.facts[name] for name in ("frames", "fps", "width", "height") if name in made.facts},
    }
