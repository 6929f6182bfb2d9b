"""Represent an engine that a film names and the configuration lacks: earlier results are used, new ones fail.

A separate module although short, since an engine costs one file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ltxflow.core.errors import problem
from ltxflow.media.speech import Engine, PictureRequest, SpeechRequest, SpokenSound, failure
from ltxflow.messages.media import UNAVAILABLE


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    """Return False, and the remedy."""
    return False, UNAVAILABLE["missing"]


async def speak(engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
    """Raise LtxflowError."""
    raise failure(problem("S200", engine=engine.name, reason=UNAVAILABLE["missing"]))


async def draw(engine: Engine, wanted: PictureRequest, folder: Path, env: Mapping[str, str]) -> Path:
    """Raise LtxflowError."""
    raise failure(problem("S200", engine=engine.name, reason=UNAVAILABLE["missing"]))
