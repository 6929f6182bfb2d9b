"""Compare two plans of a film: clips, reasons, seconds, new problems, and clips that have another id. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ltxflow.core.digest import Key, digest_json
from ltxflow.lock.model import Lock
from ltxflow.plan.evaluate import Lookup, Status
from ltxflow.plan.explain import Reason, field_reasons, reasons
from ltxflow.plan.plan import Change, Plan
from ltxflow.project.model import Scene
from ltxflow.steps import Node, step
from ltxflow.store.traces import Trace

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True)
class ClipDifference:
    """One clip that is not what it was. Frames are those it delivers, None where it is not in the film."""

    clip: str
    kind: Kind
    frames_before: int | None
    frames: int | None
    reasons: tuple[Reason, ...] = ()
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "clip": self.clip,
            "kind": self.kind,
            "frames": {"before": self.frames_before, "now": self.frames},
            "reasons": [reason.as_json() for reason in self.reasons],
            "note": self.note,
        }


@dataclass(frozen=True)
class FilmDifference:
    """A film before and now. `shown` are changes that cost no render: titles, order, crossfades, in words."""

    clips: tuple[ClipDifference, ...]
    shown: tuple[str, ...]
    frames_before: int
    frames: int
    clips_before: int
    clips_now: int
    fps: int

    @property
    def changed(self) -> frozenset[str]:
        """The paths of clips in the film whose key differs."""
        return frozenset(each.clip for each in self.clips if each.kind != "removed")


def difference(before: Plan, now: Plan) -> FilmDifference:
    """Return what lies between them. A clip is compared by the key of its picked take."""
    old_name = _renamed(before, now)
    known = {clip.path: clip for clip in before.project.clips}
    differences: list[ClipDifference] = []
    for clip in now.project.clips:
        new = now.statuses[now.picked(clip)]
        was = known.pop(old_name.get(clip.path, clip.path), None)
        if was is None:
            differences.append(ClipDifference(clip.path, "added", None, new.node.frames))
            continue
        old = before.statuses[before.picked(was)]
        if _mark(before, old) != _mark(now, new):
            differences.append(_changed(clip.path, old, new))
    for path in known:
        frames = before.statuses[before.picked(known[path])].node.frames
        differences.append(ClipDifference(path, "removed", frames, None))
    return FilmDifference(
        tuple(differences),
        tuple(_shown(before, now)),
        before.film_frames,
        now.film_frames,
        len(before.project.clips),
        len(now.project.clips),
        now.project.fps,
    )


def _renamed(before: Plan, now: Plan) -> Mapping[str, str]:
    """New path → old path, by the film's `moved:`."""
    were, names = {clip.path for clip in before.project.clips}, {}
    for clip in now.project.clips:
        path = clip.path
        for old, new in reversed(now.project.moved):
            if path == new or path.startswith(f"{new}/"):
                path = old + path[len(new) :]
        if path in were and clip.path not in were:
            names[clip.path] = path
    return names


def _mark(outlook: Plan, status: Status) -> str:
    """Return what identifies one rendition of a clip: its key; while that waits for others, its values and theirs."""
    if status.key:
        return status.key
    node = status.node
    needs = [_mark(outlook, outlook.statuses[need]) for need in outlook.plan.needs(node.target)]
    return digest_json([_plain(step(node.kind).fields(node)), needs])


