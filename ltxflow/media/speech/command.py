"""Any program that writes a sound file, such as piper. Run without a shell; that it is trusted, the caller checks."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from ltxflow.media.speech import Engine, SpeechRequest, SpokenSound, failure, run_program

_PLACE = re.compile(r"\{(text|text_file|out|voice|speed)\}")
# All that a program is told of the environment, but for what its entry passes on: keys of others stay here.
_PASSED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TERM|TMPDIR|XDG_\w+|VIRTUAL_ENV|LD_LIBRARY_PATH"
    r"|DYLD_\w+|SYSTEMROOT|CUDA_\w+|HIP_\w+|ROCR_\w+|OMP_\w+|HF_HOME|HF_HUB_OFFLINE|ESPEAK_DATA_PATH|SSL_CERT_\w+"
)


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    program = _program(engine, env)
    return (True, "") if program else (False, f'there is no program "{engine.argv[0] if engine.argv else ""}"')


async def speak(engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
    """Given a line, run the engine's command for it, in the project's folder if the project brings the command."""
    program = _program(engine, env)
    assert program is not None
    text_file, out = folder / "text.txt", folder / "said.wav"
    text_file.write_text(wanted.text + "\n", "utf-8")
    argv = [program, *arguments(engine, wanted, text_file, out, env)]
    passed = {name: value for name, value in env.items() if _PASSED.fullmatch(name) or name in engine.pass_env}
    ended = await run_program(engine, argv, folder, cwd=engine.folder or folder, env=passed)
    if ended.code != 0:
        said = f": {ended.complaint}" if ended.complaint else ""
        raise failure(engine, f'"{engine.argv[0]}" failed with exit code {ended.code}{said}')
    if not out.is_file() or out.stat().st_size == 0:
        raise failure(engine, f'"{engine.argv[0]}" wrote no sound', "it must write the file that {out} names")
    return SpokenSound(out)


def arguments(engine: Engine, wanted: SpeechRequest, text_file: Path, out: Path, env: Mapping[str, str]) -> list[str]:
    """Given a line, return the command's arguments, every placeholder filled once: what a text says stays text."""
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
