"""Why a clip is, or is not, rendered again: every value that changed, from what to what, and where it is written."""

from __future__ import annotations

import argparse

from ltxflow.cli.options import add_question, question_of, session_of
from ltxflow.plan.explain import Reason
from ltxflow.plan.plan import Change, Plan
from ltxflow.steps import step
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.plan_view import MARKS, difference, name, plan_json
from ltxflow.ui.terminal import Console

SAYS = {
    "create": "will be made: there is no earlier one",
    "change": "is STALE",
    "restore": "is in the store, and will be put in its place",
    "unchanged": "is up to date",
    "maybe": "may be made: that is known once what it needs is there",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)


def run(args: argparse.Namespace, face: Console) -> int:
    with session_of(args) as session:
        outlook = session.plan(question_of(args, session))
        if args.json:
            return print_envelope("explain", plan_json(outlook)["changes"], 0, outlook.problems)
        for change in outlook.changes:
            explain(face, outlook, change)
        return 0


def explain(face: Console, outlook: Plan, change: Change) -> None:
    """Say of one target what becomes of it and why: the same reasons that `plan_json` has as data."""
    mark, style = MARKS[change.kind]
    node = outlook.statuses[change.target].node
    fields = step(node.kind).fields(node)
    told = SAYS[change.kind]
    if change.kind == "change":
        told += f": {len(change.reasons)} of {len(fields)} values changed" if change.reasons else f": {change.note}"
    elif change.note and change.kind in ("restore", "maybe", "unchanged"):
        told += f" ({change.note})"
    face.say(f"{face.paint(mark, style, 'bold')} {face.paint(name(change), 'bold')} {told}")
    face.say(f"    key {change.key[:12]}…  {told_place(change)}")
    for reason in change.reasons:
        _tell(face, reason)
    if change.reasons:
        changed = {reason.field for reason in change.reasons}
        same = [field for field, value in fields.items() if field not in changed and value not in (None, [], False)]
        face.say(face.paint(f"    unchanged: {', '.join(same)}", "dim"))


def told_place(change: Change) -> str:
    if change.target.startswith("reference:"):
        return "an image that clips start from"
    return f"{change.frames} frames  → {change.file or 'not in the cut'}"


def _tell(face: Console, reason: Reason) -> None:
    place = face.paint(f"  {reason.span}", "dim") if reason.span else ""
    detail = f" ({reason.detail})" if reason.detail else ""
    face.say(f"    {face.paint(reason.field, 'bold')}{detail}{place}")
    face.say(f"      {difference(face, reason)}")
