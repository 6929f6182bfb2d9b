"""List the names in a project for completion: scenes, clips, tags, references.

It imports little and tolerates errors: a project that is being edited has some.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltxflow.core.errors import LtxflowError
from ltxflow.documents import yaml
from ltxflow.documents.document import Include
from ltxflow.documents.paths import contained, workspace_of


@dataclass
class Outline:
    """Scene id → ids of its clips, in film order; all tags; the names under `references:`."""

    scenes: dict[str, list[str]] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    references: list[str] = field(default_factory=list)

    @property
    def clips(self) -> list[str]:
        return [f"{scene}/{clip}" for scene, clips in self.scenes.items() for clip in clips]


def outline(file: Path) -> Outline:
    """Return the names in project.yaml and its scene files, as far as they can be read."""
    found = Outline()
    film = _mapping(_read(file))
    found.references = [name for name in _mapping(_opened(film.get("references"), file.parent)) if name]
    for scene in _scenes(_opened(film.get("scenes"), file.parent), file.parent):
        found.tags |= _tags(scene)
        clips = found.scenes.setdefault(str(scene.get("id", "")), [])
        for each in _list(_opened(scene.get("clips"), file.parent)):
            clip = _mapping(_opened(each, file.parent))
            found.tags |= _tags(clip)
            clips += [str(clip["id"])] if "id" in clip else []
    found.scenes.pop("", None)
    return found


def _scenes(written: Any, folder: Path) -> Iterator[Mapping[str, Any]]:
    for scene in _list(written):
        if isinstance(scene, str):
            for file in _named(scene, folder):
                yield _mapping(_read(file))
        else:
            yield _mapping(_opened(scene, folder))


def _named(name: str, folder: Path) -> list[Path]:
    """Return the files of a name or a pattern under `scenes:`, if they belong to the project."""
    path = folder / name
    inside = contained(str(Path(name).parent), folder, workspace_of(folder), None)[0]
    return sorted(path.parent.glob(path.name)) if inside else []


def _opened(value: Any, folder: Path) -> Any:
    """Return the content of an include, any other value unchanged."""
    if not isinstance(value, Include):
        return value
    file = contained(value.path, folder, workspace_of(folder), None)[0]
    return _read(file) if file else None


def _read(file: Path) -> Any:
    with suppress(LtxflowError):
        return yaml.read(file, str(file), includes=True, problems=[]).data
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _tags(part: Mapping[str, Any]) -> set[str]:
    return {tag for tag in _list(part.get("tags")) if isinstance(tag, str)}
