"""Print a published JSON Schema: project, lock, timeline, event or profile; the timeline's as TypeScript, too."""

from __future__ import annotations

import argparse
import json

from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.files import data_dir
from ltxflow.export.remotion import timeline_typescript
from ltxflow.ui.terminal import Console, print_envelope

NAMES = ("project", "timeline", "event", "lock", "profile")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="project", choices=NAMES, help="the schema (default: project)")
    parser.add_argument("--as", dest="form", choices=["json", "typescript"], default="json", help="default: json")


def run(args: argparse.Namespace, console: Console) -> int:
    if args.form == "typescript":
        if args.name != "timeline":
            raise LtxflowError(problem("U002.no-typescript", name=args.name))
        text = timeline_typescript()["timeline.ts"]
    else:
        text = (data_dir() / "schemas" / f"{args.name}.schema.json").read_text("utf-8")
    if args.json:
        return print_envelope("schema", text if args.form == "typescript" else json.loads(text), 0)
    console.say(text.rstrip())
    return 0
