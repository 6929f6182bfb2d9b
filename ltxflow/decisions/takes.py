"""What a person says of takes: in the cut, approved, rejected, accepted, pinned, forgotten. Writes lock and store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ltxflow.core.digest import Action, Output
from ltxflow.core.errors import FAILED, LtxflowError, Problem
from ltxflow.decisions.lock_update import lock_take
from ltxflow.lock.model import LockEntry, LockTake, with_entry, with_pick, with_status, with_take
from ltxflow.media.fit import ImageFacts
from ltxflow.media.image import open_image, read_image, save_png
from ltxflow.media.metadata import strip_mp4
from ltxflow.media.probe import VideoFacts, probe_mp4
from ltxflow.plan.plan import Plan, PlanOptions, picked_take
from ltxflow.plan.review import SETTLED, Review
from ltxflow.project.model import Clip, Still
from ltxflow.publish.placements import model_in
from ltxflow.session.session import Session
from ltxflow.steps import step
from ltxflow.store.traces import Trace


@dataclass(frozen=True)
class TakeRef:
    """A clip or a made reference that was named, and the take: the one after `@`, or the one that is picked."""

    clip: Clip | Still
    take: int

    @property
    def target(self) -> str:
        return f"{'' if isinstance(self.clip, Still) else 'clip:'}{self.clip.path}@{self.take}"


def name(session: Session, selector: str) -> TakeRef:
    """Given `hook/b`, `hook/b@2` or `reference:hero`, return what it names. Raise LtxflowError without such a one."""
    path, _, take = selector.removeprefix("clip:").partition("@")
    is_still = path.startswith("reference:")
    known: list[Clip | Still] = [*(session.project.stills if is_still else session.project.clips)]
    found = next((one for one in known if one.path == path), None)
    if found is None or (take and not take.isdecimal()):
        angles = [one for one in known if one.path.startswith(f"{path}/")] if is_still else []
        names = ", ".join(one.path for one in (angles or known)[:12]) or "none"
        what = "reference that is made for this film" if is_still else "clip of this film"
        said = f'of "{path}" only other angles are made for this film' if angles else f'"{selector}" is no {what}'
        hint = f"{'references' if is_still else 'clips'}: {names}"
        raise LtxflowError(Problem(said, hint=hint, code="U010"))
    return TakeRef(found, int(take) if take else picked_take(session.lock, found))


def known_take(session: Session, named: TakeRef) -> LockTake:
    """Given a take, return its record in the lock. Raise LtxflowError when it was never rendered."""
    take = session.lock.take(named.clip.path, named.take)
    if take is None:
        raise LtxflowError(
            Problem(
                f"{named.clip.path} has no take {named.take} yet",
                hint=f"ltxflow retake {named.clip.path}"
                if isinstance(named.clip, Still)
                else f"ltxflow build {named.clip.path}@{named.take} --takes {named.take}",
                code="U030",
            )
        )
    return take


def pick(session: Session, named: TakeRef) -> bool:
    """Put a take into the cut; return whether that changed anything. The next build publishes it."""
    known_take(session, named)
    before = session.lock
    session.lock = with_pick(session.lock, named.clip.path, named.take)
    if session.lock == before:
        return False
    session.save_lock()
    return True


def judge(session: Session, named: TakeRef, status: str, reason: str) -> None:
    """Write a person's word on a take, which thereby is the one in the cut when it is approved."""
    known_take(session, named)
    if status == "approved":
        session.lock = with_pick(session.lock, named.clip.path, named.take)
    elif named.take != picked_take(session.lock, named.clip):
        raise LtxflowError(Problem(f"take {named.take} is not in the cut", hint="only the picked take can be rejected"))
    session.lock = with_status(session.lock, named.clip.path, status, reason)
    session.save_lock()


def next_take(session: Session, clip: Clip | Still) -> TakeRef:
    """Given a clip or a reference, return its next take: the number after all that are asked for, or were ever made."""
    entry = session.lock.entries.get(clip.path)
    return TakeRef(clip, max(clip.takes, *(entry.takes if entry else ()), 0) + 1)


def refuse(session: Session, clip: Clip | Still, reason: str) -> None:
    """Say of the take in the cut why there must be another. Raise LtxflowError where a person had said it will do."""
    entry = session.lock.entries.get(clip.path)
    if entry is None:
        return  # nothing is there that could be refused
    if entry.status in SETTLED:
        message = f"take {entry.pick} of {clip.path} is {entry.status}: a reason would reject it"
        hint = f'leave the reason out, or say it first: ltxflow reject {clip.path} "{reason}"'
        raise LtxflowError(Problem(message, clip.span, hint, "U033"))
    judge(session, TakeRef(clip, entry.pick), "rejected", reason)


