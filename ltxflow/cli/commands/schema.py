"""Prints a published JSON Schema: project, lock, timeline, event or profile. The timeline's in TypeScript, too."""

from __future__ import annotations

import argparse
import json

from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.core.files import data_dir
from ltxflow.export.typescript import timeline_typescript
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console

FORMS = {"json": "", "typescript": "timeline.ts", "zod": "timeline.zod.ts"}
NAMES = ("project", "timeline", "event", "lock", "profile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", default="project", choices=NAMES, help="which one (default: project)")
    parser.add_argument("--as", dest="form", choices=list(FORMS), default="json", help="timeline only: typescript, zod")


def run(args: argparse.Namespace, face: Console) -> int:
    if args.form != "json":
        return _typescript(args, face)
    text = (data_dir() / "schemas" / f"{args.name}.schema.json").read_text("utf-8")
    if args.json:
        return print_envelope("schema", json.loads(text), 0)
    face.say(text.rstrip())
    return 0


def _typescript(args: argparse.Namespace, face: Console) -> int:
    if args.name != "timeline":
        message = f'there is no {args.form} of "{args.name}"'
        raise LtxflowError(Problem(message, hint=f"ltxflow schema timeline --as {args.form}", code="U002"))
    text = timeline_typescript()[FORMS[args.form]]
    if args.json:
        return print_envelope("schema", text, 0)
    face.say(text.rstrip())
    return 0
