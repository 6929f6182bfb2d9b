"""Synthesize the narration and print its length by scene, before any clip is rendered."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ltxflow.build.speech import speak_film
from ltxflow.cli.options import session_of
from ltxflow.core.errors import FAILED
from ltxflow.core.events import Event, Notice
from ltxflow.project.model import Scene
from ltxflow.session.session import hold
from ltxflow.ui.terminal import Console, columns, print_envelope, print_event


def run(args: argparse.Namespace, console: Console) -> int:
    def emit(event: Event) -> None:
        if args.json:
            print_event(event)
        elif isinstance(event, Notice) and not args.quiet:
            console.say(f"  {event.target}  {event.message}")

    def waiting(owner: Mapping[str, Any]) -> None:
        emit(Notice(f"waiting for process {owner.get('pid', '?')} to release this project", "warning"))

    with session_of(args) as session:
        with hold(session, wait=True, on_wait=waiting):
            failed = speak_film(session, emit)
        project = session.speech().project
    problems = [problem for found in failed.values() for problem in found]
    code = FAILED if failed else 0
    if args.json:
        return print_envelope("narrate", [_data(scene) for scene in project.scenes], code, problems)
    console.problems(problems)
    rows = [(scene.id, f"{float(scene.narration.seconds):.2f}s", _kind(scene)) for scene in project.scenes]
    for line in columns([("scene", "narration", ""), *rows]):
        console.say(f"  {line}")
    return code


def _kind(scene: Scene) -> str:
    spoken = scene.narration
    if spoken.speech is not None:
        return "not spoken" if spoken.estimated else f"spoken by {spoken.speech.engine.name}"
    return {"file": "recorded", "duration": "planned", "text": "estimate", "none": "none"}[spoken.kind]


def _data(scene: Scene) -> dict[str, Any]:
    return {"scene": scene.id, "seconds": float(scene.narration.seconds), "is": _kind(scene)}
