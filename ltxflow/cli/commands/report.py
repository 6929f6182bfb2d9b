"""Write the storyboard as an HTML page: images, prompts, takes, stale clips with reasons, narration, checks."""

from __future__ import annotations

import argparse
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from ltxflow.cli.options import session_of
from ltxflow.core import files
from ltxflow.core.workspace import real_path
from ltxflow.documents.document import shown
from ltxflow.export.storyboard import report_data, report_inputs
from ltxflow.session.session import make_own_folder
from ltxflow.ui.terminal import Console, count, report_page

NAME = "report.html"


def _now() -> datetime:
    """Return the local time; UTC where $TZ is not valid."""
    try:
        return datetime.now().astimezone()
    except (ValueError, OverflowError):
        return datetime.now(UTC)


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        page: Path = make_own_folder(session) / NAME
        data = report_data(session, page, _now().isoformat(timespec="minutes"))
        files.make_room(page)
        files.write_atomic(page, report_page(data), fsync=False)
        console.input_manifest = partial(session.manifest, more=report_inputs(session), written=[page])
        if args.json:
            return console.envelope("report", {"page": str(page), **data}, 0)
        if not args.quiet:
            clips = [clip for scene in data["scenes"] for clip in scene["clips"]]
            states = Counter(clip["state"] for clip in clips)
            totals = ", ".join(
                count(number, state) if state == "slate" else f"{number} {state}"
                for state, number in states.most_common()
            )
            console.say(f"{console.paint('✓', 'green')} {shown(page)}: {count(len(clips), 'clip')}, {totals}")
            console.say(f"  open it: {real_path(page).as_uri()}")
        return 0
