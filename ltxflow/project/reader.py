"""Read the files that a project names, and collect the problems of one load.

Images, sounds and videos are probed once and remembered by their signature (size, mtime, ctime, inode). A file that was
written just before its probe is probed again next time: a clock may be too coarse to separate two writes.
"""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_file
from ltxflow.core.errors import LtxflowError, Problem, Span, problem
from ltxflow.documents.document import WINDOWS_RESERVED, Document, KeyPath, contained, nearby
from ltxflow.media.fit import Fit, ImageFacts, fit_warnings
from ltxflow.media.speech import MISSING, Engine
from ltxflow.models.profile import Profile
from ltxflow.project.model import Image, Media, Scene, Value
from ltxflow.project.references import ReferenceLibrary
from ltxflow.store.memo import Memory

RACY_NS = 2_000_000_000


class ProbeCache:
    """Probes of files, remembered while the files are unchanged. Errors are raised each time and not remembered."""

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    def image(self, path: Path) -> ImageFacts:
        """Return the facts of an image, as `media.image.read_image`."""

        def probe() -> list[Any]:
            from ltxflow.media.image import read_image  # Pillow is needed only for a changed file

            found = read_image(path)
            return [found.pixels, found.width, found.height, list(found.warnings)]

        pixels, width, height, warnings = self._of("image", path, probe)
        return ImageFacts(Digest(pixels), width, height, tuple(warnings))

    def sound(self, path: Path) -> tuple[dict[str, Any], Digest]:
        """Return the facts of a sound file, as `media.audio.measure_sound`, and its digest."""

        def probe() -> list[Any]:
            from ltxflow.media.audio import measure_sound

            found = measure_sound(path)
            facts = {"samples": found.samples, "sample_rate": found.sample_rate, "is_played": found.is_played}
            return [facts, digest_file(path)]

        facts, digest = self._of("sound/2", path, probe)
        return facts, Digest(digest)

    def video(self, path: Path) -> tuple[dict[str, Any], Digest]:
        """Return the facts of a video, as `media.video.probe_video`, and the digest of the file."""

        def probe() -> list[Any]:
            from ltxflow.media.video import probe_video

            return [probe_video(path), digest_file(path)]

        facts, digest = self._of("footage/2", path, probe)
        return facts, Digest(digest)

    def _of(self, kind: str, path: Path, probe: Callable[[], list[Any]]) -> Any:
        name = f"{kind} {path if path.is_absolute() else path.absolute()}"
        before = files.signature(path)
        row = self.memory.get(name) if before else None
        if row is not None and row[0] == list(before or ()):
            return row[1]
        content = f"{kind} of {digest_file(path)}" if before else ""  # written again, or in another folder
        found = (self.memory.get(content) if content else None) or probe()
        if content:
            self.memory.put(content, found)
        if before is not None and before == files.signature(path) and time.time_ns() - max(before[1:3]) > RACY_NS:
            self.memory.put(name, [before, found])
        return found


@dataclass(frozen=True)
class FilmSettings:
    """Settings that all scenes and clips share. `size` is the delivered one, in px; `variables` are flat."""

    profile: Profile
    fps: int
    size: tuple[int, int]
    variables: Mapping[str, str]


