"""The film of a board as plain data, the decisions of its pages, and the files that it may show.

The only module of the board that knows how a film is opened, planned and decided about. One thread uses it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ltxflow.board.editing import Edited, changed_text, place_of
from ltxflow.build.approval import gpu_time
from ltxflow.core import files
from ltxflow.core.digest import Key
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.core.target import Target
from ltxflow.core.timing import clip_file_name, schedule
from ltxflow.core.workspace import read_json, read_text, real_path
from ltxflow.decisions import takes
from ltxflow.decisions.takes import Decided, TakeRef, find_take
from ltxflow.documents.document import shown
from ltxflow.export.storyboard import report_data
from ltxflow.lock.model import Lock, moved
from ltxflow.lock.text import lock_text
from ltxflow.plan.explain import show, word_diff
from ltxflow.plan.plan import Change, Plan, PlanOptions, picked_take
from ltxflow.project.lint import lint
from ltxflow.project.model import Clip, Image, Prompt, Value
from ltxflow.project.prompt import fill
from ltxflow.publish.timeline import TIMELINE
from ltxflow.session.gc_roots import register
from ltxflow.session.session import Session
from ltxflow.store.leases import gc_shared

Json = dict[str, Any]
WORDS = {"missing": "not made"}  # for states of clips that are not words
DECISIONS = ("pick", "approve", "reject", "forget", "accept")
MADE = ("create", "change", "maybe")  # kinds of change that cost GPU time
PHASES = ("queued", "load", "sampling", "decode", "download")  # of a render, as traces time them


class Conflict(Exception):
    """The lock or a file is no longer as the page showed it. `now` is what it is."""

    def __init__(self, message: str, now: str) -> None:
        self.message, self.now = message, now
        super().__init__(message)


@dataclass(frozen=True)
class MediaFile:
    """A file that a page may show, and its type."""

    path: Path
    type: str


TYPES = {
    ".mp4": "video/mp4",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".wav": "audio/wav",
    ".vtt": "text/vtt; charset=utf-8",
    ".json": "application/json",
}


@dataclass
class Film:
    """A film, opened again whenever something it depends on changed. `data` is what pages show of it."""

    open_film: Callable[[], Session]
    servers: Sequence[str] = ()
    data: Json = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()  # why it cannot be read now: `data` is then as it was
    session: Session | None = None
    plan: Plan | None = None
    previews: dict[str, Path] = field(default_factory=dict)  # images of references by the name that pages use

    # --- read it

    def refresh(self) -> list[Json]:
        """Read the film again; return what changed since the last time, as messages about clips."""
        before = self.data
        try:
            session = self.open_film()
        except LtxflowError as error:
            self.problems = error.problems
            return []
        try:
            plan = session.plan(PlanOptions())
            data = self._data(session, plan)
        except LtxflowError as error:
            session.close()
            self.problems = error.problems
            return []
        if self.session is not None:
            self.session.close()
        self.session, self.plan, self.data, self.problems = session, plan, data, ()
        return list(_news(before, data)) if before else []

    def close(self) -> None:
        if self.session is not None:
            self.session.close()

    @property
    def opened(self) -> tuple[Session, Plan]:
        """The film as it was last read. Raise LtxflowError where it never could be."""
        if self.session is None or self.plan is None:
            raise LtxflowError(*self.problems)
        return self.session, self.plan

    def input_paths(self) -> set[Path]:
        """Return the files and folders that the film depends on."""
        return {Path(path) for path in self.session.input_paths()} if self.session else set()

    def _data(self, session: Session, plan: Plan) -> Json:
        project = session.project
        report = report_data(session, session.own / "board.html", "", plan)
        timeline = _timeline(session)
        shown_clips = {f"{s['id']}/{c['id']}": c for s in timeline.get("scenes", ()) for c in s["clips"]}
        scenes, clips = [], {}
        start = 0
        for scene, found in zip(plan.project.scenes, report["scenes"], strict=True):
            cut = plan.cuts[scene.id]
            places = schedule(cut.frames, cut.trims, scene.crossfade)
            ends = [place[0] for place in places[1:]] + [cut.covered]
            rows = []
            for clip, entry, (at, length), end in zip(scene.clips, found["clips"], places, ends, strict=True):
                row = _clip_data(session, plan, clip, entry, shown_clips.get(clip.path))
                row |= {"from": start + at, "plays": length, "shown": max(1, end - at), "overlap": at + length - end}
                rows.append(row)
                clips[clip.path] = row
            narration = found["narration"]
            scenes.append(
                {
                    **{name: found[name] for name in ("id", "index", "title", "coverage", "crossfade")},
                    "from": start,
                    "frames": cut.covered,
                    "seconds": cut.covered / project.fps,
                    "narration": {**narration, "src": _sound_of(timeline, scene.id)},
                    "clips": [row["path"] for row in rows],
                }
            )
            start += cut.covered
        return {
            "film": {**report["film"], "quality": ", ".join(report["film"]["quality"]), "seconds": start / project.fps},
            "scenes": scenes,
            "clips": clips,
            "problems": report["problems"],
            "has_timeline": bool(timeline),
            "is_complete": bool(timeline.get("complete")),
            "price": {
                "stale": self._price(session, plan, [p for p, c in clips.items() if c["state"] == "stale"]),
                "all": self._price(session, plan, list(clips)),
            },
        }

    def _price(self, session: Session, plan: Plan, paths: Sequence[str]) -> Json:
        """Return what a render of these clips would take; `gpu_s` is None without an earlier render to judge by."""
        wanted = {change.target for change in plan.changes if change.kind in MADE and change.clip in {*paths}}
        spent = gpu_time(session, plan, self.servers, wanted) if wanted else None
        return {"renders": len(wanted), "gpu_s": round(spent.gpu_s) if spent else None}

    def timeline(self) -> Json:
        """Return the published timeline; {} where nothing is published."""
        return _timeline(self.opened[0])

    # --- one clip

    def clip_page(self, path: str) -> Json | None:
        """Return what the page of a clip shows besides its row; None for a clip that the film does not have."""
        session, plan = self.opened
        clip = next((clip for clip in plan.project.clips if clip.path == path), None)
        if clip is None:
            return None
        order = list(self.data["clips"])
        at = order.index(path)
        scene = plan.project.scene(clip.scene)
        values = {**plan.project.settings, **scene.settings, **clip.settings}
        target = plan.picked(clip)
        change = next(change for change in plan.changes if change.target == target)
        price = gpu_time(session, plan, self.servers, {target}) if change.kind in MADE else None
        return {
            "before": order[at - 1] if at else None,
            "after": order[at + 1] if at + 1 < len(order) else None,
            "scene": scene.title or scene.id,
            "values": [_value_row(name, value) for name, value in sorted(values.items())],
            "gpu_s": round(price.gpu_s) if price else None,
            "is_new_render": change.kind in MADE,
            "parts": self._parts(session, plan, clip),
            "lint": [_problem(p) for p in lint(replace(plan.project, scenes=(scene,))) if clip.path in p.of],
            "last_diff": _last_diff(session, plan, clip),
            "reference": _reference_name(clip),
        }

    def _parts(self, session: Session, plan: Plan, clip: Clip) -> list[Json]:
        """Return the parts of a prompt with their texts as written, each with its place if it can be edited there."""
        found = []
        texts: dict[str, tuple[Path, str]] = {}
        for part, filled in clip.prompt.parts.items():
            span = _span_of(plan, clip, part)
            place, text, file = None, filled, None
            if span is not None:
                file = _file_of(session, span)
                if file is not None and span.file not in texts:
                    texts[span.file] = file, read_text(file)
                place = place_of(texts[span.file][1], span, file) if file is not None else None
                text = place.value if place else filled
            sharing = [c.path for c in plan.project.clips if span and _span_of(plan, c, part) == span]
            found.append(
                {
                    "part": part,
                    "text": " ".join(text.split()),
                    "filled": filled,
                    "where": str(span or ""),
                    "is_editable": place is not None,
                    "shared": len(sharing) if len(sharing) > 1 else 0,
                    "revision": _digest(texts[span.file][1]) if place and span else "",
                }
            )
        return found

    def lint(self, path: str, part: str, text: str) -> list[Json]:
        """Return what would be wrong or weak in a clip if a part of its prompt had this text."""
        _, plan = self.opened
        clip = self._clip(path)
        filled, problems = fill(text, plan.project.vars, _span_of(plan, clip, part))
        changed = replace(clip, prompt=Prompt({**clip.prompt.parts, part: filled}, clip.prompt.spans))
        scene = plan.project.scene(clip.scene)
        clips = tuple(changed if each.path == path else each for each in scene.clips)
        found = lint(replace(plan.project, scenes=(replace(scene, clips=clips),)))
        return [_problem(each) for each in (*problems, *(p for p in found if path in p.of))]

    def save_prompt(self, path: str, part: str, text: str, revision: str) -> str:
        """Write a part of a prompt to its place in the file it came from; return the file's name.

        Raise Conflict where the file changed since the page was drawn, LtxflowError where it cannot be written.
        """
        session, plan = self.opened
        clip = self._clip(path)
        span = _span_of(plan, clip, part)
        file = _file_of(session, span) if span else None
        if span is None or file is None:
            raise LtxflowError(problem("U063.place", part=part, clip=path))
        before = files.signature(file)
        content = read_text(file)
        if _digest(content) != revision:
            self.refresh()
            now = " ".join(self._clip(path).prompt.parts.get(part, "").split())
            raise Conflict(f"{shown(file)} changed since this page was drawn", now)
        place = place_of(content, span, file)
        if place is None:
            raise LtxflowError(problem("U063.place", span, part=part, clip=path))
        edited: Edited = changed_text(content, place, text)
        if edited.text == content:
            return shown(file)
        if files.signature(file) != before:
            raise Conflict(f"{shown(file)} changed since this page was drawn", place.value)
        real = real_path(file)
        files.write_atomic(real, edited.text.encode(), mode=real.stat().st_mode & 0o777)
        return shown(file)

    def _clip(self, path: str) -> Clip:
        found = next((clip for clip in self.opened[1].project.clips if clip.path == path), None)
        if found is None:
            raise LtxflowError(problem("U061.clip", clip=path))
        return found

    # --- decide

    def decide(self, verb: str, target: str, revision: str, reason: str = "") -> Decided:
        """Do what the verb does, to the lock alone, and return what it did to earlier decisions.

        Raise Conflict where the clip's block in the lock is another now.
        """
        verbs: Mapping[str, Callable[[Session, TakeRef], Decided]] = {
            "pick": takes.pick,
            "approve": lambda session, ref: takes.set_status(session, ref, "approved", reason),
            "reject": lambda session, ref: takes.set_status(session, ref, "rejected", reason),
            "forget": takes.forget,
            "accept": takes.accept,
        }
        with self.open_film() as session:
            with gc_shared(session.store.root):
                before = lock_revision(session, find_take(session, target).clip.path)
                session.lock = moved(session.lock, session.project.moved)
                ref = find_take(session, target)
                if revision != before:
                    now = _decision_now(session, ref.clip.path)
                    raise Conflict("the lock changed since this page was drawn", now)
                decided = verbs[verb](session, ref)
            register(session)
        return decided

    # --- media

    def published_file(self, path: str) -> MediaFile | None:
        """Return a published file by its path below public/; None for every other path."""
        session, _ = self.opened
        entry = session.published.entries.get(path)
        kind = TYPES.get(Path(path).suffix)
        file = session.project.output.parent / path
        if entry is None or kind is None or file.is_symlink():
            return None
        return MediaFile(file, kind)

    def take_file(self, path: str, number: int) -> MediaFile | None:
        """Return the video of a take in the lock; None without one, or where its file is not in this store."""
        session, _ = self.opened
        take = session.lock.take(path, number)
        if take is None or Target(path).is_reference:
            return None
        digest = take.outputs.get("published") or take.digest
        if not session.store.cas.has(digest, 0):
            return None
        return MediaFile(session.store.cas.path(digest), "video/mp4")

    def narration_file(self, scene: str) -> Path | None:
        """Return the published sound of a scene's narration."""
        src = next((each["narration"]["src"] for each in self.data["scenes"] if each["id"] == scene), None)
        found = self.published_file(src) if src else None
        return found.path if found else None

    # --- what the plan says

    def timings(self) -> list[Json]:
        """Return where the time of the picked takes went, in film order."""
        session, plan = self.opened
        rows = []
        for clip in plan.project.clips:
            take = session.lock.take(clip.path, picked_take(session.lock, clip))
            trace = session.trace_of(Key(take.key)) if take else None
            if trace is None or not trace.seconds.get("ran"):
                continue
            parts = {name: float(trace.seconds.get(name) or 0.0) for name in PHASES}
            rows.append({"path": clip.path, "server": trace.server, "parts": parts, "total": sum(parts.values())})
        return rows

    def changes(self) -> list[Json]:
        """Return what a build would do, clip by clip and reference by reference."""
        _, plan = self.opened
        return [_change_row(change) for change in plan.changes]

    def edges(self) -> list[tuple[str, str]]:
        """Return what is made from what: (from, to) targets of the plan."""
        _, plan = self.opened
        found: list[tuple[str, str]] = []
        for target, node in plan.plan.nodes.items():
            for need in dict.fromkeys(name.partition("#")[0] for name in node.needs.values()):
                if need in plan.plan.nodes:
                    found.append((need, target))
        return found


