"""What a film is made of and how far it is, as plain data: for a page that shows it. Writes nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltxflow import __version__
from ltxflow.core.errors import Problem
from ltxflow.core.regular import read_json
from ltxflow.core.timing import clip_file_name, letters
from ltxflow.decisions.takes import take_numbers, take_rows
from ltxflow.plan.explain import Reason, show, word_diff
from ltxflow.plan.plan import Change, Plan, PlanOptions, PublishedClip
from ltxflow.plan.review import plain
from ltxflow.project.model import Clip, Scene
from ltxflow.publish.timeline import TIMELINE
from ltxflow.session.session import Session

Json = dict[str, Any]
KINDS = {"file": "recorded", "duration": "planned", "text": "estimate", "none": ""}


def report_data(session: Session, page: Path, now: str) -> Json:
    """Given a session, where the page will stand and the time to write on it, return all that it shows."""
    outlook = session.plan(PlanOptions())
    takes = _takes(session, outlook)
    posters = _posters(session)
    placed = session.published_clips()
    states = clip_states(outlook, placed)
    scenes, start = [], 0
    for scene in outlook.project.scenes:
        told = _scene(session, outlook, scene, start)
        told["clips"] = [
            {
                **_clip(session, outlook, clip, states[clip.path], placed, posters, page),
                "takes": takes[clip.path],
            }
            for clip in scene.clips
        ]
        scenes.append(told)
        start += outlook.cuts[scene.id].covered
    project = outlook.project
    return {
        "film": {
            "id": project.id,
            "title": project.title,
            "profile": project.profile.title,
            "quality": list(dict.fromkeys(str(clip.get("quality")) for clip in project.clips)),
            "width": project.size[0],
            "height": project.size[1],
            "fps": project.fps,
            "frames": outlook.film_frames,
            "seconds": round(outlook.film_frames / project.fps, 3),
            "written": now,
            "version": __version__,
        },
        "scenes": scenes,
        "problems": [_problem(problem) for problem in outlook.problems],
        "orphans": [orphan.file for orphan in outlook.orphans],
    }


def _takes(session: Session, outlook: Plan) -> dict[str, list[Json]]:
    """What is known of every take that was made, by clip: of those that the film asks for no more, too."""
    clips = outlook.project.clips
    names = tuple(f"{clip.path}@{number}" for clip in clips for number in take_numbers(session, clip))
    of_all = outlook if len(names) == len(clips) else session.plan(PlanOptions(selectors=names, also=names))
    return {clip.path: [row for row in take_rows(session, of_all, clip) if row["frames"]] for clip in clips}


def clip_states(outlook: Plan, placed: Mapping[str, PublishedClip]) -> dict[str, str]:
    """Given an outlook of the whole film and what stands in the output folder, return how far each clip is, by path:
    made, stale, preview, slate, ready (in the store) or missing."""
    changes = {change.target: change for change in outlook.changes}
    return {
        clip.path: _state(changes[outlook.picked(clip)], placed.get(clip_file_name(scene.index, clip.index)))
        for scene in outlook.project.scenes
        for clip in scene.clips
    }


def _state(change: Change, stands: PublishedClip | None) -> str:
    if change.kind == "unchanged":
        return "made" if stands is None or stands.rank > 1 else "preview"
    if change.kind == "restore":
        return "ready"
    if stands is not None and stands.clip == change.clip:
        return ("slate", "preview", "stale")[stands.rank]
    return "missing"


def _scene(session: Session, outlook: Plan, scene: Scene, start: int) -> Json:
    fps, cut, spoken = outlook.project.fps, outlook.cuts[scene.id], scene.narration
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
    outlook: Plan,
    clip: Clip,
    state: str,
    placed: Mapping[str, PublishedClip],
    posters: Mapping[str, str],
    page: Path,
) -> Json:
    target, public = outlook.picked(clip), session.project.output.parent
    (change,) = (change for change in outlook.changes if change.target == target)
    file = clip_file_name(outlook.project.scene(clip.scene).index, clip.index)
    entry = outlook.lock.entries.get(clip.path)
    verdict = outlook.verdicts.get(target)
    frames = outlook.cuts[clip.scene].frames[clip.index]
    stands = placed.get(file)
    return {
        "id": clip.id,
        "path": clip.path,
        "letter": letters(clip.index),
        "state": state,
        "video": _link(session.project.output / file, page) if stands and stands.clip == clip.path else None,
        "poster": _link(public / posters[clip.path], page) if clip.path in posters else None,
        "frames": frames,
        "seconds": round(frames / outlook.project.fps, 3),
        "where": str(clip.span) if clip.span else "",
        "prompt": dict(clip.prompt.parts),
        "reference": clip.reference.name if clip.reference else None,
        "extends": (clip.extends.clip or (clip.extends.file.name if clip.extends.file else ""))
        if clip.extends
        else None,
        "change": change.kind,
        "note": change.note if entry or change.kind != "maybe" else "",  # never rendered: nothing became of it
        "why": [_reason(reason) for reason in change.reasons],
        "status": entry.status if entry else "",
        "reason": entry.reason if entry else "",
        "motion": verdict.motion if verdict else None,
        "checks": [{**_problem(p), "message": plain(p)} for p in verdict.problems] if verdict else [],
    }


def _posters(session: Session) -> dict[str, str]:
    """Each clip's picture as the published timeline names it; none where there is no timeline that we can read."""
    try:
        told = read_json(session.project.output / TIMELINE)
        return {
            f"{scene['id']}/{clip['id']}": clip["poster"]
            for scene in told["scenes"]
            for clip in scene["clips"]
            if clip["poster"] and (session.project.output.parent / clip["poster"]).is_file()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _link(file: Path, page: Path) -> str:
    return Path(os.path.relpath(file, page.parent)).as_posix()


def _reason(reason: Reason) -> Json:
    """A change of words as runs of `=`, `-` and `+`; of anything else as what it was, and what it is."""
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
