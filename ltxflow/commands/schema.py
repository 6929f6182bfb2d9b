"""Prints a published JSON Schema: project, lock, timeline, event or profile."""

from __future__ import annotations

import argparse
import json

from ltxflow.core.files import data_dir
from ltxflow.faces.jsonlines import print_envelope
from ltxflow.faces.terminal import Face

NAMES = ("project", "timeline", "event", "lock", "profile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="project", choices=NAMES, help="which one (default: project)")


def run(args: argparse.Namespace, face: Face) -> int:
    text = (data_dir() / "schemas" / f"{args.name}.schema.json").read_text("utf-8")
    if args.json:
        return print_envelope("schema", json.loads(text), 0)
    face.say(text.rstrip())
    return 0