@dataclass
class Reader:
    """The state of one load: the document, its problems, the files that were read."""

    document: Document
    folder: Path
    workspace: Path
    is_trusted: bool
    problems: list[Problem] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    foreign: dict[str, str] = field(default_factory=dict)
    images: dict[Path, Image | None] = field(default_factory=dict)
    misfits: dict[Path, list[Problem]] = field(default_factory=dict)  # warnings; the clips come later
    engines: dict[str, Engine] = field(default_factory=dict)
    numbers: Sequence[int] | None = None  # positions of the scenes, where only some of them are read
    library: ReferenceLibrary | None = None
    characters: int = 0  # of all prompts read so far
    offline: Callable[[], str | None] = lambda: None
    remembered: Callable[[str], Engine | None] = lambda name: None
    probes: ProbeCache = field(default_factory=ProbeCache)
    real: dict[str, str] = field(default_factory=dict)  # folder → its resolved path

    def absent(self, name: str) -> Engine | None:
        """Return a substitute for an engine that is not configured here; None for a misspelled name.

        An engine that made something before is known by that, whatever its name.
        """
        found = self.remembered(name)
        if found is None and not difflib.get_close_matches(name, ["offline", *self.engines], n=1):
            found = Engine(name, MISSING)
        return found

    def span(self, path: KeyPath) -> Span:
        return self.document.span(path)

    def file(self, name: str, path: KeyPath, span: Span | None = None) -> Path | None:
        """Return the file named at `path`, or None after reporting its problem."""
        span = span or self.span(path)
        if Path(name).is_absolute() or name.startswith("~"):
            self.foreign[f"absolute path {name}"] = name
        found, refusal = contained(name, self.folder, self.workspace, span, self.is_trusted, self.real)
        if refusal:
            self.problems.append(refusal)
        if found is None:
            return None
        if not found.is_file():
            self.problems.append(problem("L020", span, hint=nearby(found, name, span), name=name))
            return None
        self.files.append(found)
        return found

    def unique(self, id: str, path: KeyPath, ids: dict[str, KeyPath], kind: str) -> None:
        """Report an id that is in `ids` already, or that no file can have on Windows; then add it to `ids`."""
        if id in ids:
            first = self.span(ids[id])
            elsewhere = f" of {first.file}" if first.file != self.span(path).file else ""
            place = f"line {first.line}{elsewhere}"
            self.problems.append(problem("L050", self.span(path), kind=kind, name=id, place=place))
        ids.setdefault(id, path)
        if id in WINDOWS_RESERVED:
            self.problems.append(problem("L051", self.span(path), name=id))

    def image(self, named: Value, span: Span, fit: str, size: tuple[int, int]) -> Image | None:
        """Return the image that a setting names, or None: without one, or after reporting its problem."""
        if not named.value:
            return None
        name = str(named.value)
        file, refusal = contained(name, self.folder, self.workspace, span, self.is_trusted, self.real)
        if os.path.isabs(name):
            self.foreign[f"absolute path {name}"] = name
        if refusal or file is None:
            self.problems += [refusal] if refusal else []
            return None
        known = self.images.get(file)
        if known is None:  # an unreadable image is reported wherever it is named
            known = self.images[file] = self._read_image(file, name, span, fit, size)
        return known

    def _read_image(self, file: Path, name: str, span: Span, fit: str, size: tuple[int, int]) -> Image | None:
        if not file.is_file():
            near = difflib.get_close_matches(name, self.library.defined if self.library else (), n=1)
            hint = f'did you mean the reference "{near[0]}"?' if near else nearby(file, name, span)
            self.problems.append(problem("L020", span, hint=hint, name=name))
            return None
        self.files.append(file)
        try:
            facts = self.probes.image(file)
        except LtxflowError as error:
            self.problems += [problem("L021", span, hint=p.hint, reason=p.message) for p in error.problems]
            return None
        self.misfits[file] = [
            problem("L022", span, name=name, warning=warning)
            for warning in (*facts.warnings, *fit_warnings(facts, size, cast(Fit, fit)))
        ]
        return Image(file, name, facts.pixels, facts.width, facts.height, span)

    def video(self, value: Value) -> Media | None:
        """Return the video that a setting names, or None after reporting its problem."""
        name, span = str(value.value), value.span
        file, refusal = contained(name, self.folder, self.workspace, span, self.is_trusted, self.real)
        if refusal or file is None:
            self.problems += [refusal] if refusal else []
            return None
        if not file.is_file():
            self.problems.append(problem("L020", span, hint=nearby(file, name, span), name=name))
            return None
        self.files.append(file)
        try:
            facts, digest = self.probes.video(file)
        except LtxflowError as error:
            self.problems += [problem("L023", span, hint=p.hint, reason=p.message) for p in error.problems]
            return None
        if facts["is_hdr"]:
            self.problems.append(problem("L025.hdr", span, name=name))
        if facts["is_transparent"]:
            self.problems.append(problem("L025.alpha", span, name=name))
        return Media(file, name, digest, facts, span)

    def sound(self, name: str, path: KeyPath, span: Span | None = None) -> Media | None:
        """Return the sound named at `path`, or None after reporting its problem. `span` is its place if not `path`."""
        span = span or self.span(path)
        file = self.file(name, path, span)
        if file is None:
            return None
        try:
            facts, digest = self.probes.sound(file)
        except LtxflowError as error:
            self.problems += [problem("L024", span, hint=p.hint, reason=p.message) for p in error.problems]
            return None
        return Media(file, name, digest, facts, span)


def picture_warnings(reader: Reader, scenes: Sequence[Scene]) -> list[Problem]:
    """Return the warnings about images of a film, each with the clips that use the image."""
    users: dict[Path, list[str]] = {}
    for clip in (clip for scene in scenes for clip in scene.clips):
        for picture in clip.pictures.values():
            if isinstance(picture, Image):
                users.setdefault(picture.path, []).append(clip.path)
    return [replace(each, of=tuple(users.get(file, ()))) for file, found in reader.misfits.items() for each in found]
