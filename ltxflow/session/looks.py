"""What a film was when it was last looked at, kept in `.ltxflow/looks/` for when it is edited (`edited`).

It says how each scene is written, which of them are quiet (all is made and in its place, nothing is to be said of
them), and the state of everything else that an answer rests on: the lock, pictures, traces, blobs, published files.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import digest_file
from ltxflow.core.errors import Problem
from ltxflow.core.workspace import OWN
from ltxflow.documents.paths import find_project, workspace_of
from ltxflow.plan.plan import Change, Mode, Plan, Rest
from ltxflow.project.model import Scene, Still
from ltxflow.project.sources import WrittenScene
from ltxflow.session.session import Session, release
from ltxflow.store.snapshot import RACY_NS, InputManifest, absolute, footing_from, keep, question, read_kept, take

FORMAT = "look/1"
FOLDER = "looks"
MOST = 0.5  # of the scenes: where more than that are to be looked at, all are

Mark = list[Any]  # a file's signature, and its digest where it was so new that its clock may not tell the next write


@dataclass(frozen=True)
class LookAnswerKey:
    """What is looked at, besides files: the project, the mode, and what is set for this run."""

    project: str | None
    root: str | None
    mode: Mode
    settings: Mapping[str, Any]
    cwd: Path
    env: Mapping[str, str]

    @cached_property
    def file(self) -> Path:
        return find_project(self.project, self.cwd)

    @cached_property
    def workspace(self) -> Path:
        return workspace_of(self.file.parent, self.root)

    @cached_property
    def kept_at(self) -> Path:
        """Where the look is kept that answers this."""
        told = [self.mode, json.dumps(self.settings, sort_keys=True)]
        name = question(told, self.env, [self.root, self.cwd, self.workspace], release())
        return self.file.parent / OWN / FOLDER / f"{name}.json"


@dataclass(frozen=True)
class SceneRow:
    """A scene when it was last looked at. `needs` are the ids of the scenes that its clips are made from.

    `frames` and `kept` (takes) are what it adds to the film; `qualities` are in the order of its clips; `stills` are
    the images that are made for it: path → how many takes, and the angle as it is written.
    """

    values: str
    home: list[str]
    id: str
    clips: list[str]
    is_quiet: bool
    frames: int
    kept: int
    qualities: list[str]
    needs: list[str]
    stills: dict[str, tuple[int, str]]

    @property
    def written(self) -> WrittenScene:
        return WrittenScene(self.values, tuple(self.home))


@dataclass(frozen=True)
class Look:
    """A film when it was last looked at: what its scenes share, its scenes, and what that rested on.

    `outside` is what was said of no scene. `marks` are of the files that scenes are written in, `footing` is all else.
    """

    head: str
    foreign: dict[str, str]
    outside: list[str]
    scenes: list[SceneRow]
    marks: dict[str, Mark]
    footing: InputManifest

    def is_as_it_was(self, path: str) -> bool:
        """Whether a file that scenes are written in is unchanged."""
        seen, digest = self.marks.get(path, [None, ""])
        return (
            seen is not None and list(files.signature(path) or ()) == seen and digest in ("", digest_file(Path(path)))
        )

    def touched(self, changed: set[int]) -> set[int] | None:
        """Given the places of scenes that changed, return those to look at: with those that are not quiet, and all that
        are made from one another. None where it is as well to look at the whole film."""
        found = changed | {number for number, scene in enumerate(self.scenes) if not scene.is_quiet}
        if any(scene.needs for scene in self.scenes):
            numbers = {scene.id: number for number, scene in enumerate(self.scenes)}
            pairs = [(number, numbers[id]) for number, scene in enumerate(self.scenes) for id in scene.needs]
            size = -1
            while size != len(found):
                size = len(found)
                found |= {end for pair in pairs if not found.isdisjoint(pair) for end in pair}
        return found if len(found) <= MOST * len(self.scenes) else None

    def rest(self, numbers: Iterable[int], stills: Container[str]) -> Rest:
        """What a film has besides the scenes at these places, and the images that are made for them by now."""
        left = set(range(len(self.scenes))) - set(numbers)
        qualities: dict[str, int] = {}
        for number in sorted(left):
            for quality in self.scenes[number].qualities:
                qualities.setdefault(quality, number)
        scenes = [self.scenes[number] for number in left]
        clips = frozenset(f"{scene.id}/{clip}" for scene in scenes for clip in scene.clips)
        others = {path: kept for scene in scenes for path, (kept, _) in scene.stills.items() if path not in stills}
        kept, frames = sum(scene.kept for scene in scenes), sum(scene.frames for scene in scenes)
        return Rest(clips, kept, frames, qualities, sum(others.values()))

    def angles(self, numbers: Iterable[int]) -> dict[str, str]:
        """The images that are made for other scenes than those at these places: path → angle."""
        own = set(numbers)
        others = (scene for number, scene in enumerate(self.scenes) if number not in own)
        return {path: angle for scene in others for path, (_, angle) in scene.stills.items()}


@dataclass(frozen=True)
class Seen:
    """What was looked at: the session, its outlook, and, where it is of a part of the film, the earlier look."""

    session: Session
    outlook: Plan
    then: Look | None = None


def footing_of(asked: LookAnswerKey | None, seen: Seen) -> Callable[[int], InputManifest | None]:
    """Given what was looked at, return what tells what it rested on, and keeps it then, for when the film is edited.

    Without `asked` it is one that no later one can go on from.
    """

    def footing(since_ns: int) -> InputManifest | None:
        return keep_look(asked, seen, since_ns) if asked else take(seen.session.rests_on(), since_ns)

    return footing


def keep_look(asked: LookAnswerKey, seen: Seen, since_ns: int) -> InputManifest | None:
    """Given what was looked at, keep it for the next look, and return all that it rested on.

    None where some of that changed since `since_ns`, when it was asked for: the answer may be of what it was. A folder
    that cannot be written is no error.
    """
    session, then = seen.session, seen.then
    written = absolute(session.loaded.sources)
    rests = absolute(session.rests_on()) - written
    footing = then.footing.settled().with_more(rests, since_ns) if then else take(rests, since_ns)
    marks = marks_of(session, since_ns)
    if footing is None or marks is None:
        return None
    scenes = scenes_of(seen)
    if then is not None:
        marks = {**then.marks, **marks}
        now = {scene.id: scene for scene in scenes}
        scenes = [now.get(scene.id, scene) for scene in then.scenes]
    whole = footing.with_more(written | marks.keys(), since_ns)
    if whole is not None and is_lasting(seen):
        keep_as(asked, look_of(seen, scenes, marks, footing))
    return whole


def is_lasting(seen: Seen) -> bool:
    """Whether a part of this can be looked at by itself later: nothing is out of place in the film as a whole."""
    return not (seen.outlook.orphans or seen.session.project.moved or seen.session.warnings)


def look_of(seen: Seen, scenes: list[SceneRow], marks: Mapping[str, Mark], footing: InputManifest) -> Look:
    """Given what was looked at, its scenes, and what that rested on, return the Look."""
    session = seen.session
    foreign, outside = dict(session.project.foreign), outside_of(session, seen.outlook)
    return Look(session.loaded.head, foreign, outside, scenes, dict(marks), footing)


def keep_as(asked: LookAnswerKey, look: Look) -> None:
    """Given what was asked and the Look, keep it as the answer to that."""
    keep(asked.kept_at, _entry(look))


def marks_of(session: Session, since_ns: int) -> dict[str, Mark] | None:
    """Of each file that scenes have of their own; None where one changed since it was asked for."""
    told: dict[str, Mark] = {}
    for path in {path for scene in session.loaded.written for path in scene.home}:
        seen = files.signature(path)
        if seen is None or max(seen[1:3]) >= since_ns:
            return None
        is_new = max(seen[1:3]) > since_ns - RACY_NS
        told[path] = [list(seen), digest_file(Path(path)) if is_new else ""]
    return told


def stills_of(scenes: Iterable[Scene]) -> dict[str, Still]:
    pictures = (picture for scene in scenes for clip in scene.clips for picture in clip.pictures.values())
    return {picture.path: picture for picture in pictures if isinstance(picture, Still)}


def scenes_of(seen: Seen) -> list[SceneRow]:
    outlook, loaded = seen.outlook, seen.session.loaded
    told = {_home(change) for change in outlook.changes if outlook.is_worth_a_line(change)}
    told |= {id for _, id in _said(seen.session, outlook) if id} | {line.scene for line in outlook.unsaid}
    kept = Counter(map(_home, outlook.changes))
    stills = {scene.id: stills_of([scene]) for scene in seen.session.project.scenes}
    return [
        SceneRow(
            written.values,
            list(written.home),
            scene.id,
            [clip.id for clip in scene.clips],
            told.isdisjoint([scene.id, *stills[scene.id]]),
            outlook.cuts[scene.id].covered if scene.id in outlook.cuts else 0,
            kept[scene.id],
            list(dict.fromkeys(str(clip.get("quality")) for clip in scene.clips)),
            sorted(needs_of(scene) - {scene.id}),
            {path: (kept[path], still.angle) for path, still in stills[scene.id].items()},
        )
        for scene, written in zip(seen.session.project.scenes, loaded.written, strict=True)
    ]


def _home(change: Change) -> str:
    """The id of the scene that a change is of; of an image that is made, its path."""
    return change.target.rpartition("@")[0] if change.target.startswith("reference:") else change.clip.partition("/")[0]


def needs_of(scene: Scene) -> set[str]:
    """The ids of the scenes that a scene's clips are made from."""
    return {path.partition("/")[0] for clip in scene.clips for path in clip.upstream}