def accept(session: Session, named: TakeRef) -> bool:
    """Let the existing result stand for what the clip is now; return whether that was needed.

    Its files are recorded under the new key, so that nothing is rendered; the lock says that a person accepted it.
    """
    take = known_take(session, named)
    outlook = session.plan(PlanOptions(selectors=(f"{named.clip.path}@{named.take}",)))
    status = outlook.statuses[named.target]
    if status.action is None or status.key is None:
        raise LtxflowError(Problem(f"{named.clip.path} {status.waits}", hint="build that first"))
    if status.key == take.key:
        return False
    old = session.lookup(take.key)
    if old is None:
        raise _gone(named, take)
    module = step(status.node.kind)
    new = replace(
        old,
        key=status.key,
        action=status.action.as_json(),
        fields=module.fields(status.node),
        target=named.target,
        model=model_in(old),  # its fields are replaced, and what made it is not
    )
    session.store.record(new)
    _keep(session, named, replace(take, key=status.key), "accepted", f"rendered as {take.key[:12]}")
    return True


def pin(session: Session, named: TakeRef, file: Path, reason: str) -> VideoFacts | ImageFacts:
    """Put a file made by hand into a clip's or a reference's place; a clip is checked as a render is."""
    if isinstance(named.clip, Still):
        return _pin_picture(session, named, file, reason)
    facts = probe_mp4(file)
    project = session.project
    wrong = []
    if (facts.width, facts.height) != project.size:
        wrong.append(f"{facts.width}x{facts.height}, not {project.size[0]}x{project.size[1]}")
    if facts.fps != project.fps:
        wrong.append(f"{facts.fps} frames a second, not {project.fps}")
    if wrong:
        raise LtxflowError(Problem(f'"{file}" has {" and ".join(wrong)}', hint="convert it first"), exit_code=FAILED)
    cas = session.store.cas
    with session.store.scratch() as folder:
        stripped = folder / "published.mp4"
        strip_mp4(file, stripped)
        outputs = {
            "video": Output(cas.put(file), facts.as_json(), file.stat().st_size),
            "published": Output(cas.put(stripped), facts.as_json(), stripped.stat().st_size),
        }
    action = Action("pinned", "1", {"video": outputs["video"].digest}, {}, ("published", "video"))
    _pin(session, named, action, outputs, "comfyui", reason or file.name)
    return facts


def _pin_picture(session: Session, named: TakeRef, file: Path, reason: str) -> ImageFacts:
    cas = session.store.cas
    with session.store.scratch() as folder:
        plain = folder / "image.png"
        save_png(open_image(file), plain)
        facts = read_image(plain)
        told = {"pixels": facts.pixels, "width": facts.width, "height": facts.height}
        outputs = {"image": Output(cas.put(plain), told, plain.stat().st_size)}
    action = Action("pinned", "1", {"image": outputs["image"].digest}, {}, ("image",))
    _pin(session, named, action, outputs, "reference", reason or file.name)
    return facts


def _pin(
    session: Session, named: TakeRef, action: Action, outputs: Mapping[str, Output], source: str, reason: str
) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    trace = Trace(action.key, action.as_json(), outputs, named.target, source=source, made_at=now)
    session.store.record(trace)
    _keep(session, named, lock_take(session, named.clip, named.take, trace), "pinned", reason)


def forget(session: Session, named: TakeRef) -> None:
    """Drop a take's trace and its record: the next build makes it anew. The blobs stay until `cache gc`."""
    take = known_take(session, named)
    session.store.forget(take.key)
    entry = session.lock.entries[named.clip.path]
    takes = {number: each for number, each in entry.takes.items() if number != named.take}
    if takes:
        kept = min(takes) if entry.pick == named.take else entry.pick
        session.lock = with_entry(session.lock, named.clip.path, LockEntry(kept, takes))
    else:
        entries = {path: each for path, each in session.lock.entries.items() if path != named.clip.path}
        session.lock = replace(session.lock, entries=entries)
    session.save_lock()


def _keep(session: Session, named: TakeRef, take: LockTake, status: str, reason: str) -> None:
    session.lock = with_take(session.lock, named.clip.path, named.take, take)
    if named.take == picked_take(session.lock, named.clip):
        session.lock = with_status(session.lock, named.clip.path, status, reason)
    session.save_lock()


def _gone(named: TakeRef, take: LockTake) -> LtxflowError:
    return LtxflowError(
        Problem(
            f"the files of {named.clip.path}@{named.take} ({take.digest[:12]}…) are not in this store",
            hint="copy them from the store where it was rendered (LTXFLOW_STORE), or pin a file in its place",
            code="U031",
        ),
        exit_code=FAILED,
    )


def take_numbers(session: Session, clip: Clip | Still) -> list[int]:
    """Given a clip or a reference, return the numbers of its takes: all that are asked for, or were ever made."""
    entry = session.lock.entries.get(clip.path)
    return sorted({*range(1, clip.takes + 1), *(entry.takes if entry else ())})


def take_rows(session: Session, outlook: Plan, clip: Clip | Still) -> list[dict[str, Any]]:
    """Given a clip or a reference, return what is known of each of its takes, by number."""
    entry = session.lock.entries.get(clip.path)
    recorded: Mapping[int, LockTake] = entry.takes if entry else {}
    review = Review(session.lock, session.lookup)
    rows = []
    for number in take_numbers(session, clip):
        take = recorded.get(number)
        status = outlook.statuses.get(TakeRef(clip, number).target)
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
