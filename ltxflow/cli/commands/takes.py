"""List the takes of a clip: which are rendered, in the cut, and still match their prompt; what checks found.

Without a clip, list the takes of all clips and references, one line each.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any

from ltxflow.cli.options import session_of
from ltxflow.decisions.takes import find_take, recorded_take, take_numbers, take_rows
from ltxflow.lock.model import moved
from ltxflow.plan.plan import PlanOptions
from ltxflow.project.model import Clip, Still
from ltxflow.session.session import Session
from ltxflow.ui.terminal import Console, columns


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        console.input_manifest = session.manifest
        session.lock = moved(session.lock, session.project.moved)
        if not args.take:
            return _overview(args, console, session)
        ref = find_take(session, args.take)
        clip = ref.clip
        rows = _rows(session, [clip])[clip.path]
        if "@" in args.take:
            recorded_take(session, ref)
            rows = [row for row in rows if row["take"] == ref.take]
        if args.json:
            return console.envelope("takes", rows, 0)
        table = [("", "take", "frames", "motion", "made", "on", "")]
        for row in rows:
            state = _decision(row)
            if row["key"] and not row["matches"] and row["status"] != "pinned":
                state = f"{state}  no longer matches its text".strip()
            mark = "→" if row["picked"] else " "
            made = str(row["made_at"]).replace("T", " ")[:16] or ("elsewhere" if row["key"] else "not made")
            motion = f"{row['checks']['motion']:.2f}" if row["checks"] else ""
            table.append((mark, str(row["take"]), str(row["frames"] or ""), motion, made, str(row["server"]), state))
        is_still = isinstance(clip, Still)
        for line in columns([row[:2] + row[4:] for row in table] if is_still else table):  # no frames, no motion
            console.say(f"  {line}")
        if is_still:
            console.say(f"  images: {os.path.relpath(session.previews)}")
        advice: dict[str, None] = {}
        for problem in (problem for row in rows for problem in (row["checks"] or {}).get("problems", ())):
            style = {"warning": "yellow", "advice": "cyan"}[problem["level"]]
            console.say(f"  {console.paint('!', style)} {problem['message']}  {console.paint(problem['code'], 'dim')}")
            advice[problem["hint"]] = None
        for hint in advice:
            console.say(f"  → {hint}")
        return 0


def _rows(session: Session, clips: Sequence[Clip | Still]) -> dict[str, list[dict[str, Any]]]:
    """Return the facts of every take of some clips and references, by path."""
    names = tuple(f"{clip.path}@{number}" for clip in clips for number in take_numbers(session, clip))
    plan = session.plan(PlanOptions(selectors=names, also=names))
    return {clip.path: take_rows(session, plan, clip) for clip in clips}


def _decision(row: Mapping[str, Any]) -> str:
    return f"{row['status']}: {row['reason']}" if row["reason"] else str(row["status"])


def _overview(args: argparse.Namespace, console: Console, session: Session) -> int:
    """Print a line for each clip and reference: its takes, the one in the cut, and what people decided."""
    every: list[Clip | Still] = [*session.project.stills, *session.project.clips]
    rows = _rows(session, every) if every else {}
    if args.json:
        return console.envelope("takes", [{"clip": path, **row} for path, found in rows.items() for row in found], 0)
    table = [("clip", "in the cut", "takes", "")]
    for path, found in rows.items():
        made = [row for row in found if row["key"]]
        said = [f"{row['take']} {_decision(row)}" for row in made if row["status"]]
        stale = [str(row["take"]) for row in made if not row["matches"] and row["status"] not in ("approved", "pinned")]
        said += [f"{', '.join(stale)} of an earlier text"] if stale else []
        picked = next((str(row["take"]) for row in found if row["picked"]), "")
        takes = " ".join(str(row["take"]) for row in made) or "none made"
        table.append((path, picked if made else "", takes, "; ".join(said)))
    for line in columns(table):
        console.say(f"  {line}")
    console.say("  all about one of them: ltxflow takes CLIP")
    return 0
