"""Scenes and clips, and how far each is: made, drawn as a slate, stale, or still to be made."""

from __future__ import annotations

import argparse
from typing import Any

from ltxflow.cli.options import session_of
from ltxflow.core.timing import clip_file_name, letters
from ltxflow.export.storyboard import clip_states
from ltxflow.media.findings import RULES
from ltxflow.plan.plan import Plan, PlanOptions, drifted
from ltxflow.project.model import Scene
from ltxflow.store.snapshot import take
from ltxflow.ui.json_lines import print_envelope
from ltxflow.ui.plan_view import header
from ltxflow.ui.terminal import Console, columns, duration

MARKS = {"made": "✓", "stale": "~", "preview": "◐", "slate": "▭", "ready": "<", "missing": "…"}
LEGEND = "✓ made  ~ stale  < in the store  ◐ preview  ▭ slate  … not made"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def run(args: argparse.Namespace, face: Console) -> int:
    with session_of(args) as session:
        outlook = session.plan(PlanOptions())
        face.footing = lambda since_ns: take(session.input_paths(), since_ns)
        states = clip_states(outlook, session.published_clips())
        problems = [*(problem for told in outlook.concerns.values() for problem in told), *outlook.problems]
        problems += drifted(outlook.project, outlook.statuses)
        if args.json:
            return print_envelope("status", _data(outlook, states), 0, problems)
        face.say(face.paint(header(outlook), "bold"))
        face.say()
        rows: list[tuple[str, ...]] = [("scene", "clips", "motion", "narration", "picture")]
        rows += [_row(outlook, scene, states) for scene in outlook.project.scenes]
        if not outlook.verdicts:  # nothing was looked at: it may be all slates
            rows = [(*row[:2], *row[3:]) for row in rows]
        for index, line in enumerate(columns(rows)):
            face.say(f"  {face.paint(line, 'dim') if index == 0 else line}")
        face.say()
        done = sum(state == "made" for state in states.values())
        seconds = outlook.film_frames / outlook.project.fps
        face.say(f"{done} of {len(states)} clips made, film {duration(seconds)}.  {face.paint(LEGEND, 'dim')}")
        for problem in problems:
            if problem.level == "warning" or problem.code in RULES:
                face.say(f"  {face.paint('!', 'yellow')} {problem.message}  {face.paint(f'→ {problem.hint}', 'dim')}")
        return 0


def _row(outlook: Plan, scene: Scene, states: dict[str, str]) -> tuple[str, str, str, str, str]:
    cut = outlook.cuts[scene.id]
    clips = " ".join(f"{clip.id}{MARKS[states[clip.path]]}" for clip in scene.clips)
    spoken = scene.narration
    is_spoken = spoken.speech is not None and not spoken.estimated
    kind = (
        "spoken" if is_spoken else {"file": "audio", "duration": "planned", "text": "estimate", "none": ""}[spoken.kind]
    )
    told = f"{float(spoken.seconds):.1f}s {kind}" if spoken.kind != "none" else "none"
    frames = "+".join(map(str, cut.frames))
    trims = f", {sum(cut.trims)} trimmed" if sum(cut.trims) else ""
    picture = f"{cut.covered}f of {cut.need}f needed ({frames}{trims})" if cut.need else f"{cut.covered}f ({frames})"
    return (f"{scene.index} {scene.id}", clips, _motion(outlook, scene), told, picture)


def _motion(outlook: Plan, scene: Scene) -> str:
    """How much each clip moves, in their order: 0 is still, 1 is lively."""
    found = [outlook.verdicts.get(outlook.picked(clip)) for clip in scene.clips]
    return " ".join(f"{verdict.motion:.2f}" if verdict else "–" for verdict in found) if any(found) else ""


def _data(outlook: Plan, states: dict[str, str]) -> dict[str, Any]:
    return {
        "project": outlook.project.id,
        "clips": [
            {
                "clip": clip.path,
                "file": clip_file_name(scene.index, clip.index),
                "letter": letters(clip.index),
                "state": states[clip.path],
                "frames": outlook.cuts[scene.id].frames[clip.index],
                "status": outlook.lock.entries[clip.path].status if clip.path in outlook.lock.entries else "",
                "checks": verdict.as_json() if (verdict := outlook.verdicts.get(outlook.picked(clip))) else None,
            }
            for scene in outlook.project.scenes
            for clip in scene.clips
        ],
        "film_frames": outlook.film_frames,
    }
