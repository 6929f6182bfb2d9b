"""Change what the lock records of takes: pick, approve, reject, accept, pin, forget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import FAILED, LtxflowError, Problem, problem
from ltxflow.core.target import Target
from ltxflow.decisions.lock_update import lock_take
from ltxflow.lock.file import merge_problems
from ltxflow.lock.model import (
    FROZEN,
    Acceptance,
    Decision,
    Lock,
    LockEntry,
    LockTake,
    with_acceptance,
    with_decision,
    with_pick,
    with_pinned,
    without_take,
)
from ltxflow.media.fit import ImageFacts
from ltxflow.media.probe import VideoFacts, probe_mp4
from ltxflow.plan.explain import digest_of_text
from ltxflow.plan.plan import Plan, PlanOptions, picked_take
from ltxflow.plan.review import SETTLED, Review
from ltxflow.project.model import Clip, Still
from ltxflow.session.session import Session
from ltxflow.store.traces import PINNED, Trace


@dataclass(frozen=True)
class TakeRef:
    """A take of a clip or of a generated reference."""

    clip: Clip | Still
    take: int

    @property
    def target(self) -> Target:
        return Target(f"{'' if isinstance(self.clip, Still) else 'clip:'}{self.clip.path}@{self.take}")

    @property
    def short(self) -> str:
        """The name that people type, always with the take: `hook/b@1`."""
        return f"{self.clip.path}@{self.take}"


def find_take(session: Session, text: str) -> TakeRef:
    """Return the take that `hook/b@2` or `reference:hero@1` names; without `@`, the picked one.

    Raise LtxflowError where the film has no such clip or generated reference.
    """
    path, _, take = text.removeprefix("clip:").partition("@")
    is_still = path.startswith("reference:")
    known: list[Clip | Still] = [*(session.project.stills if is_still else session.project.clips)]
    found = next((one for one in known if one.path == path), None)
    if found is None or (take and not take.isdecimal()):
        angles = [one for one in known if one.path.startswith(f"{path}/")] if is_still else []
        names = ", ".join(one.path for one in (angles or known)[:12]) or "none"
        if angles:
            raise LtxflowError(problem("U010.angle", path=path, names=names))
        raise LtxflowError(problem("U010.reference" if is_still else "U010.clip", name=text, names=names))
    return TakeRef(found, int(take) if take else picked_take(session.lock, found))


def recorded_take(session: Session, ref: TakeRef) -> LockTake:
    """Return the record of a take in the lock. Raise LtxflowError for one that was never rendered."""
    take = session.lock.take(ref.clip.path, ref.take)
    if take is None:
        path = ref.clip.path
        build = (
            f"build {path}@{ref.take} --takes {ref.take}" if ref.take > ref.clip.takes else f"build {path}@{ref.take}"
        )
        command = f"retake {path}" if isinstance(ref.clip, Still) and ref.take > ref.clip.takes else build
        raise LtxflowError(problem("U030", clip=path, take=ref.take, command=command))
    return take


@dataclass(frozen=True)
class Decided:
    """What a decision changed in the lock. `notes` say which other decisions ended or moved by it.

    `problems` are contradictions with what others decided at the same time.
    """

    is_changed: bool
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def _decide(session: Session, ref: TakeRef, lock: Lock) -> Decided:
    """Write the lock with a decision about a take, and return what it did to others."""
    path = ref.clip.path
    before, after = session.lock.entries.get(path), lock.entries.get(path)
    if before == after:
        return Decided(False)
    session.lock = lock
    merged = session.save_lock()
    contradictions = merge_problems(merged, session.lock_file.name)[1:]
    notes = _consequences(before or LockEntry(1), session.lock.entries.get(path), ref)
    return Decided(True, tuple(notes), tuple(contradictions))


def _consequences(before: LockEntry, after: LockEntry | None, ref: TakeRef) -> Iterator[str]:
    """Yield what a decision about one take did to earlier decisions of people, so that none is lost in silence."""
    after = after or LockEntry(before.pick)
    for number in sorted({*before.takes, *before.decisions}):
        old, new = before.decision(number), after.decision(number)
        reason = f' ("{old.reason}")' if old.reason else ""
        if number in after.covered and number not in before.covered:
            if old.status:
                yield f"take {number} was {old.status}{reason}; that returns when the file is forgotten"
            continue
        had, has = before.takes.get(number), after.takes.get(number)
        is_accepted_still = has is not None and has.accepted is not None
        if old.status == "pinned" and number in before.covered:
            back = f", {new.status} as it was" if new.status else ""
            yield f"take {number} is the render again that the file covered{reason}{back}"
        elif old.status not in ("", new.status) and not (old.status == "accepted" and is_accepted_still):
            yield f"take {number} was {old.status}{reason}, and is not any more"
        elif old.reason not in ("", new.reason):
            yield f'take {number}: the reason before was "{old.reason}"'
        if old.status != "accepted" and had is not None and had.accepted and not is_accepted_still:
            yield f"take {number} was accepted for a later text, and is not any more"
    if after.pick == ref.take != before.pick:  # asked for
        left = before.decision(before.pick).status
        if left in FROZEN and before.pick in after.takes:
            yield f"take {before.pick} is still {left}, and no longer in the cut"
    elif after.pick != before.pick and after.takes:
        yield f"take {after.pick} is in the cut now"
    elif ref.take != after.pick and {ref.take, after.pick} <= after.takes.keys():
        change = "" if after.decision(ref.take).status == "rejected" else f"; to change that: ltxflow pick {ref.short}"
        yield f"take {after.pick} stays in the cut{change}"


def pick(session: Session, ref: TakeRef) -> Decided:
    """Put a take into the cut. The next build publishes it."""
    recorded_take(session, ref)
    return _decide(session, ref, with_pick(session.lock, ref.clip.path, ref.take))


def set_status(session: Session, ref: TakeRef, status: str, reason: str) -> Decided:
    """Approve or reject a take, in the cut or not. A pinned file is frozen already; rejected, it gives way."""
    recorded_take(session, ref)
    path, take = ref.clip.path, ref.take
    if session.lock.decision(path, take).status == "pinned" and status == "approved":
        return Decided(False, ("it is a pinned file, and frozen until it is forgotten",))
    if session.lock.decision(path, take).status == status and not reason:
        return Decided(False)  # the reason that was given stays
    if is_pinned_over(session, ref) and status == "rejected":
        return _decide(session, ref, without_take(session.lock, path, take))
    return _decide(session, ref, with_decision(session.lock, ref.clip.path, ref.take, Decision(status, reason)))


def next_take(session: Session, clip: Clip | Still) -> TakeRef:
    """Return the next take: its number follows all that the film requests, and all that were ever in the lock.

    The seed follows from the number, so a number is not used twice: not even where git took back that it was used.
    """
    entry = session.lock.entries.get(clip.path)
    known = (*entry.takes, *entry.decisions, entry.highest) if entry else ()
    ref = TakeRef(clip, max(clip.takes, *known, 0) + 1)
    while True:
        status = session.plan(PlanOptions(selectors=(ref.short,), also=(ref.short,))).statuses[ref.target]
        if status.key is None or session.store.forgotten(status.key) is None:
            return ref
        ref = TakeRef(clip, ref.take + 1)


def reject_for_retake(session: Session, ref: TakeRef, reason: str) -> Decided:
    """Reject the take that a retake replaces. Raise LtxflowError where it is approved, accepted or pinned."""
    if session.lock.take(ref.clip.path, ref.take) is None:
        return Decided(False)  # never rendered
    status = session.lock.decision(ref.clip.path, ref.take).status
    if status in SETTLED:
        span, path = ref.clip.span, ref.clip.path
        raise LtxflowError(problem("U033", span, clip=path, take=ref.take, status=status, reason=reason))
    return set_status(session, ref, "rejected", reason)


def accept(session: Session, ref: TakeRef) -> Decided:
    """Let the existing result stand for the clip as it is now; return whether that was needed.

    The lock alone records it, as every decision: the trace keeps saying what was made from what.
    """
    take = recorded_take(session, ref)
    if session.lock.decision(ref.clip.path, ref.take).status == "pinned":
        return Decided(False, ("a pinned file fits any text",))
    name = f"{ref.clip.path}@{ref.take}"
    plan = session.plan(PlanOptions(selectors=(name,), also=(name,)))
    status = plan.statuses[ref.target]
    if status.key is None:
        raise LtxflowError(problem("U037", clip=ref.clip.path, cause=status.waits))
    if take.stands_for(status.key):
        return Decided(False)
    if session.lookup(take.key) is None:
        raise _missing_files(ref, take)
    accepted = Acceptance(status.key, digest_of_text(status.node) if status.node.needs else "")
    return _decide(session, ref, with_acceptance(session.lock, ref.clip.path, ref.take, accepted))


def pin(session: Session, ref: TakeRef, file: Path, reason: str) -> tuple[VideoFacts | ImageFacts, Decided]:
    """Put a file in the place of a take; check that of a clip as a render is checked."""
    if isinstance(ref.clip, Still):
        return _pin_image(session, ref, file, reason)
    facts = probe_mp4(file)
    project = session.project
    wrong = []
    if (facts.width, facts.height) != project.size:
        wrong.append(f"{facts.width}x{facts.height} instead of {project.size[0]}x{project.size[1]}")
    if facts.fps != project.fps:
        wrong.append(f"{facts.fps} fps instead of {project.fps}")
    if wrong:
        raise LtxflowError(problem("U038", file=str(file), wrong=" and ".join(wrong)), exit_code=FAILED)
    from ltxflow.media.mux import strip_mp4  # on first use: to list takes needs no media library

    cas = session.store.cas
    with session.store.scratch() as folder:
        stripped = folder / "published.mp4"
        strip_mp4(file, stripped)
        outputs = {
            "video": Output(cas.put(file), facts.as_json(), file.stat().st_size),
            "published": Output(cas.put(stripped), facts.as_json(), stripped.stat().st_size),
        }
    action = Action("pinned", "1", {"video": outputs["video"].digest}, {}, ("published", "video"))
    return facts, _record_pin(session, ref, action, outputs, reason or file.name)


def _pin_image(session: Session, ref: TakeRef, file: Path, reason: str) -> tuple[ImageFacts, Decided]:
    from ltxflow.media.image import open_image, read_image, save_png  # on first use, as above

    cas = session.store.cas
    with session.store.scratch() as folder:
        plain = folder / "image.png"
        save_png(open_image(file), plain)
        facts = read_image(plain)
        fields = {"pixels": facts.pixels, "width": facts.width, "height": facts.height}
        outputs = {"image": Output(cas.put(plain), fields, plain.stat().st_size)}
    action = Action("pinned", "1", {"image": outputs["image"].digest}, {}, ("image",))
    return facts, _record_pin(session, ref, action, outputs, reason or file.name)


def _record_pin(session: Session, ref: TakeRef, action: Action, outputs: Mapping[str, Output], reason: str) -> Decided:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    trace = Trace(action.key, action.as_json(), outputs, ref.target, source=PINNED, made_at=now)
    session.store.record(trace)
    take = lock_take(session, ref.clip, ref.take, trace)
    return _decide(session, ref, with_pinned(session.lock, ref.clip.path, ref.take, take, reason))


def forget(session: Session, ref: TakeRef) -> Decided:
    """Drop a take: the next build renders it. What a pinned file covers is there again once the file is forgotten.

    Its trace is set aside, for `cache gc --renders`, and for the day when git brings the take back.
    """
    take = recorded_take(session, ref)
    decided = _decide(session, ref, without_take(session.lock, ref.clip.path, ref.take))
    kept = {made.key for entry in session.lock.entries.values() for _, made in entry.all_takes()}
    if take.key not in kept:
        session.store.forget(take.key)
    return decided


def is_pinned_over(session: Session, ref: TakeRef) -> bool:
    """Return whether a pinned file covers a render of this take."""
    entry = session.lock.entries.get(ref.clip.path)
    return entry is not None and ref.take in entry.covered


def _missing_files(ref: TakeRef, take: LockTake) -> LtxflowError:
    return LtxflowError(
        problem("U031.accept", clip=ref.clip.path, take=ref.take, digest=take.digest[:12]),
        exit_code=FAILED,
    )


def take_numbers(session: Session, clip: Clip | Still) -> list[int]:
    """Return the numbers of all takes of a clip or reference that the film requests or the lock records."""
    entry = session.lock.entries.get(clip.path)
    return sorted({*range(1, clip.takes + 1), *(entry.takes if entry else ())})


def take_rows(session: Session, plan: Plan, clip: Clip | Still) -> list[dict[str, Any]]:
    """Return the facts of each take of a clip or reference, by number."""
    entry = session.lock.entries.get(clip.path)
    recorded: Mapping[int, LockTake] = entry.takes if entry else {}
    review = Review(session.lock, session.lookup)
    rows = []
    for number in take_numbers(session, clip):
        take = recorded.get(number)
        status = plan.statuses.get(TakeRef(clip, number).target)
        trace = session.trace_of(take.key) if take else None
        is_picked = number == picked_take(session.lock, clip)
        video = take.outputs.get("published") if take else None
        verdict = None
        if isinstance(clip, Clip) and video is not None:
            verdict = review.verdict_of(clip, number, video, session.project.profile)
        rows.append(
            {
                "take": number,
                "picked": is_picked,
                "status": entry.decision(number).status if entry else "",
                "reason": entry.decision(number).reason if entry else "",
                "frames": take.frames if take else None,
                "key": take.key if take else None,
                "matches": bool(take and status and take.stands_for(status.key)),
                "made_at": trace.made_at if trace else "",
                "server": trace.server if trace else "",
                "seconds": trace.seconds.get("ran") or trace.seconds.get("total") if trace else None,
                "seed": clip.explicit_seed(number) if clip.explicit_seed(number) is not None else take and take.seed,
                "checks": verdict.as_json() if verdict else None,
            }
        )
    return rows
