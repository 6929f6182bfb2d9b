"""Turn text into sound or an image with engines, each kind of which is one module with the same interface.

To add a kind, write a module with `available` and `speak` (and `draw`, if it makes images), and add its name to KINDS.
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

from ltxflow.core.errors import FAILED, LtxflowError, Problem, install_command, problem

KINDS = ("command", "espeak", "hibari", "openai")
MISSING = "missing"  # the kind of an engine that a film names and the configuration lacks
OFFLINE = ("hibari", "espeak")  # need no configuration and no network, the better voice first
MAX_BYTES = 256 * 2**20  # of sound for one line: 45 minutes of 48 kHz stereo
MAX_IMAGE = 128 * 2**20  # bytes of an answer with an image in base64: 80 megapixels, if compressed at all
DRAWS = ("openai",)  # the kinds that make images
_TAIL = 4000  # bytes read of a program's complaint
_TEXT_LIMIT = 300  # characters of it that are shown


def how_to_speak() -> str:
    """Return what installs a voice that needs no network."""
    return f"{install_command('tts')} (English), or apt install espeak-ng (many languages)"


@dataclass(frozen=True)
class Engine:
    """A configured engine. `name` is its name in a project, `kind` the module that implements it.

    `key_from_env` names the variable with a server's key, never the key; `pass_env` the variables that a command may
    see. `folder` is the project's for a command of the project, else None; `files` are the files of the project that
    such a command names, with the digests of their bytes.
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
    was_keyed: str = ""  # of a missing engine: its part of the keys of earlier results, as JSON

    def keyed(self) -> dict[str, Any]:
        """Return all that decides how a line sounds: neither its name nor the address of a server."""
        if self.kind == MISSING:
            known: dict[str, Any] = json.loads(self.was_keyed) if self.was_keyed else {"name": self.name}
            return known if self.was_keyed else {"kind": self.kind, **known}
        if self.kind == "command":
            return {"kind": self.kind, "argv": list(self.argv), "files": dict(self.files)}
        return {"kind": self.kind, "model": self.model} if self.model else {"kind": self.kind}


@dataclass(frozen=True)
class SpeechRequest:
    """A line to be spoken. An empty `voice` means the engine's default; `speed` 1 is its normal pace."""

    text: str
    voice: str = ""
    speed: float = 1.0


@dataclass(frozen=True)
class PictureRequest:
    """An image to be made: its content, and its size in px."""

    prompt: str
    size: tuple[int, int]
    seed: int


@dataclass(frozen=True)
class WordAt:
    """The start of a word: `at` and `length` in characters of the text, `start` in seconds of the sound."""

    at: int
    length: int
    start: Fraction


@dataclass(frozen=True)
class SpokenSound:
    """A sound file in any format; `words` in order, if the engine reports them; `version` of the engine."""

    file: Path
    words: tuple[WordAt, ...] = ()
    version: str = ""


class SpeechEngine(Protocol):
    """The interface of an engine's module."""

    def available(self, engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
        """Return whether an engine can be used on this machine, and the reason if not. Contacts no server."""

    async def speak(self, engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
        """Speak a line into a file in an empty folder. Raise LtxflowError when that fails."""


def engine_module(kind: str) -> SpeechEngine:
    return cast(SpeechEngine, importlib.import_module(f"ltxflow.media.speech.{kind}"))


def available(engine: Engine, env: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether an engine can be used on this machine, and if not, the reason and remedy."""
    return engine_module(engine.kind).available(engine, env)


def pick_offline(env: Mapping[str, str]) -> str | None:
    """Return the best installed engine that needs no network, None without one."""
    return next((name for name in OFFLINE if available(Engine(name, name), env)[0]), None)


async def speak(engine: Engine, wanted: SpeechRequest, folder: Path, env: Mapping[str, str]) -> SpokenSound:
    """Speak a line into a file in `folder`, with an engine that the user trusts.

    Cancelling ends the program or closes the connection. Raise LtxflowError if that makes no sound, transient where the
    same attempt may succeed later.
    """
    usable, reason = available(engine, env)
    if not usable:
        raise failure(problem("S200", engine=engine.name, reason=reason))
    sound = await engine_module(engine.kind).speak(engine, wanted, folder, env)
    if not sound.file.is_file() or sound.file.stat().st_size == 0:
        raise failure(problem("S201.nothing", engine=engine.name, text=one_line(wanted.text, 60)))
    if sound.file.stat().st_size > MAX_BYTES:
        raise failure(problem("S201.too-large", engine=engine.name, size=sound.file.stat().st_size // 2**20))
    return sound


async def draw(engine: Engine, wanted: PictureRequest, folder: Path, env: Mapping[str, str]) -> Path:
    """Make an image as a file in `folder` with an engine that the user trusts, of a kind in DRAWS; return its path.

    Raise LtxflowError if that makes no image, transient where the same attempt may succeed later.
    """
    usable, reason = available(engine, env)
    if not usable:
        raise failure(problem("S200", engine=engine.name, reason=reason))
    image: Path = await cast(Any, engine_module(engine.kind)).draw(engine, wanted, folder, env)
    return image


def failure(found: Problem) -> LtxflowError:
    """Return the error to raise for a problem of an engine (S200 to S204)."""
    return LtxflowError(found, exit_code=FAILED)


def one_line(text: str, limit: int = _TEXT_LIMIT) -> str:
    """Return the output of a program or server as one printable line of at most `limit` characters."""
    kept = "".join(" " if char.isspace() else char for char in text if not _is_hidden(char))
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _is_hidden(char: str) -> bool:
    return not char.isspace() and unicodedata.category(char) in ("Cc", "Cf", "Cs")


@dataclass(frozen=True)
class FinishedProcess:
    """A program that ended: its exit code, its output, and the last line of its stderr as `complaint`."""

    code: int
    output: str
    complaint: str


async def run_program(
    engine: Engine, argv: Sequence[str], folder: Path, *, cwd: Path, env: Mapping[str, str], stdin: bytes = b""
) -> FinishedProcess:
    """Run a program without a shell, in a separate session, until it ends.

    Its output goes to files in `folder`, so that much output fills no memory. Raise LtxflowError when it cannot be
    started or takes longer than the engine's timeout; then, and when cancelled, the whole session is killed.
    """
    import asyncio  # on demand: a plan speaks nothing

    names = [folder / "program.in", folder / "program.out", folder / "program.err"]
    names[0].write_bytes(stdin)
    with names[0].open("rb") as source, names[1].open("wb") as out, names[2].open("wb") as err:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=source, stdout=out, stderr=err, cwd=cwd, env=dict(env), start_new_session=True
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            reason = one_line(why).lower()
            found = problem("S202.no-start", engine=engine.name, program=argv[0], reason=reason)
            raise failure(found) from error
        try:
            async with asyncio.timeout(engine.timeout_s):
                code = await process.wait()
        except TimeoutError:
            raise failure(problem("S202.timeout", engine=engine.name, seconds=engine.timeout_s)) from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
    with names[1].open("rb") as output, names[2].open("rb") as complaint:
        return FinishedProcess(code, output.read(MAX_BYTES).decode("utf-8", "replace"), _tail(complaint))


def _tail(file: IO[bytes]) -> str:
    """Return the last line with text, which is mostly a program's reason."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL))
    lines = [one_line(line) for line in file.read().decode("utf-8", "replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