def lock_revision(session: Session, path: str) -> str:
    """Return what a page remembers of a clip's block in the lock."""
    entry = session.lock.entries.get(path)
    return _digest(lock_text(Lock({path: entry})) if entry else "")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _decision_now(session: Session, path: str) -> str:
    entry = session.lock.entries.get(path)
    if entry is None:
        return f"{path} has no take now"
    status = entry.decision(entry.pick).status
    return f"take {entry.pick} of {path} is in the cut{f', {status}' if status else ''}"


def _clip_data(session: Session, plan: Plan, clip: Clip, report: Json, published: Json | None) -> Json:
    target = plan.picked(clip)
    rows = report["takes"]
    number = Target(target).take
    picked = next((row for row in rows if row["take"] == number), None)
    settled = report["status"] in ("approved", "accepted", "pinned")
    return {
        **{name: report[name] for name in ("id", "path", "letter", "frames", "seconds", "where", "status", "reason")},
        **{name: report[name] for name in ("prompt", "extends", "change", "note", "why", "checks", "motion")},
        "scene": clip.scene,
        "state": report["state"],
        "word": WORDS.get(report["state"], report["state"]),
        "needs_look": target in plan.concerns and not settled,
        "take": number,
        "takes": [_take_row(session, clip, row) for row in rows],
        "seed": picked["seed"] if picked else clip.explicit_seed(number),
        "quality": str(clip.get("quality")),
        "poster": _published_url(published, "poster"),
        "video": _published_url(published, "src"),
        "file": clip_file_name(plan.project.scene(clip.scene).index, clip.index),
        "revision": lock_revision(session, clip.path),
    }


