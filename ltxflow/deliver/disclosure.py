"""AI-DISCLOSURE.txt: says beside the film that a machine made it, and which model made which clip. Pure.

The licence of LTX-2 asks for it, and so do the laws of many places. It has no title and no version, so that it
changes only with what made the film.
"""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill

from ltxflow.deliver.timeline import RANKS, Placement, models_of, voices
from ltxflow.script.model import Project

WIDTH = 78


def disclosure(project: Project, placements: Iterable[Placement]) -> str:
    """Given a film and what is in place, return the text that discloses how it was made."""
    stands = list(placements)
    slates = sum(placed.rank == RANKS["animatic"] for placed in stands)
    parts = ["This film was made by a machine."]
    models = models_of(project, stands)
    if slates < len(stands) and len(models) == 1:
        parts.append(
            f"Its pictures and sounds were generated with {next(iter(models))}, a generative model, from written "
            "prompts and still images."
        )
    elif slates < len(stands):
        each = "; ".join(f"{', '.join(clips)} with {title}" for title, clips in models.items())
        parts.append(
            "Its pictures and sounds were generated with generative models from written prompts and still images: "
            f"{each}."
        )
    if slates:
        what = "all of its clips are" if slates == len(stands) else f"{slates} of its {len(stands)} clips are"
        parts.append(f"At this time {what} slates: drawn stand-ins for clips by {project.profile.title}.")
    if names := voices(project):
        parts.append(f"Its narration is a synthetic voice ({', '.join(names)}).")
    parts.append("Keep this notice with the film, and tell those who watch it.")
    return "\n\n".join(fill(part, WIDTH) for part in parts) + "\n"
