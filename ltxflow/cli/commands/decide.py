"""Decide about takes: retake, pick, approve, reject, accept, pin and forget them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltxflow.cli.options import add_build_options, build_options, deciding_session, session_of, waited_session
from ltxflow.core.errors import LtxflowError, Problem, problem
from ltxflow.core.target import Target
from ltxflow.decisions import takes
from ltxflow.decisions.takes import Decided, TakeRef, find_take
from ltxflow.lock.model import moved
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
    with deciding_session(args) as session:
        ref = find_take(session, text)
        decided = takes.pick(session, ref)
    if isinstance(ref.clip, Still):
        result = "picked; see what changes with: ltxflow plan" if decided.is_changed else "already picked"
    else:
        result = "in the cut; publish it with: ltxflow build" if decided.is_changed else "already in the cut"
    return _report(args, console, "pick", ref, decided, result, changed=decided.is_changed)


def approve(args: argparse.Namespace, console: Console) -> int:
    """Freeze a take: later edits warn and change nothing until it is rejected or forgotten. The cut stays as it is."""
    return _set_status(args, console, "approve", "approved")


def reject(args: argparse.Namespace, console: Console) -> int:
    """Reject a take, in the cut or not. `ltxflow retake` renders another."""
    return _set_status(args, console, "reject", "rejected")


def _set_status(args: argparse.Namespace, console: Console, command: str, status: str) -> int:
    with deciding_session(args) as session:
        ref = find_take(session, args.take)
        decided = takes.set_status(session, ref, status, args.reason)
    result = status if decided.is_changed else "stays as it is" if decided.notes else f"already {status}"
    return _report(args, console, command, ref, decided, result, reason=args.reason)


def forget(args: argparse.Namespace, console: Console) -> int:
    """Drop a take from the lock: the next build renders it again. Its files stay until `ltxflow cache gc --renders`.

    Of a pinned file, the take in whose place it was pinned comes back.
    """
    with deciding_session(args) as session:
        ref = find_take(session, args.take)
        is_covering = takes.is_pinned_over(session, ref)
        decided = takes.forget(session, ref)
    result = "forgotten" if not is_covering else "is not the pinned file any more"
    return _report(args, console, "forget", ref, decided, result)


def pin(args: argparse.Namespace, console: Console) -> int:
    """Put a file in the place of a clip or a reference, until it is forgotten.

    A video from a phone or an editor is fitted: to the film's size and rate, upright, as an mp4 that browsers play.
    """
    file = Path(args.file)
    if not file.is_file():
        raise LtxflowError(problem("U021.pin", file=args.file))
    with session_of(args) as session:  # converting takes time: other commands need not wait for it
        fitted = _fitted(session, find_take(session, args.take), file, args, console)
    with deciding_session(args) as session:
        ref = find_take(session, args.take)
        facts, decided = takes.pin(session, ref, fitted.path, args.reason or file.name)
        _, lengths = cut_film(session.speech().project, session.lock)
    scene = f"{ref.clip.path.partition('/')[0]}: "
    uncovered = [replace(p, level="warning") for p in lengths if p.level == "error" and p.message.startswith(scene)]
    problems = [*fitted.notes, *uncovered]
    is_video = isinstance(facts, VideoFacts)
    size = f"{facts.frames} frames" if isinstance(facts, VideoFacts) else f"{facts.width}x{facts.height}"
    next_step = "publish it with: ltxflow build" if is_video else "see what changes with: ltxflow plan"
    fields = facts.as_json() if isinstance(facts, VideoFacts) else {"width": facts.width, "height": facts.height}
    result = f"is now {file.name} ({size}); {next_step}"
    notes = (f"fitted: {fitted.change}",) if fitted.change and not args.json else ()
    decided = replace(decided, notes=(*notes, *decided.notes))
    return _report(args, console, "pin", ref, decided, result, problems, fitted=fitted.change, **fields)


def _report(
    args: argparse.Namespace,
    console: Console,
    command: str,
    ref: TakeRef,
    decided: Decided,
    result: str,
    problems: Sequence[Problem] = (),
    **fields: Any,
) -> int:
    """Print a decision, and what it did to earlier ones."""
    problems = [*decided.problems, *problems]
    if args.json:
        notes = {"notes": list(decided.notes)} if decided.notes else {}
        data = {"clip": ref.clip.path, "take": ref.take, **fields, **notes}
        return print_envelope(command, data, 0, problems)
    console.say(f"{ref.clip.path}: take {ref.take} {result}")
    for note in decided.notes:
        console.say(f"  {console.paint('·', 'dim')} {note}")
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
    decided: dict[str, Decided] = {}
    with deciding_session(args) as session:
        named = _named_takes(session, args.takes)
        for ref in named:
            decided[ref.target] = Decided(False) if args.dry_run else takes.accept(session, ref)
        if args.all_upgrades:
            for ref in _upgraded_takes(session, args.dry_run):
                named += [ref] if ref not in named else []
                decided[ref.target] = Decided(False) if args.dry_run else takes.accept(session, ref)
    accepted = [ref.target for ref in named if decided[ref.target].is_changed]
    if args.json:
        notes = {target: list(each.notes) for target, each in decided.items() if each.notes}
        problems = [each for one in decided.values() for each in one.problems]
        data = {"accepted": accepted, "named": [ref.target for ref in named], **({"notes": notes} if notes else {})}
        return print_envelope("accept", data, 0, problems)
    for ref in named:
        unchanged = "would be accepted" if args.dry_run else "already matches"
        result = "accepted for the current prompt and settings" if ref.target in accepted else unchanged
        _report(args, console, "accept", ref, decided[ref.target], result)
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
        session.lock = moved(session.lock, session.project.moved)
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
        how = "rendered" if new.target in result.run.rendered else "was rendered before, and is listed again"
        console.say(f"{new.clip.path}: take {new.take} {how}; put it into the cut with:")
        console.say(f"  ltxflow pick {new.clip.path}@{new.take}")
    return result.code
