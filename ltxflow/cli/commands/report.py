"""Write the storyboard as an HTML page: images, prompts, takes, stale clips with reasons, narration, checks.

The page plays the clips of this folder. --single-file puts the images into it, for a page to mail or to keep; --videos
the clips, too.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ltxflow.cli.options import session_of
from ltxflow.core import files
from ltxflow.core.errors import FAILED, LtxflowError, problem
from ltxflow.core.workspace import read_bytes, real_path
from ltxflow.documents.document import shown
from ltxflow.export.storyboard import embedded, report_data, report_inputs
from ltxflow.session.session import make_own_folder
from ltxflow.ui.plan_view import states_in_words
from ltxflow.ui.terminal import Console, report_page, size

NAME = "report.html"
MARK = b'<meta name="generator" content="ltxflow report">'


def _now() -> datetime:
    """Return the local time; UTC where $TZ is not valid."""
    try:
        return datetime.now().astimezone()
    except (ValueError, OverflowError):
        return datetime.now(UTC)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--single-file", action="store_true", help="one file with its images inside, to mail or to keep"
    )
    parser.add_argument("--videos", action="store_true", help="put the clips into the page, too")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="where to write such a page (default: .ltxflow/ID.html)"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    is_single = bool(args.single_file or args.videos or args.output)
    with session_of(args) as session:
        own = make_own_folder(session)
        page: Path = own / (f"{session.project.id}.html" if is_single else NAME)
        if args.output is not None:
            page = args.output.absolute()
            _check_place(page)
            files.make_dir(page.parent)
        address = partial(embedded, with_videos=args.videos) if is_single else None
        data = report_data(session, page, _now().isoformat(timespec="minutes"), address=address)
        files.make_room(page)
        files.write_atomic(page, report_page(data), fsync=False)
        console.input_manifest = partial(session.manifest, more=report_inputs(session), written=[page])
        if args.json:
            return console.envelope("report", {"page": str(page), **(_without_images(data) if is_single else data)}, 0)
        if not args.quiet:
            _print(console, page, data, is_single)
        return 0


def _without_images(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the data of a page without the files in it."""
    clips = {
        scene["id"]: [{**clip, "poster": None, "video": None} for clip in scene["clips"]] for scene in data["scenes"]
    }
    return {**data, "scenes": [{**scene, "clips": clips[scene["id"]]} for scene in data["scenes"]]}


def _print(console: Console, page: Path, data: Mapping[str, Any], is_single: bool) -> None:
    clips = [clip for scene in data["scenes"] for clip in scene["clips"]]
    totals = states_in_words({clip["path"]: clip["state"] for clip in clips}, has_names=False)
    whole = f"; one file of {size(page.stat().st_size)}" if is_single else ""
    console.say(f"{console.paint('✓', 'green')} {shown(page)}: {totals}{whole}")
    console.say(f"  open it: {real_path(page).as_uri()}")


def _check_place(page: Path) -> None:
    """Raise LtxflowError where a file is that is not a report: only those are replaced."""
    if not os.path.lexists(page):
        return
    try:
        is_ours = MARK in read_bytes(page)
    except OSError:
        is_ours = False
    if not is_ours:
        raise LtxflowError(problem("D001.report", file=os.path.relpath(page)), exit_code=FAILED)