def _plain(value: Any) -> Any:
    """Without what only names a thing."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items() if name not in ("is", "follows") or len(value) == 1}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _changed(clip: str, old: Status, new: Status) -> ClipDifference:
    fields = step(old.node.kind).fields(old.node)
    if old.action is not None and old.key is not None and new.action is not None:
        why = reasons(new.node, new.action, Trace(old.key, old.action.as_json(), {}, old.node.target, fields))
    else:
        why = field_reasons(new.node, fields)
    note = "" if why else new.waits if new.because else _take(old.node, new.node)
    return ClipDifference(clip, "changed", old.node.frames, new.node.frames, tuple(why), note)


def _take(old: Node, new: Node) -> str:
    return f"take {old.take} → {new.take}" if old.take != new.take else ""


def _shown(before: Plan, now: Plan) -> Iterator[str]:
    """Display-only differences, scene by scene."""
    old = {scene.id: scene for scene in before.project.scenes}
    new = {scene.id: scene for scene in now.project.scenes}
    if before.project.title != now.project.title:
        yield f'title "{before.project.title}" → "{now.project.title}"'
    stayed = [id for id in old if id in new]
    if stayed != [id for id in new if id in old]:
        yield f"order of scenes: {', '.join(new)}"
    for id, scene in new.items():
        if id not in old:
            yield f"scene {id} added"
            continue
        yield from (f"{id}: {line}" for line in _scene(old[id], scene))
    yield from (f"scene {id} removed" for id in old if id not in new)


def _scene(old: Scene, new: Scene) -> Iterator[str]:
    if old.title != new.title:
        yield f'title "{old.title}" → "{new.title}"'
    if old.narration.text != new.narration.text:
        yield "the narration says something else"
    if old.narration.seconds != new.narration.seconds:
        yield f"narration {float(old.narration.seconds):.1f}s → {float(new.narration.seconds):.1f}s"
    if old.crossfade != new.crossfade:
        yield f"crossfade {old.crossfade}f → {new.crossfade}f"


def news(before: Iterable[Change], now: Iterable[Change]) -> list[Change]:
    """Return those of the second that say something else, in film order.

    Where a value is written is not compared: lines move with every edit above them.
    """
    known = {change.target: _said(change) for change in before}
    return [change for change in now if known.get(change.target) != _said(change)]


def gone(before: Iterable[Change], now: Iterable[Change]) -> list[Change]:
    """Return those of the first whose clips the second does not have."""
    present = {change.target for change in now}
    return [change for change in before if change.target not in present]


def _said(change: Change) -> tuple[Any, ...]:
    reasons = [(reason.field, reason.old, reason.new, reason.detail) for reason in change.reasons]
    return change.kind, change.frames, change.file, change.note, change.key, reasons


# --- clips that have another id now


def moves(outlook: Plan, trace_of: Lookup) -> Sequence[tuple[str, str]]:
    """Return (old, new) for clips that reappear under another id: `moved:` would keep their takes.

    A new clip's prompt and reference equal those of a clip that the lock knows and the film no longer has. Clips of a
    scene that is gone, and that kept their ids in a new one, are reported as one: as the scene.
    """
    present = {clip.path for clip in outlook.project.clips}.union(*(row.clips for row in outlook.rows))
    gone: dict[str, tuple[object, object]] = {}
    for path in outlook.lock.entries:
        if path in present or path.startswith("reference:"):
            continue
        take = outlook.lock.entries[path].picked
        trace = trace_of(Key(take.key)) if take else None
        if trace is not None:
            gone[path] = _subject(trace.fields)
    if not gone:
        return []
    found = []
    for change in outlook.of_kind("create"):
        node = outlook.statuses[change.target].node
        if node.kind == "reference":
            continue
        subject = _subject(step(node.kind).fields(node))
        old = next((path for path, known in gone.items() if known == subject), None)
        if old is not None:
            found.append((old, change.clip))
            gone.pop(old)
    return _as_scenes(found, {path.partition("/")[0] for path in present}, outlook.lock)


def _as_scenes(found: Sequence[tuple[str, str]], scenes: Collection[str], lock: Lock) -> Sequence[tuple[str, str]]:
    """Return them with those of a scene that was renamed as one."""
    old_scenes = {path.partition("/")[0] for path in lock.entries}
    to: dict[str, set[str]] = {}
    for old, new in found:
        to.setdefault(old.partition("/")[0], set()).add(new.partition("/")[0])
    told: dict[tuple[str, str], None] = {}
    for old, new in found:
        (scene, _, id), (place, _, new_id) = old.partition("/"), new.partition("/")
        is_free = (
            scene not in scenes and place not in old_scenes and sum(place in places for places in to.values()) == 1
        )
        told[(scene, place) if id == new_id and is_free and to[scene] == {place} else (old, new)] = None
    return list(told)


def _subject(fields: Mapping[str, object]) -> tuple[object, object]:
    prompt = {name: text for name, text in fields.items() if name.startswith("prompt.")}
    image = fields.get("reference.image")
    return prompt, image.get("pixels") if isinstance(image, Mapping) else None
