"""Which rendition of each clip belongs in its place, and AI-DISCLOSURE.txt, the notice of how the film was made. Pure.

The licence of LTX-2 requires the notice, and so do the laws of many places. It has no title and no version, so that it
changes only with what made the film.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from textwrap import fill
from typing import Any

from ltxflow.core.errors import LtxflowError
from ltxflow.core.target import Target
from ltxflow.core.timing import clip_file_name
from ltxflow.models.load import load_profile
from ltxflow.plan.evaluate import Status
from ltxflow.plan.plan import Plan, PublishedClip, published_digest
from ltxflow.project.model import Clip, Project
from ltxflow.publish.timeline import RANKS, ClipPlacement, models_of, voices
from ltxflow.store.traces import Trace

WIDTH = 78


def disclosure(project: Project, placements: Iterable[ClipPlacement]) -> str:
    """Return the text that discloses how a film was made."""
    placed = list(placements)
    slates = sum(each.rank == RANKS["animatic"] for each in placed)
    parts = ["This film was made by a machine."]
    models = models_of(project, placed)
    if slates < len(placed) and len(models) == 1:
        parts.append(
            f"Its pictures and sounds were generated with {next(iter(models))}, a generative model, from written "
            "prompts and still images."
        )
    elif slates < len(placed):
        each = "; ".join(f"{', '.join(clips)} with {title}" for title, clips in models.items())
        parts.append(
            "Its pictures and sounds were generated with generative models from written prompts and still images: "
            f"{each}."
        )
    if slates:
        what = "all of its clips are" if slates == len(placed) else f"{slates} of its {len(placed)} clips are"
        parts.append(f"At this time {what} slates: drawn stand-ins for clips by {project.profile.title}.")
    if names := voices(project):
        parts.append(f"Its narration is a synthetic voice ({', '.join(names)}).")
    parts.append("Keep this notice with the film, and tell those who watch it.")
    return "\n\n".join(fill(part, WIDTH) for part in parts) + "\n"


Facts = Callable[[PublishedClip], Mapping[str, Any]]
ModelOf = Callable[[str], str]  # key → the title of the model that made its result, "" where unknown


def placements(
    plan: Plan,
    statuses: Mapping[str, Status],
    published: Mapping[str, PublishedClip],
    facts: Facts,
    current: Plan,
    model_of: ModelOf = lambda key: "",
) -> list[ClipPlacement]:
    """Return what belongs in each place, in film order.

    `statuses` are those of made targets, `published` the clips in the output folder by file name. A stand-in never
    replaces a rendition of a higher rank. A clip that could not be made keeps its published file; one without any is
    left out. `facts` measures a file without a trace. `current` is the whole film as it would render now: a published
    clip under another key is stale.
    """
    best: dict[str, PublishedClip] = {}
    for each in published.values():
        if each.clip not in best or best[each.clip].rank < each.rank:
            best[each.clip] = each
    chosen = []
    for scene in plan.project.scenes:
        for clip in scene.clips:
            file = clip_file_name(scene.index, clip.index)
            one = _choose(plan, clip, file, statuses, best.get(clip.path), facts, current, model_of)
            if one is not None:
                chosen.append(one)
    return chosen


def _choose(
    plan: Plan,
    clip: Clip,
    file: str,
    statuses: Mapping[str, Status],
    published: PublishedClip | None,
    facts: Facts,
    current: Plan,
    model_of: ModelOf,
) -> ClipPlacement | None:
    target = Target(plan.picked(clip))
    status = statuses.get(target)
    trace = status.trace if status else None
    rank = rank_of(plan, clip)
    if status is not None and trace is not None and (published is None or published.rank <= rank):
        return ClipPlacement(
            clip=clip.path,
            file=file,
            digest=published_digest(trace),
            key=trace.key,
            source=trace.source,
            rank=rank,
            take=target.take,
            facts=trace.outputs["video"].facts,
            model=trace.model or ("" if trace.key == status.key else model_in(trace)),  # else of the film's model
        )
    if published is None:
        return None
    return ClipPlacement(
        clip=clip.path,
        file=file,
        digest=published.digest,
        key=published.key,
        source=published.source,
        rank=published.rank,
        take=Target(published.target).take,
        facts=published.facts or facts(published),
        is_stale=_is_stale(published, clip, current),
        model=model_of(published.key),
    )


def model_in(trace: Trace) -> str:
    """Return the title of the model that made a trace; for an older trace without one, that of its profile."""
    if trace.model or not trace.fields.get("profile"):
        return trace.model
    try:
        return load_profile(str(trace.fields["profile"])).title
    except LtxflowError:
        return str(trace.fields["profile"])


def _is_stale(published: PublishedClip, clip: Clip, current: Plan) -> bool:
    """Return whether a clip would now be made under another key; only renditions of one rank are comparable."""
    status = current.statuses.get(current.picked(clip))
    return status is not None and published.rank == rank_of(current, clip) and published.key != status.key


def rank_of(plan: Plan, clip: Clip) -> int:
    """Return the rank of a rendition of a clip in the plan's mode and quality."""
    if plan.mode == "animatic":
        return RANKS["animatic"]
    preset = plan.project.profile.qualities[str(clip.get("quality"))]
    return RANKS["preview"] if preset.stand_in else RANKS["render"]
