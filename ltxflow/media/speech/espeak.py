"""Speak with espeak-ng: plain voices in a hundred languages, with exact times of words if its library is installed.

The library keeps its state in globals, so it is called in a child process, where it can neither race nor crash us.
Source: `speak_lib.h` and `espeak-ng.c` of espeak-ng 1.51.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import sys
import wave
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from ltxflow.core.errors import problem
from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, WordAt, failure, one_line, run_program
from ltxflow.messages.media import UNAVAILABLE

DEFAULT_VOICE = "en"
NORMAL_RATE, SLOWEST, FASTEST = 175, 80, 450  # words a minute
LIBRARIES = ("libespeak-ng.so.1", "libespeak-ng.so", "libespeak-ng.1.dylib", "libespeak-ng.dylib")
NO_LIBRARY, NO_VOICE = 4, 5  # exit codes of the child
_VOICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9+_-]*(/[A-Za-z0-9][A-Za-z0-9+_-]*)*")  # a name, no path out of its data
_PASSED = ("PATH", "HOME", "LANG", "ESPEAK_DATA_PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")

# speak_lib.h
_SYNCHRONOUS, _DONT_EXIT = 2, 0x8000
_RATE, _CHARACTERS = 1, 1
_UTF8, _PHONEMES, _END_PAUSE = 1, 0x100, 0x1000
_WORD = 1


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether espeak-ng is installed, and the reason if not."""
    return (True, "") if shutil.which("espeak-ng", path=env.get("PATH")) else (False, UNAVAILABLE["espeak"])


async def speak(engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
    """Speak a line, with the times of its words if the library is installed."""
    voice = wanted.voice or DEFAULT_VOICE
    if not _VOICE.fullmatch(voice):
        raise _no_voice(engine, voice)
    out = folder / "spoken.wav"
    rate = min(max(round(NORMAL_RATE * wanted.speed), SLOWEST), FASTEST)
    passed = {name: env[name] for name in _PASSED if name in env}
    request = {"text": wanted.text, "voice": voice, "rate": rate, "out": str(out)}
    argv = [sys.executable, "-P", "-m", "ltxflow.media.speech.espeak"]
    ended = await run_program(engine, argv, folder, cwd=folder, env=passed, stdin=json.dumps(request).encode())
    if ended.code == 0:
        answer = json.loads(ended.output)
        words = tuple(WordAt(at, length, Fraction(ms, 1000)) for at, length, ms in answer["words"])
        return SpokenSound(out, words, answer["version"])
    if ended.code == NO_VOICE:
        raise _no_voice(engine, voice)
    return await speak_plainly(engine, wanted, voice, rate, folder, passed, out)


async def speak_plainly(
    engine: Engine, wanted: SpeechRequest, voice: str, rate: int, folder: Path, env: Mapping[str, str], out: Path
) -> SpokenSound:
    """Speak a line with the program alone: the same sound, without the times of words."""
    text_file = folder / "text.txt"
    text_file.write_text(wanted.text, "utf-8")
    argv = ["espeak-ng", "-b", "1", "-v", voice, "-s", str(rate), "-f", str(text_file), "-w", str(out)]
    ended = await run_program(engine, argv, folder, cwd=folder, env=env)
    if "voice does not exist" in ended.complaint:
        raise _no_voice(engine, voice)
    if ended.code != 0:
        complaint = f": {ended.complaint}"
        found = problem("S202.failed", engine=engine.name, program="espeak-ng", exit=ended.code, complaint=complaint)
        raise failure(found)
    return SpokenSound(out)


def _no_voice(engine: Engine, voice: str) -> Exception:
    return failure(problem("S203.espeak", engine=engine.name, voice=one_line(voice, 40)))


# --- the child ------------------------------------------------------------------------------------


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),  # in characters, from 1
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),  # ms
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


class _Voice(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


def _child() -> None:
    """Read a request from stdin, write the wav it names, and print {"words": [[at, length, ms] …], "version"}."""
    request = json.load(sys.stdin.buffer)
    library = _library()
    if library is None:
        sys.exit(NO_LIBRARY)
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _DONT_EXIT)
    if rate <= 0:
        sys.exit(NO_LIBRARY)
    name = request["voice"].encode()
    if library.espeak_ng_SetVoiceByName(name) != 0:  # it may be a language, such as en-gb, as in `espeak-ng -v`
        language = _Voice(languages=name)
        if library.espeak_ng_SetVoiceByProperties(ctypes.byref(language)) != 0:
            sys.exit(NO_VOICE)
    library.espeak_SetParameter(_RATE, request["rate"], 0)
    sound = bytearray()
    words: list[tuple[int, int, int]] = []

    def receive(samples: Any, count: int, events: Any) -> int:
        if samples and count:
            sound.extend(ctypes.string_at(samples, 2 * count))
        index = 0
        while events[index].type:
            event = events[index]
            if event.type == _WORD and event.length > 0:  # an empty word marks the end of a clause
                words.append((event.text_position - 1, event.length, event.audio_position))
            index += 1
        return 0

    callback = _Callback(receive)
    library.espeak_SetSynthCallback(callback)
    text = request["text"].encode() + b"\0"
    flags = _UTF8 | _PHONEMES | _END_PAUSE
    library.espeak_Synth(text, len(text), 0, _CHARACTERS, 0, flags, None, None)
    library.espeak_Synchronize()
    with wave.open(request["out"], "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(bytes(sound))
    library.espeak_Info.restype = ctypes.c_char_p
    version = (library.espeak_Info(None) or b"").decode("utf-8", "replace")
    print(json.dumps({"words": words, "version": version}))


def _library() -> Any:
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        library.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        return library
    return None


if __name__ == "__main__":
    _child()
    sys.stdout.flush()
    os._exit(0)  # the library's own threads need no goodbye
