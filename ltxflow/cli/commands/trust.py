"""Allow the templates, commands, URLs and absolute paths that a project brings, as they are now."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ltxflow.documents.document import find_project
from ltxflow.project.config import is_trusted, read_config, remember_trust
from ltxflow.project.load import load
from ltxflow.ui.terminal import Console, print_envelope


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--show", action="store_true", help="list them without allowing them")
    parser.add_argument("--revoke", action="store_true", help="withdraw trust")


def run(args: argparse.Namespace, console: Console) -> int:
    file = find_project(args.project, Path.cwd())
    config = read_config(os.environ)
    if args.revoke:
        remember_trust(config, file.parent, None)
        if args.json:
            return print_envelope("trust", {"brings": {}, "trusted": False}, 0)
        console.say(f"no longer trusted: {file.parent}")
        return 0
    foreign = dict(load(file, root=args.root, is_trusted=True, engines=config.engines).project.foreign)
    trusted = is_trusted(config, file.parent, foreign)
    if foreign and not trusted and not args.show:
        remember_trust(config, file.parent, foreign)
        trusted = True
    if args.json:
        return print_envelope("trust", {"brings": foreign, "trusted": trusted}, 0)
    for name, digest in sorted(foreign.items()):
        console.say(f"  {name}  {digest[:16]}")
    if not foreign:
        console.say("this project needs no trust")
    else:
        console.say("trusted until any of these changes" if trusted else "not trusted; allow it with: ltxflow trust")
    return 0
