"""AI-DISCLOSURE.txt: says beside the film that a machine made it, and which model made which clip. Pure.

The licence of LTX-2 asks for it, and so do the laws of many places. It has no title and no version, so that it
changes only with what made the film.

Which rendition of each clip belongs in its place. Pure: decides, copies nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from textwrap import fill
from typing import Any

from ltxflow.core.errors import LtxflowError
from ltxflow.core.timing import clip_file_name
from ltxflow.models.load import load_profile
from ltxflow.plan.evaluate import Status
from ltxflow.plan.plan import Plan, PublishedClip, published_digest
from ltxflow.project.model import Clip, Project
from ltxflow.publish.timeline import RANKS, ClipPlacement, models_of, voices
from ltxflow.store.traces import Trace

WIDTH = 78


def disclosure(project: Project, placements: Iterable[ClipPlacement]) -> str:
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


Facts = Callable[[PublishedClip], Mapping[str, Any]]
ModelOf = Callable[[str], str]  # the title of the model that made what is under a key, "" where that is not known


def placements(
    outlook: Plan,
    found: Mapping[str, Status],
    placed: Mapping[str, PublishedClip],
    facts: Facts,
    current: Plan,
    model_of: ModelOf = lambda key: "",
) -> list[ClipPlacement]:
    """Given what is made (`found`, by target) and what stands, return what belongs in each place, in film order.

    A stand-in never takes the place of what is worth more. A clip that could not be made keeps what stands for
    it; one that has nothing is left out. `facts` measures a file that has no trace, `model_of` says which model made
    it. `current` is the whole film as a render would be now: what stands under another key is stale.
    """
    by_clip: dict[str, PublishedClip] = {}
    for stand in placed.values():
        if stand.clip not in by_clip or by_clip[stand.clip].rank < stand.rank:
            by_clip[stand.clip] = stand
    chosen = []
    for scene in outlook.project.scenes:
        for clip in scene.clips:
            file = clip_file_name(scene.index, clip.index)
            one = _choose(outlook, clip, file, found, by_clip.get(clip.path), facts, current, model_of)
            if one is not None:
                chosen.append(one)
    return chosen


def _choose(
    outlook: Plan,
    clip: Clip,
    file: str,
    found: Mapping[str, Status],
    stands: PublishedClip | None,
    facts: Facts,
    current: Plan,
    model_of: ModelOf,
) -> ClipPlacement | None:
    target = outlook.picked(clip)
    status = found.get(target)
    made = status.trace if status else None
    rank = rank_of(outlook, clip)
    if status is not None and made is not None and (stands is None or stands.rank <= rank):
        return ClipPlacement(
            clip=clip.path,
            file=file,
            digest=published_digest(made),
            key=made.key,
            source=made.source,
            rank=rank,
            take=int(target.rpartition("@")[2]),
            facts=made.outputs["video"].facts,
            model=made.model or ("" if made.key == status.key else model_in(made)),  # its key is of this very model
        )
    if stands is None:
        return None
    return ClipPlacement(
        clip=clip.path,
        file=file,
        digest=stands.digest,
        key=stands.key,
        source=stands.source,
        rank=stands.rank,
        take=int(stands.target.rpartition("@")[2]),
        facts=stands.facts or facts(stands),
        is_stale=_is_stale(stands, clip, current),
        model=model_of(stands.key),
    )


def model_in(trace: Trace) -> str:
    """Return the title of the model that a trace says made it; of one from before that was kept, by its profile."""
    if trace.model or not trace.fields.get("profile"):
        return trace.model
    try:
        return load_profile(str(trace.fields["profile"])).title
    except LtxflowError:
        return str(trace.fields["profile"])


def _is_stale(stands: PublishedClip, clip: Clip, current: Plan) -> bool:
    """A preview says nothing of the final render's key, nor a slate of any."""
    status = current.statuses.get(current.picked(clip))
    return status is not None and stands.rank == rank_of(current, clip) and stands.key != status.key


def rank_of(outlook: Plan, clip: Clip) -> int:
    """Given a clip, return what a rendition made in this mode and quality is worth."""
    if outlook.mode == "animatic":
        return RANKS["animatic"]
    preset = outlook.project.profile.qualities[str(clip.get("quality"))]
    return RANKS["preview"] if preset.stand_in else RANKS["render"]
