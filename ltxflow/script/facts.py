"""What the files are that a film names: pictures, sounds, videos. Looked at once, remembered while they are unchanged.

A file is known by its signature (size, mtime, ctime, inode). One written just before it was looked at is looked at
again the next time: a clock may be too coarse to tell two writes apart. Libraries are imported when there is to look.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltxflow.core import files
from ltxflow.core.digest import Digest, digest_file
from ltxflow.media.fit import ImageFacts
from ltxflow.store.memory import Memory

RACY_NS = 2_000_000_000


class Facts:
    """What is asked of files, with what is remembered. Each raises LtxflowError as the function that looks.

    What raises is not remembered: it is told anew each time.
    """

    def __init__(self, memory: Memory | None = None) -> None:
        self.memory = memory or Memory()

    def image(self, path: Path) -> ImageFacts:
        """As `media.image.read_image`."""

        def look() -> list[Any]:
            found: ImageFacts = importlib.import_module("ltxflow.media.image").read_image(path)
            return [found.pixels, found.width, found.height, list(found.warnings)]

        pixels, width, height, warnings = self._of("image", path, look)
        return ImageFacts(Digest(pixels), width, height, tuple(warnings))

    def sound(self, path: Path) -> tuple[int, int, Digest]:
        """As `media.sound.measure_sound`: samples, sample rate, and the digest of the file."""

        def look() -> list[Any]:
            found = importlib.import_module("ltxflow.media.sound").measure_sound(path)
            return [found.samples, found.sample_rate, digest_file(path)]

        samples, rate, digest = self._of("sound", path, look)
        return samples, rate, Digest(digest)

    def video(self, path: Path) -> tuple[dict[str, Any], Digest]:
        """As `media.video.probe_video`, and the digest of the file."""

        def look() -> list[Any]:
            return [importlib.import_module("ltxflow.media.video").probe_video(path), digest_file(path)]

        facts, digest = self._of("footage", path, look)
        return facts, Digest(digest)

    def _of(self, kind: str, path: Path, look: Callable[[], list[Any]]) -> Any:
        name = f"{kind} {path if path.is_absolute() else path.absolute()}"
        before = files.signature(path)
        row = self.memory.get(name) if before else None
        if row is not None and row[0] == list(before or ()):
            return row[1]
        found = look()
        if before is not None and before == files.signature(path) and time.time_ns() - max(before[1:3]) > RACY_NS:
            self.memory.put(name, [before, found])
        return found