def _take_row(session: Session, clip: Clip, row: Json) -> Json:
    take = session.lock.take(clip.path, row["take"])
    digest = (take.outputs.get("published") or take.digest) if take else None
    is_here = digest is not None and session.store.cas.has(digest, 0)
    video = f"/media/take/{clip.path}/{row['take']}?d={digest[:12]}" if digest and is_here else ""
    return {**row, "video": video, "name": f"{clip.path}@{row['take']}"}


def _published_url(clip: Json | None, name: str) -> str:
    if not clip or not clip.get(name):
        return ""
    return f"/media/public/{clip[name]}?d={(clip.get('sha256') or '')[:12]}"


def _timeline(session: Session) -> Json:
    try:
        data = read_json(session.project.output / TIMELINE)
        return data if isinstance(data, dict) and isinstance(data.get("scenes"), list) else {}
    except (OSError, ValueError):
        return {}


def _sound_of(timeline: Json, scene: str) -> str:
    found = next((each for each in timeline.get("scenes", ()) if each["id"] == scene), None)
    return str(found["narration"]["src"]) if found and found.get("narration") else ""


def _span_of(plan: Plan, clip: Clip, part: str) -> Span | None:
    return clip.prompt.spans.get(part)


def _file_of(session: Session, span: Span) -> Path | None:
    return next((file for file in session.loaded.files if shown(file) == span.file and file.is_file()), None)


