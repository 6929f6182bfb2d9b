"""Decide about takes: retake, pick, approve, reject, accept, pin and forget them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ltxflow.cli.options import add_build_options, build_options, locked_session, session_of, waited_session
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.core.target import Target
from ltxflow.decisions import takes
from ltxflow.decisions.takes import TakeRef, find_take
from ltxflow.media.probe import VideoFacts
from ltxflow.plan.choices import upgrades
from ltxflow.plan.lengths import cut_film
from ltxflow.plan.plan import PlanOptions
from ltxflow.project.model import Clip, Still
from ltxflow.session.session import Session
from ltxflow.store.leases import gc_shared
from ltxflow.ui.terminal import Console, print_envelope

if TYPE_CHECKING:
    from ltxflow.build.fitting import FittedFile


def pick(args: argparse.Namespace, console: Console) -> int:
    """Put a take into the cut. The next build publishes it, without rendering."""
    text = args.take if args.number is None else f"{args.take.partition('@')[0]}@{args.number}"
    if args.number is not None and not args.number.isdecimal():
        raise LtxflowError(problem("U002.not-a-number", argument="NUMBER", value=args.number))
    if "@" not in text:
        raise LtxflowError(problem("U002.no-take-number", take=text))
    with locked_session(args, console.warn) as session:
        ref = find_take(session, text)
        is_changed = takes.pick(session, ref)
    if args.json:
        return print_envelope("pick", {"clip": ref.clip.path, "take": ref.take, "changed": is_changed}, 0)
    if isinstance(ref.clip, Still):
        result = "picked; see what changes with: ltxflow plan" if is_changed else "already picked"
    else:
        result = "in the cut; publish it with: ltxflow build" if is_changed else "already in the cut"
    console.say(f"{ref.clip.path}: take {ref.take} {result}")
    return 0


def approve(args: argparse.Namespace, console: Console) -> int:
    """Freeze the take that is in the cut: later edits warn and change nothing until it is rejected or forgotten."""
    return _set_status(args, console, "approve", "approved")


def reject(args: argparse.Namespace, console: Console) -> int:
    """Reject the take that is in the cut. `ltxflow retake` renders another."""
    return _set_status(args, console, "reject", "rejected")


def _set_status(args: argparse.Namespace, console: Console, command: str, status: str) -> int:
    with locked_session(args, console.warn) as session:
        ref = find_take(session, args.take)
        takes.set_status(session, ref, status, args.reason)
    if args.json:
        return print_envelope(command, {"clip": ref.clip.path, "take": ref.take, "reason": args.reason}, 0)
    console.say(f"{ref.clip.path}: take {ref.take} {status}")
    return 0


def forget(args: argparse.Namespace, console: Console) -> int:
    """Drop a take from the lock: the next build renders it again. Its files stay until `ltxflow cache gc`."""
    with locked_session(args, console.warn) as session:
        ref = find_take(session, args.take)
        takes.forget(session, ref)
    if args.json:
        return print_envelope("forget", {"clip": ref.clip.path, "take": ref.take}, 0)
    console.say(f"{ref.clip.path}: take {ref.take} forgotten")
    return 0


def pin(args: argparse.Namespace, console: Console) -> int:
    """Put a file in the place of a clip or a reference, until it is forgotten.

    A video from a phone or an editor is fitted: to the film's size and rate, upright, as an mp4 that browsers play.
    """
    file = Path(args.file)
    if not file.is_file():
        raise LtxflowError(problem("U021.pin", file=args.file))
    with session_of(args) as session:  # converting takes time: other commands need not wait for it
        fitted = _fitted(session, find_take(session, args.take), file, args, console)
    with locked_session(args, console.warn) as session:
        ref = find_take(session, args.take)
        facts = takes.pin(session, ref, fitted.path, args.reason or file.name)
        _, lengths = cut_film(session.speech().project, session.lock)
    scene = f"{ref.clip.path.partition('/')[0]}: "
    uncovered = [replace(p, level="warning") for p in lengths if p.level == "error" and p.message.startswith(scene)]
    problems = [*fitted.notes, *uncovered]
    is_video = isinstance(facts, VideoFacts)
    if args.json:
        fields = facts.as_json() if isinstance(facts, VideoFacts) else {"width": facts.width, "height": facts.height}
        data = {"clip": ref.clip.path, "take": ref.take, "fitted": fitted.change, **fields}
        return print_envelope("pin", data, 0, problems)
    size = f"{facts.frames} frames" if isinstance(facts, VideoFacts) else f"{facts.width}x{facts.height}"
    next_step = "publish it with: ltxflow build" if is_video else "see what changes with: ltxflow plan"
    console.say(f"{ref.clip.path}: pinned {file.name} ({size}); {next_step}")
    if fitted.change:
        console.say(f"  fitted: {fitted.change}")
    console.problems(problems)
    return 0


def _fitted(session: Session, ref: TakeRef, file: Path, args: argparse.Namespace, console: Console) -> FittedFile:
    """Return the file that is pinned, converted where the film's clips have another form."""
    from ltxflow.build.fitting import FittedFile, fit_to_film  # the other decisions start without the build
    from ltxflow.media.image import read_image
    from ltxflow.ui.progress import watcher

    if isinstance(ref.clip, Still):
        notes = (problem("U039", name=file.name, note=note) for note in read_image(file).warnings)
        return FittedFile(file, notes=tuple(notes))
    watch = watcher(console, args.json, args.quiet, args.verbose)
    with gc_shared(session.store.root), watch:
        return fit_to_film(session, file, ref.clip.path, watch)


