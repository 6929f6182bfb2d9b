"""Plan a film as if one file had other content: what an edit of it would cost."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ltxflow.core.digest import digest_bytes
from ltxflow.core.errors import LtxflowError, problem
from ltxflow.plan.plan import Plan, PlanOptions
from ltxflow.project import model
from ltxflow.project.model import Clip, Image, Media
from ltxflow.session.session import Session

OTHER = digest_bytes(b"what if it were another one")


@dataclass(frozen=True)
class WhatIf:
    """The targets that an edit of `file` would render again, and those where that depends on the edit, with why."""

    file: str
    again: tuple[str, ...]
    maybe: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return {"file": self.file, "again": list(self.again), "maybe": dict(self.maybe)}


def what_if(session: Session, question: PlanOptions, outlook: Plan, name: str, cwd: Path) -> WhatIf:
    """Return what an edit of that file would come to.

    Raise LtxflowError when the film does not read that file.
    """
    file = next(
        (p.resolve() for p in (cwd / name, session.project.folder / name) if p.exists()), (cwd / name).resolve()
    )
    known = {path.resolve() for path in session.loaded.files}
    edited = _edited(session.project, file)
    maybe = _by_text(outlook, file)
    if file not in known and edited == session.project and not maybe:
        names = sorted(str(path) for path in known if path.is_relative_to(session.project.folder.resolve()))
        near = difflib.get_close_matches(str(file), names, n=1, cutoff=0.5)
        hint = (
            f'did you mean "{Path(near[0]).relative_to(session.project.folder.resolve())}"?'
            if near
            else "ltxflow check"
        )
        raise LtxflowError(problem("U014.what-if", hint=hint, file=name))
    there = replace(session, project=edited, warnings=[]).plan(question)
    again = []
    for target, status in there.statuses.items():
        before = outlook.statuses.get(target)
        if before is None or status.key == before.key or status.node.kind == "frame":
            continue  # taken on the way: its clip, and those that start from it, are listed
        if status.state == "maybe":
            maybe.setdefault(target, status.waits)
        elif status.state == "miss":
            again.append(target)
    return WhatIf(name, tuple(again), {target: why for target, why in maybe.items() if target not in again})


def _edited(value: Any, file: Path) -> Any:
    """Return the film with other pixels or bytes wherever it names that file."""
    if isinstance(value, Image) and value.path.resolve() == file:
        return replace(value, pixels=OTHER)
    if isinstance(value, Media) and value.path.resolve() == file:
        return replace(value, digest=OTHER)
    if isinstance(value, tuple):
        parts = tuple(_edited(part, file) for part in value)
        return parts if parts != value else value
    if is_dataclass(value) and type(value).__module__ == model.__name__:
        found = {part.name: getattr(value, part.name) for part in fields(value)}
        changed = {name: _edited(part, file) for name, part in found.items()}
        return replace(value, **changed) if changed != found else value  # type: ignore[type-var]
    if isinstance(value, Mapping) and any(is_dataclass(part) for part in value.values()):
        changed = {name: _edited(part, file) for name, part in value.items()}
        return changed if changed != dict(value) else value
    return value


def _by_text(outlook: Plan, file: Path) -> dict[str, str]:
    """Targets that depend on how a text, a template or a sound is edited: what of it will change is not known yet."""
    maybe: dict[str, str] = {}
    scenes = {scene.id: scene for scene in outlook.project.scenes}
    for target in outlook.plan.wanted:
        node = outlook.plan.nodes[target]
        template = getattr(node.spec, "template", None)
        clip = getattr(node.spec, "clip", None)
        if template is not None and file in _files_of(template):
            maybe[target] = "if what the template makes changes"
        if not isinstance(clip, Clip):
            continue
        if any(Path(span.file).resolve() == file for span in clip.prompt.spans.values()):
            maybe[target] = "if its prompt changes"
        sound = scenes[clip.scene].narration.file
        if sound is not None and sound.path.resolve() == file and clip.length.frames is None:
            maybe[target] = "if the narration becomes longer than the clips cover"
    return maybe


def _files_of(template: Any) -> set[Path]:
    return {template.path.resolve(), *((template.path.parent / part).resolve() for part in template.parts)}
