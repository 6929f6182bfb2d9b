"""Encode the finished film: one mp4 of the published clips with narration, crossfades, chapters and captions."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ltxflow.cli.options import count_of, waited_session
from ltxflow.export.conform import Conformed, Finish, conform
from ltxflow.store.leases import gc_shared
from ltxflow.ui.progress import watcher
from ltxflow.ui.terminal import Console, count, duration, print_envelope


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--proxy", action="store_true", help="encode a small film, quickly")
    parser.add_argument("--burn-captions", action="store_true", help="draw captions into the picture")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the file to write (default: public/film.mp4)"
    )
    parser.add_argument("--jobs", type=count_of, metavar="N", help="parts encoded at once (default: one per CPU)")


def run(args: argparse.Namespace, console: Console) -> int:
    watch = watcher(console, args.json, args.quiet, args.verbose)
    finish = Finish(args.proxy, args.burn_captions)
    with waited_session(args, watch, wait=True) as session, gc_shared(session.store.root):
        with watch:
            result = conform(session, finish, args.output and args.output.absolute(), args.jobs or 0, watch)
        problems = [*result.problems, *session.warnings]
    if args.json:
        return print_envelope("conform", _data(result), result.code, problems)
    console.problems(problems)
    if result.is_interrupted:
        console.warn("interrupted; finished parts are kept, run the command again to continue")
    elif result.code == 0 and not args.quiet:
        _print(console, result, args.proxy)
    return result.code


def _print(console: Console, result: Conformed, is_proxy: bool) -> None:
    facts = result.facts
    parts = f"{result.encoded} of {count(result.parts, 'part')} encoded" if result.encoded else "nothing to encode"
    speed = f", {result.film_seconds / result.seconds:.1f}× real time" if result.encoded == result.parts else ""
    console.say(
        f"{console.paint('Conformed', 'green', 'bold')} the film: {parts}  in {duration(result.seconds)}{speed}"
    )
    size = f"{facts['width']}×{facts['height']}{' (proxy)' if is_proxy else ''}"
    notes = f", {count(result.stand_ins, 'stand-in')}" if result.stand_ins else ""
    notes += console.paint(f", {count(result.stale, 'stale clip')}", "yellow") if result.stale else ""
    console.say(f"→ {os.path.relpath(result.path)}  {duration(result.film_seconds)}, {size}{notes}")


def _data(result: Conformed) -> dict[str, object]:
    return {
        "output": str(result.path),
        "parts": result.parts,
        "encoded": result.encoded,
        "standIns": result.stand_ins,
        "stale": result.stale,
        "filmSeconds": result.film_seconds,
        "seconds": result.seconds,
        **{name: result.facts[name] for name in ("frames", "fps", "width", "height") if name in result.facts},
    }
