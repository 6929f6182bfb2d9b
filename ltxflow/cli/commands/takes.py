"""The takes of a clip: which are rendered, how they came out, which is in the cut, which still match their text."""

from __future__ import annotations

import argparse
import os

from ltxflow.build.pipeline import folder_of
from ltxflow.cli.options import session_of
from ltxflow.decisions.takes import name, take_numbers, take_rows
from ltxflow.plan.plan import PlanOptions
from ltxflow.project.model import Still
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console, columns


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clip", metavar="CLIP", help="a clip, such as hook/b, or reference:hero")


def run(args: argparse.Namespace, face: Console) -> int:
    with session_of(args) as session:
        clip = name(session, args.clip).clip
        names = tuple(f"{clip.path}@{number}" for number in take_numbers(session, clip))
        rows = take_rows(session, session.plan(PlanOptions(selectors=names, also=names)), clip)
        if args.json:
            return print_envelope("takes", rows, 0)
        told = [("", "take", "frames", "motion", "made", "on", "")]
        for row in rows:
            state = row["status"] + (f": {row['reason']}" if row["reason"] else "")
            if row["key"] and not row["matches"]:
                state = f"{state}  no longer matches its text".strip()
            mark = "→" if row["picked"] else " "
            made = str(row["made_at"]).replace("T", " ")[:16] or ("elsewhere" if row["key"] else "not made")
            motion = f"{row['checks']['motion']:.2f}" if row["checks"] else ""
            told.append((mark, str(row["take"]), str(row["frames"] or ""), motion, made, str(row["server"]), state))
        is_still = isinstance(clip, Still)
        for line in columns([row[:2] + row[4:] for row in told] if is_still else told):  # it neither lasts nor moves
            face.say(f"  {line}")
        if is_still:
            face.say(f"  look at them in {os.path.relpath(folder_of(session))}")
        advice: dict[str, None] = {}
        for problem in (problem for row in rows for problem in (row["checks"] or {}).get("problems", ())):
            style = {"warning": "yellow", "advice": "cyan"}[problem["level"]]
            face.say(f"  {face.paint('!', style)} {problem['message']}  {face.paint(problem['code'], 'dim')}")
            advice[problem["hint"]] = None
        for hint in advice:
            face.say(f"  → {hint}")
        return 0
