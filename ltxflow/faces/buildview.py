"""What a build came to, as the last lines of a terminal show it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ltxflow.core.errors import Problem
from ltxflow.faces.progress import summary
from ltxflow.faces.terminal import Face, count
from ltxflow.verbs.film import Made


def report(face: Face, made: Made, warnings: Sequence[Problem] = (), is_quiet: bool = False) -> None:
    """Given what became of a film, tell its problems, files that no longer belong to it, and the totals."""
    face.problems([*made.concerns, *made.problems, *warnings])
    if made.outlook.orphans and not is_quiet:
        names = ", ".join(orphan.file for orphan in made.outlook.orphans)
        face.say(f"  - {names}: no longer in the film; remove with: ltxflow clean --yes")
    if made.built.interrupted:
        face.warn("interrupted: what is finished is kept; run it again to go on")
    if not is_quiet or made.code:
        summary(face, made.finished, made.outlook.mode if made.delivered.timeline else "references")
    if made.unspoken and made.outlook.mode == "render":
        scenes = [scene for scene in made.outlook.project.scenes if scene.id in made.unspoken]
        clips = sum(len(scene.clips) for scene in scenes)
        wait = "1 clip waits" if clips == 1 else f"{clips} clips wait"
        face.warn(f"{', '.join(scene.id for scene in scenes)} could not be spoken: {wait}, since its length is a guess")
    if is_quiet or not made.stills:
        return
    if not made.delivered.timeline:
        for still in made.stills:
            face.say(f"  {os.path.relpath(still)}")
    elif any(target.startswith("reference:") for target in made.built.rendered):
        face.say(f"→ {os.path.relpath(made.stills[0].parent)}  {count(len(made.stills), 'still')} to look at")
