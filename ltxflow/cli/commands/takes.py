"""List the takes of a clip: which are rendered, in the cut, and still match their prompt; what checks found."""

from __future__ import annotations

import argparse
import os

from ltxflow.cli.options import session_of
from ltxflow.decisions.takes import find_take, recorded_take, take_numbers, take_rows
from ltxflow.plan.plan import PlanOptions
from ltxflow.project.model import Still
from ltxflow.ui.terminal import Console, columns


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        console.input_manifest = session.manifest
        ref = find_take(session, args.take)
        clip = ref.clip
        names = tuple(f"{clip.path}@{number}" for number in take_numbers(session, clip))
        rows = take_rows(session, session.plan(PlanOptions(selectors=names, also=names)), clip)
        if "@" in args.take:
            recorded_take(session, ref)
            rows = [row for row in rows if row["take"] == ref.take]
        if args.json:
            return console.envelope("takes", rows, 0)
        table = [("", "take", "frames", "motion", "made", "on", "")]
        for row in rows:
            state = row["status"] + (f": {row['reason']}" if row["reason"] else "")
            if row["key"] and not row["matches"]:
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
