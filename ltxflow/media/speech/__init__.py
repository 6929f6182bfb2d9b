"""What turns text into sound or into an image, behind one small interface: a module for each kind. Knows no scenes.

Adding a kind is a module with `available` and `speak`, and its name in KINDS; with `draw`, if it makes images.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import IO, Any, Protocol, cast

from ltxflow.core.errors import FAILED, LtxflowError, Problem

KINDS = ("command", "espeak", "hibari", "openai")
MISSING = "missing"  # the kind of one that is named by a film and not configured here
OFFLINE = ("hibari", "espeak")  # need no configuration and no network, the better voice first
NO_OFFLINE = "pip install 'ltxflow[tts]' (English), or apt install espeak-ng (many languages)"
MAX_BYTES = 256 * 2**20  # of sound for one line: 45 minutes of 48 kHz stereo
MAX_IMAGE = 128 * 2**20  # bytes of an answer with an image in it, as base64: 80 megapixels, if it is compressed at all
DRAWS = ("openai",)  # the kinds that make images
_TAIL = 4000  # bytes of a program's complaint that are read
_TEXT_LIMIT = 300  # characters of it that are shown


@dataclass(frozen=True)
class Engine:
    """One way to speak. `name` is what a project calls it, `kind` the module that does it.

    `key_from_env` names the variable that holds a server's key, never the key; `pass_env` variables that a
    command may see. `folder` is the project's for a command that the project brings, else None; `files` are
    the files of the project that such a command names, with the digests of their bytes.
    """

    name: str
    kind: str
    voice: str = ""  # unless a scene asks for another
    argv: tuple[str, ...] = ()
    url: str = ""
    model: str = ""
    key_from_env: str = ""
    pass_env: tuple[str, ...] = ()
    folder: Path | None = None
    files: tuple[tuple[str, str], ...] = ()
    timeout_s: float = 120.0
    was_keyed: str = ""  # of a missing one: its part of the keys of what it made, as JSON

    def keyed(self) -> dict[str, Any]:
        """What of it decides how a line sounds: not its name, nor where a server is."""
        if self.kind == MISSING:
            known: dict[str, Any] = json.loads(self.was_keyed) if self.was_keyed else {"name": self.name}
            return known if self.was_keyed else {"kind": self.kind, **known}
        if self.kind == "command":
            return {"kind": self.kind, "argv": list(self.argv), "files": dict(self.files)}
        return {"kind": self.kind, "model": self.model} if self.model else {"kind": self.kind}


@dataclass(frozen=True)
class SpeechRequest:
    """A line to be spoken. `voice` empty means the engine's own; `speed` 1 is its normal pace."""

    text: str
    voice: str = ""
    speed: float = 1.0


@dataclass(frozen=True)
class PictureRequest:
    """An image to be made: what it shows, its size in px."""

    prompt: str
    size: tuple[int, int]
    seed: int


@dataclass(frozen=True)
class WordAt:
    """When a word begins: `at` and `length` in characters of the text given, `start` in seconds of the sound."""

    at: int
    length: int
    start: Fraction


@dataclass(frozen=True)
class SpokenSound:
    """A sound file in any format; `words` in order where the engine tells them; `version` of it, for the record."""

    file: Path
    words: tuple[WordAt, ...] = ()
    version: str = ""


