"""hibari: small English voices in this process, by the extra `tts`. Loads no voice from the network."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, failure, one_line

SEED = 0  # of the breath in the voice: the same line always sounds the same
SLOWEST, FASTEST = 0.5, 2.0


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    missing = [name for name in ("hibari", "onnxruntime") if importlib.util.find_spec(name) is None]
    return (False, "hibari is not installed: pip install 'ltxflow[tts]'") if missing else (True, "")


async def speak(engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
    """Given a line of English, speak it with `--seed 0` and one thread, on which its bytes depend."""
    voices = importlib.import_module("hibari.voices")
    name = wanted.voice or voices.DEFAULT
    if name not in voices.VOICES:
        raise failure(engine, f'there is no voice "{one_line(name, 40)}"', f"there are: {', '.join(voices.VOICES)}")
    try:
        voices.voice_path(name, download_missing=False)
    except FileNotFoundError:
        hint = f'fetch it once with: hibari --voice {name} -o hello.wav "Hello."'
        raise failure(engine, f'the voice "{name}" is not on this machine', hint) from None
    out = folder / "said.wav"
    speed = min(max(wanted.speed, SLOWEST), FASTEST)
    save = asyncio.to_thread(lambda: _voice(name).save(wanted.text, str(out), speed=speed, seed=SEED))
    speaking = asyncio.ensure_future(save)
    try:
        await asyncio.shield(speaking)
    except asyncio.CancelledError:
        await asyncio.wait([speaking])  # the thread ends when it has said its sentence: till then it needs the folder
        raise
    return SpokenSound(out, version=metadata.version("hibari-tts"))


@cache
def _voice(name: str) -> Any:
    """Loading takes half a second, a sentence a tenth of one."""
    return importlib.import_module("hibari").Hibari(voice=name, threads=1)
