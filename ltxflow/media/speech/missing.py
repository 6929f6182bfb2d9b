"""An engine that a film names and the configuration does not. What it made before is used; it makes nothing new."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ltxflow.media.speech import Engine, PictureRequest, SpeechRequest, SpokenSound, failure


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    return False, "it is not among your engines: name it under engines: in your configuration"


async def speak(engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
    raise failure(engine, available(engine, env)[1])


async def draw(engine: Engine, wanted: PictureRequest, folder: Path, env: Mapping[str, str]) -> Path:
    raise failure(engine, available(engine, env)[1])
