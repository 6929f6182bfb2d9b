"""Show the state of every scene and clip: rendered, slate, preview, stale or missing."""

from __future__ import annotations

import argparse
from typing import Any

from ltxflow.cli.options import session_of
from ltxflow.core.timing import clip_file_name, letters
from ltxflow.export.storyboard import clip_states
from ltxflow.media.findings import RULES
from ltxflow.plan.plan import Plan, PlanOptions, drifted
from ltxflow.project.model import Scene
from ltxflow.ui.plan_view import header
from ltxflow.ui.terminal import Console, columns, duration

MARKS = {"made": "✓", "stale": "~", "preview": "◐", "slate": "▭", "ready": "<", "missing": "…"}
LEGEND = "✓ made  ~ stale  < in the store  ◐ preview  ▭ slate  … not made"


def run(args: argparse.Namespace, console: Console) -> int:
    with session_of(args) as session:
        plan = session.plan(PlanOptions())
        console.input_manifest = session.manifest
        states = clip_states(plan, session.published_clips())
        problems = [*(problem for found in plan.concerns.values() for problem in found), *plan.problems]
        problems += drifted(plan.project, plan.lock, plan.statuses)
        if args.json:
            return console.envelope("status", _data(plan, states), 0, problems)
        console.say(console.paint(header(plan), "bold"))
        console.say()
        rows: list[tuple[str, ...]] = [("scene", "clips", "motion", "narration", "picture")]
        rows += [_row(plan, scene, states) for scene in plan.project.scenes]
        if not plan.verdicts:  # nothing was inspected: it may be all slates
            rows = [(*row[:2], *row[3:]) for row in rows]
        for index, line in enumerate(columns(rows)):
            console.say(f"  {console.paint(line, 'dim') if index == 0 else line}")
        console.say()
        done = sum(state == "made" for state in states.values())
        seconds = plan.film_frames / plan.project.fps
        console.say(f"{done} of {len(states)} clips made, film {duration(seconds)}.  {console.paint(LEGEND, 'dim')}")
        for problem in problems:
            if problem.level == "warning" or problem.code in RULES:
                console.say(
                    f"  {console.paint('!', 'yellow')} {problem.message}  {console.paint(f'→ {problem.hint}', 'dim')}"
                )
        return 0


def _row(plan: Plan, scene: Scene, states: dict[str, str]) -> tuple[str, str, str, str, str]:
    cut = plan.cuts[scene.id]
    clips = " ".join(f"{clip.id}{MARKS[states[clip.path]]}" for clip in scene.clips)
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


def _motion(plan: Plan, scene: Scene) -> str:
    """Return how much each clip moves, in order: 0 is motionless, 1 is lively."""
    found = [plan.verdicts.get(plan.picked(clip)) for clip in scene.clips]
    return " ".join(f"{verdict.motion:.2f}" if verdict else "–" for verdict in found) if any(found) else ""


def _data(plan: Plan, states: dict[str, str]) -> dict[str, Any]:
    return {
        "project": plan.project.id,
        "clips": [
            {
                "clip": clip.path,
                "file": clip_file_name(scene.index, clip.index),
                "letter": letters(clip.index),
                "state": states[clip.path],
                "frames": plan.cuts[scene.id].frames[clip.index],
                "status": plan.lock.entries[clip.path].status if clip.path in plan.lock.entries else "",
                "checks": verdict.as_json() if (verdict := plan.verdicts.get(plan.picked(clip))) else None,
            }
            for scene in plan.project.scenes
            for clip in scene.clips
        ],
        "film_frames": plan.film_frames,
    }