def _value_row(name: str, value: Value) -> Json:
    plain = value.value
    text = show(plain) if isinstance(plain, (str, int, float, list, dict, type(None))) else str(plain)
    return {"name": name, "value": text, "origin": value.origin, "where": str(value.span or "")}


def _problem(found: Problem) -> Json:
    return {"level": found.level, "code": found.code, "message": found.message, "hint": found.hint}


def _reference_name(clip: Clip) -> str:
    return clip.reference.name if isinstance(clip.reference, Image) else ""


def _last_diff(session: Session, plan: Plan, clip: Clip) -> list[tuple[str, str]]:
    """Return the prompt as runs of words, against that of the last render of the picked take."""
    take = session.lock.take(clip.path, picked_take(session.lock, clip))
    trace = session.trace_of(Key(take.key)) if take else None
    if trace is None:
        return []
    was = " ".join(text for name, text in trace.fields.items() if name.startswith("prompt.") and text)
    return word_diff(was, clip.prompt.text) if was and was != clip.prompt.text else []


def _change_row(change: Change) -> Json:
    target = Target(change.target)
    why = [f"{reason.field}: {show(reason.old)} → {show(reason.new)}" for reason in change.reasons]
    return {
        "target": change.target,
        "short": target.short,
        "path": target.path,
        "is_reference": target.is_reference,
        "kind": change.kind,
        "frames": change.frames,
        "why": [*why, *([change.note] if change.note else [])],
    }


