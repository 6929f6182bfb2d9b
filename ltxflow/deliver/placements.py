"""Which rendition of each clip belongs in its place. Pure: decides, copies nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ltxflow.core.errors import LtxflowError
from ltxflow.core.timing import clip_file_name
from ltxflow.deliver.timeline import RANKS, Placement
from ltxflow.plan.outlook import Outlook, Placed, published_digest
from ltxflow.plan.status import Status
from ltxflow.script.model import Clip
from ltxflow.script.profile import load_profile
from ltxflow.store.traces import Trace

Facts = Callable[[Placed], Mapping[str, Any]]
ModelOf = Callable[[str], str]  # the title of the model that made what is under a key, "" where that is not known


def placements(
    outlook: Outlook,
    found: Mapping[str, Status],
    placed: Mapping[str, Placed],
    facts: Facts,
    current: Outlook,
    model_of: ModelOf = lambda key: "",
) -> list[Placement]:
    """Given what is made (`found`, by target) and what stands, return what belongs in each place, in film order.

    A stand-in never takes the place of what is worth more. A clip that could not be made keeps what stands for
    it; one that has nothing is left out. `facts` measures a file that has no trace, `model_of` says which model made
    it. `current` is the whole film as a render would be now: what stands under another key is stale.
    """
    by_clip: dict[str, Placed] = {}
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
    outlook: Outlook,
    clip: Clip,
    file: str,
    found: Mapping[str, Status],
    stands: Placed | None,
    facts: Facts,
    current: Outlook,
    model_of: ModelOf,
) -> Placement | None:
    target = outlook.picked(clip)
    status = found.get(target)
    made = status.trace if status else None
    rank = rank_of(outlook, clip)
    if status is not None and made is not None and (stands is None or stands.rank <= rank):
        return Placement(
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
    return Placement(
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


def _is_stale(stands: Placed, clip: Clip, current: Outlook) -> bool:
    """A preview says nothing of the final render's key, nor a slate of any."""
    status = current.statuses.get(current.picked(clip))
    return status is not None and stands.rank == rank_of(current, clip) and stands.key != status.key


def rank_of(outlook: Outlook, clip: Clip) -> int:
    """Given a clip, return what a rendition made in this mode and quality is worth."""
    if outlook.mode == "animatic":
        return RANKS["animatic"]
    preset = outlook.project.profile.qualities[str(clip.get("quality"))]
    return RANKS["preview"] if preset.stand_in else RANKS["render"]