class SpeechEngine(Protocol):
    """What a module in engines/ provides."""

    def available(self, engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
        """Given an engine, return whether it can be used here, and why not. Asks no server."""

    async def speak(self, engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
        """Given a line and an empty folder, speak it into a file there. Raise LtxflowError when it cannot."""


def _module(kind: str) -> SpeechEngine:
    return cast(SpeechEngine, importlib.import_module(f"ltxflow.media.speech.{kind}"))


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    """Given an engine and the environment, return whether it can be used here, and if not, why and what helps."""
    return _module(engine.kind).available(engine, env)


def pick_offline(env: Mapping[str, str]) -> str | None:
    """Given the environment, return the best engine that is installed and needs no network; None without one."""
    return next((name for name in OFFLINE if available(Engine(name, name), env)[0]), None)


async def speak(engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
    """Given an engine that the user trusts, and a line, speak it into a file in `folder`.

    Cancelling ends the program or closes the connection. Raise LtxflowError when there is no sound, transient
    where the same attempt may succeed later.
    """
    usable, why = available(engine, env)
    if not usable:
        raise failure(engine, why)
    said = await _module(engine.kind).speak(engine, wanted, folder, env)
    if not said.file.is_file() or said.file.stat().st_size == 0:
        raise failure(engine, f'made no sound of "{one_line(wanted.text, 60)}"')
    if said.file.stat().st_size > MAX_BYTES:
        raise failure(engine, f"made {said.file.stat().st_size // 2**20} MiB of one line", "split the line")
    return said


async def draw(engine: Engine, wanted: PictureRequest, folder: Path, env: Mapping[str, str]) -> Path:
    """Given an engine that the user trusts, of a kind that DRAWS, make an image as a file in `folder`; return it.

    Raise LtxflowError when there is none, transient where the same attempt may succeed later.
    """
    usable, why = available(engine, env)
    if not usable:
        raise failure(engine, why)
    made: Path = await cast(Any, _module(engine.kind)).draw(engine, wanted, folder, env)
    return made


def failure(engine: Engine, what: str, hint: str = "", *, transient: bool = False) -> LtxflowError:
    """Given what went wrong with an engine, return the error to raise."""
    text = f"{engine.name}: {what}"
    return LtxflowError(Problem(text, hint=hint, code="speech", transient=transient), exit_code=FAILED)


def one_line(text: str, limit: int = _TEXT_LIMIT) -> str:
    """Given what a program or server said, return one printable line of at most `limit` characters."""
    kept = "".join(" " if char.isspace() else char for char in text if not _is_hidden(char))
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _is_hidden(char: str) -> bool:
    return not char.isspace() and unicodedata.category(char) in ("Cc", "Cf", "Cs")


@dataclass(frozen=True)
class FinishedProcess:
    """A program that came to its end: what it returned and what it said, `complaint` the end of its stderr."""

    code: int
    output: str
    complaint: str


async def run_program(
    engine: Engine, argv: Sequence[str], folder: Path, *, cwd: Path, env: Mapping[str, str], stdin: bytes = b""
) -> FinishedProcess:
    """Given a program and its arguments, run it without a shell, in a session of its own, until it ends.

    What it says goes to files in `folder`: a talkative program fills no memory. Raise LtxflowError when it
    cannot be started or takes longer than the engine's timeout; then, and when cancelled, all of it is killed.
    """
    import asyncio  # by need: a plan speaks nothing

    names = [folder / "program.in", folder / "program.out", folder / "program.err"]
    names[0].write_bytes(stdin)
    with names[0].open("rb") as source, names[1].open("wb") as said, names[2].open("wb") as complained:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=source, stdout=said, stderr=complained, cwd=cwd, env=dict(env), start_new_session=True
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise failure(engine, f'"{argv[0]}" does not start: {one_line(why).lower()}') from error
        try:
            async with asyncio.timeout(engine.timeout_s):
                code = await process.wait()
        except TimeoutError:
            raise failure(
                engine,
                f"does not come to an end: {engine.timeout_s:g} s for one line",
                "give it more time, such as timeout: 5m in its entry, or a shorter line",
            ) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
    with names[1].open("rb") as said, names[2].open("rb") as complained:
        return FinishedProcess(code, said.read(MAX_BYTES).decode("utf-8", "replace"), _tail(complained))


def _tail(file: IO[bytes]) -> str:
    """The last line of it that says something: a program's last word is mostly its reason."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    lines = [one_line(line) for line in file.read().decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
