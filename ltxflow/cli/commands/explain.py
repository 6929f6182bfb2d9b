"""Show why a clip is, or is not, rendered again: every value that changed, old and new, and where it is set."""

from __future__ import annotations

import argparse

from ltxflow.cli.options import add_plan_options, plan_options, session_of
from ltxflow.core.target import Target
from ltxflow.plan.explain import Reason, cause_of
from ltxflow.plan.plan import Change, Plan
from ltxflow.steps import step
from ltxflow.ui.plan_view import MARKS, difference, name, plan_json
from ltxflow.ui.terminal import Console

STATES = {
    "create": "will be rendered for the first time",
    "change": "is STALE",
    "restore": "will be restored from the store",
    "unchanged": "is up to date",
    "maybe": "may be rendered; decided once the clips it depends on are rendered",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    add_plan_options(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        options = plan_options(args, session)
        plan = session.plan(options)
        if not options.groups:  # these depend on git, too
            console.input_manifest = session.manifest
        if args.json:
            return console.envelope("explain", plan_json(plan)["changes"], 0, plan.problems)
        printed: dict[str, str] = {}
        for change in plan.changes:
            explain(console, plan, change, {} if args.verbose else printed)
        return 0


def explain(console: Console, plan: Plan, change: Change, printed: dict[str, str]) -> None:
    """Print what a build does with one target, and why. `printed` has the clip at which a cause was printed."""
    mark, style = MARKS[change.kind]
    node = plan.statuses[change.target].node
    fields = step(node.kind).fields(node)
    state = STATES[change.kind]
    if change.kind == "change":
        state += f": {len(change.reasons)} of {len(fields)} values changed" if change.reasons else f": {change.note}"
    elif change.note and change.kind in ("restore", "maybe", "unchanged"):
        state += f" ({change.note})"
    console.say(f"{console.paint(mark, style, 'bold')} {console.paint(name(change), 'bold')} {state}")
    key = f"key {change.key[:12]}…  " if change.key else ""
    console.say(f"    {key}{_place(change)}")
    for reason in change.reasons:
        first = printed.setdefault(cause_of(reason), name(change))
        if first == name(change):
            _print_reason(console, reason)
        else:
            console.say(f"    {console.paint(reason.field, 'bold')}, as {first}")
    if change.reasons and any(printed.get(cause_of(reason)) == name(change) for reason in change.reasons):
        changed = {reason.field for reason in change.reasons}
        same = [field for field, value in fields.items() if field not in changed and value not in (None, [], False)]
        console.say(console.paint(f"    unchanged: {', '.join(same)}", "dim"))


def _place(change: Change) -> str:
    if Target(change.target).is_reference:
        return "an image that clips start from"
    return f"{change.frames} frames  → {change.file or 'not in the cut'}"


def _print_reason(console: Console, reason: Reason) -> None:
    place = console.paint(f"  {reason.span}", "dim") if reason.span else ""
    detail = f" ({reason.detail})" if reason.detail else ""
    console.say(f"    {console.paint(reason.field, 'bold')}{detail}{place}")
    console.say(f"      {difference(console, reason)}")