def _news(before: Json, now: Json) -> Iterable[Json]:
    """Yield what changed between two readings: new and lost clips, picks, words of people, takes, prompts, states."""
    old, new = before["clips"], now["clips"]
    if list(old) != list(new) or [s["frames"] for s in before["scenes"]] != [s["frames"] for s in now["scenes"]]:
        yield {"kind": "film", "path": "", "text": "the film has other scenes, clips or lengths"}
    for path, clip in new.items():
        was = old.get(path)
        if was is None:
            yield {"kind": "clip", "path": path, "text": f"{path} is new in the film"}
        elif was != clip:
            yield {"kind": "clip", "path": path, "text": "; ".join(_differences(was, clip))}
    for path in old.keys() - new.keys():
        yield {"kind": "clip", "path": path, "text": f"{path} left the film"}
    if before["has_timeline"] != now["has_timeline"] or before["is_complete"] != now["is_complete"]:
        yield {"kind": "timeline", "path": "", "text": ""}


def _differences(was: Mapping[str, Any], clip: Mapping[str, Any]) -> Iterable[str]:
    path = clip["path"]
    if was["take"] != clip["take"]:
        yield f"take {clip['take']} of {path} is in the cut now, not take {was['take']}"
    if was["status"] != clip["status"]:
        yield f"{path} is {clip['status']}" if clip["status"] else f"{path} is no longer {was['status']}"
    if was["prompt"] != clip["prompt"]:
        yield f"the prompt of {path} was edited"
    made = {row["take"] for row in clip["takes"]} - {row["take"] for row in was["takes"]}
    lost = {row["take"] for row in was["takes"]} - {row["take"] for row in clip["takes"]}
    if made:
        yield f"take {max(made)} of {path} is rendered"
    if lost:
        yield f"take {max(lost)} of {path} is forgotten"
