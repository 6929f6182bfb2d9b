"""Change what the lock records of takes: pick, approve, reject, accept, pin, forget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import FAILED, LtxflowError, problem
from ltxflow.core.target import Target
from ltxflow.decisions.lock_update import lock_take
from ltxflow.lock.model import LockEntry, LockTake, with_entry, with_pick, with_status, with_take
from ltxflow.media.fit import ImageFacts
from ltxflow.media.probe import VideoFacts, probe_mp4
from ltxflow.plan.plan import Plan, PlanOptions, picked_take
from ltxflow.plan.review import SETTLED, Review
from ltxflow.project.model import Clip, Still
from ltxflow.publish.timeline import model_in
from ltxflow.session.session import Session
from ltxflow.steps import step
from ltxflow.store.traces import Trace


@dataclass(frozen=True)
class TakeRef:
    """A take of a clip or of a generated reference."""

    clip: Clip | Still
    take: int

    @property
    def target(self) -> Target:
        return Target(f"{'' if isinstance(self.clip, Still) else 'clip:'}{self.clip.path}@{self.take}")


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
        build = f"build {path}@{ref.take} --takes {ref.take}"
        command = f"retake {path}" if isinstance(ref.clip, Still) else build
        raise LtxflowError(problem("U030", clip=path, take=ref.take, command=command))
    return take


def pick(session: Session, ref: TakeRef) -> bool:
    """Put a take into the cut; return whether that changed the lock. The next build publishes it."""
    recorded_take(session, ref)
    before = session.lock
    session.lock = with_pick(session.lock, ref.clip.path, ref.take)
    if session.lock == before:
        return False
    session.save_lock()
    return True


def set_status(session: Session, ref: TakeRef, status: str, reason: str) -> None:
    """Approve or reject a take; an approved one is picked. Raise LtxflowError to reject one that is not picked."""
    recorded_take(session, ref)
    if status == "approved":
        session.lock = with_pick(session.lock, ref.clip.path, ref.take)
    elif ref.take != picked_take(session.lock, ref.clip):
        raise LtxflowError(problem("U036", clip=ref.clip.path, take=ref.take))
    session.lock = with_status(session.lock, ref.clip.path, status, reason)
    session.save_lock()


def next_take(session: Session, clip: Clip | Still) -> TakeRef:
    """Return the next take: its number follows all that the film requests and all in the lock."""
    entry = session.lock.entries.get(clip.path)
    return TakeRef(clip, max(clip.takes, *(entry.takes if entry else ()), 0) + 1)


def reject_for_retake(session: Session, ref: TakeRef, reason: str) -> None:
    """Reject the take that a retake replaces. Raise LtxflowError where it is approved, accepted or pinned."""
    entry = session.lock.entries.get(ref.clip.path)
    if entry is None:
        return  # never rendered
    if entry.status in SETTLED:
        span, path = ref.clip.span, ref.clip.path
        raise LtxflowError(problem("U033", span, clip=path, take=entry.pick, status=entry.status, reason=reason))
    set_status(session, ref, "rejected", reason)


def accept(session: Session, ref: TakeRef) -> bool:
    """Keep the existing result for the clip as it is now; return whether that was needed.

    Its files are recorded under the new key, so that nothing is rendered; the lock records who accepted it.
    """
    take = recorded_take(session, ref)
    plan = session.plan(PlanOptions(selectors=(f"{ref.clip.path}@{ref.take}",)))
    status = plan.statuses[ref.target]
    if status.action is None or status.key is None:
        raise LtxflowError(problem("U037", clip=ref.clip.path, cause=status.waits))
    if status.key == take.key:
        return False
    old = session.lookup(take.key)
    if old is None:
        raise _missing_files(ref, take)
    module = step(status.node.kind)
    new = replace(
        old,
        key=status.key,
        action=status.action.as_json(),
        fields=module.fields(status.node),
        target=ref.target,
        model=model_in(old),  # the fields of the old trace are replaced, the model that made it stays
    )
    session.store.record(new)
    _record(session, ref, replace(take, key=status.key), "accepted", f"rendered as {take.key[:12]}")
    return True


def pin(session: Session, ref: TakeRef, file: Path, reason: str) -> VideoFacts | ImageFacts:
    """Put a file in the place of a clip or a reference; check a clip as a render is checked."""
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
    _record_pin(session, ref, action, outputs, "comfyui", reason or file.name)
    return facts


def _pin_image(session: Session, ref: TakeRef, file: Path, reason: str) -> ImageFacts:
    from ltxflow.media.image import open_image, read_image, save_png  # on first use, as above

    cas = session.store.cas
    with session.store.scratch() as folder:
        plain = folder / "image.png"
        save_png(open_image(file), plain)
        facts = read_image(plain)
        fields = {"pixels": facts.pixels, "width": facts.width, "height": facts.height}
        outputs = {"image": Output(cas.put(plain), fields, plain.stat().st_size)}
    action = Action("pinned", "1", {"image": outputs["image"].digest}, {}, ("image",))
    _record_pin(session, ref, action, outputs, "reference", reason or file.name)
    return facts


def _record_pin(
    session: Session, ref: TakeRef, action: Action, outputs: Mapping[str, Output], source: str, reason: str
) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    trace = Trace(action.key, action.as_json(), outputs, ref.target, source=source, made_at=now)
    session.store.record(trace)
    _record(session, ref, lock_take(session, ref.clip, ref.take, trace), "pinned", reason)


def forget(session: Session, ref: TakeRef) -> None:
    """Drop the trace and the record of a take: the next build renders it. The blobs stay until `cache gc`."""
    take = recorded_take(session, ref)
    session.store.forget(take.key)
    entry = session.lock.entries[ref.clip.path]
    takes = {number: each for number, each in entry.takes.items() if number != ref.take}
    if takes:
        kept = min(takes) if entry.pick == ref.take else entry.pick
        session.lock = with_entry(session.lock, ref.clip.path, LockEntry(kept, takes))
    else:
        entries = {path: each for path, each in session.lock.entries.items() if path != ref.clip.path}
        session.lock = replace(session.lock, entries=entries)
    session.save_lock()


def _record(session: Session, ref: TakeRef, take: LockTake, status: str, reason: str) -> None:
    session.lock = with_take(session.lock, ref.clip.path, ref.take, take)
    if ref.take == picked_take(session.lock, ref.clip):
        session.lock = with_status(session.lock, ref.clip.path, status, reason)
    session.save_lock()


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
                "status": entry.status if entry and is_picked else "",
                "reason": entry.reason if entry and is_picked else "",
                "frames": take.frames if take else None,
                "key": take.key if take else None,
                "matches": bool(take and status and status.key == take.key),
                "made_at": trace.made_at if trace else "",
                "server": trace.server if trace else "",
                "seconds": trace.seconds.get("ran") or trace.seconds.get("total") if trace else None,
                "seed": clip.explicit_seed(number) if clip.explicit_seed(number) is not None else take and take.seed,
                "checks": verdict.as_json() if verdict else None,
            }
        )
    return rows