def outside_of(session: Session, outlook: Plan) -> list[str]:
    """What is said of no scene, in words."""
    return [repr((p.message, str(p.span), p.hint, p.code)) for p, id in _said(session, outlook) if not id]


def _said(session: Session, outlook: Plan) -> Iterator[tuple[Problem, str]]:
    """Every warning, with the id of the scene in which it is written; "" where that is elsewhere."""
    starts = [
        (written.span, scene.id)
        for written, scene in zip(session.loaded.written, session.project.scenes, strict=True)
        if written.span
    ]
    for problem in (*session.loaded.problems, *outlook.problems):
        if problem.level == "warning":
            span = problem.span
            above = [(at.line, id) for at, id in starts if span and at.file == span.file and at.line <= span.line]
            yield problem, max(above)[1] if above else ""


# Kept as JSON: what cannot be read is not there


def read_look(path: Path) -> Look | None:
    try:
        data = read_kept(path)
        if data["format"] != FORMAT:
            return None
        scenes = [SceneRow(*row) for row in data["scenes"]]
        return Look(data["head"], data["foreign"], data["outside"], scenes, data["marks"], footing_from(data))
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, MemoryError):
        return None


def _entry(look: Look) -> bytes:
    told: dict[str, Any] = {"format": FORMAT, "head": look.head, "foreign": look.foreign, "outside": look.outside}
    scenes = [list(vars(scene).values()) for scene in look.scenes]
    told |= {"scenes": scenes, "marks": look.marks, **look.footing.as_json()}
    return json.dumps(told, separators=(",", ":")).encode()