# --- accept ---------------------------------------------------------------------------------------


def add_accept_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all-upgrades", action="store_true", help="accept all that only an upgrade would re-render")
    parser.add_argument("--dry-run", action="store_true", help="list the takes without accepting them")


def accept(args: argparse.Namespace, console: Console) -> int:
    """Keep existing results for what the clips are now: nothing is rendered, and the lock records the decision.

    --all-upgrades accepts every clip that only an upgrade of ltxflow, of a template or of a profile would re-render.
    """
    if not args.takes and not args.all_upgrades:
        raise LtxflowError(problem("U002.no-clip"))
    with locked_session(args, console.warn) as session:
        named = _named_takes(session, args.takes)
        accepted = [ref for ref in named if not args.dry_run and takes.accept(session, ref)]
        if args.all_upgrades:
            for ref in _upgraded_takes(session, args.dry_run):
                named += [ref] if ref not in named else []
                accepted += [ref] if not args.dry_run and takes.accept(session, ref) else []
    if args.json:
        data = {"accepted": [ref.target for ref in accepted], "named": [ref.target for ref in named]}
        return print_envelope("accept", data, 0)
    for ref in named:
        unchanged = "would be accepted" if args.dry_run else "already matches"
        result = "accepted for the current prompt and settings" if ref in accepted else unchanged
        console.say(f"{ref.clip.path}: take {ref.take} {result}")
    if not named:
        console.say("no upgrade would re-render anything")
    return 0


def _named_takes(session: Session, texts: list[str]) -> list[TakeRef]:
    """Return the takes that are named; of those that a selector matches, the ones that would be re-rendered."""
    both: list[Clip | Still] = [*session.project.clips, *session.project.stills]
    exact = {one.path for one in both}
    named: list[TakeRef] = []
    patterns: list[str] = []
    for text in texts:
        if text.removeprefix("clip:").partition("@")[0] in exact:
            named.append(find_take(session, text))
        else:
            patterns.append(text)
    if patterns:
        changes = session.plan(PlanOptions(selectors=tuple(patterns))).of_kind("change")
        kinds = ("clip", "reference")
        named += [find_take(session, each.target) for each in changes if Target(each.target).kind in kinds]
    return list({ref.target: ref for ref in named}.values())


def _upgraded_takes(session: Session, is_dry: bool) -> Iterator[TakeRef]:
    """Yield each take that only upgrades would re-render, then those made from them once they are accepted."""
    done: set[str] = set()
    while True:
        found = upgrades(session.plan(PlanOptions()))
        targets = [target for upgrade in found for target in upgrade.targets]
        targets += [target for upgrade in found for target in upgrade.waiting] if is_dry else []
        new = [target for target in targets if target not in done]
        if not new:
            return
        done |= {*new}
        yield from (find_take(session, target) for target in new)


# --- retake ---------------------------------------------------------------------------------------


def add_retake_options(parser: argparse.ArgumentParser) -> None:
    add_build_options(parser)


def retake(args: argparse.Namespace, console: Console) -> int:
    """Render one more take of a clip with another seed, and nothing else. The cut changes with `ltxflow pick`.

    With a REASON, the take that is in the cut is rejected first.
    """
    from ltxflow.build.pipeline import make_film  # the other decisions start without the build
    from ltxflow.ui.progress import print_result, watcher

    watch = watcher(console, args.json, args.quiet, args.verbose)
    with waited_session(args, watch, wait=True) as session:
        old = find_take(session, args.take)
        if args.reason:
            takes.reject_for_retake(session, old, args.reason)
        new = takes.next_take(session, old.clip)
        selector = f"{new.clip.path}@{new.take}"
        options = PlanOptions(selectors=(selector,), also=(selector,))
        with watch:
            result = make_film(session, options, build_options(args), watch)
    verdict = result.verdicts.get(new.target)
    is_made = result.run.statuses[new.target].trace is not None
    if args.json:
        data = {
            "clip": new.clip.path,
            "take": new.take,
            "made": is_made,
            "totals": result.finished.as_json(),
            "checks": verdict.as_json() if verdict else None,
        }
        return print_envelope("retake", data, result.code, [*result.concerns, *result.problems, *session.warnings])
    print_result(console, result, session.warnings, args.quiet)
    if is_made:
        console.say(f"{new.clip.path}: take {new.take} rendered; put it into the cut with:")
        console.say(f"  ltxflow pick {new.clip.path}@{new.take}")
    return result.code
