"""Lets existing results stand for what the clips are now: nothing is rendered, and the lock says who accepted it.

--all-upgrades accepts every clip that only an upgrade of ltxflow, of a template or of a profile would render again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ltxflow.cli.options import locked_session
from ltxflow.core.errors import LtxflowError, Problem
from ltxflow.decisions.takes import TakeRef, accept, name
from ltxflow.plan.plan import PlanOptions
from ltxflow.plan.upgrades import upgrades
from ltxflow.project.model import Clip, Still
from ltxflow.session.session import Session
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.terminal import Console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("clips", nargs="*", metavar="CLIP", help="clips: hook/b, hook/b@2, hook, globs")
    parser.add_argument("--all-upgrades", action="store_true", help="all that only an upgrade would render again")
    parser.add_argument("--dry-run", action="store_true", help="only say which")


def run(args: argparse.Namespace, face: Console) -> int:
    if not args.clips and not args.all_upgrades:
        raise LtxflowError(Problem("no clip is named", hint="name clips, or say --all-upgrades", code="U002"))
    with locked_session(args, face.warn) as session:
        named = _named(session, args)
        accepted = [each for each in named if not args.dry_run and accept(session, each)]
        if args.all_upgrades:
            for each in _upgrades(session, args.dry_run):
                named += [each] if each not in named else []
                accepted += [each] if not args.dry_run and accept(session, each) else []
    if args.json:
        data = {"accepted": [each.target for each in accepted], "named": [each.target for each in named]}
        return print_envelope("accept", data, 0)
    for each in named:
        told = "would be looked at" if args.dry_run else "stands for what it is now" if each in accepted else "matches"
        face.say(f"{each.clip.path}: take {each.take} {told}")
    if not named:
        face.say("no upgrade would render anything again")
    return 0


def _named(session: Session, args: argparse.Namespace) -> list[TakeRef]:
    """Clips by name, or by selectors: of these the ones that the lock has a take of and would render again."""
    both: list[Clip | Still] = [*session.project.clips, *session.project.stills]
    exact = {one.path for one in both}
    named = [name(session, each) for each in args.clips if each.removeprefix("clip:").partition("@")[0] in exact]
    patterns = [each for each in args.clips if each.removeprefix("clip:").partition("@")[0] not in exact]
    targets: list[str] = []
    if patterns:
        targets += [change.target for change in session.plan(PlanOptions(selectors=tuple(patterns))).of_kind("change")]
    named += [name(session, target) for target in targets if target.startswith(("clip:", "reference:"))]
    return list({each.target: each for each in named}.values())


def _upgrades(session: Session, is_dry: bool) -> Iterator[TakeRef]:
    """Yield what only upgrades would render again, and once those stand, what is made from them; each once."""
    told: set[str] = set()
    while True:
        found = upgrades(session.plan(PlanOptions()))
        targets = [target for upgrade in found for target in upgrade.targets]
        targets += [target for upgrade in found for target in upgrade.waiting] if is_dry else []
        new = [target for target in targets if target not in told]
        if not new:
            return
        told |= {*new}
        yield from (name(session, target) for target in new)
