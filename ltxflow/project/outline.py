"""The names in a film, for whoever is about to type one: scenes, clips, tags, references. Judges nothing.

It imports little and takes what it finds: a film that is being written has errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltxflow.core.errors import LtxflowError
from ltxflow.documents import yaml
from ltxflow.documents.paths import contained, workspace_of
from ltxflow.documents.yaml import Include


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
    """Given the path of project.yaml, return the names in it and in its scene files, as far as they can be read."""
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
    """The files of a name or a pattern under `scenes:`, as far as they are the project's."""
    path = folder / name
    inside = contained(str(Path(name).parent), folder, workspace_of(folder), None)[0]
    return sorted(path.parent.glob(path.name)) if inside else []


def _opened(value: Any, folder: Path) -> Any:
    """What is included, in its place."""
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
