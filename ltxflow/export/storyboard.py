"""The storyboard: the film and the progress of each clip, as plain data for a page. Writes nothing."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ltxflow import __version__
from ltxflow.build.approval import gpu_time
from ltxflow.core.errors import Problem
from ltxflow.core.timing import clip_file_name, letters
from ltxflow.core.workspace import read_bytes, read_json
from ltxflow.decisions.takes import take_numbers, take_rows
from ltxflow.plan.estimate import next_build
from ltxflow.plan.explain import Reason, show, word_diff
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.plan.renditions import PublishedClip
from ltxflow.plan.review import plain
from ltxflow.project.model import Clip, Scene
from ltxflow.publish.timeline import TIMELINE
from ltxflow.session.session import Session

Json = dict[str, Any]
EMBEDDED = {".jpg": "image/jpeg", ".mp4": "video/mp4"}
KINDS = {"file": "recorded", "duration": "planned", "text": "estimate", "none": ""}


Address = Callable[[Path], str | None]  # of a published file, as the page names it; None for one it leaves out


def report_data(
    session: Session, page: Path, now: str, plan: Plan | None = None, address: Address | None = None
) -> Json:
    """Return everything that the page shows; `page` is where it will be, `now` the time to print on it.

    `plan` is that of the whole film, where it is made already. Without an `address` files are named relative to the
    page.
    """
    address = address or partial(_link, page=page)
    plan = plan or session.plan(PlanOptions())
    takes = _takes(session, plan)
    posters = _posters(session)
    placed = session.published_clips()
    scenes, start = [], 0
    for scene in plan.project.scenes:
        entry = _scene(session, plan, scene, start)
        entry["clips"] = [
            {
                **_clip(session, plan, clip, placed, posters, address),
                "takes": takes[clip.path],
            }
            for clip in scene.clips
        ]
        scenes.append(entry)
        start += plan.cuts[scene.id].covered
    project = plan.project
    return {
        "film": {
            "id": project.id,
            "title": project.title,
            "profile": project.profile.title,
            "quality": list(dict.fromkeys(str(clip.get("quality")) for clip in project.clips)),
            "width": project.size[0],
            "height": project.size[1],
            "fps": project.fps,
            "frames": plan.film_frames,
            "seconds": round(plan.film_frames / project.fps, 3),
            "written": now,
            "version": __version__,
        },
        "scenes": scenes,
        "problems": [_problem(problem) for problem in plan.problems],
        "next": next_build(plan, gpu_time(session, plan)),
        "orphans": [orphan.file for orphan in plan.orphans],
    }


def _takes(session: Session, plan: Plan) -> dict[str, list[Json]]:
    """Return the rows of every made take by clip, with takes that the film no longer requests."""
    clips = plan.project.clips
    names = tuple(f"{clip.path}@{number}" for clip in clips for number in take_numbers(session, clip))
    whole = plan if len(names) == len(clips) else session.plan(PlanOptions(selectors=names, also=names))
    return {clip.path: [row for row in take_rows(session, whole, clip) if row["frames"]] for clip in clips}


def _scene(session: Session, plan: Plan, scene: Scene, start: int) -> Json:
    fps, cut, spoken = plan.project.fps, plan.cuts[scene.id], scene.narration
    return {
        "id": scene.id,
        "index": scene.index,
        "title": scene.title,
        "from": round(start / fps, 3),
        "seconds": round(cut.covered / fps, 3),
        "crossfade": scene.crossfade if len(scene.clips) > 1 else 0,
        "narration": {
            "kind": "spoken" if spoken.kind == "text" and not spoken.estimated else KINDS[spoken.kind],
            "text": spoken.text,
            "seconds": round(float(spoken.seconds), 3),
            "lead": round(float(scene.pad_head), 3),
            "tail": round(float(scene.pad_tail), 3),
        },
        "coverage": {"needed": cut.need, "covered": cut.covered, "trimmed": sum(cut.trims)},
    }


def _clip(
    session: Session,
    plan: Plan,
    clip: Clip,
    placed: Mapping[str, PublishedClip],
    posters: Mapping[str, str],
    address: Address,
) -> Json:
    target, public = plan.picked(clip), session.project.output.parent
    (change,) = (change for change in plan.changes if change.target == target)
    file = clip_file_name(plan.project.scene(clip.scene).index, clip.index)
    entry = plan.lock.entries.get(clip.path)
    verdict = plan.verdicts.get(target)
    frames = plan.cuts[clip.scene].frames[clip.index]
    published = placed.get(file)
    return {
        "id": clip.id,
        "path": clip.path,
        "letter": letters(clip.index),
        "state": plan.states[clip.path],
        "video": address(session.project.output / file) if published and published.clip == clip.path else None,
        "poster": address(public / posters[clip.path]) if clip.path in posters else None,
        "frames": frames,
        "seconds": round(frames / plan.project.fps, 3),
        "where": str(clip.span) if clip.span else "",
        "prompt": dict(clip.prompt.parts),
        "reference": clip.reference.name if clip.reference else None,
        "extends": (clip.extends.clip or (clip.extends.file.name if clip.extends.file else ""))
        if clip.extends
        else None,
        "change": change.kind,
        "note": change.note if entry or change.kind != "maybe" else "",  # it was never rendered
        "why": [_reason(reason) for reason in change.reasons],
        "status": entry.status if entry else "",
        "reason": entry.reason if entry else "",
        "motion": verdict.motion if verdict else None,
        "checks": [{**_problem(p), "message": plain(p)} for p in verdict.problems] if verdict else [],
    }


def _posters(session: Session) -> dict[str, str]:
    """Return each clip's picture as in the published timeline; nothing without a timeline that can be read."""
    try:
        data = read_json(session.project.output / TIMELINE)
        return {
            f"{scene['id']}/{clip['id']}": clip["poster"]
            for scene in data["scenes"]
            for clip in scene["clips"]
            if clip["poster"] and (session.project.output.parent / clip["poster"]).is_file()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def report_inputs(session: Session) -> tuple[Path, ...]:
    """Return what the page depends on besides the film: the published timeline, and which pictures are there."""
    return session.project.output / TIMELINE, session.project.output.parent / "posters"


def embedded(file: Path, *, with_videos: bool) -> str | None:
    """Return a file as an address that holds it; None for a video that is left out, or a file that cannot be read."""
    kind = EMBEDDED.get(file.suffix)
    if kind is None or (kind.startswith("video") and not with_videos):
        return None
    try:
        data = read_bytes(file)
    except OSError:
        return None
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _link(file: Path, page: Path) -> str:
    return Path(os.path.relpath(file, page.parent)).as_posix()


def _reason(reason: Reason) -> Json:
    """Return a changed text as runs of `=`, `-` and `+`; any other change as the old and the new value."""
    old, new = show(reason.old), show(reason.new)
    is_text = isinstance(reason.old, str) and isinstance(reason.new, str) and " " in old + new
    runs: Sequence[tuple[str, str]] = word_diff(old, new) if is_text else [("-", old), ("+", new)]
    return {"field": reason.field, "runs": runs, "where": str(reason.span or ""), "detail": reason.detail}


def _problem(problem: Problem) -> Json:
    where = str(problem.span) if problem.span else ""
    return {
        "level": problem.level,
        "code": problem.code,
        "message": problem.message,
        "hint": problem.hint,
        "where": where,
    }
