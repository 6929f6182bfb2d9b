"""Speak with hibari: small English voices in this process, installed by the extra `tts`; never downloads a voice.

A separate module although short, since an engine costs one file.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ltxflow.core.errors import install_command, problem
from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, failure, one_line
from ltxflow.messages.media import UNAVAILABLE

SEED = 0  # of the breath in the voice, so that a line always sounds the same
SLOWEST, FASTEST = 0.5, 2.0


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether hibari is installed, and the reason if not."""
    missing = [name for name in ("hibari", "onnxruntime") if importlib.util.find_spec(name) is None]
    return (False, UNAVAILABLE["hibari"].format(command=install_command("tts"))) if missing else (True, "")


async def speak(engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
    """Speak a line of English with seed 0 and one thread, on which its bytes depend."""
    voices = importlib.import_module("hibari.voices")
    name = wanted.voice or voices.DEFAULT
    if name not in voices.VOICES:
        known = ", ".join(voices.VOICES)
        raise failure(problem("S203.unknown", engine=engine.name, voice=one_line(name, 40), voices=known))
    try:
        voices.voice_path(name, download_missing=False)
    except FileNotFoundError:
        raise failure(problem("S203.absent", engine=engine.name, voice=name)) from None
    out = folder / "spoken.wav"
    speed = min(max(wanted.speed, SLOWEST), FASTEST)
    save = asyncio.to_thread(lambda: _voice(name).save(wanted.text, str(out), speed=speed, seed=SEED))
    speaking = asyncio.ensure_future(save)
    try:
        await asyncio.shield(speaking)
    except asyncio.CancelledError:
        await asyncio.wait([speaking])  # the thread ends after its sentence, and needs the folder until then
        raise
    return SpokenSound(out, version=metadata.version("hibari-tts"))


@cache
def _voice(name: str) -> Any:
    """Load a voice, which takes half a second, and keep it, since a sentence takes a tenth of that."""
    return importlib.import_module("hibari").Hibari(voice=name, threads=1)
