"""Prints a published JSON Schema: project, lock, timeline, event or profile."""

from __future__ import annotations

import argparse

from ltxflow.core.files import data_dir
from ltxflow.faces.terminal import Face

NAMES = ("project", "timeline", "event", "lock", "profile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="project", choices=NAMES, help="which one (default: project)")


def run(args: argparse.Namespace, face: Face) -> int:
    face.say((data_dir() / "schemas" / f"{args.name}.schema.json").read_text("utf-8").rstrip())
    return 0
