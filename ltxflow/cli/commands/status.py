"""Show what every clip is (final, draft, stale, slate or not made), and what the next build would do."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ltxflow.build.approval import gpu_time
from ltxflow.cli.options import session_of
from ltxflow.core.timing import clip_file_name, letters
from ltxflow.media.findings import RULES
from ltxflow.plan.estimate import Estimate, next_build
from ltxflow.plan.plan import Change, Plan, PlanOptions, drifted
from ltxflow.plan.renditions import State, counts
from ltxflow.project.model import Scene
from ltxflow.ui.plan_view import header, rejected_clips, states_in_words
from ltxflow.ui.terminal import Console, columns, duration, grouped, more_alike

MARKS: Mapping[State, str] = {"final": "✓", "draft": "◐", "stale": "~", "slate": "▭", "missing": "…"}
STORED = "<"  # of a clip whose final render, or draft, is in the store and not yet in its place
LEGEND = "✓ final  ◐ draft  ~ stale  ▭ slate  … not made  < in the store"


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        plan = session.plan(PlanOptions())
        console.input_manifest = session.manifest
        problems = [*(problem for found in plan.concerns.values() for problem in found), *plan.problems]
        problems += drifted(plan.project, plan.lock, plan.statuses)
        gpu = gpu_time(session, plan)
        if args.json:
            return console.envelope("status", _data(plan, gpu), 0, problems)
        console.say(console.paint(header(plan), "bold"))
        console.say()
        rows: list[tuple[str, ...]] = [("scene", "clips", "motion", "narration", "picture")]
        changes = _changes(plan)
        rows += [_row(plan, scene, changes) for scene in plan.project.scenes]
        if not plan.verdicts:  # nothing was inspected: it may be all slates
            rows = [(*row[:2], *row[3:]) for row in rows]
        for index, line in enumerate(columns(rows)):
            console.say(f"  {console.paint(line, 'dim') if index == 0 else line}")
        console.say()
        due = next_build(plan, gpu)
        line = states_in_words(plan.states, rejected_clips(plan), has_names=False)
        console.say(f"{line}: `ltxflow build` {due}" if due else f"{line}: nothing to build")
        seconds = plan.film_frames / plan.project.fps
        console.say(f"Film {duration(seconds)}, {plan.tally()}.  {console.paint(LEGEND, 'dim')}")
        noted = list(dict.fromkeys(each for each in problems if each.level == "warning" or each.code in RULES))
        for first, *others in [[each] for each in noted] if args.verbose else grouped(noted):
            hint = console.paint(f"→ {first.hint}", "dim")
            console.say(f"  {console.paint('!', 'yellow')} {first.message}  {hint}")
            if others:
                console.say(f"    {more_alike(first, others)}")
        return 0


def _row(plan: Plan, scene: Scene, changes: Mapping[str, Change]) -> tuple[str, str, str, str, str]:
    cut = plan.cuts[scene.id]
    clips = " ".join(f"{clip.id}{_mark(plan, clip.path, changes)}" for clip in scene.clips)
    spoken = scene.narration
    is_spoken = spoken.speech is not None and not spoken.estimated
    kind = (
        "spoken" if is_spoken else {"file": "audio", "duration": "planned", "text": "estimate", "none": ""}[spoken.kind]
    )
    narration = f"{float(spoken.seconds):.1f}s {kind}" if spoken.kind != "none" else "none"
    frames = "+".join(map(str, cut.frames))
    trims = f", {sum(cut.trims)} trimmed" if sum(cut.trims) else ""
    picture = f"{cut.covered}f of {cut.need}f needed ({frames}{trims})" if cut.need else f"{cut.covered}f ({frames})"
    return (f"{scene.index} {scene.id}", clips, _motion(plan, scene), narration, picture)


def _changes(plan: Plan) -> dict[str, Change]:
    """Return the change of each clip's take in the cut, by path."""
    return {change.clip: change for change in plan.changes if change.file}


def _mark(plan: Plan, path: str, changes: Mapping[str, Change]) -> str:
    return STORED if changes[path].kind == "restore" else MARKS[plan.states[path]]


def _motion(plan: Plan, scene: Scene) -> str:
    """Return how much each clip moves, in order: 0 is motionless, 1 is lively."""
    found = [plan.verdicts.get(plan.picked(clip)) for clip in scene.clips]
    return " ".join(f"{verdict.motion:.2f}" if verdict else "–" for verdict in found) if any(found) else ""


def _data(plan: Plan, gpu: Estimate | None) -> dict[str, Any]:
    changes = _changes(plan)
    return {
        "project": plan.project.id,
        "clips": [
            {
                "clip": clip.path,
                "file": clip_file_name(scene.index, clip.index),
                "letter": letters(clip.index),
                "state": plan.states[clip.path],
                "change": changes[clip.path].kind,
                "frames": plan.cuts[scene.id].frames[clip.index],
                "status": plan.lock.entries[clip.path].status if clip.path in plan.lock.entries else "",
                "checks": verdict.as_json() if (verdict := plan.verdicts.get(plan.picked(clip))) else None,
            }
            for scene in plan.project.scenes
            for clip in scene.clips
        ],
        "states": counts(plan.states.values()),
        "next": {"command": "ltxflow build", "does": due} if (due := next_build(plan, gpu)) else None,
        "film_frames": plan.film_frames,
    }
