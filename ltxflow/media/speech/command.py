"""Speak with any program that writes a sound file, such as piper, run without a shell; its caller checks trust."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from ltxflow.core.errors import problem
from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, failure, run_program
from ltxflow.messages.media import UNAVAILABLE

_PLACE = re.compile(r"\{(text|text_file|out|voice|speed)\}")
# All that a program sees of the environment, besides the variables in its entry: other keys stay hidden.
_PASSED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TERM|TMPDIR|XDG_\w+|VIRTUAL_ENV|LD_LIBRARY_PATH"
    r"|DYLD_\w+|SYSTEMROOT|CUDA_\w+|HIP_\w+|ROCR_\w+|OMP_\w+|HF_HOME|HF_HUB_OFFLINE|ESPEAK_DATA_PATH|SSL_CERT_\w+"
)


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether the engine's program exists, and the reason if not."""
    name = engine.argv[0] if engine.argv else ""
    return (True, "") if _program(engine, env) else (False, UNAVAILABLE["command"].format(program=name))


async def speak(engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
    """Run the engine's command for a line, in the project's folder if it is a command of the project."""
    program = _program(engine, env)
    assert program is not None
    text_file, out = folder / "text.txt", folder / "spoken.wav"
    text_file.write_text(wanted.text + "\n", "utf-8")
    argv = [program, *arguments(engine, wanted, text_file, out, env)]
    passed = {name: value for name, value in env.items() if _PASSED.fullmatch(name) or name in engine.pass_env}
    ended = await run_program(engine, argv, folder, cwd=engine.folder or folder, env=passed)
    if ended.code != 0:
        complaint = f": {ended.complaint}" if ended.complaint else ""
        found = problem("S202.failed", engine=engine.name, program=engine.argv[0], exit=ended.code, complaint=complaint)
        raise failure(found)
    if not out.is_file() or out.stat().st_size == 0:
        raise failure(problem("S202.no-file", engine=engine.name, program=engine.argv[0]))
    return SpokenSound(out)


def arguments(engine: Engine, wanted: SpeechRequest, text_file: Path, out: Path, env: Mapping[str, str]) -> list[str]:
    """Return the command's arguments for a line, with every placeholder filled once: braces in a text stay text."""
    values = {
        "text": wanted.text,
        "text_file": str(text_file),
        "out": str(out),
        "voice": wanted.voice,
        "speed": f"{wanted.speed:g}",
    }
    filled = []
    for argument in engine.argv[1:]:
        whole = _PLACE.sub(lambda match: values[match[1]], argument)
        if argument.startswith(("{text}", "{voice}")) and whole.startswith(("-", "@")):
            whole = " " + whole  # words, not an option, nor a file to read
        filled.append(_at_home(whole, env) if engine.folder is None and argument.startswith("~/") else whole)
    return filled


def _program(engine: Engine, env: Mapping[str, str]) -> str | None:
    if not engine.argv:
        return None
    name = engine.argv[0]
    if engine.folder is not None and "/" in name and not name.startswith("/"):
        name = str(engine.folder / name)
    elif engine.folder is None and name.startswith("~/"):
        name = _at_home(name, env)
    return shutil.which(name, path=env.get("PATH"))


def _at_home(path: str, env: Mapping[str, str]) -> str:
    return env.get("HOME", "~") + path[1:]
